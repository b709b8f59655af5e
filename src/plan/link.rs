//! Linking: calls are expanded, so that a plan becomes a flat list of commands over buffers of its own.
//!
//! Each value that needs memory gets a buffer here; [`super::memory`] lets buffers that are never alive together share.

use std::collections::HashMap;
use std::sync::Arc;

use super::program::{Binding, Buffer, BufferKind, Command, Kernel, Program};
use super::{Layout, Limits, Place, Plan, Step, ValueId, lower};
use crate::graph::Scope;
use crate::ops::join::ALIGNED;
use crate::shape::Shape;

/// Expands `plan` with `inputs` as arguments; results go to the external buffers named by `outputs`.
pub(super) fn link(
    name: &str,
    plan: &Plan,
    inputs: &[(String, Shape)],
    outputs: &[(String, Shape)],
    limits: &Limits,
    layout: &Layout,
) -> Program {
    let mut linker = Linker {
        program: Program { name: name.into(), ..Program::default() },
        binding_bytes: limits.storage_binding_bytes,
        kernels: HashMap::new(),
        by_address: HashMap::new(),
        layout,
        shared: HashMap::new(),
        scope: Scope::default(),
    };
    let arguments: Vec<Binding> = inputs.iter().map(|(name, shape)| linker.external(name, shape)).collect();
    let is_input = |name: &String| inputs.iter().any(|(input, _)| input == name);
    let targets: Vec<Option<Binding>> = outputs
        .iter()
        .map(|(name, shape)| if is_input(name) { None } else { Some(linker.external(name, shape)) })
        .collect();
    let mut commands = Vec::new();
    let results = linker.expand(plan, &arguments, &targets, false, &mut commands);
    // Updates come last, after everything has read the old values. One that comes straight from another external
    // tensor goes through scratch, as that tensor may be updated as well.
    let mut updates = Vec::new();
    for ((name, _), (&result, target)) in outputs.iter().zip(results.iter().zip(&targets)) {
        if target.is_some() {
            continue;
        }
        let number = inputs.iter().position(|(input, _)| input == name).expect("an update has the name of an input");
        let to = arguments[number];
        if result == to {
            continue;
        }
        let mut from = result;
        if matches!(linker.program.buffers[result.buffer].kind, BufferKind::External(_)) {
            from = linker.scratch(&format!("{name} copy"), result.bytes);
            commands.push(Command::Copy { from: result, to: from });
        }
        updates.push(Command::Copy { from, to });
    }
    commands.extend(updates);
    merge_last_copies(&mut commands);
    linker.program.commands = commands;
    linker.program
}

/// Copies at the end of a program bring results to their places. Those that lie in a row at both ends become one.
fn merge_last_copies(commands: &mut Vec<Command>) {
    let is_copy = |command: &&Command| matches!(command, Command::Copy { .. });
    let first = commands.len() - commands.iter().rev().take_while(is_copy).count();
    let mut copies: Vec<(Binding, Binding)> = commands[first..]
        .iter()
        .filter_map(|command| if let Command::Copy { from, to } = command { Some((*from, *to)) } else { None })
        .collect();
    // In another order they must still copy what they did.
    if copies.iter().any(|(from, _)| copies.iter().any(|(_, to)| from.buffer == to.buffer)) {
        return;
    }
    commands.truncate(first);
    copies.sort_by_key(|(from, to)| (to.buffer, from.buffer, to.offset));
    for (from, to) in copies {
        let follows = |before: &Binding, next: &Binding| {
            before.buffer == next.buffer && before.offset + before.bytes == next.offset
        };
        match commands[first..].last_mut() {
            Some(Command::Copy { from: a, to: b }) if follows(a, &from) && follows(b, &to) => {
                a.bytes += from.bytes;
                b.bytes += to.bytes;
            }
            _ => commands.push(Command::Copy { from, to }),
        }
    }
}

struct Linker<'a> {
    program: Program,
    /// Most that a kernel binds of one buffer.
    binding_bytes: u64,
    kernels: HashMap<(String, Arc<str>), usize>,
    by_address: HashMap<usize, usize>,
    layout: &'a Layout,
    /// Buffers that hold several external tensors.
    shared: HashMap<String, usize>,
    /// Of the step that is expanded.
    scope: Scope,
}

