//! Rigorous upper bounds of the operator norm of one layer.
//!
//! # Convolutions
//! Let A be the zero-padded "same" convolution with a k × k kernel (k odd) on images of H × W. Consider a torus of
//! M × N pixels with M ≥ H + (k − 1)/2, N ≥ W + (k − 1)/2, and on it the convolution C with the same kernel in which
//! whatever crosses the seam is multiplied by a fixed phase e^{iα} (rows) or e^{iβ} (columns). Put an image into a corner
//! of the torus, zeros elsewhere: what an output pixel of the image reads across the seam is zero, so its value in C is
//! that in A. Hence A = P C Pᵀ with P the restriction to the image, and ‖A‖ ≤ ‖C‖ **for every α and β**. The twisted
//! plane waves e^{i(ωy + φx)} with ω ∈ (2πj + α)/M, φ ∈ (2πl + β)/N diagonalise C into the transfer matrices
//!
//! Ŵ(ω, φ) = Σ_{a,b} W[·, ·, a, b] e^{i(aω + bφ)}
//!
//! so that ‖C‖ is the largest singular value among M·N small matrices. We take the least of the bounds for α, β ∈ {0, π},
//! for which waves come in conjugate pairs and half of them do, on the smallest torus. (Untwisted, α = β = 0, it is the
//! bound that circular convolution gives; a kernel of ones on a line of H pixels has norm 1 + 2 cos(π/(H + 1)), which is
//! what the bound with α = π gives, while the untwisted one is 3.)
//!
//! # Matrices
//! Linear layers and 1 × 1 convolutions: the norm is the largest singular value of the weight as a matrix. Convolutions
//! of few channels on small images, where a torus is mostly seam, are treated as the large sparse matrices that they are.
//!
//! # Rounding
//! Singular values are bounded by what a Cholesky factorisation proves (see `hermitian`), with margins for every
//! rounding of f64, whose sum is about 10⁻¹⁰ of the bound.

use std::f64::consts::PI;

use super::hermitian::{Matrix, U, largest_square, margin};
use crate::shape::Shape;

/// A convolution is bounded as the matrix that it is, as tightly as that can be, if the matrix has no more rows (or columns)
/// than this, and its Gram matrix costs no more multiply-adds than that.
const DENSE_SIDE: usize = 256;
const DENSE_WORK: usize = 1 << 26;

/// Relative widening that covers the few roundings of a formula, in the direction that is safe.
pub(super) const OUTWARD: f64 = 1.0 + 16.0 * U;

/// An upper bound of the operator norm of a layer with this weight: `[o, i]`, or `[o, i, k, k]` on images of `size`
/// (height and width; without meaning for other layers).
///
/// It is at least the true norm in exact arithmetic, and for matrices at most some 10⁻³ more; for convolutions usually
/// one or two percent.
///
/// Panics if the number of elements is not that of the shape.
pub fn norm_bound(weight: &[f32], shape: &Shape, size: [usize; 2]) -> f64 {
    assert_eq!(weight.len(), shape.len(), "norm_bound: {} numbers for a weight of shape {shape}", weight.len());
    let [o, i] = [shape[0], shape[1]];
    let kernel = if shape.rank() == 4 { [shape[2], shape[3]] } else { [1, 1] };
    let frobenius_squared = weight.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() * OUTWARD.powi(4);
    let taps = kernel[0] * kernel[1];
    let pixels = size[0] * size[1];
    let (narrow, wide) = (o.min(i) * pixels, o.max(i) * pixels);
    if taps == 1 || (narrow <= DENSE_SIDE && narrow * narrow * wide <= DENSE_WORK) {
        let matrix =
            if taps == 1 { dense(weight, [o, i], [1, 1], [1, 1]) } else { dense(weight, [o, i], kernel, size) };
        let (rows, columns) = (matrix.rows, matrix.columns);
        let square = largest_square(1, rows, |_| matrix.clone(), f64::INFINITY).unwrap_or(f64::INFINITY);
        // No weight occurs more than once for each pixel.
        let of_matrix = frobenius_squared * if taps == 1 { 1.0 } else { pixels as f64 };
        return (square + margin(square, rows, columns, of_matrix)).sqrt() * OUTWARD;
    }
    let symbol = Taps::new(weight, [o, i], kernel, size);
    let torus = [size[0] + kernel[0] / 2, size[1] + kernel[1] / 2];
    let mut best = None;
    for twist in [[PI, PI], [0.0, 0.0], [PI, 0.0], [0.0, PI]] {
        let waves = waves(torus, twist);
        let make = |number: usize| symbol.transfer(waves[number]);
        best = largest_square(waves.len(), symbol.rows, make, best.unwrap_or(f64::INFINITY)).or(best);
    }
    let square = best.unwrap_or(f64::INFINITY);
    // Every entry of a transfer matrix is a sum over taps: |Ŵ_oi|² ≤ taps · Σ |w|².
    let of_transfer = taps as f64 * frobenius_squared;
    let exact = square + margin(square, symbol.rows, symbol.columns, of_transfer);
    // What a transfer matrix is off by: phases (their arguments reach 4πk), products, and sums over the taps.
    let phases = 2.0 * (taps + 64 * kernel[0].max(kernel[1]) + 16) as f64 * U;
    (exact.sqrt() + phases * of_transfer.sqrt()) * OUTWARD
}

