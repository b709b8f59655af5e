// Gradient of a convolution of any geometry in its weights, as a product for lib/tile.wgsl.
//
// Rows are output channels, columns run over input channels and taps, the inner axis over images and output pixels, of
// which each of SPLITS parts sums SPLIT_UNITS blocks. The parts are added afterwards, in order.
//
// Pixels are taken in the order of the 3 × 3 kernel, so that the bits are the same: in blocks of UNIT_HEIGHT rows of
// UNIT_WIDTH, by image, by row of blocks, by column of blocks.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> g: array<f32>;

const TAPS = KERNEL_HEIGHT * KERNEL_WIDTH;
const TILES_X = (OUT_WIDTH + UNIT_WIDTH - 1u) / UNIT_WIDTH;
const TILES_Y = (OUT_HEIGHT + UNIT_HEIGHT - 1u) / UNIT_HEIGHT;
const UNIT_PIXELS = UNIT_HEIGHT * UNIT_WIDTH;
const OUTER = GROUPS;
const ROWS = OUT_CHANNELS;
const COLUMNS = IN_CHANNELS * TAPS;
const INNER = BATCH * TILES_Y * TILES_X * UNIT_PIXELS;
const INNER_PER_SPLIT = SPLIT_UNITS * UNIT_PIXELS;

// Image, row and column of a pixel, and whether there is one.
fn pixel(inner: u32) -> vec4<u32> {
    let unit = inner / UNIT_PIXELS;
    let row = unit / TILES_X % TILES_Y * UNIT_HEIGHT + inner % UNIT_PIXELS / UNIT_WIDTH;
    let column = unit % TILES_X * UNIT_WIDTH + inner % UNIT_WIDTH;
    return vec4(unit / (TILES_X * TILES_Y), row, column, u32(row < OUT_HEIGHT && column < OUT_WIDTH));
}

fn fetch_a(outer: u32, row: u32, inner: u32) -> f32 {
    let at = pixel(inner);
    if (at.w != 0u) {
        return g[(((at.x * GROUPS + outer) * OUT_CHANNELS + row) * OUT_HEIGHT + at.y) * OUT_WIDTH + at.z];
    }
    return 0.0;
}

fn fetch_b(outer: u32, inner: u32, column: u32) -> f32 {
    let at = pixel(inner);
    let tap = column % TAPS;
    // Unsigned differences that wrap are past the end as well.
    let y = at.y * STRIDE + tap / KERNEL_WIDTH - PAD_Y;
    let x0 = at.z * STRIDE + tap % KERNEL_WIDTH - PAD_X;
    if (at.w != 0u && y < HEIGHT && x0 < WIDTH) {
        return x[(((at.x * GROUPS + outer) * IN_CHANNELS + column / TAPS) * HEIGHT + y) * WIDTH + x0];
    }
    return 0.0;
}

fn place(outer: u32, row: u32, column: u32, split: u32) -> u32 {
    return ((split * GROUPS + outer) * OUT_CHANNELS + row) * COLUMNS + column;
}
