//! Where a compute shader's control flow may differ between the invocations of a workgroup.
//!
//! WGSL demands that all invocations of a workgroup reach a barrier together. Tint (Chromium) enforces it, naga 30 does
//! not, so a kernel may run natively and be refused by a browser. This walk over naga's IR finds such barriers, and
//! loops whose length depends on data that the same dispatch may be writing.
//!
//! Every value has a [`Taint`]: the reasons for which it may differ between invocations. So has every point of the
//! control flow. The walk starts at the entry point and follows calls as if they were inlined, so a function may be
//! uniform for one caller and not for another. Local variables have one taint for their whole life, not one per
//! assignment; this is stricter than the WGSL rules, never laxer. Taints only grow, and the walk is repeated until they
//! stand still.

use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, GlobalVariable, Handle, LocalVariable, Module, Span,
    Statement, StorageAccess, TypeInner,
};
use std::collections::HashMap;
use std::ops::{BitOr, BitOrAssign};

/// The reasons for which a value, or the way through the code, may differ between invocations of a workgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taint(u8);

impl Taint {
    /// The same for all invocations.
    pub const UNIFORM: Self = Self(0);
    /// Derived of the invocation's id, or of an atomic.
    pub const INVOCATION: Self = Self(1);
    /// Read from a `read_write` binding, which other workgroups may be writing.
    pub const WRITABLE: Self = Self(2);
    /// Read from workgroup or private memory.
    pub const SHARED: Self = Self(4);

    /// Whether all invocations agree.
    pub fn is_uniform(self) -> bool {
        self == Self::UNIFORM
    }

    /// Whether all reasons of `other` are among these.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The reasons in words.
    pub fn describe(self) -> String {
        let words = [
            (Self::INVOCATION, "the invocation id"),
            (Self::WRITABLE, "a read_write binding"),
            (Self::SHARED, "workgroup or private memory"),
        ];
        let held: Vec<_> = words.iter().filter(|(taint, _)| self.has(*taint)).map(|(_, text)| *text).collect();
        held.join(" and ")
    }
}

impl BitOr for Taint {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Taint {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What the walk finds.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Barriers, and other operations that need the whole workgroup, which only some invocations may reach.
    pub barriers: Vec<(Span, Taint)>,
    /// Loops whose number of rounds depends on a `read_write` binding.
    pub loops: Vec<Span>,
}

/// Walks all entry points of `module`.
pub fn analyse(module: &Module) -> Findings {
    let mut findings = Findings::default();
    for entry in &module.entry_points {
        let mut walk = Walk {
            module,
            variables: HashMap::new(),
            loops: Vec::new(),
            findings: Findings::default(),
            frames: 0,
            seen_loops: 0,
            grown: true,
        };
        while walk.grown {
            walk.grown = false;
            walk.frames = 0;
            walk.seen_loops = 0;
            walk.findings = Findings::default();
            let arguments = vec![Argument::default(); entry.function.arguments.len()];
            walk.call(&entry.function, arguments, true, Taint::UNIFORM);
        }
        findings.barriers.extend(walk.findings.barriers);
        findings.loops.extend(walk.findings.loops);
    }
    findings
}

/// The variable a pointer leads to.
#[derive(Clone, Copy)]
enum Root {
    Global(Handle<GlobalVariable>),
    /// A local variable of the call with this number.
    Local(usize, Handle<LocalVariable>),
}

/// An argument of a call: the taint of its value (of the indices on the way, for a pointer) and what it points to.
#[derive(Clone, Copy, Default)]
struct Argument {
    taint: Taint,
    root: Option<Root>,
}

/// One call of a function on the way from the entry point.
struct Frame<'a> {
    number: usize,
    entry: bool,
    function: &'a Function,
    arguments: Vec<Argument>,
    /// Taints of expressions already computed. Those of statements' results are entered by the statement.
    known: HashMap<Handle<Expression>, Taint>,
    returned: Taint,
}

/// The control taint at the jumps out of a block.
#[derive(Clone, Copy, Default)]
struct Jumps {
    breaks: Taint,
    continues: Taint,
    returns: Taint,
}

impl Jumps {
    fn all(self) -> Taint {
        self.breaks | self.continues | self.returns
    }

    fn add(&mut self, other: Self) {
        self.breaks |= other.breaks;
        self.continues |= other.continues;
        self.returns |= other.returns;
    }
}

struct Walk<'a> {
    module: &'a Module,
    variables: HashMap<(usize, Handle<LocalVariable>), Taint>,
    /// What each loop, in the order of the walk, adds to the control flow of its own body: an invocation that has left
    /// misses all later rounds.
    loops: Vec<Taint>,
    findings: Findings,
    frames: usize,
    seen_loops: usize,
    /// Whether a taint has grown since the round began, so that another is needed.
    grown: bool,
}

