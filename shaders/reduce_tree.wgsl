// Sum or maximum, one result for each workgroup: every invocation takes terms a workgroup apart, then a tree of fixed
// shape joins them. `load(result, term)` is generated and gives the terms.

var<workgroup> partials: array<f32, WORKGROUP>;

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
    var partial = vec4<f32>(REDUCE_START);
    for (var term = lane; term < TERMS; term += WORKGROUP) {
        partial.x = reduce_combine(vec4<f32>(partial.x), vec4<f32>(load(group, term))).x;
    }
    partials[lane] = partial.x;
    for (var width = WORKGROUP / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (lane < width) {
            let pair = vec4<f32>(partials[lane], partials[lane + width], REDUCE_START, REDUCE_START);
            partials[lane] = reduce_all(pair);
        }
    }
    if (lane == 0u) {
        emit(group, partials[0]);
    }
}
