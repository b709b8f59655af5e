//! How long it takes until a classifier of 6 and one of 54 blocks trains: graph, plan, initial values, pipelines, and the first
//! step, of a batch so small that computing it is no great part.
//!
//! `cargo run --release --example startup [ADAPTER]`. The second round shows what the driver's own cache saves.

use std::time::{Duration, Instant};

use iresnet::config::Config;
use iresnet::error::Result;
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::network::limits;
use iresnet::nn::{Model, Probes, param};
use iresnet::plan;
use iresnet::random::Key;
use iresnet::train::Trainer;

/// Samples in a step.
const BATCH: usize = 1;

/// How long `work` takes.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

/// Parts that are timed by themselves; a trainer does all of them.
fn parts(gpu: &Gpu, config: &Config) -> Result<()> {
    let build = || Model::new(config).map(|model| (model.gradient_graph(BATCH, Probes::Keys), model));
    let (built, building) = timed(build);
    let (graph, model) = built?;
    let (program, planning) = timed(|| plan::compile("gradient", &graph, &limits(gpu)));
    let kernels = program?.kernels.len();
    let (_, drawing) = timed(|| param::initialize(model.params(), 1));
    println!("   graph {building:.2?}, plan of {kernels} kernels {planning:.2?}, initial values {drawing:.2?}");
    Ok(())
}

async fn measure(adapter: Option<&str>, blocks: usize) -> Result<()> {
    let mut config = Config::default();
    config.model.blocks = vec![blocks; 3];
    config.data.batch = BATCH;
    let begun = Instant::now();
    let gpu = Gpu::open(adapter).await?;
    let opened = begun.elapsed();
    let mut trainer = Trainer::new(&gpu, &config, 1000, Tuning::first(), None).await?;
    let ready = begun.elapsed();
    let x = Key::new(1, 0, 0).normals(BATCH * trainer.network().model().input_len());
    let mut steps = Vec::new();
    for _ in 0..2 {
        trainer.step(&x, &[0; BATCH]);
        while trainer.report(true).await?.is_some() {}
        steps.push(begun.elapsed());
    }
    println!(
        "{:2} blocks: adapter {opened:.2?}, trainer {:.2?}, first step {:.2?}, in all {:.2?}; another step {:.2?}; {} dispatches",
        3 * blocks,
        ready - opened,
        steps[0] - ready,
        steps[0],
        steps[1] - steps[0],
        trainer.gradient_task().session().dispatches()
    );
    parts(&gpu, &config)
}

fn main() -> Result<()> {
    let adapter = std::env::args().nth(1);
    for round in 1..=2 {
        println!("round {round}");
        for blocks in [2, 18] {
            block_on(measure(adapter.as_deref(), blocks))?;
        }
    }
    Ok(())
}
