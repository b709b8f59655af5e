//! `iresnet decode`.

use std::path::PathBuf;

use super::{Outcome, batched, model, output, solver};
use crate::arrays::{self, Array, ArrayFile, Elements, Format};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::eval::{Inverted, Inverter};
use crate::gpu::{Gpu, block_on};
use crate::nn::Model;

const EXAMPLES: &str = "\
Examples:
  iresnet decode model.safetensors --input codes.npz --output images.npy
  iresnet decode model.safetensors --input codes.safetensors --output images.safetensors --solver anderson
  iresnet decode model.safetensors --input z.npy --output x.npz --iterations 10 --tolerance 0

The input holds `z` (N, D) as `iresnet encode` writes it. The output gets x (N, C, H, W), or (N, D) for points, and for
each sample iterations (summed over blocks), residual (the last change, largest over blocks) and converged. A .npy file
holds one array: z as input, x as output.";

/// Send latent numbers back through a model, block by block by fixed-point iteration.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Latent numbers (.safetensors, .npz or .npy).
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,

    /// File to write (.safetensors, .npz or .npy).
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// How blocks are inverted.
    #[command(flatten)]
    pub solver: solver::Args,

    /// Samples computed at once. By default as many as in a training step.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Decodes.
///
/// # Errors
/// Of model file, arrays and adapter; [`Error::Io`] where the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    Format::of_output(&args.output)?;
    let checkpoint = Checkpoint::load(&args.model)?;
    model::require_invertible(&args.model, &checkpoint)?;
    let latent = Model::new(&checkpoint.config)?.latent_len();
    let z = batched::flat(&ArrayFile::open(&args.input)?, "z", latent)?;
    let shape = [&[z.shape()[0]], checkpoint.config.model.input.as_slice()].concat();
    let inverted = block_on(async {
        let gpu = Gpu::open(args.adapter.as_deref()).await?;
        let (mut network, config) = model::place(&gpu, checkpoint)?;
        let batch = batched::size(args.batch, config.data.batch, &z);
        let inverter = Inverter::new(&mut network, batch, args.solver.stop()).await?;
        let mut all = Inverted::default();
        for (part, real) in batched::parts(&z, batch) {
            let inverted = inverter.invert(&part).await?;
            all.x.extend(&inverted.x[..inverted.x.len() / batch * real]);
            all.iterations.extend(&inverted.iterations[..real]);
            all.residual.extend(&inverted.residual[..real]);
            all.converged.extend(&inverted.converged[..real]);
        }
        Ok::<_, Error>(all)
    })?;
    report(args, &inverted);
    let judged = args.solver.judge(&inverted);
    let count = shape[0];
    let iterations = inverted.iterations.iter().map(|&count| count as i64).collect();
    let results = [
        ("x", Array::floats(shape, inverted.x)),
        ("iterations", Array::new([count], Elements::I64(iterations))),
        ("residual", Array::floats([count], inverted.residual)),
        ("converged", Array::new([count], Elements::Bool(inverted.converged))),
    ];
    arrays::write(&args.output, &results)?;
    judged.map(|()| Outcome::Done)
}

/// Says how well it went.
fn report(args: &Args, inverted: &Inverted) {
    let count = inverted.converged.len();
    let converged = inverted.converged.iter().filter(|&&converged| converged).count();
    let residual = inverted.residual.iter().fold(0.0f32, |largest, &x| largest.max(x));
    let most = inverted.iterations.iter().fold(0.0f32, |largest, &x| largest.max(x));
    let path = args.output.display();
    output::print(&format!(
        "{path}: {count} samples, {converged} converged, last change at most {residual:.1e}, at most {most} iterations over \
         all blocks"
    ));
}
