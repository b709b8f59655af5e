//! Builder methods: one for each op, and the compositions everything is written in. They simplify as they go.

use super::{FunctionRef, Graph, Node, NodeId};
use crate::ops::Op;
use crate::ops::arrange::{Broadcast, Pad, Permute, Reshape, Slice, Stack};
use crate::ops::binary::Binary;
use crate::ops::call::{Get, Iterate};
use crate::ops::conv2d::{self, Conv2d, Role};
use crate::ops::join::Join;
use crate::ops::matmul::MatMul;
use crate::ops::random::Random;
use crate::ops::reduce::{Kind, Reduce};
use crate::ops::select::Select;
use crate::ops::source::{Constant, Iota};
use crate::ops::unary::Unary;
use crate::random::Distribution;
use crate::shape::Shape;

/// What [`Graph::largest`] gives for numbers that are none: larger than anything meant to be small.
const NOT_FINITE: f64 = 1e30;

/// Sources.
impl Graph {
    /// A tensor filled with `value`.
    pub fn constant(&mut self, value: f64, shape: impl Into<Shape>) -> NodeId {
        let shape = shape.into();
        let op = Op::Constant(Constant { value: value.into(), shape: shape.clone() });
        self.push(Node { op, inputs: Vec::new(), shape })
    }

    /// A tensor of `like`'s shape filled with `value`.
    pub fn scalar_like(&mut self, value: f64, like: NodeId) -> NodeId {
        let shape = self.shape(like).clone();
        self.constant(value, shape)
    }

    /// Each element's index along `axis`.
    #[track_caller]
    pub fn iota(&mut self, shape: impl Into<Shape>, axis: usize) -> NodeId {
        self.add_node(Op::Iota(Iota { shape: shape.into(), axis }), &[])
    }

    /// Random numbers for a key of shape `[4]`: see [`Random`].
    #[track_caller]
    pub fn random(&mut self, distribution: Distribution, key: NodeId, shape: impl Into<Shape>) -> NodeId {
        self.random_from(distribution, key, shape, 0)
    }

    /// Random numbers for a key of shape `[4]`, of which the first `offset` are passed over: see [`Random`].
    #[track_caller]
    pub fn random_from(
        &mut self,
        distribution: Distribution,
        key: NodeId,
        shape: impl Into<Shape>,
        offset: usize,
    ) -> NodeId {
        self.add_node(Op::Random(Random { distribution, shape: shape.into(), offset }), &[key])
    }

    /// The number that fills `id`, if it is a constant.
    pub fn constant_value(&self, id: NodeId) -> Option<f64> {
        match &self.node(id).op {
            Op::Constant(constant) => Some(constant.value.get()),
            _ => None,
        }
    }
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        /// Functions of one element.
        impl Graph {
            $($(#[$doc])* pub fn $name(&mut self, x: NodeId) -> NodeId { self.unary(Unary::$op, x) })*
        }
    };
}

unary_methods! {
    /// -x
    neg => Neg;
    /// eˣ
    exp => Exp;
    /// eˣ - 1
    expm1 => Expm1;
    /// ln x
    log => Log;
    /// ln(1 + x)
    log1p => Log1p;
    /// 1 / x
    recip => Recip;
    /// √x
    sqrt => Sqrt;
    /// |x|
    abs => Abs;
    /// tanh x
    tanh => Tanh;
    /// 1 / (1 + e⁻ˣ)
    sigmoid => Sigmoid;
    /// ln(1 + eˣ)
    softplus => Softplus;
    /// sin x
    sin => Sin;
    /// cos x
    cos => Cos;
    /// the largest whole number not above x
    floor => Floor;
    /// 1 where x is a number, 0 where it is infinite or NaN
    is_finite => IsFinite;
    /// x without derivative
    stop_gradient => StopGradient;
}

/// Elementwise ops and their compositions. Operands of different shapes are broadcast as in NumPy.
impl Graph {
    /// `op` applied to each element.
    pub fn unary(&mut self, op: Unary, x: NodeId) -> NodeId {
        if let Some(value) = self.constant_value(x) {
            return self.scalar_like(op.apply(value), x);
        }
        if op == Unary::Neg && self.node(x).op == Op::Unary(Unary::Neg) {
            return self.node(x).inputs[0];
        }
        self.add_node(Op::Unary(op), &[x])
    }

