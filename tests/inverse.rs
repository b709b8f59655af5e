//! Solvers of the inverse: how many evaluations they take, when they stop, and what they say of their error.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;

use common::on_every_device;
use compare::rounded;
use fixture::Tensors;
use iresnet::config::{Config, Estimator, Kind};
use iresnet::gpu::{Gpu, Tuning};
use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::nn::{Evaluation, Model, Solver, Stop, param};
use iresnet::random::{Distribution, Key};
use iresnet::shape::Shape;

/// Solved in f64 to so much, a solution is the true one beside errors of f32.
const TRUE: Stop = Stop { solver: Solver::Picard, tolerance: 1e-12, limit: 1000 };

fn normal(shape: impl Into<Shape>, stream: u32) -> Array {
    let shape = shape.into();
    let data = (0..shape.len()).map(|i| Distribution::Normal.draw(Key::new(5, 0, stream), i as u32)).collect();
    Array::new(shape, data)
}

/// A model with norms that bind and ActNorm set from data, and its values as a device has them.
fn model(kind: Kind, edit: impl FnOnce(&mut Config)) -> (Model, Tensors) {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.input = vec![2, 4, 4];
    config.model.blocks = vec![2, 2];
    config.model.strides = vec![1, 2];
    config.model.channels = vec![8, 8];
    config.model.injective_padding = 0;
    if kind == Kind::Toy {
        config.model.input = vec![2];
        config.model.blocks = vec![6];
        config.model.strides = vec![1];
        config.model.channels = vec![8];
        config.log_det.estimator = Estimator::Exact;
    }
    edit(&mut config);
    let model = Model::new(&config).unwrap();
    let mut values = Tensors::default();
    for (name, tensor) in param::initialize(model.params(), 3) {
        let factor = if name.contains("weight_orig") { 4.0 } else { 1.0 };
        let data = tensor.data().iter().map(|&value| f64::from(value) * factor).collect();
        values = values.with(&name, Array::new(tensor.shape(), data));
    }
    if let Some(graph) = model.tighten_graph(1e-6, 1000) {
        values.update(&fixture::run(&graph, &values));
    }
    let x = normal(batched(&model, 16), 1);
    values.update(&fixture::run(&model.init_graph(16), &values.clone().with("x", x)));
    for value in values.0.values_mut() {
        *value = rounded(std::slice::from_ref(value)).remove(0);
    }
    (model, values)
}

fn batched(model: &Model, n: usize) -> Vec<usize> {
    [&[n], &model.config().model.input[..]].concat()
}

/// Latent numbers of `n` samples, rounded to f32.
fn latent(model: &Model, values: &Tensors, n: usize) -> Array {
    let x = normal(batched(model, n), 2);
    let graph = model.eval_graph(n, &Evaluation::default()).unwrap();
    let z = fixture::run(&graph, &values.clone().with("x", x)).get("z").clone();
    rounded(&[z]).remove(0)
}

/// Outputs on `gpu`, by name.
fn on(gpu: &Gpu, graph: &Graph, inputs: &Tensors) -> Tensors {
    let values: Vec<Array> = graph.inputs().iter().map(|(name, _)| inputs.get(name).clone()).collect();
    let found = compare::run(gpu, graph, &values, &mut Tuning::first());
    let mut outputs = Tensors::default();
    for ((name, id), found) in graph.outputs().iter().zip(found) {
        outputs = outputs.with(name, Array::new(graph.shape(*id), found.into_iter().map(f64::from).collect()));
    }
    outputs
}

/// Euclidean distances of samples.
fn distances(a: &Array, b: &Array) -> Vec<f64> {
    let width = a.data().len() / a.shape()[0];
    let pairs = a.data().chunks_exact(width).zip(b.data().chunks_exact(width));
    pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()).collect()
}

/// Algorithm 1 with this many iterations is what the accelerated solver is compared with.
const PUBLISHED: f64 = 100.0;

#[test]
fn anderson_finds_the_solution_with_fewer_evaluations() {
    const SAMPLES: usize = 8;
    for kind in [Kind::Density, Kind::Toy] {
        let (model, values) = model(kind, |_| {});
        let values = values.clone().with("z", latent(&model, &values, SAMPLES));
        let solved = |stop| fixture::run(&model.inverse_graph(SAMPLES, stop), &values);
        let truth = solved(TRUE);
        let mean = |results: &Tensors| results.get("iterations").data().iter().sum::<f64>() / SAMPLES as f64;
        for tolerance in [1e-4, 1e-8] {
            let [plain, fast] =
                [Solver::Picard, Solver::Anderson].map(|solver| solved(Stop { solver, tolerance, limit: 100 }));
            assert!(fast.get("converged").data().iter().all(|&one| one == 1.0), "{kind:?} {tolerance:.0e}");
            let error = distances(fast.get("x"), truth.get("x")).into_iter().fold(0.0, f64::max);
            // The tolerance is of an element in a block; errors of several elements and blocks add up.
            assert!(error < 10.0 * tolerance, "{kind:?} {tolerance:.0e}: {error:.1e}");
            let (few, many) = (mean(&fast), mean(&plain));
            assert!(few <= many, "{kind:?} {tolerance:.0e}: {few} evaluations, without acceleration {many}");
            let blocks = model.blocks().len() as f64;
            assert!(6.0 * few < PUBLISHED * blocks, "{kind:?} {tolerance:.0e}: {few} evaluations in {blocks} blocks");
        }
    }
}

#[test]
fn error_bounds_are_above_the_errors_and_not_far_above() {
    for (kind, samples) in [(Kind::Density, 200), (Kind::Toy, 1000)] {
        let (model, values) = model(kind, |_| {});
        let values = values.clone().with("z", latent(&model, &values, samples));
        let truth = fixture::run(&model.inverse_graph(samples, TRUE), &values);
        let stops = [Stop::after(2), Stop::default(), Stop { solver: Solver::Anderson, ..Stop::default() }];
        let graphs = stops.map(|stop| (stop, model.bounded_inverse_graph(samples, stop)));
        on_every_device(|gpu| {
            for (stop, graph) in &graphs {
                let found = on(gpu, graph, &values);
                let errors = distances(found.get("x"), truth.get("x"));
                let bounds = found.get("error_bound").data();
                let mut ratios: Vec<f64> = bounds.iter().zip(&errors).map(|(bound, error)| bound / error).collect();
                ratios.sort_by(f64::total_cmp);
                let (least, median) = (ratios[0], ratios[samples / 2]);
                assert!(least >= 1.0, "{kind:?} {stop:?}: a bound is {least} times the error");
                assert!(median <= 10.0, "{kind:?} {stop:?}: bounds are {median} times the error");
            }
        });
    }
}
