//! Where the time of a program goes, kernel by kernel.

use web_time::Instant;

use super::memory::Read;
use super::record::{Dispatch, LONGEST, Part, Recorder};
use super::session::{Chosen, Item, Session};
use crate::error::Result;

/// What one kernel cost in a profiled run.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// The kernel's label.
    pub label: String,
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

/// Dispatches timed in one submission: two timestamps each, and few enough for every driver.
const TIMED: usize = 256;

impl Session {
    /// Runs the program once, timing each kernel: by the device's timestamps where it has them, else by running each
    /// dispatch alone. Rows are sorted by time, the longest first. The device does the same as in [`Session::run`], only
    /// slower, as every dispatch has a pass of its own; so compare rows with one another rather than with a run.
    ///
    /// # Errors
    /// As [`Gpu::check`](super::Gpu::check).
    pub async fn profile(&self) -> Result<Vec<Row>> {
        let rows = vec![(0, 0.0); self.kernels.len()];
        let mut profile = Profile { session: self, batch: Vec::new(), estimate: 0.0, rows };
        profile.run(&self.items).await?;
        let row = |(kernel, (calls, seconds)): (&Chosen, (u64, f64))| Row {
            label: kernel.label.clone(),
            variant: kernel.variant.clone(),
            calls,
            seconds,
            flops: calls * kernel.flops,
            traffic: calls * kernel.traffic,
        };
        let mut rows: Vec<Row> = self.kernels.iter().zip(profile.rows).map(row).filter(|row| row.calls > 0).collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(rows)
    }
}

struct Profile<'a> {
    session: &'a Session,
    /// Dispatches not yet run.
    batch: Vec<(&'a Dispatch, &'a Part)>,
    /// Estimated seconds of the batch.
    estimate: f64,
    /// Calls and seconds of each kernel.
    rows: Vec<(u64, f64)>,
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
                self.rows[dispatch.kernel].0 += 1;
                for part in &dispatch.parts {
                    if self.batch.len() == TIMED || self.estimate + part.seconds > LONGEST {
                        self.flush().await?;
                    }
                    self.batch.push((dispatch, part));
                    self.estimate += part.seconds;
                }
                Ok(())
            }
            Item::Copy(copy) => {
                self.flush().await?;
                let mut recorder = Recorder::new(&self.session.gpu, &self.session.name, &self.session.grid);
                recorder.copy(copy);
                recorder.submit();
                Ok(())
            }
            Item::Loop(_) => unreachable!("bind refuses loops within loops"),
        }
    }

    /// Runs and times the batch.
    async fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.estimate = 0.0;
        if batch.is_empty() {
            return self.session.gpu.check();
        }
        let seconds = if self.session.gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            self.by_timestamps(&batch).await?
        } else {
            self.one_by_one(&batch).await?
        };
        for ((dispatch, _), seconds) in batch.iter().zip(seconds) {
            self.rows[dispatch.kernel].1 += seconds;
        }
        Ok(())
    }

    async fn by_timestamps(&self, batch: &[(&Dispatch, &Part)]) -> Result<Vec<f64>> {
        let gpu = &self.session.gpu;
        let count = 2 * batch.len() as u32;
        let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = 8 * u64::from(count);
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: bytes,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (number, (dispatch, part)) in (0..).zip(batch) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * number),
                    end_of_pass_write_index: Some(2 * number + 1),
                }),
            });
            encode(&mut pass, dispatch, part, &self.session.grid);
        }
        encoder.resolve_query_set(&queries, 0..count, &buffer, 0);
        gpu.submit(Some(encoder.finish()));
        let ticks: Vec<u64> = Read::start(gpu, "timestamps", &buffer, 0, bytes).cast().await?;
        let period = f64::from(gpu.queue().get_timestamp_period()) * 1e-9;
        Ok(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period).collect())
    }

    async fn one_by_one(&self, batch: &[(&Dispatch, &Part)]) -> Result<Vec<f64>> {
        let gpu = &self.session.gpu;
        let mut seconds = Vec::with_capacity(batch.len());
        gpu.idle().await?;
        for (dispatch, part) in batch {
            let start = Instant::now();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            encode(&mut encoder.begin_compute_pass(&Default::default()), dispatch, part, &self.session.grid);
            gpu.submit(Some(encoder.finish()));
            gpu.idle().await?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(seconds)
    }
}

fn encode(pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch, part: &Part, grid: &wgpu::BindGroup) {
    pass.set_pipeline(&dispatch.pipeline);
    pass.set_bind_group(0, &dispatch.tensors, &[]);
    pass.set_bind_group(1, grid, &[part.grid]);
    pass.dispatch_workgroups(part.size.0, part.size.1, 1);
}
