//! What the adapter can do at most: the yardstick for kernels, and for how much work a submission may hold.

use super::pipeline::{Wanted, pipelines};
use super::tune::Bench;
use super::{Gpu, Rate, lock};
use crate::error::Result;
use crate::plan::program::{Binding, Kernel};
use crate::wgsl::wgsl;

/// Measured limits of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Peak {
    /// Billions of floating-point operations a second in multiply-adds, two operations each.
    pub gflops: f64,
    /// Billions of bytes read plus written a second by a copying kernel.
    pub copy_gb_per_s: f64,
}

/// Operations of an invocation of `peak_fma.wgsl`: 32 rounds of 4 steps of 48 multiply-adds.
const FMA_OPS: f64 = 32.0 * 4.0 * 48.0 * 2.0;

/// Workgroup sizes of the shaders.
const FMA_GROUP: u32 = 64;
const COPY_GROUP: u64 = 256;

/// Bytes copied, beyond the caches of most GPUs.
const COPY_BYTES: u64 = 128 << 20;

/// Most workgroups of the multiply-add kernel: its results are 16 MiB then.
const MOST_GROUPS: u32 = 1 << 16;

/// Seconds that a measurement should last at least, where it can.
const LONG_ENOUGH: f64 = 0.03;

/// Measurements of which the best counts.
const SAMPLES: usize = 3;

/// Share of the peak that a kernel is expected to reach, for cutting submissions.
const EXPECTED: f64 = 0.2;

/// The multiply-add kernel, ready to be timed again and again: between other kernels, so that whatever else the machine
/// does weighs on both alike.
pub struct Yardstick<'a> {
    bench: Bench<'a>,
    pipeline: wgpu::ComputePipeline,
    groups: u32,
    repeats: u32,
}

impl<'a> Yardstick<'a> {
    /// Compiles the kernel and finds out how much of it lasts long enough to be timed.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if the device fails or has no room for the results.
    pub async fn new(gpu: &'a Gpu) -> Result<Self> {
        let pipeline = pipeline(gpu, "peak_fma", wgsl!("../../shaders/peak_fma.wgsl")).await?;
        let most = MOST_GROUPS.min((gpu.limits().binding_bytes / 4 / u64::from(FMA_GROUP)) as u32);
        let bench = bench(gpu, "peak_fma", 32, 4 * u64::from(most * FMA_GROUP))?;
        let mut groups = 64;
        let mut seconds = bench.sample(groups, &pipeline, 1).await?;
        while seconds < LONG_ENOUGH && groups < most {
            groups = (groups * 4).min(most);
            seconds = bench.sample(groups, &pipeline, 1).await?;
        }
        Ok(Self { bench, pipeline, groups, repeats: repeats(seconds) })
    }

    /// Billions of floating-point operations a second, two a multiply-add, in one measurement of some 30 ms.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if the device fails.
    pub async fn gflops(&self) -> Result<f64> {
        let seconds = self.bench.sample(self.groups, &self.pipeline, self.repeats).await?;
        Ok(FMA_OPS * f64::from(self.groups * FMA_GROUP) / seconds * 1e-9)
    }
}

/// Measures the multiply-add peak and the copy bandwidth, the best of a few samples of each: what is sought is what the
/// adapter can do, not what else it was doing. Takes under a second on a card, a few on an emulator. The estimates that
/// cut work into submissions follow these measurements from then on, in sessions bound afterwards.
///
/// # Errors
/// [`crate::error::Error::Gpu`] if the device fails or has no room for the buffers.
pub async fn peak(gpu: &Gpu) -> Result<Peak> {
    let yardstick = Yardstick::new(gpu).await?;
    let mut gflops = 0.0_f64;
    for _ in 0..SAMPLES {
        gflops = gflops.max(yardstick.gflops().await?);
    }

    let pipeline = pipeline(gpu, "peak_copy", wgsl!("../../shaders/peak_copy.wgsl")).await?;
    let limits = gpu.limits();
    let bytes = COPY_BYTES.min(limits.binding_bytes).min(limits.buffer_bytes) / 16 * 16;
    let groups = (bytes / 16).div_ceil(COPY_GROUP) as u32;
    let bench = bench(gpu, "peak_copy", bytes, bytes)?;
    let repeats = repeats(bench.sample(groups, &pipeline, 1).await?);
    let mut seconds = f64::INFINITY;
    for _ in 0..SAMPLES {
        seconds = seconds.min(bench.sample(groups, &pipeline, repeats).await?);
    }
    let copy_gb_per_s = 2.0 * bytes as f64 / seconds * 1e-9;

    let rate = Rate { flops_per_s: EXPECTED * gflops * 1e9, bytes_per_s: EXPECTED * copy_gb_per_s * 1e9 };
    *lock(&gpu.0.rate) = rate;
    Ok(Peak { gflops, copy_gb_per_s })
}

async fn pipeline(gpu: &Gpu, label: &str, file: &str) -> Result<wgpu::ComputePipeline> {
    let grid = wgsl!("../../shaders/lib/grid.wgsl");
    let wanted = Wanted { label: label.into(), source: format!("{file}{grid}").into(), inputs: 1, outputs: 1 };
    Ok(pipelines(gpu, &[wanted]).await?.remove(0))
}

/// How often to repeat what takes `once` seconds.
fn repeats(once: f64) -> u32 {
    (LONG_ENOUGH / once.max(1e-9)).ceil().clamp(1.0, 1000.0) as u32
}

fn bench<'a>(gpu: &'a Gpu, label: &str, input: u64, output: u64) -> Result<Bench<'a>> {
    let kernel = Kernel {
        label: label.into(),
        family: label.into(),
        inputs: 1,
        outputs: 1,
        variants: Vec::new(),
        flops: 0,
        traffic: 0,
    };
    let binding = |bytes| Binding { buffer: 0, offset: 0, bytes };
    Bench::new(gpu, &kernel, &[binding(input), binding(output)])
}
