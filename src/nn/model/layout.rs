//! From a configuration to parts, blocks and parameters.

use super::{Block, Flow, OTHER_ARCHITECTURES, Part, Plain, of_other_architecture};
use crate::config::{Architecture, Kind, ModelConfig, Prior};
use crate::nn::activation::LIPSWISH_BETA;
use crate::nn::glow::{self, FlowStep};
use crate::nn::param::{Init, Param};
use crate::nn::residual::Branch;
use crate::nn::resnet::PlainBlock;
use crate::nn::spectral::SpectralNorm;
use crate::shape::Shape;

/// What a network consists of.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// The way from a sample to its latent numbers.
    pub(super) parts: Vec<Part>,
    /// Residual blocks that are contractions.
    pub(super) blocks: Vec<Block>,
    /// Residual blocks that need not be.
    pub(super) plain: Vec<Plain>,
    /// Steps of flow.
    pub(super) flows: Vec<Flow>,
    /// Channels that each split of a flow receives.
    pub(super) splits: Vec<usize>,
    /// Channels that each head sees.
    pub(super) seen: Vec<usize>,
}

/// Lays out a valid configuration.
pub(super) fn lay_out(model: &ModelConfig) -> Layout {
    if model.kind == Kind::Toy {
        return lay_out_toy(model);
    }
    if model.bottleneck {
        return lay_out_bottleneck(model);
    }
    let mut layout = Layout::default();
    let [mut c, mut h, mut w] = [model.input[0], model.input[1], model.input[2]];
    let squeezed = |c, h, w| (4 * c, h / 2, w / 2);
    if model.initial_squeeze {
        layout.parts.push(Part::Squeeze);
        (c, h, w) = squeezed(c, h, w);
    }
    if model.injective_padding > 0 {
        layout.parts.push(Part::Pad(model.injective_padding));
        c += model.injective_padding;
    }
    let multiscale = model.is_multiscale();
    let mut passed = 0;
    for (stage, &count) in model.blocks.iter().enumerate() {
        let mut norm_size = [h, w];
        if model.strides[stage] == 2 {
            layout.parts.push(Part::Squeeze);
            (c, h, w) = squeezed(c, h, w);
        }
        for index in 0..count {
            // Published: with a single scale the squeeze belongs to the block, whose norms are taken before it.
            if multiscale || index > 0 {
                norm_size = [h, w];
            }
            let prefix = if multiscale { format!("stack.{stage}.stack.{index}") } else { format!("stack.{passed}") };
            layout.push_block(model, prefix, [c, h, w], model.channels[stage], norm_size);
            passed += 1;
        }
        if model.kind == Kind::Hybrid {
            layout.push_head(c);
        }
        if multiscale && stage + 1 < model.blocks.len() {
            layout.push_split(model, c);
            c /= 2;
        }
    }
    if model.kind == Kind::Classifier {
        layout.push_head(c);
    }
    layout
}

impl Layout {
    /// A block, or step, of the configured architecture on images `[c, h, w]`.
    fn push_block(
        &mut self,
        model: &ModelConfig,
        prefix: String,
        input: [usize; 3],
        channels: usize,
        norm_size: [usize; 2],
    ) {
        match model.architecture {
            architecture if !OTHER_ARCHITECTURES && architecture != Architecture::Iresnet => {
                unreachable!("refused before")
            }
            Architecture::Iresnet => {
                let leading = !self.blocks.is_empty();
                let branch = Branch::convolutional(input, channels, model.activation, leading);
                self.parts.push(Part::Block(self.blocks.len()));
                self.blocks.push(Block { prefix, branch, norm_size });
            }
            Architecture::Resnet => {
                let leading = !self.plain.is_empty();
                let block = PlainBlock::twin(input, channels, model.activation, leading);
                self.push_plain(model, prefix, block);
            }
            Architecture::Glow => {
                let (permutation, coupling) = (model.permutation, model.coupling);
                let step = FlowStep::convolutional(input, channels, model.activation, permutation, coupling);
                self.push_flow(model, prefix, step);
            }
        }
    }

    fn push_plain(&mut self, model: &ModelConfig, prefix: String, block: PlainBlock) {
        self.parts.push(Part::Plain(self.plain.len()));
        let block = PlainBlock { batch_norm: model.batch_norm, actnorm: model.actnorm, ..block };
        self.plain.push(Plain { prefix, block });
    }

    fn push_flow(&mut self, model: &ModelConfig, prefix: String, step: FlowStep) {
        self.parts.push(Part::Flow(self.flows.len()));
        self.flows.push(Flow { prefix, step: FlowStep { actnorm: model.actnorm, ..step } });
    }

