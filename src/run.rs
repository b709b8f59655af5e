//! A training run: the loop around a [`Trainer`](crate::train::Trainer), and the folder it writes.
//!
//! The folder holds `config.toml` (resolved), `metrics.jsonl`, `tuning.json` (the kernels chosen, so that a resumed run
//! repeats them), `checkpoint.safetensors` (everything needed to go on), older checkpoints, `best.safetensors` (the best
//! model so far) and, at the end, `model.safetensors`. `run.lock` keeps a second run out.
//!
//! A run that fails for a reason that may pass begins again from its last checkpoint by itself: a device that was lost is
//! opened again, one that ran out of memory gets smaller pieces, and after a step that was no number the learning rate is
//! halved where `train.on_nonfinite = "rollback"`.

mod checkpoints;
mod complete;
mod folder;
mod recovery;
mod training;

pub use complete::complete;
pub use folder::{Folder, MODEL};

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::cli::Outcome;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::signal;
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::Summary;
use crate::gpu::{self, Gpu, Tuning};
use crate::nn::{self, reversible};
use crate::train::StepReport;
use recovery::Recovery;
use training::Training;

/// Steps in a row that may be skipped as not numbers.
const MOST_SKIPPED: usize = 10;

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The resolved configuration.
    pub config: Config,
    /// The run folder.
    pub out: PathBuf,
    /// Whether to go on from the folder's checkpoint.
    pub resume: bool,
    /// Which adapters, as [`choose_several`](gpu::choose_several) takes them.
    pub adapters: Vec<String>,
    /// Stop after so many steps in all.
    pub steps: Option<u64>,
    /// A model file to begin from.
    pub init: Option<PathBuf>,
    /// Called before each step with its number and the devices at work; a test breaks them here.
    pub watch: Option<fn(u64, &[Gpu])>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Done or interrupted.
    pub outcome: Outcome,
    /// Steps done in all.
    pub steps: u64,
    /// Results on the test split, where the run came to its end.
    pub test: Option<Summary>,
}

/// Trains, until done or interrupted.
///
/// # Errors
/// Of data, adapter, files; [`Error::Diverged`] if the loss is not finite, [`Error::Verification`] if
/// `train.memory = "reversible"` and a block could not be inverted. What was saved before stays.
pub async fn train(options: &Options) -> Result<Finished> {
    let mut config = options.config.clone();
    let source = Source::open(&config, None, Split::Train)?;
    let test = Source::open(&config, None, Split::Test)?;
    let folder = Folder::open(&options.out, options.resume)?;
    let mut start = match (options.resume, &options.init) {
        (true, _) => Some(newest(&folder, &config)?),
        (false, Some(path)) => Some(fresh(path, Checkpoint::load(path)?, &config)?),
        (false, None) => None,
    };
    let first = start.clone();
    let (mut adapters, notes) = gpu::choose_several(&options.adapters).await?;
    notes.iter().for_each(|note| output::note(note));
    folder.make()?;
    let lock = folder.lock()?;
    folder.write_config(&config)?;
    let pinned = if options.resume && adapters.len() == 1 { folder.tuning()? } else { None };
    let tuning = pinned.map_or_else(Tuning::usual, Tuning::fixed);
    let per_epoch = source.steps_per_epoch();
    let mut recovery = Recovery::new();
    loop {
        folder.cut_metrics(start.as_ref().map_or(0, |start| start.step))?;
        let training = Training::new(&adapters, &config, &source, &tuning, start.as_ref(), recovery.pieces()).await?;
        folder.write_tuning(&training.choices())?;
        let total = (config.train.epochs as u64 * per_epoch).min(options.steps.unwrap_or(u64::MAX));
        let run = Run {
            options,
            config: &config,
            folder: &folder,
            per_epoch,
            total,
            started: Instant::now(),
            log: folder.log()?,
            training,
            progress: Progress::new("train", total, start.as_ref().map_or(0, |start| start.step)),
            best: best(&folder.evaluations()),
            skipped: 0,
            unsaved: false,
            rollbacks: recovery.rollbacks(),
        };
        signal::listen();
        let (reached, gpus, ended) = run.go(&source, &test).await;
        let error = match ended {
            Ok(finished) => {
                drop(lock);
                return Ok(finished);
            }
            Err(error) => error,
        };
        // Tells what to do about it, or gives the error back.
        output::note(&recovery.plan(error, reached, &gpus, &mut config)?);
        drop(gpus);
        folder.write_config(&config)?;
        start = if folder.has_checkpoint() { Some(newest(&folder, &config)?) } else { first.clone() };
        // A driver that was reset may list its adapters anew.
        if let Ok((again, _)) = gpu::choose_several(&options.adapters).await {
            adapters = again;
        }
    }
}

