//! How far a computed solution is from the true one, sample by sample, carried through the blocks.
//!
//! Let x̂ be computed for ŷ, and let the true y be ŷ + e. With a = ActNorm(x̂) and r = ŷ - a - F(a), the true solution lies
//! at a + δ with (I + J) δ ≈ e + r, J the Jacobian of F at a. So the error of a block's solution is that of the block
//! behind it plus the block's own residual, sent back through the block:
//!
//! * r is evaluated at x̂ itself, so it does not matter by which solver x̂ was found, nor whether it converged.
//! * r is known up to the rounding of its evaluation, which is measured: F(a + d) + F(a - d) - 2 F(a), for a d so small
//!   that curvature is nothing beside rounding and so large that all sums are rounded anew, is made of roundings alone,
//!   with six times the variance of one evaluation's. So much is added to r.
//! * δ is found by two terms of the fixed-point iteration δ ← e - J δ, whose contraction is measured on the way,
//!   q = ‖J δ‖ / ‖δ‖; the terms left out are at most q / (1 - q) times the last change, by which δ is lengthened.
//!   Products with J are differences of F over a step that is short beside a and long beside rounding.
//!
//! What comes out at the end is a sample of the error; its length times `margin` is the bound. It is measured, not
//! proven: rounding is sampled, J is taken at one point and along the error itself, where a proof would have to take
//! the largest error that all of them can make, 1 / (1 - Lip(F)) for every block, which is of no use for a deep network.

use super::{DIVERGED, per_sample};
use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::nn::actnorm;
use crate::nn::residual::{BlockFunction, KEY_WIDTH};
use crate::random::Distribution;
use crate::shape::Shape;

/// Root mean square of the error of one f32 operation, relative to its result: half a unit in the last place at most,
/// spread evenly, at a mantissa spread evenly.
const ROUNDING: f64 = 0.4 / 16_777_216.0;

/// Relative size of the steps at whose ends all sums are rounded anew: a hundred units in the last place.
const ANEW: f64 = 1.0 / 65_536.0;

/// How many times the length of the sampled error the bound is, for samples of `len` numbers.
///
/// Lengths of vectors of many numbers hardly differ from their root mean square; three times as much leaves room for
/// what is not sampled. With few numbers one direction may carry all of the error, which then is a single normal number:
/// it exceeds 3 deviations once in 370 samples, 5 once in 1.7 million, and its median is 0.67 of them.
fn margin(len: usize) -> f64 {
    if len < ENOUGH { 5.0 } else { 3.0 }
}

/// Length of the difference by which products with the Jacobian are taken, relative to the point.
const STEP: f64 = 1e-3;

/// Shrinking by more than this is too little for a ratio of differences to be measured.
const MEASURABLE: f64 = 0.05;

/// Lengths below this are nothing.
const NOTHING: f64 = 1e-30;

/// Numbers of an error vector that suffice to know its length: samples of fewer dimensions get several vectors.
const ENOUGH: usize = 64;

/// Number of error vectors of a sample with `len` numbers.
pub(crate) fn vectors(len: usize) -> usize {
    ENOUGH.div_ceil(len)
}

