//! Derivatives are right: against central differences in f64, to second order, for every op and for the compositions
//! that the method is made of; and calls differentiate as their bodies would.

#![allow(clippy::mutable_key_type, reason = "functions are compared and hashed by identity")]

#[path = "common/differences.rs"]
mod differences;
#[path = "common/expressions.rs"]
mod expressions;
#[path = "common/rebuild.rs"]
mod rebuild;

use std::collections::HashSet;

use differences::{check_derivatives, check_tangents, dot, second_order};
use expressions::expression;
use iresnet::graph::{Function, FunctionRef, Graph, NodeId};
use iresnet::interpret::{Array, run};
use iresnet::ops::Op;
use iresnet::ops::binary::Binary;
use iresnet::ops::conv2d::Role;
use iresnet::ops::reduce::Kind;
use iresnet::ops::samples::{Draw, Sample, samples};
use iresnet::ops::unary::Unary;
use iresnet::shape::Shape;
use rebuild::{Calls, rebuild};

/// Two ways of computing the same numbers differ by rounding in f64 (2e-16 an operation) only; sums here have fewer
/// than a thousand terms.
const SAME: f64 = 1e-12;

/// Random expressions amplify roundings: their slopes reach hundreds.
const DUAL: f64 = 1e-10;

/// How many random expressions are differentiated, and how large they are.
const EXPRESSIONS: u64 = 100;
const STEPS: usize = 30;

const SEED: u64 = 7;

/// A number for each kind of op. The match has no wildcard: a new op must be numbered here, and then sampled.
fn kind(op: &Op) -> usize {
    match op {
        Op::Input(_) => 0,
        Op::Constant(_) => 1,
        Op::Iota(_) => 2,
        Op::Unary(_) => 3,
        Op::Binary(_) => 4,
        Op::Select(_) => 5,
        Op::Reshape(_) => 6,
        Op::Permute(_) => 7,
        Op::Broadcast(_) => 8,
        Op::Slice(_) => 9,
        Op::Pad(_) => 10,
        Op::Reduce(_) => 11,
        Op::MatMul(_) => 12,
        Op::Conv2d(_) => 13,
        Op::Random(_) => 14,
        Op::Call(_) => 15,
        Op::Get(_) => 16,
        Op::Iterate(_) => 17,
        Op::Stack(_) => 18,
    }
}

const KINDS: usize = 19;

fn collect_ops(graph: &Graph, into: &mut HashSet<Op>) {
    for (_, node) in graph.nodes() {
        into.insert(node.op.clone());
        match &node.op {
            Op::Call(function) => collect_ops(function.graph(), into),
            Op::Iterate(iterate) => collect_ops(iterate.body.graph(), into),
            _ => {}
        }
    }
}

#[test]
fn samples_show_every_op() {
    let mut ops = HashSet::new();
    let mut names = HashSet::new();
    for sample in samples(SEED) {
        sample.graph.check().unwrap_or_else(|problem| panic!("{}: {problem}", sample.name));
        assert!(!sample.graph.outputs().is_empty(), "{} has no output", sample.name);
        assert!(names.insert(sample.name.clone()), "two samples are called {:?}", sample.name);
        collect_ops(&sample.graph, &mut ops);
    }
    let kinds: HashSet<usize> = ops.iter().map(kind).collect();
    assert_eq!(kinds.len(), KINDS, "kinds of op that occur: {kinds:?}");
    for op in Unary::ALL {
        assert!(ops.contains(&Op::Unary(op)), "{op:?} does not occur");
    }
    for op in Binary::ALL {
        assert!(ops.contains(&Op::Binary(op)), "{op:?} does not occur");
    }
    for role in [Role::Output, Role::InputGrad, Role::WeightGrad] {
        assert!(ops.iter().any(|op| matches!(op, Op::Conv2d(conv) if conv.role == role)), "{role:?} does not occur");
    }
    for kind in [Kind::Sum, Kind::Max] {
        assert!(ops.iter().any(|op| matches!(op, Op::Reduce(reduce) if reduce.kind == kind)), "{kind:?} is missing");
    }
}

