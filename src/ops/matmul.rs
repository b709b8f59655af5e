//! Batched matrix product.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// The extents of a product of `batch` pairs of matrices, C = op(A)·op(B): A is `[batch, m, k]`, or `[batch, k, m]` when
/// `transpose_a`; B is `[batch, k, n]`, or `[batch, n, k]` when `transpose_b`; C is `[batch, m, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Number of independent products.
    pub batch: usize,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the contracted axis.
    pub k: usize,
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Whether B is stored transposed.
    pub transpose_b: bool,
}

impl Geometry {
    /// Floating-point operations: two per multiply-add.
    pub fn flops(&self) -> u64 {
        2 * (self.batch * self.m * self.n) as u64 * self.k as u64
    }
}

/// The product of matrices in the last two axes of two rank-3 tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatMul {
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Whether B is stored transposed.
    pub transpose_b: bool,
}

impl MatMul {
    /// The extents for operands of these shapes.
    #[track_caller]
    pub fn geometry(&self, a: &Shape, b: &Shape) -> Geometry {
        assert!(a.rank() == 3 && b.rank() == 3, "matmul: operands must have rank 3, got {a} and {b}");
        let (m, k) = if self.transpose_a { (a[2], a[1]) } else { (a[1], a[2]) };
        let (k_of_b, n) = if self.transpose_b { (b[2], b[1]) } else { (b[1], b[2]) };
        assert!(
            a[0] == b[0] && k == k_of_b,
            "matmul: {a}{} times {b}{} does not fit",
            if self.transpose_a { "ᵀ" } else { "" },
            if self.transpose_b { "ᵀ" } else { "" }
        );
        Geometry { batch: a[0], m, n, k, transpose_a: self.transpose_a, transpose_b: self.transpose_b }
    }
}

impl Rule for MatMul {
    fn label(&self) -> String {
        let mark = |transposed| if transposed { "ᵀ" } else { "" };
        format!("matmul a{}·b{}", mark(self.transpose_a), mark(self.transpose_b))
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let g = self.geometry(inputs[0], inputs[1]);
        Shape::from([g.batch, g.m, g.n])
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        let of_a = if ta { g.matmul(b, ct, tb, true) } else { g.matmul(ct, b, false, !tb) };
        let of_b = if tb { g.matmul(ct, a, true, ta) } else { g.matmul(a, ct, !ta, false) };
        vec![Some(of_a), Some(of_b)]
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let g = self.geometry(inputs[0].shape(), inputs[1].shape());
        Array::from_fn(shape, |index| {
            let (batch, row, column) = (index[0], index[1], index[2]);
            (0..g.k)
                .map(|k| {
                    let a = if self.transpose_a { [batch, k, row] } else { [batch, row, k] };
                    let b = if self.transpose_b { [batch, column, k] } else { [batch, k, column] };
                    inputs[0].at(&a) * inputs[1].at(&b)
                })
                .sum()
        })
    }
}
