//! The method against the numbers of the published code, in the f64 interpreter and on every device.

#[path = "reference/block.rs"]
mod block;
mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "reference/device.rs"]
mod device;
#[path = "common/fixture.rs"]
mod fixture;
#[path = "reference/layers.rs"]
mod layers;
#[path = "reference/machine.rs"]
mod machine;
#[path = "reference/network.rs"]
mod network;
#[path = "common/state_file.rs"]
mod state_file;

/// Largest relative error of gradients: those through a log-determinant are sums of second derivatives whose terms
/// nearly cancel, and in f32 they keep three digits.
const GRADIENT: f64 = 1e-3;
