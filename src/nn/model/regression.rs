//! Activations drawn towards given values: how the paper's one-dimensional networks are trained (figure 1).

use super::Model;
use super::build::Build;
use super::forward::Pass;
use crate::graph::Graph;
use crate::nn::residual::Probes;

/// Name of the input that holds what the activations behind so many blocks should be.
pub fn target(depth: usize) -> String {
    format!("target/{depth}")
}

impl Model {
    /// Mean squared distance of n samples' activations behind the first d blocks, for each d of `depths`, from the input
    /// [`target(d)`](target), shaped as the activations: output `loss`, summed over `depths`, and `grad/NAME` for each
    /// parameter. The power iteration goes on as in training.
    ///
    /// Panics if there are fewer blocks than a depth, or none.
    #[track_caller]
    pub fn regression_graph(&self, n: usize, depths: &[usize]) -> Graph {
        let mut build = Build::new(self, n);
        let x = build.input();
        let pass = Pass { iterations: self.config().model.power_iterations, ..Pass::evaluation(None, Probes::Keys) };
        let forward = build.forward(x, &pass);
        let mut activations = build.block_inputs.clone();
        activations.extend(forward.latent.last());
        let mut terms = Vec::new();
        for &depth in depths {
            let activation = activations[depth];
            let shape = build.g.shape(activation).clone();
            let wanted = build.g.input(target(depth), shape);
            let difference = build.g.sub(activation, wanted);
            let squares = build.g.square(difference);
            terms.push(build.g.mean_all(squares));
        }
        let loss = terms.into_iter().reduce(|sum, term| build.g.add(sum, term)).expect("at least one depth");
        build.g.output("loss", loss);
        self.with_gradients(build.finish())
    }
}
