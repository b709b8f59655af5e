//! The closed set of operations.
//!
//! Every op is a struct of attributes that implements [`Rule`]: its shape, its derivative, its value in f64. The set is
//! closed under differentiation: a derivative is built of the same ops, so gradients of gradients need no further code.
//! Layers are compositions of ops and live in [`crate::nn`].

pub mod arrange;
pub mod binary;
pub mod call;
pub mod conv2d;
pub mod join;
pub mod matmul;
pub mod random;
pub mod reduce;
#[doc(hidden)]
pub mod samples;
pub mod select;
pub mod source;
pub mod unary;

use crate::graph::{FunctionRef, Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// An operation with its attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The graph's input with this number.
    Input(usize),
    /// One number everywhere.
    Constant(source::Constant),
    /// Each element's index along an axis.
    Iota(source::Iota),
    /// A function of one element.
    Unary(unary::Unary),
    /// A function of two elements.
    Binary(binary::Binary),
    /// The second operand where the first is not zero, else the third.
    Select(select::Select),
    /// The same elements in order, under another shape.
    Reshape(arrange::Reshape),
    /// Axes in another order.
    Permute(arrange::Permute),
    /// Axes of extent one repeated.
    Broadcast(arrange::Broadcast),
    /// A box cut out.
    Slice(arrange::Slice),
    /// Zeros around.
    Pad(arrange::Pad),
    /// Tensors of one shape in a row.
    Stack(arrange::Stack),
    /// Tensors one after another in memory.
    Join(join::Join),
    /// Sum or maximum over axes.
    Reduce(reduce::Reduce),
    /// Batched matrix product.
    MatMul(matmul::MatMul),
    /// Convolution in one of its three roles.
    Conv2d(conv2d::Conv2d),
    /// Numbers from the counter-based generator.
    Random(random::Random),
    /// A call of a function; its results are taken with `Get`.
    Call(FunctionRef),
    /// One result of a call or an iteration.
    Get(call::Get),
    /// A function applied until it says stop.
    Iterate(call::Iterate),
}

/// What an op is.
pub trait Rule {
    /// Name and attributes, as graphs and plans print them.
    fn label(&self) -> String;

    /// Shape of the result. Panics, at the caller, where the operands do not fit.
    fn infer(&self, inputs: &[&Shape]) -> Shape;

    /// Vector-Jacobian product: given the cotangent `ct` of `node`, the cotangent of each operand, `None` where there is
    /// no derivative. Adds nodes to the graph and must not panic.
    fn vjp(&self, graph: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>>;

    /// The value in f64, by the plainest loop. This is the op's specification.
    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array;
}

/// Evaluates `$body` with `$rule` bound to the rule of `$op`, of its own type.
macro_rules! with_rule {
    ($op:expr, $rule:ident => $body:expr) => {
        match $op {
            Op::Input(_) => {
                let $rule = &source::InputRule;
                $body
            }
            Op::Constant($rule) => $body,
            Op::Iota($rule) => $body,
            Op::Unary($rule) => $body,
            Op::Binary($rule) => $body,
            Op::Select($rule) => $body,
            Op::Reshape($rule) => $body,
            Op::Permute($rule) => $body,
            Op::Broadcast($rule) => $body,
            Op::Slice($rule) => $body,
            Op::Pad($rule) => $body,
            Op::Stack($rule) => $body,
            Op::Join($rule) => $body,
            Op::Reduce($rule) => $body,
            Op::MatMul($rule) => $body,
            Op::Conv2d($rule) => $body,
            Op::Random($rule) => $body,
            Op::Call($rule) => $body,
            Op::Get($rule) => $body,
            Op::Iterate($rule) => $body,
        }
    };
}

impl Op {
    // Rules are called by their own types and not through `dyn`: so a panic is reported at the caller, and a program that
    // does not interpret contains no interpreter.

    /// Name and attributes: [`Rule::label`].
    pub fn label(&self) -> String {
        with_rule!(self, rule => rule.label())
    }

    /// Vector-Jacobian product: [`Rule::vjp`].
    pub fn vjp(&self, graph: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        with_rule!(self, rule => rule.vjp(graph, node, ct))
    }

    /// The value in f64: [`Rule::eval`].
    pub fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        with_rule!(self, rule => rule.eval(inputs, shape))
    }

    /// Shape of the result: [`Rule::infer`].
    #[track_caller]
    pub fn infer(&self, inputs: &[&Shape]) -> Shape {
        with_rule!(self, rule => rule.infer(inputs))
    }

    /// How many operands the op takes.
    pub fn arity(&self) -> usize {
        match self {
            Self::Input(_) | Self::Constant(_) | Self::Iota(_) => 0,
            Self::Unary(_)
            | Self::Reshape(_)
            | Self::Permute(_)
            | Self::Broadcast(_)
            | Self::Slice(_)
            | Self::Pad(_)
            | Self::Reduce(_)
            | Self::Random(_)
            | Self::Get(_) => 1,
            Self::Binary(_) | Self::MatMul(_) | Self::Conv2d(_) => 2,
            Self::Select(_) => 3,
            Self::Stack(stack) => stack.count,
            Self::Join(join) => join.parts,
            Self::Call(function) => function.graph().inputs().len(),
            Self::Iterate(iterate) => iterate.body.graph().inputs().len(),
        }
    }

    /// Whether each element of the result follows from elements of the operands by a formula, so that the op can be
    /// computed inside another kernel.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Self::Constant(_) | Self::Iota(_) | Self::Unary(_) | Self::Binary(_) | Self::Select(_) | Self::Random(_)
        ) || self.is_arrangement()
    }

    /// Whether the op only moves elements.
    pub fn is_arrangement(&self) -> bool {
        matches!(self, Self::Reshape(_) | Self::Permute(_) | Self::Broadcast(_) | Self::Slice(_) | Self::Pad(_))
    }
}
