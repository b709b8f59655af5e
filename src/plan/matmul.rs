//! Which kernels compute a matrix product, and how they are set up.

use super::launch::Launch;
use crate::ops::matmul::Geometry;

/// Invocations in a workgroup of the kernel that takes any extents.
const WORKGROUP: usize = 64;

/// The kernels that compute this product, the one expected to be fastest on a processor first. All of them add the
/// terms of a sum in the same order.
pub fn variants(g: &Geometry) -> Vec<Launch> {
    let invocations = g.batch * g.m * g.n.div_ceil(4);
    let mut constants = constants(g);
    constants.push(("WORKGROUP", WORKGROUP as u32));
    vec![Launch {
        name: "direct".into(),
        files: vec![include_str!("../../shaders/lib/grid.wgsl"), include_str!("../../shaders/matmul.wgsl")],
        constants,
        groups: invocations.div_ceil(WORKGROUP) as u32,
        workgroup_size: WORKGROUP as u32,
        workgroup_bytes: 0,
    }]
}

/// The extents as constants of a module.
fn constants(g: &Geometry) -> Vec<(&'static str, u32)> {
    [
        ("BATCH", g.batch),
        ("M", g.m),
        ("N", g.n),
        ("K", g.k),
        ("TRANSPOSE_A", g.transpose_a.into()),
        ("TRANSPOSE_B", g.transpose_b.into()),
    ]
    .map(|(name, value): (_, usize)| (name, u32::try_from(value).expect("extent of a matrix fits in 32 bits")))
    .to_vec()
}
