//! Device memory: allocation with errors that say what was too big, and named tensors that outlive sessions.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;

use super::buffer::Buffer;
use super::{Answer, Gpu, describe};
use crate::error::{Error, Result};
use crate::plan::Layout;
use crate::shape::Shape;

/// Where a tensor may begin in a buffer: the largest alignment any device asks for.
pub(super) const ALIGNMENT: u64 = 256;

/// Numbers at whose multiples the tensors of a bucket begin.
pub const ROW: usize = (ALIGNMENT / 4) as usize;

/// Smallest buffer made: some drivers refuse tiny ones, and a `vec4` binding wants 16 bytes.
const SMALLEST: u64 = 16;

/// Named f32 tensors on a device: parameters, optimiser state, batches, losses.
///
/// A tensor has a buffer to itself, or shares a *bucket*: one flat buffer that is a tensor too, so that a whole model
/// is copied, read or updated at once. New memory is zero.
///
/// A kernel must not read one tensor of a bucket and write another (WebGPU forbids a buffer in both roles in one
/// dispatch); [`Session::bind`](super::Session::bind) checks it.
#[derive(Debug)]
pub struct Memory {
    gpu: Gpu,
    tensors: HashMap<String, Tensor>,
}

/// A range of a buffer with a shape.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) buffer: Buffer,
    pub(super) offset: u64,
    shape: Shape,
    /// The bucket it is in.
    bucket: Option<String>,
}

impl Tensor {
    pub(super) fn bytes(&self) -> u64 {
        self.shape.bytes()
    }
}

