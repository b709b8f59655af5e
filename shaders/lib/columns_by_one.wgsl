// B of matmul_four.wgsl with its inner axis next to each other.

@group(0) @binding(1) var<storage, read> b: array<f32>;

fn four_b(outer: u32, inner: u32, column: u32) -> vec4<f32> {
    let at = outer * (K * N) + column * K + inner;
    return vec4(b[at], b[at + K], b[at + 2u * K], b[at + 3u * K]);
}
