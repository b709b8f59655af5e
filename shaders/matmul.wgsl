// Batched matrix product of any extents, for lib/tile.wgsl and lib/each.wgsl. B is in lib/columns_by_one.wgsl and its like.

@group(0) @binding(0) var<storage, read> a: array<f32>;

const OUTER = BATCH;
const ROWS = M;
const INNER = K;
const INNER_PER_SPLIT = K;
const COLUMNS = N;

fn fetch_a(outer: u32, row: u32, inner: u32) -> f32 {
    return a[outer * (M * K) + select(row * K + inner, inner * M + row, TRANSPOSE_A != 0u)];
}

fn place(outer: u32, row: u32, column: u32, split: u32) -> u32 {
    return (outer * M + row) * N + column;
}
