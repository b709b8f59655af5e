//! The files of a run.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::checkpoints::{self, NEWEST};
use crate::checkpoint::{BESIDE, Checkpoint, write_whole};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::nn::Certificate;
use crate::optim::state_names;

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const TUNING: &str = "tuning.json";
const LOCK: &str = "run.lock";
/// Name of the best model so far.
const BEST: &str = "best.safetensors";
/// Name of the finished model in a run's folder.
pub const MODEL: &str = "model.safetensors";

/// A run folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether this process writes it: of several that train together one does.
    writes: bool,
}

impl Folder {
    /// The folder at `path`, for a new run or to `resume`. Nothing is written yet, nor ever unless it `writes`.
    ///
    /// # Errors
    /// [`Error::Config`] if it holds a run already and `resume` is not asked for, or holds none and `resume` is.
    pub fn open(path: &Path, resume: bool, writes: bool) -> Result<Self> {
        let folder = Self { path: path.into(), writes };
        if !writes {
            return Ok(folder);
        }
        let begun = !checkpoints::all(path).is_empty();
        if resume && !begun {
            return Err(Error::Config(format!(
                "{}: no run to resume here, {NEWEST} is missing; check --out, or leave --resume away to begin",
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

    /// The folder of a run that another process has written so far.
    pub(super) fn taken_over(path: &Path) -> Self {
        Self { path: path.into(), writes: true }
    }

    /// Makes the folder where it is not there, takes it for this run alone until the result is dropped or the process ends,
    /// however it ends, and writes the configuration.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made, [`Error::Config`] if another run has it.
    pub(super) fn begin(&self, config: &Config) -> Result<Option<Lock>> {
        if !self.writes {
            return Ok(None);
        }
        fs::create_dir_all(&self.path).map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let lock = self.lock()?;
        self.write_config(config)?;
        Ok(Some(lock))
    }

    fn lock(&self) -> Result<Lock> {
        let path = self.file(LOCK);
        let fail = |source: std::io::Error| Error::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // On Windows nobody else may read a locked file: then it is not said who has it.
                let _ = file.read_to_string(&mut holder);
                let who = holder.lines().next().map(|id| format!(" (process {id})")).unwrap_or_default();
                return Err(Error::Config(format!(
                    "{}: another run{who} is writing to this folder; wait for it, or choose another --out",
                    self.path.display()
                )));
            }
            // Some network file systems have no locks: better a run without one than none.
            Err(TryLockError::Error(_)) => return Ok(Lock { _file: file }),
        }
        file.set_len(0).map_err(fail)?;
        self.clear_away();
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Lock { _file: file })
    }

    /// Removes what a run that was killed left half-written. Nobody else writes here while the folder is locked.
    fn clear_away(&self) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let half_written = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(BESIDE);
        for entry in entries.filter(half_written) {
            // It is only in the way.
            let _ = fs::remove_file(entry.path());
        }
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
        if !self.writes {
            return Ok(());
        }
        write_whole(&self.file(CONFIG), config.to_toml().as_bytes())
    }

    /// The newest checkpoint that is whole, to go on from with `config`: learning rates, lengths and intervals may have been
    /// changed, the model and what the optimizer keeps may not. Also warnings of those that are damaged.
    pub(super) fn checkpoint(&self, config: &Config) -> Result<(Checkpoint, Vec<String>)> {
        let (path, checkpoint, warnings) = checkpoints::newest(&self.path)?;
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
        Ok((checkpoint, warnings))
    }

    /// Whether there is anything to go on from.
    pub(super) fn has_checkpoint(&self) -> bool {
        !checkpoints::all(&self.path).is_empty()
    }

    pub(super) fn save(&self, checkpoint: &Checkpoint, keep: usize) -> Result<()> {
        if !self.writes {
            return Ok(());
        }
        checkpoints::save(&self.path, checkpoint, keep)
    }

    /// Saves the best model so far.
    pub(super) fn save_best(&self, checkpoint: Checkpoint) -> Result<()> {
        if !self.writes {
            return Ok(());
        }
        checkpoint.averaged()?.model_only().save(&self.file(BEST))
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
        if !self.writes {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(choices).expect("names can be written as JSON");
        write_whole(&self.file(TUNING), text.as_bytes())
    }

    /// Drops the lines of steps from `step` on, which the run is about to do again, and a line cut short.
    pub(super) fn cut_metrics(&self, step: u64) -> Result<()> {
        if !self.writes {
            return Ok(());
        }
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

    /// The evaluations so far, as lines of the metrics.
    pub(super) fn evaluations(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.metrics_path()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line.get("split").is_some()).collect()
    }

    pub(super) fn log(&self) -> Result<Log> {
        let path = self.metrics_path();
        if !self.writes {
            return Ok(Log { file: None, path, waiting: String::new() });
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| Error::Io { path: path.clone(), source })?;
        Ok(Log { file: Some(file), path, waiting: String::new() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// A folder taken by a run.
pub(super) struct Lock {
    _file: File,
}

/// The open `metrics.jsonl`. Lines that cannot be written, as on a full disk, wait until they can. Without a file nothing
/// is written.
pub(super) struct Log {
    file: Option<File>,
    path: PathBuf,
    waiting: String,
}

impl Log {
    /// Writes a line. Gives the problem the first time that it has to wait.
    pub(super) fn line(&mut self, value: &serde_json::Value) -> Option<String> {
        let waited = !self.waiting.is_empty();
        self.waiting += &format!("{value}\n");
        let problem = self.flush().err()?;
        (!waited).then(|| format!("WARNING: {problem}; its lines wait in memory, the run goes on"))
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// [`Error::Io`] if it still cannot be written.
    pub(super) fn flush(&mut self) -> Result<()> {
        let fail = |path: &Path, source| Error::Io { path: path.into(), source };
        if let Some(file) = &mut self.file {
            let before = file.metadata().map_err(|source| fail(&self.path, source))?.len();
            if let Err(source) = file.write_all(self.waiting.as_bytes()) {
                // A part of a line would spoil the next.
                let _ = file.set_len(before);
                return Err(fail(&self.path, source));
            }
        }
        self.waiting.clear();
        Ok(())
    }
}
