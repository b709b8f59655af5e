//! Inversion step by step finds what inversion in one go finds.

mod common;

use common::on_every_device;
use iresnet::config::{Config, Kind};
use iresnet::eval::{Evaluator, Inverted, Inverter, Progress, StepwiseInverter};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::network::Network;
use iresnet::nn::{Model, Solver, Stop, effective};
use iresnet::random::Key;
use iresnet::train::Trainer;

const SAMPLES: usize = 3;

/// Both find the solution to the tolerance of 1e-6; between blocks ActNorm is undone on the host, whose `exp` rounds
/// otherwise, and what a block is off the next ones pass on.
const TOLERANCE: f32 = 5e-5;

fn config(kind: Kind) -> Config {
    let mut config = Config::default();
    let model = &mut config.model;
    model.kind = kind;
    model.input = vec![2, 8, 8];
    (model.blocks, model.strides, model.channels) = (vec![2, 2], vec![2, 2], vec![8, 6]);
    model.injective_padding = if kind == Kind::Classifier { 2 } else { 0 };
    model.coefficient = Some(0.8);
    if kind == Kind::Toy {
        model.input = vec![3];
        (model.blocks, model.strides, model.channels) = (vec![3], vec![1], vec![16]);
        config.log_det.estimator = iresnet::config::Estimator::Exact;
    }
    config
}

fn numbers(len: usize, stream: u32) -> Vec<f32> {
    Key::new(7, 0, stream).normals(len)
}

/// A network whose ActNorm was set from data, and whose norms bind.
async fn network(gpu: &Gpu, config: &Config) -> Network {
    let mut trainer = Trainer::new(gpu, config, 1, Tuning::first(), None).await.unwrap();
    let len = trainer.network().model().input_len();
    trainer.initialize(&numbers(32 * len, 1)).await.unwrap();
    let checkpoint = trainer.checkpoint().await.unwrap();
    Network::new(gpu, Model::new(config).unwrap(), &checkpoint.tensors, Tuning::first()).unwrap()
}

/// Runs an inversion to its end; gives what was told on the way.
async fn inverted(network: &mut Network, stop: Stop, z: &[f32], rounds: Option<u32>) -> (Inverted, Vec<Progress>) {
    let mut inverter = StepwiseInverter::new(network, SAMPLES, stop).await.unwrap();
    inverter.begin(network, z).await.unwrap();
    let mut told = Vec::new();
    loop {
        told.push(inverter.advance(network, rounds, true).await.unwrap());
        if told.last().unwrap().done {
            return (inverter.finish().unwrap(), told);
        }
    }
}

fn assert_equal(found: &Inverted, wanted: &Inverted) {
    let largest = wanted.x.iter().fold(1.0, |most: f32, x| most.max(x.abs()));
    for (found, wanted) in found.x.iter().zip(&wanted.x) {
        assert!((found - wanted).abs() < TOLERANCE * largest, "{found}, in one go {wanted}");
    }
    assert_eq!(found.x.len(), wanted.x.len());
    assert_eq!(found.converged, wanted.converged);
    for (found, wanted) in found.iterations.iter().zip(&wanted.iterations) {
        // A round more or less in a block where a change is all but equal to the tolerance.
        assert!((found - wanted).abs() <= 4.0, "{found} evaluations, in one go {wanted}");
    }
}

#[test]
fn step_by_step_is_as_in_one_go() {
    on_every_device(|gpu| {
        for kind in [Kind::Classifier, Kind::Density, Kind::Toy] {
            for solver in [Solver::Picard, Solver::Anderson] {
                let stop = Stop { solver, ..Stop::default() };
                block_on(async {
                    let mut network = network(gpu, &config(kind)).await;
                    let z = numbers(SAMPLES * network.model().latent_len(), 2);
                    let inverter = Inverter::new(&mut network, SAMPLES, stop).await.unwrap();
                    let wanted = inverter.invert(&z).await.unwrap();
                    let (found, told) = inverted(&mut network, stop, &z, Some(1)).await;
                    assert_equal(&found, &wanted);
                    // The last thing that was seen is the result.
                    assert_eq!(told.last().unwrap().seen.as_ref(), Some(&found.x));
                    let (blind, looks) = inverted(&mut network, stop, &z, None).await;
                    assert_eq!(blind.x, found.x, "however often somebody looks");
                    assert!(looks.len() < told.len());
                });
            }
        }
    });
}

