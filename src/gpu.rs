//! The executor: the only part of the crate that knows wgpu.
//!
//! A [`Program`](crate::plan::program::Program) is plain data. Here it meets a device:
//!
//! ```text
//! Gpu ── an adapter opened; cheap to clone, shared by all that follows
//!  ├─ Memory ── named tensors that outlive sessions: parameters, batches, losses
//!  ├─ Tuning ── which variant of each kernel is the fastest here
//!  └─ Session ── a Program bound to a Gpu and a Memory: pipelines, bind groups and scratch made once, run many times
//! ```
//!
//! # Rules
//! * Recording and submitting is synchronous and never fails; opening, binding and reading back are `async`. No
//!   function changes its signature between native and browser builds. Natively [`block_on`] drives the futures (a
//!   general executor would not poll the device).
//! * Errors that the device reports later (validation, memory, loss) are kept, and raised by the next read: a result
//!   is never handed out after something before it went wrong. A `Gpu` that has failed stays failed; open another.
//! * Nothing is submitted that is estimated to take longer than about 50 ms, as operating systems and browsers kill
//!   what hogs a GPU, and at most a few submissions are in flight.
//!
//! # Deliberately not done
//! No trusted (unchecked) shaders: bounds checks stay on everywhere, so a wrong index is a wrong number and not a
//! crash. No sharing of memory between devices: wgpu has none.

mod adapter;
#[cfg(not(target_arch = "wasm32"))]
mod block_on;
mod buffer;
mod estimate;
mod grid;
mod heap;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "browsers have no profiles"))]
mod memory;
mod peak;
mod pipeline;
#[cfg(not(target_arch = "wasm32"))]
mod profile;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "browsers have no profiles"))]
mod record;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "browsers have no profiles"))]
mod session;
#[cfg_attr(target_arch = "wasm32", path = "gpu/no_timeline.rs")]
mod timeline;
mod tune;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::channel::oneshot;

pub use adapter::{Adapter, AdapterInfo, DeviceKind, Limits, adapters, choose, choose_several};
#[cfg(not(target_arch = "wasm32"))]
pub use block_on::block_on;
pub use estimate::Estimate;
pub use memory::{Arrived, Memory, ROW, Read};
pub use peak::{Peak, Yardstick, peak};
#[cfg(not(target_arch = "wasm32"))]
pub use profile::{COPY, Row};
pub use session::Session;
#[cfg(target_arch = "wasm32")]
use timeline::Span;
#[cfg(not(target_arch = "wasm32"))]
pub use timeline::{Slice, Span, Timeline};
pub use tune::{Choice, Tuning};

use crate::error::{Error, Result};

/// Submissions that may be under way at a time. More would only add latency and memory; fewer would let the device run
/// dry while the next is recorded.
const IN_FLIGHT: usize = 8;

/// Bytes of uploads after which they are submitted without waiting for the next run, lest the staging memory pile up.
const UPLOAD_BYTES: u64 = 64 << 20;

/// How long to wait for one submission before looking around again.
const TURN: Duration = Duration::from_millis(20);

/// An open device. Cloning is cheap and gives another handle to the same device.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: AdapterInfo,
    limits: Limits,
    health: Arc<Health>,
    pipelines: pipeline::Pipelines,
    flight: Mutex<Flight>,
    rate: Mutex<Rate>,
    memory_limit: AtomicU64,
    held: Arc<buffer::Held>,
    #[cfg(not(target_arch = "wasm32"))]
    timeline: timeline::Slot,
}

/// What the device's callbacks write to.
#[derive(Default)]
struct Health {
    /// The first error nobody caught.
    error: Mutex<Option<Failure>>,
    /// Why the device was lost.
    lost: Mutex<Option<String>>,
    /// Who waits for the device, by number: told when it answers, or when it is lost and never will.
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    senders: HashMap<u64, oneshot::Sender<Result<(), String>>>,
}

/// An error of the device's.
struct Failure {
    message: String,
    is_out_of_memory: bool,
}

impl Health {
    fn error(&self, failure: Failure) {
        lock(&self.error).get_or_insert(failure);
    }

