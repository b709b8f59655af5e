//! A run is determined by its configuration: the same one gives the same bits, interrupted and resumed or not.

#[path = "common/program.rs"]
mod program;

use std::path::Path;

use iresnet::checkpoint::Checkpoint;
use program::{CLASSIFIER, Place, TOY, losses};

/// Asserts that two files of numbers are the same, bit for bit, naming what differs.
#[track_caller]
fn assert_same_file(a: &Path, b: &Path) {
    if std::fs::read(a).unwrap() == std::fs::read(b).unwrap() {
        return;
    }
    let (one, other) = (Checkpoint::load(a).unwrap(), Checkpoint::load(b).unwrap());
    assert_eq!((one.step, &one.config), (other.step, &other.config), "{} and {}", a.display(), b.display());
    let differ = |((name, x), (_, y)): (&(String, _), &(String, _))| (x != y).then(|| name.clone());
    let names: Vec<String> = one.tensors.iter().zip(&other.tensors).filter_map(differ).collect();
    panic!("{} and {} differ in {names:?}", a.display(), b.display());
}

#[track_caller]
fn assert_same_run(place: &Place, a: &str, b: &str) {
    assert_eq!(losses(&place.path(a)), losses(&place.path(b)), "losses of {a} and {b}");
    for file in ["checkpoint.safetensors", "model.safetensors"] {
        assert_same_file(&place.path(a).join(file), &place.path(b).join(file));
    }
}

/// Twenty steps in one go, twenty steps again, and ten steps, the end, and ten more.
fn twenty_steps_are_ten_and_ten(config: &str) {
    let place = Place::new();
    place.write("config.toml", config);
    let train = |out: &str, more: &[&str]| {
        place.ends_with(&[&["train", "config.toml", "--out", out], more].concat(), 0);
    };
    train("whole", &[]);
    assert_eq!(losses(&place.path("whole")).iter().map(|(step, _)| *step).collect::<Vec<_>>(), Vec::from_iter(0..20));
    train("again", &["--steps", "20"]);
    assert_same_run(&place, "whole", "again");
    train("parts", &["--steps", "10"]);
    assert_eq!(losses(&place.path("parts")), losses(&place.path("whole"))[..10]);
    assert_eq!(Checkpoint::load(&place.path("parts/model.safetensors")).unwrap().step, 10);
    // With nothing but the folder: the rest follows from what is in it.
    place.ends_with(&["train", "--out", "parts", "--resume"], 0);
    assert_same_run(&place, "whole", "parts");

    // Another seed is another run.
    train("other", &["--set", "train.seed=7", "--steps", "2"]);
    assert_ne!(losses(&place.path("other")), losses(&place.path("whole"))[..2]);
}

#[test]
fn a_classifier_resumes_bit_for_bit() {
    twenty_steps_are_ten_and_ten(CLASSIFIER);
}

#[test]
fn a_density_resumes_bit_for_bit() {
    twenty_steps_are_ten_and_ten(TOY);
}

/// The learning rate of a step is the configuration's, wherever a run is stopped.
#[test]
fn the_schedule_does_not_depend_on_where_a_run_stops() {
    let place = Place::new();
    place.write("config.toml", TOY);
    let rates = |out: &str| -> Vec<f64> {
        let text = std::fs::read_to_string(place.path(out).join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["lr"].as_f64()).collect()
    };
    place.ends_with(&["train", "config.toml", "--out", "a", "--steps", "3"], 0);
    place.ends_with(&["train", "config.toml", "--out", "a", "--resume", "--steps", "6"], 0);
    place.ends_with(&["train", "config.toml", "--out", "b", "--steps", "8"], 0);
    assert_eq!((rates("a").len(), rates("b").len()), (6, 8));
    assert_eq!(rates("a"), rates("b")[..6]);
    assert!(rates("b").windows(2).all(|pair| pair[1] < pair[0]), "half a cosine falls: {:?}", rates("b"));
}

/// A run that was killed leaves lines of steps that its last checkpoint does not know; they are done again, not doubled.
#[test]
fn steps_after_the_last_checkpoint_are_done_again() {
    let place = Place::new();
    place.write("config.toml", TOY);
    place.ends_with(&["train", "config.toml", "--out", "whole", "--steps", "12"], 0);
    place.ends_with(&["train", "config.toml", "--out", "killed", "--steps", "5"], 0);
    let metrics = place.path("killed").join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics).unwrap();
    for step in 5..9 {
        text += &format!("{{\"step\": {step}, \"epoch\": 1, \"loss\": 99.0}}\n");
    }
    text += "{\"step\": 9, \"epo";
    std::fs::write(&metrics, text).unwrap();
    place.ends_with(&["train", "--out", "killed", "--resume", "--steps", "12"], 0);
    assert_same_run(&place, "whole", "killed");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_as_if_nothing_had_been() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    /// Long enough for a busy machine to compile the kernels.
    const PATIENCE: Duration = Duration::from_secs(120);

    let place = Place::new();
    place.write("config.toml", TOY.replace("epochs = 4", "epochs = 100000"));
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let out = format!("interrupted{signal}");
        let run = place.path(&out);
        let mut command = place.command(&["train", "config.toml", "--out", &out]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while losses(&run).len() < 3 {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("no step within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("--resume"), "what to do next is said: {text}");

        let saved = Checkpoint::load(&run.join("checkpoint.safetensors")).unwrap();
        let done = losses(&run).len() as u64;
        assert!(done == saved.step && done >= 3, "{done} steps logged, {} saved", saved.step);
        assert!(!run.join("model.safetensors").exists(), "the model is not finished");
        let (steps, whole) = ((saved.step + 3).to_string(), format!("whole{signal}"));
        place.ends_with(&["train", "--out", &out, "--resume", "--steps", &steps], 0);
        place.ends_with(&["train", "config.toml", "--out", &whole, "--steps", &steps], 0);
        assert_same_run(&place, &whole, &out);
    }
}
