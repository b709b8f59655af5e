// Gradient of a convolution with a 3 × 3 kernel and stride 1 in its weights, for processors that run a workgroup as
// one SIMD vector of eight.
//
// A lane is an input channel; a workgroup computes the weights from eight of them to CHANNELS output channels, over one
// of SPLITS parts of the sum over pixels, SPLIT_UNITS units (a multiple of UNITS). It goes through the pixels in units of 64, sixteen rows of four (or twice
// eight rows, or four times four), keeps its input pixels of a unit, and for each output channel sums against the 64
// gradients, which are the same for all lanes: each lane loads an eighth of them and hands it on with a broadcast.
// The arrays with computed indices live in memory, which is what keeps the program short: unrolled, it would take a
// driver many seconds to compile.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> g: array<f32>;

const LANES = 8u;
const UNITS = 16u / UNIT_HEIGHT; // at a time
const TILES_X = (OUT_WIDTH + 3u) / 4u;
const TILES_Y = (OUT_HEIGHT + UNIT_HEIGHT - 1u) / UNIT_HEIGHT;
const UNIT_COUNT = BATCH * TILES_Y * TILES_X;
const FROM_TILES = (IN_CHANNELS + LANES - 1u) / LANES;
const TO_TILES = (OUT_CHANNELS + CHANNELS - 1u) / CHANNELS;
const ROWS = 16u + 2u * UNITS;
const OUTSIDE = 0xffffffffu;

// Pixels of the lane's channel, six to a row.
var<private> pixels: array<f32, 6u * ROWS>;
// Nine weights for each output channel.
var<private> sums: array<f32, 9u * CHANNELS>;

// Where gradient `q` of a channel is, four to a row.
fn locate(q: u32, first_unit: u32) -> u32 {
    let unit = first_unit + q / (4u * UNIT_HEIGHT);
    let row = unit / TILES_X % TILES_Y * UNIT_HEIGHT + q / 4u % UNIT_HEIGHT;
    let column = unit % TILES_X * 4u + q % 4u;
    let image = unit / (TILES_Y * TILES_X);
    let inside = unit < UNIT_COUNT && row < OUT_HEIGHT && column < OUT_WIDTH;
    return select(OUTSIDE, (image * (GROUPS * OUT_CHANNELS) * OUT_HEIGHT + row) * OUT_WIDTH + column, inside);
}

fn fetch(at: u32, channel: u32) -> f32 {
    return select(0.0, g[select(0u, at + channel * (OUT_HEIGHT * OUT_WIDTH), at != OUTSIDE)], at != OUTSIDE);
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

// Two rows out of one load.
fn two_rows(sum: mat3x3<f32>, k: u32, v: f32) -> mat3x3<f32> {
    let a = vec4(subgroupBroadcast(v, 0u), subgroupBroadcast(v, 1u), subgroupBroadcast(v, 2u), subgroupBroadcast(v, 3u));
    let b = vec4(subgroupBroadcast(v, 4u), subgroupBroadcast(v, 5u), subgroupBroadcast(v, 6u), subgroupBroadcast(v, 7u));
    return row(row(sum, k, a), k + 1u, b);
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

    let end = min((split + 1u) * SPLIT_UNITS, UNIT_COUNT);
    for (var first_unit = split * SPLIT_UNITS; first_unit < end; first_unit += UNITS) {
        for (var r = 0u; r < ROWS; r++) {
            let unit = first_unit + r / (UNIT_HEIGHT + 2u);
            // Unsigned differences that wrap are past the end as well.
            let y = unit / TILES_X % TILES_Y * UNIT_HEIGHT + r % (UNIT_HEIGHT + 2u) - PAD_Y;
            let x0 = unit % TILES_X * 4u - PAD_X;
            let image = unit / (TILES_Y * TILES_X);
            let at = ((image * (GROUPS * IN_CHANNELS) + x_channel) * HEIGHT + y) * WIDTH + x0;
            let inside = unit < UNIT_COUNT && y < HEIGHT;
            for (var c = 0u; c < 6u; c++) {
                let valid = inside && x0 + c < WIDTH;
                pixels[r * 6u + c] = select(0.0, x[select(0u, at + c, valid)], valid);
            }
        }
        let at0 = locate(lane, first_unit);
        let at1 = locate(lane + 8u, first_unit);
        let at2 = locate(lane + 16u, first_unit);
        let at3 = locate(lane + 24u, first_unit);
        let at4 = locate(lane + 32u, first_unit);
        let at5 = locate(lane + 40u, first_unit);
        let at6 = locate(lane + 48u, first_unit);
        let at7 = locate(lane + 56u, first_unit);
        for (var o = 0u; o < channels; o++) {
            let g_channel = slab * OUT_CHANNELS + first_to + o;
            let s = o * 9u;
            var sum = mat3x3(
                sums[s], sums[s + 1u], sums[s + 2u], sums[s + 3u], sums[s + 4u], sums[s + 5u], sums[s + 6u],
                sums[s + 7u], sums[s + 8u],
            );
            sum = two_rows(sum, 0u, fetch(at0, g_channel));
            sum = two_rows(sum, 2u, fetch(at1, g_channel));
            sum = two_rows(sum, 4u, fetch(at2, g_channel));
            sum = two_rows(sum, 6u, fetch(at3, g_channel));
            sum = two_rows(sum, 8u, fetch(at4, g_channel));
            sum = two_rows(sum, 10u, fetch(at5, g_channel));
            sum = two_rows(sum, 12u, fetch(at6, g_channel));
            sum = two_rows(sum, 14u, fetch(at7, g_channel));
            sums[s] = sum[0].x;
            sums[s + 1u] = sum[0].y;
            sums[s + 2u] = sum[0].z;
            sums[s + 3u] = sum[1].x;
            sums[s + 4u] = sum[1].y;
            sums[s + 5u] = sum[1].z;
            sums[s + 6u] = sum[2].x;
            sums[s + 7u] = sum[2].y;
            sums[s + 8u] = sum[2].z;
        }
    }
    if (from_channel < IN_CHANNELS) {
        for (var k = 0u; k < channels * 9u; k++) {
            let o = (split * GROUPS + slab) * OUT_CHANNELS + first_to + k / 9u;
            emit((o * IN_CHANNELS + from_channel) * 9u + k % 9u, sums[k]);
        }
    }
}
