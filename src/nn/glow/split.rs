//! Splits: half of the channels leaves the flow, standardised by what the other half says of it.
//!
//! Of x = (out, rest) the first half is replaced by ε = (out - μ) / σ, where a convolution makes (μ, ln σ) of the rest
//! (of zeros at the start: μ = 0, σ = 1). So the conditional prior N(μ, σ²) of the factored-out numbers is part of the
//! flow, with -Σ ln σ in its log-determinant, and the prior over all latent numbers serves it as it serves an i-ResNet.

use crate::graph::{Graph, NodeId};
use crate::nn::actnorm::per_channel;
use crate::nn::param::{Init, Param};
use crate::nn::squeeze;

/// The convolution's weight and bias for images of `channels` channels, half of which leave.
pub fn operands(channels: usize) -> [Param; 2] {
    let half = channels / 2;
    let zeros = Init::Constant(0.0);
    [Param::parameter("weight", [2 * half, half, 3, 3], zeros), Param::parameter("bias", [2 * half], zeros)]
}

/// What a split gives.
pub struct Split {
    /// ε.
    pub out: NodeId,
    /// What goes on.
    pub rest: NodeId,
    /// -Σ ln σ, `[n]`.
    pub log_det: NodeId,
}

/// Splits `x` `[n, c, h, w]`.
#[track_caller]
pub fn forward(g: &mut Graph, x: NodeId, operands: [NodeId; 2]) -> Split {
    let (out, rest) = squeeze::factor_out(g, x);
    let [mean, log_std] = prior(g, rest, operands);
    let centred = g.sub(out, mean);
    let negative = g.neg(log_std);
    let precision = g.exp(negative);
    let out = g.mul(centred, precision);
    let log_det = g.sum_samples(negative);
    Split { out, rest, log_det }
}

/// The x that [`forward`] splits into `out` and `rest`.
#[track_caller]
pub fn inverse(g: &mut Graph, out: NodeId, rest: NodeId, operands: [NodeId; 2]) -> NodeId {
    let [mean, log_std] = prior(g, rest, operands);
    // By the number that `forward` multiplies with: what an exponential is off by cancels.
    let negative = g.neg(log_std);
    let precision = g.exp(negative);
    let spread = g.div(out, precision);
    let out = g.add(spread, mean);
    g.concat(&[out, rest], 1)
}

/// μ and ln σ of what leaves.
fn prior(g: &mut Graph, rest: NodeId, [weight, bias]: [NodeId; 2]) -> [NodeId; 2] {
    let both = g.conv2d(rest, weight, 1, [1, 1], 1);
    let bias = per_channel(g, bias, both);
    let both = g.add(both, bias);
    let channels = g.shape(both)[1];
    [g.slice_axis(both, 1, 0, channels / 2), g.slice_axis(both, 1, channels / 2, channels)]
}
