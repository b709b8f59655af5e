// Convolution of any geometry as the product of the weights with the pixels under them, for lib/tile.wgsl.
//
// Rows are output channels, the inner axis runs over input channels and taps, columns over images and output pixels.
// The matrix of pixels exists only in workgroup memory, a tile at a time.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const TAPS = KERNEL_HEIGHT * KERNEL_WIDTH;
const PIXELS = OUT_HEIGHT * OUT_WIDTH;
const OUTER = GROUPS;
const ROWS = OUT_CHANNELS;
const INNER = IN_CHANNELS * TAPS;
const INNER_PER_SPLIT = INNER;
const COLUMNS = BATCH * PIXELS;

fn fetch_a(outer: u32, row: u32, inner: u32) -> f32 {
    return w[(outer * ROWS + row) * INNER + inner];
}

fn fetch_b(outer: u32, inner: u32, column: u32) -> f32 {
    let pixel = column % PIXELS;
    let tap = inner % TAPS;
    // Unsigned differences that wrap are past the end as well.
    let y = pixel / OUT_WIDTH * STRIDE + tap / KERNEL_WIDTH - PAD_Y;
    let x0 = pixel % OUT_WIDTH * STRIDE + tap % KERNEL_WIDTH - PAD_X;
    if (y < HEIGHT && x0 < WIDTH) {
        let channel = (column / PIXELS * GROUPS + outer) * IN_CHANNELS + inner / TAPS;
        return x[(channel * HEIGHT + y) * WIDTH + x0];
    }
    return 0.0;
}

fn place(outer: u32, row: u32, column: u32, split: u32) -> u32 {
    return ((column / PIXELS * GROUPS + outer) * OUT_CHANNELS + row) * PIXELS + column % PIXELS;
}
