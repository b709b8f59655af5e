//! `arrays:FILE`: samples reach the network as they are in the file, and what does not fit is told with its place.
#![cfg(feature = "cli")]

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::path::Path;

use iresnet::config::{Augmentation, Config, Kind};
use iresnet::data::Split;
use iresnet::data::source::Source;
use program::{CLASSIFIER, Place, TOY, losses};
use safetensors::tensor::{Dtype, TensorView};

/// Arrays by name: type, shape, bytes.
type Arrays = BTreeMap<&'static str, (Dtype, Vec<usize>, Vec<u8>)>;

fn f32s(shape: &[usize], numbers: &[f32]) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::F32, shape.to_vec(), numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
}

fn i64s(numbers: &[i64]) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::I64, vec![numbers.len()], numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
}

fn file(arrays: &Arrays) -> Vec<u8> {
    let views = arrays
        .iter()
        .map(|(name, (dtype, shape, bytes))| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// Numbers that no image has: negative, large, fractions.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|k| (k as f32 - 7.0) * 1.25).collect()
}

/// Three samples of shape (2, 2, 2), three classes.
fn three() -> Arrays {
    Arrays::from([("x", f32s(&[3, 2, 2, 2], &numbers(24))), ("labels", i64s(&[2, 0, 1]))])
}

fn config(kind: Kind, input: &[usize]) -> Config {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.input = input.to_vec();
    config.model.classes = 3;
    config.data.batch = 3;
    config.data.shuffle = false;
    config
}

/// The source that `config` gives of `arrays` in a file; or the error, which must be one of data.
fn open(arrays: &Arrays, config: &Config, split: Split) -> Result<Source, String> {
    let place = Place::new();
    let path = place.write("some.safetensors", file(arrays));
    open_path(&path, config, split)
}

fn open_path(path: &Path, config: &Config, split: Split) -> Result<Source, String> {
    Source::open(config, Some(&format!("arrays:{}", path.display())), split).map_err(|error| {
        assert_eq!(error.exit_code(), 3, "{error:?}");
        error.to_string()
    })
}

#[track_caller]
fn refused(arrays: &Arrays, config: &Config, parts: &[&str]) {
    let message = open(arrays, config, Split::Train).expect_err("accepted");
    for part in parts.iter().chain(&["some.safetensors"]) {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn samples_reach_training_and_evaluation_as_they_are() {
    let config = config(Kind::Classifier, &[2, 2, 2]);
    assert_eq!(config.data.augment, Augmentation::Usual, "the default, which must not touch arrays");
    let source = open(&three(), &config, Split::Train).unwrap();
    let batch = source.training(7).next().unwrap();
    assert_eq!((batch.x.data(), &batch.labels[..]), (&numbers(24)[..], &[2, 0, 1][..]));
    let (x, labels, real) = source.once(2).nth(1).unwrap();
    assert_eq!((&x[..8], labels[0], real), (&numbers(24)[16..], 1, 1));
}

#[test]
fn a_density_adds_no_noise_and_needs_no_labels() {
    let mut arrays = three();
    arrays.remove("labels");
    for (kind, input, shape) in [(Kind::Density, vec![2, 2, 2], vec![3, 2, 2, 2]), (Kind::Toy, vec![8], vec![3, 8])] {
        arrays.insert("x", f32s(&shape, &numbers(24)));
        let source = open(&arrays, &config(kind, &input), Split::Train).unwrap();
        assert_eq!(source.training(0).next().unwrap().x.data(), numbers(24));
        assert_eq!(source.once(3).next().unwrap().0, numbers(24));
    }
}

#[test]
fn both_splits_are_the_same_unless_the_file_has_a_test_split() {
    let config = config(Kind::Classifier, &[2, 2, 2]);
    let mut arrays = three();
    assert_eq!(open(&arrays, &config, Split::Test).unwrap().dataset().len(), 3);
    arrays.insert("x_test", f32s(&[1, 2, 2, 2], &[0.5; 8]));
    let message = open(&arrays, &config, Split::Test).unwrap_err();
    assert!(message.contains("\"labels_test\""), "{message}");
    arrays.insert("labels_test", i64s(&[1]));
    let test = open(&arrays, &config, Split::Test).unwrap();
    assert_eq!((test.at(&[0]).x.data(), test.dataset().labels()), (&[0.5; 8][..], &[1][..]));
    assert_eq!(open(&arrays, &config, Split::Train).unwrap().dataset().len(), 3);
}

#[test]
fn labels_may_be_of_any_type_that_holds_whole_numbers() {
    let config = config(Kind::Classifier, &[2, 2, 2]);
    let i32s: Vec<u8> = [2_i32, 0, 1].iter().flat_map(|label| label.to_le_bytes()).collect();
    for labels in [(Dtype::I32, vec![3], i32s), (Dtype::U8, vec![3], vec![2, 0, 1]), f32s(&[3], &[2.0, 0.0, 1.0])] {
        let mut arrays = three();
        arrays.insert("labels", labels);
        assert_eq!(open(&arrays, &config, Split::Train).unwrap().dataset().labels(), [2, 0, 1]);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let classifier = config(Kind::Classifier, &[2, 2, 2]);
    let with = |name: &'static str, array: (Dtype, Vec<usize>, Vec<u8>)| {
        let mut arrays = three();
        arrays.insert(name, array);
        arrays
    };
    let mut spoilt = numbers(24);
    spoilt[8 + 4 + 2 + 1] = f32::NAN;
    refused(&with("x", f32s(&[3, 2, 2, 2], &spoilt)), &classifier, &["\"x\"", "NaN", "[1, 1, 1, 1]"]);
    spoilt[15] = 0.0;
    spoilt[23] = f32::NEG_INFINITY;
    refused(&with("x", f32s(&[3, 2, 2, 2], &spoilt)), &classifier, &["\"x\"", "-inf", "[2, 1, 1, 1]"]);
    refused(&with("x", f32s(&[3, 2, 4, 1], &numbers(24))), &classifier, &["[3, 2, 4, 1]", "model.input = [2, 2, 2]"]);
    refused(&with("x", f32s(&[3, 8], &numbers(24))), &classifier, &["[3, 8]", "(N, C, H, W)"]);
    refused(&three(), &config(Kind::Toy, &[8]), &["[3, 2, 2, 2]", "(N, D) = [3, 8]"]);
    refused(&with("x", f32s(&[0, 2, 2, 2], &[])), &classifier, &["no samples"]);
    refused(&with("x", (Dtype::U8, vec![3, 2, 2, 2], vec![0; 24])), &classifier, &["\"x\"", "integers", "float32"]);
    refused(&with("labels", i64s(&[0, 3, 1])), &classifier, &["\"labels\"", "3 at [1]", "0 to 2", "model.classes"]);
    refused(&with("labels", i64s(&[0, 1, -1])), &classifier, &["-1 at [2]"]);
    refused(&with("labels", i64s(&[0, 1])), &classifier, &["\"labels\"", "[2]", "3 samples", "[3]"]);
    refused(&with("labels", f32s(&[3], &[0.0, 1.5, 1.0])), &classifier, &["1.5 at [1]", "no integer"]);
    let mut arrays = three();
    arrays.remove("labels");
    refused(&arrays, &classifier, &["no array \"labels\"", "classifier"]);
    arrays.remove("x");
    arrays.insert("y", i64s(&[1]));
    refused(&arrays, &classifier, &["no array \"x\"", "\"y\""]);
}

#[test]
fn every_truncation_of_a_file_is_noticed() {
    let place = Place::new();
    let config = config(Kind::Classifier, &[2, 2, 2]);
    let whole = file(&three());
    for len in 0..whole.len() {
        let path = place.write("cut.safetensors", &whole[..len]);
        let message = open_path(&path, &config, Split::Train).unwrap_err();
        assert!(message.contains("cut.safetensors"), "{message}");
    }
    let missing = open_path(&place.path("none.safetensors"), &config, Split::Train).unwrap_err();
    assert!(missing.contains("none.safetensors"), "{missing}");
}

#[test]
fn the_program_trains_on_a_file_and_evaluates_on_it() {
    let place = Place::new();
    place.write("classifier.toml", CLASSIFIER);
    let images: Vec<f32> = (0..40 * 784).map(|k| (k % 13) as f32 / 13.0 - 0.5).collect();
    let labels: Vec<i64> = (0..40).map(|k| k % 10).collect();
    let arrays = Arrays::from([("x", f32s(&[40, 1, 28, 28], &images)), ("labels", i64s(&labels))]);
    place.write("set.safetensors", file(&arrays));
    let name = "data.name=arrays:set.safetensors";
    place.ends_with(&["train", "classifier.toml", "--set", name, "--out", "run", "--steps", "3"], 0);
    assert_eq!(losses(&place.path("run")).len(), 3);
    let model = "run/model.safetensors";
    place.ends_with(&["eval", model, "--data", "arrays:set.safetensors", "--json"], 0);

    place.write("toy.toml", TOY);
    place.write("points.safetensors", file(&Arrays::from([("x", f32s(&[250, 2], &numbers(500)))])));
    let name = "data.name=arrays:points.safetensors";
    place.ends_with(&["train", "toy.toml", "--set", name, "--out", "points", "--steps", "2"], 0);

    let mut bad = arrays.clone();
    bad.insert("labels", i64s(&[10; 40]));
    place.write("bad.safetensors", file(&bad));
    let name = "data.name=arrays:bad.safetensors";
    let message = place.ends_with(&["train", "classifier.toml", "--set", name, "--out", "other"], 3);
    assert!(message.contains("bad.safetensors") && message.contains("10 at [0]"), "{message}");
    assert!(!place.path("other").exists(), "nothing is written before the data are known good");
}
