//! A profile that explains a training step: where its time goes, by kernel, by phase and by what the host does, and how far
//! that is from what the adapter can do.
//!
//! # How it is taken
//! A few steps are let pass, so that everything is compiled and warm. In the next ones every kernel is timed
//! ([`Session::profile`](crate::gpu::Session::profile)). Then come steps as ever, of which only begin and end of each
//! submission are noted ([`Gpu::start_timeline`]): they say how long a step takes, what the host does meanwhile, and when the
//! adapter has nothing to do. All of them are true steps of the training, with the same numbers as ever. Last, the adapter's
//! multiply-add and copy rates are measured.
//!
//! # Terms
//! * **Idle** is the share of the time from the first to the last submission of the steps as ever in which the adapter worked
//!   on none: 1 − busy / elapsed.
//! * The **roofline** of a kernel is the time it would take at the adapter's rates: of its operations at the multiply-add
//!   rate or of its bytes at the rate of copies, whichever is longer. Its ratio to the measured time can exceed one where
//!   caches spare the way to memory, as bytes are those of all tensors read and written, each counted once.
//! * A kernel's **phase** is the [scope](crate::graph::Scope) of the graph's node that it computes; what is fused into it
//!   belongs to it.

mod host;
mod trace;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gpu::{self, Gpu, Peak, Row, Span, Timeline};
use host::{innermost, overlap};

pub use trace::{check as check_trace, write as write_trace};

/// Steps let pass.
const WARM_UP: u64 = 2;
/// Steps in which every kernel is timed.
const BY_KERNEL: u64 = 2;
/// Steps as ever.
const TIMED: u64 = 16;

/// How many steps a training must have to be profiled.
pub const LEAST_STEPS: u64 = WARM_UP + BY_KERNEL + 1;

/// How many it takes to be profiled in full.
pub const ALL_STEPS: u64 = WARM_UP + BY_KERNEL + TIMED;

/// What the host's spans of steps are called.
const STEP: &str = "step";
const AS_EVER: &str = "as ever";

/// How a step is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As without a profile.
    AsEver,
    /// With every kernel timed.
    ByKernel,
}

/// Takes a profile of the steps of a training.
pub struct Profiler {
    gpu: Gpu,
    /// Steps seen.
    seen: u64,
    rows: Vec<Row>,
    step: Option<Span>,
}

impl Profiler {
    /// A profile to be taken on `gpu`, beginning with the next step.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), seen: 0, rows: Vec::new(), step: None }
    }

    /// A step begins: says how it is to be run.
    pub fn begin_step(&mut self) -> Mode {
        let by_kernel = (WARM_UP..WARM_UP + BY_KERNEL).contains(&self.seen);
        if self.seen == WARM_UP {
            self.gpu.start_timeline();
        }
        let mode = if by_kernel { "kernel by kernel" } else { AS_EVER };
        self.step = Some(self.gpu.span(STEP, mode));
        if by_kernel { Mode::ByKernel } else { Mode::AsEver }
    }

    /// What the host does from now on, until what this gives is dropped.
    pub fn span(&self, name: &'static str) -> Span {
        self.gpu.span(name, "")
    }

    /// Takes the rows of a step that was run by kernel.
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let same = |known: &&mut Row| {
                (&known.label, &known.phase, &known.variant) == (&row.label, &row.phase, &row.variant)
            };
            match self.rows.iter_mut().find(same) {
                Some(known) => {
                    known.calls += row.calls;
                    known.seconds += row.seconds;
                    known.flops += row.flops;
                    known.traffic += row.traffic;
                }
                None => self.rows.push(row),
            }
        }
    }

    /// A step has ended. Says whether the profile should be [finished](Self::finish) now: because all is seen, or because
    /// what comes `next` is no step and there is enough.
    pub fn end_step(&mut self, next: bool) -> bool {
        self.step = None;
        self.seen += 1;
        self.seen >= ALL_STEPS || (!next && self.seen >= LEAST_STEPS)
    }

    /// Waits for the device, measures its rates, and sums up.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub async fn finish(self) -> Result<(Report, Timeline)> {
        let timeline = self.gpu.stop_timeline().await?;
        // Whoever trains with the last of the memory has none for this.
        let peak = match gpu::peak(&self.gpu).await {
            Err(Error::OutOfMemory(_)) => None,
            peak => Some(peak?),
        };
        Ok((Report::new(&self.gpu, peak, &self.rows, &timeline), timeline))
    }
}

/// Where the time of a training step goes. Numbers of kernels, phases and the host are those of one step, on average.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The adapter's id.
    pub adapter: String,
    /// Its name.
    pub name: String,
    /// Its rates, measured after the steps; `None` if there was no memory left for it.
    pub peak: Option<Peak>,
    /// Whether times of kernels and submissions are the device's timestamps. If not, kernels were run and waited for one by
    /// one, and submissions were waited for.
    pub timestamps: bool,
    /// Number of steps as ever.
    pub steps: u64,
    /// Seconds of a step as ever.
    pub seconds: f64,
    /// Share of it in which the adapter had nothing to do.
    pub idle: f64,
    /// What the host does, the longest first.
    pub host: Vec<Activity>,
    /// Kernels by phase.
    pub phases: Vec<Work>,
    /// Kernels, the longest first.
    pub kernels: Vec<Kernel>,
}

