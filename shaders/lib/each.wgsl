// A product C = A·B of any extents, an element or four neighbouring columns to an invocation: for those of which a tile would
// be nearly empty. With four, a number of A serves four results, and what is fused to the product computes by fours.
//
// The files it is linked with say what the operands are, as for lib/tile.wgsl, of a sum in one part; `fetch_b` gives
// AT_A_TIME columns. All sums run over the inner axis in order.

const GROUP = 16u;
const WHOLE = INNER / 4u * 4u;
const SPANS = COLUMNS / AT_A_TIME;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_group(wid, num);
    let index = group * GROUP + lane;
    if (group >= grid.count || index >= OUTER * ROWS * SPANS) {
        return;
    }
    let column = index % SPANS * AT_A_TIME;
    let row = index / SPANS % ROWS;
    let outer = index / (SPANS * ROWS);
    var sum = Columns();
    for (var inner = 0u; inner < WHOLE; inner += 4u) {
        sum = fma(Columns(fetch_a(outer, row, inner)), fetch_b(outer, inner, column), sum);
        sum = fma(Columns(fetch_a(outer, row, inner + 1u)), fetch_b(outer, inner + 1u, column), sum);
        sum = fma(Columns(fetch_a(outer, row, inner + 2u)), fetch_b(outer, inner + 2u, column), sum);
        sum = fma(Columns(fetch_a(outer, row, inner + 3u)), fetch_b(outer, inner + 3u, column), sum);
    }
    for (var inner = WHOLE; inner < INNER; inner++) {
        sum = fma(Columns(fetch_a(outer, row, inner)), fetch_b(outer, inner, column), sum);
    }
    emit(place(outer, row, column, 0u) / AT_A_TIME, sum);
}