impl<'a> Walk<'a> {
    fn call(&mut self, function: &'a Function, arguments: Vec<Argument>, entry: bool, control: Taint) -> Taint {
        let number = self.frames;
        self.frames += 1;
        let mut frame = Frame { number, entry, function, arguments, known: HashMap::new(), returned: Taint::UNIFORM };
        self.block(&mut frame, &function.body, control);
        frame.returned
    }

    fn block(&mut self, frame: &mut Frame<'a>, block: &'a Block, mut control: Taint) -> Jumps {
        let mut jumps = Jumps::default();
        for (statement, &span) in block.span_iter() {
            let inner = self.statement(frame, statement, span, control);
            // Whoever jumped away misses all that follows.
            control |= inner.all();
            jumps.add(inner);
        }
        jumps
    }

    fn statement(&mut self, frame: &mut Frame<'a>, statement: &'a Statement, span: Span, control: Taint) -> Jumps {
        let mut jumps = Jumps::default();
        match statement {
            Statement::Block(block) => jumps = self.block(frame, block, control),
            Statement::If { condition, accept, reject } => {
                let control = control | self.value(frame, *condition);
                jumps = self.block(frame, accept, control);
                jumps.add(self.block(frame, reject, control));
            }
            Statement::Switch { selector, cases } => {
                let control = control | self.value(frame, *selector);
                for case in cases {
                    jumps.add(self.block(frame, &case.body, control));
                }
                jumps.breaks = Taint::UNIFORM;
            }
            Statement::Loop { body, continuing, break_if } => {
                jumps.returns = self.walk_loop(frame, body, continuing, *break_if, span, control);
            }
            Statement::Break => jumps.breaks = control,
            Statement::Continue => jumps.continues = control,
            Statement::Return { value } => {
                jumps.returns = control;
                frame.returned |= control;
                if let Some(value) = value {
                    let taint = self.value(frame, *value);
                    frame.returned |= taint;
                }
            }
            Statement::ControlBarrier(_) => self.needs_all(span, control),
            Statement::WorkGroupUniformLoad { result, .. } => {
                self.needs_all(span, control);
                frame.known.insert(*result, Taint::UNIFORM);
            }
            Statement::SubgroupBallot { result, .. }
            | Statement::SubgroupGather { result, .. }
            | Statement::SubgroupCollectiveOperation { result, .. } => {
                self.needs_all(span, control);
                frame.known.insert(*result, Taint::INVOCATION);
            }
            Statement::Atomic { result: Some(result), .. } => {
                frame.known.insert(*result, Taint::INVOCATION | Taint::WRITABLE);
            }
            Statement::Store { pointer, value } => {
                let taint = control | self.value(frame, *value);
                let (root, index) = self.place(frame, *pointer);
                if let Some(Root::Local(number, variable)) = root {
                    self.grow((number, variable), taint | index);
                }
            }
            Statement::Call { function, arguments, result } => {
                let arguments = arguments.iter().map(|&argument| self.argument(frame, argument)).collect();
                let returned = self.call(&self.module.functions[*function], arguments, false, control);
                if let Some(result) = result {
                    frame.known.insert(*result, returned);
                }
            }
            _ => {}
        }
        jumps
    }

    /// Returns the control taint at the returns inside the loop; breaks and continues end with it.
    fn walk_loop(
        &mut self,
        frame: &mut Frame<'a>,
        body: &'a Block,
        continuing: &'a Block,
        break_if: Option<Handle<Expression>>,
        span: Span,
        outside: Taint,
    ) -> Taint {
        let number = self.seen_loops;
        self.seen_loops += 1;
        if self.loops.len() == number {
            self.loops.push(Taint::UNIFORM);
        }
        let control = outside | self.loops[number];
        let mut jumps = self.block(frame, body, control);
        jumps.add(self.block(frame, continuing, control | jumps.all()));
        let condition = break_if.map_or(Taint::UNIFORM, |condition| self.value(frame, condition));
        let next = self.loops[number] | jumps.all() | condition;
        if next != self.loops[number] {
            self.loops[number] = next;
            self.grown = true;
        }
        let exit = jumps.breaks | jumps.returns | condition;
        if exit.has(Taint::WRITABLE) && !outside.has(Taint::WRITABLE) {
            self.findings.loops.push(span);
        }
        jumps.returns
    }

    fn needs_all(&mut self, span: Span, control: Taint) {
        if !control.is_uniform() {
            self.findings.barriers.push((span, control));
        }
    }

    fn grow(&mut self, variable: (usize, Handle<LocalVariable>), taint: Taint) {
        let held = self.variables.entry(variable).or_default();
        if !held.has(taint) {
            *held |= taint;
            self.grown = true;
        }
    }

