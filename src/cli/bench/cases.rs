//! What is timed: the ops of invertible residual networks at the shapes they come in.

use serde::Serialize;

use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::ops::conv2d::{Conv2d, Geometry, Precision, Role};

/// Images in a batch.
const BATCH: usize = 32;

/// Input channels, output channels, side of the image; the first is the shape most quoted. Channels of the published
/// classifier (16 to 128 and multiples) and of the density model (12 squeezed channels, 512 inside), and the sides of
/// MNIST's images.
const CONVOLUTIONS: [(usize, usize, usize); 15] = [
    (64, 64, 16),
    (16, 16, 32),
    (12, 512, 16),
    (512, 12, 16),
    (32, 32, 32),
    (64, 64, 8),
    (128, 128, 16),
    (128, 128, 8),
    (256, 256, 8),
    (256, 256, 4),
    (512, 512, 8),
    (512, 512, 4),
    (64, 64, 28),
    (64, 64, 14),
    (64, 64, 7),
];

/// How many of them a quick run takes.
const QUICK: usize = 4;

/// Rows, inner extent, columns.
const PRODUCTS: [[usize; 3]; 4] = [[256, 256, 256], [32, 2048, 10], [512, 512, 512], [1024, 1024, 1024]];

/// The extents of a case, as JSON names them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Dims {
    /// A convolution or a residual block.
    Images {
        r#in: usize,
        out: usize,
        /// Channels inside a residual block.
        #[serde(skip_serializing_if = "Option::is_none")]
        hidden: Option<usize>,
        kernel: usize,
        height: usize,
        width: usize,
        batch: usize,
    },
    /// A matrix product `[batch, in] · [in, out]`, named as the fully connected layer that it is, a 1 × 1 convolution
    /// of single pixels.
    Matrices { r#in: usize, out: usize, kernel: usize, height: usize, width: usize, batch: usize },
    /// Anything on one tensor.
    Tensor { shape: [usize; 4], batch: usize },
}

/// Something to time.
pub(super) struct Case {
    /// Name of the op, as JSON has it.
    pub(super) op: &'static str,
    pub(super) dims: Dims,
    pub(super) graph: Graph,
    /// Floating-point operations that the method needs: those of convolutions and matrix products. Zero for work that
    /// is bound by memory.
    pub(super) flops: u64,
    /// Whether a quick run includes it.
    pub(super) quick: bool,
}

