// What the reduction kernels need to find the largest. WGSL has no literal for minus infinity; the most negative finite
// number serves.

const REDUCE_START: f32 = -3.4028234e38;

fn reduce_combine(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return max(a, b);
}

fn reduce_all(v: vec4<f32>) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}
