//! Functions: graphs that other graphs call.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use super::{Graph, NodeId};
use crate::shape::Shape;

/// A named graph that is called with its inputs by position and gives its outputs by position.
#[derive(Debug)]
pub struct Function {
    name: String,
    graph: Graph,
    recompute: bool,
    vjp: Option<OwnVjp>,
    derived: Mutex<HashMap<Demand, Arc<Derived>>>,
}

/// A derivative that a function brings along: what it takes and what it gives.
///
/// The inputs and outputs that it does not take need not stay in memory until the backward pass. A derivative that can
/// compute an input again from what it takes may give that value back: the producer of the input, if it has such a
/// derivative too, then takes the recovered value instead of the one from the forward pass, and so on to the front.
#[derive(Clone, Debug)]
pub struct OwnVjp {
    /// Takes the inputs numbered in `inputs`, the outputs numbered in `outputs`, then one cotangent for every output. Gives
    /// a cotangent for each of `gradients`, a value for each of `recovered`, then whatever it has to report.
    pub function: FunctionRef,
    /// Which of the function's inputs it takes.
    pub inputs: Vec<usize>,
    /// Which of the function's outputs it takes.
    pub outputs: Vec<usize>,
    /// Inputs of which it gives the cotangent; the others count as constants.
    pub gradients: Vec<usize>,
    /// Inputs whose values it gives back.
    pub recovered: Vec<usize>,
}

impl OwnVjp {
    /// Of the results of `function`, those that are reports.
    pub fn reports(&self) -> std::ops::Range<usize> {
        self.gradients.len() + self.recovered.len()..self.function.graph().outputs().len()
    }

    /// Panics unless the derivative fits `graph`, the body of the function `name`.
    #[track_caller]
    fn check(&self, name: &str, graph: &Graph) {
        let shapes = |nodes: &[(String, NodeId)], numbers: &[usize]| -> Vec<Shape> {
            numbers.iter().map(|&number| graph.shape(nodes[number].1).clone()).collect()
        };
        let (inputs, outputs) = (graph.inputs(), graph.outputs());
        let all: Vec<usize> = (0..outputs.len()).collect();
        let wanted = [shapes(inputs, &self.inputs), shapes(outputs, &self.outputs), shapes(outputs, &all)].concat();
        let vjp = self.function.graph();
        let found: Vec<Shape> = vjp.inputs().iter().map(|&(_, id)| vjp.shape(id).clone()).collect();
        assert_eq!(found, wanted, "the vjp of {name} must take inputs, outputs and cotangents of {name}");
        let wanted = [shapes(inputs, &self.gradients), shapes(inputs, &self.recovered)].concat();
        let mut given: Vec<Shape> = vjp.outputs().iter().map(|&(_, id)| vjp.shape(id).clone()).collect();
        given.truncate(wanted.len());
        assert_eq!(given, wanted, "the vjp of {name} must give cotangents and values of inputs of {name}");
    }
}

/// What is asked of a derivative: which inputs want a cotangent, which outputs have one.
type Demand = (Vec<bool>, Vec<bool>);

/// What differentiating a call needs: see [`crate::autodiff`].
#[derive(Debug)]
pub struct Derived {
    /// The function with residuals as further outputs.
    pub forward: FunctionRef,
    /// Inputs: those of the function at `kept_inputs`, then the forward function's outputs at `residuals`, then the
    /// cotangents that are there. Outputs: the cotangents of the active inputs.
    pub backward: FunctionRef,
    /// Which of the function's inputs the backward function takes.
    pub kept_inputs: Vec<usize>,
    /// Which of the forward function's outputs the backward function takes.
    pub residuals: Vec<usize>,
}

impl Function {
    /// Makes a function of `graph`, whose inputs and outputs are its parameters and results.
    #[expect(clippy::new_ret_no_self, reason = "functions are only ever held by reference")]
    pub fn new(name: impl Into<String>, graph: Graph) -> FunctionRef {
        FunctionRef(Arc::new(Self { name: name.into(), graph, recompute: false, vjp: None, derived: Mutex::default() }))
    }

    /// Makes a function whose backward pass recomputes its intermediate values from its inputs instead of keeping them.
    pub fn recomputed(name: impl Into<String>, graph: Graph) -> FunctionRef {
        FunctionRef(Arc::new(Self { name: name.into(), graph, recompute: true, vjp: None, derived: Mutex::default() }))
    }

    /// Makes a function that brings its own derivative. `vjp` takes the function's inputs, its outputs, and one
    /// cotangent for each output; it gives one cotangent for each input.
    #[track_caller]
    pub fn with_vjp(name: impl Into<String>, graph: Graph, vjp: FunctionRef) -> FunctionRef {
        let (inputs, outputs): (Vec<usize>, _) = ((0..graph.inputs().len()).collect(), 0..graph.outputs().len());
        let given = vjp.graph.outputs().len();
        let name = name.into();
        assert_eq!(given, inputs.len(), "the vjp of {name} must give one cotangent for each input");
        let gradients = inputs.clone();
        let vjp = OwnVjp { function: vjp, inputs, outputs: outputs.collect(), gradients, recovered: Vec::new() };
        Self::with_own_vjp(name, graph, vjp)
    }

    /// Makes a function that brings its own derivative and says what that takes and gives. Panics where it does not fit.
    #[track_caller]
    pub fn with_own_vjp(name: impl Into<String>, graph: Graph, vjp: OwnVjp) -> FunctionRef {
        let name = name.into();
        vjp.check(&name, &graph);
        FunctionRef(Arc::new(Self { name, graph, recompute: false, vjp: Some(vjp), derived: Mutex::default() }))
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its body.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whether the backward pass recomputes instead of storing.
    pub fn recomputes(&self) -> bool {
        self.recompute
    }

    /// Its own derivative, if it brings one.
    pub fn own_vjp(&self) -> Option<&OwnVjp> {
        self.vjp.as_ref()
    }

    /// Shape of output `index`.
    #[track_caller]
    pub fn output_shape(&self, index: usize) -> &Shape {
        let outputs = self.graph.outputs();
        assert!(index < outputs.len(), "{} has {} outputs, asked for number {index}", self.name, outputs.len());
        self.graph.shape(outputs[index].1)
    }

    /// The derived pair for these active inputs and given cotangents, made by `derive` the first time.
    pub(crate) fn derived(&self, active: &[bool], given: &[bool], derive: impl FnOnce() -> Derived) -> Arc<Derived> {
        let key = (active.to_vec(), given.to_vec());
        if let Some(found) = self.derived.lock().expect("no rule panicked half-way").get(&key) {
            return found.clone();
        }
        let made = Arc::new(derive());
        self.derived.lock().expect("no rule panicked half-way").entry(key).or_insert(made).clone()
    }
}

/// A shared [`Function`]. Two references are equal when they mean the same object.
#[derive(Clone, Debug)]
pub struct FunctionRef(Arc<Function>);

impl std::ops::Deref for FunctionRef {
    type Target = Function;
    fn deref(&self) -> &Function {
        &self.0
    }
}

impl FunctionRef {
    /// Identity, stable for the life of the object.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl PartialEq for FunctionRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FunctionRef {}

impl Hash for FunctionRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}
