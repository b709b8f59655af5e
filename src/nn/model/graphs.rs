//! The graphs of a model. Names of inputs and outputs stand in the [documentation of the module above](super).

use super::Model;
use super::build::{Build, key_row};
use super::forward::Pass;
use super::layout;
use crate::config::{Architecture, Kind, PowerUpdate, Prior};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Scope};
use crate::nn::batch_norm::{BatchNorm, HEAD_MOMENTUM, MOMENTUM};
use crate::nn::head::{self, Head, Scale};
use crate::nn::inverse::Stop;
use crate::nn::logdet::{EXACT_LIMIT, LogDet};
use crate::nn::prior::{self, Gaussian};
use crate::nn::residual::{KEY_WIDTH, Probes};
use crate::random::Distribution;

/// What an evaluation computes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The log-determinant (density, toy); without one there are no densities among the outputs.
    pub log_det: Option<LogDet>,
    /// Where probes come from.
    pub probes: Probes,
    /// Whether `labels` are given (classifier).
    pub labels: bool,
}

impl Model {
    /// The training loss of n samples, and the next values of state.
    pub fn loss_graph(&self, n: usize, probes: Probes) -> Graph {
        self.loss_graph_by(n, probes, self.training_log_det())
    }

    /// The training loss with this log-determinant instead of the configured one. Without one a density's part of the loss
    /// is that of the prior alone, of use only to tell what the log-determinant costs.
    pub fn loss_graph_by(&self, n: usize, probes: Probes, log_det: Option<LogDet>) -> Graph {
        let mut build = Build::new(self, n);
        let x = build.input();
        let forward = build.forward(x, &self.training_pass(log_det, probes));
        let mut terms = Vec::new();
        if self.config().model.kind.has_density() {
            let z = build.join(&forward.latent);
            let log_det = forward.log_det.unwrap_or_else(|| build.g.constant(0.0, [n]));
            let density = build.density(z, log_det);
            for (name, node) in [("log_prior", density.log_prior), ("log_det", log_det)] {
                build.mean_output(name, node);
            }
            if let Some(bits) = density.bits_per_dim {
                build.mean_output("bits_per_dim", bits);
            }
            terms.push(density.loss);
        }
        if !forward.seen.is_empty() {
            let labels = build.g.input("labels", [n]);
            let head = build.head(forward.seen.len());
            let (logits, statistics) = head.train(&mut build.g, &forward.seen);
            let verdict = head::judge(&mut build.g, logits, labels);
            build.mean_output("accuracy", verdict.correct);
            build.update_statistics(&statistics);
            terms.push(verdict.loss);
        }
        let loss = build.total(&terms);
        build.mean_output("loss", loss);
        build.finish()
    }

    /// How a training step runs the network.
    pub(super) fn training_pass(&self, log_det: Option<LogDet>, probes: Probes) -> Pass {
        let before = self.config().model.power_update == PowerUpdate::Before;
        Pass {
            iterations: if before { self.config().model.power_iterations } else { 0 },
            log_det,
            probes,
            memory: self.config().train.memory,
            precision: self.config().train.precision,
            initialize: false,
            training: true,
        }
    }

    /// The loss graph with gradients `grad/NAME` in all parameters.
    pub fn gradient_graph(&self, n: usize, probes: Probes) -> Graph {
        self.with_gradients(self.loss_graph(n, probes))
    }

    /// A [loss graph](Self::loss_graph_by) with gradients `grad/NAME` in all parameters.
    pub fn with_gradients(&self, loss: Graph) -> Graph {
        let names = self.params().iter().filter(|param| param.is_parameter()).map(|param| param.name.as_str());
        crate::nn::gradient_graph(loss, names)
    }

