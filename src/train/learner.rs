//! A model with its optimizer on one device: what holds a run's numbers, and changes them once there is a gradient.

use crate::checkpoint::{Checkpoint, OPTIMIZER};
use crate::config::Config;
use crate::error::{Error, Result};
#[cfg(feature = "cli")]
use crate::gpu::Row;
use crate::gpu::{Gpu, Read, Tuning};
use crate::graph::Graph;
use crate::network::{Network, PARAMS, Task};
use crate::nn::{Model, param};
use crate::optim;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Name of the bucket of all gradients.
pub const GRADS: &str = "grads";
/// Name of the loss of a step, a scalar.
pub(crate) const LOSS: &str = "loss";
/// When the norms of freshly initialised layers count as known: relative change of σ between two power iterations.
pub(crate) const TIGHT: f64 = 1e-3;
/// Most power iterations of a freshly initialised layer.
pub(crate) const TIGHTEN_LIMIT: u32 = 50;
/// The same for a finished model, which is certified: as close as rounding to f32 lets σ settle.
const FINAL: f64 = 1e-5;
/// Most power iterations of a finished model.
const FINAL_LIMIT: u32 = 200;

/// A model in training on one device: parameters, state, gradients, the optimizer's state, and its update.
pub struct Learner {
    network: Network,
    config: Config,
    update: Task,
    power: Option<Task>,
    optimizer: Vec<&'static str>,
    steps_per_epoch: u64,
}

impl Learner {
    /// Prepares training on `gpu`: from initial values, or going on from `start` (whose optimizer state is used if it is
    /// there). `steps_per_epoch` is what the learning rate's schedule counts in. The gradient's program is bound next, by
    /// [`gradient`](Self::gradient).
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
        // Shared by the gradient's program, which writes it, and the update's, which looks at it.
        network.memory_mut().alloc(LOSS, [])?;
        let update = network.task("update", &optim::guarded_update_graph(&config.optimizer, len)).await?;
        let power = match network.model().power_graph() {
            Some(graph) => Some(network.task("power iteration", &graph).await?),
            None => None,
        };
        Ok(Self { network, config: config.clone(), update, power, optimizer, steps_per_epoch })
    }

    /// The model on its device.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The model on its device, to bind further graphs.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Binds the program that computes gradients and the loss of whole batches, if it is one program; else the loss is
    /// given by [`set_loss`](Self::set_loss). To be called once, before anything else is bound: after that, the name of the
    /// loss is free for others.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the device has no room.
    pub async fn gradient(&mut self, graph: Option<&Graph>) -> Result<Option<Task>> {
        let task = match graph {
            Some(graph) => Some(self.network.task("gradient", graph).await?),
            None => None,
        };
        self.network.memory_mut().free(LOSS);
        Ok(task)
    }

    /// Uploads the loss of a step whose gradients come from elsewhere.
    pub fn set_loss(&self, loss: f32) {
        self.update.write(LOSS, &[loss]);
    }

    /// Begins to read how many gradients of the last update were no numbers; with any it changed nothing.
    pub fn start_read_nonfinite(&self) -> Read {
        self.update.start_read(optim::NONFINITE)
    }

    /// Names of the optimizer's state tensors.
    pub fn optimizer(&self) -> &[&'static str] {
        &self.optimizer
    }

    /// Submits the update of step `step` (counted from 0) with the gradients that are in [`GRADS`], and the power iteration
    /// where that follows it; gives the learning rate.
    pub fn update(&self, step: u64) -> f64 {
        let learning_rate = self.prepare_update(step);
        self.update.run();
        if let Some(power) = &self.power {
            power.run();
        }
        learning_rate
    }

    /// The same with every kernel timed.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    #[cfg(feature = "cli")]
    pub async fn profile_update(&self, step: u64) -> Result<(f64, Vec<Row>)> {
        let learning_rate = self.prepare_update(step);
        let mut rows = self.update.session().profile().await?;
        if let Some(power) = &self.power {
            rows.extend(power.session().profile().await?);
        }
        Ok((learning_rate, rows))
    }

    /// Uploads what the update of this step depends on.
    fn prepare_update(&self, step: u64) -> f64 {
        let learning_rate = optim::learning_rate(&self.config, step, self.steps_per_epoch);
        self.update.write("lr", &[learning_rate as f32]);
        if self.update.has("step") {
            self.update.write("step", &[(step + 1) as f32]);
        }
        learning_rate
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

    /// Everything the run needs to go on from here.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed; [`Error::Diverged`] if a number is not finite: what nothing can go on from must
    /// not replace what something can.
    pub async fn checkpoint(&self, step: u64) -> Result<Checkpoint> {
        let mut tensors = self.network.download().await?;
        for name in &self.optimizer {
            let data = self.network.in_model_order(&self.network.memory().read(name).await?);
            tensors.push((format!("{OPTIMIZER}{name}"), Tensor::new([data.len()], data)));
        }
        let checkpoint = Checkpoint { config: self.config.clone(), step, tensors };
        checkpoint.check().map_err(|problem| {
            Error::Diverged(format!(
                "after step {step}, {problem}; lower optimizer.lr or set optimizer.clip (for instance 1.0), and resume from the \
                 last checkpoint"
            ))
        })?;
        Ok(checkpoint)
    }
}
