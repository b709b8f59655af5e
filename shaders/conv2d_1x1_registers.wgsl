// Convolution with a 1 × 1 kernel and stride 1, forward or in its input, for processors whose vectors run over
// invocations, and which have no use for workgroup memory.
//
// An invocation keeps 8 pixels of the result for each of four channels in registers. Per source channel it loads 8
// pixels and 4 weights for 32 multiply-adds. All invocations of a workgroup have the same four channels.
//
// `emit_row` is in lib/emit_four.wgsl or lib/emit_ones.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const TILES_X = (PIXELS + 7u) / 8u;
const TILES = BATCH * TILES_X;
const CHANNEL_TILES = (TO_CHANNELS + 3u) / 4u;
const SIZE = 64u;

// Four neighbouring pixels of a channel whose first pixel has number `start`. Those past its end are not stored.
fn load(start: u32, pixel: u32) -> vec4<f32> {
    let last = start + PIXELS - 1u;
    let at = start + pixel;
    return vec4(x[min(at, last)], x[min(at + 1u, last)], x[min(at + 2u, last)], x[min(at + 3u, last)]);
}

fn weight(to: u32, from_channel: u32, slab: u32) -> vec4<f32> {
    // A channel past the end computes the last one again and is not stored.
    let channel = min(to, TO_CHANNELS - 1u);
    return vec4(w[select(
        (slab * TO_CHANNELS + channel) * FROM_CHANNELS + from_channel,
        (slab * FROM_CHANNELS + from_channel) * TO_CHANNELS + channel,
        INPUT_GRAD != 0u,
    )]);
}

fn store(first: vec4<f32>, second: vec4<f32>, image: u32, slab: u32, channel: u32, pixel: u32) {
    if (channel >= TO_CHANNELS) {
        return;
    }
    let start = ((image * GROUPS + slab) * TO_CHANNELS + channel) * PIXELS;
    emit_row(start + pixel, min(4u, PIXELS - pixel), first);
    if (pixel + 4u < PIXELS) {
        emit_row(start + pixel + 4u, min(4u, PIXELS - pixel - 4u), second);
    }
}

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_group(wid, num);
    let tile = group / (GROUPS * CHANNEL_TILES) * SIZE + local;
    if (group >= grid.count || tile >= TILES) {
        return;
    }
    let slab = group % GROUPS; // of channels
    let channel = group / GROUPS % CHANNEL_TILES * 4u;
    let image = tile / TILES_X;
    let pixel = tile % TILES_X * 8u;
    var start = (image * GROUPS + slab) * FROM_CHANNELS * PIXELS;

    var a0 = vec4(0.0);
    var a1 = vec4(0.0);
    var b0 = vec4(0.0);
    var b1 = vec4(0.0);
    var c0 = vec4(0.0);
    var c1 = vec4(0.0);
    var d0 = vec4(0.0);
    var d1 = vec4(0.0);
    for (var i = 0u; i < FROM_CHANNELS; i++) {
        let first = load(start, pixel);
        let second = load(start, pixel + 4u);
        let a = weight(channel, i, slab);
        a0 = fma(a, first, a0);
        a1 = fma(a, second, a1);
        let b = weight(channel + 1u, i, slab);
        b0 = fma(b, first, b0);
        b1 = fma(b, second, b1);
        let c = weight(channel + 2u, i, slab);
        c0 = fma(c, first, c0);
        c1 = fma(c, second, c1);
        let d = weight(channel + 3u, i, slab);
        d0 = fma(d, first, d0);
        d1 = fma(d, second, d1);
        start += PIXELS;
    }
    store(a0, a1, image, slab, channel, pixel);
    store(b0, b1, image, slab, channel + 1u, pixel);
    store(c0, c1, image, slab, channel + 2u, pixel);
    store(d0, d1, image, slab, channel + 3u, pixel);
}
