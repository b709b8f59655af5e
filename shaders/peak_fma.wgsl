// Measures the adapter's multiply-add peak: 48 independent accumulators an invocation hide the latency of each.
//
// The coefficients are data and the sum is stored, so that no compiler can work it out beforehand or leave it out.
// Scalars, and four steps a round: llvmpipe keeps vectors that live across rounds in memory, which costs it a factor of 4.

const ROUNDS: u32 = 32u;

@group(0) @binding(0) var<storage, read> coefficients: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = grid_group(workgroup, workgroups) * 64u + local;
    let lane = f32(local);
    let x = coefficients[0];
    let y = coefficients[1];
    var a00 = lane * 1.0; var a01 = lane * 2.0; var a02 = lane * 3.0; var a03 = lane * 4.0;
    var a04 = lane * 5.0; var a05 = lane * 6.0; var a06 = lane * 7.0; var a07 = lane * 8.0;
    var a08 = lane * 9.0; var a09 = lane * 10.0; var a10 = lane * 11.0; var a11 = lane * 12.0;
    var a12 = lane * 13.0; var a13 = lane * 14.0; var a14 = lane * 15.0; var a15 = lane * 16.0;
    var a16 = lane * 17.0; var a17 = lane * 18.0; var a18 = lane * 19.0; var a19 = lane * 20.0;
    var a20 = lane * 21.0; var a21 = lane * 22.0; var a22 = lane * 23.0; var a23 = lane * 24.0;
    var a24 = lane * 25.0; var a25 = lane * 26.0; var a26 = lane * 27.0; var a27 = lane * 28.0;
    var a28 = lane * 29.0; var a29 = lane * 30.0; var a30 = lane * 31.0; var a31 = lane * 32.0;
    var a32 = lane * 33.0; var a33 = lane * 34.0; var a34 = lane * 35.0; var a35 = lane * 36.0;
    var a36 = lane * 37.0; var a37 = lane * 38.0; var a38 = lane * 39.0; var a39 = lane * 40.0;
    var a40 = lane * 41.0; var a41 = lane * 42.0; var a42 = lane * 43.0; var a43 = lane * 44.0;
    var a44 = lane * 45.0; var a45 = lane * 46.0; var a46 = lane * 47.0; var a47 = lane * 48.0;
    for (var round = 0u; round < ROUNDS; round++) {
        a00 = fma(a00, x, y); a01 = fma(a01, x, y); a02 = fma(a02, x, y); a03 = fma(a03, x, y);
        a04 = fma(a04, x, y); a05 = fma(a05, x, y); a06 = fma(a06, x, y); a07 = fma(a07, x, y);
        a08 = fma(a08, x, y); a09 = fma(a09, x, y); a10 = fma(a10, x, y); a11 = fma(a11, x, y);
        a12 = fma(a12, x, y); a13 = fma(a13, x, y); a14 = fma(a14, x, y); a15 = fma(a15, x, y);
        a16 = fma(a16, x, y); a17 = fma(a17, x, y); a18 = fma(a18, x, y); a19 = fma(a19, x, y);
        a20 = fma(a20, x, y); a21 = fma(a21, x, y); a22 = fma(a22, x, y); a23 = fma(a23, x, y);
        a24 = fma(a24, x, y); a25 = fma(a25, x, y); a26 = fma(a26, x, y); a27 = fma(a27, x, y);
        a28 = fma(a28, x, y); a29 = fma(a29, x, y); a30 = fma(a30, x, y); a31 = fma(a31, x, y);
        a32 = fma(a32, x, y); a33 = fma(a33, x, y); a34 = fma(a34, x, y); a35 = fma(a35, x, y);
        a36 = fma(a36, x, y); a37 = fma(a37, x, y); a38 = fma(a38, x, y); a39 = fma(a39, x, y);
        a40 = fma(a40, x, y); a41 = fma(a41, x, y); a42 = fma(a42, x, y); a43 = fma(a43, x, y);
        a44 = fma(a44, x, y); a45 = fma(a45, x, y); a46 = fma(a46, x, y); a47 = fma(a47, x, y);

        a00 = fma(a00, x, y); a01 = fma(a01, x, y); a02 = fma(a02, x, y); a03 = fma(a03, x, y);
        a04 = fma(a04, x, y); a05 = fma(a05, x, y); a06 = fma(a06, x, y); a07 = fma(a07, x, y);
        a08 = fma(a08, x, y); a09 = fma(a09, x, y); a10 = fma(a10, x, y); a11 = fma(a11, x, y);
        a12 = fma(a12, x, y); a13 = fma(a13, x, y); a14 = fma(a14, x, y); a15 = fma(a15, x, y);
        a16 = fma(a16, x, y); a17 = fma(a17, x, y); a18 = fma(a18, x, y); a19 = fma(a19, x, y);
        a20 = fma(a20, x, y); a21 = fma(a21, x, y); a22 = fma(a22, x, y); a23 = fma(a23, x, y);
        a24 = fma(a24, x, y); a25 = fma(a25, x, y); a26 = fma(a26, x, y); a27 = fma(a27, x, y);
        a28 = fma(a28, x, y); a29 = fma(a29, x, y); a30 = fma(a30, x, y); a31 = fma(a31, x, y);
        a32 = fma(a32, x, y); a33 = fma(a33, x, y); a34 = fma(a34, x, y); a35 = fma(a35, x, y);
        a36 = fma(a36, x, y); a37 = fma(a37, x, y); a38 = fma(a38, x, y); a39 = fma(a39, x, y);
        a40 = fma(a40, x, y); a41 = fma(a41, x, y); a42 = fma(a42, x, y); a43 = fma(a43, x, y);
        a44 = fma(a44, x, y); a45 = fma(a45, x, y); a46 = fma(a46, x, y); a47 = fma(a47, x, y);

        a00 = fma(a00, x, y); a01 = fma(a01, x, y); a02 = fma(a02, x, y); a03 = fma(a03, x, y);
        a04 = fma(a04, x, y); a05 = fma(a05, x, y); a06 = fma(a06, x, y); a07 = fma(a07, x, y);
        a08 = fma(a08, x, y); a09 = fma(a09, x, y); a10 = fma(a10, x, y); a11 = fma(a11, x, y);
        a12 = fma(a12, x, y); a13 = fma(a13, x, y); a14 = fma(a14, x, y); a15 = fma(a15, x, y);
        a16 = fma(a16, x, y); a17 = fma(a17, x, y); a18 = fma(a18, x, y); a19 = fma(a19, x, y);
        a20 = fma(a20, x, y); a21 = fma(a21, x, y); a22 = fma(a22, x, y); a23 = fma(a23, x, y);
        a24 = fma(a24, x, y); a25 = fma(a25, x, y); a26 = fma(a26, x, y); a27 = fma(a27, x, y);
        a28 = fma(a28, x, y); a29 = fma(a29, x, y); a30 = fma(a30, x, y); a31 = fma(a31, x, y);
        a32 = fma(a32, x, y); a33 = fma(a33, x, y); a34 = fma(a34, x, y); a35 = fma(a35, x, y);
        a36 = fma(a36, x, y); a37 = fma(a37, x, y); a38 = fma(a38, x, y); a39 = fma(a39, x, y);
        a40 = fma(a40, x, y); a41 = fma(a41, x, y); a42 = fma(a42, x, y); a43 = fma(a43, x, y);
        a44 = fma(a44, x, y); a45 = fma(a45, x, y); a46 = fma(a46, x, y); a47 = fma(a47, x, y);

        a00 = fma(a00, x, y); a01 = fma(a01, x, y); a02 = fma(a02, x, y); a03 = fma(a03, x, y);
        a04 = fma(a04, x, y); a05 = fma(a05, x, y); a06 = fma(a06, x, y); a07 = fma(a07, x, y);
        a08 = fma(a08, x, y); a09 = fma(a09, x, y); a10 = fma(a10, x, y); a11 = fma(a11, x, y);
        a12 = fma(a12, x, y); a13 = fma(a13, x, y); a14 = fma(a14, x, y); a15 = fma(a15, x, y);
        a16 = fma(a16, x, y); a17 = fma(a17, x, y); a18 = fma(a18, x, y); a19 = fma(a19, x, y);
        a20 = fma(a20, x, y); a21 = fma(a21, x, y); a22 = fma(a22, x, y); a23 = fma(a23, x, y);
        a24 = fma(a24, x, y); a25 = fma(a25, x, y); a26 = fma(a26, x, y); a27 = fma(a27, x, y);
        a28 = fma(a28, x, y); a29 = fma(a29, x, y); a30 = fma(a30, x, y); a31 = fma(a31, x, y);
        a32 = fma(a32, x, y); a33 = fma(a33, x, y); a34 = fma(a34, x, y); a35 = fma(a35, x, y);
        a36 = fma(a36, x, y); a37 = fma(a37, x, y); a38 = fma(a38, x, y); a39 = fma(a39, x, y);
        a40 = fma(a40, x, y); a41 = fma(a41, x, y); a42 = fma(a42, x, y); a43 = fma(a43, x, y);
        a44 = fma(a44, x, y); a45 = fma(a45, x, y); a46 = fma(a46, x, y); a47 = fma(a47, x, y);
    }
    sums[index] = a00 + a01 + a02 + a03 + a04 + a05 + a06 + a07 + a08 + a09 + a10 + a11
        + a12 + a13 + a14 + a15 + a16 + a17 + a18 + a19 + a20 + a21 + a22 + a23
        + a24 + a25 + a26 + a27 + a28 + a29 + a30 + a31 + a32 + a33 + a34 + a35
        + a36 + a37 + a38 + a39 + a40 + a41 + a42 + a43 + a44 + a45 + a46 + a47;
}
