//! Which kernels compute a convolution, and how they are set up.
//!
//! Every role has a kernel that takes any geometry, tile by tile through workgroup memory as real GPUs like it, and
//! others that are faster on processors where they fit: with subgroups of eight, or with nothing but registers. Within a role all
//! variants add the terms of a sum in the same order: over channels, then over taps, for the output and the input
//! gradient; over blocks of pixels for the weight gradient, see `Blocks`.

use super::launch::Launch;
use super::matmul::Product;
use super::program::Suits;
use crate::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use crate::wgsl::wgsl;

/// Output channels of a workgroup by which the sum of the 3 × 3 weight gradient is cut into parts.
const WEIGHT_GRAD_CHANNELS: usize = 32;

/// The kernels that compute this role of a convolution, the one expected to be fastest on a processor first. With
/// [`Precision::F16`] there are more of them, which round the operands.
pub fn variants(op: &Conv2d) -> Vec<Launch> {
    let &Conv2d { role, geometry: ref g, precision } = op;
    let mut all = Vec::new();
    if g.kernel == [3, 3] && g.stride == 1 && g.padding[0] <= 2 && g.padding[1] <= 2 {
        match role {
            Role::Output | Role::InputGrad => {
                if HAS_SUBGROUPS {
                    all.push(rows_3x3(g, role).unwrap_or_else(|| subgroup_3x3(g, role)));
                }
                all.push(registers_3x3(g, role));
            }
            Role::WeightGrad if !HAS_SUBGROUPS => {}
            Role::WeightGrad => {
                if g.out_channels > 32 {
                    all.push(subgroup_3x3_weight_grad(g, 64));
                }
                all.push(subgroup_3x3_weight_grad(g, 32));
            }
        }
    }
    if g.kernel == [1, 1] && g.stride == 1 && g.padding == [0, 0] {
        all.extend(product(g, role).variants(wgsl!("../../shaders/lib/operands_ba.wgsl")));
        if role != Role::WeightGrad {
            all.push(registers_1x1(g, role));
        }
    }
    if precision == Precision::F16 && HAS_F16 {
        all.extend([64, 32].map(|tile| tiled(g, role, tile, Precision::F16)));
    }
    all.extend([64, 32].map(|tile| tiled(g, role, tile, Precision::F32)));
    all
}

/// Whether there are devices whose subgroups can be used: none in browsers, which are spared the text of these kernels.
pub(super) const HAS_SUBGROUPS: bool = cfg!(not(target_arch = "wasm32"));

/// Whether there are devices that are asked for half precision: none in browsers, where no large network is trained.
const HAS_F16: bool = cfg!(not(target_arch = "wasm32"));

/// Into how many parts the sum over images and pixels is cut in the weight gradient, whose result then has as many
/// copies, `[splits, groups·out, in, kernel…]`, to be added in order. A function of the geometry alone, so that the
/// bits of a result do not depend on which variant is fastest.
pub fn weight_grad_splits(g: &Geometry) -> usize {
    let blocks = Blocks::of(g);
    blocks.count.div_ceil(blocks.per_split)
}

/// The order of the sum over pixels in the weight gradient: by block, and row by row within a block.
struct Blocks {
    /// Height and width of a block.
    size: [usize; 2],
    /// Number of blocks in all images.
    count: usize,
    /// Number of blocks in one part of the sum.
    per_split: usize,
}

impl Blocks {
    fn of(g: &Geometry) -> Self {
        // For 3 × 3 kernels the blocks of the tiled kernel, of which it takes 64 pixels at a time; otherwise whole images.
        let tiled = g.kernel == [3, 3];
        let size = if tiled { [unit_height(g.out_height(), 16), 4] } else { [g.out_height(), g.out_width()] };
        let at_a_time = if tiled { 16 / size[0] } else { 1 };
        let count = g.batch * g.out_height().div_ceil(size[0]) * g.out_width().div_ceil(size[1]);
        let steps = count.div_ceil(at_a_time);
        // At least 128 workgroups of a tiled kernel, if each gets four steps or a thousand pixels to sum.
        let tiles = g.groups * g.in_channels.div_ceil(8) * g.out_channels.div_ceil(WEIGHT_GRAD_CHANNELS);
        let least = if tiled { 4 } else { 1024_usize.div_ceil(size[0] * size[1]) };
        let splits = 128_usize.div_ceil(tiles).min(steps / least).max(1);
        Self { size, count, per_split: steps.div_ceil(splits) * at_a_time }
    }
}