impl BlockFunction {
    /// The function (x, y, error of y `[k·n, …]`, key `[64]`, \[log_scale, shift\], branch operands…) → (error of x
    /// `[k·n, …]`, contraction `[n]`) for k error vectors of each sample. Errors are true less computed. A contraction of
    /// one or more says that the error is not known.
    pub(crate) fn error(&self, vectors: usize) -> FunctionRef {
        let mut g = Graph::new();
        let x = g.input("x", self.input_shape());
        let y = g.input("y", self.input_shape());
        let rows = self.repeated(vectors);
        let behind = g.input("error", rows.clone());
        let key = g.input("key", [KEY_WIDTH]);
        let channels = self.branch.input[0];
        let scale_and_shift = self.actnorm.then(|| (g.input("log_scale", [channels]), g.input("shift", [channels])));
        let operands = self.operand_inputs(&mut g);
        let a = match scale_and_shift {
            Some((log_scale, shift)) => actnorm::forward(&mut g, x, log_scale, shift),
            None => x,
        };
        let f = self.branch.forward(&mut g, a, &operands);
        let rest = g.sub(y, a);
        let residual = g.sub(rest, f);

        // Everything of a sample stands once for each of its error vectors.
        let [residual, y, point, f] = [residual, y, a, f].map(|node| repeat(&mut g, node, vectors));
        let noise = g.random(Distribution::Normal, key, rows);
        let rounding = self.rounding(&mut g, [y, point, f], noise, &operands);
        let own = g.add(residual, rounding);
        let total = g.add(behind, own);

        let length = norm(&mut g, total);
        let reach = norm(&mut g, point);
        let reach = g.scale(reach, STEP);
        let [least, least_reach] = [length, reach].map(|like| g.scalar_like(NOTHING, like));
        let (length, reach) = (g.max(length, least), g.max(reach, least_reach));
        let forth = g.div(reach, length);
        let back = g.div(length, reach);
        let product = |g: &mut Graph, vector: NodeId| {
            let forth = per_sample(g, forth, vector);
            let step = g.mul(vector, forth);
            let moved = g.add(point, step);
            let moved = self.branch.forward(g, moved, &operands);
            let difference = g.sub(moved, f);
            let back = per_sample(g, back, vector);
            g.mul(difference, back)
        };
        let first = product(&mut g, total);
        let once = g.sub(total, first);
        let second = product(&mut g, once);
        let error = g.sub(total, second);
        let change = g.sub(second, first);

        let [first, change] = [first, change].map(|vector| norm(&mut g, vector));
        let by_first = g.div(first, length);
        let measurable = g.scale(length, MEASURABLE);
        let divisor = g.max(first, measurable);
        let by_second = g.div(change, divisor);
        let contraction = g.max(by_first, by_second);
        let one = g.scalar_like(1.0, contraction);
        let left = g.sub(one, contraction);
        let least = g.scalar_like(1e-3, left);
        let left = g.max(left, least);
        let tail = g.mul(contraction, change);
        let tail = g.div(tail, left);
        let size = norm(&mut g, error);
        let least = g.scalar_like(NOTHING, size);
        let size = g.max(size, least);
        let longer = g.div(tail, size);
        let longer = g.add_scalar(longer, 1.0);
        let longer = per_sample(&mut g, longer, error);
        let error = g.mul(error, longer);
        let error = match scale_and_shift {
            Some((log_scale, _)) => {
                let negative = g.neg(log_scale);
                let scale = g.exp(negative);
                let scale = actnorm::per_channel(&mut g, scale, error);
                g.mul(error, scale)
            }
            None => error,
        };
        // NaN compares false: a contraction that is not a number is none.
        let bound = g.scalar_like(DIVERGED, contraction);
        let known = g.less(contraction, bound);
        let contraction = g.select(known, contraction, bound);
        let contraction = g.reshape(contraction, [vectors, self.batch]);
        let contraction = g.max_over(contraction, &[0]);
        g.output("error", error);
        g.output("contraction", contraction);
        Function::new(format!("error {}", self.branch.label()), g)
    }

    /// A sample of the rounding error of y - a - F(a), element by element, where f is F(a), with random numbers `noise`.
    fn rounding(&self, g: &mut Graph, [y, a, f]: [NodeId; 3], noise: NodeId, operands: &[NodeId]) -> NodeId {
        let step = g.mul(a, noise);
        let step = g.scale(step, ANEW);
        let [there, opposite] = [g.add(a, step), g.sub(a, step)].map(|at| {
            let value = self.branch.forward(g, at, operands);
            g.sub(value, f)
        });
        let of_branch = g.add(there, opposite);
        let of_branch = g.scale(of_branch, 1.0 / 6f64.sqrt());
        // y was rounded when it was stored, a when it was computed.
        let [of_y, of_a] = [g.square(y), g.square(a)];
        let of_both = g.add(of_y, of_a);
        let of_both = g.sqrt(of_both);
        let of_both = g.scale(of_both, ROUNDING);
        let of_both = g.mul(of_both, noise);
        g.add(of_branch, of_both)
    }

    /// The shape of `vectors` tensors as the block's input, one after another.
    fn repeated(&self, vectors: usize) -> Shape {
        let mut extents = self.input_shape().extents().to_vec();
        extents[0] *= vectors;
        Shape::from(extents)
    }
}

/// The length of the error, `[n]`, times the margin; [`DIVERGED`] where the contraction `[n]` says that it is unknown.
/// `error` is `[k·n, …]`.
pub(crate) fn bound(g: &mut Graph, error: NodeId, contraction: NodeId) -> NodeId {
    let samples = g.shape(contraction).len();
    let vectors = g.shape(error)[0] / samples;
    let margin = margin(g.shape(error).len() / (vectors * samples));
    let squares = energy(g, error);
    let squares = g.reshape(squares, [vectors, samples]);
    let squares = g.sum(squares, &[0]);
    let mean = g.scale(squares, margin * margin / vectors as f64);
    let length = g.sqrt(mean);
    let one = g.scalar_like(1.0, contraction);
    let contracts = g.less(contraction, one);
    let unknown = g.scalar_like(DIVERGED, length);
    let finite = g.less(length, unknown);
    let known = g.mul(contracts, finite);
    g.select(known, length, unknown)
}

/// Sum of squares of each sample, `[n]`.
fn energy(g: &mut Graph, x: NodeId) -> NodeId {
    let squares = g.square(x);
    g.sum_samples(squares)
}

/// Length of each sample, `[n]`.
fn norm(g: &mut Graph, x: NodeId) -> NodeId {
    let energy = energy(g, x);
    g.sqrt(energy)
}

/// `x` `[n, …]` written `times` times one after another.
fn repeat(g: &mut Graph, x: NodeId, times: usize) -> NodeId {
    if times == 1 {
        return x;
    }
    let mut extents = vec![times];
    extents.extend_from_slice(g.shape(x).extents());
    let copies = g.broadcast(x, extents.clone());
    extents[1] *= times;
    g.reshape(copies, extents[1..].to_vec())
}
