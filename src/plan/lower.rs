//! Lowering: from groups to kernels and steps.

mod epilogue;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use super::codegen::{Index, Writer};
use super::conv2d::to_u32;
use super::fuse::{self, Fusion, Group};
use super::launch::{self, Launch};
use super::program::{Kernel, Suits, Variant};
use super::{Place, Plan, Planner, Step, Value, ValueId};
use crate::graph::{Graph, NodeId, Scope};
use crate::ops::Op;
use crate::ops::conv2d::{Precision, Role};
use crate::ops::reduce::Kind;
use crate::shape::Shape;
use crate::wgsl::wgsl;
use epilogue::{Epilogue, FOUR};

const GRID: &str = wgsl!("../../shaders/lib/grid.wgsl");
const MATH: &str = wgsl!("../../shaders/lib/math.wgsl");
const RANDOM: &str = wgsl!("../../shaders/lib/random.wgsl");
const REDUCE_SUM: &str = wgsl!("../../shaders/lib/reduce_sum.wgsl");
const REDUCE_MAX: &str = wgsl!("../../shaders/lib/reduce_max.wgsl");
const ELEMENTWISE: &str = wgsl!("../../shaders/elementwise.wgsl");
const REDUCE_SERIAL: &str = wgsl!("../../shaders/reduce_serial.wgsl");
const REDUCE_TREE: &str = wgsl!("../../shaders/reduce_tree.wgsl");

/// Invocations in a workgroup of the elementwise and reduction kernels.
const WORKGROUP: usize = 64;
/// A reduction with at most this many terms a result runs them one after the other.
const SERIAL_TERMS: usize = 64;
/// So many results fill a device with one invocation each.
const MANY_RESULTS: usize = 4096;
/// A reduction to few results with more terms than this is done in two passes.
const TWO_PASS_TERMS: usize = 16 * 1024;

/// Plans one graph: fuses it, makes its kernels, lists its steps.
pub(super) fn lower(planner: &mut Planner, name: &str, graph: &Graph) -> Plan {
    let split = planner.split(name, graph);
    let graph = split.as_ref().unwrap_or(graph);
    let fusion = fuse::fuse(graph, &planner.limits);
    let needed = needed_outside(graph, &fusion);
    let mut lowering = Lowering {
        planner,
        graph,
        fusion: &fusion,
        needed: &needed,
        plan: Plan { name: name.into(), ..Plan::default() },
        scope: Scope::default(),
        values: HashMap::new(),
        gets: HashMap::new(),
    };
    let live = graph.live();
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        if let Op::Get(get) = &node.op {
            lowering.gets.entry(node.inputs[0]).or_default().push((id, get.index));
        }
    }
    for (number, &(_, id)) in graph.inputs().iter().enumerate() {
        lowering.new_value(id, Place::Argument(number));
    }
    for group in &fusion.groups {
        lowering.group(group);
    }
    for (_, id) in graph.outputs() {
        let value = lowering.memory_of(*id);
        lowering.plan.results.push(value);
    }
    lowering.plan
}

/// For each materialised node whether something outside of its own group reads it.
fn needed_outside(graph: &Graph, fusion: &Fusion) -> Vec<bool> {
    let mut needed = vec![false; graph.len()];
    for group in &fusion.groups {
        for leaf in group.reads() {
            needed[leaf.index()] = true;
        }
    }
    for &(_, id) in graph.outputs() {
        let mut id = id;
        while let Some((source, _)) = fuse::alias(graph, id) {
            id = source;
        }
        needed[id.index()] = true;
    }
    needed
}

struct Lowering<'a> {
    planner: &'a mut Planner,
    graph: &'a Graph,
    fusion: &'a Fusion,
    needed: &'a [bool],
    plan: Plan,
    /// Of the steps of the present group: its anchor's, or its first root's.
    scope: Scope,
    values: HashMap<NodeId, ValueId>,
    /// Live results of calls and iterations.
    gets: HashMap<NodeId, Vec<(NodeId, usize)>>,
}

