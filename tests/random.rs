//! The random numbers of a GPU are those of the host: the same bits for uniform and Rademacher numbers, and within a few
//! units of f32's last place for normal ones.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod compare;

use common::on_every_adapter;
use iresnet::gpu::Gpu;
use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::random::{Distribution, Key};

/// Numbers drawn in a test: several workgroups, and not a whole number of the generator's blocks.
const LEN: usize = 100_003;

/// Logarithm, root, sine and cosine each err by a unit or two in the last place; relative to the largest number, about 4.5.
const NORMAL_TOLERANCE: f64 = 4e-7;

/// Keys that use every bit of the seed, the step and the stream.
const KEYS: [Key; 3] = [
    Key { seed: 0, step: 0, stream: 0 },
    Key { seed: 0xffff_ffff_ffff, step: 0xff_ffff, stream: 0xff_ffff },
    Key { seed: 0x2718_2818_2845, step: 314_159, stream: 7 },
];

/// The interpreter draws with the host's generator.
fn assert_agrees(gpu: &Gpu, distribution: Distribution, tolerance: f64) {
    let mut graph = Graph::new();
    let words = graph.input("key", [4]);
    let numbers = graph.random(distribution, words, [LEN]);
    graph.output("numbers", numbers);
    for key in KEYS {
        let words = Array::new([4], key.numbers().map(f64::from).to_vec());
        compare::assert_agrees(gpu, &format!("{} of {key:?}", distribution.name()), &graph, &[words], tolerance);
    }
}

#[test]
fn uniform_and_rademacher_numbers_are_the_hosts_bit_for_bit() {
    on_every_adapter(|gpu| {
        assert_agrees(gpu, Distribution::Uniform, 0.0);
        assert_agrees(gpu, Distribution::Rademacher, 0.0);
    });
}

#[test]
fn normal_numbers_are_the_hosts() {
    on_every_adapter(|gpu| assert_agrees(gpu, Distribution::Normal, NORMAL_TOLERANCE));
}
