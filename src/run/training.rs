//! What a run trains with: one device, which is never waited for, or several that work as one.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::checkpoint::Checkpoint;
use crate::cli::output;
use crate::config::Config;
use crate::data::Batch;
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::{Evaluator, Summary};
use crate::gpu::{Adapter, Gpu, Row, Tuning};
use crate::network::PARAMS;
use crate::nn::Model;
use crate::optim;
use crate::parallel::{Patience, Peers, Replicas};
use crate::train::{StepReport, Trainer};

/// Name under which parameters wait while their average is evaluated.
const KEPT: &str = "params while averaged";

/// A model in training, on one device or on several.
pub(super) enum Training {
    /// On one, with steps in flight.
    One(Box<One>),
    /// On several, or on one in pieces.
    Many(Box<Replicas>),
}

pub(super) struct One {
    trainer: Trainer,
    evaluator: Evaluator,
}

impl Training {
    /// Prepares training on `adapters`, from `start` or from the initial values that `source` gives; in pieces where that
    /// is asked for or where one device has no room for a batch.
    ///
    /// # Errors
    /// Of the configuration and of devices.
    pub(super) async fn new(
        adapters: &[Adapter],
        config: &Config,
        source: &Source,
        tuning: &Tuning,
        start: Option<&Checkpoint>,
        pieces: usize,
        peers: Rc<dyn Peers>,
    ) -> Result<Self> {
        let per_epoch = source.steps_per_epoch();
        let mut least_pieces = pieces;
        if let ([adapter], 1, 1) = (adapters, pieces, peers.count()) {
            match One::new(adapter, config, source, tuning, start).await {
                Err(Error::OutOfMemory(problem)) if config.data.batch > 1 && !config.model.batch_norm => {
                    output::note(&format!(
                        "{problem}\nthe batch is computed in pieces whose gradients are added up: the same result, in more \
                         time; a smaller data.batch or train.memory = \"checkpoint\" would avoid it"
                    ));
                    least_pieces = 2;
                }
                done => return done.map(|one| Self::One(Box::new(one))),
            }
        }
        let patience = Patience::default();
        let mut replicas =
            Replicas::new(adapters, config, per_epoch, tuning.clone(), start, least_pieces, patience)?.join(peers)?;
        if start.is_none() {
            replicas.initialize(source.first(config.train.init_batch).x.data())?;
        }
        Ok(Self::Many(Box::new(replicas)))
    }

    /// Number of steps done.
    pub(super) fn step_count(&self) -> u64 {
        match self {
            Self::One(one) => one.trainer.step_count(),
            Self::Many(replicas) => replicas.step_count(),
        }
    }

    /// The model.
    pub(super) fn model(&self) -> &Model {
        match self {
            Self::One(one) => one.trainer.network().model(),
            Self::Many(replicas) => replicas.lead().network().model(),
        }
    }

    /// The devices at work.
    pub(super) fn gpus(&self) -> Vec<Gpu> {
        match self {
            Self::One(one) => vec![one.trainer.network().gpu().clone()],
            Self::Many(replicas) => replicas.shares().into_iter().map(|(gpu, _)| gpu).collect(),
        }
    }

    /// The kernels chosen, on the lead.
    pub(super) fn choices(&self) -> BTreeMap<String, String> {
        let network = match self {
            Self::One(one) => one.trainer.network(),
            Self::Many(replicas) => replicas.lead().network(),
        };
        network.tuning().choices(network.gpu())
    }

    /// What happened that a user should know.
    pub(super) fn notes(&mut self) -> Vec<String> {
        match self {
            Self::One(_) => Vec::new(),
            Self::Many(replicas) => replicas.notes(),
        }
    }

    /// Does the next step; gives the reports that are in by now.
    ///
    /// # Errors
    /// As [`Trainer::report`] and [`Replicas::step`].
    pub(super) async fn step(&mut self, batch: &Batch) -> Result<Vec<StepReport>> {
        match self {
            Self::One(one) => {
                one.trainer.step(batch.x.data(), &batch.labels);
                one.reports(false).await
            }
            Self::Many(replicas) => Ok(vec![replicas.step(batch.x.data(), &batch.labels)?]),
        }
    }

    /// The same with every kernel timed, on one device: [`Trainer::profile_step`].
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub(super) async fn profile_step(&mut self, batch: &Batch) -> Result<(Vec<StepReport>, Vec<Row>)> {
        let Self::One(one) = self else { return Ok((self.step(batch).await?, Vec::new())) };
        let rows = one.trainer.profile_step(batch.x.data(), &batch.labels).await?;
        Ok((one.reports(false).await?, rows))
    }