#[test]
fn every_op_to_second_order() {
    for sample in samples(SEED) {
        check_derivatives(&sample, SEED);
    }
}

#[test]
fn every_op_forwards() {
    for sample in samples(SEED) {
        check_tangents(&sample, SEED);
    }
}

/// Every sample whose ops are all differentiable calls, rewritten with its calls inlined, stored or recomputed, has the
/// same values and derivatives.
#[test]
fn calls_differentiate_as_their_bodies() {
    let mut compared = 0;
    for sample in samples(SEED) {
        let mut ops = HashSet::new();
        collect_ops(&sample.graph, &mut ops);
        let plain = ops.iter().all(|op| match op {
            Op::Iterate(_) => false,
            Op::Call(function) => function.custom_vjp().is_none(),
            _ => true,
        });
        if !plain || !ops.iter().any(|op| matches!(op, Op::Call(_))) {
            continue;
        }
        let ways = [Calls::Inlined, Calls::Stored, Calls::Recomputed];
        let results = ways.map(|calls| {
            let graph = rebuild(&sample.graph, calls);
            graph.check().expect("rebuilt graphs are sound");
            second_order(&Sample { graph, ..sample.clone() }, SEED)
        });
        for (way, other) in ways.iter().zip(&results) {
            for (a, b) in results[0].iter().zip(other) {
                assert_close(&format!("{} {way:?}", sample.name), a, b, SAME);
            }
        }
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} samples have calls");
}

#[track_caller]
fn assert_close(name: &str, a: &Array, b: &Array, tolerance: f64) {
    assert_eq!(a.shape(), b.shape(), "{name}");
    for (&a, &b) in a.data().iter().zip(b.data()) {
        assert!((a - b).abs() <= tolerance * (1.0 + a.abs()), "{name}: {a} is not {b}");
    }
}

/// Variables of these shapes with moderate values, differentiable in all.
fn problem(shapes: &[&[usize]], build: impl FnOnce(&mut Graph, &[NodeId]) -> Vec<NodeId>) -> Sample {
    let mut draw = Draw::new(SEED);
    let mut graph = Graph::new();
    let mut values = Vec::new();
    let mut ids = Vec::new();
    for (index, &shape) in shapes.iter().enumerate() {
        ids.push(graph.input(format!("x{index}"), shape));
        values.push(draw.signed(&Shape::from(shape), 0.1, 1.0));
    }
    for (index, output) in build(&mut graph, &ids).into_iter().enumerate() {
        graph.output(format!("y{index}"), output);
    }
    Sample { name: String::new(), graph, values, wrt: (0..shapes.len()).collect() }
}

#[track_caller]
fn check_problem(name: &str, sample: Sample) {
    let sample = Sample { name: name.into(), ..sample };
    sample.graph.check().expect("compositions are sound graphs");
    check_derivatives(&sample, SEED);
    check_tangents(&sample, SEED);
}

fn elu(g: &mut Graph, x: NodeId) -> NodeId {
    let zero = g.scalar_like(0.0, x);
    let (above, below) = (g.max(x, zero), g.min(x, zero));
    let below = g.expm1(below);
    g.add(above, below)
}

#[test]
fn elu_and_softplus() {
    check_problem("elu", problem(&[&[3, 4]], |g, x| vec![elu(g, x[0])]));
    check_problem(
        "elu block",
        problem(&[&[4, 3], &[5, 3], &[5], &[3, 5]], |g, x| {
            let h = g.linear(x[0], x[1]);
            let h = g.add(h, x[2]);
            let h = elu(g, h);
            let h = g.linear(h, x[3]);
            vec![g.add(h, x[0])]
        }),
    );
    check_problem(
        "softplus",
        problem(&[&[3, 4]], |g, x| {
            let wide = g.scale(x[0], 30.0);
            vec![g.softplus(x[0]), g.softplus(wide)]
        }),
    );
}

