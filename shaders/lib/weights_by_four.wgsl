// Weights whose number is a multiple of four, for the 3 × 3 kernels with subgroups: read by fours.

@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;

// The nine weights from number `at` on, row by row. They begin anywhere in the first of three fours.
fn nine_weights(at: u32) -> mat3x3<f32> {
    let first = w[at / 4u];
    let second = w[at / 4u + 1u];
    let third = w[at / 4u + 2u];
    let far = (at & 2u) != 0u;
    let a = select(first, vec4(first.zw, second.xy), far);
    let b = select(second, vec4(second.zw, third.xy), far);
    let c = select(third.xy, third.zw, far);
    let odd = (at & 1u) != 0u;
    let d = select(a, vec4(a.yzw, b.x), odd);
    let e = select(b, vec4(b.yzw, c.x), odd);
    return mat3x3(d.xyz, vec3(d.w, e.xy), vec3(e.zw, select(c.x, c.y, odd)));
}
