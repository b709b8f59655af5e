//! Which kernels compute a matrix product, and how they are set up.

use super::conv2d::{GRID, emit_row, tiled_launch, to_u32};
use super::launch::Launch;
use super::program::Suits;
use crate::ops::conv2d::Precision;
use crate::ops::matmul::Geometry;
use crate::wgsl::wgsl;

/// The kernels that compute this product, the one expected to be fastest on a processor first. All of them add the
/// terms of a sum in the same order.
pub fn variants(g: &Geometry) -> Vec<Launch> {
    let product = Product {
        outer: g.batch,
        rows: g.m,
        columns: g.n,
        column_images: 1,
        inner: g.k,
        inner_images: 1,
        split_images: 1,
        transpose_a: g.transpose_a,
        transpose_b: g.transpose_b,
        a: [g.m * g.k, 0],
        b: [g.k * g.n, 0],
        c: [g.m * g.n, 0],
    };
    let mut all = product.variants(wgsl!("../../shaders/lib/operands_ab.wgsl"));
    if g.m.min(g.n).min(g.k) < THIN {
        all.extend(g.n.is_multiple_of(4).then(|| four(g)));
        all.push(each(g));
    }
    all.extend([tiled(g, 64), tiled(g, 32)]);
    all
}

const MATMUL: &str = wgsl!("../../shaders/matmul.wgsl");
const COLUMNS_BY_ONE: &str = wgsl!("../../shaders/lib/columns_by_one.wgsl");

/// Where an extent is below this, an element to an invocation is faster than tiles that are nearly empty.
const THIN: usize = 16;

/// A matrix product whose columns or inner axis run over several images.
pub(super) struct Product {
    /// Number of independent products.
    pub(super) outer: usize,
    /// Rows of A and C.
    pub(super) rows: usize,
    /// Columns of B and C in one image.
    pub(super) columns: usize,
    /// Number of images along the columns.
    pub(super) column_images: usize,
    /// Length of the contracted axis in one image.
    pub(super) inner: usize,
    /// Number of images along the contracted axis.
    pub(super) inner_images: usize,
    /// Number of images along the contracted axis that are summed together.
    pub(super) split_images: usize,
    /// Whether A has its rows next to each other, and not its inner axis.
    pub(super) transpose_a: bool,
    /// Whether B has its inner axis next to each other, and not its columns.
    pub(super) transpose_b: bool,
    /// Numbers between one independent product and the next, and between one image and the next.
    pub(super) a: [usize; 2],
    pub(super) b: [usize; 2],
    pub(super) c: [usize; 2],
}

impl Product {
    /// The tiled kernels that can compute it, given the declaration of the operands.
    pub(super) fn variants(&self, operands: &'static str) -> Vec<Launch> {
        // The kernel reads fours that begin at multiples of four; see there how it makes others of them. Every image
        // must begin at such a multiple, and the last of them end at one.
        let rows = self.rows.is_multiple_of(4);
        let fits = if self.inner.is_multiple_of(4) {
            // Filling up to fours is no use for the few columns of a product with a vector.
            let columns = self.columns.is_multiple_of(4) || self.columns * self.column_images >= 32;
            (rows || !self.transpose_a) && (columns || self.transpose_b)
        } else {
            !self.transpose_a && self.transpose_b && rows && self.columns.is_multiple_of(4)
        };
        let fits = fits && super::conv2d::HAS_SUBGROUPS;
        if fits { vec![self.subgroup(operands, false), self.subgroup(operands, true)] } else { Vec::new() }
    }

    fn splits(&self) -> usize {
        self.inner_images.div_ceil(self.split_images)
    }

    /// The kernel with four rows to a lane and 32 or 64 columns.
    fn subgroup(&self, operands: &'static str, wide: bool) -> Launch {
        let span = if self.transpose_b { self.columns } else { self.columns.next_multiple_of(4) };
        let columns = span * self.column_images;
        let tiles = self.rows.div_ceil(32) * columns.div_ceil(if wide { 64 } else { 32 });
        // Images of the result begin at multiples of their columns.
        let at_a_time = if !self.transpose_b && self.columns.is_multiple_of(4) { 4 } else { 1 };
        Launch {
            at_a_time,
            name: if wide { "subgroup64" } else { "subgroup32" }.into(),
            files: vec![GRID, operands, emit_row(at_a_time), wgsl!("../../shaders/matmul_subgroup.wgsl")],
            constants: to_u32(vec![
                ("OUTER", self.outer),
                ("ROWS", self.rows),
                ("COLUMNS", self.columns),
                ("COLUMN_IMAGES", self.column_images),
                ("INNER", self.inner),
                ("INNER_IMAGES", self.inner_images),
                ("SPLIT_STEPS", self.split_images * self.inner.div_ceil(4)),
                ("TRANSPOSE_A", self.transpose_a.into()),
                ("TRANSPOSE_B", self.transpose_b.into()),
                ("A_OUTER", self.a[0]),
                ("A_IMAGE", self.a[1]),
                ("A_STEP", if self.transpose_a { self.rows } else { self.inner }),
                ("B_OUTER", self.b[0]),
                ("B_IMAGE", self.b[1]),
                ("B_STEP", if self.transpose_b { self.inner } else { self.columns }),
                ("C_OUTER", self.c[0]),
                ("C_IMAGE", self.c[1]),
                ("C_SPLIT", self.outer * self.rows * self.columns),
                ("WIDE", wide.into()),
            ]),
            groups: (tiles * self.outer * self.splits()) as u32,
            workgroup_size: 8,
            workgroup_bytes: 0,
            suits: Suits::Subgroups(8),
        }
    }
}

/// The kernel that takes any extents, with an element to an invocation.
fn each(g: &Geometry) -> Launch {
    thin(g, "each", COLUMNS_BY_ONE, 1)
}

/// The same with four neighbouring columns to an invocation.
fn four(g: &Geometry) -> Launch {
    let columns = if g.transpose_b {
        wgsl!("../../shaders/lib/columns_by_four_transposed.wgsl")
    } else {
        wgsl!("../../shaders/lib/columns_by_four.wgsl")
    };
    thin(g, "four", columns, 4)
}

/// A launch of `lib/each.wgsl` with so many columns at a time.
fn thin(g: &Geometry, name: &str, columns: &'static str, at_a_time: usize) -> Launch {
    let workgroup_size = 16;
    Launch {
        name: name.into(),
        files: vec![GRID, MATMUL, columns, wgsl!("../../shaders/lib/each.wgsl")],
        constants: to_u32(constants(g)),
        at_a_time,
        groups: (g.batch * g.m * g.n / at_a_time).div_ceil(workgroup_size) as u32,
        workgroup_size: workgroup_size as u32,
        workgroup_bytes: 0,
        suits: Suits::Any,
    }
}

/// The kernel that takes any extents, with a tile of 32 or 64 rows and columns.
fn tiled(g: &Geometry, tile: usize) -> Launch {
    let groups = g.m.div_ceil(tile) * g.n.div_ceil(tile) * g.batch;
    tiled_launch(&[MATMUL, COLUMNS_BY_ONE], constants(g), tile, Precision::F32, groups)
}

/// The constants of `matmul.wgsl`.
fn constants(g: &Geometry) -> Vec<(&'static str, usize)> {
    vec![
        ("BATCH", g.batch),
        ("M", g.m),
        ("N", g.n),
        ("K", g.k),
        ("TRANSPOSE_A", g.transpose_a.into()),
        ("TRANSPOSE_B", g.transpose_b.into()),
    ]
}
