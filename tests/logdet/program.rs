//! `iresnet train` and `eval` with each way to compute log-determinants.

use serde_json::Value;

use crate::program::Place;

/// A density of 28×28 images in two small stages.
const DENSITY: &str = r#"
[model]
kind = "density"
input = [1, 28, 28]
blocks = [1, 1]
strides = [1, 2]
channels = [4, 4]
initial_squeeze = true
injective_padding = 0
[log_det]
terms = 3
[data]
name = "fashion-mnist-mini"
batch = 4
limit = 16
[train]
epochs = 1
init_batch = 16
"#;

fn eval(place: &Place, arguments: &[&str]) -> Value {
    let all = [&["eval", "run/model.safetensors", "--limit", "6", "--json"], arguments].concat();
    let output = place.command(&all).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error} in {stdout}"))
}

#[test]
fn every_estimator_trains_and_evaluates() {
    let place = Place::new();
    place.write("run.toml", DENSITY);
    let losses = |arguments: &[&str], run: &str| {
        place.ends_with(&[&["train", "run.toml", "--steps", "4", "--out", run], arguments].concat(), 0);
        crate::program::losses(&place.path(run))
    };
    let published = losses(&[], "run");
    let neumann = losses(&["--set", "log_det.gradient=neumann"], "neumann");
    let unbiased = losses(&["--set", "log_det.gradient=neumann", "--set", "log_det.estimator=unbiased"], "unbiased");
    assert_eq!([published.len(), neumann.len(), unbiased.len()], [4; 3]);
    // Step 0 has the same parameters and probes: the value logged is the log-determinant, whatever its gradient.
    assert!((published[0].1 - neumann[0].1).abs() < 1e-5, "{published:?} {neumann:?}");
    assert!((published[0].1 - unbiased[0].1).abs() < 0.05, "{published:?} {unbiased:?}");
    assert!(unbiased.iter().all(|(_, loss)| loss.is_finite()));

    let number = |value: &Value, name: &str| value[name].as_f64().unwrap_or_else(|| panic!("no {name} in {value}"));
    let exact = eval(&place, &["--log-det", "exact"]);
    assert!(number(&exact, "samples") == 6.0 && exact.get("bias_bound").is_none(), "{exact}");
    let exact = number(&exact, "bits_per_dim");
    for estimator in ["series", "unbiased"] {
        let found = number(&eval(&place, &["--log-det", estimator]), "bits_per_dim");
        assert!((found - exact).abs() < 0.05, "{estimator}: {found}, exactly {exact}");
    }
    let rigorous = eval(&place, &["--bias", "0.001", "--standard-error", "0.002", "--probes", "50"]);
    // After four steps power iteration may not have found every norm; then there is no bound.
    let error = number(&rigorous, "probe_standard_error");
    let bias = rigorous["bias_bound"].as_f64().unwrap_or(0.001);
    assert!(error <= 0.002 && bias <= 0.001, "{rigorous}");
    assert!(number(&rigorous, "terms") > 3.0 && number(&rigorous, "probes") >= 2.0, "{rigorous}");
    let found = number(&rigorous, "bits_per_dim");
    assert!((found - exact).abs() <= bias + 4.0 * error, "{found}, exactly {exact}, {rigorous}");
    // What is asked for in vain is said.
    let note = place
        .ends_with(&["eval", "run/model.safetensors", "--limit", "2", "--standard-error", "1e-9", "--probes", "2"], 0);
    assert!(note.contains("standard error"), "{note}");
    let error = place.ends_with(&["eval", "run/model.safetensors", "--probes", "1"], 2);
    assert!(error.contains("--probes"), "{error}");
}
