//! Evaluation, inversion and sampling of a model on a device.

mod determinant;
mod exact;
mod inverter;
mod plane;
mod rigorous;
mod stepwise;

pub use exact::{ExactEvaluator, LIMIT};
#[cfg(feature = "cli")]
pub(crate) use inverter::NOT_INVERTIBLE;
pub use inverter::{Inverted, Inverter, largest_difference};
pub use plane::{PlaneDensity, cell_centres};
pub use rigorous::{Demand, Estimate, Estimator, Precision, bias_bound, estimate, lipschitz_constants, terms_for};
pub use stepwise::{Progress, StepwiseInverter};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::network::{self, Network, Task};
use crate::nn::{Evaluation, LogDet, Probes};

/// Mean results over a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of samples.
    pub samples: usize,
    /// Mean loss: nats (classifier, toy, hybrid) or bits per dimension (density).
    pub loss: f64,
    /// Standard error of `loss` over samples.
    pub loss_standard_error: f64,
    /// Fraction classified rightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean cross-entropy of the classes in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_entropy: Option<f64>,
    /// Mean bits per dimension of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_dim: Option<f64>,
    /// Mean log-density in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_prob: Option<f64>,
    /// ∫ p ln p of the data in nats, where it is known: no model's mean log-density can exceed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_entropy: Option<f64>,
    /// ∫ p of a density in the plane, over a square that holds nearly all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integral: Option<f64>,
    /// How good the estimate is, where that was asked for.
    #[serde(flatten)]
    pub precision: Option<Precision>,
}

/// Mean of independent values and its standard error; zeros of none.
pub(crate) fn mean_and_error(values: &[f64]) -> [f64; 2] {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    [mean, (variance / count).sqrt()]
}

/// The evaluation graph of a network, bound for batches of one size.
pub struct Evaluator {
    task: Task,
    batch: usize,
    streams: usize,
}

impl Evaluator {
    /// Binds the evaluation of batches of `batch` samples, with log-determinants by `log_det` where the model has them.
    ///
    /// # Errors
    /// [`Error::Config`](crate::error::Error::Config) if the log-determinant asked for is not feasible,
    /// [`Error::Gpu`](crate::error::Error::Gpu) if the device has no room.
    pub async fn new(network: &mut Network, batch: usize, log_det: Option<LogDet>) -> Result<Self> {
        let kind = network.model().config().model.kind;
        let labels = kind.has_classes();
        let streams = network.model().streams(log_det.as_ref());
        let graph = network.model().eval_graph(batch, &Evaluation { log_det, probes: Probes::Keys, labels })?;
        let task = network.task("evaluation", &graph).await?;
        Ok(Self { task, batch, streams })
    }

    /// Number of samples in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether the evaluation has such a result.
    pub fn gives(&self, name: &str) -> bool {
        self.task.has(name)
    }

    /// The results of single samples that [`columns`](Self::columns) gives.
    pub fn columns_given(&self) -> Vec<&'static str> {
        COLUMNS.into_iter().filter(|name| self.gives(name)).collect()
    }

    /// Runs one batch; results are then read by name. `draw` tells batches apart where probes are drawn.
    #[track_caller]
    pub fn run(&self, x: &[f32], labels: &[u32], seed: u64, draw: u32) {
        self.task.write("x", x);
        if self.task.has("labels") {
            let labels: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
            self.task.write("labels", &labels);
        }
        if self.task.has("keys") {
            self.task.write("keys", &network::keys(seed, draw, self.streams));
        }
        self.task.run();
    }

    /// Result `name` of the last run.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) if the device failed.
    pub async fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.task.read(name).await
    }

    /// Results of every sample of `batches`: each gives samples, labels, and how many of them count. Batches draw from
    /// `first_draw` on.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) if the device failed.
    pub async fn columns(
        &self,
        batches: impl IntoIterator<Item = (Vec<f32>, Vec<u32>, usize)>,
        seed: u64,
        first_draw: u32,
    ) -> Result<Columns> {
        let mut columns = Columns::new();
        for (draw, (x, labels, real)) in (first_draw..).zip(batches) {
            self.run(&x, &labels, seed, draw);
            for name in self.columns_given() {
                let values = self.read(name).await?;
                columns.entry(name).or_default().extend(values[..real].iter().map(|&one| f64::from(one)));
            }
        }
        Ok(columns)
    }

    /// Mean results over `batches`: each gives samples, labels, and how many of them count.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) if the device failed.
    pub async fn summarize(
        &self,
        batches: impl IntoIterator<Item = (Vec<f32>, Vec<u32>, usize)>,
        seed: u64,
    ) -> Result<Summary> {
        Ok(Summary::of(&self.columns(batches, seed, 0).await?))
    }
}

/// Results of single samples, by the names of the outputs of [evaluation graphs](crate::nn::Model::eval_graph).
pub type Columns = BTreeMap<&'static str, Vec<f64>>;

/// The results that are summarised, where a model has them.
const COLUMNS: [&str; 5] = ["loss", "correct", "cross_entropy", "bits_per_dim", "log_prob"];

impl Summary {
    /// Means over samples.
    pub fn of(columns: &Columns) -> Self {
        let losses = columns.get("loss").map_or(&[][..], Vec::as_slice);
        let count = losses.len().max(1) as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let column = |name: &str| columns.get(name).map(|values| mean(values));
        let [loss, loss_standard_error] = mean_and_error(losses);
        Self {
            samples: losses.len(),
            loss,
            loss_standard_error,
            accuracy: column("correct"),
            cross_entropy: column("cross_entropy"),
            bits_per_dim: column("bits_per_dim"),
            log_prob: column("log_prob"),
            negative_entropy: None,
            integral: None,
            precision: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mean_has_an_error() {
        let [mean, error] = super::mean_and_error(&[1.0, 2.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-12 && (error - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
