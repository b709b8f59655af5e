//! The way back through a network: block after block from the last, each solved before the one in front of it. Steps of
//! flow have formulas for that: they take no iterations, leave no residual, and always converge.

use super::build::Build;
use super::{Part, of_other_architecture};
use crate::graph::NodeId;
use crate::nn::inverse::{DIVERGED, Stop, error};
use crate::nn::residual::KEY_WIDTH;
use crate::nn::{glow, squeeze};
use crate::shape::Shape;

/// Error vectors on their way back: see [`error`].
struct Errors {
    /// How many of each sample.
    vectors: usize,
    /// Their present value, `[vectors·n, …]`.
    value: NodeId,
    /// The largest contraction of any block so far, `[n]`.
    contraction: Option<NodeId>,
}

impl Build<'_> {
    /// The way back from `z` `[n, d]`: declares the outputs `x`, `iterations`, `residual`, `converged`, and if `bounded`
    /// `error_bound`.
    pub(super) fn invert(&mut self, z: NodeId, stop: Stop, bounded: bool) {
        let model = self.model;
        assert!(
            model.is_invertible(),
            "a network of architecture {:?} has no inverse",
            model.config().model.architecture
        );
        let (mut latent, last) = self.latent_shapes();
        latent.push(last);
        let mut at = 0;
        let mut parts: Vec<NodeId> = Vec::new();
        for shape in latent {
            let length = shape.len() / self.batch;
            let part = self.g.slice_axis(z, 1, at, at + length);
            parts.push(self.g.reshape(part, shape));
            at += length;
        }
        let mut x = parts.pop().expect("a model has at least one latent part");
        let mut errors = (bounded && !model.is_exact()).then(|| self.no_errors(x));
        let mut reports: Option<[NodeId; 3]> = None;
        for &part in model.parts().iter().rev() {
            match part {
                Part::Head(_) => {}
                Part::Squeeze => {
                    x = squeeze::unsqueeze(&mut self.g, x);
                    self.change(&mut errors, squeeze::unsqueeze);
                }
                Part::Pad(extra) => {
                    x = squeeze::drop_channels(&mut self.g, x, extra);
                    self.change(&mut errors, |g, value| squeeze::drop_channels(g, value, extra));
                }
                Part::FactorOut => {
                    let out = parts.pop().expect("one latent part for each factoring out");
                    x = self.g.concat(&[out, x], 1);
                    self.change(&mut errors, |g, value| {
                        let exact = g.scalar_like(0.0, value);
                        g.concat(&[exact, value], 1)
                    });
                }
                Part::Split(number) => {
                    let out = parts.pop().expect("one latent part for each split");
                    let operands = self.split_operands(number);
                    x = glow::split::inverse(&mut self.g, out, x, operands);
                }
                Part::Flow(index) => {
                    of_other_architecture();
                    let flow = &model.flows()[index];
                    let arguments = [&[x], &self.flow_operands(flow, x, false)[..]].concat();
                    let batch = self.batch;
                    let function = self.function(format!("inverse {:?}", flow.step), || flow.step.inverse(batch));
                    x = self.g.call(&function, &arguments)[0];
                }
                Part::Stem | Part::Plain(_) => unreachable!("a network that has them is not invertible"),
                Part::Block(index) => {
                    let y = x;
                    let parameters = self.block_parameters(index);
                    let description = self.block_function(&model.blocks()[index], None);
                    let key = format!("inverse {description:?}");
                    let function = self.function(key, || description.inverse(stop));
                    let results = self.g.call(&function, &[&[y], &parameters[..]].concat());
                    x = results[0];
                    let new = [results[1], results[2], results[3]];
                    reports = Some(match reports {
                        None => new,
                        Some([iterations, residual, converged]) => [
                            self.g.add(iterations, new[0]),
                            self.g.max(residual, new[1]),
                            self.g.min(converged, new[2]),
                        ],
                    });
                    if let Some(errors) = &mut errors {
                        self.through(errors, index, [x, y], &parameters);
                    }
                }
            }
        }
        self.g.output("x", x);
        let reports = reports.unwrap_or_else(|| [0.0, 0.0, 1.0].map(|value| self.g.constant(value, [self.batch])));
        for (name, node) in ["iterations", "residual", "converged"].into_iter().zip(reports) {
            self.g.output(name, node);
        }
        if let Some(errors) = errors {
            let contraction = errors.contraction.expect("a model has at least one block");
            let bound = error::bound(&mut self.g, errors.value, contraction);
            self.g.output("error_bound", bound);
        } else if bounded {
            // What formulas leave is rounding, of which nothing is measured.
            let unknown = self.g.constant(DIVERGED, [self.batch]);
            self.g.output("error_bound", unknown);
        }
    }

    /// ActNorm's parameters of a block, and the operands of its branch.
    fn block_parameters(&mut self, index: usize) -> Vec<NodeId> {
        let block = &self.model.blocks()[index];
        let mut parameters = Vec::new();
        if self.model.config().model.actnorm {
            parameters.extend(block.actnorm_names().map(|name| self.param(&name)));
        }
        parameters.extend(self.operands(block, 0));
        parameters
    }

    /// Latent numbers are given, hence exact.
    fn no_errors(&mut self, x: NodeId) -> Errors {
        let vectors = error::vectors(self.model.latent_len());
        let mut extents = self.g.shape(x).extents().to_vec();
        extents[0] *= vectors;
        Errors { vectors, value: self.g.constant(0.0, extents), contraction: None }
    }

    /// Does to errors what is done to the samples.
    fn change(&mut self, errors: &mut Option<Errors>, by: impl FnOnce(&mut crate::graph::Graph, NodeId) -> NodeId) {
        if let Some(errors) = errors {
            errors.value = by(&mut self.g, errors.value);
        }
    }

    /// Sends errors back through block `index`, where x was computed for y.
    fn through(&mut self, errors: &mut Errors, index: usize, [x, y]: [NodeId; 2], parameters: &[NodeId]) {
        let description = self.block_function(&self.model.blocks()[index], None);
        let vectors = errors.vectors;
        let function = self.function(format!("error {description:?}"), || description.error(vectors));
        // Any numbers do, if they differ from block to block.
        let counting = self.g.iota([KEY_WIDTH], 0);
        let key = self.g.scale(counting, (index + 1) as f64);
        let arguments = [&[x, y, errors.value, key], parameters].concat();
        let results = self.g.call(&function, &arguments);
        errors.value = results[0];
        errors.contraction = Some(match errors.contraction {
            None => results[1],
            Some(largest) => self.g.max(largest, results[1]),
        });
    }

    /// Shapes of the factored-out parts in order, and of the rest.
    pub(super) fn latent_shapes(&self) -> (Vec<Shape>, Shape) {
        let mut shape = self.model.config().model.input.clone();
        let mut out = Vec::new();
        for part in self.model.parts() {
            match part {
                Part::Squeeze => shape = vec![4 * shape[0], shape[1] / 2, shape[2] / 2],
                Part::Pad(extra) => shape[0] += extra,
                Part::FactorOut | Part::Split(_) => {
                    shape[0] /= 2;
                    out.push(self.batched(&shape));
                }
                Part::Block(_) | Part::Flow(_) | Part::Head(_) => {}
                Part::Stem | Part::Plain(_) => unreachable!("a network that has them is not invertible"),
            }
        }
        (out, self.batched(&shape))
    }
}
