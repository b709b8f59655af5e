//! Functions of two elements.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// A function of two elements. Operands have equal shapes; the builder methods broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// the larger; where both are equal the derivative goes to a
    Max,
    /// the smaller; where both are equal the derivative goes to b
    Min,
    /// 1 where a < b, else 0; no derivative
    Less,
    /// 1 where a = b, else 0; no derivative
    Equal,
}

impl Binary {
    /// All members.
    pub const ALL: [Self; 8] =
        [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Max, Self::Min, Self::Less, Self::Equal];

    /// The op's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Max => "max",
            Self::Min => "min",
            Self::Less => "less",
            Self::Equal => "equal",
        }
    }

    /// The value in f64.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
            Self::Less => f64::from(u8::from(a < b)),
            Self::Equal => f64::from(u8::from(a == b)),
        }
    }

    /// The WGSL expression.
    pub fn wgsl(self, a: &str, b: &str) -> String {
        match self {
            Self::Add => format!("({a} + {b})"),
            Self::Sub => format!("({a} - {b})"),
            Self::Mul => format!("({a} * {b})"),
            Self::Div => format!("({a} / {b})"),
            Self::Max => format!("max({a}, {b})"),
            Self::Min => format!("min({a}, {b})"),
            Self::Less => format!("select(0.0, 1.0, {a} < {b})"),
            Self::Equal => format!("select(0.0, 1.0, {a} == {b})"),
        }
    }
}

impl Rule for Binary {
    fn label(&self) -> String {
        self.name().into()
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        assert_eq!(inputs[0], inputs[1], "{}: operands have shapes {} and {}", self.name(), inputs[0], inputs[1]);
        inputs[0].clone()
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        match self {
            Self::Add => vec![Some(ct), Some(ct)],
            Self::Sub => vec![Some(ct), Some(g.neg(ct))],
            Self::Mul => vec![Some(g.mul(ct, b)), Some(g.mul(ct, a))],
            Self::Div => {
                let of_a = g.div(ct, b);
                let product = g.mul(of_a, node);
                vec![Some(of_a), Some(g.neg(product))]
            }
            Self::Max => {
                let zero = g.scalar_like(0.0, ct);
                let second = g.less(a, b);
                vec![Some(g.select(second, zero, ct)), Some(g.select(second, ct, zero))]
            }
            Self::Min => {
                let zero = g.scalar_like(0.0, ct);
                let first = g.less(a, b);
                vec![Some(g.select(first, ct, zero)), Some(g.select(first, zero, ct))]
            }
            Self::Less | Self::Equal => vec![None, None],
        }
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let pairs = inputs[0].data().iter().zip(inputs[1].data());
        Array::new(shape.clone(), pairs.map(|(&a, &b)| self.apply(a, b)).collect())
    }
}
