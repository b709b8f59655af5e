//! What a training run will take of a device, from its plans alone: nothing is allocated.

use crate::config::{Config, Memory};
use crate::error::Result;
use crate::gpu::AdapterInfo;
use crate::graph::Graph;
use crate::nn::{Evaluation, Model, Probes};
use crate::optim;
use crate::plan::program::{BufferKind, Program};
use crate::plan::{self, Limits};
use crate::train::{TIGHT, TIGHTEN_LIMIT};

/// Where tensors of a bucket begin: multiples of this.
const ALIGNMENT: u64 = 256;

/// Bytes on the device by purpose, and the programs of a step.
#[derive(Clone, Debug)]
pub struct Budget {
    /// What the forward pass keeps for the backward pass.
    pub memory: Memory,
    /// Parameters and state: power-iteration vectors, running statistics.
    pub parameters: u64,
    /// Gradients.
    pub gradients: u64,
    /// State of the optimizer, moving averages of parameters included.
    pub optimizer: u64,
    /// Everything between the input and the gradients of a step, at its peak.
    pub activations: u64,
    /// Memory of the update, and of evaluation or initialisation, whichever takes more.
    pub scratch: u64,
    /// Batches, labels, results.
    pub batch: u64,
    /// The program that computes gradients.
    pub gradient: Program,
    /// The program that updates the parameters.
    pub update: Program,
    /// The largest piece of memory: what for, and its bytes.
    pub largest: (String, u64),
}

impl Budget {
    /// Plans all that a run of this configuration binds.
    ///
    /// # Errors
    /// [`Error::Config`](crate::error::Error::Config) where the configuration is not sound, or a tensor is larger than the limits allow.
    pub fn plan(config: &Config, limits: &Limits) -> Result<Self> {
        let model = Model::new(config)?;
        let n = config.data.batch;
        let bucket = |trainable: bool| -> u64 {
            let members = model.params().iter().filter(|param| param.is_parameter() == trainable);
            members.map(|param| param.shape.bytes().next_multiple_of(ALIGNMENT)).sum()
        };
        let trainable = bucket(true);
        let states = optim::state_names(&config.optimizer);
        let kept = u64::from(config.optimizer.ema > 0.0);

        let gradient_graph = model.gradient_graph(n, Probes::Keys);
        let gradient = plan::compile("gradient", &gradient_graph, limits)?;
        let update_graph = optim::guarded_update_graph(&config.optimizer, (trainable / 4) as usize);
        let update = plan::compile("update", &update_graph, limits)?;
        let labels = config.model.kind.has_classes();
        let evaluation = Evaluation { log_det: model.training_log_det(), probes: Probes::Keys, labels };
        let mut others = vec![
            ("evaluation", model.eval_graph(n, &evaluation)?),
            ("initialise", model.init_graph(config.train.init_batch)),
        ];
        others.extend(model.tighten_graph(TIGHT, TIGHTEN_LIMIT).map(|graph| ("tighten", graph)));
        let mut largest = ("parameters".to_owned(), trainable);
        let mut note = |program: &Program| {
            for buffer in &program.buffers {
                if buffer.bytes > largest.1 {
                    let what = if buffer.kind == BufferKind::Scratch { "a value" } else { "the tensor" };
                    largest = (format!("{what} of the program {:?}, {}", program.name, buffer.label), buffer.bytes);
                }
            }
        };
        note(&gradient);
        note(&update);
        let mut other_scratch = 0;
        let batch = own_bytes(&model, &gradient_graph);
        for (name, graph) in &others {
            let program = plan::compile(name, graph, limits)?;
            note(&program);
            other_scratch = other_scratch.max(program.scratch_bytes() + own_bytes(&model, graph));
        }
        Ok(Self {
            memory: config.train.memory,
            parameters: trainable + bucket(false),
            gradients: trainable,
            optimizer: trainable * (states.len() as u64 + kept),
            activations: gradient.scratch_bytes(),
            scratch: update.scratch_bytes() + other_scratch,
            batch,
            gradient,
            update,
            largest,
        })
    }

    /// Why a device of this adapter cannot hold it, as far as the adapter tells what it has; `None` if it can.
    pub fn excess(&self, info: &AdapterInfo) -> Option<String> {
        let limit = info.limits.buffer_bytes.min(info.limits.binding_bytes);
        let (what, bytes) = &self.largest;
        if *bytes > limit {
            return Some(format!("{what}, takes {bytes} bytes, and {info} has no buffers above {limit}"));
        }
        let has = info.memory_bytes?;
        let total = self.total();
        (total > has).then(|| {
            format!(
                "training takes {total} bytes of device memory ({} of them activations, the largest piece {what} with \
                 {bytes}), and {info} has {has}",
                self.activations
            )
        })
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.parameters + self.gradients + self.optimizer + self.activations + self.scratch + self.batch
    }
}

/// Bytes of the inputs and outputs that are neither parameters nor state nor gradients.
fn own_bytes(model: &Model, graph: &Graph) -> u64 {
    let mut names: Vec<&str> = Vec::new();
    let mut bytes = 0;
    for (name, id) in graph.inputs().iter().chain(graph.outputs()) {
        let known = model.find_param(name).is_some() || name.starts_with("grad/") || names.contains(&name.as_str());
        if !known {
            names.push(name);
            bytes += graph.shape(*id).bytes();
        }
    }
    bytes
}
