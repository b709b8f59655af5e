//! `iresnet sample`.

use std::path::PathBuf;

use super::images::Form;
use super::{Outcome, model, output, solver};
use crate::config::Kind;
use crate::error::{Error, Result};
use crate::eval::Inverter;
use crate::gpu::block_on;
use crate::picture::save_rgb;
use crate::report::{DensityPanels, grid};

const EXAMPLES: &str = "\
Examples:
  iresnet sample model.safetensors -n 64 --output grid.png
  iresnet sample model.safetensors -n 16 --temperature 0.7 --seed 3 --output calm.png";

/// Draw samples from a density model: latent vectors from the prior, inverted by fixed-point iteration.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Number of samples.
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 64)]
    pub count: usize,

    /// Factor on the standard deviation of the prior.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub temperature: f64,

    /// Seed of the random numbers.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,

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

/// Samples.
///
/// # Errors
/// Of model file and adapter; [`Error::Io`] where the picture cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    block_on(sample(args))?;
    Ok(Outcome::Done)
}

async fn sample(args: &Args) -> Result<()> {
    let (mut network, config) = model::open(&args.model, args.adapter.as_deref()).await?;
    let kind = config.model.kind;
    if !kind.has_density() || (kind == Kind::Toy && config.model.input != [2]) {
        let problem = "there is nothing to draw: sampling takes a density model of images or of points of the plane";
        return Err(Error::Model { path: args.model.clone(), problem: problem.into() });
    }
    let count = args.count.max(1);
    let sampler = Inverter::sampler(&mut network, count, args.solver.stop()).await?;
    let drawn = sampler.sample(args.seed, 0, args.temperature as f32).await?;
    match config.model.input.as_slice() {
        [_, _, _] => {
            let pictures = Form::of(&config, &args.model)?.pictures(&drawn.x);
            let columns = (count as f64).sqrt().ceil() as usize;
            save_rgb(&args.output, &grid::samples(&pictures, columns, None))?;
        }
        _ => {
            let points = drawn.x.chunks_exact(2).map(|point| [point[0], point[1]]).collect();
            DensityPanels::new().scatter(format!("{count} samples"), points).write(&args.output)?;
        }
    }
    let converged = count - drawn.unconverged();
    output::print(&format!("{}: {count} samples, {converged} with every block converged", args.output.display()));
    args.solver.judge(&drawn)
}
