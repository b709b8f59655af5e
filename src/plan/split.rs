//! Splitting: tensors larger than what a device binds at once are computed in chunks.
//!
//! This is a step from graph to graph, before fusion, and any graph without such tensors is left as it is. A tensor is
//! cut along its *leading axis*, the first one of more than one index, so that every chunk is one range of memory; all
//! tensors with as many indices along it are cut at the same places, which are multiples of 256 bytes. A chunk is a node
//! of its own: [`rules`] pushes the cut through the ops. So a convolution becomes several with fewer images, an
//! elementwise expression several of fewer rows, and each reads no more of anything than a device binds.
//!
//! * Inputs and results of calls have memory already: their chunks are slices of it, which fusion binds as ranges.
//! * What a call or an output wants whole is the [join](crate::ops::join::Join) of its chunks: one buffer that the
//!   kernels of the chunks write their ranges of.
//! * What contracts a large tensor over its leading axis (a weight gradient, a sum over the batch) becomes the sum, or
//!   maximum, of the results of the chunks, added in order. These are the only numbers that differ from those of the
//!   whole, by rounding.
//!
//! Deliberately not done: cutting along two axes. Where a single index along the leading axis is too large, the device is
//! too small for the graph, and the error says so.

mod rules;

use std::collections::HashMap;

use super::{Limits, conv2d};
use crate::graph::{Graph, Node, NodeId};
use crate::ops::Op;
use crate::ops::conv2d::Role;
use crate::ops::join::ALIGNED;
use crate::shape::Shape;

/// The graph with its large tensors in chunks; `None` where it has none. Inputs and outputs stay the same.
///
/// # Errors
/// The first tensor that would have to be cut and cannot be, in words for whoever chose the model.
pub(super) fn split(name: &str, graph: &Graph, limits: &Limits) -> Result<Option<Graph>, String> {
    let splitter = Splitter::new(name, graph, limits.storage_binding_bytes);
    let live = graph.live();
    let concerned = |id: NodeId| splitter.is_large(id) || splitter.reads_large(id);
    if !graph.nodes().any(|(id, _)| live[id.index()] && concerned(id)) {
        return Ok(None);
    }
    splitter.run(&live).map(Some)
}

/// The leading axis of a shape: the first of more than one index.
fn leading(shape: &Shape) -> Option<usize> {
    shape.extents().iter().position(|&extent| extent > 1)
}

/// Number of indices along the leading axis.
fn rows(shape: &Shape) -> usize {
    leading(shape).map_or(1, |axis| shape[axis])
}

/// The shape with another number of rows.
fn with_rows(shape: &Shape, count: usize) -> Shape {
    let mut extents = shape.extents().to_vec();
    if let Some(axis) = leading(shape) {
        extents[axis] = count;
    }
    Shape::from(extents)
}

/// How tensors with some number of rows are cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Bytes of the largest row.
    row_bytes: u64,
    /// Chunks have a multiple of so many rows, that they begin where a range may.
    multiple: usize,
    /// One of the nodes with the largest row.
    widest: NodeId,
}

struct Splitter<'a> {
    name: &'a str,
    from: &'a Graph,
    to: Graph,
    /// Most bytes of a binding.
    limit: u64,
    /// By the number of rows.
    cuts: HashMap<usize, Cut>,
    /// Nodes of the new graph with the whole value.
    whole: HashMap<NodeId, NodeId>,
    /// Nodes of the new graph with the rows from the first number to the second.
    chunks: HashMap<(NodeId, usize, usize), NodeId>,
}

impl<'a> Splitter<'a> {
    fn new(name: &'a str, from: &'a Graph, limit: u64) -> Self {
        Self {
            name,
            from,
            to: Graph::new(),
            limit,
            cuts: HashMap::new(),
            whole: HashMap::new(),
            chunks: HashMap::new(),
        }
    }

    /// Whether the value cannot be bound whole.
    fn is_large(&self, id: NodeId) -> bool {
        self.from.shape(id).bytes() > self.limit
    }

