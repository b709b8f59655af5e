//! Fixed-point iteration (paper, algorithm 1): x₀ = y, xₖ₊₁ = y - F(xₖ), which converges at the rate Lip(F) from any
//! start.

use super::{DIVERGED, Solved, Stop, at_most, largest, per_sample, rounding_level};
use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::nn::residual::BlockFunction;

impl BlockFunction {
    /// Solves x + F(x) = y.
    pub(super) fn picard(&self, g: &mut Graph, y: NodeId, operands: &[NodeId], stop: Stop) -> Solved {
        let zeros = g.constant(0.0, [self.batch]);
        let residual = g.constant(DIVERGED, [self.batch]);
        let level = rounding_level(g, y);
        let arguments = [&[y, zeros, residual, zeros, y, level], operands].concat();
        let state = g.iterate(&self.picard_round(stop), 4, stop.limit, &arguments);
        Solved { x: state[0], iterations: state[1], residual: state[2], converged: state[3] }
    }

    /// One round: (x, iterations, residual, converged | y, rounding level, operands…) → (x, iterations, residual,
    /// converged, another round?).
    fn picard_round(&self, stop: Stop) -> FunctionRef {
        let mut g = Graph::new();
        let next_converged = self.picard_graph(&mut g, stop);
        let one = g.constant(1.0, [self.batch]);
        let still = g.sub(one, next_converged);
        let flag = g.max_over(still, &[0]);
        g.output("more", flag);
        Function::new(format!("fixed point {}", self.branch.label()), g)
    }

    /// The round without its last result; gives which samples have converged.
    pub(super) fn picard_graph(&self, g: &mut Graph, stop: Stop) -> NodeId {
        let x = g.input("x", self.input_shape());
        let [iterations, residual, converged] =
            ["iterations", "residual", "converged"].map(|name| g.input(name, [self.batch]));
        let y = g.input("y", self.input_shape());
        let level = g.input("level", [self.batch]);
        let operands = self.operand_inputs(g);
        let f = self.branch.forward(g, x, &operands);
        let next = g.sub(y, f);
        let one = g.constant(1.0, [self.batch]);
        let active = g.sub(one, converged);
        let active_wide = per_sample(g, active, x);
        let next_x = g.select(active_wide, next, x);
        let change = g.sub(next, x);
        let change = largest(g, change);
        let next_residual = g.select(active, change, residual);
        let count = g.add(iterations, active);
        let mut arrived = at_most(g, next_residual, stop.tolerance);
        if stop.tolerance > 0.0 {
            // At the level of rounding, and no longer falling.
            let falls = g.less(next_residual, residual);
            let small = g.less(next_residual, level);
            let stays = g.sub(one, falls);
            let stays = g.mul(stays, small);
            arrived = g.max(arrived, stays);
        }
        let next_converged = g.max(converged, arrived);
        let outputs =
            [("x", next_x), ("iterations", count), ("residual", next_residual), ("converged", next_converged)];
        for (name, node) in outputs {
            g.output(name, node);
        }
        next_converged
    }
}
