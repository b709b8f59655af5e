//! Whole networks: names, training steps, evaluation, inversion.

use std::collections::BTreeMap;

use iresnet::config::{Config, Kind, OptimizerName};
use iresnet::interpret::Array;
use iresnet::nn::{Evaluation, LogDet, Model, Probes, Stop};
use iresnet::optim;
use iresnet::shape::Shape;

use crate::GRADIENT;
use crate::fixture::{Tensors, assert_close, load, part, reshaped, rows, run};

/// Largest relative error of values: the published code computed in f32, with sums of up to a few thousand terms.
const FORWARD: f64 = 1e-5;

/// Largest relative error of losses along a training trajectory: each step's rounding moves all later ones.
const LOSS: f64 = 1e-4;

/// Largest relative error of what a trajectory ends with.
const FINAL: f64 = 1e-4;

/// Gradients all of whose elements are smaller than this are zero up to the rounding of f32.
const NOISE: f64 = 1e-7;

/// A training step of the fixtures: the gradient graph on a batch, then the update of the flat parameters.
struct Training {
    model: Model,
    gradient: iresnet::graph::Graph,
    update: iresnet::graph::Graph,
    values: Tensors,
    optimizer: Tensors,
    steps: usize,
}

impl Training {
    fn new(config: &Config, init: Tensors, batch: usize) -> Self {
        let model = Model::new(config).unwrap();
        let gradient = model.gradient_graph(batch, Probes::Given);
        let len = model.params().iter().filter(|param| param.is_parameter()).map(|param| param.shape.len()).sum();
        let update = optim::update_graph(&config.optimizer, len);
        let mut optimizer = Tensors::default().with("lr", Array::new([0; 0], vec![config.optimizer.lr]));
        for name in optim::state_names(&config.optimizer) {
            optimizer = optimizer.with(name, Array::full(&Shape::from([len]), 0.0));
        }
        Self { model, gradient, update, values: init, optimizer, steps: 0 }
    }

    /// All trainable tensors, or their gradients, in one vector.
    fn flat(&self, values: &Tensors, prefix: &str) -> Array {
        let names = self.model.params().iter().filter(|param| param.is_parameter());
        let data: Vec<f64> =
            names.flat_map(|param| values.get(&format!("{prefix}{}", param.name)).data().to_vec()).collect();
        Array::new([data.len()], data)
    }

    fn step(&mut self, batch: &Tensors) -> Tensors {
        let mut inputs = self.values.clone();
        inputs.0.extend(batch.0.clone());
        let results = run(&self.gradient, &inputs);
        self.values.update(&results);
        self.steps += 1;
        let inputs = self
            .optimizer
            .clone()
            .with("params", self.flat(&self.values, ""))
            .with("grads", self.flat(&results, "grad/"))
            .with("step", Array::new([0; 0], vec![self.steps as f64]));
        let updated = run(&self.update, &inputs);
        self.optimizer.update(&updated);
        let mut at = 0;
        for param in self.model.params().iter().filter(|param| param.is_parameter()) {
            let data = updated.get("params").data()[at..at + param.shape.len()].to_vec();
            at += param.shape.len();
            self.values.0.insert(param.name.clone(), Array::new(param.shape.clone(), data));
        }
        results
    }

    fn assert_state(&self, wanted: &Tensors) {
        for param in self.model.params().iter().filter(|param| !param.name.ends_with("weight_sigma")) {
            assert_close(&param.name, self.values.get(&param.name), wanted.get(&param.name), FINAL);
        }
    }
}

/// The model's tensors and the unused ones are exactly those of the published state.
fn assert_names(model: &Model, state: &Tensors) {
    let (params, unused) = (model.params(), model.unused_params());
    let ours: BTreeMap<&str, &Shape> =
        params.iter().chain(&unused).map(|param| (param.name.as_str(), &param.shape)).collect();
    let theirs: BTreeMap<&str, &Shape> = state.0.iter().map(|(name, value)| (name.as_str(), value.shape())).collect();
    for (name, shape) in &theirs {
        assert_eq!(ours.get(name), Some(shape), "{name}");
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(**name)) {
        // The density fixture has no classes, hence no linear layer.
        assert!(name.starts_with("logits."), "{name} is ours alone");
    }
}

fn assert_gradients(training: &Training, results: &Tensors, fixture: &Tensors) {
    for param in training.model.params().iter().filter(|param| param.is_parameter()) {
        let ours = results.get(&format!("grad/{}", param.name));
        let theirs = fixture.get(&format!("step0.grad.{}", param.name));
        // A bias right before batch normalisation has gradient zero; f32 leaves rounding noise there.
        let largest = |values: &Array| values.data().iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        if largest(theirs) < NOISE {
            assert!(largest(ours) < NOISE, "grad {} should vanish", param.name);
        } else {
            assert_close(&format!("grad {}", param.name), ours, theirs, GRADIENT);
        }
    }
}

pub(crate) fn classifier() -> Config {
    let mut config = Config::default();
    config.model.input = vec![3, 16, 16];
    config.model.blocks = vec![2, 2, 2];
    config.model.channels = vec![8, 8, 16];
    config.model.injective_padding = 5;
    config.optimizer.name = OptimizerName::Sgd;
    config.optimizer.lr = 0.1;
    config.optimizer.weight_decay = 5e-4;
    config
}