/// The newest whole checkpoint; what is wrong with newer ones is said aloud.
fn newest(folder: &Folder, config: &Config) -> Result<Checkpoint> {
    let (checkpoint, warnings) = folder.checkpoint(config)?;
    warnings.iter().for_each(|warning| output::note(warning));
    Ok(checkpoint)
}

/// How good the best of these evaluations was.
fn best(evaluations: &[serde_json::Value]) -> f64 {
    let scores = evaluations.iter().filter_map(|line| {
        let value = |name: &str| line[name].as_f64();
        value("bits_per_dim").or(value("accuracy").map(|x| -x)).or(value("log_prob").map(|x| -x))
    });
    scores.fold(f64::INFINITY, f64::min)
}

/// A model file as the beginning of another run: its numbers with this configuration, from step 0. ActNorm and norms are
/// taken as they are.
fn fresh(path: &Path, mut checkpoint: Checkpoint, config: &Config) -> Result<Checkpoint> {
    let differences = checkpoint.config.model.differences(&config.model);
    if !differences.is_empty() {
        return Err(Error::Config(format!(
            "--init {}: the model was made with another [model] section: {}; only the coefficient and the number of \
             power iterations may be changed",
            path.display(),
            differences.join(", ")
        )));
    }
    checkpoint = checkpoint.model_only();
    checkpoint.config = config.clone();
    checkpoint.step = 0;
    Ok(checkpoint)
}

struct Run<'a> {
    options: &'a Options,
    config: &'a Config,
    folder: &'a Folder,
    per_epoch: u64,
    total: u64,
    started: Instant,
    log: folder::Log,
    training: Training,
    progress: Progress,
    /// The best evaluation's score so far, the lower the better.
    best: f64,
    /// Steps skipped in a row.
    skipped: usize,
    /// Whether the last checkpoint could not be saved.
    unsaved: bool,
    /// How often the run has gone back to a checkpoint with a lower rate.
    rollbacks: u32,
}

