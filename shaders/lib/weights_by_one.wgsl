// Weights of any number, for the 3 × 3 kernels with subgroups.

@group(0) @binding(1) var<storage, read> w: array<f32>;

// The nine weights from number `at` on, row by row.
fn nine_weights(at: u32) -> mat3x3<f32> {
    return mat3x3(
        w[at], w[at + 1u], w[at + 2u], w[at + 3u], w[at + 4u], w[at + 5u], w[at + 6u], w[at + 7u], w[at + 8u],
    );
}
