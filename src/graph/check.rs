//! Invariants of a graph.

use super::{Graph, NodeId};
use crate::ops::Op;
use crate::shape::Shape;

impl Graph {
    /// Checks what every stage relies on: operands stand before their users and are as many as the op takes, shapes
    /// follow from the rules, inputs and outputs are nodes with values, names are unique, results of multi-result nodes
    /// are taken through `get` only.
    ///
    /// # Errors
    /// The first violation, in words.
    ///
    /// # Panics
    /// Where a rule refuses its operands outright, as it does when a node is added.
    pub fn check(&self) -> Result<(), String> {
        for (id, node) in self.nodes() {
            let index = id.index();
            let (given, arity) = (node.inputs.len(), node.op.arity());
            if given != arity {
                return Err(format!("%{index}, {}, has {given} operands, takes {arity}", node.op.rule().label()));
            }
            for &input in &node.inputs {
                if input >= id {
                    return Err(format!("%{index} uses %{}, which does not stand before it", input.index()));
                }
                if self.gives_several(input) != matches!(node.op, Op::Get(_)) {
                    return Err(format!(
                        "%{index} uses %{}: `get`, and nothing else, takes results of `call` and `iterate`",
                        input.index()
                    ));
                }
            }
            let inferred = match &node.op {
                Op::Input(number) => match self.inputs.get(*number) {
                    Some((_, known)) if *known == id => node.shape.clone(),
                    _ => return Err(format!("%{index} claims to be input {number} and is not")),
                },
                Op::Get(get) => {
                    let source = &self.node(node.inputs[0]).op;
                    let (function, count) = match source {
                        Op::Iterate(iterate) => (&iterate.body, iterate.state + 1),
                        Op::Call(function) => (function, function.graph().outputs().len()),
                        other => unreachable!("{} does not give several results", other.rule().label()),
                    };
                    if get.index >= count {
                        return Err(format!("%{index} takes result {} of {count} of {}", get.index, function.name()));
                    }
                    get.infer_from(source)
                }
                op => {
                    let shapes: Vec<&Shape> = node.inputs.iter().map(|&input| self.shape(input)).collect();
                    op.rule().infer(&shapes)
                }
            };
            if inferred != node.shape {
                return Err(format!("%{index} has shape {}, its rule says {inferred}", node.shape));
            }
        }
        for (kind, list) in [("input", &self.inputs), ("output", &self.outputs)] {
            for (number, (name, id)) in list.iter().enumerate() {
                if id.index() >= self.len() {
                    return Err(format!("{kind} {name:?} is %{}, which does not exist", id.index()));
                }
                if self.gives_several(*id) {
                    return Err(format!("{kind} {name:?} is %{}, which has several results", id.index()));
                }
                if kind == "input" && self.node(*id).op != Op::Input(number) {
                    return Err(format!("input {name:?} is %{}, which is not input {number}", id.index()));
                }
                if list[..number].iter().any(|(other, _)| other == name) {
                    return Err(format!("{kind} {name:?} is declared twice"));
                }
            }
        }
        Ok(())
    }

    fn gives_several(&self, id: NodeId) -> bool {
        matches!(self.node(id).op, Op::Call(_) | Op::Iterate(_))
    }
}
