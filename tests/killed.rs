//! A run that is killed at random moments, again and again, is in the end the run that was left in peace.
//!
//! Twenty times here; `IRESNET_TEST_KILLS=200 cargo test --test killed -- --nocapture` for more.

#![cfg(unix)]

#[path = "common/program.rs"]
mod program;

use std::process::Stdio;
use std::time::{Duration, Instant};

use iresnet::checkpoint::Checkpoint;
use iresnet::random::{Key, below};
use program::{Place, TOY, losses};

const VARIABLE: &str = "IRESNET_TEST_KILLS";
const USUAL: u32 = 20;

/// A run is killed at a random moment within so many times what it takes to its first step.
const REACH: f64 = 1.5;

/// Every file of a checkpoint that lies there under its name must be whole.
#[track_caller]
fn assert_whole(run: &std::path::Path) -> Option<u64> {
    let mut newest = None;
    for name in ["checkpoint.safetensors", "checkpoint-1.safetensors", "checkpoint-2.safetensors", "best.safetensors"] {
        let path = run.join(name);
        if path.exists() {
            let found = Checkpoint::load(&path).unwrap_or_else(|error| panic!("{error}"));
            newest = newest.or(name.starts_with("checkpoint").then_some(found.step));
        }
    }
    newest
}

#[test]
fn killed_again_and_again() {
    let kills = std::env::var(VARIABLE).ok().map_or(USUAL, |text| text.parse().expect("a number of kills"));
    let place = Place::new();
    let config = TOY.replace("epochs = 4", "epochs = 1000000\ncheckpoint_every = 1\nkeep = 3\nlog_every = 1");
    place.write("config.toml", config);
    let run = place.path("killed");

    let begun = Instant::now();
    let mut child = place.command(&["train", "config.toml", "--out", "timed"]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while losses(&place.path("timed")).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    let start_up = begun.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();

    let (mut early, mut furthest) = (0, 0);
    for number in 0..kills {
        let begun = assert_whole(&run).is_some();
        let mut arguments = vec!["train", "config.toml", "--out", "killed"];
        if begun {
            arguments.push("--resume");
        }
        let mut child = place.command(&arguments);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let thousandths = below(Key::new(20, 0, 0), number, 1000);
        std::thread::sleep(start_up.mul_f64(REACH * f64::from(thousandths) / 1000.0));
        assert!(
            child.try_wait().unwrap().is_none(),
            "kill {number}: it ended by itself: {:?}",
            child.wait_with_output()
        );
        child.kill().unwrap();
        child.wait().unwrap();
        match assert_whole(&run) {
            Some(step) => {
                assert!(step >= furthest, "kill {number}: {step} steps are saved, {furthest} were");
                early += u32::from(step == furthest);
                furthest = step;
            }
            None => early += 1,
        }
    }
    println!("{kills} kills, {early} of them before a further step was saved; {furthest} steps survived");
    let steps = (furthest + 3).to_string();
    let more: &[&str] = if furthest > 0 { &["--resume"] } else { &[] };
    place.ends_with(&[&["train", "config.toml", "--out", "killed", "--steps", &steps], more].concat(), 0);
    place.ends_with(&["train", "config.toml", "--out", "whole", "--steps", &steps], 0);
    for file in ["model.safetensors", "checkpoint.safetensors"] {
        let [killed, whole] = ["killed", "whole"].map(|out| std::fs::read(place.path(out).join(file)).unwrap());
        assert!(killed == whole, "{file} differs after {kills} kills");
    }
    assert_eq!(losses(&run), losses(&place.path("whole")), "each step is logged once");
    let left = std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.starts_with(".tmp")).collect();
    assert!(left.is_empty(), "what a killed run left is cleared away: {left:?}");
}
