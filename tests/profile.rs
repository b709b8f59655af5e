//! Profiles account for all of a step, and change nothing of it.

mod common;
#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;

use common::on_every_adapter;
use iresnet::config::Config;
use iresnet::gpu::{COPY, Gpu, Row, Tuning, block_on};
use iresnet::network;
use iresnet::nn::Probes;
use iresnet::plan;
use iresnet::profile::LEAST_STEPS;
use iresnet::random::Key;
use iresnet::train::Trainer;
use program::{CLASSIFIER, Place, TOY};
use serde_json::Value;

/// Microseconds by which slices of a track may overlap: a trace's numbers are rounded.
const ROUNDING: f64 = 1e-3;

struct Training {
    trainer: Trainer,
    config: Config,
}

impl Training {
    fn new(gpu: &Gpu, toml: &str) -> Self {
        let config = Config::from_toml(toml, "the test").unwrap();
        let trainer = block_on(Trainer::new(gpu, &config, 5, Tuning::first(), None)).unwrap();
        Self { trainer, config }
    }

    fn batch(&self, step: u32) -> (Vec<f32>, Vec<u32>) {
        let n = self.config.data.batch;
        let x = Key::new(3, step, 0).normals(n * self.trainer.network().model().input_len());
        (x, (0..n as u32).map(|sample| sample % self.config.model.classes as u32).collect())
    }

    fn step(&mut self, step: u32) {
        let (x, labels) = self.batch(step);
        self.trainer.step(&x, &labels);
    }

    fn profile_step(&mut self, step: u32) -> Vec<Row> {
        let (x, labels) = self.batch(step);
        block_on(self.trainer.profile_step(&x, &labels)).unwrap()
    }

    /// All numbers, by name, as bits.
    fn bits(&self) -> Vec<(String, Vec<u32>)> {
        let checkpoint = block_on(self.trainer.checkpoint()).unwrap();
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect();
        checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), bits(tensor.data()))).collect()
    }
}

fn of_phase(rows: &[Row]) -> BTreeMap<&str, u64> {
    let mut phases = BTreeMap::new();
    for row in rows.iter().filter(|row| row.label != COPY) {
        *phases.entry(row.phase.as_str()).or_default() += row.calls;
    }
    phases
}

/// Every dispatch of the gradient's program is in its rows, with its operations.
#[track_caller]
fn check_sums(training: &Training) {
    let network = training.trainer.network();
    let graph = network.model().gradient_graph(training.config.data.batch, Probes::Keys);
    let program = plan::compile("gradient", &graph, &network::limits(network.gpu())).unwrap();
    let rows = block_on(training.trainer.gradient_task().session().profile()).unwrap();
    let kernels = || rows.iter().filter(|row| row.label != COPY);
    assert_eq!(kernels().map(|row| row.calls).sum::<u64>(), program.dispatches());
    assert_eq!(kernels().map(|row| row.flops).sum::<u64>(), program.flops());
    assert!(rows.iter().all(|row| row.seconds >= 0.0 && row.traffic > 0), "{rows:?}");
}

const CLASSIFIER_PHASES: &[&str] = &["backward", "forward", "optimizer", "spectral norm", "spectral norm, backward"];
const TOY_PHASES: &[&str] =
    &["backward", "forward", "log-det", "log-det, backward", "optimizer", "spectral norm", "spectral norm, backward"];

#[test]
fn profiled_steps_account_for_all_and_change_nothing() {
    on_every_adapter(|gpu| {
        for (toml, phases) in [(CLASSIFIER, CLASSIFIER_PHASES), (TOY, TOY_PHASES)] {
            let (mut plain, mut profiled) = (Training::new(gpu, toml), Training::new(gpu, toml));
            gpu.start_timeline();
            for step in 0..4 {
                plain.step(step);
                if step % 2 == 0 {
                    profiled.step(step);
                } else {
                    let rows = profiled.profile_step(step);
                    assert_eq!(of_phase(&rows).into_keys().collect::<Vec<_>>(), phases);
                }
            }
            assert_eq!(plain.bits(), profiled.bits());
            let timeline = block_on(gpu.stop_timeline()).unwrap();
            assert!(!timeline.submissions.is_empty() && !timeline.kernels.is_empty() && !timeline.host.is_empty());
            check_sums(&profiled);
        }
    });
}

/// Slices of one track lie within one another or apart, or they could not be drawn.
#[track_caller]
fn check_track(name: &str, slices: &[(f64, f64)]) {
    let mut slices = slices.to_vec();
    slices.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut open: Vec<f64> = Vec::new();
    for (start, end) in slices {
        assert!(start >= -ROUNDING && end >= start, "{name}: from {start} to {end}");
        open.retain(|&outer| outer > start + ROUNDING);
        assert!(open.iter().all(|&outer| end <= outer + ROUNDING), "{name}: {start} to {end} is cut by {open:?}");
        open.push(end);
    }
}

