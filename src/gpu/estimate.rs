//! How long a program will take here, before it is bound.

use super::{Gpu, Tuning};
use crate::plan::program::{Command, Program};

/// An estimated time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Seconds of a run.
    pub seconds: f64,
    /// The part of them that rests on measurements of kernels on this adapter; the rest is by assumed rates.
    pub measured: f64,
}

impl Gpu {
    /// Estimates a run of `program` whose loops end after `rounds` rounds: from the times in `tuning` where kernels were
    /// measured here, from the rates assumed for this kind of device where they were not.
    pub fn estimate(&self, program: &Program, tuning: &Tuning, rounds: u32) -> Estimate {
        let rate = self.rate();
        let mut estimate = Estimate::default();
        program.for_each(rounds, &mut |command, times| {
            let (seconds, measured) = match command {
                Command::Dispatch { kernel, .. } => {
                    let kernel = &program.kernels[*kernel];
                    match tuning.seconds(self, &kernel.family) {
                        Some(seconds) => (seconds, seconds),
                        None => (rate.seconds(kernel.flops, kernel.traffic), 0.0),
                    }
                }
                Command::Copy { from, .. } => (rate.seconds(0, 2 * from.bytes), 0.0),
                Command::Loop { .. } => return,
            };
            estimate.seconds += times as f64 * seconds;
            estimate.measured += times as f64 * measured;
        });
        estimate
    }
}
