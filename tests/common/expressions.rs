//! Random expression graphs, for fuzzing whatever takes a graph.
//!
//! An expression grows node by node through the builder, and each step is also evaluated directly, op by op, without
//! the builder's simplifications: once in f64 and once with every result rounded to f32. The first gives what the
//! outputs must be, the second keeps the expression well-conditioned: a step after which the two differ visibly is
//! dropped (its node stays, dead). Discontinuous ops are applied only where rounding cannot change the outcome.

#[path = "expressions/contractions.rs"]
mod contractions;

use iresnet::graph::{Function, Graph, NodeId};
use iresnet::interpret::Array;
use iresnet::ops::Op;
use iresnet::ops::arrange::{Broadcast, Pad, Permute, Reshape, Slice};
use iresnet::ops::binary::Binary;
use iresnet::ops::reduce::{Kind, Reduce};
use iresnet::ops::samples::Draw;
use iresnet::ops::select::Select;
use iresnet::ops::source::{Constant, Iota};
use iresnet::ops::unary::Unary;
use iresnet::shape::Shape;

/// Largest number of elements of an intermediate value.
const MOST_ELEMENTS: usize = 1500;

/// Largest magnitude of an intermediate value.
const LARGEST: f64 = 1e3;

/// How far rounding every step to f32 may move a value, relative to the largest of its tensor or one.
const CONDITION: f64 = 3e-6;

/// Elements this far apart stay in order when computed in f32; see [`CONDITION`], with magnitudes up to [`LARGEST`].
const APART: f64 = 1e-2;

/// A random graph, values for its inputs, and the values its outputs must have.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    /// The graph.
    pub(crate) graph: Graph,
    /// Values of the inputs, in order: f32 numbers.
    pub(crate) values: Vec<Array>,
    /// Values of the outputs, in order, in f64, evaluated without the graph.
    pub(crate) expected: Vec<Array>,
}

/// An expression of about `size` steps that follows from `seed`. Among its outputs may be inputs, constants, one node
/// several times, and outputs named like an input of equal shape, which on a GPU update that tensor after the run.
pub(crate) fn expression(seed: u64, size: usize) -> Expression {
    let mut grower = Grower::new(Draw::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ size as u64), true);
    grower.grow(size);
    grower.finish()
}

/// A value known to the builder, with what it evaluates to.
#[derive(Clone, Debug)]
struct Entry {
    id: NodeId,
    value: Array,
    rounded: Array,
    /// Whether f32 arithmetic gives the very same numbers: inputs, indices, truth values, and these moved about.
    exact: bool,
}

impl Entry {
    fn shape(&self) -> Shape {
        self.value.shape().clone()
    }

    fn all(&self, test: impl Fn(f64) -> bool) -> bool {
        self.value.data().iter().all(|&x| test(x))
    }
}

struct Grower {
    draw: Draw,
    graph: Graph,
    values: Vec<Array>,
    pool: Vec<Entry>,
    with_calls: bool,
}

/// Evaluates `op` directly.
fn direct(op: &Op, operands: &[&Array]) -> Array {
    let shapes: Vec<&Shape> = operands.iter().map(|array| array.shape()).collect();
    op.eval(operands, &op.infer(&shapes))
}

fn round(mut array: Array) -> Array {
    array.data_mut().iter_mut().for_each(|x| *x = f64::from(*x as f32));
    array
}

impl Grower {
    fn new(draw: Draw, with_calls: bool) -> Self {
        let mut grower = Self { draw, graph: Graph::new(), values: Vec::new(), pool: Vec::new(), with_calls };
        for _ in 0..1 + grower.draw.below(3) {
            let shape = grower.shape();
            let input = grower.input(shape);
            grower.pool.push(input);
        }
        grower
    }

    fn shape(&mut self) -> Shape {
        let rank = self.draw.choose(&[0, 1, 2, 2, 3, 3, 4, 4, 4]);
        Shape::from((0..rank).map(|_| self.draw.choose(&[1, 2, 2, 3, 4, 5, 6])).collect::<Vec<_>>())
    }

    fn input(&mut self, shape: Shape) -> Entry {
        let value = self.draw.signed(&shape, 0.05, 2.0);
        let id = self.graph.input(format!("x{}", self.values.len()), shape);
        self.values.push(value.clone());
        Entry { id, rounded: value.clone(), value, exact: true }
    }

