//! Running the built program in a folder of its own, with small models that train in seconds.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A classifier of 14×14 images in five steps an epoch, with everything that has state: momentum, average, BatchNorm.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) const CLASSIFIER: &str = r#"
[model]
kind = "classifier"
input = [1, 28, 28]
blocks = [1]
strides = [1]
channels = [4]
initial_squeeze = true
injective_padding = 2
[data]
name = "fashion-mnist-mini"
batch = 20
limit = 100
[optimizer]
name = "adam"
lr = 0.01
warmup = 1.0
schedule = "cosine"
ema = 0.9
[train]
epochs = 4
init_batch = 40
"#;

/// A density of points in the plane with a log-determinant from random probes.
pub(crate) const TOY: &str = r#"
[model]
kind = "toy"
input = [2]
blocks = [2]
strides = [1]
channels = [8]
hidden_layers = 1
injective_padding = 0
[log_det]
estimator = "series"
terms = 3
[data]
name = "toy:checkerboard"
batch = 250
limit = 1250
[optimizer]
name = "adamax"
lr = 0.01
schedule = "cosine"
[train]
epochs = 4
init_batch = 64
"#;

/// A folder with configurations, data and runs, deleted in the end.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and gives its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program in this folder. No kernels are timed: that takes longer than these small runs, on a busy machine most
    /// of all.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iresnet"));
        command.args(arguments).current_dir(self.folder.path()).env("IRESNET_TUNING", "off");
        command.env_remove("WGPU_ADAPTER_NAME").env_remove("IRESNET_DATA").env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs the program to its end, which must have this exit code; gives what it wrote to standard error.
    #[track_caller]
    pub(crate) fn ends_with(&self, arguments: &[&str], code: i32) -> String {
        ends_with(self.command(arguments), code)
    }
}

/// Runs the command to its end, which must have this exit code; gives what it wrote to standard error.
#[track_caller]
pub(crate) fn ends_with(mut command: Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\n{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// The steps and losses that a run logged, evaluations left out.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) fn losses(run: &Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    // A line that is being written while this reads does not parse.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let steps = lines.filter(|line| line.get("split").is_none());
    steps.map(|line| (line["step"].as_u64().unwrap(), line["loss"].as_f64().unwrap())).collect()
}
