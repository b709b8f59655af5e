// Matrix product, for processors that run a workgroup as one SIMD vector of eight: C = A·B with A of ROWS × inner and
// B of inner × columns. Also the convolution with a 1 × 1 kernel in all its roles, which is this product with pixels
// along one of the axes.
//
// A lane keeps four rows of C and 64 columns (32 where WIDE is 0) in registers. Four steps of the inner axis at a time
// it loads its 4 × 4 numbers of A; B is the same for all lanes, so that each lane loads an eighth and hands it on with
// a broadcast. Every load is of four neighbours: of A along the inner axis, or along the rows where A is stored
// transposed; of B along the columns, or along the inner axis where B is stored transposed.
//
// Where what is loaded along is not a multiple of four long, as the pixels of 7 × 7 images, four neighbours are made of
// two loads. By how much they are shifted is known beforehand for B by columns, as four of its rows are a multiple of
// four; along the inner axis (RAGGED) it differs from lane to lane, and the last four of an image are filled up with
// zeros. Columns are filled up to fours for each image (SPAN), and what was filled in is not stored.
//
// Columns run over the pixels of several images, as does the inner axis, and an image begins X_IMAGE numbers after the
// one before. SPLIT_STEPS fours of the inner axis are summed; such parts are added afterwards. The operands are declared
// in lib/operands_ab.wgsl or lib/operands_ba.wgsl, `emit_row` in lib/emit_four.wgsl or lib/emit_ones.wgsl.

const LANES = 8u;
const ROW_TILES = (ROWS + 31u) / 32u;
const COLUMN_TILE = select(32u, 64u, WIDE != 0u);
const RAGGED = INNER % 4u != 0u;
const SPAN = select((COLUMNS + 3u) / 4u * 4u, COLUMNS, TRANSPOSE_B != 0u);
const ALL_COLUMNS = SPAN * COLUMN_IMAGES;
const COLUMN_TILES = (ALL_COLUMNS + COLUMN_TILE - 1u) / COLUMN_TILE;
const IMAGE_STEPS = (INNER + 3u) / 4u;
const STEPS = IMAGE_STEPS * INNER_IMAGES;

// Four neighbours out of eight, `by` (less than four) further on.
fn shifted(u: vec4<f32>, v: vec4<f32>, by: u32) -> vec4<f32> {
    let far = (by & 2u) != 0u;
    let t = select(u, vec4(u.zw, v.xy), far);
    return select(t, vec4(t.yzw, select(v.x, v.z, far)), (by & 1u) != 0u);
}

// Four neighbours of A from number `at` on.
fn four_a(at: u32) -> vec4<f32> {
    let u = a[at / 4u];
    if (RAGGED) {
        return shifted(u, a[at / 4u + 1u], at % 4u);
    }
    return u;
}

// Four neighbours of B from number `at` on, in row `j` of four.
fn four_b(at: u32, j: u32) -> vec4<f32> {
    let u = b[at / 4u];
    if (TRANSPOSE_B != 0u) {
        if (RAGGED) {
            return shifted(u, b[at / 4u + 1u], at % 4u);
        }
    } else if (j * COLUMNS % 4u != 0u) {
        return shifted(u, b[at / 4u + 1u], j * COLUMNS % 4u);
    }
    return u;
}

// Zeros for what lies past the end of an inner axis.
fn inside(v: mat4x4<f32>, inner: u32) -> mat4x4<f32> {
    if (RAGGED) {
        let keep = vec4(inner) + vec4(0u, 1u, 2u, 3u) < vec4(INNER);
        let zero = vec4<f32>();
        return mat4x4(
            select(zero, v[0], keep), select(zero, v[1], keep), select(zero, v[2], keep), select(zero, v[3], keep),
        );
    }
    return v;
}

// Four columns by four rows more: `a` has its rows in a vector and the inner axis over vectors, `b` as it was loaded.
fn block(sum: mat4x4<f32>, a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    if (TRANSPOSE_B != 0u) {
        return mat4x4(dot4(sum[0], a, b[0]), dot4(sum[1], a, b[1]), dot4(sum[2], a, b[2]), dot4(sum[3], a, b[3]));
    }
    return mat4x4(
        dot4(sum[0], a, vec4(b[0].x, b[1].x, b[2].x, b[3].x)),
        dot4(sum[1], a, vec4(b[0].y, b[1].y, b[2].y, b[3].y)),
        dot4(sum[2], a, vec4(b[0].z, b[1].z, b[2].z, b[3].z)),
        dot4(sum[3], a, vec4(b[0].w, b[1].w, b[2].w, b[3].w)),
    );
}

