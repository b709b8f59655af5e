//! Training over several devices: see the [module above](super).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::crew::each;
use super::mirror::Mirror;
use super::shares::{divide, pieces, seconds};
use super::worker::{Assignment, Contribution, Verdict, Worker};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, OnNonfinite};
use crate::error::{Error, Result};
use crate::gpu::{Adapter, Gpu, Tuning, adapters, block_on};
use crate::network::STATE;
use crate::nn::model::DENSITY_LOSS;
use crate::optim;
use crate::train::{GRADS, Learner, StepReport};

/// Steps after a division before it is looked at again: the first time soon, as it was made without measurements.
const FIRST_LOOK: u64 = 4;
/// And the next times.
const NEXT_LOOK: u64 = 25;
/// A new division must be expected to take less than this part of the old one's time: kernels are compiled for it.
const WORTHWHILE: f64 = 0.87;
/// The longest that a lost device is left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long to wait for devices.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one half of a step; a device that takes longer is given up.
    pub step: Duration,
    /// For an evaluation.
    pub evaluation: Duration,
    /// Before a device that was lost is asked to come back; doubled each time that it does not.
    pub retry: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(300),
            evaluation: Duration::from_secs(24 * 3600),
            retry: Duration::from_secs(30),
        }
    }
}

/// A model in training on several devices, of which the first leads.
pub struct Replicas {
    config: Config,
    steps_per_epoch: u64,
    tuning: Tuning,
    pub(super) patience: Patience,
    /// Samples in a batch of an evaluation: as many as the smallest device has room for.
    pub(super) evaluation: usize,
    pub(super) workers: Vec<Worker>,
    lost: Vec<Lost>,
    pub(super) mirror: Mirror,
    step: u64,
    divided_at: u64,
    looked: bool,
    notes: Vec<String>,
}

/// A device that went away.
struct Lost {
    adapter: Adapter,
    least_pieces: usize,
    next: Instant,
    wait: Duration,
}

/// Why a step did not come to its end.
pub(super) enum Trouble {
    /// Devices failed, by number: the others can do it again.
    Devices(Vec<(usize, Error)>),
    /// Something that would happen again.
    Other(Error),
}

impl Replicas {
    /// Prepares training on `adapters`, from initial values or from `start`. Adapters that cannot be opened are left out,
    /// which [`notes`](Self::notes) say; so is a batch that has to be computed in at least `least_pieces` pieces.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration does not fit together; the last adapter's error if none can be used.
    pub fn new(
        adapters: &[Adapter],
        config: &Config,
        steps_per_epoch: u64,
        tuning: Tuning,
        start: Option<&Checkpoint>,
        least_pieces: usize,
        patience: Patience,
    ) -> Result<Self> {
        if config.model.batch_norm {
            return Err(Error::Config(
                "a batch cannot be divided where model.batch_norm = true: every block looks at the whole of it; train on one \
                 adapter, with a smaller data.batch if it has no room"
                    .into(),
            ));
        }
        let mut replicas = Self {
            config: config.clone(),
            steps_per_epoch,
            tuning,
            patience,
            evaluation: config.data.batch,
            workers: Vec::new(),
            lost: Vec::new(),
            mirror: Mirror::default(),
            step: start.map_or(0, |checkpoint| checkpoint.step),
            divided_at: 0,
            looked: false,
            notes: Vec::new(),
        };
        let mut last = None;
        for adapter in adapters {
            match replicas.prepare(adapter, start) {
                Ok(mut worker) => {
                    worker.least_pieces = least_pieces;
                    replicas.workers.push(worker);
                }
                Err(error @ (Error::Config(_) | Error::Model { .. })) => return Err(error),
                Err(error) => {
                    replicas.notes.push(format!("{} is left out: {error}", adapter.info()));
                    replicas.lost.push(Lost::new(adapter, 1, patience.retry));
                    last = Some(error);
                }
            }
        }
        let Some(lead) = replicas.workers.first() else {
            return Err(last.unwrap_or_else(|| Error::NoAdapter("no adapter to train on".into())));
        };
        replicas.mirror = block_on(Mirror::of(&lead.learner))?;
        replicas.divide();
        Ok(replicas)
    }

    /// Opens and prepares one device; smaller batches of evaluation where there is no room for those so far.
    fn prepare(&mut self, adapter: &Adapter, start: Option<&Checkpoint>) -> Result<Worker> {
        loop {
            let tuning = self.tuning.clone();
            match Worker::new(adapter, &self.config, self.steps_per_epoch, self.evaluation, tuning, start) {
                Err(Error::OutOfMemory(_)) if self.evaluation > 1 => self.evaluation = self.evaluation.div_ceil(2),
                done => return done,
            }
        }
    }

