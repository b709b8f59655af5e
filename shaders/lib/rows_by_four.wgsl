// Rows of an image and of a gradient whose lengths are multiples of four, for conv2d_3x3_weight_grad_subgroup.wgsl.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> g: array<vec4<f32>>;

// Six neighbours in the row of the image that begins at number `start`, from `column` on: one before a multiple of four.
// Zeros outside.
fn six_pixels(start: u32, column: u32, inside: bool) -> array<f32, 6> {
    let four = (column + 1u) / 4u;
    let at = select(0u, start / 4u + four, inside);
    let middle = select(vec4<f32>(), x[at], inside);
    let is_left = inside && four != 0u;
    let left = select(0.0, x[select(0u, at - 1u, is_left)].w, is_left);
    let is_right = inside && four + 1u < WIDTH / 4u;
    let right = select(0.0, x[select(0u, at + 1u, is_right)].x, is_right);
    return array<f32, 6>(left, middle.x, middle.y, middle.z, middle.w, right);
}

// Four gradients from number `at` on, all of them there (`count` is four) or none.
fn four_gradients(at: u32, count: u32) -> vec4<f32> {
    return select(vec4<f32>(), g[at / 4u], count != 0u);
}
