//! ActNorm: a learned scale and shift for each channel, initialised from data.
//!
//! y = exp(log_scale) · x + shift. It stands before the residual branch and outside of it, so it needs no Lipschitz
//! bound: its inverse is a formula. Its log-determinant is the sum of `log_scale`, once for every pixel.

use crate::graph::{Graph, NodeId};

/// Added to the variance during initialisation, as published.
const VARIANCE_FLOOR: f64 = 1e-5;

/// A vector over channels, ready to be broadcast against `x` of shape `[n, c, …]`.
pub(super) fn per_channel(g: &mut Graph, vector: NodeId, x: NodeId) -> NodeId {
    let mut shape = vec![1; g.shape(x).rank()];
    shape[1] = g.shape(vector).len();
    g.reshape(vector, shape)
}

/// exp(log_scale) · x + shift, for x of shape `[n, c, …]` and vectors `[c]`.
pub fn forward(g: &mut Graph, x: NodeId, log_scale: NodeId, shift: NodeId) -> NodeId {
    let scale = g.exp(log_scale);
    let scale = per_channel(g, scale, x);
    let shift = per_channel(g, shift, x);
    let scaled = g.mul(scale, x);
    g.add(scaled, shift)
}

/// (y - shift) · exp(-log_scale), the inverse of [`forward`].
pub fn inverse(g: &mut Graph, y: NodeId, log_scale: NodeId, shift: NodeId) -> NodeId {
    let negative = g.neg(log_scale);
    let scale = g.exp(negative);
    let scale = per_channel(g, scale, y);
    let shift = per_channel(g, shift, y);
    let centred = g.sub(y, shift);
    g.mul(centred, scale)
}

/// The same as (y - shift) / exp(log_scale), for the way back from what this very device computed. Its exponential may be
/// wrong by several units in the last place; as [`forward`] has multiplied by the same number, that cancels, where
/// exp(-log_scale) would add its own.
pub fn undo(g: &mut Graph, y: NodeId, log_scale: NodeId, shift: NodeId) -> NodeId {
    let scale = g.exp(log_scale);
    let scale = per_channel(g, scale, y);
    let shift = per_channel(g, shift, y);
    let centred = g.sub(y, shift);
    g.div(centred, scale)
}

/// Log-determinant of [`forward`] for one sample of x `[n, c, …]`: Σ log_scale times the number of pixels. A scalar.
pub fn log_det(g: &mut Graph, x: NodeId, log_scale: NodeId) -> NodeId {
    let pixels: usize = g.shape(x).extents()[2..].iter().product();
    let sum = g.sum_all(log_scale);
    g.scale(sum, pixels as f64)
}

/// The `log_scale` and `shift` that give `x` mean zero and variance one in every channel:
/// log_scale = -½ ln(var + 10⁻⁵) with the biased variance, shift = -mean · exp(log_scale).
pub fn initialize(g: &mut Graph, x: NodeId) -> (NodeId, NodeId) {
    let channels = g.shape(x)[1];
    let (mean, variance) = moments(g, x);
    let floored = g.add_scalar(variance, VARIANCE_FLOOR);
    let log = g.log(floored);
    let log_scale = g.scale(log, -0.5);
    let scale = g.exp(log_scale);
    let moved = g.mul(mean, scale);
    let shift = g.neg(moved);
    (g.reshape(log_scale, [channels]), g.reshape(shift, [channels]))
}

/// Mean and biased variance of each channel of `[n, c, …]`, of shape `[1, c, 1, …]`.
pub(super) fn moments(g: &mut Graph, x: NodeId) -> (NodeId, NodeId) {
    let shape = g.shape(x).clone();
    let axes: Vec<usize> = (0..shape.rank()).filter(|&axis| axis != 1).collect();
    let count = (shape.len() / shape[1]) as f64;
    let sum = g.sum_keep(x, &axes);
    let mean = g.scale(sum, 1.0 / count);
    // Two passes: the mean of squares minus the square of the mean loses all digits where the mean is large.
    let centred = g.sub(x, mean);
    let squares = g.square(centred);
    let sum = g.sum_keep(squares, &axes);
    (mean, g.scale(sum, 1.0 / count))
}
