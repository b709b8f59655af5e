//! The Lipschitz certificate: rigorous upper bounds of what the method promises.
//!
//! Power iteration approaches a layer's norm from below, so it cannot prove that a layer is a contraction. Here each
//! layer's operator norm is bounded **from above** (see [`norm_bound`] and its file for the argument), on the host in
//! f64 with margins for rounding. From these follow, with activations of slope at most 1 (ELU, softplus, ReLU, MaxMin and
//! LipSwish all are 1-Lipschitz):
//!
//! * of a residual branch F: L = Π of its layers' bounds. The block is invertible where L < 1 (paper, theorem 1), and
//!   its log-determinant series is cut off with an error that L bounds;
//! * of a block y = a + F(a), a = s·x + b with ActNorm's scales s: Lip ≤ (1 + L) max s, and of its inverse
//!   Lip ≤ 1 / ((1 − L) min s) (paper, lemma 2);
//! * of the network and of its inverse: products over the blocks. Squeezing and padding keep distances; what is factored
//!   out is not changed any more, so from there on a factor counts as at least 1.
//!
//! It is about contractions: networks of other architectures have no blocks here, and infinity for a Lipschitz constant.
//!
//! What is certified is the function that the stored numbers define, evaluated as evaluation does it: effective weights
//! W / max(1, σ/c) with σ = ⟨u, W v⟩ of the stored vectors. A device rounds each operation to f32, which changes values by
//! some 10⁻⁶ of their size; that is not part of the certificate.

mod hermitian;
mod norm;

pub use norm::norm_bound;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use self::hermitian::U;
use self::norm::OUTWARD;
use super::model::{Block, Model, Part, norm_names};
use super::residual::Member;
use super::spectral::{CONVOLUTION_SLACK, SpectralNorm};
use crate::json::Value;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::threads;

/// Bounds of a whole network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The blocks in order.
    pub blocks: Vec<BlockCertificate>,
    /// Natural logarithm of a Lipschitz constant of the map from samples to latent numbers.
    pub log_lipschitz: f64,
    /// The same of the inverse map; none where a block is not known to be invertible.
    pub log_inverse_lipschitz: Option<f64>,
}

/// Bounds of a residual block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockCertificate {
    /// What its parameters' names begin with.
    pub name: String,
    /// The linear layers of the branch in order.
    pub layers: Vec<LayerCertificate>,
    /// L: a Lipschitz constant of the residual branch.
    pub constant: f64,
    /// The smallest and the largest scale of ActNorm, 1 without one.
    pub scale: [f64; 2],
    /// A Lipschitz constant of the block, ActNorm included.
    pub lipschitz: f64,
    /// A Lipschitz constant of its inverse; none where L is not below 1.
    pub inverse_lipschitz: Option<f64>,
}

/// Bounds of a linear layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerCertificate {
    /// Name of the weight.
    pub name: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// Height and width of the images that a convolution is applied to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// c, the norm that normalisation aims at; none without normalisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coefficient: Option<f64>,
    /// σ = ⟨u, W v⟩ of the weight before normalisation: a lower bound of its norm up to rounding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// Upper bound of the operator norm of the effective weight.
    pub bound: f64,
}

impl BlockCertificate {
    /// The layer that does most harm: whose bound exceeds its coefficient (1 without one) by the largest factor.
    pub fn weakest(&self) -> Option<&LayerCertificate> {
        let excess = |layer: &LayerCertificate| layer.bound / layer.coefficient.unwrap_or(1.0);
        self.layers.iter().max_by(|a, b| excess(a).total_cmp(&excess(b)))
    }
}

impl Certificate {
    /// As a tree, for files.
    pub(crate) fn tree(&self) -> Value {
        let object = |entries: Vec<(&str, Value)>| {
            Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        };
        let number = Value::number;
        let whole = |size: usize| Value::Number(size.to_string());
        let optional = |value: Option<f64>| value.map_or(Value::Null, Value::number);
        let layer = |layer: &LayerCertificate| {
            let mut entries = vec![
                ("name", Value::Text(layer.name.clone())),
                ("shape", Value::List(layer.shape.iter().map(|&extent| whole(extent)).collect())),
            ];
            if let Some(size) = layer.size {
                entries.push(("size", Value::List(size.map(whole).into())));
            }
            entries.extend(layer.coefficient.map(|value| ("coefficient", number(value))));
            entries.extend(layer.sigma.map(|value| ("sigma", number(value))));
            entries.push(("bound", number(layer.bound)));
            object(entries)
        };
        let block = |block: &BlockCertificate| {
            object(vec![
                ("name", Value::Text(block.name.clone())),
                ("layers", Value::List(block.layers.iter().map(layer).collect())),
                ("constant", number(block.constant)),
                ("scale", Value::List(block.scale.map(number).into())),
                ("lipschitz", number(block.lipschitz)),
                ("inverse_lipschitz", optional(block.inverse_lipschitz)),
            ])
        };
        object(vec![
            ("blocks", Value::List(self.blocks.iter().map(block).collect())),
            ("log_lipschitz", number(self.log_lipschitz)),
            ("log_inverse_lipschitz", optional(self.log_inverse_lipschitz)),
        ])
    }

