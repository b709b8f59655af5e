// Rows of an image and of a gradient of any length, for conv2d_3x3_weight_grad_subgroup.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> g: array<f32>;

// Six neighbours in the row of the image that begins at number `start`, from `column` on. Zeros outside.
fn six_pixels(start: u32, column: u32, inside: bool) -> array<f32, 6> {
    var six: array<f32, 6>;
    for (var c = 0u; c < 6u; c++) {
        // Unsigned sums that wrap are inside again.
        let valid = inside && column + c < WIDTH;
        six[c] = select(0.0, x[select(0u, start + (column + c), valid)], valid);
    }
    return six;
}

// Four gradients from number `at` on, of which `count` are there; zeros for the rest.
fn four_gradients(at: u32, count: u32) -> vec4<f32> {
    let last = max(count, 1u) - 1u;
    let four = vec4(g[at], g[at + min(1u, last)], g[at + min(2u, last)], g[at + last]);
    return select(vec4<f32>(), four, vec4(0u, 1u, 2u, 3u) < vec4(count));
}
