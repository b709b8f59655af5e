//! Invariants of plans and programs.

use std::collections::HashSet;

use super::program::{Binding, BufferKind, Command, Program};
use super::{Limits, Place, Plan, Step, ValueId};
use crate::ops::join::ALIGNED;

/// Where a range bound to a kernel may begin, in bytes.
const ALIGNMENT: u64 = 4 * ALIGNED as u64;

impl Plan {
    /// Whether the device has room for every tensor and every kernel binds no more of one than the device binds at once.
    ///
    /// # Errors
    /// The first tensor that is too large, in words for whoever chose the model.
    pub fn check_sizes(&self, limits: &Limits) -> Result<(), String> {
        let too_large = |value: ValueId, most: u64, how: &str| {
            let shape = &self.values[value].shape;
            let bytes = shape.bytes();
            format!(
                "{}: a tensor of shape {shape} takes {bytes} bytes, more than the {most} that the device {how}; choose \
                 a smaller batch",
                self.name
            )
        };
        if let Some(value) = (0..self.values.len()).find(|&id| self.values[id].shape.bytes() > limits.buffer_bytes) {
            return Err(too_large(value, limits.buffer_bytes, "has in one buffer"));
        }
        for step in &self.steps {
            let Step::Kernel { inputs, outputs, .. } = step else { continue };
            let bound = inputs.iter().chain(outputs);
            let most = limits.storage_binding_bytes;
            if let Some(&value) = bound.into_iter().find(|&&id| self.values[id].shape.bytes() > most) {
                return Err(too_large(value, most, "binds at once"));
            }
        }
        Ok(())
    }

    /// Checks what linking relies on: values are written once and before they are read, views lie within what they are
    /// views of and begin where a range may be bound, kernels get what they declare and no more than a device binds, and
    /// none reads and writes one memory.
    ///
    /// # Errors
    /// The first violation, in words.
    pub fn check(&self, limits: &Limits) -> Result<(), String> {
        for (id, value) in self.values.iter().enumerate() {
            if let Place::View { of, offset } = value.place {
                let inside = of != id && offset + value.shape.bytes() <= self.values[of].shape.bytes();
                if !inside || !offset.is_multiple_of(ALIGNMENT) {
                    return Err(format!("{}: v{id} is no view of v{of} from byte {offset}", self.name));
                }
            }
        }
        // Ranges of memory that have been written, by the value that owns the memory.
        let mut written: HashSet<ValueId> = HashSet::new();
        let given = |id: ValueId| matches!(self.values[id].place, Place::Argument(_));
        for (number, step) in self.steps.iter().enumerate() {
            let fails = |what: String| Err(format!("{}, step {number}: {what}", self.name));
            let (reads, writes): (&[ValueId], Vec<ValueId>) = match step {
                Step::Kernel { kernel, inputs, outputs } => {
                    if [inputs.len(), outputs.len()] != [kernel.inputs, kernel.outputs] || outputs.is_empty() {
                        return fails(format!("{} takes other numbers of tensors", kernel.label));
                    }
                    let count = inputs.len() + outputs.len();
                    if count > limits.storage_buffers {
                        return fails(format!("{} binds {count} tensors", kernel.label));
                    }
                    let own: Vec<ValueId> = outputs.iter().map(|&output| self.owner(output)).collect();
                    if let Some(input) = inputs.iter().find(|&&input| own.contains(&self.owner(input))) {
                        return fails(format!("{} writes to what it reads through v{input}", kernel.label));
                    }
                    if kernel.variants.is_empty() {
                        return fails(format!("{} has no code", kernel.label));
                    }
                    (inputs, outputs.clone())
                }
                Step::Stack { inputs, output } => (inputs, vec![*output]),
                Step::Call { plan, arguments, results } | Step::Iterate { plan, arguments, results, .. } => {
                    if results.len() != plan.results.len() {
                        return fails(format!("{} gives {} results", plan.name, plan.results.len()));
                    }
                    (arguments, results.iter().flatten().copied().collect())
                }
            };
            // A view of something whole, or something whole of which views were written.
            let owned = |&id: &ValueId| written.contains(&id) || written.contains(&self.owner(id));
            if let Some(read) = reads.iter().find(|&id| !given(self.owner(*id)) && !owned(id)) {
                return fails(format!("v{read} is read before it is written"));
            }
            for id in writes {
                let owner = self.owner(id);
                if given(owner) || !written.insert(id) {
                    return fails(format!("v{id} is written though it has a value"));
                }
                written.insert(owner);
            }
        }
        let missing = self.results.iter().find(|&&id| !given(self.owner(id)) && !written.contains(&self.owner(id)));
        missing.map_or(Ok(()), |id| Err(format!("{}: result v{id} is never written", self.name)))
    }

