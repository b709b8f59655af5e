//! Sessions: a program bound to a device and a memory.
//!
//! Everything that can be made once is made by [`Session::bind`]; [`Session::run`] only re-encodes it, as WebGPU has
//! no command buffers that can be submitted twice.
//!
//! # Loops
//! A loop's dispatches take their numbers of workgroups from a buffer on the device. All rounds are recorded. After
//! each, `shaders/loop_gate.wgsl` sets the numbers to zero if the flag is not greater than zero; the rounds that follow
//! then cost a few microseconds a dispatch, and the host never waits to learn how many there were.

use std::ops::Range;
use std::sync::Arc;

use super::buffer::Buffer;
use super::grid::Grids;
use super::memory::{ALIGNMENT, alloc};
use super::pipeline::{Wanted, bind_tensors, pipelines};
use super::record::{Copy, Dispatch, Recorder, parts};
use super::{Gpu, Memory, Tuning};
use crate::error::{Error, Result};
use crate::graph::Scope;
use crate::plan::program::{Binding, BufferKind, Command, Kernel, Program, Variant};
use crate::wgsl::wgsl;

/// The kernel that ends loops.
const GATE: [&str; 2] = [wgsl!("../../shaders/loop_gate.wgsl"), wgsl!("../../shaders/lib/grid.wgsl")];

/// Words of an argument buffer that a workgroup of the gate clears.
const GATE_WORDS: u32 = 64;

/// A [`Program`] bound to a [`Gpu`] and a [`Memory`], ready to run any number of times.
pub struct Session {
    pub(super) gpu: Gpu,
    pub(super) name: String,
    pub(super) items: Vec<Item>,
    /// The first item of each command of the program.
    starts: Vec<usize>,
    pub(super) grid: wgpu::BindGroup,
    pub(super) kernels: Vec<Chosen>,
    scratch_bytes: u64,
    dispatches: usize,
    /// What the bind groups refer to.
    _buffers: Vec<Buffer>,
}

/// What reports say of a kernel.
pub(super) struct Chosen {
    pub(super) label: String,
    pub(super) variant: String,
    pub(super) flops: u64,
    pub(super) traffic: u64,
}

/// One unit of bound work.
pub(super) enum Item {
    Dispatch(Dispatch),
    Copy(Copy),
    Loop(Loop),
}

/// A bound loop.
pub(super) struct Loop {
    pub(super) body: Vec<Item>,
    pub(super) limit: u32,
    pub(super) flag: (Buffer, u64),
    /// Sets the arguments to full numbers.
    arm: Copy,
    arguments: Buffer,
    gate: Dispatch,
}

impl Session {
    /// Binds `program`: tunes its kernels where `tuning` measures, compiles them, allocates scratch memory and finds the
    /// external tensors in `memory`, which may be written and read freely afterwards but must keep these tensors.
    ///
    /// Panics if an external tensor is missing or has another length, if a binding is out of range or misaligned, or if
    /// a dispatch binds one device buffer both to read and to write (WebGPU forbids it even for disjoint ranges).
    ///
    /// # Errors
    /// [`Error::Gpu`] if a kernel does not compile or does not fit the device, or if memory runs out.
    pub async fn bind(gpu: &Gpu, program: &Program, memory: &Memory, tuning: &mut Tuning) -> Result<Self> {
        tuning.measure(gpu, program).await?;
        let mut variants = Vec::with_capacity(program.kernels.len());
        for kernel in &program.kernels {
            variants.push(tuning.choose(gpu, kernel)?);
        }
        let wanted = |(kernel, variant): (&Kernel, &&Variant)| {
            let label = format!("{} {}", kernel.label, variant.name);
            let (inputs, outputs) = (kernel.inputs, kernel.outputs);
            Wanted { label, source: Arc::clone(&variant.source), inputs, outputs }
        };
        let mut wanted: Vec<Wanted> = program.kernels.iter().zip(&variants).map(wanted).collect();
        wanted.push(Wanted { label: "loop_gate".into(), source: GATE.concat().into(), inputs: 1, outputs: 1 });
        let mut pipelines = pipelines(gpu, &wanted).await?;
        let gate = pipelines.pop().expect("pushed above");

        let places = places(gpu, program, memory)?;
        let scratch = places.iter().filter(|place| place.is_scratch).map(|place| place.buffer.size()).sum();
        let grids = Grids::new();
        let mut binder = Binder { gpu, program, tuning, variants, pipelines, gate, places, grids, scratch };
        let mut items = Vec::with_capacity(program.commands.len());
        let mut starts = Vec::with_capacity(program.commands.len());
        for command in &program.commands {
            starts.push(items.len());
            items.extend(binder.items(std::slice::from_ref(command), None)?);
        }
        let (grid, grids) = std::mem::replace(&mut binder.grids, Grids::new()).bind(gpu);
        let buffers = binder.places.iter().map(|place| place.buffer.clone()).chain([grids]).collect();
        let chosen = |(kernel, variant): (&Kernel, &&Variant)| Chosen {
            label: kernel.label.clone(),
            variant: variant.name.clone(),
            flops: kernel.flops,
            traffic: kernel.traffic,
        };
        Ok(Self {
            gpu: gpu.clone(),
            name: program.name.clone(),
            kernels: program.kernels.iter().zip(&binder.variants).map(chosen).collect(),
            dispatches: count(&items),
            items,
            starts,
            grid,
            scratch_bytes: binder.scratch,
            _buffers: buffers,
        })
    }

