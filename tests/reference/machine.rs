//! Where graphs are run: by the interpreter in f64, and on every device.

use iresnet::gpu::{Gpu, Tuning};
use iresnet::graph::Graph;
use iresnet::interpret::Array;

use crate::common::on_every_device;
use crate::compare;
use crate::fixture::{self, Tensors};

/// What runs a graph.
pub(crate) enum Machine<'a> {
    /// The specification.
    Interpreter,
    /// A device.
    Adapter(&'a Gpu),
}

/// Runs a test on every machine.
pub(crate) fn on_every_machine(test: impl Fn(&Machine)) {
    test(&Machine::Interpreter);
    on_every_device(|gpu| test(&Machine::Adapter(gpu)));
}

impl Machine<'_> {
    /// Outputs by name, from inputs by name; inputs the graph does not have are passed over.
    #[track_caller]
    pub(crate) fn run(&self, graph: &Graph, inputs: &Tensors) -> Tensors {
        let Self::Adapter(gpu) = self else { return fixture::run(graph, inputs) };
        let values: Vec<Array> = graph.inputs().iter().map(|(name, _)| inputs.get(name).clone()).collect();
        let found = compare::run(gpu, graph, &values, &mut Tuning::first());
        let outputs = graph.outputs().iter().zip(found).map(|((name, id), found)| {
            (name.clone(), Array::new(graph.shape(*id), found.into_iter().map(f64::from).collect()))
        });
        Tensors(outputs.collect())
    }

    /// Largest relative error of values: the published code computed in f32, with sums of up to a few thousand terms;
    /// where we do so too, the two may err in different directions, and a log-determinant is what is left of terms that
    /// cancel.
    pub(crate) fn forward(&self) -> f64 {
        match self {
            Self::Interpreter => 1e-5,
            Self::Adapter(_) => 1e-4,
        }
    }
}
