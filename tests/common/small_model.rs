//! Small models with values as training meets them, and their inputs, by name.

use iresnet::config::{Config, Estimator, Kind};
use iresnet::gpu::{Gpu, Tuning};
use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::network;
use iresnet::nn::{LogDet, Model, param};
use iresnet::random::{Distribution, Key};
use iresnet::shape::Shape;

use super::compare::{self, rounded};
use super::fixture::{self, Tensors};

/// Standard normal numbers.
pub(crate) fn normal(shape: impl Into<Shape>, stream: u32) -> Array {
    let shape = shape.into();
    let data = (0..shape.len()).map(|i| Distribution::Normal.draw(Key::new(5, 0, stream), i as u32)).collect();
    Array::new(shape, data)
}

/// A configuration that a debug build runs in the interpreter in seconds: two stages with a squeeze between them.
pub(crate) fn config(kind: Kind) -> Config {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.input = vec![2, 4, 4];
    config.model.blocks = vec![2, 2];
    config.model.strides = vec![1, 2];
    config.model.channels = vec![4, 4];
    config.model.injective_padding = if kind == Kind::Classifier { 2 } else { 0 };
    config.model.coefficient = Some(0.8);
    config.model.classes = 3;
    config.log_det.terms = 2;
    if kind == Kind::Toy {
        config.model.input = vec![2];
        config.model.strides = vec![1, 1];
        config.model.hidden_layers = 1;
        config.log_det.estimator = Estimator::Exact;
    }
    config
}

/// Values of the model: norms that bind, ActNorm set from data.
pub(crate) fn values(model: &Model) -> Tensors {
    let mut values = Tensors::default();
    for (name, tensor) in param::initialize(model.params(), 3) {
        let data =
            tensor.data().iter().map(|&value| f64::from(value) * if name.contains("weight_orig") { 3.0 } else { 1.0 });
        values = values.with(&name, Array::new(tensor.shape(), data.collect()));
    }
    values.update(&fixture::run(&model.tighten_graph(1e-6, 1000).unwrap(), &values));
    let x = normal(batched(model, 8), 1);
    values.update(&fixture::run(&model.init_graph(8), &values.clone().with("x", x)));
    values
}

fn batched(model: &Model, n: usize) -> Vec<usize> {
    [&[n], &model.config().model.input[..]].concat()
}

/// Values with n samples, labels and keys.
pub(crate) fn inputs(model: &Model, values: &Tensors, log_det: Option<&LogDet>, n: usize) -> Tensors {
    let streams = model.streams(log_det);
    let keys = network::keys(9, 7, streams).iter().map(|&x| f64::from(x)).collect();
    let labels = (0..n).map(|sample| (sample % 3) as f64).collect();
    let values = values.clone().with("x", normal(batched(model, n), 2));
    let values = values.with("labels", Array::new([n], labels));
    if streams == 0 { values } else { values.with("keys", Array::new([streams, iresnet::nn::KEY_WIDTH], keys)) }
}

/// Outputs on `gpu`, by name.
pub(crate) fn on(gpu: &Gpu, graph: &Graph, inputs: &Tensors) -> Tensors {
    on_with(gpu, graph, inputs, &mut Tuning::first())
}

/// The same with other variants of kernels.
pub(crate) fn on_with(gpu: &Gpu, graph: &Graph, inputs: &Tensors, tuning: &mut Tuning) -> Tensors {
    let values: Vec<Array> = graph.inputs().iter().map(|(name, _)| inputs.get(name).clone()).collect();
    let found = compare::run(gpu, graph, &values, tuning);
    let mut outputs = Tensors::default();
    for ((name, id), found) in graph.outputs().iter().zip(found) {
        outputs = outputs.with(name, Array::new(graph.shape(*id), found.into_iter().map(f64::from).collect()));
    }
    outputs
}

/// Outputs by the interpreter, from inputs as a GPU sees them.
pub(crate) fn interpreted(graph: &Graph, inputs: &Tensors) -> Tensors {
    let mut seen = inputs.clone();
    for value in seen.0.values_mut() {
        *value = rounded(std::slice::from_ref(value)).remove(0);
    }
    fixture::run(graph, &seen)
}
