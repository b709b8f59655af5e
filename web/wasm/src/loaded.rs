//! A model on a device.

use std::path::Path;

use iresnet::checkpoint::Checkpoint;
use iresnet::eval::{Evaluator, StepwiseInverter};
use iresnet::gpu::Tuning;
use iresnet::network::Network;
use iresnet::nn::{LogDet, Model, Stop, effective};
use iresnet::train::Trainer;
use wasm_bindgen::prelude::*;

use crate::{Device, raise};

/// Programs that are kept of each kind, the last ones used: others of other batch sizes make room.
const KEPT: usize = 4;

/// Most numbers in the largest activation of a batch.
const MOST_NUMBERS: usize = 1 << 21;

/// Most samples of a batch.
const MOST_SAMPLES: usize = 4096;

/// A model, as it was loaded or as it is trained.
#[wasm_bindgen]
pub struct Loaded {
    pub(crate) holder: Holder,
    pub(crate) evaluators: Vec<((usize, Option<LogDet>), Evaluator)>,
    pub(crate) inverters: Vec<((usize, Stop), StepwiseInverter)>,
}

pub(crate) enum Holder {
    Network(Box<Network>),
    Trainer(Box<Trainer>),
}

impl Holder {
    pub(crate) fn network(&self) -> &Network {
        match self {
            Self::Network(network) => network,
            Self::Trainer(trainer) => trainer.network(),
        }
    }

    pub(crate) fn network_mut(&mut self) -> &mut Network {
        match self {
            Self::Network(network) => network,
            Self::Trainer(trainer) => trainer.network_mut(),
        }
    }
}

impl Loaded {
    pub(crate) fn of(holder: Holder) -> Self {
        Self { holder, evaluators: Vec::new(), inverters: Vec::new() }
    }

    pub(crate) fn model(&self) -> &Model {
        self.holder.network().model()
    }
}

/// Makes room for one more of what is kept, and brings the one with this key to the end, where the last one used stands.
/// Whether it is there.
pub(crate) fn bring_last<K: PartialEq, V>(kept: &mut Vec<(K, V)>, key: &K) -> bool {
    if let Some(at) = kept.iter().position(|(known, _)| known == key) {
        let entry = kept.remove(at);
        kept.push(entry);
        return true;
    }
    if kept.len() >= KEPT {
        kept.remove(0);
    }
    false
}

#[wasm_bindgen]
impl Loaded {
    /// Reads a model file and uploads it.
    pub fn load(device: &Device, bytes: &[u8]) -> Result<Loaded, JsValue> {
        let checkpoint = Checkpoint::from_bytes(bytes, Path::new("model")).map_err(raise)?;
        let checkpoint = checkpoint.averaged().map_err(raise)?;
        let model = Model::new(&checkpoint.config).map_err(raise)?;
        // Weights that are normalised once need no kernels for it.
        let (model, tensors) = effective(&model, checkpoint.tensors);
        let network = Network::new(&device.gpu, model, &tensors, Tuning::first()).map_err(raise)?;
        Ok(Self::of(Holder::Network(Box::new(network))))
    }

    /// Numbers of an input sample.
    pub fn input(&self) -> usize {
        self.model().input_len()
    }

    /// Latent numbers of a sample.
    pub fn latent(&self) -> usize {
        self.model().latent_len()
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.model().params().iter().filter(|param| param.is_parameter()).map(|param| param.shape.len()).sum()
    }

    /// Multiply-adds of one sample.
    #[wasm_bindgen(js_name = multiplyAdds)]
    pub fn multiply_adds(&self) -> f64 {
        self.model().multiply_adds() as f64
    }

    /// Number of residual blocks.
    pub fn blocks(&self) -> usize {
        self.model().blocks().len()
    }

    /// Name of block `index`.
    #[wasm_bindgen(js_name = blockName)]
    pub fn block_name(&self, index: usize) -> String {
        self.model().blocks()[index].prefix.clone()
    }

    /// Number of parameters of block `index`, then the shape of its input.
    #[wasm_bindgen(js_name = blockSizes)]
    pub fn block_sizes(&self, index: usize) -> Vec<usize> {
        let model = self.model();
        let branch = &model.blocks()[index].branch;
        let own: usize = branch.operands().iter().map(|(_, shape)| shape.len()).sum();
        let actnorm = if model.config().model.actnorm { 2 * branch.input[0] } else { 0 };
        let mut sizes = vec![own + actnorm];
        sizes.extend_from_slice(branch.input.extents());
        sizes
    }

    /// Most samples that are to be computed at a time.
    pub fn most(&self) -> usize {
        let model = self.model();
        let of_block = |block: &iresnet::nn::model::Block| {
            let pixels: usize = block.branch.input.extents()[1..].iter().product();
            let widest = block.branch.operands().iter().map(|(_, shape)| shape.extents()[0]).max().unwrap_or(1);
            (widest * pixels).max(block.branch.input.len())
        };
        let largest = model.blocks().iter().map(of_block).max().unwrap_or(1).max(model.latent_len());
        (MOST_NUMBERS / largest).clamp(1, MOST_SAMPLES)
    }
}
