//! `iresnet eval`.

use std::path::PathBuf;

use super::{Outcome, model, output};
use crate::data::source::Source;
use crate::data::{Split, toy};
use crate::error::{Error, Result};
use crate::eval::{self, Columns, Demand, Evaluator, ExactEvaluator, PlaneDensity, Precision, Summary};
use crate::gpu::block_on;
use crate::network::Network;
use crate::nn;
use crate::parallel::Team;

const EXAMPLES: &str = "\
Examples:
  iresnet eval runs/a/model.safetensors                   on the test split of the data it was trained on
  iresnet eval model.safetensors --limit 1000 --standard-error 0.001
  iresnet eval model.safetensors --data fashion-mnist --log-det series --json
  iresnet eval model.safetensors --log-det exact --limit 10

A density is estimated rigorously unless --log-det says otherwise: as many terms of the
power series as keep its bias below --bias, and passes with fresh probes until their noise
is below --standard-error. Both are bits per dimension (nats for vectors), and printed.";

/// How the log-determinant is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogDet {
    /// From the whole Jacobian of every block: exact, and slow for large inputs.
    Exact,
    /// Power series with the number of terms and probes of training.
    Series,
    /// Power series cut off at random: right on average.
    Unbiased,
}

/// Where a density in the plane is integrated: beyond the reach of every built-in data set, in cells that the midpoint
/// rule can trust.
const EXTENT: f64 = 8.0;
const CELLS: usize = 512;

/// Evaluate a model on a data set: loss, bits per dimension, accuracy, as they apply.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Data set. By default the one that the model was trained on.
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,

    /// Part of the data set: train or test.
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: String,

    /// Use only the first N samples.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    /// How to compute the log-determinant. By default a series with an error bound.
    #[arg(long, value_name = "HOW", value_enum)]
    pub log_det: Option<LogDet>,

    /// Largest bias of a rigorous estimate.
    #[arg(long, value_name = "BIAS", default_value_t = Demand::default().bias)]
    pub bias: f64,

    /// Largest standard error, by random probes, of a rigorous estimate.
    #[arg(long, value_name = "ERROR", default_value_t = Demand::default().standard_error)]
    pub standard_error: f64,

    /// Most probes for each sample of a rigorous estimate, at least 2.
    #[arg(long, value_name = "N", default_value_t = Demand::default().passes)]
    pub probes: usize,

    /// Adapters, as `iresnet adapters` names them, or "all". By default the best one. Several share the batches out.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub adapter: Vec<String>,

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
    if let Some(precision) = summary.precision.filter(|found| found.probe_standard_error > args.standard_error) {
        output::note(&format!(
            "after {} probes the standard error is still {:.2e}; more --probes make it smaller",
            precision.probes, precision.probe_standard_error
        ));
    }
    if args.json {
        output::print_json(&summary);
        return Ok(Outcome::Done);
    }
    output::print(&format!("samples        {}", summary.samples));
    let error = summary.loss_standard_error;
    let both = summary.accuracy.is_some() && summary.bits_per_dim.is_some();
    // The standard error is that of the loss: with both a density and classes it belongs to neither alone.
    let print = |what: &str, value: f64, unit: &str| {
        let error = if both { String::new() } else { format!(" ± {error:.5}") };
        output::print(&format!("{what:<14} {value:.5}{error} {unit}"));
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
    if let Some(best) = summary.negative_entropy {
        output::print(&format!("               {best:.5} nats at best: the negative entropy of the data"));
    }
    if let Some(integral) = summary.integral {
        output::print(&format!("integral       {integral:.5} of the density over [-{EXTENT}, {EXTENT}]²"));
    }
    if let Some(precision) = summary.precision {
        if precision == Precision::EXACT {
            output::print("               exact: the log-determinant of this model is a formula");
            return Ok(Outcome::Done);
        }
        let Precision { terms, probes, probe_standard_error, bias_bound } = precision;
        output::print(&format!("               ± {probe_standard_error:.1e} by {probes} probes a sample"));
        output::print(&match bias_bound {
            Some(bound) => {
                format!("               ± {bound:.1e} at most by cutting the series off after {terms} terms")
            }
            None => {
                format!("               after {terms} terms of the series; not every block is proved a contraction")
            }
        });
    }
    Ok(Outcome::Done)
}