impl Case {
    /// The name in tables.
    pub(super) fn name(&self) -> String {
        let dims = match &self.dims {
            Dims::Images { r#in, out, hidden, kernel, height, width, batch } => {
                let inside = hidden.map_or(String::new(), |hidden| format!("{hidden}→"));
                let kernel = if hidden.is_some() { "3×3 1×1 3×3".into() } else { format!("{kernel}×{kernel}") };
                format!("{}→{inside}{out} {kernel} {height}×{width} n{batch}", r#in)
            }
            Dims::Matrices { r#in, out, batch, .. } => format!("{batch}×{0} · {0}×{out}", r#in),
            Dims::Tensor { shape, .. } => shape.map(|extent| extent.to_string()).join("×"),
        };
        format!("{} {dims}", self.op)
    }

    /// Bytes of all inputs and outputs: what has to be moved at least.
    pub(super) fn traffic(&self) -> u64 {
        let both = self.graph.inputs().iter().chain(self.graph.outputs());
        both.map(|&(_, id)| self.graph.shape(id).bytes()).sum()
    }
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, &(r#in, out, side)) in CONVOLUTIONS.iter().enumerate() {
        for kernel in [3, 1] {
            let roles = [Role::Output, Role::InputGrad, Role::WeightGrad];
            cases.extend(roles.map(|role| convolution(role, [r#in, out, side, kernel], number < QUICK)));
        }
    }
    cases.extend(PRODUCTS.iter().enumerate().map(|(number, &extents)| product(extents, number < 2)));
    for (number, extents) in [[64, 64, 16], [12, 512, 16], [128, 128, 8]].into_iter().enumerate() {
        cases.push(block(extents, false, number == 0));
        cases.push(block(extents, true, number == 0));
    }
    cases.extend(elementwise());
    cases.extend(reductions());
    cases
}

fn geometry(r#in: usize, out: usize, side: usize, kernel: usize) -> Geometry {
    Geometry {
        batch: BATCH,
        groups: 1,
        in_channels: r#in,
        out_channels: out,
        height: side,
        width: side,
        kernel: [kernel; 2],
        stride: 1,
        padding: [kernel / 2; 2],
    }
}

fn convolution(role: Role, [r#in, out, side, kernel]: [usize; 4], quick: bool) -> Case {
    let geometry = geometry(r#in, out, side, kernel);
    let mut graph = Graph::new();
    let (op, names) = match role {
        Role::Output => ("conv2d", [("x", geometry.input_shape()), ("w", geometry.weight_shape())]),
        Role::InputGrad => ("conv2d_input_grad", [("g", geometry.output_shape()), ("w", geometry.weight_shape())]),
        Role::WeightGrad => ("conv2d_weight_grad", [("x", geometry.input_shape()), ("g", geometry.output_shape())]),
    };
    let operands = names.map(|(name, shape)| graph.input(name, shape));
    let result = graph.add_node(Op::Conv2d(Conv2d { role, geometry, precision: Precision::F32 }), &operands);
    graph.output("result", result);
    let dims = Dims::Images { r#in, out, hidden: None, kernel, height: side, width: side, batch: BATCH };
    Case { op, dims, graph, flops: geometry.flops(), quick }
}

fn product([rows, inner, columns]: [usize; 3], quick: bool) -> Case {
    let mut graph = Graph::new();
    let (a, b) = (graph.input("a", [1, rows, inner]), graph.input("b", [1, inner, columns]));
    let result = graph.matmul(a, b, false, false);
    graph.output("result", result);
    let flops = 2 * (rows * inner * columns) as u64;
    let dims = Dims::Matrices { r#in: inner, out: columns, kernel: 1, height: 1, width: 1, batch: rows };
    Case { op: "matmul", dims, graph, flops, quick }
}

/// y = x + W₃ · elu(W₂ · elu(W₁ · elu(x))), kernels 3×3, 1×1, 3×3, with biases; and, if asked for, the gradients in
/// all parameters and in x.
fn block([channels, hidden, side]: [usize; 3], backward: bool, quick: bool) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [BATCH, channels, side, side]);
    let layers = [(channels, hidden, 3), (hidden, hidden, 1), (hidden, channels, 3)];
    let (mut h, mut wrt, mut flops) = (x, vec![x], 0);
    for (number, (r#in, out, kernel)) in layers.into_iter().enumerate() {
        let weight = graph.input(format!("weight {number}"), [out, r#in, kernel, kernel]);
        let bias = graph.input(format!("bias {number}"), [out]);
        let active = elu(&mut graph, h);
        let y = graph.conv2d(active, weight, 1, [kernel / 2; 2], 1);
        let shift = graph.per_channel(bias);
        h = graph.add(y, shift);
        wrt.extend([weight, bias]);
        flops += geometry(r#in, out, side, kernel).flops();
    }
    let y = graph.add(x, h);
    graph.output("y", y);
    if backward {
        let cotangent = graph.input("cotangent", [BATCH, channels, side, side]);
        for (number, gradient) in graph.vjp(&[(y, cotangent)], &wrt).into_iter().enumerate() {
            graph.output(format!("gradient {number}"), gradient);
        }
        flops *= 3;
    }
    let dims = Dims::Images {
        r#in: channels,
        out: channels,
        hidden: Some(hidden),
        kernel: 3,
        height: side,
        width: side,
        batch: BATCH,
    };
    Case { op: if backward { "residual_block_grad" } else { "residual_block" }, dims, graph, flops, quick }
}

fn elu(graph: &mut Graph, x: NodeId) -> NodeId {
    let zero = graph.scalar_like(0.0, x);
    let (up, down) = (graph.max(x, zero), graph.min(x, zero));
    let down = graph.expm1(down);
    graph.add(up, down)
}

fn tensor(op: &'static str, shape: [usize; 4], quick: bool, build: impl Fn(&mut Graph, NodeId) -> NodeId) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", shape);
    let result = build(&mut graph, x);
    graph.output("result", result);
    Case { op, dims: Dims::Tensor { shape, batch: shape[0] }, graph, flops: 0, quick }
}

/// The shape of large activations.
const LARGE: [usize; 4] = [BATCH, 64, 32, 32];

fn elementwise() -> Vec<Case> {
    let add = |graph: &mut Graph, x| {
        let other = graph.input("y", LARGE);
        graph.add(x, other)
    };
    let shift = |graph: &mut Graph, x| {
        let bias = graph.input("bias", [LARGE[1]]);
        let bias = graph.per_channel(bias);
        graph.add(x, bias)
    };
    vec![
        tensor("add", LARGE, true, add),
        tensor("elu", LARGE, true, elu),
        tensor("bias", LARGE, false, shift),
        tensor("softplus", LARGE, false, Graph::softplus),
        // What an invertible down-sampling does to the axes of one image and one channel.
        tensor("permute", [BATCH * 64, 32, 16, 2], false, |graph, x| graph.permute(x, &[0, 3, 1, 2])),
    ]
}

fn reductions() -> Vec<Case> {
    vec![
        tensor("sum_all", LARGE, true, Graph::sum_all),
        tensor("sum_samples", LARGE, false, Graph::sum_samples),
        tensor("sum_channels", LARGE, true, |graph, x| graph.sum(x, &[0, 2, 3])),
        tensor("max_samples", LARGE, false, |graph, x| graph.max_over(x, &[1, 2, 3])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn cases_are_distinct_and_the_quoted_one_comes_first() {
        let cases = all();
        assert_eq!(cases[0].name(), "conv2d 64→64 3×3 16×16 n32");
        assert_eq!(cases[0].flops, 603_979_776);
        let names: HashSet<String> = cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().any(|case| case.quick) && cases.iter().any(|case| !case.quick));
    }

    #[test]
    fn json_has_the_promised_keys() {
        let dims = serde_json::to_value(&all()[0].dims).unwrap();
        let wanted = serde_json::json!({ "in": 64, "out": 64, "kernel": 3, "height": 16, "width": 16, "batch": 32 });
        assert_eq!(dims, wanted);
        for case in all().iter().filter(|case| case.op == "matmul") {
            let dims = serde_json::to_value(&case.dims).unwrap();
            assert_eq!(dims.as_object().unwrap().keys().count(), wanted.as_object().unwrap().len());
            assert!(wanted.as_object().unwrap().keys().all(|key| dims[key].is_u64()), "{dims}");
        }
    }
}
