// Convolution with a 3 × 3 kernel and stride 1, forward or in its input, for processors that run a workgroup as one
// SIMD vector of eight.
//
// A lane is a channel of the result. It keeps 64 pixels of it, sixteen rows of four, in registers: as one unit of
// sixteen rows, two of eight or four of four, whatever suits the height of the image. Per source channel a lane reads
// its nine weights, which differ between lanes, while the pixels are the same for all lanes: each lane loads an eighth
// of them and hands it on with a broadcast. So there are 14 loads and those of the weights for 576 multiply-adds, and no
// barrier.
//
// `emit_row` is in lib/emit_four.wgsl or lib/emit_ones.wgsl, `filter_weights` in lib/filter_weights.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;

const LANES = 8u;
const UNITS = 16u / UNIT_HEIGHT; // in a workgroup
const TILES_X = (TO_WIDTH + 3u) / 4u;
const TILES_Y = (TO_HEIGHT + UNIT_HEIGHT - 1u) / UNIT_HEIGHT;
const UNIT_COUNT = BATCH * TILES_Y * TILES_X;
const CHANNEL_TILES = (TO_CHANNELS + LANES - 1u) / LANES;
// Source rows: every unit has one more above and below.
const ROWS = 16u + 2u * UNITS;
const OUTSIDE = 0xffffffffu;

// Six neighbouring pixels.
struct Row {
    a: vec4<f32>,
    b: vec2<f32>,
}

// Where pixel `q` of the source is: six to a row, the rows of all units after one another.
fn locate(q: u32, first_unit: u32) -> u32 {
    let row_of_all = q / 6u;
    let unit = first_unit + row_of_all / (UNIT_HEIGHT + 2u);
    let image = unit / (TILES_Y * TILES_X);
    // Unsigned differences that wrap are past the end as well.
    let row = unit / TILES_X % TILES_Y * UNIT_HEIGHT + row_of_all % (UNIT_HEIGHT + 2u) - PAD_Y;
    let column = unit % TILES_X * 4u + q % 6u - PAD_X;
    let inside = row_of_all < ROWS && unit < UNIT_COUNT && row < HEIGHT && column < WIDTH;
    return select(OUTSIDE, (image * (GROUPS * FROM_CHANNELS) * HEIGHT + row) * WIDTH + column, inside);
}

fn fetch(at: u32, channel: u32) -> f32 {
    return select(0.0, x[select(0u, at + channel * (HEIGHT * WIDTH), at != OUTSIDE)], at != OUTSIDE);
}

// Four rows out of three loads.
fn spread(u: f32, v: f32, w: f32) -> array<Row, 4> {
    return array<Row, 4>(
        Row(
            vec4(
                subgroupBroadcast(u, 0u), subgroupBroadcast(u, 1u), subgroupBroadcast(u, 2u), subgroupBroadcast(u, 3u),
            ),
            vec2(subgroupBroadcast(u, 4u), subgroupBroadcast(u, 5u)),
        ),
        Row(
            vec4(
                subgroupBroadcast(u, 6u), subgroupBroadcast(u, 7u), subgroupBroadcast(v, 0u), subgroupBroadcast(v, 1u),
            ),
            vec2(subgroupBroadcast(v, 2u), subgroupBroadcast(v, 3u)),
        ),
        Row(
            vec4(
                subgroupBroadcast(v, 4u), subgroupBroadcast(v, 5u), subgroupBroadcast(v, 6u), subgroupBroadcast(v, 7u),
            ),
            vec2(subgroupBroadcast(w, 0u), subgroupBroadcast(w, 1u)),
        ),
        Row(
            vec4(
                subgroupBroadcast(w, 2u), subgroupBroadcast(w, 3u), subgroupBroadcast(w, 4u), subgroupBroadcast(w, 5u),
            ),
            vec2(subgroupBroadcast(w, 6u), subgroupBroadcast(w, 7u)),
        ),
    );
}

fn row_of_taps(sum: vec4<f32>, row: Row, w: vec3<f32>) -> vec4<f32> {
    let left = fma(vec4(w.x), row.a, sum);
    let middle = fma(vec4(w.y), vec4(row.a.yzw, row.b.x), left);
    return fma(vec4(w.z), vec4(row.a.zw, row.b), middle);
}

