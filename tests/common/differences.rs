//! Derivatives against central differences in f64.

use iresnet::graph::{Graph, NodeId};
use iresnet::interpret::{Array, run};
use iresnet::ops::samples::{Draw, Sample};

/// Step of the difference quotient along directions with entries up to one. The quotient is of fourth order: at
/// samples' smallest distance from a pole, 0.02, it is off by (1e-4 / 0.02)⁴ ≈ 6e-10 times a factor below 10, and
/// rounding adds 1e-16 / 1e-4.
const STEP: f64 = 1e-4;

/// Tolerance, relative to the function and its derivative, with a margin of more than ten over the estimate above.
const TOLERANCE: f64 = 1e-7;

/// How many random directions are tried. Any wrong element shows in the first with probability one.
const DIRECTIONS: usize = 2;

/// Both sides of ⟨u, J·t⟩ = ⟨Jᵀ·u, t⟩ are sums of the same few hundred products, rounded in f64.
const DUALITY: f64 = 1e-12;

/// Sum of products of all elements.
pub(crate) fn dot(a: &[Array], b: &[Array]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).flat_map(|(a, b)| a.data().iter().zip(b.data())).map(|(a, b)| a * b).sum()
}

/// The values with those of `wrt` moved along `direction`.
fn moved(values: &[Array], wrt: &[usize], direction: &[Array], step: f64) -> Vec<Array> {
    let mut values = values.to_vec();
    for (&input, direction) in wrt.iter().zip(direction) {
        for (x, d) in values[input].data_mut().iter_mut().zip(direction.data()) {
            *x += step * d;
        }
    }
    values
}

/// Derivative along a direction of what `graph` computes last, element by element.
fn quotient(graph: &Graph, values: &[Array], wrt: &[usize], direction: &[Array]) -> Array {
    let at = |step: f64| run(graph, moved(values, wrt, direction, step)).pop().expect("graphs have outputs");
    let (far_below, below, above, far_above) = (at(-2.0 * STEP), at(-STEP), at(STEP), at(2.0 * STEP));
    let data = (0..below.data().len()).map(|i| {
        let [a, b, c, d] = [&far_below, &below, &above, &far_above].map(|array| array.data()[i]);
        (8.0 * (c - b) - (d - a)) / (12.0 * STEP)
    });
    Array::new(below.shape().clone(), data.collect())
}

fn directions(draw: &mut Draw, sample: &Sample) -> Vec<Array> {
    sample.wrt.iter().map(|&input| draw.signed(sample.values[input].shape(), 0.1, 1.0)).collect()
}

fn inner(g: &mut Graph, pairs: &[(NodeId, NodeId)]) -> NodeId {
    let mut total = g.constant(0.0, []);
    for &(a, b) in pairs {
        let product = g.mul(a, b);
        let sum = g.sum_all(product);
        total = g.add(total, sum);
    }
    total
}

/// The sample's problem, made a scalar by random weights on the outputs, with its gradient, and the gradient of a
/// random projection of that.
struct Derived {
    /// Computes the loss last.
    loss: Graph,
    /// Computes the projected gradient last.
    slope: Graph,
    /// Outputs of the sample, loss, gradient, slope, second gradient.
    all: Graph,
    values: Vec<Array>,
}

fn derive(sample: &Sample, seed: u64) -> Derived {
    let mut draw = Draw::new(seed ^ 0xd1ff);
    let mut g = sample.graph.clone();
    let mut values = sample.values.clone();
    let outputs = sample.graph.outputs().to_vec();
    let mut pairs = Vec::new();
    for (number, &(_, y)) in outputs.iter().enumerate() {
        let shape = g.shape(y).clone();
        pairs.push((y, g.input(format!("weight {number}"), &shape)));
        values.push(draw.signed(&shape, 0.1, 1.0));
    }
    let loss = inner(&mut g, &pairs);
    let wrt: Vec<NodeId> = sample.wrt.iter().map(|&input| sample.graph.inputs()[input].1).collect();
    let mut pairs = Vec::new();
    for (number, &x) in wrt.iter().enumerate() {
        let shape = g.shape(x).clone();
        pairs.push((x, g.input(format!("projection {number}"), &shape)));
        values.push(draw.signed(&shape, 0.1, 1.0));
    }
    let mut loss_graph = g.clone();
    loss_graph.output("loss", loss);
    let first = g.grad(loss, &wrt);
    let projected: Vec<(NodeId, NodeId)> = first.iter().zip(&pairs).map(|(&gradient, &(_, p))| (gradient, p)).collect();
    let slope = inner(&mut g, &projected);
    let mut slope_graph = g.clone();
    slope_graph.output("slope", slope);
    let second = g.grad(slope, &wrt);
    g.output("loss", loss);
    for (number, &gradient) in first.iter().enumerate() {
        g.output(format!("first {number}"), gradient);
    }
    g.output("slope", slope);
    for (number, &gradient) in second.iter().enumerate() {
        g.output(format!("second {number}"), gradient);
    }
    g.check().unwrap_or_else(|problem| panic!("{}: {problem}", sample.name));
    Derived { loss: loss_graph, slope: slope_graph, all: g, values }
}

