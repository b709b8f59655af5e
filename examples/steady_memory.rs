//! Whether memory stays what it is over a long run: the host's and the device's, printed every tenth of it.
//!
//! ```text
//! cargo run --release --example steady_memory [STEPS]
//! ```
//! A small density model trains, with a checkpoint and an evaluation every thousand steps as in a run. It fails if either
//! grew by more than a hundredth and a megabyte between the first tenth and the last.

use std::process::ExitCode;

use iresnet::config::Config;
use iresnet::data::Split;
use iresnet::data::source::Source;
use iresnet::error::Result;
use iresnet::eval::Evaluator;
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::train::Trainer;

/// A preset, made small enough for ten thousand steps in minutes.
const SMALL: [(&str, &str); 7] = [
    ("model.blocks", "[2]"),
    ("model.channels", "[8]"),
    ("model.hidden_layers", "1"),
    ("log_det.estimator", "series"),
    ("data.batch", "64"),
    ("data.limit", "640"),
    ("train.init_batch", "64"),
];

/// Most that may be added: a hundredth, and a megabyte for what allocators keep.
fn too_much(before: u64, after: u64) -> bool {
    after > before + before / 100 + (1 << 20)
}

/// Bytes of this process that lie in memory, where the system tells.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(1024 * line.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}

fn main() -> Result<ExitCode> {
    let steps: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let mut config = Config::preset("toy-checkerboard")?;
    for (key, value) in SMALL {
        config.set(key, value)?;
    }
    let source = Source::open(&config, None, Split::Train)?;
    let gpu = block_on(Gpu::open(None))?;
    println!("{}", gpu.info());
    let mut trainer = block_on(Trainer::new(&gpu, &config, source.steps_per_epoch(), Tuning::first(), None))?;
    block_on(trainer.initialize(source.first(64).x.data()))?;
    let log_det = trainer.network().model().training_log_det();
    let evaluator = block_on(Evaluator::new(trainer.network_mut(), 64, log_det))?;
    let mut seen: Vec<(u64, u64)> = Vec::new();
    for (done, batch) in (1..=steps).zip(source.training(0)) {
        trainer.step(batch.x.data(), &batch.labels);
        while block_on(trainer.report(false))?.is_some() {}
        if done % 1000 == 0 {
            block_on(evaluator.summarize(source.once(64), 1))?;
            let bytes = block_on(trainer.checkpoint())?.to_bytes();
            assert!(!bytes.is_empty());
        }
        if done % (steps / 10).max(1) == 0 {
            let (host, device) = (resident().unwrap_or(0), gpu.allocated_bytes().unwrap_or(0));
            println!("step {done:>6}: host {:>8} KiB resident, device {:>7} KiB allocated", host / 1024, device / 1024);
            seen.push((host, device));
        }
    }
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    if too_much(first.0, last.0) || too_much(first.1, last.1) {
        println!("memory grows");
        return Ok(ExitCode::FAILURE);
    }
    println!("memory is steady");
    Ok(ExitCode::SUCCESS)
}
