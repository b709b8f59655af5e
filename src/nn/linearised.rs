//! A residual branch at a point, and its derivative there: products with the Jacobian and with its transpose.
//!
//! Automatic differentiation gives the same products. Written out they can be put into a function of their own, whose
//! arguments are the slopes of the activations, so that many products at one point compute these once.

use super::activation::Activation;
use super::residual::{Branch, Member};
use crate::graph::{Graph, NodeId};
use crate::ops::conv2d::Geometry;
use crate::shape::Shape;

/// One factor of the Jacobian, in the order of application.
#[derive(Clone, Debug)]
enum Factor {
    /// An elementwise activation: its input, and β where it has one.
    Elementwise { input: NodeId, beta: Option<NodeId> },
    /// The slopes of an elementwise activation.
    Slopes(NodeId),
    /// An activation of several elements: its input.
    Pairs(NodeId),
    /// A layer's weight.
    Layer(NodeId),
}

/// F(x), and what its derivative at x is made of.
#[derive(Clone, Debug)]
pub struct Linearised {
    activation: Activation,
    at: NodeId,
    value: NodeId,
    factors: Vec<Factor>,
}

impl Branch {
    /// F at `x` `[n, …]`, ready for products with its derivative; `operands` as for [`forward`](Self::forward).
    #[track_caller]
    pub fn linearise(&self, g: &mut Graph, x: NodeId, operands: &[NodeId]) -> Linearised {
        let mut operands = operands.iter().copied();
        let mut take = || operands.next().expect("as many operands as Branch::operands names");
        let mut value = x;
        let mut factors = Vec::new();
        for member in &self.members {
            match member {
                Member::Activation => {
                    let beta = self.activation.has_beta().then(&mut take);
                    factors.push(match self.activation {
                        Activation::MaxMin => Factor::Pairs(value),
                        _ => Factor::Elementwise { input: value, beta },
                    });
                    value = self.activation.apply(g, value, beta);
                }
                Member::Layer(_) => {
                    let (weight, bias) = (take(), take());
                    value = self.layer(g, value, weight, bias);
                    factors.push(Factor::Layer(weight));
                }
            }
        }
        Linearised { activation: self.activation, at: x, value, factors }
    }
}

impl Linearised {
    /// F(x).
    pub fn value(&self) -> NodeId {
        self.value
    }

    /// x.
    pub fn at(&self) -> NodeId {
        self.at
    }

    /// J v for v of x's shape, or for several v for each sample, `[k·n, …]`: one of every sample, then the next.
    #[track_caller]
    pub fn product(&self, g: &mut Graph, v: NodeId) -> NodeId {
        let mut v = v;
        for factor in &self.factors {
            v = match *factor {
                Factor::Layer(weight) if g.shape(weight).rank() == 2 => g.linear(v, weight),
                Factor::Layer(weight) => {
                    let padding = padding(g.shape(weight));
                    g.conv2d(v, weight, 1, padding, 1)
                }
                Factor::Pairs(input) => {
                    let [rows, input] = repeated(g, input, v);
                    let output = self.activation.apply(g, input, None);
                    let tangent = g.reshape(v, g.shape(rows).clone());
                    g.jvp(output, &[(rows, tangent)])
                }
                Factor::Elementwise { .. } | Factor::Slopes(_) => {
                    let slopes = self.slopes(g, factor);
                    scaled(g, slopes, v)
                }
            };
        }
        v
    }

    /// Jᵀ w for w of x's shape, or for several w for each sample, `[k·n, …]`: one of every sample, then the next.
    #[track_caller]
    pub fn transposed(&self, g: &mut Graph, w: NodeId) -> NodeId {
        let mut w = w;
        for factor in self.factors.iter().rev() {
            w = match *factor {
                Factor::Layer(weight) if g.shape(weight).rank() == 2 => {
                    let [n, o, i] = [g.shape(w)[0], g.shape(weight)[0], g.shape(weight)[1]];
                    let (rows, matrix) = (g.reshape(w, [1, n, o]), g.reshape(weight, [1, o, i]));
                    let product = g.matmul(rows, matrix, false, false);
                    g.reshape(product, [n, i])
                }
                Factor::Layer(weight) => {
                    let geometry = geometry(g.shape(w), g.shape(weight));
                    g.conv2d_input_grad(w, weight, geometry)
                }
                Factor::Pairs(input) => {
                    let [rows, input] = repeated(g, input, w);
                    let output = self.activation.apply(g, input, None);
                    let cotangent = g.vjp(&[(output, w)], &[rows])[0];
                    g.reshape(cotangent, g.shape(w).clone())
                }
                Factor::Elementwise { .. } | Factor::Slopes(_) => {
                    let slopes = self.slopes(g, factor);
                    scaled(g, slopes, w)
                }
            };
        }
        w
    }

