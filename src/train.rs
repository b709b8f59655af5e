//! Training: two programs a step, one for the gradient, one for the update.
//!
//! The position of a run is a number, its step: order of samples, noise and probes are functions of (seed, step), and
//! the learning rate of the step. What changes besides is the parameters, the state and the optimizer's state, all of
//! which a [`Checkpoint`] holds, so that a resumed run goes on bit for bit. Nothing here touches files or clocks.

use std::collections::VecDeque;

use crate::checkpoint::{Checkpoint, OPTIMIZER};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Read, Tuning};
use crate::graph::Graph;
use crate::network::{self, Network, PARAMS, Task};
use crate::nn::{Model, Probes, param, reversible};
use crate::optim;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Name of the bucket of all gradients.
const GRADS: &str = "grads";
/// Steps whose results may be outstanding. Reading a loss as soon as it is wanted would leave the device idle.
const IN_FLIGHT: usize = 2;
/// When the norms of freshly initialised layers count as known: relative change of σ between two power iterations.
pub(crate) const TIGHT: f64 = 1e-3;
/// Most power iterations of a freshly initialised layer.
pub(crate) const TIGHTEN_LIMIT: u32 = 50;
/// The same for a finished model, which is certified: as close as rounding to f32 lets σ settle.
const FINAL: f64 = 1e-5;
/// Most power iterations of a finished model.
const FINAL_LIMIT: u32 = 200;

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
}

/// A model in training.
pub struct Trainer {
    network: Network,
    config: Config,
    gradient: Task,
    update: Task,
    power: Option<Task>,
    optimizer: Vec<&'static str>,
    step: u64,
    steps_per_epoch: u64,
    outstanding: VecDeque<Outstanding>,
}

struct Outstanding {
    step: u64,
    learning_rate: f64,
    reads: Vec<(&'static str, Read)>,
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
        let model = Model::new(config)?;
        let initial;
        let values = match start {
            Some(checkpoint) => &checkpoint.tensors,
            None => {
                initial = param::initialize(model.params(), config.train.seed);
                &initial
            }
        };
        let mut network = Network::new(gpu, model, values, tuning)?;
        let trainable: Vec<(String, Shape)> = network
            .model()
            .params_in_memory()
            .into_iter()
            .filter(|param| param.is_parameter())
            .map(|param| (format!("grad/{}", param.name), param.shape.clone()))
            .collect();
        network.memory_mut().bucket(GRADS, &trainable)?;
        let len = network.memory().len(PARAMS);
        let optimizer = optim::state_names(&config.optimizer);
        for name in &optimizer {
            network.memory_mut().alloc(name, [len])?;
            if let Some(saved) = start.and_then(|checkpoint| checkpoint.tensor(&format!("{OPTIMIZER}{name}"))) {
                if saved.shape().len() != len {
                    return Err(Error::Config(format!(
                        "the checkpoint's optimizer state {name:?} has {} numbers, this model's has {len}: was \
                         [optimizer] or [model] changed between the runs?",
                        saved.shape().len()
                    )));
                }
                network.memory().write(name, &network.in_memory_order(saved.data()));
            } else if *name == optim::EMA {
                network.memory().copy(PARAMS, name);
            }
        }
        let graph = gradient(network.model());
        let gradient = network.task("gradient", &graph).await?;
        let update = network.task("update", &optim::update_graph(&config.optimizer, len)).await?;
        let power = match network.model().power_graph() {
            Some(graph) => Some(network.task("power iteration", &graph).await?),
            None => None,
        };
        let step = start.map_or(0, |checkpoint| checkpoint.step);
        Ok(Self {
            network,
            config: config.clone(),
            gradient,
            update,
            power,
            optimizer,
            step,
            steps_per_epoch,
            outstanding: VecDeque::new(),
        })
    }

    /// The model on its device.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The model on its device, to bind further graphs.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Number of steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// The task that computes gradients, for profiles and sizes.
    pub fn gradient_task(&self) -> &Task {
        &self.gradient
    }

    /// Sets ActNorm from the n samples in `x` (row-major), so that the input of every block has mean 0 and variance 1 in
    /// each channel, and brings the power iteration of every layer close to its limit.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device has no room.
    pub async fn initialize(&mut self, x: &[f32]) -> Result<()> {
        let n = x.len() / self.network.model().input_len();
        self.tighten(TIGHT, TIGHTEN_LIMIT).await?;
        let graph = self.network.model().init_graph(n);
        if graph.outputs().is_empty() {
            return Ok(());
        }
        let task = self.network.task("initialise", &graph).await?;
        task.write("x", x);
        task.run();
        Ok(())
    }

