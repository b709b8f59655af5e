//! The residual block: y = a + F(a) with a = ActNorm(x) and Lip(F) < 1.
//!
//! F is a short chain of linear layers with activations between them, given as [`Branch`]: for images convolutions
//! 3×3, 1×1, 3×3, for vectors an MLP. With images an activation leads the chain, except in the very first block of a
//! network. Every layer is normalised to norm at most c, so Lip(F) ≤ cᵏ for k layers.
//!
//! Weights come in normalised (see [`spectral`](super::spectral)), so one block function serves training, evaluation
//! and inversion.

use super::activation::Activation;
use super::actnorm;
use super::logdet::LogDet;
use crate::graph::{Function, FunctionRef, Graph, NodeId, Scope};
use crate::ops::conv2d::Precision;
use crate::random::Distribution;
use crate::shape::Shape;

/// One member of a branch, in the order of application.
#[derive(Clone, Debug, PartialEq)]
pub enum Member {
    /// The branch's activation function.
    Activation,
    /// A convolution or linear layer with weight of this shape (`[o, i, k, k]` with padding k/2, or `[o, i]`) and a bias.
    Layer(Shape),
}

/// The residual branch F.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Shape of one sample: `[c, h, w]` or `[d]`.
    pub input: Shape,
    /// Layers and activations.
    pub members: Vec<Member>,
    /// The activation function.
    pub activation: Activation,
}

impl Branch {
    /// 3×3, 1×1, 3×3 convolutions on images `[c, h, w]` with `hidden` channels inside.
    pub fn convolutional(input: impl Into<Shape>, hidden: usize, activation: Activation, leading: bool) -> Self {
        let input = input.into();
        let channels = input[0];
        let layers = [[hidden, channels, 3, 3], [hidden, hidden, 1, 1], [channels, hidden, 3, 3]];
        Self::chain(input, layers.map(Shape::from).to_vec(), activation, leading)
    }

    /// An MLP on vectors `[d]` with these hidden widths.
    pub fn mlp(dimension: usize, hidden: &[usize], activation: Activation, leading: bool) -> Self {
        let mut widths = vec![dimension];
        widths.extend_from_slice(hidden);
        widths.push(dimension);
        let layers = widths.windows(2).map(|pair| Shape::from([pair[1], pair[0]])).collect();
        Self::chain(Shape::from([dimension]), layers, activation, leading)
    }

    /// These layers on samples of shape `input`, with activations between them and none before the first. What comes out
    /// may have another shape than what goes in; such a chain is no branch of a residual block.
    pub(super) fn of(input: Shape, layers: Vec<Shape>, activation: Activation) -> Self {
        Self::chain(input, layers, activation, false)
    }

    fn chain(input: Shape, layers: Vec<Shape>, activation: Activation, leading: bool) -> Self {
        let mut members = Vec::new();
        for (index, layer) in layers.into_iter().enumerate() {
            if leading || index > 0 {
                members.push(Member::Activation);
            }
            members.push(Member::Layer(layer));
        }
        Self { input, members, activation }
    }

    /// Names and shapes of the operands of [`forward`](Self::forward) in order: `{i}.weight`, `{i}.bias` of each layer and
    /// `{i}.beta` of each activation that has one, where i is the member's position.
    pub fn operands(&self) -> Vec<(String, Shape)> {
        let mut operands = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            match member {
                Member::Activation if self.activation.has_beta() => {
                    operands.push((format!("{index}.beta"), Shape::from([1])));
                }
                Member::Activation => {}
                Member::Layer(weight) => {
                    operands.push((format!("{index}.weight"), weight.clone()));
                    operands.push((format!("{index}.bias"), Shape::from([weight[0]])));
                }
            }
        }
        operands
    }

    /// F(x) for x `[n, …]`.
    #[track_caller]
    pub fn forward(&self, g: &mut Graph, x: NodeId, operands: &[NodeId]) -> NodeId {
        self.linearise(g, x, operands).value()
    }

    /// A layer applied to x: its weight's product, and the bias.
    pub(super) fn layer(&self, g: &mut Graph, x: NodeId, weight: NodeId, bias: NodeId) -> NodeId {
        let shape = g.shape(weight);
        let y = if shape.rank() == 2 {
            g.linear(x, weight)
        } else {
            let padding = [shape[2] / 2, shape[3] / 2];
            g.conv2d(x, weight, 1, padding, 1)
        };
        let bias = actnorm::per_channel(g, bias, y);
        g.add(y, bias)
    }

    /// Number of layers with weights.
    pub fn layers(&self) -> usize {
        self.members.iter().filter(|member| matches!(member, Member::Layer(_))).count()
    }

    /// Multiply-adds for one sample.
    pub fn multiply_adds(&self) -> usize {
        let pixels: usize = self.input.extents()[1..].iter().product();
        self.members.iter().map(|member| if let Member::Layer(w) = member { w.len() * pixels } else { 0 }).sum()
    }

    /// A short description for labels.
    pub fn label(&self) -> String {
        let widths: Vec<String> = self
            .members
            .iter()
            .filter_map(|member| if let Member::Layer(weight) = member { Some(weight[0].to_string()) } else { None })
            .collect();
        let leading = if self.members.first() == Some(&Member::Activation) { "" } else { " first" };
        format!("{} to {}{leading}", self.input, widths.join("-"))
    }
}