fn dot4(sum: vec4<f32>, a: mat4x4<f32>, b: vec4<f32>) -> vec4<f32> {
    return fma(a[3], vec4(b.w), fma(a[2], vec4(b.z), fma(a[1], vec4(b.y), fma(a[0], vec4(b.x), sum))));
}

// What one lane loaded, for all of them. The number of the lane must be a literal.
fn all0(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 0u), subgroupBroadcast(v[1], 0u), subgroupBroadcast(v[2], 0u), subgroupBroadcast(v[3], 0u),
    );
}

fn all1(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 1u), subgroupBroadcast(v[1], 1u), subgroupBroadcast(v[2], 1u), subgroupBroadcast(v[3], 1u),
    );
}

fn all2(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 2u), subgroupBroadcast(v[1], 2u), subgroupBroadcast(v[2], 2u), subgroupBroadcast(v[3], 2u),
    );
}

fn all3(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 3u), subgroupBroadcast(v[1], 3u), subgroupBroadcast(v[2], 3u), subgroupBroadcast(v[3], 3u),
    );
}

fn all4(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 4u), subgroupBroadcast(v[1], 4u), subgroupBroadcast(v[2], 4u), subgroupBroadcast(v[3], 4u),
    );
}

fn all5(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 5u), subgroupBroadcast(v[1], 5u), subgroupBroadcast(v[2], 5u), subgroupBroadcast(v[3], 5u),
    );
}

fn all6(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 6u), subgroupBroadcast(v[1], 6u), subgroupBroadcast(v[2], 6u), subgroupBroadcast(v[3], 6u),
    );
}

fn all7(v: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        subgroupBroadcast(v[0], 7u), subgroupBroadcast(v[1], 7u), subgroupBroadcast(v[2], 7u), subgroupBroadcast(v[3], 7u),
    );
}

