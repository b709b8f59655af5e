//! Solvers of the inverse: how many evaluations they take, when they stop, and what they say of their error.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;

use common::on_every_adapter;
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

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[test]
fn anderson_finds_the_solution_with_fewer_evaluations() {
    for kind in [Kind::Density, Kind::Toy] {
        let (model, values) = model(kind, |_| {});
        let values = values.clone().with("z", latent(&model, &values, 8));
        let solved = |stop| fixture::run(&model.inverse_graph(8, stop), &values);
        let truth = solved(TRUE);
        let mean = |results: &Tensors| results.get("iterations").data().iter().sum::<f64>() / 8.0;
        for tolerance in [1e-4, 1e-8] {
            let [plain, fast] =
                [Solver::Picard, Solver::Anderson].map(|solver| solved(Stop { solver, tolerance, limit: 100 }));
            println!("{kind:?} {tolerance:.0e}: {} and {} evaluations", mean(&plain), mean(&fast));
            assert!(fast.get("converged").data().iter().all(|&one| one == 1.0));
            let error = distances(fast.get("x"), truth.get("x")).into_iter().fold(0.0, f64::max);
            println!("{error:e}");
            assert!(error < 100.0 * tolerance, "{kind:?}: {error:.1e}");
            assert!(mean(&fast) <= mean(&plain), "{kind:?} {tolerance:.0e}");
        }
    }
}

#[test]
fn bounds() {
    const SAMPLES: usize = 200;
    for kind in [Kind::Density, Kind::Toy] {
        let (model, values) = model(kind, |_| {});
        let values = values.clone().with("z", latent(&model, &values, SAMPLES));
        let truth = fixture::run(&model.inverse_graph(SAMPLES, TRUE), &values);
        on_every_adapter(|gpu| {
            for stop in [Stop::after(2), Stop::default(), Stop { solver: Solver::Anderson, ..Stop::default() }] {
                let found = on(gpu, &model.bounded_inverse_graph(SAMPLES, stop), &values);
                let errors = distances(found.get("x"), truth.get("x"));
                let ratios: Vec<f64> =
                    found.get("error_bound").data().iter().zip(&errors).map(|(bound, error)| bound / error).collect();
                let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
                println!(
                    "{kind:?} {stop:?}: evaluations {} error {:.2e} ratio least {least:.2} median {:.2} max {:.1} converged {}",
                    median(found.get("iterations").data()),
                    median(&errors),
                    median(&ratios),
                    ratios.iter().copied().fold(0.0, f64::max),
                    found.get("converged").data().iter().sum::<f64>()
                );
            }
        });
    }
}
