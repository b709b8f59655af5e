// Gradient of a convolution in its weights, any geometry: one weight to an invocation, over one of SPLITS parts of the
// sum over pixels. The parts are added afterwards, in order.
//
// Pixels are taken in the order of the tiled kernels, so that the bits are the same: in blocks of UNIT_HEIGHT rows of
// UNIT_WIDTH, by image, by row of blocks, by column of blocks, SPLIT_UNITS blocks to a part.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> g: array<f32>;

const TAPS = KERNEL_HEIGHT * KERNEL_WIDTH;
const WEIGHTS = GROUPS * OUT_CHANNELS * IN_CHANNELS * TAPS;
const TILES_X = (OUT_WIDTH + UNIT_WIDTH - 1u) / UNIT_WIDTH;
const TILES_Y = (OUT_HEIGHT + UNIT_HEIGHT - 1u) / UNIT_HEIGHT;
const UNIT_COUNT = BATCH * TILES_Y * TILES_X;

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
    if (flat >= SPLITS * WEIGHTS) {
        return;
    }
    let split = flat / WEIGHTS;
    let kx = flat % KERNEL_WIDTH;
    let ky = flat / KERNEL_WIDTH % KERNEL_HEIGHT;
    let i = flat / TAPS % IN_CHANNELS;
    let o = flat % WEIGHTS / (TAPS * IN_CHANNELS); // over all groups
    let channel = o / OUT_CHANNELS * IN_CHANNELS + i; // over all groups

    var sum = 0.0;
    let end = min((split + 1u) * SPLIT_UNITS, UNIT_COUNT);
    for (var unit = split * SPLIT_UNITS; unit < end; unit++) {
        let image = unit / (TILES_Y * TILES_X);
        let row0 = unit / TILES_X % TILES_Y * UNIT_HEIGHT;
        let column0 = unit % TILES_X * UNIT_WIDTH;
        for (var out_row = row0; out_row < min(row0 + UNIT_HEIGHT, OUT_HEIGHT); out_row++) {
            // Unsigned differences that wrap are past the end as well.
            let row = out_row * STRIDE + ky - PAD_Y;
            let x0 = ((image * GROUPS * IN_CHANNELS + channel) * HEIGHT + row) * WIDTH;
            let g0 = ((image * GROUPS * OUT_CHANNELS + o) * OUT_HEIGHT + out_row) * OUT_WIDTH;
            for (var out_column = column0; out_column < min(column0 + UNIT_WIDTH, OUT_WIDTH); out_column++) {
                let column = out_column * STRIDE + kx - PAD_X;
                if (row < HEIGHT && column < WIDTH) {
                    sum = fma(x[x0 + column], g[g0 + out_column], sum);
                }
            }
        }
    }
    emit(flat, sum);
}