    /// `op` applied to pairs of elements.
    #[track_caller]
    pub fn binary(&mut self, op: Binary, a: NodeId, b: NodeId) -> NodeId {
        let shape = broadcast_shape(op.name(), self.shape(a), self.shape(b));
        let (a, b) = (self.broadcast(a, shape.clone()), self.broadcast(b, shape.clone()));
        let (left, right) = (self.constant_value(a), self.constant_value(b));
        if let (Some(left), Some(right)) = (left, right) {
            return self.constant(op.apply(left, right), shape);
        }
        match (op, left, right) {
            (Binary::Add, Some(0.0), _) | (Binary::Mul, Some(1.0), _) => return b,
            (Binary::Add | Binary::Sub, _, Some(0.0)) | (Binary::Mul | Binary::Div, _, Some(1.0)) => return a,
            (Binary::Mul, Some(0.0), _) | (Binary::Div, Some(0.0), _) => return a,
            (Binary::Mul, _, Some(0.0)) => return b,
            (Binary::Sub, Some(0.0), _) | (Binary::Mul, Some(-1.0), _) => return self.neg(b),
            (Binary::Mul, _, Some(-1.0)) => return self.neg(a),
            _ => {}
        }
        // One order for commutative ops, so that a·b and b·a are one node.
        let swap = matches!(op, Binary::Add | Binary::Mul) && b < a;
        self.add_node(Op::Binary(op), &if swap { [b, a] } else { [a, b] })
    }

    /// a + b
    #[track_caller]
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Add, a, b)
    }

    /// a - b
    #[track_caller]
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Sub, a, b)
    }

    /// a · b, element by element
    #[track_caller]
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Mul, a, b)
    }

    /// a / b
    #[track_caller]
    pub fn div(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Div, a, b)
    }

    /// the larger of a and b
    #[track_caller]
    pub fn max(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Max, a, b)
    }

    /// the smaller of a and b
    #[track_caller]
    pub fn min(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Min, a, b)
    }

    /// 1 where a < b, else 0
    #[track_caller]
    pub fn less(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Less, a, b)
    }

    /// 1 where a = b, else 0
    #[track_caller]
    pub fn equal(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Equal, a, b)
    }

    /// a where `condition` is not zero, else b
    #[track_caller]
    pub fn select(&mut self, condition: NodeId, a: NodeId, b: NodeId) -> NodeId {
        let shape = broadcast_shape("select", self.shape(a), self.shape(b));
        let shape = broadcast_shape("select", &shape, self.shape(condition));
        let [condition, a, b] = [condition, a, b].map(|id| self.broadcast(id, shape.clone()));
        if a == b {
            return a;
        }
        match self.constant_value(condition) {
            Some(0.0) => b,
            Some(_) => a,
            None => self.add_node(Op::Select(Select), &[condition, a, b]),
        }
    }

    /// x + value
    pub fn add_scalar(&mut self, x: NodeId, value: f64) -> NodeId {
        let value = self.scalar_like(value, x);
        self.add(x, value)
    }

    /// x · value
    pub fn scale(&mut self, x: NodeId, value: f64) -> NodeId {
        let value = self.scalar_like(value, x);
        self.mul(x, value)
    }

    /// x²
    pub fn square(&mut self, x: NodeId) -> NodeId {
        self.mul(x, x)
    }
}

/// Ops that move elements.
impl Graph {
    /// The same elements under another shape.
    #[track_caller]
    pub fn reshape(&mut self, x: NodeId, shape: impl Into<Shape>) -> NodeId {
        let shape = shape.into();
        if *self.shape(x) == shape {
            return x;
        }
        if let Some(value) = self.constant_value(x) {
            assert_eq!(self.shape(x).len(), shape.len(), "reshape: {} does not fit into {shape}", self.shape(x));
            return self.constant(value, shape);
        }
        let source = if matches!(self.node(x).op, Op::Reshape(_)) { self.node(x).inputs[0] } else { x };
        if *self.shape(source) == shape {
            return source;
        }
        self.add_node(Op::Reshape(Reshape { shape }), &[source])
    }

    /// Axes in another order: axis `i` of the result is axis `order[i]` of x.
    #[track_caller]
    pub fn permute(&mut self, x: NodeId, order: &[usize]) -> NodeId {
        let op = Op::Permute(Permute { order: order.to_vec() });
        let shape = op.infer(&[self.shape(x)]);
        if order.iter().copied().eq(0..shape.rank()) {
            return x;
        }
        if let Some(value) = self.constant_value(x) {
            return self.constant(value, shape);
        }
        let (source, order) = match &self.node(x).op {
            Op::Permute(inner) => {
                (self.node(x).inputs[0], order.iter().map(|&axis| inner.order[axis]).collect::<Vec<_>>())
            }
            _ => (x, order.to_vec()),
        };
        if order.iter().copied().eq(0..order.len()) {
            return source;
        }
        self.add_node(Op::Permute(Permute { order }), &[source])
    }

