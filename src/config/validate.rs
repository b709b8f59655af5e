//! What configuration keys must satisfy together.

mod architecture;

use super::{Architecture, Config, Estimator, Gradient, Kind, Memory, OptimizerConfig, Precision};
use crate::error::{Error, Result};
use crate::nn::Activation;
use crate::nn::logdet::EXACT_LIMIT;

/// Power iterations are unrolled into the step, or recorded one by one.
const MOST_POWER_ITERATIONS: usize = 1000;

/// Fails with the key, its value and the cure unless `holds`.
fn require(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config(message())) }
}

impl Config {
    /// Checks that the values make sense, alone and together.
    ///
    /// # Errors
    /// The first value that does not, with its key and what to do.
    pub fn validate(&self) -> Result<()> {
        self.validate_sizes()?;
        self.validate_model()?;
        self.validate_architecture()?;
        self.validate_shapes()?;
        self.validate_log_det()?;
        self.optimizer.validate()?;
        let (data, train) = (&self.data, &self.train);
        require(data.batch > 0, || "data.batch = 0: a step needs at least one sample".into())?;
        require(!data.name.is_empty(), || "data.name is empty: name a data set, such as \"fashion-mnist\"".into())?;
        require((1..=8).contains(&data.bits), || {
            format!("data.bits = {}: images are stored in 8 bits, of which 1 to 8 can be kept", data.bits)
        })?;
        require(train.seed < 1 << 48, || format!("train.seed = {}: seeds are below 2^48", train.seed))?;
        let invertible = self.model.architecture != Architecture::Iresnet || self.model.coefficient.is_some();
        require(train.memory != Memory::Reversible || invertible, || {
            "train.memory = \"reversible\" inverts blocks in the backward pass, which model.coefficient = \"none\" does not \
             promise to be possible; set a coefficient below 1, or train.memory = \"checkpoint\""
                .into()
        })?;
        require(train.precision == Precision::F32 || train.memory != Memory::Reversible, || {
            "train.precision = \"f16\" with train.memory = \"reversible\": blocks can only be inverted as exactly as they were \
             computed; set train.memory = \"checkpoint\" or train.precision = \"f32\""
                .into()
        })?;
        require(train.log_every > 0, || "train.log_every = 0: write 1 to log every step".into())?;
        require(train.init_batch > 0, || "train.init_batch = 0: ActNorm needs samples to be initialised from".into())
    }

    /// Bounds that no network reaches: configurations also come in files of strangers, and everything below multiplies.
    fn validate_sizes(&self) -> Result<()> {
        let model = &self.model;
        let most = |key: &str, value: usize, bound: usize| {
            require(value <= bound, || format!("model.{key}: {value} is more than the {bound} there may be"))
        };
        let product = |values: &[usize]| values.iter().fold(1usize, |product, &value| product.saturating_mul(value));
        most("blocks", model.blocks.iter().fold(0, |sum, &count| sum.saturating_add(count)), 10_000)?;
        most("blocks, number of stages", model.blocks.len(), 100)?;
        for &channels in &model.channels {
            most("channels", channels, 1 << 20)?;
        }
        most("input, number of elements", product(&model.input), 1 << 28)?;
        most("input, number of axes", model.input.len(), 3)?;
        most("injective_padding", model.injective_padding, 1 << 16)?;
        most("hidden_layers", model.hidden_layers, 1000)?;
        // Labels are f32 on the device: whole numbers up to here are exact.
        most("classes", model.classes, 1 << 24)
    }