    fn lose(&self, reason: String) {
        lock(&self.lost).get_or_insert(reason);
        let senders = std::mem::take(&mut lock(&self.waiting).senders);
        for (_, sender) in senders {
            // Nobody listens any more where this fails.
            let _ = sender.send(Err("the device was lost".into()));
        }
    }

    /// Registers somebody waiting: the number to answer to, and where the answer arrives.
    fn expect(&self) -> (u64, oneshot::Receiver<Result<(), String>>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        let number = waiting.next;
        waiting.next += 1;
        waiting.senders.insert(number, sender);
        (number, receiver)
    }

    fn answer(&self, number: u64, result: Result<(), String>) {
        if let Some(sender) = lock(&self.waiting).senders.remove(&number) {
            let _ = sender.send(result);
        }
    }
}

#[derive(Default)]
struct Flight {
    submissions: VecDeque<wgpu::SubmissionIndex>,
    uploaded: u64,
}

/// What the device is taken to achieve, for cutting work into submissions.
#[derive(Clone, Copy, Debug)]
struct Rate {
    flops_per_s: f64,
    bytes_per_s: f64,
}

impl Rate {
    /// Low guesses, so that work is rather cut too often than run into a watchdog.
    fn assumed(kind: DeviceKind) -> Self {
        let (flops_per_s, bytes_per_s) = match kind {
            DeviceKind::Discrete => (1e12, 1e11),
            DeviceKind::Integrated => (1e11, 1e10),
            DeviceKind::Virtual | DeviceKind::Other => (3e10, 5e9),
            DeviceKind::Software => (3e9, 2e9),
        };
        Self { flops_per_s, bytes_per_s }
    }

    /// Estimated seconds of a kernel.
    fn seconds(&self, flops: u64, traffic: u64) -> f64 {
        (flops as f64 / self.flops_per_s).max(traffic as f64 / self.bytes_per_s)
    }
}

impl Gpu {
    /// Opens the adapter that `selector` names, or the preferred one: see [`choose`].
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none such, [`Error::Gpu`] if the driver will not open it.
    pub async fn open(selector: Option<&str>) -> Result<Self> {
        Self::open_adapter(&choose(selector).await?).await
    }

    /// Opens an adapter from [`adapters`], with everything it offers: its own limits, timestamps where it has them.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the driver will not open it.
    pub async fn open_adapter(adapter: &Adapter) -> Result<Self> {
        let wanted = timeline::TIMESTAMPS | wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("iresnet"),
            required_features: adapter.handle.features() & wanted,
            required_limits: adapter.handle.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = adapter
            .handle
            .request_device(&descriptor)
            .await
            .map_err(|error| Error::Gpu(format!("adapter {} cannot be opened: {error}", adapter.info)))?;
        Ok(Self::new(device, queue, adapter.info.clone()))
    }

    /// Opens the device that a page's `navigator.gpu` gives. The global is read before this returns, so that a page may put
    /// an object of its own there for that moment, which offers a device that it has opened.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is no adapter, [`Error::Gpu`] if it will not be opened.
    #[cfg(target_arch = "wasm32")]
    pub fn open_in_browser() -> impl Future<Output = Result<Self>> {
        let instance = adapter::instance();
        async move {
            let refused = |error: String| Error::NoAdapter(format!("the browser offers no adapter: {error}"));
            let handle =
                instance.request_adapter(&Default::default()).await.map_err(|error| refused(error.to_string()))?;
            let descriptor = wgpu::DeviceDescriptor { required_limits: handle.limits(), ..Default::default() };
            let (device, queue) = handle
                .request_device(&descriptor)
                .await
                .map_err(|error| Error::Gpu(format!("the adapter cannot be opened: {error}")))?;
            let info =
                AdapterInfo::of(&handle.get_info(), "webgpu:0".into(), &device.limits(), device.features(), true);
            Ok(Self::new(device, queue, info))
        }
    }

    /// Number of invocations in every subgroup, where the device can use subgroups and knows; else 0.
    pub(crate) fn subgroup(&self) -> u32 {
        // naga does not know `enable subgroups;`, which browsers ask for.
        if cfg!(target_arch = "wasm32") || !self.device().features().contains(wgpu::Features::SUBGROUP) {
            return 0;
        }
        let info = self.device().adapter_info();
        if info.subgroup_min_size == info.subgroup_max_size { info.subgroup_min_size } else { 0 }
    }

