//! Ops that move elements without computing: reshape, permute, broadcast, slice, pad, stack.
//!
//! Concatenation is a sum of pads, squeeze is reshape–permute–reshape. Inside a fused kernel all of these are index
//! arithmetic and move nothing. A stack joins many tensors of one shape, and is copied by the device unless they lie in
//! a row already.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// The same elements in row-major order under another shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// Shape of the result.
    pub shape: Shape,
}

impl Rule for Reshape {
    fn label(&self) -> String {
        "reshape".into()
    }
    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        assert_eq!(inputs[0].len(), self.shape.len(), "reshape: {} does not fit into {}", inputs[0], self.shape);
        self.shape.clone()
    }
    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let shape = g.shape(g.node(node).inputs[0]).clone();
        vec![Some(g.reshape(ct, shape))]
    }
    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        Array::new(shape.clone(), inputs[0].data().to_vec())
    }
}

/// Axes in another order: axis `i` of the result is axis `order[i]` of the operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permute {
    /// For each axis of the result, the operand's axis.
    pub order: Vec<usize>,
}

impl Permute {
    /// The permutation that undoes this one.
    pub fn inverse(&self) -> Vec<usize> {
        let mut inverse = vec![0; self.order.len()];
        for (to, &from) in self.order.iter().enumerate() {
            inverse[from] = to;
        }
        inverse
    }
}

impl Rule for Permute {
    fn label(&self) -> String {
        format!("permute {:?}", self.order)
    }
    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        assert!(
            sorted.iter().copied().eq(0..inputs[0].rank()),
            "permute: {:?} is no order of the axes of {}",
            self.order,
            inputs[0]
        );
        Shape::from(self.order.iter().map(|&axis| inputs[0][axis]).collect::<Vec<_>>())
    }
    fn vjp(&self, g: &mut Graph, _: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        vec![Some(g.permute(ct, &self.inverse()))]
    }
    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let mut from = vec![0; self.order.len()];
        Array::from_fn(shape, |index| {
            for (to, &axis) in self.order.iter().enumerate() {
                from[axis] = index[to];
            }
            inputs[0].at(&from)
        })
    }
}

/// Axes of extent one repeated to the extents of `shape`, which has the operand's rank.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broadcast {
    /// Shape of the result.
    pub shape: Shape,
}

impl Rule for Broadcast {
    fn label(&self) -> String {
        "broadcast".into()
    }
    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let fits = inputs[0].rank() == self.shape.rank()
            && inputs[0].extents().iter().zip(self.shape.extents()).all(|(&from, &to)| from == to || from == 1);
        assert!(fits, "broadcast: {} cannot be repeated to {}", inputs[0], self.shape);
        self.shape.clone()
    }
    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let from = g.shape(g.node(node).inputs[0]).clone();
        let axes: Vec<usize> = (0..from.rank()).filter(|&axis| from[axis] != self.shape[axis]).collect();
        vec![Some(g.sum_keep(ct, &axes))]
    }
    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let extents = inputs[0].shape().extents().to_vec();
        Array::from_fn(shape, |index| {
            let from: Vec<usize> = index.iter().zip(&extents).map(|(&i, &e)| if e == 1 { 0 } else { i }).collect();
            inputs[0].at(&from)
        })
    }
}

/// The box from `start` (inclusive) to `end` (exclusive).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// First index along each axis.
    pub start: Vec<usize>,
    /// One past the last index along each axis.
    pub end: Vec<usize>,
}

impl Rule for Slice {
    fn label(&self) -> String {
        format!("slice {:?}..{:?}", self.start, self.end)
    }
    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let rank = inputs[0].rank();
        let fits = self.start.len() == rank
            && self.end.len() == rank
            && (0..rank).all(|axis| self.start[axis] < self.end[axis] && self.end[axis] <= inputs[0][axis]);
        assert!(fits, "slice: {:?}..{:?} does not lie within {}", self.start, self.end, inputs[0]);
        Shape::from(self.start.iter().zip(&self.end).map(|(&start, &end)| end - start).collect::<Vec<_>>())
    }
    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let from = g.shape(g.node(node).inputs[0]).clone();
        let high: Vec<usize> = (0..from.rank()).map(|axis| from[axis] - self.end[axis]).collect();
        vec![Some(g.pad(ct, &self.start, &high))]
    }
    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        Array::from_fn(shape, |index| {
            let from: Vec<usize> = index.iter().zip(&self.start).map(|(&i, &start)| i + start).collect();
            inputs[0].at(&from)
        })
    }
}

/// Zeros added before (`low`) and after (`high`) along each axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pad {
    /// How many before, for each axis.
    pub low: Vec<usize>,
    /// How many after, for each axis.
    pub high: Vec<usize>,
}

impl Rule for Pad {
    fn label(&self) -> String {
        format!("pad {:?} {:?}", self.low, self.high)
    }
    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let rank = inputs[0].rank();
        assert!(
            self.low.len() == rank && self.high.len() == rank,
            "pad: {:?} and {:?} do not fit {}",
            self.low,
            self.high,
            inputs[0]
        );
        Shape::from((0..rank).map(|axis| self.low[axis] + inputs[0][axis] + self.high[axis]).collect::<Vec<_>>())
    }
    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let from = g.shape(g.node(node).inputs[0]).clone();
        let end: Vec<usize> = (0..from.rank()).map(|axis| self.low[axis] + from[axis]).collect();
        vec![Some(g.slice(ct, &self.low, &end))]
    }
    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let extents = inputs[0].shape().extents().to_vec();
        Array::from_fn(shape, |index| {
            let from: Option<Vec<usize>> = (0..extents.len())
                .map(|axis| index[axis].checked_sub(self.low[axis]).filter(|&i| i < extents[axis]))
                .collect();
            from.map_or(0.0, |from| inputs[0].at(&from))
        })
    }
}

/// `count` tensors of one shape `[n, …]`, one after the other: `[count·n, …]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// How many.
    pub count: usize,
}

impl Rule for Stack {
    fn label(&self) -> String {
        format!("stack {}", self.count)
    }
    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let first = inputs[0];
        assert!(first.rank() > 0, "stack: a number has no axis to stack along; reshape it to [1]");
        for other in inputs {
            assert_eq!(*other, first, "stack: {first} and {other} differ");
        }
        let mut extents = first.extents().to_vec();
        extents[0] *= self.count;
        Shape::from(extents)
    }
    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let rows = g.shape(node)[0] / self.count;
        (0..self.count).map(|i| Some(g.slice_axis(ct, 0, i * rows, (i + 1) * rows))).collect()
    }
    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        Array::new(shape.clone(), inputs.iter().flat_map(|input| input.data().iter().copied()).collect())
    }
}
