//! Nodes without operands: inputs, constants, indices.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// A real number as an attribute: compared and hashed by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Real(u64);

impl Real {
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Real {
    fn from(value: f64) -> Self {
        // One zero, so that x + 0 and x + -0 are the same node.
        Self(if value == 0.0 { 0.0f64.to_bits() } else { value.to_bits() })
    }
}

/// The rule of inputs: they have no operands, and their values come from outside.
pub(super) struct InputRule;

impl Rule for InputRule {
    fn label(&self) -> String {
        "input".into()
    }
    fn infer(&self, _: &[&Shape]) -> Shape {
        unreachable!("inputs are made by Graph::input, which knows their shape")
    }
    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId) -> Vec<Option<NodeId>> {
        Vec::new()
    }
    fn eval(&self, _: &[&Array], _: &Shape) -> Array {
        unreachable!("the interpreter fills inputs in before it evaluates")
    }
}

/// A tensor filled with one number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Constant {
    /// The number.
    pub value: Real,
    /// Shape of the result.
    pub shape: Shape,
}

impl Rule for Constant {
    fn label(&self) -> String {
        format!("constant {}", self.value.get())
    }
    fn infer(&self, _: &[&Shape]) -> Shape {
        self.shape.clone()
    }
    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId) -> Vec<Option<NodeId>> {
        Vec::new()
    }
    fn eval(&self, _: &[&Array], shape: &Shape) -> Array {
        Array::full(shape, self.value.get())
    }
}

/// Each element's index along `axis`, as a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Iota {
    /// Shape of the result.
    pub shape: Shape,
    /// The axis whose index is given.
    pub axis: usize,
}

impl Rule for Iota {
    fn label(&self) -> String {
        format!("iota axis {}", self.axis)
    }
    #[track_caller]
    fn infer(&self, _: &[&Shape]) -> Shape {
        assert!(self.axis < self.shape.rank(), "iota: {} has no axis {}", self.shape, self.axis);
        self.shape.clone()
    }
    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId) -> Vec<Option<NodeId>> {
        Vec::new()
    }
    fn eval(&self, _: &[&Array], shape: &Shape) -> Array {
        Array::from_fn(shape, |index| index[self.axis] as f64)
    }
}
