//! Couplings: the first half of the channels stays as it is and decides what becomes of the others.
//!
//! Affine: y₂ = (x₂ + t) · s with s = sigmoid(r + 2), where (t, r) is what the network makes of the first half. s lies
//! between 0 and 1, near one at the start, so activations never explode. Additive: y₂ = x₂ + t. Of an odd number of
//! channels the smaller part is kept.

use crate::config::Coupling;
use crate::graph::{Graph, NodeId};
use crate::nn::residual::Branch;

/// Added to what becomes the scale: a network of zeros then gives sigmoid(2) ≈ 0.88.
const OFFSET: f64 = 2.0;

/// How many of so many channels are kept.
pub fn kept(channels: usize) -> usize {
    channels / 2
}

/// Channels that the network of a coupling of `channels` channels must give.
pub fn outputs(coupling: Coupling, channels: usize) -> usize {
    let moved = channels - kept(channels);
    match coupling {
        Coupling::Affine => 2 * moved,
        Coupling::Additive => moved,
    }
}

/// What a coupling gives.
pub struct Coupled {
    /// The changed sample.
    pub y: NodeId,
    /// The log-determinant `[n]`; none where it is zero.
    pub log_det: Option<NodeId>,
}

/// The coupling of `x` `[n, c, …]`.
#[track_caller]
pub fn forward(g: &mut Graph, x: NodeId, coupling: Coupling, network: &Branch, operands: &[NodeId]) -> Coupled {
    let [first, second] = halves(g, x);
    let change = Change::of(g, first, coupling, network, operands);
    let mut second = g.add(second, change.shift);
    let mut log_det = None;
    if let Some(raw) = change.raw {
        let scale = g.sigmoid(raw);
        second = g.mul(second, scale);
        // ln sigmoid(r) = -softplus(-r), also where sigmoid(r) is too small to be a number.
        let negative = g.neg(raw);
        let of_each = g.softplus(negative);
        let sum = g.sum_samples(of_each);
        log_det = Some(g.neg(sum));
    }
    Coupled { y: g.concat(&[first, second], 1), log_det }
}

/// The x of which [`forward`] makes `y`.
#[track_caller]
pub fn inverse(g: &mut Graph, y: NodeId, coupling: Coupling, network: &Branch, operands: &[NodeId]) -> NodeId {
    let [first, mut second] = halves(g, y);
    let change = Change::of(g, first, coupling, network, operands);
    if let Some(raw) = change.raw {
        let scale = g.sigmoid(raw);
        second = g.div(second, scale);
    }
    second = g.sub(second, change.shift);
    g.concat(&[first, second], 1)
}

/// What the second half is changed by.
struct Change {
    shift: NodeId,
    /// The sigmoid of this is the scale, if there is one.
    raw: Option<NodeId>,
}

impl Change {
    fn of(g: &mut Graph, first: NodeId, coupling: Coupling, network: &Branch, operands: &[NodeId]) -> Self {
        let out = network.forward(g, first, operands);
        if coupling == Coupling::Additive {
            return Self { shift: out, raw: None };
        }
        let channels = g.shape(out)[1];
        let shift = g.slice_axis(out, 1, 0, channels / 2);
        let raw = g.slice_axis(out, 1, channels / 2, channels);
        Self { shift, raw: Some(g.add_scalar(raw, OFFSET)) }
    }
}

fn halves(g: &mut Graph, x: NodeId) -> [NodeId; 2] {
    let channels = g.shape(x)[1];
    let kept = kept(channels);
    [g.slice_axis(x, 1, 0, kept), g.slice_axis(x, 1, kept, channels)]
}
