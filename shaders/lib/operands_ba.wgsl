// The operands of a product in the order of a convolution, which names the pixels first: B, A.

@group(0) @binding(0) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
