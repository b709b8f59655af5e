//! Times every variant of the hand-written kernels: `cargo bench --bench kernels [-- ADAPTER] [SHAPE]`.
//!
//! Prints GFLOP/s and the ratio to the adapter's own multiply-add peak, which is measured between the kernels, so that
//! the ratios hold on a machine that is busy with something else. Each figure is the best of several runs.

#[path = "../tests/common/naive.rs"]
mod naive;
#[path = "../tests/common/raw.rs"]
mod raw;

use iresnet::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use iresnet::ops::matmul;
use iresnet::plan::launch::Launch;
use iresnet::plan::{conv2d as conv2d_plan, matmul as matmul_plan};

/// How often each kernel is timed.
const ROUNDS: usize = 7;
/// About how long one timing lasts.
const SECONDS: f64 = 0.1;
/// Workgroups of the peak kernel, invocations in one, and operations of an invocation: 32 rounds of four steps of 48
/// multiply-adds.
const PEAK_GROUPS: usize = 4096;
const PEAK_GROUP: usize = 64;
const PEAK_OPS: usize = 32 * 4 * 48 * 2;
const PEAK: &str = concat!(include_str!("../shaders/peak_fma.wgsl"), include_str!("../shaders/lib/grid.wgsl"));

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let adapter = words.first().map(|word| word.to_lowercase()).unwrap_or_default();
    let shape = words.get(1).cloned().unwrap_or_default();
    for gpu in raw::open_all(false).iter().filter(|gpu| gpu.name.to_lowercase().contains(&adapter)) {
        println!("{}", gpu.name);
        let bench = Bench::new(gpu);
        for g in conv2d_shapes() {
            for role in [Role::Output, Role::InputGrad, Role::WeightGrad] {
                let [nx, nw, ny] = naive::conv2d_sizes(&g);
                let [a, b, out] = match role {
                    Role::Output => [nx, nw, ny],
                    Role::InputGrad => [ny, nw, nx],
                    Role::WeightGrad => [nx, ny, nw * conv2d_plan::weight_grad_splits(&g)],
                };
                let label = format!(
                    "{role:?} {}→{} {}×{} {}×{} n{}",
                    g.in_channels, g.out_channels, g.kernel[0], g.kernel[1], g.height, g.width, g.batch
                );
                if label.contains(&shape) {
                    let op = Conv2d { role, geometry: g, precision: Precision::F16 };
                    bench.variants(&label, &conv2d_plan::variants(&op), g.flops(), [a, b, out]);
                }
            }
        }
        for g in matmul_shapes() {
            let letters = [(g.transpose_a, "ᵀ"), (g.transpose_b, "ᵀ")].map(|(t, letter)| if t { letter } else { "" });
            let label = format!("matmul {}×{}{}·{}×{}{} n{}", g.m, g.k, letters[0], g.k, g.n, letters[1], g.batch);
            if label.contains(&shape) {
                let flops = 2 * (g.batch * g.m * g.n * g.k) as u64;
                let sizes = [g.batch * g.m * g.k, g.batch * g.k * g.n, g.batch * g.m * g.n];
                bench.variants(&label, &matmul_plan::variants(&g), flops, sizes);
            }
        }
    }
}

fn conv2d_shapes() -> Vec<Geometry> {
    let mut all = Vec::new();
    for [channels, size, batch] in [
        [64, 16, 32],
        [16, 32, 32],
        [32, 32, 32],
        [32, 16, 32],
        [64, 8, 32],
        [128, 8, 32],
        [128, 4, 32],
        [256, 8, 32],
        [512, 4, 32],
        [64, 28, 32],
        [64, 14, 32],
        [64, 7, 32],
        [32, 32, 1],
        [64, 16, 1],
        [128, 8, 1],
    ] {
        for kernel in [3, 1] {
            all.push(Geometry {
                batch,
                groups: 1,
                in_channels: channels,
                out_channels: channels,
                height: size,
                width: size,
                kernel: [kernel; 2],
                stride: 1,
                padding: [kernel / 2; 2],
            });
        }
    }
    all
}

fn matmul_shapes() -> Vec<matmul::Geometry> {
    [[1, 256, 256, 256, 0, 0], [1, 128, 1024, 10, 0, 1], [1, 64, 256, 256, 0, 1], [1, 256, 256, 64, 1, 0]]
        .map(|[batch, m, n, k, a, b]| matmul::Geometry { batch, m, n, k, transpose_a: a != 0, transpose_b: b != 0 })
        .to_vec()
}

struct Bench<'a> {
    gpu: &'a raw::Gpu,
    peak: raw::Job,
}

impl<'a> Bench<'a> {
    fn new(gpu: &'a raw::Gpu) -> Self {
        let coefficients = gpu.buffer(&[0.999, 1e-3, 0.0, 0.0]);
        let peak = gpu.job(PEAK, PEAK_GROUPS as u32, &[&coefficients], &gpu.empty(PEAK_GROUPS * PEAK_GROUP));
        gpu.run(&peak, 1);
        Self { gpu, peak }
    }

    fn variants(&self, label: &str, launches: &[Launch], flops: u64, [a, b, out]: [usize; 3]) {
        let (a, b) = (self.gpu.buffer(&naive::noise(1, a)), self.gpu.buffer(&naive::noise(2, b)));
        let out = self.gpu.empty(out);
        for launch in launches.iter().filter(|launch| self.gpu.fits(launch)) {
            let start = std::time::Instant::now();
            let job = self.gpu.job(&raw::link(launch), launch.groups, &[&a, &b], &out);
            let first = self.gpu.run(&job, 1);
            let compile = start.elapsed() - first;
            let times = (SECONDS / self.gpu.run(&job, 1).as_secs_f64()).ceil().clamp(1.0, 500.0) as u32;
            let (mut best, mut peak, mut ratios) = (f64::MAX, f64::MAX, Vec::new());
            for _ in 0..ROUNDS {
                let seconds = self.gpu.run(&job, times).as_secs_f64() / f64::from(times);
                let peak_seconds = self.gpu.run(&self.peak, 1).as_secs_f64();
                let peak_flops = (PEAK_OPS * PEAK_GROUPS * PEAK_GROUP) as f64;
                ratios.push(flops as f64 / seconds * peak_seconds / peak_flops);
                best = best.min(seconds);
                peak = peak.min(peak_seconds / peak_flops);
            }
            ratios.sort_by(f64::total_cmp);
            println!(
                "{label:32} {:12} {:9.3} ms {:7.2} GFLOP/s, ratio {:.2} of best, {:.2} median; compiled in {:.1} s",
                launch.name,
                best * 1e3,
                flops as f64 / best / 1e9,
                flops as f64 / best * peak,
                ratios[ROUNDS / 2],
                compile.as_secs_f64()
            );
        }
    }
}
