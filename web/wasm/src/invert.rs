//! The way back, a few rounds at a time.

use iresnet::eval::StepwiseInverter;
use iresnet::network::PARAMS;
use iresnet::nn::{Solver, Stop};
use iresnet::random::Key;
use wasm_bindgen::prelude::*;

use crate::loaded::{Loaded, bring_last};
use crate::raise;

#[wasm_bindgen]
impl Loaded {
    /// Draws latent numbers of `count` samples from the prior, the first of which is number `first` of this seed.
    pub async fn draw(&mut self, count: usize, first: usize, seed: f64, temperature: f32) -> Result<Vec<f32>, JsValue> {
        let width = self.latent();
        let network = self.holder.network();
        let mut z = Key::new(seed as u64, 0, 0).normals((first + count) * width).split_off(first * width);
        z.iter_mut().for_each(|z| *z *= temperature);
        let [mean, log_std] = ["prior_mu", "prior_logstd"];
        if network.model().find_param(mean).is_some() {
            let params = network.memory().read(PARAMS).await.map_err(raise)?;
            let of = |name| &params[network.memory().place_in_bucket(name)..][..width];
            for row in z.chunks_mut(width) {
                for ((z, mean), log_std) in row.iter_mut().zip(of(mean)).zip(of(log_std)) {
                    *z = *z * log_std.exp() + mean;
                }
            }
        }
        Ok(z)
    }

    /// Begins to invert latent numbers, filled up to `batch` samples.
    pub async fn begin(
        &mut self,
        z: Vec<f32>,
        batch: usize,
        anderson: bool,
        limit: u32,
        tolerance: f64,
    ) -> Result<(), JsValue> {
        let width = self.latent();
        let count = z.len() / width;
        let mut filled = z;
        for _ in count..batch {
            filled.extend_from_within((count - 1) * width..count * width);
        }
        let solver = if anderson { Solver::Anderson } else { Solver::Picard };
        let stop = Stop { solver, tolerance, limit };
        let key = (batch, stop);
        if !bring_last(&mut self.inverters, &key) {
            let inverter = StepwiseInverter::new(self.holder.network_mut(), batch, stop).await.map_err(raise)?;
            self.inverters.push((key, inverter));
        }
        let (_, inverter) = self.inverters.last_mut().expect("there or made");
        inverter.begin(self.holder.network(), &filled).await.map_err(raise)
    }

    /// Goes on by `rounds` rounds, or with 0 by as many as seem sensible. Gives: whether it is done, the block, evaluations
    /// in it and in all; then of each sample the residual, and whether it has converged; then with `look` the samples.
    pub async fn advance(&mut self, rounds: u32, look: bool) -> Result<Vec<f32>, JsValue> {
        let (_, inverter) = self.inverters.last_mut().expect("begun");
        let rounds = (rounds > 0).then_some(rounds);
        let progress = inverter.advance(self.holder.network(), rounds, look).await.map_err(raise)?;
        let done = if progress.done { 1.0 } else { 0.0 };
        let mut flat = vec![done, progress.block as f32, progress.iteration as f32, progress.total as f32];
        flat.extend(progress.residual);
        flat.extend(progress.converged.iter().map(|&flag| f32::from(u8::from(flag))));
        flat.extend(progress.seen.into_iter().flatten());
        Ok(flat)
    }

    /// What an inversion that is done has found: samples, then of each the evaluations, the residual, and whether it
    /// converged.
    pub fn solution(&mut self) -> Vec<f32> {
        let found = self.inverters.last_mut().and_then(|(_, inverter)| inverter.finish()).expect("done");
        let mut flat = found.x;
        flat.extend(found.iterations);
        flat.extend(found.residual);
        flat.extend(found.converged.iter().map(|&flag| f32::from(u8::from(flag))));
        flat
    }
}