    /// The slopes of an elementwise activation. They depend on x and may be differentiated.
    fn slopes(&self, g: &mut Graph, factor: &Factor) -> NodeId {
        match *factor {
            Factor::Slopes(slopes) => slopes,
            Factor::Elementwise { input, beta } => {
                let output = self.activation.apply(g, input, beta);
                let ones = g.scalar_like(1.0, output);
                g.vjp(&[(output, ones)], &[input])[0]
            }
            Factor::Pairs(_) | Factor::Layer(_) => unreachable!("only elementwise activations have slopes"),
        }
    }

    /// What products are computed from: arguments for a function whose body is made [`as_inputs`](Self::as_inputs).
    pub(crate) fn arguments(&self, g: &mut Graph) -> Vec<NodeId> {
        let one = |factor: &Factor| match *factor {
            Factor::Pairs(node) | Factor::Layer(node) => node,
            Factor::Elementwise { .. } | Factor::Slopes(_) => self.slopes(g, factor),
        };
        self.factors.iter().map(one).collect()
    }

    /// The same derivative in another graph, made of inputs of `body` in the order of [`arguments`](Self::arguments), and as
    /// exact as in `g`. It has products only: its [`value`](Self::value) and [`at`](Self::at) are without meaning.
    pub(crate) fn as_inputs(&self, g: &Graph, body: &mut Graph) -> Self {
        body.set_precision(g.precision());
        let mut factors = Vec::new();
        for (index, factor) in self.factors.iter().enumerate() {
            let mut input = |what: &str, node: NodeId| body.input(format!("{index} {what}"), g.shape(node));
            factors.push(match *factor {
                Factor::Elementwise { input: node, .. } | Factor::Slopes(node) => Factor::Slopes(input("slopes", node)),
                Factor::Pairs(node) => Factor::Pairs(input("input", node)),
                Factor::Layer(node) => Factor::Layer(input("weight", node)),
            });
        }
        Self { activation: self.activation, at: self.at, value: self.value, factors }
    }
}

/// `x` `[n, …]` as often as `like` `[k·n, …]` has sets of n samples: the node to differentiate in, and what is shaped as
/// `like`. They differ where k > 1, as a graph makes one reshape of two and forgets the node between them.
fn repeated(g: &mut Graph, x: NodeId, like: NodeId) -> [NodeId; 2] {
    let (shape, len) = (g.shape(like).clone(), g.shape(x).len());
    if shape.len() == len {
        return [x, x];
    }
    let row = g.reshape(x, [1, len]);
    let rows = g.broadcast(row, [shape.len() / len, len]);
    [rows, g.reshape(rows, shape)]
}

/// `slopes` `[n, …]` times each of the sets of n samples in `v` `[k·n, …]`.
fn scaled(g: &mut Graph, slopes: NodeId, v: NodeId) -> NodeId {
    let (shape, len) = (g.shape(v).clone(), g.shape(slopes).len());
    if shape.len() == len {
        return g.mul(slopes, v);
    }
    let (row, rows) = (g.reshape(slopes, [1, len]), g.reshape(v, [shape.len() / len, len]));
    let product = g.mul(row, rows);
    g.reshape(product, shape)
}

/// Padding that keeps the size of images, for a weight `[o, i, k, k]`.
fn padding(weight: &Shape) -> [usize; 2] {
    [weight[2] / 2, weight[3] / 2]
}

/// Extents of the convolution with `weight` whose output has the shape `output`.
fn geometry(output: &Shape, weight: &Shape) -> Geometry {
    Geometry {
        batch: output[0],
        groups: 1,
        in_channels: weight[1],
        out_channels: weight[0],
        height: output[2],
        width: output[3],
        kernel: [weight[2], weight[3]],
        stride: 1,
        padding: padding(weight),
    }
}
