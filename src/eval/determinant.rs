//! Determinants of dense matrices in f64.
//!
//! An LU decomposition with row pivoting, in panels of columns so that most of the work is the product of two matrices
//! that fit a cache. Own code: the linear algebra crates that would do it bring dozens of others and minutes of compiling
//! for this one function.

/// Columns of a panel.
const PANEL: usize = 64;

/// Columns of a tile of the update: a panel's rows of it stay in a cache.
const TILE: usize = 256;

/// ln |det a| of a row-major `d` × `d` matrix, which is overwritten; -∞ if it is singular.
#[track_caller]
pub fn log_abs_determinant(a: &mut [f64], d: usize) -> f64 {
    assert_eq!(a.len(), d * d, "determinant: {} numbers are no {d} × {d} matrix", a.len());
    let mut total = 0.0;
    for start in (0..d).step_by(PANEL) {
        let end = (start + PANEL).min(d);
        for k in start..end {
            total += pivot(a, d, k).abs().ln();
            if total == f64::NEG_INFINITY {
                return total;
            }
            eliminate(a, d, k, end);
        }
        finish_rows(a, d, start, end);
        update(a, d, start, end);
    }
    total
}

/// Swaps the row with the largest element of column k to row k; gives that element.
fn pivot(a: &mut [f64], d: usize, k: usize) -> f64 {
    let row = (k..d).max_by(|&i, &j| a[i * d + k].abs().total_cmp(&a[j * d + k].abs())).expect("k is a row");
    if row != k {
        let (above, below) = a.split_at_mut(row * d);
        above[k * d..(k + 1) * d].swap_with_slice(&mut below[..d]);
    }
    a[k * d + k]
}

/// Divides column k below the diagonal by the pivot and subtracts its multiples from the panel's columns up to `end`.
fn eliminate(a: &mut [f64], d: usize, k: usize, end: usize) {
    let (done, rest) = a.split_at_mut((k + 1) * d);
    let pivot = &done[k * d..];
    for row in rest.chunks_exact_mut(d) {
        let factor = row[k] / pivot[k];
        row[k] = factor;
        for (x, &above) in row[k + 1..end].iter_mut().zip(&pivot[k + 1..end]) {
            *x -= factor * above;
        }
    }
}

/// Solves the panel's triangle for its rows right of the panel.
fn finish_rows(a: &mut [f64], d: usize, start: usize, end: usize) {
    for k in start..end {
        let (done, rest) = a.split_at_mut((k + 1) * d);
        let source = &done[k * d + end..(k + 1) * d];
        for row in rest[..(end - k - 1) * d].chunks_exact_mut(d) {
            let factor = row[k];
            for (x, &above) in row[end..].iter_mut().zip(source) {
                *x -= factor * above;
            }
        }
    }
}

/// Subtracts the product of the panel's columns below it and its rows right of it from what is left, on all processors.
fn update(a: &mut [f64], d: usize, start: usize, end: usize) {
    let (done, rest) = a.split_at_mut(end * d);
    let rows = &done[start * d..];
    let count = d - end;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count.div_ceil(PANEL));
    if threads <= 1 {
        return update_rows(rest, rows, d, start, end);
    }
    std::thread::scope(|scope| {
        for part in rest.chunks_mut(count.div_ceil(threads) * d) {
            scope.spawn(move || update_rows(part, rows, d, start, end));
        }
    });
}

fn update_rows(rest: &mut [f64], rows: &[f64], d: usize, start: usize, end: usize) {
    let width = end - start;
    for from in (end..d).step_by(TILE) {
        let to = (from + TILE).min(d);
        for row in rest.chunks_exact_mut(d) {
            let (factors, target) = row.split_at_mut(end);
            let factors = &factors[start..];
            let target = &mut target[from - end..to - end];
            let source = |k: usize| &rows[k * d + from..k * d + to];
            let mut k = 0;
            while k + 4 <= width {
                let (f, s) = (&factors[k..k + 4], [source(k), source(k + 1), source(k + 2), source(k + 3)]);
                let products = s[0].iter().zip(s[1]).zip(s[2]).zip(s[3]);
                for (x, (((a, b), c), e)) in target.iter_mut().zip(products) {
                    *x -= f[0] * a + f[1] * b + f[2] * c + f[3] * e;
                }
                k += 4;
            }
            while k < width {
                for (x, &above) in target.iter_mut().zip(source(k)) {
                    *x -= factors[k] * above;
                }
                k += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of some hundred products, in f64.
    const ROUNDING: f64 = 1e-9;

    fn matrix(d: usize, element: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        (0..d * d).map(|at| element(at / d, at % d)).collect()
    }

    /// det(I + u vᵀ) = 1 + ⟨u, v⟩.
    #[test]
    fn of_a_rank_one_change() {
        for d in [1, 2, 7, 64, 65, 330] {
            let u = |i: usize| ((i * 7 + 3) % 11) as f64 / 11.0;
            let v = |i: usize| ((i * 5 + 1) % 13) as f64 / 13.0 - 0.4;
            let mut a = matrix(d, |i, j| f64::from(u8::from(i == j)) + u(i) * v(j));
            let wanted = (1.0 + (0..d).map(|i| u(i) * v(i)).sum::<f64>()).abs().ln();
            let found = log_abs_determinant(&mut a, d);
            assert!((found - wanted).abs() < ROUNDING, "{d}: {found}, {wanted}");
        }
    }

    /// Rows in another order change the sign only, and need pivoting.
    #[test]
    fn of_rows_in_another_order() {
        for d in [3, 64, 131] {
            let element = |i: usize, j: usize| ((i * i + 3 * j * i + 7 * j) % 17) as f64 - 8.0;
            let lower = |i: usize, j: usize| if j <= i { element(i, j) / 200.0 } else { 0.0 };
            let wanted: f64 = (0..d).map(|i| (3.0 + i as f64 % 5.0).ln()).sum();
            let triangle = |i: usize, j: usize| if i == j { 3.0 + i as f64 % 5.0 } else { lower(i, j) };
            let mut a = matrix(d, |i, j| triangle((i * 2 + 1) % d, j));
            if d % 2 == 0 {
                a = matrix(d, |i, j| triangle(d - 1 - i, j));
            }
            let found = log_abs_determinant(&mut a, d);
            assert!((found - wanted).abs() < ROUNDING * d as f64, "{d}: {found}, {wanted}");
        }
    }

    #[test]
    fn of_a_singular_matrix() {
        let mut a = matrix(5, |i, j| (i + j) as f64);
        assert!(log_abs_determinant(&mut a, 5) < -30.0);
        assert_eq!(log_abs_determinant(&mut [0.0; 9], 3), f64::NEG_INFINITY);
    }
}
