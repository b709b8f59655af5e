//! What spectral normalisation costs: training steps with it and without, in turns, medians of both.
//!
//! ```sh
//! cargo run --release --example spectral_cost                      # 7-7-7 blocks, batch 32
//! cargo run --release --example spectral_cost -- my-config.toml 9  # another network, so many steps of each
//! ```
//!
//! Prints both medians, their ratio, the numbers of dispatches, and the kernels that only the first has.

use iresnet::config::Config;
use iresnet::experiment::{in_turns, median};
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
        let step = async |number: usize| {
            let trainer: &mut Trainer = &mut trainers[number];
            trainer.step(&x, &labels);
            while trainer.report(true).await?.is_some() {}
            Ok(())
        };
        let seconds = in_turns(2, steps, |_, _| {}, step).await?;
        for seconds in &seconds {
            let mut sorted = seconds.clone();
            sorted.sort_by(f64::total_cmp);
            println!("steps: {sorted:.3?}");
        }
        let [with, without] = [median(&seconds[0]), median(&seconds[1])];
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