    /// The node `id` with the direct evaluation of `op`, unless it is too large or badly conditioned.
    fn entry(&self, id: NodeId, op: &Op, operands: &[&Entry]) -> Option<Entry> {
        let values: Vec<&Array> = operands.iter().map(|entry| &entry.value).collect();
        let rounded: Vec<&Array> = operands.iter().map(|entry| &entry.rounded).collect();
        let truth = matches!(op, Op::Binary(Binary::Less | Binary::Equal) | Op::Unary(Unary::Floor | Unary::IsFinite));
        let exact = (op.is_arrangement() || truth || matches!(op, Op::Constant(_) | Op::Iota(_) | Op::Select(_)))
            && operands.iter().all(|entry| truth || entry.exact);
        Self::judged(id, direct(op, &values), round(direct(op, &rounded)), exact)
    }

    fn judged(id: NodeId, value: Array, rounded: Array, exact: bool) -> Option<Entry> {
        let largest = value.data().iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let finite = value.data().iter().all(|x| x.is_finite());
        let pairs = value.data().iter().zip(rounded.data());
        let close = pairs.fold(0.0f64, |most, (a, b)| most.max((a - b).abs())) <= CONDITION * largest.max(1.0);
        (finite && close && largest <= LARGEST && value.shape().len() <= MOST_ELEMENTS).then_some(Entry {
            id,
            value,
            rounded,
            exact,
        })
    }

    /// A value made before, later ones more often, so that chains grow long and are shared.
    fn pick(&mut self) -> Entry {
        let back = self.draw.below(self.pool.len()).min(self.draw.below(self.pool.len()));
        self.pool[self.pool.len() - 1 - back].clone()
    }

    fn grow(&mut self, size: usize) {
        for _ in 0..size {
            if let Some(entry) = self.step() {
                self.pool.push(entry);
            }
        }
    }

    fn step(&mut self) -> Option<Entry> {
        let x = self.pick();
        match self.draw.below(30) {
            0..=5 => self.unary(&x),
            6..=11 => self.binary(&x),
            12 => self.select(&x),
            13 | 14 => self.reshape(&x),
            15 | 16 => self.permute(&x),
            17 => self.broadcast(&x),
            18 => self.slice(&x),
            19 => self.pad(&x),
            20 | 21 => self.reduce(&x),
            22 => self.matmul(&x),
            23 => self.convolution(&x),
            24 => self.concat(&x),
            25 => Some(self.source()),
            26 | 27 => self.trivial(&x),
            28 if self.with_calls => self.call(),
            _ => self.normalise(&x),
        }
    }

    fn apply_unary(&mut self, op: Unary, x: &Entry) -> Option<Entry> {
        let id = self.graph.unary(op, x.id);
        self.entry(id, &Op::Unary(op), &[x])
    }

    /// A function of one element, of a value brought into its domain first where need be.
    fn unary(&mut self, x: &Entry) -> Option<Entry> {
        let op = self.draw.choose(&Unary::ALL);
        let x = match op {
            Unary::Log | Unary::Sqrt if !x.all(|x| x > 0.1) => &self.at_least(x, 0.5)?,
            Unary::Recip if !x.all(|x| x.abs() > 0.3) => &self.at_least(x, 0.5)?,
            Unary::Log1p if !x.all(|x| x > -0.7) => &self.apply_unary(Unary::Abs, x)?,
            Unary::Exp | Unary::Expm1 | Unary::Sin | Unary::Cos if !x.all(|x| x.abs() < 3.0) => {
                &self.apply_unary(Unary::Tanh, x)?
            }
            Unary::Floor if !x.all(|x| (x - x.round()).abs() > APART) => return None,
            _ => x,
        };
        self.apply_unary(op, x)
    }

    /// |x| + least
    fn at_least(&mut self, x: &Entry, least: f64) -> Option<Entry> {
        let x = self.apply_unary(Unary::Abs, x)?;
        let constant = self.constant(least, x.value.shape());
        self.apply_binary(Binary::Add, &x, &constant)
    }

    fn constant(&mut self, value: f64, shape: &Shape) -> Entry {
        let id = self.graph.constant(value, shape);
        let value = Array::full(shape, value);
        Entry { id, rounded: round(value.clone()), value, exact: true }
    }

    /// `x` reshaped and broadcast to `shape`, directly only: the builder does it by itself.
    fn spread(x: &Entry, shape: &Shape) -> Entry {
        let mut extents = vec![1; shape.rank() - x.value.shape().rank()];
        extents.extend_from_slice(x.value.shape().extents());
        let (reshape, broadcast) =
            (Op::Reshape(Reshape { shape: Shape::from(extents) }), Op::Broadcast(Broadcast { shape: shape.clone() }));
        let spread = |array: &Array| direct(&broadcast, &[&direct(&reshape, &[array])]);
        Entry { value: spread(&x.value), rounded: spread(&x.rounded), ..x.clone() }
    }

