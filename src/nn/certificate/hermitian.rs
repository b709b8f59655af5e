//! Largest eigenvalues of Gram matrices, proved by Cholesky factorisations.
//!
//! For a complex n × m matrix B, λ_max(B Bᴴ) ≤ t holds if and only if t·I − B Bᴴ is positive semidefinite, and a Cholesky
//! factorisation that runs to its end in floating point proves that up to a known margin (J. Demmel, *On floating point
//! errors in Cholesky*, LAPACK working note 14; S. M. Rump, *Verification of positive definiteness*, BIT 2006): the
//! computed factor is the exact one of a matrix A + Δ with |Δᵢⱼ| ≤ γ √(aᵢᵢ aⱼⱼ), hence λ_min(A) ≥ −γ tr A, in whatever
//! order the sums are taken. γ ≤ [`SLOPPINESS`]·(n + 4)·u covers complex arithmetic with room to spare, where
//! u = 2⁻⁵³. So the bounds need no trust in an eigenvalue routine.

/// Unit roundoff of f64.
pub(super) const U: f64 = f64::EPSILON / 2.0;

/// Rounding errors of sums of n complex products are at most this times (n + 4)·u: real and imaginary part are sums of 2n
/// products each, with a factor √2 for both, and a division or a subtraction behind.
const SLOPPINESS: f64 = 8.0;

/// Partial sums of a scalar product, so that the processor can add several at once.
const LANES: usize = 8;

/// How far above the estimate of an eigenvalue the first bound is tried, relative to it.
const GAP: f64 = 1e-3;

/// Power iterations between two attempts to prove a bound.
const ROUNDS: usize = 40;

/// A complex matrix with no more rows than columns; real if there is no imaginary part.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Row-major.
    pub(super) re: Vec<f64>,
    /// Row-major, or empty.
    pub(super) im: Vec<f64>,
}

/// Σ a·conj(b) over two rows.
fn dot(a: (&[f64], &[f64]), b: (&[f64], &[f64])) -> (f64, f64) {
    if a.1.is_empty() {
        return (real_dot(a.0, b.0), 0.0);
    }
    let len = a.0.len();
    let (a_re, a_im, b_re, b_im) = (&a.0[..len], &a.1[..len], &b.0[..len], &b.1[..len]);
    let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
    let whole = len / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let k = at + lane;
            re[lane] += a_re[k] * b_re[k] + a_im[k] * b_im[k];
            im[lane] += a_im[k] * b_re[k] - a_re[k] * b_im[k];
        }
    }
    for k in whole..len {
        re[0] += a_re[k] * b_re[k] + a_im[k] * b_im[k];
        im[0] += a_im[k] * b_re[k] - a_re[k] * b_im[k];
    }
    (re.iter().sum(), im.iter().sum())
}

fn real_dot(a: &[f64], b: &[f64]) -> f64 {
    let len = a.len();
    let b = &b[..len];
    let mut sums = [0.0; LANES];
    let whole = len / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            sums[lane] += a[at + lane] * b[at + lane];
        }
    }
    for k in whole..len {
        sums[0] += a[k] * b[k];
    }
    sums.iter().sum()
}

impl Matrix {
    /// Row `i` from column 0 to before `end`.
    fn row(&self, i: usize, end: usize) -> (&[f64], &[f64]) {
        let range = i * self.columns..i * self.columns + end;
        (&self.re[range.clone()], if self.im.is_empty() { &[] } else { &self.im[range] })
    }

    /// A lower estimate of λ_max(B Bᴴ) by power iterations on `x`, of `rows` entries, which is left improved.
    pub(super) fn estimate(&self, x: &mut Vector, rounds: usize) -> f64 {
        let mut eigenvalue = 0.0;
        for _ in 0..rounds {
            // y = Bᴴ x, of which the conjugate is kept: conj(y) = Σ_i conj(x_i) B_i.
            let mut y = Vector { re: vec![0.0; self.columns], im: vec![0.0; self.columns] };
            for i in 0..self.rows {
                let (re, im) = self.row(i, self.columns);
                add_scaled(&mut y.re, x.re[i], re);
                add_scaled(&mut y.im, -x.im[i], re);
                if !im.is_empty() {
                    add_scaled(&mut y.re, x.im[i], im);
                    add_scaled(&mut y.im, x.re[i], im);
                }
            }
            let (of_x, of_y) = (x.norm_squared(), y.norm_squared());
            if of_x <= 0.0 || of_y <= 0.0 {
                return 0.0;
            }
            eigenvalue = of_y / of_x;
            let scale = 1.0 / of_y.sqrt();
            for i in 0..self.rows {
                let (re, im) = self.row(i, self.columns);
                let (a, b) = if im.is_empty() {
                    (real_dot(re, &y.re), -real_dot(re, &y.im))
                } else {
                    dot((re, im), (&y.re, &y.im))
                };
                (x.re[i], x.im[i]) = (a * scale, b * scale);
            }
        }
        eigenvalue
    }

