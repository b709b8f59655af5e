//! Inversion of a model on a device, a few rounds of one block at a time, so that somebody can look on, or change their
//! mind. Samples come out as they do from an [`Inverter`](super::Inverter).
//!
//! On the device there is one program for each distinct branch: a single round. Operands are copied to it where a block
//! begins; what lies between blocks only moves numbers, and is done on the host.

use super::Inverted;
use super::inverter::require_invertible;
use crate::error::{Error, Result};
use crate::gpu::Read;
use crate::network::{Network, PARAMS, Task};
use crate::nn::Stop;
use crate::nn::model::WayBack;
use crate::shape::Shape;

/// The bucket of what a round knows of each sample.
const NUMBERS: &str = "numbers";

/// Most rounds that are submitted without a look at the residuals.
const MOST_BLIND: u32 = 16;

/// Rounds after which the residuals of a block are first looked at.
const FIRST_LOOK: u32 = 4;

/// The inverse of a network of contractions, bound for batches of one size.
pub struct StepwiseInverter {
    /// The round of each distinct branch.
    rounds: Vec<Round>,
    /// Which of them each block has.
    round_of: Vec<usize>,
    effective: Option<Task>,
    batch: usize,
    stop: Stop,
    inversion: Option<Inversion>,
}

struct Round {
    label: String,
    task: Task,
}

/// An inversion under way.
struct Inversion {
    way: WayBack,
    /// Parameters, where ActNorm has to be undone.
    params: Vec<f32>,
    /// The block that is being inverted.
    block: Option<usize>,
    /// Rounds of this block so far.
    round: u32,
    /// Largest residual and its round at the last look, for a guess at when to look again.
    last: Option<(u32, f32)>,
    total: u32,
    /// Of this block.
    numbers: Numbers,
    result: Inverted,
}

/// What is known of each sample in the present block.
#[derive(Clone, Debug, Default, PartialEq)]
struct Numbers {
    iterations: Vec<f32>,
    residual: Vec<f32>,
    converged: Vec<bool>,
    ended: bool,
}

/// How far an inversion has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The block that was worked on, counted from the input.
    pub block: usize,
    /// Evaluations of its branch so far, of the sample that took most.
    pub iteration: u32,
    /// Evaluations so far over all blocks.
    pub total: u32,
    /// The last change of each sample in this block.
    pub residual: Vec<f32>,
    /// Which samples have converged in this block.
    pub converged: Vec<bool>,
    /// Where wanted: the samples as the present iterate would give them if the branches of all blocks in front of this one
    /// were zero.
    pub seen: Option<Vec<f32>>,
    /// Whether that was the last of the inversion.
    pub done: bool,
}

impl StepwiseInverter {
    /// Binds the inversion of `batch` samples at a time.
    ///
    /// # Errors
    /// [`Error::Config`] for a model whose blocks are not contractions, [`Error::Gpu`] if the device has no room.
    pub async fn new(network: &mut Network, batch: usize, stop: Stop) -> Result<Self> {
        require_invertible(network.model())?;
        if network.model().is_exact() {
            return Err(Error::Config("a flow of architecture \"glow\" has no iterations to step through".into()));
        }
        let effective = network.model().effective_graph();
        let effective = match effective {
            Some(graph) => {
                for (name, id) in graph.outputs() {
                    if !network.memory().contains(name) {
                        network.memory_mut().alloc(name, graph.shape(*id).clone())?;
                    }
                }
                Some(network.task("effective weights", &graph).await?)
            }
            None => None,
        };
        let state = stop.state();
        let numbers: Vec<(&str, Shape)> =
            state.numbers.iter().map(|&(name, _)| name).chain(["level"]).map(|name| (name, [batch].into())).collect();
        let mut rounds: Vec<Round> = Vec::new();
        let mut round_of = Vec::new();
        for index in 0..network.model().blocks().len() {
            let label = network.model().blocks()[index].branch.label();
            if let Some(known) = rounds.iter().position(|round| round.label == label) {
                round_of.push(known);
                continue;
            }
            let graph = network.model().round_graph(index, batch, stop);
            let mut memory = network.memory().share();
            memory.bucket(NUMBERS, &numbers)?;
            let task = network.task_in(memory, &format!("round of {label}"), &graph).await?;
            round_of.push(rounds.len());
            rounds.push(Round { label, task });
        }
        Ok(Self { rounds, round_of, effective, batch, stop, inversion: None })
    }