impl Linker<'_> {
    fn buffer(&mut self, label: &str, bytes: u64, kind: BufferKind) -> Binding {
        self.program.buffers.push(Buffer { label: label.into(), bytes, kind });
        Binding { buffer: self.program.buffers.len() - 1, offset: 0, bytes }
    }

    fn external(&mut self, name: &str, shape: &Shape) -> Binding {
        let Some((bucket, size, offset)) = self.layout.get(name) else {
            return self.buffer(name, shape.bytes(), BufferKind::External(name.into()));
        };
        let buffer = match self.shared.get(bucket) {
            Some(&known) => known,
            None => self.buffer(bucket, *size, BufferKind::External(bucket.clone())).buffer,
        };
        self.shared.insert(bucket.clone(), buffer);
        Binding { buffer, offset: *offset, bytes: shape.bytes() }
    }

    fn scratch(&mut self, label: &str, bytes: u64) -> Binding {
        self.buffer(label, bytes, BufferKind::Scratch)
    }

    fn kernel(&mut self, kernel: &Arc<Kernel>) -> usize {
        let address = Arc::as_ptr(kernel) as usize;
        if let Some(&known) = self.by_address.get(&address) {
            return known;
        }
        let key = (kernel.label.clone(), kernel.variants[0].source.clone());
        let next = self.program.kernels.len();
        let index = *self.kernels.entry(key).or_insert(next);
        if index == next {
            self.program.kernels.push((**kernel).clone());
        }
        self.by_address.insert(address, index);
        index
    }

    /// Copies without a copy command, for bodies of loops: a round that is switched off must not copy.
    fn copy(&mut self, from: Binding, to: Binding, in_loop: bool, commands: &mut Vec<Command>) {
        if from == to {
            return;
        }
        if !in_loop {
            commands.push(Command::Copy { from, to });
            return;
        }
        let aligned = 4 * ALIGNED as u64;
        let most = (self.binding_bytes / aligned * aligned).max(aligned);
        for start in (0..from.bytes).step_by(most as usize) {
            let bytes = most.min(from.bytes - start);
            let part = |whole: Binding| Binding { offset: whole.offset + start, bytes, ..whole };
            let kernel = Arc::new(lower::copy_kernel((bytes / 4) as usize));
            let key = (kernel.label.clone(), kernel.variants[0].source.clone());
            let next = self.program.kernels.len();
            let index = *self.kernels.entry(key).or_insert(next);
            if index == next {
                self.program.kernels.push((*kernel).clone());
            }
            let bindings = vec![part(from), part(to)];
            commands.push(Command::Dispatch { kernel: index, bindings, scope: self.scope });
        }
    }

    /// Appends the commands of `plan`; gives where its results lie. A result with a target lies there.
    fn expand(
        &mut self,
        plan: &Plan,
        arguments: &[Binding],
        targets: &[Option<Binding>],
        in_loop: bool,
        commands: &mut Vec<Command>,
    ) -> Vec<Binding> {
        let claims = claims(plan, targets);
        let mut places: Vec<Option<Binding>> = vec![None; plan.values.len()];
        let outer = self.scope;
        for (step, scope) in plan.steps.iter().zip(&plan.scopes) {
            self.scope = scope.within(outer);
            match step {
                Step::Kernel { kernel, inputs, outputs } => {
                    let mut bindings: Vec<Binding> =
                        inputs.iter().map(|&value| resolve(plan, arguments, &places, value)).collect();
                    for &value in outputs {
                        let owner = base(plan, value);
                        if places[owner].is_none() {
                            let bytes = plan.values[owner].shape.bytes();
                            let claim = claims.get(&owner).copied();
                            places[owner] = Some(claim.unwrap_or_else(|| self.scratch(&kernel.label, bytes)));
                        }
                        bindings.push(resolve(plan, arguments, &places, value));
                    }
                    let kernel = self.kernel(kernel);
                    commands.push(Command::Dispatch { kernel, bindings, scope: self.scope });
                }
                Step::Stack { inputs, output } => {
                    let parts: Vec<Binding> =
                        inputs.iter().map(|&value| resolve(plan, arguments, &places, value)).collect();
                    let bytes = plan.values[*output].shape.bytes();
                    let place = claims.get(output).copied();
                    places[*output] = Some(self.stack(&parts, place, bytes, in_loop, commands));
                }
                Step::Call { plan: callee, arguments: values, results } => {
                    let given: Vec<Binding> =
                        values.iter().map(|&value| resolve(plan, arguments, &places, value)).collect();
                    let wanted: Vec<Option<Binding>> =
                        results.iter().map(|value| value.and_then(|value| claims.get(&value).copied())).collect();
                    let found = self.expand(callee, &given, &wanted, in_loop, commands);
                    for (value, binding) in results.iter().zip(found) {
                        if let Some(value) = *value {
                            places[value] = Some(binding);
                        }
                    }
                }
                Step::Iterate { plan: body, limit, arguments: values, results } => {
                    assert!(!in_loop, "{}: an iteration inside an iteration cannot be linked", plan.name);
                    let given: Vec<Binding> =
                        values.iter().map(|&value| resolve(plan, arguments, &places, value)).collect();
                    let found = self.iterate(body, *limit, &given, commands);
                    for (value, binding) in results.iter().zip(found) {
                        if let Some(value) = *value {
                            places[value] = Some(binding);
                        }
                    }
                }
            }
        }
        self.scope = outer;
        let mut results = Vec::with_capacity(plan.results.len());
        for (number, &value) in plan.results.iter().enumerate() {
            let found = resolve(plan, arguments, &places, value);
            match targets.get(number).copied().flatten() {
                Some(target) => {
                    self.copy(found, target, in_loop, commands);
                    results.push(target);
                }
                None => results.push(found),
            }
        }
        results
    }

    /// Brings parts together at `place`, or anywhere.
    fn stack(
        &mut self,
        parts: &[Binding],
        place: Option<Binding>,
        bytes: u64,
        in_loop: bool,
        commands: &mut Vec<Command>,
    ) -> Binding {
        let in_a_row = parts.windows(2).all(|pair| {
            let (before, next) = (pair[0], pair[1]);
            before.buffer == next.buffer && before.offset + before.bytes == next.offset
        });
        if in_a_row && place.is_none() {
            return Binding { bytes, ..parts[0] };
        }
        let whole = place.unwrap_or_else(|| self.scratch("stack", bytes));
        let mut offset = whole.offset;
        for &part in parts {
            self.copy(part, Binding { offset, bytes: part.bytes, ..whole }, in_loop, commands);
            offset += part.bytes;
        }
        whole
    }

    fn iterate(&mut self, body: &Plan, limit: u32, given: &[Binding], commands: &mut Vec<Command>) -> Vec<Binding> {
        let state_count = body.results.len() - 1;
        let mut arguments = given.to_vec();
        for (number, argument) in arguments.iter_mut().enumerate().take(state_count) {
            let state = self.scratch(&format!("{} state {number}", body.name), argument.bytes);
            commands.push(Command::Copy { from: *argument, to: state });
            *argument = state;
        }
        let flag = self.scratch(&format!("{} flag", body.name), 4);
        let mut targets = vec![None; state_count];
        targets.push(Some(flag));
        let mut round = Vec::new();
        let next = self.expand(body, &arguments, &targets, true, &mut round);
        // A next state that is another state's memory must not be overwritten before it is read.
        let mut moves = Vec::new();
        for (number, &from) in next[..state_count].iter().enumerate() {
            let to = arguments[number];
            if from == to {
                continue;
            }
            let shared = arguments[..state_count].iter().any(|state| state.buffer == from.buffer);
            if shared {
                let through = self.scratch(&format!("{} next {number}", body.name), from.bytes);
                self.copy(from, through, true, &mut round);
                moves.push((through, to));
            } else {
                moves.push((from, to));
            }
        }
        for (from, to) in moves {
            self.copy(from, to, true, &mut round);
        }
        commands.push(Command::Loop { body: round, limit, flag });
        arguments.truncate(state_count);
        arguments.push(flag);
        arguments
    }
}

