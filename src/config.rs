//! Configuration: one tree of structs for the TOML that users write.
//!
//! Every key has a default; a file states what differs. Reading is strict: an unknown key is an error that names the
//! nearest known one, a value of the wrong type an error that names its key. The same tree is stored as JSON in model
//! files. What keys mean together (sizes that can be squeezed, coefficients below one) is checked by
//! [`Config::validate`], which [`Model::new`](crate::nn::Model::new) calls.

mod data;
pub(crate) mod keys;
#[cfg(feature = "cli")]
mod preset;
mod read;
#[cfg(all(test, feature = "cli"))]
mod tests;
mod validate;

use crate::nn::Activation;
use crate::nn::logdet::Law;
pub use crate::ops::conv2d::Precision;
use crate::random::Distribution;

pub use data::{Augmentation, DataConfig, Fit};
use keys::{Section, section, words};

/// Everything that determines a training run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The network.
    pub model: ModelConfig,
    /// How log-determinants are computed in training.
    pub log_det: LogDetConfig,
    /// What it is trained on.
    pub data: DataConfig,
    /// How it is optimised.
    pub optimizer: OptimizerConfig,
    /// For how long, and what is recorded.
    pub train: TrainConfig,
}

impl Config {
    /// The sections with their names, in order.
    fn sections(&self) -> [(&'static str, &dyn Section); 5] {
        [
            ("model", &self.model),
            ("log_det", &self.log_det),
            ("data", &self.data),
            ("optimizer", &self.optimizer),
            ("train", &self.train),
        ]
    }

    fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        Some(match name {
            "model" => &mut self.model,
            "log_det" => &mut self.log_det,
            "data" => &mut self.data,
            "optimizer" => &mut self.optimizer,
            "train" => &mut self.train,
            _ => return None,
        })
    }
}

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Image classes: a stack of blocks and a linear head.
    #[default]
    Classifier,
    /// The density of images: a multi-scale normalising flow.
    Density,
    /// The density of a few real numbers: a flow of MLP blocks.
    Toy,
    /// The joint density of images and classes: a multi-scale flow for p(x), with a head at every scale for p(y|x).
    Hybrid,
}

words! { Kind: Classifier "classifier" Density "density" Toy "toy" Hybrid "hybrid" }

impl Kind {
    /// Whether the model says how probable inputs are.
    pub fn has_density(self) -> bool {
        self != Self::Classifier
    }

    /// Whether the model tells classes apart.
    pub fn has_classes(self) -> bool {
        matches!(self, Self::Classifier | Self::Hybrid)
    }

    /// Whether the model says how probable images are, in bits per dimension.
    pub fn is_image_density(self) -> bool {
        matches!(self, Self::Density | Self::Hybrid)
    }
}

/// The family of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Invertible residual blocks.
    #[default]
    Iresnet,
    /// Residual blocks that need not be invertible, to compare with (`classifier` only).
    Resnet,
    /// Steps of coupling layers with exact inverse and log-determinant (Kingma and Dhariwal, *Glow*), to compare with.
    Glow,
}

words! { Architecture: Iresnet "iresnet" Resnet "resnet" Glow "glow" }

/// How channels are mixed between the couplings of a Glow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Permutation {
    /// By a learned invertible matrix, which begins as a random rotation.
    #[default]
    Conv1x1,
    /// In a random order, drawn once.
    Shuffle,
    /// In the reverse order.
    Reverse,
}

words! { Permutation: Conv1x1 "conv1x1" Shuffle "shuffle" Reverse "reverse" }

/// What the couplings of a Glow do to the channels that they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coupling {
    /// Shift and scale.
    #[default]
    Affine,
    /// Shift only: volume is preserved.
    Additive,
}

words! { Coupling: Affine "affine" Additive "additive" }

/// The prior over latent numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prior {
    /// A diagonal Gaussian with learned mean and scale.
    #[default]
    Learned,
    /// The standard normal distribution.
    Standard,
}

words! { Prior: Learned "learned" Standard "standard" }

/// When a training step improves the vectors from which norms are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PowerUpdate {
    /// In the forward pass, as the published code does: the step's own weights are normalised by the new vectors.
    #[default]
    Before,
    /// After the optimizer's update, as Residual Flows do: what is stored is then as good as what the next step uses.
    After,
}

words! { PowerUpdate: Before "before" After "after" }

