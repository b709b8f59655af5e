// Hands the first `count` of four neighbouring results to `emit`, one by one: number `at` is the first of them.
fn emit_row(at: u32, count: u32, values: vec4<f32>) {
    for (var k = 0u; k < count; k++) {
        emit(at + k, values[k]);
    }
}
