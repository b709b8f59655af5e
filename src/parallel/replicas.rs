//! Training over several devices: see the [module above](super).

use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::buckets::{self, Buckets};
use super::message;
use super::mirror::Mirror;
use super::peers::{Alone, Peers, rows};
use super::shares::{divide, pieces, seconds};
use super::worker::{Overlap, Worker};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::{Adapter, Gpu, Tuning, adapters, block_on};
use crate::optim;
use crate::train::Learner;

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
    pub(super) config: Config,
    /// Other processes that train the same model.
    pub(super) peers: Rc<dyn Peers>,
    /// The rows of a batch that this process computes.
    rows: Range<usize>,
    pub(super) steps_per_epoch: u64,
    tuning: Tuning,
    pub(super) patience: Patience,
    /// Samples in a batch of an evaluation: as many as the smallest device has room for.
    pub(super) evaluation: usize,
    pub(super) workers: Vec<Worker>,
    /// How gradients are cut.
    pub(super) buckets: Rc<Buckets>,
    /// Of the last step.
    pub(super) overlap: Overlap,
    lost: Vec<Lost>,
    pub(super) mirror: Mirror,
    pub(super) step: u64,
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
            peers: Rc::new(Alone::default()),
            rows: 0..config.data.batch,
            steps_per_epoch,
            tuning,
            patience,
            evaluation: config.data.batch,
            workers: Vec::new(),
            buckets: Rc::new(Buckets::whole(0)),
            overlap: Overlap::default(),
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
        replicas.cut_gradients(buckets::BYTES)?;
        replicas.divide();
        Ok(replicas)
    }

    /// Trains together with other processes from here on, each on its part of the batch, from the numbers of rank 0.
    ///
    /// # Errors
    /// [`Error::PeerLost`].
    pub fn join(mut self, peers: Rc<dyn Peers>) -> Result<Self> {
        self.peers = peers;
        self.level()?;
        Ok(self)
    }

    /// Cuts gradients into buckets of so many bytes, in place of what is usual. All processes must do the same. No sum depends on
    /// it, unless other processes add it up in another order.
    ///
    /// # Errors
    /// [`Error::Config`] where a tensor is too large.
    pub fn cut_gradients(&mut self, bytes: usize) -> Result<()> {
        self.buckets = Rc::new(Buckets::cut(self.lead().network(), self.config.data.batch, bytes)?);
        self.workers.iter_mut().for_each(Worker::unbind);
        Ok(())
    }

    /// Into how many buckets gradients are cut.
    pub fn buckets(&self) -> usize {
        self.buckets.0.len()
    }

    /// How much of the work on gradients of the last step was hidden behind that of devices.
    pub fn overlap(&self) -> Overlap {
        self.overlap
    }

    /// Goes on without processes that were lost, from the numbers of the new rank 0.
    ///
    /// # Errors
    /// [`Error::PeerLost`] if that cannot be.
    pub fn regroup(&mut self) -> Result<()> {
        self.peers.regroup()?;
        self.notes.push(format!("step {}: going on with {} processes", self.step, self.peers.count()));
        self.level()
    }

    /// Takes everything back that was begun since the last finished step.
    pub fn rewind(&mut self) {
        self.workers.iter_mut().for_each(|worker| (worker.stale, worker.begun) = (true, false));
        self.mirror.write(&self.workers[0].learner);
    }

    /// Takes the numbers and the step of rank 0, and divides the batch anew.
    fn level(&mut self) -> Result<()> {
        let told = if self.peers.count() > 1 { message::of_mirror(&self.mirror, self.step, 0) } else { Vec::new() };
        let told = self.peers.share(told)?;
        if self.peers.count() > 1 {
            (self.mirror, self.step, _) = message::mirror(&told);
        }
        self.rows = rows(self.config.data.batch, self.peers.count(), self.peers.rank());
        self.divide();
        self.rewind();
        Ok(())
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
        self.by_the_first(|learner| block_on(learner.initialize(x)))
    }

    /// Brings the norms of all layers to their limits: [`Learner::finish`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if no device is left.
    pub fn finish(&mut self) -> Result<()> {
        self.by_the_first(|learner| block_on(learner.finish()))
    }

    /// Does `work` on the lead of rank 0, and brings the result to all.
    fn by_the_first(&mut self, work: impl Fn(&mut Learner) -> Result<()>) -> Result<()> {
        if self.peers.rank() == 0 {
            self.on_lead(work)?;
            self.reflect()?;
        }
        if self.peers.count() > 1 { self.level() } else { Ok(()) }
    }

    /// Everything the run needs to go on from here: [`Learner::checkpoint`].
    ///
    /// # Errors
    /// [`Error::Gpu`] if no device is left; [`Error::Diverged`] if a number is not finite.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let step = self.step;
        if self.peers.rank() > 0 {
            // The optimizer's state on the device is rank 0's alone.
            self.rewind();
        }
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

    /// Does `work` until it succeeds; devices that fail in it are done without from then on.
    pub(super) fn locally<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Trouble>) -> Result<T> {
        loop {
            let bound = (0..self.workers.len()).try_for_each(|number| {
                self.workers[number].bind(&self.buckets).map_err(|error| Trouble::of(&self.workers, number, error))
            });
            match bound.and_then(|()| work(self)) {
                Ok(done) => return Ok(done),
                Err(Trouble::Other(error)) => return Err(error),
                Err(Trouble::Devices(failed)) => self.without(failed)?,
            }
        }
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
        if self.workers.is_empty() && self.peers.count() > 1 {
            // The others wait: better to open a device at once than to leave them.
            self.lost.iter_mut().for_each(|lost| lost.next = Instant::now());
            self.ask_the_lost();
        }
        if self.workers.is_empty() {
            return Err(last.unwrap_or_else(|| Error::Gpu("no device is left".into())));
        }
        self.rewind();
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
    pub(super) fn ask_the_lost(&mut self) {
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
    pub(super) fn look_at_the_division(&mut self) {
        let wait = if self.looked { NEXT_LOOK } else { FIRST_LOOK };
        if self.workers.len() < 2 || self.step < self.divided_at + wait {
            return;
        }
        (self.divided_at, self.looked) = (self.step, true);
        let speeds = self.speeds();
        let now: Vec<usize> = self.workers.iter().map(|worker| worker.len).collect();
        let better = divide(self.rows.len(), &speeds);
        if better != now && seconds(&better, &speeds) < WORTHWHILE * seconds(&now, &speeds) {
            self.divide();
            // Not in the order of before: another device may lead now.
            let share = |(worker, speed): (&Worker, f64)| format!("{} {} ({speed:.0}/s)", worker.id(), worker.len);
            let shares: Vec<String> = self.workers.iter().zip(self.speeds()).map(share).collect();
            self.notes.push(format!("step {}: samples of a batch by measured speed: {}", self.step, shares.join(", ")));
        }
    }

    /// Samples a second, that of the average device where it is not known.
    fn speeds(&self) -> Vec<f64> {
        let known: Vec<f64> = self.workers.iter().filter_map(|worker| worker.speed).collect();
        let usual = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        self.workers.iter().map(|worker| worker.speed.unwrap_or(usual)).collect()
    }

    /// Gives every device its share. The lead has one: it is where power iteration goes on.
    fn divide(&mut self) {
        let mut shares = divide(self.rows.len(), &self.speeds());
        let largest = (0..shares.len()).rev().max_by_key(|&number| shares[number]).unwrap_or(0);
        if shares.first() == Some(&0) && largest > 0 {
            shares.swap(0, largest);
            self.workers.swap(0, largest);
            self.rewind();
        }
        let mut first = self.rows.start;
        for (number, (worker, len)) in self.workers.iter_mut().zip(shares).enumerate() {
            (worker.first, worker.len, worker.leads) = (first, len, number == 0);
            worker.begun = false;
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
