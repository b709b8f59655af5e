//! Graphs with tensors larger than [`BINDING`], one for each way an op is computed in chunks.

use iresnet::graph::{Function, Graph, NodeId};
use iresnet::interpret::Array;
use iresnet::ops::Op;
use iresnet::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use iresnet::random::{Distribution, Key};
use iresnet::shape::Shape;

/// Most bytes of a binding: rows of 64 numbers, four at a time.
pub(crate) const BINDING: u64 = 1024;

/// A graph with values for its inputs.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) graph: Graph,
    pub(crate) values: Vec<Array>,
}

/// A graph under construction.
struct Draft {
    g: Graph,
    values: Vec<Array>,
}

impl Draft {
    fn input(&mut self, shape: impl Into<Shape>) -> NodeId {
        let shape = shape.into();
        let number = self.values.len();
        let numbers = Key::new(11, 0, number as u32).normals(shape.len());
        self.values.push(Array::new(shape.clone(), numbers.into_iter().map(f64::from).collect()));
        self.g.input(format!("x{number}"), shape)
    }

    fn key(&mut self) -> NodeId {
        let number = self.values.len();
        let numbers = Key::new(3, 1, 4).numbers().map(f64::from).to_vec();
        self.values.push(Array::new([4], numbers));
        self.g.input(format!("x{number}"), [4])
    }
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut case = |name: &str, draw: &dyn Fn(&mut Draft) -> Vec<NodeId>| {
        let mut draft = Draft { g: Graph::new(), values: Vec::new() };
        let outputs = draw(&mut draft);
        for (number, output) in outputs.into_iter().enumerate() {
            draft.g.output(format!("y{number}"), output);
        }
        all.push(Case { name: name.into(), graph: draft.g, values: draft.values });
    };
    case("elementwise", &|d| {
        let (x, row, column) = (d.input([10, 64]), d.input([64]), d.input([10, 1]));
        let (sum, index) = (d.g.add(x, row), d.g.iota([10, 64], 0));
        let sum = d.g.mul(sum, column);
        let other = d.g.iota([10, 64], 1);
        let sum = d.g.add(sum, index);
        let below = d.g.less(sum, other);
        let chosen = d.g.select(below, sum, x);
        vec![sum, chosen]
    });
    case("random numbers", &|d| {
        let (x, key) = (d.input([10, 64]), d.key());
        let kinds = [Distribution::Normal, Distribution::Uniform, Distribution::Rademacher];
        let draws = kinds.map(|distribution| d.g.random(distribution, key, [10, 64]));
        let sum = draws.into_iter().fold(x, |sum, draw| d.g.add(sum, draw));
        vec![sum, draws[0]]
    });
    case("outputs that are inputs and each other", &|d| {
        let x = d.input([10, 64]);
        let y = d.g.neg(x);
        let flat = d.g.reshape(y, [640]);
        vec![x, y, flat]
    });
    case("reshapes", &|d| {
        let x = d.input([12, 64]);
        let y = d.g.exp(x);
        let merged = d.g.reshape(y, [3, 4, 64]);
        let merged = d.g.sum_keep(merged, &[1]);
        let split = d.g.reshape(y, [48, 16]);
        let split = d.g.tanh(split);
        let led = d.g.reshape(y, [1, 12, 8, 8]);
        let led = d.g.sum_keep(led, &[3]);
        vec![merged, split, led]
    });
    case("permutations", &|d| {
        let (x, y) = (d.input([8, 4, 16]), d.input([64, 16]));
        let kept = d.g.permute(x, &[0, 2, 1]);
        let kept = d.g.exp(kept);
        let crossed = d.g.permute(y, &[1, 0]);
        let crossed = d.g.exp(crossed);
        vec![kept, crossed]
    });
    case("boxes", &|d| {
        let x = d.input([12, 64]);
        let y = d.g.exp(x);
        let rows = d.g.slice_axis(y, 0, 3, 11);
        let columns = d.g.slice_axis(y, 1, 5, 9);
        let row = d.g.slice(y, &[7, 2], &[8, 60]);
        let padded = d.g.pad(x, &[3, 0], &[2, 0]);
        let joined = d.g.concat(&[x, y, x], 0);
        let joined = d.g.tanh(joined);
        vec![rows, columns, row, padded, joined]
    });
    case("sums and maxima", &|d| {
        let x = d.input([12, 64]);
        let y = d.g.tanh(x);
        let mut outputs = Vec::new();
        for axes in [&[0][..], &[1], &[0, 1]] {
            outputs.push(d.g.sum_keep(y, axes));
            outputs.push(d.g.max_keep(y, axes));
        }
        let centred = d.g.sub(y, outputs[1]);
        outputs.push(d.g.sum_samples(centred));
        outputs
    });
    for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
        let turned = |transpose: bool, [rows, columns]: [usize; 2]| {
            if transpose { [columns, rows] } else { [rows, columns] }
        };
        case(&format!("products, transposed {transpose_a} {transpose_b}"), &|d| {
            // A large first operand, second operand, result; each over a batch too.
            let mut outputs = Vec::new();
            for [m, k, n] in [[32, 16, 4], [4, 32, 16], [32, 3, 64]] {
                let (a, b) = (turned(transpose_a, [m, k]), turned(transpose_b, [k, n]));
                let (left, right) = (d.input([1, a[0], a[1]]), d.input([1, b[0], b[1]]));
                outputs.push(d.g.matmul(left, right, transpose_a, transpose_b));
            }
            let (a, b) = (turned(transpose_a, [4, 16]), turned(transpose_b, [16, 8]));
            let (left, right) = (d.input([8, a[0], a[1]]), d.input([8, b[0], b[1]]));
            outputs.push(d.g.matmul(left, right, transpose_a, transpose_b));
            outputs
        });
    }
    case("convolutions", &|d| {
        let geometry = Geometry {
            batch: 6,
            groups: 1,
            in_channels: 2,
            out_channels: 4,
            height: 8,
            width: 8,
            kernel: [3, 3],
            stride: 2,
            padding: [1, 1],
        };
        let (x, w, y) = (d.input([6, 2, 8, 8]), d.input([4, 2, 3, 3]), d.input([6, 4, 4, 4]));
        let mut add =
            |role, a, b| d.g.add_node(Op::Conv2d(Conv2d { role, geometry, precision: Precision::F32 }), &[a, b]);
        let forward = add(Role::Output, x, w);
        vec![forward, add(Role::InputGrad, forward, w), add(Role::WeightGrad, x, y)]
    });
    case("joins", &|d| {
        let (x, y) = (d.input([2, 64]), d.input([4, 64]));
        let (a, b) = (d.g.exp(x), d.g.neg(y));
        let joined = d.g.join(&[a, b, x], [8, 64]);
        let doubled = d.g.scale(joined, 2.0);
        vec![joined, doubled]
    });
    case("calls and loops", &|d| {
        let mut body = Graph::new();
        let (x, y) = (body.input("x", [8, 64]), body.input("y", [8, 64]));
        let mean = body.add(x, y);
        let mean = body.scale(mean, 0.5);
        let change = body.sub(mean, x);
        let change = body.abs(change);
        let flag = body.max_over(change, &[0, 1]);
        body.output("mean", mean);
        body.output("flag", flag);
        let body = Function::new("halve", body);
        let (x, y) = (d.input([8, 64]), d.input([8, 64]));
        let curved = d.g.tanh(x);
        let called = d.g.call(&body, &[curved, y]);
        let looped = d.g.iterate(&body, 1, 5, &[called[0], y]);
        let sum = d.g.add(looped[0], called[0]);
        vec![sum, looped[0], looped[1]]
    });
    all
}

