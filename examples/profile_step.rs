//! Where the time of a training step goes, kernel by kernel.
//!
//! ```sh
//! cargo run --release --example profile_step -- fashion-mnist-small
//! cargo run --release --example profile_step -- my-config.toml
//! ```
//!
//! Prints one line a kernel, the dearest first: seconds, calls, GFLOP/s, GB/s, the chosen variant, the name.

use iresnet::config::Config;
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::network::Network;
use iresnet::nn::{Model, Probes, param};
use iresnet::random::Key;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "fashion-mnist-small".into());
    let config = if name.ends_with(".toml") {
        Config::from_toml(&std::fs::read_to_string(&name)?, &name)?
    } else {
        Config::preset(&name)?
    };
    block_on(async {
        let gpu = Gpu::open(None).await?;
        let model = Model::new(&config)?;
        let values = param::initialize(model.params(), config.train.seed);
        let tuning = Tuning::usual();
        let mut network = Network::new(&gpu, model, &values, tuning)?;
        let graph = network.model().gradient_graph(config.data.batch, Probes::Keys);
        let begun = std::time::Instant::now();
        let task = network.task("gradient", &graph).await?;
        println!(
            "{} dispatches, bound in {:.2} s on {}",
            task.session().dispatches(),
            begun.elapsed().as_secs_f64(),
            gpu.info()
        );
        let x = Key::new(1, 0, 0).normals(config.data.batch * network.model().input_len());
        task.write("x", &x);
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            task.run();
            task.read("loss").await?;
            println!("step {:.4} s", begun.elapsed().as_secs_f64());
        }
        let rows = task.session().profile().await?;
        let total: f64 = rows.iter().map(|row| row.seconds).sum();
        println!("kernels {total:.4} s");
        for row in rows.iter().take(40) {
            println!("{row}");
        }
        Ok(())
    })
}
