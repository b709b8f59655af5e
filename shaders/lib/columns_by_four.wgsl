// B of matmul_four.wgsl with its columns next to each other: read by fours.

@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;

fn four_b(outer: u32, inner: u32, column: u32) -> vec4<f32> {
    return b[(outer * (K * N) + inner * N + column) / 4u];
}
