//! Fusion: which values are stored, and which are computed inside which kernel.
//!
//! Convolutions, matrix products, reductions, stacks, calls and iterations are *anchors*: each starts a group of its own.
//! Everything elementwise between them is computed where it is used, with two exceptions, the *roots*: operands that
//! must lie in memory (of a convolution, a call, …) and graph outputs, and values that several kernels use and that are
//! dear to compute again. A root joins the group that produces the last of its operands, if it reads that group's values
//! at its own position: that is how bias, activation and residual sum end up in a convolution's epilogue. Otherwise it
//! starts an elementwise group.
//!
//! Parts of a join are computed where they lie in its memory; the join itself then runs nothing.
//!
//! Deliberately not done: fusing elementwise work into the *operands* of convolutions and matrix products (they read
//! each element many times), and merging independent groups of equal shape.

use std::collections::HashMap;

use super::Limits;
use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::sorted::{Map, Set};

/// Recomputing an expression in a second kernel is preferred to storing it up to this cost (one for cheap ops).
const RECOMPUTE_COST: u32 = 12;

/// A kernel to be: an anchor with what is fused behind it, or elementwise roots alone.
#[derive(Debug)]
pub(super) struct Group {
    /// The op the kernel is built around.
    pub anchor: Option<NodeId>,
    /// Roots computed in it, in order.
    pub roots: Vec<NodeId>,
    /// Number of elements its results have.
    pub len: usize,
    /// Values the anchor reads.
    pub operands: Set<NodeId>,
    /// How many buffers it binds for them: an operand may be read through several views.
    bindings: usize,
    /// Values of other groups that the roots read. One that is an operand as well is bound twice.
    pub extra: Set<NodeId>,
}

impl Group {
    /// All values of other groups that the group reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = NodeId> {
        self.operands.union(&self.extra).into_iter()
    }
}

/// The result of fusion.
pub(super) struct Fusion {
    /// Groups in the order they run.
    pub groups: Vec<Group>,
    /// For each node whether its value exists outside of expressions.
    pub materialised: Vec<bool>,
    /// The nodes that are computed into the memory of a join, with the join and the place in it in bytes.
    pub parts: HashMap<NodeId, (NodeId, u64)>,
}

/// Whether the op runs as a kernel (or call) of its own.
pub(super) fn is_anchor(op: &Op) -> bool {
    matches!(
        op,
        Op::Reduce(_) | Op::MatMul(_) | Op::Conv2d(_) | Op::Stack(_) | Op::Call(_) | Op::Iterate(_) | Op::Join(_)
    )
}

/// Whether operands of the op must lie in memory as they are.
fn wants_memory(op: &Op) -> bool {
    matches!(op, Op::MatMul(_) | Op::Conv2d(_) | Op::Stack(_) | Op::Call(_) | Op::Iterate(_) | Op::Join(_))
}

/// If `id` is a view of another node's memory, that node and the offset in bytes.
pub(super) fn alias(graph: &Graph, id: NodeId) -> Option<(NodeId, u64)> {
    let node = graph.node(id);
    match &node.op {
        Op::Reshape(_) => Some((node.inputs[0], 0)),
        Op::Slice(slice) => {
            let shape = graph.shape(node.inputs[0]);
            let cut = (0..shape.rank()).find(|&axis| slice.end[axis] - slice.start[axis] != shape[axis]);
            let axis = cut?;
            let outer: usize = shape.extents()[..axis].iter().product();
            let rest_whole = (axis + 1..shape.rank()).all(|a| slice.start[a] == 0 && slice.end[a] == shape[a]);
            let offset = 4 * (slice.start[axis] * shape.strides()[axis]) as u64;
            let source = stored_base(graph, node.inputs[0]);
            (outer == 1 && rest_whole && offset.is_multiple_of(256) && source).then_some((node.inputs[0], offset))
        }
        _ => None,
    }
}

/// Whether the memory behind `id` exists in any case, so that a view of it costs nothing.
fn stored_base(graph: &Graph, id: NodeId) -> bool {
    match &graph.node(id).op {
        Op::Input(_) | Op::Get(_) | Op::Conv2d(_) | Op::MatMul(_) | Op::Reduce(_) | Op::Stack(_) | Op::Join(_) => true,
        Op::Reshape(_) => stored_base(graph, graph.node(id).inputs[0]),
        Op::Slice(_) => alias(graph, id).is_some_and(|(base, _)| stored_base(graph, base)),
        _ => false,
    }
}

/// The node whose memory `id` is a view of.
fn base(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Some((source, _)) = alias(graph, id) {
        id = source;
    }
    id
}

pub(super) fn fuse(graph: &Graph, limits: &Limits) -> Fusion {
    let live = graph.live();
    let mut materialised = required(graph, &live);
    let ranges = ranges(graph, &live, limits);
    for range in &ranges {
        materialised[range.index()] = true;
    }
    share(graph, &live, &mut materialised);
    let leaves = bound_leaves(graph, &live, &mut materialised, limits.storage_buffers - 2);
    let parts = parts(graph, &live);
    group(graph, &live, Fusion { groups: Vec::new(), materialised, parts }, &leaves, &ranges, limits)
}

