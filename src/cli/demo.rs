//! `iresnet demo`.

use std::path::PathBuf;

use super::Outcome;
use crate::error::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  iresnet demo                     everything goes to runs/demo
  iresnet demo --out /tmp/demo";

/// Train a small model on built-in data and write a report with pictures.
///
/// Needs no data and no network: the images are part of the program.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder for everything it writes; ends with report.html.
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Runs the demonstration.
///
/// # Errors
/// Of adapter and device; [`Error::Io`] where the folder cannot be written.
pub fn run(_args: &Args) -> Result<Outcome> {
    Err(Error::Config("this build has no demonstration yet".into()))
}
