// Convolution with a 3 × 3 kernel, stride 1 and padding 1, forward or in its input, for processors that run a workgroup
// as one SIMD vector of eight, and images of rows of 4, 8 or a multiple of 16 pixels.
//
// As conv2d_3x3_subgroup.wgsl, from which it differs in the shape of what a lane computes: 64 pixels of a channel that are as
// wide as can be, so that all pixels but those at the sides are loaded by fours, three to a lane. Where a tile is as wide as
// the image there is nothing at its sides. So there are three loads of pixels and three of weights for 576 multiply-adds.
//
// `emit_row` is in lib/emit_four.wgsl, `filter_weights` in lib/filter_weights.wgsl.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

const LANES = 8u;
// FOURS are in a row of the tile: 1, 2 or 4.
const TILE_ROWS = 16u / FOURS;
const UNITS = TILE_ROWS / UNIT_HEIGHT;
const TILES_X = TO_WIDTH / (4u * FOURS);
const TILES_Y = (TO_HEIGHT + UNIT_HEIGHT - 1u) / UNIT_HEIGHT;
const UNIT_COUNT = BATCH * TILES_Y * TILES_X;
const CHANNEL_TILES = (TO_CHANNELS + LANES - 1u) / LANES;
// Every unit has a source row more above and below. There are at most 24 fours in all rows.
const SOURCE_ROWS = TILE_ROWS + 2u * UNITS;
const HAS_SIDES = TILES_X > 1u;
const OUTSIDE = 0xffffffffu;

// What a workgroup has of a source channel.
struct Source {
    // Row by row, those of all units after one another.
    fours: array<vec4<f32>, 24>,
    // What lies to the left and to the right of each row; rows are six where there are sides.
    left: array<f32, 6>,
    right: array<f32, 6>,
}

// Six neighbouring pixels.
struct Row {
    left: f32,
    four: vec4<f32>,
    right: f32,
}

// Where source row `index` of all units begins: the number of pixels before it, of the channel of which all come first.
fn locate_row(index: u32, first_unit: u32) -> u32 {
    let unit = first_unit + index / (UNIT_HEIGHT + 2u);
    let image = unit / (TILES_Y * TILES_X);
    // An unsigned difference that wraps is past the end as well.
    let row = unit / TILES_X % TILES_Y * UNIT_HEIGHT + index % (UNIT_HEIGHT + 2u) - 1u;
    let inside = index < SOURCE_ROWS && unit < UNIT_COUNT && row < HEIGHT;
    return select(OUTSIDE, (image * (GROUPS * FROM_CHANNELS) * HEIGHT + row) * WIDTH, inside);
}

fn locate_four(index: u32, first_unit: u32) -> u32 {
    let unit = first_unit + index / FOURS / (UNIT_HEIGHT + 2u);
    let row = locate_row(index / FOURS, first_unit);
    return select(OUTSIDE, row / 4u + unit % TILES_X * FOURS + index % FOURS, row != OUTSIDE);
}

// Pixel `column` of source row `index`, counted from the tile's first column and one.
fn locate_side(index: u32, column: u32, first_unit: u32) -> u32 {
    let unit = first_unit + index / (UNIT_HEIGHT + 2u);
    let row = locate_row(index, first_unit);
    let at = unit % TILES_X * (4u * FOURS) + column - 1u;
    return select(OUTSIDE, row + at, row != OUTSIDE && at < WIDTH);
}

fn fetch_four(at: u32, channel: u32) -> vec4<f32> {
    let inside = at != OUTSIDE;
    return select(vec4(0.0), x[select(0u, at + channel * (HEIGHT * WIDTH / 4u), inside)], inside);
}

fn fetch_one(at: u32, channel: u32) -> f32 {
    let inside = at != OUTSIDE;
    let number = select(0u, at + channel * (HEIGHT * WIDTH), inside);
    return select(0.0, x[number / 4u][number % 4u], inside);
}

// A load's four of every lane.
fn spread(four: vec4<f32>) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        subgroupBroadcast(four, 0u), subgroupBroadcast(four, 1u), subgroupBroadcast(four, 2u),
        subgroupBroadcast(four, 3u), subgroupBroadcast(four, 4u), subgroupBroadcast(four, 5u),
        subgroupBroadcast(four, 6u), subgroupBroadcast(four, 7u),
    );
}

