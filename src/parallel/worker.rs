//! One device of several: its share of the batch, and how it computes it.

use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::buckets::{self, Buckets};
use super::mirror::Mirror;
use super::shares::pieces;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Result;
use crate::eval::Evaluator;
use crate::gpu::{Adapter, Gpu, Read, Tuning, block_on};
use crate::network::{self, STATE, Stages, Task};
use crate::nn::model::{DENSITY_LOSS, seen, seen_gradient};
use crate::nn::{Probes, reversible};
use crate::train::{GRADS, Learner};

/// Scalars of a shard that add up to the batch's.
pub(super) const SUMMED: [&str; 4] = [DENSITY_LOSS, "log_prior", "log_det", "bits_per_dim"];
/// Scalars of which the largest counts.
pub(super) const LARGEST: [&str; 2] = [reversible::RESIDUAL, reversible::DRIFT];
/// How much of a new measurement of speed is believed.
const BELIEF: f64 = 0.3;
/// Whoever waits longer than this for a device waits for what it computes, and not only for its answer.
const ANSWER: Duration = Duration::from_micros(200);

/// What a step is about, the same for all workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assignment<'a> {
    /// Samples of the whole batch, row-major.
    pub(super) x: &'a [f32],
    /// The run's seed.
    pub(super) seed: u64,
    /// The step.
    pub(super) step: u32,
    /// What every device must hold before it begins.
    pub(super) mirror: &'a Mirror,
}

/// What the shards of a worker contribute to a step, beside gradients.
#[derive(Clone, Debug, Default)]
pub(super) struct Contribution {
    /// Sums of results.
    pub(super) sums: HashMap<&'static str, f64>,
    /// Largest of others.
    pub(super) largest: HashMap<&'static str, f32>,
    /// How long gradients took.
    pub(super) overlap: Overlap,
}

/// Time that the host spent on gradients: taking them from where a device put them, adding them up and, for one device,
/// whatever follows from that.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    /// Seconds in all, added up over devices.
    pub total: f64,
    /// Those of them in which the device was still at work on the rest of the step.
    pub hidden: f64,
}

impl Overlap {
    fn add(&mut self, other: Self) {
        self.total += other.total;
        self.hidden += other.hidden;
    }
}

/// A bucket of gradients that is done: its number, and sums over a worker's samples.
pub(super) type Told = (usize, Vec<f64>);

/// One device of several.
pub(super) struct Worker {
    pub(super) learner: Learner,
    /// How to open the device again.
    pub(super) adapter: Adapter,
    pub(super) evaluator: Evaluator,
    /// The first sample of its share, and their number.
    pub(super) first: usize,
    pub(super) len: usize,
    /// Whether it is the lead.
    pub(super) leads: bool,
    /// Into how many pieces the share must be cut at least, for want of memory.
    pub(super) least_pieces: usize,
    /// Whether its parameters and state are older than the mirror.
    pub(super) stale: bool,
    /// Whether the forward pass of its share, in one piece, is done and waits for the rest.
    pub(super) begun: bool,
    /// Samples a second, once known.
    pub(super) speed: Option<f64>,
    /// Seconds spent in this step.
    spent: f64,
    /// Steps since shaders were compiled; drivers do that at the first use.
    warm: usize,
    config: Config,
    /// The shard's program and its number of samples.
    task: Option<(usize, Task)>,
    /// The head's program, on the lead.
    head: Option<Task>,
    scales: usize,
    sample: usize,
}

impl Worker {
    /// Prepares a device. It gets its share and numbers later.
    pub(super) fn new(
        adapter: &Adapter,
        config: &Config,
        steps_per_epoch: u64,
        evaluation: usize,
        tuning: Tuning,
        start: Option<&Checkpoint>,
    ) -> Result<Self> {
        block_on(async {
            let gpu = Gpu::open_adapter(adapter).await?;
            let mut learner = Learner::new(&gpu, config, steps_per_epoch, tuning, start).await?;
            learner.gradient(None).await?;
            let log_det = learner.network().model().training_log_det();
            let evaluator = Evaluator::new(learner.network_mut(), evaluation, log_det).await?;
            let scales = learner.network().model().seen_shapes().len();
            let sample = learner.network().model().input_len();
            Ok(Self {
                learner,
                adapter: adapter.clone(),
                evaluator,
                first: 0,
                len: 0,
                leads: false,
                least_pieces: 1,
                stale: true,
                begun: false,
                speed: None,
                spent: 0.0,
                warm: 0,
                config: config.clone(),
                task: None,
                head: None,
                scales,
                sample,
            })
        })
    }

    pub(super) fn gpu(&self) -> &Gpu {
        self.learner.network().gpu()
    }

    pub(super) fn id(&self) -> &str {
        &self.gpu().info().id
    }

