//! A training step whose batch is divided, over several devices or over time: the gradient graph in two halves.
//!
//! What the network does to a sample depends on no other sample; only the head's batch normalisation looks at all of them.
//! So a batch is cut into shards, each with a [`shard graph`](Model::shard_graph) of its own, and the activations that
//! the head looks at are brought together for the one [`head graph`](Model::head_graph), which answers with the loss's
//! gradient in them. Losses and gradients of all shards, added up, are those of the whole batch.
//!
//! A shard graph computes `seen/I` from everything but `grad/seen/I`, and gradients from these as well; an executor stops
//! in between until they are there. A model without classes has no head: its shards need nothing of each other.

use super::build::Build;
use super::forward::Pass;
use super::{Model, Part, layout};
use crate::graph::{Graph, NodeId};
use crate::nn::head;
use crate::nn::residual::Probes;

/// The shard's part of the loss that is a density: an output of the shard graph.
pub const DENSITY_LOSS: &str = "density_loss";

/// Name of the activations that scale `number` of the head looks at.
pub fn seen(number: usize) -> String {
    format!("seen/{number}")
}

/// Name of the loss's gradient in them.
pub fn seen_gradient(number: usize) -> String {
    format!("grad/{}", seen(number))
}

impl Model {
    /// What n of the `total` samples of a batch contribute to a training step.
    ///
    /// Inputs are those of the [gradient graph](Self::gradient_graph) without `labels`, and the gradients `grad/seen/I` of
    /// the loss in `seen/I`. Outputs: `seen/I`; the contributions to `density_loss`, `log_prior`, `log_det`, `bits_per_dim`
    /// and to the gradients, of which the sums over all shards are those of the batch; the next power-iteration vectors.
    #[track_caller]
    pub fn shard_graph(&self, n: usize, total: usize, probes: Probes) -> Graph {
        assert!(0 < n && n <= total, "a shard of {n} samples of {total}");
        let share = n as f64 / total as f64;
        let mut build = Build::new(self, n);
        let x = build.input();
        let log_det = self.training_log_det();
        let forward = build.forward(x, &self.training_pass(log_det, probes));
        let mut cotangents = Vec::new();
        let mut outputs: Vec<(&str, NodeId)> = Vec::new();
        if self.config().model.kind.has_density() {
            let z = build.join(&forward.latent);
            let log_det = forward.log_det.unwrap_or_else(|| build.g.constant(0.0, [n]));
            let density = build.density(z, log_det);
            outputs.extend([("log_prior", density.log_prior), ("log_det", log_det)]);
            outputs.extend(density.bits_per_dim.map(|bits| ("bits_per_dim", bits)));
            outputs.push((DENSITY_LOSS, density.loss));
        }
        for (name, node) in outputs {
            let mean = build.g.mean_all(node);
            let part = build.g.scale(mean, share);
            build.g.output(name, part);
            if name == DENSITY_LOSS {
                let one = build.g.scalar_like(1.0, part);
                cotangents.push((part, one));
            }
        }
        for (number, &node) in forward.seen.iter().enumerate() {
            build.g.output(seen(number), node);
            let shape = build.g.shape(node).clone();
            let gradient = build.g.input(seen_gradient(number), shape);
            cotangents.push((node, gradient));
        }
        crate::nn::pull_back(build.finish(), &cotangents, self.parameter_names())
    }

    /// The head over the activations `seen/I` of all `total` samples, and `labels`: `loss`, `accuracy`, the next running
    /// statistics, `grad/NAME` in the head's parameters, and `grad/seen/I`. `None` for a model without classes.
    pub fn head_graph(&self, total: usize) -> Option<Graph> {
        if !self.config().model.kind.has_classes() {
            return None;
        }
        let shapes = self.seen_shapes();
        let mut build = Build::new(self, total);
        let activations: Vec<NodeId> = shapes
            .iter()
            .enumerate()
            .map(|(number, shape)| {
                let shape = build.batched(shape);
                build.g.input(seen(number), shape)
            })
            .collect();
        let labels = build.g.input("labels", [total]);
        let head = build.head(activations.len());
        let (logits, statistics) = head.train(&mut build.g, &activations);
        let verdict = head::judge(&mut build.g, logits, labels);
        build.mean_output("accuracy", verdict.correct);
        build.mean_output("loss", verdict.loss);
        build.update_statistics(&statistics);
        let names: Vec<String> = (0..shapes.len()).map(seen).collect();
        let wanted = names.iter().map(String::as_str).chain(self.parameter_names());
        Some(crate::nn::gradient_graph(build.finish(), wanted))
    }

    /// Shapes of a sample's activations that the head looks at, scale by scale.
    pub fn seen_shapes(&self) -> Vec<Vec<usize>> {
        let mut build = Build::new(self, 1);
        let x = build.input();
        let forward = build.forward(x, &Pass::evaluation(None, Probes::Keys));
        forward.seen.iter().map(|&node| build.g.shape(node).extents()[1..].to_vec()).collect()
    }

    /// Whether the parameter called `name` is the head's.
    pub fn is_of_head(&self, name: &str) -> bool {
        let scales = self.parts().iter().filter(|part| matches!(part, Part::Head(_))).count();
        let of_scale = |number| {
            let (convolution, norm) = layout::head_names(self.config().model.kind, number);
            convolution.as_deref() == Some(name) || name.strip_prefix(&norm).is_some_and(|rest| rest.starts_with('.'))
        };
        name.starts_with("logits.") || (0..scales).any(of_scale)
    }

    fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.params().iter().filter(|param| param.is_parameter()).map(|param| param.name.as_str())
    }
}
