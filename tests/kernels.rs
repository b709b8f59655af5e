//! Every variant of every hand-written kernel against the formula in f64, on every adapter, over random extents.

#[path = "common/naive.rs"]
mod naive;
#[path = "common/raw.rs"]
mod raw;

use iresnet::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use iresnet::ops::matmul;
use iresnet::plan::launch::Launch;
use iresnet::plan::program::Suits;
use iresnet::plan::{conv2d as conv2d_plan, matmul as matmul_plan};

/// Largest error allowed, in units of sqrt(terms) · 2⁻²⁴: with operands below one in magnitude, every term and every
/// partial sum is rounded once to half a unit in the last place, and the errors add up like a random walk. The factor
/// covers partial sums above one and rounding that is not to nearest.
const ERRORS_PER_TERM: f64 = 24.0;

/// The same for operands in half precision, in units of sqrt(terms) · 2⁻¹¹: each of the two is rounded once, to half a unit,
/// or to a whole one where a device cuts off.
const F16_ERRORS_PER_TERM: f64 = 4.0;

/// The largest error allowed of a sum of so many terms below one in magnitude.
fn allowed(suits: Suits, terms: usize) -> f64 {
    let of_a_term = match suits {
        Suits::F16 => F16_ERRORS_PER_TERM * 2.0_f64.powi(-11),
        Suits::Any | Suits::Processors | Suits::Subgroups(_) => ERRORS_PER_TERM * 2.0_f64.powi(-24),
    };
    of_a_term * (terms as f64).sqrt()
}

fn check(what: &str, got: &[f32], want: &[f64], allowed: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() <= allowed, "{what}: element {i} is {got}, expected {want}");
    }
}

fn run(gpu: &raw::Gpu, launch: &Launch, a: &[f32], b: &[f32], len: usize) -> Vec<f32> {
    // NaN shows every element that is not written.
    let (a, b, out) = (gpu.buffer(a), gpu.buffer(b), gpu.buffer(&vec![f32::NAN; len]));
    let job = gpu.job(&raw::link(launch), launch.groups, &[&a, &b], &out);
    gpu.run(&job, 1);
    gpu.read(&out)
}

/// Runs every variant of every role on operands below one, and below `unit`.
fn conv2d_case(gpu: &raw::Gpu, g: &Geometry, unit: f32) {
    let [nx, nw, ny] = naive::conv2d_sizes(g);
    let small = |noise: Vec<f32>| noise.into_iter().map(|x| x * unit).collect::<Vec<f32>>();
    let (x, w, y) = (naive::noise(1, nx), naive::noise(2, nw), small(naive::noise(3, ny)));
    for role in [Role::Output, Role::InputGrad, Role::WeightGrad] {
        let taps = g.kernel[0] * g.kernel[1];
        let (a, b, splits, terms) = match role {
            Role::Output => (&x, &w, 1, g.in_channels * taps),
            Role::InputGrad => (&y, &w, 1, g.out_channels * taps),
            Role::WeightGrad => (&x, &y, conv2d_plan::weight_grad_splits(g), g.batch * g.out_height() * g.out_width()),
        };
        let want = naive::conv2d(g, role, a, b);
        let op = Conv2d { role, geometry: *g, precision: Precision::F16 };
        for launch in conv2d_plan::variants(&op) {
            if !gpu.fits(&launch) {
                continue;
            }
            let got = run(gpu, &launch, a, b, splits * want.len());
            let sums: Vec<f32> =
                (0..want.len()).map(|i| got[i..].iter().step_by(want.len()).take(splits).sum()).collect();
            let of_unit = if role == Role::Output { 1.0 } else { f64::from(unit) };
            let allowed = allowed(launch.suits, terms) * of_unit;
            check(&format!("{}: {role:?} {} {g:?}", gpu.name, launch.name), &sums, &want, allowed);
        }
    }
}

