//! `iresnet export`.

use std::path::PathBuf;

use super::{Outcome, model, output};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::interchange;

const EXAMPLES: &str = "\
Examples:
  iresnet export runs/a/model.safetensors --output exported

In Python, into a model of the published code (its load_state_dict wants version numbers that files do not have, and its
ActNorm initialises itself anew unless told otherwise):
  state = safetensors.torch.load_file(\"exported/model.safetensors\")
  with torch.no_grad():
      for name, value in model.state_dict().items(): value.copy_(state[name])
  for module in model.modules():
      if isinstance(module, ActNorm2D): module._init = True

The folder gets
  model.safetensors  the state dict under the published names; itself a model file, for this program and for browsers
  config.toml        its configuration; `iresnet import` takes both back
  model.json         what a page needs to know before it loads the model: shapes, classes, size, hash";

/// Write a model for PyTorch and for the web.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Folder to write; made where it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

/// Exports.
///
/// # Errors
/// Of the model file; [`Error::Io`](crate::error::Error::Io) where the folder cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    let checkpoint = Checkpoint::load(&args.model)?.model_only();
    let written = interchange::export(&checkpoint, &args.output)?;
    for path in written {
        output::print(&format!("{}", path.display()));
    }
    Ok(Outcome::Done)
}
