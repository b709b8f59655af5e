//! Timing of one case.

use std::time::{Duration, Instant};

use super::cases::Case;
use crate::error::Result;
use crate::gpu::{Gpu, Memory, Session, Tuning, Yardstick};
use crate::plan::{self, Limits};
use crate::random::Key;

/// A measured case.
pub(super) struct Measured {
    /// Seconds of one run, the median of the samples.
    pub(super) seconds: f64,
    /// The adapter's multiply-add rate in GFLOP/s meanwhile, the median of a measurement after each sample.
    pub(super) peak_gflops: f64,
    /// The variant that ran, where the case is one kernel.
    pub(super) variant: Option<String>,
}

/// How long a sample should take at least.
const SAMPLE: f64 = 0.05;

/// Most repetitions in a sample: recorded one by one, they cost the host memory.
const MOST_REPEATS: f64 = 500.0;

/// Samples at least and at most.
const SAMPLES: [usize; 2] = [5, 25];

/// What must do when patience ends.
const FEWEST: usize = 3;

/// Time after which no more samples are taken.
const PATIENCE: Duration = Duration::from_secs(4);

/// The middle half of the samples must agree within this share of the median.
const STABLE: f64 = 0.03;

/// Times `case`. A quick measurement takes the fewest samples.
pub(super) async fn measure(
    gpu: &Gpu,
    case: &Case,
    tuning: &mut Tuning,
    yardstick: &Yardstick<'_>,
    quick: bool,
) -> Result<Measured> {
    let limits = Limits {
        storage_buffers: gpu.limits().storage_buffers as usize,
        storage_binding_bytes: gpu.limits().binding_bytes,
        buffer_bytes: gpu.limits().buffer_bytes,
    };
    let mut program = plan::compile(&case.name(), &case.graph, &limits)?;
    let mut memory = Memory::new(gpu);
    for (number, (name, id)) in (0..).zip(case.graph.inputs()) {
        let shape = case.graph.shape(*id).clone();
        let numbers = Key::new(1, 0, number).normals(shape.len());
        memory.alloc(name, shape)?;
        memory.write(name, &numbers);
    }
    for (name, id) in case.graph.outputs() {
        memory.alloc(name, case.graph.shape(*id).clone())?;
    }

    // The first run pays for whatever the driver puts off; the second tells how often to repeat.
    let session = Session::bind(gpu, &program, &memory, tuning).await?;
    sample(gpu, &session).await?;
    let once = sample(gpu, &session).await?;
    let repeats = (SAMPLE / once.max(1e-9)).ceil().clamp(1.0, MOST_REPEATS);
    program.commands = vec![program.commands; repeats as usize].concat();
    let session = Session::bind(gpu, &program, &memory, tuning).await?;

    let start = Instant::now();
    let [least, most] = SAMPLES;
    let (mut samples, mut peaks) = (Vec::new(), Vec::new());
    loop {
        samples.push(sample(gpu, &session).await? / repeats);
        peaks.push(yardstick.gflops().await?);
        samples.sort_by(f64::total_cmp);
        let enough = samples.len() >= least && (quick || is_stable(&samples));
        let out_of_patience = samples.len() >= FEWEST && start.elapsed() > PATIENCE;
        if enough || out_of_patience || samples.len() == most {
            break;
        }
    }
    let variant = match program.kernels.as_slice() {
        [kernel] => tuning.choices(gpu).remove(&kernel.label).or_else(|| Some(kernel.variants[0].name.clone())),
        _ => None,
    };
    peaks.sort_by(f64::total_cmp);
    Ok(Measured { seconds: samples[samples.len() / 2], peak_gflops: peaks[peaks.len() / 2], variant })
}

/// Seconds from submitting a run to its end.
async fn sample(gpu: &Gpu, session: &Session) -> Result<f64> {
    gpu.idle().await?;
    let start = Instant::now();
    session.run();
    gpu.idle().await?;
    Ok(start.elapsed().as_secs_f64())
}

/// Whether sorted samples agree.
fn is_stable(sorted: &[f64]) -> bool {
    let quarter = sorted.len() / 4;
    let middle = sorted[sorted.len() / 2];
    sorted[sorted.len() - 1 - quarter] - sorted[quarter] <= STABLE * middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_do_not_count_and_scatter_does() {
        assert!(is_stable(&[1.0, 1.0, 1.01, 1.02, 9.0]));
        assert!(!is_stable(&[1.0, 1.0, 1.1, 1.2, 1.3]));
    }
}
