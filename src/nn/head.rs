//! The classifier's head: batch normalisation, ReLU, average over pixels, linear; and its loss. It stands outside of the
//! invertible part.

use super::actnorm::{moments, per_channel};
use crate::graph::{Graph, NodeId};

/// Weight of the new batch in the running statistics (PyTorch's sense of momentum), as published.
pub const MOMENTUM: f64 = 0.9;

/// Added to variances.
const VARIANCE_FLOOR: f64 = 1e-5;

/// Parameters and running statistics, vectors over channels, and the linear layer `[classes, c]`, `[classes]`.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Scale of the normalised channels.
    pub scale: NodeId,
    /// Shift of the normalised channels.
    pub shift: NodeId,
    /// Running mean.
    pub mean: NodeId,
    /// Running variance.
    pub variance: NodeId,
    /// Weight of the linear layer.
    pub weight: NodeId,
    /// Bias of the linear layer.
    pub bias: NodeId,
}

impl Head {
    /// Logits `[n, classes]` of features `[n, c, h, w]`, with the statistics of this batch; also the new running mean and
    /// variance `[c]`.
    pub fn train(&self, g: &mut Graph, x: NodeId) -> (NodeId, NodeId, NodeId) {
        let shape = g.shape(x).clone();
        let count = (shape.len() / shape[1]) as f64;
        let (mean, variance) = moments(g, x);
        let logits = self.logits(g, x, mean, variance);
        // Running variances are unbiased, the one that normalises is not, as in PyTorch.
        let unbiased = g.scale(variance, count / (count - 1.0).max(1.0));
        let mut mix = |running: NodeId, new: NodeId| {
            let new = g.reshape(new, [shape[1]]);
            let (kept, added) = (g.scale(running, 1.0 - MOMENTUM), g.scale(new, MOMENTUM));
            g.add(kept, added)
        };
        let (mean, variance) = (mix(self.mean, mean), mix(self.variance, unbiased));
        (logits, mean, variance)
    }

    /// Logits `[n, classes]` of features `[n, c, h, w]`, with the running statistics.
    pub fn evaluate(&self, g: &mut Graph, x: NodeId) -> NodeId {
        let (mean, variance) = (per_channel(g, self.mean, x), per_channel(g, self.variance, x));
        self.logits(g, x, mean, variance)
    }

    fn logits(&self, g: &mut Graph, x: NodeId, mean: NodeId, variance: NodeId) -> NodeId {
        let shape = g.shape(x).clone();
        let floored = g.add_scalar(variance, VARIANCE_FLOOR);
        let std = g.sqrt(floored);
        let scale = per_channel(g, self.scale, x);
        let factor = g.div(scale, std);
        let centred = g.sub(x, mean);
        let scaled = g.mul(centred, factor);
        let shift = per_channel(g, self.shift, x);
        let normal = g.add(scaled, shift);
        let zero = g.scalar_like(0.0, normal);
        let positive = g.max(zero, normal);
        let axes: Vec<usize> = (2..shape.rank()).collect();
        let pixels: usize = shape.extents()[2..].iter().product();
        let sum = g.sum(positive, &axes);
        let features = g.scale(sum, 1.0 / pixels as f64);
        let product = g.linear(features, self.weight);
        let bias = per_channel(g, self.bias, product);
        g.add(product, bias)
    }
}

/// What a classifier says about labelled samples, `[n]` each.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Cross-entropy in nats.
    pub loss: NodeId,
    /// Index of the largest logit, the first of equals.
    pub prediction: NodeId,
    /// 1 where the prediction is the label, else 0.
    pub correct: NodeId,
}

/// Cross-entropy and correctness of `logits` `[n, classes]` for `labels` `[n]`, class indices as numbers.
pub fn judge(g: &mut Graph, logits: NodeId, labels: NodeId) -> Verdict {
    let (n, classes) = (g.shape(logits)[0], g.shape(logits)[1]);
    let index = g.iota([n, classes], 1);
    let wide = g.reshape(labels, [n, 1]);
    let one_hot = g.equal(index, wide);
    // ln Σ eˡ = m + ln Σ eˡ⁻ᵐ with the largest logit m taken as a constant: its derivative cancels.
    let largest = g.max_keep(logits, &[1]);
    let largest = g.stop_gradient(largest);
    let shifted = g.sub(logits, largest);
    let exponentials = g.exp(shifted);
    let total = g.sum(exponentials, &[1]);
    let log_total = g.log(total);
    let chosen = g.mul(one_hot, shifted);
    let chosen = g.sum(chosen, &[1]);
    let loss = g.sub(log_total, chosen);
    // The first index that reaches the maximum, as the negated maximum of negated indices.
    let reaches = g.equal(logits, largest);
    let last = g.constant(classes as f64, [n, classes]);
    let candidates = g.select(reaches, index, last);
    let negated = g.neg(candidates);
    let first = g.max_over(negated, &[1]);
    let prediction = g.neg(first);
    let correct = g.equal(prediction, labels);
    Verdict { loss, prediction, correct }
}
