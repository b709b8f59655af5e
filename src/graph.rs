//! Graphs: what to compute, as plain data.
//!
//! A [`Graph`] is an append-only arena of [`Node`]s with static shapes. A node's inputs always stand before it, so arena
//! order is a topological order: evaluation walks it forwards, differentiation backwards. Equal nodes are one node
//! (they are interned), which makes common subexpressions free: the many vector-Jacobian products of a log-determinant
//! share their activation derivatives without anyone arranging it. Builder methods simplify as they go, so that a
//! derivative rule may multiply by one or add zero without cost.
//!
//! Values are f32 on a GPU and f64 in the [interpreter](crate::interpret). Booleans are 0 and 1, indices are whole
//! numbers. A function ([`Function`]) is a graph that others [call](Graph::call): a residual block is built and planned
//! once however many times a network uses it.

mod build;
mod check;
mod display;
mod function;
mod scope;

pub use function::{Derived, Function, FunctionRef, OwnVjp};
pub use scope::Scope;

use std::collections::HashMap;

use crate::ops::Op;
use crate::ops::conv2d::Precision;
use crate::shape::Shape;

/// A node of a [`Graph`], by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// Position in the arena.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operation applied to earlier nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The operation with its attributes.
    pub op: Op,
    /// Operands, all with smaller ids.
    pub inputs: Vec<NodeId>,
    /// Shape of the result. Of a node with several results (call, iterate) it is the empty shape `[0]`.
    pub shape: Shape,
}

/// An expression graph: see the [module documentation](self).
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    interned: HashMap<Node, NodeId>,
    inputs: Vec<(String, NodeId)>,
    outputs: Vec<(String, NodeId)>,
    /// Of each node.
    scopes: Vec<Scope>,
    /// Of nodes that are added now.
    scope: Scope,
    /// Of convolutions that are added now.
    precision: Precision,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node at `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// All nodes, in topological order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// Shape of the node's result.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.nodes[id.index()].shape
    }

    /// Named inputs in the order they were made.
    pub fn inputs(&self) -> &[(String, NodeId)] {
        &self.inputs
    }

    /// Named outputs in the order they were declared.
    pub fn outputs(&self) -> &[(String, NodeId)] {
        &self.outputs
    }

    /// The input called `name`.
    pub fn find_input(&self, name: &str) -> Option<NodeId> {
        self.inputs.iter().find(|(known, _)| known == name).map(|&(_, id)| id)
    }

    /// Declares an input of the graph. A name may be used once.
    #[track_caller]
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> NodeId {
        let name = name.into();
        assert!(self.find_input(&name).is_none(), "graph input {name:?} is declared twice");
        let id = self.push(Node { op: Op::Input(self.inputs.len()), inputs: Vec::new(), shape: shape.into() });
        self.inputs.push((name, id));
        id
    }

    /// Declares `node` to be an output. A name may be used once; one node may be several outputs.
    #[track_caller]
    pub fn output(&mut self, name: impl Into<String>, node: NodeId) {
        let name = name.into();
        assert!(self.outputs.iter().all(|(known, _)| *known != name), "graph output {name:?} is declared twice");
        self.outputs.push((name, node));
    }

    /// Takes back the declaration of all outputs.
    pub(crate) fn take_outputs(&mut self) -> Vec<(String, NodeId)> {
        std::mem::take(&mut self.outputs)
    }

    /// Adds `op` applied to `inputs`, or finds the equal node that is already there. Shapes are checked and inferred.
    #[track_caller]
    pub fn add_node(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let label = || op.label();
        assert_eq!(inputs.len(), op.arity(), "{}: takes {} operands, got {}", label(), op.arity(), inputs.len());
        let shapes: Vec<&Shape> = inputs.iter().map(|&id| self.shape(id)).collect();
        let shape = op.infer(&shapes);
        self.push(Node { op, inputs: inputs.to_vec(), shape })
    }

    /// Sets how exactly convolutions are computed that are added from now on by [`conv2d`](Self::conv2d) and
    /// [`conv2d_input_grad`](Self::conv2d_input_grad). What differentiation adds is as exact as what is differentiated.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// How exactly convolutions are computed that are added now.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn push(&mut self, node: Node) -> NodeId {
        if let Some(&id) = self.interned.get(&node) {
            return id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a graph holds fewer than 2^32 nodes"));
        self.interned.insert(node.clone(), id);
        self.nodes.push(node);
        self.note_scope();
        id
    }

    /// Replaces the function that `call` calls by one whose first outputs are those of the old one. Differentiation
    /// uses it to have a call return what the backward pass needs as well. The old call stays known, so that calling
    /// the old function again with the same arguments finds the widened call instead of computing everything twice.
    pub(crate) fn widen_call(&mut self, call: NodeId, function: FunctionRef) {
        let node = &mut self.nodes[call.index()];
        node.op = Op::Call(function);
        self.interned.entry(node.clone()).or_insert(call);
    }

    /// The first `count` nodes as a graph of their own, inputs among them kept, outputs dropped.
    pub(crate) fn prefix(&self, count: usize) -> Self {
        let mut graph = self.clone();
        graph.nodes.truncate(count);
        graph.scopes.truncate(count);
        graph.interned.retain(|_, id| id.index() < count);
        graph.inputs.retain(|(_, id)| id.index() < count);
        graph.outputs.clear();
        graph
    }

    /// Which nodes the outputs depend on.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.len()];
        for (_, id) in &self.outputs {
            live[id.index()] = true;
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if live[index] {
                for input in &node.inputs {
                    live[input.index()] = true;
                }
            }
        }
        live
    }
}