impl Memory {
    /// Memory on `gpu` with no tensors in it yet.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), tensors: HashMap::new() }
    }

    /// A second set of names, now of the same tensors. What either makes or frees from here on is its own, so that
    /// graphs whose inputs and outputs have equal names and other shapes can share the parameters.
    pub fn share(&self) -> Self {
        Self { gpu: self.gpu.clone(), tensors: self.tensors.clone() }
    }

    /// The device it lives on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Makes a tensor of zeros. Panics if the name is taken.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] naming the tensor and its size if the device has no room for it. (A browser tells only later: the
    /// next read raises it there.)
    #[track_caller]
    pub fn alloc(&mut self, name: &str, shape: impl Into<Shape>) -> Result<()> {
        let shape = shape.into();
        self.vacant(name);
        let buffer = alloc(&self.gpu, "tensor", name, shape.bytes(), wgpu::BufferUsages::empty())?;
        self.tensors.insert(name.into(), Tensor { buffer, offset: 0, shape, bucket: None });
        Ok(())
    }

    /// Makes the `tensors`, zero, one after the other in one buffer, each beginning at a multiple of 256 bytes, and the
    /// flat tensor `bucket` of the whole including the padding between them, which is zero and stays so if every kernel
    /// that writes the whole maps zeros to zeros. Panics if a name is taken.
    ///
    /// # Errors
    /// As [`Memory::alloc`].
    #[track_caller]
    pub fn bucket<S: AsRef<str>>(&mut self, bucket: &str, tensors: &[(S, Shape)]) -> Result<()> {
        self.vacant(bucket);
        let mut offsets = Vec::with_capacity(tensors.len());
        let mut bytes = 0;
        for (name, shape) in tensors {
            self.vacant(name.as_ref());
            offsets.push(bytes);
            bytes += shape.bytes().next_multiple_of(ALIGNMENT);
        }
        let buffer = alloc(&self.gpu, "bucket", bucket, bytes, wgpu::BufferUsages::empty())?;
        for ((name, shape), offset) in tensors.iter().zip(offsets) {
            let (buffer, shape) = (buffer.clone(), shape.clone());
            let tensor = Tensor { buffer, offset, shape, bucket: Some(bucket.into()) };
            let before = self.tensors.insert(name.as_ref().into(), tensor);
            assert!(before.is_none(), "bucket `{bucket}` holds two tensors `{}`", name.as_ref());
        }
        let shape = Shape::new([bytes as usize / 4]);
        self.tensors.insert(bucket.into(), Tensor { buffer, offset: 0, shape, bucket: None });
        Ok(())
    }

    /// Frees a tensor's name; its memory too once no session and no other tensor of its bucket uses it.
    pub fn free(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// Uploads the elements of a tensor, row-major; whatever is submitted afterwards sees them.
    #[track_caller]
    pub fn write(&self, name: &str, data: &[f32]) {
        let tensor = self.tensor(name);
        let (shape, len) = (&tensor.shape, tensor.shape.len());
        assert_eq!(len, data.len(), "tensor `{name}` of shape {shape} has {len} elements, the data {}", data.len());
        self.gpu.upload(&tensor.buffer, tensor.offset, bytemuck::cast_slice(data));
    }

    /// Copies the elements of one tensor to another of equal length, on the device.
    #[track_caller]
    pub fn copy(&self, from: &str, to: &str) {
        let (source, target) = (self.tensor(from), self.tensor(to));
        let (source_len, target_len) = (source.shape.len(), target.shape.len());
        assert_eq!(source_len, target_len, "copy of {source_len} elements `{from}` to {target_len} elements `{to}`");
        if source.bytes() == 0 || self.gpu.is_lost() {
            return;
        }
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        if source.buffer == target.buffer {
            // WebGPU forbids a copy within a buffer.
            let bounce = Buffer::new(
                &self.gpu,
                &wgpu::BufferDescriptor {
                    label: Some("copy within a bucket"),
                    size: source.bytes(),
                    usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                },
            );
            encoder.copy_buffer_to_buffer(&source.buffer, source.offset, &bounce, 0, source.bytes());
            encoder.copy_buffer_to_buffer(&bounce, 0, &target.buffer, target.offset, source.bytes());
        } else {
            let (from, to) = (source.offset, target.offset);
            encoder.copy_buffer_to_buffer(&source.buffer, from, &target.buffer, to, source.bytes());
        }
        self.gpu.submit(Some(encoder.finish()));
    }

    /// Copies several tensors, from the first of each pair to the second, which lie in different buffers.
    #[track_caller]
    pub fn copy_all<S: AsRef<str>>(&self, pairs: &[(S, S)]) {
        if self.gpu.is_lost() {
            return;
        }
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        for (from, to) in pairs {
            let (source, target) = (self.tensor(from.as_ref()), self.tensor(to.as_ref()));
            let (len, wanted) = (source.shape.len(), target.shape.len());
            assert_eq!(
                len,
                wanted,
                "copy of {len} elements `{}` to {wanted} elements `{}`",
                from.as_ref(),
                to.as_ref()
            );
            if len > 0 {
                let (from, to) = (source.offset, target.offset);
                encoder.copy_buffer_to_buffer(&source.buffer, from, &target.buffer, to, source.bytes());
            }
        }
        self.gpu.submit(Some(encoder.finish()));
    }

    /// Begins to read a tensor as it is after everything submitted so far. The copy is under way when this returns;
    /// await the result when it is needed, several steps later if need be.
    #[track_caller]
    pub fn start_read(&self, name: &str) -> Read {
        let tensor = self.tensor(name);
        Read::start(&self.gpu, name, &tensor.buffer, tensor.offset, tensor.bytes())
    }

    /// The same for some of its elements, as row-major ranges, whose elements come one after the other.
    #[track_caller]
    pub fn start_read_ranges(&self, name: &str, ranges: &[Range<usize>]) -> Read {
        let tensor = self.tensor(name);
        let len = tensor.shape.len();
        let in_bytes = |range: &Range<usize>| {
            assert!(range.start < range.end && range.end <= len, "elements {range:?} of `{name}`, which has {len}");
            (tensor.offset + 4 * range.start as u64, 4 * range.len() as u64)
        };
        Read::start_parts(&self.gpu, name, &tensor.buffer, &ranges.iter().map(in_bytes).collect::<Vec<_>>())
    }

    /// The elements of a tensor after everything submitted so far, row-major.
    ///
    /// # Errors
    /// [`Error::Gpu`] if anything before went wrong: see [`Gpu::check`].
    pub async fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.start_read(name).await
    }

    /// Where the tensors of buckets lie, for plans that make use of it.
    pub fn layout(&self) -> Layout {
        let place = |(name, tensor): (&String, &Tensor)| {
            let bucket = tensor.bucket.clone()?;
            let bytes = self.tensors.get(&bucket)?.bytes();
            Some((name.clone(), (bucket, bytes, tensor.offset)))
        };
        self.tensors.iter().filter_map(place).collect()
    }

    /// The number of elements before a tensor in its bucket.
    #[track_caller]
    pub fn place_in_bucket(&self, name: &str) -> usize {
        (self.tensor(name).offset / 4) as usize
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor.
    #[track_caller]
    pub fn shape(&self, name: &str) -> &Shape {
        &self.tensor(name).shape
    }

    /// The number of elements of a tensor.
    #[track_caller]
    pub fn len(&self, name: &str) -> usize {
        self.tensor(name).shape.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The names of all tensors and buckets, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    #[track_caller]
    fn tensor(&self, name: &str) -> &Tensor {
        match self.get(name) {
            Some(tensor) => tensor,
            None => panic!("no tensor `{name}` in memory, which holds {}", self.names().join(", ")),
        }
    }

    #[track_caller]
    fn vacant(&self, name: &str) {
        assert!(!self.contains(name), "there is a tensor `{name}` already");
    }
}

/// Elements on their way from the device: resolves to them.
#[must_use = "a read does nothing unless awaited"]
pub struct Read {
    gpu: Gpu,
    staging: Option<Buffer>,
    answer: Answer,
}

impl Read {
    pub(super) fn start(gpu: &Gpu, label: &str, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Self {
        Self::start_parts(gpu, label, buffer, &[(offset, bytes)])
    }

    /// Several parts of a buffer, given by their first bytes and their lengths, one after the other.
    fn start_parts(gpu: &Gpu, label: &str, buffer: &wgpu::Buffer, parts: &[(u64, u64)]) -> Self {
        let _span = gpu.span("read back", label);
        let bytes = parts.iter().map(|(_, bytes)| bytes).sum();
        let (number, receiver) = gpu.0.health.expect();
        if bytes == 0 || gpu.is_lost() {
            let submission = gpu.submit(None);
            gpu.0.health.answer(number, Ok(()));
            return Self { gpu: gpu.clone(), staging: None, answer: Answer::new(gpu, receiver, submission) };
        }
        let staging = Buffer::new(
            gpu,
            &wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            },
        );
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut place = 0;
        for &(offset, bytes) in parts {
            encoder.copy_buffer_to_buffer(buffer, offset, &staging, place, bytes);
            place += bytes;
        }
        let submission = gpu.submit(Some(encoder.finish()));
        let health = Arc::clone(&gpu.0.health);
        let what = format!("`{label}` cannot be read: ");
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            health.answer(number, result.map_err(|error| format!("{what}{error}")));
        });
        Self { gpu: gpu.clone(), staging: Some(staging), answer: Answer::new(gpu, receiver, submission) }
    }

    /// Waits until the elements have arrived, without taking them yet.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub async fn arrive(mut self) -> Result<Arrived> {
        (&mut self.answer).await?;
        Ok(Arrived(self))
    }

    /// Waits for the bytes as numbers of another type.
    pub(super) async fn cast<T: bytemuck::Pod>(mut self) -> Result<Vec<T>> {
        (&mut self.answer).await?;
        self.finish()
    }

    /// Takes the bytes out once they have arrived.
    fn finish<T: bytemuck::Pod>(&mut self) -> Result<Vec<T>> {
        let Some(staging) = self.staging.take() else { return Ok(Vec::new()) };
        let mapped = staging
            .get_mapped_range(..)
            .map_err(|error| Error::Gpu(format!("read-back: {error} ({})", self.gpu.info())))?;
        let mut data = vec![T::zeroed(); mapped.len() / size_of::<T>()];
        bytemuck::cast_slice_mut(&mut data).copy_from_slice(&mapped);
        drop(mapped);
        staging.unmap();
        Ok(data)
    }
}

