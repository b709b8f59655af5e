//! Random permutations and rotations as matrices, and the triangular factors of the latter. On the host, in f64.

use crate::random::{Distribution, Key};

/// A random order of `count` things: where each comes from. Every order is equally likely but for rounding.
pub(super) fn shuffled(key: Key, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let unit = Distribution::Uniform.draw(key, last as u32);
        order.swap(last, ((unit * (last + 1) as f64) as usize).min(last));
    }
    order
}

/// The matrix that puts thing `order[i]` at place i, row-major.
pub(super) fn permutation_matrix(order: &[usize]) -> Vec<f64> {
    let count = order.len();
    let mut matrix = vec![0.0; count * count];
    for (row, &column) in order.iter().enumerate() {
        matrix[row * count + column] = 1.0;
    }
    matrix
}

/// P·L·(U + diag s) of a matrix.
pub(super) struct Factors {
    /// P, row-major.
    pub(super) permutation: Vec<f64>,
    /// The signs of s.
    pub(super) signs: Vec<f64>,
    /// L below the diagonal, U above it, ln |s| on it, row-major.
    pub(super) triangles: Vec<f64>,
}

/// Factors of a random rotation (or reflection) of so many dimensions: normal numbers, orthogonalised.
pub(super) fn rotation(key: Key, size: usize) -> Factors {
    let mut rows: Vec<Vec<f64>> = (0..size)
        .map(|row| (0..size).map(|i| Distribution::Normal.draw(key, (row * size + i) as u32)).collect())
        .collect();
    for row in 0..size {
        // Gram and Schmidt twice: once leaves what rounding makes of rows that are nearly dependent.
        for _ in 0..2 {
            let (done, rest) = rows.split_at_mut(row);
            let this = &mut rest[0];
            for other in done {
                let along: f64 = this.iter().zip(other.iter()).map(|(a, b)| a * b).sum();
                this.iter_mut().zip(other.iter()).for_each(|(a, b)| *a -= along * b);
            }
            let norm = this.iter().map(|x| x * x).sum::<f64>().sqrt();
            this.iter_mut().for_each(|x| *x /= norm);
        }
    }
    factor(rows)
}

/// By elimination with the largest pivots, so that no number of L is larger than one.
fn factor(mut rows: Vec<Vec<f64>>) -> Factors {
    let size = rows.len();
    let mut from: Vec<usize> = (0..size).collect();
    for k in 0..size {
        let largest = (k..size).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs())).expect("k is a row");
        rows.swap(k, largest);
        from.swap(k, largest);
        let (done, rest) = rows.split_at_mut(k + 1);
        let pivot = &done[k];
        for row in rest {
            let multiple = row[k] / pivot[k];
            row[k] = multiple;
            row[k + 1..].iter_mut().zip(&pivot[k + 1..]).for_each(|(x, above)| *x -= multiple * above);
        }
    }
    // Row i of L·U is row from[i] of the matrix, so P has its one of column i in that row.
    let mut permutation = vec![0.0; size * size];
    for (column, &row) in from.iter().enumerate() {
        permutation[row * size + column] = 1.0;
    }
    let signs = (0..size).map(|i| rows[i][i].signum()).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        row[i] = row[i].abs().ln();
    }
    Factors { permutation, signs, triangles: rows.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of a hundred products in f64.
    const ROUNDING: f64 = 1e-12;

    fn multiply(a: &[f64], b: &[f64], size: usize) -> Vec<f64> {
        let at = |i: usize, j: usize| (0..size).map(|k| a[i * size + k] * b[k * size + j]).sum();
        (0..size * size).map(|index| at(index / size, index % size)).collect()
    }

    #[test]
    fn factors_are_those_of_a_rotation() {
        for size in [1, 2, 3, 12, 48] {
            let factors = rotation(Key::new(3, 7, 11), size);
            let lower = |i: usize, j: usize| match i.cmp(&j) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => 1.0,
                std::cmp::Ordering::Greater => factors.triangles[i * size + j],
            };
            let upper = |i: usize, j: usize| match i.cmp(&j) {
                std::cmp::Ordering::Less => factors.triangles[i * size + j],
                std::cmp::Ordering::Equal => factors.signs[i] * factors.triangles[i * size + i].exp(),
                std::cmp::Ordering::Greater => 0.0,
            };
            let dense = |element: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
                (0..size * size).map(|at| element(at / size, at % size)).collect()
            };
            let product = multiply(&dense(&lower), &dense(&upper), size);
            let matrix = multiply(&factors.permutation, &product, size);
            let transposed = dense(&|i, j| matrix[j * size + i]);
            for (at, x) in multiply(&matrix, &transposed, size).into_iter().enumerate() {
                let wanted = f64::from(u8::from(at / size == at % size));
                assert!((x - wanted).abs() < ROUNDING, "{size}: element {at} of W Wᵀ is {x}");
            }
            let logs: f64 = (0..size).map(|i| factors.triangles[i * size + i]).sum();
            assert!(logs.abs() < ROUNDING * size as f64, "{size}: ln |det W| is {logs}");
            assert!(factors.triangles.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn a_shuffled_order_has_everything_once_and_depends_on_the_key() {
        let orders: Vec<Vec<usize>> = (0..3).map(|step| shuffled(Key::new(1, step, 2), 40)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..40));
            let matrix = permutation_matrix(order);
            assert!((0..40).all(|i| matrix[i * 40 + order[i]] == 1.0) && matrix.iter().sum::<f64>() == 40.0);
        }
        assert!(orders[0] != orders[1] && orders[1] != orders[2]);
    }
}
