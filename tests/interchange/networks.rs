//! Small networks of every kind that the published code can build, put through the program: every activation, with and
//! without ActNorm, initial squeeze, padding, strides of every stage, learned and fixed prior, one scale and several.

use crate::fixture::{self, Tensors, assert_close, reshaped, rows};
use crate::program::{Place, losses};
use crate::{load, save};

/// Largest relative error: both sides compute in f32.
const FORWARD: f64 = 1e-4;
/// Largest relative error of losses along a training trajectory.
const TRAJECTORY: f64 = 1e-4;

const CLASSIFIERS: [&str; 5] =
    ["classifier_softplus", "classifier_relu", "classifier_sorting", "classifier_elu", "classifier_scales"];
const DENSITIES: [&str; 6] =
    ["density_elu", "density_softplus", "density_sorting", "density_relu", "density_padded", "density_single"];

/// Imports the network, encodes and decodes its samples, and compares.
fn evaluate(name: &str) -> (Place, Tensors, String) {
    let (fixture, config) = fixture::load(&format!("network_{name}"));
    let place = Place::new();
    let toml = config["toml"].as_str().unwrap().to_owned();
    place.write("a.toml", &toml);
    save(&place.path("state.safetensors"), &fixture.under("init."), "");
    place.ends_with(&["import", "state.safetensors", "--config", "a.toml", "--output", "m.safetensors"], 0);
    save(&place.path("x.npz"), &Tensors::default().with("x", fixture.get("eval.x").clone()), "");
    let mut encode = vec!["encode", "m.safetensors", "--input", "x.npz", "--output", "z.npz", "--batch", "4"];
    let exact = fixture.0.get("eval.log_det_first2");
    if exact.is_some() {
        encode.extend(["--log-det", "exact"]);
    }
    place.ends_with(&encode, 0);
    let found = load(&place.path("z.npz"));
    for result in ["z", "logits", "log_prior"] {
        if let Some(wanted) = fixture.0.get(&format!("eval.{result}")) {
            assert_close(&format!("{name}, {result}"), found.get(result), wanted, FORWARD);
        }
    }
    if let Some(wanted) = exact {
        assert_close(&format!("{name}, log_det"), &rows(found.get("log_det"), 0, 2), wanted, FORWARD);
    }
    let decode = ["decode", "m.safetensors", "--input", "z.npz", "--output", "back.npz", "--batch", "3"];
    place.ends_with(&[&decode[..], &["--iterations", "10", "--tolerance", "0"]].concat(), 0);
    let back = load(&place.path("back.npz"));
    assert_close(&format!("{name}, inverse"), back.get("x"), fixture.get("eval.inverse_10"), FORWARD);
    (place, fixture, toml)
}

#[test]
fn densities() {
    for name in DENSITIES {
        evaluate(name);
    }
}

#[test]
fn classifiers() {
    for name in CLASSIFIERS {
        let (place, fixture, toml) = evaluate(name);
        let flat = |array: &iresnet::interpret::Array| {
            let extents = array.shape().extents();
            reshaped(array, &[&[extents[0] * extents[1]], &extents[2..]].concat())
        };
        let (x, labels) = (flat(fixture.get("x")), flat(fixture.get("labels")));
        save(&place.path("batches.safetensors"), &Tensors::default().with("x", x).with("labels", labels), "");
        let batch = fixture.get("x").shape()[1];
        let data = format!("[data]\nname = \"arrays:batches.safetensors\"\nbatch = {batch}\nshuffle = false\n");
        place.write("train.toml", format!("{toml}{data}[train]\nepochs = 1\n"));
        place.ends_with(&["train", "train.toml", "--init", "m.safetensors", "--out", "run"], 0);
        let found = losses(&place.path("run"));
        let wanted = fixture.get("losses").data();
        assert_eq!(found.len(), wanted.len(), "{name}");
        for ((step, loss), &wanted) in found.into_iter().zip(wanted) {
            let error = (loss - wanted).abs() / wanted.abs();
            assert!(error <= TRAJECTORY, "{name}, loss of step {step}: {loss}, published {wanted}, off by {error:.1e}");
        }
    }
}