/// Extents that are easy to get wrong, then random ones.
fn geometries() -> Vec<Geometry> {
    let g = |batch, groups, [i, o]: [usize; 2], [h, w]: [usize; 2], kernel, stride, padding| Geometry {
        batch,
        groups,
        in_channels: i,
        out_channels: o,
        height: h,
        width: w,
        kernel,
        stride,
        padding,
    };
    let mut all = vec![
        // Nothing to share: one pixel, one channel, taps that all but one miss.
        g(1, 1, [1, 1], [1, 1], [3, 3], 1, [1, 1]),
        // Units of sixteen, eight and four rows, with rows, columns, channels and units left over.
        g(2, 1, [5, 35], [16, 10], [3, 3], 1, [1, 1]),
        g(3, 2, [12, 9], [7, 5], [3, 3], 1, [1, 1]),
        g(5, 1, [16, 16], [4, 4], [3, 3], 1, [1, 1]),
        g(2, 1, [3, 4], [5, 6], [3, 3], 1, [0, 2]),
        // Rows of four, one tile and several tiles, with rows, channels and units left over.
        g(3, 1, [4, 3], [9, 4], [3, 3], 1, [1, 1]),
        g(3, 2, [5, 9], [6, 8], [3, 3], 1, [1, 1]),
        g(2, 1, [8, 12], [10, 8], [3, 3], 1, [1, 1]),
        g(2, 2, [5, 9], [7, 16], [3, 3], 1, [1, 1]),
        g(2, 1, [4, 10], [6, 48], [3, 3], 1, [1, 1]),
        // 1 × 1, with and without what the tiled kernel wants.
        g(3, 2, [36, 40], [4, 6], [1, 1], 1, [0, 0]),
        g(2, 1, [6, 7], [3, 3], [1, 1], 1, [0, 0]),
        g(1, 1, [64, 96], [8, 8], [1, 1], 1, [0, 0]),
        // 1 × 1 on images whose pixels are one, two and three more than a multiple of four.
        g(3, 2, [36, 40], [7, 7], [1, 1], 1, [0, 0]),
        g(3, 1, [8, 76], [5, 2], [1, 1], 1, [0, 0]),
        g(2, 2, [4, 12], [3, 5], [1, 1], 1, [0, 0]),
        g(37, 1, [8, 4], [1, 1], [1, 1], 1, [0, 0]),
        // Strides, and rows that no output pixel reaches.
        g(2, 1, [8, 9], [9, 8], [3, 3], 2, [1, 1]),
        g(1, 3, [7, 3], [9, 10], [2, 4], 3, [0, 2]),
    ];
    let mut state = 12345_usize;
    let mut pick = |low: usize, high: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (state >> 33) % (high - low + 1)
    };
    for _ in 0..2 {
        let kernel = [pick(1, 4), pick(1, 4)];
        let padding = [pick(0, kernel[0] - 1), pick(0, kernel[1] - 1)];
        all.push(g(
            pick(1, 4),
            pick(1, 3),
            [pick(1, 18), pick(1, 18)],
            [pick(kernel[0], 12), pick(kernel[1], 12)],
            kernel,
            pick(1, 3),
            padding,
        ));
    }
    all
}

#[test]
fn conv2d_kernels_compute_the_formula() {
    let gpus = raw::open_all(true);
    assert!(!gpus.is_empty(), "no adapter");
    for gpu in &gpus {
        for g in geometries() {
            conv2d_case(gpu, &g, 1.0);
        }
    }
}

/// Cotangents of the mean over a batch and over an image are small, and half precision has no small numbers.
#[test]
fn small_cotangents_are_as_exact_as_large_ones() {
    for gpu in &raw::open_all(true) {
        for g in &geometries()[1..6] {
            conv2d_case(gpu, g, 2.0_f32.powi(-17));
        }
    }
}