    fn validate_model(&self) -> Result<()> {
        let model = &self.model;
        let stages = model.blocks.len();
        require(stages > 0, || {
            "model.blocks is empty: give the number of blocks of each stage, such as [7, 7, 7]".into()
        })?;
        for (key, values) in [("strides", &model.strides), ("channels", &model.channels)] {
            let of = values.len();
            require(of == stages, || {
                format!(
                    "model.{key} = {values:?} has {of} stages, model.blocks = {:?} has {stages}: give one number for each stage",
                    model.blocks
                )
            })?;
        }
        for (key, values) in [("blocks", &model.blocks), ("channels", &model.channels)] {
            require(!values.contains(&0), || format!("model.{key} = {values:?}: no stage may have 0"))?;
        }
        require(model.strides.iter().all(|&stride| stride == 1 || stride == 2), || {
            format!("model.strides = {:?}: a stride is 1, or 2 to begin the stage with a squeeze", model.strides)
        })?;
        if let Some(c) = model.coefficient {
            require(c > 0.0 && c < 1.0, || {
                format!(
                    "model.coefficient = {c}: it must lie between 0 and 1, exclusive, for blocks to be invertible; \
                     write \"none\" to train without the constraint"
                )
            })?;
            require(model.power_iterations > 0, || {
                "model.power_iterations = 0: at least 1 is needed to follow the weights; set model.coefficient = \
                 \"none\" to train without the constraint"
                    .into()
            })?;
        }
        require(model.power_tolerance.is_finite() && model.power_tolerance >= 0.0, || {
            format!(
                "model.power_tolerance = {}: a relative change of at least 0, such as 0.001; 0 runs every iteration",
                model.power_tolerance
            )
        })?;
        require(model.power_iterations <= MOST_POWER_ITERATIONS, || {
            format!(
                "model.power_iterations = {}: at most {MOST_POWER_ITERATIONS}; vectors are kept from step to step, so few \
                 are enough",
                model.power_iterations
            )
        })?;
        require(model.kind != Kind::Toy || model.injective_padding == 0 && !model.is_multiscale(), || {
            format!(
                "model.injective_padding = {}, model.scales = {:?}: vectors are neither padded nor factored out; set 0 and \
                 \"auto\"",
                model.injective_padding, model.scales
            )
        })?;
        require(!model.kind.has_classes() || model.classes > 1, || {
            format!("model.classes = {}: a classifier needs at least 2", model.classes)
        })?;
        require(model.kind != Kind::Hybrid || model.head_channels > 0, || {
            "model.head_channels = 0: the heads of a hybrid model need at least 1 channel".into()
        })?;
        let weight = self.train.density_weight;
        require(weight.is_finite() && weight >= 0.0, || {
            format!("train.density_weight = {weight}: it must be a number of at least 0")
        })?;
        require(model.activation != Activation::MaxMin || model.channels.iter().all(|c| c.is_multiple_of(2)), || {
            format!("model.channels = {:?}: activation maxmin pairs channels, so they must be even", model.channels)
        })
    }

    /// Follows the shape of a sample through the network.
    fn validate_shapes(&self) -> Result<()> {
        let model = &self.model;
        require(!model.input.contains(&0), || format!("model.input = {:?}: no extent may be 0", model.input))?;
        if model.kind == Kind::Toy {
            require(model.input.len() == 1, || {
                format!("model.input = {:?}: kind \"toy\" takes vectors, such as [2]", model.input)
            })?;
            require(!model.initial_squeeze && model.strides.iter().all(|&stride| stride == 1), || {
                "model.strides, model.initial_squeeze: vectors cannot be squeezed; use stride 1 and no initial squeeze"
                    .into()
            })?;
            require(model.hidden_layers > 0, || "model.hidden_layers = 0: a branch needs at least 1".into())?;
            if model.architecture == Architecture::Glow {
                return require(model.input[0] > 1, || {
                    "model.input = [1]: a coupling of a Glow needs at least 2 numbers; use architecture \"iresnet\""
                        .into()
                });
            }
            return require(model.activation != Activation::MaxMin || model.input[0].is_multiple_of(2), || {
                format!("model.input = {:?}: activation maxmin pairs features, so they must be even", model.input)
            });
        }
        let &[channels, height, width] = model.input.as_slice() else {
            return Err(Error::Config(format!(
                "model.input = {:?}: images have the form [channels, height, width]",
                model.input
            )));
        };
        let (mut c, mut h, mut w) = (channels, height, width);
        let mut squeeze = |place: &str, c: &mut usize| {
            require(h.is_multiple_of(2) && w.is_multiple_of(2), || {
                format!(
                    "{place}: {h}x{w} pixels cannot be squeezed, both must be even; model.input = {:?} must be \
                     divisible by two once for every squeeze",
                    model.input
                )
            })?;
            (h, w, *c) = (h / 2, w / 2, *c * 4);
            Ok::<_, Error>(())
        };
        if model.initial_squeeze {
            squeeze("model.initial_squeeze = true", &mut c)?;
        }
        c += model.injective_padding;
        if model.bottleneck {
            // Its strides are those of convolutions.
            return Ok(());
        }
        for (stage, &stride) in model.strides.iter().enumerate() {
            if stride == 2 {
                squeeze(&format!("model.strides[{stage}] = 2"), &mut c)?;
            }
            require(model.architecture != Architecture::Glow || c > 1, || {
                format!(
                    "stage {stage} has 1 channel: a coupling needs at least 2; set model.initial_squeeze = true or \
                     model.strides[{stage}] = 2"
                )
            })?;
            let first = stage == 0;
            require(
                model.activation != Activation::MaxMin
                    || c.is_multiple_of(2)
                    || first && model.blocks[0] == 1
                    || model.architecture == Architecture::Glow,
                || format!("stage {stage} has {c} channels: activation maxmin pairs channels, so they must be even"),
            )?;
            if model.is_multiscale() && stage + 1 < model.strides.len() {
                require(c.is_multiple_of(2), || {
                    format!(
                        "model.input = {:?}: half of the {c} channels of stage {stage} are factored out, so they must be \
                         even; set model.initial_squeeze = true",
                        model.input
                    )
                })?;
                c /= 2;
            }
        }
        Ok(())
    }

