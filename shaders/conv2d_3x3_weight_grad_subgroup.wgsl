// Gradient of a convolution with a 3 × 3 kernel and stride 1 in its weights, for processors that run a workgroup as
// one SIMD vector of eight.
//
// A lane is an input channel; a workgroup computes the weights from eight of them to CHANNELS output channels, over one
// of SPLITS parts of the sum over pixels, SPLIT_UNITS units (a multiple of UNITS). It goes through the pixels in units of
// 64, sixteen rows of four (or twice eight rows, or four times four), keeps its input pixels of a unit, and for each
// output channel sums against the 64 gradients, which are the same for all lanes: each lane loads two of the sixteen rows
// and hands them on with a broadcast. Arrays with computed indices live in memory, which is what keeps the program short:
// unrolled, it would take a driver many seconds to compile. The sums are in workgroup memory, though no lane looks at
// another's, because there three of them come and go at once.
//
// The operands, and how rows of them are read, are in lib/rows_by_four.wgsl or lib/rows_by_one.wgsl.

const LANES = 8u;
const UNITS = 16u / UNIT_HEIGHT; // at a time
const TILES_X = (OUT_WIDTH + 3u) / 4u;
const TILES_Y = (OUT_HEIGHT + UNIT_HEIGHT - 1u) / UNIT_HEIGHT;
const UNIT_COUNT = BATCH * TILES_Y * TILES_X;
const FROM_TILES = (IN_CHANNELS + LANES - 1u) / LANES;
const TO_TILES = (OUT_CHANNELS + CHANNELS - 1u) / CHANNELS;
const ROWS = 16u + 2u * UNITS;

// Pixels of the lane's channel, six to a row.
var<private> pixels: array<f32, 6u * ROWS>;
// Nine weights for each output channel and lane, row by row.
var<workgroup> sums: array<vec3<f32>, 3u * LANES * CHANNELS>;

// Where row `k` of four gradients is in the first channel, and how many of the four there are.
fn locate(k: u32, first_unit: u32, end: u32) -> vec2<u32> {
    let unit = first_unit + k / UNIT_HEIGHT;
    let row = unit / TILES_X % TILES_Y * UNIT_HEIGHT + k % UNIT_HEIGHT;
    let column = unit % TILES_X * 4u;
    let image = unit / (TILES_Y * TILES_X);
    if (unit < end && row < OUT_HEIGHT) {
        let at = (image * (GROUPS * OUT_CHANNELS) * OUT_HEIGHT + row) * OUT_WIDTH + column;
        return vec2(at, min(4u, OUT_WIDTH - column));
    }
    return vec2<u32>();
}

// Adds what row `k` of the gradients has to do with the three rows of pixels it lies under.
fn row(sum: mat3x3<f32>, k: u32, g: vec4<f32>) -> mat3x3<f32> {
    let at = (k + 2u * (k / UNIT_HEIGHT)) * 6u;
    return mat3x3(line(sum[0], at, g), line(sum[1], at + 6u, g), line(sum[2], at + 12u, g));
}

fn line(sum: vec3<f32>, at: u32, g: vec4<f32>) -> vec3<f32> {
    let a = vec3(pixels[at], pixels[at + 1u], pixels[at + 2u]);
    let b = vec3(pixels[at + 3u], pixels[at + 4u], pixels[at + 5u]);
    let first = fma(vec3(g.x), a, sum);
    let second = fma(vec3(g.y), vec3(a.yz, b.x), first);
    let third = fma(vec3(g.z), vec3(a.z, b.xy), second);
    return fma(vec3(g.w), b, third);
}

// Eight rows out of one load.
fn eight_rows(sum: mat3x3<f32>, k: u32, v: vec4<f32>) -> mat3x3<f32> {
    let low = row(row(row(row(sum, k, subgroupBroadcast(v, 0u)), k + 1u, subgroupBroadcast(v, 1u)), k + 2u,
        subgroupBroadcast(v, 2u)), k + 3u, subgroupBroadcast(v, 3u));
    return row(row(row(row(low, k + 4u, subgroupBroadcast(v, 4u)), k + 5u, subgroupBroadcast(v, 5u)), k + 6u,
        subgroupBroadcast(v, 6u)), k + 7u, subgroupBroadcast(v, 7u));
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
    let from_channel = group % FROM_TILES * LANES + lane;
    let first_to = group / FROM_TILES % TO_TILES * CHANNELS;
    let slab = group / (FROM_TILES * TO_TILES) % GROUPS;
    let split = group / (FROM_TILES * TO_TILES * GROUPS);
    // A channel past the end computes the last one again and is not stored.
    let x_channel = slab * IN_CHANNELS + min(from_channel, IN_CHANNELS - 1u);
    let channels = min(CHANNELS, OUT_CHANNELS - first_to);

    for (var k = 0u; k < channels * 3u; k++) {
        sums[(k / 3u * LANES + lane) * 3u + k % 3u] = vec3<f32>();
    }
    let end = min((split + 1u) * SPLIT_UNITS, UNIT_COUNT);
    for (var first_unit = split * SPLIT_UNITS; first_unit < end; first_unit += UNITS) {
        for (var r = 0u; r < ROWS; r++) {
            let unit = first_unit + r / (UNIT_HEIGHT + 2u);
            // Unsigned differences that wrap are past the end as well.
            let y = unit / TILES_X % TILES_Y * UNIT_HEIGHT + r % (UNIT_HEIGHT + 2u) - PAD_Y;
            let x0 = unit % TILES_X * 4u - PAD_X;
            let image = unit / (TILES_Y * TILES_X);
            let start = ((image * (GROUPS * IN_CHANNELS) + x_channel) * HEIGHT + y) * WIDTH;
            let six = six_pixels(start, x0, unit < end && y < HEIGHT);
            pixels[r * 6u] = six[0];
            pixels[r * 6u + 1u] = six[1];
            pixels[r * 6u + 2u] = six[2];
            pixels[r * 6u + 3u] = six[3];
            pixels[r * 6u + 4u] = six[4];
            pixels[r * 6u + 5u] = six[5];
        }
        let g0 = locate(lane, first_unit, end);
        let g1 = locate(lane + 8u, first_unit, end);
        for (var o = 0u; o < channels; o++) {
            let channel = (slab * OUT_CHANNELS + first_to + o) * (OUT_HEIGHT * OUT_WIDTH);
            let s = (o * LANES + lane) * 3u;
            var sum = mat3x3(sums[s], sums[s + 1u], sums[s + 2u]);
            sum = eight_rows(sum, 0u, four_gradients(g0.x + channel, g0.y));
            sum = eight_rows(sum, 8u, four_gradients(g1.x + channel, g1.y));
            sums[s] = sum[0];
            sums[s + 1u] = sum[1];
            sums[s + 2u] = sum[2];
        }
    }
    if (from_channel < IN_CHANNELS) {
        for (var k = 0u; k < channels * 3u; k++) {
            let o = (split * GROUPS + slab) * OUT_CHANNELS + first_to + k / 3u;
            let at = (o * IN_CHANNELS + from_channel) * 9u + k % 3u * 3u;
            let sum = sums[(k / 3u * LANES + lane) * 3u + k % 3u];
            emit(at, sum.x);
            emit(at + 1u, sum.y);
            emit(at + 2u, sum.z);
        }
    }
}