    /// The shape both are broadcast to, if they can be.
    fn joint_shape(x: &Shape, y: &Shape) -> Option<Shape> {
        let rank = x.rank().max(y.rank());
        let at = |shape: &Shape, axis: usize| (axis + shape.rank()).checked_sub(rank).map_or(1, |axis| shape[axis]);
        let joined: Option<Vec<usize>> = (0..rank)
            .map(|axis| match (at(x, axis), at(y, axis)) {
                (a, b) if a == b || b == 1 => Some(a),
                (1, b) => Some(b),
                _ => None,
            })
            .collect();
        joined.map(Shape::from).filter(|shape| shape.len() <= MOST_ELEMENTS)
    }

    fn apply_binary(&mut self, op: Binary, x: &Entry, y: &Entry) -> Option<Entry> {
        let shape = Self::joint_shape(x.value.shape(), y.value.shape())?;
        let (left, right) = (Self::spread(x, &shape), Self::spread(y, &shape));
        let mut pairs = left.value.data().iter().zip(right.value.data());
        let decided = x.exact && y.exact || pairs.all(|(a, b)| (a - b).abs() > APART);
        if matches!(op, Binary::Less | Binary::Equal) && !decided {
            return None;
        }
        let id = self.graph.binary(op, x.id, y.id);
        self.entry(id, &Op::Binary(op), &[&left, &right])
    }

    /// A value that can be broadcast with `x`: an earlier one, a new input, or a constant.
    fn partner(&mut self, x: &Entry) -> Entry {
        for _ in 0..6 {
            let y = self.pick();
            if Self::joint_shape(x.value.shape(), y.value.shape()).is_some() {
                return y;
            }
        }
        let extents: Vec<usize> = x.value.shape().extents().to_vec();
        let skip = self.draw.below(extents.len() + 1);
        let shape: Vec<usize> = extents[skip..].iter().map(|&e| if self.draw.one_in(3) { 1 } else { e }).collect();
        let value = self.draw.uniform(-2.0, 2.0);
        match self.draw.below(3) {
            0 => self.constant(value, &Shape::from(shape)),
            _ => self.input(Shape::from(shape)),
        }
    }

    fn binary(&mut self, x: &Entry) -> Option<Entry> {
        let y = self.partner(x);
        let op = self.draw.choose(&Binary::ALL);
        if op == Binary::Div && !y.all(|y| y.abs() > 0.3) {
            let y = self.at_least(&y, 0.5)?;
            return self.apply_binary(op, x, &y);
        }
        if self.draw.one_in(2) { self.apply_binary(op, x, &y) } else { self.apply_binary(op, &y, x) }
            .filter(|entry| op != Binary::Div || entry.all(|x| x.abs() < 100.0))
    }

    fn select(&mut self, x: &Entry) -> Option<Entry> {
        let y = self.partner(x);
        let condition = self.partner(x);
        let shape = Self::joint_shape(x.value.shape(), y.value.shape())?;
        let shape = Self::joint_shape(&shape, condition.value.shape())?;
        let condition = if condition.exact || condition.all(|c| c.abs() > APART) {
            condition
        } else {
            let zero = self.constant(0.0, condition.value.shape());
            self.apply_binary(Binary::Less, &condition, &zero)?
        };
        let id = self.graph.select(condition.id, x.id, y.id);
        let [condition, x, y] = [&condition, x, &y].map(|entry| Self::spread(entry, &shape));
        self.entry(id, &Op::Select(Select), &[&condition, &x, &y])
    }

    fn apply_reshape(&mut self, x: &Entry, shape: Vec<usize>) -> Option<Entry> {
        let id = self.graph.reshape(x.id, shape.clone());
        self.entry(id, &Op::Reshape(Reshape { shape: shape.into() }), &[x])
    }

    fn reshape(&mut self, x: &Entry) -> Option<Entry> {
        let mut extents = x.value.shape().extents().to_vec();
        let rank = extents.len();
        match self.draw.below(4) {
            0 if rank > 1 => {
                let axis = self.draw.below(rank - 1);
                extents[axis] *= extents.remove(axis + 1);
            }
            1 if rank > 0 && rank < 5 => {
                let axis = self.draw.below(rank);
                let divisors: Vec<usize> = (1..=extents[axis]).filter(|&d| extents[axis].is_multiple_of(d)).collect();
                let divisor = self.draw.choose(&divisors);
                extents[axis] /= divisor;
                extents.insert(axis + 1, divisor);
            }
            2 => extents.retain(|&extent| extent != 1),
            _ => extents = vec![x.value.shape().len()],
        }
        self.apply_reshape(x, extents)
    }