    /// What the model says about n samples.
    ///
    /// # Errors
    /// An exact log-determinant of more dimensions than the graph can eliminate.
    pub fn eval_graph(&self, n: usize, evaluation: &Evaluation) -> Result<Graph> {
        let kind = self.config().model.kind;
        if evaluation.log_det == Some(LogDet::Exact) && !self.is_exact() && self.latent_len() > EXACT_LIMIT {
            return Err(Error::Config(format!(
                "an exact log-determinant of {} dimensions is not computed in a graph (at most {EXACT_LIMIT}); use the \
                 series, or `iresnet eval --log-det exact`",
                self.latent_len()
            )));
        }
        let mut build = Build::new(self, n);
        let x = build.input();
        let log_det = evaluation.log_det.clone().filter(|_| kind.has_density());
        let forward = build.forward(x, &Pass::evaluation(log_det, evaluation.probes));
        let z = build.join(&forward.latent);
        build.g.output("z", z);
        // The loss of a model with a density and classes takes both; where one is not asked for there is no such output.
        let (mut terms, mut wanted) = (Vec::new(), 0);
        if kind.has_classes() {
            wanted += 1;
            let head = build.head(forward.seen.len());
            let logits = head.evaluate(&mut build.g, &forward.seen);
            build.g.output("logits", logits);
            let labels = if evaluation.labels { build.g.input("labels", [n]) } else { build.g.constant(0.0, [n]) };
            let verdict = head::judge(&mut build.g, logits, labels);
            build.g.output("prediction", verdict.prediction);
            if evaluation.labels {
                build.g.output("cross_entropy", verdict.loss);
                build.g.output("correct", verdict.correct);
                terms.push(verdict.loss);
            }
        }
        if kind.has_density() {
            wanted += 1;
        }
        if let Some(log_det) = forward.log_det {
            let density = build.density(z, log_det);
            let outputs = [("log_prior", density.log_prior), ("log_det", log_det), ("log_prob", density.log_prob)];
            for (name, node) in outputs {
                build.g.output(name, node);
            }
            if let Some(bits) = density.bits_per_dim {
                build.g.output("bits_per_dim", bits);
            }
            terms.push(density.loss);
        }
        if terms.len() == wanted {
            let loss = build.total(&terms);
            build.g.output("loss", loss);
        }
        Ok(build.finish())
    }

    /// How much the loss of a sample changes with its log-density in nats.
    pub fn loss_per_nat(&self) -> f64 {
        match self.config().model.kind {
            Kind::Hybrid => -self.config().train.density_weight / self.input_len() as f64,
            _ => -1.0 / self.nats_per_unit(),
        }
    }

    /// How many nats the unit is in which likelihoods are reported: a bit per dimension of images, a nat of vectors.
    pub fn nats_per_unit(&self) -> f64 {
        let bits = std::f64::consts::LN_2 * self.input_len() as f64;
        if self.config().model.kind.is_image_density() { bits } else { 1.0 }
    }

    /// Data-dependent initialisation of ActNorm from n samples, block after block; also advances the power iteration.
    pub fn init_graph(&self, n: usize) -> Graph {
        let mut build = Build::new(self, n);
        let x = build.input();
        let pass = Pass {
            iterations: self.config().model.power_iterations,
            initialize: true,
            training: true,
            ..Pass::evaluation(None, Probes::Keys)
        };
        build.forward(x, &pass);
        build.finish()
    }

    /// Power iteration of every normalised layer until σ moves by less than `tolerance` of itself, at most `limit`
    /// rounds: after initialisation, and before anything is certified. `None` if nothing is normalised.
    pub fn tighten_graph(&self, tolerance: f64, limit: u32) -> Option<Graph> {
        let mut build = Build::new(self, 1);
        build.g.enter(Scope::SPECTRAL_NORM);
        for group in self.norm_groups() {
            let operands = build.stacked(&group);
            let results = group.norm.tighten(&mut build.g, operands, tolerance, limit);
            build.update_norms(&group, &results);
        }
        let graph = build.finish();
        (!graph.outputs().is_empty()).then_some(graph)
    }

    /// The power iteration that follows each update of the parameters where `power_update = "after"` (Residual Flows;
    /// the published code of this paper iterates in the forward pass). `None` where it does not.
    pub fn power_graph(&self) -> Option<Graph> {
        let model = &self.config().model;
        if model.power_update == PowerUpdate::Before || model.coefficient.is_none() {
            return None;
        }
        if model.power_tolerance > 0.0 {
            return self.tighten_graph(model.power_tolerance, model.power_iterations as u32);
        }
        let mut build = Build::new(self, 1);
        build.g.enter(Scope::SPECTRAL_NORM);
        for group in self.norm_groups() {
            let operands = build.stacked(&group);
            let results = group.norm.advance(&mut build.g, operands, model.power_iterations);
            build.update_norms(&group, &results);
        }
        Some(build.finish())
    }

    /// From latent numbers of n samples back to inputs. Panics for a model that is not [invertible](Self::is_invertible).
    pub fn inverse_graph(&self, n: usize, stop: Stop) -> Graph {
        let mut build = Build::new(self, n);
        let z = build.g.input("z", [n, self.latent_len()]);
        build.invert(z, stop, false);
        build.finish()
    }

    /// The same, with an upper bound of the error of each sample: see [`inverse`](crate::nn::inverse::error).
    pub fn bounded_inverse_graph(&self, n: usize, stop: Stop) -> Graph {
        let mut build = Build::new(self, n);
        let z = build.g.input("z", [n, self.latent_len()]);
        build.invert(z, stop, true);
        build.finish()
    }