#[test]
fn cross_entropy() {
    let sample = problem(&[&[4, 5], &[5, 3]], |g, x| {
        let weights = g.permute(x[1], &[1, 0]);
        let logits = g.linear(x[0], weights);
        let largest = g.max_keep(logits, &[1]);
        let shifted = g.sub(logits, largest);
        let exponentials = g.exp(shifted);
        let total = g.sum_keep(exponentials, &[1]);
        let log_total = g.log(total);
        let log_softmax = g.sub(shifted, log_total);
        let index = g.iota([4, 3], 1);
        let row = g.iota([4, 1], 0);
        let two = g.constant(2.0, [4, 1]);
        let label = g.min(row, two);
        let chosen = g.equal(index, label);
        let picked = g.mul(chosen, log_softmax);
        let total = g.sum_all(picked);
        vec![g.scale(total, -0.25)]
    });
    check_problem("log-softmax cross entropy", sample);
}

#[test]
fn normalisation() {
    let sample = problem(&[&[3, 2, 2, 3], &[2], &[2]], |g, x| {
        let mean = g.sum_keep(x[0], &[0, 2, 3]);
        let mean = g.scale(mean, 1.0 / 18.0);
        let centred = g.sub(x[0], mean);
        let squares = g.square(centred);
        let variance = g.sum_keep(squares, &[0, 2, 3]);
        let variance = g.scale(variance, 1.0 / 18.0);
        let variance = g.add_scalar(variance, 1e-5);
        let deviation = g.sqrt(variance);
        let normal = g.div(centred, deviation);
        let (scale, shift) = (g.per_channel(x[1]), g.per_channel(x[2]));
        let scaled = g.mul(normal, scale);
        let y = g.add(scaled, shift);
        vec![elu(g, y), variance]
    });
    check_problem("batch normalisation", sample);
}

/// conv(elu(conv(elu(x)))) in graph `g`.
fn branch(g: &mut Graph, x: NodeId, first: NodeId, second: NodeId) -> NodeId {
    let h = elu(g, x);
    let h = g.conv2d(h, first, 1, [1, 1], 1);
    let h = elu(g, h);
    g.conv2d(h, second, 1, [0, 0], 1)
}

const BRANCH: [&[usize]; 4] = [&[2, 2, 3, 3], &[3, 2, 3, 3], &[2, 3, 1, 1], &[2, 2, 3, 3]];

/// Σₖ (-1)ᵏ⁺¹/k ⟨(Jᵀ)ᵏ v, v⟩ with three terms: the log-determinant of x + branch(x) along a probe.
fn log_det(g: &mut Graph, x: NodeId, y: NodeId, probe: NodeId) -> NodeId {
    let mut product = probe;
    let mut total = g.constant(0.0, [2]);
    for k in 1..=3 {
        product = g.vjp(&[(y, product)], &[x])[0];
        let traces = g.mul(product, probe);
        let traces = g.sum_samples(traces);
        let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
        let term = g.scale(traces, sign / f64::from(k));
        total = g.add(total, term);
    }
    total
}

