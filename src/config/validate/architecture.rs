//! What each architecture can be, and which keys belong to it.

use super::require;
use crate::config::{Architecture, Config, Coupling, Kind, Memory, Permutation, Scales};
use crate::error::Result;

impl Config {
    /// Checks that keys of other architectures keep their defaults, and that the architecture can be all that is asked of it.
    pub(super) fn validate_architecture(&self) -> Result<()> {
        let model = &self.model;
        let own = model.architecture;
        let name = own.word();
        let belongs = |key: &str, to: Architecture, holds: bool, cure: &str| {
            require(own == to || holds, || {
                let other = to.word();
                format!(
                    "model.{key} belongs to model.architecture = \"{other}\", this is \"{name}\": leave the key away, or {cure}"
                )
            })
        };
        let to_resnet = "write model.architecture = \"resnet\"";
        belongs("batch_norm = true", Architecture::Resnet, !model.batch_norm, to_resnet)?;
        belongs("bottleneck = true", Architecture::Resnet, !model.bottleneck, to_resnet)?;
        let to_glow = "write model.architecture = \"glow\"";
        belongs("permutation", Architecture::Glow, model.permutation == Permutation::default(), to_glow)?;
        belongs("coupling", Architecture::Glow, model.coupling == Coupling::default(), to_glow)?;
        require(own == Architecture::Iresnet || model.coefficient.is_none(), || {
            format!(
                "model.coefficient: only blocks of model.architecture = \"iresnet\" are constrained, this is \"{name}\"; write \
                 model.coefficient = \"none\""
            )
        })?;
        match own {
            Architecture::Iresnet => Ok(()),
            Architecture::Resnet => self.validate_resnet(),
            Architecture::Glow => self.validate_glow(),
        }
    }

    fn validate_resnet(&self) -> Result<()> {
        let model = &self.model;
        require(model.kind == Kind::Classifier, || {
            "model.architecture = \"resnet\": it is not invertible, so it has no density; write model.kind = \"classifier\", or \
             architecture \"iresnet\" or \"glow\""
                .into()
        })?;
        require(self.train.memory != Memory::Reversible, || {
            "train.memory = \"reversible\" inverts blocks in the backward pass, and those of architecture \"resnet\" need not \
             be invertible; write train.memory = \"checkpoint\""
                .into()
        })?;
        if !model.bottleneck {
            return Ok(());
        }
        require(!model.initial_squeeze && model.injective_padding == 0 && model.scales != Scales::Multiple, || {
            format!(
                "model.bottleneck = true: such a network begins with a convolution and keeps all channels to the end; write \
                 model.initial_squeeze = false, model.injective_padding = 0 (now {}) and model.scales = \"auto\"",
                model.injective_padding
            )
        })?;
        require(!model.actnorm, || {
            "model.actnorm = true: blocks with model.bottleneck = true have none; write model.actnorm = false, and \
             model.batch_norm = true to normalise"
                .into()
        })
    }

    fn validate_glow(&self) -> Result<()> {
        let padding = self.model.injective_padding;
        require(padding == 0, || {
            format!(
                "model.injective_padding = {padding}: a Glow mixes channels itself, and scales of empty ones mean nothing; write 0"
            )
        })?;
        require(self.train.memory != Memory::Reversible, || {
            "train.memory = \"reversible\" is for blocks of architecture \"iresnet\", this is \"glow\"; write train.memory = \
             \"checkpoint\""
                .into()
        })
    }
}
