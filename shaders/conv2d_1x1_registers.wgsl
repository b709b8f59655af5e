// Convolution with a 1 × 1 kernel and stride 1, forward or in its input, for processors whose vectors run over
// invocations, and which have no use for workgroup memory.
//
// An invocation keeps 16 pixels of the result for each of eight channels in registers. Per source channel it loads 16
// pixels and 8 weights for 128 multiply-adds. All invocations of a workgroup have the same eight channels.
//
// `emit_row` is in lib/emit_four.wgsl or lib/emit_ones.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const TILES_X = (PIXELS + 15u) / 16u;
const TILES = BATCH * TILES_X;
const CHANNEL_TILES = (TO_CHANNELS + 7u) / 8u;
const SIZE = 64u;

// Sixteen neighbouring pixels of a channel.
struct Sixteen {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Four neighbouring pixels of a channel whose first pixel has number `start`. Those past its end are not stored.
fn load(start: u32, pixel: u32) -> vec4<f32> {
    let last = start + PIXELS - 1u;
    let at = start + pixel;
    return vec4(x[min(at, last)], x[min(at + 1u, last)], x[min(at + 2u, last)], x[min(at + 3u, last)]);
}

fn add(sum: Sixteen, source: Sixteen, weight: f32) -> Sixteen {
    let w = vec4(weight);
    return Sixteen(
        fma(w, source.a, sum.a), fma(w, source.b, sum.b), fma(w, source.c, sum.c), fma(w, source.d, sum.d),
    );
}

fn weight(to: u32, from_channel: u32, slab: u32) -> f32 {
    // A channel past the end computes the last one again and is not stored.
    let channel = min(to, TO_CHANNELS - 1u);
    return w[select(
        (slab * TO_CHANNELS + channel) * FROM_CHANNELS + from_channel,
        (slab * FROM_CHANNELS + from_channel) * TO_CHANNELS + channel,
        INPUT_GRAD != 0u,
    )];
}

fn store(sum: Sixteen, image: u32, slab: u32, channel: u32, pixel: u32) {
    let start = ((image * GROUPS + slab) * TO_CHANNELS + channel) * PIXELS;
    var fours = array<vec4<f32>, 4>(sum.a, sum.b, sum.c, sum.d);
    for (var k = 0u; k < 4u; k++) {
        let at = pixel + 4u * k;
        if (channel < TO_CHANNELS && at < PIXELS) {
            emit_row(start + at, min(4u, PIXELS - at), fours[k]);
        }
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
    let channel = group / GROUPS % CHANNEL_TILES * 8u;
    let image = tile / TILES_X;
    let pixel = tile % TILES_X * 16u;
    var start = (image * GROUPS + slab) * FROM_CHANNELS * PIXELS;

    let zero = Sixteen(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    var s0 = zero;
    var s1 = zero;
    var s2 = zero;
    var s3 = zero;
    var s4 = zero;
    var s5 = zero;
    var s6 = zero;
    var s7 = zero;
    for (var i = 0u; i < FROM_CHANNELS; i++) {
        let source = Sixteen(
            load(start, pixel), load(start, pixel + 4u), load(start, pixel + 8u), load(start, pixel + 12u),
        );
        s0 = add(s0, source, weight(channel, i, slab));
        s1 = add(s1, source, weight(channel + 1u, i, slab));
        s2 = add(s2, source, weight(channel + 2u, i, slab));
        s3 = add(s3, source, weight(channel + 3u, i, slab));
        s4 = add(s4, source, weight(channel + 4u, i, slab));
        s5 = add(s5, source, weight(channel + 5u, i, slab));
        s6 = add(s6, source, weight(channel + 6u, i, slab));
        s7 = add(s7, source, weight(channel + 7u, i, slab));
        start += PIXELS;
    }
    store(s0, image, slab, channel, pixel);
    store(s1, image, slab, channel + 1u, pixel);
    store(s2, image, slab, channel + 2u, pixel);
    store(s3, image, slab, channel + 3u, pixel);
    store(s4, image, slab, channel + 4u, pixel);
    store(s5, image, slab, channel + 5u, pixel);
    store(s6, image, slab, channel + 6u, pixel);
    store(s7, image, slab, channel + 7u, pixel);
}
