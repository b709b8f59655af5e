//! Log-determinant estimators: values and gradients against the exact ones, and what they cost.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;
#[path = "common/program.rs"]
#[allow(dead_code, reason = "shared with the tests of the program, which use more of it")]
mod program;

#[path = "logdet/block.rs"]
mod block;
#[path = "logdet/network.rs"]
mod network;
#[path = "logdet/neumann.rs"]
mod neumann;
#[path = "logdet/program.rs"]
mod runs;
#[path = "logdet/unbiased.rs"]
mod unbiased;

/// The interpreter works in f64: what is equal in theory agrees nearly to its last digits.
const SAME: f64 = 1e-9;
