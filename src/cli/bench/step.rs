//! Profile of a training step on random numbers.

use super::super::{configuration, profile};
use super::Args;
use crate::config::Config;
use crate::error::Result;
use crate::gpu::{Gpu, Tuning};
use crate::profile::{ALL_STEPS, Mode, Profiler, check_trace, write_trace};
use crate::random::Key;
use crate::train::Trainer;

/// What is profiled where nothing else is named: all that the method has, on a small scale.
pub(super) const PRESET: &str = "fashion-mnist-small-density";

/// Stream of the random numbers.
const SAMPLES: u32 = 0;

/// Steps of the made-up epoch, for schedules.
const EPOCH: u64 = 1000;

pub(super) async fn run(args: &Args) -> Result<()> {
    args.trace.as_deref().map_or(Ok(()), check_trace)?;
    let config = match &args.config {
        Some(path) => configuration::file(path)?,
        None => Config::preset(&args.preset)?,
    };
    let config = configuration::with_settings(config, &args.set)?;
    let gpu = Gpu::open(args.adapter.as_deref()).await?;
    let mut trainer = Trainer::new(&gpu, &config, EPOCH, Tuning::usual(), None).await?;
    let batch = config.data.batch;
    let x = Key::new(config.train.seed, SAMPLES, 0).normals(batch * trainer.network().model().input_len());
    let labels: Vec<u32> = (0..batch as u32).map(|sample| sample % config.model.classes.max(1) as u32).collect();
    trainer.initialize(&x).await?;
    let mut profiler = Profiler::new(&gpu);
    for step in 1..=ALL_STEPS {
        match profiler.begin_step() {
            Mode::AsEver => trainer.step(&x, &labels),
            Mode::ByKernel => profiler.add(trainer.profile_step(&x, &labels).await?),
        }
        while trainer.report(false).await?.is_some() {}
        profiler.end_step(step < ALL_STEPS);
    }
    let (report, timeline) = profiler.finish().await?;
    if let Some(path) = &args.trace {
        write_trace(path, &report, &timeline)?;
    }
    profile::print(&report, args.json);
    Ok(())
}
