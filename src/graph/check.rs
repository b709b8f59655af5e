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
                return Err(format!("%{index}, {}, has {given} operands, takes {arity}", node.op.label()));
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
                        other => unreachable!("{} does not give several results", other.label()),
                    };
                    if get.index >= count {
                        return Err(format!("%{index} takes result {} of {count} of {}", get.index, function.name()));
                    }
                    get.infer_from(source)
                }
                op => {
                    let shapes: Vec<&Shape> = node.inputs.iter().map(|&input| self.shape(input)).collect();
                    op.infer(&shapes)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Function, Node};
    use crate::ops::call::Get;
    use crate::ops::source::Constant;
    use crate::ops::unary::Unary;

    /// x → exp → output, and a call of a function with one result.
    fn graph() -> Graph {
        let mut body = Graph::new();
        let x = body.input("x", [2]);
        body.output("y", x);
        let mut g = Graph::new();
        let x = g.input("x", [2]);
        let y = g.exp(x);
        let z = g.call(&Function::new("same", body), &[y])[0];
        g.output("z", z);
        g
    }

    #[track_caller]
    fn finds(words: &str, corrupt: impl FnOnce(&mut Graph)) {
        let mut g = graph();
        assert_eq!(g.check(), Ok(()));
        corrupt(&mut g);
        let problem = g.check().expect_err(words);
        assert!(problem.contains(words), "{problem:?} does not say {words:?}");
    }

    fn append(g: &mut Graph, op: Op, inputs: &[u32], shape: [usize; 1]) {
        let inputs = inputs.iter().map(|&input| NodeId(input)).collect();
        g.nodes.push(Node { op, inputs, shape: shape.into() });
    }

    const EXP: Op = Op::Unary(Unary::Exp);

    #[test]
    fn every_corruption_is_found() {
        finds("%1 uses %1, which does not stand before it", |g| g.nodes[1].inputs[0] = NodeId(1));
        finds("%1 uses %9, which does not stand before it", |g| g.nodes[1].inputs[0] = NodeId(9));
        finds("%1, exp, has 2 operands, takes 1", |g| g.nodes[1].inputs.push(NodeId(0)));
        finds("%2, call same, has 0 operands, takes 1", |g| g.nodes[2].inputs.clear());
        finds("%4 uses %2: `get`, and nothing else", |g| append(g, EXP, &[2], [0]));
        finds("%4 uses %0: `get`, and nothing else", |g| append(g, Op::Get(Get { index: 0 }), &[0], [2]));
        finds("%4 takes result 1 of 1 of same", |g| append(g, Op::Get(Get { index: 1 }), &[2], [2]));
        finds("%4 has shape [3], its rule says [2]", |g| append(g, EXP, &[0], [3]));
        finds("%3 has shape [5], its rule says [2]", |g| g.nodes[3].shape = [5].into());
        finds("%2 has shape [2], its rule says [0]", |g| g.nodes[2].shape = [2].into());
        finds("%4 has shape [3], its rule says [2]", |g| {
            append(g, Op::Constant(Constant { value: 1.0.into(), shape: [2].into() }), &[], [3]);
        });
        finds("%4 claims to be input 0 and is not", |g| append(g, Op::Input(0), &[], [2]));
        finds("%4 claims to be input 1 and is not", |g| append(g, Op::Input(1), &[], [2]));
        finds("input \"w\" is %1, which is not input 1", |g| g.inputs.push(("w".into(), NodeId(1))));
        finds("output \"w\" is %8, which does not exist", |g| g.outputs.push(("w".into(), NodeId(8))));
        finds("output \"w\" is %2, which has several results", |g| g.outputs.push(("w".into(), NodeId(2))));
        finds("output \"z\" is declared twice", |g| g.outputs.push(("z".into(), NodeId(1))));
        finds("input \"x\" is declared twice", |g| {
            append(g, Op::Input(1), &[], [2]);
            g.inputs.push(("x".into(), NodeId(4)));
        });
    }

    #[test]
    #[should_panic(expected = "takes 1 operands, got 2")]
    fn too_many_operands_are_refused() {
        let mut g = graph();
        g.add_node(EXP, &[NodeId(0), NodeId(0)]);
    }
}
