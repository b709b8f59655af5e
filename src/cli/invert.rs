//! `iresnet invert`.

use std::path::PathBuf;

use super::Outcome;
use crate::error::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  iresnet invert model.safetensors --input a.png b.png --output recon.png
  iresnet invert model.safetensors --input a.png --output recon.png --iterations 10

The picture shows each input beside its reconstruction; the largest error of each is printed.";

/// Encode images, reconstruct them from their codes by fixed-point iteration, and show both.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors).
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// Pictures to reconstruct, PNG or JPEG.
    #[arg(short, long, value_name = "IMAGE", required = true, num_args = 1..)]
    pub input: Vec<PathBuf>,

    /// Picture to write.
    #[arg(short, long, value_name = "PNG")]
    pub output: PathBuf,

    /// Most iterations for one residual block.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub iterations: u32,

    /// A block is done when its iterate moves less than this.
    #[arg(long, value_name = "T", default_value_t = 1e-5)]
    pub tolerance: f64,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Inverts.
///
/// # Errors
/// Of model file, pictures and adapter; [`Error::Io`] where the picture cannot be written.
pub fn run(_args: &Args) -> Result<Outcome> {
    Err(Error::Config("this build cannot invert yet".into()))
}
