//! Batch normalisation of channels, with running statistics for evaluation.

use super::actnorm::{moments, per_channel};
use crate::graph::{Graph, NodeId};

/// Weight of the new batch in the running statistics (PyTorch's sense of momentum) in heads, as published.
pub const HEAD_MOMENTUM: f64 = 0.9;

/// The same in a ResNet: PyTorch's default.
pub const MOMENTUM: f64 = 0.1;

/// Added to variances.
pub(super) const VARIANCE_FLOOR: f64 = 1e-5;

/// Parameters and running statistics of a batch normalisation, vectors over channels.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Scale of the normalised channels.
    pub scale: NodeId,
    /// Shift of the normalised channels.
    pub shift: NodeId,
    /// Running mean.
    pub mean: NodeId,
    /// Running variance.
    pub variance: NodeId,
}

impl BatchNorm {
    /// `x` `[n, c, …]` normalised with the statistics of this batch, and the next running mean and variance `[c]`, in
    /// which this batch weighs `momentum`.
    #[track_caller]
    pub fn train(&self, g: &mut Graph, x: NodeId, momentum: f64) -> (NodeId, [NodeId; 2]) {
        let (mean, variance) = moments(g, x);
        let normal = self.apply(g, x, mean, variance);
        (normal, self.update(g, x, mean, variance, momentum))
    }

    /// `x` `[n, c, …]` normalised with the running statistics.
    #[track_caller]
    pub fn evaluate(&self, g: &mut Graph, x: NodeId) -> NodeId {
        let (mean, variance) = (per_channel(g, self.mean, x), per_channel(g, self.variance, x));
        self.apply(g, x, mean, variance)
    }

    /// `x` normalised with this mean and variance.
    fn apply(&self, g: &mut Graph, x: NodeId, mean: NodeId, variance: NodeId) -> NodeId {
        let floored = g.add_scalar(variance, VARIANCE_FLOOR);
        let std = g.sqrt(floored);
        let scale = per_channel(g, self.scale, x);
        let factor = g.div(scale, std);
        let centred = g.sub(x, mean);
        let scaled = g.mul(centred, factor);
        let shift = per_channel(g, self.shift, x);
        g.add(scaled, shift)
    }

    /// The running mean and variance `[c]` after a batch with these statistics.
    fn update(&self, g: &mut Graph, x: NodeId, mean: NodeId, variance: NodeId, momentum: f64) -> [NodeId; 2] {
        let shape = g.shape(x).clone();
        let count = (shape.len() / shape[1]) as f64;
        // Running variances are unbiased, the one that normalises is not, as in PyTorch.
        let unbiased = g.scale(variance, count / (count - 1.0).max(1.0));
        [(self.mean, mean), (self.variance, unbiased)].map(|(running, new)| {
            let new = g.reshape(new, [shape[1]]);
            let (kept, added) = (g.scale(running, 1.0 - momentum), g.scale(new, momentum));
            let next = g.add(kept, added);
            // A batch whose update is refused must not spoil the statistics for good.
            let finite = g.is_finite(next);
            g.select(finite, next, running)
        })
    }
}
