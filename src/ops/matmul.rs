//! Batched matrix product.

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
