//! Evaluation, inversion and sampling on several adapters give what one gives, in its order, whoever fails on the way.

mod common;
#[path = "common/program.rs"]
mod program;

use std::process::Command;

use iresnet::checkpoint::Checkpoint;
use iresnet::error::{Error, Result};
use iresnet::eval::{Inverted, Inverter, largest_difference};
use iresnet::gpu::{Tuning, block_on};
use iresnet::network::Network;
use iresnet::nn::{Model, Stop};
use iresnet::parallel::Team;
use program::{CLASSIFIER, Place, TOY};
use serde_json::Value;

/// Relative error of means of f32 results that different drivers compute.
const TOLERANCE: f64 = 1e-5;
/// Difference of samples: what is left by an iteration that stops at changes below 1e-6, and by drivers' own roundings.
const SAMPLES: f32 = 1e-4;

/// What `--adapter` takes: the first one, and all there are.
fn ids() -> [String; 2] {
    let ids: Vec<&str> = common::adapters().iter().map(|adapter| adapter.info().id.as_str()).collect();
    [ids[0].to_owned(), ids.join(",")]
}

fn json(mut command: Command) -> Vec<Value> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn assert_close(one: &Value, many: &Value, name: &str, tolerance: f64) {
    let [one, many] = [one, many].map(|value| value[name].as_f64().unwrap_or_else(|| panic!("{name} of {value}")));
    assert!((one - many).abs() <= tolerance * one.abs(), "{name}: {one} and {many}");
}

fn trained(place: &Place, name: &str, config: &str) {
    place.write(&format!("{name}.toml"), config.replace("epochs = 4", "epochs = 1"));
    place.ends_with(&["train", &format!("{name}.toml"), "--out", name], 0);
}

#[test]
fn evaluations_agree() {
    let place = Place::new();
    trained(&place, "classifier", CLASSIFIER);
    trained(&place, "density", TOY);
    let cases = [
        vec!["eval", "classifier", "--json", "--limit", "90"],
        vec!["eval", "density", "--json", "--limit", "1000", "--probes", "2"],
        vec!["eval", "density", "--json", "--limit", "1000", "--log-det", "unbiased"],
        vec!["eval", "density", "--json", "--limit", "1000", "--log-det", "exact"],
    ];
    for case in cases {
        let [one, many] = ids().map(|id| json(place.command(&[&case[..], &["--adapter", &id]].concat())).remove(0));
        assert_eq!(one["samples"], many["samples"]);
        for name in ["loss", "loss_standard_error", "log_prob", "cross_entropy"] {
            if one.get(name).is_some() {
                assert_close(&one, &many, name, TOLERANCE);
            }
        }
        assert_eq!(one.get("accuracy"), many.get("accuracy"), "{case:?}");
    }
}

#[test]
fn inversions_agree_in_order() {
    let place = Place::new();
    trained(&place, "model", CLASSIFIER);
    let invert = ["invert", "model", "--test", "70", "--json", "--output", "grid.png", "--adapter"];
    let [one, many] = ids().map(|id| json(place.command(&[&invert[..], &[&id]].concat())));
    assert_eq!((one.len(), many.len()), (70, 70));
    for (one, many) in one.iter().zip(&many) {
        assert_eq!(one["name"], many["name"]);
        assert!(one["converged"] == true && many["converged"] == true);
        assert!(many["largest_error"].as_f64().unwrap() < f64::from(SAMPLES), "{many}");
    }
    place.ends_with(&["sample", "model", "--output", "grid.png", "--adapter", &ids()[1]], 7);
}

fn networks(checkpoint: &Checkpoint) -> Vec<Network> {
    let mut adapters: Vec<_> = common::adapters().iter().collect();
    adapters.push(adapters[0]);
    let place = |adapter: &&iresnet::gpu::Adapter| {
        let model = Model::new(&checkpoint.config).unwrap();
        Network::new(&common::open(adapter), model, &checkpoint.tensors, Tuning::first()).unwrap()
    };
    adapters.iter().map(place).collect()
}

/// Forty samples, five at a time, with `meanwhile` before each five.
fn sampled(networks: Vec<Network>, meanwhile: impl Fn(usize, &Network) + Sync) -> Result<(Inverted, Vec<String>)> {
    let mut team = Team::new(networks, |network| block_on(Inverter::sampler(network, 5, Stop::default())))?;
    let parts = team.map((0..40).step_by(5), |network, sampler, &first| {
        meanwhile(first, network);
        block_on(sampler.sample_from(first, 7, 0, 1.0))
    })?;
    let mut all = Inverted::default();
    parts.iter().for_each(|part| all.append(part, 5));
    Ok((all, team.notes()))
}

#[test]
fn samples_agree_in_order_whoever_fails() {
    let place = Place::new();
    trained(&place, "model", TOY);
    let checkpoint = Checkpoint::load(&place.path("model/model.safetensors")).unwrap();
    let mut alone = networks(&checkpoint).swap_remove(0);
    let sampler = block_on(Inverter::sampler(&mut alone, 40, Stop::default())).unwrap();
    let one = block_on(sampler.sample(7, 0, 1.0)).unwrap();

    let (many, notes) = sampled(networks(&checkpoint), |_, _| ()).unwrap();
    assert!(largest_difference(&one.x, &many.x) < SAMPLES && notes.is_empty(), "{notes:?}");

    // Whoever gets the fourth piece is lost before it.
    let lose = |first: usize, network: &Network| {
        if first == 15 && network.gpu().check().is_ok() && !LOST.swap(true, std::sync::atomic::Ordering::SeqCst) {
            network.gpu().destroy();
        }
    };
    static LOST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let (many, notes) = sampled(networks(&checkpoint), lose).unwrap();
    assert!(largest_difference(&one.x, &many.x) < SAMPLES, "{notes:?}");
    assert!(notes.len() == 1 && notes[0].contains("is gone") && notes[0].contains("destroyed"), "{notes:?}");

    let Err(error) = sampled(networks(&checkpoint), |_, network| network.gpu().destroy()) else {
        panic!("without a device there are no samples")
    };
    assert!(matches!(error, Error::Gpu(_)), "{error}");
}