async fn evaluate(args: &Args) -> Result<Summary> {
    let (networks, config) = model::open_several(&args.model, &args.adapter).await?;
    let network = &networks[0];
    let split = match args.split.as_str() {
        "train" => Split::Train,
        "test" => Split::Test,
        other => return Err(Error::Config(format!("--split {other}: there are `train` and `test`"))),
    };
    let demand = Demand { bias: args.bias, standard_error: args.standard_error, passes: args.probes };
    if !(demand.bias > 0.0 && demand.standard_error > 0.0 && demand.passes >= 2) {
        return Err(Error::Config(
            "--bias and --standard-error must be above 0, and --probes at least 2 to know their spread".into(),
        ));
    }
    let source = Source::open(&config, args.data.as_deref(), split)?;
    let (batch, seed) = (config.data.batch, config.train.seed);
    let batches = || limited(source.once(batch), args.limit.unwrap_or(usize::MAX));
    let trained = network.model().training_log_det();
    if trained.is_none() && args.log_det.is_some() {
        return Err(Error::Config("--log-det: a classifier has no density; leave it away".into()));
    }
    let settings = &config.log_det;
    let (samples, probe) = (settings.samples, settings.probe.distribution());
    let formula = network.model().is_exact();
    let has_density = trained.is_some();
    refuse_estimates(formula, args.log_det)?;
    let small = formula || network.model().input_len() <= nn::logdet::EXACT_LIMIT;
    let log_det = match args.log_det {
        None if matches!(trained, None | Some(nn::LogDet::Exact)) => trained,
        None => {
            let estimator = eval::Estimator::of(network, demand).await?;
            let mut team = evaluators(networks, batch, Some(&estimator.log_det()))?;
            let found = estimator.estimate(async |draw| columns(&mut team, batches(), seed, draw)).await?;
            return Ok(Summary { precision: Some(found.precision), ..Summary::of(&found.columns) });
        }
        Some(LogDet::Exact) if small => Some(nn::LogDet::Exact),
        Some(LogDet::Exact) => return exactly(networks, batch, batches(), seed),
        // Without a gradient only the memory differs from `Series`.
        Some(LogDet::Series) => Some(nn::LogDet::Neumann { terms: settings.terms, samples, probe }),
        Some(LogDet::Unbiased) => {
            let (law, exact_terms) = (settings.law(), settings.exact_terms);
            Some(nn::LogDet::Unbiased { law, exact_terms, samples, probe })
        }
    };
    let plane = network.model().input_len() == 2 && log_det == Some(nn::LogDet::Exact);
    let mut team = evaluators(networks, batch, log_det.as_ref())?;
    let mut summary = Summary::of(&columns(&mut team, batches(), seed, 0)?.0);
    summary.precision = (formula && has_density).then_some(Precision::EXACT);
    if plane {
        summary.negative_entropy = toy::negative_entropy(args.data.as_ref().unwrap_or(&config.data.name));
        summary.integral = Some(PlaneDensity::of(team.first(), EXTENT, CELLS).await?.integral());
    }
    Ok(summary)
}

/// Where the log-determinant is a formula nothing is estimated.
///
/// # Errors
/// [`Error::Config`] if an estimate is asked for all the same.
pub(super) fn refuse_estimates(formula: bool, asked: Option<LogDet>) -> Result<()> {
    match asked {
        Some(LogDet::Series | LogDet::Unbiased) if formula => Err(Error::Config(
            "--log-det: the log-determinant of this model is a formula, exact without series or probes; leave it away"
                .into(),
        )),
        _ => Ok(()),
    }
}

type Samples = (Vec<f32>, Vec<u32>, usize);

/// Batches of the first `most` samples.
fn limited(batches: impl Iterator<Item = Samples>, most: usize) -> impl Iterator<Item = Samples> {
    batches.scan(most, |left, (x, labels, real)| {
        let real = real.min(*left);
        *left -= real;
        (real > 0).then_some((x, labels, real))
    })
}

/// Binds the evaluation on all devices.
fn evaluators(networks: Vec<Network>, batch: usize, log_det: Option<&nn::LogDet>) -> Result<Team<Evaluator>> {
    Team::new(networks, |network| block_on(Evaluator::new(network, batch, log_det.cloned())))
}

/// Results of every sample of `batches`, which draw from `first_draw` on, and how many batches there were.
fn columns(
    team: &mut Team<Evaluator>,
    batches: impl Iterator<Item = Samples> + Send,
    seed: u64,
    first_draw: u32,
) -> Result<(Columns, u32)> {
    let parts = team.map((first_draw..).zip(batches), |_, evaluator, (draw, batch)| {
        block_on(evaluator.columns([batch.clone()], seed, *draw))
    })?;
    team.notes().iter().for_each(|note| output::note(note));
    Ok((joined(&parts), parts.len() as u32))
}

/// The columns of all parts, one below the other.
fn joined(parts: &[Columns]) -> Columns {
    let mut all = Columns::new();
    for (name, values) in parts.iter().flatten() {
        all.entry(name).or_default().extend(values);
    }
    all
}

/// With the determinants of whole Jacobians.
fn exactly(
    networks: Vec<Network>,
    batch: usize,
    batches: impl Iterator<Item = Samples> + Send,
    seed: u64,
) -> Result<Summary> {
    // A cheap estimate gives everything else; what depends on the log-determinant is then corrected.
    let cheap = nn::LogDet::Neumann { terms: 1, samples: 1, probe: crate::random::Distribution::Rademacher };
    let mut team = Team::new(networks, |network| {
        let exact = block_on(ExactEvaluator::new(network, batch))?;
        Ok((exact, block_on(Evaluator::new(network, batch, Some(cheap.clone())))?))
    })?;
    let parts = team.map((0..).zip(batches), |network, (exact, evaluator), (draw, (x, labels, real))| {
        let mut columns = block_on(evaluator.columns([(x.clone(), labels.clone(), *real)], seed, *draw))?;
        for (at, [log_prior, log_det]) in block_on(exact.run(network, x, *real))?.into_iter().enumerate() {
            let correction = log_prior + log_det - columns["log_prob"][at];
            let rates = [("log_prob", 1.0), ("bits_per_dim", -1.0 / network.model().nats_per_unit())];
            for (name, rate) in rates.into_iter().chain([("loss", network.model().loss_per_nat())]) {
                if let Some(column) = columns.get_mut(name) {
                    column[at] += rate * correction;
                }
            }
        }
        Ok(columns)
    })?;
    team.notes().iter().for_each(|note| output::note(note));
    Ok(Summary::of(&joined(&parts)))
}
