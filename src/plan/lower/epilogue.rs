//! The generated end of a kernel, which computes what was fused to it and stores what others need.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::{Lowering, op_name};
use crate::graph::NodeId;
use crate::ops::Op;
use crate::plan::ValueId;
use crate::plan::codegen::{Index, Writer};
use crate::plan::fuse::Group;

/// The generated end of a kernel.
pub(super) struct Epilogue {
    /// WGSL: declarations and `emit` of one element.
    by_one: String,
    /// The same for four neighbours, where that is possible and of use.
    pub(super) by_four: Option<String>,
    /// What it reads beside the kernel's own operands.
    pub(super) reads: Vec<ValueId>,
    pub(super) results: Vec<ValueId>,
    /// Short name of what it computes.
    pub(super) ops: String,
    /// Number of ops fused.
    pub(super) fused: usize,
}

impl Epilogue {
    /// WGSL: declarations and `emit` of so many neighbours.
    #[track_caller]
    pub(super) fn text(&self, at_a_time: usize) -> &str {
        match at_a_time {
            1 => &self.by_one,
            FOUR => self.by_four.as_deref().expect("a kernel that hands over fours has a multiple of four results"),
            other => unreachable!("no kernel hands over {other} results at once"),
        }
    }

    pub(super) fn suffix(&self) -> String {
        if self.fused == 0 { String::new() } else { format!(" + {}", self.ops) }
    }
}

/// Elements that are loaded and stored at once where they can be.
pub(super) const FOUR: usize = 4;

/// What a kernel's end reads and stores, in the order of its bindings.
struct Sides {
    reads: Vec<NodeId>,
    stored: Vec<NodeId>,
    /// Bindings before the first of these.
    first: usize,
}

impl Sides {
    fn read(&self, number: usize) -> String {
        format!("in{}", self.first + number)
    }

    /// For each read node the name of its binding.
    fn bindings(&self) -> HashMap<NodeId, String> {
        self.reads.iter().enumerate().map(|(number, &read)| (read, self.read(number))).collect()
    }

    /// The declarations of the bindings; `whole` are read, and everything is stored, by `width`.
    fn declarations(&self, whole: &[bool], width: &str) -> String {
        let mut text = String::new();
        let mut declare = |access: &str, name: &str, number: usize, of: &str| {
            writeln!(text, "@group(0) @binding({number}) var<storage, {access}> {name}: array<{of}>;")
                .expect("writing to a string");
        };
        for (number, &whole) in whole.iter().enumerate() {
            let of = if whole { width } else { "f32" };
            declare("read", &self.read(number), self.first + number, of);
        }
        for number in 0..self.stored.len() {
            declare("read_write", &format!("out{number}"), self.first + self.reads.len() + number, width);
        }
        text
    }
}

