//! Where the time of a program goes, kernel by kernel.

use std::collections::BTreeMap;
use std::time::Instant;

use super::memory::Read;
use super::record::{Copy, Dispatch, LONGEST, Part};
use super::session::{Item, Session};
use super::timeline::At;
use crate::error::Result;
use crate::graph::Scope;

/// What one kernel cost in a profiled run, in one phase.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// The kernel's label, or [`COPY`].
    pub label: String,
    /// What it was run for: the [scope](Scope) of the graph's node.
    pub phase: String,
    /// The variant that runs.
    pub variant: String,
    /// Times it ran, rounds of loops counted.
    pub calls: u64,
    /// Seconds of all calls.
    pub seconds: f64,
    /// Floating-point operations of all calls.
    pub flops: u64,
    /// Bytes read and written by all calls.
    pub traffic: u64,
}

/// The label of copies that are no kernels.
pub const COPY: &str = "copy command";

impl std::fmt::Display for Row {
    /// Seconds, calls, rates, variant and label, in columns.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:9.5} s {:4} × {:7.2} GFLOP/s {:6.2} GB/s  {:10} {}",
            self.seconds,
            self.calls,
            self.flops as f64 / self.seconds * 1e-9,
            self.traffic as f64 / self.seconds * 1e-9,
            self.variant,
            self.label
        )
    }
}

/// Commands timed in one submission: two timestamps each, and few enough for every driver.
const TIMED: usize = 256;

impl Session {
    /// Runs the program once, timing each kernel and copy: by the device's timestamps where it has them, else by running
    /// each alone. Rows are sorted by time, the longest first; a [timeline](super::Gpu::start_timeline), if one is
    /// recorded, gets every call. The device does the same as in [`Session::run`], with the same results, only slower, as
    /// every dispatch has a pass of its own; so compare rows with one another rather than with a run.
    ///
    /// # Errors
    /// As [`Gpu::check`](super::Gpu::check).
    pub async fn profile(&self) -> Result<Vec<Row>> {
        let mut profile = Profile { session: self, batch: Vec::new(), estimate: 0.0, rows: BTreeMap::new() };
        profile.run(&self.items).await?;
        let mut rows: Vec<Row> = profile.rows.into_values().collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(rows)
    }
}

/// A command to be timed.
#[derive(Clone, Copy)]
enum Work<'a> {
    Dispatch(&'a Dispatch, &'a Part),
    Copy(&'a Copy),
}

/// What times are added up under: kernel and phase; nothing for copies.
type Key = Option<(usize, Scope)>;

impl Work<'_> {
    fn key(self) -> Key {
        match self {
            Self::Dispatch(dispatch, _) => Some((dispatch.kernel, dispatch.scope)),
            Self::Copy(_) => None,
        }
    }
}

struct Profile<'a> {
    session: &'a Session,
    /// Commands not yet run.
    batch: Vec<Work<'a>>,
    /// Estimated seconds of the batch.
    estimate: f64,
    rows: BTreeMap<Key, Row>,
}

impl<'a> Profile<'a> {
    async fn run(&mut self, items: &'a [Item]) -> Result<()> {
        for item in items {
            let Item::Loop(inner) = item else {
                self.once(item).await?;
                continue;
            };
            for _ in 0..inner.limit {
                for item in &inner.body {
                    self.once(item).await?;
                }
                // The host may look at the flag here, so the rounds that would do nothing are not run.
                self.flush().await?;
                let flag = Read::start(&self.session.gpu, "loop flag", &inner.flag.0, inner.flag.1, 4).await?;
                if flag[0].is_nan() || flag[0] <= 0.0 {
                    break;
                }
            }
        }
        self.flush().await
    }