/// A residual block with a loss and its gradients: what the snapshot shows.
pub(crate) fn block() -> Graph {
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [6, 4, 8, 8]), g.input("w", [4, 4, 3, 3]));
    let active = g.softplus(x);
    let branch = g.conv2d(active, w, 1, [1, 1], 1);
    let y = g.add(x, branch);
    let square = g.square(y);
    let loss = g.mean_all(square);
    let gradients = g.grad(loss, &[x, w]);
    for (name, node) in [("y", y), ("loss", loss), ("grad/x", gradients[0]), ("grad/w", gradients[1])] {
        g.output(name, node);
    }
    g
}

/// Twenty tensors that all results depend on, and a dozen results of the same length.
pub(crate) fn many_tensors() -> (Graph, Vec<Array>) {
    let mut d = Draft { g: Graph::new(), values: Vec::new() };
    let inputs: Vec<NodeId> = (0..20).map(|_| d.input([3, 7])).collect();
    let mut sum = inputs[0];
    for (number, &input) in inputs.iter().enumerate().skip(1) {
        sum = d.g.add(sum, input);
        if number % 2 == 1 {
            let curved = d.g.tanh(sum);
            d.g.output(format!("y{number}"), curved);
        }
    }
    let total = d.g.sum_samples(sum);
    d.g.output("total", total);
    (d.g, d.values)
}
