//! `iresnet invert`.

use std::path::PathBuf;

use serde::Serialize;

use super::images::{self, Form};
use super::{Outcome, batched, model, output, solver};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::eval::{Evaluator, Inverted, Inverter, largest_difference};
use crate::gpu::block_on;
use crate::network::Network;
use crate::nn::Stop;
use crate::parallel::Team;
use crate::report::{ImageGrid, brief};

/// More samples than this are inverted and reported, but not drawn.
const MOST_DRAWN: usize = 16;

/// Samples inverted at a time.
pub(super) const BATCH: usize = 64;

const EXAMPLES: &str = "\
Examples:
  iresnet invert model.safetensors --input a.png b.png --output recon.png
  iresnet invert model.safetensors --input photo.jpg --crop --output recon.png
  iresnet invert model.safetensors --test 64 --solver anderson --output recon.png
  iresnet invert model.safetensors --test 8 --iterations 10 --tolerance 0 --output recon.png

The picture shows each input beside its reconstruction. Of each image the distance from its reconstruction is printed,
the bound that the solver gives for it without knowing the original, the largest error of a pixel, and how many times
residual branches were evaluated, over all blocks.";

/// Encode images, reconstruct them from their codes by fixed-point iteration, and show both.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Pictures to reconstruct, PNG or JPEG.
    #[arg(short, long, value_name = "IMAGE", required_unless_present = "test", num_args = 1..)]
    pub input: Vec<PathBuf>,

    /// Invert the first N images of the test split of the data the model was trained on, instead of files.
    #[arg(long, value_name = "N", conflicts_with = "input")]
    pub test: Option<usize>,

    /// What becomes of images of another size.
    #[command(flatten)]
    pub images: images::Args,

    /// Picture to write.
    #[arg(short, long, value_name = "PNG")]
    pub output: PathBuf,

    /// How blocks are inverted.
    #[command(flatten)]
    pub solver: solver::Args,

    /// Adapters, as `iresnet adapters` names them, or "all". By default the best one. Several share the images out.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub adapter: Vec<String>,

    /// Print one JSON object for each image.
    #[arg(long)]
    pub json: bool,
}

/// What is said of one image.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    /// Euclidean distance between original and reconstruction.
    error: f64,
    /// Upper bound of it; none where the branches do not contract.
    error_bound: Option<f32>,
    /// Largest difference of a pixel.
    largest_error: f32,
    iterations: f32,
    residual: f32,
    converged: bool,
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self.error_bound.map_or("none".into(), |bound| format!("{bound:.1e}"));
        write!(
            out,
            "{}: error {:.1e} (bound {bound}), largest of a pixel {:.1e}, {} evaluations{}",
            self.name,
            self.error,
            self.largest_error,
            self.iterations,
            if self.converged { "" } else { ", NOT converged" }
        )
    }
}

/// Inverts.
///
/// # Errors
/// Of model file, pictures and adapter; [`Error::Io`](crate::error::Error::Io) where the picture cannot be written;
/// [`Error::Verification`](crate::error::Error::Verification) with `--strict`, after everything is written.
pub fn run(args: &Args) -> Result<Outcome> {
    block_on(invert(args))?;
    Ok(Outcome::Done)
}

async fn invert(args: &Args) -> Result<()> {
    let checkpoint = Checkpoint::load(&args.model)?;
    model::require_invertible(&args.model, &checkpoint)?;
    let (networks, config) = model::place_several(&args.adapter, &checkpoint).await?;
    let form = Form::of(&config, &args.model)?;
    let (names, x) = match args.test {
        Some(count) => images::first_of_test(&config, count)?,
        None => {
            let files: Result<Vec<Vec<f32>>> = args.input.iter().map(|path| args.images.load(path, form)).collect();
            (args.input.iter().map(|path| path.display().to_string()).collect(), files?.concat())
        }
    };
    let inverted = round_trip(networks, &x, names.len(), args.solver.stop())?;

    let lines = lines(&names, &x, &inverted);
    for line in &lines {
        if args.json { output::print_json(line) } else { output::print(&line.to_string()) }
    }
    let drawn = |inputs: &[f32]| {
        let mut pictures = form.pictures(inputs);
        pictures.truncate(MOST_DRAWN);
        pictures
    };
    let captions = lines.iter().take(MOST_DRAWN).map(|line| brief(f64::from(line.largest_error))).collect();
    let grid = ImageGrid::new().row("original", drawn(&x));
    grid.captioned_row("inverted", drawn(&inverted.x), captions).write(&args.output)?;
    let (count, converged) = (names.len(), names.len() - inverted.unconverged());
    // What is no number is worse than any.
    let worse = |worst: f64, error: f64| if error.is_nan() || error > worst { error } else { worst };
    let worst = lines.iter().map(|line| line.error).fold(0.0, worse);
    let summary = format!("{}: {converged} of {count} converged, error at most {worst:.1e}", args.output.display());
    if args.json {
        output::note(&summary);
    } else {
        output::print(&summary);
    }
    args.solver.judge(&inverted)
}

/// `count` images, encoded and inverted again.
fn round_trip(networks: Vec<Network>, x: &[f32], count: usize, stop: Stop) -> Result<Inverted> {
    let (batch, width) = (batched::among(count, BATCH, networks.len()), x.len() / count);
    let mut team = Team::new(networks, |network| {
        let evaluator = block_on(Evaluator::new(network, batch, None))?;
        Ok((evaluator, block_on(Inverter::bounded(network, batch, stop))?))
    })?;
    let parts = team.map(x.chunks(batch * width), |_, (evaluator, inverter), part| {
        let mut filled = part.to_vec();
        filled.resize(batch * width, 0.0);
        evaluator.run(&filled, &vec![0; batch], 0, 0);
        let codes = block_on(evaluator.read("z"))?;
        block_on(inverter.invert(&codes[..codes.len() / batch * (part.len() / width)]))
    })?;
    team.notes().iter().for_each(|note| output::note(note));
    let mut inverted = Inverted::default();
    parts.iter().for_each(|part| inverted.append(part, part.len()));
    Ok(inverted)
}

fn lines<'a>(names: &'a [String], x: &[f32], inverted: &Inverted) -> Vec<Line<'a>> {
    let width = x.len() / names.len();
    let samples = x.chunks_exact(width).zip(inverted.x.chunks_exact(width)).enumerate();
    let line = |(sample, (x, back)): (usize, (&[f32], &[f32]))| {
        let squares = x.iter().zip(back).map(|(a, b)| f64::from(a - b).powi(2));
        let bound = inverted.error_bound[sample];
        Line {
            name: &names[sample],
            error: squares.sum::<f64>().sqrt(),
            error_bound: bound.is_finite().then_some(bound),
            largest_error: largest_difference(x, back),
            iterations: inverted.iterations[sample],
            residual: inverted.residual[sample],
            converged: inverted.converged[sample],
        }
    };
    samples.map(line).collect()
}
