//! A program: the flat list of GPU commands that a plan becomes, as plain data.
//!
//! A program names no GPU type. Its memory is a list of [`Buffer`]s, its code a list of distinct [`Kernel`]s, its
//! work a list of [`Command`]s over them. Calls of functions are already expanded, every size and offset is known.
//!
//! # Conventions of a kernel
//! * WGSL, one entry point `main`, complete (kernel file, library files, generated constants and expressions joined by
//!   concatenation).
//! * Group 0 holds the tensors: inputs as `var<storage, read>` at bindings `0..inputs`, then outputs as
//!   `var<storage, read_write>` at `inputs..inputs + outputs`.
//! * Group 1 binding 0 is `var<uniform> grid: Grid` with a dynamic offset, declared in `shaders/lib/grid.wgsl`: which
//!   part of the workgroups this dispatch covers. Shapes are static, so all else is a constant of the module.
//! * A kernel asks for `groups` workgroups along one axis. The executor folds them over x and y when there are more
//!   than the device allows along one, and cuts them into several dispatches when one would run too long.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::graph::Scope;

/// One allocation the program works on.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Human name, used as GPU label and in error messages.
    pub label: String,
    /// Size in bytes, a multiple of 4.
    pub bytes: u64,
    /// Where the memory comes from.
    pub kind: BufferKind,
}

/// Where a buffer's memory comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum BufferKind {
    /// Scratch memory that the session allocates; contents are undefined at the start of a run.
    Scratch,
    /// A named tensor of [`crate::gpu::Memory`], which outlives the session.
    External(String),
    /// Scratch memory filled once, when the session is made, with these numbers.
    Constant(Arc<[f32]>),
}

/// A range of a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Index into [`Program::buffers`].
    pub buffer: usize,
    /// First byte: a multiple of 256 where it is bound to a kernel.
    pub offset: u64,
    /// Number of bytes, a multiple of 4 and not zero.
    pub bytes: u64,
}

impl Binding {
    /// Whether it shares a byte with `other`.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.buffer == other.buffer
            && self.offset < other.offset + other.bytes
            && other.offset < self.offset + self.bytes
    }
}

/// One way to compute a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Short name, the same across shapes, such as `p8c8`: what the tuning cache remembers.
    pub name: String,
    /// The complete WGSL module.
    pub source: Arc<str>,
    /// Number of workgroups.
    pub groups: u32,
    /// Invocations in a workgroup.
    pub workgroup_size: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Which devices it is for.
    pub suits: Suits,
}

/// Which devices a variant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suits {
    /// All of them.
    Any,
    /// Those on which every subgroup has exactly this many invocations: it uses subgroup operations, and is wrong elsewhere.
    Subgroups(u32),
    /// Those that compute in half precision: it rounds operands to it. For kernels that allow it.
    F16,
    /// Processors that run several invocations as a vector. Right everywhere, but elsewhere not what one would try first.
    Processors,
}

impl Suits {
    /// Whether a device can run it whose subgroups have `subgroup` invocations (0: it has none that can be used), and which
    /// computes in half precision or does not.
    pub fn allows(self, subgroup: u32, f16: bool) -> bool {
        match self {
            Self::Any | Self::Processors => true,
            Self::Subgroups(size) => size == subgroup,
            Self::F16 => f16,
        }
    }
}

/// A distinct piece of GPU code. All variants take the same bindings and compute the same function.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name of the op, its shapes and what is fused behind it, such as `conv2d 64→64 3×3 16×16 n32 + add+6`.
    pub label: String,
    /// The label without what is fused: kernels of a family share the choice of their variant.
    pub family: String,
    /// Number of read-only bindings.
    pub inputs: usize,
    /// Number of read-write bindings.
    pub outputs: usize,
    /// At least one variant, the one expected to be fastest first. Several are timed and the fastest that fits the device
    /// is kept.
    pub variants: Vec<Variant>,
    /// Floating-point operations of one run, for cost estimates and reports.
    pub flops: u64,
    /// Bytes read and written by one run, each tensor counted once.
    pub traffic: u64,
}

/// One unit of work. Commands run in order; each sees the writes of all before it.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a kernel.
    Dispatch {
        /// Index into [`Program::kernels`].
        kernel: usize,
        /// Inputs, then outputs.
        bindings: Vec<Binding>,
        /// What it belongs to.
        scope: Scope,
    },
    /// Copy bytes; the ranges have equal lengths and do not overlap.
    Copy {
        /// Source.
        from: Binding,
        /// Destination.
        to: Binding,
    },
    /// Run `body` up to `limit` times, for as long as `flag` (one f32, written by the body) is greater than zero after
    /// a round. The test stays on the GPU: once the flag has dropped, the remaining rounds dispatch nothing. Copies in
    /// the body run in every round all the same, so they must be idempotent after the last active round.
    Loop {
        /// The commands of one round; holds no further loop.
        body: Vec<Command>,
        /// Most rounds.
        limit: u32,
        /// One f32; rounds go on while it is greater than zero.
        flag: Binding,
    },
}

/// GPU work as plain data: see the [module documentation](self).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Name for labels and messages, such as `density step`.
    pub name: String,
    /// Memory.
    pub buffers: Vec<Buffer>,
    /// Code.
    pub kernels: Vec<Kernel>,
    /// Work.
    pub commands: Vec<Command>,
}

/// What one run of a program costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, each tensor counted once a kernel or copy.
    pub traffic: u64,
    /// Dispatches.
    pub dispatches: u64,
}

