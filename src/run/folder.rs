//! The files of a run.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, write_whole};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::Certificate;
use crate::optim::state_names;

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const TUNING: &str = "tuning.json";
const CHECKPOINT: &str = "checkpoint.safetensors";
/// Name of the finished model in a run's folder.
pub const MODEL: &str = "model.safetensors";

/// A run folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, for a new run or to `resume`. Nothing is written yet: see `Folder::make`.
    ///
    /// # Errors
    /// [`Error::Config`] if it holds a run already and `resume` is not asked for, or holds none and `resume` is.
    pub fn open(path: &Path, resume: bool) -> Result<Self> {
        let folder = Self { path: path.into() };
        let begun = folder.file(CHECKPOINT).exists();
        if resume && !begun {
            return Err(Error::Config(format!(
                "{}: no run to resume here, {CHECKPOINT} is missing; check --out, or leave --resume away to begin",
                path.display()
            )));
        }
        if !resume && begun {
            return Err(Error::Config(format!(
                "{}: holds a run already; --resume goes on with it, another --out begins beside it",
                path.display()
            )));
        }
        Ok(folder)
    }

    /// Makes the folder where it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made.
    pub(super) fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The finished model's file.
    pub fn model_path(&self) -> PathBuf {
        self.file(MODEL)
    }

    /// The file of metrics.
    pub fn metrics_path(&self) -> PathBuf {
        self.file(METRICS)
    }

    /// The configuration a run was begun with.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Config`] if it is damaged.
    pub fn config(path: &Path) -> Result<Config> {
        let path = path.join(CONFIG);
        let text = fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        Config::from_toml(&text, &path.display().to_string())
    }

    pub(super) fn write_config(&self, config: &Config) -> Result<()> {
        write_whole(&self.file(CONFIG), config.to_toml().as_bytes())
    }

    /// The checkpoint, to go on from with `config`: learning rates, lengths and intervals may have been changed, the model
    /// and what the optimizer keeps may not.
    pub(super) fn checkpoint(&self, config: &Config) -> Result<Checkpoint> {
        let path = self.file(CHECKPOINT);
        let checkpoint = Checkpoint::load(&path)?;
        let same_state = state_names(&checkpoint.config.optimizer) == state_names(&config.optimizer);
        for (section, same) in [("model", checkpoint.config.model == config.model), ("optimizer", same_state)] {
            if !same {
                return Err(Error::Config(format!(
                    "{}: the run was begun with another [{section}] section; resume with --out and --resume alone, or \
                     begin another run with another --out (--init starts from a model file)",
                    path.display()
                )));
            }
        }
        Ok(checkpoint)
    }

    pub(super) fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.save(&self.file(CHECKPOINT))
    }

    pub(super) fn save_model(&self, model: &Checkpoint, certificate: &Certificate) -> Result<()> {
        model.save_certified(&self.file(MODEL), certificate)
    }

    /// The kernels that the run began with, if it wrote them down.
    pub(super) fn tuning(&self) -> Result<Option<BTreeMap<String, String>>> {
        let path = self.file(TUNING);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let choices = serde_json::from_str(&text).map_err(|error| {
            Error::Config(format!(
                "{}: damaged ({error}); delete it to choose kernels anew, which may change the last bits of results",
                path.display()
            ))
        })?;
        Ok(Some(choices))
    }

    pub(super) fn write_tuning(&self, choices: &BTreeMap<String, String>) -> Result<()> {
        let text = serde_json::to_string_pretty(choices).expect("names can be written as JSON");
        write_whole(&self.file(TUNING), text.as_bytes())
    }

    /// Drops the lines of steps from `step` on, which the run is about to do again, and a line cut short.
    pub(super) fn cut_metrics(&self, step: u64) -> Result<()> {
        let path = self.file(METRICS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::Io { path, source }),
        };
        let keep = |line: &&str| {
            let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
            let value = value.as_ref();
            let of = value.and_then(|value| value["step"].as_u64());
            let evaluation = value.is_some_and(|value| value.get("split").is_some());
            // An evaluation after step s bears s, the number of steps done.
            of.is_some_and(|of| of < step || (evaluation && of == step && step > 0))
        };
        let kept: String = text.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
        write_whole(&path, kept.as_bytes())
    }

    pub(super) fn log(&self) -> Result<Log> {
        let path = self.metrics_path();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Log { file: file.map_err(|source| Error::Io { path: path.clone(), source })?, path })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The open `metrics.jsonl`.
pub(super) struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    pub(super) fn line(&mut self, value: &serde_json::Value) -> Result<()> {
        let text = format!("{value}\n");
        self.file.write_all(text.as_bytes()).map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}
