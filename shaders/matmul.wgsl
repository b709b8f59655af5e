// Batched matrix product of any extents: one row × four columns of C to an invocation.

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;

const COLUMN_TILES = (N + 3u) / 4u;
// Steps between neighbours in A and B along the three axes.
const A_ROW = select(K, 1u, TRANSPOSE_A != 0u);
const A_INNER = select(1u, M, TRANSPOSE_A != 0u);
const B_INNER = select(N, 1u, TRANSPOSE_B != 0u);
const B_COLUMN = select(1u, K, TRANSPOSE_B != 0u);

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
    let row = flat % M;
    let first = flat / M % COLUMN_TILES * 4u;
    let batch = flat / (M * COLUMN_TILES);
    if (batch >= BATCH) {
        return;
    }
    // Columns past the end compute the last one again; they are not stored.
    let columns = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(N - 1u));
    let a0 = batch * M * K + row * A_ROW;
    let b0 = batch * K * N + columns * B_COLUMN;

    var sum = vec4(0.0);
    for (var k = 0u; k < K; k++) {
        let at = b0 + k * B_INNER;
        sum = fma(vec4(a[a0 + k * A_INNER]), vec4(b[at.x], b[at.y], b[at.z], b[at.w]), sum);
    }
    for (var c = 0u; c < min(4u, N - first); c++) {
        emit((batch * M + row) * N + first + c, sum[c]);
    }
}