    /// n samples from the model (density, toy): noise from the prior, inverted.
    pub fn sample_graph(&self, n: usize, stop: Stop) -> Graph {
        let mut build = Build::new(self, n);
        let keys = build.g.input("keys", [1, KEY_WIDTH]);
        let key = key_row(&mut build.g, keys, 0);
        let noise = build.g.random(Distribution::Normal, key, [n, self.latent_len()]);
        let temperature = build.g.input("temperature", []);
        let gaussian = build.gaussian();
        let z = prior::sample(&mut build.g, noise, temperature, gaussian);
        build.g.output("z", z);
        build.invert(z, stop, false);
        build.finish()
    }
}

/// What a flow says about samples, `[n]` each.
pub(super) struct Density {
    pub(super) log_prior: NodeId,
    pub(super) log_prob: NodeId,
    /// Of images.
    pub(super) bits_per_dim: Option<NodeId>,
    /// The density's part of the loss.
    pub(super) loss: NodeId,
}

impl Build<'_> {
    pub(super) fn input(&mut self) -> NodeId {
        let shape = self.batched(&self.model.config.model.input);
        self.g.input("x", shape)
    }

    pub(super) fn head(&mut self, scales: usize) -> Head {
        let kind = self.model.config.model.kind;
        let scales = (0..scales).map(|number| {
            let (convolution, norm) = layout::head_names(kind, number);
            let convolution = convolution.map(|name| self.param(&name));
            let [scale, shift, mean, variance] =
                ["weight", "bias", "running_mean", "running_var"].map(|name| self.param(&format!("{norm}.{name}")));
            Scale { convolution, norm: BatchNorm { scale, shift, mean, variance } }
        });
        let scales = scales.collect();
        let [weight, bias] = ["logits.weight", "logits.bias"].map(|name| self.param(name));
        // The published head hardly remembers anything but the last batch; a ResNet's does as is usual.
        let published = self.model.config().model.architecture != Architecture::Resnet;
        let momentum = if published { HEAD_MOMENTUM } else { MOMENTUM };
        Head { scales, momentum, weight, bias }
    }

    /// Makes the statistics of each scale's batch normalisation its next ones.
    pub(super) fn update_statistics(&mut self, statistics: &[[NodeId; 2]]) {
        for (number, &[mean, variance]) in statistics.iter().enumerate() {
            let (_, norm) = layout::head_names(self.model.config.model.kind, number);
            let seen = self.param(&format!("{norm}.num_batches_tracked"));
            let seen = self.g.add_scalar(seen, 1.0);
            for (name, node) in [("running_mean", mean), ("running_var", variance), ("num_batches_tracked", seen)] {
                self.update(format!("{norm}.{name}"), node);
            }
        }
    }

    /// The sum of the terms of the loss.
    fn total(&mut self, terms: &[NodeId]) -> NodeId {
        let sum = terms.iter().copied().reduce(|sum, term| self.g.add(sum, term));
        sum.expect("every model has a density or classes")
    }

    fn gaussian(&mut self) -> Option<Gaussian> {
        let learned = self.model.config.model.prior == Prior::Learned;
        learned.then(|| Gaussian { mean: self.param("prior_mu"), log_std: self.param("prior_logstd") })
    }

    /// Log-density of latent numbers under the prior, `[n]`.
    pub(super) fn log_prior(&mut self, z: NodeId) -> NodeId {
        let gaussian = self.gaussian();
        prior::log_density(&mut self.g, z, gaussian)
    }

    pub(super) fn density(&mut self, z: NodeId, log_det: NodeId) -> Density {
        let log_prior = self.log_prior(z);
        let log_prob = self.g.add(log_prior, log_det);
        let config = &self.model.config;
        let dimensions = self.model.input_len() as f64;
        let bits_per_dim = config.model.kind.is_image_density().then(|| {
            let scaled = self.g.scale(log_prob, -1.0 / (std::f64::consts::LN_2 * dimensions));
            // Levels of a dequantised image are 2⁻ⁿ apart: n bits lie between densities of levels and of units.
            self.g.add_scalar(scaled, f64::from(config.data.bits))
        });
        let loss = match (config.model.kind, bits_per_dim) {
            (Kind::Hybrid, _) => self.g.scale(log_prob, -config.train.density_weight / dimensions),
            (_, Some(bits)) => bits,
            (_, None) => self.g.neg(log_prob),
        };
        Density { log_prior, log_prob, bits_per_dim, loss }
    }

    pub(super) fn mean_output(&mut self, name: &str, node: NodeId) {
        let mean = self.g.mean_all(node);
        self.g.output(name, mean);
    }
}
