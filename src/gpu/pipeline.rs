//! Pipelines: one for each distinct shader text, compiled in parallel where there are threads.
//!
//! Layouts follow from the numbers of inputs and outputs alone (see the conventions of
//! [`program`](crate::plan::program)), so that a cache key is the hash of the source and those two numbers.
//!
//! Not done: a pipeline cache of our own on disk. wgpu has one for Vulkan only, where desktop drivers keep their own,
//! and to fill it from a file is unsafe: a damaged file would be the driver's to survive.

use std::collections::HashMap;
use std::sync::Mutex;

use super::buffer::Buffer;
use super::{Gpu, describe, lock};
use crate::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::threads;

/// A shader to compile: the label for messages, and what the pipeline depends on.
pub(super) struct Wanted {
    pub(super) label: String,
    pub(super) source: std::sync::Arc<str>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Wanted {
    fn key(&self) -> Key {
        (*blake3::hash(self.source.as_bytes()).as_bytes(), self.inputs, self.outputs)
    }
}

type Key = ([u8; 32], usize, usize);

/// The pipelines and layouts of a device.
pub(super) struct Pipelines {
    /// Layout of group 1: the `Grid` of a dispatch.
    grid: wgpu::BindGroupLayout,
    layouts: Mutex<HashMap<(usize, usize), Layout>>,
    pipelines: Mutex<HashMap<Key, wgpu::ComputePipeline>>,
}

/// Layouts for given numbers of inputs and outputs.
#[derive(Clone)]
pub(super) struct Layout {
    /// Layout of group 0: the tensors.
    pub(super) tensors: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

impl Pipelines {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let grid = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("grid"),
            entries: &[wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: true,
                    min_binding_size: None,
                },
                count: None,
            }],
        });
        Self { grid, layouts: Mutex::default(), pipelines: Mutex::default() }
    }

    pub(super) fn grid(&self) -> &wgpu::BindGroupLayout {
        &self.grid
    }

    pub(super) fn layout(&self, device: &wgpu::Device, inputs: usize, outputs: usize) -> Layout {
        let make = || {
            let entry = |binding: usize| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: binding < inputs },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            };
            let entries: Vec<_> = (0..inputs + outputs).map(entry).collect();
            let label = format!("{inputs} inputs, {outputs} outputs");
            let tensors = device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
            let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&tensors), Some(&self.grid)],
                immediate_size: 0,
            });
            Layout { tensors, pipeline }
        };
        lock(&self.layouts).entry((inputs, outputs)).or_insert_with(make).clone()
    }
}

/// Binds ranges (buffer, offset, bytes) as group 0: inputs, then outputs.
pub(super) fn bind_tensors(gpu: &Gpu, label: &str, inputs: usize, ranges: &[(&Buffer, u64, u64)]) -> wgpu::BindGroup {
    let mut entries = Vec::with_capacity(ranges.len());
    for (binding, &(buffer, offset, bytes)) in (0..).zip(ranges) {
        let size = wgpu::BufferSize::new(bytes);
        let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
        entries.push(wgpu::BindGroupEntry { binding, resource });
    }
    let layout = gpu.0.pipelines.layout(gpu.device(), inputs, ranges.len() - inputs);
    gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(label),
        layout: &layout.tensors,
        entries: &entries,
    })
}

/// The pipelines of `wanted`, in order, compiling those that are new.
///
/// # Errors
/// [`Error::Gpu`] with the kernel's label and what the compiler said.
pub(super) async fn pipelines(gpu: &Gpu, wanted: &[Wanted]) -> Result<Vec<wgpu::ComputePipeline>> {
    gpu.check()?;
    let keys: Vec<Key> = wanted.iter().map(Wanted::key).collect();
    let mut new: HashMap<Key, &Wanted> = HashMap::new();
    {
        let known = lock(&gpu.0.pipelines.pipelines);
        new.extend(keys.iter().zip(wanted).filter(|(key, _)| !known.contains_key(*key)).map(|(key, one)| (*key, one)));
    }
    // In the order of the program, whatever the order of the map: the first error is the same in every run.
    let mut new: Vec<(Key, &Wanted)> = new.into_iter().collect();
    new.sort_by_key(|(key, _)| keys.iter().position(|other| other == key));
    let compiled = compile_all(gpu, &new).await?;
    let mut known = lock(&gpu.0.pipelines.pipelines);
    known.extend(new.iter().map(|(key, _)| *key).zip(compiled));
    Ok(keys.iter().map(|key| known[key].clone()).collect())
}

#[cfg(not(target_arch = "wasm32"))]
async fn compile_all(gpu: &Gpu, wanted: &[(Key, &Wanted)]) -> Result<Vec<wgpu::ComputePipeline>> {
    use futures::FutureExt;

    // Errors are there at once natively, so a thread need not wait for its future.
    let work = |number: usize| {
        let one: &Wanted = wanted[number].1;
        let late = || Err(Error::Gpu(format!("kernel `{}`: the compiler did not answer", one.label)));
        compile(gpu, one).now_or_never().unwrap_or_else(late)
    };
    threads::map(wanted.len(), work).into_iter().collect()
}

#[cfg(target_arch = "wasm32")]
async fn compile_all(gpu: &Gpu, wanted: &[(Key, &Wanted)]) -> Result<Vec<wgpu::ComputePipeline>> {
    let mut done = Vec::with_capacity(wanted.len());
    for (_, one) in wanted {
        done.push(compile(gpu, one).await?);
    }
    Ok(done)
}

async fn compile(gpu: &Gpu, wanted: &Wanted) -> Result<wgpu::ComputePipeline> {
    let device = gpu.device();
    let layout = gpu.0.pipelines.layout(device, wanted.inputs, wanted.outputs);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(&wanted.label),
        source: wgpu::ShaderSource::Wgsl((*wanted.source).into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&wanted.label),
        layout: Some(&layout.pipeline),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Our kernels write workgroup memory before they read it.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    let (validation, internal) = (validation.pop(), internal.pop());
    let error = match validation.await {
        Some(error) => Some(error),
        None => internal.await,
    };
    match error {
        Some(error) => Err(Error::Gpu(format!("kernel `{}` does not compile: {}", wanted.label, describe(&error)))),
        None => Ok(pipeline),
    }
}