    /// x repeated to `shape`; missing leading axes are added.
    #[track_caller]
    pub fn broadcast(&mut self, x: NodeId, shape: impl Into<Shape>) -> NodeId {
        let shape = shape.into();
        if *self.shape(x) == shape {
            return x;
        }
        let rank = self.shape(x).rank();
        assert!(rank <= shape.rank(), "broadcast: {} cannot be repeated to {shape}", self.shape(x));
        let mut extents = vec![1; shape.rank() - rank];
        extents.extend_from_slice(self.shape(x).extents());
        if let Some(value) = self.constant_value(x) {
            Op::Broadcast(Broadcast { shape: shape.clone() }).infer(&[&Shape::from(extents)]);
            return self.constant(value, shape);
        }
        let x = self.reshape(x, extents);
        if *self.shape(x) == shape {
            return x;
        }
        self.add_node(Op::Broadcast(Broadcast { shape }), &[x])
    }

    /// x repeated to the shape of `like`.
    #[track_caller]
    pub fn broadcast_like(&mut self, x: NodeId, like: NodeId) -> NodeId {
        let shape = self.shape(like).clone();
        self.broadcast(x, shape)
    }

    /// A vector over channels, `[c]`, as `[1, c, 1, 1]`, ready to be broadcast against images.
    #[track_caller]
    pub fn per_channel(&mut self, x: NodeId) -> NodeId {
        let channels = self.shape(x).len();
        self.reshape(x, [1, channels, 1, 1])
    }

    /// The box from `start` to `end` (exclusive).
    #[track_caller]
    pub fn slice(&mut self, x: NodeId, start: &[usize], end: &[usize]) -> NodeId {
        if start.iter().all(|&at| at == 0) && end == self.shape(x).extents() {
            return x;
        }
        let op = Op::Slice(Slice { start: start.to_vec(), end: end.to_vec() });
        if let Some(value) = self.constant_value(x) {
            let shape = op.infer(&[self.shape(x)]);
            return self.constant(value, shape);
        }
        self.add_node(op, &[x])
    }

    /// Indices `from..to` along one axis.
    #[track_caller]
    pub fn slice_axis(&mut self, x: NodeId, axis: usize, from: usize, to: usize) -> NodeId {
        assert!(axis < self.shape(x).rank(), "slice: {} has no axis {axis}", self.shape(x));
        let mut start = vec![0; self.shape(x).rank()];
        let mut end = self.shape(x).extents().to_vec();
        (start[axis], end[axis]) = (from, to);
        self.slice(x, &start, &end)
    }

    /// Zeros added before and after along each axis.
    #[track_caller]
    pub fn pad(&mut self, x: NodeId, low: &[usize], high: &[usize]) -> NodeId {
        if low.iter().chain(high).all(|&extra| extra == 0) {
            return x;
        }
        let op = Op::Pad(Pad { low: low.to_vec(), high: high.to_vec() });
        if self.constant_value(x) == Some(0.0) {
            let shape = op.infer(&[self.shape(x)]);
            return self.constant(0.0, shape);
        }
        self.add_node(op, &[x])
    }

    /// Tensors joined along `axis`; their other extents are equal.
    #[track_caller]
    pub fn concat(&mut self, parts: &[NodeId], axis: usize) -> NodeId {
        assert!(!parts.is_empty(), "concat: there are no parts");
        let first = self.shape(parts[0]).clone();
        assert!(axis < first.rank(), "concat: {first} has no axis {axis}");
        for &part in parts {
            let shape = self.shape(part);
            let fits = shape.rank() == first.rank() && (0..first.rank()).all(|i| i == axis || shape[i] == first[i]);
            assert!(fits, "concat: {first} and {shape} cannot be joined along axis {axis}");
        }
        let total: usize = parts.iter().map(|&part| self.shape(part)[axis]).sum();
        let mut at = 0;
        let mut joined: Option<NodeId> = None;
        for &part in parts {
            let rank = self.shape(part).rank();
            let extent = self.shape(part)[axis];
            let (mut low, mut high) = (vec![0; rank], vec![0; rank]);
            (low[axis], high[axis]) = (at, total - at - extent);
            at += extent;
            let padded = self.pad(part, &low, &high);
            joined = Some(joined.map_or(padded, |joined| self.add(joined, padded)));
        }
        joined.expect("concat: at least one part")
    }

