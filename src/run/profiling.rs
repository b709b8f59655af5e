//! A profile of a run's steps.

use std::path::PathBuf;

use super::Run;
use super::training::Training;
use crate::cli::output;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::profile::{self, LEAST_STEPS, Profiler};
use crate::train::StepReport;

/// What is asked for beside the [report](profile::Report).
#[derive(Clone, Debug, Default)]
pub struct Profiling {
    /// A file for the trace.
    pub trace: Option<PathBuf>,
}

impl Profiling {
    /// Whether it can be had of so many steps, on so many devices or processes.
    ///
    /// # Errors
    /// [`Error::Config`] if not; [`Error::Io`] if the trace cannot be written.
    pub(super) fn check(&self, steps: u64, devices: usize) -> Result<()> {
        if devices > 1 {
            let message = "--profile is of one adapter in one process: choose one with --adapter";
            return Err(Error::Config(message.into()));
        }
        if steps < LEAST_STEPS {
            return Err(Error::Config(format!(
                "--profile needs at least {LEAST_STEPS} steps, of which the first are let pass; this run has {steps} to do: \
                 raise --steps or train.epochs"
            )));
        }
        self.trace.as_deref().map_or(Ok(()), profile::check_trace)
    }
}

impl Training {
    /// What takes a profile of it, if it works on one device.
    pub(super) fn profiler(&self) -> Option<Profiler> {
        match self {
            Self::One(_) => self.gpus().first().map(Profiler::new),
            Self::Many(_) => {
                output::note(
                    "no profile is taken: the batch is computed in pieces; a smaller data.batch would be whole",
                );
                None
            }
        }
    }
}

impl Run<'_> {
    /// Does the next step with every kernel timed, for the profile.
    pub(super) async fn step_by_kernel(&mut self, batch: &Batch) -> Result<Vec<StepReport>> {
        let (reports, rows) = self.training.profile_step(batch).await?;
        if let Some(profiler) = &mut self.profiler {
            profiler.add(rows);
        }
        Ok(reports)
    }

    /// Ends a step of the profile; and the profile, if it has all or if something else comes next: a checkpoint, which is
    /// saved after so many steps, an evaluation, the end.
    pub(super) async fn end_profiled_step(&mut self, checkpoint_every: u64) -> Result<()> {
        let done = self.training.step_count();
        let pause = done.is_multiple_of(checkpoint_every) || done.is_multiple_of(self.per_epoch) || done == self.total;
        let Some(mut profiler) = self.profiler.take() else { return Ok(()) };
        if !profiler.end_step(!pause) {
            self.profiler = Some(profiler);
            return Ok(());
        }
        let (report, timeline) = profiler.finish().await?;
        if let Some(path) = self.options.profile.as_ref().and_then(|profile| profile.trace.as_ref())
            && let Err(error) = profile::write_trace(path, &report, &timeline)
        {
            self.progress.note(&format!("WARNING: the trace is not written: {error}; the run goes on"));
        }
        self.profile = Some(report);
        Ok(())
    }
}
