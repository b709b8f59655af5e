// Measures the adapter's multiply-add peak: 48 independent accumulators an invocation hide the latency of each.
//
// The coefficients are data and the sum is stored, so that no compiler can work it out beforehand or leave it out.

const ROUNDS: u32 = 128u;

@group(0) @binding(0) var<storage, read> coefficients: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = grid_group(workgroup, workgroups) * 64u + local;
    let lane = f32(local);
    let x = coefficients[0];
    let y = coefficients[1];
    var a0 = vec4<f32>(lane + 0.0) * coefficients[0].yyyy;
    var a1 = vec4<f32>(lane + 1.0) * coefficients[0].yyyy;
    var a2 = vec4<f32>(lane + 2.0) * coefficients[0].yyyy;
    var a3 = vec4<f32>(lane + 3.0) * coefficients[0].yyyy;
    var a4 = vec4<f32>(lane + 4.0) * coefficients[0].yyyy;
    var a5 = vec4<f32>(lane + 5.0) * coefficients[0].yyyy;
    var a6 = vec4<f32>(lane + 6.0) * coefficients[0].yyyy;
    var a7 = vec4<f32>(lane + 7.0) * coefficients[0].yyyy;
    var a8 = vec4<f32>(lane + 8.0) * coefficients[0].yyyy;
    var a9 = vec4<f32>(lane + 9.0) * coefficients[0].yyyy;
    var a10 = vec4<f32>(lane + 10.0) * coefficients[0].yyyy;
    var a11 = vec4<f32>(lane + 11.0) * coefficients[0].yyyy;
    for (var round = 0u; round < ROUNDS; round++) {
        a0 = fma(a0, x, y);
        a1 = fma(a1, x, y);
        a2 = fma(a2, x, y);
        a3 = fma(a3, x, y);
        a4 = fma(a4, x, y);
        a5 = fma(a5, x, y);
        a6 = fma(a6, x, y);
        a7 = fma(a7, x, y);
        a8 = fma(a8, x, y);
        a9 = fma(a9, x, y);
        a10 = fma(a10, x, y);
        a11 = fma(a11, x, y);
    }
    let sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;
    sums[index] = sum.x + sum.y + sum.z + sum.w;
}
