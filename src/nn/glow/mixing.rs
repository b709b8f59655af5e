//! Mixing of channels between couplings: y = W x at every pixel.
//!
//! A learned W is kept as P·L·(U + diag s): a permutation matrix P and the signs of s, which stay as they began, and one
//! tensor `lu` whose part below the diagonal is that of the unit lower triangle L, whose part above is the strictly upper
//! triangle U, and whose diagonal is ln |s|. So W is invertible whatever training does, and ln |det W| = Σ ln |s|. It
//! begins as a random rotation. Fixed permutations are matrices of zeros and ones, whose product is exact, and whose
//! inverse is their transpose.
//!
//! The inverse of a triangle T is computed by halves: with the inverses of the diagonal blocks of size b in X, the blocks
//! of size 2b are X - X·M·X, where M is what T has in these blocks outside of those. After log₂ c such steps of two
//! products X is T⁻¹. Each number is computed by the same operations as in substitution, so that the error is that of
//! solving with a triangle; a sum of powers of the nilpotent part takes as many products, but its terms cancel and lose
//! digits where L or U have large off-diagonal numbers. What the product P·L·(U + diag s) was rounded by on the way forwards
//! is taken back by one step of refinement.

use crate::config::Permutation;
use crate::graph::{Graph, NodeId};
use crate::nn::param::{Init, Param, Rotation};

/// The operands of a mixing of `channels` channels: `permutation.p` `[c, c]`, and if it is learned `permutation.sign`
/// `[c]` and `permutation.lu` `[c, c]`. None for the reversed order.
pub fn operands(permutation: Permutation, channels: usize) -> Vec<Param> {
    let square = [channels, channels];
    match permutation {
        Permutation::Reverse => Vec::new(),
        Permutation::Shuffle => vec![Param::state("permutation.p", square, Init::Shuffle)],
        Permutation::Conv1x1 => vec![
            Param::state("permutation.p", square, Init::Rotation(Rotation::Permutation)),
            Param::state("permutation.sign", [channels], Init::Rotation(Rotation::Signs)),
            Param::parameter("permutation.lu", square, Init::Rotation(Rotation::Triangles)),
        ],
    }
}

/// W, `[c, c]`.
#[track_caller]
pub fn matrix(g: &mut Graph, permutation: Permutation, channels: usize, operands: &[NodeId]) -> NodeId {
    match (permutation, operands) {
        (Permutation::Reverse, []) => {
            let (row, column) = indices(g, channels);
            let sum = g.add(row, column);
            let last = g.scalar_like((channels - 1) as f64, sum);
            g.equal(sum, last)
        }
        (Permutation::Shuffle, &[p]) => p,
        (Permutation::Conv1x1, &[p, sign, lu]) => {
            let [lower, upper] = triangles(g, sign, lu);
            let product = multiply(g, lower, upper);
            multiply(g, p, product)
        }
        _ => panic!("mixing: {permutation:?} does not take {} operands", operands.len()),
    }
}

/// ln |det W|, a scalar; none where it is zero.
pub fn log_det(g: &mut Graph, permutation: Permutation, operands: &[NodeId]) -> Option<NodeId> {
    let &[_, _, lu] = operands else { return None };
    assert_eq!(permutation, Permutation::Conv1x1, "mixing: only a learned matrix has three operands");
    let identity = identity(g, lu);
    let logs = g.mul(identity, lu);
    Some(g.sum_all(logs))
}

/// W x for every pixel of `x` `[n, c, h, w]` or `[n, d]`.
#[track_caller]
pub fn mix(g: &mut Graph, x: NodeId, matrix: NodeId) -> NodeId {
    if g.shape(x).rank() == 2 {
        return g.linear(x, matrix);
    }
    let channels = g.shape(matrix)[0];
    let weight = g.reshape(matrix, [channels, channels, 1, 1]);
    g.conv2d(x, weight, 1, [0, 0], 1)
}

