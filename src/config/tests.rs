use super::*;
use crate::data::{Augment, Padding};

/// The message of the error that reading and checking `text` gives.
#[track_caller]
fn message(text: &str) -> String {
    let result = Config::from_toml(text, "run.toml").and_then(|config| config.validate());
    result.expect_err("this configuration is wrong").to_string()
}

#[track_caller]
fn assert_names(text: &str, parts: &[&str]) {
    let message = message(text);
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn unknown_keys_name_the_nearest() {
    assert_names("[model]\nblokcs = [1]", &["run.toml", "model", "blokcs", "blocks"]);
    assert_names("[optimiser]\nlr = 1.0", &["run.toml", "optimiser", "optimizer"]);
}

#[test]
fn values_of_the_wrong_type_name_their_key() {
    assert_names("[train]\nepochs = \"many\"", &["run.toml", "train.epochs", "many"]);
    assert_names("[model]\nactivation = \"gelu\"", &["model.activation", "gelu", "elu"]);
    assert_names("[model]\ncoefficient = \"all\"", &["model.coefficient", "none"]);
    assert_names("[data]\naugment = 4", &["data.augment", "true, false", "shift"]);
    assert_names("[data]\naugment = { shfit = 4 }", &["data.augment", "shfit", "shift"]);
    assert_names("model = 3", &["run.toml", "[model]"]);
    assert_names("[model", &["run.toml", "TOML"]);
}

#[test]
fn values_that_make_no_sense_name_key_value_and_cure() {
    for (text, parts) in [
        ("[model]\ncoefficient = 1.5", ["model.coefficient", "1.5", "none"]),
        ("[model]\ncoefficient = 0", ["model.coefficient", "0", "between 0 and 1"]),
        ("[model]\nchannels = [32]", ["model.channels", "[32]", "one number for each stage"]),
        ("[model]\nstrides = [1, 3, 2]", ["model.strides", "3", "squeeze"]),
        ("[model]\ninput = [3, 30, 30]", ["model.strides[2]", "15x15", "even"]),
        ("[model]\ninput = [3, 32]", ["model.input", "[3, 32]", "[channels, height, width]"]),
        ("[model]\npower_iterations = 0", ["model.power_iterations", "0", "at least 1"]),
        ("[model]\nactivation = \"maxmin\"\nchannels = [32, 65, 128]", ["model.channels", "65", "even"]),
        ("[model]\nkind = \"density\"\ninjective_padding = 0", ["model.input", "3 channels", "initial_squeeze"]),
        ("[optimizer]\nlr = -1.0", ["optimizer.lr", "-1", "positive"]),
        ("[optimizer]\nema = 1.0", ["optimizer.ema", "1", "below 1"]),
        ("[data]\nbatch = 0", ["data.batch", "0", "at least one"]),
        ("[log_det]\nestimator = \"unbiased\"", ["log_det.estimator", "log_det.gradient", "neumann"]),
        ("[log_det]\nexact_terms = 0", ["log_det.exact_terms", "0", "first term"]),
        ("[log_det]\nprobability = 1.0", ["log_det.probability", "1", "0.5"]),
        ("[log_det]\nrate = 0.0", ["log_det.rate", "0", "2.0"]),
        ("[data]\nbits = 9", ["data.bits", "9", "1 to 8"]),
        ("[model]\nbatch_norm = true", ["model.batch_norm", "\"resnet\"", "\"iresnet\""]),
        ("[model]\narchitecture = \"glow\"\nbottleneck = true", ["model.bottleneck", "\"resnet\"", "\"glow\""]),
        ("[model]\npermutation = \"shuffle\"", ["model.permutation", "\"glow\"", "\"iresnet\""]),
        ("[model]\narchitecture = \"resnet\"\ncoupling = \"additive\"", ["model.coupling", "\"glow\"", "\"resnet\""]),
        ("[model]\narchitecture = \"glow\"\ncoefficient = 0.9", ["model.coefficient", "\"glow\"", "\"none\""]),
        ("[model]\narchitecture = \"glow\"\ninjective_padding = 2", ["model.injective_padding", "2", "write 0"]),
        ("[model]\narchitecture = \"resnet\"\nkind = \"density\"", ["\"resnet\"", "classifier", "\"glow\""]),
        (
            "[model]\narchitecture = \"resnet\"\nbottleneck = true\nactnorm = true",
            ["model.actnorm", "false", "batch_norm"],
        ),
        (
            "[model]\narchitecture = \"resnet\"\nbottleneck = true\ninjective_padding = 4",
            ["model.bottleneck", "injective_padding = 0", "4"],
        ),
        (
            "[model]\narchitecture = \"resnet\"\n[train]\nmemory = \"reversible\"",
            ["train.memory", "\"resnet\"", "checkpoint"],
        ),
        (
            "[model]\narchitecture = \"glow\"\n[train]\nmemory = \"reversible\"",
            ["train.memory", "\"glow\"", "checkpoint"],
        ),
        ("[train]\nprecision = \"f16\"\nmemory = \"reversible\"", ["train.precision", "train.memory", "checkpoint"]),
        ("[train]\nprecision = \"half\"", ["train.precision", "half", "f16"]),
        (
            "[model]\narchitecture = \"glow\"\nkind = \"density\"\ninput = [1, 32, 32]",
            ["stage 0", "at least 2", "initial_squeeze"],
        ),
        (
            "[model]\narchitecture = \"glow\"\nkind = \"toy\"\ninput = [1]\nstrides = [1, 1, 1]",
            ["[1]", "at least 2", "iresnet"],
        ),
    ] {
        assert_names(text, &parts);
    }
    let exact =
        "[model]\nkind = \"density\"\ninjective_padding = 0\ninitial_squeeze = true\n[log_det]\nestimator = \"exact\"";
    assert_names(exact, &["log_det.estimator", "3072", "series"]);
}

#[test]
fn presets_are_valid_and_survive_writing() {
    for name in Config::preset_names() {
        let config = Config::preset(name).unwrap();
        config.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Config::from_toml(&config.to_toml(), name).unwrap(), config);
        assert_eq!(Config::from_json(&config.to_json(), name).unwrap(), config);
    }
    assert!(Config::preset("toy-8gausians").unwrap_err().to_string().contains("toy-8gaussians"));
}

