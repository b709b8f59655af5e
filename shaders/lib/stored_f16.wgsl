// Operands in workgroup memory rounded to half precision, for lib/tile.wgsl: half the bytes to read. Sums stay f32.
//
// Cotangents are small: of a loss per dimension and sample about 1e-5, below the 6e-5 at which half precision begins to lose
// bits. So all operands are scaled by a power of two, which rounds nothing, and sums are scaled back. That leaves 256 as the
// largest number; what is larger becomes infinite, and a step that it spoils is not made.

alias Stored = f16;

const SCALE = 256.0;

fn stored(value: f32) -> Stored {
    return f16(SCALE * value);
}

// A sum of products of two stored numbers.
fn restored(sum: f32) -> f32 {
    return sum / (SCALE * SCALE);
}
