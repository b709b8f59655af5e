//! A residual block with random numbers, and the graph of a loss that has its log-determinant in it.

use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::nn::residual::{BlockFunction, Branch};
use iresnet::nn::{Activation, LogDet, Probes};
use iresnet::ops::conv2d::Precision;
use iresnet::random::{Distribution, Key};
use iresnet::shape::Shape;

use crate::fixture::{Tensors, run};

/// Normal random numbers.
pub(crate) fn normal(shape: impl Into<Shape>, stream: u32) -> Array {
    let shape = shape.into();
    let data = (0..shape.len()).map(|i| Distribution::Normal.draw(Key::new(5, 0, stream), i as u32)).collect();
    Array::new(shape, data)
}

/// The number times every element.
fn scaled(mut array: Array, by: f64) -> Array {
    array.data_mut().iter_mut().for_each(|x| *x *= by);
    array
}

/// A block, and values of its inputs but the probes. Weights are small enough for the series to converge fast and large
/// enough for later terms to matter.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) function: BlockFunction,
    pub(crate) values: Tensors,
}

impl Block {
    /// `scale` times normal weights in each layer.
    pub(crate) fn new(branch: Branch, batch: usize, scale: f64) -> Self {
        let function = BlockFunction {
            branch,
            actnorm: true,
            batch,
            log_det: None,
            probes: Probes::Given,
            recompute: false,
            precision: Precision::F32,
        };
        let channels = function.branch.input[0];
        let mut values = Tensors::default()
            .with("x", normal(function.input_shape(), 0))
            .with("cotangent", normal(function.input_shape(), 1))
            .with("log_scale", scaled(normal([channels], 2), 0.1))
            .with("shift", scaled(normal([channels], 3), 0.3));
        for (stream, (name, shape)) in function.branch.operands().into_iter().enumerate() {
            let fan_in = shape.extents().iter().skip(1).product::<usize>() as f64;
            let size = if name.ends_with(".weight") { scale / fan_in.sqrt() } else { 0.5 };
            values = values.with(&name, scaled(normal(shape, 4 + stream as u32), size));
        }
        Self { function, values }
    }

    /// Blocks of each activation: an MLP of three dimensions, and a small convolutional one.
    pub(crate) fn all(activation: Activation) -> Vec<Self> {
        let dimension = if activation == Activation::MaxMin { 4 } else { 3 };
        vec![
            Self::new(Branch::mlp(dimension, &[6, 6], activation, true), 2, 0.5),
            Self::new(Branch::mlp(dimension, &[6], activation, false), 2, 0.5),
            Self::new(Branch::convolutional([2, 2, 2], 4, activation, true), 2, 0.5),
        ]
    }

    /// Number of dimensions of a sample.
    pub(crate) fn dimension(&self) -> usize {
        self.function.branch.input.len()
    }

    /// The graph of loss = Σ log_det + ⟨cotangent, y⟩ with outputs `y`, `log_det` (if there is one) and the gradients of
    /// the loss in everything.
    pub(crate) fn graph(&self, log_det: Option<LogDet>) -> Graph {
        let description = BlockFunction { log_det, ..self.function.clone() };
        let function = description.function();
        let mut g = Graph::new();
        let arguments: Vec<_> =
            function.graph().inputs().iter().map(|(name, id)| (name.clone(), function.graph().shape(*id))).collect();
        let arguments: Vec<_> = arguments.into_iter().map(|(name, shape)| g.input(name, shape)).collect();
        let cotangent = g.input("cotangent", self.function.input_shape());
        let results = g.call(&function, &arguments);
        g.output("y", results[0]);
        let products = g.mul(results[0], cotangent);
        let mut loss = g.sum_all(products);
        if let Some(&log_det) = results.get(1) {
            g.output("log_det", log_det);
            let total = g.sum_all(log_det);
            loss = g.add(loss, total);
        }
        g.output("loss", loss);
        let names = self.parameters();
        iresnet::nn::gradient_graph(g, names.iter().map(String::as_str))
    }

    /// Names of everything that has a gradient.
    pub(crate) fn parameters(&self) -> Vec<String> {
        let fixed = ["x", "log_scale", "shift"].map(String::from);
        fixed.into_iter().chain(self.function.branch.operands().into_iter().map(|(name, _)| name)).collect()
    }

    /// Results with these probes.
    pub(crate) fn run(&self, log_det: LogDet, probes: Vec<Array>) -> Tensors {
        let mut values = self.values.clone();
        for (sample, probe) in probes.into_iter().enumerate() {
            values = values.with(&format!("probe {sample}"), probe);
        }
        run(&self.graph(Some(log_det)), &values)
    }

    /// Probes √d·eᵢ: the mean of vᵀ M v over them is the trace of M, as the expectation is over random ones.
    pub(crate) fn all_directions(&self) -> Vec<Array> {
        let (shape, d) = (self.function.input_shape(), self.dimension());
        let unit = |i: usize| {
            let data = (0..shape.len()).map(|at| if at % d == i { (d as f64).sqrt() } else { 0.0 });
            Array::new(shape.clone(), data.collect())
        };
        (0..d).map(unit).collect()
    }
}
