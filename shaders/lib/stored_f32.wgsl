// Operands in workgroup memory as they are, for lib/tile.wgsl.

alias Stored = f32;

fn stored(value: f32) -> Stored {
    return value;
}

// A sum of products of two stored numbers.
fn restored(sum: f32) -> f32 {
    return sum;
}
