//! Whether results by name agree, and whether gradients are the slopes of the loss.

use iresnet::interpret::Array;
use iresnet::nn::{Model, Probes};

use super::fixture::{self, Tensors};
use super::small_model::normal;

/// A gradient so much smaller than the largest of the model is what is left of sums that cancel: it is compared as if it
/// were this part of the largest.
const NEGLIGIBLE: f64 = 1e-2;
/// Step of central differences of fourth order.
const STEP: f64 = 1e-5;
/// Derivatives of the loss along directions, relative: the quotient is of fourth order, rounding is 1e-16 / STEP, and some
/// sums cancel.
const SLOPE: f64 = 1e-7;

/// Euclidean norm.
pub(crate) fn norm(array: &Array) -> f64 {
    array.data().iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Asserts that every output of `wanted` is among `found`, gradients compared with the largest of them.
#[track_caller]
pub(crate) fn assert_agree(what: &str, found: &Tensors, wanted: &Tensors, tolerance: f64) {
    let gradients = wanted.0.iter().filter(|(name, _)| name.starts_with("grad/"));
    let largest = gradients.map(|(_, gradient)| norm(gradient)).fold(0.0, f64::max);
    for (name, wanted) in &wanted.0 {
        let difference: Vec<f64> = wanted.data().iter().zip(found.get(name).data()).map(|(a, b)| a - b).collect();
        let floor = if name.starts_with("grad/") { NEGLIGIBLE * largest } else { 1e-30 };
        let error = norm(&Array::new(wanted.shape(), difference)) / norm(wanted).max(floor);
        assert!(error <= tolerance, "{what}: {name} is off by {error:.1e} of {:.3e}", norm(wanted));
    }
}

/// Asserts that the gradients of `model`, with `inputs` for n samples, give the derivative of the loss along a random
/// direction, of which each `stream` has its own.
#[track_caller]
pub(crate) fn assert_slope(what: &str, model: &Model, inputs: &Tensors, n: usize, stream: u32) {
    let gradients = fixture::run(&model.gradient_graph(n, Probes::Keys), inputs);
    let loss = model.loss_graph(n, Probes::Keys);
    let trained: Vec<&str> = model.params().iter().filter(|p| p.is_parameter()).map(|p| p.name.as_str()).collect();
    let along = |name: &str| normal(inputs.get(name).shape(), stream + name.len() as u32);
    let at = |step: f64| {
        let mut moved = inputs.clone();
        for &name in &trained {
            let (value, direction) = (inputs.get(name), along(name));
            let data = value.data().iter().zip(direction.data()).map(|(x, d)| x + step * d);
            moved = moved.with(name, Array::new(value.shape(), data.collect()));
        }
        fixture::run(&loss, &moved).get("loss").data()[0]
    };
    let wanted = (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP);
    let product = |name: &&str| -> f64 {
        let direction = along(name);
        gradients.get(&format!("grad/{name}")).data().iter().zip(direction.data()).map(|(a, b)| a * b).sum()
    };
    let found: f64 = trained.iter().map(product).sum();
    assert!((found - wanted).abs() < SLOPE * (1.0 + wanted.abs()), "{what}: {found}, not {wanted}");
}