/// What is not said is what the architecture can have.
#[test]
fn defaults_are_those_of_the_architecture() {
    let read = |text: &str| Config::from_toml(text, "run.toml").unwrap();
    let glow = read("[model]\narchitecture = \"glow\"").model;
    assert_eq!((glow.coefficient, glow.injective_padding, glow.actnorm), (None, 0, true));
    let twin = read("[model]\narchitecture = \"resnet\"").model;
    assert_eq!((twin.coefficient, twin.injective_padding, twin.actnorm), (None, 13, false));
    let bottleneck = read("[model]\narchitecture = \"resnet\"\nbottleneck = true\nactivation = \"relu\"").model;
    assert_eq!((bottleneck.injective_padding, bottleneck.latent_len()), (0, 4 * 128 * 8 * 8));
    let mut config = Config::preset("cifar10").unwrap();
    config.set("model.architecture", "resnet").unwrap();
    assert_eq!(config.model.coefficient, None);
    config.validate().unwrap();
}

#[test]
fn set_takes_toml_values_and_bare_words() {
    let mut config = Config::default();
    for (key, value) in [
        ("model.kind", "toy"),
        ("model.blocks", "[1, 2]"),
        ("model.coefficient", "none"),
        ("data.name", "arrays:/tmp/x.safetensors"),
        ("optimizer.lr", "1"),
        ("train.seed", "7"),
    ] {
        config.set(key, value).unwrap();
    }
    assert_eq!(config.model.kind, Kind::Toy);
    assert_eq!(config.model.blocks, [1, 2]);
    assert_eq!(config.model.coefficient, None);
    assert_eq!(config.data.name, "arrays:/tmp/x.safetensors");
    assert!((config.optimizer.lr - 1.0).abs() < f64::EPSILON);
    assert_eq!(config.train.seed, 7);
    for (key, part) in [("epochs", "section.key"), ("train.epoch", "epochs"), ("trian.epochs", "train")] {
        let message = config.set(key, "1").unwrap_err().to_string();
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn augmentation_is_a_switch_or_a_table() {
    let mut config = Config::default();
    let custom = Augment { shift: 3, padding: Padding::Symmetric, flip: false };
    for (text, expected) in [
        ("false", Augmentation::Off),
        ("true", Augmentation::Usual),
        ("{ shift = 3, padding = \"symmetric\" }", Augmentation::Custom(custom)),
        ("{ flip = true }", Augmentation::Custom(Augment { flip: true, ..Augment::default() })),
    ] {
        config.set("data.augment", text).unwrap();
        assert_eq!(config.data.augment, expected);
        // What is written behind a table must not become part of it.
        config.data.limit = 7;
        assert_eq!(Config::from_toml(&config.to_toml(), "written").unwrap(), config, "{}", config.to_toml());
        assert_eq!(Config::from_json(&config.to_json(), "written").unwrap(), config);
    }
}

#[test]
fn only_classifiers_are_padded_unless_the_configuration_says_so() {
    let padding = |text: &str| Config::from_toml(text, "test").unwrap().model.injective_padding;
    assert_eq!(padding(""), 13);
    assert_eq!(padding("[model]\nkind = \"classifier\""), 13);
    assert_eq!(padding("[model]\nkind = \"density\""), 0);
    assert_eq!(padding("[model]\nkind = \"density\"\ninjective_padding = 13"), 13);
    let mut config = Config::from_toml("[model]\ninjective_padding = 2", "test").unwrap();
    config.set("model.kind", "density").unwrap();
    assert_eq!(config.model.injective_padding, 2);
}

/// Whatever a file of strangers asks for is refused before anything is made of it.
#[test]
fn absurd_sizes_are_refused() {
    for key in ["blocks", "strides", "channels", "input", "injective_padding", "hidden_layers", "classes"] {
        let list = ["blocks", "strides", "channels", "input"].contains(&key);
        let value = if list { "[9223372036854775807, 9223372036854775807, 2]" } else { "9223372036854775807" };
        assert_names(&format!("[model]\n{key} = {value}"), &[&format!("model.{key}")]);
    }
}
