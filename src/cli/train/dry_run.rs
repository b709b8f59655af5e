//! `iresnet train --dry-run`: what a run would take of the device, for each way to keep memory.

use crate::budget::Budget;
use crate::cli::output;
use crate::cli::table::Table;
use crate::config::{Config, Memory};
use crate::error::{Error, Result};
use crate::gpu::{AdapterInfo, Estimate, Gpu, Tuning};
use crate::network;
use crate::nn::{Model, reversible};
use crate::plan::program::Cost;
use crate::run::Options;

const MODES: [Memory; 3] = [Memory::Store, Memory::Checkpoint, Memory::Reversible];

/// Most batch sizes tried for one that fits.
const TRIES: usize = 8;

/// Prints the plan. Nothing is allocated.
///
/// # Errors
/// Of configuration and adapter; and if the plan does not fit the device, what is too large and what to change.
pub(super) async fn run(options: &Options) -> Result<()> {
    let config = &options.config;
    let model = Model::new(config)?;
    let first = options.adapters.first().filter(|id| *id != "all");
    let gpu = Gpu::open(first.map(String::as_str)).await?;
    let tuning = Tuning::usual();
    let trainable: usize = model.params().iter().filter(|p| p.is_parameter()).map(|p| p.shape.len()).sum();
    let state: usize = model.params().iter().filter(|p| !p.is_parameter()).map(|p| p.shape.len()).sum();
    output::print(&format!("adapter        {}", gpu.info()));
    output::print(&format!("device memory  {}", gpu.info().memory_bytes.map_or("not told".into(), output::bytes)));
    output::print(&format!("parameters     {trainable}, and {state} numbers of state"));
    output::print(&format!("multiply-adds  {} a sample, forwards", model.multiply_adds()));
    output::print(&format!("batch          {}, train.memory = {}\n", config.data.batch, quoted(config.train.memory)));

    let plans: Vec<Column> = MODES.iter().map(|&memory| Column::plan(config, memory, &gpu, &tuning)).collect();
    output::print(&table(config.train.memory, &plans).to_string());
    output::print(&footnote(&plans));
    let chosen = MODES.iter().position(|&memory| memory == config.train.memory).unwrap_or(0);
    let Some(problem) = plans[chosen].problem(gpu.info()) else { return Ok(()) };
    Err(with_cure(problem, config, &gpu, &plans))
}

/// What one way to keep memory takes, or why it cannot be planned.
struct Column {
    memory: Memory,
    plan: Result<(Budget, Cost, Estimate)>,
}

impl Column {
    fn plan(config: &Config, memory: Memory, gpu: &Gpu, tuning: &Tuning) -> Self {
        let mut config = config.clone();
        config.train.memory = memory;
        let plan = Budget::plan(&config, &network::limits(gpu)).map(|budget| {
            let mut cost = Cost::default();
            let mut time = Estimate::default();
            for program in [&budget.gradient, &budget.update] {
                let one = program.cost(reversible::USUAL_ROUNDS);
                cost.flops += one.flops;
                cost.traffic += one.traffic;
                cost.dispatches += one.dispatches;
                let one = gpu.estimate(program, tuning, reversible::USUAL_ROUNDS);
                time.seconds += one.seconds;
                time.measured += one.measured;
            }
            (budget, cost, time)
        });
        Self { memory, plan }
    }

    /// Why it does not fit the adapter, if it does not.
    fn problem(&self, info: &AdapterInfo) -> Option<Error> {
        match &self.plan {
            Err(Error::Config(message)) => Some(Error::Config(message.clone())),
            Err(error) => Some(Error::Gpu(error.to_string())),
            Ok((budget, ..)) => budget.excess(info).map(Error::Gpu),
        }
    }
}