/// Whether latent numbers leave a network at several depths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scales {
    /// At several for densities of images, at the end for everything else.
    #[default]
    Auto,
    /// At the end only.
    Single,
    /// Half of the channels are factored out after each stage but the last.
    Multiple,
}

words! { Scales: Auto "auto" Single "single" Multiple "multiple" }

/// So many times the channels of its 3×3 convolution are those that a bottleneck block takes and gives.
pub const EXPANSION: usize = 4;

/// `[model]`: the network.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// What it is for.
    pub kind: Kind,
    /// The family of networks.
    pub architecture: Architecture,
    /// Shape of one sample: `[c, h, w]`, or `[d]` for `kind = "toy"`.
    pub input: Vec<usize>,
    /// Number of blocks in each stage.
    pub blocks: Vec<usize>,
    /// 2 where a stage begins with a squeeze, else 1.
    pub strides: Vec<usize>,
    /// Channels inside the branches of each stage; for `toy` the width of the hidden layers. In a bottleneck ResNet the
    /// channels of the 3×3 convolutions, a quarter of those between blocks.
    pub channels: Vec<usize>,
    /// Number of hidden layers of an MLP branch (`toy` only).
    pub hidden_layers: usize,
    /// Whether images are squeezed before everything else.
    pub initial_squeeze: bool,
    /// Channels of zeros appended to the input. Where the configuration does not say, 13 for `classifier`, 0 otherwise, and
    /// 0 for `glow` and a bottleneck ResNet. With some, a density is one of the padded images, as in the published code: nothing that could be compared.
    pub injective_padding: usize,
    /// Whether half of the channels are factored out after each stage.
    pub scales: Scales,
    /// c, the largest norm of a layer, between 0 and 1; "none" turns spectral normalisation off. "none" for all
    /// architectures but `iresnet`, also where the configuration does not say.
    pub coefficient: Option<f64>,
    /// Power iterations in each training step; with a tolerance the most.
    pub power_iterations: usize,
    /// Relative change of σ at which power iteration stops; 0 always runs all iterations.
    pub power_tolerance: f64,
    /// When power iteration is run: see [`PowerUpdate`].
    pub power_update: PowerUpdate,
    /// The activation function.
    pub activation: Activation,
    /// Whether ActNorm stands before every block or step. Where the configuration does not say, not in a `resnet`.
    pub actnorm: bool,
    /// The prior (all kinds but `classifier`).
    pub prior: Prior,
    /// Number of classes (`classifier` and `hybrid`).
    pub classes: usize,
    /// Channels of the convolution in each scale's head (`hybrid`).
    pub head_channels: usize,
    /// Whether batch normalisation stands before every activation of a branch (`resnet`).
    pub batch_norm: bool,
    /// Whether blocks are the pre-activation bottlenecks of He et al. behind a convolution, whose strides and projections
    /// change sizes, instead of those of an i-ResNet without its constraint (`resnet`).
    pub bottleneck: bool,
    /// How channels are mixed between couplings (`glow`).
    pub permutation: Permutation,
    /// What couplings do (`glow`).
    pub coupling: Coupling,
}

section! {
    ModelConfig:
    kind architecture input blocks strides channels hidden_layers initial_squeeze injective_padding
    scales coefficient power_iterations power_tolerance power_update activation actnorm prior
    classes head_channels batch_norm bottleneck permutation coupling
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            kind: Kind::Classifier,
            architecture: Architecture::Iresnet,
            input: vec![3, 32, 32],
            blocks: vec![7, 7, 7],
            strides: vec![1, 2, 2],
            channels: vec![32, 64, 128],
            hidden_layers: 3,
            initial_squeeze: false,
            injective_padding: 13,
            scales: Scales::Auto,
            coefficient: Some(0.9),
            power_iterations: 1,
            power_tolerance: 0.0,
            power_update: PowerUpdate::Before,
            activation: Activation::Elu,
            actnorm: true,
            prior: Prior::Learned,
            classes: 10,
            head_channels: 64,
            batch_norm: false,
            bottleneck: false,
            permutation: Permutation::Conv1x1,
            coupling: Coupling::Affine,
        }
    }
}