fn spread_one(one: f32) -> array<f32, 6> {
    return array<f32, 6>(
        subgroupBroadcast(one, 0u), subgroupBroadcast(one, 1u), subgroupBroadcast(one, 2u),
        subgroupBroadcast(one, 3u), subgroupBroadcast(one, 4u), subgroupBroadcast(one, 5u),
    );
}

// Four `column` of source row `row` with its neighbours.
fn around(source: ptr<function, Source>, row: u32, column: u32) -> Row {
    let at = row * FOURS + column;
    var left = 0.0;
    var right = 0.0;
    if (column > 0u) {
        left = source.fours[at - 1u].w;
    } else if (HAS_SIDES) {
        left = source.left[row];
    }
    if (column + 1u < FOURS) {
        right = source.fours[at + 1u].x;
    } else if (HAS_SIDES) {
        right = source.right[row];
    }
    return Row(left, source.fours[at], right);
}

fn row_of_taps(sum: vec4<f32>, row: Row, w: vec3<f32>) -> vec4<f32> {
    let left = fma(vec4(w.x), vec4(row.left, row.four.xyz), sum);
    let middle = fma(vec4(w.y), row.four, left);
    return fma(vec4(w.z), vec4(row.four.yzw, row.right), middle);
}

// Sum `index`: the tile's fours from top to bottom, column by column.
fn taps(sum: vec4<f32>, source: ptr<function, Source>, index: u32, w: mat3x3<f32>) -> vec4<f32> {
    let column = index / TILE_ROWS;
    let row = index % TILE_ROWS;
    // Rows before it: two more for each unit.
    let above = row + row / UNIT_HEIGHT * 2u;
    let first = row_of_taps(sum, around(source, above, column), w[0]);
    let second = row_of_taps(first, around(source, above + 1u, column), w[1]);
    return row_of_taps(second, around(source, above + 2u, column), w[2]);
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

    let at0 = locate_four(lane, first_unit);
    let at1 = locate_four(lane + 8u, first_unit);
    let at2 = locate_four(lane + 16u, first_unit);
    let at_left = locate_side(lane, 0u, first_unit);
    let at_right = locate_side(lane, 4u * FOURS + 1u, first_unit);

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
        let a = spread(fetch_four(at0, from_channel));
        let b = spread(fetch_four(at1, from_channel));
        let c = spread(fetch_four(at2, from_channel));
        var source: Source;
        source.fours = array<vec4<f32>, 24>(
            a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7],
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
            c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7],
        );
        if (HAS_SIDES) {
            source.left = spread_one(fetch_one(at_left, from_channel));
            source.right = spread_one(fetch_one(at_right, from_channel));
        }
        s0 = taps(s0, &source, 0u, m);
        s1 = taps(s1, &source, 1u, m);
        s2 = taps(s2, &source, 2u, m);
        s3 = taps(s3, &source, 3u, m);
        s4 = taps(s4, &source, 4u, m);
        s5 = taps(s5, &source, 5u, m);
        s6 = taps(s6, &source, 6u, m);
        s7 = taps(s7, &source, 7u, m);
        s8 = taps(s8, &source, 8u, m);
        s9 = taps(s9, &source, 9u, m);
        s10 = taps(s10, &source, 10u, m);
        s11 = taps(s11, &source, 11u, m);
        s12 = taps(s12, &source, 12u, m);
        s13 = taps(s13, &source, 13u, m);
        s14 = taps(s14, &source, 14u, m);
        s15 = taps(s15, &source, 15u, m);
    }

    let sums = array<vec4<f32>, 16>(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15);
    for (var k = 0u; k < 16u; k++) {
        let unit = first_unit + k % TILE_ROWS / UNIT_HEIGHT;
        let image = unit / (TILES_Y * TILES_X);
        let row = unit / TILES_X % TILES_Y * UNIT_HEIGHT + k % TILE_ROWS % UNIT_HEIGHT;
        let column = (unit % TILES_X * FOURS + k / TILE_ROWS) * 4u;
        if (channel < TO_CHANNELS && unit < UNIT_COUNT && row < TO_HEIGHT) {
            let to_channel = (image * GROUPS + slab) * TO_CHANNELS + channel;
            emit_row((to_channel * TO_HEIGHT + row) * TO_WIDTH + column, 4u, sums[k]);
        }
    }
}
