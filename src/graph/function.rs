//! Functions: graphs that other graphs call.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use super::Graph;
use crate::shape::Shape;

/// A named graph that is called with its inputs by position and gives its outputs by position.
#[derive(Debug)]
pub struct Function {
    name: String,
    graph: Graph,
    recompute: bool,
    vjp: Option<FunctionRef>,
    derived: Mutex<HashMap<Demand, Arc<Derived>>>,
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
        let name = name.into();
        let wanted: Vec<&Shape> = graph
            .inputs()
            .iter()
            .chain(graph.outputs())
            .chain(graph.outputs())
            .map(|&(_, id)| graph.shape(id))
            .collect();
        let found: Vec<&Shape> = vjp.graph.inputs().iter().map(|&(_, id)| vjp.graph.shape(id)).collect();
        assert_eq!(found, wanted, "the vjp of {name} must take inputs, outputs and cotangents of {name}");
        let given: Vec<&Shape> = vjp.graph.outputs().iter().map(|&(_, id)| vjp.graph.shape(id)).collect();
        assert_eq!(given, wanted[..graph.inputs().len()], "the vjp of {name} must give one cotangent for each input");
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
    pub fn custom_vjp(&self) -> Option<&FunctionRef> {
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
