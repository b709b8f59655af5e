//! Functions of one element: a table of name, f64 value, WGSL expression and derivative.

use super::Rule;
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// -x
    Neg,
    /// eˣ
    Exp,
    /// eˣ - 1, accurate near zero
    Expm1,
    /// ln x
    Log,
    /// ln(1 + x), accurate near zero
    Log1p,
    /// 1 / x
    Recip,
    /// √x
    Sqrt,
    /// |x|
    Abs,
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// ln(1 + eˣ), without overflow
    Softplus,
    /// sin x
    Sin,
    /// cos x
    Cos,
    /// the largest whole number not above x; its derivative is taken as zero
    Floor,
    /// 1 where x is a number, 0 where it is infinite or NaN, told by its bits: shader compilers may assume that neither
    /// occurs, and fold comparisons
    IsFinite,
    /// x, with no derivative
    StopGradient,
}

impl Unary {
    /// All members.
    pub const ALL: [Self; 16] = [
        Self::Neg,
        Self::Exp,
        Self::Expm1,
        Self::Log,
        Self::Log1p,
        Self::Recip,
        Self::Sqrt,
        Self::Abs,
        Self::Tanh,
        Self::Sigmoid,
        Self::Softplus,
        Self::Sin,
        Self::Cos,
        Self::Floor,
        Self::IsFinite,
        Self::StopGradient,
    ];

    /// The op's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neg => "neg",
            Self::Exp => "exp",
            Self::Expm1 => "expm1",
            Self::Log => "log",
            Self::Log1p => "log1p",
            Self::Recip => "recip",
            Self::Sqrt => "sqrt",
            Self::Abs => "abs",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Softplus => "softplus",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Floor => "floor",
            Self::IsFinite => "is_finite",
            Self::StopGradient => "stop_gradient",
        }
    }

    /// The value in f64.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Neg => -x,
            Self::Exp => x.exp(),
            Self::Expm1 => x.exp_m1(),
            Self::Log => x.ln(),
            Self::Log1p => x.ln_1p(),
            Self::Recip => 1.0 / x,
            Self::Sqrt => x.sqrt(),
            Self::Abs => x.abs(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Floor => x.floor(),
            Self::IsFinite => f64::from(u8::from(x.is_finite())),
            Self::StopGradient => x,
        }
    }

    /// The WGSL expression of the function at `x`. Functions named `math_*` stand in `shaders/lib/math.wgsl`.
    pub fn wgsl(self, x: &str) -> String {
        match self {
            Self::Neg => format!("(-{x})"),
            Self::Recip => format!("(1.0 / {x})"),
            Self::StopGradient => x.into(),
            Self::Exp | Self::Log | Self::Sqrt | Self::Abs | Self::Floor => {
                format!("{}({x})", self.name())
            }
            Self::Expm1
            | Self::Log1p
            | Self::Tanh
            | Self::Sigmoid
            | Self::Softplus
            | Self::Sin
            | Self::Cos
            | Self::IsFinite => format!("math_{}({x})", self.name()),
        }
    }

    /// Whether computing it costs many instructions.
    pub fn is_costly(self) -> bool {
        !matches!(
            self,
            Self::Neg | Self::Abs | Self::Floor | Self::IsFinite | Self::StopGradient | Self::Recip | Self::Sqrt
        )
    }
}

impl Rule for Unary {
    fn label(&self) -> String {
        self.name().into()
    }

    fn infer(&self, inputs: &[&Shape]) -> Shape {
        inputs[0].clone()
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let y = node;
        let x = g.node(node).inputs[0];
        let cotangent = match self {
            Self::Neg => g.neg(ct),
            Self::Exp => g.mul(ct, y),
            Self::Expm1 => {
                let exp = g.exp(x);
                g.mul(ct, exp)
            }
            Self::Log => g.div(ct, x),
            Self::Log1p => {
                let shifted = g.add_scalar(x, 1.0);
                g.div(ct, shifted)
            }
            Self::Recip => {
                let square = g.square(y);
                let product = g.mul(ct, square);
                g.neg(product)
            }
            Self::Sqrt => {
                let half = g.scale(ct, 0.5);
                g.div(half, y)
            }
            Self::Abs => {
                let zero = g.scalar_like(0.0, x);
                let negative = g.less(x, zero);
                let flipped = g.neg(ct);
                g.select(negative, flipped, ct)
            }
            Self::Tanh => {
                let square = g.square(y);
                let one = g.scalar_like(1.0, x);
                let slope = g.sub(one, square);
                g.mul(ct, slope)
            }
            Self::Sigmoid => {
                let one = g.scalar_like(1.0, x);
                let rest = g.sub(one, y);
                let slope = g.mul(y, rest);
                g.mul(ct, slope)
            }
            Self::Softplus => {
                let slope = g.sigmoid(x);
                g.mul(ct, slope)
            }
            Self::Sin => {
                let slope = g.cos(x);
                g.mul(ct, slope)
            }
            Self::Cos => {
                let slope = g.sin(x);
                let product = g.mul(ct, slope);
                g.neg(product)
            }
            Self::Floor | Self::IsFinite | Self::StopGradient => return vec![None],
        };
        vec![Some(cotangent)]
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        Array::new(shape.clone(), inputs[0].data().iter().map(|&x| self.apply(x)).collect())
    }
}
