//! Which layers are normalised together, and how parameters lie in memory so that it costs nothing.

use super::{Model, layout::norm_names};
use crate::config::Memory;
use crate::nn::param::Param;
use crate::nn::spectral::SpectralNorm;

/// A stack is not made larger than this: every device binds it, and unpacking it somewhere is cheap.
const STACK_BYTES: usize = 32 << 20;

/// Layers of one shape, on images of one size, that are normalised together.
#[derive(Clone, Debug, PartialEq)]
pub struct NormGroup {
    /// The normalisation of all of them.
    pub norm: SpectralNorm,
    /// Names of their weights.
    pub weights: Vec<String>,
}

impl Model {
    /// The normalised layers of the whole network in groups. Empty without a coefficient. Where memory must not grow with
    /// depth each layer is a group of its own: a group keeps the normalised weights of all its layers at once.
    pub fn norm_groups(&self) -> Vec<NormGroup> {
        let alone = self.config().train.memory == Memory::Reversible;
        let mut groups: Vec<NormGroup> = Vec::new();
        for (name, norm) in self.blocks().iter().flat_map(|block| self.norms(block)) {
            match groups.iter_mut().find(|group| !alone && group.norm == norm) {
                Some(group) => group.weights.push(name),
                None => groups.push(NormGroup { norm, weights: vec![name] }),
            }
        }
        groups.into_iter().flat_map(NormGroup::cut).collect()
    }

    /// The [`params`](Model::params) in the order in which memory holds them: what is stacked lies in a row.
    pub fn params_in_memory(&self) -> Vec<&Param> {
        let mut names: Vec<String> = Vec::new();
        for group in self.norm_groups() {
            let of_state = |which: usize| group.weights.iter().map(move |name| norm_names(name)[which].clone());
            let state: Vec<String> = (0..3).flat_map(of_state).collect();
            names.extend(group.weights.iter().cloned());
            names.extend(state);
        }
        let stacked: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
        let first = names.iter().map(|name| self.find_param(name).expect("layout and groups agree on names"));
        let rest = self.params().iter().filter(|param| !stacked.contains(param.name.as_str()));
        first.chain(rest).collect()
    }
}

impl NormGroup {
    /// Cut into groups of nearly equal size whose stacks are not too large; `norm.layers` is set.
    fn cut(self) -> Vec<Self> {
        let norm = &self.norm;
        let bytes = 4 * norm.weight.len().max(norm.u_len()).max(norm.v_len());
        let most = (STACK_BYTES / bytes).max(1);
        let count = self.weights.len();
        let size = count.div_ceil(count.div_ceil(most));
        let part = |names: &[String]| Self {
            norm: SpectralNorm { layers: names.len(), ..self.norm.clone() },
            weights: names.to_vec(),
        };
        self.weights.chunks(size).map(part).collect()
    }
}