fn table(chosen: Memory, plans: &[Column]) -> Table {
    let mut headings = vec!["a step takes".to_owned()];
    for plan in plans {
        headings.push(format!(">{}{}", name(plan.memory), if plan.memory == chosen { " *" } else { "" }));
    }
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    let mut row = |title: &str, cell: &dyn Fn(&Budget, &Cost, &Estimate) -> String| {
        let cells = plans.iter().map(|column| match &column.plan {
            Ok((budget, cost, time)) => cell(budget, cost, time),
            Err(_) => "–".into(),
        });
        table.row([title.to_owned()].into_iter().chain(cells));
    };
    row("parameters, state", &|budget, _, _| output::bytes(budget.parameters));
    row("gradients", &|budget, _, _| output::bytes(budget.gradients));
    row("optimizer state", &|budget, _, _| output::bytes(budget.optimizer));
    row("activations", &|budget, _, _| output::bytes(budget.activations));
    row("scratch", &|budget, _, _| output::bytes(budget.scratch));
    row("batch, results", &|budget, _, _| output::bytes(budget.batch));
    row("memory in all", &|budget, _, _| output::bytes(budget.total()));
    row("largest buffer", &|budget, _, _| output::bytes(budget.largest.1));
    row("distinct kernels", &|budget, _, _| (budget.gradient.kernels.len() + budget.update.kernels.len()).to_string());
    row("dispatches", &|_, cost, _| cost.dispatches.to_string());
    row("operations", &|_, cost, _| format!("{:.3e}", cost.flops as f64));
    row("bytes moved", &|_, cost, _| format!("{:.3e}", cost.traffic as f64));
    row("seconds", &|_, _, time| format!("{:.2}", time.seconds));
    table
}

fn footnote(plans: &[Column]) -> String {
    let times = plans.iter().filter_map(|column| column.plan.as_ref().ok()).map(|(_, _, time)| time);
    let (seconds, measured) =
        times.fold((0.0, 0.0), |(seconds, measured), time| (seconds + time.seconds, measured + time.measured));
    let rounds = reversible::USUAL_ROUNDS;
    format!(
        "\nActivations: all between a batch and its gradients, at the peak. Scratch: of the update, and of evaluation or \
         initialisation.\nOperations: of floating-point numbers (FLOP) in a whole step, two a multiply-add.\nSeconds: {:.0} % by kernels measured on this adapter, the rest by assumed rates. Inversions are \
         taken to need {rounds} rounds.",
        100.0 * measured / f64::max(seconds, f64::MIN_POSITIVE)
    )
}

/// The problem with what would solve it: another way to keep memory, a smaller batch.
fn with_cure(problem: Error, config: &Config, gpu: &Gpu, plans: &[Column]) -> Error {
    let fitting = plans.iter().filter(|column| column.problem(gpu.info()).is_none());
    let mut cures: Vec<String> = fitting.map(|column| format!("train.memory = {}", quoted(column.memory))).collect();
    let smaller = smaller(config, gpu, false).or_else(|| smaller(config, gpu, true));
    cures.extend(smaller);
    let cure = if cures.is_empty() {
        "nothing of that kind fits, not even data.batch = 1: choose a smaller model".to_owned()
    } else {
        format!("what fits: {}", cures.join(", or "))
    };
    match problem {
        Error::Config(message) => Error::Config(format!("{message}; {cure}")),
        other => Error::Gpu(format!("{other}; {cure}")),
    }
}

/// Smaller batches with which the configuration fits the device, those of initialisation too if `first`.
fn smaller(config: &Config, gpu: &Gpu, first: bool) -> Option<String> {
    let mut config = config.clone();
    for _ in 0..TRIES {
        config.data.batch /= 2;
        if config.data.batch == 0 {
            return None;
        }
        let mut text = format!("data.batch = {}", config.data.batch);
        if first {
            config.train.init_batch = config.train.init_batch.min(config.data.batch);
            text += &format!(" with train.init_batch = {}", config.train.init_batch);
        }
        let plan = Budget::plan(&config, &network::limits(gpu));
        if plan.is_ok_and(|budget| budget.excess(gpu.info()).is_none()) {
            return Some(text);
        }
    }
    None
}

fn name(memory: Memory) -> &'static str {
    match memory {
        Memory::Store => "store",
        Memory::Checkpoint => "checkpoint",
        Memory::Reversible => "reversible",
    }
}

fn quoted(memory: Memory) -> String {
    format!("{:?}", name(memory))
}
