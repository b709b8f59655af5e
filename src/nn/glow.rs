//! Glow: flows of coupling layers, which an i-ResNet is compared with (Kingma and Dhariwal, *Glow: Generative Flow with
//! Invertible 1×1 Convolutions*, 2018).
//!
//! A [step](FlowStep) of flow is ActNorm, [`mixing`] of the channels, and a [`coupling`]; inverse and
//! log-determinant are formulas, exact up to rounding. Between stages half of the channels leaves by a [`split`]. All of
//! it works on images `[c, h, w]` and on vectors `[d]`, whose numbers are channels of one pixel. What is ours and not the
//! authors':
//!
//! * squeezes and the half that is factored out are those of the i-ResNet (see [`squeeze`](super::squeeze)), so that the
//!   two architectures differ in their blocks only;
//! * the triangles of the mixing matrix and its diagonal's logarithms are one tensor, with as many numbers as the matrix;
//! * layers of the coupling's network have plain biases, hidden ones begin with the variance of He et al., the last one
//!   with zeros. In an affine coupling its first half of outputs is the shift, its second half gives the scale.

pub mod coupling;
pub mod mixing;
pub mod split;

use super::activation::{Activation, LIPSWISH_BETA};
use super::actnorm;
use super::param::{Init, Param};
use super::residual::Branch;
use crate::config::{Coupling, Permutation};
use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::ops::conv2d::Precision;
use crate::shape::Shape;

/// A step of flow on samples of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowStep {
    /// Whether ActNorm stands first.
    pub actnorm: bool,
    /// How channels are mixed.
    pub permutation: Permutation,
    /// What the coupling does.
    pub coupling: Coupling,
    /// Shape of one sample: `[c, h, w]` or `[d]`.
    pub input: Shape,
    /// The coupling's network, from the channels that are kept to what the others are changed by.
    pub network: Branch,
}

/// How a step is run forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Number of samples.
    pub batch: usize,
    /// Whether the log-determinant is computed.
    pub log_det: bool,
    /// Whether the backward pass recomputes the step instead of keeping its intermediate values.
    pub recompute: bool,
    /// How exactly convolutions are computed.
    pub precision: Precision,
}

impl FlowStep {
    /// A step on images `[c, h, w]`: 3×3, 1×1, 3×3 convolutions with `width` channels inside.
    pub fn convolutional(
        input: [usize; 3],
        width: usize,
        activation: Activation,
        permutation: Permutation,
        coupling: Coupling,
    ) -> Self {
        let [c, h, w] = input;
        let (kept, out) = (coupling::kept(c), coupling::outputs(coupling, c));
        let weights = [[width, kept, 3, 3], [width, width, 1, 1], [out, width, 3, 3]];
        let network = Branch::of(Shape::from([kept, h, w]), weights.map(Shape::from).to_vec(), activation);
        Self { actnorm: false, permutation, coupling, input: input.into(), network }
    }

    /// A step on vectors `[d]`: an MLP with these hidden widths.
    pub fn mlp(
        dimension: usize,
        hidden: &[usize],
        activation: Activation,
        permutation: Permutation,
        coupling: Coupling,
    ) -> Self {
        let (kept, out) = (coupling::kept(dimension), coupling::outputs(coupling, dimension));
        let widths: Vec<usize> = [&[kept], hidden, &[out]].concat();
        let weights = widths.windows(2).map(|pair| Shape::from([pair[1], pair[0]])).collect();
        let network = Branch::of(Shape::from([kept]), weights, activation);
        Self { actnorm: false, permutation, coupling, input: Shape::from([dimension]), network }
    }

    /// Number of channels, or of a vector's numbers.
    pub fn channels(&self) -> usize {
        self.input[0]
    }

    /// Pixels of a sample.
    fn pixels(&self) -> usize {
        self.input.len() / self.channels()
    }

    /// The operands of the step's functions in order, without ActNorm's: those of the [mixing](mixing::operands), then the
    /// network's under `coupling.…`.
    pub fn operands(&self) -> Vec<Param> {
        let mut operands = mixing::operands(self.permutation, self.channels());
        let last = self.network.members.len() - 1;
        for (name, shape) in self.network.operands() {
            let is_last = name.starts_with(&format!("{last}."));
            let init = if name.ends_with(".beta") {
                Init::Constant(LIPSWISH_BETA)
            } else if is_last || name.ends_with(".bias") {
                Init::Constant(0.0)
            } else {
                let inputs: usize = shape.extents()[1..].iter().product();
                Init::Uniform { bound: (6.0 / inputs as f64).sqrt() }
            };
            operands.push(Param::parameter(format!("coupling.{name}"), shape, init));
        }
        operands
    }