    fn argument(&self, frame: &mut Frame<'a>, expression: Handle<Expression>) -> Argument {
        match self.place(frame, expression) {
            (Some(root), taint) => Argument { taint, root: Some(root) },
            (None, _) => Argument { taint: self.value(frame, expression), root: None },
        }
    }

    /// The variable that a pointer leads to, and the taint of the indices on the way.
    fn place(&self, frame: &mut Frame<'a>, pointer: Handle<Expression>) -> (Option<Root>, Taint) {
        match frame.function.expressions[pointer] {
            Expression::GlobalVariable(variable) => (Some(Root::Global(variable)), Taint::UNIFORM),
            Expression::LocalVariable(variable) => (Some(Root::Local(frame.number, variable)), Taint::UNIFORM),
            Expression::FunctionArgument(index) => {
                let argument = frame.arguments[index as usize];
                (argument.root, argument.taint)
            }
            Expression::Access { base, index } => {
                let (root, taint) = self.place(frame, base);
                (root, taint | self.value(frame, index))
            }
            Expression::AccessIndex { base, .. } => self.place(frame, base),
            _ => (None, Taint::INVOCATION),
        }
    }

    fn load(&self, root: Option<Root>) -> Taint {
        match root {
            Some(Root::Local(number, variable)) => self.variables.get(&(number, variable)).copied().unwrap_or_default(),
            Some(Root::Global(variable)) => match self.module.global_variables[variable].space {
                AddressSpace::Uniform | AddressSpace::Handle | AddressSpace::Immediate => Taint::UNIFORM,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Taint::WRITABLE,
                AddressSpace::Storage { .. } => Taint::UNIFORM,
                _ => Taint::SHARED,
            },
            None => Taint::INVOCATION,
        }
    }

    /// The taint of an expression's value.
    fn value(&self, frame: &mut Frame<'a>, handle: Handle<Expression>) -> Taint {
        if let Some(&taint) = frame.known.get(&handle) {
            return taint;
        }
        let function = frame.function;
        let mut join = |parts: &[Handle<Expression>]| {
            parts.iter().fold(Taint::UNIFORM, |taint, &part| taint | self.value(frame, part))
        };
        let taint = match &function.expressions[handle] {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::GlobalVariable(_)
            | Expression::LocalVariable(_)
            | Expression::ArrayLength(_) => Taint::UNIFORM,
            Expression::FunctionArgument(index) => self.input(frame, *index, None),
            Expression::AccessIndex { base, index } => match function.expressions[*base] {
                Expression::FunctionArgument(argument) => self.input(frame, argument, Some(*index)),
                _ => join(&[*base]),
            },
            Expression::Load { pointer } => {
                let (root, index) = self.place(frame, *pointer);
                index | self.load(root)
            }
            Expression::Compose { components, .. } => join(components),
            Expression::Access { base, index } => join(&[*base, *index]),
            Expression::Splat { value, .. } => join(&[*value]),
            Expression::Swizzle { vector, .. } => join(&[*vector]),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => join(&[*expr]),
            Expression::Binary { left, right, .. } => join(&[*left, *right]),
            Expression::Select { condition, accept, reject } => join(&[*condition, *accept, *reject]),
            Expression::Relational { argument, .. } => join(&[*argument]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                let parts: Vec<_> = [Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten().collect();
                join(&parts)
            }
            // Results of statements stand in `known`; a kernel of this crate has nothing else.
            _ => Taint::INVOCATION,
        };
        frame.known.insert(handle, taint);
        taint
    }

    /// The taint of an argument, or of one member of it.
    fn input(&self, frame: &Frame<'a>, index: u32, member: Option<u32>) -> Taint {
        if !frame.entry {
            return frame.arguments[index as usize].taint;
        }
        let argument = &frame.function.arguments[index as usize];
        match (&argument.binding, &self.module.types[argument.ty].inner) {
            (Some(binding), _) => builtin(Some(binding)),
            (None, TypeInner::Struct { members, .. }) => match member {
                Some(member) => builtin(members[member as usize].binding.as_ref()),
                None => members.iter().fold(Taint::UNIFORM, |taint, member| taint | builtin(member.binding.as_ref())),
            },
            (None, _) => Taint::INVOCATION,
        }
    }
}

fn builtin(binding: Option<&Binding>) -> Taint {
    match binding {
        Some(Binding::BuiltIn(
            BuiltIn::WorkGroupId
            | BuiltIn::NumWorkGroups
            | BuiltIn::WorkGroupSize
            | BuiltIn::SubgroupSize
            | BuiltIn::NumSubgroups,
        )) => Taint::UNIFORM,
        _ => Taint::INVOCATION,
    }
}