impl Lowering<'_> {
    /// The end of a kernel with these `operands`: reads what the group reads beside them, computes its roots from
    /// `value` (the anchor's), stores what is needed outside.
    pub(super) fn epilogue(&mut self, group: &Group, operands: &[ValueId], anchor: Option<NodeId>) -> Epilogue {
        let sides = self.sides(group, operands.len(), anchor);
        let (by_one, whole) = self.by_one(group, &sides, anchor);
        Epilogue {
            by_one,
            by_four: self.by_four(group, &sides, anchor, &whole),
            reads: sides.reads.iter().map(|&read| self.memory_of(read)).collect(),
            results: sides.stored.iter().map(|&id| self.computed(id)).collect(),
            ops: self.names_of(&group.roots),
            fused: group.roots.len(),
        }
    }

    /// WGSL of `emit` for one element, and for each read whether it is read at that element only.
    fn by_one(&self, group: &Group, sides: &Sides, anchor: Option<NodeId>) -> (String, Vec<bool>) {
        let (bindings, here) = (sides.bindings(), Index::flat("index"));
        let mut writer = Writer::new(self.graph, &bindings);
        if let Some(anchor) = anchor {
            writer.define(anchor, &here, "value");
        }
        for &id in anchor.iter().chain(&group.roots) {
            let value = writer.value(id, &here);
            if let Some(number) = sides.stored.iter().position(|&stored| stored == id) {
                writeln!(writer.body, "    out{number}[index] = {value};").expect("writing to a string");
            }
        }
        let whole: Vec<bool> = sides.reads.iter().map(|&read| writer.reads_only(read, &here)).collect();
        let declarations = sides.declarations(&whole, "f32");
        (format!("{declarations}fn emit(index: u32, value: f32) {{\n{}}}\n", writer.body), whole)
    }

    /// WGSL of `emit` for the four elements from `4 four` on, where their number is a multiple of four. What is read at
    /// those places only (`whole`) is loaded at once, and what is the same for all four is computed once. None where there is
    /// neither an anchor nor anything to load at once.
    fn by_four(&self, group: &Group, sides: &Sides, anchor: Option<NodeId>, whole: &[bool]) -> Option<String> {
        if !group.len.is_multiple_of(FOUR) || (anchor.is_none() && !whole.contains(&true) && !whole.is_empty()) {
            return None;
        }
        let (bindings, here) = (sides.bindings(), Index::flat("index"));
        let mut writer = Writer::by_four(self.graph, &bindings);
        // Pairs of a vector and the name that one of its numbers has.
        let mut vectors = Vec::new();
        if let Some(anchor) = anchor {
            writer.define_varying(anchor, &here, "own");
            vectors.push(("value".to_string(), "own".to_string()));
        }
        for number in (0..whole.len()).filter(|&number| whole[number]) {
            let pair = (format!("four{number}"), format!("e{number}"));
            writer.define_varying(sides.reads[number], &here, &pair.1);
            vectors.push(pair);
        }
        let mut stores = String::new();
        for &id in anchor.iter().chain(&group.roots) {
            let value = writer.value(id, &here);
            if let Some(number) = sides.stored.iter().position(|&stored| stored == id) {
                writeln!(stores, "    result{number}.LANE = {value};").expect("writing to a string");
            }
        }
        let mut text = sides.declarations(whole, "vec4<f32>");
        let mut line = |line: String| writeln!(text, "{line}").expect("writing to a string");
        let value = if anchor.is_some() { "vec4<f32>" } else { "f32" };
        line(format!("fn emit(four: u32, value: {value}) {{\n    let index = four * {FOUR}u;"));
        for number in (0..whole.len()).filter(|&number| whole[number]) {
            line(format!("    let four{number} = {}[four];", sides.read(number)));
        }
        (0..sides.stored.len()).for_each(|number| line(format!("    var result{number}: vec4<f32>;")));
        line(writer.shared);
        for (offset, lane) in ["x", "y", "z", "w"].into_iter().enumerate() {
            line(format!("    {{\n    let index = index + {offset}u;"));
            vectors.iter().for_each(|(vector, name)| line(format!("    let {name} = {vector}.{lane};")));
            line(format!("{}{}    }}", writer.body, stores.replace("LANE", lane)));
        }
        (0..sides.stored.len()).for_each(|number| line(format!("    out{number}[four] = result{number};")));
        line("}".into());
        Some(text)
    }

    fn sides(&self, group: &Group, first: usize, anchor: Option<NodeId>) -> Sides {
        let inputs = group.roots.iter().flat_map(|&root| &self.graph.node(root).inputs);
        let mut reads: Vec<NodeId> = inputs.flat_map(|&input| self.reads_of(input)).collect();
        reads.sort_unstable();
        reads.dedup();
        reads.retain(|read| Some(*read) != anchor && !group.roots.contains(read));
        let mut stored: Vec<NodeId> = anchor.into_iter().chain(group.roots.iter().copied()).collect();
        stored.retain(|id| self.needed[id.index()]);
        Sides { reads, stored, first }
    }

    /// The stored nodes that the expression of `node` reads.
    pub(super) fn reads_of(&self, node: NodeId) -> Vec<NodeId> {
        let mut reads = Vec::new();
        let mut stack = vec![node];
        let mut seen = HashSet::new();
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.fusion.materialised[id.index()] {
                reads.push(id);
            } else {
                stack.extend(&self.graph.node(id).inputs);
            }
        }
        reads.sort_unstable();
        reads
    }

    /// A short name for an elementwise kernel: its last op and how many ops it fuses.
    fn names_of(&self, roots: &[NodeId]) -> String {
        let Some(&last) = roots.last() else { return String::new() };
        let mut count = 0;
        let mut seen = HashSet::new();
        let mut stack = roots.to_vec();
        while let Some(id) = stack.pop() {
            let inside = roots.contains(&id) || !self.fusion.materialised[id.index()];
            if inside && seen.insert(id) {
                count += usize::from(!matches!(self.graph.node(id).op, Op::Constant(_)));
                stack.extend(&self.graph.node(id).inputs);
            }
        }
        let name = op_name(&self.graph.node(last).op);
        if count > 1 { format!("{name}+{}", count - 1) } else { name }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::plan::program::Variant;
    use crate::plan::{self, Limits};

    /// The kernel that adds to images of this shape a number for each channel.
    fn biased(shape: [usize; 4]) -> Variant {
        let mut graph = Graph::new();
        let (x, bias) = (graph.input("x", shape), graph.input("bias", [shape[1]]));
        let shift = graph.per_channel(bias);
        let y = graph.add(x, shift);
        graph.output("y", y);
        let program = plan::compile("biased", &graph, &Limits::default()).unwrap();
        program.kernels[0].variants[0].clone()
    }

    #[test]
    fn four_neighbours_are_loaded_at_once_and_share_what_is_the_same() {
        let kernel = biased([2, 3, 4, 2]);
        assert_eq!(kernel.name, "w64x4");
        assert!(kernel.source.contains("in0: array<vec4<f32>>"), "{}", kernel.source);
        assert_eq!(kernel.source.matches("in1[").count(), 1, "{}", kernel.source);
        // Planes of six: neighbours may be of two channels.
        let kernel = biased([2, 3, 3, 2]);
        assert_eq!((&*kernel.name, kernel.source.matches("in1[").count()), ("w64x4", 4), "{}", kernel.source);
        assert_eq!(biased([1, 3, 3, 3]).name, "w64", "27 elements are no multiple of four");
    }
}
