//! Activation functions with slope at most one.
//!
//! A residual branch is a contraction when each of its layers is and its activations do not stretch. All functions here
//! have slopes in [-1, 1]. The log-determinant's gradient differentiates them twice: ELU, softplus and LipSwish have a
//! continuous first derivative; ReLU and MaxMin are piecewise linear, their second derivative is zero almost everywhere.

use crate::config::keys::words;
use crate::graph::{Graph, NodeId};

/// An elementwise (or, for MaxMin, pairwise) function of slope at most one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x where x > 0, else eˣ - 1. The paper's choice.
    #[default]
    Elu,
    /// ln(1 + eˣ)
    Softplus,
    /// max(x, 0)
    Relu,
    /// The larger elements of each pair of neighbouring channels, then the smaller ones (published as "sorting").
    MaxMin,
    /// x · sigmoid(softplus(β) x) / 1.1 with a learned β (Residual Flows).
    LipSwish,
}

words! { Activation: Elu "elu" Softplus "softplus" Relu "relu" MaxMin "maxmin" LipSwish "lipswish" }

/// β of LipSwish before training.
pub const LIPSWISH_BETA: f64 = 0.5;

/// The largest slope of x · sigmoid(x), rounded up: what LipSwish divides by.
const SWISH_SLOPE: f64 = 1.1;

impl Activation {
    /// Whether the function has a learned parameter β of shape `[1]`.
    pub fn has_beta(self) -> bool {
        self == Self::LipSwish
    }

    /// The function applied to `x`, whose axis 1 holds channels or features. `beta` is given exactly for functions that
    /// [have one](Self::has_beta).
    #[track_caller]
    pub fn apply(self, g: &mut Graph, x: NodeId, beta: Option<NodeId>) -> NodeId {
        assert_eq!(beta.is_some(), self.has_beta(), "{self:?} takes β: {}", self.has_beta());
        let zero = g.scalar_like(0.0, x);
        match self {
            Self::Elu => {
                // As a sum of clipped parts, so that no branch ever sees the exponential of a large number: a select of
                // x and eˣ - 1 would give inf · 0 in its derivative.
                let positive = g.max(x, zero);
                let negative = g.min(x, zero);
                let negative = g.expm1(negative);
                g.add(positive, negative)
            }
            Self::Softplus => g.softplus(x),
            // The zero first: the derivative at zero is then zero, as in PyTorch.
            Self::Relu => g.max(zero, x),
            Self::MaxMin => max_min(g, x),
            Self::LipSwish => {
                let beta = beta.expect("checked above");
                let steepness = g.softplus(beta);
                let steepness = broadcast_scalar(g, steepness, x);
                let inner = g.mul(steepness, x);
                let gate = g.sigmoid(inner);
                let swish = g.mul(x, gate);
                g.scale(swish, 1.0 / SWISH_SLOPE)
            }
        }
    }
}

/// A tensor of one element repeated to the shape of `like`.
pub(super) fn broadcast_scalar(g: &mut Graph, scalar: NodeId, like: NodeId) -> NodeId {
    let ones = vec![1; g.shape(like).rank()];
    let scalar = g.reshape(scalar, ones);
    g.broadcast_like(scalar, like)
}

#[track_caller]
fn max_min(g: &mut Graph, x: NodeId) -> NodeId {
    let shape = g.shape(x).clone();
    assert!(shape[1].is_multiple_of(2), "maxmin: {shape} has an odd number of channels");
    let mut paired = shape.extents().to_vec();
    paired[1] /= 2;
    paired.insert(2, 2);
    let pairs = g.reshape(x, paired);
    let mut half = shape.extents().to_vec();
    half[1] /= 2;
    let [first, second] = [0, 1].map(|which| {
        let part = g.slice_axis(pairs, 2, which, which + 1);
        g.reshape(part, half.clone())
    });
    let larger = g.max(first, second);
    let smaller = g.min(first, second);
    g.concat(&[larger, smaller], 1)
}
