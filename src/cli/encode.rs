//! `iresnet encode`.

use std::path::PathBuf;

use super::eval::{LogDet, refuse_estimates};
use super::{Outcome, batched, model, output};
use crate::arrays::{self, Array, ArrayFile, Format};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::eval::{Evaluator, ExactEvaluator};
use crate::gpu::{Gpu, block_on};
use crate::nn::logdet::EXACT_LIMIT;
use crate::nn::{self, Model};
use crate::shape::Shape;

/// What is written of what the model computes, in this order.
const RESULTS: [&str; 5] = ["z", "logits", "log_prior", "log_det", "log_prob"];

const EXAMPLES: &str = "\
Examples:
  iresnet encode model.safetensors --input images.npy --output codes.npz
  iresnet encode model.safetensors --input images.safetensors --output codes.safetensors --log-det exact

The input holds `x` (N, C, H, W), or (N, D) for points, as the model takes it: scaled and normalised already. The output
gets z (N, D), every factored-out part flattened in order and then the rest, and as they apply logits (N, classes),
log_prior, log_det and log_prob (N), in nats. A .npy file holds one array: x as input, z as output.";

/// Send arrays through a model: latent numbers, logits, densities.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Arrays to encode (.safetensors, .npz or .npy).
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,

    /// File to write (.safetensors, .npz or .npy).
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// How to compute the log-determinant. By default as in training.
    #[arg(long, value_name = "HOW", value_enum)]
    pub log_det: Option<LogDet>,

    /// Samples computed at once. By default as many as in a training step.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Encodes.
///
/// # Errors
/// Of model file, arrays and adapter; [`Error::Io`] where the output cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    Format::of_output(&args.output)?;
    let checkpoint = Checkpoint::load(&args.model)?;
    let x = batched::input(&ArrayFile::open(&args.input)?, "x", &checkpoint.config.model.input)?;
    let model = Model::new(&checkpoint.config)?;
    refuse_estimates(model.is_exact(), args.log_det)?;
    let whole = args.log_det == Some(LogDet::Exact) && !model.is_exact() && model.latent_len() > EXACT_LIMIT;
    let log_det = log_det(&model, args.log_det)?.filter(|_| !whole);
    let results = block_on(async {
        let gpu = Gpu::open(args.adapter.as_deref()).await?;
        let (mut network, config) = model::place(&gpu, checkpoint)?;
        let batch = batched::size(args.batch, config.data.batch, &x);
        let exact = if whole { Some(ExactEvaluator::new(&mut network, batch).await?) } else { None };
        let evaluator = Evaluator::new(&mut network, batch, log_det).await?;
        let given = |name: &&str| evaluator.gives(name) || whole && name.starts_with("log_");
        let mut results: Vec<(&str, Vec<f32>)> =
            RESULTS.into_iter().filter(given).map(|name| (name, Vec::new())).collect();
        // A classifier compares with labels, whose verdict is not wanted here.
        let labels = vec![0; batch];
        for (draw, (part, real)) in batched::parts(&x, batch).enumerate() {
            let densities = match &exact {
                Some(exact) => exact.run(&mut network, &part, real).await?,
                None => Vec::new(),
            };
            evaluator.run(&part, &labels, config.train.seed, draw as u32);
            for (name, all) in &mut results {
                match (*name, whole) {
                    ("log_prior", true) => all.extend(densities.iter().map(|[log_prior, _]| *log_prior as f32)),
                    ("log_det", true) => all.extend(densities.iter().map(|[_, log_det]| *log_det as f32)),
                    ("log_prob", true) => all.extend(densities.iter().map(|[a, b]| (a + b) as f32)),
                    _ => {
                        let data = evaluator.read(name).await?;
                        all.extend(&data[..data.len() / batch * real]);
                    }
                }
            }
        }
        Ok::<_, Error>(results)
    })?;
    let count = x.shape()[0];
    let finite = results.iter().all(|(_, data)| data.iter().all(|x| x.is_finite()));
    let results: Vec<(&str, Array)> = results.into_iter().map(|(name, data)| (name, rows(count, data))).collect();
    arrays::write(&args.output, &results)?;
    let names: Vec<String> = results.iter().map(|(name, array)| format!("{name} {}", array.shape)).collect();
    output::print(&format!("{}: {}", args.output.display(), names.join(", ")));
    if !finite {
        output::note("warning: some results are not finite; the input is far from what the model was trained on");
    }
    Ok(Outcome::Done)
}

/// `data` as `count` rows, or as a vector where each has one number.
fn rows(count: usize, data: Vec<f32>) -> Array {
    let width = data.len() / count;
    let shape = if width == 1 { Shape::from([count]) } else { Shape::from([count, width]) };
    Array::floats(shape, data)
}

/// The log-determinant asked for: without a wish that of training; none for a classifier.
fn log_det(model: &Model, asked: Option<LogDet>) -> Result<Option<nn::LogDet>> {
    let settings = &model.config().log_det;
    let (terms, samples, probe) = (settings.terms, settings.samples, settings.probe.distribution());
    Ok(match (model.training_log_det(), asked) {
        (None, Some(_)) => {
            return Err(Error::Config("--log-det: a classifier has no density; leave it away".into()));
        }
        (trained, None) => trained,
        (_, Some(LogDet::Exact)) => Some(nn::LogDet::Exact),
        // Without a gradient only the memory differs from the series that is differentiated through.
        (_, Some(LogDet::Series)) => Some(nn::LogDet::Neumann { terms, samples, probe }),
        (_, Some(LogDet::Unbiased)) => {
            let (law, exact_terms) = (settings.law(), settings.exact_terms);
            Some(nn::LogDet::Unbiased { law, exact_terms, samples, probe })
        }
    })
}
