//! What spectral normalisation costs: training steps with it and without, in turns, medians of both.
//!
//! ```sh
//! cargo run --release --example spectral_cost                      # 7-7-7 blocks, batch 32
//! cargo run --release --example spectral_cost -- my-config.toml 9  # another network, so many steps of each
//! ```
//!
//! Prints both medians, their ratio, the numbers of dispatches, and the kernels that only the first has.

use std::time::Instant;

use iresnet::config::Config;
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::random::Key;
use iresnet::train::Trainer;

async fn trainer(gpu: &Gpu, config: &Config) -> iresnet::error::Result<Trainer> {
    Trainer::new(gpu, config, 1000, Tuning::usual(), None).await
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = Config::default();
    config.data.batch = 32;
    if let Some(path) = arguments.next().filter(|path| path != "-") {
        config = Config::from_toml(&std::fs::read_to_string(&path)?, &path)?;
    }
    let steps: usize = arguments.next().map_or(Ok(5), |number| number.parse())?;
    let mut without = config.clone();
    without.model.coefficient = None;
    block_on(async {
        let gpu = Gpu::open(None).await?;
        println!("{}", gpu.info());
        let mut trainers = [trainer(&gpu, &config).await?, trainer(&gpu, &without).await?];
        let n = config.data.batch;
        let x = Key::new(1, 0, 0).normals(n * trainers[0].network().model().input_len());
        let labels: Vec<u32> = (0..n as u32).map(|sample| sample % config.model.classes as u32).collect();
        let mut seconds = [Vec::new(), Vec::new()];
        for round in 0..=steps {
            for (trainer, seconds) in trainers.iter_mut().zip(&mut seconds) {
                let begun = Instant::now();
                trainer.step(&x, &labels);
                while trainer.report(true).await?.is_some() {}
                // The first step finds cold caches.
                if round > 0 {
                    seconds.push(begun.elapsed().as_secs_f64());
                }
            }
        }
        let [with, without] = seconds.map(|mut seconds: Vec<f64>| {
            seconds.sort_by(f64::total_cmp);
            println!("steps: {seconds:.3?}");
            seconds[seconds.len() / 2]
        });
        println!("median {with:.4} s with, {without:.4} s without spectral normalisation: {:.3} times", with / without);
        let counts = trainers.each_ref().map(|trainer| trainer.gradient_task().session().dispatches());
        println!("dispatches: {} and {}", counts[0], counts[1]);
        let mut rows = trainers[0].gradient_task().session().profile().await?;
        let others = trainers[1].gradient_task().session().profile().await?;
        rows.retain(|row| others.iter().all(|other| other.label != row.label));
        let total: f64 = rows.iter().map(|row| row.seconds).sum();
        println!("kernels of normalisation alone: {total:.4} s");
        for row in rows.iter().take(60) {
            println!("{row}");
        }
        Ok(())
    })
}
