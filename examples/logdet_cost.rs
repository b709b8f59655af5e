//! What the log-determinant adds to a training step: time and memory of the gradient with different estimators, run in
//! turns in one process.
//!
//! ```sh
//! cargo run --release --example logdet_cost                # 4-4-4 blocks, 64 channels, CIFAR shapes, batch 32
//! cargo run --release --example logdet_cost -- my-config.toml
//! cargo run --release --example logdet_cost -- --plan                     # memory only, nothing is run
//! cargo run --release --example logdet_cost -- none neumann-5 --profile   # some of them, kernel by kernel
//! ```

use iresnet::config::Config;
use iresnet::experiment::{in_turns, median, small_density};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::network::{self, Network, Task};
use iresnet::nn::logdet::Law;
use iresnet::nn::{LogDet, Model, Probes, param};
use iresnet::plan::{self, Limits};
use iresnet::random::{Distribution, Key};

/// Rounds; each runs every estimator once.
const ROUNDS: usize = 9;

fn estimators() -> Vec<(&'static str, Option<LogDet>)> {
    let probe = Distribution::Normal;
    let series = |terms| Some(LogDet::Series { terms, samples: 1, probe });
    let neumann = |terms| Some(LogDet::Neumann { terms, samples: 1, probe });
    let law = Law::Geometric { probability: 0.5 };
    vec![
        ("none", None),
        ("neumann-1", neumann(1)),
        ("neumann-5", neumann(5)),
        ("neumann-20", neumann(20)),
        ("autodiff-5", series(5)),
        ("unbiased", Some(LogDet::Unbiased { law, exact_terms: 2, samples: 1, probe })),
    ]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = arguments.iter().find(|argument| argument.ends_with(".toml"));
    let config = match file {
        Some(path) => Config::from_toml(&std::fs::read_to_string(path)?, path)?,
        None => small_density(4),
    };
    let model = Model::new(&config)?;
    let n = config.data.batch;
    let graphs: Vec<_> = estimators()
        .into_iter()
        .map(|(name, log_det)| {
            let graph = model.with_gradients(model.loss_graph_by(n, Probes::Keys, log_det.clone()));
            (name, log_det, graph)
        })
        .collect();
    for (name, _, graph) in &graphs {
        let program = plan::compile(name, graph, &Limits::default())?;
        let megabytes = program.scratch_bytes() as f64 / f64::from(1 << 20);
        println!(
            "{name:10} {megabytes:8.1} MiB, {} kernels, {} dispatches",
            program.kernels.len(),
            program.dispatches()
        );
    }
    if arguments.iter().any(|argument| argument == "--plan") {
        return Ok(());
    }
    let profile = arguments.iter().any(|argument| argument == "--profile");
    let chosen = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !graphs.iter().any(|(name, ..)| chosen(name));
    block_on(async {
        let gpu = Gpu::open(None).await?;
        let values = param::initialize(model.params(), config.train.seed);
        let mut network = Network::new(&gpu, model.clone(), &values, Tuning::usual())?;
        let x = Key::new(1, 0, 0).normals(n * model.input_len());
        let mut tasks: Vec<(&str, Task, usize)> = Vec::new();
        for (name, log_det, graph) in &graphs {
            if !all && !chosen(name) {
                continue;
            }
            let task = network.task(name, graph).await?;
            task.write("x", &x);
            tasks.push((*name, task, model.streams(log_det.as_ref())));
        }
        let prepare = |number: usize, round: u32| {
            let (_, task, streams) = &tasks[number];
            if *streams > 0 {
                task.write("keys", &network::keys(1, round, *streams));
            }
        };
        let run = async |number: usize| {
            tasks[number].1.run();
            tasks[number].1.read("loss").await.map(drop)
        };
        let times = in_turns(tasks.len(), ROUNDS, prepare, run).await?;
        for ((name, task, _), mut seconds) in tasks.iter().zip(times.clone()) {
            seconds.sort_by(f64::total_cmp);
            let (median, none) = (median(&seconds), median(&times[0]));
            println!("{name:10} {median:.4} s, {:.2} of the first, {:?}", median / none, seconds);
            if profile {
                let rows = task.session().profile().await?;
                for row in rows.iter().take(60) {
                    println!("{row}");
                }
            }
        }
        Ok(())
    })
}