/// What a block function is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockFunction {
    /// F.
    pub branch: Branch,
    /// Whether ActNorm stands before the branch.
    pub actnorm: bool,
    /// Number of samples.
    pub batch: usize,
    /// How the log-determinant is computed; without one the function has no such output.
    pub log_det: Option<LogDet>,
    /// Whether probes are drawn inside from keys, or given as tensors.
    pub probes: Probes,
    /// Whether the backward pass recomputes the block instead of keeping its intermediate values.
    pub recompute: bool,
    /// How exactly convolutions are computed.
    pub precision: Precision,
}

/// Where the probes of a log-determinant estimate come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probes {
    /// Drawn on the device, one key for each probe.
    #[default]
    Keys,
    /// Given by the caller, one tensor shaped as the block's input for each probe. Tests and comparisons use it.
    Given,
}

/// Width of a row of keys: padded, so that each row starts where a GPU can bind it.
pub const KEY_WIDTH: usize = 64;

impl BlockFunction {
    /// Shape of the block's input with the batch axis.
    pub fn input_shape(&self) -> Shape {
        let mut extents = vec![self.batch];
        extents.extend_from_slice(self.branch.input.extents());
        Shape::from(extents)
    }

    /// The function (x, \[log_scale, shift\], branch operands…, \[one key or probe per sample of the estimate…\], \[key of
    /// the number of terms\]) → (y, \[log_det `[n]`\]). The log-determinant is that of the whole block, ActNorm included.
    pub fn function(&self) -> FunctionRef {
        let mut g = Graph::new();
        g.set_precision(self.precision);
        let x = g.input("x", self.input_shape());
        let channels = self.branch.input[0];
        let scale_and_shift = self.actnorm.then(|| (g.input("log_scale", [channels]), g.input("shift", [channels])));
        let operands: Vec<NodeId> =
            self.branch.operands().into_iter().map(|(name, shape)| g.input(name, shape)).collect();
        let a = match scale_and_shift {
            Some((log_scale, shift)) => actnorm::forward(&mut g, x, log_scale, shift),
            None => x,
        };
        let point = self.branch.linearise(&mut g, a, &operands);
        let y = g.add(a, point.value());
        g.output("y", y);
        g.enter(Scope::LOG_DET);
        if let Some(log_det) = &self.log_det {
            let probes: Vec<NodeId> = (0..log_det.samples())
                .map(|sample| match (log_det.distribution(), self.probes) {
                    (Some(distribution), Probes::Keys) => {
                        let key = g.input(format!("key {sample}"), [KEY_WIDTH]);
                        g.random(distribution, key, self.input_shape())
                    }
                    _ => g.input(format!("probe {sample}"), self.input_shape()),
                })
                .collect();
            let uniform = log_det.draws_terms().then(|| {
                let key = g.input("key of terms", [KEY_WIDTH]);
                g.random(Distribution::Uniform, key, [1])
            });
            let mut total = log_det.of_residual(&mut g, &point, &probes, uniform);
            if let Some((log_scale, _)) = scale_and_shift {
                let of_actnorm = actnorm::log_det(&mut g, x, log_scale);
                total = g.add(total, of_actnorm);
            }
            g.output("log_det", total);
        }
        let name = match &self.log_det {
            Some(log_det) => format!("block {} {}", self.branch.label(), log_det.label()),
            None => format!("block {}", self.branch.label()),
        };
        if self.recompute { Function::recomputed(name, g) } else { Function::new(name, g) }
    }
}
