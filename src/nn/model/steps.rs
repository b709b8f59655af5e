//! What inverting a network block by block needs: graphs of single rounds, weights as evaluation uses them, and the way
//! between blocks, which only moves numbers and is walked on the host.

use super::build::Build;
use super::{Block, Model, Part};
use crate::graph::Graph;
use crate::nn::inverse::Stop;

/// What the names of [effective weights](Model::effective_graph) begin with.
const EFFECTIVE: &str = "effective/";

impl Model {
    /// The normalised weights of all blocks, as evaluation uses them: outputs `effective/NAME`. `None` if nothing is
    /// normalised.
    pub fn effective_graph(&self) -> Option<Graph> {
        self.config().model.coefficient?;
        let mut build = Build::new(self, 1);
        for block in self.blocks() {
            let nodes = build.operands(block, 0);
            for ((operand, _), node) in block.branch.operands().into_iter().zip(nodes) {
                if operand.ends_with(".weight") {
                    build.g.output(format!("{EFFECTIVE}{}", block.operand_name(&operand, true)), node);
                }
            }
        }
        Some(build.finish())
    }

    /// The operands of a block's branch with the tensors in which their values are, given the effective weights.
    pub(crate) fn operand_tensors(&self, block: &Block) -> Vec<(String, String)> {
        let normalised = self.config().model.coefficient.is_some();
        let tensor = |operand: &str| {
            let name = block.operand_name(operand, normalised);
            if normalised && operand.ends_with(".weight") { format!("{EFFECTIVE}{name}") } else { name }
        };
        block.branch.operands().into_iter().map(|(operand, _)| (tensor(&operand), operand)).collect()
    }

    /// One round of the iteration that inverts block `index` for n samples:
    /// [`round_graph`](crate::nn::residual::BlockFunction::round_graph).
    pub fn round_graph(&self, index: usize, n: usize, stop: Stop) -> Graph {
        Build::new(self, n).block_function(&self.blocks()[index], None).round_graph(stop)
    }
}

/// Samples on their way back, on the host: `[n, …]`, row-major, with the latent parts that still lie ahead.
#[derive(Clone, Debug)]
pub(crate) struct WayBack {
    /// The samples as they are now.
    pub(crate) x: Vec<f32>,
    /// Shape of one.
    shape: Vec<usize>,
    latent: Vec<Vec<f32>>,
    n: usize,
    /// Number of parts that still lie ahead.
    ahead: usize,
}

impl WayBack {
    /// At the end of the network, with latent numbers `[n, d]`.
    pub(crate) fn start(model: &Model, z: &[f32]) -> Self {
        let width = model.latent_len();
        let n = z.len() / width;
        let (mut latent, last) = Build::new(model, n).latent_shapes();
        latent.push(last);
        let mut at = 0;
        let mut parts = Vec::with_capacity(latent.len());
        for shape in &latent {
            let len = shape.len() / n;
            parts.push((0..n).flat_map(|sample| &z[sample * width + at..][..len]).copied().collect());
            at += len;
        }
        let x = parts.pop().expect("a model has at least one latent part");
        let shape = latent[latent.len() - 1].extents()[1..].to_vec();
        Self { x, shape, latent: parts, n, ahead: model.parts().len() }
    }

    /// The same place with other samples.
    pub(crate) fn with(&self, x: Vec<f32>) -> Self {
        let mut way = self.clone();
        way.x = x;
        way
    }

    /// Walks on to the next block, whose index this is; `None` at the beginning of the network.
    pub(crate) fn next_block(&mut self, model: &Model) -> Option<usize> {
        while self.ahead > 0 {
            self.ahead -= 1;
            match model.parts()[self.ahead] {
                Part::Block(index) => return Some(index),
                Part::Squeeze => self.unsqueeze(),
                Part::Pad(extra) => {
                    let pixels: usize = self.shape[1..].iter().product();
                    let (all, kept) = (self.shape[0], self.shape[0] - extra);
                    self.x = self.x.chunks(all * pixels).flat_map(|one| &one[..kept * pixels]).copied().collect();
                    self.shape[0] = kept;
                }
                Part::FactorOut => {
                    let out = self.latent.pop().expect("one latent part for each factoring out");
                    let len = self.x.len() / self.n;
                    let both = out.chunks(len).zip(self.x.chunks(len));
                    self.x = both.flat_map(|(out, rest)| out.iter().chain(rest)).copied().collect();
                    self.shape[0] *= 2;
                }
                Part::Head(_) => {}
                Part::Stem | Part::Plain(_) | Part::Flow(_) | Part::Split(_) => {
                    unreachable!("only networks of contractions are inverted step by step")
                }
            }
        }
        None
    }

    /// Inverts ActNorm: (x − shift) · exp(−log_scale), channel by channel.
    pub(crate) fn undo_actnorm(&mut self, log_scale: &[f32], shift: &[f32]) {
        let pixels: usize = self.shape[1..].iter().product();
        let channels = self.shape[0];
        for (index, channel) in self.x.chunks_mut(pixels.max(1)).enumerate() {
            let (scale, shift) = ((-log_scale[index % channels]).exp(), shift[index % channels]);
            channel.iter_mut().for_each(|x| *x = (*x - shift) * scale);
        }
    }

    /// Depth to space: see [`squeeze`](crate::nn::squeeze::squeeze).
    fn unsqueeze(&mut self) {
        let [c, h, w] = [self.shape[0] / 4, self.shape[1], self.shape[2]];
        let mut x = vec![0.0; self.x.len()];
        for (from, to) in self.x.chunks(4 * c * h * w).zip(x.chunks_mut(4 * c * h * w)) {
            for (index, &value) in from.iter().enumerate() {
                let (channel, i, j) = (index / (h * w), index / w % h, index % w);
                let (dy, dx, k) = (channel / c / 2, channel / c % 2, channel % c);
                to[(k * 2 * h + 2 * i + dy) * 2 * w + 2 * j + dx] = value;
            }
        }
        self.x = x;
        self.shape = vec![c, 2 * h, 2 * w];
    }
}
