//! A batch cut into shards has the loss and the gradients of the whole batch: in f64, for every kind of model.

#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod compare;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod fixture;
#[path = "common/small_model.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod small_model;

use std::collections::BTreeMap;

use iresnet::config::{Config, Estimator, Gradient, Kind, Memory};
use iresnet::interpret::Array;
use iresnet::network;
use iresnet::nn::model::{DENSITY_LOSS, seen, seen_gradient};
use iresnet::nn::{KEY_WIDTH, Model, Probes};
use small_model::{config, inputs, values};

/// Both ways add the same numbers, in another order.
const TOLERANCE: f64 = 1e-10;
/// Of a reversible block, whose inputs are found by an iteration that ends at f32's resolution.
const INVERTED: f64 = 1e-5;

/// Samples of each shard.
const SHARDS: [usize; 3] = [3, 1, 2];

/// Samples `first` to `first + n` of a batch.
fn rows(whole: &Array, first: usize, n: usize) -> Array {
    let extents = whole.shape().extents();
    let row = whole.data().len() / extents[0];
    let shape = [&[n], &extents[1..]].concat();
    Array::new(shape, whole.data()[first * row..(first + n) * row].to_vec())
}

fn add(total: &mut BTreeMap<String, Vec<f64>>, name: &str, part: &[f64]) {
    let sum = total.entry(name.into()).or_insert_with(|| vec![0.0; part.len()]);
    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
}

fn shards_add_up(config: &Config, tolerance: f64) {
    let model = Model::new(config).unwrap();
    let total = SHARDS.iter().sum();
    let log_det = model.training_log_det();
    let given = inputs(&model, &values(&model), log_det.as_ref(), total);
    let whole = fixture::run(&model.gradient_graph(total, Probes::Keys), &given);

    let scales = model.seen_shapes().len();
    let streams = model.streams(log_det.as_ref());
    let of_shard = |first: usize, n: usize| {
        let keys = network::keys_from(9, 7, streams, model.streams_per_sample(log_det.as_ref()), first);
        let mut part = given.clone().with("x", rows(given.get("x"), first, n));
        if streams > 0 {
            let keys = keys.into_iter().map(f64::from).collect();
            part = part.with("keys", Array::new([streams, KEY_WIDTH], keys));
        }
        part
    };
    let firsts = [0, SHARDS[0], SHARDS[0] + SHARDS[1]];
    // What the head looks at does not depend on its gradients: any will do in the first half.
    let mut activations = vec![Vec::new(); scales];
    let mut shapes = vec![Vec::new(); scales];
    for (&first, &n) in firsts.iter().zip(&SHARDS) {
        let graph = model.shard_graph(n, total, Probes::Keys);
        let mut part = of_shard(first, n);
        for (scale, shape) in model.seen_shapes().iter().enumerate() {
            let shape = [&[n], &shape[..]].concat();
            part = part.with(&seen_gradient(scale), Array::full(&shape.clone().into(), 0.0));
            shapes[scale] = [&[total], &shape[1..]].concat();
        }
        let outputs = fixture::run(&graph, &part);
        for (scale, all) in activations.iter_mut().enumerate() {
            all.extend_from_slice(outputs.get(&seen(scale)).data());
        }
    }
    let mut sums = BTreeMap::new();
    let mut cotangents = Vec::new();
    if let Some(graph) = model.head_graph(total) {
        let mut given = given.clone();
        for (scale, all) in activations.into_iter().enumerate() {
            given = given.with(&seen(scale), Array::new(shapes[scale].clone(), all));
        }
        let outputs = fixture::run(&graph, &given);
        cotangents = (0..scales).map(|scale| outputs.get(&seen_gradient(scale)).clone()).collect();
        for (name, _) in graph.outputs() {
            if !name.starts_with("grad/seen") {
                add(&mut sums, name, outputs.get(name).data());
            }
            let of_head = name.strip_prefix("grad/").is_some_and(|name| model.is_of_head(name));
            assert_eq!(of_head, name.starts_with("grad/") && !name.starts_with("grad/seen"), "{name}");
        }
    }
    for (&first, &n) in firsts.iter().zip(&SHARDS) {
        let graph = model.shard_graph(n, total, Probes::Keys);
        let mut part = of_shard(first, n);
        for (scale, cotangent) in cotangents.iter().enumerate() {
            part = part.with(&seen_gradient(scale), rows(cotangent, first, n));
        }
        let outputs = fixture::run(&graph, &part);
        for (name, _) in graph.outputs() {
            let summed = ["log_prior", "log_det", "bits_per_dim"].contains(&name.as_str());
            if name.starts_with("grad/") || summed {
                add(&mut sums, name, outputs.get(name).data());
            } else if name == DENSITY_LOSS {
                add(&mut sums, "loss", outputs.get(name).data());
            } else if first == 0 && !name.starts_with("seen/") {
                // Power iteration does not depend on samples.
                add(&mut sums, name, outputs.get(name).data());
            }
        }
    }
    for (name, wanted) in &whole.0 {
        if name.starts_with("inverse_") {
            continue;
        }
        let found = sums.remove(name).unwrap_or_else(|| panic!("no shard gives {name}"));
        let scale = wanted.data().iter().fold(1e-3, |largest: f64, x| largest.max(x.abs()));
        for (a, b) in found.iter().zip(wanted.data()) {
            assert!((a - b).abs() <= tolerance * scale, "{name}: {a} instead of {b}");
        }
    }
}

#[test]
fn of_classifiers() {
    shards_add_up(&config(Kind::Classifier), TOLERANCE);
}

#[test]
fn of_densities_with_every_estimator() {
    let mut config = config(Kind::Density);
    shards_add_up(&config, TOLERANCE);
    config.log_det.samples = 2;
    config.log_det.gradient = Gradient::Neumann;
    config.train.memory = Memory::Checkpoint;
    shards_add_up(&config, TOLERANCE);
    config.log_det.estimator = Estimator::Unbiased;
    shards_add_up(&config, TOLERANCE);
}

#[test]
fn of_densities_with_reversible_blocks() {
    let mut config = config(Kind::Density);
    config.train.memory = Memory::Reversible;
    shards_add_up(&config, INVERTED);
}

#[test]
fn of_hybrids_and_vectors() {
    shards_add_up(&config(Kind::Hybrid), TOLERANCE);
    shards_add_up(&config(Kind::Toy), TOLERANCE);
}
