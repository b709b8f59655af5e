//! A network: its layout, its parameters, and the graphs that use it.
//!
//! [`Model::new`] turns a configuration into a sequence of parts (squeeze, injective padding, residual blocks or steps of
//! flow, factoring out) which every graph follows, forwards or backwards. Graphs have static shapes, so each builder takes the number of
//! samples n. Inputs and outputs are bound by name; **an output that bears an input's name is that tensor's next value.**
//!
//! # Inputs
//! | name | shape | what |
//! | --- | --- | --- |
//! | each parameter's name | its shape | all that the graph needs of [`Model::params`], named as in the published `state_dict` |
//! | `x` | `[n, …input]` | images as the data pipeline gives them, or vectors |
//! | `labels` | `[n]` | class indices as numbers |
//! | `keys` | `[s, 64]` | keys of random numbers, one row a stream: seed's low and high 24 bits, step, row number, zeros. s = [`Model::streams`] for the graph's log-determinant, 1 for sampling. Only where something is drawn |
//! | `probe/BLOCK/SAMPLE` | as the block's input | instead of `keys`, with [`Probes::Given`](crate::nn::Probes::Given) |
//! | `z` | `[n, d]` | latent numbers: every factored-out part flattened in order, then the rest; d = [`Model::latent_len`] |
//! | `temperature` | `[]` | factor on the prior's standard deviation |
//!
//! # Outputs
//! | graph | name | shape | what |
//! | --- | --- | --- | --- |
//! | [loss](Model::loss_graph), [gradient](Model::gradient_graph) | `loss` | `[]` | mean cross-entropy in nats (classifier), bits per dimension (density), nats (toy), cross-entropy and weighted nats (hybrid) |
//! | | `accuracy` | `[]` | fraction classified rightly (classifier, hybrid) |
//! | | `bits_per_dim` | `[]` | mean (density, hybrid) |
//! | | `log_prior`, `log_det` | `[]` | means in nats (all but classifier) |
//! | | names of state | | next power-iteration vectors and σ, running statistics |
//! | gradient | `grad/NAME` | as NAME | derivative of `loss` in each parameter |
//! | | `inverse_residual`, `inverse_error` | `[]` | how well [reversible](crate::nn::reversible) blocks were inverted, if any were |
//! | [shard](Model::shard_graph), [head](Model::head_graph) | | | the two halves of the gradient graph, where a batch is divided |
//! | [evaluation](Model::eval_graph) | `z` | `[n, d]` | latent numbers |
//! | | `logits`, `prediction` | `[n, classes]`, `[n]` | (classifier, hybrid) |
//! | | `correct`, `cross_entropy` | `[n]` | 1 or 0; nats (classifier and hybrid, with labels) |
//! | | `log_prior`, `log_det`, `log_prob` | `[n]` | nats; the last is the sum of the others (all but classifier) |
//! | | `bits_per_dim` | `[n]` | (density, hybrid) |
//! | | `loss` | `[n]` | of each sample, as above (classifier and hybrid with labels, density, toy) |
//! | [initialisation](Model::init_graph) | names of ActNorm's parameters, and of the power-iteration state | | from the data `x` |
//! | [tightening](Model::tighten_graph), [power iteration](Model::power_graph) | `…weight_u`, `…weight_v`, `…weight_sigma` | | better power-iteration vectors |
//! | [inversion](Model::inverse_graph) | `x` | `[n, …input]` | |
//! | | `iterations`, `residual`, `converged` | `[n]` | summed over blocks, largest over blocks, 1 if all blocks converged |
//! | [sampling](Model::sample_graph) | `z`, and those of inversion | | |
//!
//! Norms: training runs `power_iterations` rounds and gives the new vectors as outputs (with `power_update = "after"` a
//! [graph of its own](Model::power_graph) does that behind the optimizer's update); all other graphs use the stored
//! vectors as they are. Layers of one shape are normalised [together](Model::norm_groups), in memory that holds them in
//! a row.

mod build;
mod forward;
mod graphs;
mod invert;
mod jacobian;
mod layout;
mod norms;
mod regression;
mod shard;
mod steps;

pub use graphs::Evaluation;
pub use jacobian::block_input;
pub(super) use layout::norm_names;
pub use norms::NormGroup;
pub use regression::target;
pub use shard::{DENSITY_LOSS, seen, seen_gradient};
pub(crate) use steps::WayBack;

use std::collections::HashMap;

use self::layout::Layout;
use crate::config::{Architecture, Config, Estimator, Gradient, Kind};
use crate::error::{Error, Result};
use crate::nn::glow::FlowStep;
use crate::nn::logdet::LogDet;
use crate::nn::param::{Init, Param};
use crate::nn::residual::Branch;
use crate::nn::resnet::PlainBlock;
use crate::nn::spectral::SpectralNorm;

