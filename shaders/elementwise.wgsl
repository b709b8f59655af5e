// One element of the results, or four neighbours, for each invocation. `emit`, which is generated, computes and stores
// them.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_group(workgroup, workgroups);
    if (group >= grid.count) {
        return;
    }
    let index = group * WORKGROUP + lane;
    if (index < LEN) {
        emit(index, 0.0);
    }
}