fn taps(sum: vec4<f32>, above: Row, same: Row, below: Row, w: mat3x3<f32>) -> vec4<f32> {
    return row_of_taps(row_of_taps(row_of_taps(sum, above, w[0]), same, w[1]), below, w[2]);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = grid_group(wid, num);
    if (group >= grid.count) {
        return;
    }
    let slab = group % GROUPS; // of channels
    let channel = group / GROUPS % CHANNEL_TILES * LANES + lane;
    let first_unit = group / (GROUPS * CHANNEL_TILES) * UNITS;
    // A channel past the end computes the last one again and is not stored.
    let filter_channel = min(channel, TO_CHANNELS - 1u);

    let at0 = locate(lane, first_unit);
    let at1 = locate(lane + 8u, first_unit);
    let at2 = locate(lane + 16u, first_unit);
    let at3 = locate(lane + 24u, first_unit);
    let at4 = locate(lane + 32u, first_unit);
    let at5 = locate(lane + 40u, first_unit);
    let at6 = locate(lane + 48u, first_unit);
    let at7 = locate(lane + 56u, first_unit);
    let at8 = locate(lane + 64u, first_unit);
    let at9 = locate(lane + 72u, first_unit);
    let at10 = locate(lane + 80u, first_unit);
    let at11 = locate(lane + 88u, first_unit);
    let at12 = locate(lane + 96u, first_unit);
    let at13 = locate(lane + 104u, first_unit);
    let at14 = locate(lane + 112u, first_unit);
    let at15 = locate(lane + 120u, first_unit);
    let at16 = locate(lane + 128u, first_unit);
    let at17 = locate(lane + 136u, first_unit);

    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    var s4 = vec4(0.0);
    var s5 = vec4(0.0);
    var s6 = vec4(0.0);
    var s7 = vec4(0.0);
    var s8 = vec4(0.0);
    var s9 = vec4(0.0);
    var s10 = vec4(0.0);
    var s11 = vec4(0.0);
    var s12 = vec4(0.0);
    var s13 = vec4(0.0);
    var s14 = vec4(0.0);
    var s15 = vec4(0.0);
    for (var i = 0u; i < FROM_CHANNELS; i++) {
        let from_channel = slab * FROM_CHANNELS + i;
        let m = filter_weights(slab, filter_channel, i);
        var rows: array<Row, 24>;
        let q0 = spread(fetch(at0, from_channel), fetch(at1, from_channel), fetch(at2, from_channel));
        let q1 = spread(fetch(at3, from_channel), fetch(at4, from_channel), fetch(at5, from_channel));
        let q2 = spread(fetch(at6, from_channel), fetch(at7, from_channel), fetch(at8, from_channel));
        let q3 = spread(fetch(at9, from_channel), fetch(at10, from_channel), fetch(at11, from_channel));
        rows[0] = q0[0];
        rows[1] = q0[1];
        rows[2] = q0[2];
        rows[3] = q0[3];
        rows[4] = q1[0];
        rows[5] = q1[1];
        rows[6] = q1[2];
        rows[7] = q1[3];
        rows[8] = q2[0];
        rows[9] = q2[1];
        rows[10] = q2[2];
        rows[11] = q2[3];
        rows[12] = q3[0];
        rows[13] = q3[1];
        rows[14] = q3[2];
        rows[15] = q3[3];
        if (ROWS == 18u) {
            let q4 = spread(fetch(at12, from_channel), fetch(at13, from_channel), 0.0);
            rows[16] = q4[0];
            rows[17] = q4[1];
        } else {
            let q4 = spread(fetch(at12, from_channel), fetch(at13, from_channel), fetch(at14, from_channel));
            rows[16] = q4[0];
            rows[17] = q4[1];
            rows[18] = q4[2];
            rows[19] = q4[3];
        }
        if (ROWS == 24u) {
            let q5 = spread(fetch(at15, from_channel), fetch(at16, from_channel), fetch(at17, from_channel));
            rows[20] = q5[0];
            rows[21] = q5[1];
            rows[22] = q5[2];
            rows[23] = q5[3];
        }
        // Row k of the result lies under rows k, k + 1 and k + 2 of its unit, and each unit has two rows more.
        const R4 = 4u + 2u * (4u / UNIT_HEIGHT);
        const R8 = 8u + 2u * (8u / UNIT_HEIGHT);
        const R12 = 12u + 2u * (12u / UNIT_HEIGHT);
        s0 = taps(s0, rows[0], rows[1], rows[2], m);
        s1 = taps(s1, rows[1], rows[2], rows[3], m);
        s2 = taps(s2, rows[2], rows[3], rows[4], m);
        s3 = taps(s3, rows[3], rows[4], rows[5], m);
        s4 = taps(s4, rows[R4], rows[R4 + 1u], rows[R4 + 2u], m);
        s5 = taps(s5, rows[R4 + 1u], rows[R4 + 2u], rows[R4 + 3u], m);
        s6 = taps(s6, rows[R4 + 2u], rows[R4 + 3u], rows[R4 + 4u], m);
        s7 = taps(s7, rows[R4 + 3u], rows[R4 + 4u], rows[R4 + 5u], m);
        s8 = taps(s8, rows[R8], rows[R8 + 1u], rows[R8 + 2u], m);
        s9 = taps(s9, rows[R8 + 1u], rows[R8 + 2u], rows[R8 + 3u], m);
        s10 = taps(s10, rows[R8 + 2u], rows[R8 + 3u], rows[R8 + 4u], m);
        s11 = taps(s11, rows[R8 + 3u], rows[R8 + 4u], rows[R8 + 5u], m);
        s12 = taps(s12, rows[R12], rows[R12 + 1u], rows[R12 + 2u], m);
        s13 = taps(s13, rows[R12 + 1u], rows[R12 + 2u], rows[R12 + 3u], m);
        s14 = taps(s14, rows[R12 + 2u], rows[R12 + 3u], rows[R12 + 4u], m);
        s15 = taps(s15, rows[R12 + 3u], rows[R12 + 4u], rows[R12 + 5u], m);
    }

    let sums = array<vec4<f32>, 16>(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15);
    for (var k = 0u; k < 16u; k++) {
        let unit = first_unit + k / UNIT_HEIGHT;
        let image = unit / (TILES_Y * TILES_X);
        let row = unit / TILES_X % TILES_Y * UNIT_HEIGHT + k % UNIT_HEIGHT;
        let column = unit % TILES_X * 4u;
        if (channel < TO_CHANNELS && unit < UNIT_COUNT && row < TO_HEIGHT) {
            let to_channel = (image * GROUPS + slab) * TO_CHANNELS + channel;
            emit_row((to_channel * TO_HEIGHT + row) * TO_WIDTH + column, min(4u, TO_WIDTH - column), sums[k]);
        }
    }
}
