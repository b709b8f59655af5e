// B of matmul.wgsl with its inner axis next to each other and columns that are a multiple of four: four at a time.

@group(0) @binding(1) var<storage, read> b: array<f32>;

const AT_A_TIME = 4u;
alias Columns = vec4<f32>;

fn fetch_b(outer: u32, inner: u32, column: u32) -> Columns {
    let at = outer * (K * N) + column * K + inner;
    return vec4(b[at], b[at + K], b[at + 2u * K], b[at + 3u * K]);
}