    fn push_head(&mut self, channels: usize) {
        self.parts.push(Part::Head(self.seen.len()));
        self.seen.push(channels);
    }

    /// Half of `channels` channels leave: with a prior of their own where a Glow learns its prior.
    fn push_split(&mut self, model: &ModelConfig, channels: usize) {
        let learned = model.kind.has_density() && model.prior == Prior::Learned;
        if model.architecture == Architecture::Glow && learned {
            self.parts.push(Part::Split(self.splits.len()));
            self.splits.push(channels);
        } else {
            self.parts.push(Part::FactorOut);
        }
    }
}

fn lay_out_toy(model: &ModelConfig) -> Layout {
    let mut layout = Layout::default();
    for (&count, &width) in model.blocks.iter().zip(&model.channels) {
        for _ in 0..count {
            let hidden = vec![width; model.hidden_layers];
            let prefix = format!("stack.{}", layout.parts.len());
            if OTHER_ARCHITECTURES && model.architecture == Architecture::Glow {
                let (permutation, coupling) = (model.permutation, model.coupling);
                let step = FlowStep::mlp(model.input[0], &hidden, model.activation, permutation, coupling);
                layout.push_flow(model, prefix, step);
                continue;
            }
            // The paper's 2-64-64-64-2. An activation in front would flatten most of what the branch sees of a plane.
            let branch = Branch::mlp(model.input[0], &hidden, model.activation, false);
            layout.parts.push(Part::Block(layout.blocks.len()));
            layout.blocks.push(Block { prefix, branch, norm_size: [1, 1] });
        }
    }
    layout
}

/// A convolution to as many channels as the first stage is wide, then bottlenecks.
fn lay_out_bottleneck(model: &ModelConfig) -> Layout {
    of_other_architecture();
    let mut layout = Layout { parts: vec![Part::Stem], ..Layout::default() };
    let mut input = [model.channels[0], model.input[1], model.input[2]];
    for (stage, &count) in model.blocks.iter().enumerate() {
        for index in 0..count {
            let stride = if index == 0 { model.strides[stage] } else { 1 };
            let block = PlainBlock::bottleneck(input, model.channels[stage], stride, model.activation);
            let output = block.output();
            input = [0, 1, 2].map(|axis| output[axis]);
            layout.push_plain(model, format!("stack.{}", layout.plain.len()), block);
        }
    }
    layout.push_head(input[0]);
    layout
}

/// Name of the weight of the convolution that a bottleneck ResNet begins with.
pub(super) const STEM: &str = "stem.weight";

/// What the names of a split's convolution begin with.
pub(super) fn split_prefix(number: usize) -> String {
    format!("split.{number}")
}

fn stem_param(model: &ModelConfig) -> Param {
    let weight = [model.channels[0], model.input[0], 3, 3];
    // The variance of He et al., by the outputs.
    let bound = (6.0 / (9 * weight[0]) as f64).sqrt();
    Param::parameter(STEM, weight, Init::Uniform { bound })
}

fn prior_params(length: usize) -> [Param; 2] {
    ["prior_mu", "prior_logstd"].map(|name| Param::parameter(name, [length], Init::Constant(0.0)))
}

/// Batch normalisation of so many channels.
fn norm_params(prefix: &str, channels: usize) -> Vec<Param> {
    let vector = |name: &str, value| Param::parameter(format!("{prefix}.{name}"), [channels], Init::Constant(value));
    let statistic = |name: &str, value| Param::state(format!("{prefix}.{name}"), [channels], Init::Constant(value));
    vec![
        vector("weight", 1.0),
        vector("bias", 0.0),
        statistic("running_mean", 0.0),
        statistic("running_var", 1.0),
        Param::state(format!("{prefix}.num_batches_tracked"), Shape::scalar(), Init::Constant(0.0)),
    ]
}

fn logits_params(features: usize, classes: usize) -> [Param; 2] {
    let uniform = Init::Uniform { bound: 1.0 / (features as f64).sqrt() };
    [
        Param::parameter("logits.weight", [classes, features], uniform),
        Param::parameter("logits.bias", [classes], uniform),
    ]
}

/// The head of a classifier, as published.
fn head_params(channels: usize, classes: usize) -> Vec<Param> {
    let mut params = norm_params("bn1", channels);
    params.extend(logits_params(channels, classes));
    params
}