impl ModelConfig {
    /// Number of latent numbers of a sample: the elements of the padded input; of a bottleneck ResNet those of the last
    /// activations.
    pub fn latent_len(&self) -> usize {
        if let (true, &[_, height, width], Some(&last)) = (self.bottleneck, self.input.as_slice(), self.channels.last())
        {
            let (height, width) =
                self.strides.iter().fold((height, width), |(h, w), &s| (h.div_ceil(s), w.div_ceil(s)));
            return EXPANSION * last * height * width;
        }
        let input: usize = self.input.iter().product();
        let &[_, height, width] = self.input.as_slice() else { return input };
        let pixels = height * width / if self.initial_squeeze { 4 } else { 1 };
        input + self.injective_padding * pixels
    }

    /// Whether half of the channels are factored out after each stage but the last.
    pub fn is_multiscale(&self) -> bool {
        match self.scales {
            Scales::Auto => self.kind.is_image_density(),
            Scales::Single => false,
            Scales::Multiple => true,
        }
    }

    /// The keys in which `other` describes another network than this, each with both values. Not the coefficient (if both
    /// have one) nor the number of power iterations, which change how a network is trained but not what it consists of.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let entries = |config: &Self| {
            let mut config = config.clone();
            config.power_iterations = 1;
            // Below one, whatever it is.
            config.coefficient = config.coefficient.map(|_| 0.5);
            if config.kind == Kind::Density {
                // Its head is not used.
                config.classes = 0;
            }
            config.entries()
        };
        let pairs = entries(self).into_iter().zip(entries(other));
        pairs
            .filter(|((_, ours), (_, theirs))| ours != theirs)
            .map(|((key, ours), (_, theirs))| format!("model.{key} = {theirs} there, {ours} here"))
            .collect()
    }
}

/// How log-determinants are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Estimator {
    /// The power series cut off, with random probes.
    #[default]
    Series,
    /// The power series cut off at random, weighted so that it is right on average.
    Unbiased,
    /// The determinant of the full Jacobian; for few dimensions.
    Exact,
}

words! { Estimator: Series "series" Unbiased "unbiased" Exact "exact" }

/// What the number of terms of `estimator = "unbiased"` is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TermDistribution {
    /// Each further term follows with the same chance.
    #[default]
    Geometric,
    /// A mean number.
    Poisson,
}

words! { TermDistribution: Geometric "geometric" Poisson "poisson" }

/// What random probes are drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Standard normal, as published.
    #[default]
    Gaussian,
    /// -1 or 1 with equal chances: less variance.
    Rademacher,
}

words! { Probe: Gaussian "gaussian" Rademacher "rademacher" }

impl Probe {
    /// The distribution.
    pub fn distribution(self) -> Distribution {
        match self {
            Self::Gaussian => Distribution::Normal,
            Self::Rademacher => Distribution::Rademacher,
        }
    }
}

/// How the gradient of a log-determinant is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gradient {
    /// By differentiating through every term, as published.
    #[default]
    Autodiff,
    /// By a Neumann series: equal on average, and its memory does not grow with the terms.
    Neumann,
}

words! { Gradient: Autodiff "autodiff" Neumann "neumann" }

/// `[log_det]`: how log-determinants are computed in training.
#[derive(Clone, Debug, PartialEq)]
pub struct LogDetConfig {
    /// The estimator.
    pub estimator: Estimator,
    /// Number of terms of the series.
    pub terms: usize,
    /// Number of probes that are averaged.
    pub samples: usize,
    /// What probes are drawn from.
    pub probe: Probe,
    /// How the gradient is computed; `unbiased` has `neumann` only.
    pub gradient: Gradient,
    /// Number of terms that `unbiased` always computes.
    pub exact_terms: usize,
    /// What `unbiased` draws the number of further terms from.
    pub distribution: TermDistribution,
    /// Chance to stop after each further term (`geometric`).
    pub probability: f64,
    /// Mean number of further terms (`poisson`).
    pub rate: f64,
}

section! {
    LogDetConfig:
    estimator terms samples probe gradient exact_terms distribution probability rate
}

impl LogDetConfig {
    /// What `unbiased` draws the number of further terms from.
    pub fn law(&self) -> Law {
        match self.distribution {
            TermDistribution::Geometric => Law::Geometric { probability: self.probability },
            TermDistribution::Poisson => Law::Poisson { rate: self.rate },
        }
    }
}

impl Default for LogDetConfig {
    fn default() -> Self {
        Self {
            estimator: Estimator::Series,
            terms: 5,
            samples: 1,
            probe: Probe::Gaussian,
            gradient: Gradient::Autodiff,
            exact_terms: 2,
            distribution: TermDistribution::Geometric,
            probability: 0.5,
            rate: 2.0,
        }
    }
}

