//! Calls and iteration.

use super::{Builder, Draw, Sample};
use crate::graph::{Function, FunctionRef, Graph, NodeId};

/// Shape of the arguments: a stack of one matrix, so that products need no reshaping.
const X: [usize; 3] = [1, 3, 2];
const W: [usize; 3] = [1, 2, 2];

pub(super) fn collect(draw: &mut Draw, all: &mut Vec<Sample>) {
    calls(draw, all, "stored", Function::new);
    calls(draw, all, "recomputed", Function::recomputed);
    nested(draw, all);
    custom(draw, all);
    iterations(draw, all);
}

/// h = tanh(x·w) + x, and the sum of its squares, with an input that nothing uses.
fn layer(make: impl Fn(&'static str, Graph) -> FunctionRef) -> FunctionRef {
    let mut g = Graph::new();
    let x = g.input("x", X);
    g.input("unused", [5]);
    let w = g.input("w", W);
    let product = g.matmul(x, w, false, false);
    let curved = g.tanh(product);
    let h = g.add(curved, x);
    let squares = g.square(h);
    let energy = g.sum_all(squares);
    g.output("h", h);
    g.output("energy", energy);
    make("layer", g)
}

fn calls(draw: &mut Draw, all: &mut Vec<Sample>, kind: &str, make: impl Fn(&'static str, Graph) -> FunctionRef + Copy) {
    for (name, results) in [("both results", &[0, 1][..]), ("the first result", &[0]), ("the second result", &[1])] {
        let mut b = Builder::new(draw);
        let arguments = [b.moderate(X), b.moderate([5]), b.moderate(W)];
        let given = b.graph.call(&layer(make), &arguments);
        let outputs: Vec<NodeId> = results.iter().map(|&index| given[index]).collect();
        all.push(b.finish(format!("call {kind}, {name}"), &outputs));
    }

    let mut b = Builder::new(draw);
    let function = layer(make);
    let (x, unused, w, v) = (b.moderate(X), b.moderate([5]), b.moderate(W), b.moderate(W));
    let first = b.graph.call(&function, &[x, unused, w]);
    let second = b.graph.call(&function, &[first[0], unused, v]);
    let third = b.graph.call(&function, &[second[0], unused, w]);
    let energy = b.graph.mul(first[1], second[1]);
    let y = b.graph.mul(third[0], energy);
    all.push(b.finish(format!("call {kind}, three times"), &[y, second[0]]));

    let mut b = Builder::new(draw);
    let (x, unused) = (b.moderate(X), b.moderate([5]));
    let w = b.graph.constant(0.5, W);
    let y = b.graph.call(&layer(make), &[x, unused, w]);
    all.push(b.finish(format!("call {kind}, with a constant"), &y));

    // Results that are an input, a constant and twice the same node.
    let mut g = Graph::new();
    let (x, scale) = (g.input("x", [2, 3]), g.input("scale", []));
    let constant = g.constant(2.5, [2]);
    let product = g.mul(x, scale);
    for (index, id) in [x, constant, product, product].into_iter().enumerate() {
        g.output(format!("y{index}"), id);
    }
    let function = make("plain results", g);
    let mut b = Builder::new(draw);
    let (x, scale) = (b.moderate([2, 3]), b.moderate([]));
    let results = b.graph.call(&function, &[x, scale]);
    let y = b.graph.mul(results[0], results[3]);
    all.push(b.finish(format!("call {kind}, trivial results"), &[y, results[1], results[2]]));

    // One argument in two places.
    let mut g = Graph::new();
    let (left, right) = (g.input("left", W), g.input("right", W));
    let product = g.matmul(left, right, false, true);
    let y = g.sin(product);
    g.output("y", y);
    let function = make("product", g);
    let mut b = Builder::new(draw);
    let x = b.moderate(W);
    let y = b.graph.call(&function, &[x, x]);
    all.push(b.finish(format!("call {kind}, one argument twice"), &y));
}

/// Functions that call functions, stored within recomputed and the other way round.
fn nested(draw: &mut Draw, all: &mut Vec<Sample>) {
    type Make = fn(&'static str, Graph) -> FunctionRef;
    let (stored, recomputed): (Make, Make) =
        (|name, g| Function::new(name, g), |name, g| Function::recomputed(name, g));
    for (name, inner, outer) in [
        ("stored in stored", stored, stored),
        ("stored in recomputed", stored, recomputed),
        ("recomputed in stored", recomputed, stored),
        ("recomputed in recomputed", recomputed, recomputed),
    ] {
        let inner = layer(inner);
        let mut g = Graph::new();
        let (x, w, v) = (g.input("x", X), g.input("w", W), g.input("v", W));
        let five = g.constant(1.0, [5]);
        let first = g.call(&inner, &[x, five, w]);
        let curved = g.sin(first[0]);
        let second = g.call(&inner, &[curved, five, v]);
        let y = g.mul(second[0], first[1]);
        g.output("y", y);
        let outer = outer("two layers", g);

        let mut b = Builder::new(draw);
        let (x, w, v) = (b.moderate(X), b.moderate(W), b.moderate(W));
        let once = b.graph.call(&outer, &[x, w, v]);
        let small = b.graph.scale(once[0], 0.1);
        let twice = b.graph.call(&outer, &[small, v, w]);
        all.push(b.finish(format!("call nested, {name}"), &[once[0], twice[0]]));
    }
}

/// Functions that bring their derivative.
fn custom(draw: &mut Draw, all: &mut Vec<Sample>) {
    // y = x·tanh w and z = w², differentiated by hand.
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [2, 3]), g.input("w", [2, 3]));
    let curved = g.tanh(w);
    let (y, z) = (g.mul(x, curved), g.square(w));
    g.output("y", y);
    g.output("z", z);
    let mut d = Graph::new();
    let [x, w, _, _, dy, dz] = ["x", "w", "y", "z", "dy", "dz"].map(|name| d.input(name, [2, 3]));
    let curved = d.tanh(w);
    let of_x = d.mul(dy, curved);
    let square = d.square(curved);
    let one = d.scalar_like(1.0, square);
    let slope = d.sub(one, square);
    let through_y = d.mul(slope, x);
    let through_y = d.mul(through_y, dy);
    let through_z = d.scale(w, 2.0);
    let through_z = d.mul(through_z, dz);
    let of_w = d.add(through_y, through_z);
    d.output("of x", of_x);
    d.output("of w", of_w);
    let function = Function::with_vjp("by hand", g, Function::new("by hand.vjp", d));
    for (name, results) in [("both results", &[0, 1][..]), ("one result", &[1])] {
        let mut b = Builder::new(draw);
        let (x, w) = (b.moderate([2, 3]), b.moderate([2, 3]));
        let given = b.graph.call(&function, &[x, w]);
        let outputs: Vec<NodeId> = results.iter().map(|&index| given[index]).collect();
        all.push(b.finish(format!("call with its own vjp, {name}"), &outputs));
    }

    let function = fixed_point();
    let mut b = Builder::new(draw);
    let (x, w) = (b.moderate([2, 3]), b.moderate([2, 3]));
    let y = b.graph.call(&function, &[x, w]);
    all.push(b.finish("call that iterates, with its own vjp", &y));
}

/// y that solves y + sin(w·y)/4 = x, by iteration; differentiated implicitly.
fn fixed_point() -> FunctionRef {
    let mut body = Graph::new();
    let [y, x, w] = ["y", "x", "w"].map(|name| body.input(name, [2, 3]));
    let inner = body.mul(w, y);
    let wave = body.sin(inner);
    let small = body.scale(wave, 0.25);
    let next = body.sub(x, small);
    let change = body.sub(next, y);
    let change = body.abs(change);
    let largest = body.max_over(change, &[0, 1]);
    body.output("y", next);
    body.output("change", largest);

    let mut g = Graph::new();
    let (x, w) = (g.input("x", [2, 3]), g.input("w", [2, 3]));
    let results = g.iterate(&Function::new("round", body), 1, 80, &[x, x, w]);
    g.output("y", results[0]);

    // (1 + w·c)·dy = dx - y·c·dw with c = cos(w·y)/4.
    let mut d = Graph::new();
    let [_, w, y, dy] = ["x", "w", "y", "dy"].map(|name| d.input(name, [2, 3]));
    let inner = d.mul(w, y);
    let cosine = d.cos(inner);
    let c = d.scale(cosine, 0.25);
    let slope = d.mul(w, c);
    let slope = d.add_scalar(slope, 1.0);
    let of_x = d.div(dy, slope);
    let of_w = d.mul(y, c);
    let of_w = d.mul(of_w, of_x);
    let of_w = d.neg(of_w);
    d.output("of x", of_x);
    d.output("of w", of_w);
    Function::with_vjp("fixed point", g, Function::new("fixed point.vjp", d))
}

fn iterations(draw: &mut Draw, all: &mut Vec<Sample>) {
    // Two states and a constant; the flag drops in the middle, at once, or never.
    let mut body = Graph::new();
    let (x, count, step) = (body.input("x", [4]), body.input("count", []), body.input("step", [4]));
    let next = body.add(x, step);
    let left = body.add_scalar(count, -1.0);
    body.output("x", next);
    body.output("count", left);
    body.output("flag", left);
    let body = Function::new("count down", body);
    for (name, limit) in [("stops by its flag", 20), ("runs into its limit", 3), ("runs once", 1)] {
        let mut b = Builder::new(draw);
        let x = b.draw.between(&X_LINE.into(), -1.0, 1.0);
        let step = b.draw.between(&X_LINE.into(), -1.0, 1.0);
        let (x, step) = (b.fixed(x), b.fixed(step));
        let count = b.graph.constant(7.0, []);
        let results = b.graph.iterate(&body, 2, limit, &[x, count, step]);
        all.push(b.finish(format!("iterate {name}"), &results));
    }
}

const X_LINE: [usize; 1] = [4];
