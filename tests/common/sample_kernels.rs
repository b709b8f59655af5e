//! Kernels of all kinds, for checks that every shader must pass: each hand-written kernel set to work on typical and on
//! odd extents, the executor's own, and those the plan makes of graphs with every op.

use iresnet::graph::{Function, Graph, NodeId};
use iresnet::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use iresnet::ops::matmul;
use iresnet::plan::launch::Launch;
use iresnet::plan::program::{Kernel, Program, Suits, Variant};
use iresnet::plan::{self, Limits};
use iresnet::random::Distribution;
use std::sync::Arc;

const GRID: &str = include_str!("../../shaders/lib/grid.wgsl");

/// All of them.
pub(crate) fn kernels() -> Vec<Kernel> {
    let mut kernels = hand_written();
    kernels.extend(of_the_executor());
    kernels.extend(programs().into_iter().flat_map(|program| program.kernels));
    kernels
}

fn kernel(label: String, launches: Vec<Launch>) -> Kernel {
    let link = |launch: Launch| {
        let source = launch.module(launch.plain_end()).into();
        Variant {
            name: launch.name,
            source,
            groups: launch.groups,
            workgroup_size: launch.workgroup_size,
            workgroup_bytes: launch.workgroup_bytes,
            suits: launch.suits,
        }
    };
    let variants = launches.into_iter().map(link).collect();
    Kernel { family: label.clone(), label, inputs: 2, outputs: 1, variants, flops: 0, traffic: 0 }
}

/// The kernels that launches set to work.
fn hand_written() -> Vec<Kernel> {
    let square = |batch, channels: [usize; 2], size: usize, kernel: usize, stride| Geometry {
        batch,
        groups: 1,
        in_channels: channels[0],
        out_channels: channels[1],
        height: size,
        width: size,
        kernel: [kernel, kernel],
        stride,
        padding: [kernel / 2, kernel / 2],
    };
    let geometries = [
        square(32, [64, 64], 16, 3, 1),
        square(32, [32, 32], 32, 3, 1),
        square(32, [64, 64], 14, 3, 1),
        square(128, [16, 32], 32, 3, 2),
        square(32, [64, 64], 16, 1, 1),
        square(32, [64, 64], 7, 1, 1),
        square(32, [64, 64], 7, 3, 1),
        square(2, [3, 5], 9, 3, 1),
        square(2, [3, 5], 9, 5, 1),
        square(1, [1, 1], 1, 1, 1),
        Geometry { groups: 3, width: 7, kernel: [3, 2], padding: [1, 0], ..square(5, [2, 7], 11, 3, 2) },
    ];
    let mut kernels = Vec::new();
    for (number, geometry) in geometries.iter().enumerate() {
        for role in [Role::Output, Role::InputGrad, Role::WeightGrad] {
            let op = Conv2d { role, geometry: *geometry, precision: Precision::F16 };
            kernels.push(kernel(format!("conv2d {role:?} {number}"), plan::conv2d::variants(&op)));
        }
    }
    for (number, [batch, m, n, k]) in
        [[1, 128, 128, 128], [1, 32, 10, 512], [3, 7, 5, 9], [2, 9, 12, 3], [1, 1, 1, 1]].iter().enumerate()
    {
        for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
            let geometry = matmul::Geometry { batch: *batch, m: *m, n: *n, k: *k, transpose_a, transpose_b };
            let label = format!("matmul {number} {transpose_a} {transpose_b}");
            kernels.push(kernel(label, plan::matmul::variants(&geometry)));
        }
    }
    kernels
}

/// The kernels of `src/gpu`, which are complete but for the grid.
fn of_the_executor() -> Vec<Kernel> {
    let complete = |name: &str, file: &str, workgroup_size| Kernel {
        label: name.into(),
        family: name.into(),
        inputs: 1,
        outputs: 1,
        variants: vec![Variant {
            name: "only".into(),
            source: Arc::from(format!("{file}{GRID}")),
            groups: 1,
            workgroup_size,
            workgroup_bytes: 0,
            suits: Suits::Any,
        }],
        flops: 0,
        traffic: 0,
    };
    vec![
        complete("loop gate", include_str!("../../shaders/loop_gate.wgsl"), 64),
        complete("peak fma", include_str!("../../shaders/peak_fma.wgsl"), 64),
        complete("peak copy", include_str!("../../shaders/peak_copy.wgsl"), 256),
    ]
}

/// Programs whose graphs hold every op, with derivatives to second order.
fn programs() -> Vec<Program> {
    let graphs = [
        ("elementwise", elementwise()),
        ("arranged", arranged()),
        ("reduced", reduced()),
        ("network", network()),
        ("loop", looped()),
    ];
    let compile =
        |(name, graph): (&str, Graph)| plan::compile(name, &graph, &Limits::default()).expect("fits a device");
    graphs.map(compile).into()
}