    /// Whether every block is proved to be invertible. Not where there is none.
    pub fn is_contraction(&self) -> bool {
        !self.blocks.is_empty() && self.blocks.iter().all(|block| block.constant < 1.0)
    }

    /// The blocks that are not proved to be invertible.
    pub fn failures(&self) -> impl Iterator<Item = &BlockCertificate> {
        // A constant that is not a number must not pass.
        self.blocks.iter().filter(|block| block.constant.is_nan() || block.constant >= 1.0)
    }
}

/// The certificate of a model with these values, which must hold every tensor of [`Model::params`] that blocks have.
/// Takes milliseconds for small models and seconds for large ones; uses as many threads as there are processors.
///
/// Panics if a tensor is missing.
#[track_caller]
pub fn certify(model: &Model, tensors: &[(String, Tensor)]) -> Certificate {
    let tensors: HashMap<&str, &Tensor> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let layers: Vec<(usize, Layer)> = model
        .blocks()
        .iter()
        .enumerate()
        .flat_map(|(number, block)| layers(model, block).into_iter().map(move |layer| (number, layer)))
        .collect();
    let found = threads::map(layers.len(), |i| layers[i].1.certify(&tensors));
    let mut of_block: Vec<Vec<LayerCertificate>> = vec![Vec::new(); model.blocks().len()];
    for ((number, _), layer) in layers.iter().zip(found) {
        of_block[*number].push(layer);
    }
    let blocks: Vec<BlockCertificate> = model
        .blocks()
        .iter()
        .zip(of_block)
        .map(|(block, layers)| certify_block(model, block, layers, &tensors))
        .collect();
    let (mut log_lipschitz, mut log_inverse) = (0.0, Some(0.0));
    for part in model.parts().iter().rev() {
        match part {
            Part::Squeeze | Part::Pad(_) | Part::Head(_) => {}
            // Of their layers nothing is bounded, neither up nor down.
            Part::Stem | Part::Plain(_) | Part::Flow(_) | Part::Split(_) => {
                log_lipschitz = f64::INFINITY;
                log_inverse = None;
            }
            // Beside the rest stand numbers that pass unchanged.
            Part::FactorOut => {
                log_lipschitz = f64::max(log_lipschitz, 0.0);
                log_inverse = log_inverse.map(|log: f64| log.max(0.0));
            }
            Part::Block(index) => {
                let block = &blocks[*index];
                log_lipschitz += log_up(block.lipschitz);
                log_inverse = log_inverse.zip(block.inverse_lipschitz).map(|(log, factor)| log + log_up(factor));
            }
        }
    }
    Certificate { blocks, log_lipschitz, log_inverse_lipschitz: log_inverse }
}

/// A logarithm rounded up, with room for adding it to others.
fn log_up(x: f64) -> f64 {
    let log = x.ln();
    log + 64.0 * U * log.abs().max(1.0)
}

fn certify_block(
    model: &Model,
    block: &Block,
    layers: Vec<LayerCertificate>,
    tensors: &HashMap<&str, &Tensor>,
) -> BlockCertificate {
    let constant = layers.iter().fold(1.0, |product, layer| product * layer.bound * OUTWARD);
    let mut scale = [1.0_f64, 1.0];
    if model.config().model.actnorm {
        let logs = find(tensors, &block.actnorm_names()[0]).data();
        let extreme = |pick: fn(f64, f64) -> f64, start| logs.iter().map(|&log| f64::from(log)).fold(start, pick).exp();
        scale = [extreme(f64::min, f64::INFINITY) / OUTWARD, extreme(f64::max, f64::NEG_INFINITY) * OUTWARD];
    }
    let inverse_lipschitz = (constant < 1.0).then(|| OUTWARD / ((1.0 - constant) * scale[0]));
    BlockCertificate {
        name: block.prefix.clone(),
        layers,
        constant,
        scale,
        lipschitz: (1.0 + constant) * scale[1] * OUTWARD,
        inverse_lipschitz,
    }
}