    /// Whether the op reads something that cannot be bound whole, or would by the way it is computed.
    fn reads_large(&self, id: NodeId) -> bool {
        let node = self.from.node(id);
        match &node.op {
            Op::Call(_) | Op::Iterate(_) | Op::Get(_) => false,
            Op::Conv2d(op) if op.role == Role::WeightGrad && self.has_large_partials(&op.geometry) => true,
            _ => node.inputs.iter().any(|&input| self.is_large(input)),
        }
    }

    /// Whether the partial sums of this weight gradient together are too large.
    fn has_large_partials(&self, geometry: &crate::ops::conv2d::Geometry) -> bool {
        geometry.weight_shape().bytes() * conv2d::weight_grad_splits(geometry) as u64 > self.limit
    }

    /// Whether the value has memory without a kernel that binds it.
    fn is_source(&self, id: NodeId) -> bool {
        matches!(self.from.node(id).op, Op::Input(_) | Op::Get(_) | Op::Stack(_))
    }

    fn run(mut self, live: &[bool]) -> Result<Graph, String> {
        for (id, _) in self.from.nodes().filter(|(id, _)| live[id.index()]) {
            if self.is_large(id) || self.reads_large(id) {
                self.note(id);
            }
        }
        for (name, id) in self.from.inputs() {
            let input = self.to.input(name.clone(), self.from.shape(*id).clone());
            self.whole.insert(*id, input);
        }
        for (id, node) in self.from.nodes().filter(|(id, _)| live[id.index()]) {
            self.to.enter(self.from.scope_of(id));
            if self.is_large(id) && !self.is_source(id) {
                // In order, so that what is derived later finds them and recursion stays shallow.
                if matches!(node.op, Op::Conv2d(_) | Op::MatMul(_) | Op::Reduce(_) | Op::Join(_)) {
                    for (start, end) in self.cut(id)? {
                        self.rows(id, start, end)?;
                    }
                }
            } else if self.reads_large(id) {
                let made = self.assembled(id)?;
                self.whole.insert(id, made);
            } else if !self.whole.contains_key(&id) {
                let inputs =
                    node.inputs.iter().map(|&input| self.whole(input)).collect::<Result<Vec<NodeId>, String>>()?;
                let copy = self.to.push(Node { op: node.op.clone(), inputs, shape: node.shape.clone() });
                self.whole.insert(id, copy);
            }
        }
        for (name, id) in self.from.outputs() {
            let made = self.whole(*id)?;
            self.to.output(name.clone(), made);
        }
        Ok(self.to)
    }

    /// Takes a node into account where chunks are measured.
    fn note(&mut self, id: NodeId) {
        let shape = self.from.shape(id);
        let count = rows(shape);
        let row = shape.len() / count;
        let multiple = if self.is_large(id) { ALIGNED / gcd(ALIGNED, row) } else { 1 };
        let row_bytes = 4 * row as u64;
        let cut = self.cuts.entry(count).or_insert(Cut { row_bytes, multiple, widest: id });
        cut.multiple = cut.multiple.max(multiple);
        if row_bytes > cut.row_bytes {
            (cut.row_bytes, cut.widest) = (row_bytes, id);
        }
    }

    /// The rows of each chunk of a node.
    fn cut(&self, id: NodeId) -> Result<Vec<(usize, usize)>, String> {
        let count = rows(self.from.shape(id));
        let Some(cut) = self.cuts.get(&count) else { return Ok(vec![(0, count)]) };
        let most = usize::try_from(self.limit / cut.row_bytes).unwrap_or(usize::MAX);
        if most >= count {
            return Ok(vec![(0, count)]);
        }
        let most = most / cut.multiple * cut.multiple;
        if most == 0 {
            let reason = format!(
                "one index along its first axis takes {} bytes, and it can be cut after a multiple of {}",
                cut.row_bytes, cut.multiple
            );
            return Err(self.cannot(cut.widest, &reason));
        }
        // Chunks as equal as can be: equal ones share their kernels.
        let even = count.div_ceil(count.div_ceil(most)).next_multiple_of(cut.multiple).min(most);
        Ok((0..count).step_by(even).map(|start| (start, (start + even).min(count))).collect())
    }

