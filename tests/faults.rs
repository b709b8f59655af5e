//! What runs survive: a lost device, a folder that takes no more, steps that are no numbers, a second run in one folder.

#[path = "common/program.rs"]
mod program;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use iresnet::arrays::{self, Array};
use iresnet::checkpoint::Checkpoint;
use iresnet::cli::Outcome;
use iresnet::config::Config;
use iresnet::gpu::{Gpu, block_on};
use iresnet::run::{self, Options};
use program::{Place, TOY, losses};

fn options(out: &Path, config: &str) -> Options {
    let mut config = Config::from_toml(config, "test").unwrap();
    config.train.checkpoint_every = 3;
    Options { steps: Some(12), ..Options::new(config, out) }
}

/// Destroys the device twice, and then no more.
fn destroy(step: u64, gpus: &[Gpu]) {
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    let times = TIMES.load(Ordering::SeqCst);
    if (times, step) == (0, 1) || (times, step) == (1, 8) {
        TIMES.store(times + 1, Ordering::SeqCst);
        gpus[0].destroy();
    }
}

/// The first loss comes before any checkpoint, the second two steps after one.
#[test]
fn a_lost_device_is_opened_again_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, lost) = (folder.path().join("whole"), folder.path().join("lost"));
    for (out, watch) in [(&whole, None), (&lost, Some(destroy as fn(u64, &[Gpu])))] {
        let finished = block_on(run::train(&Options { watch, ..options(out, TOY) })).unwrap();
        assert_eq!((finished.outcome, finished.steps), (Outcome::Done, 12));
    }
    assert_eq!(losses(&whole), losses(&lost));
    for file in [run::MODEL, "checkpoint.safetensors", "checkpoint-1.safetensors", "best.safetensors"] {
        let [one, other] = [&whole, &lost].map(|run| Checkpoint::load(&run.join(file)).unwrap());
        assert!(one == other, "{file}");
    }
    assert_eq!(Checkpoint::load(&lost.join("checkpoint-1.safetensors")).unwrap().step, 9);
}

#[test]
fn a_device_that_is_always_lost_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let watch: fn(u64, &[Gpu]) = |step, gpus| {
        if step == 4 {
            gpus[0].destroy();
        }
    };
    let error = block_on(run::train(&Options { watch: Some(watch), ..options(folder.path(), TOY) })).unwrap_err();
    assert!(error.exit_code() == 5 && error.to_string().contains("destroyed"), "{error}");
    assert_eq!(
        Checkpoint::load(&folder.path().join("checkpoint.safetensors")).unwrap().step,
        3,
        "what there was stays"
    );
}

/// Points of which the third batch has one far beyond what f32 can square.
fn with_a_bad_sample(place: &Place) -> String {
    let mut x: Vec<f32> = (0..100_u32).map(|i| (i * 37 % 23) as f32 / 11.0 - 1.0).collect();
    x[2 * 2 * 10 + 3] = 1e30;
    arrays::write(&place.path("points.safetensors"), &[("x", Array::floats([50, 2], x))]).unwrap();
    TOY.replace("toy:checkerboard", "arrays:points.safetensors")
        .replace("batch = 250\nlimit = 1250", "batch = 10\nshuffle = false")
        .replace("init_batch = 64", "init_batch = 10")
}

