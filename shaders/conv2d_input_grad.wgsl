// Gradient of a convolution of any geometry in its input, as a product for lib/tile.wgsl.
//
// Rows are input channels, columns run over images and input pixels, the inner axis over output channels and taps, from
// the last tap to the first. It gathers: each input pixel looks for the output pixels that it reached, so there are no
// atomics and the result is the same in every run.

@group(0) @binding(0) var<storage, read> g: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const TAPS = KERNEL_HEIGHT * KERNEL_WIDTH;
const PIXELS = HEIGHT * WIDTH;
const OUTER = GROUPS;
const ROWS = IN_CHANNELS;
const INNER = OUT_CHANNELS * TAPS;
const INNER_PER_SPLIT = INNER;
const COLUMNS = BATCH * PIXELS;

fn fetch_a(outer: u32, row: u32, inner: u32) -> f32 {
    return w[((outer * OUT_CHANNELS + inner / TAPS) * IN_CHANNELS + row) * TAPS + TAPS - 1u - inner % TAPS];
}

fn fetch_b(outer: u32, inner: u32, column: u32) -> f32 {
    let pixel = column % PIXELS;
    let tap = TAPS - 1u - inner % TAPS;
    // The output pixel times the stride. Unsigned differences that wrap are past the end as well.
    let y = pixel / WIDTH + PAD_Y - tap / KERNEL_WIDTH;
    let x = pixel % WIDTH + PAD_X - tap % KERNEL_WIDTH;
    if (y % STRIDE == 0u && x % STRIDE == 0u && y < OUT_HEIGHT * STRIDE && x < OUT_WIDTH * STRIDE) {
        let channel = (column / PIXELS * GROUPS + outer) * OUT_CHANNELS + inner / TAPS;
        return g[(channel * OUT_HEIGHT + y / STRIDE) * OUT_WIDTH + x / STRIDE];
    }
    return 0.0;
}

fn place(outer: u32, row: u32, column: u32, split: u32) -> u32 {
    return ((column / PIXELS * GROUPS + outer) * IN_CHANNELS + row) * PIXELS + column % PIXELS;
}