    /// The lower triangle of B Bᴴ.
    fn gram(&self) -> Self {
        let n = self.rows;
        let mut gram = Self {
            rows: n,
            columns: n,
            re: vec![0.0; n * n],
            im: vec![0.0; if self.im.is_empty() { 0 } else { n * n }],
        };
        for i in 0..n {
            for j in 0..=i {
                let (re, im) = dot(self.row(i, self.columns), self.row(j, self.columns));
                gram.re[i * n + j] = re;
                if !gram.im.is_empty() {
                    gram.im[i * n + j] = im;
                }
            }
        }
        gram
    }

    /// Whether `t`·I minus this Hermitian matrix, given by its lower triangle, has a Cholesky factorisation.
    fn is_below(&self, t: f64) -> bool {
        let n = self.rows;
        let mut factor = self.clone();
        for i in 0..n {
            for j in 0..=i {
                let at = i * n + j;
                let (re, im) = dot(factor.row(i, j), factor.row(j, j));
                let (re, im) = (-self.re[at] - re, if self.im.is_empty() { 0.0 } else { -self.im[at] - im });
                if i == j {
                    let pivot = t + re;
                    if pivot.is_nan() || pivot <= 0.0 {
                        return false;
                    }
                    factor.re[at] = pivot.sqrt();
                    if !factor.im.is_empty() {
                        factor.im[at] = 0.0;
                    }
                } else {
                    let diagonal = factor.re[j * n + j];
                    factor.re[at] = re / diagonal;
                    if !factor.im.is_empty() {
                        factor.im[at] = im / diagonal;
                    }
                }
            }
        }
        true
    }

    fn norm_squared(&self) -> f64 {
        real_dot(&self.re, &self.re) + real_dot(&self.im, &self.im)
    }
}

/// A complex vector.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Vector {
    /// Where power iterations start: nothing special.
    pub(super) fn start(len: usize) -> Self {
        let wave = |step: f64| (0..len).map(|i| 1.0 + 0.5 * (step * i as f64).sin()).collect();
        Self { re: wave(1.7), im: wave(2.3) }
    }

    fn norm_squared(&self) -> f64 {
        real_dot(&self.re, &self.re) + real_dot(&self.im, &self.im)
    }
}

fn add_scaled(sum: &mut [f64], factor: f64, x: &[f64]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += factor * x;
    }
}

/// A number t such that the squares of the singular values of each of the matrices are proved to be at most t up to
/// [`margin`], and hardly larger than it must be. `None` once it is clear that t would not be below `enough`.
///
/// `make(i)` is the i-th of `count` matrices of one shape with `rows` rows.
pub(super) fn largest_square(count: usize, rows: usize, make: impl Fn(usize) -> Matrix, enough: f64) -> Option<f64> {
    // Those that look largest first: then the rest is below in most cases.
    let mut order: Vec<(f64, usize)> =
        (0..count).map(|i| (if count > 1 { make(i).estimate(&mut Vector::start(rows), 6) } else { 0.0 }, i)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut proved = 0.0;
    for (_, i) in order {
        let matrix = make(i);
        let frobenius_squared = matrix.norm_squared();
        if frobenius_squared == 0.0 {
            continue;
        }
        if !frobenius_squared.is_finite() {
            return Some(f64::INFINITY);
        }
        let gram = matrix.gram();
        if gram.is_below(proved) {
            continue;
        }
        let (mut x, mut gap) = (Vector::start(rows), GAP);
        loop {
            // The largest eigenvalue is at least the mean one.
            let estimate = matrix.estimate(&mut x, ROUNDS).max(frobenius_squared / rows as f64);
            let bound = (estimate * (1.0 + gap)).max(proved);
            if bound >= enough {
                return None;
            }
            if gram.is_below(bound) {
                proved = bound;
                break;
            }
            gap *= 1.5;
        }
    }
    Some(proved)
}

/// How much the largest square of a singular value may exceed a t from [`largest_square`], for matrices of this shape
/// whose Frobenius norm is at most √`frobenius_squared`: errors of the Cholesky factorisation (the trace of t·I − B Bᴴ
/// is at most rows·t) and of the Gram matrix.
pub(super) fn margin(t: f64, rows: usize, columns: usize, frobenius_squared: f64) -> f64 {
    let of_sum = |terms: usize| SLOPPINESS * (terms + 4) as f64 * U;
    of_sum(rows) * rows as f64 * t + of_sum(columns) * frobenius_squared
}