/// The views of tensors that are too large to be bound: an expression that reads one binds the view.
fn ranges(graph: &Graph, live: &[bool], limits: &Limits) -> Set<NodeId> {
    let is_range = |id: NodeId| {
        matches!(graph.node(id).op, Op::Slice(_))
            && alias(graph, id).is_some()
            && graph.shape(base(graph, id)).bytes() > limits.storage_binding_bytes
    };
    graph.nodes().map(|(id, _)| id).filter(|&id| live[id.index()] && is_range(id)).collect()
}

/// What is computed right where it lies in a join. A kernel must not read one part of a buffer and write another, so a
/// part that another part depends on has memory of its own and is copied.
fn parts(graph: &Graph, live: &[bool]) -> HashMap<NodeId, (NodeId, u64)> {
    let mut parts = HashMap::new();
    for (join, node) in graph.nodes().filter(|(id, node)| live[id.index()] && matches!(node.op, Op::Join(_))) {
        let sources: Vec<NodeId> = node.inputs.iter().map(|&part| reshaped(graph, part)).collect();
        let mut above = vec![false; join.index()];
        let mut stack: Vec<NodeId> = sources.iter().flat_map(|source| &graph.node(*source).inputs).copied().collect();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut above[id.index()], true) {
                stack.extend(&graph.node(id).inputs);
            }
        }
        let mut offset = 0;
        for &source in &sources {
            let computed = match &graph.node(source).op {
                Op::Conv2d(_) | Op::MatMul(_) | Op::Reduce(_) => true,
                op => op.is_elementwise() && alias(graph, source).is_none(),
            };
            let once = sources.iter().filter(|&&other| other == source).count() == 1;
            if computed && once && !above[source.index()] {
                parts.entry(source).or_insert((join, offset));
            }
            offset += graph.shape(source).bytes();
        }
    }
    parts
}

/// The node of which `id` is a mere reshape.
fn reshaped(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Op::Reshape(_) = graph.node(id).op {
        id = graph.node(id).inputs[0];
    }
    id
}

/// Nodes whose value must be in memory whatever fusion decides.
fn required(graph: &Graph, live: &[bool]) -> Vec<bool> {
    let mut required = vec![false; graph.len()];
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        if is_anchor(&node.op) || matches!(node.op, Op::Input(_) | Op::Get(_)) {
            required[id.index()] = true;
        }
        if wants_memory(&node.op) {
            for &input in &node.inputs {
                required[base(graph, input).index()] = true;
            }
        }
        if let Op::Random(_) = node.op {
            required[base(graph, node.inputs[0]).index()] = true;
        }
    }
    for &(_, id) in graph.outputs() {
        required[base(graph, id).index()] = true;
    }
    required
}

/// Marks elementwise values that several kernels use and that are dear to recompute.
fn share(graph: &Graph, live: &[bool], materialised: &mut [bool]) {
    let mut cost = vec![0u32; graph.len()];
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        if materialised[id.index()] {
            continue;
        }
        let own = match &node.op {
            Op::Unary(op) if op.is_costly() => 6,
            Op::Random(_) => 60,
            Op::Unary(_) | Op::Binary(_) | Op::Select(_) => 1,
            Op::Pad(_) => 2,
            _ => 0,
        };
        // A leaf costs a load, which is about as dear as two operations.
        let of_inputs =
            node.inputs.iter().map(|input| if materialised[input.index()] { 2 } else { cost[input.index()] });
        cost[id.index()] = of_inputs.fold(own, u32::saturating_add);
    }
    // Consumers: the roots and reductions into which an expression is inlined.
    let mut consumers: Vec<Set<NodeId>> = vec![Set::default(); graph.len()];
    for index in (0..graph.len()).rev() {
        let id = NodeId(index as u32);
        if !live[index] {
            continue;
        }
        let node = graph.node(id);
        let computes = !node.op.is_arrangement() && !matches!(node.op, Op::Constant(_) | Op::Iota(_));
        if !materialised[index] && computes && consumers[index].len() > 1 {
            let extra = cost[index].saturating_mul(consumers[index].len() as u32 - 1);
            materialised[index] = extra > RECOMPUTE_COST;
        }
        let seen_by = if materialised[index] { Set::from_iter([id]) } else { std::mem::take(&mut consumers[index]) };
        for input in &node.inputs {
            consumers[input.index()].extend(seen_by.iter().copied());
        }
    }
}

