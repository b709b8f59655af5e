// What the reduction kernels need to sum.

const REDUCE_START: f32 = 0.0;

fn reduce_combine(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return a + b;
}

fn reduce_all(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
