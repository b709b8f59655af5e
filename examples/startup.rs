//! How long it takes until a classifier of 6 and one of 54 blocks is ready to train: graph, plan, pipelines, memory.
//!
//! `cargo run --release --example startup [ADAPTER]`. The second round shows what the driver's own cache saves.

use std::time::Instant;

use iresnet::config::Config;
use iresnet::error::Result;
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::network::Network;
use iresnet::nn::{Model, Probes, param};
use iresnet::plan::{self, Limits};

/// Samples in a step.
const BATCH: usize = 16;

async fn measure(adapter: Option<&str>, blocks: usize) -> Result<()> {
    let mut config = Config::default();
    config.model.blocks = vec![blocks; 3];
    let gpu = Gpu::open(adapter).await?;
    let begun = Instant::now();
    let model = Model::new(&config)?;
    let graph = model.gradient_graph(BATCH, Probes::Keys);
    let built = begun.elapsed();
    let program = plan::compile("gradient", &graph, &Limits::default())?;
    let planned = begun.elapsed();
    let values = param::initialize(model.params(), 1);
    let mut network = Network::new(&gpu, model, &values, Tuning::first())?;
    let uploaded = begun.elapsed();
    // Plans once more, as every task does.
    let task = network.task("gradient", &graph).await?;
    let bound = begun.elapsed();
    println!(
        "{:2} blocks: graph {built:.2?}, plan {:.2?}, initial values {:.2?}, plan and bind {:.2?}; {} kernels, {} dispatches",
        3 * blocks,
        planned - built,
        uploaded - planned,
        bound - uploaded,
        program.kernels.len(),
        task.session().dispatches()
    );
    Ok(())
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
