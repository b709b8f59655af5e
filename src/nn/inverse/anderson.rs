//! Anderson acceleration (type II) of the fixed-point iteration, sample by sample.
//!
//! With g(x) = y - F(x) and r(x) = g(x) - x, the next iterate is xₖ₊₁ = gₖ - Σ γᵢ Δgᵢ, where Δ are differences between
//! consecutive iterates and γ minimises ‖rₖ - Σ γᵢ Δrᵢ‖. It is safeguarded: an iterate whose residual ‖r‖ is not below
//! that of the last accepted one is rejected, and the plain step from that one is taken instead, which the contraction
//! makes succeed; so it converges wherever the plain iteration does. Where even a plain step no longer lowers the
//! residual, rounding (or a branch that does not contract) forbids to go on, and the sample stops.

use super::{DIVERGED, Solved, Stop, at_most, largest, per_sample, rounding_level};
use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::nn::residual::BlockFunction;

/// Number of differences combined.
pub(super) const MEMORY: usize = 2;

/// Added to the diagonal of the normalised Gram matrix: nearly parallel differences are not told apart in f32, and their
/// coefficients must not blow up.
const RIDGE: f64 = 1e-6;

/// Squared lengths below this are nothing.
const NOTHING: f64 = 1e-36;

/// Names of the numbers of each sample that a round takes and gives.
pub(super) const NUMBERS: [&str; 7] = ["iterations", "residual", "energy", "plain", "known", "stuck", "converged"];

/// What they begin with.
pub(super) const START: [f64; 7] = [0.0, DIVERGED, DIVERGED, 1.0, 0.0, 0.0, 0.0];

impl BlockFunction {
    /// Solves x + F(x) = y.
    pub(super) fn anderson(&self, g: &mut Graph, y: NodeId, operands: &[NodeId], stop: Stop) -> Solved {
        let start = START.map(|value| g.constant(value, [self.batch]));
        let history = g.scalar_like(0.0, y);
        let mut arguments = vec![y];
        arguments.extend(start);
        arguments.extend([history; 2 * MEMORY]);
        let state = arguments.len();
        arguments.extend([y, rounding_level(g, y)]);
        arguments.extend(operands);
        let state = g.iterate(&self.anderson_round(stop), state, stop.limit, &arguments);
        Solved { x: state[0], iterations: state[1], residual: state[2], converged: state[NUMBERS.len()] }
    }

    /// One round: (x, numbers…, g and r of the last accepted iterates… | y, operands…) → (the same, another round?).
    fn anderson_round(&self, stop: Stop) -> FunctionRef {
        let mut g = Graph::new();
        let ended = self.anderson_graph(&mut g, stop);
        let one = g.constant(1.0, [self.batch]);
        let still = g.sub(one, ended);
        let flag = g.max_over(still, &[0]);
        g.output("more", flag);
        Function::new(format!("accelerated fixed point {}", self.branch.label()), g)
    }

    /// The round without its last result; gives which samples have ended.
    pub(super) fn anderson_graph(&self, g: &mut Graph, stop: Stop) -> NodeId {
        let x = g.input("x", self.input_shape());
        let [iterations, residual, energy, plain, known, stuck, converged] =
            NUMBERS.map(|name| g.input(name, [self.batch]));
        let past: Vec<[NodeId; 2]> = (0..MEMORY)
            .map(|age| ["g", "r"].map(|name| g.input(format!("{name} {age}"), self.input_shape())))
            .collect();
        let y = g.input("y", self.input_shape());
        let level = g.input("level", [self.batch]);
        let operands = self.operand_inputs(g);

        let f = self.branch.forward(g, x, &operands);
        let image = g.sub(y, f);
        let change = g.sub(image, x);
        let new_residual = largest(g, change);
        let new_energy = dot(g, change, change);

        let one = g.constant(1.0, [self.batch]);
        let ended = g.max(converged, stuck);
        let active = g.sub(one, ended);
        // Comparisons with NaN are false: such an iterate is rejected.
        let falls = g.less(new_energy, energy);
        let accepted = g.mul(active, falls);
        let refused = g.sub(active, accepted);
        let halts = g.mul(refused, plain);
        let returns = g.sub(refused, halts);

        let extrapolated = self.extrapolate(g, image, change, &past, known);
        let arrived = at_most(g, new_residual, stop.tolerance);
        let arrived_wide = per_sample(g, arrived, x);
        let ahead = g.select(arrived_wide, image, extrapolated);
        let [accepted_wide, returns_wide] = [accepted, returns].map(|flag| per_sample(g, flag, x));
        let otherwise = g.select(returns_wide, past[0][0], x);
        let next_x = g.select(accepted_wide, ahead, otherwise);

        // The Picard step that follows a rejection lies on the last accepted iterate's image, so that pair stays known.
        let zero = g.constant(0.0, [self.batch]);
        let was_empty = g.equal(known, zero);
        let more = g.add(known, one);
        let most = g.constant(MEMORY as f64, [self.batch]);
        let more = g.min(more, most);
        let next_known = g.select(returns, one, known);
        let next_known = g.select(accepted, more, next_known);
        let next_plain = g.select(returns, one, plain);
        let next_plain = g.select(accepted, was_empty, next_plain);
        let next_energy = g.select(accepted, new_energy, energy);
        let next_residual = g.select(active, new_residual, residual);
        let next_iterations = g.add(iterations, active);
        let next_stuck = g.max(stuck, halts);
        let small = g.less(new_residual, level);
        let at_level = g.mul(halts, small);
        let arrived = g.mul(arrived, active);
        let arrived = g.max(arrived, at_level);
        let next_converged = g.max(converged, arrived);
        let ended = g.max(next_converged, next_stuck);

        g.output("x", next_x);
        let numbers = [next_iterations, next_residual, next_energy, next_plain, next_known, next_stuck, next_converged];
        for (name, node) in NUMBERS.into_iter().zip(numbers) {
            g.output(name, node);
        }
        for age in 0..MEMORY {
            for (part, name) in ["g", "r"].into_iter().enumerate() {
                let newer = if age == 0 { [image, change][part] } else { past[age - 1][part] };
                let next = g.select(accepted_wide, newer, past[age][part]);
                g.output(format!("{name} {age}"), next);
            }
        }
        ended
    }

