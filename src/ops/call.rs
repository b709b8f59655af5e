//! Calls of functions and iteration.

use super::{Op, Rule};
use crate::graph::{FunctionRef, Graph, NodeId};
use crate::interpret::{self, Array};
use crate::shape::Shape;

/// The shape that stands for several results.
fn several() -> Shape {
    Shape::from([0])
}

impl Rule for FunctionRef {
    fn label(&self) -> String {
        format!("call {}", self.name())
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let graph = self.graph();
        let wanted: Vec<&Shape> = graph.inputs().iter().map(|&(_, id)| graph.shape(id)).collect();
        assert_eq!(inputs, wanted, "call of {}: arguments do not fit its inputs", self.name());
        several()
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId) -> Vec<Option<NodeId>> {
        unreachable!("autodiff differentiates calls itself: their cotangents belong to several results")
    }

    fn eval(&self, _: &[&Array], _: &Shape) -> Array {
        unreachable!("the interpreter runs calls itself")
    }
}

/// Result number `index` of a call or an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Get {
    /// Which result.
    pub index: usize,
}

impl Get {
    /// Shape of this result of `op`.
    #[track_caller]
    pub(crate) fn infer_from(&self, op: &Op) -> Shape {
        match op {
            Op::Call(function) => function.output_shape(self.index).clone(),
            Op::Iterate(iterate) => iterate.body.output_shape(self.index).clone(),
            other => panic!("get: {} has a single result", other.label()),
        }
    }
}

impl Rule for Get {
    fn label(&self) -> String {
        format!("get {}", self.index)
    }
    fn infer(&self, _: &[&Shape]) -> Shape {
        unreachable!("Graph::get infers the shape from the call")
    }
    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId) -> Vec<Option<NodeId>> {
        unreachable!("autodiff gathers the cotangents of a call from its gets")
    }
    fn eval(&self, _: &[&Array], _: &Shape) -> Array {
        unreachable!("the interpreter takes results of calls itself")
    }
}

/// Applies `body` again and again, at most `limit` times.
///
/// The body takes `state` tensors, then constants that stay the same in every round. It gives the next state, tensor by
/// tensor, then a scalar flag: another round follows while the flag is greater than zero. The op's results are the last
/// state and flag. At least one round is run. Iteration has no derivative: functions that contain one bring their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Iterate {
    /// One round.
    pub body: FunctionRef,
    /// How many of the body's inputs are state.
    pub state: usize,
    /// Most rounds, at least one.
    pub limit: u32,
}

impl Iterate {
    /// Runs it in the interpreter.
    pub(crate) fn run(&self, arguments: Vec<Array>) -> Vec<Array> {
        let mut arguments = arguments;
        let mut round = 0;
        loop {
            let results = interpret::run(self.body.graph(), arguments.clone());
            round += 1;
            if round == self.limit || results[self.state].data()[0] <= 0.0 || results[self.state].data()[0].is_nan() {
                return results;
            }
            for (slot, next) in arguments[..self.state].iter_mut().zip(results) {
                *slot = next;
            }
        }
    }
}

impl Rule for Iterate {
    fn label(&self) -> String {
        format!("iterate {} at most {}", self.body.name(), self.limit)
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let graph = self.body.graph();
        let name = self.body.name();
        assert!(self.limit > 0, "iterate {name}: the limit must be at least 1");
        let wanted: Vec<&Shape> = graph.inputs().iter().map(|&(_, id)| graph.shape(id)).collect();
        assert!(self.state <= inputs.len(), "iterate {name}: {} states, {} arguments", self.state, inputs.len());
        assert_eq!(inputs, wanted, "iterate {name}: arguments do not fit the body's inputs");
        assert_eq!(graph.outputs().len(), self.state + 1, "iterate {name}: the body must give the state and a flag");
        for (index, input) in inputs.iter().enumerate().take(self.state) {
            assert_eq!(self.body.output_shape(index), *input, "iterate {name}: state {index} changes its shape");
        }
        assert_eq!(self.body.output_shape(self.state).len(), 1, "iterate {name}: the flag must be one number");
        several()
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId) -> Vec<Option<NodeId>> {
        unreachable!("autodiff takes iterations as constants")
    }

    fn eval(&self, _: &[&Array], _: &Shape) -> Array {
        unreachable!("the interpreter runs iterations itself")
    }
}