    /// Tensors of one shape `[n, …]` one after the other, `[count·n, …]`. For many tensors, or large ones: the device
    /// copies them, or uses them where they are if they lie in a row. [`concat`](Self::concat) fuses instead.
    #[track_caller]
    pub fn stack(&mut self, parts: &[NodeId]) -> NodeId {
        assert!(!parts.is_empty(), "stack: there are no parts");
        if parts.len() == 1 { parts[0] } else { self.add_node(Op::Stack(Stack { count: parts.len() }), parts) }
    }

    /// Tensors one after another in memory, under `shape`: see [`Join`].
    #[track_caller]
    pub fn join(&mut self, parts: &[NodeId], shape: impl Into<Shape>) -> NodeId {
        self.add_node(Op::Join(Join { shape: shape.into(), parts: parts.len() }), parts)
    }
}

/// Contractions.
impl Graph {
    #[track_caller]
    fn reduce(&mut self, kind: Kind, x: NodeId, axes: &[usize]) -> NodeId {
        let shape = self.shape(x).clone();
        assert!(axes.iter().all(|&axis| axis < shape.rank()), "reduce: {axes:?} are no axes of {shape}");
        let axes: Vec<usize> = (0..shape.rank()).filter(|&axis| axes.contains(&axis) && shape[axis] != 1).collect();
        if axes.is_empty() {
            return x;
        }
        let op = Op::Reduce(Reduce { kind, axes: axes.clone() });
        if let Some(value) = self.constant_value(x) {
            let count: usize = axes.iter().map(|&axis| shape[axis]).product();
            let result = op.infer(&[&shape]);
            return self.constant(if kind == Kind::Sum { value * count as f64 } else { value }, result);
        }
        self.add_node(op, &[x])
    }

    /// Sum over `axes`, which keep extent one.
    #[track_caller]
    pub fn sum_keep(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        self.reduce(Kind::Sum, x, axes)
    }

    /// Largest over `axes`, which keep extent one.
    #[track_caller]
    pub fn max_keep(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        self.reduce(Kind::Max, x, axes)
    }

