// Batched matrix product with four neighbouring columns to an invocation: for products of which a tile would be nearly
// empty, and whose columns are a multiple of four. A number of A then serves four results, and what is fused to the
// product computes by fours. All sums run over the inner axis in order.
//
// `four_b`, the numbers of B for these columns, is in lib/columns_by_four.wgsl or lib/columns_by_one.wgsl.

@group(0) @binding(0) var<storage, read> a: array<f32>;

const GROUP = 16u;
const WHOLE = K / 2u * 2u;

fn fetch_a(outer: u32, row: u32, inner: u32) -> f32 {
    return a[outer * (M * K) + select(row * K + inner, inner * M + row, TRANSPOSE_A != 0u)];
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_group(wid, num);
    let index = group * GROUP + lane;
    if (group >= grid.count || index >= BATCH * M * (N / 4u)) {
        return;
    }
    let column = index % (N / 4u) * 4u;
    let row = index / (N / 4u) % M;
    let outer = index / (M * (N / 4u));
    var sum = vec4<f32>();
    for (var inner = 0u; inner < WHOLE; inner += 2u) {
        sum = fma(vec4(fetch_a(outer, row, inner)), four_b(outer, inner, column), sum);
        sum = fma(vec4(fetch_a(outer, row, inner + 1u)), four_b(outer, inner + 1u, column), sum);
    }
    if (WHOLE < K) {
        sum = fma(vec4(fetch_a(outer, row, WHOLE)), four_b(outer, WHOLE, column), sum);
    }
    emit(index, sum);
}