/// The materialised nodes each expression reads; expressions that read more than `most` are cut by storing a part.
fn bound_leaves(graph: &Graph, live: &[bool], materialised: &mut [bool], most: usize) -> Vec<Set<NodeId>> {
    let mut leaves: Vec<Set<NodeId>> = vec![Set::default(); graph.len()];
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        if !node.op.is_elementwise() && !matches!(node.op, Op::Reduce(_)) {
            continue;
        }
        loop {
            let reads = |input: &NodeId| {
                if materialised[input.index()] { Set::from_iter([*input]) } else { leaves[input.index()].clone() }
            };
            let union: Set<NodeId> = node.inputs.iter().flat_map(reads).collect();
            if union.len() <= most {
                leaves[id.index()] = union;
                break;
            }
            let widest = node.inputs.iter().filter(|input| !materialised[input.index()]);
            let widest = widest.max_by_key(|input| leaves[input.index()].len());
            let widest = *widest.expect("an op has fewer operands than a kernel has bindings");
            materialised[widest.index()] = true;
        }
    }
    leaves
}

fn group(
    graph: &Graph,
    live: &[bool],
    mut fusion: Fusion,
    leaves: &[Set<NodeId>],
    ranges: &Set<NodeId>,
    limits: &Limits,
) -> Fusion {
    let Fusion { groups, materialised, parts } = &mut fusion;
    let mut group_of: Vec<Option<usize>> = vec![None; graph.len()];
    // The join whose memory a value lies in.
    let within = |id: &NodeId| parts.get(id).map(|&(join, _)| join);
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()] && materialised[id.index()]) {
        if matches!(node.op, Op::Input(_)) {
            continue;
        }
        if matches!(node.op, Op::Get(_)) {
            group_of[id.index()] = group_of[node.inputs[0].index()];
            continue;
        }
        if ranges.contains(&id) {
            group_of[id.index()] = group_of[base(graph, id).index()];
            continue;
        }
        let reads: Set<NodeId> = if matches!(node.op, Op::Reduce(_)) || node.op.is_elementwise() {
            leaves[id.index()].clone()
        } else {
            node.inputs.iter().map(|&input| base(graph, input)).collect()
        };
        if is_anchor(&node.op) {
            group_of[id.index()] = Some(groups.len());
            groups.push(Group {
                anchor: Some(id),
                roots: Vec::new(),
                len: node.shape.len(),
                bindings: if matches!(node.op, Op::Reduce(_)) { reads.len() } else { node.inputs.len() },
                operands: reads,
                extra: Set::default(),
            });
            continue;
        }
        let last = reads.iter().filter_map(|leaf| group_of[leaf.index()]).max();
        let host = last.filter(|&last| {
            let host = &groups[last];
            let is_kernel = |op: &Op| !matches!(op, Op::Call(_) | Op::Iterate(_) | Op::Stack(_) | Op::Join(_));
            let outside = reads.iter().filter(|leaf| group_of[leaf.index()] != Some(last));
            let extra: Set<NodeId> = host.extra.iter().chain(outside).copied().collect();
            let bindings = host.bindings + extra.len();
            let results = usize::from(host.anchor.is_some()) + host.roots.len() + 1;
            let written: Set<NodeId> = host.anchor.iter().chain(&host.roots).chain([&id]).filter_map(within).collect();
            let apart = !host.operands.union(&extra).iter().filter_map(within).any(|join| written.contains(&join));
            host.anchor.is_none_or(|anchor| is_kernel(&graph.node(anchor).op))
                && apart
                && host.len == node.shape.len()
                && bindings + results <= limits.storage_buffers
                && reads_in_place(graph, id, materialised, |leaf| group_of[leaf.index()] == Some(last))
        });
        let host = host.unwrap_or_else(|| {
            groups.push(Group {
                anchor: None,
                roots: Vec::new(),
                len: node.shape.len(),
                operands: Set::default(),
                bindings: 0,
                extra: Set::default(),
            });
            groups.len() - 1
        });
        group_of[id.index()] = Some(host);
        groups[host].roots.push(id);
        let outside = reads.into_iter().filter(|leaf| group_of[leaf.index()] != Some(host));
        groups[host].extra.extend(outside);
    }
    fusion
}

/// Whether the expression of `root` reads the leaves that `concerns` only at its own flat position.
fn reads_in_place(graph: &Graph, root: NodeId, materialised: &[bool], concerns: impl Fn(NodeId) -> bool) -> bool {
    // For every node of the expression: whether it is reached by a path that rearranges.
    let mut reached: Map<NodeId, bool> = Map::default();
    reached.insert(root, false);
    while let Some((id, moved)) = reached.pop_last() {
        if id != root && materialised[id.index()] {
            if moved && concerns(id) {
                return false;
            }
            continue;
        }
        let node = graph.node(id);
        let moves = moved || (node.op.is_arrangement() && !matches!(node.op, Op::Reshape(_)));
        let moves = moves || matches!(node.op, Op::Random(_));
        for &input in &node.inputs {
            let entry = reached.or_insert(input, moves);
            *entry |= moves;
        }
    }
    true
}
