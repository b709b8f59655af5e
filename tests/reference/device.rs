//! Training of imported networks on every device, with the published code's batches and probes.

use iresnet::config::{Config, Kind};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::interchange;
use iresnet::interpret::Array;
use iresnet::network::{Network, PARAMS, Task};
use iresnet::nn::{Model, Probes};
use iresnet::optim;
use iresnet::shape::Shape;

use crate::common::on_every_device;
use crate::fixture::{Tensors, assert_close, load, part};
use crate::network::{classifier, density};
use crate::state_file::save;

/// Largest relative error of losses, gradients without a log-determinant, and of every tensor in the end.
const TRAJECTORY: f64 = 1e-4;

/// Largest relative error of gradients through a log-determinant: sums of second derivatives that nearly cancel.
const GRADIENT: f64 = 1e-3;

/// A gradient whose elements are all smaller is zero up to rounding: of a bias right before batch normalisation.
const NOISE: f64 = 1e-6;

/// Training steps as the trainer does them, but with probes that are given.
struct Training {
    network: Network,
    gradient: Task,
    update: Task,
    steps: usize,
}

impl Training {
    fn new(gpu: &Gpu, config: &Config, state: &Tensors, batch: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        save(&path, state, "module.");
        let imported = interchange::import(&path, config).unwrap().checkpoint;
        let model = Model::new(config).unwrap();
        let gradient = model.gradient_graph(batch, Probes::Given);
        let mut network = Network::new(gpu, model, &imported.tensors, Tuning::first()).unwrap();
        let trainable: Vec<(String, Shape)> =
            parameters(network.model()).map(|(name, shape)| (format!("grad/{name}"), shape)).collect();
        network.memory_mut().bucket("grads", &trainable).unwrap();
        let len = network.memory().len(PARAMS);
        for name in optim::state_names(&config.optimizer) {
            network.memory_mut().alloc(name, [len]).unwrap();
        }
        let gradient = block_on(network.task("gradient", &gradient)).unwrap();
        let update = block_on(network.task("update", &optim::update_graph(&config.optimizer, len))).unwrap();
        update.write("lr", &[config.optimizer.lr as f32]);
        Self { network, gradient, update, steps: 0 }
    }

    /// One step; gives the loss and what else the gradient's graph says.
    fn step(&mut self, batch: &Tensors, also: &[&str]) -> (f64, Vec<Array>) {
        for (name, value) in batch.0.iter().filter(|(name, _)| self.gradient.has(name)) {
            let data: Vec<f32> = value.data().iter().map(|&x| x as f32).collect();
            self.gradient.write(name, &data);
        }
        self.gradient.run();
        let also = also.iter().map(|name| read(&self.gradient, name)).collect();
        let loss = read(&self.gradient, "loss").data()[0];
        self.steps += 1;
        if self.update.has("step") {
            self.update.write("step", &[self.steps as f32]);
        }
        self.update.run();
        (loss, also)
    }
}

fn read(task: &Task, name: &str) -> Array {
    let data: Vec<f64> = block_on(task.read(name)).unwrap().into_iter().map(f64::from).collect();
    Array::new([data.len()], data)
}

/// Names and shapes of what the optimizer changes.
fn parameters(model: &Model) -> impl Iterator<Item = (String, Shape)> + '_ {
    let in_memory = model.params_in_memory().into_iter();
    in_memory.filter(|param| param.is_parameter()).map(|param| (param.name.clone(), param.shape.clone()))
}

/// The batch of a step, with probes where there are any: (B, samples, …) as `probe/BLOCK/SAMPLE`.
fn batch(fixture: &Tensors, step: usize) -> Tensors {
    let mut batch = Tensors::default().with("x", part(fixture.get("x"), step));
    if let Some(labels) = fixture.0.get("labels") {
        batch = batch.with("labels", part(labels, step));
    }
    for (name, probes) in &fixture.under(&format!("probe.step{step}.block")).0 {
        let (samples, images) = (probes.shape()[1], probes.shape()[0]);
        let shape = [&[images], &probes.shape().extents()[2..]].concat();
        for sample in 0..samples {
            let data = (0..images).flat_map(|image| part(&part(probes, image), sample).data().to_vec()).collect();
            batch = batch.with(&format!("probe/{name}/{sample}"), Array::new(shape.clone(), data));
        }
    }
    batch
}

/// Trains on the fixture's batches and compares every loss, and as far as they are there the first gradients and every
/// tensor in the end.
fn trains_as_published(gpu: &Gpu, config: &Config, name: &str) {
    let (fixture, _) = load(name);
    let losses = fixture.get("losses");
    let gradient = if config.model.kind == Kind::Density { GRADIENT } else { TRAJECTORY };
    let samples = fixture.get("x").shape()[1];
    let mut training = Training::new(gpu, config, &fixture.under("init."), samples);
    let recorded = fixture.under("step0.grad.");
    let names = parameters(training.network.model()).map(|(name, _)| name);
    let names: Vec<String> = names.filter(|name| recorded.0.contains_key(name)).collect();
    let gradients: Vec<String> = names.iter().map(|name| format!("grad/{name}")).collect();
    for step in 0..losses.shape()[0] {
        let batch = batch(&fixture, step);
        let asked: Vec<&str> = if step == 0 { gradients.iter().map(String::as_str).collect() } else { Vec::new() };
        let (loss, found) = training.step(&batch, &asked);
        for (name, found) in names.iter().zip(&found) {
            let wanted = recorded.get(name);
            let largest = |values: &Array| values.data().iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
            if largest(wanted) < NOISE {
                assert!(largest(found) < NOISE, "gradient of {name} should vanish, not {:.1e}", largest(found));
            } else {
                assert_close(&format!("gradient of {name}"), found, wanted, gradient);
            }
        }
        let loss = Array::new([1], vec![loss]);
        assert_close(&format!("{name}, loss of step {step}"), &loss, &part(losses, step), TRAJECTORY);
    }
    let last = fixture.under("final.");
    let found = block_on(training.network.download()).unwrap();
    for (name, tensor) in found.iter().filter(|(name, _)| !name.ends_with("weight_sigma")) {
        let Some(wanted) = last.0.get(name) else { continue };
        let ours = Array::new(tensor.shape(), tensor.data().iter().map(|&x| f64::from(x)).collect());
        assert_close(&format!("{name} in the end"), &ours, wanted, TRAJECTORY);
    }
}

#[test]
fn the_classifier_trains_as_published_on_every_device() {
    on_every_device(|gpu| trains_as_published(gpu, &classifier(), "classifier"));
}

#[test]
fn the_density_trains_as_published_on_every_device() {
    on_every_device(|gpu| trains_as_published(gpu, &density(), "density"));
}

/// Densities of every kind; classifiers are trained by the program itself, in the tests of interchange.
#[test]
fn small_densities_train_as_published_on_every_device() {
    let names =
        ["density_elu", "density_softplus", "density_sorting", "density_relu", "density_padded", "density_single"];
    let networks = names.map(|name| {
        let name = format!("network_{name}");
        let (_, config) = load(&name);
        (Config::from_toml(config["toml"].as_str().unwrap(), &name).unwrap(), name)
    });
    on_every_device(|gpu| {
        for (config, name) in &networks {
            trains_as_published(gpu, config, name);
        }
    });
}
