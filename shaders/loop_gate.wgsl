// Ends a loop on the device: once the flag is not greater than zero, every dispatch of the loop's body gets zero
// workgroups, and so does nothing in the rounds that are recorded already.
//
// The flag is tested by its bits: compilers may assume that no number is NaN, and a NaN must end the loop.

@group(0) @binding(0) var<storage, read> flag: array<u32>;
@group(0) @binding(1) var<storage, read_write> arguments: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = grid_group(workgroup, workgroups) * 64u + lane;
    let bits = flag[0];
    // From the smallest positive number to infinity.
    let goes_on = bits >= 1u && bits <= 0x7f800000u;
    if (!goes_on && index < arrayLength(&arguments)) {
        arguments[index] = 0u;
    }
}
