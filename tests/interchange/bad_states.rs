//! State dicts that do not fit: exit code 7, every tensor named, nothing written.

use crate::fixture::{self, Tensors};
use crate::program::Place;
use crate::{CLASSIFIER, DENSITY, save};
use iresnet::interpret::Array;

/// What the program says to this state and configuration; it must end with `code` and write nothing.
fn refused(config: &str, state: &Tensors, settings: &[&str], code: i32) -> String {
    let place = Place::new();
    place.write("a.toml", config);
    save(&place.path("state.safetensors"), state, "");
    let mut arguments = vec!["import", "state.safetensors", "--config", "a.toml", "--output", "m.safetensors"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let message = place.ends_with(&arguments, code);
    assert!(!place.path("m.safetensors").exists(), "nothing is written");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    message
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
}

#[test]
fn tensors_missing_too_many_misshapen_or_not_finite_are_named() {
    let (fixture, _) = fixture::load("classifier");
    let state = fixture.under("init.");
    const WEIGHT: &str = "stack.3.bottleneck_block.1.weight_orig";
    let mut missing = state.clone();
    missing.0.remove(WEIGHT);
    says(&refused(CLASSIFIER, &missing, &[], 7), &["state.safetensors", WEIGHT, "missing", "save_file"]);
    let extra = state.clone().with("stack.0.extra", Array::new([2], vec![0.0; 2]));
    says(&refused(CLASSIFIER, &extra, &[], 7), &["\"stack.0.extra\"", "[2]", "does not belong"]);
    let misshapen = state.clone().with("bn1.weight", Array::new([64], vec![1.0; 64]));
    says(&refused(CLASSIFIER, &misshapen, &[], 7), &["\"bn1.weight\"", "[64]", "[128]"]);
    for value in [f64::NAN, f64::INFINITY] {
        let mut spoiled = state.clone();
        let old = spoiled.get(WEIGHT);
        let mut data = old.data().to_vec();
        data[9 * 32 + 5] = value;
        let array = Array::new(old.shape(), data);
        spoiled = spoiled.with(WEIGHT, array);
        says(&refused(CLASSIFIER, &spoiled, &[], 7), &[WEIGHT, &value.to_string(), "[1, 0, 1, 2]"]);
    }
    // Several at once, and tensors that nothing uses are looked at as well.
    let several = misshapen.with("prior_mu", Array::new([3], vec![0.0; 3])).with("odd", Array::new([1], vec![0.0]));
    says(&refused(CLASSIFIER, &several, &[], 7), &["bn1.weight", "prior_mu", "[2048]", "\"odd\""]);
}

/// A configuration of another network: the message says what the state says.
#[test]
fn what_the_state_itself_says_is_the_cure() {
    let (classifier, _) = fixture::load("classifier");
    let (density, _) = fixture::load("density");
    let (classifier, density) = (classifier.under("init."), density.under("init."));
    let mut bare = classifier.clone();
    bare.0.retain(|name, _| !name.contains("actnorm"));
    let cases: [(&str, &Tensors, &[&str], &str); 9] = [
        (CLASSIFIER, &classifier, &["model.blocks=[2, 2, 3]"], "model.blocks = [2, 2, 2]"),
        (CLASSIFIER, &classifier, &["model.channels=[8, 8, 8]"], "model.channels = [8, 8, 16]"),
        (CLASSIFIER, &classifier, &["model.injective_padding=6"], "enter the first block = 8"),
        (CLASSIFIER, &classifier, &["model.input=[3, 32, 32]"], "numbers that enter the first block = 2048"),
        (CLASSIFIER, &classifier, &["model.classes=11"], "model.classes = 10"),
        (CLASSIFIER, &classifier, &["model.coefficient=none"], "model.coefficient = a number"),
        (CLASSIFIER, &bare, &[], "model.actnorm = false"),
        (CLASSIFIER, &density, &[], "model.kind = \"density\""),
        (DENSITY, &classifier, &[], "model.kind = \"classifier\""),
    ];
    for (config, state, settings, part) in cases {
        says(&refused(config, state, settings, 7), &[part, "the configuration says"]);
    }
}

#[test]
fn a_prior_that_was_learned_is_not_thrown_away() {
    let (fixture, _) = fixture::load("density");
    let message = refused(DENSITY, &fixture.under("final."), &["model.prior=standard"], 7);
    says(&message, &["prior_mu", "model.prior = \"learned\""]);
    // Before training it is the standard one, as with -fixedPrior.
    let place = Place::new();
    place.write("a.toml", DENSITY);
    save(&place.path("state.safetensors"), &fixture.under("init."), "");
    let import = ["import", "state.safetensors", "--config", "a.toml", "--set", "model.prior=standard"];
    place.ends_with(&[&import[..], &["--output", "m.safetensors"]].concat(), 0);
}

#[test]
fn files_that_are_no_states_and_configurations_that_are_wrong() {
    let place = Place::new();
    place.write("a.toml", CLASSIFIER);
    let (fixture, _) = fixture::load("classifier");
    save(&place.path("whole.safetensors"), &fixture.under("init."), "");
    let whole = std::fs::read(place.path("whole.safetensors")).unwrap();
    place.write("short.safetensors", &whole[..whole.len() - 100]);
    place.write("head.safetensors", &whole[..50]);
    place.write("empty.safetensors", "");
    place.write("checkpoint.t7", "a pickle");
    let cases = [
        ("short.safetensors", 7, "truncated"),
        ("head.safetensors", 7, "truncated"),
        ("empty.safetensors", 7, "empty"),
        ("checkpoint.t7", 7, "save_file"),
        ("none.safetensors", 7, "cannot be read"),
    ];
    for (name, code, part) in cases {
        let message = place.ends_with(&["import", name, "--config", "a.toml", "--output", "m.safetensors"], code);
        says(&message, &[name, part]);
    }
    let import = ["import", "whole.safetensors", "--output", "m.safetensors", "--config"];
    says(&place.ends_with(&[&import[..], &["none.toml"]].concat(), 2), &["none.toml"]);
    let message = place.ends_with(&[&import[..], &["a.toml", "--set", "model.strides=[1, 2, 3]"]].concat(), 2);
    says(&message, &["model.strides"]);
    assert!(!place.path("m.safetensors").exists());
    let nowhere = ["import", "whole.safetensors", "--config", "a.toml", "--output", "no/folder/m.safetensors"];
    says(&place.ends_with(&nowhere, 2), &["no/folder"]);
    // A model file of the program is a state as well.
    place.ends_with(&["import", "whole.safetensors", "--config", "a.toml", "--output", "m.safetensors"], 0);
    place.ends_with(&["import", "m.safetensors", "--config", "a.toml", "--output", "n.safetensors"], 0);
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("m.safetensors") == bytes("n.safetensors"));
}
