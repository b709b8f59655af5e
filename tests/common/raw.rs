//! The least that runs one compute shader through wgpu: for tests and measurements of single kernels.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::{Duration, Instant};

use iresnet::plan::launch::Launch;
use pollster::block_on;

/// An open device.
pub(crate) struct Gpu {
    /// Name of the adapter.
    pub(crate) name: String,
    /// Size of its subgroups, zero where it has no subgroup operations or several sizes.
    subgroup: u32,
    /// Whether it computes in half precision.
    pub(crate) has_f16: bool,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// One launch of a kernel, ready to be repeated.
pub(crate) struct Job {
    pipeline: wgpu::ComputePipeline,
    tensors: wgpu::BindGroup,
    grid: wgpu::BindGroup,
    size: [u32; 2],
}

/// Opens every adapter of the Vulkan, Metal and DX12 backends with the limits it has to offer, or with the default
/// limits only.
pub(crate) fn open_all(default_limits: bool) -> Vec<Gpu> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    adapters
        .into_iter()
        .map(|adapter| {
            let info = adapter.get_info();
            let optional = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16;
            let required_features = adapter.features() & optional;
            let has_f16 = required_features.contains(wgpu::Features::SHADER_F16);
            let has_subgroups = required_features.contains(wgpu::Features::SUBGROUP);
            let one_size = has_subgroups && info.subgroup_min_size == info.subgroup_max_size;
            let subgroup = if one_size { info.subgroup_min_size } else { 0 };
            let required_limits = if default_limits { wgpu::Limits::default() } else { adapter.limits() };
            let descriptor = wgpu::DeviceDescriptor { required_limits, required_features, ..Default::default() };
            let (device, queue) = block_on(adapter.request_device(&descriptor)).expect("device");
            Gpu { name: info.name, subgroup, has_f16, device, queue }
        })
        .collect()
}

/// The linked module of a launch with an epilogue that only stores.
pub(crate) fn link(launch: &Launch) -> String {
    launch.module(launch.plain_end())
}

impl Gpu {
    /// Whether the device grants what a kernel asks for.
    pub(crate) fn fits(&self, launch: &Launch) -> bool {
        let limits = self.device.limits();
        launch.suits.allows(self.subgroup, self.has_f16)
            && launch.workgroup_bytes <= limits.max_compute_workgroup_storage_size
            && launch.workgroup_size <= limits.max_compute_invocations_per_workgroup
    }

    /// A storage buffer with these contents.
    pub(crate) fn buffer(&self, data: &[f32]) -> wgpu::Buffer {
        let buffer = self.empty(data.len());
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(data));
        buffer
    }

    /// A storage buffer of so many numbers.
    pub(crate) fn empty(&self, len: usize) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: len as u64 * 4,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    /// Compiles a module whose bindings are the given inputs and one output.
    pub(crate) fn job(&self, source: &str, groups: u32, inputs: &[&wgpu::Buffer], output: &wgpu::Buffer) -> Job {
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
        let mut entries: Vec<_> = (0..inputs.len()).map(|i| entry(i as u32, storage(true))).collect();
        entries.push(entry(inputs.len() as u32, storage(false)));
        let layout = |entries: &[_]| {
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries })
        };
        let (tensors_layout, grid_layout) = (layout(&entries), layout(&[entry(0, wgpu::BufferBindingType::Uniform)]));
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&tensors_layout), Some(&grid_layout)],
            immediate_size: 0,
        });
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let uniform = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 8,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.queue.write_buffer(&uniform, 0, bytemuck::cast_slice(&[0u32, groups]));
        let bind = |layout, buffers: &[&wgpu::Buffer]| {
            let entries: Vec<_> = buffers
                .iter()
                .enumerate()
                .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
                .collect();
            self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        let mut all = inputs.to_vec();
        all.push(output);
        let rows = groups.div_ceil(65_535);
        Job {
            pipeline,
            tensors: bind(&tensors_layout, &all),
            grid: bind(&grid_layout, &[&uniform]),
            size: [groups.div_ceil(rows), rows],
        }
    }

    /// Runs a job several times in one submission and waits; returns the time it took.
    pub(crate) fn run(&self, job: &Job, times: u32) -> Duration {
        let start = Instant::now();
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&job.pipeline);
            pass.set_bind_group(0, &job.tensors, &[]);
            pass.set_bind_group(1, &job.grid, &[]);
            for _ in 0..times {
                pass.dispatch_workgroups(job.size[0], job.size[1], 1);
            }
        }
        self.queue.submit([encoder.finish()]);
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("poll");
        start.elapsed()
    }

    /// Contents of a buffer.
    pub(crate) fn read(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("map"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("poll");
        let bytes = staging.slice(..).get_mapped_range().expect("mapped").to_vec();
        bytemuck::pod_collect_to_vec(&bytes)
    }
}
