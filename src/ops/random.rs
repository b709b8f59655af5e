//! Random numbers as an op.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::random::{Distribution, Key};
use crate::shape::Shape;

/// Numbers drawn from `distribution` by the counter-based generator ([`crate::random`]). The operand is a key: a vector
/// whose first four elements are whole numbers below 2²⁴, the two halves of the seed, the step and the stream. The same
/// key gives the same numbers.
///
/// A fifth element, where the key has one, is a number of rows (slices along the leading axis) that are passed over: so
/// the part of a batch that begins at sample f draws what the whole batch draws for these samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Random {
    /// What is drawn.
    pub distribution: Distribution,
    /// Shape of the result.
    pub shape: Shape,
    /// Which of the key's numbers the first element is; the others follow in order.
    pub offset: usize,
}

impl Random {
    /// Numbers in a row.
    pub(crate) fn row(&self) -> usize {
        self.shape.extents().get(1..).unwrap_or_default().iter().product()
    }
}

impl Rule for Random {
    fn label(&self) -> String {
        let from = if self.offset == 0 { String::new() } else { format!(" from {}", self.offset) };
        format!("random {}{from}", self.distribution.name())
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let fits = inputs[0].rank() == 1 && inputs[0].len() >= 4;
        assert!(fits, "random: the key must be a vector of at least 4 numbers, got {}", inputs[0]);
        self.shape.clone()
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId) -> Vec<Option<NodeId>> {
        vec![None]
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let words: [u32; 4] = std::array::from_fn(|word| inputs[0].data()[word] as u32);
        let key = Key::from_words(words);
        let first = self.offset + inputs[0].data().get(4).map_or(0, |&rows| rows as usize * self.row());
        let draw = |index| self.distribution.draw(key, (first + index) as u32);
        Array::new(shape.clone(), (0..shape.len()).map(draw).collect())
    }
}