impl Lowering<'_> {
    fn new_value(&mut self, node: NodeId, place: Place) -> ValueId {
        let value = self.plan.values.len();
        self.plan.values.push(Value { shape: self.graph.shape(node).clone(), place });
        self.values.insert(node, value);
        value
    }

    /// The value that a kernel computes for `node`: memory of its own, or its part of a join.
    fn computed(&mut self, node: NodeId) -> ValueId {
        match self.fusion.parts.get(&node) {
            Some(&(join, offset)) => {
                let of = self.join(join);
                self.new_value(node, Place::View { of, offset })
            }
            None => self.new_value(node, Place::Scratch),
        }
    }

    /// The memory of a join: there from its first part on.
    fn join(&mut self, join: NodeId) -> ValueId {
        let known = self.values.get(&join).copied();
        known.unwrap_or_else(|| self.new_value(join, Place::Scratch))
    }

    /// Copies into a join what could not be computed there.
    fn complete(&mut self, join: NodeId) {
        let of = self.join(join);
        let mut offset = 0;
        for &part in &self.graph.node(join).inputs {
            let shape = self.graph.shape(part).clone();
            let bytes = shape.bytes();
            let from = self.memory_of(part);
            let mut owner = from;
            while let Place::View { of: other, .. } = self.plan.values[owner].place {
                owner = other;
            }
            if owner != of {
                let kernel = Arc::new(copy_kernel(shape.len()));
                self.plan.values.push(Value { shape, place: Place::View { of, offset } });
                let outputs = vec![self.plan.values.len() - 1];
                self.step(Step::Kernel { kernel, inputs: vec![from], outputs });
            }
            offset += bytes;
        }
    }

    fn scratch(&mut self, shape: Shape) -> ValueId {
        self.plan.values.push(Value { shape, place: Place::Scratch });
        self.plan.values.len() - 1
    }

    /// The value that holds `node`, made as a view where the node is one.
    fn memory_of(&mut self, node: NodeId) -> ValueId {
        if let Some(&known) = self.values.get(&node) {
            return known;
        }
        let (source, offset) = fuse::alias(self.graph, node).expect("fusion stores every operand that is no view");
        let of = self.memory_of(source);
        self.new_value(node, Place::View { of, offset })
    }

    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
        self.plan.scopes.push(self.scope);
    }

    fn group(&mut self, group: &Group) {
        let graph = self.graph;
        self.scope = graph.scope_of(group.anchor.unwrap_or_else(|| group.roots[0]));
        let Some(anchor) = group.anchor else {
            return self.elementwise(group);
        };
        let node = graph.node(anchor);
        match &node.op {
            Op::Call(function) => {
                let plan = self.planner.function(function);
                let arguments = node.inputs.iter().map(|&input| self.memory_of(input)).collect();
                let results = self.results_of(anchor, function.graph().outputs().len(), &Place::Result);
                self.step(Step::Call { plan, arguments, results });
            }
            Op::Iterate(iterate) => {
                let plan = self.planner.function(&iterate.body);
                let arguments: Vec<ValueId> = node.inputs.iter().map(|&input| self.memory_of(input)).collect();
                let results = self.results_of(anchor, iterate.state + 1, &Place::State);
                self.step(Step::Iterate { plan, limit: iterate.limit, arguments, results });
            }
            Op::Stack(_) => {
                let inputs = node.inputs.iter().map(|&input| self.memory_of(input)).collect();
                let output = self.new_value(anchor, Place::Result);
                self.step(Step::Stack { inputs, output });
            }
            Op::Join(_) => self.complete(anchor),
            Op::Reduce(reduce) => self.reduce(group, anchor, reduce.kind, &reduce.axes),
            Op::MatMul(op) => {
                let geometry = op.geometry(graph.shape(node.inputs[0]), graph.shape(node.inputs[1]));
                let label =
                    format!("{} {}×{}×{} n{}", op_name(&node.op), geometry.m, geometry.n, geometry.k, geometry.batch);
                let operands: Vec<ValueId> = node.inputs.iter().map(|&input| self.memory_of(input)).collect();
                self.contraction(group, &label, &super::matmul::variants(&geometry), &operands, geometry.flops());
            }
            Op::Conv2d(op) => {
                let g = &op.geometry;
                let mut label = format!(
                    "{} {}→{} {}×{} {}×{} n{}",
                    op_name(&node.op),
                    g.in_channels,
                    g.out_channels,
                    g.kernel[0],
                    g.kernel[1],
                    g.height,
                    g.width,
                    g.batch
                );
                if g.groups > 1 {
                    write!(label, " g{}", g.groups).expect("writing to a string");
                }
                if g.stride > 1 {
                    write!(label, " s{}", g.stride).expect("writing to a string");
                }
                if op.precision == Precision::F16 {
                    label.push_str(" f16");
                }
                let operands: Vec<ValueId> = node.inputs.iter().map(|&input| self.memory_of(input)).collect();
                let launches = super::conv2d::variants(op);
                let splits = if op.role == Role::WeightGrad { super::conv2d::weight_grad_splits(g) } else { 1 };
                if splits == 1 {
                    self.contraction(group, &label, &launches, &operands, g.flops());
                } else {
                    self.split_contraction(group, &label, &launches, &operands, g.flops(), splits);
                }
            }
            other => unreachable!("{} is no anchor", other.label()),
        }
    }

    fn results_of(&mut self, anchor: NodeId, count: usize, place: &Place) -> Vec<Option<ValueId>> {
        let mut results = vec![None; count];
        for (id, index) in self.gets.remove(&anchor).unwrap_or_default() {
            results[index] = Some(self.new_value(id, place.clone()));
        }
        results
    }

    fn elementwise(&mut self, group: &Group) {
        let epilogue = self.epilogue(group, &[], None);
        let at_a_time = if epilogue.by_four.is_some() { FOUR } else { 1 };
        let name = epilogue.ops.clone();
        let len = group.len / at_a_time;
        let constants = [("LEN", len), ("WORKGROUP", WORKGROUP)];
        let source = join(&constants, &[ELEMENTWISE, GRID], epilogue.text(at_a_time));
        let called = if at_a_time == 1 { "w64".into() } else { format!("w64x{at_a_time}") };
        let variant = variant(&called, source, len.div_ceil(WORKGROUP), WORKGROUP, 0);
        let shape = self.graph.shape(group.roots[0]).clone();
        self.dispatch(
            format!("{name} {shape}"),
            vec![variant],
            epilogue,
            &[],
            u64::from(group.len > 0) * group.len as u64,
        );
    }

    fn contraction(&mut self, group: &Group, label: &str, launches: &[Launch], operands: &[ValueId], flops: u64) {
        let epilogue = self.epilogue(group, operands, group.anchor);
        let variants = launches.iter().map(|launch| linked(launch, epilogue.text(launch.at_a_time))).collect();
        self.dispatch(format!("{label}{}", epilogue.suffix()), variants, epilogue, operands, flops);
    }

    /// A contraction whose long axis is cut into `splits` parts: partial results, then their sum with the epilogue.
    fn split_contraction(
        &mut self,
        group: &Group,
        label: &str,
        launches: &[Launch],
        operands: &[ValueId],
        flops: u64,
        splits: usize,
    ) {
        let partial = self.scratch(Shape::from([splits, group.len]));
        let variants = launches.iter().map(|launch| linked(launch, launch.plain_end())).collect();
        self.push(format!("{label} k{splits}"), variants, operands.to_vec(), vec![partial], flops);
        let load = format!(
            "@group(0) @binding(0) var<storage, read> partial: array<f32>;\n\
             fn load(result: u32, term: u32) -> f32 {{\n    return partial[term * {}u + result];\n}}\n",
            group.len
        );
        self.reduction(group, &format!("{label} sum"), Kind::Sum, (group.len, splits), &load, &[partial], true);
    }

    fn reduce(&mut self, group: &Group, anchor: NodeId, kind: Kind, axes: &[usize]) {
        let graph = self.graph;
        let source = graph.node(anchor).inputs[0];
        let shape = graph.shape(source).clone();
        let terms: usize = axes.iter().map(|&axis| shape[axis]).product();
        let reads: Vec<NodeId> = self.reads_of(source);
        let operands: Vec<ValueId> = reads.iter().map(|&read| self.memory_of(read)).collect();
        let bindings: HashMap<NodeId, String> =
            reads.iter().enumerate().map(|(number, &read)| (read, format!("in{number}"))).collect();
        let mut load = String::new();
        for number in 0..reads.len() {
            writeln!(load, "@group(0) @binding({number}) var<storage, read> in{number}: array<f32>;")
                .expect("writing to a string");
        }
        let mut writer = Writer::new(graph, &bindings);
        let kept: Vec<usize> = (0..shape.rank()).filter(|axis| !axes.contains(axis)).collect();
        let mut coordinates = vec![String::new(); shape.rank()];
        for (name, chosen) in [("result", &kept[..]), ("term", axes)] {
            let extents: Vec<usize> = chosen.iter().map(|&axis| shape[axis]).collect();
            for (&axis, at) in chosen.iter().zip(writer.split(name, &extents)) {
                coordinates[axis] = at;
            }
        }
        // Where the reduced axes are the last ones, the flat index needs no division at all.
        let trailing = axes.iter().copied().eq(kept.len()..shape.rank());
        let index = if trailing {
            Index::flat(writer.share("i", &format!("result * {terms}u + term")))
        } else {
            Index::coordinates(coordinates)
        };
        let value = writer.value(source, &index);
        let body = writer.body;
        write!(load, "fn load(result: u32, term: u32) -> f32 {{\n{body}    return {value};\n}}\n")
            .expect("writing to a string");
        let label = format!("{} {shape} over {axes:?}", if kind == Kind::Sum { "sum" } else { "max" });
        self.reduction(group, &label, kind, (group.len, terms), &load, &operands, false);
    }

    /// Emits the kernels of a reduction of `terms` values each to `results` values; `load` gives the values.
    #[expect(clippy::too_many_arguments, reason = "one call site each for sums of a graph and of partial results")]
    fn reduction(
        &mut self,
        group: &Group,
        label: &str,
        kind: Kind,
        (results, terms): (usize, usize),
        load: &str,
        operands: &[ValueId],
        final_pass: bool,
    ) {
        let library = if kind == Kind::Sum { REDUCE_SUM } else { REDUCE_MAX };
        let serial = terms <= SERIAL_TERMS || results >= MANY_RESULTS;
        if !serial && !final_pass && terms > TWO_PASS_TERMS && results < 256 {
            return self.two_pass(group, label, kind, (results, terms), load, operands);
        }
        let epilogue = self.epilogue(group, operands, group.anchor);
        let text = format!("{load}{}", epilogue.text(1));
        let constants = [("LEN", results), ("TERMS", terms), ("WORKGROUP", WORKGROUP)];
        let variant = if serial {
            let source = join(&constants, &[REDUCE_SERIAL, library, GRID], &text);
            variant("serial", source, results.div_ceil(WORKGROUP), WORKGROUP, 0)
        } else {
            let source = join(&constants, &[REDUCE_TREE, library, GRID], &text);
            variant("tree", source, results, WORKGROUP, 4 * WORKGROUP)
        };
        let label = format!("{label}{}", epilogue.suffix());
        self.dispatch(label, vec![variant], epilogue, operands, (results * terms) as u64);
    }

    /// Few results of very many terms: parts of the terms are reduced side by side, then the parts.
    fn two_pass(
        &mut self,
        group: &Group,
        label: &str,
        kind: Kind,
        (results, terms): (usize, usize),
        load: &str,
        operands: &[ValueId],
    ) {
        let library = if kind == Kind::Sum { REDUCE_SUM } else { REDUCE_MAX };
        // Parts of equal length; the last one's missing terms are the neutral element.
        let parts = terms.div_ceil(TWO_PASS_TERMS / 4).min(256);
        let part = terms.div_ceil(parts);
        let partial = self.scratch(Shape::from([parts, results]));
        let first = operands.len();
        let text = format!(
            "{}fn load(index: u32, term: u32) -> f32 {{\n    let at = index / {results}u * {part}u + term;\n    \
             return select(REDUCE_START, load_term(index % {results}u, min(at, {terms}u - 1u)), at < {terms}u);\n}}\n\
             @group(0) @binding({first}) var<storage, read_write> out0: array<f32>;\n\
             fn emit(index: u32, value: f32) {{\n    out0[index] = value;\n}}\n",
            load.replace("fn load(", "fn load_term(")
        );
        let constants = [("LEN", parts * results), ("TERMS", part), ("WORKGROUP", WORKGROUP)];
        let source = join(&constants, &[REDUCE_TREE, library, GRID], &text);
        let variants = vec![variant("tree", source, parts * results, WORKGROUP, 4 * WORKGROUP)];
        self.push(format!("{label} part"), variants, operands.to_vec(), vec![partial], (results * terms) as u64);
        let load = format!(
            "@group(0) @binding(0) var<storage, read> partial: array<f32>;\n\
             fn load(result: u32, term: u32) -> f32 {{\n    return partial[term * {results}u + result];\n}}\n"
        );
        self.reduction(group, &format!("{label} join"), kind, (results, parts), &load, &[partial], true);
    }

    fn dispatch(
        &mut self,
        label: String,
        variants: Vec<Variant>,
        epilogue: Epilogue,
        operands: &[ValueId],
        flops: u64,
    ) {
        let inputs = operands.iter().copied().chain(epilogue.reads).collect();
        self.push(label, variants, inputs, epilogue.results, flops);
    }

    fn push(&mut self, label: String, variants: Vec<Variant>, inputs: Vec<ValueId>, outputs: Vec<ValueId>, flops: u64) {
        let bytes = |id: &ValueId| self.plan.values[*id].shape.bytes();
        let traffic = inputs.iter().chain(&outputs).map(bytes).sum();
        let family = label.split(" + ").next().unwrap_or_default().into();
        let kernel = Kernel { label, family, inputs: inputs.len(), outputs: outputs.len(), variants, flops, traffic };
        self.step(Step::Kernel { kernel: Arc::new(kernel), inputs, outputs });
    }
}

