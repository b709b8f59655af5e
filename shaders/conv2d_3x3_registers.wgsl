// Convolution with a 3 × 3 kernel and stride 1, forward or in its input, for processors whose vectors run over
// invocations, and which have no use for workgroup memory.
//
// An invocation keeps four rows of eight neighbouring pixels of the result for each of four channels in registers. Per
// source channel it loads six rows of ten pixels and four times nine weights for 1,152 multiply-adds. All invocations of a
// workgroup have the same four channels.
//
// `emit_row` is in lib/emit_four.wgsl or lib/emit_ones.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;

const TILES_X = (TO_WIDTH + 7u) / 8u;
const TILES_Y = (TO_HEIGHT + 3u) / 4u;
const TILES = BATCH * TILES_Y * TILES_X;
const CHANNEL_TILES = (TO_CHANNELS + 3u) / 4u;
const SIZE = 64u;

// Eight neighbouring numbers of a row.
struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Pixels to the left of eight results, above or below them, and to their right.
struct Row {
    left: Eight,
    same: Eight,
    right: Eight,
}

// Which columns the ten pixels of a row are in, and whether they are in the image.
struct Columns {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec2<u32>,
    has_a: vec4<bool>,
    has_b: vec4<bool>,
    has_c: vec2<bool>,
}

fn columns_from(first: u32) -> Columns {
    let a = vec4(first, first + 1u, first + 2u, first + 3u);
    let b = a + 4u;
    let c = a.xy + 8u;
    // An unsigned difference that wraps is past the end as well.
    let has_a = a < vec4(WIDTH);
    let has_b = b < vec4(WIDTH);
    let has_c = c < vec2(WIDTH);
    return Columns(
        select(vec4(0u), a, has_a), select(vec4(0u), b, has_b), select(vec2(0u), c, has_c), has_a, has_b, has_c,
    );
}

fn fetch(plane: u32, row: u32, at: Columns) -> Row {
    let inside = row < HEIGHT;
    let start = plane + select(0u, row, inside) * WIDTH;
    let a = select(
        vec4(0.0),
        vec4(x[start + at.a.x], x[start + at.a.y], x[start + at.a.z], x[start + at.a.w]),
        at.has_a & vec4(inside),
    );
    let b = select(
        vec4(0.0),
        vec4(x[start + at.b.x], x[start + at.b.y], x[start + at.b.z], x[start + at.b.w]),
        at.has_b & vec4(inside),
    );
    let c = select(vec2(0.0), vec2(x[start + at.c.x], x[start + at.c.y]), at.has_c & vec2(inside));
    return Row(Eight(a, b), Eight(vec4(a.yzw, b.x), vec4(b.yzw, c.x)), Eight(vec4(a.zw, b.xy), vec4(b.zw, c)));
}

// From a source channel to a channel of the result. A channel past the end computes the last one again and is not stored.
fn weights(to: u32, from_channel: u32, slab: u32) -> mat3x3<f32> {
    let channel = min(to, TO_CHANNELS - 1u);
    if (INPUT_GRAD != 0u) {
        // Transposed, and turned by half a turn.
        let at = ((slab * FROM_CHANNELS + from_channel) * TO_CHANNELS + channel) * 9u;
        return mat3x3(
            w[at + 8u], w[at + 7u], w[at + 6u], w[at + 5u], w[at + 4u], w[at + 3u], w[at + 2u], w[at + 1u], w[at],
        );
    }
    let at = ((slab * TO_CHANNELS + channel) * FROM_CHANNELS + from_channel) * 9u;
    return mat3x3(
        w[at], w[at + 1u], w[at + 2u], w[at + 3u], w[at + 4u], w[at + 5u], w[at + 6u], w[at + 7u], w[at + 8u],
    );
}

fn row_of_taps(sum: Eight, row: Row, w: vec3<f32>) -> Eight {
    return Eight(
        fma(vec4(w.z), row.right.a, fma(vec4(w.y), row.same.a, fma(vec4(w.x), row.left.a, sum.a))),
        fma(vec4(w.z), row.right.b, fma(vec4(w.y), row.same.b, fma(vec4(w.x), row.left.b, sum.b))),
    );
}

