//! Every op, on every adapter, against the f64 interpreter.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod compare;

use common::on_every_adapter;
use compare::assert_agrees;
use iresnet::ops::samples::samples;

/// f32 rounding through one op: sums of up to some hundred terms, and transcendental functions, which WGSL lets drivers
/// compute to a few units in the last place only.
const TOLERANCE: f64 = 2e-5;

/// The seed of the sample values.
const SEED: u64 = 7;

#[test]
fn every_op_agrees_with_the_interpreter() {
    on_every_adapter(|gpu| {
        for sample in samples(SEED) {
            assert_agrees(gpu, &sample.name, &sample.graph, &sample.values, TOLERANCE);
        }
    });
}