/// Every function of one and of two elements, and random numbers.
fn elementwise() -> Graph {
    let mut g = Graph::new();
    let (x, y, key) = (g.input("x", [33, 7]), g.input("y", [33, 1]), g.input("key", [4]));
    let unary: &[fn(&mut Graph, NodeId) -> NodeId] = &[
        Graph::neg,
        Graph::exp,
        Graph::expm1,
        Graph::log,
        Graph::log1p,
        Graph::recip,
        Graph::sqrt,
        Graph::abs,
        Graph::tanh,
        Graph::sigmoid,
        Graph::softplus,
        Graph::sin,
        Graph::cos,
        Graph::floor,
        Graph::stop_gradient,
    ];
    let binary: &[fn(&mut Graph, NodeId, NodeId) -> NodeId] =
        &[Graph::add, Graph::sub, Graph::mul, Graph::div, Graph::max, Graph::min, Graph::less, Graph::equal];
    let mut sum = x;
    for (number, function) in unary.iter().enumerate() {
        let value = function(&mut g, x);
        g.output(format!("unary{number}"), value);
        sum = g.add(sum, value);
    }
    for (number, function) in binary.iter().enumerate() {
        let value = function(&mut g, x, y);
        g.output(format!("binary{number}"), value);
        sum = g.add(sum, value);
    }
    let condition = g.less(x, y);
    let selected = g.select(condition, x, y);
    sum = g.add(sum, selected);
    for distribution in [Distribution::Normal, Distribution::Uniform, Distribution::Rademacher] {
        let random = g.random(distribution, key, [33, 7]);
        sum = g.mul(sum, random);
    }
    let loss = g.sum_all(sum);
    with_second_order(g, loss, &[x, y])
}

/// Every op that moves elements.
fn arranged() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", [2, 3, 4, 5]);
    let turned = g.permute(x, &[3, 1, 0, 2]);
    let flat = g.reshape(turned, [10, 12]);
    let cut = g.slice(flat, &[1, 2], &[9, 11]);
    let padded = g.pad(cut, &[2, 0], &[0, 3]);
    let row = g.slice_axis(padded, 0, 0, 1);
    let spread = g.broadcast(row, [10, 12]);
    let joined = g.concat(&[padded, spread, flat], 1);
    let count = g.iota([10, 36], 1);
    let weighted = g.mul(joined, count);
    g.output("weighted", weighted);
    let square = g.square(weighted);
    let loss = g.mean_all(square);
    with_second_order(g, loss, &[x])
}

/// Sums and maxima over few and many terms, of few and many results.
fn reduced() -> Graph {
    let mut g = Graph::new();
    let (long, wide, image) =
        (g.input("long", [3, 5000]), g.input("wide", [5000, 3]), g.input("image", [8, 16, 12, 12]));
    for (name, x, axes) in
        [("long", long, &[1][..]), ("wide", wide, &[1]), ("tall", wide, &[0]), ("image", image, &[0, 2, 3])]
    {
        let sum = g.sum(x, axes);
        g.output(format!("sum {name}"), sum);
        let max = g.max_over(x, axes);
        g.output(format!("max {name}"), max);
    }
    g
}

/// A small network: convolutions, a matrix product, a function called twice.
fn network() -> Graph {
    let mut block = Graph::new();
    let (x, w) = (block.input("x", [4, 8, 8, 8]), block.input("w", [8, 8, 3, 3]));
    let active = block.softplus(x);
    let convolved = block.conv2d(active, w, 1, [1, 1], 1);
    let y = block.add(x, convolved);
    block.output("y", y);
    let block = Function::new("block", block);

    let mut g = Graph::new();
    let images = g.input("images", [4, 3, 16, 16]);
    let stem = g.input("stem", [8, 3, 3, 3]);
    let weights = [g.input("w0", [8, 8, 3, 3]), g.input("w1", [8, 8, 3, 3])];
    let head = g.input("head", [1, 512, 10]);
    let mut x = g.conv2d(images, stem, 2, [1, 1], 1);
    for weight in weights {
        x = g.call(&block, &[x, weight])[0];
    }
    let flat = g.reshape(x, [1, 4, 512]);
    let logits = g.matmul(flat, head, false, false);
    let square = g.square(logits);
    let loss = g.mean_all(square);
    let wrt = [stem, weights[0], weights[1], head];
    let gradients = g.grad(loss, &wrt);
    for (number, gradient) in gradients.into_iter().enumerate() {
        g.output(format!("gradient{number}"), gradient);
    }
    g.output("loss", loss);
    g
}

/// An iteration to convergence.
fn looped() -> Graph {
    let mut body = Graph::new();
    let (x, goal) = (body.input("x", [64]), body.input("goal", [64]));
    let sum = body.add(x, goal);
    let next = body.scale(sum, 0.5);
    let step = body.sub(next, x);
    let size = body.abs(step);
    let largest = body.max_over(size, &[0]);
    let tolerance = body.constant(1e-3, []);
    let goes_on = body.less(tolerance, largest);
    body.output("next", next);
    body.output("goes_on", goes_on);
    let body = Function::new("halve", body);

    let mut g = Graph::new();
    let (start, goal) = (g.input("start", [64]), g.input("goal", [64]));
    let results = g.iterate(&body, 1, 20, &[start, goal]);
    g.output("found", results[0]);
    g
}

/// Adds the gradient of `loss`, and the gradient of the gradient's square.
fn with_second_order(mut g: Graph, loss: NodeId, wrt: &[NodeId]) -> Graph {
    let first = g.grad(loss, wrt);
    let square = g.square(first[0]);
    let penalty = g.sum_all(square);
    let second = g.grad(penalty, wrt);
    for (number, gradient) in first.into_iter().chain(second).enumerate() {
        g.output(format!("gradient{number}"), gradient);
    }
    g.output("loss", loss);
    g
}
