//! The way forwards: latent numbers, classes, densities.

use iresnet::eval::Evaluator;
use iresnet::nn::LogDet;
use iresnet::random::Distribution;
use wasm_bindgen::prelude::*;

use crate::loaded::{Loaded, bring_last};
use crate::raise;

impl Loaded {
    async fn evaluate(
        &mut self,
        x: Vec<f32>,
        batch: usize,
        log_det: Option<LogDet>,
        seed: f64,
        names: &[&str],
    ) -> Result<Vec<f32>, JsValue> {
        let width = self.input();
        let count = x.len() / width;
        let mut filled = x;
        for _ in count..batch {
            filled.extend_from_within((count - 1) * width..count * width);
        }
        let key = (batch, log_det.clone());
        if !bring_last(&mut self.evaluators, &key) {
            let evaluator = Evaluator::new(self.holder.network_mut(), batch, log_det).await.map_err(raise)?;
            self.evaluators.push((key, evaluator));
        }
        let (_, evaluator) = self.evaluators.last().expect("there or made");
        evaluator.run(&filled, &vec![0; batch], seed as u64, 0);
        let mut results = Vec::new();
        for name in names.iter().filter(|name| evaluator.gives(name)) {
            let values = evaluator.read(name).await.map_err(raise)?;
            results.extend_from_slice(&values[..values.len() / batch * count]);
        }
        Ok(results)
    }
}

#[wasm_bindgen]
impl Loaded {
    /// Latent numbers of the samples `x`, then scores of classes if there are any. `batch` samples are computed, at least
    /// as many as there are.
    pub async fn encode(&mut self, x: Vec<f32>, batch: usize) -> Result<Vec<f32>, JsValue> {
        self.evaluate(x, batch, None, 0.0, &["z", "logits"]).await
    }

    /// Of each sample its log-density, those of the prior, the log-determinants, and bits per dimension of images. Without
    /// terms the log-determinant is exact.
    #[wasm_bindgen(js_name = logProb)]
    pub async fn log_prob(
        &mut self,
        x: Vec<f32>,
        batch: usize,
        terms: usize,
        probes: usize,
        seed: f64,
    ) -> Result<Vec<f32>, JsValue> {
        let series = LogDet::Series { terms, samples: probes, probe: Distribution::Normal };
        let log_det = if terms == 0 { LogDet::Exact } else { series };
        let names = ["log_prob", "log_prior", "log_det", "bits_per_dim"];
        self.evaluate(x, batch, Some(log_det), seed, &names).await
    }
}
