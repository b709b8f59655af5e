//! `iresnet import`.

use std::path::PathBuf;

use super::{Outcome, configuration, output};
use crate::config::Config;
use crate::error::Result;
use crate::interchange;

const EXAMPLES: &str = "\
Examples:
  iresnet import state.safetensors --config model.toml --output model.safetensors
  iresnet import state.safetensors --preset NAME --set model.actnorm=false --output model.safetensors

In Python, from a model of the published code:
  safetensors.torch.save_file(model.state_dict(), \"state.safetensors\")

The options of the published script, and the keys that mean the same:
  --nBlocks --nStrides --nChannels  model.blocks, model.strides, model.channels
  --init_ds 2                       model.initial_squeeze = true
  --inj_pad N                       model.injective_padding = N
  --coeff, --powerIterSpectralNorm  model.coefficient, model.power_iterations
  --nonlin sorting                  model.activation = \"maxmin\" (elu, softplus and relu as they are)
  -densityEstimation -multiScale    model.kind = \"density\"
  -noActnorm, -fixedPrior           model.actnorm = false, model.prior = \"standard\"
  --numSeriesTerms, --numTraceSamples  log_det.terms, log_det.samples";

/// Make a model file of a PyTorch state dict of the published code.
///
/// The configuration says what the state does not: how many pixels an image has, the coefficient, the activation.
/// Tensors that are missing, too many, of another shape or not finite are errors.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The state dict (.safetensors, or .npz).
    #[arg(value_name = "STATE.safetensors")]
    pub state: PathBuf,

    /// Configuration, in TOML.
    #[arg(long, value_name = "CONFIG.toml", conflicts_with = "preset", required_unless_present = "preset")]
    pub config: Option<PathBuf>,

    /// A configuration that comes with the program.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// Set a key of the configuration, such as model.classes=100. May be given several times; the last one counts.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Model file to write.
    #[arg(short, long, value_name = "MODEL")]
    pub output: PathBuf,
}

/// Imports.
///
/// # Errors
/// Of configuration and state; [`Error::Io`](crate::error::Error::Io) where the model file cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let config = match (&args.preset, &args.config) {
        (Some(preset), _) => Config::preset(preset)?,
        (None, Some(path)) => configuration::file(path)?,
        (None, None) => unreachable!("the command line asks for one of them"),
    };
    let config = configuration::with_settings(config, &args.set)?;
    let imported = interchange::import(&args.state, &config)?;
    imported.checkpoint.save(&args.output)?;
    let tensors = imported.checkpoint.tensors.len();
    let unused = match imported.unused.as_slice() {
        [] => String::new(),
        names => format!("; not used by this kind of model: {}", names.join(", ")),
    };
    output::print(&format!("{}: {tensors} tensors{unused}", args.output.display()));
    Ok(Outcome::Done)
}