fn op_name(op: &Op) -> String {
    op.label().split(' ').next().unwrap_or_default().into()
}

fn variant(name: &str, source: String, groups: usize, workgroup_size: usize, workgroup_bytes: usize) -> Variant {
    Variant {
        name: name.into(),
        source: source.into(),
        groups: u32::try_from(groups).expect("fewer than 2^32 workgroups"),
        workgroup_size: workgroup_size as u32,
        workgroup_bytes: workgroup_bytes as u32,
        suits: Suits::Any,
    }
}

fn join(constants: &[(&'static str, usize)], files: &[&str], generated: &str) -> String {
    with_libraries(launch::module(&to_u32(constants.to_vec()), files, generated))
}

/// A module with the functions that it calls.
fn with_libraries(mut source: String) -> String {
    for (prefix, library) in [("math_", MATH), ("random_", RANDOM)] {
        if source.contains(prefix) {
            source.push_str(library);
        }
    }
    source
}

fn linked(launch: &Launch, generated: &str) -> Variant {
    Variant {
        name: launch.name.clone(),
        source: with_libraries(launch.module(generated)).into(),
        groups: launch.groups,
        workgroup_size: launch.workgroup_size,
        workgroup_bytes: launch.workgroup_bytes,
        suits: launch.suits,
    }
}

/// The kernel that copies `len` numbers, for places where a copy command cannot be used.
pub(super) fn copy_kernel(len: usize) -> Kernel {
    let (element, at_a_time) = if len.is_multiple_of(4) { ("vec4<f32>", 4) } else { ("f32", 1) };
    let store = format!(
        "@group(0) @binding(0) var<storage, read> in0: array<{element}>;\n\
         @group(0) @binding(1) var<storage, read_write> out0: array<{element}>;\n\
         fn emit(index: u32, value: f32) {{\n    out0[index] = in0[index];\n}}\n"
    );
    let count = len / at_a_time;
    let source = join(&[("LEN", count), ("WORKGROUP", WORKGROUP)], &[ELEMENTWISE, GRID], &store);
    Kernel {
        label: format!("copy [{len}]"),
        family: format!("copy [{len}]"),
        inputs: 1,
        outputs: 1,
        variants: vec![variant("w64", source, count.div_ceil(WORKGROUP), WORKGROUP, 0)],
        flops: 0,
        traffic: 8 * len as u64,
    }
}
