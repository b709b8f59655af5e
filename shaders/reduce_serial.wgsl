// Sum or maximum, one result for each invocation: for few terms, or so many results that they fill the device.
// `load(result, term)` is generated and gives the terms; the order of summation is fixed.

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
        // Four partial results: shorter rounding chains, and independent additions.
        var partial = vec4<f32>(REDUCE_START);
        let whole = TERMS / 4u * 4u;
        for (var term = 0u; term < whole; term += 4u) {
            let next = vec4<f32>(
                load(index, term),
                load(index, term + 1u),
                load(index, term + 2u),
                load(index, term + 3u),
            );
            partial = reduce_combine(partial, next);
        }
        for (var term = whole; term < TERMS; term++) {
            partial.x = reduce_combine(vec4<f32>(partial.x), vec4<f32>(load(index, term))).x;
        }
        emit(index, reduce_all(partial));
    }
}