    /// Number of steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// The model on the lead, with its optimizer.
    pub fn lead(&self) -> &Learner {
        &self.workers[0].learner
    }

    /// The devices at work with their shares of the batch, in the order of the batch; the first one leads.
    pub fn shares(&self) -> Vec<(Gpu, usize)> {
        self.workers.iter().map(|worker| (worker.gpu().clone(), worker.len)).collect()
    }

    /// All numbers of the run as of the last step.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// What happened since the last call that a user should know: devices that left or came back, other shares.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Sets ActNorm from samples and brings norms close to their limits, on the lead for all:
    /// [`Learner::initialize`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if no device is left.
    pub fn initialize(&mut self, x: &[f32]) -> Result<()> {
        self.on_lead(|learner| block_on(learner.initialize(x)))?;
        self.reflect()
    }

    /// Brings the norms of all layers to their limits: [`Learner::finish`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if no device is left.
    pub fn finish(&mut self) -> Result<()> {
        self.on_lead(|learner| block_on(learner.finish()))?;
        self.reflect()
    }

    /// Everything the run needs to go on from here: [`Learner::checkpoint`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if no device is left; [`Error::Diverged`] if a number is not finite.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let step = self.step;
        self.on_lead(|learner| block_on(learner.checkpoint(step)))
    }

    /// Puts the parameters' moving average, where there is one, in their place.
    pub fn average_in(&mut self) {
        let place = self.workers[0].learner.optimizer().iter().position(|name| *name == optim::EMA);
        if let Some(place) = place {
            self.mirror.params = self.mirror.optimizer[place].clone();
            self.mirror.write_model(&self.workers[0].learner);
            self.workers.iter_mut().skip(1).for_each(|worker| worker.stale = true);
        }
    }

    /// Does one step on a batch, whatever happens to devices meanwhile.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::OutOfMemory`] if no device is left, [`Error::Diverged`] if the loss is not finite,
    /// [`Error::Verification`] if the backward pass could not invert a block. The step is then not done.
    pub fn step(&mut self, x: &[f32], labels: &[u32]) -> Result<StepReport> {
        self.ask_the_lost();
        self.look_at_the_division();
        loop {
            match self.attempt(x, labels) {
                Ok(report) => {
                    self.step += 1;
                    return Ok(report);
                }
                Err(Trouble::Other(error)) => return Err(error),
                Err(Trouble::Devices(failed)) => self.without(failed)?,
            }
        }
    }

    fn attempt(&mut self, x: &[f32], labels: &[u32]) -> Result<StepReport, Trouble> {
        for number in 0..self.workers.len() {
            if let Err(error) = self.workers[number].bind() {
                return Err(Trouble::of(&self.workers, number, error));
            }
        }
        let step = u32::try_from(self.step).expect("fewer than 2^24 steps");
        let assignment = Assignment { x, seed: self.config.train.seed, step, mirror: &self.mirror };
        let limit = self.patience.step;

        let parts = each(&mut self.workers, limit, |worker| worker.forward(&assignment));
        let parts = all(&self.workers, parts)?;
        let mut activations: Vec<Vec<f32>> = Vec::new();
        for part in parts {
            activations.resize(part.len(), Vec::new());
            activations.iter_mut().zip(part).for_each(|(whole, part)| whole.extend(part));
        }
        let lead = &self.workers[0];
        let of_lead = |error| Trouble::of(&self.workers, 0, error);
        let verdict = lead.judge(&activations, labels).map_err(of_lead)?;
        drop(activations);
        let memory = lead.learner.network().memory();
        // With the head's new statistics in it, and the old vectors.
        let state = if verdict.is_some() { block_on(memory.read(STATE)).map_err(of_lead)? } else { Vec::new() };
        let verdict = verdict.unwrap_or_default();

        let (old, mirror) = (&self.mirror.state, &self.mirror);
        let work = |worker: &mut Worker, leads: bool| {
            let state = if leads && !state.is_empty() { &state } else { old };
            worker.backward(&Assignment { mirror, ..assignment }, &verdict.activations, state)
        };
        let contributions = each(&mut self.workers, limit, |worker| work(worker, worker.leads));
        let mut total = Contribution::default();
        for contribution in all(&self.workers, contributions)? {
            total.merge(&contribution);
        }
        let gradients = self.with_head(total.gradients.clone(), &verdict);
        let (loss, values) = results(&verdict, &total);

        let lead = &self.workers[0].learner;
        lead.network().memory().write(GRADS, &gradients);
        lead.set_loss(loss);
        let learning_rate = lead.update(self.step);
        let of_lead = |error| Trouble::of(&self.workers, 0, error);
        let nonfinite = block_on(lead.start_read_nonfinite()).map_err(of_lead)?[0] as u32;
        let mirror = block_on(Mirror::of(lead)).map_err(of_lead)?;
        let skipped = self.config.train.on_nonfinite == OnNonfinite::Skip;
        let report = StepReport::of(self.step, learning_rate, &values, nonfinite, skipped).map_err(Trouble::Other)?;
        self.mirror = mirror;
        self.workers.iter_mut().skip(1).for_each(|worker| worker.stale = true);
        Ok(report)
    }

    /// The gradients of the batch, those in the head's parameters included.
    fn with_head(&self, sums: Vec<f64>, verdict: &Verdict) -> Vec<f32> {
        let mut gradients: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
        if verdict.gradients.is_empty() {
            return gradients;
        }
        let network = self.workers[0].learner.network();
        for param in network.model().params().iter().filter(|param| param.is_parameter()) {
            if !network.model().is_of_head(&param.name) {
                continue;
            }
            let first = network.memory().place_in_bucket(&param.name);
            let place = first..first + param.shape.len();
            gradients[place.clone()].copy_from_slice(&verdict.gradients[place]);
        }
        gradients
    }

    /// Goes on without devices that failed, or with less for those that were only short of memory.
    pub(super) fn without(&mut self, mut failed: Vec<(usize, Error)>) -> Result<()> {
        // From the back, so that numbers stay right.
        failed.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let mut last = None;
        for (number, error) in failed {
            if self.smaller_pieces(number, &error) {
                continue;
            }
            let worker = self.workers.remove(number);
            self.notes.push(format!(
                "step {}: {} is gone, the others take over its share: {error}",
                self.step,
                worker.id()
            ));
            self.lost.push(Lost::new(&worker.adapter, worker.least_pieces, self.patience.retry));
            last = Some(error);
        }
        self.workers.iter_mut().for_each(|worker| worker.stale = true);
        let Some(lead) = self.workers.first_mut() else {
            return Err(last.unwrap_or_else(|| Error::Gpu("no device is left".into())));
        };
        self.mirror.write(&lead.learner);
        if last.is_some() {
            self.divide();
        }
        Ok(())
    }

    /// Whether a device that ran out of memory can go on with smaller pieces of its share.
    fn smaller_pieces(&mut self, number: usize, error: &Error) -> bool {
        let worker = &mut self.workers[number];
        if !matches!(error, Error::OutOfMemory(_)) || worker.len < 2 || worker.least_pieces >= worker.len {
            return false;
        }
        let least_pieces = pieces(worker.len, worker.least_pieces + 1);
        let said = worker.least_pieces > 1;
        if worker.gpu().check().is_err() {
            // It failed outside of an allocation: the device is of no more use, the adapter may be.
            let (adapter, leads, first, len) = (worker.adapter.clone(), worker.leads, worker.first, worker.len);
            let Ok(again) = self.prepare(&adapter, None) else { return false };
            let worker = &mut self.workers[number];
            *worker = again;
            (worker.leads, worker.first, worker.len) = (leads, first, len);
        }
        let worker = &mut self.workers[number];
        worker.least_pieces = least_pieces;
        if !said {
            self.notes.push(format!(
                "{} has no room for {} samples at once: it computes them in pieces and adds up the gradients, which gives \
                 the same result and takes longer ({error})",
                worker.id(),
                worker.len
            ));
        }
        true
    }

    /// Tries to open devices that were lost, where it is time.
    fn ask_the_lost(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<Lost>, Vec<Lost>) =
            std::mem::take(&mut self.lost).into_iter().partition(|lost| lost.next <= now);
        self.lost = later;
        let mut joined = false;
        for mut lost in due {
            // A driver that was reset may list another adapter under the old id.
            let listed = block_on(adapters()).into_iter().find(|one| one.info().id == lost.adapter.info().id);
            lost.adapter = listed.unwrap_or(lost.adapter);
            match self.prepare(&lost.adapter, None) {
                Ok(mut worker) => {
                    worker.least_pieces = lost.least_pieces;
                    self.notes.push(format!("step {}: {} is back", self.step, worker.id()));
                    self.workers.push(worker);
                    joined = true;
                }
                Err(_) => {
                    lost.wait = (2 * lost.wait).min(LONGEST_WAIT);
                    lost.next = Instant::now() + lost.wait;
                    self.lost.push(lost);
                }
            }
        }
        if joined {
            self.divide();
        }
    }

    /// Divides the batch anew if that is worth the compilation of other kernels.
    fn look_at_the_division(&mut self) {
        let wait = if self.looked { NEXT_LOOK } else { FIRST_LOOK };
        if self.workers.len() < 2 || self.step < self.divided_at + wait {
            return;
        }
        (self.divided_at, self.looked) = (self.step, true);
        let speeds = self.speeds();
        let now: Vec<usize> = self.workers.iter().map(|worker| worker.len).collect();
        let better = divide(self.config.data.batch, &speeds);
        if better != now && seconds(&better, &speeds) < WORTHWHILE * seconds(&now, &speeds) {
            self.divide();
            let shares: Vec<String> = self
                .workers
                .iter()
                .zip(&speeds)
                .map(|(worker, speed)| format!("{} {} ({speed:.0}/s)", worker.id(), worker.len))
                .collect();
            self.notes.push(format!("step {}: samples of a batch by measured speed: {}", self.step, shares.join(", ")));
        }
    }

    /// Samples a second, that of the average device where it is not known.
    fn speeds(&self) -> Vec<f64> {
        let known: Vec<f64> = self.workers.iter().filter_map(|worker| worker.speed).collect();
        let usual = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        self.workers.iter().map(|worker| worker.speed.unwrap_or(usual)).collect()
    }

    /// Gives every device its share.
    fn divide(&mut self) {
        let shares = divide(self.config.data.batch, &self.speeds());
        let mut first = 0;
        for (number, (worker, len)) in self.workers.iter_mut().zip(shares).enumerate() {
            (worker.first, worker.len, worker.leads) = (first, len, number == 0);
            worker.least_pieces = worker.least_pieces.clamp(1, len.max(1));
            first += len;
        }
        if self.divided_at != self.step || self.step == 0 {
            self.looked = false;
        }
        self.divided_at = self.step;
    }

    /// Does `work` on the lead; on the next device where that fails.
    fn on_lead<T>(&mut self, work: impl Fn(&mut Learner) -> Result<T>) -> Result<T> {
        loop {
            let lead = &mut self.workers[0];
            if std::mem::take(&mut lead.stale) {
                self.mirror.write_model(&lead.learner);
            }
            let trouble = match work(&mut self.workers[0].learner) {
                Ok(done) => return Ok(done),
                Err(error) => Trouble::of(&self.workers, 0, error),
            };
            match trouble {
                Trouble::Other(error) => return Err(error),
                Trouble::Devices(failed) => self.without(failed)?,
            }
        }
    }

    /// Reads what has changed on the lead.
    fn reflect(&mut self) -> Result<()> {
        self.mirror = self.on_lead(|learner| block_on(Mirror::of(learner)))?;
        self.workers.iter_mut().skip(1).for_each(|worker| worker.stale = true);
        Ok(())
    }
}

