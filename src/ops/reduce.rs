//! Sums and maxima over axes.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
}

/// Combines all elements along `axes`; those axes keep extent one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// Sum or maximum.
    pub kind: Kind,
    /// The axes, ascending.
    pub axes: Vec<usize>,
}

impl Rule for Reduce {
    fn label(&self) -> String {
        format!("{} {:?}", if self.kind == Kind::Sum { "sum" } else { "max" }, self.axes)
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let ascending = self.axes.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = ascending && self.axes.iter().all(|&axis| axis < inputs[0].rank());
        assert!(fits, "reduce: {:?} are no axes of {}", self.axes, inputs[0]);
        let mut extents = inputs[0].extents().to_vec();
        for &axis in &self.axes {
            extents[axis] = 1;
        }
        Shape::from(extents)
    }

    /// The cotangent of a maximum is shared equally by the elements that reach it.
    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let x = g.node(node).inputs[0];
        let shape = g.shape(x).clone();
        let spread = g.broadcast(ct, shape.clone());
        if self.kind == Kind::Sum {
            return vec![Some(spread)];
        }
        let largest = g.broadcast(node, shape);
        let mask = g.equal(x, largest);
        let count = g.sum_keep(mask, &self.axes);
        let count = g.broadcast_like(count, x);
        let share = g.div(mask, count);
        vec![Some(g.mul(spread, share))]
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let start = if self.kind == Kind::Sum { 0.0 } else { f64::NEG_INFINITY };
        let mut result = Array::full(shape, start);
        let strides = shape.strides();
        inputs[0].for_each(|index, value| {
            let at: usize =
                (0..index.len()).filter(|axis| !self.axes.contains(axis)).map(|axis| index[axis] * strides[axis]).sum();
            let cell = &mut result.data_mut()[at];
            *cell = if self.kind == Kind::Sum { *cell + value } else { cell.max(value) };
        });
        result
    }
}