// Row `r` of the four that a lane has.
fn row_of(row_tile: u32, lane: u32, r: u32) -> u32 {
    return row_tile + select(lane + r * LANES, lane * 4u + r, TRANSPOSE_A != 0u);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) num: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = grid_group(wid, num);
    if (group >= grid.count) {
        return;
    }
    let row_tile = group % ROW_TILES * 32u;
    let column_tile = group / ROW_TILES % COLUMN_TILES * COLUMN_TILE;
    let outer = group / (ROW_TILES * COLUMN_TILES) % OUTER;
    let split = group / (ROW_TILES * COLUMN_TILES * OUTER);

    // Addresses of the four loads of A and of the four or eight of B at step 0. Rows and columns past the end stand in
    // for themselves with the last ones and are not stored.
    var a_at: vec4<u32>;
    if (TRANSPOSE_A != 0u) {
        a_at = vec4(outer * A_OUTER + min(row_tile + lane * 4u, ROWS - 4u)) + vec4(0u, 1u, 2u, 3u) * A_STEP;
    } else {
        a_at = vec4(outer * A_OUTER) + min(vec4(row_tile + lane) + vec4(0u, 8u, 16u, 24u), vec4(ROWS - 1u)) * A_STEP;
    }
    var b_at: vec4<u32>;
    var b2_at: vec4<u32>;
    if (TRANSPOSE_B != 0u) {
        let columns = vec4(column_tile + lane) + vec4(0u, 8u, 16u, 24u);
        b_at = vec4(outer * B_OUTER) + min(columns, vec4(ALL_COLUMNS - 1u)) * B_STEP;
        b2_at = vec4(outer * B_OUTER) + min(columns + 32u, vec4(ALL_COLUMNS - 1u)) * B_STEP;
    } else {
        let column = min(column_tile + lane * 4u, ALL_COLUMNS - 4u);
        let column2 = min(column_tile + lane * 4u + 32u, ALL_COLUMNS - 4u);
        let steps = vec4(0u, 1u, 2u, 3u) * B_STEP + outer * B_OUTER;
        b_at = steps + (column / SPAN * B_IMAGE + column % SPAN);
        b2_at = steps + (column2 / SPAN * B_IMAGE + column2 % SPAN);
    }

    var s0 = mat4x4<f32>();
    var s1 = mat4x4<f32>();
    var s2 = mat4x4<f32>();
    var s3 = mat4x4<f32>();
    var s4 = mat4x4<f32>();
    var s5 = mat4x4<f32>();
    var s6 = mat4x4<f32>();
    var s7 = mat4x4<f32>();
    var t0 = mat4x4<f32>();
    var t1 = mat4x4<f32>();
    var t2 = mat4x4<f32>();
    var t3 = mat4x4<f32>();
    var t4 = mat4x4<f32>();
    var t5 = mat4x4<f32>();
    var t6 = mat4x4<f32>();
    var t7 = mat4x4<f32>();
    let end = min((split + 1u) * SPLIT_STEPS, STEPS);
    for (var step = split * SPLIT_STEPS; step < end; step++) {
        let image = step / IMAGE_STEPS;
        let inner = step % IMAGE_STEPS * 4u;
        let p = a_at + (image * A_IMAGE + inner * select(1u, A_STEP, TRANSPOSE_A != 0u));
        var m = mat4x4(four_a(p.x), four_a(p.y), four_a(p.z), four_a(p.w));
        if (TRANSPOSE_A == 0u) {
            m = transpose(inside(m, inner));
        }
        let shift = select(inner * B_STEP, image * B_IMAGE + inner, TRANSPOSE_B != 0u);
        let q = b_at + shift;
        let v = inside(mat4x4(four_b(q.x, 0u), four_b(q.y, 1u), four_b(q.z, 2u), four_b(q.w, 3u)), inner);
        s0 = block(s0, m, all0(v));
        s1 = block(s1, m, all1(v));
        s2 = block(s2, m, all2(v));
        s3 = block(s3, m, all3(v));
        s4 = block(s4, m, all4(v));
        s5 = block(s5, m, all5(v));
        s6 = block(s6, m, all6(v));
        s7 = block(s7, m, all7(v));
        if (WIDE != 0u) {
            let r = b2_at + shift;
            let u = inside(mat4x4(four_b(r.x, 0u), four_b(r.y, 1u), four_b(r.z, 2u), four_b(r.w, 3u)), inner);
            t0 = block(t0, m, all0(u));
            t1 = block(t1, m, all1(u));
            t2 = block(t2, m, all2(u));
            t3 = block(t3, m, all3(u));
            t4 = block(t4, m, all4(u));
            t5 = block(t5, m, all5(u));
            t6 = block(t6, m, all6(u));
            t7 = block(t7, m, all7(u));
        }
    }

    var sums = array<mat4x4<f32>, 16>(s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7);
    if (TRANSPOSE_B != 0u) {
        // Neighbouring columns are with different lanes.
        for (var k = 0u; k < COLUMN_TILE * 4u; k++) {
            let column = column_tile + k / 128u * 32u + k / 4u % 4u * LANES + k / 16u % 8u;
            let row = row_of(row_tile, lane, k % 4u);
            if (row < ROWS && column < ALL_COLUMNS) {
                let at = split * C_SPLIT + outer * C_OUTER + column / SPAN * C_IMAGE + row * COLUMNS + column % SPAN;
                emit_row(at, 1u, vec4(sums[k / 16u][k / 4u % 4u][k % 4u]));
            }
        }
    } else {
        // A block is read from the array once for its four rows: each access with a computed index is a gather. Nothing is
        // stored past the last column, and a loop of unknown length is not unrolled, which would double what there is to
        // compile.
        let fours = min(COLUMN_TILE, ALL_COLUMNS - column_tile) / 4u;
        for (var k = 0u; k < fours; k++) {
            let column = column_tile + k * 4u;
            let at = split * C_SPLIT + outer * C_OUTER + column / SPAN * C_IMAGE + column % SPAN;
            let rows = transpose(sums[k]);
            store(at, column, row_of(row_tile, lane, 0u), rows[0]);
            store(at, column, row_of(row_tile, lane, 1u), rows[1]);
            store(at, column, row_of(row_tile, lane, 2u), rows[2]);
            store(at, column, row_of(row_tile, lane, 3u), rows[3]);
        }
    }
}

// Stores four neighbours of a row, of whose image `at` is the place of `column` in its first row.
fn store(at: u32, column: u32, row: u32, four: vec4<f32>) {
    if (row < ROWS) {
        emit_row(at + row * COLUMNS, min(4u, COLUMNS - column % SPAN), four);
    }
}
