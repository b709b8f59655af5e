//! Models and numbers for the tests of the web package: `cargo run --example web_fixtures -- FOLDER`.
//!
//! Writes small models and copies of those of the demo page, and to `expected.json` what this adapter computes with them:
//! the browser must find the same.

use std::error::Error;
use std::path::Path;

use iresnet::checkpoint::Checkpoint;
use iresnet::config::{Config, Estimator, Kind};
use iresnet::data::Split;
use iresnet::data::source::Source;
use iresnet::eval::{Evaluator, Inverter};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::network::Network;
use iresnet::nn::{LogDet, Model, Solver, Stop};
use iresnet::random::{Distribution, Key};
use iresnet::train::Trainer;
use serde_json::{Value, json};

/// Samples of each model.
const SAMPLES: usize = 3;
/// Samples that are drawn.
const DRAWN: usize = 4;
const SEED: u64 = 11;
const TEMPERATURE: f32 = 0.8;
const TERMS: usize = 4;

fn config(kind: Kind) -> Config {
    let mut config = Config::default();
    let model = &mut config.model;
    model.kind = kind;
    model.input = vec![1, 8, 8];
    model.blocks = vec![2, 2];
    model.strides = vec![1, 2];
    model.channels = vec![8, 8];
    model.injective_padding = if kind == Kind::Classifier { 2 } else { 0 };
    model.initial_squeeze = matches!(kind, Kind::Density | Kind::Hybrid);
    model.coefficient = Some(0.8);
    model.classes = 3;
    model.head_channels = 8;
    if kind == Kind::Toy {
        model.input = vec![2];
        (model.blocks, model.strides, model.channels) = (vec![4], vec![1], vec![16]);
        model.hidden_layers = 2;
        config.log_det.estimator = Estimator::Exact;
        config.data.name = "toy:moons".into();
    } else {
        config.data.name = "mnist".into();
    }
    config.data.batch = 16;
    config.optimizer.lr = 0.01;
    config
}

fn numbers(len: usize, stream: u32) -> Vec<f32> {
    Key::new(5, 0, stream).normals(len).into_iter().map(|number| 0.5 * number).collect()
}

/// A model after a few steps of training on noise, so that no tensor is as it began.
async fn trained(gpu: &Gpu, config: &Config) -> Result<Checkpoint, Box<dyn Error>> {
    let mut trainer = Trainer::new(gpu, config, 10, Tuning::first(), None).await?;
    let len = trainer.network().model().input_len();
    trainer.initialize(&numbers(64 * len, 1)).await?;
    for step in 0..3 {
        let labels: Vec<u32> = (0..config.data.batch as u32).map(|label| label % 3).collect();
        trainer.step(&numbers(config.data.batch * len, 10 + step), &labels);
        while trainer.report(true).await?.is_some() {}
    }
    trainer.finish().await?;
    Ok(trainer.checkpoint().await?.model_only())
}

/// The first pictures of a test set, halved by averaging where the model wants halves.
fn pictures(config: &Config) -> Result<Vec<f32>, Box<dyn Error>> {
    let side = config.model.input[1];
    let mut whole = config.clone();
    (whole.model.kind, whole.model.classes, whole.model.input) = (Kind::Classifier, 10, vec![1, 32, 32]);
    let x = Source::open(&whole, Some("fashion-mnist-mini"), Split::Test)?.at(&[0, 1, 2]).x.into_data();
    let step = 32 / side;
    let mean = |at: usize| -> f32 {
        let (sample, row, column) = (at / (side * side), at / side % side, at % side);
        let pixels = (0..step * step)
            .map(|part| x[sample * 1024 + (row * step + part / step) * 32 + column * step + part % step]);
        pixels.sum::<f32>() / (step * step) as f32
    };
    Ok((0..SAMPLES * side * side).map(mean).collect())
}

