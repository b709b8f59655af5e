//! Normalised weights on the host: once, where a network is only evaluated.

use super::certificate::stored_sigma;
use super::model::{Model, norm_names};
use super::spectral::{CONVOLUTION_SLACK, SpectralNorm};
use crate::tensor::Tensor;

/// The same network for whoever evaluates it often and never trains it: with W / max(1, σ/c) in the place of every
/// normalised weight W, its σ, and its vectors, and without normalisation. Panics if a tensor of the model is missing.
pub fn effective(model: &Model, tensors: Vec<(String, Tensor)>) -> (Model, Vec<(String, Tensor)>) {
    let norms: Vec<(String, SpectralNorm)> = model.blocks().iter().flat_map(|block| model.norms(block)).collect();
    let find = |name: &str| {
        let found = tensors.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("effective: no value for the tensor {name:?}")).1.data()
    };
    let mut gone: Vec<String> = Vec::new();
    let mut made: Vec<(String, Tensor)> = Vec::new();
    for (name, norm) in norms {
        let [u, v, sigma] = norm_names(&name);
        let weight = find(&name);
        let (found, _) = stored_sigma(&norm, weight, find(&u), find(&v));
        let slack = if norm.is_matrix() { 0.0 } else { CONVOLUTION_SLACK };
        let divisor = (found / norm.coefficient).max(1.0) + slack;
        let weight = weight.iter().map(|&w| (f64::from(w) / divisor) as f32).collect();
        made.push((name.trim_end_matches("_orig").to_owned(), Tensor::new(norm.weight.clone(), weight)));
        gone.extend([name, u, v, sigma]);
    }
    let mut tensors = tensors;
    tensors.retain(|(name, _)| !gone.contains(name));
    tensors.extend(made);
    (model.unnormalised(), tensors)
}
