// The nine weights of a filter, for the 3 × 3 kernels with subgroups.
//
// `nine_weights` is in lib/weights_by_four.wgsl or lib/weights_by_one.wgsl.

// From channel `source` to channel `to` of a slab. Those of the gradient in the input are transposed, and turned by half a
// turn.
fn filter_weights(slab: u32, to: u32, source: u32) -> mat3x3<f32> {
    let m = nine_weights(select(
        ((slab * TO_CHANNELS + to) * FROM_CHANNELS + source) * 9u,
        ((slab * FROM_CHANNELS + source) * TO_CHANNELS + to) * 9u,
        INPUT_GRAD != 0u,
    ));
    if (INPUT_GRAD != 0u) {
        return mat3x3(m[2].zyx, m[1].zyx, m[0].zyx);
    }
    return m;
}
