//! The uniform of `shaders/lib/grid.wgsl`: which workgroups a dispatch covers.

use std::collections::HashMap;

use encase::{DynamicUniformBuffer, ShaderType};

use super::Gpu;
use super::buffer::Buffer;
use super::memory::ALIGNMENT;
use super::record::Part;

/// `struct Grid` of the shaders.
#[derive(ShaderType)]
struct Grid {
    base: u32,
    count: u32,
}

/// Bytes bound for a [`Grid`]: OpenGL rounds a uniform block up to 16.
const BOUND: u64 = 16;

/// Collects the distinct [`Grid`]s that a session needs, for one uniform buffer with dynamic offsets.
pub(super) struct Grids {
    known: HashMap<(u32, u32), u32>,
    bytes: DynamicUniformBuffer<Vec<u8>>,
}

impl Grids {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), bytes: DynamicUniformBuffer::new(Vec::new()) }
    }

    /// Gives the parts of a kernel of `count` workgroups their offsets.
    pub(super) fn place(&mut self, parts: &mut [Part], count: u32) {
        for part in parts {
            let base = part.base;
            part.grid = *self.known.entry((base, count)).or_insert_with(|| {
                let offset = self.bytes.write(&Grid { base, count });
                u32::try_from(offset.expect("a vector grows")).expect("fewer than 16 million distinct grids")
            });
        }
    }

    /// The bind group of group 1, and the buffer that it needs.
    pub(super) fn bind(self, gpu: &Gpu) -> (wgpu::BindGroup, Buffer) {
        let mut bytes = self.bytes.into_inner();
        bytes.resize((bytes.len() as u64).max(1).next_multiple_of(ALIGNMENT) as usize, 0);
        let buffer = Buffer::new(
            gpu,
            &wgpu::BufferDescriptor {
                label: Some("grids"),
                size: bytes.len() as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            },
        );
        gpu.upload(&buffer, 0, &bytes);
        let size = wgpu::BufferSize::new(BOUND);
        let group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("grids"),
            layout: gpu.0.pipelines.grid(),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer, offset: 0, size }),
            }],
        });
        (group, buffer)
    }
}
