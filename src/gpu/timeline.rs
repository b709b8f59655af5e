//! Timelines: when the host did what, and when the device was at work, on one clock.
//!
//! While a timeline is recorded, every submission is put between two timestamps, so that the device is known to be busy
//! from the first command to the last, copies included. Devices without timestamps are watched by a thread that waits for
//! each submission in turn. Nothing that is submitted is changed, and without a timeline nothing is done.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use super::memory::Read;
use super::{Gpu, lock, wait};
use crate::error::Result;

/// What a device needs that has timestamps wherever we want them.
pub(super) const TIMESTAMPS: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);

/// What the host does while it hands over what it has recorded.
pub(super) const SUBMIT: &str = "submit";

/// Timestamps in a query set: as many as WebGPU allows.
const QUERIES: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Something that lasted, in seconds since the timeline began.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// What it was.
    pub name: String,
    /// Of what it was, where the name alone does not say.
    pub of: String,
    /// When it began.
    pub start: f64,
    /// When it was over.
    pub end: f64,
}

/// What happened while a timeline was recorded, each list in the order of beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// What the host did. One may lie within another.
    pub host: Vec<Slice>,
    /// Submissions, as the device worked on them; named for what the host was doing when it submitted.
    pub submissions: Vec<Slice>,
    /// Kernels of programs that were [profiled](super::Session::profile); `of` is their phase.
    pub kernels: Vec<Slice>,
    /// Whether the device's own clock says when it was at work. If not, a thread of the host waited for it.
    pub by_timestamps: bool,
}

/// A timeline being recorded, if one is.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<Recording>>);

struct Recording {
    begun: Instant,
    host: Vec<Slice>,
    /// What the host is doing, the innermost last.
    open: Vec<(&'static str, String)>,
    submissions: Vec<Submission>,
    kernels: Vec<Timed>,
    clock: Clock,
}

/// What tells when the device was at work.
enum Clock {
    Timestamps { sets: Vec<wgpu::QuerySet>, used: u32 },
    Watch { sender: Sender<wgpu::SubmissionIndex>, watcher: JoinHandle<Vec<Instant>> },
}

struct Submission {
    name: String,
    of: String,
    submitted: Instant,
}

/// A kernel's call.
struct Timed {
    label: String,
    phase: String,
    at: At,
}

/// When a call began and ended.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// By the device's clock, in seconds.
    Device(f64, f64),
    /// By the host's.
    Host(Instant, Instant),
}

impl At {
    /// How long it took.
    pub(super) fn seconds(self) -> f64 {
        match self {
            Self::Device(start, end) => end - start,
            Self::Host(start, end) => end.saturating_duration_since(start).as_secs_f64(),
        }
    }
}

/// Ends, when dropped, what the host began to do. Without a timeline it means nothing.
#[must_use = "it lasts until it is dropped"]
pub struct Span(Option<Open>);

struct Open {
    gpu: Gpu,
    name: &'static str,
    of: String,
    start: Instant,
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(Open { gpu, name, of, start }) = self.0.take() else { return };
        if let Some(recording) = gpu.recording().as_mut().filter(|recording| recording.begun <= start) {
            recording.open.pop();
            let (start, end) = (seconds(recording.begun, start), seconds(recording.begun, Instant::now()));
            recording.host.push(Slice { name: name.into(), of, start, end });
        }
    }
}

impl Gpu {
    /// Begins to record a timeline, unless one is recorded already.
    pub fn start_timeline(&self) {
        let clock = if self.has_timestamps() {
            Clock::Timestamps { sets: Vec::new(), used: QUERIES }
        } else {
            let (sender, receiver) = channel();
            let device = self.device().clone();
            Clock::Watch { sender, watcher: std::thread::spawn(move || watch(&device, &receiver)) }
        };
        self.recording().get_or_insert_with(|| Recording {
            begun: Instant::now(),
            host: Vec::new(),
            open: Vec::new(),
            submissions: Vec::new(),
            kernels: Vec::new(),
            clock,
        });
    }