    /// Samples of one run of the shard's program.
    fn piece(&self) -> usize {
        self.len / pieces(self.len, self.least_pieces)
    }

    fn pieces(&self) -> usize {
        pieces(self.len, self.least_pieces)
    }

    /// Makes the programs that the share needs, where they are not there.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::error::Error::OutOfMemory) if the device has no room.
    pub(super) fn bind(&mut self, buckets: &Buckets) -> Result<()> {
        let total = self.config.data.batch;
        if self.leads && self.head.is_none() {
            let head = self.learner.network().model().head_graph(total);
            if let Some(graph) = head {
                self.head = Some(block_on(self.learner.network_mut().task("head", &graph))?);
            }
        }
        if self.len == 0 || self.task.as_ref().is_some_and(|(n, _)| *n == self.piece()) {
            return Ok(());
        }
        // Its memory is wanted for the next one; buffers are freed when the device is next looked after.
        self.task = None;
        self.begun = false;
        block_on(self.gpu().idle())?;
        let n = self.piece();
        let graph = self.learner.network().model().shard_graph(n, total, Probes::Keys);
        let known_first: Vec<String> = (0..self.scales).map(seen).collect();
        let awaited: Vec<String> = (0..self.scales).map(seen_gradient).collect();
        let stages = Stages { known_first: &known_first, awaited: &awaited, bucket: GRADS, parts: &buckets.0 };
        let task = self.learner.network_mut().task_in_stages("shard", &graph, &stages);
        self.task = Some((n, block_on(task)?));
        self.warm = 0;
        Ok(())
    }

    /// The forward pass as far as it goes without the head: for each scale, the activations of all its samples.
    pub(super) fn forward(&mut self, assignment: &Assignment<'_>) -> Result<Vec<Vec<f32>>> {
        let begun = Instant::now();
        self.spent = 0.0;
        self.refresh(assignment.mirror);
        let mut activations = vec![Vec::new(); self.scales];
        if self.scales > 0 && self.len > 0 {
            for piece in 0..self.pieces() {
                self.begin(assignment, piece);
                for (scale, all) in activations.iter_mut().enumerate() {
                    all.extend(block_on(self.task().read(&seen(scale)))?);
                }
            }
            self.begun = self.pieces() == 1;
        }
        self.spent += begun.elapsed().as_secs_f64();
        Ok(activations)
    }

    /// Brings the mirror's parameters and state to the device, where it has older ones.
    pub(super) fn refresh(&mut self, mirror: &Mirror) {
        if std::mem::take(&mut self.stale) {
            mirror.write_model(&self.learner);
        }
    }

    /// Has other programs made where gradients are cut into buckets otherwise than they were.
    pub(super) fn unbind(&mut self) {
        (self.task, self.begun) = (None, false);
    }

