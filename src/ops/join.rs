//! Tensors laid one after another in memory.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// Parts begin at multiples of so many elements, 256 bytes, so that each can be bound to a kernel by itself.
pub const ALIGNED: usize = 64;

/// The elements of the operands in order, under one shape. Unlike a concatenation, which is a sum of pads, it has memory
/// of its own, and its parts are computed right where they lie in it: this is how a tensor comes about that is too large
/// for one kernel to bind. All operands but the last have a multiple of [`ALIGNED`] elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Join {
    /// Shape of the result.
    pub shape: Shape,
    /// Number of operands.
    pub parts: usize,
}

impl Rule for Join {
    fn label(&self) -> String {
        format!("join {}", self.parts)
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let total: usize = inputs.iter().map(|part| part.len()).sum();
        assert!(
            !inputs.is_empty() && total == self.shape.len(),
            "join: {inputs:?} have {total} elements, {} has {}",
            self.shape,
            self.shape.len()
        );
        let aligned = inputs[..inputs.len() - 1].iter().all(|part| part.len().is_multiple_of(ALIGNED));
        assert!(aligned, "join: all of {inputs:?} but the last must have a multiple of {ALIGNED} elements");
        self.shape.clone()
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let parts = g.node(node).inputs.clone();
        let flat = g.reshape(ct, [self.shape.len()]);
        let mut at = 0;
        let mut cotangents = Vec::with_capacity(parts.len());
        for part in parts {
            let shape = g.shape(part).clone();
            let of_part = g.slice_axis(flat, 0, at, at + shape.len());
            at += shape.len();
            cotangents.push(Some(g.reshape(of_part, shape)));
        }
        cotangents
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        Array::new(shape.clone(), inputs.iter().flat_map(|part| part.data()).copied().collect())
    }
}