/// The x of which [`mix`] makes `y`.
#[track_caller]
pub fn unmix(g: &mut Graph, y: NodeId, permutation: Permutation, operands: &[NodeId]) -> NodeId {
    let channels = g.shape(y)[1];
    let &[p, sign, lu] = operands else {
        let matrix = matrix(g, permutation, channels, operands);
        let inverse = g.permute(matrix, &[1, 0]);
        return mix(g, y, inverse);
    };
    let [lower, upper] = triangles(g, sign, lu);
    let back = g.permute(p, &[1, 0]);
    let of_lower = identity(g, lu);
    let of_lower = invert_triangle(g, lower, of_lower);
    let of_upper = inverse_diagonal(g, sign, lu);
    let of_upper = invert_triangle(g, upper, of_upper);
    // One after the other: the product of all three would be rounded once more, by the condition of W.
    let solve = |g: &mut Graph, y: NodeId| {
        let x = mix(g, y, back);
        let x = mix(g, x, of_lower);
        mix(g, x, of_upper)
    };
    let x = solve(g, y);
    // What went forwards was W as it was rounded, which is not quite the product of its factors. One step of refinement
    // with that W leaves the rounding of single products.
    let w = matrix(g, permutation, channels, operands);
    let again = mix(g, x, w);
    let residual = g.sub(y, again);
    let change = solve(g, residual);
    g.add(x, change)
}

/// The inverse of the triangle `t`; `start` is diagonal and inverts its diagonal.
fn invert_triangle(g: &mut Graph, t: NodeId, start: NodeId) -> NodeId {
    let channels = g.shape(t)[0];
    let (row, column) = indices(g, channels);
    let mut inverse = start;
    let mut size = 1;
    while size < channels {
        let same = |g: &mut Graph, size: usize| {
            let [a, b] = [row, column].map(|index| {
                let quotient = g.scale(index, 1.0 / size as f64);
                g.floor(quotient)
            });
            g.equal(a, b)
        };
        // Within the same block of twice the size, in another one of this size.
        let (inner, outer) = (same(g, size), same(g, 2 * size));
        let between = g.sub(outer, inner);
        let between = g.mul(between, t);
        let right = multiply(g, between, inverse);
        let change = multiply(g, inverse, right);
        inverse = g.sub(inverse, change);
        size *= 2;
    }
    inverse
}

/// L and U + diag(s).
fn triangles(g: &mut Graph, sign: NodeId, lu: NodeId) -> [NodeId; 2] {
    let (row, column) = indices(g, g.shape(lu)[0]);
    let below = g.less(column, row);
    let above = g.less(row, column);
    let lower = g.mul(below, lu);
    let identity = identity(g, lu);
    let lower = g.add(lower, identity);
    let upper = g.mul(above, lu);
    let [signs, sizes] = diagonal(g, sign, lu);
    let s = g.mul(signs, sizes);
    [lower, g.add(upper, s)]
}

/// diag(1 / s), from the same exponentials as s itself, so that what they are off by cancels.
fn inverse_diagonal(g: &mut Graph, sign: NodeId, lu: NodeId) -> NodeId {
    let [signs, sizes] = diagonal(g, sign, lu);
    g.div(signs, sizes)
}

/// diag(sign s) and a matrix with |s| on its diagonal, with ones elsewhere.
fn diagonal(g: &mut Graph, sign: NodeId, lu: NodeId) -> [NodeId; 2] {
    let identity = identity(g, lu);
    // Only the diagonal is a logarithm: elsewhere the exponential could be too large.
    let logs = g.mul(identity, lu);
    let sizes = g.exp(logs);
    let signs = g.reshape(sign, [g.shape(sign).len(), 1]);
    [g.mul(identity, signs), sizes]
}

fn identity(g: &mut Graph, like: NodeId) -> NodeId {
    let (row, column) = indices(g, g.shape(like)[0]);
    g.equal(row, column)
}

/// Row and column of each element of a square matrix.
fn indices(g: &mut Graph, size: usize) -> (NodeId, NodeId) {
    (g.iota([size, size], 0), g.iota([size, size], 1))
}

/// The product of two square matrices.
fn multiply(g: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let size = g.shape(a)[0];
    let [a, b] = [a, b].map(|matrix| g.reshape(matrix, [1, size, size]));
    let product = g.matmul(a, b, false, false);
    g.reshape(product, [size, size])
}
