//! `iresnet sample`.

use std::path::PathBuf;

use super::images::Form;
use super::{Outcome, batched, model, output, solver};
use crate::config::Kind;
use crate::error::{Error, Result};
use crate::eval::{Inverted, Inverter};
use crate::gpu::block_on;
use crate::parallel::Team;
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

    /// Adapters, as `iresnet adapters` names them, or "all". By default the best one. Several share the samples out.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub adapter: Vec<String>,
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
    let (networks, config) = model::open_several(&args.model, &args.adapter).await?;
    let kind = config.model.kind;
    if !kind.has_density() || (kind == Kind::Toy && config.model.input != [2]) {
        let problem = "there is nothing to draw: sampling takes a density model of images or of points of the plane";
        return Err(Error::Model { path: args.model.clone(), problem: problem.into() });
    }
    let count = args.count.max(1);
    let size = batched::among(count, usize::MAX, networks.len());
    let mut team = Team::new(networks, |network| block_on(Inverter::sampler(network, size, args.solver.stop())))?;
    let parts = team.map((0..count).step_by(size), |_, sampler, &first| {
        block_on(sampler.sample_from(first, args.seed, 0, args.temperature as f32))
    })?;
    team.notes().iter().for_each(|note| output::note(note));
    let mut drawn = Inverted::default();
    for (part, first) in parts.iter().zip((0..count).step_by(size)) {
        drawn.append(part, size.min(count - first));
    }
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
