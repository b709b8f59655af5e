//! A model with its numbers on a device: what training, evaluation, inversion and sampling share.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::gpu::{self, Gpu, Memory, Read, Session, Tuning};
use crate::graph::Graph;
use crate::nn::Model;
use crate::plan::program::Program;
use crate::plan::{self, Limits};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Name of the bucket of all trainable parameters.
pub const PARAMS: &str = "params";
/// Name of the bucket of all state tensors (power-iteration vectors, running statistics).
pub const STATE: &str = "state";

/// A model whose parameters and state lie on a device.
pub struct Network {
    model: Model,
    gpu: Gpu,
    memory: Memory,
    tuning: Tuning,
}

impl Network {
    /// Uploads `values`, which must hold every tensor of [`Model::params`] in its shape; others are ignored.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device has no room.
    #[track_caller]
    pub fn new(gpu: &Gpu, model: Model, values: &[(String, Tensor)], tuning: Tuning) -> Result<Self> {
        let mut memory = Memory::new(gpu);
        for (bucket, trainable) in [(PARAMS, true), (STATE, false)] {
            let members: Vec<(&str, Shape)> = model
                .params_in_memory()
                .into_iter()
                .filter(|param| param.is_parameter() == trainable)
                .map(|param| (param.name.as_str(), param.shape.clone()))
                .collect();
            if !members.is_empty() {
                memory.bucket(bucket, &members)?;
            }
        }
        let network = Self { model, gpu: gpu.clone(), memory, tuning };
        for param in network.model.params() {
            let value = values.iter().find(|(name, _)| *name == param.name);
            let (_, value) = value.unwrap_or_else(|| panic!("no value for the model's tensor {:?}", param.name));
            network.memory.write(&param.name, value.data());
        }
        Ok(network)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How kernels are chosen.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The tensors every task sees: parameters and state.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The tensors every task sees, to add to: gradients, optimizer state.
    pub fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Numbers of all parameters, laid out as memory holds them ([`Model::params_in_memory`]), in the model's order: what
    /// files hold, so that they do not depend on how memory is used.
    pub fn in_model_order(&self, flat: &[f32]) -> Vec<f32> {
        self.reorder(flat, false)
    }

    /// The inverse of [`in_model_order`](Self::in_model_order).
    pub fn in_memory_order(&self, flat: &[f32]) -> Vec<f32> {
        self.reorder(flat, true)
    }

    fn reorder(&self, flat: &[f32], to_memory: bool) -> Vec<f32> {
        let mut result = vec![0.0; flat.len()];
        let mut in_model = 0;
        for param in self.model.params().iter().filter(|param| param.is_parameter()) {
            let len = param.shape.len();
            let in_memory = self.memory.place_in_bucket(&param.name);
            let (from, to) = if to_memory { (in_model, in_memory) } else { (in_memory, in_model) };
            result[to..to + len].copy_from_slice(&flat[from..from + len]);
            in_model += len.next_multiple_of(gpu::ROW);
        }
        result
    }

    /// Plans `graph` and binds it. Inputs and outputs that the network's memory knows are those tensors; the task gets
    /// tensors of its own for the others.
    ///
    /// # Errors
    /// [`Error::Gpu`] if a kernel does not compile or the device has no room; [`Error::Config`] if a tensor is too large
    /// for the device.
    pub async fn task(&mut self, name: &str, graph: &Graph) -> Result<Task> {
        self.task_in(self.memory.share(), name, graph).await
    }

    /// The same with tensors of `memory`, which shares the network's and has more: what lies in buckets, or is used by
    /// several tasks.
    ///
    /// # Errors
    /// As [`task`](Self::task).
    pub(crate) async fn task_in(&mut self, memory: Memory, name: &str, graph: &Graph) -> Result<Task> {
        let program = plan::compile_in(name, graph, &limits(&self.gpu), &memory.layout())?;
        self.bind(memory, graph, &program, Vec::new()).await
    }

    /// The same for a graph that runs in `stages`. Panics if it cannot be cut so.
    ///
    /// # Errors
    /// As [`task`](Self::task).
    pub async fn task_in_stages(&mut self, name: &str, graph: &Graph, stages: &Stages<'_>) -> Result<Task> {
        let Stages { known_first, awaited, bucket, parts } = *stages;
        let memory = self.memory.share();
        let mut program = plan::compile_early(name, graph, &limits(&self.gpu), &memory.layout(), bucket)?;
        let pause = program.first_reader(awaited).unwrap_or(program.commands.len());
        let pause = program.bring_forward(known_first, pause);
        let written = program.last_writer(known_first);
        assert!(written <= pause, "{name}: command {pause} awaits {awaited:?}, {written} gives {known_first:?}");
        let mut ends = vec![pause];
        // The last stage does what else there is to do.
        for part in &parts[..parts.len().saturating_sub(1)] {
            let bytes = part.iter().map(|range| 4 * range.start as u64..4 * range.end as u64);
            let written = bytes.map(|bytes| program.last_writer_within(bucket, &bytes)).max();
            ends.push(written.unwrap_or(0).max(ends[ends.len() - 1]));
        }
        ends.push(program.commands.len());
        self.bind(memory, graph, &program, ends).await
    }

    /// Binds `program`, which computes `graph`, with tensors of its own for what `memory` does not know.
    async fn bind(&mut self, mut memory: Memory, graph: &Graph, program: &Program, ends: Vec<usize>) -> Result<Task> {
        for (name, id) in graph.inputs().iter().chain(graph.outputs()) {
            if !memory.contains(name) {
                memory.alloc(name, graph.shape(*id).clone())?;
            }
        }
        let session = Session::bind(&self.gpu, program, &memory, &mut self.tuning).await?;
        Ok(Task { session, memory, ends })
    }

    /// All tensors of the model as they are after everything submitted so far, in the model's order.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub async fn download(&self) -> Result<Vec<(String, Tensor)>> {
        let reads: Vec<Read> = self.model.params().iter().map(|param| self.memory.start_read(&param.name)).collect();
        let mut tensors = Vec::with_capacity(reads.len());
        for (param, read) in self.model.params().iter().zip(reads) {
            tensors.push((param.name.clone(), Tensor::new(param.shape.clone(), read.await?)));
        }
        Ok(tensors)
    }
}

