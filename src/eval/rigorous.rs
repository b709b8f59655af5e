//! Likelihoods with their error stated: terms of the series from its truncation bound, probes until their noise is small
//! (the paper's protocol, section 5.2).
//!
//! The number of terms is the smallest for which the bound on what the cut-off series leaves out, summed over all blocks,
//! stays below a given bias. Then the whole set is evaluated again and again with fresh probes; the spread of each sample
//! between passes gives the standard error of the mean, and passes end when it is small enough.
//!
//! Where the log-determinant is a formula one pass without probes is exact.

use serde::Serialize;

use std::collections::BTreeMap;

use super::{Columns, Evaluator};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::nn::logdet::truncation_bound;
use crate::nn::{LogDet, Model, certify};
use crate::random::Distribution;

/// More terms than this are not computed.
const MOST_TERMS: usize = 1000;

/// What is asked of an estimate. Units are those of likelihoods: bits per dimension, or nats for vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Largest bias by cutting the series off.
    pub bias: f64,
    /// Largest standard error by random probes.
    pub standard_error: f64,
    /// Most passes over the data, at least 2.
    pub passes: usize,
}

impl Default for Demand {
    fn default() -> Self {
        Self { bias: 1e-4, standard_error: 1e-4, passes: 20 }
    }
}

/// How good an estimate is. Units are those of likelihoods.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Precision {
    /// Terms of the series; 0 without one.
    pub terms: usize,
    /// Probes for each sample; 0 without any.
    pub probes: usize,
    /// Standard error by random probes.
    pub probe_standard_error: f64,
    /// Bound on the bias by cutting the series off; none where not all blocks are proved to be contractions. The number of
    /// terms is then that for the norms that the layers are meant to have.
    pub bias_bound: Option<f64>,
}

impl Precision {
    /// Of a log-determinant that is a formula.
    pub const EXACT: Self = Self { terms: 0, probes: 0, probe_standard_error: 0.0, bias_bound: Some(0.0) };
}

/// The bound on the bias of the likelihood with so many terms, for Lipschitz constants of all blocks' branches.
pub fn bias_bound(model: &Model, lipschitz: &[f64], terms: usize) -> f64 {
    let blocks = model.blocks().iter().zip(lipschitz);
    blocks.map(|(block, &l)| truncation_bound(block.branch.input.len(), l, terms)).sum::<f64>() / model.nats_per_unit()
}

/// The fewest terms with which the bias of the likelihood is at most `bias`.
///
/// # Errors
/// [`Error::Config`] if not even very many terms suffice, because a branch is not known to be a contraction.
pub fn terms_for(model: &Model, lipschitz: &[f64], bias: f64) -> Result<usize> {
    let enough = |terms: &usize| bias_bound(model, lipschitz, *terms) <= bias;
    (1..=MOST_TERMS).find(enough).ok_or_else(|| {
        let worst = lipschitz.iter().copied().fold(0.0, f64::max);
        Error::Config(format!(
            "no {MOST_TERMS} terms of the series keep its bias below {bias}: a block's Lipschitz constant is only known to \
             be at most {worst:.3}; use `--log-det exact`, or `--log-det series` for an estimate without a bound"
        ))
    })
}

/// Proved upper bounds on the Lipschitz constants of the branches of all blocks: those of the
/// [certificate](crate::nn::certificate).
///
/// # Errors
/// [`Error::Gpu`] if the device failed.
pub async fn lipschitz_constants(network: &Network) -> Result<Vec<f64>> {
    let certificate = certify(network.model(), &network.download().await?);
    Ok(certificate.blocks.iter().map(|block| block.constant).collect())
}

/// What the Lipschitz constants of the branches are meant to be: the coefficient once for each layer.
fn nominal_constants(model: &Model) -> Vec<f64> {
    let coefficient = model.config().model.coefficient.unwrap_or(f64::INFINITY);
    model.blocks().iter().map(|block| coefficient.powi(block.branch.layers() as i32)).collect()
}

/// Results of all samples, and how good their mean is.
pub struct Estimate {
    /// Mean results of each sample over the passes.
    pub columns: Columns,
    /// How good the likelihood is.
    pub precision: Precision,
}

/// Evaluates `batches` (made anew for each pass: samples, labels, and how many of them count) as `demand` asks.
///
/// # Errors
/// Those of [`terms_for`]; [`Error::Gpu`] if the device failed or has no room.
pub async fn estimate<I>(
    network: &mut Network,
    batch: usize,
    batches: impl Fn() -> I,
    seed: u64,
    demand: Demand,
) -> Result<Estimate>
where
    I: Iterator<Item = (Vec<f32>, Vec<u32>, usize)>,
{
    let estimator = Estimator::of(network, demand).await?;
    let evaluator = Evaluator::new(network, batch, Some(estimator.log_det())).await?;
    let pass = async |draw| {
        let mut count = 0;
        let columns = evaluator.columns(batches().inspect(|_| count += 1), seed, draw).await?;
        Ok((columns, count))
    };
    estimator.estimate(pass).await
}

