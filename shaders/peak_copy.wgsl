// Measures the adapter's copy bandwidth, 16 bytes an invocation at a time.

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = grid_group(workgroup, workgroups) * 256u + local;
    if (index < arrayLength(&target_)) {
        target_[index] = source[index];
    }
}