/// One stage of the way from a sample to its latent numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Space to depth.
    Squeeze,
    /// Append so many channels of zeros.
    Pad(usize),
    /// The residual block with this index.
    Block(usize),
    /// The first convolution of a bottleneck ResNet.
    Stem,
    /// The residual block with this index among those that need not be invertible.
    Plain(usize),
    /// The step of flow with this index.
    Flow(usize),
    /// The first half of the channels leaves a flow by the split with this number.
    Split(usize),
    /// The head with this number looks at what is there.
    Head(usize),
    /// The first half of the channels goes to the prior.
    FactorOut,
}

/// A residual block of a model.
#[derive(Clone, Debug)]
pub struct Block {
    /// What its parameters' names begin with, such as `stack.3`.
    pub prefix: String,
    /// The residual branch.
    pub branch: Branch,
    /// Image size on which the norms of its convolutions are taken. Where a classifier's block follows a squeeze this is
    /// the size before it, as published: the norm grows with the size, so it errs on the safe side.
    pub norm_size: [usize; 2],
}

impl Block {
    /// Name of an operand of the branch: `2.bias` is `stack.0.bottleneck_block.2.bias`.
    pub fn operand_name(&self, operand: &str, normalised: bool) -> String {
        let suffix = if normalised && operand.ends_with(".weight") { "_orig" } else { "" };
        format!("{}.bottleneck_block.{operand}{suffix}", self.prefix)
    }

    /// Names of ActNorm's log-scale and shift.
    pub fn actnorm_names(&self) -> [String; 2] {
        actnorm_names(&self.prefix)
    }
}

/// A residual block of a model that need not be invertible.
#[derive(Clone, Debug)]
pub struct Plain {
    /// What its parameters' names begin with.
    pub prefix: String,
    /// The block.
    pub block: PlainBlock,
}

impl Plain {
    /// Full name of an operand of the block.
    pub fn operand_name(&self, operand: &str) -> String {
        format!("{}.bottleneck_block.{operand}", self.prefix)
    }

    /// Its tensors.
    fn params(&self) -> Vec<Param> {
        let of_block = |operand: Param| operand.under(&format!("{}.bottleneck_block", self.prefix));
        let mut params: Vec<Param> = self.block.operands().into_iter().map(of_block).collect();
        if self.block.actnorm {
            params.extend(actnorm_params(&self.prefix, self.block.input[0]));
        }
        params
    }
}

/// A step of flow of a model.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What its parameters' names begin with.
    pub prefix: String,
    /// The step.
    pub step: FlowStep,
}

impl Flow {
    /// Full name of an operand of the step.
    pub fn operand_name(&self, operand: &str) -> String {
        format!("{}.{operand}", self.prefix)
    }

    /// Its tensors.
    fn params(&self) -> Vec<Param> {
        let of_step = |operand: Param| operand.under(&self.prefix);
        let mut params: Vec<Param> = self.step.operands().into_iter().map(of_step).collect();
        if self.step.actnorm {
            params.extend(actnorm_params(&self.prefix, self.step.channels()));
        }
        params
    }
}

/// Names of ActNorm's log-scale and shift in the block or step with this prefix.
fn actnorm_names(prefix: &str) -> [String; 2] {
    [format!("{prefix}.actnorm._log_scale"), format!("{prefix}.actnorm._shift")]
}

fn actnorm_params(prefix: &str, channels: usize) -> [Param; 2] {
    actnorm_names(prefix).map(|name| Param::parameter(name, [channels], Init::Constant(0.0)))
}

/// A network laid out for a configuration: see the [module documentation](self).
#[derive(Clone, Debug)]
pub struct Model {
    config: Config,
    layout: Layout,
    params: Vec<Param>,
    by_name: HashMap<String, usize>,
}

/// Whether networks of other architectures than the paper's are there. Browsers are spared their code.
pub(crate) const OTHER_ARCHITECTURES: bool = cfg!(not(target_arch = "wasm32"));

/// Stands where code is for other architectures only.
fn of_other_architecture() {
    if !OTHER_ARCHITECTURES {
        unreachable!("refused when the model was laid out");
    }
}

impl Model {
    /// Lays out the network.
    ///
    /// # Errors
    /// Those of [`Config::validate`]; in browsers also an architecture that is not `iresnet`.
    pub fn new(config: &Config) -> Result<Self> {
        config.validate()?;
        let architecture = config.model.architecture;
        if !OTHER_ARCHITECTURES && architecture != Architecture::Iresnet {
            let word = architecture.word();
            return Err(Error::Config(format!("architecture \"{word}\" does not run in browsers, \"iresnet\" does")));
        }
        Ok(Self::lay_out(config.clone()))
    }

    /// The same network, whose weights are taken as they are: [`effective`](crate::nn::effective) ones. Its configuration has
    /// no coefficient.
    pub(crate) fn unnormalised(&self) -> Self {
        let mut config = self.config.clone();
        config.model.coefficient = None;
        Self::lay_out(config)
    }