    /// gₖ - Σ γᵢ Δgᵢ with the first `known` differences.
    fn extrapolate(&self, g: &mut Graph, image: NodeId, change: NodeId, past: &[[NodeId; 2]], known: NodeId) -> NodeId {
        let mut newer = [image, change];
        let mut differences = Vec::with_capacity(MEMORY);
        for &older in past {
            differences.push([g.sub(newer[0], older[0]), g.sub(newer[1], older[1])]);
            newer = older;
        }
        // Normalised differences: the Gram matrix has ones on its diagonal. An unknown one has scale 0, hence γ = 0.
        let mut scales = Vec::with_capacity(MEMORY);
        for (age, &[_, difference]) in differences.iter().enumerate() {
            let square = dot(g, difference, difference);
            let nothing = g.scalar_like(NOTHING, square);
            let there = g.less(nothing, square);
            let age = g.scalar_like(age as f64, known);
            let is_known = g.less(age, known);
            let there = g.mul(there, is_known);
            let square = g.max(square, nothing);
            let length = g.sqrt(square);
            scales.push(g.div(there, length));
        }
        let one = g.constant(1.0 + RIDGE, [self.batch]);
        let mut matrix = vec![vec![one; MEMORY]; MEMORY];
        let mut right = Vec::with_capacity(MEMORY);
        for i in 0..MEMORY {
            for j in 0..i {
                let product = dot(g, differences[i][1], differences[j][1]);
                let product = g.mul(product, scales[i]);
                let product = g.mul(product, scales[j]);
                (matrix[i][j], matrix[j][i]) = (product, product);
            }
            let product = dot(g, differences[i][1], change);
            right.push(g.mul(product, scales[i]));
        }
        let coefficients = solve(g, matrix, right);
        let mut next = image;
        for ((&[difference, _], scale), coefficient) in differences.iter().zip(scales).zip(coefficients) {
            let coefficient = g.mul(coefficient, scale);
            let coefficient = per_sample(g, coefficient, image);
            let part = g.mul(coefficient, difference);
            next = g.sub(next, part);
        }
        next
    }
}

/// ⟨a, b⟩ of each sample, `[n]`.
fn dot(g: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let product = g.mul(a, b);
    g.sum_samples(product)
}

/// Solves small symmetric positive definite systems, one for each sample, by elimination.
fn solve(g: &mut Graph, mut matrix: Vec<Vec<NodeId>>, mut right: Vec<NodeId>) -> Vec<NodeId> {
    let n = right.len();
    for pivot in 0..n {
        let (above, below) = matrix.split_at_mut(pivot + 1);
        let above = &above[pivot];
        for (row, right_row) in below.iter_mut().zip(pivot + 1..) {
            let factor = g.div(row[pivot], above[pivot]);
            for (entry, &over) in row.iter_mut().zip(above).skip(pivot) {
                let part = g.mul(factor, over);
                *entry = g.sub(*entry, part);
            }
            let part = g.mul(factor, right[pivot]);
            right[right_row] = g.sub(right[right_row], part);
        }
    }
    for row in (0..n).rev() {
        for column in row + 1..n {
            let part = g.mul(matrix[row][column], right[column]);
            right[row] = g.sub(right[row], part);
        }
        right[row] = g.div(right[row], matrix[row][row]);
    }
    right
}