/// Rows in a unit of the 3 × 3 kernels, at most `most`, for images of this height: as few rows past the end as can be, and
/// then as large as can be.
fn unit_height(height: usize, most: usize) -> usize {
    let units = [16, 8, 4].into_iter().filter(|unit| *unit <= most);
    units.min_by_key(|unit| height.div_ceil(*unit) * unit).unwrap_or(4)
}

/// From which channels and pixels a 3 × 3 convolution computes which, in the direction of its role.
struct Direction {
    to: usize,
    to_size: [usize; 2],
    constants: Vec<(&'static str, usize)>,
    /// How many results can be stored at once.
    at_a_time: usize,
}

impl Direction {
    fn of(g: &Geometry, role: Role) -> Self {
        let grad = role == Role::InputGrad;
        let forth = (g.in_channels, g.height, g.width, g.padding);
        let back = (g.out_channels, g.out_height(), g.out_width(), [2 - g.padding[0], 2 - g.padding[1]]);
        let ((from, height, width, padding), (to, to_height, to_width, _)) =
            if grad { (back, forth) } else { (forth, back) };
        let constants = vec![
            ("BATCH", g.batch),
            ("GROUPS", g.groups),
            ("FROM_CHANNELS", from),
            ("TO_CHANNELS", to),
            ("HEIGHT", height),
            ("WIDTH", width),
            ("TO_HEIGHT", to_height),
            ("TO_WIDTH", to_width),
            ("PAD_Y", padding[0]),
            ("PAD_X", padding[1]),
            ("INPUT_GRAD", grad.into()),
        ];
        let at_a_time = if to_width.is_multiple_of(4) { 4 } else { 1 };
        Self { to, to_size: [to_height, to_width], constants, at_a_time }
    }
}

/// The 3 × 3 kernel with 4 × 8 pixels of four channels to an invocation, for the output or the input gradient.
fn registers_3x3(g: &Geometry, role: Role) -> Launch {
    let Direction { to, to_size: [height, width], constants, at_a_time } = Direction::of(g, role);
    let tiles = g.batch * height.div_ceil(4) * width.div_ceil(8);
    let files = vec![GRID, emit_row(at_a_time), wgsl!("../../shaders/conv2d_3x3_registers.wgsl")];
    registers_launch(files, constants, at_a_time, tiles.div_ceil(64) * to.div_ceil(4) * g.groups)
}

/// The 1 × 1 kernel with 8 pixels of four channels to an invocation, for the output or the input gradient.
fn registers_1x1(g: &Geometry, role: Role) -> Launch {
    let grad = role == Role::InputGrad;
    let (from, to) = if grad { (g.out_channels, g.in_channels) } else { (g.in_channels, g.out_channels) };
    let pixels = g.height * g.width;
    let constants = vec![
        ("BATCH", g.batch),
        ("GROUPS", g.groups),
        ("FROM_CHANNELS", from),
        ("TO_CHANNELS", to),
        ("PIXELS", pixels),
        ("INPUT_GRAD", grad.into()),
    ];
    let at_a_time = if pixels.is_multiple_of(4) { 4 } else { 1 };
    let tiles = g.batch * pixels.div_ceil(8);
    let files = vec![GRID, emit_row(at_a_time), wgsl!("../../shaders/conv2d_1x1_registers.wgsl")];
    registers_launch(files, constants, at_a_time, tiles.div_ceil(64) * to.div_ceil(4) * g.groups)
}

fn registers_launch(
    files: Vec<&'static str>,
    constants: Vec<(&'static str, usize)>,
    at_a_time: usize,
    groups: usize,
) -> Launch {
    Launch {
        name: "registers".into(),
        files,
        constants: to_u32(constants),
        at_a_time,
        groups: groups as u32,
        workgroup_size: 64,
        workgroup_bytes: 0,
        suits: Suits::Processors,
    }
}

/// The 3 × 3 kernel with a channel to a lane, for the output or the input gradient.
fn subgroup_3x3(g: &Geometry, role: Role) -> Launch {
    let Direction { to, to_size: [to_height, to_width], mut constants, at_a_time } = Direction::of(g, role);
    let unit = unit_height(to_height, 16);
    let units = g.batch * to_height.div_ceil(unit) * to_width.div_ceil(4);
    constants.push(("UNIT_HEIGHT", unit));
    let files = vec![
        GRID,
        emit_row(at_a_time),
        nine_weights(g),
        FILTER_WEIGHTS,
        wgsl!("../../shaders/conv2d_3x3_subgroup.wgsl"),
    ];
    let groups = units.div_ceil(16 / unit) * to.div_ceil(8) * g.groups;
    Launch { at_a_time, ..subgroup_launch("subgroup".into(), files, constants, groups) }
}

/// The same for images of rows that fill wide tiles, where pixels are loaded by fours.
fn rows_3x3(g: &Geometry, role: Role) -> Option<Launch> {
    let fours = match g.width {
        4 => 1,
        8 => 2,
        width if width.is_multiple_of(16) => 4,
        _ => return None,
    };
    if g.padding != [1, 1] {
        return None;
    }
    let Direction { to, to_size: [to_height, to_width], mut constants, at_a_time } = Direction::of(g, role);
    let tile_rows = 16 / fours;
    let unit = unit_height(to_height, tile_rows);
    let units = g.batch * to_height.div_ceil(unit) * (to_width / (4 * fours));
    constants.retain(|(name, _)| !name.starts_with("PAD"));
    constants.push(("UNIT_HEIGHT", unit));
    constants.push(("FOURS", fours));
    let files = vec![
        GRID,
        emit_row(at_a_time),
        nine_weights(g),
        FILTER_WEIGHTS,
        wgsl!("../../shaders/conv2d_3x3_rows_subgroup.wgsl"),
    ];
    let groups = units.div_ceil(tile_rows / unit) * to.div_ceil(8) * g.groups;
    Some(Launch { at_a_time, ..subgroup_launch("rows".into(), files, constants, groups) })
}

const FILTER_WEIGHTS: &str = wgsl!("../../shaders/lib/filter_weights.wgsl");

/// The file with `nine_weights`.
fn nine_weights(g: &Geometry) -> &'static str {
    if (g.groups * g.out_channels * g.in_channels * 9).is_multiple_of(4) {
        wgsl!("../../shaders/lib/weights_by_four.wgsl")
    } else {
        wgsl!("../../shaders/lib/weights_by_one.wgsl")
    }
}

/// The kernel of the 3 × 3 weight gradient with an input channel to a lane, which keeps the sums for so many output
/// channels.
fn subgroup_3x3_weight_grad(g: &Geometry, channels: usize) -> Launch {
    let blocks = Blocks::of(g);
    let mut constants = extents(g);
    constants.push(("UNIT_HEIGHT", blocks.size[0]));
    constants.push(("SPLIT_UNITS", blocks.per_split));
    constants.push(("CHANNELS", channels.min(g.out_channels)));
    // With both a multiple of four the padding is one, and pixels and gradients lie alike.
    let by_four = g.width.is_multiple_of(4) && g.out_width().is_multiple_of(4);
    let rows = if by_four {
        wgsl!("../../shaders/lib/rows_by_four.wgsl")
    } else {
        wgsl!("../../shaders/lib/rows_by_one.wgsl")
    };
    let files = vec![GRID, rows, wgsl!("../../shaders/conv2d_3x3_weight_grad_subgroup.wgsl")];
    let tiles = g.in_channels.div_ceil(8) * g.out_channels.div_ceil(channels) * g.groups;
    let launch = subgroup_launch(format!("subgroup{channels}"), files, constants, tiles * weight_grad_splits(g));
    // Three rows of three sums, padded to four, for each lane.
    Launch { workgroup_bytes: (3 * 16 * 8 * channels.min(g.out_channels)) as u32, ..launch }
}

/// A launch of a kernel that runs a workgroup as one subgroup of eight.
fn subgroup_launch(
    name: String,
    files: Vec<&'static str>,
    constants: Vec<(&'static str, usize)>,
    groups: usize,
) -> Launch {
    Launch {
        name,
        files,
        constants: to_u32(constants),
        at_a_time: 1,
        groups: groups as u32,
        workgroup_size: 8,
        workgroup_bytes: 0,
        suits: Suits::Subgroups(8),
    }
}

/// The matrix product that a 1 × 1 convolution is. Its first operand (A) is the second one of the convolution.
fn product(g: &Geometry, role: Role) -> Product {
    let pixels = g.height * g.width;
    let (i, o) = (g.in_channels, g.out_channels);
    match role {
        // y[o, p] = Σ_i w[o, i] x[i, p]
        Role::Output => Product {
            outer: g.groups,
            rows: o,
            columns: pixels,
            column_images: g.batch,
            inner: i,
            inner_images: 1,
            split_images: 1,
            transpose_a: false,
            transpose_b: false,
            a: [o * i, 0],
            b: [i * pixels, g.groups * i * pixels],
            c: [o * pixels, g.groups * o * pixels],
        },
        // dx[i, p] = Σ_o w[o, i] dy[o, p]
        Role::InputGrad => Product {
            outer: g.groups,
            rows: i,
            columns: pixels,
            column_images: g.batch,
            inner: o,
            inner_images: 1,
            split_images: 1,
            transpose_a: true,
            transpose_b: false,
            a: [o * i, 0],
            b: [o * pixels, g.groups * o * pixels],
            c: [i * pixels, g.groups * i * pixels],
        },
        // dw[o, i] = Σ_p dy[o, p] x[i, p]
        Role::WeightGrad => Product {
            outer: g.groups,
            rows: o,
            columns: i,
            column_images: 1,
            inner: pixels,
            inner_images: g.batch,
            split_images: Blocks::of(g).per_split,
            transpose_a: false,
            transpose_b: true,
            a: [o * pixels, g.groups * o * pixels],
            b: [i * pixels, g.groups * i * pixels],
            c: [o * i, 0],
        },
    }
}

/// The kernel that takes any geometry, with a tile of 32 or 64 rows and columns.
fn tiled(g: &Geometry, role: Role, tile: usize, precision: Precision) -> Launch {
    let mut constants = extents(g);
    let pixels = g.batch * g.height * g.width;
    let out_pixels = g.batch * g.out_height() * g.out_width();
    let (file, [rows, columns, splits]) = match role {
        Role::Output => (wgsl!("../../shaders/conv2d.wgsl"), [g.out_channels, out_pixels, 1]),
        Role::InputGrad => (wgsl!("../../shaders/conv2d_input_grad.wgsl"), [g.in_channels, pixels, 1]),
        Role::WeightGrad => {
            let blocks = Blocks::of(g);
            constants.push(("UNIT_HEIGHT", blocks.size[0]));
            constants.push(("UNIT_WIDTH", blocks.size[1]));
            constants.push(("SPLIT_UNITS", blocks.per_split));
            let columns = g.in_channels * g.kernel[0] * g.kernel[1];
            let file = wgsl!("../../shaders/conv2d_weight_grad.wgsl");
            (file, [g.out_channels, columns, weight_grad_splits(g)])
        }
    };
    let groups = rows.div_ceil(tile) * columns.div_ceil(tile) * g.groups * splits;
    tiled_launch(&[file], constants, tile, precision, groups)
}

/// A launch of `lib/tile.wgsl` with the operands of the given files.
pub(super) fn tiled_launch(
    operands: &[&'static str],
    mut constants: Vec<(&'static str, usize)>,
    tile: usize,
    precision: Precision,
    groups: usize,
) -> Launch {
    constants.push(("TILE", tile));
    let (suffix, stored, bytes, suits) = match precision {
        Precision::F32 => ("", wgsl!("../../shaders/lib/stored_f32.wgsl"), 4, Suits::Any),
        Precision::F16 => ("f16", wgsl!("../../shaders/lib/stored_f16.wgsl"), 2, Suits::F16),
    };
    let depth = if tile == 64 { 8 } else { 32 };
    Launch {
        name: format!("tile{tile}{suffix}"),
        files: [&[GRID], operands, &[stored, wgsl!("../../shaders/lib/tile.wgsl")]].concat(),
        constants: to_u32(constants),
        at_a_time: 1,
        groups: groups as u32,
        workgroup_size: 64,
        workgroup_bytes: (2 * tile * depth * bytes) as u32,
        suits,
    }
}

/// The file with `emit_row`, which hands over four neighbours so many at a time.
pub(super) fn emit_row(at_a_time: usize) -> &'static str {
    match at_a_time {
        4 => wgsl!("../../shaders/lib/emit_four.wgsl"),
        _ => wgsl!("../../shaders/lib/emit_ones.wgsl"),
    }
}

pub(super) const GRID: &str = wgsl!("../../shaders/lib/grid.wgsl");

/// The extents as constants of a module.
fn extents(g: &Geometry) -> Vec<(&'static str, usize)> {
    vec![
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
}

/// Constants of a module are `u32`.
pub(super) fn to_u32(constants: Vec<(&'static str, usize)>) -> Vec<(&'static str, u32)> {
    let narrow = |(name, value)| (name, u32::try_from(value).expect("extents fit in 32 bits"));
    constants.into_iter().map(narrow).collect()
}
