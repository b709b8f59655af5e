//! The power series cut off at random: right on average (Residual Flows, theorem 1).
//!
//! The number of terms is drawn, and each term is divided by how likely it is to be computed:
//! Σₖ (-1)ᵏ⁺¹/k · ⟨vᵀJᵏ, v⟩ · [k ≤ N] / P(N ≥ k). The first few terms are always computed, since they are the largest.
//! The gradient is that of a Neumann series with the same terms and weights (see [`neumann`](fn@super::neumann)), so
//! nothing is kept for the backward pass but the sum.
//!
//! With the geometric law the variance is bounded where Lip(F)² < 1 - p; Poisson's weights grow faster than any power, so there
//! only the cut-off at very unlikely numbers of terms bounds it. The first exact terms leave little to either.
//!
//! One program serves every N: the terms are an [iteration](crate::graph::Graph::iterate) that ends on the device when
//! the weight of the next one is zero.

use super::neumann::{neumann, next_product, surrogate};
use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::nn::linearised::Linearised;

/// What the number of terms beyond those that are always computed is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// P(N ≥ k) = (1 - p)ᵏ⁻¹ for k ≥ 1: there is always one.
    Geometric {
        /// p, the chance to stop after a term.
        probability: f64,
    },
    /// P(N = k) = λᵏ e^-λ / k! for k ≥ 0.
    Poisson {
        /// λ, the mean number.
        rate: f64,
    },
}

/// Uniform numbers on the device are multiples of this.
const RESOLUTION: f64 = 1.0 / 16_777_216.0;

impl Law {
    /// P(N ≥ k).
    pub fn at_least(self, k: usize) -> f64 {
        match self {
            Self::Geometric { .. } if k == 0 => 1.0,
            Self::Geometric { probability } => (1.0 - probability).powi(k as i32 - 1),
            Self::Poisson { rate } => {
                // The tail term by term: one less the sum of the others would leave nothing of a small one.
                let mut term = (-rate).exp();
                let mut tail = 0.0;
                for j in 1.. {
                    if j > k {
                        tail += term;
                    }
                    if j > k && term <= tail * f64::EPSILON {
                        break;
                    }
                    term *= rate / j as f64;
                }
                tail
            }
        }
    }

    /// The chances that term 1, 2, … is computed when `exact` terms always are. They are rounded to what the device's
    /// uniform numbers resolve, so that they are exactly the chances with which it computes terms; less likely ones do
    /// not exist.
    pub fn chances(self, exact: usize) -> Vec<f64> {
        let beyond =
            (1..).map(|k| (self.at_least(k) / RESOLUTION).round() * RESOLUTION).take_while(|&chance| chance > 0.0);
        std::iter::repeat_n(1.0, exact).chain(beyond).collect()
    }

    /// A short description for labels.
    pub fn label(self) -> String {
        match self {
            Self::Geometric { probability } => format!("geometric {probability}"),
            Self::Poisson { rate } => format!("Poisson {rate}"),
        }
    }
}

/// The estimate averaged over `probes` (shaped as the branch's input): `[n]`. `uniform` `[1]`, a number in [0, 1),
/// decides how many terms are computed; `exact` terms, at least one, always are.
#[track_caller]
pub fn unbiased(
    g: &mut Graph,
    point: &Linearised,
    probes: &[NodeId],
    uniform: NodeId,
    law: Law,
    exact: usize,
) -> NodeId {
    assert!(!probes.is_empty() && exact > 0, "the series needs at least one probe and one term");
    let chances = law.chances(exact);
    if chances.len() == 1 {
        return neumann(g, point, probes, 1);
    }
    // The first term has no product of its own; the loop has all others.
    let rounds = chances.len() - 1;
    let weights = weights(g, uniform, &chances);
    let round = round(g, point, rounds + 1);
    let mut total = None;
    for &probe in probes {
        let image = point.product(g, probe);
        let n = g.shape(probe)[0];
        let zero = g.constant(0.0, [n]);
        let mut arguments = vec![probe, probe, zero, weights, image];
        arguments.extend(point.arguments(g));
        let results = g.iterate(&round, 4, u32::try_from(rounds).expect("few terms"), &arguments);
        let first = surrogate(g, probe, results[1], image);
        let rest = g.stop_gradient(results[2]);
        let estimate = g.add(first, rest);
        total = Some(total.map_or(estimate, |total| g.add(total, estimate)));
    }
    let total = total.expect("at least one probe");
    g.scale(total, 1.0 / probes.len() as f64)
}

/// The weights of terms 2, 3, …, and a zero, `[2, rounds + 1]`: in the gradient's sum, and in the value, where term k is divided by k. Of
/// terms that are not computed they are zero.
fn weights(g: &mut Graph, uniform: NodeId, chances: &[f64]) -> NodeId {
    let rounds = chances.len() - 1;
    let index = g.iota([1, rounds], 1);
    let mut chance = g.constant(chances[1], [1, rounds]);
    for (round, &value) in chances[1..].iter().enumerate().skip(1) {
        let (at, value) = (g.constant(round as f64, [1, rounds]), g.constant(value, [1, rounds]));
        let here = g.equal(index, at);
        chance = g.select(here, value, chance);
    }
    let uniform = g.reshape(uniform, [1, 1]);
    let computed = g.less(uniform, chance);
    let weight = g.div(computed, chance);
    let number = g.add_scalar(index, 2.0);
    let of_value = g.div(weight, number);
    let weights = g.concat(&[weight, of_value], 0);
    g.pad(weights, &[0, 0], &[0, 1])
}

/// One round: (w, sum, value `[n]`, weights `[2, width]` | J v, linearised branch…) → (-Jᵀ w, the sum and the value with
/// this term, the weights of the next terms first, the weight of the next term).
fn round(g: &Graph, point: &Linearised, width: usize) -> FunctionRef {
    let mut body = Graph::new();
    let shape = g.shape(point.at()).clone();
    let [product, sum] = ["product", "sum"].map(|name| body.input(name, shape.clone()));
    let value = body.input("value", [shape[0]]);
    let weights = body.input("weights", [2, width]);
    let image = body.input("image", shape.clone());
    let point = point.as_inputs(g, &mut body);
    let next = next_product(&mut body, &point, product);
    let of_sum = body.slice(weights, &[0, 0], &[1, 1]);
    let of_sum = body.reshape(of_sum, vec![1; shape.rank()]);
    let weighted = body.mul(of_sum, next);
    let sum = body.add(sum, weighted);
    let inner = body.mul(next, image);
    let inner = body.sum_samples(inner);
    let of_value = body.slice(weights, &[1, 0], &[2, 1]);
    let of_value = body.reshape(of_value, [1]);
    let inner = body.mul(of_value, inner);
    let value = body.add(value, inner);
    let rest = body.slice(weights, &[0, 1], &[2, width]);
    let rest = body.pad(rest, &[0, 0], &[0, 1]);
    let more = body.slice(rest, &[0, 0], &[1, 1]);
    let more = body.reshape(more, [1]);
    for (name, node) in [("product", next), ("sum", sum), ("value", value), ("weights", rest), ("more", more)] {
        body.output(name, node);
    }
    Function::new("term", body)
}