    fn permute(&mut self, x: &Entry) -> Option<Entry> {
        let mut order: Vec<usize> = (0..x.value.shape().rank()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.draw.below(last + 1));
        }
        let id = self.graph.permute(x.id, &order);
        self.entry(id, &Op::Permute(Permute { order }), &[x])
    }

    fn broadcast(&mut self, x: &Entry) -> Option<Entry> {
        let mut extents = x.value.shape().extents().to_vec();
        for extent in &mut extents {
            if *extent == 1 && !self.draw.one_in(3) {
                *extent = 2 + self.draw.below(3);
            }
        }
        if extents.len() < 4 && self.draw.one_in(2) {
            extents.insert(0, 1 + self.draw.below(3));
        }
        let shape = Shape::from(extents);
        let id = self.graph.broadcast(x.id, &shape);
        let spread = Self::spread(x, &shape);
        Self::judged(id, spread.value, spread.rounded, x.exact)
    }

    fn slice(&mut self, x: &Entry) -> Option<Entry> {
        let extents = x.value.shape().extents().to_vec();
        let start: Vec<usize> =
            extents.iter().map(|&e| if self.draw.one_in(2) { 0 } else { self.draw.below(e) }).collect();
        let end: Vec<usize> = extents
            .iter()
            .zip(&start)
            .map(|(&e, &s)| if self.draw.one_in(2) { e } else { s + 1 + self.draw.below(e - s) })
            .collect();
        let id = self.graph.slice(x.id, &start, &end);
        self.entry(id, &Op::Slice(Slice { start, end }), &[x])
    }

    fn pad(&mut self, x: &Entry) -> Option<Entry> {
        let rank = x.value.shape().rank();
        let mut few = || (0..rank).map(|_| self.draw.choose(&[0, 0, 1, 2])).collect::<Vec<usize>>();
        let (low, high) = (few(), few());
        let id = self.graph.pad(x.id, &low, &high);
        self.entry(id, &Op::Pad(Pad { low, high }), &[x])
    }

    fn apply_reduce(&mut self, kind: Kind, x: &Entry, axes: Vec<usize>) -> Option<Entry> {
        let id = if kind == Kind::Sum { self.graph.sum_keep(x.id, &axes) } else { self.graph.max_keep(x.id, &axes) };
        self.entry(id, &Op::Reduce(Reduce { kind, axes }), &[x])
    }

    fn reduce(&mut self, x: &Entry) -> Option<Entry> {
        let rank = x.value.shape().rank();
        let axes: Vec<usize> = (0..rank).filter(|_| self.draw.one_in(2)).collect();
        let kind = self.draw.choose(&[Kind::Sum, Kind::Sum, Kind::Max]);
        let kept = self.apply_reduce(kind, x, axes.clone())?;
        if self.draw.one_in(2) {
            return Some(kept);
        }
        let extents = (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| x.value.shape()[axis]).collect();
        self.apply_reshape(&kept, extents)
    }

    /// (x - max x) through an exponential, over its sum: a broadcast of reductions that feeds a reduction.
    fn normalise(&mut self, x: &Entry) -> Option<Entry> {
        let axis = x.value.shape().rank().checked_sub(1)?;
        let largest = self.apply_reduce(Kind::Max, x, vec![axis])?;
        let shifted = self.apply_binary(Binary::Sub, x, &largest)?;
        if !shifted.all(|x| x > -20.0) {
            return Some(shifted);
        }
        let exponentials = self.apply_unary(Unary::Exp, &shifted)?;
        let total = self.apply_reduce(Kind::Sum, &exponentials, vec![axis])?;
        self.pool.push(exponentials.clone());
        self.apply_binary(Binary::Div, &exponentials, &total)
    }

    fn concat(&mut self, x: &Entry) -> Option<Entry> {
        let rank = x.value.shape().rank();
        if rank == 0 {
            return None;
        }
        let axis = self.draw.below(rank);
        let like = self.pool.iter().filter(|entry| entry.value.shape() == x.value.shape()).cloned().collect::<Vec<_>>();
        let y = self.draw.choose(&like);
        let id = self.graph.concat(&[x.id, y.id, x.id], axis);
        let extent = x.value.shape()[axis];
        let (mut low, mut high) = (vec![0; rank], vec![0; rank]);
        let mut padded = Vec::new();
        for (place, entry) in [x, &y, x].into_iter().enumerate() {
            (low[axis], high[axis]) = (place * extent, (2 - place) * extent);
            let op = Op::Pad(Pad { low: low.clone(), high: high.clone() });
            padded.push(Entry {
                value: direct(&op, &[&entry.value]),
                rounded: direct(&op, &[&entry.rounded]),
                ..entry.clone()
            });
        }
        let add = Op::Binary(Binary::Add);
        let first = self.entry(id, &add, &[&padded[0], &padded[1]])?;
        let exact = x.exact && y.exact;
        self.entry(id, &add, &[&first, &padded[2]]).map(|entry| Entry { exact, ..entry })
    }

    fn source(&mut self) -> Entry {
        let shape = self.shape();
        if shape.rank() == 0 || self.draw.one_in(2) {
            let value = self.draw.choose(&[0.0, 1.0, -1.0, 0.5, 3.25, -2.0]);
            let id = self.graph.constant(value, &shape);
            let op = Op::Constant(Constant { value: value.into(), shape });
            return self.entry(id, &op, &[]).expect("constants are small");
        }
        let axis = self.draw.below(shape.rank());
        let id = self.graph.iota(&shape, axis);
        self.entry(id, &Op::Iota(Iota { shape, axis }), &[]).expect("indices are small")
    }

    /// Steps that simplification should see through.
    fn trivial(&mut self, x: &Entry) -> Option<Entry> {
        let op = self.draw.choose(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Div]);
        let value = self.draw.choose(&[0.0, 1.0, -1.0]);
        match self.draw.below(6) {
            0 if op != Binary::Div || value != 0.0 => {
                let shape = if self.draw.one_in(2) { x.shape() } else { Shape::scalar() };
                let constant = self.constant(value, &shape);
                self.apply_binary(op, x, &constant)
            }
            1 if op != Binary::Div => {
                let constant = self.constant(value, x.value.shape());
                self.apply_binary(op, &constant, x)
            }
            2 => {
                let once = self.apply_unary(Unary::Neg, x)?;
                self.apply_unary(Unary::Neg, &once)
            }
            3 => {
                let once = self.permute(x)?;
                self.permute(&once)
            }
            4 => {
                let once = self.reshape(x)?;
                self.reshape(&once)
            }
            _ if op != Binary::Div => self.apply_binary(op, x, x),
            _ => {
                let condition = self.constant(value, x.value.shape());
                let id = self.graph.select(condition.id, x.id, condition.id);
                self.entry(id, &Op::Select(Select), &[&condition, x, &condition])
            }
        }
    }

    /// A call of a function that is itself a random expression; all its results are values from here on.
    fn call(&mut self) -> Option<Entry> {
        let mut inner = Self::new(Draw::new(self.draw.bits()), false);
        inner.grow(6);
        let inner = inner.finish();
        let arguments: Vec<Entry> = inner
            .values
            .iter()
            .map(|value| {
                let entry = self.input(value.shape().clone());
                self.values.pop();
                self.values.push(value.clone());
                Entry { value: value.clone(), rounded: value.clone(), ..entry }
            })
            .collect();
        let function = Function::new(format!("function {}", self.graph.len()), inner.graph);
        let ids: Vec<NodeId> = arguments.iter().map(|entry| entry.id).collect();
        let results = self.graph.call(&function, &ids);
        for (id, value) in results.into_iter().zip(inner.expected) {
            let rounded = round(value.clone());
            self.pool.extend(Self::judged(id, value, rounded, false));
        }
        self.pool.extend(arguments);
        None
    }

    fn finish(mut self) -> Expression {
        let count = 1 + self.draw.below(5);
        let mut expected = Vec::new();
        let last = self.pool.last().cloned().expect("a grower starts with inputs");
        self.graph.output("y0", last.id);
        expected.push(last.value);
        for number in 1..=count {
            let entry = if self.draw.one_in(4) { self.draw.choose(&self.pool) } else { self.pick() };
            self.graph.output(format!("y{number}"), entry.id);
            expected.push(entry.value);
        }
        // Updates of inputs, some from values that depend on other updated inputs.
        for number in 0..self.values.len() {
            let fitting: Vec<Entry> =
                self.pool.iter().filter(|entry| entry.value.shape() == self.values[number].shape()).cloned().collect();
            if !fitting.is_empty() && self.draw.one_in(4) {
                let entry = self.draw.choose(&fitting);
                self.graph.output(format!("x{number}"), entry.id);
                expected.push(entry.value);
            }
        }
        Expression { graph: self.graph, values: self.values, expected }
    }
}