impl Run<'_> {
    /// Trains to the end, or until something stops it. Also how many steps were done, and the devices used.
    async fn go(mut self, source: &Source, test: &Source) -> (u64, Vec<Gpu>, Result<Finished>) {
        let gpus = self.training.gpus();
        let ended = self.steps(source, test).await;
        let reached = self.training.step_count();
        self.progress.finish();
        (reached, gpus, ended)
    }

    async fn steps(&mut self, source: &Source, test: &Source) -> Result<Finished> {
        let mut batches = source.training(self.training.step_count());
        let every = match self.config.train.checkpoint_every {
            0 => self.per_epoch,
            steps => steps as u64,
        };
        while self.training.step_count() < self.total {
            if let Some(signal) = signal::stop_requested() {
                self.drain().await?;
                self.save().await?;
                let steps = self.training.step_count();
                self.progress.note(&format!("interrupted: saved after step {steps}; `--resume` goes on from there"));
                return Ok(Finished { outcome: Outcome::Interrupted(signal), steps, test: None });
            }
            if let Some(watch) = self.options.watch {
                watch(self.training.step_count(), &self.training.gpus());
            }
            let batch = batches.next().expect("training batches have no end");
            let reports = self.training.step(&batch).await;
            self.say_notes();
            for report in reports? {
                self.record(&report)?;
            }
            let done = self.training.step_count();
            if done.is_multiple_of(every) && done < self.total {
                self.drain().await?;
                self.try_to_save().await?;
            }
            if done.is_multiple_of(self.per_epoch) && done < self.total {
                self.evaluate(test).await?;
            }
        }
        self.drain().await?;
        self.save().await?;
        self.training.finish().await?;
        let summary = self.evaluate(test).await?;
        let model = self.training.checkpoint().await?.model_only();
        let certificate = nn::certify(self.training.model(), &model.tensors);
        for block in certificate.failures() {
            // Without a coefficient nobody was promised anything.
            if self.config.model.coefficient.is_some() {
                self.progress.note(&format!(
                    "{} is not proved to be invertible (Lipschitz bound {:.4}): see `iresnet verify {}`",
                    block.name,
                    block.constant,
                    self.folder.model_path().display()
                ));
            }
        }
        self.folder.save_model(&model, &certificate)?;
        self.log.flush()?;
        Ok(Finished { outcome: Outcome::Done, steps: self.training.step_count(), test: Some(summary) })
    }

    fn say_notes(&mut self) {
        for note in self.training.notes() {
            self.progress.note(&note);
        }
    }

    async fn save(&mut self) -> Result<()> {
        let checkpoint = self.training.checkpoint().await?;
        self.folder.save(&checkpoint, self.config.train.keep)
    }

    /// Saves, or says why that cannot be done: a full disk is no reason to lose the run as well.
    async fn try_to_save(&mut self) -> Result<()> {
        let checkpoint = self.training.checkpoint().await?;
        match self.folder.save(&checkpoint, self.config.train.keep) {
            Ok(()) => self.unsaved = false,
            Err(error) => {
                if !std::mem::replace(&mut self.unsaved, true) {
                    self.progress
                        .note(&format!("WARNING: not saved after step {}: {error}; the run goes on", checkpoint.step));
                }
            }
        }
        Ok(())
    }

    /// Records the steps whose results are still under way.
    async fn drain(&mut self) -> Result<()> {
        for report in self.training.drain().await? {
            self.record(&report)?;
        }
        Ok(())
    }

    fn record(&mut self, report: &StepReport) -> Result<()> {
        self.count_skipped(report)?;
        let mut shown = vec![("loss", f64::from(report.loss))];
        if let Some(accuracy) = report.accuracy {
            shown.push(("accuracy", f64::from(accuracy)));
            shown.extend(report.bits_per_dim.map(|bits| ("bits/dim", f64::from(bits))));
        }
        shown.push(("lr", report.learning_rate));
        self.progress.step(report.step + 1, &shown);
        let logged = (report.step + 1).is_multiple_of(self.config.train.log_every.max(1) as u64);
        if !logged && report.nonfinite == 0 {
            return Ok(());
        }
        let mut line = json!({
            "step": report.step,
            "epoch": report.step / self.per_epoch,
            "loss": report.loss,
            "lr": report.learning_rate,
            "seconds": self.started.elapsed().as_secs_f64(),
        });
        if let Some(accuracy) = report.accuracy {
            line["accuracy"] = json!(accuracy);
        }
        if let Some([log_prior, log_det]) = report.log_densities {
            line["log_prior"] = json!(log_prior);
            line["log_det"] = json!(log_det);
        }
        if let Some([residual, error]) = report.inversion {
            line[reversible::RESIDUAL] = json!(residual);
            line[reversible::DRIFT] = json!(error);
        }
        if let Some(bits) = report.bits_per_dim {
            line["bits_per_dim"] = json!(bits);
        }
        for (name, count) in [("nonfinite", report.nonfinite), ("rollbacks", self.rollbacks)] {
            if count > 0 {
                line[name] = json!(count);
            }
        }
        self.write(&line);
        Ok(())
    }

    /// Says that a step was skipped; too many in a row are not the data's fault.
    fn count_skipped(&mut self, report: &StepReport) -> Result<()> {
        if report.nonfinite == 0 {
            self.skipped = 0;
            return Ok(());
        }
        self.skipped += 1;
        let what = format!("step {}: {} of the loss and the gradients were no numbers", report.step, report.nonfinite);
        if self.skipped >= MOST_SKIPPED {
            return Err(Error::Diverged(format!(
                "{what}, as in the {} steps before; lower optimizer.lr or set optimizer.clip (for instance 1.0), and \
                 resume from the last checkpoint",
                self.skipped - 1
            )));
        }
        self.progress.note(&format!("{what}: skipped"));
        Ok(())
    }

    fn write(&mut self, line: &serde_json::Value) {
        if let Some(warning) = self.log.line(line) {
            self.progress.note(&warning);
        }
    }

    async fn evaluate(&mut self, test: &Source) -> Result<Summary> {
        let summary = self.training.evaluate(test, self.config.train.seed).await?;
        self.say_notes();
        let done = self.training.step_count();
        let mut line = json!({
            "split": "test",
            "step": done,
            "epoch": done / self.per_epoch,
            "seconds": self.started.elapsed().as_secs_f64(),
        });
        let mut text = format!("step {done}: test");
        if let (Some(accuracy), Some(cross_entropy)) = (summary.accuracy, summary.cross_entropy) {
            line["accuracy"] = json!(accuracy);
            line["cross_entropy"] = json!(cross_entropy);
            text += &format!(" accuracy {:.2} %, cross-entropy {cross_entropy:.4} nats", 100.0 * accuracy);
        }
        match (summary.bits_per_dim, summary.log_prob) {
            (Some(bits), _) => {
                line["bits_per_dim"] = json!(bits);
                text += &format!(" {bits:.4} bits/dim");
            }
            (None, Some(log_prob)) => {
                line["log_prob"] = json!(log_prob);
                text += &format!(" log-likelihood {log_prob:.4} nats");
            }
            (None, None) => {}
        }
        self.write(&line);
        self.progress.note(&text);
        let score = best(std::slice::from_ref(&line));
        if score < self.best {
            self.best = score;
            let saved = self.folder.save_best(self.training.checkpoint().await?);
            if let Err(error) = saved {
                self.progress.note(&format!("WARNING: the best model is not saved: {error}; the run goes on"));
            }
        }
        Ok(summary)
    }
}
