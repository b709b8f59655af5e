// Gradient of a convolution in its weights, any geometry: one weight to an invocation, over one of SPLITS parts of the
// sum over images and pixels. The parts are added afterwards, in order.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> g: array<f32>;

const TAPS = KERNEL_HEIGHT * KERNEL_WIDTH;
const WEIGHTS = GROUPS * OUT_CHANNELS * IN_CHANNELS * TAPS;
// The sum runs over output rows of all images, of which each part takes a run.
const ROWS = BATCH * OUT_HEIGHT;
const ROWS_PER_SPLIT = (ROWS + SPLITS - 1u) / SPLITS;

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
    let end = min((split + 1u) * ROWS_PER_SPLIT, ROWS);
    for (var r = split * ROWS_PER_SPLIT; r < end; r++) {
        let image = r / OUT_HEIGHT;
        let out_row = r % OUT_HEIGHT;
        // An unsigned difference that wraps is past the end as well.
        let row = out_row * STRIDE + ky - PAD_Y;
        if (row >= HEIGHT) {
            continue;
        }
        let x0 = ((image * GROUPS * IN_CHANNELS + channel) * HEIGHT + row) * WIDTH;
        let g0 = ((image * GROUPS * OUT_CHANNELS + o) * OUT_HEIGHT + out_row) * OUT_WIDTH;
        for (var out_column = 0u; out_column < OUT_WIDTH; out_column++) {
            let column = out_column * STRIDE + kx - PAD_X;
            if (column < WIDTH) {
                sum = fma(x[x0 + column], g[g0 + out_column], sum);
            }
        }
    }
    emit(flat, sum);
}