    /// Multiply-adds for one sample, forwards.
    pub fn multiply_adds(&self) -> usize {
        let mixing = if self.permutation == Permutation::Conv1x1 { self.channels() * self.channels() } else { 0 };
        self.network.multiply_adds() + mixing * self.pixels()
    }

    /// A short description for labels.
    pub fn label(&self) -> String {
        let widths: Vec<String> = self
            .network
            .operands()
            .iter()
            .filter(|(_, weight)| weight.rank() > 1)
            .map(|(_, w)| w[0].to_string())
            .collect();
        let [mixing, coupling] = [self.permutation.word(), self.coupling.word()];
        format!("{mixing}, {coupling} coupling by {}", widths.join("-"))
    }

    /// The function (x, \[log_scale, shift\], [operands](Self::operands)…) → (y, \[log_det `[n]`\]).
    pub fn function(&self, mode: Mode) -> FunctionRef {
        let mut g = Graph::new();
        g.set_precision(mode.precision);
        let x = g.input("x", self.batched(mode.batch));
        let inputs = self.inputs(&mut g);
        let pixels = self.pixels() as f64;
        let mut log_det = g.constant(0.0, [mode.batch]);
        let mut value = x;
        if let Some([log_scale, shift]) = inputs.actnorm {
            value = actnorm::forward(&mut g, value, log_scale, shift);
            let of_actnorm = actnorm::log_det(&mut g, x, log_scale);
            log_det = g.add(log_det, of_actnorm);
        }
        let matrix = mixing::matrix(&mut g, self.permutation, self.channels(), &inputs.mixing);
        value = mixing::mix(&mut g, value, matrix);
        if let Some(of_mixing) = mixing::log_det(&mut g, self.permutation, &inputs.mixing) {
            let of_mixing = g.scale(of_mixing, pixels);
            log_det = g.add(log_det, of_mixing);
        }
        let coupled = coupling::forward(&mut g, value, self.coupling, &self.network, &inputs.network);
        g.output("y", coupled.y);
        if mode.log_det {
            if let Some(of_coupling) = coupled.log_det {
                log_det = g.add(log_det, of_coupling);
            }
            g.output("log_det", log_det);
        }
        let name = format!("flow step {} {}", self.input, self.label());
        if mode.recompute { Function::recomputed(name, g) } else { Function::new(name, g) }
    }

    /// The inverse (y, \[log_scale, shift\], [operands](Self::operands)…) → x for `batch` samples.
    pub fn inverse(&self, batch: usize) -> FunctionRef {
        let mut g = Graph::new();
        let y = g.input("y", self.batched(batch));
        let inputs = self.inputs(&mut g);
        let mut value = coupling::inverse(&mut g, y, self.coupling, &self.network, &inputs.network);
        value = mixing::unmix(&mut g, value, self.permutation, &inputs.mixing);
        if let Some([log_scale, shift]) = inputs.actnorm {
            value = actnorm::undo(&mut g, value, log_scale, shift);
        }
        g.output("x", value);
        Function::new(format!("inverse of flow step {} {}", self.input, self.label()), g)
    }

    fn batched(&self, batch: usize) -> Vec<usize> {
        [&[batch], self.input.extents()].concat()
    }

    /// ActNorm's parameters and the operands as inputs of `g`.
    fn inputs(&self, g: &mut Graph) -> Inputs {
        let channels = self.channels();
        let actnorm = self.actnorm.then(|| [g.input("log_scale", [channels]), g.input("shift", [channels])]);
        let mut operands: Vec<NodeId> =
            self.operands().into_iter().map(|operand| g.input(operand.name, operand.shape)).collect();
        let network = operands.split_off(mixing::operands(self.permutation, channels).len());
        Inputs { actnorm, mixing: operands, network }
    }
}

/// The inputs of a step's function behind the first.
struct Inputs {
    actnorm: Option<[NodeId; 2]>,
    mixing: Vec<NodeId>,
    network: Vec<NodeId>,
}
