// A product C = A·B of any extents, tile by tile through workgroup memory: the way of real GPUs.
//
// The file it is linked with says what the operands are: `fetch_a(outer, row, inner)` and `fetch_b(outer, inner, column)`
// give an element, `place(outer, row, column, split)` says where one of C goes. They are only called with indices inside
// ROWS, INNER and COLUMNS. OUTER counts independent products, INNER_PER_SPLIT how much of the inner axis one part of
// the sum covers. lib/stored_f32.wgsl and lib/stored_f16.wgsl are the ways to keep operands.
//
// 64 invocations as 8 × 8 compute a tile of TILE × TILE (32 or 64), each 4 × 4 or 8 × 8 of it: the second four rows and
// columns are 32 further on. All sums run over the inner axis in order.

const DEPTH = select(32u, 8u, TILE == 64u); // of the inner axis at a time
const ELEMENTS = TILE * DEPTH;
const ROW_TILES = (ROWS + TILE - 1u) / TILE;
const COLUMN_TILES = (COLUMNS + TILE - 1u) / TILE;

// By inner index, then by row or column.
var<workgroup> tile_a: array<Stored, ELEMENTS>;
var<workgroup> tile_b: array<Stored, ELEMENTS>;

fn four_of_a(at: u32) -> vec4<f32> {
    return vec4<f32>(vec4(tile_a[at], tile_a[at + 1u], tile_a[at + 2u], tile_a[at + 3u]));
}

fn four_of_b(at: u32) -> vec4<f32> {
    return vec4<f32>(vec4(tile_b[at], tile_b[at + 1u], tile_b[at + 2u], tile_b[at + 3u]));
}

// Row r of the sum gains a[r]·b.
fn rank_one(sum: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(vec4(a.x), b, sum[0]), fma(vec4(a.y), b, sum[1]), fma(vec4(a.z), b, sum[2]), fma(vec4(a.w), b, sum[3]),
    );
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_group(wid, num);
    if (group >= grid.count) {
        return;
    }
    let row0 = group % ROW_TILES * TILE;
    let column0 = group / ROW_TILES % COLUMN_TILES * TILE;
    let outer = group / (ROW_TILES * COLUMN_TILES) % OUTER;
    let split = group / (ROW_TILES * COLUMN_TILES * OUTER);
    let across = lane % 8u;
    let down = lane / 8u;

    var s00 = mat4x4<f32>();
    var s01 = mat4x4<f32>();
    var s10 = mat4x4<f32>();
    var s11 = mat4x4<f32>();
    let end = min((split + 1u) * INNER_PER_SPLIT, INNER);
    for (var inner0 = split * INNER_PER_SPLIT; inner0 < end; inner0 += DEPTH) {
        // One loop for both operands, too long for a driver to unroll: the fetches are most of what there is to compile.
        // Neighbouring invocations take neighbours along the inner axis of A and along the columns of B.
        for (var e = lane; e < 2u * ELEMENTS; e += 64u) {
            let of_a = e < ELEMENTS;
            let inner = select(e % ELEMENTS / TILE, e % DEPTH, of_a);
            let across_inner = select(e % TILE, e / DEPTH, of_a);
            var value = 0.0;
            if (inner0 + inner < end) {
                if (of_a) {
                    if (row0 + across_inner < ROWS) {
                        value = fetch_a(outer, row0 + across_inner, inner0 + inner);
                    }
                } else if (column0 + across_inner < COLUMNS) {
                    value = fetch_b(outer, inner0 + inner, column0 + across_inner);
                }
            }
            if (of_a) {
                tile_a[inner * TILE + across_inner] = stored(value);
            } else {
                tile_b[inner * TILE + across_inner] = stored(value);
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < ELEMENTS; k += TILE) {
            let a0 = four_of_a(k + down * 4u);
            let b0 = four_of_b(k + across * 4u);
            s00 = rank_one(s00, a0, b0);
            if (TILE == 64u) {
                let a1 = four_of_a(k + down * 4u + 32u);
                let b1 = four_of_b(k + across * 4u + 32u);
                s01 = rank_one(s01, a0, b1);
                s10 = rank_one(s10, a1, b0);
                s11 = rank_one(s11, a1, b1);
            }
        }
        workgroupBarrier();
    }

    var sums = array<mat4x4<f32>, 4>(s00, s01, s10, s11);
    for (var k = 0u; k < TILE * TILE / 64u; k++) {
        let row = row0 + k / 32u * 32u + down * 4u + k / 4u % 4u;
        let column = column0 + k / 16u % 2u * 32u + across * 4u + k % 4u;
        if (row < ROWS && column < COLUMNS) {
            emit(place(outer, row, column, split), restored(sums[k / 16u][k / 4u % 4u][k % 4u]));
        }
    }
}