fn lines(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn steps_that_are_no_numbers() {
    let place = Place::new();
    place.write("config.toml", with_a_bad_sample(&place));
    let train = ["train", "config.toml", "--out"];
    let with = |more: &[&'static str]| [&train[..], more].concat();

    let said = place.ends_with(&with(&["abort", "--steps", "4", "--set", "train.checkpoint_every=1"]), 6);
    assert!(said.contains("step 2") && said.contains("optimizer.lr"), "{said}");
    assert_eq!(losses(&place.path("abort")).len(), 2);
    // The bad step changed nothing: what was saved is as good as before.
    Checkpoint::load(&place.path("abort/checkpoint.safetensors")).unwrap();

    let said = place.ends_with(&with(&["skip", "--steps", "5", "--set", "train.on_nonfinite=skip"]), 0);
    assert!(said.contains("step 2") && said.contains("skipped"), "{said}");
    let lines = lines(&place.path("skip"));
    let counts: Vec<u64> = lines.iter().filter_map(|line| line["nonfinite"].as_u64()).collect();
    assert!(counts.len() == 1 && counts[0] > 1, "{counts:?}");
    assert!(lines[2]["loss"].is_null() && lines[3]["loss"].is_number() && lines[4]["loss"].is_number());
    Checkpoint::load(&place.path("skip/model.safetensors")).unwrap();

    // The batch is as bad with a lower rate: it ends, having tried.
    let rollback =
        ["back", "--steps", "4", "--set", "train.on_nonfinite=rollback", "--set", "train.checkpoint_every=1"];
    let said = place.ends_with(&with(&rollback), 6);
    assert!(said.contains("rolling back") && said.contains("8 of at most 8"), "{said}");
    let config = std::fs::read_to_string(place.path("back/config.toml")).unwrap();
    assert!(config.contains("lr = 0.0000390625") || config.contains("lr = 3.90625e-5"), "{config}");
}

#[test]
fn a_folder_belongs_to_one_run() {
    let place = Place::new();
    place.write("config.toml", TOY.replace("epochs = 4", "epochs = 100000\ncheckpoint_every = 1000000"));
    let mut first = place.command(&["train", "config.toml", "--out", "run"]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while losses(&place.path("run")).is_empty() {
        assert!(first.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let said = place.ends_with(&["train", "config.toml", "--out", "run"], 2);
    assert!(said.contains("another run") && said.contains(&format!("process {}", first.id())), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    // Whoever is dead holds nothing.
    let said = place.ends_with(&["train", "config.toml", "--out", "run", "--steps", "1"], 0);
    assert!(!said.contains("another run"), "{said}");
}

/// Where the run's folder is, for what comes in its way.
static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);

fn away(folder: &Path) -> PathBuf {
    folder.with_extension("away")
}

/// Puts a file where the folder was, so that nothing can be written there, as on a full disk; and back.
fn in_the_way(step: u64, from: u64, until: u64) {
    let folder = FOLDER.lock().unwrap().clone().unwrap();
    if step == from {
        std::fs::rename(&folder, away(&folder)).unwrap();
        std::fs::write(&folder, b"in the way").unwrap();
    } else if step == until {
        std::fs::remove_file(&folder).unwrap();
        std::fs::rename(away(&folder), &folder).unwrap();
    }
}

#[test]
fn what_cannot_be_saved_does_not_end_a_run_before_its_end() {
    let place = tempfile::tempdir().unwrap();
    let run = |name: &str, watch: fn(u64, &[Gpu])| {
        let folder = place.path().join(name);
        *FOLDER.lock().unwrap() = Some(folder.clone());
        (block_on(run::train(&Options { watch: Some(watch), ..options(&folder, TOY) })), folder)
    };
    // Saving fails after the sixth step, and works again after the ninth.
    let (finished, folder) = run("for a while", |step, _| in_the_way(step, 4, 8));
    assert_eq!(finished.unwrap().outcome, Outcome::Done);
    for (file, step) in [("checkpoint.safetensors", 12), ("checkpoint-1.safetensors", 9), (run::MODEL, 12)] {
        assert_eq!(Checkpoint::load(&folder.join(file)).unwrap().step, step, "{file}");
    }
    assert_eq!(losses(&folder).len(), 12);

    let (failed, folder) = run("for good", |step, _| in_the_way(step, 4, u64::MAX));
    let error = failed.unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("checkpoint.safetensors"), "{error}");
    assert_eq!(
        Checkpoint::load(&away(&folder).join("checkpoint.safetensors")).unwrap().step,
        3,
        "what there was stays"
    );
}