    /// Takes over a device opened elsewhere, such as by the page around a browser module. Its limits and features are
    /// used as they are; its error and loss callbacks are replaced.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let info = device.adapter_info();
        let id = format!("{}:0", adapter::backend_name(info.backend));
        let info = AdapterInfo::of(&info, id, &device.limits(), device.features(), true);
        Self::new(device, queue, info)
    }

    #[cfg_attr(
        target_arch = "wasm32",
        expect(clippy::arc_with_non_send_sync, reason = "browser handles stay on their thread; natively they move")
    )]
    fn new(device: wgpu::Device, queue: wgpu::Queue, info: AdapterInfo) -> Self {
        let health = Arc::new(Health::default());
        let for_errors = Arc::clone(&health);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            for_errors.error(Failure {
                message: describe(&error),
                is_out_of_memory: matches!(error, wgpu::Error::OutOfMemory { .. }),
            });
        }));
        let for_loss = Arc::clone(&health);
        device.set_device_lost_callback(move |reason, message| {
            let message = message.trim();
            let message = if message.is_empty() { format!("{reason:?}").to_lowercase() } else { message.into() };
            for_loss.lose(message);
        });
        Self(Arc::new(Inner {
            limits: Limits::of(&device.limits()),
            rate: Mutex::new(Rate::assumed(info.kind)),
            pipelines: pipeline::Pipelines::new(&device),
            device,
            queue,
            info,
            health,
            flight: Mutex::default(),
            memory_limit: AtomicU64::new(u64::MAX),
            held: Arc::default(),
            #[cfg(not(target_arch = "wasm32"))]
            timeline: timeline::Slot::default(),
        }))
    }

    /// What is known of the adapter.
    pub fn info(&self) -> &AdapterInfo {
        &self.0.info
    }

    /// What the device allows.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Bytes of device memory in use, as the allocator below counts them; `None` on backends that have none of their own.
    pub fn allocated_bytes(&self) -> Option<u64> {
        self.device().generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// Number of the buffers that this crate holds on the device, and their bytes.
    pub fn held(&self) -> (u64, u64) {
        self.0.held.now()
    }

    /// Whether anything has gone wrong on this device so far, as far as it has told. Every read does this by itself.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the reason of the loss, or with the first error; [`Error::OutOfMemory`] if it was that.
    pub fn check(&self) -> Result<()> {
        if let Some(reason) = lock(&self.0.health.lost).as_deref() {
            return Err(Error::Gpu(format!("device lost: {reason} ({})", self.info())));
        }
        match &*lock(&self.0.health.error) {
            Some(Failure { message, is_out_of_memory }) => {
                let message = format!("{message} ({})", self.info());
                Err(if *is_out_of_memory { Error::OutOfMemory(message) } else { Error::Gpu(message) })
            }
            None => Ok(()),
        }
    }

    /// Destroys the device, as an unplugged card or a crashed driver would: for tests of what happens then.
    pub fn destroy(&self) {
        self.give_up("destroyed");
    }

    /// Ends the device; whoever waits for it gets `reason` as the error.
    pub(crate) fn give_up(&self, reason: &str) {
        self.0.health.lose(reason.into());
        self.0.device.destroy();
    }

    /// Lets the device hold no more than about so many bytes, as a smaller card would: for tests of what happens then.
    /// Only where the allocator [counts](Self::allocated_bytes).
    pub fn limit_memory(&self, bytes: u64) {
        self.0.memory_limit.store(bytes, Ordering::Relaxed);
    }

    /// Whether more is held than the limit set for tests allows.
    fn exceeds_limit(&self) -> bool {
        let limit = self.0.memory_limit.load(Ordering::Relaxed);
        limit < u64::MAX && self.allocated_bytes().is_some_and(|allocated| allocated > limit)
    }

    /// Waits until everything submitted so far has run.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub async fn idle(&self) -> Result<()> {
        let (number, receiver) = self.0.health.expect();
        let submission = self.submit(None);
        let health = Arc::clone(&self.0.health);
        self.0.queue.on_submitted_work_done(move || health.answer(number, Ok(())));
        Answer::new(self, receiver, submission).await
    }

    fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Whether the device is gone.
    pub(crate) fn is_lost(&self) -> bool {
        lock(&self.0.health.lost).is_some()
    }

    /// Submits commands, natively first waiting where too many submissions are in flight. In a browser a function that
    /// is not `async` cannot wait: there whoever awaits a read now and then keeps the queue short.
    fn submit(&self, commands: Option<wgpu::CommandBuffer>) -> wgpu::SubmissionIndex {
        let submission = {
            let _span = self.span(timeline::SUBMIT, "");
            self.submit_commands(commands)
        };
        let mut flight = lock(&self.0.flight);
        flight.uploaded = 0;
        flight.submissions.push_back(submission.clone());
        let _span = (flight.submissions.len() > IN_FLIGHT).then(|| self.span("wait for room", ""));
        while flight.submissions.len() > IN_FLIGHT {
            let Some(oldest) = flight.submissions.pop_front() else { break };
            while !wait(&self.0.device, &oldest) && !self.is_lost() {}
        }
        submission
    }

    /// Uploads bytes; they are in place before whatever is submitted next.
    fn upload(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        if self.is_lost() || bytes.is_empty() {
            return;
        }
        let _span = self.span("upload", "");
        self.0.queue.write_buffer(buffer, offset, bytes);
        let uploaded = {
            let mut flight = lock(&self.0.flight);
            flight.uploaded += bytes.len() as u64;
            flight.uploaded
        };
        if uploaded > UPLOAD_BYTES {
            self.submit(None);
        }
    }

    fn rate(&self) -> Rate {
        *lock(&self.0.rate)
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gpu").field(&self.0.info.id).finish()
    }
}