    /// The reports of steps whose results are still under way.
    ///
    /// # Errors
    /// As [`Trainer::report`].
    pub(super) async fn drain(&mut self) -> Result<Vec<StepReport>> {
        match self {
            Self::One(one) => one.reports(true).await,
            Self::Many(_) => Ok(Vec::new()),
        }
    }

    /// Everything the run needs to go on from here.
    ///
    /// # Errors
    /// Of the device; [`Error::Diverged`] if a number is not finite.
    pub(super) async fn checkpoint(&mut self) -> Result<Checkpoint> {
        match self {
            Self::One(one) => one.trainer.checkpoint().await,
            Self::Many(replicas) => replicas.checkpoint(),
        }
    }

    /// Results on `test`, of the parameters' moving average where there is one.
    ///
    /// # Errors
    /// Of the device.
    pub(super) async fn evaluate(&mut self, test: &Source, seed: u64) -> Result<Summary> {
        match self {
            Self::One(one) => one.evaluate(test, seed).await,
            Self::Many(replicas) => replicas.evaluate(|batch| test.once(batch), seed),
        }
    }

    /// Compares what all devices hold: [`Replicas::compare`].
    ///
    /// # Errors
    /// [`Error::Verification`], [`Error::PeerLost`].
    pub(super) fn compare(&mut self) -> Result<()> {
        match self {
            Self::One(_) => Ok(()),
            Self::Many(replicas) => replicas.compare(),
        }
    }

    /// Goes on without processes that were lost: [`Replicas::regroup`].
    ///
    /// # Errors
    /// [`Error::PeerLost`].
    pub(super) fn regroup(&mut self) -> Result<()> {
        match self {
            Self::One(_) => Ok(()),
            Self::Many(replicas) => replicas.regroup(),
        }
    }

    /// Takes back what was begun since the last finished step.
    pub(super) fn rewind(&mut self) {
        if let Self::Many(replicas) = self {
            replicas.rewind();
        }
    }

    /// Ends training: the moving average becomes the model, and norms are brought to their limits.
    ///
    /// # Errors
    /// Of the device.
    pub(super) async fn finish(&mut self) -> Result<()> {
        match self {
            Self::One(one) => {
                one.average_in();
                one.trainer.finish().await
            }
            Self::Many(replicas) => {
                replicas.average_in();
                replicas.finish()
            }
        }
    }
}

impl One {
    async fn new(
        adapter: &Adapter,
        config: &Config,
        source: &Source,
        tuning: &Tuning,
        start: Option<&Checkpoint>,
    ) -> Result<Self> {
        let gpu = Gpu::open_adapter(adapter).await?;
        let mut trainer = Trainer::new(&gpu, config, source.steps_per_epoch(), tuning.clone(), start).await?;
        if start.is_none() {
            let first = source.first(config.train.init_batch);
            trainer.initialize(first.x.data()).await?;
        }
        let log_det = trainer.network().model().training_log_det();
        let evaluator = Evaluator::new(trainer.network_mut(), config.data.batch, log_det).await?;
        if config.optimizer.ema > 0.0 {
            let len = trainer.network().memory().len(PARAMS);
            trainer.network_mut().memory_mut().alloc(KEPT, [len])?;
        }
        Ok(Self { trainer, evaluator })
    }

    /// The reports that are in, or of all steps.
    async fn reports(&mut self, all: bool) -> Result<Vec<StepReport>> {
        let mut reports = Vec::new();
        while let Some(report) = self.trainer.report(all).await? {
            reports.push(report);
        }
        Ok(reports)
    }

    async fn evaluate(&mut self, test: &Source, seed: u64) -> Result<Summary> {
        let averaged = self.trainer.network().memory().contains(KEPT);
        if averaged {
            self.trainer.network().memory().copy(PARAMS, KEPT);
            self.average_in();
        }
        let summary = self.evaluator.summarize(test.once(self.evaluator.batch()), seed).await?;
        if averaged {
            self.trainer.network().memory().copy(KEPT, PARAMS);
        }
        Ok(summary)
    }

    /// Puts the parameters' moving average, where there is one, in their place.
    fn average_in(&self) {
        let memory = self.trainer.network().memory();
        if memory.contains(optim::EMA) {
            memory.copy(optim::EMA, PARAMS);
        }
    }
}
