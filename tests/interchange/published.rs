//! The numbers of the published code on the command line.

use crate::fixture::{self, Tensors, assert_close, part, relative_error};
use crate::program::{Place, losses};
use crate::{CLASSIFIER, DENSITY, load, save};
use iresnet::interpret::Array;

/// Largest relative error of what is computed once: both sides are f32.
const FORWARD: f64 = 1e-4;
/// Largest relative error of losses and states along a training trajectory.
const TRAJECTORY: f64 = 1e-4;

/// The latent parts of a fixture as one array (N, D).
fn joined(parts: &[&Array]) -> Array {
    let count = parts[0].shape()[0];
    let data: Vec<f64> =
        (0..count).flat_map(|sample| parts.iter().flat_map(move |z| part(z, sample).data().to_vec())).collect();
    Array::new([count, data.len() / count], data)
}

/// Inverses after so many iterations of each block.
fn assert_inverses(place: &Place, fixture: &Tensors, counts: &[u32]) {
    for count in counts {
        let count_text = count.to_string();
        let arguments = ["decode", "m.safetensors", "--input", "z.npy", "--output", "back.npz", "--tolerance", "0"];
        place.ends_with(&[&arguments[..], &["--iterations", &count_text]].concat(), 0);
        let back = load(&place.path("back.npz"));
        let wanted = fixture.get(&format!("eval.inverse_{count}"));
        assert_close(&format!("inverse after {count} iterations"), back.get("x"), wanted, FORWARD);
        assert!(back.get("iterations").data().iter().all(|&n| n == f64::from(6 * count)), "six blocks");
        assert_eq!(back.get("residual").shape().extents(), [wanted.shape()[0]]);
    }
}

#[test]
fn the_classifier_is_imported_evaluated_and_inverted() {
    let (fixture, _) = fixture::load("classifier");
    let place = Place::new();
    place.write("c.toml", CLASSIFIER);
    save(&place.path("state.safetensors"), &fixture.under("init."), "module.");
    place.ends_with(&["import", "state.safetensors", "--config", "c.toml", "--output", "m.safetensors"], 0);
    let batch = part(fixture.get("x"), 0);
    save(&place.path("x.npz"), &Tensors::default().with("x", batch), "");
    // Three at once: the last batch is filled up.
    let encode = ["encode", "m.safetensors", "--input", "x.npz", "--output", "z.safetensors", "--batch", "3"];
    place.ends_with(&encode, 0);
    let found = load(&place.path("z.safetensors"));
    for name in ["z", "logits"] {
        assert_close(name, found.get(name), fixture.get(&format!("eval.{name}")), FORWARD);
    }
    assert_eq!(found.0.len(), 2, "a classifier has no densities");
    place.ends_with(&["encode", "m.safetensors", "--input", "x.npz", "--output", "z.npy"], 0);
    assert_close("z of .npy", load_npy(&place, "z.npy").get("z"), fixture.get("eval.z"), FORWARD);
    assert_inverses(&place, &fixture, &[10, 100]);

    let labels = part(fixture.get("labels"), 0);
    let (mut loss, mut right) = (0.0, 0.0);
    for (sample, &label) in labels.data().iter().enumerate() {
        let logits = part(fixture.get("eval.logits"), sample);
        let chosen = logits.data()[label as usize];
        loss += logits.data().iter().map(|logit| (logit - chosen).exp()).sum::<f64>().ln() / 8.0;
        right += f64::from(u8::from(logits.data().iter().all(|&logit| logit <= chosen))) / 8.0;
    }
    let batch = Tensors::default().with("x", part(fixture.get("x"), 0)).with("labels", labels);
    save(&place.path("batch.safetensors"), &batch, "");
    let found = evaluation(&place, &["--data", "arrays:batch.safetensors"]);
    assert_eq!(found["accuracy"], right);
    assert_number("cross-entropy", &found["loss"], loss);
}

