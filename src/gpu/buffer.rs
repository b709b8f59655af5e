//! Device buffers that are freed as soon as nobody holds them.
//!
//! Natively wgpu does that by itself. In a browser it leaves the memory to the garbage collector, which does not know how
//! large it is and may come much too late; so there the last holder destroys the buffer. A bind group does not hold its
//! buffers then: whoever keeps one must keep them too.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Gpu;

/// A buffer with shared owners.
#[derive(Clone, Debug)]
pub(super) struct Buffer(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    handle: wgpu::Buffer,
    held: Arc<Held>,
}

/// How much is held on a device.
#[derive(Debug, Default)]
pub(super) struct Held {
    buffers: AtomicU64,
    bytes: AtomicU64,
}

impl Held {
    /// Number of buffers, and their bytes.
    pub(super) fn now(&self) -> (u64, u64) {
        (self.buffers.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Buffer {
    #[cfg_attr(
        target_arch = "wasm32",
        expect(clippy::arc_with_non_send_sync, reason = "browser handles stay on their thread; natively they move")
    )]
    pub(super) fn new(gpu: &Gpu, descriptor: &wgpu::BufferDescriptor<'_>) -> Self {
        let held = Arc::clone(&gpu.0.held);
        held.buffers.fetch_add(1, Ordering::Relaxed);
        held.bytes.fetch_add(descriptor.size, Ordering::Relaxed);
        Self(Arc::new(Owned { handle: gpu.device().create_buffer(descriptor), held }))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.held.buffers.fetch_sub(1, Ordering::Relaxed);
        self.held.bytes.fetch_sub(self.handle.size(), Ordering::Relaxed);
        if cfg!(target_arch = "wasm32") {
            self.handle.destroy();
        }
    }
}

impl Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.0.handle
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