    /// Lays out a valid configuration.
    fn lay_out(config: Config) -> Self {
        let layout = layout::lay_out(&config.model);
        let params = layout::params(&config.model, &layout);
        let by_name = params.iter().enumerate().map(|(index, param)| (param.name.clone(), index)).collect();
        Self { config, layout, params, by_name }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All parameters and state tensors, in a fixed order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The parameter or state tensor called `name`.
    pub fn find_param(&self, name: &str) -> Option<&Param> {
        self.by_name.get(name).map(|&index| &self.params[index])
    }

    /// Tensors that the published code's `state_dict` holds for such a model although nothing uses them: an importer
    /// accepts them, an exporter fills them in.
    pub fn unused_params(&self) -> Vec<Param> {
        layout::unused_params(&self.config.model, &self.layout.blocks)
    }

    /// The way from a sample to its latent numbers.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.layout.parts
    }

    /// The residual blocks that are contractions, in order: all of an i-ResNet, none of another architecture.
    pub fn blocks(&self) -> &[Block] {
        &self.layout.blocks
    }

    /// The residual blocks of a ResNet, in order.
    pub fn plain_blocks(&self) -> &[Plain] {
        &self.layout.plain
    }

    /// The steps of a Glow, in order.
    pub fn flows(&self) -> &[Flow] {
        &self.layout.flows
    }

    /// Whether inputs can be computed from latent numbers, or can be if the weights allow it.
    pub fn is_invertible(&self) -> bool {
        self.config.model.architecture != Architecture::Resnet
    }

    /// Whether log-determinants and inverses are formulas, without series and iterations.
    pub fn is_exact(&self) -> bool {
        self.config.model.architecture == Architecture::Glow
    }

    /// The normalised layers of a block: name of the weight, and its normalisation. Empty without a coefficient.
    pub fn norms(&self, block: &Block) -> Vec<(String, SpectralNorm)> {
        let Some(coefficient) = self.config.model.coefficient else { return Vec::new() };
        let weights = block.branch.operands().into_iter().filter(|(name, _)| name.ends_with(".weight"));
        let norm = |weight| SpectralNorm { weight, size: block.norm_size, coefficient, layers: 1 };
        weights.map(|(name, weight)| (block.operand_name(&name, true), norm(weight))).collect()
    }

    /// Number of elements of an input sample.
    pub fn input_len(&self) -> usize {
        self.config.model.input.iter().product()
    }

    /// Number of latent numbers of a sample: the elements of the padded input.
    pub fn latent_len(&self) -> usize {
        self.config.model.latent_len()
    }

    /// Number of classes, for models that have them.
    pub fn classes(&self) -> Option<usize> {
        self.config.model.kind.has_classes().then_some(self.config.model.classes)
    }

    /// Multiply-adds of blocks and steps for one sample, forwards.
    pub fn multiply_adds(&self) -> usize {
        let layout = &self.layout;
        let of_blocks = layout.blocks.iter().map(|block| block.branch.multiply_adds());
        let of_others = || {
            let of_plain = layout.plain.iter().map(|plain| plain.block.multiply_adds());
            let of_flows = layout.flows.iter().map(|flow| flow.step.multiply_adds());
            of_plain.chain(of_flows).sum()
        };
        of_blocks.sum::<usize>() + if OTHER_ARCHITECTURES { of_others() } else { 0 }
    }

    /// The log-determinant that training computes; none for a classifier.
    pub fn training_log_det(&self) -> Option<LogDet> {
        let config = &self.config.log_det;
        let (terms, samples, probe) = (config.terms, config.samples, config.probe.distribution());
        match (self.config.model.kind, config.estimator, config.gradient) {
            (Kind::Classifier, ..) => None,
            _ if self.is_exact() => Some(LogDet::Exact),
            (_, Estimator::Exact, _) => Some(LogDet::Exact),
            (_, Estimator::Series, Gradient::Autodiff) => Some(LogDet::Series { terms, samples, probe }),
            (_, Estimator::Series, Gradient::Neumann) => Some(LogDet::Neumann { terms, samples, probe }),
            (_, Estimator::Unbiased, _) => {
                let (law, exact_terms) = (config.law(), config.exact_terms);
                Some(LogDet::Unbiased { law, exact_terms, samples, probe })
            }
        }
    }

    /// Number of rows of `keys` that a graph with this log-determinant takes; without rows it has no such input. Row
    /// b·samples + s belongs to probe s of block b; where the number of terms is drawn, one row a block follows for it.
    pub fn streams(&self, log_det: Option<&LogDet>) -> usize {
        let for_terms = self.blocks().len() * usize::from(log_det.is_some_and(LogDet::draws_terms));
        self.streams_per_sample(log_det) + for_terms
    }

    /// Number of those rows, the first ones, that give every sample numbers of its own.
    pub fn streams_per_sample(&self, log_det: Option<&LogDet>) -> usize {
        self.blocks().len() * log_det.map_or(0, LogDet::samples)
    }
}
