//! What `train --dry-run` says of memory, and what `train.memory` does to a run.

#[path = "common/program.rs"]
mod program;

use iresnet::checkpoint::Checkpoint;
use iresnet::tensor::Tensor;
use program::{CLASSIFIER, Place, TOY, losses};

/// Relative difference of losses of short runs: gradients differ in the fifth digit, and steps add that up.
const SAME_LOSS: f64 = 1e-3;

fn dry_run(place: &Place, more: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["train", "config.toml", "--out", "run", "--dry-run"], more].concat();
    let output = place.command(&arguments).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(!place.path("run").exists(), "nothing is written");
    (output.status.code(), stdout, stderr)
}

#[test]
fn a_dry_run_says_what_a_step_takes() {
    let place = Place::new();
    place.write("config.toml", CLASSIFIER);
    let (code, stdout, stderr) = dry_run(&place, &["--set", "train.memory=checkpoint"]);
    assert_eq!(code, Some(0), "{stderr}");
    let row = |title: &str| -> Vec<&str> {
        let line = stdout.lines().find(|line| line.starts_with(title)).unwrap_or_else(|| panic!("{title}:\n{stdout}"));
        line[title.len()..].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    assert_eq!(row("a step takes"), ["store", "checkpoint *", "reversible"]);
    for title in [
        "parameters, state",
        "gradients",
        "optimizer state",
        "activations",
        "scratch",
        "memory in all",
        "distinct kernels",
        "dispatches",
        "operations",
        "bytes moved",
        "seconds",
    ] {
        assert_eq!(row(title).len(), 3, "{title}:\n{stdout}");
    }
    let operations: Vec<f64> = row("operations").iter().map(|cell| cell.parse().unwrap()).collect();
    assert!(stdout.contains("FLOP"), "{stdout}");
    assert!(operations[0] > 1e6 && operations[0] < operations[1] && operations[1] < operations[2], "{operations:?}");
}

#[test]
fn a_plan_too_large_is_refused_with_what_fits() {
    let place = Place::new();
    place.write("config.toml", CLASSIFIER);
    let (code, stdout, stderr) = dry_run(&place, &["--set", "data.batch=60000"]);
    assert!(matches!(code, Some(2 | 5)), "{stderr}");
    assert!(stdout.contains("memory in all"), "{stdout}");
    assert!(stderr.contains("bytes") && stderr.contains("what fits: ") && stderr.contains("data.batch = "), "{stderr}");
}

#[test]
fn reversible_runs_log_how_well_they_inverted() {
    let place = Place::new();
    place.write("config.toml", TOY);
    for memory in ["store", "reversible"] {
        let set = format!("train.memory={memory}");
        place.ends_with(&["train", "config.toml", "--out", memory, "--steps", "6", "--set", &set], 0);
    }
    let text = std::fs::read_to_string(place.path("reversible/metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let inversions: Vec<[f64; 2]> = lines
        .filter(|line| line.get("split").is_none())
        .map(|line| ["inverse_residual", "inverse_error"].map(|key| line[key].as_f64().unwrap()))
        .collect();
    assert_eq!(inversions.len(), 6);
    assert!(inversions.iter().all(|&[residual, error]| residual <= 1.000_001e-6 && error < 1e-4), "{inversions:?}");
    for ((_, a), (_, b)) in losses(&place.path("store")).into_iter().zip(losses(&place.path("reversible"))) {
        assert!((a - b).abs() <= SAME_LOSS * a.abs(), "{a} and {b}");
    }
}

/// A model whose norms are far above what its power-iteration vectors, all zero, make believe.
#[test]
fn a_run_that_cannot_invert_its_blocks_ends() {
    let place = Place::new();
    place.write("config.toml", TOY);
    place.ends_with(&["train", "config.toml", "--out", "good", "--steps", "1"], 0);
    let mut model = Checkpoint::load(&place.path("good/model.safetensors")).unwrap();
    for (name, tensor) in &mut model.tensors {
        let factor = if name.ends_with("weight_u") {
            0.0
        } else if name.ends_with("weight_orig") {
            20.0
        } else {
            continue;
        };
        *tensor = Tensor::new(tensor.shape().clone(), tensor.data().iter().map(|x| factor * x).collect());
    }
    let bad = place.path("bad.safetensors");
    model.save(&bad).unwrap();
    let arguments =
        ["train", "config.toml", "--out", "run", "--init", "bad.safetensors", "--set", "train.memory=reversible"];
    let stderr = place.ends_with(&arguments, 9);
    assert!(stderr.contains("step 0") && stderr.contains("could not be inverted"), "{stderr}");
    assert!(stderr.contains("checkpoint") && !place.path("run/model.safetensors").exists(), "{stderr}");
}

#[test]
fn reversible_needs_the_constraint() {
    let place = Place::new();
    place.write("config.toml", CLASSIFIER);
    let sets = ["--set", "train.memory=reversible", "--set", "model.coefficient=none"];
    let (code, _, stderr) = dry_run(&place, &sets);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("train.memory") && stderr.contains("model.coefficient"), "{stderr}");
}
