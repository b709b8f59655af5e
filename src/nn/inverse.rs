//! Inversion of a residual block: x with x + F(x) = y.
//!
//! Two solvers ([`Solver`]): the fixed-point iteration of the paper (`picard`), and the same with Anderson
//! acceleration (`anderson`). Each sample stops for itself as soon as its largest change max |xₖ₊₁ - xₖ| is at most
//! the tolerance; it is then frozen, so its result does not depend on which other samples share the batch. The iteration
//! ends when every sample has stopped or the limit is reached, without the host looking.

mod anderson;
pub mod error;
mod picard;

use crate::graph::{Function, FunctionRef, Graph, NodeId};

use super::actnorm;
use super::residual::BlockFunction;

/// How the equation of a block is solved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Solver {
    /// x₀ = y, xₖ₊₁ = y - F(xₖ): algorithm 1 of the paper.
    #[default]
    Picard,
    /// Anderson acceleration of it: the next iterate is combined from the last few so that the residual becomes least.
    Anderson,
}

/// How a block is inverted, and when that ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// The solver.
    pub solver: Solver,
    /// Largest change of an element that counts as converged. A sample whose changes are at the level of rounding and no
    /// longer fall has converged as well, as it is as good as it gets. With zero, [`Picard`](Solver::Picard) goes on until
    /// nothing changes or the limit is reached.
    pub tolerance: f64,
    /// Most evaluations of F for one block.
    pub limit: u32,
}

impl Stop {
    /// The published algorithm with a fixed number of iterations.
    pub fn after(iterations: u32) -> Self {
        Self { solver: Solver::Picard, tolerance: 0.0, limit: iterations }
    }
}

/// What an iteration carries from round to round, with the values that it begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Numbers of each sample, `[n]`: among them `iterations`, `residual` and `converged`, as in the inverse's outputs.
    pub numbers: Vec<(&'static str, f32)>,
    /// Tensors of the shape of the samples beside `x`, which begins as y. They begin as zero.
    pub history: Vec<String>,
}

impl Stop {
    /// The state of the iteration of [`round_graph`](BlockFunction::round_graph).
    pub fn state(&self) -> State {
        match self.solver {
            Solver::Picard => State {
                numbers: vec![("iterations", 0.0), ("residual", DIVERGED as f32), ("converged", 0.0)],
                history: Vec::new(),
            },
            Solver::Anderson => State {
                numbers: anderson::NUMBERS.into_iter().zip(anderson::START.map(|value| value as f32)).collect(),
                history: (0..anderson::MEMORY).flat_map(|age| ["g", "r"].map(|part| format!("{part} {age}"))).collect(),
            },
        }
    }

    /// Whether a sample with this state goes no further: its numbers by name.
    pub fn has_ended(&self, number: impl Fn(&str) -> f32) -> bool {
        number("converged") > 0.0 || self.solver == Solver::Anderson && number("stuck") > 0.0
    }

    /// The change of a sample y below which rounding may be all that is left.
    pub fn level(y: &[f32]) -> f32 {
        let bound = DIVERGED as f32;
        let size = |y: f32| if y.abs() < bound { y.abs() } else { bound };
        y.iter().fold(0.0, |most: f32, &y| most.max(size(y))) * ROUNDING_LEVEL as f32
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self { solver: Solver::Picard, tolerance: 1e-6, limit: 100 }
    }
}

/// Stands for the residual of a sample whose iteration has left the numbers, and for an error without bound: larger than
/// any tolerance.
pub(crate) const DIVERGED: f64 = 1e30;

/// Changes below this, relative to the largest element of y, may be due to rounding: eight units in the last place of
/// f32.
const ROUNDING_LEVEL: f64 = 8.0 / 8_388_608.0;

impl BlockFunction {
    /// The inverse of the block: (y, \[log_scale, shift\], branch operands…) → (x, iterations `[n]`, residual `[n]`,
    /// converged `[n]`), where iterations counts evaluations of F, the residual is the last change and converged is 1 or
    /// 0.
    pub fn inverse(&self, stop: Stop) -> FunctionRef {
        let mut g = Graph::new();
        let y = g.input("y", self.input_shape());
        let channels = self.branch.input[0];
        let scale_and_shift = self.actnorm.then(|| (g.input("log_scale", [channels]), g.input("shift", [channels])));
        let operands = self.operand_inputs(&mut g);
        let solved = match stop.solver {
            Solver::Picard => self.picard(&mut g, y, &operands, stop),
            Solver::Anderson => self.anderson(&mut g, y, &operands, stop),
        };
        let x = match scale_and_shift {
            Some((log_scale, shift)) => actnorm::inverse(&mut g, solved.x, log_scale, shift),
            None => solved.x,
        };
        let outputs = [
            ("x", x),
            ("iterations", solved.iterations),
            ("residual", solved.residual),
            ("converged", solved.converged),
        ];
        for (name, node) in outputs {
            g.output(name, node);
        }
        Function::new(format!("inverse {}", self.branch.label()), g)
    }

    /// One round of the iteration by itself, for whoever wants to look on: inputs and outputs are the
    /// [state](Stop::state) of the iteration, each output the next value of the input of its name; further inputs are
    /// `y`, `level` `[n]` ([`Stop::level`] of each sample), and the branch's operands by their names.
    pub fn round_graph(&self, stop: Stop) -> Graph {
        let mut g = Graph::new();
        match stop.solver {
            Solver::Picard => self.picard_graph(&mut g, stop),
            Solver::Anderson => self.anderson_graph(&mut g, stop),
        };
        g
    }

    /// The branch's operands as inputs of `g`.
    pub(super) fn operand_inputs(&self, g: &mut Graph) -> Vec<NodeId> {
        self.branch.operands().into_iter().map(|(name, shape)| g.input(name, shape)).collect()
    }
}

/// What a solver ends with.
struct Solved {
    /// The solution of x + F(x) = y, as y.
    x: NodeId,
    /// Evaluations of F for each sample, `[n]`.
    iterations: NodeId,
    /// Last change of each sample, `[n]`.
    residual: NodeId,
    /// 1 for each sample that has converged, else 0, `[n]`.
    converged: NodeId,
}

/// A number for each sample, `[n]`, shaped to be broadcast against `like` `[n, …]`.
fn per_sample(g: &mut Graph, x: NodeId, like: NodeId) -> NodeId {
    let mut shape = vec![1; g.shape(like).rank()];
    shape[0] = g.shape(x).len();
    g.reshape(x, shape)
}

/// The largest magnitude in each sample, `[n]`; [`DIVERGED`] where one is not a finite number.
fn largest(g: &mut Graph, x: NodeId) -> NodeId {
    let magnitude = g.abs(x);
    // Comparisons with NaN are false, so it becomes the large number here; a maximum alone would pass over it.
    let bound = g.scalar_like(DIVERGED, magnitude);
    let finite = g.less(magnitude, bound);
    let magnitude = g.select(finite, magnitude, bound);
    let axes: Vec<usize> = (1..g.shape(x).rank()).collect();
    g.max_over(magnitude, &axes)
}

/// The change of each sample below which rounding may be all that is left, `[n]`.
fn rounding_level(g: &mut Graph, y: NodeId) -> NodeId {
    let size = largest(g, y);
    g.scale(size, ROUNDING_LEVEL)
}

/// 1 where x ≤ bound, else 0 (also for NaN).
fn at_most(g: &mut Graph, x: NodeId, bound: f64) -> NodeId {
    let bound = g.scalar_like(bound, x);
    let (below, equal) = (g.less(x, bound), g.equal(x, bound));
    g.max(below, equal)
}
