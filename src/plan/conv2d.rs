//! Which kernels compute a convolution, and how they are set up.
//!
//! Every role has one kernel that takes any geometry and tiled ones that are faster where they fit. Within a role all
//! variants add the terms of a sum in the same order.

use super::launch::Launch;
use crate::ops::conv2d::{Geometry, Role};

/// Invocations in a workgroup of the kernels that take any geometry.
const WORKGROUP: usize = 64;

/// The kernels that compute this role of a convolution, the one expected to be fastest on a processor first.
pub fn variants(g: &Geometry, role: Role) -> Vec<Launch> {
    vec![direct(g, role)]
}

/// Into how many parts the sum over images and pixels is cut in the weight gradient, whose result then has as many
/// copies, `[splits, groups·out, in, kernel…]`, to be added in order. A function of the geometry alone, so that the
/// bits of a result do not depend on which variant is fastest.
pub fn weight_grad_splits(g: &Geometry) -> usize {
    // Enough work for about 4,096 invocations of a tiled kernel, each with at least four rows to sum.
    let tiles = (g.groups * g.out_channels.div_ceil(8) * g.in_channels).max(1);
    let rows = g.batch * g.out_height();
    4096_usize.div_ceil(tiles).min(rows.div_ceil(4)).max(1)
}

/// The kernel that takes any geometry.
fn direct(g: &Geometry, role: Role) -> Launch {
    let sets = g.batch * g.groups;
    let (file, invocations) = match role {
        Role::Output => (
            include_str!("../../shaders/conv2d.wgsl"),
            sets * g.out_channels.div_ceil(4) * g.out_height() * g.out_width(),
        ),
        Role::InputGrad => (
            include_str!("../../shaders/conv2d_input_grad.wgsl"),
            sets * g.in_channels.div_ceil(4) * g.height * g.width,
        ),
        Role::WeightGrad => (
            include_str!("../../shaders/conv2d_weight_grad.wgsl"),
            weight_grad_splits(g) * g.groups * g.out_channels * g.in_channels * g.kernel[0] * g.kernel[1],
        ),
    };
    let mut constants = constants(g);
    constants.push(("WORKGROUP", WORKGROUP as u32));
    if role == Role::WeightGrad {
        constants.push(("SPLITS", weight_grad_splits(g) as u32));
    }
    Launch {
        name: "direct".into(),
        files: vec![GRID, file],
        constants,
        groups: invocations.div_ceil(WORKGROUP) as u32,
        workgroup_size: WORKGROUP as u32,
        workgroup_bytes: 0,
    }
}

const GRID: &str = include_str!("../../shaders/lib/grid.wgsl");

/// The extents as constants of a module.
fn constants(g: &Geometry) -> Vec<(&'static str, u32)> {
    [
        ("BATCH", g.batch),
        ("GROUPS", g.groups),
        ("IN_CHANNELS", g.in_channels),
        ("OUT_CHANNELS", g.out_channels),
        ("HEIGHT", g.height),
        ("WIDTH", g.width),
        ("OUT_HEIGHT", g.out_height()),
        ("OUT_WIDTH", g.out_width()),
        ("KERNEL_HEIGHT", g.kernel[0]),
        ("KERNEL_WIDTH", g.kernel[1]),
        ("STRIDE", g.stride),
        ("PAD_Y", g.padding[0]),
        ("PAD_X", g.padding[1]),
    ]
    .map(|(name, value)| (name, u32::try_from(value).expect("extent of a convolution fits in 32 bits")))
    .to_vec()
}