impl Lost {
    fn new(adapter: &Adapter, least_pieces: usize, wait: Duration) -> Self {
        Self { adapter: adapter.clone(), least_pieces, next: Instant::now() + wait, wait }
    }
}

impl Trouble {
    /// Whose fault an error is that came up on worker `number`.
    pub(super) fn of(workers: &[Worker], number: usize, error: Error) -> Self {
        let failed = workers[number].gpu().check().is_err() || matches!(error, Error::Gpu(_) | Error::OutOfMemory(_));
        if failed { Self::Devices(vec![(number, error)]) } else { Self::Other(error) }
    }
}

/// The loss, and the results of the whole batch by name.
fn results(verdict: &Verdict, total: &Contribution) -> (f32, HashMap<&'static str, f32>) {
    let mut values: HashMap<&'static str, f32> = total.sums.iter().map(|(&name, &sum)| (name, sum as f32)).collect();
    values.extend(&total.largest);
    let mut loss = total.sums.get(DENSITY_LOSS).copied().unwrap_or_default();
    if !verdict.gradients.is_empty() {
        loss += f64::from(verdict.loss);
        values.insert("accuracy", verdict.accuracy);
    }
    values.insert("loss", loss as f32);
    (loss as f32, values)
}

/// All results, or who failed.
pub(super) fn all<T>(workers: &[Worker], results: Vec<Result<T>>) -> Result<Vec<T>, Trouble> {
    let mut done = Vec::with_capacity(results.len());
    let mut failed = Vec::new();
    for (number, result) in results.into_iter().enumerate() {
        match result.map_err(|error| Trouble::of(workers, number, error)) {
            Ok(value) => done.push(value),
            Err(Trouble::Devices(one)) => failed.extend(one),
            Err(other) => return Err(other),
        }
    }
    if failed.is_empty() { Ok(done) } else { Err(Trouble::Devices(failed)) }
}