    /// Number of samples in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Begins the inversion of latent numbers of one batch, with the parameters as they are now; one that is under way is
    /// given up.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    ///
    /// # Panics
    /// Panics if `z` is not one batch.
    pub async fn begin(&mut self, network: &Network, z: &[f32]) -> Result<()> {
        let model = network.model();
        assert_eq!(z.len(), self.batch * model.latent_len(), "latent numbers of {} samples", self.batch);
        if let Some(effective) = &self.effective {
            effective.run();
        }
        let actnorm = model.config().model.actnorm;
        let params = if actnorm { network.memory().read(PARAMS).await? } else { Vec::new() };
        let way = WayBack::start(model, z);
        let n = self.batch;
        let result = Inverted {
            iterations: vec![0.0; n],
            residual: vec![0.0; n],
            converged: vec![true; n],
            ..Inverted::default()
        };
        let numbers = Numbers::default();
        let mut inversion = Inversion { way, params, block: None, round: 0, last: None, total: 0, numbers, result };
        self.next_block(network, &mut inversion);
        self.inversion = Some(inversion);
        Ok(())
    }

    /// Walks to the next block and uploads what its iteration begins with; at the end the result is there.
    fn next_block(&self, network: &Network, inversion: &mut Inversion) {
        let model = network.model();
        inversion.block = inversion.way.next_block(model);
        let Some(index) = inversion.block else {
            inversion.result.x = std::mem::take(&mut inversion.way.x);
            return;
        };
        let task = &self.rounds[self.round_of[index]].task;
        task.copy_all(&model.operand_tensors(&model.blocks()[index]));
        let y = &inversion.way.x;
        let state = self.stop.state();
        let row = self.batch.next_multiple_of(crate::gpu::ROW);
        let mut numbers = vec![0.0; row * (state.numbers.len() + 1)];
        for (column, &(_, start)) in numbers.chunks_mut(row).zip(&state.numbers) {
            column[..self.batch].fill(start);
        }
        let levels = y.chunks(y.len() / self.batch).map(Stop::level);
        numbers[row * state.numbers.len()..].iter_mut().zip(levels).for_each(|(place, level)| *place = level);
        task.write(NUMBERS, &numbers);
        task.write("x", y);
        task.write("y", y);
        for name in &state.history {
            task.write(name, &vec![0.0; y.len()]);
        }
        (inversion.round, inversion.last) = (0, None);
    }

    /// Goes on by at most `rounds` rounds of the present block, or by as many as seem sensible, and then says how it
    /// stands. `look` asks for the samples as they are.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    ///
    /// # Panics
    /// Panics if nothing was begun.
    pub async fn advance(&mut self, network: &Network, rounds: Option<u32>, look: bool) -> Result<Progress> {
        let mut inversion = self.inversion.take().expect("an inversion was begun");
        let Some(index) = inversion.block else {
            self.inversion = Some(inversion);
            return Ok(Progress { done: true, ..Progress::default() });
        };
        let task = &self.rounds[self.round_of[index]].task;
        let left = self.stop.limit - inversion.round;
        let count = rounds.unwrap_or_else(|| inversion.guess(self.stop.tolerance)).clamp(1, left.max(1)).min(left);
        for _ in 0..count {
            task.run();
        }
        inversion.round += count;
        inversion.total += count;
        let numbers: Read = task.start_read(NUMBERS);
        let x = task.start_read("x");
        inversion.numbers = self.numbers(&numbers.await?);
        let x = x.await?;
        let most = inversion.numbers.residual.iter().copied().fold(0.0, f32::max);
        inversion.last = Some((inversion.round, most));
        let seen = look.then(|| seen(network, &inversion, x.clone()));
        let numbers = &inversion.numbers;
        let mut progress = Progress {
            block: index,
            iteration: numbers.iterations.iter().copied().fold(0.0, f32::max) as u32,
            total: inversion.total,
            residual: numbers.residual.clone(),
            converged: numbers.converged.clone(),
            seen,
            done: false,
        };
        if numbers.ended || inversion.round >= self.stop.limit {
            inversion.finish_block();
            inversion.way.x = x;
            inversion.undo_actnorm(network, index);
            self.next_block(network, &mut inversion);
            progress.done = inversion.block.is_none();
        }
        self.inversion = Some(inversion);
        Ok(progress)
    }