    /// The error for a node that would have to be computed in chunks.
    fn cannot(&self, id: NodeId, reason: &str) -> String {
        let shape = self.from.shape(id);
        let (label, bytes) = (self.from.node(id).op.label(), shape.bytes());
        format!(
            "{}: a tensor of shape {shape} ({label}) takes {bytes} bytes and what it is computed from may be larger; the \
             device binds {} at once, and this cannot be computed in chunks: {reason}; choose a smaller batch, smaller \
             images or fewer channels",
            self.name, self.limit
        )
    }

    /// The whole value: in one buffer, if it is large.
    fn whole(&mut self, id: NodeId) -> Result<NodeId, String> {
        if let Some(&known) = self.whole.get(&id) {
            return Ok(known);
        }
        let shape = self.from.shape(id).clone();
        let made = if matches!(self.from.node(id).op, Op::Reshape(_)) {
            let source = self.whole(self.from.node(id).inputs[0])?;
            self.to.reshape(source, shape)
        } else {
            let parts = self.cut(id)?.into_iter().map(|(start, end)| self.rows(id, start, end));
            let parts = parts.collect::<Result<Vec<NodeId>, String>>()?;
            self.to.join(&parts, shape)
        };
        self.whole.insert(id, made);
        Ok(made)
    }

    /// The whole value of a node that is not large itself but computed from what is.
    fn assembled(&mut self, id: NodeId) -> Result<NodeId, String> {
        let shape = self.from.shape(id).clone();
        if !self.follows_rows(id) {
            return self.computed(id, 0, rows(&shape));
        }
        let ranges = self.cut(id)?;
        let parts = ranges.iter().map(|&(start, end)| self.computed(id, start, end));
        let parts = parts.collect::<Result<Vec<NodeId>, String>>()?;
        if parts.len() == 1 {
            return Ok(parts[0]);
        }
        let aligned = parts[..parts.len() - 1].iter().all(|&part| self.to.shape(part).len().is_multiple_of(ALIGNED));
        Ok(match leading(&shape) {
            Some(axis) if !aligned => self.to.concat(&parts, axis),
            _ => self.to.join(&parts, shape),
        })
    }

    /// The rows from `start` to `end` (exclusive) of a node.
    fn rows(&mut self, id: NodeId, start: usize, end: usize) -> Result<NodeId, String> {
        if let Some(&known) = self.chunks.get(&(id, start, end)) {
            return Ok(known);
        }
        let shape = self.from.shape(id);
        let axis = leading(shape).unwrap_or_default();
        if !self.is_large(id) {
            let whole = self.whole(id)?;
            let made = if end - start == rows(shape) { whole } else { self.to.slice_axis(whole, axis, start, end) };
            self.chunks.insert((id, start, end), made);
            return Ok(made);
        }
        if self.from.node(id).op.is_elementwise() {
            return self.computed(id, start, end);
        }
        let ranges = self.cut(id)?;
        if ranges.contains(&(start, end)) {
            if !self.is_source(id) {
                return self.computed(id, start, end);
            }
            let whole = self.whole(id)?;
            let made = self.to.slice_axis(whole, axis, start, end);
            self.chunks.insert((id, start, end), made);
            return Ok(made);
        }
        // Not where it is cut: put together from the chunks it lies in.
        let mut parts = Vec::new();
        for (first, last) in ranges.into_iter().filter(|&(first, last)| first < end && start < last) {
            let chunk = self.rows(id, first, last)?;
            parts.push(self.to.slice_axis(chunk, axis, start.max(first) - first, end.min(last) - first));
        }
        let made = self.to.concat(&parts, axis);
        self.chunks.insert((id, start, end), made);
        Ok(made)
    }

    /// As [`rows`](Self::rows), by the op's rule.
    fn computed(&mut self, id: NodeId, start: usize, end: usize) -> Result<NodeId, String> {
        if let Some(&known) = self.chunks.get(&(id, start, end)) {
            return Ok(known);
        }
        let outer = self.to.enter(self.from.scope_of(id));
        let made = self.rule(id, start, end)?;
        self.to.enter(outer);
        debug_assert_eq!(*self.to.shape(made), with_rows(self.from.shape(id), end - start), "rows of %{}", id.index());
        self.chunks.insert((id, start, end), made);
        Ok(made)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