/// Outputs, weighted loss, its gradient, a projection of that, the gradient of the projection.
pub(crate) fn second_order(sample: &Sample, seed: u64) -> Vec<Array> {
    let derived = derive(sample, seed);
    run(&derived.all, derived.values)
}

/// Checks first and second derivatives of the sample's outputs.
pub(crate) fn check_derivatives(sample: &Sample, seed: u64) {
    if sample.wrt.is_empty() {
        return;
    }
    let derived = derive(sample, seed);
    let count = sample.wrt.len();
    let results = run(&derived.all, derived.values.clone());
    let rest = &results[sample.graph.outputs().len()..];
    let (loss, first, slope, second) =
        (rest[0].data()[0], &rest[1..=count], rest[count + 1].data()[0], &rest[count + 2..]);
    let mut draw = Draw::new(seed ^ 0xd1ce);
    for _ in 0..DIRECTIONS {
        let direction = directions(&mut draw, sample);
        for (order, graph, value, gradient) in [(1, &derived.loss, loss, first), (2, &derived.slope, slope, second)] {
            let wanted = quotient(graph, &derived.values, &sample.wrt, &direction).data()[0];
            let found = dot(gradient, &direction);
            let scale = 1.0 + wanted.abs() + value.abs();
            assert!(
                (found - wanted).abs() <= TOLERANCE * scale,
                "{}: derivative of order {order} is {found}, differences say {wanted}\n{}",
                sample.name,
                sample.graph
            );
        }
    }
}

/// Checks forward derivatives against differences, and against the reverse ones.
pub(crate) fn check_tangents(sample: &Sample, seed: u64) {
    if sample.wrt.is_empty() {
        return;
    }
    let mut draw = Draw::new(seed ^ 0x7a96);
    let wrt: Vec<NodeId> = sample.wrt.iter().map(|&input| sample.graph.inputs()[input].1).collect();
    for (number, (name, y)) in sample.graph.outputs().iter().enumerate() {
        let mut g = sample.graph.clone();
        let mut values = sample.values.clone();
        let direction = directions(&mut draw, sample);
        let mut tangents = Vec::new();
        for (number, (&x, d)) in wrt.iter().zip(&direction).enumerate() {
            tangents.push((x, g.input(format!("tangent {number}"), d.shape())));
            values.push(d.clone());
        }
        let u = draw.signed(g.shape(*y), 0.1, 1.0);
        let cotangent = g.input("cotangent", u.shape());
        values.push(u.clone());
        let mut value = g.clone();
        value.output("value", *y);
        let forward = g.jvp(*y, &tangents);
        let backward = g.vjp(&[(*y, cotangent)], &wrt);
        g.output("forward", forward);
        for (number, &gradient) in backward.iter().enumerate() {
            g.output(format!("backward {number}"), gradient);
        }
        let results = run(&g, values.clone());
        let results = &results[sample.graph.outputs().len()..];
        let wanted = quotient(&value, &values, &sample.wrt, &direction);
        let at = run(&value, values).swap_remove(number);
        for (i, (&found, &wanted)) in results[0].data().iter().zip(wanted.data()).enumerate() {
            let scale = 1.0 + wanted.abs() + at.data()[i].abs();
            let close = (found - wanted).abs() <= TOLERANCE * scale;
            assert!(close, "{}, {name}: tangent {i} is {found}, differences say {wanted}", sample.name);
        }
        let (left, right) = (dot(&results[..1], &[u]), dot(&results[1..], &direction));
        let close = (left - right).abs() <= DUALITY * (1.0 + left.abs());
        assert!(close, "{}, {name}: ⟨u, J·t⟩ = {left}, ⟨Jᵀ·u, t⟩ = {right}", sample.name);
    }
}