/// Where `value` lies.
fn resolve(plan: &Plan, arguments: &[Binding], places: &[Option<Binding>], value: ValueId) -> Binding {
    match &plan.values[value].place {
        Place::Argument(number) => arguments[*number],
        Place::View { of, offset } => {
            let whole = resolve(plan, arguments, places, *of);
            Binding { offset: whole.offset + offset, bytes: plan.values[value].shape.bytes(), ..whole }
        }
        _ => places[value].expect("a value is computed before it is read"),
    }
}

/// The value whose memory `value` lies in.
fn base(plan: &Plan, mut value: ValueId) -> ValueId {
    while let Place::View { of, .. } = plan.values[value].place {
        value = of;
    }
    value
}

/// Values that can be computed right where the caller wants them: those that no step of the plan reads again.
fn claims(plan: &Plan, targets: &[Option<Binding>]) -> HashMap<ValueId, Binding> {
    let mut read = vec![false; plan.values.len()];
    for step in &plan.steps {
        let inputs = match step {
            Step::Kernel { inputs, .. } | Step::Stack { inputs, .. } => inputs,
            Step::Call { arguments, .. } | Step::Iterate { arguments, .. } => arguments,
        };
        for &input in inputs {
            read[base(plan, input)] = true;
        }
    }
    let mut claims = HashMap::new();
    for (&value, target) in plan.results.iter().zip(targets) {
        let Some(target) = target else { continue };
        // A reshape of a whole value may be claimed as well.
        let mut owner = value;
        while let Place::View { of, offset: 0 } = plan.values[owner].place {
            if plan.values[of].shape.len() != plan.values[owner].shape.len() {
                break;
            }
            owner = of;
        }
        let claimable = matches!(plan.values[owner].place, Place::Scratch | Place::Result) && !read[owner];
        if claimable {
            claims.entry(owner).or_insert(*target);
        }
    }
    claims
}
