//! Graphs rewritten with their calls treated in another way.

use std::collections::HashMap;

use iresnet::graph::{Function, FunctionRef, Graph, NodeId};
use iresnet::ops::Op;

/// What becomes of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// The body takes the place of the call.
    Inlined,
    /// All functions keep intermediate values.
    Stored,
    /// All functions recompute them.
    Recomputed,
}

/// The same graph with its calls, at every depth, as `calls` says.
pub(crate) fn rebuild(graph: &Graph, calls: Calls) -> Graph {
    let mut result = Graph::new();
    let arguments: Vec<NodeId> =
        graph.inputs().iter().map(|(name, id)| result.input(name.clone(), graph.shape(*id))).collect();
    let outputs = copy(graph, &arguments, &mut result, calls, &mut HashMap::new());
    for ((name, _), id) in graph.outputs().iter().zip(outputs) {
        result.output(name.clone(), id);
    }
    result
}

/// Copies the nodes of `from` into `to`; gives what its outputs became.
fn copy(
    from: &Graph,
    arguments: &[NodeId],
    to: &mut Graph,
    calls: Calls,
    functions: &mut HashMap<usize, FunctionRef>,
) -> Vec<NodeId> {
    let mut results: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for (id, node) in from.nodes() {
        let inputs: Vec<NodeId> = match node.op {
            Op::Get(_) => Vec::new(),
            _ => node.inputs.iter().map(|input| results[input][0]).collect(),
        };
        let made = match &node.op {
            Op::Input(number) => vec![arguments[*number]],
            Op::Get(get) => vec![results[&node.inputs[0]][get.index]],
            Op::Call(function) if calls == Calls::Inlined => copy(function.graph(), &inputs, to, calls, functions),
            Op::Call(function) => {
                let known = functions.get(&function.id()).cloned();
                let rebuilt = known.unwrap_or_else(|| {
                    let body = rebuild(function.graph(), calls);
                    let name = function.name().to_owned();
                    let make = if calls == Calls::Stored { Function::new } else { Function::recomputed };
                    make(name, body)
                });
                functions.insert(function.id(), rebuilt.clone());
                to.call(&rebuilt, &inputs)
            }
            op => vec![to.add_node(op.clone(), &inputs)],
        };
        results.insert(id, made);
    }
    from.outputs().iter().map(|(_, id)| results[id][0]).collect()
}