    /// Sum over `axes`, which are dropped.
    #[track_caller]
    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let kept = self.sum_keep(x, axes);
        self.drop_axes(kept, axes)
    }

    /// Largest over `axes`, which are dropped.
    #[track_caller]
    pub fn max_over(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let kept = self.max_keep(x, axes);
        self.drop_axes(kept, axes)
    }

    /// Sum of all elements, a scalar.
    pub fn sum_all(&mut self, x: NodeId) -> NodeId {
        let axes: Vec<usize> = (0..self.shape(x).rank()).collect();
        self.sum(x, &axes)
    }

    /// Sum over all axes but the first: shape `[n]`.
    pub fn sum_samples(&mut self, x: NodeId) -> NodeId {
        let axes: Vec<usize> = (1..self.shape(x).rank()).collect();
        self.sum(x, &axes)
    }

    /// Mean of all elements, a scalar.
    pub fn mean_all(&mut self, x: NodeId) -> NodeId {
        let count = self.shape(x).len();
        let sum = self.sum_all(x);
        self.scale(sum, 1.0 / count as f64)
    }

    /// The largest magnitude of an element, of shape `[]`; 10³⁰ where an element is larger or no number at all.
    pub fn largest(&mut self, x: NodeId) -> NodeId {
        let magnitude = self.abs(x);
        // Comparisons with NaN are false, so it becomes the bound here; a maximum alone would pass over it.
        let bound = self.scalar_like(NOT_FINITE, magnitude);
        let finite = self.less(magnitude, bound);
        let magnitude = self.select(finite, magnitude, bound);
        let axes: Vec<usize> = (0..self.shape(x).rank()).collect();
        self.max_over(magnitude, &axes)
    }

    fn drop_axes(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let shape = self.shape(x);
        let kept: Vec<usize> = (0..shape.rank()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
        self.reshape(x, kept)
    }

    /// Products of the matrices in the last two axes of two rank-3 tensors: see [`MatMul`].
    #[track_caller]
    pub fn matmul(&mut self, a: NodeId, b: NodeId, transpose_a: bool, transpose_b: bool) -> NodeId {
        self.add_node(Op::MatMul(MatMul { transpose_a, transpose_b }), &[a, b])
    }

    /// a·bᵀ for matrices `[m, k]` and `[n, k]`: what a linear layer computes.
    #[track_caller]
    pub fn linear(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let (left, right) = (self.shape(a), self.shape(b));
        assert!(left.rank() == 2 && right.rank() == 2, "linear: operands must have rank 2, got {left} and {right}");
        assert_eq!(left[1], right[1], "linear: {left} times {right}ᵀ does not fit");
        let [m, k] = [0, 1].map(|axis| self.shape(a)[axis]);
        let n = self.shape(b)[0];
        let (a, b) = (self.reshape(a, [1, m, k]), self.reshape(b, [1, n, k]));
        let product = self.matmul(a, b, false, true);
        self.reshape(product, [m, n])
    }

    /// Convolution of `x` `[n, c, h, w]` with `w` `[o, c / groups, i, j]`.
    #[track_caller]
    pub fn conv2d(&mut self, x: NodeId, w: NodeId, stride: usize, padding: [usize; 2], groups: usize) -> NodeId {
        let geometry = self.conv_geometry(x, w, stride, padding, groups);
        self.add_node(Op::Conv2d(Conv2d { role: Role::Output, geometry, precision: self.precision }), &[x, w])
    }

    /// The adjoint of a convolution in its input: `g` is shaped as the output, the result as the input.
    #[track_caller]
    pub fn conv2d_input_grad(&mut self, g: NodeId, w: NodeId, geometry: conv2d::Geometry) -> NodeId {
        self.add_node(Op::Conv2d(Conv2d { role: Role::InputGrad, geometry, precision: self.precision }), &[g, w])
    }

    #[track_caller]
    fn conv_geometry(
        &self,
        x: NodeId,
        w: NodeId,
        stride: usize,
        padding: [usize; 2],
        groups: usize,
    ) -> conv2d::Geometry {
        let (xs, ws) = (self.shape(x), self.shape(w));
        assert!(xs.rank() == 4 && ws.rank() == 4, "conv2d: operands must have rank 4, got {xs} and {ws}");
        assert!(stride > 0, "conv2d: the stride of {ws} on {xs} must be at least 1");
        assert!(
            xs[1] == groups * ws[1] && ws[0].is_multiple_of(groups),
            "conv2d: input {xs} has {} channels, weight {ws} with {groups} groups expects {}",
            xs[1],
            groups * ws[1]
        );
        assert!(
            xs[2] + 2 * padding[0] >= ws[2] && xs[3] + 2 * padding[1] >= ws[3],
            "conv2d: the kernel of {ws} is larger than the padded input {xs}"
        );
        conv2d::Geometry {
            batch: xs[0],
            groups,
            in_channels: ws[1],
            out_channels: ws[0] / groups,
            height: xs[2],
            width: xs[3],
            kernel: [ws[2], ws[3]],
            stride,
            padding,
        }
    }
}

/// Functions.
impl Graph {
    /// Calls `function`; gives its results in order.
    #[track_caller]
    pub fn call(&mut self, function: &FunctionRef, arguments: &[NodeId]) -> Vec<NodeId> {
        let call = self.add_node(Op::Call(function.clone()), arguments);
        (0..function.graph().outputs().len()).map(|index| self.get(call, index)).collect()
    }

    /// Applies `body` until its flag drops or `limit` rounds are done: see [`Iterate`]. Gives the last state and flag.
    #[track_caller]
    pub fn iterate(&mut self, body: &FunctionRef, state: usize, limit: u32, arguments: &[NodeId]) -> Vec<NodeId> {
        let op = Op::Iterate(Iterate { body: body.clone(), state, limit });
        let iterate = self.add_node(op, arguments);
        (0..=state).map(|index| self.get(iterate, index)).collect()
    }

    /// Result `index` of a call or an iteration.
    #[track_caller]
    pub(crate) fn get(&mut self, call: NodeId, index: usize) -> NodeId {
        let get = Get { index };
        let shape = get.infer_from(&self.node(call).op);
        self.push(Node { op: Op::Get(get), inputs: vec![call], shape })
    }
}

#[track_caller]
fn broadcast_shape(name: &str, a: &Shape, b: &Shape) -> Shape {
    let rank = a.rank().max(b.rank());
    let extent = |shape: &Shape, axis: usize| (axis + shape.rank()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let pairs: Vec<(usize, usize)> = (0..rank).map(|axis| (extent(a, axis), extent(b, axis))).collect();
    let fits = pairs.iter().all(|&(x, y)| x == y || x == 1 || y == 1);
    assert!(fits, "{name}: operands have shapes {a} and {b}, which do not broadcast");
    Shape::from(pairs.into_iter().map(|(x, y)| if x == 1 { y } else { x }).collect::<Vec<_>>())
}