#[test]
fn what_is_told_adds_up() {
    on_every_device(|gpu| {
        block_on(async {
            let mut network = network(gpu, &config(Kind::Classifier)).await;
            let z = numbers(SAMPLES * network.model().latent_len(), 2);
            let (result, told) = inverted(&mut network, Stop::default(), &z, Some(1)).await;
            assert_eq!((told[0].block, told.last().unwrap().block), (3, 0));
            let most = |values: &[f32]| values.iter().copied().fold(0.0, f32::max);
            for (before, next) in told.iter().zip(&told[1..]) {
                assert_eq!(next.total, before.total + 1);
                assert!(next.block == before.block || next.block + 1 == before.block);
                assert_eq!(next.iteration, if next.block == before.block { before.iteration + 1 } else { 1 });
            }
            assert!(most(&result.residual) < 1e-5 && result.unconverged() == 0);
            let few = Stop { limit: 3, ..Stop::default() };
            let (early, told) = inverted(&mut network, few, &z, None).await;
            assert_eq!(early.iterations, [12.0; SAMPLES]);
            assert_eq!((early.unconverged(), told.len()), (SAMPLES, 4));
        });
    });
}

/// What is bound once follows the parameters.
#[test]
fn parameters_that_change_are_used() {
    on_every_device(|gpu| {
        block_on(async {
            let mut network = network(gpu, &config(Kind::Toy)).await;
            let z = numbers(SAMPLES * 3, 2);
            let mut inverter = StepwiseInverter::new(&mut network, SAMPLES, Stop::default()).await.unwrap();
            let mut results = Vec::new();
            for factor in [1.0, 0.5] {
                let name = "stack.0.bottleneck_block.0.weight_orig";
                let weights: Vec<f32> = network.memory().read(name).await.unwrap();
                network.memory().write(name, &weights.iter().map(|w| factor * w).collect::<Vec<f32>>());
                inverter.begin(&network, &z).await.unwrap();
                while !inverter.advance(&network, None, false).await.unwrap().done {}
                results.push(inverter.finish().unwrap());
                let whole = Inverter::new(&mut network, SAMPLES, Stop::default()).await.unwrap();
                assert_equal(&results[results.len() - 1], &whole.invert(&z).await.unwrap());
            }
            assert_ne!(results[0].x, results[1].x);
        });
    });
}

/// Weights that were normalised on the host are those of the device.
#[test]
fn effective_weights_give_the_same_network() {
    on_every_device(|gpu| {
        for kind in [Kind::Classifier, Kind::Density, Kind::Toy] {
            block_on(async {
                let mut normalised = network(gpu, &config(kind)).await;
                let tensors = normalised.download().await.unwrap();
                let (model, tensors) = effective(normalised.model(), tensors);
                assert!(model.params().iter().all(|param| !param.name.ends_with("_orig")));
                let mut plain = Network::new(gpu, model, &tensors, Tuning::first()).unwrap();
                let x = numbers(SAMPLES * plain.model().input_len(), 3);
                let mut found = Vec::new();
                for network in [&mut normalised, &mut plain] {
                    let evaluator = Evaluator::new(network, SAMPLES, None).await.unwrap();
                    evaluator.run(&x, &[0; SAMPLES], 0, 0);
                    found.push(evaluator.read("z").await.unwrap());
                }
                let largest = found[0].iter().fold(1.0, |most: f32, z| most.max(z.abs()));
                for (a, b) in found[0].iter().zip(&found[1]) {
                    assert!((a - b).abs() < TOLERANCE * largest, "{a}, from weights normalised on the host {b}");
                }
            });
        }
    });
}
