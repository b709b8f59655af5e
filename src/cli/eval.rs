//! `iresnet eval`.

use std::path::PathBuf;

use super::Outcome;
use crate::error::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  iresnet eval runs/a/model.safetensors                   on the test split of the data it was trained on
  iresnet eval model.safetensors --data fashion-mnist --log-det unbiased --json";

/// How the log-determinant is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogDet {
    /// From the whole Jacobian: exact, for small inputs only.
    Exact,
    /// Truncated power series with random probes, as in training.
    Series,
    /// Power series truncated at random, without bias.
    Unbiased,
}

/// Evaluate a model on a data set: loss, bits per dimension, accuracy, as they apply.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors).
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// Data set. By default the one that the model was trained on.
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,

    /// Part of the data set: train or test.
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: String,

    /// How to compute the log-determinant. By default as in training.
    #[arg(long, value_name = "HOW", value_enum)]
    pub log_det: Option<LogDet>,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,

    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Evaluates.
///
/// # Errors
/// Of model file, data and adapter.
pub fn run(_args: &Args) -> Result<Outcome> {
    Err(Error::Config("this build cannot evaluate yet".into()))
}