fn check_trace(text: &str) {
    let trace: Value = serde_json::from_str(text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut tracks: BTreeMap<u64, String> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "M" && event["name"] == "thread_name") {
        tracks.insert(event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap().to_owned());
    }
    let names: Vec<&str> = tracks.values().filter_map(|name| name.split(": ").last()).collect();
    assert_eq!(names, ["host", "submissions", "kernels"]);
    for (track, name) in &tracks {
        let of_track: Vec<&Value> =
            events.iter().filter(|event| event["ph"] == "X" && event["tid"] == *track && event["pid"] == 1).collect();
        let time = |event: &Value| (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        let slices: Vec<(f64, f64)> =
            of_track.iter().map(|event| time(event)).map(|(at, dur)| (at, at + dur)).collect();
        check_track(name, &slices);
        let has = |what: &str, key: &str| of_track.iter().any(|event| event[key] == what);
        match name.split(": ").last().unwrap() {
            "host" => {
                for what in ["step", "wait for data", "upload", "record", "submit", "read back"] {
                    assert!(has(what, "name"), "the host's {what}");
                }
            }
            "submissions" => assert!(has("gradient", "name") && has("update", "name"), "{of_track:?}"),
            _ => assert!(has("forward", "cat") && has("optimizer", "cat"), "{of_track:?}"),
        }
    }
    assert_eq!(events.len(), events.iter().filter(|event| event["ph"] == "M" || event["ph"] == "X").count());
}

fn check_lines(stdout: &str) {
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |op: &'static str| lines.iter().filter(move |line| line["op"] == op);
    let number = |line: &Value, key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"));
    assert_eq!(lines[0]["op"], "peak");
    let step = of("step").next().unwrap();
    assert!(number(step, "seconds") > 0.0 && (0.0..1.0).contains(&number(step, "idle")), "{step}");
    for key in ["seconds", "calls", "flops", "bytes"] {
        let [phases, kernels] = ["phase", "kernel"].map(|op| of(op).map(|line| number(line, key)).sum::<f64>());
        assert!((phases - kernels).abs() <= 1e-9 * kernels && kernels > 0.0, "{key}: {phases} and {kernels}");
    }
    let host: f64 = of("host").map(|line| number(line, "seconds")).sum();
    assert!(host > 0.0 && of("host").all(|line| number(line, "idle_seconds") <= number(line, "seconds") + 1e-9));
}

/// A whole run with a profile writes the same files, and a trace besides.
#[test]
fn a_profiled_run_is_the_same_run() {
    let place = Place::new();
    place.write("config.toml", CLASSIFIER);
    place.ends_with(&["train", "config.toml", "--out", "plain", "--steps", "8"], 0);
    let arguments = ["train", "config.toml", "--out", "profiled", "--steps", "8", "--trace", "trace.json", "--json"];
    let output = place.command(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["checkpoint.safetensors", "model.safetensors"] {
        let [plain, profiled] = ["plain", "profiled"].map(|run| std::fs::read(place.path(run).join(file)).unwrap());
        assert!(plain == profiled, "{file} differs");
    }
    check_trace(&std::fs::read_to_string(place.path("trace.json")).unwrap());
    check_lines(&String::from_utf8(output.stdout).unwrap());

    // As tables, on a run that goes on.
    let arguments = ["train", "--out", "profiled", "--resume", "--steps", "16", "--profile"];
    let output = place.command(&arguments).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["adapter idle", "PHASE", "forward", "KERNEL", "HOST", "wait for data", "model.safetensors"] {
        assert!(stdout.contains(part), "{part} in\n{stdout}");
    }
}

#[test]
fn what_cannot_be_profiled_is_refused_at_once() {
    let place = Place::new();
    place.write("config.toml", TOY);
    let train = ["train", "config.toml", "--out", "run"];
    let few = (LEAST_STEPS - 1).to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["--profile", "--steps", &few], "at least 5 steps"),
        (&["--json"], "--profile"),
        (&["--profile", "--dry-run"], "--dry-run"),
        (&["--trace", "nowhere/trace.json"], "nowhere/trace.json"),
    ];
    for (more, part) in cases {
        let message = place.ends_with(&[&train[..], more].concat(), 2);
        assert!(message.contains(part), "{part} in {message}");
        assert!(!place.path("run/config.toml").exists(), "{more:?} has begun a run");
    }
}

#[test]
fn a_step_is_profiled_without_data() {
    let place = Place::new();
    place.write("config.toml", TOY);
    let arguments =
        ["bench", "--profile", "--config", "config.toml", "--set", "data.batch=32", "--trace", "t.json", "--json"];
    let output = place.command(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    check_lines(&stdout);
    assert!(stdout.contains("\"phase\":\"log-det, backward\""), "{stdout}");
    assert!(std::fs::metadata(place.path("t.json")).unwrap().len() > 1000);
}
