//! Plans compute what graphs say, keep to what every device allows, and look as reviewed.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/expressions.rs"]
#[allow(dead_code, reason = "shared with the graph tests, which use more of it")]
mod expressions;

use std::path::PathBuf;

use common::adapters;
use expressions::expression;
use iresnet::config::{Config, Kind};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::nn::{Model, Probes, Stop};
use iresnet::plan::{self, Limits};

/// Steps of a random expression: enough for chains across several kernels.
const STEPS: usize = 14;
/// Expressions run on the first adapter, and on each of the others.
const RUN: [u64; 2] = [40, 10];
/// Expressions that are only planned: cheap.
const PLANNED: u64 = 300;

/// Largest difference to f64, relative to the largest number of the output or one. Expressions are made such that rounding
/// every step to f32 moves them by less than 3e-6; functions on a GPU err by a few units more than rounding does.
const TOLERANCE: f64 = 5e-5;

#[test]
fn random_expressions_run_as_they_evaluate() {
    for (number, adapter) in adapters().iter().enumerate() {
        let gpu = block_on(Gpu::open_adapter(adapter)).unwrap();
        for seed in 0..RUN[number.min(1)] {
            let expression = expression(seed, STEPS);
            let found = compare::run(&gpu, &expression.graph, &expression.values, &mut Tuning::first());
            for (((name, _), wanted), found) in expression.graph.outputs().iter().zip(&expression.expected).zip(&found)
            {
                let scale = wanted.data().iter().fold(1.0f64, |scale, &x| scale.max(x.abs()));
                assert_eq!(wanted.data().len(), found.len());
                for (index, (&wanted, &found)) in wanted.data().iter().zip(found).enumerate() {
                    assert!(
                        (wanted - f64::from(found)).abs() <= TOLERANCE * scale,
                        "seed {seed}, {name}[{index}]: {found} on {}, expected {wanted}\n{}",
                        gpu.info(),
                        expression.graph
                    );
                }
            }
        }
    }
}

#[test]
fn random_expressions_become_programs_that_every_device_takes() {
    let limits = Limits::default();
    for seed in 0..PLANNED {
        let graph = expression(seed, 3 * STEPS).graph;
        let program = plan::compile("random", &graph, &limits).unwrap();
        program.check(&limits).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{program}"));
    }
}

/// One block of every kind of graph, small enough to read.
fn block(kind: Kind) -> Model {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.input = vec![4, 6, 6];
    config.model.blocks = vec![1];
    config.model.strides = vec![1];
    config.model.channels = vec![8];
    config.model.injective_padding = 0;
    config.log_det.terms = 2;
    Model::new(&config).unwrap()
}

#[test]
fn programs_of_a_block() {
    let limits = Limits::default();
    let density = block(Kind::Density);
    let programs = [
        ("block_gradient", density.gradient_graph(2, Probes::Keys)),
        ("block_inverse", density.inverse_graph(2, Stop { limit: 20, ..Stop::default() })),
        ("block_classifier", block(Kind::Classifier).gradient_graph(2, Probes::Keys)),
    ];
    for (name, graph) in programs {
        let program = plan::compile(name, &graph, &limits).unwrap();
        program.check(&limits).unwrap_or_else(|error| panic!("{error}\n{program}"));
        let again = plan::compile(name, &graph, &limits).unwrap();
        assert_eq!(program, again, "{name}: planning depends on nothing but the graph");
        let text = program.to_string();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("plan_{name}.txt"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).expect("the folder of snapshots is there");
            continue;
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, known, "{} differs; BLESS=1 writes it anew", path.display());
    }
}