/// Waits for the device to answer.
struct Answer {
    gpu: Gpu,
    receiver: oneshot::Receiver<Result<(), String>>,
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "browsers poll by themselves"))]
    submission: wgpu::SubmissionIndex,
    announced: bool,
    /// From the announcement to the answer.
    _waiting: Option<Span>,
}

impl Answer {
    fn new(gpu: &Gpu, receiver: oneshot::Receiver<Result<(), String>>, submission: wgpu::SubmissionIndex) -> Self {
        Self { gpu: gpu.clone(), receiver, submission, announced: false, _waiting: None }
    }
}

impl Future for Answer {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.gpu.is_lost() {
            self._waiting = None;
            return Poll::Ready(self.gpu.check());
        }
        match Pin::new(&mut self.receiver).poll(context) {
            Poll::Ready(answer) => {
                self._waiting = None;
                // What was reported before explains the failure better than the failure itself.
                let checked = self.gpu.check();
                Poll::Ready(checked.and(match answer {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(message)) => Err(Error::Gpu(message)),
                    Err(oneshot::Canceled) => Err(Error::Gpu("the device did not answer".into())),
                }))
            }
            Poll::Pending => {
                if !std::mem::replace(&mut self.announced, true) {
                    #[cfg(not(target_arch = "wasm32"))]
                    block_on::expect(&self.gpu.0.device, &self.submission);
                    self._waiting = Some(self.gpu.span("wait for results", ""));
                }
                Poll::Pending
            }
        }
    }
}

/// Runs callbacks of `device`, first waiting for `submission` at most [`TURN`]. False when it timed out. Browsers call
/// back by themselves: there this does nothing.
fn wait(device: &wgpu::Device, submission: &wgpu::SubmissionIndex) -> bool {
    let poll = wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: Some(TURN) };
    // wgpu 30 calls the device-lost callback and then panics here when the driver loses the device. The callback has
    // told the Gpu, which turns it into an error at the next read, so the panic has nothing to add.
    let result = catch_unwind(AssertUnwindSafe(|| device.poll(poll)));
    !matches!(result, Ok(Err(wgpu::PollError::Timeout)))
}

/// The text of a wgpu error, with its causes.
fn describe(error: &wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => "out of device memory: use a smaller batch".into(),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => description.clone(),
    }
}

/// Locks. A panic elsewhere while locked leaves our plain values usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
