//! Bad input ends in the promised exit code and a message that says what is wrong, where, and what to do.

#[path = "common/program.rs"]
mod program;

use std::path::Path;

use program::{CLASSIFIER, Place, TOY, ends_with};

/// Asserts that the message is one error that names all of `parts`.
#[track_caller]
fn says(message: &str, parts: &[&str]) {
    assert_eq!(message.matches("error: ").count(), 1, "one error:\n{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
}

/// A place with the two configurations.
fn place() -> Place {
    let place = Place::new();
    place.write("classifier.toml", CLASSIFIER);
    place.write("toy.toml", TOY);
    place
}

/// An IDX file of these extents.
fn idx(extents: &[u32], fill: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
    let len: u32 = extents.iter().product();
    bytes.extend((0..len as usize).map(fill));
    bytes
}

/// A whole set of 40 images under the name of `mnist`; then `spoil` has its way with the folder.
fn with_data(spoil: impl Fn(&Path)) -> (i32, String) {
    let place = place();
    for (name, count) in [("train", 40), ("t10k", 20)] {
        place.write(&format!("sets/mnist/{name}-images-idx3-ubyte"), idx(&[count, 28, 28], |i| (i % 251) as u8));
        place.write(&format!("sets/mnist/{name}-labels-idx1-ubyte"), idx(&[count], |i| (i % 10) as u8));
    }
    spoil(&place.path("sets/mnist"));
    let set = "data.name=mnist";
    let mut command = place.command(&["train", "classifier.toml", "--set", set, "--out", "run", "--steps", "1"]);
    let output = command.env("IRESNET_DATA", place.path("sets")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(
        output.status.success() || !place.path("run").exists(),
        "nothing is written before the data are known good"
    );
    (output.status.code().unwrap(), stderr)
}

#[test]
fn damaged_data_are_3() {
    let (code, message) = with_data(|_| {});
    assert_eq!(code, 0, "the set as such is good: {message}");
    const IMAGES: &str = "train-images-idx3-ubyte";
    let rewrite = |folder: &Path, name: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(folder.join(name)).unwrap();
        edit(&mut bytes);
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: [(Spoil, &[&str]); 7] = [
        (&|folder| rewrite(folder, IMAGES, &|bytes| bytes.truncate(10_000)), &[IMAGES, "truncated"]),
        (&|folder| rewrite(folder, IMAGES, &|bytes| bytes.truncate(9)), &[IMAGES]),
        (&|folder| rewrite(folder, IMAGES, &Vec::clear), &[IMAGES]),
        (&|folder| rewrite(folder, IMAGES, &|bytes| *bytes = idx(&[40], |_| 1)), &[IMAGES, "labels"]),
        (
            &|folder| rewrite(folder, "train-labels-idx1-ubyte", &|bytes| bytes[8 + 3] = 77),
            &["train-labels-idx1-ubyte", "label 77 of image 3"],
        ),
        (&|folder| rewrite(folder, IMAGES, &|bytes| *bytes = idx(&[30, 28, 28], |_| 0)), &["40 labels", "30"]),
        (
            &|folder| std::fs::remove_file(folder.join("t10k-labels-idx1-ubyte")).unwrap(),
            &["t10k-labels-idx1-ubyte", "IRESNET_DATA"],
        ),
    ];
    for (spoil, parts) in cases {
        let (code, message) = with_data(spoil);
        assert_eq!(code, 3, "{message}");
        says(&message, parts);
    }
}

#[test]
fn a_wrong_configuration_is_2_and_names_the_key() {
    let place = place();
    let cases: [(&[&str], &[&str]); 10] = [
        (&["--preset", "toy-checkerbord"], &["toy-checkerbord", "toy-checkerboard"]),
        (&["none.toml"], &["none.toml"]),
        (&["toy.toml", "--set", "optimizer.learning_rat=1"], &["learning_rat", "[optimizer]", "lr"]),
        (&["toy.toml", "--set", "optimiser.lr=1"], &["optimiser", "optimizer"]),
        (&["toy.toml", "--set", "model.blocks=many"], &["model.blocks", "many", "list"]),
        (&["toy.toml", "--set", "train.epochs=-3"], &["train.epochs", "-3"]),
        (&["toy.toml", "--set", "lr"], &["--set lr", "KEY=VALUE"]),
        (&["toy.toml", "--set", "model.coefficient=1.5"], &["model.coefficient", "1.5", "between 0 and 1"]),
        (&["toy.toml", "--set", "data.name=toy:checkers"], &["\"checkers\"", "checkerboard"]),
        (&["toy.toml", "--set", "data.name=fashion-mnst"], &["fashion-mnst", "fashion-mnist"]),
    ];
    for (arguments, parts) in cases {
        let message = place.ends_with(&[&["train", "--out", "run"], arguments].concat(), 2);
        says(&message, parts);
        assert!(!place.path("run").exists(), "{arguments:?} wrote something");
    }
    place.write("broken.toml", "[model]\nkind = \"toy\"\nblocks = [1, 2\n");
    says(&place.ends_with(&["train", "broken.toml"], 2), &["broken.toml", "TOML", "line"]);
    place.write("typo.toml", TOY.replace("blocks", "bloks"));
    says(&place.ends_with(&["train", "typo.toml"], 2), &["typo.toml", "bloks", "\"blocks\""]);
}

#[test]
fn data_that_do_not_fit_the_model_are_2() {
    let place = place();
    let cases: [(&[&str], &[&str]); 4] = [
        (&["toy.toml", "--set", "data.name=fashion-mnist-mini"], &["[1, 28, 28]", "model.input = [2]"]),
        (&["classifier.toml", "--set", "model.input=[3, 32, 32]"], &["[1, 28, 28]", "model.input = [3, 32, 32]"]),
        (&["classifier.toml", "--set", "model.input=[1, 30, 32]"], &["model.input = [1, 30, 32]"]),
        (&["classifier.toml", "--set", "model.classes=7"], &["10 classes", "model.classes=10"]),
    ];
    for (arguments, parts) in cases {
        says(&place.ends_with(&[&["train", "--out", "run"], arguments].concat(), 2), parts);
    }
}

#[test]
fn an_unknown_adapter_is_4_and_the_known_ones_are_named() {
    let place = place();
    let message = place.ends_with(&["train", "toy.toml", "--out", "run", "--adapter", "voodoo"], 4);
    says(&message, &["voodoo"]);
    let mut command = place.command(&["train", "toy.toml", "--out", "run"]);
    command.env("WGPU_ADAPTER_NAME", "voodoo");
    says(&ends_with(command, 4), &["voodoo"]);
    assert!(!place.path("run").exists(), "nothing is written before there is an adapter");
}

#[test]
fn output_folders_that_cannot_be_used_are_2() {
    let place = place();
    // A file in the way stops everybody, root too.
    place.write("file", "in the way");
    for out in ["file", "file/run"] {
        says(&place.ends_with(&["train", "toy.toml", "--out", out], 2), &[out]);
    }
    assert_eq!(std::fs::read(place.path("file")).unwrap(), b"in the way");
    says(&place.ends_with(&["train", "toy.toml", "--out", "none", "--resume"], 2), &["none", "no run to resume"]);
    assert!(!place.path("none").exists());
    says(&place.ends_with(&["train", "--resume"], 2), &["--out"]);
}

#[test]
fn runs_are_not_overwritten_and_damaged_ones_not_resumed() {
    let place = place();
    let run = ["train", "toy.toml", "--out", "run", "--steps", "2"];
    place.ends_with(&run, 0);
    let checkpoint = place.path("run/checkpoint.safetensors");
    let good = std::fs::read(&checkpoint).unwrap();
    says(&place.ends_with(&run, 2), &["run", "--resume", "--out"]);

    let resume = ["train", "--out", "run", "--resume", "--steps", "3"];
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let flipped = |position: usize| {
        let mut bytes = good.clone();
        bytes[position] ^= 4;
        bytes
    };
    let cases = [
        (Vec::new(), "empty"),
        (good[..good.len() / 2].to_vec(), "truncated"),
        (good[..100].to_vec(), "truncated"),
        (flipped(header / 2), "checkpoint.safetensors"),
        (flipped((header + good.len()) / 2), "damaged"),
    ];
    for (bytes, part) in cases {
        std::fs::write(&checkpoint, &bytes).unwrap();
        says(&place.ends_with(&resume, 7), &["checkpoint.safetensors", part]);
        assert_eq!(std::fs::read(&checkpoint).unwrap(), bytes, "what is left is not touched");
    }
    std::fs::write(&checkpoint, &good).unwrap();

    let other = [&["train", "classifier.toml"], &resume[1..]].concat();
    says(&place.ends_with(&other, 2), &["checkpoint.safetensors", "[model]"]);
    let other = [&resume[..], &["--set", "optimizer.name=sgd"]].concat();
    says(&place.ends_with(&other, 2), &["checkpoint.safetensors", "[optimizer]"]);
    place.ends_with(&resume, 0);

    // A model file of one kind is no beginning for another.
    let model = "run/model.safetensors";
    let init = ["train", "classifier.toml", "--out", "other", "--init", model];
    says(&place.ends_with(&init, 2), &["--init", "[model]"]);
    let init = ["train", "toy.toml", "--out", "other", "--init", "toy.toml"];
    says(&place.ends_with(&init, 7), &["toy.toml", ".safetensors"]);
    let init = ["train", "toy.toml", "--out", "third", "--init", model, "--steps", "1"];
    place.ends_with(&init, 0);
    says(&place.ends_with(&["invert", model, "--test", "1", "--output", "a.png"], 7), &[model, "images"]);
    says(&place.ends_with(&["sample", "toy.toml", "-n", "1", "--output", "a.png"], 7), &["toy.toml", ".safetensors"]);
    let classifier = ["train", "classifier.toml", "--out", "classifier", "--steps", "1"];
    place.ends_with(&classifier, 0);
    let model = "classifier/model.safetensors";
    says(&place.ends_with(&["sample", model, "-n", "1", "--output", "a.png"], 7), &[model, "density"]);
}
