//! The exact determinant inside a graph, for a few dimensions.

use crate::graph::{Graph, NodeId};

/// More dimensions than this are not eliminated in the graph: it grows with their cube.
pub const EXACT_LIMIT: usize = 8;

/// The exact value by elimination of I + J, for `f` and `a` of shape `[n, d]`: `[n]`.
///
/// No pivoting: Lip(F) < 1 makes the symmetric part of I + J positive definite, so no pivot vanishes.
#[track_caller]
pub fn exact(g: &mut Graph, f: NodeId, a: NodeId) -> NodeId {
    let shape = g.shape(a).clone();
    let (n, d) = (shape[0], shape.len() / shape[0]);
    assert!(d <= EXACT_LIMIT, "the exact log-determinant is unrolled up to {EXACT_LIMIT} dimensions, {shape} has {d}");
    let column = g.iota([1, d], 1);
    // matrix[i][j] is element (i, j) of I + J for every sample.
    let mut matrix: Vec<Vec<NodeId>> = Vec::with_capacity(d);
    for i in 0..d {
        let index = g.constant(i as f64, [1, d]);
        let one_hot = g.equal(column, index);
        let one_hot = g.broadcast(one_hot, [n, d]);
        let cotangent = g.reshape(one_hot, shape.clone());
        let row = g.vjp(&[(f, cotangent)], &[a])[0];
        let row = g.reshape(row, [n, d]);
        let row = g.add(row, one_hot);
        matrix.push(
            (0..d)
                .map(|j| {
                    let element = g.slice_axis(row, 1, j, j + 1);
                    g.reshape(element, [n])
                })
                .collect(),
        );
    }
    // Leading 2×2 blocks by their formula: the usual case of two dimensions needs no division.
    let determinant = if d == 2 {
        let main = g.mul(matrix[0][0], matrix[1][1]);
        let other = g.mul(matrix[0][1], matrix[1][0]);
        g.sub(main, other)
    } else {
        eliminate(g, &mut matrix)
    };
    let magnitude = g.abs(determinant);
    g.log(magnitude)
}

/// Product of the pivots of Gaussian elimination.
fn eliminate(g: &mut Graph, matrix: &mut [Vec<NodeId>]) -> NodeId {
    let mut determinant = matrix[0][0];
    for k in 0..matrix.len() - 1 {
        let (done, rest) = matrix.split_at_mut(k + 1);
        let pivot = &done[k];
        for row in rest.iter_mut() {
            let factor = g.div(row[k], pivot[k]);
            for (element, &above) in row.iter_mut().zip(pivot).skip(k + 1) {
                let product = g.mul(factor, above);
                *element = g.sub(*element, product);
            }
        }
        determinant = g.mul(determinant, rest[0][k + 1]);
    }
    determinant
}
