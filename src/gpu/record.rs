//! Recording: ready-made work in as few compute passes as possible, cut into submissions that are not too long.

use super::Gpu;
use super::buffer::Buffer;
use crate::graph::Scope;

/// Most estimated seconds of a submission, and of a dispatch. Windows resets a device after about 2 s, browsers
/// sooner; and an estimate may well be 10 times off.
pub(super) const LONGEST: f64 = 0.05;

/// Most commands of a submission, so that the device starts early on a long list of short ones.
const MOST_COMMANDS: usize = 512;

/// One part of a kernel's workgroups.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    /// First workgroup.
    pub(super) base: u32,
    /// Workgroups along x and y.
    pub(super) size: (u32, u32),
    /// Offset of its `Grid` in the session's uniform buffer.
    pub(super) grid: u32,
    /// Offset of its arguments in the loop's buffer, within a loop.
    pub(super) indirect: u64,
    /// Estimated duration.
    pub(super) seconds: f64,
}

/// Covers `groups` workgroups by parts that last at most [`LONGEST`], where the whole lasts `seconds`, and that have
/// at most `limit` workgroups along an axis. Each workgroup is in exactly one part: kernels that update in place must
/// not run twice.
pub(super) fn parts(groups: u32, seconds: f64, limit: u32) -> Vec<Part> {
    let pieces = (seconds / LONGEST).ceil().clamp(1.0, f64::from(groups.max(1))) as u32;
    let piece = groups.div_ceil(pieces);
    let mut parts = Vec::new();
    let mut base = 0;
    while base < groups {
        let left = piece.min(groups - base);
        let size = if left <= limit { (left, 1) } else { (limit, (left / limit).min(limit)) };
        let count = size.0 * size.1;
        let share = f64::from(count) / f64::from(groups);
        parts.push(Part { base, size, grid: 0, indirect: 0, seconds: seconds * share });
        base += count;
    }
    parts
}

/// A dispatch, ready to be recorded.
#[derive(Debug)]
pub(super) struct Dispatch {
    pub(super) kernel: usize,
    pub(super) scope: Scope,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) tensors: wgpu::BindGroup,
    pub(super) parts: Vec<Part>,
}

/// A copy between different buffers.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) from: (Buffer, u64),
    pub(super) to: (Buffer, u64),
    pub(super) bytes: u64,
}

impl Copy {
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let (from, to) = (&self.from, &self.to);
        encoder.copy_buffer_to_buffer(&from.0, from.1, &to.0, to.1, self.bytes);
    }
}

/// Records and submits.
pub(super) struct Recorder<'a> {
    gpu: &'a Gpu,
    label: &'a str,
    grid: &'a wgpu::BindGroup,
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    seconds: f64,
    commands: usize,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(gpu: &'a Gpu, label: &'a str, grid: &'a wgpu::BindGroup) -> Self {
        Self { gpu, label, grid, encoder: None, pass: None, seconds: 0.0, commands: 0 }
    }

    /// Records the parts of a dispatch, with the numbers of workgroups taken from the buffer `arguments` if given.
    pub(super) fn dispatch(&mut self, dispatch: &Dispatch, arguments: Option<&wgpu::Buffer>) {
        for part in &dispatch.parts {
            self.make_room(part.seconds);
            let pass = self.pass();
            pass.set_pipeline(&dispatch.pipeline);
            pass.set_bind_group(0, &dispatch.tensors, &[]);
            self.launch(part, arguments);
        }
    }

    /// Records a part of the dispatch whose pipeline is set.
    fn launch(&mut self, part: &Part, arguments: Option<&wgpu::Buffer>) {
        let grid = self.grid;
        let pass = self.pass();
        pass.set_bind_group(1, grid, &[part.grid]);
        match arguments {
            Some(buffer) => pass.dispatch_workgroups_indirect(buffer, part.indirect),
            None => pass.dispatch_workgroups(part.size.0, part.size.1, 1),
        }
    }

    /// Records a copy.
    pub(super) fn copy(&mut self, copy: &Copy) {
        self.make_room(2.0 * copy.bytes as f64 / self.gpu.rate().bytes_per_s);
        self.pass = None;
        copy.record(self.encoder());
    }

    /// Submits what is recorded.
    pub(super) fn submit(&mut self) {
        // The pass must end before its encoder does.
        self.pass = None;
        if let Some(encoder) = self.encoder.take() {
            self.gpu.submit(Some(encoder.finish()));
        }
        (self.seconds, self.commands) = (0.0, 0);
    }

    /// Submits what is recorded if a command of `seconds` more would make it too long.
    fn make_room(&mut self, seconds: f64) {
        if self.commands > 0 && (self.seconds + seconds > LONGEST || self.commands >= MOST_COMMANDS) {
            self.submit();
        }
        self.seconds += seconds;
        self.commands += 1;
    }

    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let (gpu, label) = (self.gpu, self.label);
        self.encoder.get_or_insert_with(|| {
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
        })
    }

    fn pass(&mut self) -> &mut wgpu::ComputePass<'static> {
        if self.pass.is_none() {
            let descriptor = wgpu::ComputePassDescriptor { label: Some(self.label), timestamp_writes: None };
            self.pass = Some(self.encoder().begin_compute_pass(&descriptor).forget_lifetime());
        }
        self.pass.as_mut().expect("set above")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(groups: u32, seconds: f64, limit: u32) -> Vec<Part> {
        let parts = parts(groups, seconds, limit);
        let mut next = 0;
        for part in &parts {
            assert_eq!(part.base, next, "{groups} groups, {seconds} s: each workgroup exactly once");
            assert!(part.size.0 <= limit && part.size.1 <= limit && part.size.0 * part.size.1 > 0, "{part:?}");
            next += part.size.0 * part.size.1;
        }
        assert_eq!(next, groups);
        parts
    }

    #[test]
    fn parts_cover_every_workgroup_once() {
        assert!(check(0, 0.0, 65_535).is_empty());
        assert_eq!(check(65_535, 0.0, 65_535).len(), 1);
        assert_eq!(check(65_536, 0.0, 65_535).len(), 2, "a full row and one more");
        check(70_000, 0.0, 65_535);
        check(u32::MAX, 0.0, 65_535);
        check(101, 0.0, 10);
        for groups in [1, 2, 7, 1000, 70_001, 1_000_003] {
            for seconds in [0.01, 0.051, 0.7, 100.0] {
                for part in check(groups, seconds, 65_535) {
                    let single = part.size == (1, 1);
                    // Rounding up to whole workgroups adds at most one to a part.
                    assert!(single || part.seconds <= LONGEST + seconds / f64::from(groups), "{part:?}");
                }
            }
        }
    }
}
