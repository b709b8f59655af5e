//! Training: two programs a step, one for the gradient, one for the update.
//!
//! The position of a run is a number, its step: order of samples, noise and probes are functions of (seed, step), and
//! the learning rate of the step. What changes besides is the parameters, the state and the optimizer's state, all of
//! which a [`Checkpoint`] holds, so that a resumed run goes on bit for bit. Nothing here touches files or clocks.

mod learner;

use std::collections::{HashMap, VecDeque};

use crate::checkpoint::Checkpoint;
use crate::config::{Config, OnNonfinite};
use crate::error::{Error, Result};
#[cfg(feature = "cli")]
use crate::gpu::Row;
use crate::gpu::{Gpu, Read, Tuning};
use crate::graph::Graph;
use crate::network::{self, Network, Task};
use crate::nn::{Model, Probes, reversible};

pub use learner::{GRADS, Learner};
pub(crate) use learner::{TIGHT, TIGHTEN_LIMIT};

/// Steps whose results may be outstanding. Reading a loss as soon as it is wanted would leave the device idle.
const IN_FLIGHT: usize = 2;
/// What one training step reports.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step, from 0.
    pub step: u64,
    /// The loss: nats (classifier, toy, hybrid) or bits per dimension (density).
    pub loss: f32,
    /// Fraction of the batch classified rightly.
    pub accuracy: Option<f32>,
    /// Mean log-density under the prior and mean log-determinant, in nats.
    pub log_densities: Option<[f32; 2]>,
    /// Mean bits per dimension of images.
    pub bits_per_dim: Option<f32>,
    /// How well blocks were inverted, where `train.memory = "reversible"`: largest residual of an inversion and largest
    /// difference of a recovered input from the true one, as [`reversible`] defines them.
    pub inversion: Option<[f32; 2]>,
    /// The learning rate.
    pub learning_rate: f64,
    /// How many of the loss and the gradients were no numbers. With any the step changed nothing.
    pub nonfinite: u32,
}

/// Results of a step that are reported, where the model has them.
pub(crate) const REPORTED: [&str; 7] =
    ["loss", "accuracy", "log_prior", "log_det", "bits_per_dim", reversible::RESIDUAL, reversible::DRIFT];

impl StepReport {
    /// From the values of [`REPORTED`] results. Steps that were not made are errors unless they are to be `skipped`.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss or a gradient is not finite, [`Error::Verification`] if the backward pass could not
    /// invert a block.
    pub(crate) fn of(
        step: u64,
        learning_rate: f64,
        values: &HashMap<&'static str, f32>,
        nonfinite: u32,
        skipped: bool,
    ) -> Result<Self> {
        let loss = values["loss"];
        let value = |name: &str| values.get(name).copied();
        let inversion = value(reversible::RESIDUAL).zip(value(reversible::DRIFT)).map(|(a, b)| [a, b]);
        // Where the forward pass is sound, a block that could not be inverted is why gradients are no numbers.
        if let Some(inversion) = inversion.filter(|_| loss.is_finite() && (nonfinite == 0 || !skipped)) {
            reversible::check(step, inversion)?;
        }
        if !skipped && (nonfinite > 0 || !loss.is_finite()) {
            let what = match (loss.is_finite(), nonfinite) {
                (false, 0 | 1) => format!("the loss became {loss} in step {step}"),
                (false, n) => format!("the loss became {loss} in step {step}, with {} gradients", n - 1),
                (true, n) => format!("{n} gradients were no numbers in step {step}"),
            };
            return Err(Error::Diverged(format!(
                "{what}; lower optimizer.lr or set optimizer.clip (for instance 1.0), and resume from the last checkpoint"
            )));
        }
        Ok(Self {
            step,
            loss,
            accuracy: value("accuracy"),
            log_densities: value("log_prior").zip(value("log_det")).map(|(a, b)| [a, b]),
            bits_per_dim: value("bits_per_dim"),
            inversion,
            learning_rate,
            nonfinite,
        })
    }
}

/// A model in training.
pub struct Trainer {
    learner: Learner,
    config: Config,
    gradient: Task,
    step: u64,
    outstanding: VecDeque<Outstanding>,
}

struct Outstanding {
    step: u64,
    learning_rate: f64,
    reads: Vec<(&'static str, Read)>,
    nonfinite: Read,
}

impl Trainer {
    /// Prepares training on `gpu`: from initial values, or going on from `start` (whose optimizer state is used if it is
    /// there). `steps_per_epoch` is what the learning rate's schedule counts in.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration does not fit together, [`Error::Gpu`] if the device has no room.
    pub async fn new(
        gpu: &Gpu,
        config: &Config,
        steps_per_epoch: u64,
        tuning: Tuning,
        start: Option<&Checkpoint>,
    ) -> Result<Self> {
        let gradient = |model: &Model| model.gradient_graph(config.data.batch, Probes::Keys);
        Self::by(gpu, config, steps_per_epoch, tuning, start, gradient).await
    }

