//! The reversible block: its backward pass computes its input again, from its output, instead of finding it in memory.
//!
//! The forward pass of a chain of blocks then keeps nothing but the last output. The backward pass of a block takes that
//! output y (from the forward pass, or recovered by the block behind), inverts the block by the fixed-point iteration
//! x ← y - F(x) until it moves by no more than [`TOLERANCE`], runs the block forwards again from there, and hands the
//! input it found to the block in front. Weights are those of the forward pass, which are kept: they don't grow with the
//! batch.
//!
//! What inversion leaves of an error goes on to the block in front, which may magnify it by up to 1 / (1 - Lip(F)). So it
//! is measured where the true value is at hand, at the front of a chain, beside the residual of each inversion; see
//! [`report`].

use crate::autodiff::Recovery;
use crate::error::{Error, Result};
use crate::graph::{Function, FunctionRef, Graph, NodeId, OwnVjp, Scope};

use super::actnorm;
use super::residual::BlockFunction;

/// An inversion has converged when no element moves by more than this in a round, in units of the output's largest
/// element or of one, if that is larger. f32 numbers lie 1.2·10⁻⁷ of themselves apart, so a few times that can be reached.
pub const TOLERANCE: f64 = 1e-6;

/// The most by which a recovered input may differ from the true one before training stops. Gradients are then wrong by
/// about as much, relatively: a thousandth is far below the noise of a batch, and a hundred times what is usual.
pub const DRIFT_LIMIT: f64 = 1e-3;

/// Rounds beyond those that the Lipschitz bound asks for, since power iteration approaches norms from below.
const SPARE_ROUNDS: u32 = 16;

/// Most rounds of an inversion: a bound for coefficients just below one.
const MOST_ROUNDS: u32 = 400;

/// Rounds that inversions usually take, for estimates of time.
pub const USUAL_ROUNDS: u32 = 10;

/// Name of the output that holds the largest residual of an inversion in the step, in the units of [`TOLERANCE`].
pub const RESIDUAL: &str = "inverse_residual";

/// Name of the output that holds the largest difference between a recovered input and the true one.
pub const DRIFT: &str = "inverse_error";

/// Rounds after which an inversion is given up, for a branch of `layers` layers of norm at most `coefficient` < 1: as many
/// as shrink an error of one to the tolerance at the rate coefficientˡᵃʸᵉʳˢ, and some.
pub fn round_limit(coefficient: f64, layers: usize) -> u32 {
    let rate = coefficient.powi(layers as i32);
    let rounds = TOLERANCE.ln() / rate.ln();
    (rounds.ceil() as u32).saturating_add(SPARE_ROUNDS).min(MOST_ROUNDS)
}

impl BlockFunction {
    /// The function of [`function`](Self::function) with a derivative that takes no input x, but recovers it from y in at
    /// most `limit` rounds. The derivative reports the residual of the inversion.
    pub fn reversible(&self, limit: u32) -> FunctionRef {
        let block = BlockFunction { recompute: true, ..self.clone() }.function();
        let body = block.graph();
        // x comes first, keys or probes last; between them ActNorm and the branch, which have gradients.
        let operands = 1..1 + usize::from(self.actnorm) * 2 + self.branch.operands().len();
        let mut gradients = vec![0];
        gradients.extend(operands.clone());
        let backward = backward(&block, &gradients);

        let mut g = Graph::new();
        let mut inputs = Vec::new();
        for (name, id) in &body.inputs()[1..] {
            inputs.push(g.input(name.clone(), body.shape(*id).clone()));
        }
        let y = g.input("y", self.input_shape());
        let mut cotangents = Vec::new();
        for (name, id) in body.outputs() {
            cotangents.push(g.input(format!("cotangent {name}"), body.shape(*id).clone()));
        }
        let recover = self.recover(limit);
        let scope = g.enter(Scope::INVERSION);
        let found = g.call(&recover, &[&[y], &inputs[..operands.len()]].concat());
        g.enter(scope);
        let results = g.call(&backward, &[&[found[0]], &inputs[..], &cotangents[..]].concat());
        for (name, &node) in gradients.iter().map(|&index| &body.inputs()[index].0).zip(&results) {
            g.output(format!("gradient {name}"), node);
        }
        g.output("recovered x", found[0]);
        g.output("residual", found[1]);
        let name = format!("reversible {}", block.name());
        let vjp = OwnVjp {
            function: Function::new(format!("{name}.backward"), g),
            inputs: (1..body.inputs().len()).collect(),
            outputs: vec![0],
            gradients,
            recovered: vec![0],
        };
        Function::with_own_vjp(name, body.clone(), vjp)
    }

