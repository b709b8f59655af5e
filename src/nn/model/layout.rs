//! From a configuration to parts, blocks and parameters.

use super::{Block, Part};
use crate::config::{Kind, ModelConfig, Prior};
use crate::nn::activation::LIPSWISH_BETA;
use crate::nn::param::{Init, Param};
use crate::nn::residual::Branch;
use crate::nn::spectral::SpectralNorm;
use crate::shape::Shape;

/// Parts and blocks of a valid configuration.
pub(super) fn lay_out(model: &ModelConfig) -> (Vec<Part>, Vec<Block>) {
    if model.kind == Kind::Toy {
        return lay_out_toy(model);
    }
    let (mut parts, mut blocks) = (Vec::new(), Vec::<Block>::new());
    let [mut c, mut h, mut w] = [model.input[0], model.input[1], model.input[2]];
    let squeezed = |c, h, w| (4 * c, h / 2, w / 2);
    if model.initial_squeeze {
        parts.push(Part::Squeeze);
        (c, h, w) = squeezed(c, h, w);
    }
    if model.injective_padding > 0 {
        parts.push(Part::Pad(model.injective_padding));
        c += model.injective_padding;
    }
    let multiscale = model.is_multiscale();
    for (stage, &count) in model.blocks.iter().enumerate() {
        let mut norm_size = [h, w];
        if model.strides[stage] == 2 {
            parts.push(Part::Squeeze);
            (c, h, w) = squeezed(c, h, w);
        }
        for index in 0..count {
            // Published: with a single scale the squeeze belongs to the block, whose norms are taken before it.
            if multiscale || index > 0 {
                norm_size = [h, w];
            }
            let prefix =
                if multiscale { format!("stack.{stage}.stack.{index}") } else { format!("stack.{}", blocks.len()) };
            let leading = !blocks.is_empty();
            let branch = Branch::convolutional([c, h, w], model.channels[stage], model.activation, leading);
            parts.push(Part::Block(blocks.len()));
            blocks.push(Block { prefix, branch, norm_size });
        }
        if model.kind == Kind::Hybrid {
            parts.push(Part::Head(stage));
        }
        if multiscale && stage + 1 < model.blocks.len() {
            parts.push(Part::FactorOut);
            c /= 2;
        }
    }
    if model.kind == Kind::Classifier {
        parts.push(Part::Head(0));
    }
    (parts, blocks)
}

fn lay_out_toy(model: &ModelConfig) -> (Vec<Part>, Vec<Block>) {
    let mut blocks = Vec::<Block>::new();
    for (&count, &width) in model.blocks.iter().zip(&model.channels) {
        for _ in 0..count {
            let hidden = vec![width; model.hidden_layers];
            let leading = !blocks.is_empty();
            let branch = Branch::mlp(model.input[0], &hidden, model.activation, leading);
            blocks.push(Block { prefix: format!("stack.{}", blocks.len()), branch, norm_size: [1, 1] });
        }
    }
    ((0..blocks.len()).map(Part::Block).collect(), blocks)
}

/// Channels that reach the head.
fn final_channels(blocks: &[Block]) -> usize {
    blocks.last().map_or(0, |block| block.branch.input[0])
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
fn scale_head_params(model: &ModelConfig, blocks: &[Block]) -> Vec<Param> {
    let mut params = Vec::new();
    let mut last = 0;
    for (scale, &count) in model.blocks.iter().enumerate() {
        last += count;
        let channels = blocks[last - 1].branch.input[0];
        let prefix = head_prefix(scale);
        let uniform = Init::Uniform { bound: 1.0 / (9.0 * channels as f64).sqrt() };
        params.push(Param::parameter(format!("{prefix}.conv.weight"), [model.head_channels, channels, 3, 3], uniform));
        params.extend(norm_params(&format!("{prefix}.bn"), model.head_channels));
    }
    params.extend(logits_params(model.head_channels * model.blocks.len(), model.classes));
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
pub(super) fn params(model: &ModelConfig, blocks: &[Block]) -> Vec<Param> {
    let mut params = Vec::new();
    if model.kind.has_density() && model.prior == Prior::Learned {
        params.extend(prior_params(model.latent_len()));
    }
    for block in blocks {
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
    match model.kind {
        Kind::Classifier => params.extend(head_params(final_channels(blocks), model.classes)),
        Kind::Hybrid => params.extend(scale_head_params(model, blocks)),
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
    match model.kind {
        Kind::Classifier => prior_params(model.latent_len()).to_vec(),
        Kind::Density => {
            let mut unused = head_params(final_channels(blocks), model.classes);
            if model.prior == Prior::Standard {
                unused.extend(prior_params(model.latent_len()));
            }
            unused
        }
        Kind::Toy | Kind::Hybrid => Vec::new(),
    }
}