type Make = fn(&'static str, Graph) -> FunctionRef;

const MAKERS: [Make; 2] = [|name, g| Function::new(name, g), |name, g| Function::recomputed(name, g)];

fn branch_function(make: Make) -> FunctionRef {
    let mut g = Graph::new();
    let ids: Vec<NodeId> =
        BRANCH[..3].iter().zip(["x", "first", "second"]).map(|(&s, name)| g.input(name, s)).collect();
    let y = branch(&mut g, ids[0], ids[1], ids[2]);
    g.output("y", y);
    make("branch", g)
}

#[test]
fn log_determinant_by_power_series() {
    let inline = problem(&BRANCH, |g, x| {
        let y = branch(g, x[0], x[1], x[2]);
        vec![log_det(g, x[0], y, x[3]), y]
    });
    let mut results = vec![second_order(&inline, SEED)];
    check_problem("log-determinant", inline);
    for make in MAKERS {
        let called = problem(&BRANCH, |g, x| {
            let y = g.call(&branch_function(make), &x[..3])[0];
            vec![log_det(g, x[0], y, x[3]), y]
        });
        called.graph.check().expect("a widened graph is sound");
        results.push(second_order(&called, SEED));
    }
    for other in &results[1..] {
        assert_eq!(other.len(), results[0].len());
        for (a, b) in results[0].iter().zip(other) {
            assert_close("log-determinant through a call", a, b, SAME);
        }
    }
}

/// The whole log-determinant as a function, differentiated from outside: derivatives of derivatives within calls.
#[test]
fn log_determinant_within_a_function() {
    let inline = problem(&BRANCH, |g, x| {
        let y = branch(g, x[0], x[1], x[2]);
        vec![log_det(g, x[0], y, x[3]), y]
    });
    let wanted = second_order(&inline, SEED);
    for make in MAKERS {
        let mut body = Graph::new();
        let ids: Vec<NodeId> = ["x", "first", "second", "probe"]
            .iter()
            .zip(BRANCH)
            .map(|(name, shape)| body.input(*name, shape))
            .collect();
        let y = body.call(&branch_function(make), &ids[..3])[0];
        let total = log_det(&mut body, ids[0], y, ids[3]);
        body.output("log_det", total);
        body.output("y", y);
        let function = make("log-determinant", body);
        let called = problem(&BRANCH, |g, x| g.call(&function, x));
        for (a, b) in wanted.iter().zip(&second_order(&called, SEED)) {
            assert_close("log-determinant within a function", a, b, SAME);
        }
    }
}

/// The series really is the trace of powers: for a linear branch the Jacobian is the matrix.
#[test]
fn series_of_a_linear_map() {
    let mut draw = Draw::new(SEED);
    let (w, v) = (draw.between(&[2, 2].into(), -0.5, 0.5), draw.between(&[1, 2].into(), -1.0, 1.0));
    let mut g = Graph::new();
    let (x, weight, probe) = (g.input("x", [1, 2]), g.input("w", [2, 2]), g.input("v", [1, 2]));
    let y = g.linear(x, weight);
    let once = g.vjp(&[(y, probe)], &[x])[0];
    let twice = g.vjp(&[(y, once)], &[x])[0];
    let forward = g.jvp(y, &[(x, probe)]);
    for (name, id) in [("once", once), ("twice", twice), ("forward", forward)] {
        g.output(name, id);
    }
    let results = run(&g, vec![Array::full(&[1, 2].into(), 0.0), w.clone(), v.clone()]);
    let transposed = |v: &[f64]| [0, 1].map(|i| (0..2).map(|o| w.at(&[o, i]) * v[o]).sum::<f64>());
    let plain = [0, 1].map(|o| (0..2).map(|i| w.at(&[o, i]) * v.data()[i]).sum::<f64>());
    let once = transposed(v.data());
    for (found, wanted) in results.iter().zip([once, transposed(&once), plain]) {
        assert_close("linear", found, &Array::new([1, 2], wanted.to_vec()), SAME);
    }
}

#[test]
fn ties_follow_the_stated_rule() {
    let gradients = |build: fn(&mut Graph, NodeId, NodeId) -> NodeId| {
        let mut g = Graph::new();
        let (a, b) = (g.input("a", []), g.input("b", []));
        let y = build(&mut g, a, b);
        for (index, gradient) in g.grad(y, &[a, b]).into_iter().enumerate() {
            g.output(format!("{index}"), gradient);
        }
        let one = Array::full(&Shape::scalar(), 1.0);
        run(&g, vec![one.clone(), one]).iter().map(|array| array.data()[0]).collect::<Vec<_>>()
    };
    assert_eq!(gradients(|g, a, b| g.max(a, b)), [1.0, 0.0]);
    assert_eq!(gradients(|g, a, b| g.min(a, b)), [0.0, 1.0]);
    assert_eq!(gradients(|g, a, b| g.less(a, b)), [0.0, 0.0]);
    assert_eq!(
        gradients(|g, a, b| {
            let c = g.stop_gradient(a);
            g.mul(c, b)
        }),
        [0.0, 1.0]
    );
    let share = |g: &mut Graph, a, b| {
        let (a, b) = (g.reshape(a, [1]), g.reshape(b, [1]));
        let both = g.concat(&[a, b], 0);
        g.max_over(both, &[0])
    };
    assert_eq!(gradients(share), [0.5, 0.5]);
}

#[test]
fn nothing_depends_on_a_stranger() {
    let mut g = Graph::new();
    let (x, y) = (g.input("x", [3]), g.input("y", [2, 2]));
    let z = g.exp(x);
    let loss = g.sum_all(z);
    let gradients = g.grad(loss, &[y, x, loss]);
    assert_eq!(g.constant_value(gradients[0]), Some(0.0));
    assert_eq!(g.shape(gradients[0]), g.shape(y));
    assert_eq!(gradients[1], z, "the gradient of a sum of exponentials is the exponentials, not a copy");
    assert_eq!(g.constant_value(gradients[2]), Some(1.0));
}

fn calls_in(graph: &Graph) -> Vec<FunctionRef> {
    let live = graph.live();
    let called = graph.nodes().filter(|(id, _)| live[id.index()]).filter_map(|(_, node)| match &node.op {
        Op::Call(function) => Some(function.clone()),
        _ => None,
    });
    called.collect()
}

fn stored_layer() -> FunctionRef {
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [1, 2, 3]), g.input("w", [1, 3, 3]));
    let product = g.matmul(x, w, false, false);
    let y = g.tanh(product);
    g.output("y", y);
    Function::new("layer", g)
}

