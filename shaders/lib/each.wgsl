// A product C = A·B of any extents, an element to an invocation: for those of which a tile would be nearly empty.
//
// The file it is linked with says what the operands are, as for lib/tile.wgsl, of a sum in one part. All sums run over the
// inner axis in order.

const GROUP = 16u;
const WHOLE = INNER / 4u * 4u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_group(wid, num);
    let index = group * GROUP + lane;
    if (group >= grid.count || index >= OUTER * ROWS * COLUMNS) {
        return;
    }
    let column = index % COLUMNS;
    let row = index / COLUMNS % ROWS;
    let outer = index / (COLUMNS * ROWS);
    var sum = 0.0;
    for (var inner = 0u; inner < WHOLE; inner += 4u) {
        sum = fma(fetch_a(outer, row, inner), fetch_b(outer, inner, column), sum);
        sum = fma(fetch_a(outer, row, inner + 1u), fetch_b(outer, inner + 1u, column), sum);
        sum = fma(fetch_a(outer, row, inner + 2u), fetch_b(outer, inner + 2u, column), sum);
        sum = fma(fetch_a(outer, row, inner + 3u), fetch_b(outer, inner + 3u, column), sum);
    }
    for (var inner = WHOLE; inner < INNER; inner++) {
        sum = fma(fetch_a(outer, row, inner), fetch_b(outer, inner, column), sum);
    }
    emit(place(outer, row, column, 0u), sum);
}