/// What plans may assume of a device. The number of bindings is what WebGPU guarantees, so that one graph becomes the
/// same kernels everywhere.
pub fn limits(gpu: &Gpu) -> Limits {
    let limits = gpu.limits();
    Limits { storage_binding_bytes: limits.binding_bytes, buffer_bytes: limits.buffer_bytes, ..Limits::default() }
}

/// Where a task pauses, for other work to be done in between.
#[derive(Clone, Copy, Debug)]
pub struct Stages<'a> {
    /// Outputs that the first stage gives.
    pub known_first: &'a [String],
    /// Inputs that are still unknown then.
    pub awaited: &'a [String],
    /// A bucket of the network's memory.
    pub bucket: &'a str,
    /// Parts of the bucket, each as ranges of its numbers. With each of the stages that follow the next one is final.
    pub parts: &'a [Vec<Range<usize>>],
}

/// A graph bound to a network's memory, ready to run as often as wanted.
pub struct Task {
    session: Session,
    memory: Memory,
    /// The command behind each stage, where there are several.
    ends: Vec<usize>,
}

impl Task {
    /// Uploads an input.
    #[track_caller]
    pub fn write(&self, name: &str, data: &[f32]) {
        self.memory.write(name, data);
    }

    /// Whether the graph has such an input or output.
    pub fn has(&self, name: &str) -> bool {
        self.memory.contains(name)
    }

    /// Copies tensors that the task knows, from the first of each pair to the second.
    #[track_caller]
    pub(crate) fn copy_all(&self, pairs: &[(String, String)]) {
        self.memory.copy_all(pairs);
    }

    /// Submits one run.
    pub fn run(&self) {
        self.session.run();
    }

    /// Submits one stage of a task [in stages](Network::task_in_stages), which run in their order.
    #[track_caller]
    pub fn run_stage(&self, stage: usize) {
        let first = if stage == 0 { 0 } else { self.ends[stage - 1] };
        self.session.run_commands(first..self.ends[stage]);
    }

    /// Begins to read an output or input.
    #[track_caller]
    pub fn start_read(&self, name: &str) -> Read {
        self.memory.start_read(name)
    }

    /// Reads an output or input.
    ///
    /// # Errors
    /// [`Error::Gpu`] if anything failed on the device since the last read.
    pub async fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.memory.read(name).await
    }

    /// The session, for profiles and sizes.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// The `keys` input of a graph: one padded row for each of `streams` streams of step `step`.
pub fn keys(seed: u64, step: u32, streams: usize) -> Vec<f32> {
    keys_from(seed, step, streams, 0, 0)
}

/// The same for the part of a batch that begins with its sample `first`. The first `per_sample` streams give every sample
/// numbers of its own ([`Model::streams_per_sample`]); what the others give belongs to the batch as a whole.
pub fn keys_from(seed: u64, step: u32, streams: usize, per_sample: usize, first: usize) -> Vec<f32> {
    let mut rows = vec![0.0; streams * crate::nn::KEY_WIDTH];
    for (stream, row) in rows.chunks_exact_mut(crate::nn::KEY_WIDTH).enumerate() {
        row[..4].copy_from_slice(&crate::random::Key::new(seed, step, stream as u32).numbers());
        if stream < per_sample {
            row[4] = first as f32;
        }
    }
    rows
}

/// An error for a model that cannot do what is asked of it.
pub fn unsupported(model: &Model, what: &str) -> Error {
    Error::Config(format!(
        "{what} needs another kind of model; this one has model.kind = {:?}",
        model.config().model.kind
    ))
}
