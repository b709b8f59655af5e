//! The exact determinant inside a graph, for a few dimensions.

use crate::graph::{Graph, NodeId};
use crate::nn::linearised::Linearised;

/// More dimensions than this are not eliminated in the graph: it grows with their cube.
pub const EXACT_LIMIT: usize = 8;

/// The exact value by elimination of I + J, for the derivative J of a branch at n points of d elements: `[n]`.
///
/// All rows of J are computed at once. No pivoting: Lip(F) < 1 makes the symmetric part of I + J positive definite, so no
/// pivot vanishes.
#[track_caller]
pub fn exact(g: &mut Graph, point: &Linearised) -> NodeId {
    let shape = g.shape(point.at()).clone();
    let (n, d) = (shape[0], shape.len() / shape[0]);
    assert!(d <= EXACT_LIMIT, "the exact log-determinant is unrolled up to {EXACT_LIMIT} dimensions, {shape} has {d}");
    let (row, column) = (g.iota([d, 1, d], 0), g.iota([d, 1, d], 2));
    let identity = g.equal(row, column);
    let identity = g.broadcast(identity, [d, n, d]);
    let mut extents = shape.extents().to_vec();
    extents[0] = d * n;
    let cotangents = g.reshape(identity, extents);
    let rows = point.transposed(g, cotangents);
    let rows = g.reshape(rows, [d, n, d]);
    let rows = g.add(rows, identity);
    // matrix[i][j] is element (i, j) of I + J for every sample.
    let mut matrix: Vec<Vec<NodeId>> = Vec::with_capacity(d);
    for i in 0..d {
        let row = g.slice_axis(rows, 0, i, i + 1);
        let elements = (0..d).map(|j| {
            let element = g.slice_axis(row, 2, j, j + 1);
            g.reshape(element, [n])
        });
        matrix.push(elements.collect());
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
