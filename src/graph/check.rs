//! Invariants of a graph.

use super::Graph;
use crate::ops::Op;
use crate::shape::Shape;

impl Graph {
    /// Checks what every stage relies on: operands stand before their users, shapes follow from the rules, inputs and
    /// outputs are nodes, results of multi-result nodes are taken through `get` only.
    ///
    /// # Errors
    /// The first violation, in words.
    pub fn check(&self) -> Result<(), String> {
        for (id, node) in self.nodes() {
            let index = id.index();
            for input in &node.inputs {
                if input.index() >= index {
                    return Err(format!("%{index} uses %{}, which does not stand before it", input.index()));
                }
                let multiple = matches!(self.node(*input).op, Op::Call(_) | Op::Iterate(_));
                if multiple != matches!(node.op, Op::Get(_)) {
                    return Err(format!(
                        "%{index}: only `get` may take a result of call or iterate %{}",
                        input.index()
                    ));
                }
            }
            let inferred = match &node.op {
                Op::Input(number) => match self.inputs.get(*number) {
                    Some((_, known)) if *known == id => node.shape.clone(),
                    _ => return Err(format!("%{index} claims to be input {number} and is not")),
                },
                Op::Get(get) => get.infer_from(&self.node(node.inputs[0]).op),
                Op::Constant(_) => node.shape.clone(),
                op => {
                    let shapes: Vec<&Shape> = node.inputs.iter().map(|&input| self.shape(input)).collect();
                    op.rule().infer(&shapes)
                }
            };
            if inferred != node.shape {
                return Err(format!("%{index} has shape {}, its rule says {inferred}", node.shape));
            }
        }
        for (name, id) in self.inputs.iter().chain(&self.outputs) {
            if id.index() >= self.len() {
                return Err(format!("{name:?} is %{}, which does not exist", id.index()));
            }
        }
        Ok(())
    }
}