fn taps(sum: Eight, above: Row, same: Row, below: Row, w: mat3x3<f32>) -> Eight {
    return row_of_taps(row_of_taps(row_of_taps(sum, above, w[0]), same, w[1]), below, w[2]);
}

// Stores a channel's four rows.
fn store(rows: array<Eight, 4>, image: u32, slab: u32, channel: u32, first_row: u32, column: u32) {
    if (channel >= TO_CHANNELS) {
        return;
    }
    let plane = (image * GROUPS + slab) * TO_CHANNELS + channel;
    var sums = rows;
    for (var k = 0u; k < 4u && first_row + k < TO_HEIGHT; k++) {
        let start = (plane * TO_HEIGHT + first_row + k) * TO_WIDTH + column;
        emit_row(start, min(4u, TO_WIDTH - column), sums[k].a);
        if (column + 4u < TO_WIDTH) {
            emit_row(start + 4u, min(4u, TO_WIDTH - column - 4u), sums[k].b);
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
    let channel = group / GROUPS % CHANNEL_TILES * 4u;
    let image = tile / (TILES_Y * TILES_X);
    let row = tile / TILES_X % TILES_Y * 4u;
    let column = tile % TILES_X * 8u;
    let columns = columns_from(column - PAD_X);
    let first = row - PAD_Y;
    var plane = (image * GROUPS + slab) * FROM_CHANNELS * (HEIGHT * WIDTH);

    let zero = Eight(vec4(0.0), vec4(0.0));
    // Channels a to d, rows 0 to 3.
    var a0 = zero;
    var a1 = zero;
    var a2 = zero;
    var a3 = zero;
    var b0 = zero;
    var b1 = zero;
    var b2 = zero;
    var b3 = zero;
    var c0 = zero;
    var c1 = zero;
    var c2 = zero;
    var c3 = zero;
    var d0 = zero;
    var d1 = zero;
    var d2 = zero;
    var d3 = zero;
    for (var i = 0u; i < FROM_CHANNELS; i++) {
        let a = weights(channel, i, slab);
        let b = weights(channel + 1u, i, slab);
        let c = weights(channel + 2u, i, slab);
        let d = weights(channel + 3u, i, slab);
        let r0 = fetch(plane, first, columns);
        let r1 = fetch(plane, first + 1u, columns);
        let r2 = fetch(plane, first + 2u, columns);
        a0 = taps(a0, r0, r1, r2, a);
        b0 = taps(b0, r0, r1, r2, b);
        c0 = taps(c0, r0, r1, r2, c);
        d0 = taps(d0, r0, r1, r2, d);
        let r3 = fetch(plane, first + 3u, columns);
        a1 = taps(a1, r1, r2, r3, a);
        b1 = taps(b1, r1, r2, r3, b);
        c1 = taps(c1, r1, r2, r3, c);
        d1 = taps(d1, r1, r2, r3, d);
        let r4 = fetch(plane, first + 4u, columns);
        a2 = taps(a2, r2, r3, r4, a);
        b2 = taps(b2, r2, r3, r4, b);
        c2 = taps(c2, r2, r3, r4, c);
        d2 = taps(d2, r2, r3, r4, d);
        let r5 = fetch(plane, first + 5u, columns);
        a3 = taps(a3, r3, r4, r5, a);
        b3 = taps(b3, r3, r4, r5, b);
        c3 = taps(c3, r3, r4, r5, c);
        d3 = taps(d3, r3, r4, r5, d);
        plane += HEIGHT * WIDTH;
    }
    store(array<Eight, 4>(a0, a1, a2, a3), image, slab, channel, row, column);
    store(array<Eight, 4>(b0, b1, b2, b3), image, slab, channel + 1u, row, column);
    store(array<Eight, 4>(c0, c1, c2, c3), image, slab, channel + 2u, row, column);
    store(array<Eight, 4>(d0, d1, d2, d3), image, slab, channel + 3u, row, column);
}
