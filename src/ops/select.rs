//! Choice between two tensors, element by element.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// `select(condition, a, b)`: a where the condition is not zero, else b. All three have one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Select;

impl Select {
    /// The WGSL expression.
    pub fn wgsl(condition: &str, a: &str, b: &str) -> String {
        format!("select({b}, {a}, {condition} != 0.0)")
    }
}

impl Rule for Select {
    fn label(&self) -> String {
        "select".into()
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        assert!(
            inputs[0] == inputs[1] && inputs[1] == inputs[2],
            "select: operands have shapes {}, {} and {}",
            inputs[0],
            inputs[1],
            inputs[2]
        );
        inputs[0].clone()
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let condition = g.node(node).inputs[0];
        let zero = g.scalar_like(0.0, ct);
        vec![None, Some(g.select(condition, ct, zero)), Some(g.select(condition, zero, ct))]
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let choose = |index: usize| if inputs[0].data()[index] != 0.0 { 1 } else { 2 };
        Array::new(shape.clone(), (0..shape.len()).map(|index| inputs[choose(index)].data()[index]).collect())
    }
}
