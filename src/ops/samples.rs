//! Small problems of every op, so that a test of "all ops" needs to know none of them.
//!
//! Tests of derivatives and of kernels run over [`samples`]; a test asserts that each op occurs, so an op added without
//! samples is noticed. Values are f32 numbers held in f64, so that the interpreter and a GPU see the same input, and
//! stay clear of kinks and poles by more than the steps of a difference quotient.

mod arrangements;
mod contractions;
mod elements;
mod functions;

use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// A graph with values for its inputs.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it shows.
    pub name: String,
    /// The problem, with at least one output.
    pub graph: Graph,
    /// Values of the graph's inputs, in order.
    pub values: Vec<Array>,
    /// The inputs (by number) in which the outputs are differentiable at these values, and whose derivative is not
    /// declared to be something else (as by `stop_gradient`).
    pub wrt: Vec<usize>,
}

/// Problems of every op, with values that follow from `seed`.
pub fn samples(seed: u64) -> Vec<Sample> {
    let mut random = Draw::new(seed);
    let mut all = Vec::new();
    elements::collect(&mut random, &mut all);
    arrangements::collect(&mut random, &mut all);
    contractions::collect(&mut random, &mut all);
    functions::collect(&mut random, &mut all);
    all
}

/// Pseudo-random numbers for samples: splitmix64. Not the generator of [`crate::random`], which is under test itself.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// Whether an event of probability one in `odds` happens.
    pub fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    /// One of `choices`.
    pub fn choose<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// A uniform number between `low` and `high`, rounded to f32.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        f64::from((low + (high - low) * unit) as f32)
    }

    /// Uniform numbers between `low` and `high`.
    pub fn between(&mut self, shape: &Shape, low: f64, high: f64) -> Array {
        Array::new(shape.clone(), (0..shape.len()).map(|_| self.uniform(low, high)).collect())
    }

    /// Numbers of either sign whose magnitudes lie between `low` and `high`.
    pub fn signed(&mut self, shape: &Shape, low: f64, high: f64) -> Array {
        let mut one = || if self.one_in(2) { self.uniform(low, high) } else { self.uniform(-high, -low) };
        Array::new(shape.clone(), (0..shape.len()).map(|_| one()).collect())
    }

    /// Numbers around zero that differ pairwise by at least `gap`.
    pub fn distinct(&mut self, shape: &Shape, gap: f64) -> Array {
        let mut ranks: Vec<usize> = (0..shape.len()).collect();
        for last in (1..ranks.len()).rev() {
            ranks.swap(last, self.below(last + 1));
        }
        let middle = shape.len() as f64 / 2.0;
        // Twice the gap between places, up to half a gap of jitter.
        let place = |rank: usize, jitter: f64| f64::from((2.0 * gap * (rank as f64 - middle) + jitter) as f32);
        let data = ranks.into_iter().map(|rank| place(rank, self.uniform(0.0, 0.5 * gap))).collect();
        Array::new(shape.clone(), data)
    }

    /// Zeros and ones.
    pub fn booleans(&mut self, shape: &Shape) -> Array {
        Array::new(shape.clone(), (0..shape.len()).map(|_| self.below(2) as f64).collect())
    }
}

/// A sample under construction.
struct Builder<'a> {
    graph: Graph,
    values: Vec<Array>,
    wrt: Vec<usize>,
    draw: &'a mut Draw,
}

impl<'a> Builder<'a> {
    fn new(draw: &'a mut Draw) -> Self {
        Self { graph: Graph::new(), values: Vec::new(), wrt: Vec::new(), draw }
    }

    /// An input with this value, in which the outputs are differentiable.
    fn variable(&mut self, value: Array) -> NodeId {
        self.wrt.push(self.values.len());
        self.fixed(value)
    }

    /// An input with this value, in which they are not.
    fn fixed(&mut self, value: Array) -> NodeId {
        let id = self.graph.input(format!("x{}", self.values.len()), value.shape());
        self.values.push(value);
        id
    }

    /// An input of moderate numbers of both signs.
    fn moderate(&mut self, shape: impl Into<Shape>) -> NodeId {
        let value = self.draw.between(&shape.into(), -1.5, 1.5);
        self.variable(value)
    }

    fn finish(mut self, name: impl Into<String>, outputs: &[NodeId]) -> Sample {
        for (index, &output) in outputs.iter().enumerate() {
            self.graph.output(format!("y{index}"), output);
        }
        Sample { name: name.into(), graph: self.graph, values: self.values, wrt: self.wrt }
    }
}