/// A linear layer to be certified.
struct Layer {
    name: String,
    weight: Shape,
    /// Size of the images that the layer is applied to.
    size: [usize; 2],
    norm: Option<SpectralNorm>,
}

fn layers(model: &Model, block: &Block) -> Vec<Layer> {
    let mut norms: HashMap<String, SpectralNorm> = model.norms(block).into_iter().collect();
    let normalised = !norms.is_empty();
    let size = match block.branch.input.extents() {
        [_, h, w] => [*h, *w],
        _ => [1, 1],
    };
    let members = block.branch.members.iter().enumerate();
    members
        .filter_map(|(index, member)| {
            let Member::Layer(weight) = member else { return None };
            let name = block.operand_name(&format!("{index}.weight"), normalised);
            let norm = norms.remove(&name);
            Some(Layer { name, weight: weight.clone(), size, norm })
        })
        .collect()
}

impl Layer {
    fn certify(&self, tensors: &HashMap<&str, &Tensor>) -> LayerCertificate {
        let weight = find(tensors, &self.name).data();
        let bound = norm_bound(weight, &self.weight, self.size);
        let mut certificate = LayerCertificate {
            name: self.name.clone(),
            shape: self.weight.extents().to_vec(),
            size: (self.weight.rank() == 4).then_some(self.size),
            coefficient: None,
            sigma: None,
            bound,
        };
        if let Some(norm) = &self.norm {
            let [u, v, _] = norm_names(&self.name);
            let (sigma, error) = stored_sigma(norm, weight, find(tensors, &u).data(), find(tensors, &v).data());
            let slack = if norm.is_matrix() { 0.0 } else { CONVOLUTION_SLACK };
            let divisor = ((sigma - error) / norm.coefficient).max(1.0) + slack;
            certificate.coefficient = Some(norm.coefficient);
            certificate.sigma = Some(sigma);
            certificate.bound = bound / divisor * OUTWARD;
        }
        certificate
    }
}

#[track_caller]
fn find<'t>(tensors: &HashMap<&str, &'t Tensor>, name: &str) -> &'t Tensor {
    tensors.get(name).unwrap_or_else(|| panic!("certify: no value for the tensor {name:?}"))
}

/// ⟨u, W v⟩, and how far rounding may have taken it from the exact value.
pub(super) fn stored_sigma(norm: &SpectralNorm, weight: &[f32], u: &[f32], v: &[f32]) -> (f64, f64) {
    let [o, i] = [norm.weight[0], norm.weight[1]];
    let [h, w] = if norm.is_matrix() { [1, 1] } else { norm.size };
    let kernel = if norm.is_matrix() { [1, 1] } else { [norm.weight[2], norm.weight[3]] };
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let (u, v) = (wide(u), wide(v));
    let norms = |x: &[f64]| x.chunks_exact(h * w).map(|c| c.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
    let (of_u, of_v): (Vec<f64>, Vec<f64>) = (norms(&u), norms(&v));
    let (mut sigma, mut size) = (0.0, 0.0);
    for (at, &value) in weight.iter().enumerate() {
        let value = f64::from(value);
        let (column, row) = (at % kernel[1], at / kernel[1] % kernel[0]);
        let pair = at / (kernel[0] * kernel[1]);
        let (output, input) = (pair / i, pair % i);
        debug_assert!(output < o);
        // Output pixel p reads input pixel p + shift.
        let (dy, dx) = (row as isize - kernel[0] as isize / 2, column as isize - kernel[1] as isize / 2);
        let inside = |extent: usize, shift: isize| {
            let start = (-shift).max(0) as usize;
            start.min(extent)..((extent as isize - shift.max(0)).max(0) as usize).max(start.min(extent))
        };
        let columns = inside(w, dx);
        let mut sum = 0.0;
        for y in inside(h, dy) {
            let from = (output * h + y) * w;
            let to = (input * h).wrapping_add_signed(dy + y as isize) * w;
            let left = &u[from + columns.start..from + columns.end];
            let right = &v[(to + columns.start).wrapping_add_signed(dx)..(to + columns.end).wrapping_add_signed(dx)];
            sum += left.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
        }
        sigma += value * sum;
        size += value.abs() * of_u[output] * of_v[input];
    }
    (sigma, (h * w + weight.len() + 8) as f64 * U * size * OUTWARD)
}