/// A convolution as a matrix `[o·h·w, i·h·w]`, or its transpose if that has fewer rows.
fn dense(weight: &[f32], [o, i]: [usize; 2], kernel: [usize; 2], [h, w]: [usize; 2]) -> Matrix {
    let (outputs, inputs) = (o * h * w, i * h * w);
    let transpose = outputs > inputs;
    let (rows, columns) = if transpose { (inputs, outputs) } else { (outputs, inputs) };
    let mut re = vec![0.0; rows * columns];
    for (at, &value) in weight.iter().enumerate() {
        let (column, row) = (at % kernel[1], at / kernel[1] % kernel[0]);
        let pair = at / (kernel[0] * kernel[1]);
        let (output, input) = (pair / i, pair % i);
        for y in 0..h {
            let Some(from_y) = (y + row).checked_sub(kernel[0] / 2).filter(|&y| y < h) else { continue };
            for x in 0..w {
                let Some(from_x) = (x + column).checked_sub(kernel[1] / 2).filter(|&x| x < w) else { continue };
                let (to, from) = ((output * h + y) * w + x, (input * h + from_y) * w + from_x);
                let (row, column) = if transpose { (from, to) } else { (to, from) };
                re[row * columns + column] = f64::from(value);
            }
        }
    }
    Matrix { rows, columns, re, im: Vec::new() }
}

/// The weight in f64, tap by tap, each a matrix with its smaller side first.
struct Taps {
    rows: usize,
    columns: usize,
    kernel: [usize; 2],
    /// `[kernel…, rows, columns]`
    data: Vec<f64>,
}

impl Taps {
    /// Taps that reach past the image from every pixel of it stay zero: they have no part in the zero-padded convolution.
    fn new(weight: &[f32], [o, i]: [usize; 2], kernel: [usize; 2], size: [usize; 2]) -> Self {
        let taps = kernel[0] * kernel[1];
        let transpose = o > i;
        let (rows, columns) = if transpose { (i, o) } else { (o, i) };
        let mut data = vec![0.0; weight.len()];
        for (at, &w) in weight.iter().enumerate() {
            let (tap, to) = (at % taps, at / taps);
            let reach = [tap / kernel[1], tap % kernel[1]];
            if (0..2).any(|axis| reach[axis].abs_diff(kernel[axis] / 2) >= size[axis]) {
                continue;
            }
            let (output, input) = (to / i, to % i);
            let (row, column) = if transpose { (input, output) } else { (output, input) };
            data[(tap * rows + row) * columns + column] = f64::from(w);
        }
        Self { rows, columns, kernel, data }
    }

    /// The transfer matrix of a wave, or its transpose.
    fn transfer(&self, [omega, phi]: [f64; 2]) -> Matrix {
        let len = self.rows * self.columns;
        let (mut re, mut im) = (vec![0.0; len], vec![0.0; len]);
        for (tap, weights) in self.data.chunks_exact(len).enumerate() {
            let (a, b) = (tap / self.kernel[1], tap % self.kernel[1]);
            let (sin, cos) = (a as f64 * omega + b as f64 * phi).sin_cos();
            for ((re, im), w) in re.iter_mut().zip(&mut im).zip(weights) {
                *re += cos * w;
                *im += sin * w;
            }
        }
        Matrix { rows: self.rows, columns: self.columns, re, im }
    }
}

/// The waves on a torus whose seams bear these phases (0 or π), one of each conjugate pair.
fn waves(torus: [usize; 2], twist: [f64; 2]) -> Vec<[f64; 2]> {
    let wave = |axis: usize, j: usize| (2.0 * PI * j as f64 + twist[axis]) / torus[axis] as f64;
    // Number of the conjugate wave: −j, or −j − 1 where half a step lies between.
    let conjugate = |axis: usize, j: usize| {
        let mirrored = if twist[axis] == 0.0 { torus[axis] - j } else { torus[axis] - j - 1 };
        mirrored % torus[axis]
    };
    let mut waves = Vec::new();
    for j in 0..torus[0] {
        for l in 0..torus[1] {
            if (j, l) <= (conjugate(0, j), conjugate(1, l)) {
                waves.push([wave(0, j), wave(1, l)]);
            }
        }
    }
    waves
}