/// What `eval` says as JSON.
fn evaluation(place: &Place, arguments: &[&str]) -> serde_json::Value {
    let done = place.command(&[&["eval", "m.safetensors", "--json"], arguments].concat()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn assert_number(what: &str, found: &serde_json::Value, wanted: f64) {
    let one = |number| Array::new([1], vec![number]);
    assert_close(what, &one(found.as_f64().unwrap()), &one(wanted), FORWARD);
}

/// The only array of a `.npy` file, as z.
fn load_npy(place: &Place, name: &str) -> Tensors {
    let array = iresnet::arrays::ArrayFile::open(&place.path(name)).unwrap().tensor("z").unwrap();
    let data = array.data().iter().map(|&x| f64::from(x)).collect();
    Tensors::default().with("z", Array::new(array.shape(), data))
}

/// Ten steps of SGD in a row from imported weights: the losses, and the state they end with.
#[test]
fn the_classifier_goes_on_training_as_published() {
    let (fixture, _) = fixture::load("classifier");
    let place = Place::new();
    place.write("c.toml", CLASSIFIER);
    save(&place.path("state.safetensors"), &fixture.under("init."), "");
    place.ends_with(&["import", "state.safetensors", "--config", "c.toml", "--output", "m.safetensors"], 0);
    let flat = |name: &str| {
        let array = fixture.get(name);
        let extents = array.shape().extents();
        fixture::reshaped(array, &[&[extents[0] * extents[1]], &extents[2..]].concat())
    };
    let batches = Tensors::default().with("x", flat("x")).with("labels", flat("labels"));
    save(&place.path("batches.safetensors"), &batches, "");
    place.ends_with(&["train", "c.toml", "--init", "m.safetensors", "--out", "run"], 0);
    let found = losses(&place.path("run"));
    let wanted = fixture.get("losses").data();
    assert_eq!(found.len(), wanted.len());
    for ((step, loss), &wanted) in found.into_iter().zip(wanted) {
        let error = (loss - wanted).abs() / wanted;
        assert!(error <= TRAJECTORY, "loss of step {step}: {loss}, published {wanted}, off by {error:.1e}");
    }
    place.ends_with(&["export", "run/model.safetensors", "--output", "exported"], 0);
    assert_states(&load(&place.path("exported/model.safetensors")), &fixture.under("final."));
}

/// Every tensor but those of power iteration, which the end of a run brings to convergence. How they go from step to
/// step is compared where single steps are.
fn assert_states(found: &Tensors, wanted: &Tensors) {
    let iterated = |name: &str| ["weight_u", "weight_v", "weight_sigma"].iter().any(|end| name.ends_with(end));
    for (name, wanted) in wanted.0.iter().filter(|(name, _)| !iterated(name)) {
        let error = relative_error(found.get(name), wanted);
        assert!(error <= TRAJECTORY, "{name} is off by {error:.1e} in the end");
    }
}

#[test]
fn the_density_is_imported_evaluated_and_inverted() {
    let (fixture, _) = fixture::load("density");
    let place = Place::new();
    place.write("d.toml", DENSITY);
    save(&place.path("state.safetensors"), &fixture.under("final."), "module.");
    let import = ["import", "state.safetensors", "--config", "d.toml", "--set", "model.classes=7"];
    place.ends_with(&[&import[..], &["--output", "m.safetensors"]].concat(), 0);
    save(&place.path("x.safetensors"), &Tensors::default().with("x", part(fixture.get("x"), 0)), "");
    let encode = ["encode", "m.safetensors", "--input", "x.safetensors", "--log-det", "exact", "--output", "z.npz"];
    place.ends_with(&encode, 0);
    let found = load(&place.path("z.npz"));
    let parts = ["eval.z0", "eval.z1", "eval.z2"].map(|name| fixture.get(name));
    let z = joined(&parts);
    assert_close("z", found.get("z"), &z, FORWARD);
    assert_close("log_prior", found.get("log_prior"), fixture.get("eval.logpz"), FORWARD);
    let first = fixture::rows(found.get("log_det"), 0, 2);
    assert_close("log_det", &first, fixture.get("eval.exact_logdet_first2"), FORWARD);
    let sums = found.get("log_prior").data().iter().zip(found.get("log_det").data()).map(|(a, b)| a + b).collect();
    assert_close("log_prob", found.get("log_prob"), &Array::new(first_axis(&found), sums), FORWARD);
    save(&place.path("z.safetensors"), &Tensors::default().with("z", z), "");
    let array = iresnet::arrays::ArrayFile::open(&place.path("z.safetensors")).unwrap().read("z").unwrap();
    iresnet::arrays::write(&place.path("z.npy"), &[("z", array)]).unwrap();
    assert_inverses(&place, &fixture, &[5, 10, 100]);

    let data = ["--data", "arrays:x.safetensors", "--log-det", "exact", "--limit", "2"];
    let found = evaluation(&place, &data);
    let nats: f64 = (0..2)
        .map(|sample| {
            let of = |name: &str| fixture.get(name).data()[sample];
            of("eval.logpz") + of("eval.exact_logdet_first2")
        })
        .sum();
    let dimensions = 3.0 * 16.0 * 16.0;
    assert_number("bits/dim", &found["bits_per_dim"], 8.0 - nats / 2.0 / dimensions / std::f64::consts::LN_2);
}

fn first_axis(found: &Tensors) -> [usize; 1] {
    [found.get("log_prior").shape()[0]]
}

/// Import of an export is the same model bit for bit, and an export is a model file itself.
#[test]
fn an_export_comes_back_bit_for_bit() {
    for (name, config) in [("classifier", CLASSIFIER), ("density", DENSITY)] {
        let (fixture, _) = fixture::load(name);
        let place = Place::new();
        place.write("a.toml", config);
        save(&place.path("state.safetensors"), &fixture.under("final."), "");
        place.ends_with(&["import", "state.safetensors", "--config", "a.toml", "--output", "m.safetensors"], 0);
        place.ends_with(&["export", "m.safetensors", "--output", "out/exported"], 0);
        let state = fixture.under("final.");
        let exported = load(&place.path("out/exported/model.safetensors"));
        let names = |tensors: &Tensors| tensors.0.keys().cloned().collect::<std::collections::BTreeSet<String>>();
        assert_eq!(names(&exported), names(&state), "{name}");
        for (tensor, value) in &state.0 {
            assert_eq!(exported.get(tensor).shape(), value.shape(), "{tensor}");
        }
        let again = "out/exported/model.safetensors";
        let import = ["import", again, "--config", "out/exported/config.toml", "--output", "again.safetensors"];
        place.ends_with(&import, 0);
        let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
        assert!(bytes("again.safetensors") == bytes("m.safetensors"), "{name}: the same model");
        place.ends_with(&["export", again, "--output", "twice"], 0);
        assert!(bytes("twice/model.safetensors") == bytes(again), "{name}: an export is a model file");
        let about: serde_json::Value = serde_json::from_slice(&bytes("out/exported/model.json")).unwrap();
        assert_eq!(about["input"], serde_json::json!([3, 16, 16]));
        assert_eq!(about["bytes"], bytes(again).len());
    }
}

/// Halves and doubles are converted, and a state may come as .npz.
#[test]
fn other_number_formats_are_converted() {
    use iresnet::arrays::{Array, Elements, write};
    let (fixture, _) = fixture::load("classifier");
    let place = Place::new();
    place.write("c.toml", CLASSIFIER);
    let state = fixture.under("init.");
    let double: Vec<(&str, Array)> = state
        .0
        .iter()
        .map(|(name, value)| (name.as_str(), Array::new(value.shape(), Elements::F64(value.data().to_vec()))))
        .collect();
    write(&place.path("double.npz"), &double).unwrap();
    save(&place.path("single.safetensors"), &state, "");
    for (from, to) in [("double.npz", "a.safetensors"), ("single.safetensors", "b.safetensors")] {
        place.ends_with(&["import", from, "--config", "c.toml", "--output", to], 0);
    }
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("a.safetensors") == bytes("b.safetensors"));
    // Halves, written by hand: every weight exact in them.
    let name = "stack.0.actnorm._shift";
    let length = state.get(name).shape().len();
    let text = serde_json::to_string(&serde_json::json!({
        name: {"dtype": "F16", "shape": [length], "data_offsets": [0, 2 * length]}
    }));
    let text = text.unwrap();
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend(text.bytes());
    file.extend([0x00, 0xbe].repeat(length));
    place.write("half.safetensors", file);
    let halves = load(&place.path("half.safetensors"));
    assert!(halves.get(name).data().iter().all(|&x| x == -1.5));
}
