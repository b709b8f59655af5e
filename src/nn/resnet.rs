//! Residual blocks that need not be invertible: what an i-ResNet is compared with.
//!
//! Two kinds, both with activations before layers:
//!
//! * the *twin* of an i-ResNet's block, 3×3, 1×1, 3×3 convolutions with the input's shape as output, without spectral
//!   normalisation and with batch normalisation before each activation if wanted: the paper's "vanilla";
//! * the *bottleneck* of He et al., *Identity Mappings in Deep Residual Networks*: 1×1, 3×3, 1×1 convolutions without
//!   biases, of which the 3×3 may have a stride. Where the shape changes the shortcut is a 1×1 convolution that takes
//!   what the branch's first layer takes.

use super::activation::{Activation, LIPSWISH_BETA};
use super::actnorm;
use super::batch_norm::{BatchNorm, MOMENTUM};
use super::param::{Init, Param, Role};
use crate::config::EXPANSION;
use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::ops::conv2d::Precision;
use crate::shape::Shape;

/// A convolution of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Shape of the weight, `[o, i, k, k]`; the padding is k/2.
    pub weight: Shape,
    /// Step between output pixels.
    pub stride: usize,
}

/// A residual block y = a + F(a), a = x or ActNorm(x); with a projection y = P(a) + F(a).
#[derive(Clone, Debug, PartialEq)]
pub struct PlainBlock {
    /// Shape of one sample, `[c, h, w]`.
    pub input: Shape,
    /// The layers of F, in order.
    pub layers: Vec<Layer>,
    /// Whether an activation stands before the first layer as well.
    pub leading: bool,
    /// Whether layers have biases.
    pub bias: bool,
    /// Whether batch normalisation stands before each activation.
    pub batch_norm: bool,
    /// Whether ActNorm stands before all else.
    pub actnorm: bool,
    /// The activation function.
    pub activation: Activation,
    /// Whether the shortcut is a convolution.
    pub projection: bool,
}

/// How a block is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Number of samples.
    pub batch: usize,
    /// Whether batches are normalised with their own statistics; the next running ones are then outputs.
    pub training: bool,
    /// Whether the backward pass recomputes the block instead of keeping its intermediate values.
    pub recompute: bool,
    /// How exactly convolutions are computed.
    pub precision: Precision,
}

impl PlainBlock {
    /// The twin of an i-ResNet's block on images `[c, h, w]` with `hidden` channels inside.
    pub fn twin(input: [usize; 3], hidden: usize, activation: Activation, leading: bool) -> Self {
        let channels = input[0];
        let weights = [[hidden, channels, 3, 3], [hidden, hidden, 1, 1], [channels, hidden, 3, 3]];
        let layers = weights.map(|weight| Layer { weight: weight.into(), stride: 1 }).to_vec();
        Self {
            input: input.into(),
            layers,
            leading,
            bias: true,
            batch_norm: false,
            actnorm: false,
            activation,
            projection: false,
        }
    }

    /// A bottleneck on images `[c, h, w]` with `width` channels inside.
    pub fn bottleneck(input: [usize; 3], width: usize, stride: usize, activation: Activation) -> Self {
        let (channels, out) = (input[0], EXPANSION * width);
        let layers = [([width, channels, 1, 1], 1), ([width, width, 3, 3], stride), ([out, width, 1, 1], 1)];
        let layers = layers.map(|(weight, stride)| Layer { weight: weight.into(), stride }).to_vec();
        Self {
            input: input.into(),
            layers,
            leading: true,
            bias: false,
            batch_norm: false,
            actnorm: false,
            activation,
            projection: stride != 1 || channels != out,
        }
    }

    /// Shape of one sample behind the block.
    pub fn output(&self) -> Shape {
        let [c, h, w] = [0, 1, 2].map(|axis| self.input[axis]);
        let stride = self.stride();
        let channels = self.layers.last().map_or(c, |layer| layer.weight[0]);
        Shape::from([channels, h.div_ceil(stride), w.div_ceil(stride)])
    }

    fn stride(&self) -> usize {
        self.layers.iter().map(|layer| layer.stride).product()
    }

    /// Channels that reach layer `index`.
    fn channels(&self, index: usize) -> usize {
        self.layers[index].weight[1]
    }

    /// Whether an activation stands before layer `index`.
    fn activated(&self, index: usize) -> bool {
        self.leading || index > 0
    }

    /// Position of layer `index` among activations and layers, which its names begin with.
    fn position(&self, index: usize) -> usize {
        2 * index + usize::from(self.leading)
    }

    /// Shape of the projection's weight.
    fn projection_weight(&self) -> Shape {
        let out = self.output()[0];
        Shape::from([out, self.input[0], 1, 1])
    }

