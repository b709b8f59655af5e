//! Training of densities in the plane.

use std::path::Path;

use iresnet::checkpoint::Checkpoint;
use iresnet::config::Config;
use iresnet::data::toy::Toy;
use iresnet::gpu::Tuning;
use iresnet::random::{Key, below, stream};
use iresnet::train::Trainer;
use wasm_bindgen::prelude::*;

use crate::loaded::{Holder, Loaded};
use crate::{Device, raise, raise_as};

/// Points of a step.
fn points(config: &Config, own: &[f32], seed: u64, step: u64, count: usize) -> Result<Vec<f32>, JsValue> {
    let key = Key::new(seed, step as u32, stream::TOY);
    if own.is_empty() {
        let name = config.data.name.trim_start_matches("toy:");
        let toy = Toy::parse(name).map_err(raise)?;
        return Ok(toy.sample(key, count).into_flattened());
    }
    let len = (own.len() / 2) as u32;
    let draw = |index| below(key, index, len) as usize;
    Ok((0..count as u32).map(draw).flat_map(|at| [own[2 * at], own[2 * at + 1]]).collect())
}

#[wasm_bindgen]
impl Loaded {
    /// Prepares training by a configuration, or goes on from the file of a model in training. ActNorm is set from points of
    /// the data, or from `own` ones.
    #[wasm_bindgen(js_name = startTraining)]
    pub async fn start_training(
        device: &Device,
        config: &str,
        own: &[f32],
        checkpoint: Option<Vec<u8>>,
    ) -> Result<Loaded, JsValue> {
        let gpu = device.gpu.clone();
        let config = Config::from_json(config, "train").map_err(raise)?;
        let start = match checkpoint {
            Some(bytes) => Some(Checkpoint::from_bytes(&bytes, Path::new("training")).map_err(raise)?),
            None => None,
        };
        let points = points(&config, own, config.train.seed, u64::from(u32::MAX >> 8), config.train.init_batch)?;
        let steps = (config.data.limit / config.data.batch).max(1) as u64;
        let mut trainer = Trainer::new(&gpu, &config, steps, Tuning::first(), start.as_ref()).await.map_err(raise)?;
        if start.is_none() {
            trainer.initialize(&points).await.map_err(raise)?;
        }
        Ok(Self::of(Holder::Trainer(Box::new(trainer))))
    }

    /// Makes so many steps; gives the loss of each.
    pub async fn train(&mut self, steps: u32, own: Vec<f32>) -> Result<Vec<f32>, JsValue> {
        let Holder::Trainer(trainer) = &mut self.holder else {
            return Err(raise_as("INTERNAL", "this model is not in training"));
        };
        let config = trainer.network().model().config().clone();
        let mut losses = Vec::new();
        for _ in 0..steps {
            let step = trainer.step_count();
            trainer.step(&points(&config, &own, config.train.seed, step, config.data.batch)?, &[]);
            while let Some(report) = trainer.report(false).await.map_err(raise)? {
                losses.push(report.loss);
            }
        }
        while let Some(report) = trainer.report(true).await.map_err(raise)? {
            losses.push(report.loss);
        }
        Ok(losses)
    }

    /// Brings all norms to their limits, as is done at the end of training.
    #[wasm_bindgen(js_name = finishTraining)]
    pub async fn finish_training(&mut self) -> Result<(), JsValue> {
        match &mut self.holder {
            Holder::Trainer(trainer) => trainer.finish().await.map_err(raise),
            Holder::Network(_) => Ok(()),
        }
    }

    /// The model as a file: with `whole` all that training needs to go on, else only what the finished model needs.
    pub async fn save(&self, whole: bool) -> Result<Vec<u8>, JsValue> {
        let Holder::Trainer(trainer) = &self.holder else {
            return Err(raise_as("INTERNAL", "this model is not in training"));
        };
        let checkpoint = trainer.checkpoint().await.map_err(raise)?;
        Ok(if whole { checkpoint } else { checkpoint.model_only() }.to_bytes())
    }
}
