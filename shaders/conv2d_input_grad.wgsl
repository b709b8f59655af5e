// Gradient of a convolution in its input, any geometry, in gather form: each invocation sums what reaches its own
// four channels of one input pixel, so there are no atomics and the result is the same in every run.

@group(0) @binding(0) var<storage, read> g: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const PIXELS = HEIGHT * WIDTH;
const CHANNEL_TILES = (IN_CHANNELS + 3u) / 4u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_group(wid, num);
    if (group >= grid.count) {
        return;
    }
    let flat = group * WORKGROUP + lane;
    let pixel = flat % PIXELS;
    let channel_tile = flat / PIXELS % CHANNEL_TILES;
    let slab = flat / (PIXELS * CHANNEL_TILES); // image · GROUPS + group of channels
    if (slab >= BATCH * GROUPS) {
        return;
    }
    let row = pixel / WIDTH;
    let column = pixel % WIDTH;
    let first = channel_tile * 4u;
    // Channels past the end compute the last one again; they are not stored.
    let last = IN_CHANNELS - 1u;
    let channels = vec4(first, min(first + 1u, last), min(first + 2u, last), min(first + 3u, last));

    var sum = vec4(0.0);
    for (var o = 0u; o < OUT_CHANNELS; o++) {
        let filters = ((slab % GROUPS * OUT_CHANNELS + o) * IN_CHANNELS + channels) * (KERNEL_HEIGHT * KERNEL_WIDTH);
        // Taps from last to first: the order in which the tiled kernels, which turn the weights, add them.
        for (var ty = 0u; ty < KERNEL_HEIGHT; ty++) {
            let ky = KERNEL_HEIGHT - 1u - ty;
            // out_row · STRIDE = row + PAD_Y - ky
            let y = row + PAD_Y - ky;
            for (var tx = 0u; tx < KERNEL_WIDTH; tx++) {
                let kx = KERNEL_WIDTH - 1u - tx;
                let x = column + PAD_X - kx;
                let inside = row + PAD_Y >= ky && column + PAD_X >= kx && y % STRIDE == 0u && x % STRIDE == 0u
                    && y / STRIDE < OUT_HEIGHT && x / STRIDE < OUT_WIDTH;
                let at = ((slab * OUT_CHANNELS + o) * OUT_HEIGHT + y / STRIDE) * OUT_WIDTH + x / STRIDE;
                let value = select(0.0, g[select(0u, at, inside)], inside);
                let tap = filters + (ky * KERNEL_WIDTH + kx);
                sum = fma(vec4(value), vec4(w[tap.x], w[tap.y], w[tap.z], w[tap.w]), sum);
            }
        }
    }
    for (var c = 0u; c < min(4u, IN_CHANNELS - first); c++) {
        emit((slab * IN_CHANNELS + first + c) * PIXELS + pixel, sum[c]);
    }
}
