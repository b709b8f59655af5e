//! Browsers have no timelines.

use super::Gpu;

/// Nothing.
#[must_use = "as natively"]
pub(crate) struct Span;

impl Gpu {
    pub(crate) fn span(&self, _name: &'static str, _of: &str) -> Span {
        Span
    }

    pub(super) fn submit_commands(&self, commands: Option<wgpu::CommandBuffer>) -> wgpu::SubmissionIndex {
        self.queue().submit(commands)
    }
}

pub(super) const SUBMIT: &str = "";

/// What a device is asked for besides.
pub(super) const TIMESTAMPS: wgpu::Features = wgpu::Features::empty();
