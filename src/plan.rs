//! Plans: how a graph is computed, still as plain data.
//!
//! ```text
//! Graph ── split ──▶ Graph ── fuse ──▶ groups ── lower ──▶ Plan ── link ──▶ Program
//!  large tensors in chunks   what is stored   kernels, steps   calls expanded, memory shared
//! ```
//! [`compile`] does all of it. A function is planned once, whatever the number of its calls; linking expands the calls
//! with their arguments, so the [`program::Program`] is a flat list of commands over few distinct kernels.

mod check;
mod codegen;
pub mod conv2d;
mod display;
mod early;
mod fuse;
pub mod launch;
mod link;
mod lower;
pub mod matmul;
mod memory;
pub mod program;
mod split;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{FunctionRef, Graph, Scope};
use crate::shape::Shape;
use program::{Kernel, Program};

/// What a device allows, as far as plans depend on it. The default is what WebGPU guarantees everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Storage buffers one kernel may bind.
    pub storage_buffers: usize,
    /// Bytes of a storage binding. Tensors larger than this are computed in chunks.
    pub storage_binding_bytes: u64,
    /// Bytes of a buffer: no tensor is larger.
    pub buffer_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { storage_buffers: 8, storage_binding_bytes: 128 << 20, buffer_bytes: 256 << 20 }
    }
}

/// A tensor of a plan, by position.
pub type ValueId = usize;

/// Where a value lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Argument of the function with this number.
    Argument(usize),
    /// Memory of its own.
    Scratch,
    /// Part of another value, from `offset` bytes on.
    View {
        /// The other value.
        of: ValueId,
        /// First byte.
        offset: u64,
    },
    /// Result of a call: where the callee puts it. Of a stack: where its parts are, or memory of its own.
    Result,
    /// Result of an iteration.
    State,
}

/// A tensor of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its shape.
    pub shape: Shape,
    /// Where it lies.
    pub place: Place,
}

/// One step of a plan.
#[derive(Clone, Debug)]
pub enum Step {
    /// Run a kernel.
    Kernel {
        /// The kernel.
        kernel: Arc<Kernel>,
        /// Values read.
        inputs: Vec<ValueId>,
        /// Values written.
        outputs: Vec<ValueId>,
    },
    /// Bring values together, one after the other. Nothing is done where they lie in a row already.
    Stack {
        /// The parts.
        inputs: Vec<ValueId>,
        /// The whole.
        output: ValueId,
    },
    /// Run the plan of a function.
    Call {
        /// The function's plan.
        plan: Arc<Plan>,
        /// Its arguments.
        arguments: Vec<ValueId>,
        /// The results that are used.
        results: Vec<Option<ValueId>>,
    },
    /// Run the plan of an iteration's body until its flag drops.
    Iterate {
        /// The body's plan.
        plan: Arc<Plan>,
        /// Most rounds.
        limit: u32,
        /// State, then constants.
        arguments: Vec<ValueId>,
        /// Last state and flag, where used.
        results: Vec<Option<ValueId>>,
    },
}

/// How a graph or function is computed.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Name of the function.
    pub name: String,
    /// All tensors.
    pub values: Vec<Value>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// What each step belongs to.
    pub scopes: Vec<Scope>,
    /// Values of the outputs.
    pub results: Vec<ValueId>,
}

/// Plans functions once each.
pub(crate) struct Planner {
    limits: Limits,
    functions: HashMap<usize, (FunctionRef, Arc<Plan>)>,
    /// The first tensor that is too large and could not be split, in words.
    error: Option<String>,
}

impl Planner {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, functions: HashMap::new(), error: None }
    }

    /// `graph` with its large tensors in chunks, if it has any.
    fn split(&mut self, name: &str, graph: &Graph) -> Option<Graph> {
        if cfg!(debug_assertions) {
            graph.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        if cfg!(target_arch = "wasm32") {
            // Browsers are spared this code: their batches are cut smaller before.
            return None;
        }
        match split::split(name, graph, &self.limits) {
            Ok(split) => {
                if let Some(graph) = split.as_ref().filter(|_| cfg!(debug_assertions)) {
                    graph.check().unwrap_or_else(|error| panic!("{name}, split: {error}"));
                }
                split
            }
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }

    pub(crate) fn function(&mut self, function: &FunctionRef) -> Arc<Plan> {
        if let Some((_, known)) = self.functions.get(&function.id()) {
            return known.clone();
        }
        let plan = Arc::new(lower::lower(self, function.name(), function.graph()));
        self.functions.insert(function.id(), (function.clone(), plan.clone()));
        plan
    }
}

/// Plans `graph` and links it into a program. Inputs and outputs become external buffers of the same names; an output
/// with the name of an input is written back to it at the end. Tensors larger than the device binds at once are computed
/// in chunks.
///
/// # Errors
/// [`Error::Config`] where a tensor is too large for the device and cannot be computed in chunks, naming its shape.
pub fn compile(name: &str, graph: &Graph, limits: &Limits) -> Result<Program> {
    compile_in(name, graph, limits, &Layout::new())
}

/// Where named tensors lie that share a buffer: the buffer's name, its size and the tensor's first byte, all in bytes.
pub type Layout = HashMap<String, (String, u64, u64)>;

/// As [`compile`], for a device memory whose tensors lie as `layout` says. Inputs that are stacked and lie in a row there
/// are used where they are.
///
/// # Errors
/// As [`compile`].
pub fn compile_in(name: &str, graph: &Graph, limits: &Limits, layout: &Layout) -> Result<Program> {
    arrange(name, graph, limits, layout, None)
}

/// As [`compile_in`], with the outputs that lie in the buffer `early` of the layout final as soon as they can be, which may take
/// other memory.
///
/// # Errors
/// As [`compile`].
pub fn compile_early(name: &str, graph: &Graph, limits: &Limits, layout: &Layout, early: &str) -> Result<Program> {
    arrange(name, graph, limits, layout, Some(early))
}

fn arrange(name: &str, graph: &Graph, limits: &Limits, layout: &Layout, early: Option<&str>) -> Result<Program> {
    let mut planner = Planner::new(limits.clone());
    let plan = lower::lower(&mut planner, name, graph);
    let error = planner.error.take();
    error.map_or(Ok(()), Err).map_err(Error::Config)?;
    for plan in planner.functions.values().map(|(_, plan)| &**plan).chain([&plan]) {
        plan.check_sizes(limits).map_err(Error::Config)?;
        if cfg!(debug_assertions) {
            plan.check(limits).unwrap_or_else(|error| panic!("{error}\n{plan}"));
        }
    }
    let inputs: Vec<(String, Shape)> =
        graph.inputs().iter().map(|(name, id)| (name.clone(), graph.shape(*id).clone())).collect();
    let outputs: Vec<(String, Shape)> =
        graph.outputs().iter().map(|(name, id)| (name.clone(), graph.shape(*id).clone())).collect();
    let linked = link::link(name, &plan, &inputs, &outputs, limits, layout);
    let program = memory::assign(match early {
        Some(buffer) => early::bring(linked, buffer),
        None => linked,
    });
    if cfg!(debug_assertions) {
        program.check(limits).unwrap_or_else(|error| panic!("{error}\n{program}"));
    }
    Ok(program)
}
