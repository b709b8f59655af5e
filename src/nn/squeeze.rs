//! Invertible rearrangements between blocks: squeeze, injective padding, factoring out.
//!
//! All of them only move elements, so their log-determinant is zero. Channel orders are those of the published code,
//! which checkpoints depend on; they differ from the orders of Glow and Residual Flows.

use crate::graph::{Graph, NodeId};

/// Space to depth: `[n, c, h, w]` to `[n, 4c, h/2, w/2]`. The pixel (2i + dy, 2j + dx) of channel k becomes pixel (i, j)
/// of channel (2 dy + dx) c + k.
#[track_caller]
pub fn squeeze(g: &mut Graph, x: NodeId) -> NodeId {
    let shape = g.shape(x).clone();
    assert!(shape.rank() == 4, "squeeze: needs images [n, c, h, w], got {shape}");
    let [n, c, h, w] = [0, 1, 2, 3].map(|axis| shape[axis]);
    assert!(h.is_multiple_of(2) && w.is_multiple_of(2), "squeeze: {shape} has an odd height or width");
    let blocks = g.reshape(x, [n, c, h / 2, 2, w / 2, 2]);
    let moved = g.permute(blocks, &[0, 3, 5, 1, 2, 4]);
    g.reshape(moved, [n, 4 * c, h / 2, w / 2])
}

/// Depth to space, the inverse of [`squeeze`].
#[track_caller]
pub fn unsqueeze(g: &mut Graph, x: NodeId) -> NodeId {
    let shape = g.shape(x).clone();
    assert!(shape.rank() == 4 && shape[1].is_multiple_of(4), "unsqueeze: {shape} does not have 4c channels");
    let [n, c, h, w] = [0, 1, 2, 3].map(|axis| shape[axis]);
    let blocks = g.reshape(x, [n, 2, 2, c / 4, h, w]);
    let moved = g.permute(blocks, &[0, 3, 4, 1, 5, 2]);
    g.reshape(moved, [n, c / 4, 2 * h, 2 * w])
}

/// Injective padding: `extra` channels of zeros behind the given ones.
pub fn pad_channels(g: &mut Graph, x: NodeId, extra: usize) -> NodeId {
    let rank = g.shape(x).rank();
    let mut high = vec![0; rank];
    high[1] = extra;
    g.pad(x, &vec![0; rank], &high)
}

/// Takes `extra` channels at the end away, the left inverse of [`pad_channels`].
pub fn drop_channels(g: &mut Graph, x: NodeId, extra: usize) -> NodeId {
    let kept = g.shape(x)[1] - extra;
    g.slice_axis(x, 1, 0, kept)
}

/// Splits channels into the first half, which goes to the prior, and the second half, which goes on.
#[track_caller]
pub fn factor_out(g: &mut Graph, x: NodeId) -> (NodeId, NodeId) {
    let channels = g.shape(x)[1];
    assert!(channels.is_multiple_of(2), "factor out: {} has an odd number of channels", g.shape(x));
    (g.slice_axis(x, 1, 0, channels / 2), g.slice_axis(x, 1, channels / 2, channels))
}
