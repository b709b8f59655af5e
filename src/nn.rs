//! Invertible residual networks as graphs.
//!
//! Layers are functions that add nodes to a [`Graph`]; nothing here computes. From the bottom up: activations, squeeze,
//! ActNorm; spectral normalisation, which makes weights contractions; the residual block with its log-determinant and
//! its inverse, each a [function](crate::graph::Function) made once for each distinct shape, and beside it what it is
//! compared with, steps of [Glow](glow) and blocks of a [ResNet](resnet); and [`Model`], which lays
//! out a network for a [configuration](crate::config::Config), names its parameters, and builds the graphs for training,
//! evaluation, initialisation, inversion and sampling.

pub mod activation;
pub mod actnorm;
pub mod batch_norm;
pub mod certificate;
mod effective;
pub mod glow;
pub mod head;
pub mod inverse;
pub mod linearised;
pub mod logdet;
pub mod model;
pub mod param;
pub mod prior;
pub mod residual;
pub mod resnet;
pub mod reversible;
pub mod spectral;
pub mod squeeze;
mod stack;

pub use activation::Activation;
pub use certificate::{Certificate, certify};
pub use effective::effective;
pub use inverse::{Solver, State, Stop};
pub use logdet::LogDet;
pub use model::{Evaluation, Model};
pub use param::{Init, Param};
pub use residual::{KEY_WIDTH, Probes};

use crate::graph::{Graph, NodeId, Scope};

/// The graph with one more output `grad/NAME` for each of `names`: the derivative of its output `loss` in the input of
/// that name. Names that are no inputs of the graph are left out, since the loss does not depend on them. Where blocks
/// are [`reversible`], two outputs say how well they were inverted.
#[track_caller]
pub fn gradient_graph<'a>(mut graph: Graph, names: impl IntoIterator<Item = &'a str>) -> Graph {
    let loss = graph.outputs().iter().find(|(name, _)| name == "loss").map(|&(_, id)| id);
    let loss = loss.expect("gradient_graph: the graph must have an output named loss");
    let one = graph.scalar_like(1.0, loss);
    pull_back(graph, &[(loss, one)], names)
}

/// The same for nodes with their cotangents in place of a loss.
#[track_caller]
pub(crate) fn pull_back<'a>(
    mut graph: Graph,
    cotangents: &[(NodeId, NodeId)],
    names: impl IntoIterator<Item = &'a str>,
) -> Graph {
    let wrt: Vec<(&str, NodeId)> =
        names.into_iter().filter_map(|name| graph.find_input(name).map(|id| (name, id))).collect();
    let nodes: Vec<NodeId> = wrt.iter().map(|&(_, id)| id).collect();
    graph.enter(Scope::BACKWARD);
    let (gradients, recovery) = graph.vjp_recovering(cotangents, &nodes);
    for ((name, _), gradient) in wrt.into_iter().zip(gradients) {
        graph.output(format!("grad/{name}"), gradient);
    }
    reversible::report(&mut graph, &recovery);
    graph
}