#[test]
fn classifier_trains_as_published() {
    let (fixture, _) = load("classifier");
    let init = fixture.under("init.");
    let mut training = Training::new(&classifier(), init.clone(), 8);
    assert_names(&training.model, &init);
    let (x, labels, losses) = (fixture.get("x"), fixture.get("labels"), fixture.get("losses"));
    for step in 0..losses.shape()[0] {
        let batch = Tensors::default().with("x", part(x, step)).with("labels", part(labels, step));
        let results = training.step(&batch);
        if step == 0 {
            assert_gradients(&training, &results, &fixture);
        }
        assert_close(&format!("loss of step {step}"), results.get("loss"), &part(losses, step), LOSS);
    }
    training.assert_state(&fixture.under("final."));
}

#[test]
fn classifier_evaluates_and_inverts_as_published() {
    /// Evaluation works sample by sample, so a few prove it; the interpreter is slow.
    const SAMPLES: usize = 2;
    let (fixture, _) = load("classifier");
    let model = Model::new(&classifier()).unwrap();
    let x = rows(&part(fixture.get("x"), 0), 0, SAMPLES);
    let labels = rows(&part(fixture.get("labels"), 0), 0, SAMPLES);
    let mut values = fixture.under("init.").with("x", x).with("labels", labels);
    let graph = model.eval_graph(SAMPLES, &Evaluation { labels: true, ..Default::default() }).unwrap();
    let results = run(&graph, &values);
    for name in ["logits", "z"] {
        let wanted = rows(fixture.get(&format!("eval.{name}")), 0, SAMPLES);
        assert_close(name, results.get(name), &wanted, FORWARD);
    }
    values = values.with("z", results.get("z").clone());
    for limit in [10, 100] {
        let graph = model.inverse_graph(SAMPLES, Stop::after(limit));
        let wanted = rows(fixture.get(&format!("eval.inverse_{limit}")), 0, SAMPLES);
        let results = run(&graph, &values);
        assert_close(&format!("inverse after {limit} iterations"), results.get("x"), &wanted, FORWARD);
    }
}

pub(crate) fn density() -> Config {
    let mut config = Config::default();
    config.model.kind = Kind::Density;
    config.model.input = vec![3, 16, 16];
    config.model.blocks = vec![2, 2, 2];
    config.model.channels = vec![16, 16, 16];
    config.model.initial_squeeze = true;
    config.model.injective_padding = 0;
    config.model.power_iterations = 5;
    config.log_det.terms = 5;
    config.optimizer.name = OptimizerName::Adamax;
    config.optimizer.lr = 3e-3;
    config
}

#[test]
fn density_model_trains_as_published() {
    let (fixture, _) = load("density");
    let init = fixture.under("init.");
    let mut training = Training::new(&density(), init.clone(), 4);
    assert_names(&training.model, &init);
    let (x, losses) = (fixture.get("x"), fixture.get("losses"));
    for step in 0..losses.shape()[0] {
        let mut batch = Tensors::default().with("x", part(x, step));
        for block in 0..training.model.blocks().len() {
            let probe = fixture.get(&format!("probe.step{step}.block{block}"));
            let mut shape = probe.shape().extents().to_vec();
            shape.remove(1);
            batch = batch.with(&format!("probe/{block}/0"), reshaped(probe, &shape));
        }
        let results = training.step(&batch);
        if step == 0 {
            assert_gradients(&training, &results, &fixture);
            for (ours, theirs) in [("log_prior", "step0.logpz"), ("log_det", "step0.trace")] {
                let theirs = fixture.get(theirs).data();
                let mean = theirs.iter().sum::<f64>() / theirs.len() as f64;
                assert_close(ours, results.get(ours), &Array::new([0; 0], vec![mean]), FORWARD);
            }
        }
        assert_close(&format!("loss of step {step}"), results.get("loss"), &part(losses, step), LOSS);
    }
    training.assert_state(&fixture.under("final."));
}

#[test]
fn density_model_evaluates_and_inverts_as_published() {
    const SAMPLES: usize = 2;
    let (fixture, _) = load("density");
    let model = Model::new(&density()).unwrap();
    let mut values = fixture.under("final.").with("x", rows(&part(fixture.get("x"), 0), 0, SAMPLES));
    let log_det = LogDet::Series { terms: 1, samples: 1, probe: iresnet::random::Distribution::Rademacher };
    let evaluation = Evaluation { log_det: Some(log_det), ..Default::default() };
    values = values.with("keys", Array::full(&Shape::from([model.blocks().len(), 64]), 0.0));
    let results = run(&model.eval_graph(SAMPLES, &evaluation).unwrap(), &values);
    let parts: Vec<Array> = (0..3).map(|index| rows(fixture.get(&format!("eval.z{index}")), 0, SAMPLES)).collect();
    let joined: Vec<f64> =
        (0..SAMPLES).flat_map(|sample| parts.iter().flat_map(move |z| part(z, sample).data().to_vec())).collect();
    let z = Array::new([SAMPLES, joined.len() / SAMPLES], joined);
    assert_close("z", results.get("z"), &z, FORWARD);
    assert_close("log_prior", results.get("log_prior"), &rows(fixture.get("eval.logpz"), 0, SAMPLES), FORWARD);
    values = values.with("z", results.get("z").clone());
    for limit in [5, 10, 100] {
        let graph = model.inverse_graph(SAMPLES, Stop::after(limit));
        let wanted = rows(fixture.get(&format!("eval.inverse_{limit}")), 0, SAMPLES);
        let results = run(&graph, &values);
        assert_close(&format!("inverse after {limit} iterations"), results.get("x"), &wanted, FORWARD);
    }
}
