// B of matmul.wgsl, one column at a time.

@group(0) @binding(1) var<storage, read> b: array<f32>;

const AT_A_TIME = 1u;
alias Columns = f32;

fn fetch_b(outer: u32, inner: u32, column: u32) -> Columns {
    return b[outer * (K * N) + select(inner * N + column, column * K + inner, TRANSPOSE_B != 0u)];
}
