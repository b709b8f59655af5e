//! `iresnet eval`.

use std::path::PathBuf;

use super::{Outcome, model, output};
use crate::data::Split;
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::{Evaluator, Summary};
use crate::gpu::block_on;
use crate::nn;

const EXAMPLES: &str = "\
Examples:
  iresnet eval runs/a/model.safetensors                   on the test split of the data it was trained on
  iresnet eval model.safetensors --data fashion-mnist --log-det series --json";

/// How the log-determinant is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogDet {
    /// From the whole Jacobian: exact, for small inputs only.
    Exact,
    /// Truncated power series with random probes, as in training.
    Series,
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
pub fn run(args: &Args) -> Result<Outcome> {
    let summary = block_on(evaluate(args))?;
    if args.json {
        output::print_json(&summary);
        return Ok(Outcome::Done);
    }
    output::print(&format!("samples        {}", summary.samples));
    let error = summary.loss_standard_error;
    let both = summary.accuracy.is_some() && summary.bits_per_dim.is_some();
    // The standard error is that of the loss: with both a density and classes it belongs to neither alone.
    let print = |what: &str, value: f64, unit: &str| {
        let error = if both { String::new() } else { format!(" ± {error:.4}") };
        output::print(&format!("{what:<14} {value:.4}{error} {unit}"));
    };
    if let Some(accuracy) = summary.accuracy {
        output::print(&format!("accuracy       {:.2} %", 100.0 * accuracy));
    }
    if let Some(cross_entropy) = summary.cross_entropy {
        print("cross-entropy", cross_entropy, "nats");
    }
    match (summary.bits_per_dim, summary.log_prob) {
        (Some(bits), _) => print("bits/dim", bits, ""),
        (None, Some(log_prob)) => print("log-likelihood", log_prob, "nats"),
        (None, None) => {}
    }
    Ok(Outcome::Done)
}

async fn evaluate(args: &Args) -> Result<Summary> {
    let (mut network, config) = model::open(&args.model, args.adapter.as_deref()).await?;
    let split = match args.split.as_str() {
        "train" => Split::Train,
        "test" => Split::Test,
        other => return Err(Error::Config(format!("--split {other}: there are `train` and `test`"))),
    };
    let source = Source::open(&config, args.data.as_deref(), split)?;
    let log_det = match (network.model().training_log_det(), args.log_det) {
        (None, Some(_)) => {
            return Err(Error::Config("--log-det: a classifier has no density; leave it away".into()));
        }
        (trained, None) => trained,
        (_, Some(LogDet::Exact)) => Some(nn::LogDet::Exact),
        (_, Some(LogDet::Series)) => Some(nn::LogDet::Series {
            terms: config.log_det.terms,
            samples: config.log_det.samples,
            probe: config.log_det.probe.distribution(),
        }),
    };
    let evaluator = Evaluator::new(&mut network, config.data.batch, log_det).await?;
    evaluator.summarize(source.once(evaluator.batch()), config.train.seed).await
}