    /// The value whose memory `id` lies in.
    fn owner(&self, mut id: ValueId) -> ValueId {
        while let Place::View { of, .. } = self.values[id].place {
            id = of;
        }
        id
    }
}

impl Program {
    /// Checks what every device demands: ranges lie inside their buffers, are aligned where they are bound and no larger
    /// than the device binds; kernels bind as many as they declare and a device allows, and none writes a buffer that it
    /// binds a second time; scratch memory is written before it is read, constants never; a named tensor has one buffer.
    ///
    /// # Errors
    /// The first violation, in words.
    pub fn check(&self, limits: &Limits) -> Result<(), String> {
        let mut names = HashSet::new();
        for (number, buffer) in self.buffers.iter().enumerate() {
            if buffer.bytes > limits.buffer_bytes {
                return Err(format!("{}: b{number} has {} bytes", self.name, buffer.bytes));
            }
            if let BufferKind::External(name) = &buffer.kind
                && !names.insert(name)
            {
                return Err(format!("{}: the tensor {name:?} has two buffers", self.name));
            }
        }
        if let Some(kernel) = self.kernels.iter().find(|kernel| kernel.variants.is_empty() || kernel.outputs == 0) {
            return Err(format!("{}: {} has no code or no result", self.name, kernel.label));
        }
        let mut demands = Demands { program: self, limits, written: HashSet::new() };
        demands.commands(&self.commands, false).map_err(|what| format!("{}: {what}", self.name))
    }
}

/// What every device demands of the commands of a program.
struct Demands<'a> {
    program: &'a Program,
    limits: &'a Limits,
    /// Scratch memory that something has been written to.
    written: HashSet<usize>,
}

impl Demands<'_> {
    fn inside(&self, binding: &Binding) -> Result<(), String> {
        let buffer = &self.program.buffers[binding.buffer];
        let fits = binding.offset + binding.bytes <= buffer.bytes;
        if fits && binding.bytes > 0 && binding.bytes.is_multiple_of(4) {
            return Ok(());
        }
        Err(format!("{binding:?} is no range of {buffer:?}"))
    }

    fn read(&self, binding: &Binding) -> Result<(), String> {
        self.inside(binding)?;
        let scratch = self.program.buffers[binding.buffer].kind == BufferKind::Scratch;
        if scratch && !self.written.contains(&binding.buffer) {
            return Err(format!("{binding:?} is read before it is written"));
        }
        Ok(())
    }

    fn write(&mut self, binding: &Binding) -> Result<(), String> {
        self.inside(binding)?;
        if matches!(self.program.buffers[binding.buffer].kind, BufferKind::Constant(_)) {
            return Err(format!("{binding:?} of a constant is written"));
        }
        self.written.insert(binding.buffer);
        Ok(())
    }

    fn commands(&mut self, commands: &[Command], in_loop: bool) -> Result<(), String> {
        for command in commands {
            match command {
                Command::Dispatch { kernel, bindings, .. } => self.dispatch(*kernel, bindings)?,
                Command::Copy { from, to } => {
                    if from.bytes != to.bytes || from.buffer == to.buffer {
                        return Err(format!("copy of {from:?} to {to:?}"));
                    }
                    self.read(from)?;
                    self.write(to)?;
                }
                Command::Loop { body, limit, flag } => {
                    if in_loop || *limit == 0 {
                        return Err(format!("a loop within a loop, or one of {limit} rounds"));
                    }
                    self.commands(body, true)?;
                    self.read(flag)?;
                }
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, kernel: usize, bindings: &[Binding]) -> Result<(), String> {
        let kernel = &self.program.kernels[kernel];
        let label = &kernel.label;
        if bindings.len() != kernel.inputs + kernel.outputs || bindings.len() > self.limits.storage_buffers {
            return Err(format!("{label} binds {} buffers", bindings.len()));
        }
        for binding in bindings {
            let bound = binding.offset.is_multiple_of(ALIGNMENT) && binding.bytes <= self.limits.storage_binding_bytes;
            if !bound {
                return Err(format!("{label} cannot bind {binding:?}"));
            }
        }
        let (inputs, outputs) = bindings.split_at(kernel.inputs);
        // Ranges of one buffer that are written may lie apart; one that is written and one that is read may not.
        for (number, output) in outputs.iter().enumerate() {
            if inputs.iter().any(|input| input.buffer == output.buffer) {
                return Err(format!("{label} writes b{} and reads it", output.buffer));
            }
            let apart = |other: &Binding| {
                other.offset + other.bytes <= output.offset || output.offset + output.bytes <= other.offset
            };
            if outputs[..number].iter().any(|other| other.buffer == output.buffer && !apart(other)) {
                return Err(format!("{label} writes a range of b{} twice", output.buffer));
            }
        }
        inputs.iter().try_for_each(|input| self.read(input))?;
        outputs.iter().try_for_each(|output| self.write(output))
    }
}
