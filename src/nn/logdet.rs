//! ln |det(I + J)| of a residual block y = a + F(a), J = dF/da, for each sample.
//!
//! * The power series tr ln(I + J) = Σₖ (-1)ᵏ⁺¹/k · tr(Jᵏ) [cut off](fn@series) after `terms` terms, with traces estimated
//!   by Hutchinson's probes: tr(Jᵏ) = E[⟨vᵀJᵏ, v⟩] (paper, equation 4 and algorithm 2). The cut-off makes it biased, the
//!   probes noisy; with Lip(F) = L the bias is at most [`truncation_bound`].
//! * The same value with [the gradient of a Neumann series](fn@neumann), whose memory does not grow with the terms.
//! * The series [cut off at random](fn@unbiased), each term weighted by how likely it is: right on average.
//! * The [exact](fn@exact) determinant, for a few dimensions: all rows of the Jacobian at once, eliminated inside the graph.
//!
//! All are ordinary graph nodes. Gradients of the first and last come from automatic differentiation through all terms,
//! as in the published code.

mod exact;
mod neumann;
mod series;
mod unbiased;

pub use exact::{EXACT_LIMIT, exact};
pub use neumann::neumann;
pub use series::series;
pub use unbiased::{Law, unbiased};

use super::linearised::Linearised;
use crate::graph::{Graph, NodeId};
use crate::random::Distribution;

/// How a log-determinant is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum LogDet {
    /// By the full Jacobian; blocks of at most [`EXACT_LIMIT`] dimensions.
    Exact,
    /// By the power series, differentiated through every term.
    Series {
        /// Number of terms.
        terms: usize,
        /// Number of probes that are averaged.
        samples: usize,
        /// What probes are drawn from: standard normal or Rademacher.
        probe: Distribution,
    },
    /// By the power series, the same value; its gradient by a Neumann series.
    Neumann {
        /// Number of terms.
        terms: usize,
        /// Number of probes that are averaged.
        samples: usize,
        /// What probes are drawn from: standard normal or Rademacher.
        probe: Distribution,
    },
    /// By the power series cut off at random; its gradient by a Neumann series cut off likewise.
    Unbiased {
        /// What the number of further terms is drawn from.
        law: Law,
        /// Number of terms that are always computed.
        exact_terms: usize,
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
            Self::Series { samples, .. } | Self::Neumann { samples, .. } | Self::Unbiased { samples, .. } => *samples,
        }
    }

    /// What probes are drawn from.
    pub fn distribution(&self) -> Option<Distribution> {
        match self {
            Self::Exact => None,
            Self::Series { probe, .. } | Self::Neumann { probe, .. } | Self::Unbiased { probe, .. } => Some(*probe),
        }
    }

    /// Whether the number of terms is drawn: a block then takes one key more.
    pub fn draws_terms(&self) -> bool {
        matches!(self, Self::Unbiased { .. })
    }

    /// A short description for labels.
    pub fn label(&self) -> String {
        match self {
            Self::Exact => "exact log-det".into(),
            Self::Series { terms, samples, .. } => format!("log-det of {terms} terms, {samples} probes"),
            Self::Neumann { terms, samples, .. } => {
                format!("log-det of {terms} terms, {samples} probes, Neumann gradient")
            }
            Self::Unbiased { law, exact_terms, samples, .. } => {
                format!("log-det of {exact_terms} and {} terms, {samples} probes", law.label())
            }
        }
    }

    /// ln |det(I + J)| for each sample, `[n]`, where J is the derivative of the branch at `point`. `uniform` `[1]`, a number
    /// in [0, 1), is given exactly where the number of terms [is drawn](Self::draws_terms).
    #[track_caller]
    pub fn of_residual(&self, g: &mut Graph, point: &Linearised, probes: &[NodeId], uniform: Option<NodeId>) -> NodeId {
        match self {
            Self::Exact => exact(g, point),
            Self::Series { terms, .. } => series(g, point.value(), point.at(), probes, *terms),
            Self::Neumann { terms, .. } => neumann(g, point, probes, *terms),
            Self::Unbiased { law, exact_terms, .. } => {
                let uniform = uniform.expect("a random number of terms needs a random number");
                unbiased(g, point, probes, uniform, *law, *exact_terms)
            }
        }
    }
}

/// The most by which cutting the series off after `terms` terms can be wrong, in nats, for a block of `dimension`
/// dimensions whose branch has Lipschitz constant `lipschitz` < 1: -d (ln(1-L) + Σ_{k≤terms} Lᵏ/k).
pub fn truncation_bound(dimension: usize, lipschitz: f64, terms: usize) -> f64 {
    let partial: f64 = (1..=terms).map(|k| lipschitz.powi(k as i32) / k as f64).sum();
    -(dimension as f64) * ((-lipschitz).ln_1p() + partial)
}
