//! What stopping in time and Anderson acceleration save when a whole network is inverted: seconds, in turns, medians.
//!
//! ```sh
//! cargo run --release --example inversion_cost -- runs/mnist-small/model.safetensors         # 64 test images, three rounds
//! cargo run --release --example inversion_cost -- runs/mnist-small/model.safetensors 128 5   # so many, so many rounds
//! ```
//!
//! Prints for each solver the seconds, evaluations of a branch for an image, and the largest error of a pixel. Algorithm 1
//! of the paper with 100 iterations is the yardstick.

use std::path::Path;

use iresnet::checkpoint::Checkpoint;
use iresnet::data::Split;
use iresnet::data::source::Source;
use iresnet::eval::{Evaluator, Inverter};
use iresnet::experiment::{in_turns, median};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::network::Network;
use iresnet::nn::Model;
use iresnet::nn::inverse::{Solver, Stop};

const TOLERANCE: f64 = 1e-6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which model file?")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, rounds) = (number(64)?, number(3)?);
    let checkpoint = Checkpoint::load(Path::new(&path))?;
    let source = Source::open(&checkpoint.config, None, Split::Test)?;
    let x = source.at(&(0..count as u32).collect::<Vec<_>>()).x.into_data();
    let within = |solver| Stop { solver, tolerance: TOLERANCE, limit: 100 };
    let stops = [
        ("Algorithm 1, 100 iterations", Stop::after(100)),
        ("fixed point, to 1e-6", within(Solver::Picard)),
        ("Anderson, to 1e-6", within(Solver::Anderson)),
    ];
    block_on(async {
        let gpu = Gpu::open(None).await?;
        println!("{}, {count} images at once", gpu.info());
        let model = Model::new(&checkpoint.config)?;
        let mut network = Network::new(&gpu, model, &checkpoint.tensors, Tuning::usual())?;
        let encoder = Evaluator::new(&mut network, count, None).await?;
        encoder.run(&x, &vec![0; count], 0, 0);
        let z = encoder.read("z").await?;
        let mut inverters = Vec::new();
        for (_, stop) in stops {
            inverters.push(Inverter::new(&mut network, count, stop).await?);
        }
        let mut last = vec![None; stops.len()];
        let seconds = in_turns(
            stops.len(),
            rounds,
            |_, _| {},
            async |number: usize| {
                last[number] = Some(inverters[number].invert(&z).await?);
                Ok(())
            },
        )
        .await?;
        for ((name, _), (seconds, inverted)) in stops.iter().zip(seconds.iter().zip(last)) {
            let inverted = inverted.expect("every one was run");
            let evaluations = inverted.iterations.iter().sum::<f32>() / count as f32;
            let error = x.iter().zip(&inverted.x).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{name:28} {seconds:.3?} s, {evaluations:.1} evaluations, error of a pixel at most {error:.1e}");
        }
        let [slow, picard, anderson] = [0, 1, 2].map(|number| median(&seconds[number]));
        println!(
            "Algorithm 1 takes {:.1} times as long as the fixed point, {:.1} as Anderson",
            slow / picard,
            slow / anderson
        );
        Ok(())
    })
}
