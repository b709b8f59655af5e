//! ln |det(I + J)| of a residual block y = a + F(a), J = dF/da, for each sample.
//!
//! Two ways:
//! * the power series tr ln(I + J) = Σₖ (-1)ᵏ⁺¹/k · tr(Jᵏ) cut off after `terms` terms, with traces estimated by
//!   Hutchinson's probes: tr(Jᵏ) = E[⟨vᵀJᵏ, v⟩] (paper, equation 4 and algorithm 2). The cut-off makes it biased, the
//!   probes noisy; with Lip(F) = L the bias is at most -d (ln(1-L) + Σ_{k≤terms} Lᵏ/k).
//! * the exact determinant, for a few dimensions: the Jacobian row by row, eliminated inside the graph.
//!
//! Both are ordinary graph nodes, so their gradients come from automatic differentiation through all terms, as in the
//! published code. Estimators that bring a cheaper gradient of their own plug in one level up, as a block
//! [function with a derivative](crate::graph::Function::with_vjp).

use crate::graph::{Graph, NodeId};
use crate::random::Distribution;

/// More dimensions than this are not eliminated in the graph: it grows with their cube.
pub const EXACT_LIMIT: usize = 8;

/// How a log-determinant is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum LogDet {
    /// By the full Jacobian; blocks of at most [`EXACT_LIMIT`] dimensions.
    Exact,
    /// By the power series.
    Series {
        /// Number of terms.
        terms: usize,
        /// Number of probes that are averaged.
        samples: usize,
        /// What probes are drawn from: standard normal or Rademacher.
        probe: Distribution,
    },
}

impl LogDet {
    /// How many probes a block needs.
    pub fn samples(&self) -> usize {
        match self {
            Self::Exact => 0,
            Self::Series { samples, .. } => *samples,
        }
    }

    /// What probes are drawn from.
    pub fn distribution(&self) -> Option<Distribution> {
        match self {
            Self::Exact => None,
            Self::Series { probe, .. } => Some(*probe),
        }
    }

    /// A short description for labels.
    pub fn label(&self) -> String {
        match self {
            Self::Exact => "exact log-det".into(),
            Self::Series { terms, samples, .. } => format!("log-det of {terms} terms, {samples} probes"),
        }
    }

    /// ln |det(I + df/da)| for each sample, `[n]`, where `f` was computed from `a`; both `[n, …]`.
    pub fn of_residual(&self, g: &mut Graph, f: NodeId, a: NodeId, probes: &[NodeId]) -> NodeId {
        match self {
            Self::Exact => exact(g, f, a),
            Self::Series { terms, .. } => series(g, f, a, probes, *terms),
        }
    }
}

/// The first `terms` terms of the power series, averaged over `probes` (shaped as `a`): `[n]`.
#[track_caller]
pub fn series(g: &mut Graph, f: NodeId, a: NodeId, probes: &[NodeId], terms: usize) -> NodeId {
    assert!(!probes.is_empty() && terms > 0, "the series needs at least one probe and one term");
    let mut total = None;
    for &probe in probes {
        let mut product = probe;
        let mut weighted = None;
        for k in 1..=terms {
            product = g.vjp(&[(f, product)], &[a])[0];
            let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
            let term = g.scale(product, sign / k as f64);
            weighted = Some(weighted.map_or(term, |sum| g.add(sum, term)));
        }
        // Terms are added up before the inner product with the probe: one reduction instead of one a term.
        let weighted = weighted.expect("at least one term");
        let products = g.mul(weighted, probe);
        let estimate = g.sum_samples(products);
        total = Some(total.map_or(estimate, |sum| g.add(sum, estimate)));
    }
    let total = total.expect("at least one probe");
    g.scale(total, 1.0 / probes.len() as f64)
}

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

/// The most by which cutting the series off after `terms` terms can be wrong, in nats, for a block of `dimension`
/// dimensions whose branch has Lipschitz constant `lipschitz` < 1: -d (ln(1-L) + Σ_{k≤terms} Lᵏ/k).
pub fn truncation_bound(dimension: usize, lipschitz: f64, terms: usize) -> f64 {
    let partial: f64 = (1..=terms).map(|k| lipschitz.powi(k as i32) / k as f64).sum();
    -(dimension as f64) * ((-lipschitz).ln_1p() + partial)
}