    /// Records and submits the program once. Returns as soon as that is done; results are read from the memory. If the
    /// device has failed this does nothing: the next read says so.
    pub fn run(&self) {
        self.run_commands(0..self.starts.len());
    }

    /// The same for some of the program's commands: a program can be run in parts, in order, with other work between them.
    pub fn run_commands(&self, commands: Range<usize>) {
        if self.gpu.is_lost() {
            return;
        }
        let first = |command: usize| self.starts.get(command).copied().unwrap_or(self.items.len());
        let _span = self.gpu.span("record", &self.name);
        let mut recorder = Recorder::new(&self.gpu, &self.name, &self.grid);
        for item in &self.items[first(commands.start)..first(commands.end)] {
            self.record(&mut recorder, item, None);
        }
        recorder.submit();
    }

    fn record(&self, recorder: &mut Recorder<'_>, item: &Item, arguments: Option<&wgpu::Buffer>) {
        match item {
            Item::Dispatch(dispatch) => recorder.dispatch(dispatch, arguments),
            Item::Copy(copy) => recorder.copy(copy),
            Item::Loop(inner) => {
                recorder.copy(&inner.arm);
                for round in 0..inner.limit {
                    for item in &inner.body {
                        self.record(recorder, item, Some(&inner.arguments));
                    }
                    if round + 1 < inner.limit {
                        recorder.dispatch(&inner.gate, None);
                    }
                }
            }
        }
    }

    /// The device it runs on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Bytes of the buffers that were made for the session: scratch, constants, arguments of loops.
    pub fn scratch_bytes(&self) -> u64 {
        self.scratch_bytes
    }

    /// Dispatches of one run if every loop goes to its limit.
    pub fn dispatches(&self) -> usize {
        self.dispatches
    }
}

fn count(items: &[Item]) -> usize {
    let of = |item: &Item| match item {
        Item::Dispatch(dispatch) => dispatch.parts.len(),
        Item::Copy(_) => 0,
        Item::Loop(inner) => inner.limit as usize * (count(&inner.body) + 1),
    };
    items.iter().map(of).sum()
}

/// Where a buffer of the program lies.
struct Place {
    buffer: Buffer,
    offset: u64,
    bytes: u64,
    is_scratch: bool,
}

/// Allocates scratch and constants, and finds externals.
fn places(gpu: &Gpu, program: &Program, memory: &Memory) -> Result<Vec<Place>> {
    let mut places = Vec::with_capacity(program.buffers.len());
    for buffer in &program.buffers {
        let (label, bytes) = (&buffer.label, buffer.bytes);
        places.push(match &buffer.kind {
            BufferKind::External(name) => {
                let wanted = bytes / 4;
                let Some(tensor) = memory.get(name) else {
                    panic!(
                        "{}: tensor `{name}` of {wanted} elements is not in memory, which holds {}",
                        program.name,
                        memory.names().join(", ")
                    );
                };
                let found = tensor.bytes() / 4;
                assert!(
                    wanted == found,
                    "{}: tensor `{name}` has {found} elements in memory, the program wants {wanted}",
                    program.name
                );
                Place { buffer: tensor.buffer.clone(), offset: tensor.offset, bytes, is_scratch: false }
            }
            BufferKind::Scratch => {
                let buffer = alloc(gpu, "scratch buffer", label, bytes, wgpu::BufferUsages::empty())?;
                Place { buffer, offset: 0, bytes, is_scratch: true }
            }
            BufferKind::Constant(data) => {
                let (len, found) = (bytes / 4, data.len());
                assert!(len == found as u64, "{}: constant `{label}` of {len} elements has {found}", program.name);
                let buffer = alloc(gpu, "constant", label, bytes, wgpu::BufferUsages::empty())?;
                gpu.upload(&buffer, 0, bytemuck::cast_slice(data));
                Place { buffer, offset: 0, bytes, is_scratch: true }
            }
        });
    }
    Ok(places)
}

