//! The method against the numbers of the published code, in the f64 interpreter.

#[path = "reference/block.rs"]
mod block;
#[path = "common/fixture.rs"]
mod fixture;
#[path = "reference/layers.rs"]
mod layers;
#[path = "reference/network.rs"]
mod network;

/// Largest relative error of values: the published code computed in f32, with sums of up to a few thousand terms.
const FORWARD: f64 = 1e-5;

/// Largest relative error of gradients: those through a log-determinant are sums of second derivatives whose terms
/// nearly cancel, and in f32 they keep three digits.
const GRADIENT: f64 = 1e-3;
