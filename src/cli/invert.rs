//! `iresnet invert`.

use std::path::PathBuf;

use super::{Outcome, model, output};
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::{Evaluator, Inverter};
use crate::gpu::block_on;
use crate::nn::Stop;
use crate::picture::{Fit, Picture};
use crate::report::{ImageGrid, brief};

/// More samples than this are inverted and reported, but not drawn.
const MOST_DRAWN: usize = 16;

const EXAMPLES: &str = "\
Examples:
  iresnet invert model.safetensors --input a.png b.png --output recon.png
  iresnet invert model.safetensors --input a.png --output recon.png --iterations 10

  iresnet invert model.safetensors --test 64 --output recon.png

The picture shows each input beside its reconstruction; the largest error of each is printed.";

/// Encode images, reconstruct them from their codes by fixed-point iteration, and show both.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors).
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// Pictures to reconstruct, PNG or JPEG.
    #[arg(short, long, value_name = "IMAGE", required_unless_present = "test", num_args = 1..)]
    pub input: Vec<PathBuf>,

    /// Invert the first N images of the test split of the data the model was trained on, instead of files.
    #[arg(long, value_name = "N", conflicts_with = "input")]
    pub test: Option<usize>,

    /// Resize images of another size to the model's, instead of refusing them.
    #[arg(long)]
    pub resize: bool,

    /// Picture to write.
    #[arg(short, long, value_name = "PNG")]
    pub output: PathBuf,

    /// Most iterations for one residual block.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub iterations: u32,

    /// A block is done when its iterate moves less than this.
    #[arg(long, value_name = "T", default_value_t = 1e-6)]
    pub tolerance: f64,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Inverts.
///
/// # Errors
/// Of model file, pictures and adapter; [`Error::Io`] where the picture cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    block_on(invert(args))?;
    Ok(Outcome::Done)
}

async fn invert(args: &Args) -> Result<()> {
    let (mut network, config) = model::open(&args.model, args.adapter.as_deref()).await?;
    let &[c, h, w] = config.model.input.as_slice() else {
        let problem = "invert takes a model of images; this one models points";
        return Err(Error::Model { path: args.model.clone(), problem: problem.into() });
    };
    let (names, x) = inputs(args, &config, [c, h, w])?;
    let n = names.len();
    let evaluator = Evaluator::new(&mut network, n, None).await?;
    evaluator.run(&x, &vec![0; n], 0, 0);
    let z = evaluator.read("z").await?;
    let stop = Stop { tolerance: args.tolerance, limit: args.iterations };
    let inverted = Inverter::new(&mut network, n, stop).await?.invert(&z).await?;

    let len = c * h * w;
    let picture = |data: &[f32], sample: usize| Picture::new([c, h, w], data[sample * len..][..len].to_vec());
    let (mut originals, mut rebuilt, mut captions) = (Vec::new(), Vec::new(), Vec::new());
    let mut worst = 0.0f32;
    for (sample, name) in names.iter().enumerate() {
        let pairs = x[sample * len..][..len].iter().zip(&inverted.x[sample * len..][..len]);
        let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        worst = worst.max(error);
        output::print(&format!(
            "{name}: largest error {error:.2e}, {} iterations over all blocks, last change {:.1e}{}",
            inverted.iterations[sample],
            inverted.residual[sample],
            if inverted.converged[sample] { "" } else { ", NOT converged" }
        ));
        if sample < MOST_DRAWN {
            originals.push(picture(&x, sample));
            rebuilt.push(picture(&inverted.x, sample));
            captions.push(brief(f64::from(error)));
        }
    }
    let drawn = ImageGrid::new().row("original", originals).captioned_row("inverted", rebuilt, captions);
    drawn.write(&args.output)?;
    let converged = inverted.converged.iter().filter(|&&converged| converged).count();
    output::print(&format!("{}: {converged} of {n} converged, largest error {worst:.2e}", args.output.display()));
    Ok(())
}

/// Names and pixels of what is to be inverted.
fn inputs(args: &Args, config: &Config, shape: [usize; 3]) -> Result<(Vec<String>, Vec<f32>)> {
    if let Some(count) = args.test {
        let source = Source::open(config, None, Split::Test)?;
        let count = count.clamp(1, source.dataset().len());
        let indices: Vec<u32> = (0..count as u32).collect();
        let names = indices.iter().map(|index| format!("test image {index}")).collect();
        return Ok((names, source.at(&indices).x.into_data()));
    }
    let mut x = Vec::new();
    for path in &args.input {
        x.extend(Picture::load(path, shape, if args.resize { Fit::Resize } else { Fit::Exact })?.into_data());
    }
    Ok((args.input.iter().map(|path| path.display().to_string()).collect(), x))
}
