//! `iresnet train`.

use std::path::PathBuf;

use super::Outcome;
use crate::error::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  iresnet train --preset NAME                           train a preset, output in runs/NAME
  iresnet train model.toml --out runs/a                 train from a configuration
  iresnet train model.toml --set optimizer.lr=0.01 --set train.epochs=5
  iresnet train --out runs/a --resume                   go on where runs/a stopped
  iresnet train model.toml --adapter vulkan:0,vulkan:1  share every batch between two adapters
  iresnet train model.toml --dry-run                    show the model, its memory and time, train nothing

The output folder holds config.toml (with every key resolved), metrics.jsonl, checkpoints, pictures, the model file and
report.html. Ctrl-C finishes the step, saves, and exits with 130; the run can be resumed.";

/// Train a model from a configuration or a preset.
///
/// A run is determined by its configuration: the same one gives the same model on the same adapter, whether or not it
/// was interrupted and resumed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration, in TOML. Not needed with --preset, nor with --resume.
    #[arg(value_name = "CONFIG.toml", conflicts_with = "preset", required_unless_present_any = ["preset", "resume"])]
    pub config: Option<PathBuf>,

    /// A configuration that comes with the program.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// Set a key of the configuration, such as optimizer.lr=0.01. May be given several times; the last one counts.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Folder for everything the run writes. By default runs/ and the name of the configuration or preset.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Go on from the newest checkpoint in the output folder.
    #[arg(long)]
    pub resume: bool,

    /// Adapters to train on, as `iresnet adapters` names them, separated by commas, or `all`. By default the best one.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub adapter: Vec<String>,

    /// Stop after this many steps in all.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,

    /// Begin with the parameters of a model file.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub init: Option<PathBuf>,

    /// Check everything and show what would be done, but train nothing and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Trains.
///
/// # Errors
/// Of configuration, data, adapter and model file; [`Error::Diverged`] where the loss ceases to be a number.
pub fn run(_args: &Args) -> Result<Outcome> {
    Err(Error::Config("this build cannot train yet".into()))
}