/// Elements that have arrived from the device.
pub struct Arrived(Read);

impl Arrived {
    /// Copies them out.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device has failed since.
    pub fn take(mut self) -> Result<Vec<f32>> {
        self.0.finish()
    }
}

impl Future for Read {
    type Output = Result<Vec<f32>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.and_then(|()| self.finish()))
    }
}

/// Makes a zeroed storage buffer that can also be copied from and to, with `extra` uses.
///
/// # Errors
/// [`Error::OutOfMemory`] naming it, its size and the limit if it is too big or the device is out of memory.
pub(super) fn alloc(gpu: &Gpu, what: &str, name: &str, bytes: u64, extra: wgpu::BufferUsages) -> Result<Buffer> {
    gpu.check()?;
    let limit = gpu.limits().buffer_bytes;
    if bytes > limit {
        return Err(Error::OutOfMemory(format!(
            "{what} `{name}` needs {bytes} bytes, but a buffer on {} has at most {limit}: use a smaller batch",
            gpu.info()
        )));
    }
    let descriptor = wgpu::BufferDescriptor {
        label: Some(name),
        size: bytes.max(SMALLEST).next_multiple_of(4),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST | extra,
        mapped_at_creation: false,
    };
    if cfg!(target_arch = "wasm32") {
        // An error scope answers only later there: leave the error to the callback, and so to the next read.
        return Ok(Buffer::new(gpu, &descriptor));
    }
    let memory = gpu.device().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
    let buffer = Buffer::new(gpu, &descriptor);
    let validation = validation.pop().now_or_never().flatten();
    let memory = memory.pop().now_or_never().flatten();
    let refused = memory.is_some() || gpu.exceeds_limit();
    match (refused, validation) {
        (true, _) => Err(Error::OutOfMemory(format!(
            "out of device memory: {what} `{name}` needs {bytes} bytes more on {}: use a smaller batch",
            gpu.info()
        ))),
        (false, Some(error)) => Err(Error::Gpu(format!("{what} `{name}` of {bytes} bytes: {}", describe(&error)))),
        (false, None) => gpu.check().map(|()| buffer),
    }
}