    /// The result, once it is [done](Progress::done).
    pub fn finish(&mut self) -> Option<Inverted> {
        self.inversion.take().filter(|inversion| inversion.block.is_none()).map(|inversion| inversion.result)
    }

    fn numbers(&self, flat: &[f32]) -> Numbers {
        let names = self.stop.state().numbers;
        let row = self.batch.next_multiple_of(crate::gpu::ROW);
        let column = |wanted: &str| {
            let at = names.iter().position(|(name, _)| *name == wanted).expect("a number of this solver");
            &flat[at * row..at * row + self.batch]
        };
        let ended = (0..self.batch).all(|sample| self.stop.has_ended(|name| column(name)[sample]));
        Numbers {
            iterations: column("iterations").to_vec(),
            residual: column("residual").to_vec(),
            converged: column("converged").iter().map(|&flag| flag > 0.0).collect(),
            ended,
        }
    }
}

impl Inversion {
    /// After how many rounds the residuals are worth a look: when they should have reached the tolerance, as they fall.
    fn guess(&self, tolerance: f64) -> u32 {
        let Some((round, residual)) = self.last else { return FIRST_LOOK };
        let rate = f64::from(residual).ln() / f64::from(round.max(1));
        let wanted = tolerance.max(1e-9).ln() / rate;
        // Residuals below one fall by about the same factor every round.
        let more = if rate < 0.0 { wanted - f64::from(round) } else { f64::from(MOST_BLIND) };
        (more.ceil() as u32).clamp(2, MOST_BLIND)
    }

    fn finish_block(&mut self) {
        let (result, numbers) = (&mut self.result, &self.numbers);
        for (sample, converged) in result.converged.iter_mut().enumerate() {
            result.iterations[sample] += numbers.iterations[sample];
            result.residual[sample] = result.residual[sample].max(numbers.residual[sample]);
            *converged &= numbers.converged[sample];
        }
    }

    fn undo_actnorm(&mut self, network: &Network, index: usize) {
        undo_actnorm(network, &self.params, &mut self.way, index);
    }
}

/// Undoes ActNorm of block `index`, where there is one.
fn undo_actnorm(network: &Network, params: &[f32], way: &mut WayBack, index: usize) {
    if params.is_empty() {
        return;
    }
    let [log_scale, shift] = network.model().blocks()[index].actnorm_names().map(|name| {
        let at = network.memory().place_in_bucket(&name);
        &params[at..at + network.memory().len(&name)]
    });
    way.undo_actnorm(log_scale, shift);
}

/// The iterate `x` seen from the front of the network, as if nothing but ActNorm stood there.
fn seen(network: &Network, inversion: &Inversion, x: Vec<f32>) -> Vec<f32> {
    let mut way = inversion.way.with(x);
    let mut next = inversion.block;
    while let Some(index) = next {
        undo_actnorm(network, &inversion.params, &mut way, index);
        next = way.next_block(network.model());
    }
    way.x
}