/// Turns commands into items.
struct Binder<'a> {
    gpu: &'a Gpu,
    program: &'a Program,
    tuning: &'a Tuning,
    variants: Vec<&'a Variant>,
    pipelines: Vec<wgpu::ComputePipeline>,
    gate: wgpu::ComputePipeline,
    places: Vec<Place>,
    grids: Grids,
    /// Bytes of the buffers made so far.
    scratch: u64,
}

impl Binder<'_> {
    /// Binds commands. Within a loop, `arguments` collects the numbers of workgroups of its dispatches.
    fn items(&mut self, commands: &[Command], mut arguments: Option<&mut Vec<u32>>) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Dispatch { kernel, bindings, scope } => {
                    let mut dispatch = self.dispatch(*kernel, bindings, arguments.as_deref_mut())?;
                    dispatch.scope = *scope;
                    items.push(Item::Dispatch(dispatch));
                }
                Command::Copy { from, to } => self.copy(*from, *to, &mut items)?,
                Command::Loop { body, limit, flag } => {
                    assert!(arguments.is_none(), "{}: a loop within a loop", self.program.name);
                    items.push(Item::Loop(self.bind_loop(body, *limit, *flag)?));
                }
            }
        }
        Ok(items)
    }

    fn dispatch(&mut self, index: usize, bindings: &[Binding], arguments: Option<&mut Vec<u32>>) -> Result<Dispatch> {
        let kernel = &self.program.kernels[index];
        let (inputs, outputs) = (kernel.inputs, kernel.outputs);
        assert!(
            bindings.len() == inputs + outputs,
            "{}: kernel `{}` takes {inputs} inputs and {outputs} outputs, got {} bindings",
            self.program.name,
            kernel.label,
            bindings.len()
        );
        self.check_roles(kernel, bindings);
        let tensors = self.tensors(kernel, bindings)?;
        let groups = self.variants[index].groups;
        let guess = || self.gpu.rate().seconds(kernel.flops, kernel.traffic);
        let seconds = self.tuning.seconds(self.gpu, &kernel.family).unwrap_or_else(guess);
        let mut parts = parts(groups, seconds, self.gpu.limits().groups_per_axis);
        self.grids.place(&mut parts, groups);
        if let Some(arguments) = arguments {
            for part in &mut parts {
                part.indirect = 4 * arguments.len() as u64;
                arguments.extend([part.size.0, part.size.1, 1]);
            }
        }
        let pipeline = self.pipelines[index].clone();
        Ok(Dispatch { kernel: index, scope: Scope::default(), pipeline, tensors, parts })
    }

    /// A device buffer cannot be both read and written by one dispatch, nor written through two overlapping ranges.
    fn check_roles(&self, kernel: &Kernel, bindings: &[Binding]) {
        for (second, b) in bindings.iter().enumerate() {
            for (first, a) in bindings[..second].iter().enumerate() {
                let (pa, pb) = (&self.places[a.buffer], &self.places[b.buffer]);
                let (start_a, start_b) = (pa.offset + a.offset, pb.offset + b.offset);
                let overlap = start_a < start_b + b.bytes && start_b < start_a + a.bytes;
                let is_write = |index: usize| index >= kernel.inputs;
                let clash = is_write(first) != is_write(second) || (is_write(first) && is_write(second) && overlap);
                assert!(
                    pa.buffer != pb.buffer || !clash,
                    "{}: kernel `{}` binds one device buffer as `{}` (binding {first}) and as `{}` (binding {second}), \
                     of which at least one is written",
                    self.program.name,
                    kernel.label,
                    self.program.buffers[a.buffer].label,
                    self.program.buffers[b.buffer].label
                );
            }
        }
    }

    fn tensors(&self, kernel: &Kernel, bindings: &[Binding]) -> Result<wgpu::BindGroup> {
        let limits = self.gpu.limits();
        if bindings.len() > limits.storage_buffers as usize {
            let (has, most) = (bindings.len(), limits.storage_buffers);
            let label = &kernel.label;
            let info = self.gpu.info();
            return Err(Error::Gpu(format!("kernel `{label}` binds {has} buffers, {info} allows {most}")));
        }
        let mut ranges = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let place = &self.places[binding.buffer];
            let (label, name) = (&self.program.buffers[binding.buffer].label, &self.program.name);
            let (offset, bytes) = (binding.offset, binding.bytes);
            assert!(
                offset.is_multiple_of(ALIGNMENT)
                    && bytes > 0
                    && bytes.is_multiple_of(4)
                    && offset + bytes <= place.bytes,
                "{name}: kernel `{}` binds bytes {offset} to {} of `{label}`, which has {}; offsets are multiples of 256",
                kernel.label,
                offset + bytes,
                place.bytes
            );
            ranges.push((&place.buffer, place.offset + offset, bytes));
        }
        Ok(bind_tensors(self.gpu, &kernel.label, kernel.inputs, &ranges))
    }

    fn copy(&mut self, from: Binding, to: Binding, items: &mut Vec<Item>) -> Result<()> {
        let range = |binding: Binding| {
            let place = &self.places[binding.buffer];
            let (end, label) = (binding.offset + binding.bytes, &self.program.buffers[binding.buffer].label);
            assert!(end <= place.bytes, "{}: copy to byte {end} of `{label}` of {}", self.program.name, place.bytes);
            (place.buffer.clone(), place.offset + binding.offset)
        };
        let bytes = from.bytes;
        assert!(bytes == to.bytes, "{}: copy of {bytes} bytes to {} bytes", self.program.name, to.bytes);
        let (from, to) = (range(from), range(to));
        if from.0 == to.0 {
            // WebGPU forbids a copy within a buffer.
            let bounce = alloc(self.gpu, "scratch buffer", "bounce", bytes, wgpu::BufferUsages::empty())?;
            self.scratch += bounce.size();
            items.push(Item::Copy(Copy { from, to: (bounce.clone(), 0), bytes }));
            items.push(Item::Copy(Copy { from: (bounce, 0), to, bytes }));
        } else {
            items.push(Item::Copy(Copy { from, to, bytes }));
        }
        Ok(())
    }

    fn bind_loop(&mut self, body: &[Command], limit: u32, flag: Binding) -> Result<Loop> {
        let mut words = Vec::new();
        let body = self.items(body, Some(&mut words))?;
        // A loop of nothing but copies still has a buffer.
        words.resize(words.len().max(3), 0);
        let bytes = 4 * words.len() as u64;
        let arguments = alloc(self.gpu, "arguments", "loop arguments", bytes, wgpu::BufferUsages::INDIRECT)?;
        let full = alloc(self.gpu, "arguments", "loop arguments, full", bytes, wgpu::BufferUsages::empty())?;
        self.scratch += arguments.size() + full.size();
        self.gpu.upload(&full, 0, bytemuck::cast_slice(&words));

        let place = &self.places[flag.buffer];
        assert!(
            flag.offset.is_multiple_of(ALIGNMENT) && flag.bytes == 4 && flag.offset + 4 <= place.bytes,
            "{}: the flag of a loop is 4 bytes at a multiple of 256, not {flag:?}",
            self.program.name
        );
        let flag = (place.buffer.clone(), place.offset + flag.offset);
        let tensors = bind_tensors(self.gpu, "loop_gate", 1, &[(&flag.0, flag.1, 4), (&arguments, 0, bytes)]);
        let groups = (words.len() as u32).div_ceil(GATE_WORDS);
        let mut parts = parts(groups, 0.0, self.gpu.limits().groups_per_axis);
        self.grids.place(&mut parts, groups);
        let (scope, pipeline) = (Scope::default(), self.gate.clone());
        let gate = Dispatch { kernel: usize::MAX, scope, pipeline, tensors, parts };
        let arm = Copy { from: (full, 0), to: (arguments.clone(), 0), bytes };
        Ok(Loop { body, limit, flag, arm, arguments, gate })
    }
}