    /// The operands of the block's function in order: `{i}.norm.…`, `{i}.beta`, `{i}.weight`, `{i}.bias`, where i counts
    /// activations and layers; then `shortcut.weight`. Without ActNorm's.
    pub fn operands(&self) -> Vec<Param> {
        let mut operands = Vec::new();
        let initial = |weight: &Shape| {
            let inputs: usize = weight.extents()[1..].iter().product();
            // The twin begins as the i-ResNet does; He et al. keep the variance of gradients through ReLU.
            let bound = if self.bias { 1.0 / inputs as f64 } else { 6.0 / (inputs / weight[1] * weight[0]) as f64 };
            Init::Uniform { bound: bound.sqrt() }
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let at = self.position(index);
            if self.activated(index) {
                let before = at - 1;
                if self.batch_norm {
                    let norm = |name, value, role| Param {
                        name: format!("{before}.norm.{name}"),
                        shape: Shape::from([self.channels(index)]),
                        init: Init::Constant(value),
                        role,
                    };
                    operands.push(norm("weight", 1.0, Role::Parameter));
                    operands.push(norm("bias", 0.0, Role::Parameter));
                    operands.push(norm("running_mean", 0.0, Role::State));
                    operands.push(norm("running_var", 1.0, Role::State));
                }
                if self.activation.has_beta() {
                    operands.push(Param::parameter(format!("{before}.beta"), [1], Init::Constant(LIPSWISH_BETA)));
                }
            }
            let init = initial(&layer.weight);
            operands.push(Param::parameter(format!("{at}.weight"), layer.weight.clone(), init));
            if self.bias {
                operands.push(Param::parameter(format!("{at}.bias"), [layer.weight[0]], init));
            }
        }
        if self.projection {
            let weight = self.projection_weight();
            let init = initial(&weight);
            operands.push(Param::parameter("shortcut.weight", weight, init));
        }
        operands
    }

    /// Names of the operands that a training pass gives new values, in the order of the function's further outputs.
    pub fn statistics(&self) -> Vec<String> {
        self.operands().into_iter().filter(|operand| !operand.is_parameter()).map(|operand| operand.name).collect()
    }

    /// Multiply-adds for one sample.
    pub fn multiply_adds(&self) -> usize {
        let mut size = [self.input[1], self.input[2]];
        let mut sum = 0;
        for layer in &self.layers {
            size = size.map(|extent| extent.div_ceil(layer.stride));
            sum += layer.weight.len() * size[0] * size[1];
        }
        sum + if self.projection { self.projection_weight().len() * size[0] * size[1] } else { 0 }
    }

    /// A short description for labels.
    pub fn label(&self) -> String {
        let widths: Vec<String> = self.layers.iter().map(|layer| layer.weight[0].to_string()).collect();
        let leading = if self.leading { "" } else { " first" };
        format!("{} to {}{leading}", self.input, widths.join("-"))
    }

    /// The function (x, \[log_scale, shift\], [operands](Self::operands)…) → (y, in training next running
    /// [statistics](Self::statistics)…).
    pub fn function(&self, mode: Mode) -> FunctionRef {
        let mut g = Graph::new();
        g.set_precision(mode.precision);
        let mut extents = vec![mode.batch];
        extents.extend_from_slice(self.input.extents());
        let mut value = g.input("x", extents);
        if self.actnorm {
            let channels = self.input[0];
            let (log_scale, shift) = (g.input("log_scale", [channels]), g.input("shift", [channels]));
            value = actnorm::forward(&mut g, value, log_scale, shift);
        }
        let operands: Vec<NodeId> =
            self.operands().into_iter().map(|operand| g.input(operand.name, operand.shape)).collect();
        let mut operands = operands.into_iter();
        let mut take = || operands.next().expect("as many as PlainBlock::operands names");
        let mut shortcut = value;
        let mut statistics = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if self.activated(index) {
                if self.batch_norm {
                    let norm = BatchNorm { scale: take(), shift: take(), mean: take(), variance: take() };
                    if mode.training {
                        let (normal, next) = norm.train(&mut g, value, MOMENTUM);
                        statistics.extend(next);
                        value = normal;
                    } else {
                        value = norm.evaluate(&mut g, value);
                    }
                }
                let beta = self.activation.has_beta().then(&mut take);
                value = self.activation.apply(&mut g, value, beta);
                if index == 0 && self.projection {
                    shortcut = value;
                }
            }
            let padding = [layer.weight[2] / 2, layer.weight[3] / 2];
            value = g.conv2d(value, take(), layer.stride, padding, 1);
            if self.bias {
                let bias = actnorm::per_channel(&mut g, take(), value);
                value = g.add(value, bias);
            }
        }
        if self.projection {
            shortcut = g.conv2d(shortcut, take(), self.stride(), [0, 0], 1);
        }
        let y = g.add(shortcut, value);
        g.output("y", y);
        for (name, node) in self.statistics().into_iter().zip(statistics) {
            g.output(format!("next {name}"), node);
        }
        let name = format!("plain block {}", self.label());
        if mode.recompute { Function::recomputed(name, g) } else { Function::new(name, g) }
    }
}
