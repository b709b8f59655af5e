//! What the exact log-determinant of a whole network is made from: the input of every block, and rows of the Jacobian of
//! each block's branch.

use super::Model;
use super::build::Build;
use super::forward::Pass;
use crate::graph::Graph;
use crate::nn::actnorm;
use crate::nn::logdet::LogDet;
use crate::nn::residual::Probes;
use crate::shape::Shape;

/// Name of the output of [`Model::trace_graph`] that block `index` receives.
pub fn block_input(index: usize) -> String {
    format!("block/{index}/x")
}

impl Model {
    /// From n samples `x` to what each block receives: outputs [`block_input`] `[n, …]` for each block, and `log_prior`
    /// `[n]`; of a network whose log-determinant is a formula (see [`Model::is_exact`]) also `log_det` `[n]`. For models with
    /// a density.
    pub fn trace_graph(&self, n: usize) -> Graph {
        let mut build = Build::new(self, n);
        let x = build.input();
        let log_det = self.is_exact().then_some(LogDet::Exact);
        let forward = build.forward(x, &Pass::evaluation(log_det, Probes::Keys));
        if let Some(log_det) = forward.log_det {
            build.g.output("log_det", log_det);
        }
        for (index, node) in build.block_inputs.clone().into_iter().enumerate() {
            build.g.output(block_input(index), node);
        }
        let z = build.join(&forward.latent);
        let log_prior = build.log_prior(z);
        build.g.output("log_prior", log_prior);
        build.finish()
    }

    /// Rows of the Jacobian of a block's branch, and its ActNorm's log-determinant, for one sample.
    ///
    /// Inputs: `x` `[1, …]`, what the block receives, and `first` `[]`, the first row wanted. Outputs: `rows` `[rows, d]`,
    /// where row i is the derivative of element first + i of F (zeros beyond the last), and `log_det` `[]`, ActNorm's.
    pub fn jacobian_graph(&self, block: usize, rows: usize) -> Graph {
        let mut build = Build::new(self, 1);
        let block = &self.blocks()[block];
        let shape = build.batched(block.branch.input.extents());
        let x = build.g.input("x", shape.clone());
        let first = build.g.input("first", Shape::scalar());
        let (a, of_actnorm) = if self.config().model.actnorm {
            let [log_scale, shift] = build.actnorm(block.actnorm_names(), x, false);
            let a = actnorm::forward(&mut build.g, x, log_scale, shift);
            (a, actnorm::log_det(&mut build.g, x, log_scale))
        } else {
            (x, build.g.constant(0.0, Shape::scalar()))
        };
        let operands = build.operands(block, 0);
        let g = &mut build.g;
        let point = block.branch.linearise(g, a, &operands);
        let d = shape.len();
        let (row, column) = (g.iota([rows, d], 0), g.iota([rows, d], 1));
        let row = g.add(row, first);
        let one_hot = g.equal(row, column);
        let mut wide = vec![rows];
        wide.extend_from_slice(block.branch.input.extents());
        let cotangents = g.reshape(one_hot, wide);
        let jacobian = point.transposed(g, cotangents);
        let jacobian = g.reshape(jacobian, [rows, d]);
        g.output("rows", jacobian);
        g.output("log_det", of_actnorm);
        build.finish()
    }
}
