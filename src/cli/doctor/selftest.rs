//! A small computation on an adapter, compared with the f64 interpreter.

use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gpu::{Adapter, Gpu, Memory, Session, Tuning};
use crate::graph::Graph;
use crate::interpret::{self, Array};
use crate::ops::conv2d::Precision;
use crate::plan::program::Suits;
use crate::plan::{self, Limits};
use crate::random::{Distribution, Key};

/// A self-test that succeeded.
#[derive(Debug, Serialize)]
pub(super) struct Passed {
    /// Largest error found, as a share of the largest value of its tensor.
    pub(super) error: f64,
    /// What would still do.
    pub(super) tolerance: f64,
    /// The error with operands in half precision, on adapters that have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) f16_error: Option<f64>,
    /// How long it took, opening the adapter included.
    pub(super) seconds: f64,
}

/// Largest error of an output, as a share of its largest value (or of one). Sums of some hundred f32 products are good
/// to about 1e-6; drivers' exponential functions to some 1e-5.
const TOLERANCE: f64 = 1e-4;

/// The same where operands of convolutions are rounded to half precision, each by 2⁻¹¹ at most.
const F16_TOLERANCE: f64 = 5e-3;

/// Seed of the inputs and of the random numbers drawn on the device.
const SEED: u64 = 7;

/// Runs the self-test.
///
/// # Errors
/// [`Error::Gpu`] where the adapter cannot be opened or fails, [`Error::Verification`] where it computes something else.
pub(super) async fn run(adapter: &Adapter) -> Result<Passed> {
    let start = Instant::now();
    let gpu = Gpu::open_adapter(adapter).await?;
    let error = largest_error(&gpu, Precision::F32, TOLERANCE).await?;
    let f16_error =
        if adapter.info().f16 { Some(largest_error(&gpu, Precision::F16, F16_TOLERANCE).await?) } else { None };
    Ok(Passed { error, tolerance: TOLERANCE, f16_error, seconds: start.elapsed().as_secs_f64() })
}

/// The largest error of all outputs, if none is above `tolerance`.
async fn largest_error(gpu: &Gpu, precision: Precision, tolerance: f64) -> Result<f64> {
    let graph = graph(precision);
    let program = plan::compile("self-test", &graph, &Limits::default())?;
    let mut tuning = match precision {
        Precision::F32 => Tuning::first(),
        Precision::F16 => Tuning::fixed(program.choices(Suits::F16)),
    };
    let mut memory = Memory::new(gpu);
    let mut inputs = Vec::new();
    for (number, (name, id)) in (0..).zip(graph.inputs()) {
        let shape = graph.shape(*id).clone();
        let numbers = if name == "key" {
            Key::new(SEED, 0, 0).numbers().to_vec()
        } else {
            Key::new(SEED, 1, number).normals(shape.len())
        };
        memory.alloc(name, shape.clone())?;
        memory.write(name, &numbers);
        inputs.push(Array::new(shape, numbers.into_iter().map(f64::from).collect()));
    }
    for (name, id) in graph.outputs() {
        memory.alloc(name, graph.shape(*id).clone())?;
    }
    Session::bind(gpu, &program, &memory, &mut tuning).await?.run();

    let mut worst: f64 = 0.0;
    for ((name, _), wanted) in graph.outputs().iter().zip(interpret::run(&graph, inputs)) {
        let found = memory.read(name).await?;
        let error = error(wanted.data(), &found);
        if error.is_nan() || error > tolerance {
            let how = if precision == Precision::F16 { " in half precision" } else { "" };
            return Err(Error::Verification(format!(
                "{}: `{name}` is wrong{how}: off by {error:.1e} of its largest value, {tolerance:.0e} is allowed",
                gpu.info()
            )));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

/// The largest difference as a share of the largest wanted value, or of one. Not a number if any difference is none.
fn error(wanted: &[f64], found: &[f32]) -> f64 {
    let scale = wanted.iter().fold(1.0f64, |scale, x| scale.max(x.abs()));
    let errors = wanted.iter().zip(found).map(|(wanted, &found)| (wanted - f64::from(found)).abs() / scale);
    // Unlike `f64::max`, this keeps what is not a number.
    errors.fold(0.0, |worst: f64, error| if worst >= error || worst.is_nan() { worst } else { error })
}

/// One residual block of two convolutions with its gradients, a product of matrices, reductions, random numbers.
fn graph(precision: Precision) -> Graph {
    let mut graph = Graph::new();
    graph.set_precision(precision);
    let x = graph.input("x", [3, 4, 7, 5]);
    let w = graph.input("w", [6, 4, 3, 3]);
    let v = graph.input("v", [4, 6, 1, 1]);
    let m = graph.input("m", [9, 4 * 7 * 5]);
    let key = graph.input("key", [4]);

    let h = graph.conv2d(x, w, 1, [1, 1], 1);
    let h = graph.softplus(h);
    let h = graph.conv2d(h, v, 1, [0, 0], 1);
    let y = graph.add(x, h);
    graph.output("block", y);
    let flat = graph.reshape(y, [3, 4 * 7 * 5]);
    let product = graph.linear(flat, m);
    graph.output("product", product);
    let largest = graph.max_over(product, &[1]);
    graph.output("largest", largest);

    let noise = graph.random(Distribution::Normal, key, [3, 9]);
    graph.output("random numbers", noise);
    let noisy = graph.mul(product, noise);
    let bounded = graph.tanh(noisy);
    let loss = graph.mean_all(bounded);
    graph.output("mean", loss);
    for (name, gradient) in ["x", "w", "v", "m"].iter().zip(graph.grad(loss, &[x, w, v, m])) {
        graph.output(format!("gradient in {name}"), gradient);
    }
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_is_an_error() {
        assert_eq!(error(&[1.0, 4.0], &[1.0, 5.0]), 0.25);
        assert!(error(&[1.0, 4.0], &[f32::NAN, 4.0]).is_nan());
    }
}
