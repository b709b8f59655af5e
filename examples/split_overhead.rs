//! What it costs to divide a step's batch: one adapter as one device, as two logical devices, and in pieces; and how long
//! the host works on gradients, with how much of that while the device still computes, by the size of their buckets.
//!
//! ```text
//! cargo run --release --example split_overhead [PRESET [BATCH [STEPS]]]
//! ```
//! The four ways take turns, so that whatever else the machine does hits all of them; medians are compared.

use std::time::Instant;

use iresnet::config::Config;
use iresnet::data::Split;
use iresnet::data::source::Source;
use iresnet::error::Result;
use iresnet::experiment::median;
use iresnet::gpu::{Gpu, Tuning, block_on, choose};
use iresnet::parallel::{Patience, Replicas};
use iresnet::train::Trainer;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, usual: usize| arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let mut config = Config::preset(arguments.first().map_or("fashion-mnist-small", String::as_str))?;
    config.data.batch = number(1, 256);
    let steps = number(2, 10);
    let adapter = block_on(choose(None))?;
    let source = Source::open(&config, None, Split::Train)?;
    let per_epoch = source.steps_per_epoch();
    let first = source.first(config.data.batch);

    let gpu = block_on(Gpu::open_adapter(&adapter))?;
    let mut whole = block_on(Trainer::new(&gpu, &config, per_epoch, Tuning::usual(), None))?;
    block_on(whole.initialize(first.x.data()))?;
    let replicas = |count: usize, pieces: usize| -> Result<Replicas> {
        let adapters = vec![adapter.clone(); count];
        let patience = Patience::default();
        let mut replicas = Replicas::new(&adapters, &config, per_epoch, Tuning::usual(), None, pieces, patience)?;
        replicas.initialize(first.x.data())?;
        Ok(replicas)
    };
    let mut two = replicas(2, 1)?;
    let mut one = replicas(1, 1)?;
    let mut pieces = replicas(1, 2)?;

    let mut times = [const { Vec::new() }; 4];
    for (number, batch) in source.training(0).take(steps + 1).enumerate() {
        let (x, labels) = (batch.x.data(), &batch.labels);
        let mut taken = [0.0; 4];
        let begun = Instant::now();
        whole.step(x, labels);
        block_on(whole.report(true))?;
        taken[0] = begun.elapsed().as_secs_f64();
        for (place, replicas) in [(1, &mut one), (2, &mut two), (3, &mut pieces)] {
            let begun = Instant::now();
            replicas.step(x, labels)?;
            taken[place] = begun.elapsed().as_secs_f64();
        }
        // Drivers compile at the first use.
        if number > 0 {
            times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
        }
    }
    println!("{}, batch {}, {steps} steps, {}", gpu.info(), config.data.batch, config.data.name);
    let medians: Vec<f64> = times.iter().map(|times| median(times)).collect();
    let ways =
        ["one device, whole batch", "one device, through the host", "two logical devices", "one device, two pieces"];
    for (way, seconds) in ways.into_iter().zip(&medians) {
        println!("{way:<30} {:8.1} ms a step  {:+6.1} %", 1e3 * seconds, 100.0 * (seconds / medians[0] - 1.0));
    }
    for bytes in [usize::MAX, 4 << 20, 1 << 20, 64 << 10] {
        one.cut_gradients(bytes)?;
        let (mut times, mut total, mut hidden) = (Vec::new(), 0.0, 0.0);
        for (number, batch) in source.training(0).take(steps + 1).enumerate() {
            let begun = Instant::now();
            one.step(batch.x.data(), &batch.labels)?;
            if number > 0 {
                times.push(begun.elapsed().as_secs_f64());
                (total, hidden) = (total + one.overlap().total, hidden + one.overlap().hidden);
            }
        }
        println!(
            "{:>4} buckets of gradients: {:8.1} ms a step; the host works on them {:.2} ms a step, {:.0} % of it hidden",
            one.buckets(),
            1e3 * median(&times),
            1e3 * total / steps as f64,
            100.0 * hidden / total
        );
    }
    Ok(())
}