/// How a likelihood is estimated, before anything is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Estimator {
    demand: Demand,
    /// Terms of the series and the bound on its bias; none where the log-determinant is a formula.
    series: Option<(usize, Option<f64>)>,
}

impl Estimator {
    /// What `demand` takes with the model of `network`.
    ///
    /// # Errors
    /// Those of [`terms_for`]; [`Error::Gpu`] if the device failed.
    pub async fn of(network: &Network, demand: Demand) -> Result<Self> {
        let model = network.model();
        if model.is_exact() {
            return Ok(Self { demand, series: None });
        }
        let proved = lipschitz_constants(network).await?;
        let (terms, bias_bound) = match terms_for(model, &proved, demand.bias) {
            Ok(terms) => (terms, Some(bias_bound(model, &proved, terms))),
            Err(_) => (terms_for(model, &nominal_constants(model), demand.bias)?, None),
        };
        Ok(Self { demand, series: Some((terms, bias_bound)) })
    }

    /// The log-determinant to evaluate with.
    pub fn log_det(&self) -> LogDet {
        match self.series {
            None => LogDet::Exact,
            Some((terms, _)) => LogDet::Neumann { terms, samples: 1, probe: Distribution::Rademacher },
        }
    }

    /// The estimate, of as many passes over the data as it takes: `pass` gives the results of all samples with batches that
    /// draw from a number on, and how many batches there were.
    ///
    /// # Errors
    /// Those of `pass`.
    pub async fn estimate(&self, mut pass: impl AsyncFnMut(u32) -> Result<(Columns, u32)>) -> Result<Estimate> {
        let Some((terms, bias_bound)) = self.series else {
            return Ok(Estimate { columns: pass(0).await?.0, precision: Precision::EXACT });
        };
        let mut spreads: BTreeMap<&'static str, Spread> = BTreeMap::new();
        let mut draw = 0;
        let likelihood = loop {
            let (columns, count) = pass(draw).await?;
            draw += count;
            for (name, values) in &columns {
                spreads.entry(name).or_default().add(values);
            }
            let likelihood = spreads.get("bits_per_dim").or(spreads.get("log_prob"));
            let likelihood = likelihood.expect("a model with a log-determinant has a density");
            let enough = likelihood.passes >= 2 && likelihood.standard_error() <= self.demand.standard_error;
            if enough || likelihood.passes >= self.demand.passes.max(2) {
                break likelihood;
            }
        };
        let (probes, probe_standard_error) = (likelihood.passes, likelihood.standard_error());
        let precision = Precision { terms, probes, probe_standard_error, bias_bound };
        let columns = spreads.into_iter().map(|(name, spread)| (name, spread.means)).collect();
        Ok(Estimate { columns, precision })
    }
}

/// Mean and spread of every sample over passes (Welford's recurrence).
#[derive(Default)]
struct Spread {
    passes: usize,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Spread {
    fn add(&mut self, values: &[f64]) {
        self.means.resize(values.len(), 0.0);
        self.squares.resize(values.len(), 0.0);
        self.passes += 1;
        for ((mean, square), value) in self.means.iter_mut().zip(&mut self.squares).zip(values) {
            let off = value - *mean;
            *mean += off / self.passes as f64;
            *square += off * (value - *mean);
        }
    }

    /// Standard error of the mean over all samples, as far as passes differ. At least two passes.
    fn standard_error(&self) -> f64 {
        let variance_of_sums = self.squares.iter().sum::<f64>() / (self.passes - 1) as f64 / self.passes as f64;
        variance_of_sums.sqrt() / self.means.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    #[test]
    fn the_standard_error_is_the_spread_of_the_mean() {
        const SAMPLES: usize = 50;
        const TRIALS: u32 = 400;
        let mut squares = 0.0;
        let mut claimed = 0.0;
        for trial in 0..TRIALS {
            let mut spread = Spread::default();
            for pass in 0..3 {
                // Samples differ much, passes by numbers of variance one.
                let noise = Key::new(1, trial, pass).normals(SAMPLES);
                let values: Vec<f64> = noise.iter().enumerate().map(|(i, &x)| 10.0 * i as f64 + f64::from(x)).collect();
                spread.add(&values);
            }
            let mean = spread.means.iter().sum::<f64>() / SAMPLES as f64;
            squares += (mean - 10.0 * (SAMPLES as f64 - 1.0) / 2.0).powi(2);
            claimed += spread.standard_error().powi(2);
        }
        let ratio = squares / claimed;
        // The variance of a variance from 400 trials is 7 %.
        assert!((0.75..1.33).contains(&ratio), "{ratio}");
    }
}
