// Which workgroups of a kernel a dispatch covers.
//
// A kernel wants `count` workgroups in one row. The executor folds them over x and y, because a device allows only
// 65,535 along an axis, and may cut a long kernel into several dispatches, each starting at `base`.

struct Grid {
    base: u32,
    count: u32,
}

@group(1) @binding(0) var<uniform> grid: Grid;

// The flat index of this workgroup. Uniform over the workgroup, so a kernel may leave early on `group >= grid.count`
// before a barrier.
fn grid_group(workgroup: vec3<u32>, workgroups: vec3<u32>) -> u32 {
    return grid.base + workgroup.y * workgroups.x + workgroup.x;
}