/// 1 + 2⁻¹² is one in half precision: these kernels do round, the others do not. Sums have up to 24 bits, and keep them.
#[test]
fn half_precision_rounds_operands_and_not_sums() {
    let gpus = raw::open_all(true);
    for gpu in &gpus {
        assert!(gpu.has_f16 || !gpu.name.contains("llvmpipe"), "lavapipe computes in half precision");
        let geometry = Geometry { batch: 1, in_channels: 40, ..geometries()[0] };
        let op = Conv2d { role: Role::Output, geometry, precision: Precision::F16 };
        let [nx, nw, ny] = naive::conv2d_sizes(&geometry);
        let (x, w) = (vec![1.0 + 2.0_f32.powi(-12); nx], vec![1.0 + 2.0_f32.powi(-6); nw]);
        for launch in conv2d_plan::variants(&op).iter().filter(|launch| gpu.fits(launch)) {
            let of_x = if launch.suits == Suits::F16 { 1.0 } else { x[0] };
            let sum = run(gpu, launch, &x, &w, ny)[0];
            assert_eq!(sum, 40.0 * of_x * w[0], "{}: {}", gpu.name, launch.name);
        }
        let exact = Conv2d { precision: Precision::F32, ..op };
        assert!(conv2d_plan::variants(&exact).iter().all(|launch| launch.suits != Suits::F16), "it must be asked for");
    }
}

#[test]
fn matmul_kernels_compute_the_formula() {
    let gpus = raw::open_all(true);
    assert!(!gpus.is_empty(), "no adapter");
    for gpu in &gpus {
        for [batch, m, n, k] in
            [[1, 1, 1, 1], [3, 7, 5, 9], [2, 36, 68, 40], [2, 8, 70, 12], [2, 36, 8, 11], [3, 6, 12, 3], [2, 2, 32, 18]]
        {
            for transposes in 0..4 {
                let (transpose_a, transpose_b) = (transposes & 1 != 0, transposes & 2 != 0);
                let g = matmul::Geometry { batch, m, n, k, transpose_a, transpose_b };
                let (a, b) = (naive::noise(4, batch * m * k), naive::noise(5, batch * k * n));
                let want = naive::matmul(&g, &a, &b);
                for launch in matmul_plan::variants(&g).iter().filter(|launch| gpu.fits(launch)) {
                    let got = run(gpu, launch, &a, &b, want.len());
                    check(&format!("{}: {} {g:?}", gpu.name, launch.name), &got, &want, allowed(launch.suits, k));
                }
            }
        }
    }
}

/// Every module is valid for naga, within the default limits on workgroups; subgroup operations only where announced.
#[test]
fn kernels_are_valid() {
    let mut launches = Vec::new();
    for g in geometries() {
        for role in [Role::Output, Role::InputGrad, Role::WeightGrad] {
            launches.extend(conv2d_plan::variants(&Conv2d { role, geometry: g, precision: Precision::F16 }));
        }
    }
    for transposes in 0..4 {
        let (transpose_a, transpose_b) = (transposes & 1 != 0, transposes & 2 != 0);
        for k in [2, 16] {
            let g = matmul::Geometry { batch: 1, m: 8, n: 12, k, transpose_a, transpose_b };
            launches.extend(matmul_plan::variants(&g));
        }
    }
    for launch in launches {
        let source = raw::link(&launch);
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{}: {}", launch.name, error.emit_to_string(&source)));
        let capabilities = match launch.suits {
            Suits::Subgroups(_) => naga::valid::Capabilities::SUBGROUP,
            Suits::F16 => naga::valid::Capabilities::SHADER_FLOAT16,
            Suits::Any | Suits::Processors => naga::valid::Capabilities::empty(),
        };
        let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(&module);
        assert!(info.is_ok(), "{}: {}", launch.name, info.unwrap_err().emit_to_string(&source));
        let [entry] = module.entry_points.as_slice() else { panic!("{}: one entry point", launch.name) };
        assert_eq!(entry.name, "main");
        assert_eq!(entry.workgroup_size.iter().product::<u32>(), launch.workgroup_size, "{}", launch.name);
        let workgroup: u32 = module
            .global_variables
            .iter()
            .filter(|(_, global)| global.space == naga::AddressSpace::WorkGroup)
            .map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx()))
            .sum();
        assert_eq!(workgroup, launch.workgroup_bytes, "{}", launch.name);
    }
}