/// Something that the host does in a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// What it does.
    pub activity: String,
    /// Seconds of a step.
    pub seconds: f64,
    /// Seconds of a step in which the adapter has nothing to do meanwhile.
    pub idle_seconds: f64,
}

/// What some kernels do in a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// The phase.
    pub phase: String,
    /// Times that kernels run.
    pub calls: f64,
    /// Seconds of all calls.
    pub seconds: f64,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
    /// Seconds by the roofline over seconds measured.
    pub roofline_ratio: Option<f64>,
}

/// What one kernel does in one phase of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// Its label.
    pub kernel: String,
    /// The variant chosen.
    pub variant: String,
    /// What it does.
    #[serde(flatten)]
    pub work: Work,
}

impl Report {
    fn new(gpu: &Gpu, peak: Option<Peak>, rows: &[Row], timeline: &Timeline) -> Self {
        let mut kernels: Vec<Kernel> = rows.iter().map(|row| kernel(row, peak)).collect();
        kernels.sort_by(|a, b| b.work.seconds.total_cmp(&a.work.seconds));
        let mut phases: Vec<Work> = Vec::new();
        for Kernel { work, .. } in &kernels {
            match phases.iter_mut().find(|phase| phase.phase == work.phase) {
                Some(phase) => phase.add(work),
                None => phases.push(work.clone()),
            }
        }
        phases.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let mut report = Self {
            adapter: gpu.info().id.clone(),
            name: gpu.info().name.clone(),
            peak,
            timestamps: timeline.by_timestamps,
            steps: 0,
            seconds: 0.0,
            idle: 0.0,
            host: Vec::new(),
            phases,
            kernels,
        };
        report.take(timeline);
        report
    }

    /// Takes what the timeline says of steps as ever.
    fn take(&mut self, timeline: &Timeline) {
        let steps: Vec<_> = timeline.host.iter().filter(|span| span.name == STEP && span.of == AS_EVER).collect();
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
        let submissions: Vec<_> = timeline.submissions.iter().filter(|slice| slice.start >= first.start).collect();
        let (Some(begin), Some(end)) = (
            submissions.iter().map(|slice| slice.start).min_by(f64::total_cmp),
            submissions.iter().map(|slice| slice.end).max_by(f64::total_cmp),
        ) else {
            return;
        };
        let count = steps.len() as f64;
        let mut gaps = Vec::new();
        let mut busy_until = begin;
        for slice in &submissions {
            if slice.start > busy_until {
                gaps.push((busy_until, slice.start));
            }
            busy_until = busy_until.max(slice.end);
        }
        let idle: f64 = gaps.iter().map(|(start, end)| end - start).sum();
        self.steps = steps.len() as u64;
        self.seconds = (end - begin) / count;
        self.idle = if end > begin { idle / (end - begin) } else { 0.0 };
        let window = (first.start, last.end);
        for (name, start, end) in innermost(&timeline.host) {
            let seconds = overlap((start, end), window) / count;
            if seconds <= 0.0 {
                continue;
            }
            let activity = if name == STEP { "other" } else { name };
            let idle = gaps.iter().map(|&gap| overlap((start, end), gap)).sum::<f64>() / count;
            match self.host.iter_mut().find(|known| known.activity == activity) {
                Some(known) => {
                    known.seconds += seconds;
                    known.idle_seconds += idle;
                }
                None => self.host.push(Activity { activity: activity.into(), seconds, idle_seconds: idle }),
            }
        }
        self.host.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    }

    /// All kernels together.
    pub fn total(&self) -> Work {
        let mut total = Work { phase: "all".into(), ..Work::default() };
        self.phases.iter().for_each(|phase| total.add(phase));
        total
    }
}

impl Work {
    /// Billions of operations a second.
    pub fn gflops(&self) -> f64 {
        1e-9 * self.flops / self.seconds
    }

    /// Billions of bytes a second.
    pub fn gb_per_s(&self) -> f64 {
        1e-9 * self.bytes / self.seconds
    }

    fn add(&mut self, other: &Self) {
        let at_best = |work: &Self| work.roofline_ratio.map_or(0.0, |ratio| ratio * work.seconds);
        let seconds = at_best(self) + at_best(other);
        self.calls += other.calls;
        self.seconds += other.seconds;
        self.flops += other.flops;
        self.bytes += other.bytes;
        self.roofline_ratio = ratio(seconds, self.seconds).filter(|_| other.roofline_ratio.is_some());
    }
}

fn kernel(row: &Row, peak: Option<Peak>) -> Kernel {
    let steps = BY_KERNEL as f64;
    let (flops, bytes) = (row.flops as f64, row.traffic as f64);
    let at_best = peak.map(|peak| (flops / peak.gflops).max(bytes / peak.copy_gb_per_s) * 1e-9);
    let work = Work {
        phase: row.phase.clone(),
        calls: row.calls as f64 / steps,
        seconds: row.seconds / steps,
        flops: flops / steps,
        bytes: bytes / steps,
        roofline_ratio: at_best.and_then(|at_best| ratio(at_best, row.seconds)),
    };
    Kernel { kernel: row.label.clone(), variant: row.variant.clone(), work }
}

/// `None` where nothing can be said.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