    /// The same with gradients of another loss: a graph with an output `loss`, and `grad/NAME` for every parameter. What it
    /// wants besides samples and labels is written to the [gradient task](Self::gradient_task) before each step.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub async fn by(
        gpu: &Gpu,
        config: &Config,
        steps_per_epoch: u64,
        tuning: Tuning,
        start: Option<&Checkpoint>,
        gradient: impl FnOnce(&Model) -> Graph,
    ) -> Result<Self> {
        let mut learner = Learner::new(gpu, config, steps_per_epoch, tuning, start).await?;
        let graph = gradient(learner.network().model());
        let gradient = learner.gradient(Some(&graph)).await?.expect("a graph was given");
        let step = start.map_or(0, |checkpoint| checkpoint.step);
        Ok(Self { learner, config: config.clone(), gradient, step, outstanding: VecDeque::new() })
    }

    /// The model on its device.
    pub fn network(&self) -> &Network {
        self.learner.network()
    }

    /// The model on its device, to bind further graphs.
    pub fn network_mut(&mut self) -> &mut Network {
        self.learner.network_mut()
    }

    /// Number of steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// The task that computes gradients, for profiles and sizes.
    pub fn gradient_task(&self) -> &Task {
        &self.gradient
    }

    /// Submits one step on a batch: `x` row-major, `labels` as class numbers (ignored by models without classes).
    #[track_caller]
    pub fn step(&mut self, x: &[f32], labels: &[u32]) {
        self.feed(x, labels);
        self.gradient.run();
        let reads = self.start_reads();
        let learning_rate = self.learner.update(self.step);
        self.stepped(reads, learning_rate);
    }

    /// The same step with the same results, with every kernel timed, and so slower: the rows of its programs. Nothing else is
    /// under way meanwhile.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    #[cfg(feature = "cli")]
    pub async fn profile_step(&mut self, x: &[f32], labels: &[u32]) -> Result<Vec<Row>> {
        self.feed(x, labels);
        let mut rows = self.gradient.session().profile().await?;
        let reads = self.start_reads();
        let (learning_rate, of_update) = self.learner.profile_update(self.step).await?;
        rows.extend(of_update);
        self.stepped(reads, learning_rate);
        Ok(rows)
    }

    /// Uploads what the gradient of this step depends on.
    fn feed(&self, x: &[f32], labels: &[u32]) {
        self.gradient.write("x", x);
        if self.gradient.has("labels") {
            let labels: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
            self.gradient.write("labels", &labels);
        }
        if self.gradient.has("keys") {
            let log_det = self.learner.network().model().training_log_det();
            let streams = self.learner.network().model().streams(log_det.as_ref());
            let step = u32::try_from(self.step).expect("fewer than 2^24 steps");
            self.gradient.write("keys", &network::keys(self.config.train.seed, step, streams));
        }
    }

    fn start_reads(&self) -> Vec<(&'static str, Read)> {
        let reads = REPORTED.into_iter().filter(|name| self.gradient.has(name));
        reads.map(|name| (name, self.gradient.start_read(name))).collect()
    }

    /// Notes a step whose work is submitted.
    fn stepped(&mut self, reads: Vec<(&'static str, Read)>, learning_rate: f64) {
        let nonfinite = self.learner.start_read_nonfinite();
        self.outstanding.push_back(Outstanding { step: self.step, learning_rate, reads, nonfinite });
        self.step += 1;
    }

    /// The report of the oldest step not yet reported, once more than a few are outstanding; of the oldest in any case if
    /// `all`. `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed, [`Error::Diverged`] if the loss or a gradient is not finite (unless such steps are
    /// skipped), [`Error::Verification`] if the
    /// backward pass could not invert a block, so that the step's gradient is wrong.
    pub async fn report(&mut self, all: bool) -> Result<Option<StepReport>> {
        if self.outstanding.len() <= if all { 0 } else { IN_FLIGHT } {
            return Ok(None);
        }
        let Some(outstanding) = self.outstanding.pop_front() else { return Ok(None) };
        let mut values = HashMap::new();
        for (name, read) in outstanding.reads {
            values.insert(name, read.await?[0]);
        }
        let nonfinite = outstanding.nonfinite.await?[0] as u32;
        let skipped = self.config.train.on_nonfinite == OnNonfinite::Skip;
        StepReport::of(outstanding.step, outstanding.learning_rate, &values, nonfinite, skipped).map(Some)
    }

    /// Sets ActNorm from the n samples in `x`, and brings norms close to their limits: [`Learner::initialize`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device has no room.
    pub async fn initialize(&mut self, x: &[f32]) -> Result<()> {
        self.learner.initialize(x).await
    }

    /// Brings the norms of all layers to their limits: [`Learner::finish`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device has no room.
    pub async fn finish(&mut self) -> Result<()> {
        self.learner.finish().await
    }

    /// Everything the run needs to go on from here: [`Learner::checkpoint`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed; [`Error::Diverged`] if a number is not finite.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        self.learner.checkpoint(self.step).await
    }
}