    /// Takes a dispatch or a copy.
    async fn once(&mut self, item: &'a Item) -> Result<()> {
        match item {
            Item::Dispatch(dispatch) => {
                let kernel = &self.session.kernels[dispatch.kernel];
                let key = Some((dispatch.kernel, dispatch.scope));
                let row = self.row(key, &kernel.label, &kernel.variant, dispatch.scope);
                row.calls += 1;
                row.flops += kernel.flops;
                row.traffic += kernel.traffic;
                for part in &dispatch.parts {
                    self.add(Work::Dispatch(dispatch, part), part.seconds).await?;
                }
                Ok(())
            }
            Item::Copy(copy) => {
                let row = self.row(None, COPY, "", Scope::default());
                row.calls += 1;
                row.traffic += 2 * copy.bytes;
                self.add(Work::Copy(copy), self.session.gpu.rate().seconds(0, 2 * copy.bytes)).await
            }
            Item::Loop(_) => unreachable!("bind refuses loops within loops"),
        }
    }

    fn row(&mut self, key: Key, label: &str, variant: &str, scope: Scope) -> &mut Row {
        self.rows.entry(key).or_insert_with(|| Row {
            label: label.into(),
            phase: scope.to_string(),
            variant: variant.into(),
            calls: 0,
            seconds: 0.0,
            flops: 0,
            traffic: 0,
        })
    }

    async fn add(&mut self, work: Work<'a>, seconds: f64) -> Result<()> {
        if self.batch.len() == TIMED || self.estimate + seconds > LONGEST {
            self.flush().await?;
        }
        self.batch.push(work);
        self.estimate += seconds;
        Ok(())
    }

    /// Runs and times the batch.
    async fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.estimate = 0.0;
        let gpu = &self.session.gpu;
        if batch.is_empty() {
            return gpu.check();
        }
        let times =
            if gpu.has_timestamps() { self.by_timestamps(&batch).await? } else { self.one_by_one(&batch).await? };
        for (work, at) in batch.iter().zip(times) {
            if let Some(row) = self.rows.get_mut(&work.key()) {
                row.seconds += at.seconds();
                gpu.note_kernel(&row.label, &row.phase, at);
            }
        }
        Ok(())
    }

    async fn by_timestamps(&self, batch: &[Work<'_>]) -> Result<Vec<At>> {
        let gpu = &self.session.gpu;
        let count = 2 * batch.len() as u32;
        let queries = gpu.queries(count);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (first, work) in (0..).step_by(2).zip(batch) {
            match work {
                Work::Dispatch(dispatch, part) => {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: None,
                        timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                            query_set: &queries,
                            beginning_of_pass_write_index: Some(first),
                            end_of_pass_write_index: Some(first + 1),
                        }),
                    });
                    launch(&mut pass, dispatch, part, &self.session.grid);
                }
                Work::Copy(copy) => {
                    encoder.write_timestamp(&queries, first);
                    copy.record(&mut encoder);
                    encoder.write_timestamp(&queries, first + 1);
                }
            }
        }
        gpu.submit(Some(encoder.finish()));
        let times = gpu.resolve(&queries, count).await?;
        Ok(times.into_iter().map(|(start, end)| At::Device(start, end)).collect())
    }

    async fn one_by_one(&self, batch: &[Work<'_>]) -> Result<Vec<At>> {
        let gpu = &self.session.gpu;
        let mut times = Vec::with_capacity(batch.len());
        gpu.idle().await?;
        for work in batch {
            let start = Instant::now();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            match work {
                Work::Dispatch(dispatch, part) => {
                    launch(&mut encoder.begin_compute_pass(&Default::default()), dispatch, part, &self.session.grid);
                }
                Work::Copy(copy) => copy.record(&mut encoder),
            }
            gpu.submit(Some(encoder.finish()));
            gpu.idle().await?;
            times.push(At::Host(start, Instant::now()));
        }
        Ok(times)
    }
}

fn launch(pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch, part: &Part, grid: &wgpu::BindGroup) {
    pass.set_pipeline(&dispatch.pipeline);
    pass.set_bind_group(0, &dispatch.tensors, &[]);
    pass.set_bind_group(1, grid, &[part.grid]);
    pass.dispatch_workgroups(part.size.0, part.size.1, 1);
}