    fn validate_log_det(&self) -> Result<()> {
        let log_det = &self.log_det;
        require(log_det.terms > 0, || "log_det.terms = 0: the series needs at least 1 term".into())?;
        require(log_det.samples > 0, || "log_det.samples = 0: the estimate needs at least 1 probe".into())?;
        require(log_det.exact_terms > 0, || {
            "log_det.exact_terms = 0: at least the first term must always be computed; the default is 2".into()
        })?;
        require((0.1..1.0).contains(&log_det.probability), || {
            format!(
                "log_det.probability = {}: the chance to stop after a term is at least 0.1 and below 1, such as 0.5",
                log_det.probability
            )
        })?;
        require((0.01..=50.0).contains(&log_det.rate), || {
            format!("log_det.rate = {}: the mean number of terms lies between 0.01 and 50, such as 2.0", log_det.rate)
        })?;
        require(log_det.estimator != Estimator::Unbiased || log_det.gradient == Gradient::Neumann, || {
            "log_det.estimator = \"unbiased\": its gradient is that of a Neumann series; set log_det.gradient = \"neumann\""
                .into()
        })?;
        let model = &self.model;
        if model.architecture != Architecture::Iresnet {
            // A Glow's is exact anyway, a ResNet has none.
            return Ok(());
        }
        let dimension = model.latent_len();
        let exact = log_det.estimator == Estimator::Exact && model.kind.has_density();
        require(!exact || dimension <= EXACT_LIMIT, || {
            format!(
                "log_det.estimator = \"exact\": training computes it for at most {EXACT_LIMIT} dimensions, \
                 this model has {dimension}; use \"series\""
            )
        })?;
        require(!model.kind.has_density() || model.coefficient.is_some() || exact, || {
            "model.coefficient = \"none\": the log-determinant series needs branches of norm below 1; \
             give a coefficient, or use log_det.estimator = \"exact\""
                .into()
        })
    }
}

impl OptimizerConfig {
    /// Checks ranges.
    pub(super) fn validate(&self) -> Result<()> {
        let fractions =
            [("momentum", self.momentum), ("betas[0]", self.betas[0]), ("betas[1]", self.betas[1]), ("ema", self.ema)];
        for (key, value) in fractions {
            require((0.0..1.0).contains(&value), || {
                format!("optimizer.{key} = {value}: it must be at least 0 and below 1")
            })?;
        }
        require(self.lr.is_finite() && self.lr > 0.0, || {
            format!("optimizer.lr = {}: the learning rate must be a positive number", self.lr)
        })?;
        let amounts = [
            ("epsilon", self.epsilon),
            ("weight_decay", self.weight_decay),
            ("warmup", self.warmup),
            ("decay", self.decay),
            ("clip", self.clip),
        ];
        for (key, value) in amounts {
            require(value.is_finite() && value >= 0.0, || {
                format!("optimizer.{key} = {value}: it must be a number of at least 0")
            })?;
        }
        require(!self.nesterov || self.momentum > 0.0, || {
            "optimizer.nesterov = true: needs optimizer.momentum above 0".into()
        })?;
        require(self.milestones.is_sorted(), || {
            format!("optimizer.milestones = {:?}: epochs must ascend", self.milestones)
        })
    }
}