async fn expected(gpu: &Gpu, checkpoint: &Checkpoint, x: &[f32]) -> Result<Value, Box<dyn Error>> {
    let model = Model::new(&checkpoint.config)?;
    let (kind, density) = (checkpoint.config.model.kind, checkpoint.config.model.kind.has_density());
    let mut network = Network::new(gpu, model, &checkpoint.tensors, Tuning::first())?;
    let evaluator = Evaluator::new(&mut network, SAMPLES, None).await?;
    evaluator.run(x, &[0; SAMPLES], 0, 0);
    let z = evaluator.read("z").await?;
    let shape = [&[SAMPLES], &checkpoint.config.model.input[..]].concat();
    let latent = network.model().latent_len();
    let mut found = json!({ "x": x, "z": z, "hash": checkpoint.hash(), "latent": latent, "shape": shape });
    if kind.has_classes() {
        found["logits"] = json!(evaluator.read("logits").await?);
    }
    if density {
        let series = LogDet::Series { terms: TERMS, samples: 2, probe: Distribution::Normal };
        let log_det = if kind == Kind::Toy { LogDet::Exact } else { series };
        let evaluator = Evaluator::new(&mut network, SAMPLES, Some(log_det)).await?;
        evaluator.run(x, &[0; SAMPLES], SEED, 0);
        for (key, name) in [("logProb", "log_prob"), ("logPrior", "log_prior"), ("logDet", "log_det")] {
            found[key] = json!(evaluator.read(name).await?);
        }
        if kind.is_image_density() {
            found["bitsPerDim"] = json!(evaluator.read("bits_per_dim").await?);
        }
        let sampler = Inverter::sampler(&mut network, DRAWN, Stop::default()).await?;
        let sampled = sampler.sample(SEED, 0, TEMPERATURE).await?;
        found["sampled"] = json!(sampled.x);
    }
    // Where an iteration runs away, rounding decides where to.
    if checkpoint.config.model.coefficient.is_none() {
        return Ok(found);
    }
    for (key, solver) in [("picard", Solver::Picard), ("anderson", Solver::Anderson)] {
        let inverter = Inverter::new(&mut network, SAMPLES, Stop { solver, ..Stop::default() }).await?;
        let inverted = inverter.invert(&z).await?;
        found[key] = json!({
            "data": inverted.x, "iterations": inverted.iterations, "converged": inverted.converged,
        });
    }
    Ok(found)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: web_fixtures FOLDER")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    block_on(async {
        let gpu = Gpu::open(None).await?;
        let mut all = json!({
            "adapter": gpu.info().to_string(), "seed": SEED, "temperature": TEMPERATURE, "terms": TERMS, "probes": 2,
            "drawn": DRAWN, "models": {},
        });
        for (name, kind) in
            [("classifier", Kind::Classifier), ("density", Kind::Density), ("hybrid", Kind::Hybrid), ("toy", Kind::Toy)]
        {
            let checkpoint = trained(&gpu, &config(kind)).await?;
            checkpoint.save(&folder.join(format!("{name}.safetensors")))?;
            let x = numbers(SAMPLES * Model::new(&checkpoint.config)?.input_len(), 2);
            all["models"][name] = expected(&gpu, &checkpoint, &x).await?;
        }
        for name in ["classifier", "twin", "density"] {
            let shipped =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("web/demo/public/models/{name}.safetensors"));
            let checkpoint = Checkpoint::load(&shipped)?;
            std::fs::copy(&shipped, folder.join(format!("demo-{name}.safetensors")))?;
            all["models"][format!("demo-{name}")] = expected(&gpu, &checkpoint, &pictures(&checkpoint.config)?).await?;
        }
        // A network without the constraint, whose weights are so large that no iteration finds the way back.
        let mut config = config(Kind::Classifier);
        config.model.coefficient = None;
        let mut twin = trained(&gpu, &config).await?;
        for (name, tensor) in &mut twin.tensors {
            if name.contains("bottleneck_block") && name.ends_with("weight") {
                tensor.data_mut().iter_mut().for_each(|weight| *weight *= 8.0);
            }
        }
        twin.save(&folder.join("twin.safetensors"))?;
        std::fs::write(folder.join("expected.json"), all.to_string())?;
        Ok(())
    })
}
