// B of matmul.wgsl with its columns next to each other and a multiple of four: four at a time.

@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;

const AT_A_TIME = 4u;
alias Columns = vec4<f32>;

fn fetch_b(outer: u32, inner: u32, column: u32) -> Columns {
    return b[(outer * (K * N) + inner * N + column) / 4u];
}