/// Backward functions of stored functions receive what inner calls kept, and run nothing again.
#[test]
fn stored_inner_calls_are_not_run_again() {
    let layer = stored_layer();
    let mut body = Graph::new();
    let (x, w) = (body.input("x", [1, 2, 3]), body.input("w", [1, 3, 3]));
    let h = body.call(&layer, &[x, w])[0];
    let y = body.call(&layer, &[h, w])[0];
    body.output("y", y);
    let stack = Function::new("stack", body);

    let mut g = Graph::new();
    let (x, w) = (g.input("x", [1, 2, 3]), g.input("w", [1, 3, 3]));
    let y = g.call(&stack, &[x, w])[0];
    let loss = g.sum_all(y);
    let gradient = g.grad(loss, &[w])[0];
    g.output("loss", loss);
    g.output("gradient", gradient);
    let names: Vec<String> = calls_in(&g).iter().map(|function| function.name().to_owned()).collect();
    assert_eq!(names, ["stack.forward", "stack.backward"]);
    for function in calls_in(&g) {
        let inner: HashSet<String> = calls_in(function.graph()).iter().map(|f| f.name().to_owned()).collect();
        let wanted = if function.name() == "stack.forward" { "layer.forward" } else { "layer.backward" };
        assert_eq!(inner.into_iter().collect::<Vec<_>>(), [wanted], "{}", function.name());
        let products = |f: &FunctionRef| f.graph().nodes().filter(|(_, n)| matches!(n.op, Op::MatMul(_))).count();
        for inner in calls_in(function.graph()) {
            let wanted = if inner.name() == "layer.forward" { 1..=1 } else { 1..=2 };
            assert!(wanted.contains(&products(&inner)), "{} has {} products", inner.name(), products(&inner));
        }
    }
}

#[test]
fn recomputed_functions_keep_nothing() {
    let layer = Function::recomputed("layer", stored_layer().graph().clone());
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [1, 2, 3]), g.input("w", [1, 3, 3]));
    let y = g.call(&layer, &[x, w])[0];
    let loss = g.sum_all(y);
    let gradient = g.grad(loss, &[w])[0];
    g.output("gradient", gradient);
    g.output("loss", loss);
    assert!(calls_in(&g).contains(&layer), "the call is not widened");
    let backward = calls_in(&g).into_iter().find(|f| f.name() == "layer.backward").expect("it has a backward function");
    let inputs: Vec<&str> = backward.graph().inputs().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(inputs, ["x", "w", "cotangent 0"]);
}