    /// Power iteration of every layer until its σ moves by less than `tolerance` of itself, at most `limit` rounds.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device has no room.
    async fn tighten(&mut self, tolerance: f64, limit: u32) -> Result<()> {
        if let Some(graph) = self.network.model().tighten_graph(tolerance, limit) {
            self.network.task("tighten", &graph).await?.run();
        }
        Ok(())
    }

    /// Brings the norms of all layers to their limits, so that the finished model keeps the promise of its coefficient:
    /// between steps vectors lag behind the weights a little.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device has no room.
    pub async fn finish(&mut self) -> Result<()> {
        self.tighten(FINAL, FINAL_LIMIT).await
    }

    /// Submits one step on a batch: `x` row-major, `labels` as class numbers (ignored by models without classes).
    #[track_caller]
    pub fn step(&mut self, x: &[f32], labels: &[u32]) {
        let learning_rate = optim::learning_rate(&self.config, self.step, self.steps_per_epoch);
        self.gradient.write("x", x);
        if self.gradient.has("labels") {
            let labels: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
            self.gradient.write("labels", &labels);
        }
        if self.gradient.has("keys") {
            let log_det = self.network.model().training_log_det();
            let streams = self.network.model().streams(log_det.as_ref());
            let step = u32::try_from(self.step).expect("fewer than 2^24 steps");
            self.gradient.write("keys", &network::keys(self.config.train.seed, step, streams));
        }
        self.gradient.run();
        let names =
            ["loss", "accuracy", "log_prior", "log_det", "bits_per_dim", reversible::RESIDUAL, reversible::DRIFT];
        let reads = names.into_iter().filter(|name| self.gradient.has(name));
        let reads = reads.map(|name| (name, self.gradient.start_read(name))).collect();
        self.update.write("lr", &[learning_rate as f32]);
        if self.update.has("step") {
            self.update.write("step", &[(self.step + 1) as f32]);
        }
        self.update.run();
        if let Some(power) = &self.power {
            power.run();
        }
        self.outstanding.push_back(Outstanding { step: self.step, learning_rate, reads });
        self.step += 1;
    }

    /// The report of the oldest step not yet reported, once more than a few are outstanding; of the oldest in any case if
    /// `all`. `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed, [`Error::Diverged`] if the loss is not finite, [`Error::Verification`] if the
    /// backward pass could not invert a block, so that the step's gradient is wrong.
    pub async fn report(&mut self, all: bool) -> Result<Option<StepReport>> {
        if self.outstanding.len() <= if all { 0 } else { IN_FLIGHT } {
            return Ok(None);
        }
        let Some(outstanding) = self.outstanding.pop_front() else { return Ok(None) };
        let mut values = std::collections::HashMap::new();
        for (name, read) in outstanding.reads {
            values.insert(name, read.await?[0]);
        }
        let step = outstanding.step;
        let loss = values["loss"];
        if !loss.is_finite() {
            return Err(Error::Diverged(format!(
                "the loss became {loss} in step {step}; lower optimizer.lr or set optimizer.clip (for instance 1.0), and \
                 resume from the last checkpoint"
            )));
        }
        let log_densities = values.get("log_prior").copied().zip(values.get("log_det").copied()).map(|(a, b)| [a, b]);
        let inversion = values.get(reversible::RESIDUAL).zip(values.get(reversible::DRIFT)).map(|(&a, &b)| [a, b]);
        if let Some(inversion) = inversion {
            reversible::check(step, inversion)?;
        }
        Ok(Some(StepReport {
            step,
            loss,
            accuracy: values.get("accuracy").copied(),
            log_densities,
            bits_per_dim: values.get("bits_per_dim").copied(),
            inversion,
            learning_rate: outstanding.learning_rate,
        }))
    }

    /// Everything the run needs to go on from here.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed; [`Error::Diverged`] if a number is not finite: what nothing can go on from must
    /// not replace what something can.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        let mut tensors = self.network.download().await?;
        for name in &self.optimizer {
            let data = self.network.in_model_order(&self.network.memory().read(name).await?);
            tensors.push((format!("{OPTIMIZER}{name}"), Tensor::new([data.len()], data)));
        }
        let checkpoint = Checkpoint { config: self.config.clone(), step: self.step, tensors };
        checkpoint.check().map_err(|problem| {
            Error::Diverged(format!(
                "after step {}, {problem}; lower optimizer.lr or set optimizer.clip (for instance 1.0), and resume from the \
                 last checkpoint",
                self.step
            ))
        })?;
        Ok(checkpoint)
    }
}
