//! What experiments are made of, and the command that lists them.

#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;

use std::process::Command;

use iresnet::config::{Config, Estimator, Kind};
use iresnet::experiment::{Cell, Claim, Findings, Sheet, results};
use iresnet::interpret::Array;
use iresnet::nn::model::{Model, target};
use iresnet::nn::param;

use fixture::Tensors;

fn line(blocks: usize) -> Model {
    let mut config = Config::default();
    config.model.kind = Kind::Toy;
    config.model.input = vec![1];
    (config.model.blocks, config.model.strides, config.model.channels) = (vec![blocks], vec![1], vec![4]);
    config.model.hidden_layers = 1;
    config.model.injective_padding = 0;
    config.model.actnorm = false;
    config.model.coefficient = None;
    config.log_det.estimator = Estimator::Exact;
    Model::new(&config).unwrap()
}

fn inputs(model: &Model, targets: &[(usize, Vec<f64>)]) -> Tensors {
    let mut inputs = Tensors::default();
    for (name, tensor) in param::initialize(model.params(), 3) {
        inputs = inputs.with(&name, Array::new(tensor.shape(), tensor.data().iter().map(|&x| f64::from(x)).collect()));
    }
    for (depth, values) in targets {
        inputs = inputs.with(&target(*depth), Array::new([values.len(), 1], values.clone()));
    }
    inputs.with("x", Array::new([3, 1], vec![-1.0, 0.5, 2.0]))
}

/// Central differences in f64 agree to about the square of their step.
const STEP: f64 = 1e-5;
const CENTRAL: f64 = 1e-7;

#[test]
fn regression_measures_the_distance_behind_each_depth() {
    let model = line(2);
    // Behind no block stands the sample itself.
    let graph = model.regression_graph(3, &[0]);
    let loss = fixture::run(&graph, &inputs(&model, &[(0, vec![-1.0, 1.5, 0.0])])).get("loss").data()[0];
    assert!((loss - (1.0 + 4.0) / 3.0).abs() < 1e-12, "{loss}");

    let graph = model.regression_graph(3, &[1, 2]);
    let at = inputs(&model, &[(1, vec![0.0, 1.0, 2.0]), (2, vec![0.5, 0.5, 0.5])]);
    let found = fixture::run(&graph, &at);
    let parameter =
        model.params().iter().find(|param| param.name.starts_with("stack.0") && param.is_parameter()).unwrap();
    let gradient = found.get(&format!("grad/{}", parameter.name)).data()[0];
    let moved = |by: f64| {
        let mut data = at.get(&parameter.name).data().to_vec();
        data[0] += by;
        let moved = at.clone().with(&parameter.name, Array::new(parameter.shape.clone(), data));
        fixture::run(&graph, &moved).get("loss").data()[0]
    };
    let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
    assert!((gradient - slope).abs() < CENTRAL * slope.abs().max(1.0), "{gradient} and {slope}");
    assert!(slope != 0.0);
}

fn iresnet(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_iresnet")).arg("experiment").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn experiments_are_listed() {
    let (code, out, _) = iresnet(&["list", "--json"]);
    assert_eq!(code, 0);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let list = list.as_array().unwrap();
    let named = |name: &str| list.iter().find(|entry| entry["name"] == name).unwrap();
    assert!(named("lipschitz-classification")["paper_operations"].as_f64() > named("inversion")["operations"].as_f64());
    assert_eq!(named("inversion")["data"], serde_json::json!(["cifar10"]));
    assert_eq!(named("dynamics-1d")["data"], serde_json::json!([]), "its points are its own");
    assert!(list.iter().all(|entry| entry["minutes"].as_u64().is_some()), "{out}");
    let (_, text, _) = iresnet(&["list"]);
    for entry in list {
        assert!(text.contains(entry["name"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn wrong_input_is_told() {
    let (code, _, error) = iresnet(&["dynamics"]);
    assert_eq!(code, 2);
    assert!(error.contains("dynamics-1d"), "{error}");
    let nothing = tempfile::tempdir().unwrap();
    let folder = nothing.path().to_str().unwrap();
    let (code, _, error) = iresnet(&["results", "--out", folder]);
    assert_eq!(code, 3, "{error}");
    std::fs::create_dir(nothing.path().join("a")).unwrap();
    std::fs::write(nothing.path().join("a/results.json"), "{").unwrap();
    let (code, _, error) = iresnet(&["results", "--out", folder]);
    assert_eq!(code, 3);
    assert!(error.contains("run the experiment again"), "{error}");
}

#[test]
fn results_become_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut findings = Findings::default();
    let mut sheet = Sheet::new("numbers", "Some numbers", ["a|b", "c"]);
    sheet.push([1.5.into(), Cell::Missing]);
    findings.sheet(sheet);
    findings.claim(Claim::new("it holds", false, "0.3"));
    findings.write(folder.path()).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("numbers.csv")).unwrap(), "a|b,c\n1.5,\n");

    let run = folder.path().join("memory-quick");
    std::fs::create_dir(&run).unwrap();
    let results = serde_json::json!({
        "name": "memory", "scale": "quick", "version": "0", "machine": "m", "adapter": "a", "seeds": [1],
        "seconds": 90.0, "paper_operations": 7.2e16, "sheets": findings.sheets, "claims": findings.claims,
        "figures": [{"file": "f.png", "caption": "A figure"}],
    });
    std::fs::write(run.join("results.json"), results.to_string()).unwrap();
    std::fs::write(run.join("f.png"), "not looked at").unwrap();
    let document = folder.path().join("results.md");
    results::write(folder.path(), &document).unwrap();
    let text = std::fs::read_to_string(&document).unwrap();
    // 7.2e16 operations at 1e13 a second are two hours.
    for part in ["| 0 of 1 | 2 | 2.0 |", "a\\|b", "| 1.50 | – |", "**no**", "(results-data/memory-quick/f.png)"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let data = folder.path().join("results-data");
    assert!(data.join("memory-quick/f.png").is_file());
    // What lies beside the document is enough to write it anew.
    std::fs::remove_dir_all(run).unwrap();
    results::write(&data, &document).unwrap();
    assert_eq!(std::fs::read_to_string(document).unwrap(), text);
}

/// An experiment that trains by itself goes on from the step at which it was stopped.
#[cfg(unix)]
#[test]
fn an_interrupted_experiment_goes_on() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use iresnet::checkpoint::Checkpoint;

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("dynamics");
    let mut steps = Vec::new();
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iresnet"));
        command.args(["experiment", "dynamics-1d", "--out"]).arg(&out).env("IRESNET_TUNING", "off");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // From here on it trains, or prepares to.
        assert!(lines.any(|line| line.unwrap().contains("measuring paths-resnet")));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
        assert!(rest.iter().any(|line| line.contains("the same command goes on")), "{rest:?}");
        steps.push(Checkpoint::load(&out.join("resnet.paused.safetensors")).unwrap().step);
    }
    assert!(0 < steps[0] && steps[0] < steps[1], "{steps:?}");
    assert!(!out.join("results.json").exists());
}
