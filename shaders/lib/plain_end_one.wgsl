// The end of a kernel that stores its results and does nothing else.

@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

fn emit(index: u32, value: f32) {
    out0[index] = value;
}