    /// The rest: gradients, given those in the activations of the whole batch. `state` is what the device must hold as its
    /// state before every piece. Each of the `buckets` is told of as soon as it is done.
    pub(super) fn backward(
        &mut self,
        assignment: &Assignment<'_>,
        activations: &[Vec<f32>],
        state: &[f32],
        buckets: &Buckets,
        tell: &(dyn Fn(Told) + Sync),
    ) -> Result<Contribution> {
        let begun = Instant::now();
        let mut contribution = Contribution::default();
        if self.len == 0 {
            return Ok(contribution);
        }
        let mut sums = vec![Vec::new(); buckets.0.len()];
        for piece in 0..self.pieces() {
            if !std::mem::take(&mut self.begun) {
                self.refresh(assignment.mirror);
                // The piece before has advanced the power iteration; a device that takes over has the old statistics.
                if (piece > 0 || self.leads && self.scales > 0) && !state.is_empty() {
                    self.learner.network().memory().write(STATE, state);
                }
                self.begin(assignment, piece);
            }
            let (first, n) = (self.first + piece * self.piece(), self.piece());
            for (scale, all) in activations.iter().enumerate() {
                let row = all.len() / self.config.data.batch;
                self.task().write(&seen_gradient(scale), &all[first * row..(first + n) * row]);
            }
            let is_last = piece + 1 == self.pieces();
            // Beside this thread, as some drivers compute while one submits.
            let added = std::thread::scope(|scope| {
                let (give, reads) = channel();
                let adding = scope.spawn(|| add_up(reads, &mut sums, is_last, tell));
                for (number, bucket) in buckets.0.iter().enumerate() {
                    self.task().run_stage(1 + number);
                    // Nobody takes it any more where one before could not be read.
                    let _ = give.send(self.learner.network().memory().start_read_ranges(GRADS, bucket));
                }
                drop(give);
                adding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            contribution.overlap.add(added?);
            let scalars = SUMMED.into_iter().chain(LARGEST).filter(|name| self.task().has(name));
            let scalars: Vec<_> = scalars.map(|name| (name, self.task().start_read(name))).collect();
            for (name, read) in scalars {
                let value = block_on(read)?[0];
                if LARGEST.contains(&name) {
                    let largest = contribution.largest.entry(name).or_insert(value);
                    // NaN must not hide.
                    *largest = if value > *largest || value.is_nan() { value } else { *largest };
                } else {
                    *contribution.sums.entry(name).or_default() += f64::from(value);
                }
            }
        }
        self.spent += begun.elapsed().as_secs_f64();
        self.measured();
        Ok(contribution)
    }

    /// Uploads a piece and submits its forward pass.
    fn begin(&self, assignment: &Assignment<'_>, piece: usize) {
        let n = self.piece();
        let first = self.first + piece * n;
        self.task().write("x", &assignment.x[first * self.sample..(first + n) * self.sample]);
        if self.task().has("keys") {
            let model = self.learner.network().model();
            let log_det = model.training_log_det();
            let (streams, per_sample) = (model.streams(log_det.as_ref()), model.streams_per_sample(log_det.as_ref()));
            let keys = network::keys_from(assignment.seed, assignment.step, streams, per_sample, first);
            self.task().write("keys", &keys);
        }
        self.task().run_stage(0);
    }

    fn task(&self) -> &Task {
        let (_, task) = self.task.as_ref().expect("bound before the step");
        task
    }

    /// Sees to it that evaluations take batches of this size.
    pub(super) fn evaluate_batches_of(&mut self, size: usize) -> Result<()> {
        if self.evaluator.batch() != size {
            let log_det = self.learner.network().model().training_log_det();
            self.evaluator = block_on(Evaluator::new(self.learner.network_mut(), size, log_det))?;
        }
        Ok(())
    }

    /// The head on the activations of the whole batch: results and the gradients in the activations.
    pub(super) fn judge(&self, activations: &[Vec<f32>], labels: &[u32]) -> Result<Option<Verdict>> {
        let Some(head) = &self.head else { return Ok(None) };
        for (scale, all) in activations.iter().enumerate() {
            head.write(&seen(scale), all);
        }
        let labels: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
        head.write("labels", &labels);
        head.run();
        block_on(async {
            let mut verdict = Verdict { loss: head.read("loss").await?[0], ..Verdict::default() };
            verdict.accuracy = head.read("accuracy").await?[0];
            for scale in 0..self.scales {
                verdict.activations.push(head.read(&seen_gradient(scale)).await?);
            }
            verdict.gradients = self.learner.network().memory().read(GRADS).await?;
            Ok(Some(verdict))
        })
    }

    /// Takes note of how long the step took.
    fn measured(&mut self) {
        self.warm += 1;
        if self.warm == 1 {
            return;
        }
        let now = self.len as f64 / self.spent.max(1e-9);
        self.speed = Some(self.speed.map_or(now, |old| old + BELIEF * (now - old)));
    }
}

/// Adds what `reads` give, a bucket each in their order, to `sums`, and tells of the sums with the last piece.
fn add_up(
    reads: impl IntoIterator<Item = Read>,
    sums: &mut [Vec<f64>],
    is_last: bool,
    tell: &(dyn Fn(Told) + Sync),
) -> Result<Overlap> {
    let mut overlap = Overlap::default();
    let (mut spent, mut waiting) = (0.0, Instant::now());
    for ((number, sum), read) in sums.iter_mut().enumerate().zip(reads) {
        let arrived = block_on(read.arrive())?;
        // Who has to wait now was not late before.
        if waiting.elapsed() > ANSWER {
            overlap.hidden += spent;
        }
        let adding = Instant::now();
        buckets::add(sum, &arrived.take()?);
        if is_last {
            tell((number, std::mem::take(sum)));
        }
        spent = adding.elapsed().as_secs_f64();
        overlap.total += spent;
        waiting = Instant::now();
    }
    Ok(overlap)
}

/// What the head says of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) loss: f32,
    pub(super) accuracy: f32,
    /// The loss's gradients in the activations of each scale.
    pub(super) activations: Vec<Vec<f32>>,
    /// The bucket of gradients, of which those of the head are new. Only rank 0 has it.
    pub(super) gradients: Vec<f32>,
    /// The state after the head: its new statistics, and the old vectors. Only rank 0 has it.
    pub(super) state: Vec<f32>,
}

impl Contribution {
    /// Adds what another worker contributes.
    pub(super) fn merge(&mut self, other: &Self) {
        self.overlap.add(other.overlap);
        for (name, value) in &other.sums {
            *self.sums.entry(name).or_default() += value;
        }
        for (name, &value) in &other.largest {
            let largest = self.largest.entry(name).or_insert(value);
            *largest = if value > *largest || value.is_nan() { value } else { *largest };
        }
    }
}
