// Convolution of any geometry: one pixel × four output channels to an invocation.
//
// Simple on purpose: the tiled kernels take the common shapes, this one takes the rest.
// Neighbouring invocations are neighbouring pixels. x and w are read straight from storage.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const PIXELS = OUT_HEIGHT * OUT_WIDTH;
const CHANNEL_TILES = (OUT_CHANNELS + 3u) / 4u;

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
    let y0 = pixel / OUT_WIDTH * STRIDE;
    let x0 = pixel % OUT_WIDTH * STRIDE;
    let first = channel_tile * 4u;
    // Channels past the end compute the last one again; they are not stored.
    let last = OUT_CHANNELS - 1u;
    let filters = vec4(first, min(first + 1u, last), min(first + 2u, last), min(first + 3u, last));
    let w0 = (slab % GROUPS * OUT_CHANNELS + filters) * (IN_CHANNELS * KERNEL_HEIGHT * KERNEL_WIDTH);

    var sum = vec4(0.0);
    for (var i = 0u; i < IN_CHANNELS; i++) {
        for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
            // An unsigned difference that wraps is past the end as well.
            let row = y0 + ky - PAD_Y;
            for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
                let column = x0 + kx - PAD_X;
                let inside = row < HEIGHT && column < WIDTH;
                let at = ((slab * IN_CHANNELS + i) * HEIGHT + row) * WIDTH + column;
                let value = select(0.0, x[select(0u, at, inside)], inside);
                let tap = w0 + ((i * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + kx);
                sum = fma(vec4(value), vec4(w[tap.x], w[tap.y], w[tap.z], w[tap.w]), sum);
            }
        }
    }
    for (var c = 0u; c < min(4u, OUT_CHANNELS - first); c++) {
        emit((slab * OUT_CHANNELS + first + c) * PIXELS + pixel, sum[c]);
    }
}