/// The update rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptimizerName {
    /// Gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// Adam with the infinity norm.
    #[default]
    Adamax,
}

words! { OptimizerName: Sgd "sgd" Adam "adam" AdamW "adamw" Adamax "adamax" }

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// Multiplied by `decay` after each of the epochs `milestones`.
    Step,
    /// Half a cosine, down to zero at the end.
    Cosine,
}

words! { Schedule: Constant "constant" Step "step" Cosine "cosine" }

/// `[optimizer]`: how the model is optimised. Update rules are PyTorch's.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// The update rule.
    pub name: OptimizerName,
    /// The learning rate.
    pub lr: f64,
    /// Momentum (`sgd`).
    pub momentum: f64,
    /// Nesterov's momentum (`sgd`).
    pub nesterov: bool,
    /// Decay rates of the averages of gradients and of their squares (`adam`, `adamw`, `adamax`).
    pub betas: [f64; 2],
    /// Added to divisors (`adam`, `adamw`, `adamax`).
    pub epsilon: f64,
    /// Weight decay, on every parameter.
    pub weight_decay: f64,
    /// Epochs during which the learning rate rises from zero; may be a fraction.
    pub warmup: f64,
    /// How the learning rate changes after that.
    pub schedule: Schedule,
    /// Epochs after which `schedule = "step"` multiplies by `decay`.
    pub milestones: Vec<f64>,
    /// The factor of `schedule = "step"`.
    pub decay: f64,
    /// Largest Euclidean norm of the gradient; longer ones are shortened to it. 0 leaves them.
    pub clip: f64,
    /// Decay rate of an exponential moving average of the parameters, which evaluation then uses; 0 keeps none.
    pub ema: f64,
}

section! {
    OptimizerConfig:
    name lr momentum nesterov betas epsilon weight_decay warmup schedule milestones decay clip ema
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            name: OptimizerName::Adamax,
            lr: 3e-3,
            momentum: 0.9,
            nesterov: false,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
            warmup: 0.0,
            schedule: Schedule::Constant,
            milestones: vec![60.0, 120.0, 160.0],
            decay: 0.2,
            clip: 0.0,
            ema: 0.0,
        }
    }
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Memory {
    /// The inputs of every convolution.
    #[default]
    Store,
    /// The input of every block; the rest is computed again.
    Checkpoint,
    /// The output of every stage; inputs of blocks are computed again from their outputs by inversion.
    Reversible,
}

words! { Memory: Store "store" Checkpoint "checkpoint" Reversible "reversible" }

words! { Precision: F32 "f32" F16 "f16" }

/// What becomes of a step whose loss or gradient is not a number. Its update is never made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnNonfinite {
    /// Training ends as diverged.
    #[default]
    Abort,
    /// It is left out; training ends when too many follow each other.
    Skip,
    /// Training goes on from the last checkpoint, with half the learning rate.
    Rollback,
}

words! { OnNonfinite: Abort "abort" Skip "skip" Rollback "rollback" }

/// `[train]`: for how long, and what is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Determines initial values, order, noise and probes. Below 2⁴⁸.
    pub seed: u64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Steps between checkpoints; 0 writes one at the end of each epoch.
    pub checkpoint_every: usize,
    /// Number of checkpoints kept, the newest ones; the best model so far is kept besides.
    pub keep: usize,
    /// What becomes of a step whose loss or gradient is not a number.
    pub on_nonfinite: OnNonfinite,
    /// Samples from which ActNorm is initialised.
    pub init_batch: usize,
    /// What the forward pass keeps.
    pub memory: Memory,
    /// How exactly the convolutions of blocks are computed in training steps. Spectral norms, evaluation and inversion are
    /// always computed in f32.
    pub precision: Precision,
    /// Weight of the density in the loss of a `hybrid` model of d dimensions: cross-entropy − weight/d · ln p(x), in nats.
    /// 1 weighs the classes as much as one dimension of the image; d gives the likelihood of images and classes together.
    pub density_weight: f64,
}

section! {
    TrainConfig:
    epochs seed log_every checkpoint_every keep on_nonfinite init_batch memory precision density_weight
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 200,
            seed: 1234,
            log_every: 1,
            checkpoint_every: 0,
            keep: 2,
            on_nonfinite: OnNonfinite::Abort,
            init_batch: 1024,
            memory: Memory::Store,
            precision: Precision::F32,
            density_weight: 1.0,
        }
    }
}
