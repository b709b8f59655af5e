//! Inversion of a residual block by fixed-point iteration (paper, algorithm 1).
//!
//! x₀ = y, xₖ₊₁ = y - F(xₖ) converges at the rate Lip(F), from any start. Each sample stops for itself as soon as its
//! largest change max |xₖ₊₁ - xₖ| is at most the tolerance; it is then frozen, so its result does not depend on which
//! other samples share the batch. The iteration ends when every sample has stopped or the limit is reached, without the
//! host looking.

use crate::graph::{Function, FunctionRef, Graph, NodeId};

use super::actnorm;
use super::residual::BlockFunction;

/// When an inversion stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// Largest change of an element that counts as converged. Zero runs until nothing changes or the limit is reached:
    /// the published algorithm with a fixed number of iterations.
    pub tolerance: f64,
    /// Most iterations of one block.
    pub limit: u32,
}

impl Default for Stop {
    fn default() -> Self {
        Self { tolerance: 1e-6, limit: 100 }
    }
}

/// Stands for the residual of a sample whose iteration has left the numbers: larger than any tolerance.
const DIVERGED: f64 = 1e30;

impl BlockFunction {
    /// The inverse of the block: (y, \[log_scale, shift\], branch operands…) → (x, iterations `[n]`, residual `[n]`,
    /// converged `[n]`), where the residual is the last change and converged is 1 or 0.
    pub fn inverse(&self, stop: Stop) -> FunctionRef {
        let body = self.round(stop);
        let mut g = Graph::new();
        let y = g.input("y", self.input_shape());
        let channels = self.branch.input[0];
        let scale_and_shift = self.actnorm.then(|| (g.input("log_scale", [channels]), g.input("shift", [channels])));
        let operands: Vec<NodeId> =
            self.branch.operands().into_iter().map(|(name, shape)| g.input(name, shape)).collect();
        let zeros = g.constant(0.0, [self.batch]);
        let residual = g.constant(DIVERGED, [self.batch]);
        let mut arguments = vec![y, zeros, residual, y];
        arguments.extend(operands);
        let state = g.iterate(&body, 3, stop.limit, &arguments);
        let a = state[0];
        let x = match scale_and_shift {
            Some((log_scale, shift)) => actnorm::inverse(&mut g, a, log_scale, shift),
            None => a,
        };
        let converged = at_most(&mut g, state[2], stop.tolerance);
        for (name, node) in [("x", x), ("iterations", state[1]), ("residual", state[2]), ("converged", converged)] {
            g.output(name, node);
        }
        Function::new(format!("inverse {}", self.branch.label()), g)
    }

    /// One round: (x, iterations, residual | y, operands…) → (x, iterations, residual, another round?).
    fn round(&self, stop: Stop) -> FunctionRef {
        let mut g = Graph::new();
        let x = g.input("x", self.input_shape());
        let iterations = g.input("iterations", [self.batch]);
        let residual = g.input("residual", [self.batch]);
        let y = g.input("y", self.input_shape());
        let operands: Vec<NodeId> =
            self.branch.operands().into_iter().map(|(name, shape)| g.input(name, shape)).collect();
        let f = self.branch.forward(&mut g, x, &operands);
        let next = g.sub(y, f);
        let tolerance = g.constant(stop.tolerance, [self.batch]);
        let active = g.less(tolerance, residual);
        let mut wide = vec![1; self.input_shape().rank()];
        wide[0] = self.batch;
        let active_wide = g.reshape(active, wide);
        let next_x = g.select(active_wide, next, x);
        let change = g.sub(next, x);
        let change = g.abs(change);
        // Comparisons with NaN are false, so it becomes the large number here; a maximum alone would pass over it.
        let bound = g.scalar_like(DIVERGED, change);
        let finite = g.less(change, bound);
        let change = g.select(finite, change, bound);
        let axes: Vec<usize> = (1..self.input_shape().rank()).collect();
        let largest = g.max_over(change, &axes);
        let next_residual = g.select(active, largest, residual);
        let count = g.add(iterations, active);
        let still = g.less(tolerance, next_residual);
        let flag = g.max_over(still, &[0]);
        for (name, node) in [("x", next_x), ("iterations", count), ("residual", next_residual), ("more", flag)] {
            g.output(name, node);
        }
        Function::new(format!("fixed point {}", self.branch.label()), g)
    }
}

/// 1 where x ≤ bound, else 0 (also for NaN).
fn at_most(g: &mut Graph, x: NodeId, bound: f64) -> NodeId {
    let bound = g.scalar_like(bound, x);
    let (below, equal) = (g.less(x, bound), g.equal(x, bound));
    g.max(below, equal)
}