/// The heads of a hybrid model: for each scale a convolution and batch normalisation, for all together a linear layer.
fn scale_head_params(model: &ModelConfig, seen: &[usize]) -> Vec<Param> {
    let mut params = Vec::new();
    for (scale, &channels) in seen.iter().enumerate() {
        let prefix = head_prefix(scale);
        let uniform = Init::Uniform { bound: 1.0 / (9.0 * channels as f64).sqrt() };
        params.push(Param::parameter(format!("{prefix}.conv.weight"), [model.head_channels, channels, 3, 3], uniform));
        params.extend(norm_params(&format!("{prefix}.bn"), model.head_channels));
    }
    params.extend(logits_params(model.head_channels * seen.len(), model.classes));
    params
}

fn head_prefix(scale: usize) -> String {
    format!("heads.{scale}")
}

/// What the head with this number is made of: its convolution's weight, if it has one, and the prefix of its batch
/// normalisation.
pub(super) fn head_names(kind: Kind, number: usize) -> (Option<String>, String) {
    match kind {
        Kind::Classifier => (None, "bn1".into()),
        _ => (Some(format!("{}.conv.weight", head_prefix(number))), format!("{}.bn", head_prefix(number))),
    }
}

/// All tensors of the model.
pub(super) fn params(model: &ModelConfig, layout: &Layout) -> Vec<Param> {
    let mut params = Vec::new();
    if model.kind.has_density() && model.prior == Prior::Learned {
        params.extend(prior_params(model.latent_len()));
    }
    for block in &layout.blocks {
        let mut fan_in = 1;
        for (operand, shape) in block.branch.operands() {
            let name = block.operand_name(&operand, model.coefficient.is_some());
            if operand.ends_with(".beta") {
                params.push(Param::parameter(name, shape, Init::Constant(LIPSWISH_BETA)));
                continue;
            }
            let is_weight = operand.ends_with(".weight");
            if is_weight {
                fan_in = shape.extents()[1..].iter().product();
            }
            let init = Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() };
            params.push(Param::parameter(name.clone(), shape.clone(), init));
            if let Some(coefficient) = model.coefficient.filter(|_| is_weight) {
                let norm = SpectralNorm { weight: shape, size: block.norm_size, coefficient, layers: 1 };
                let [u, v, sigma] = norm_names(&name);
                params.push(Param::state(u, [norm.u_len()], Init::UnitNormal));
                params.push(Param::state(v, [norm.v_len()], Init::UnitNormal));
                params.push(Param::state(sigma, [1], Init::Constant(0.0)));
            }
        }
        if model.actnorm {
            let zeros = |name| Param::parameter(name, [block.branch.input[0]], Init::Constant(0.0));
            params.extend(block.actnorm_names().map(zeros));
        }
    }
    for part in layout.parts.iter().filter(|_| OTHER_ARCHITECTURES) {
        match *part {
            Part::Stem => params.push(stem_param(model)),
            Part::Plain(index) => params.extend(layout.plain[index].params()),
            Part::Flow(index) => params.extend(layout.flows[index].params()),
            Part::Split(number) => {
                let operands = glow::split::operands(layout.splits[number]);
                params.extend(operands.map(|operand| operand.under(&split_prefix(number))));
            }
            Part::Block(_) | Part::Squeeze | Part::Pad(_) | Part::Head(_) | Part::FactorOut => {}
        }
    }
    match model.kind {
        Kind::Classifier => params.extend(head_params(layout.seen[0], model.classes)),
        Kind::Hybrid => params.extend(scale_head_params(model, &layout.seen)),
        Kind::Density | Kind::Toy => {}
    }
    params
}

/// Names of u, v and σ of the weight called `weight_orig`.
pub(in crate::nn) fn norm_names(weight_orig: &str) -> [String; 3] {
    let stem = weight_orig.trim_end_matches("_orig");
    [format!("{stem}_u"), format!("{stem}_v"), format!("{stem}_sigma")]
}

/// What the published code holds besides.
pub(super) fn unused_params(model: &ModelConfig, blocks: &[Block]) -> Vec<Param> {
    if model.architecture != Architecture::Iresnet {
        return Vec::new();
    }
    match model.kind {
        Kind::Classifier => prior_params(model.latent_len()).to_vec(),
        Kind::Density => {
            let mut unused = head_params(blocks.last().map_or(0, |block| block.branch.input[0]), model.classes);
            if model.prior == Prior::Standard {
                unused.extend(prior_params(model.latent_len()));
            }
            unused
        }
        Kind::Toy | Kind::Hybrid => Vec::new(),
    }
}