/// A function is derived once however often it is called, and calling it again after differentiation finds the call.
#[test]
fn calls_share_derivatives() {
    let layer = stored_layer();
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [1, 2, 3]), g.input("w", [1, 3, 3]));
    let mut y = x;
    for _ in 0..3 {
        y = g.call(&layer, &[y, w])[0];
    }
    let loss = g.sum_all(y);
    let gradients = g.grad(loss, &[x, w]);
    let again = g.call(&layer, &[x, w])[0];
    let energy = g.sum_all(again);
    for (name, id) in [("of x", gradients[0]), ("of w", gradients[1]), ("energy", energy)] {
        g.output(name, id);
    }
    let called = calls_in(&g);
    assert_eq!(called.len(), 6, "three calls forward and three backward");
    let distinct: HashSet<usize> = called.iter().map(FunctionRef::id).collect();
    assert_eq!(distinct.len(), 2);
}

#[test]
fn tangents_of_several_inputs_add() {
    let mut g = Graph::new();
    let (x, y) = (g.input("x", [3]), g.input("y", [3]));
    let z = g.mul(x, y);
    let (dx, dy) = (g.input("dx", [3]), g.input("dy", [3]));
    let tangent = g.jvp(z, &[(x, dx), (y, dy)]);
    let of_tangent = g.jvp(tangent, &[(x, dx), (y, dy)]);
    g.output("first", tangent);
    g.output("second", of_tangent);
    let mut draw = Draw::new(SEED);
    let values: Vec<Array> = (0..4).map(|_| draw.signed(&[3].into(), 0.1, 1.0)).collect();
    let results = run(&g, values.clone());
    for i in 0..3 {
        let [x, y, dx, dy] = [0, 1, 2, 3].map(|k| values[k].data()[i]);
        assert!((results[0].data()[i] - (dx * y + x * dy)).abs() < SAME);
        assert!((results[1].data()[i] - 2.0 * dx * dy).abs() < SAME);
    }
    assert!(dot(&results[..1], &results[..1]) > 0.0);
}

/// Random expressions: ⟨u, J·t⟩ = ⟨Jᵀ·u, t⟩ whatever kinks they have, and calls inlined or recomputed change nothing.
#[test]
fn random_expressions_are_dual() {
    for seed in 0..EXPRESSIONS {
        let expression = expression(seed, STEPS);
        let mut draw = Draw::new(seed);
        let mut results = Vec::new();
        let directions: Vec<Array> =
            expression.values.iter().map(|value| draw.signed(value.shape(), 0.1, 1.0)).collect();
        let weights: Vec<Array> = expression.expected.iter().map(|y| draw.signed(y.shape(), 0.1, 1.0)).collect();
        for calls in [Calls::Stored, Calls::Inlined, Calls::Recomputed] {
            let mut g = rebuild(&expression.graph, calls);
            let (inputs, outputs) = (g.inputs().to_vec(), g.outputs().to_vec());
            let mut values = expression.values.clone();
            let mut tangents = Vec::new();
            for ((name, x), direction) in inputs.iter().zip(&directions) {
                tangents.push((*x, g.input(format!("tangent of {name}"), direction.shape())));
                values.push(direction.clone());
            }
            let mut cotangents = Vec::new();
            for ((name, y), weight) in outputs.iter().zip(&weights) {
                cotangents.push((*y, g.input(format!("cotangent of {name}"), weight.shape())));
                values.push(weight.clone());
            }
            let wrt: Vec<NodeId> = inputs.iter().map(|&(_, x)| x).collect();
            let backward = g.vjp(&cotangents, &wrt);
            let forward: Vec<NodeId> = outputs.iter().map(|&(_, y)| g.jvp(y, &tangents)).collect();
            for (number, &id) in backward.iter().chain(&forward).enumerate() {
                g.output(format!("derivative {number}"), id);
            }
            g.check().unwrap_or_else(|problem| panic!("expression {seed}: {problem}"));
            let found = run(&g, values).split_off(outputs.len());
            let (backward, forward) = found.split_at(wrt.len());
            let (left, right) = (dot(forward, &weights), dot(backward, &directions));
            let size: f64 = found.iter().flat_map(|array| array.data()).map(|x| x.abs()).sum();
            assert!((left - right).abs() <= DUAL * (1.0 + size), "expression {seed}: {left} is not {right}");
            results.push(found);
        }
        for other in &results[1..] {
            for (a, b) in results[0].iter().zip(other) {
                assert_close(&format!("expression {seed}"), a, b, DUAL);
            }
        }
    }
}
