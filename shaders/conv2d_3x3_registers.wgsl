// Convolution with a 3 × 3 kernel and stride 1, forward or in its input, for processors whose vectors run over
// invocations, and which have no use for workgroup memory.
//
// An invocation keeps eight neighbouring pixels of the result for each of four channels in registers. Per source channel
// and row of the kernel it loads ten pixels and twelve weights for 96 multiply-adds. All invocations of a workgroup have
// the same four channels. The rows of the kernel are a loop, as a shader compiler may take seconds for all nine taps at
// once.
//
// `emit_row` is in lib/emit_four.wgsl or lib/emit_ones.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const TILES_X = (TO_WIDTH + 7u) / 8u;
const TILES = BATCH * TO_HEIGHT * TILES_X;
const CHANNEL_TILES = (TO_CHANNELS + 3u) / 4u;
const SIZE = 64u;

// Row `dy` of the kernel from a source channel to a channel of the result. A channel past the end computes the last one
// again and is not stored.
fn weights(to: u32, from_channel: u32, slab: u32, dy: u32) -> vec3<f32> {
    let channel = min(to, TO_CHANNELS - 1u);
    if (INPUT_GRAD != 0u) {
        // Transposed, and turned by half a turn.
        let at = ((slab * FROM_CHANNELS + from_channel) * TO_CHANNELS + channel) * 9u + 6u - dy * 3u;
        return vec3(w[at + 2u], w[at + 1u], w[at]);
    }
    let at = ((slab * TO_CHANNELS + channel) * FROM_CHANNELS + from_channel) * 9u + dy * 3u;
    return vec3(w[at], w[at + 1u], w[at + 2u]);
}

fn store(sum: vec4<f32>, image: u32, slab: u32, channel: u32, row: u32, column: u32) {
    if (channel < TO_CHANNELS && column < TO_WIDTH) {
        let plane = (image * GROUPS + slab) * TO_CHANNELS + channel;
        emit_row((plane * TO_HEIGHT + row) * TO_WIDTH + column, min(4u, TO_WIDTH - column), sum);
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
    let image = tile / (TO_HEIGHT * TILES_X);
    let row = tile / TILES_X % TO_HEIGHT;
    let column = tile % TILES_X * 8u;
    // Unsigned differences that wrap are past the end as well. What does not change is computed before the loops.
    let first = column - PAD_X;
    let in_p = vec4(first, first + 1u, first + 2u, first + 3u) < vec4(WIDTH);
    let in_q = vec4(first + 4u, first + 5u, first + 6u, first + 7u) < vec4(WIDTH);
    let in_r = vec2(first + 8u, first + 9u) < vec2(WIDTH);
    let p = select(vec4(0u), vec4(first, first + 1u, first + 2u, first + 3u), in_p);
    let q = select(vec4(0u), vec4(first + 4u, first + 5u, first + 6u, first + 7u), in_q);
    let r = select(vec2(0u), vec2(first + 8u, first + 9u), in_r);
    var plane = (image * GROUPS + slab) * FROM_CHANNELS * (HEIGHT * WIDTH);

    var a0 = vec4(0.0);
    var a1 = vec4(0.0);
    var b0 = vec4(0.0);
    var b1 = vec4(0.0);
    var c0 = vec4(0.0);
    var c1 = vec4(0.0);
    var d0 = vec4(0.0);
    var d1 = vec4(0.0);
    for (var i = 0u; i < FROM_CHANNELS; i++) {
        for (var dy = 0u; dy < 3u; dy++) {
            let source = row + dy - PAD_Y;
            let inside = source < HEIGHT;
            let at = plane + select(0u, source, inside) * WIDTH;
            let p0 = select(
                vec4(0.0), vec4(x[at + p.x], x[at + p.y], x[at + p.z], x[at + p.w]), in_p & vec4(inside),
            );
            let q0 = select(
                vec4(0.0), vec4(x[at + q.x], x[at + q.y], x[at + q.z], x[at + q.w]), in_q & vec4(inside),
            );
            let r0 = select(vec2(0.0), vec2(x[at + r.x], x[at + r.y]), in_r & vec2(inside));
            let p1 = vec4(p0.yzw, q0.x);
            let p2 = vec4(p0.zw, q0.xy);
            let q1 = vec4(q0.yzw, r0.x);
            let q2 = vec4(q0.zw, r0);
            let wa = weights(channel, i, slab, dy);
            a0 = fma(vec4(wa.z), p2, fma(vec4(wa.y), p1, fma(vec4(wa.x), p0, a0)));
            a1 = fma(vec4(wa.z), q2, fma(vec4(wa.y), q1, fma(vec4(wa.x), q0, a1)));
            let wb = weights(channel + 1u, i, slab, dy);
            b0 = fma(vec4(wb.z), p2, fma(vec4(wb.y), p1, fma(vec4(wb.x), p0, b0)));
            b1 = fma(vec4(wb.z), q2, fma(vec4(wb.y), q1, fma(vec4(wb.x), q0, b1)));
            let wc = weights(channel + 2u, i, slab, dy);
            c0 = fma(vec4(wc.z), p2, fma(vec4(wc.y), p1, fma(vec4(wc.x), p0, c0)));
            c1 = fma(vec4(wc.z), q2, fma(vec4(wc.y), q1, fma(vec4(wc.x), q0, c1)));
            let wd = weights(channel + 3u, i, slab, dy);
            d0 = fma(vec4(wd.z), p2, fma(vec4(wd.y), p1, fma(vec4(wd.x), p0, d0)));
            d1 = fma(vec4(wd.z), q2, fma(vec4(wd.y), q1, fma(vec4(wd.x), q0, d1)));
        }
        plane += HEIGHT * WIDTH;
    }
    store(a0, image, slab, channel, row, column);
    store(a1, image, slab, channel, row, column + 4u);
    store(b0, image, slab, channel + 1u, row, column);
    store(b1, image, slab, channel + 1u, row, column + 4u);
    store(c0, image, slab, channel + 2u, row, column);
    store(c1, image, slab, channel + 2u, row, column + 4u);
    store(d0, image, slab, channel + 3u, row, column);
    store(d1, image, slab, channel + 3u, row, column + 4u);
}
