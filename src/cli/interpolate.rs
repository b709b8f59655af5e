//! `iresnet interpolate`.

use std::path::PathBuf;

use super::images::{self, Form, Image};
use super::{Outcome, model, output, solver};
use crate::error::Result;
use crate::eval::{Evaluator, Inverter};
use crate::gpu::block_on;
use crate::picture::save_rgb;
use crate::report::grid;

const EXAMPLES: &str = "\
Examples:
  iresnet interpolate model.safetensors --from a.png --to b.png --output way.png
  iresnet interpolate model.safetensors --from test:0 --to test:7 --steps 12 --output way.png

Both images are encoded, points on the straight line between their codes are inverted. The upper row of the picture shows
them, the lower row what blending the pixels gives.";

/// Draw the way from one image to another through the latent space.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Where the way begins: a PNG or JPEG file, or test:N, an image of the test split.
    #[arg(long, value_name = "IMAGE")]
    pub from: Image,

    /// Where it ends.
    #[arg(long, value_name = "IMAGE")]
    pub to: Image,

    /// Number of pictures, both ends among them.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub steps: u32,

    /// What becomes of images of another size.
    #[command(flatten)]
    pub images: images::Args,

    /// Picture to write.
    #[arg(short, long, value_name = "PNG")]
    pub output: PathBuf,

    /// How blocks are inverted.
    #[command(flatten)]
    pub solver: solver::Args,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Interpolates.
///
/// # Errors
/// Of model file, images and adapter; [`Error::Io`](crate::error::Error::Io) where the picture cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    block_on(interpolate(args))?;
    Ok(Outcome::Done)
}

async fn interpolate(args: &Args) -> Result<()> {
    let (mut network, config) = model::open_invertible(&args.model, args.adapter.as_deref()).await?;
    let form = Form::of(&config, &args.model)?;
    let ends = [&args.from, &args.to].map(|image| image.load(&config, form, args.images));
    let [from, to] = ends;
    let (from, to) = (from?, to?);
    let evaluator = Evaluator::new(&mut network, 2, None).await?;
    evaluator.run(&[&from[..], &to].concat(), &[0, 0], 0, 0);
    let codes = evaluator.read("z").await?;
    let (first, last) = codes.split_at(codes.len() / 2);
    let steps = args.steps as usize;
    let z = line(first, last, steps);
    let inverter = Inverter::new(&mut network, steps.min(super::invert::BATCH), args.solver.stop()).await?;
    let inverted = inverter.invert(&z).await?;
    let change = inverted.largest_residual();
    let pictures = form.pictures(&[&inverted.x[..], &line(&from, &to, steps)].concat());
    save_rgb(&args.output, &grid::samples(&pictures, steps, None))?;
    output::print(&format!("{}: {steps} pictures, last change at most {change:.1e}", args.output.display()));
    args.solver.judge(&inverted)
}

/// `steps` points at equal distances on the straight line from `a` to `b`, one after another, both ends among them.
fn line(a: &[f32], b: &[f32], steps: usize) -> Vec<f32> {
    let at = |step: usize| step as f32 / (steps - 1) as f32;
    (0..steps).flat_map(|step| a.iter().zip(b).map(move |(a, b)| a * (1.0 - at(step)) + b * at(step))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_has_both_its_ends() {
        assert_eq!(super::line(&[0.0, 2.0], &[1.0, 0.0], 3), [0.0, 2.0, 0.5, 1.0, 1.0, 0.0]);
    }
}