    /// Waits for the device, and ends the timeline; an empty one if none was begun.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub async fn stop_timeline(&self) -> Result<Timeline> {
        let recording = self.recording().take();
        self.idle().await?;
        let Some(Recording { begun, mut host, submissions, kernels, clock, .. }) = recording else {
            return Ok(Timeline::default());
        };
        let since = |at: Instant| seconds(begun, at);
        let by_timestamps = matches!(clock, Clock::Timestamps { .. });
        let (times, shift) = match clock {
            Clock::Timestamps { sets, used } => {
                let mut times = Vec::new();
                for (number, set) in sets.iter().enumerate() {
                    let count = if number + 1 == sets.len() { used } else { QUERIES };
                    times.extend(self.resolve(set, count).await?);
                }
                // From the device's clock to the host's: work begins after it was submitted, and at once where the device
                // had nothing else to do.
                let waited =
                    submissions.iter().zip(&times).map(|(submission, time)| since(submission.submitted) - time.0);
                let shift = waited.fold(f64::NEG_INFINITY, f64::max);
                (times.into_iter().map(|(start, end)| (start + shift, end + shift)).collect::<Vec<_>>(), shift)
            }
            Clock::Watch { sender, watcher } => {
                drop(sender);
                let ends = watcher.join().unwrap_or_default();
                let mut free = begun;
                let time = |(submission, end): (&Submission, Instant)| {
                    let start = submission.submitted.max(std::mem::replace(&mut free, end));
                    (since(start), since(end))
                };
                (submissions.iter().zip(ends).map(time).collect(), 0.0)
            }
        };
        let slice = |(Submission { name, of, .. }, (start, end))| Slice { name, of, start, end };
        let submissions = submissions.into_iter().zip(times).map(slice).collect();
        let kernel = |Timed { label, phase, at }| {
            let (start, end) = match at {
                At::Device(start, end) => (start + shift, end + shift),
                At::Host(start, end) => (since(start), since(end)),
            };
            Slice { name: label, of: phase, start, end }
        };
        let kernels = kernels.into_iter().map(kernel).collect();
        host.sort_by(|a, b| a.start.total_cmp(&b.start));
        Ok(Timeline { host, submissions, kernels, by_timestamps })
    }

    /// Says what the host does from now on, until what this gives is dropped: for the timeline, if one is recorded.
    pub fn span(&self, name: &'static str, of: &str) -> Span {
        Span(self.recording().as_mut().map(|recording| {
            recording.open.push((name, of.into()));
            Open { gpu: self.clone(), name, of: of.into(), start: Instant::now() }
        }))
    }

    /// Notes a call of a kernel in the timeline, if one is recorded.
    pub(super) fn note_kernel(&self, label: &str, phase: &str, at: At) {
        if let Some(recording) = self.recording().as_mut() {
            recording.kernels.push(Timed { label: label.into(), phase: phase.into(), at });
        }
    }

    /// Whether the device has timestamps wherever we want them.
    pub(super) fn has_timestamps(&self) -> bool {
        self.device().features().contains(TIMESTAMPS)
    }

    /// Submits, between two timestamps where a timeline is recorded.
    pub(super) fn submit_commands(&self, commands: Option<wgpu::CommandBuffer>) -> wgpu::SubmissionIndex {
        let mut recording = self.recording();
        let Some(recording) = recording.as_mut() else {
            drop(recording);
            return self.queue().submit(commands);
        };
        let Some(commands) = commands else { return self.queue().submit(None) };
        // What submits is known better than that something does.
        let (name, of) = recording.open.iter().rev().find(|(name, _)| *name != SUBMIT).cloned().unwrap_or_default();
        recording.submissions.push(Submission { name: name.into(), of, submitted: Instant::now() });
        match &mut recording.clock {
            Clock::Timestamps { sets, used } => {
                if *used == QUERIES {
                    sets.push(self.queries(QUERIES));
                    *used = 0;
                }
                let set = sets.last().expect("pushed above");
                let [before, after] = [*used, *used + 1].map(|number| {
                    let mut encoder = self.device().create_command_encoder(&Default::default());
                    encoder.write_timestamp(set, number);
                    encoder.finish()
                });
                *used += 2;
                self.queue().submit([before, commands, after])
            }
            Clock::Watch { sender, .. } => {
                let submission = self.queue().submit([commands]);
                // Only a watcher that panicked does not listen.
                let _ = sender.send(submission.clone());
                submission
            }
        }
    }

    /// A set of timestamps.
    pub(super) fn queries(&self, count: u32) -> wgpu::QuerySet {
        let ty = wgpu::QueryType::Timestamp;
        self.device().create_query_set(&wgpu::QuerySetDescriptor { label: Some("profile"), ty, count })
    }

    /// The first `count` timestamps of a set, in pairs, in seconds of the device's clock.
    pub(super) async fn resolve(&self, set: &wgpu::QuerySet, count: u32) -> Result<Vec<(f64, f64)>> {
        let bytes = 8 * u64::from(count);
        let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: bytes,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = self.device().create_command_encoder(&Default::default());
        encoder.resolve_query_set(set, 0..count, &buffer, 0);
        self.submit(Some(encoder.finish()));
        let ticks: Vec<u64> = Read::start(self, "timestamps", &buffer, 0, bytes).cast().await?;
        let period = f64::from(self.queue().get_timestamp_period()) * 1e-9;
        let seconds = |tick: u64| tick as f64 * period;
        Ok(ticks.chunks_exact(2).map(|pair| (seconds(pair[0]), seconds(pair[1].max(pair[0])))).collect())
    }

    fn recording(&self) -> MutexGuard<'_, Option<Recording>> {
        lock(&self.0.timeline.0)
    }
}

/// Seconds from `begun` to `at`.
fn seconds(begun: Instant, at: Instant) -> f64 {
    at.saturating_duration_since(begun).as_secs_f64()
}

/// Waits for one submission after the other, and notes when each was done.
fn watch(device: &wgpu::Device, submissions: &Receiver<wgpu::SubmissionIndex>) -> Vec<Instant> {
    let mut ends = Vec::new();
    for submission in submissions {
        while !wait(device, &submission) {}
        ends.push(Instant::now());
    }
    ends
}
