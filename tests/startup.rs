//! Start-up does not grow with depth: what is compiled depends on the distinct shapes of a network, not on its blocks.
//!
//! Counts are asserted, times only printed: a busy machine must not fail a test. `cargo run --release --example startup`
//! measures the whole way to a bound session.

use std::collections::HashSet;
use std::time::Instant;

use iresnet::config::{Config, Estimator, Kind};
use iresnet::graph::Graph;
use iresnet::nn::{Model, Probes, Stop};
use iresnet::plan::program::{Command, Program};
use iresnet::plan::{self, Limits};

/// A deep network may need a few kernels more than a shallow one: sums over all its blocks take more operands.
const MORE_KERNELS: f64 = 1.1;

/// The same against the shallowest network, some of whose layers have none of their shape beside them and need no stack.
const MORE_THAN_ALONE: f64 = 1.5;

/// Six times as many blocks are normalised by a few dispatches more: vectors of 32 channels are padded one by one.
const MORE_DISPATCHES: f64 = 1.25;

/// Blocks of each stage: 6, 9 and 54 in all.
const DEPTHS: [usize; 3] = [2, 3, 18];

fn model(kind: Kind, blocks: usize) -> Model {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.blocks = vec![blocks; 3];
    config.log_det.estimator = Estimator::Series;
    if kind == Kind::Density {
        config.model.injective_padding = 0;
        config.model.initial_squeeze = true;
        config.model.strides = vec![1, 2, 2];
        config.model.channels = vec![32, 32, 32];
    }
    Model::new(&config).unwrap()
}

fn compile(name: &str, graph: &Graph) -> Program {
    plan::compile(name, graph, &Limits::default()).unwrap()
}

/// Distinct modules, each of which becomes a pipeline.
fn pipelines(program: &Program) -> usize {
    program.kernels.iter().map(|kernel| &kernel.variants[0].source).collect::<HashSet<_>>().len()
}

/// Kernels of one run, loops counted once.
fn dispatches(commands: &[Command]) -> usize {
    let of = |command: &Command| match command {
        Command::Dispatch { .. } => 1,
        Command::Copy { .. } => 0,
        Command::Loop { body, .. } => dispatches(body),
    };
    commands.iter().map(of).sum()
}

fn assert_depth_is_free(name: &str, graph: impl Fn(usize) -> Graph) -> [Program; 2] {
    let [alone, shallow, deep] = DEPTHS.map(|blocks| {
        let begun = Instant::now();
        let graph = graph(blocks);
        let built = begun.elapsed();
        let program = compile(name, &graph);
        println!(
            "{name}, {} blocks: graph {built:?}, plan {:?}, {} kernels, {} pipelines, {} commands, {} buffers",
            3 * blocks,
            begun.elapsed() - built,
            program.kernels.len(),
            pipelines(&program),
            program.commands.len(),
            program.buffers.len()
        );
        program
    });
    for (shallow, factor) in [(&alone, MORE_THAN_ALONE), (&shallow, MORE_KERNELS)] {
        let most = |count: usize| (factor * count as f64).ceil() as usize;
        assert!(
            deep.kernels.len() <= most(shallow.kernels.len()) && pipelines(&deep) <= most(pipelines(shallow)),
            "{name}: {} kernels and {} pipelines became {} and {}",
            shallow.kernels.len(),
            pipelines(shallow),
            deep.kernels.len(),
            pipelines(&deep)
        );
    }
    [shallow, deep]
}

#[test]
fn training_a_classifier_compiles_the_same_whatever_its_depth() {
    let [shallow, deep] = assert_depth_is_free("classifier gradient", |blocks| {
        model(Kind::Classifier, blocks).gradient_graph(16, Probes::Keys)
    });
    let [few, many] = [&shallow, &deep].map(|program| dispatches(&program.commands));
    assert!(many > 3 * few, "{few} and {many} dispatches: the deep network does more");
}

#[test]
fn training_a_density_compiles_the_same_whatever_its_depth() {
    assert_depth_is_free("density gradient", |blocks| model(Kind::Density, blocks).gradient_graph(16, Probes::Keys));
}

#[test]
fn inverting_and_initialising_compile_the_same_whatever_the_depth() {
    let stop = Stop { limit: 50, ..Stop::default() };
    assert_depth_is_free("inverse", |blocks| model(Kind::Density, blocks).inverse_graph(16, stop));
    assert_depth_is_free("initialise", |blocks| model(Kind::Classifier, blocks).init_graph(64));
    let [shallow, deep] =
        assert_depth_is_free("tighten", |blocks| model(Kind::Classifier, blocks).tighten_graph(1e-3, 50).unwrap());
    // Layers of one shape are normalised together, so that depth hardly costs dispatches.
    let [few, many] = [&shallow, &deep].map(|program| dispatches(&program.commands));
    assert!(many as f64 <= MORE_DISPATCHES * few as f64, "{few} dispatches became {many}");
}