    /// (y, \[log_scale, shift\], branch operands…) → (x, residual `[]` in the units of [`TOLERANCE`]).
    fn recover(&self, limit: u32) -> FunctionRef {
        let mut round = Graph::new();
        let a = round.input("a", self.input_shape());
        let y = round.input("y", self.input_shape());
        let allowed = round.input("allowed", [1]);
        let operands = self.operand_inputs(&mut round);
        let f = self.branch.forward(&mut round, a, &operands);
        let next = round.sub(y, f);
        let change = round.sub(next, a);
        let change = round.largest(change);
        let allowed = round.reshape(allowed, []);
        let excess = round.sub(change, allowed);
        round.output("a", next);
        round.output("excess", excess);
        let round = Function::new(format!("recovery round {}", self.branch.label()), round);

        let mut g = Graph::new();
        let y = g.input("y", self.input_shape());
        let channels = self.branch.input[0];
        let scale_and_shift = self.actnorm.then(|| (g.input("log_scale", [channels]), g.input("shift", [channels])));
        let operands = self.operand_inputs(&mut g);
        let largest = g.largest(y);
        let one = g.scalar_like(1.0, largest);
        let unit = g.max(largest, one);
        let allowed = g.scale(unit, TOLERANCE);
        let allowed = g.reshape(allowed, [1]);
        let found = g.iterate(&round, 1, limit, &[&[y, y, allowed], &operands[..]].concat());
        let x = match scale_and_shift {
            Some((log_scale, shift)) => actnorm::inverse(&mut g, found[0], log_scale, shift),
            None => found[0],
        };
        let relative = g.div(found[1], unit);
        let residual = g.add_scalar(relative, TOLERANCE);
        g.output("x", x);
        g.output("residual", residual);
        Function::new(format!("recover {}", self.branch.label()), g)
    }
}

/// (inputs of `block`…, cotangents of its outputs…) → the cotangents of the inputs `wanted`.
fn backward(block: &FunctionRef, wanted: &[usize]) -> FunctionRef {
    let body = block.graph();
    let mut g = Graph::new();
    let arguments: Vec<NodeId> =
        body.inputs().iter().map(|(name, id)| g.input(name.clone(), body.shape(*id).clone())).collect();
    let results = g.call(block, &arguments);
    let mut pairs = Vec::new();
    for ((name, id), result) in body.outputs().iter().zip(results) {
        pairs.push((result, g.input(format!("cotangent {name}"), body.shape(*id).clone())));
    }
    let wrt: Vec<NodeId> = wanted.iter().map(|&index| arguments[index]).collect();
    for (&index, gradient) in wanted.iter().zip(g.vjp(&pairs, &wrt)) {
        g.output(format!("gradient {}", body.inputs()[index].0), gradient);
    }
    Function::new(format!("{}.again", block.name()), g)
}

/// Adds to a gradient graph, as outputs of shape `[]`, the [largest residual](RESIDUAL) and the [largest drift](DRIFT) of
/// the inversions in its backward pass; nothing if there were none.
pub fn report(g: &mut Graph, recovery: &Recovery) {
    let residuals: Vec<NodeId> = recovery.reports.iter().map(|report| report[0]).collect();
    for (name, nodes) in [(RESIDUAL, residuals), (DRIFT, recovery.drifts.clone())] {
        if let Some(largest) = nodes.into_iter().reduce(|a, b| g.max(a, b)) {
            g.output(name, largest);
        }
    }
}

/// Whether a step's gradient may be trusted, from what [`report`] gave: largest residual and largest drift.
///
/// # Errors
/// [`Error::Verification`] if an inversion did not converge, or if recovered inputs
/// drifted away from the true ones.
pub fn check(step: u64, [residual, drift]: [f32; 2]) -> Result<()> {
    let exceeds = |value: f32, limit: f64| value.is_nan() || value > limit as f32;
    let problem = if exceeds(residual, TOLERANCE) {
        format!(
            "a block could not be inverted: its iteration still moved by {residual:.1e}, not by {TOLERANCE:.0e} or less"
        )
    } else if exceeds(drift, DRIFT_LIMIT) {
        format!("inputs recovered by inversion are off by {drift:.1e}, more than {DRIFT_LIMIT:.0e}")
    } else {
        return Ok(());
    };
    Err(Error::Verification(format!(
        "step {step}: {problem}, so the step's gradient is wrong; resume from the last checkpoint with train.memory = \
         \"checkpoint\", or lower model.coefficient or raise model.power_iterations"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_suffice_for_the_lipschitz_bound() {
        for (coefficient, layers) in [(0.9, 3), (0.5, 3), (0.97, 2)] {
            let rounds = round_limit(coefficient, layers);
            let left = coefficient.powi(layers as i32 * rounds as i32);
            assert!(left <= TOLERANCE, "{coefficient}: {left:.1e} is left after {rounds} rounds");
        }
        assert_eq!(round_limit(0.9, 3), 44 + SPARE_ROUNDS);
        assert_eq!(round_limit(0.999_999, 1), MOST_ROUNDS);
    }

    #[test]
    fn a_bad_inversion_is_an_error_that_says_what_to_do() {
        assert!(check(3, [1e-6, 1e-3]).is_ok());
        for bad in [[2e-6, 0.0], [0.0, 2e-3], [1e30, 1e30], [f32::INFINITY, 0.0], [f32::NAN, 0.0], [0.0, f32::NAN]] {
            let error = check(3, bad).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.exit_code(), 9, "{text}");
            assert!(text.contains("step 3") && text.contains("checkpoint"), "{text}");
        }
    }
}
