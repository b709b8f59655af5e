//! What tells classes apart: heads over activations of the network, and the loss. They stand outside of the invertible
//! part.
//!
//! A head looks at the activations of one or several scales. What it sees of each goes through an optional convolution,
//! batch normalisation, ReLU and an average over pixels; a linear layer over all of these features gives the logits. A
//! classifier's head sees the last activations, without convolution, as published; those of a hybrid model see every scale
//! (Chen et al., *Residual Flows*, section 5.2).

use super::actnorm::per_channel;
use super::batch_norm::BatchNorm;
use crate::graph::{Graph, NodeId};

/// How the activations of one scale become features.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Weight `[k, c, 3, 3]` of a convolution that comes first, if there is one.
    pub convolution: Option<NodeId>,
    /// The batch normalisation.
    pub norm: BatchNorm,
}

/// A head: scales, and the linear layer `[classes, features]`, `[classes]` over the features of all of them.
#[derive(Clone, Debug)]
pub struct Head {
    /// The scales, in order.
    pub scales: Vec<Scale>,
    /// Weight of a batch in the running statistics.
    pub momentum: f64,
    /// Weight of the linear layer.
    pub weight: NodeId,
    /// Bias of the linear layer.
    pub bias: NodeId,
}

impl Head {
    /// Logits `[n, classes]` of the activations `[n, c, h, w]` of each scale, with the statistics of this batch; also the
    /// new running mean and variance `[c]` of each scale.
    #[track_caller]
    pub fn train(&self, g: &mut Graph, seen: &[NodeId]) -> (NodeId, Vec<[NodeId; 2]>) {
        let mut statistics = Vec::new();
        let mut features = Vec::new();
        for (scale, x) in self.look(g, seen) {
            let (normal, next) = scale.norm.train(g, x, self.momentum);
            features.push(average(g, normal));
            statistics.push(next);
        }
        (self.logits(g, &features), statistics)
    }

    /// Logits `[n, classes]` of the activations `[n, c, h, w]` of each scale, with the running statistics.
    #[track_caller]
    pub fn evaluate(&self, g: &mut Graph, seen: &[NodeId]) -> NodeId {
        let mut features = Vec::new();
        for (scale, x) in self.look(g, seen) {
            let normal = scale.norm.evaluate(g, x);
            features.push(average(g, normal));
        }
        self.logits(g, &features)
    }

    /// The activations of each scale after its convolution.
    #[track_caller]
    fn look(&self, g: &mut Graph, seen: &[NodeId]) -> Vec<(Scale, NodeId)> {
        assert_eq!(seen.len(), self.scales.len(), "a head of {} scales was shown {}", self.scales.len(), seen.len());
        let look = |(&scale, &x): (&Scale, &NodeId)| {
            (scale, scale.convolution.map_or(x, |weight| g.conv2d(x, weight, 1, [1, 1], 1)))
        };
        self.scales.iter().zip(seen).map(look).collect()
    }

    fn logits(&self, g: &mut Graph, features: &[NodeId]) -> NodeId {
        let features = g.concat(features, 1);
        let product = g.linear(features, self.weight);
        let bias = per_channel(g, self.bias, product);
        g.add(product, bias)
    }
}

/// Features `[n, c]` of normalised activations `[n, c, h, w]`: positive parts, averaged over pixels.
fn average(g: &mut Graph, normal: NodeId) -> NodeId {
    let shape = g.shape(normal).clone();
    let zero = g.scalar_like(0.0, normal);
    let positive = g.max(zero, normal);
    let axes: Vec<usize> = (2..shape.rank()).collect();
    let pixels: usize = shape.extents()[2..].iter().product();
    let sum = g.sum(positive, &axes);
    g.scale(sum, 1.0 / pixels as f64)
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