impl Program {
    /// Floating-point operations of one run; a loop counts with all its rounds.
    pub fn flops(&self) -> u64 {
        self.cost(u32::MAX).flops
    }

    /// Dispatches of one run; a loop counts with all its rounds.
    pub fn dispatches(&self) -> u64 {
        self.cost(u32::MAX).dispatches
    }

    /// The cost of one run whose loops end after `rounds` rounds, or at their limits if these are lower.
    pub fn cost(&self, rounds: u32) -> Cost {
        let mut cost = Cost::default();
        self.for_each(rounds, &mut |command, times| match command {
            Command::Dispatch { kernel, .. } => {
                let kernel = &self.kernels[*kernel];
                cost.flops += times * kernel.flops;
                cost.traffic += times * kernel.traffic;
                cost.dispatches += times;
            }
            Command::Copy { from, .. } => cost.traffic += times * 2 * from.bytes,
            Command::Loop { .. } => {}
        });
        cost
    }

    /// The first variant for devices of this kind of every kernel that has one, by family: what
    /// [`Tuning::fixed`](crate::gpu::Tuning::fixed) takes.
    pub fn choices(&self, suits: Suits) -> BTreeMap<String, String> {
        let choice = |kernel: &Kernel| {
            let variant = kernel.variants.iter().find(|variant| variant.suits == suits)?;
            Some((kernel.family.clone(), variant.name.clone()))
        };
        self.kernels.iter().filter_map(choice).collect()
    }

    /// The place of the first command that reads one of the external tensors `names`, if any does: everything before it
    /// can run while they are still unknown.
    pub fn first_reader(&self, names: &[String]) -> Option<usize> {
        let is_one = |binding: &Binding| {
            let kind = &self.buffers[binding.buffer].kind;
            matches!(kind, BufferKind::External(name) if names.contains(name))
        };
        self.commands.iter().position(|command| self.reads(command).iter().any(is_one))
    }

    /// The place behind the last command that writes one of the external tensors `names`; 0 if none does.
    pub fn last_writer(&self, names: &[String]) -> usize {
        self.last_writer_of(|binding| {
            let kind = &self.buffers[binding.buffer].kind;
            matches!(kind, BufferKind::External(name) if names.contains(name))
        })
    }

    /// The same for some bytes of the external tensor `name`: where these are final.
    pub fn last_writer_within(&self, name: &str, bytes: &Range<u64>) -> usize {
        self.last_writer_of(|binding| {
            let kind = &self.buffers[binding.buffer].kind;
            let inside = binding.offset < bytes.end && bytes.start < binding.offset + binding.bytes;
            inside && matches!(kind, BufferKind::External(found) if found == name)
        })
    }

    fn last_writer_of(&self, is_one: impl Fn(&Binding) -> bool) -> usize {
        let writes = |command: &Command| self.writes(command).iter().any(&is_one);
        self.commands.iter().rposition(writes).map_or(0, |place| place + 1)
    }

    /// Moves the copies that bring results to the external tensors `names` ahead of command `place`, where they stand after
    /// it although what they copy is known before. Gives the new place of that command.
    pub fn bring_forward(&mut self, names: &[String], place: usize) -> usize {
        let mut index = place;
        let mut place = place;
        while index < self.commands.len() {
            if self.brings(index, names) && !self.is_written_between(place, index) {
                let copy = self.commands.remove(index);
                self.commands.insert(place, copy);
                place += 1;
            }
            index += 1;
        }
        place
    }

    /// Whether command `index` copies to one of the external tensors `names`.
    fn brings(&self, index: usize, names: &[String]) -> bool {
        let Command::Copy { to, .. } = &self.commands[index] else { return false };
        matches!(&self.buffers[to.buffer].kind, BufferKind::External(name) if names.contains(name))
    }

    /// Whether a command from `first` on writes what the copy at `index` reads.
    fn is_written_between(&self, first: usize, index: usize) -> bool {
        let read = self.reads(&self.commands[index]);
        let mut written = self.commands[first..index].iter().flat_map(|command| self.writes(command));
        written.any(|write| read.iter().any(|read| write.overlaps(read)))
    }

    /// What a command reads.
    pub(super) fn reads(&self, command: &Command) -> Vec<Binding> {
        match command {
            Command::Dispatch { kernel, bindings, .. } => bindings[..self.kernels[*kernel].inputs].to_vec(),
            Command::Copy { from, .. } => vec![*from],
            Command::Loop { body, .. } => body.iter().flat_map(|command| self.reads(command)).collect(),
        }
    }

    /// What a command writes; the flag of a loop is among it.
    pub(super) fn writes(&self, command: &Command) -> Vec<Binding> {
        match command {
            Command::Dispatch { kernel, bindings, .. } => bindings[self.kernels[*kernel].inputs..].to_vec(),
            Command::Copy { to, .. } => vec![*to],
            Command::Loop { body, .. } => body.iter().flat_map(|command| self.writes(command)).collect(),
        }
    }

    /// Visits every command with how often a run executes it, where loops end after `rounds` rounds.
    pub(crate) fn for_each<'p>(&'p self, rounds: u32, visit: &mut impl FnMut(&'p Command, u64)) {
        for command in &self.commands {
            visit(command, 1);
            if let Command::Loop { body, limit, .. } = command {
                for inner in body {
                    visit(inner, u64::from(rounds.min(*limit)));
                }
            }
        }
    }

    /// Bytes of scratch memory.
    pub fn scratch_bytes(&self) -> u64 {
        self.buffers.iter().filter(|buffer| buffer.kind == BufferKind::Scratch).map(|buffer| buffer.bytes).sum()
    }
}
