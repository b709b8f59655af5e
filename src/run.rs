//! A training run: the loop around a [`Trainer`], and the folder it writes.
//!
//! The folder holds `config.toml` (resolved), `metrics.jsonl`, `tuning.json` (the kernels chosen, so that a resumed run
//! repeats them), `checkpoint.safetensors` (everything needed to go on) and, at the end, `model.safetensors`.

mod complete;
mod folder;

pub use complete::complete;
pub use folder::{Folder, MODEL};

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::cli::Outcome;
use crate::cli::progress::Progress;
use crate::cli::signal;
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::{Evaluator, Summary};
use crate::gpu::{Gpu, Tuning};
use crate::network::PARAMS;
use crate::nn::{self, reversible};
use crate::optim;
use crate::train::{StepReport, Trainer};

/// Name under which parameters wait while their average is evaluated.
const KEPT: &str = "params while averaged";

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The resolved configuration.
    pub config: Config,
    /// The run folder.
    pub out: PathBuf,
    /// Whether to go on from the folder's checkpoint.
    pub resume: bool,
    /// Which adapter.
    pub adapter: Option<String>,
    /// Stop after so many steps in all.
    pub steps: Option<u64>,
    /// A model file to begin from.
    pub init: Option<PathBuf>,
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
    let config = &options.config;
    let source = Source::open(config, None, Split::Train)?;
    let test = Source::open(config, None, Split::Test)?;
    let folder = Folder::open(&options.out, options.resume)?;
    let start = match (options.resume, &options.init) {
        (true, _) => Some(folder.checkpoint(config)?),
        (false, Some(path)) => Some(fresh(path, Checkpoint::load(path)?, config)?),
        (false, None) => None,
    };
    let gpu = Gpu::open(options.adapter.as_deref()).await?;
    folder.make()?;
    folder.write_config(config)?;
    folder.cut_metrics(start.as_ref().map_or(0, |start| start.step))?;
    let pinned = if options.resume { folder.tuning()? } else { None };
    let tuning = pinned.map_or_else(Tuning::usual, Tuning::fixed);
    let per_epoch = source.steps_per_epoch();
    let mut trainer = Trainer::new(&gpu, config, per_epoch, tuning, start.as_ref()).await?;
    if start.is_none() {
        let first = source.first(config.train.init_batch);
        trainer.initialize(first.x.data()).await?;
    }
    let log_det = trainer.network().model().training_log_det();
    let evaluator = Evaluator::new(trainer.network_mut(), config.data.batch, log_det).await?;
    if config.optimizer.ema > 0.0 {
        let len = trainer.network().memory().len(PARAMS);
        trainer.network_mut().memory_mut().alloc(KEPT, [len])?;
    }
    folder.write_tuning(&trainer.network().tuning().choices(&gpu))?;
    let total = (config.train.epochs as u64 * per_epoch).min(options.steps.unwrap_or(u64::MAX));
    let run = Run { options, folder, per_epoch, total, started: Instant::now(), log: None };
    signal::listen();
    run.go(trainer, &evaluator, &source, &test).await
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
    folder: Folder,
    per_epoch: u64,
    total: u64,
    started: Instant,
    log: Option<folder::Log>,
}

impl Run<'_> {
    async fn go(
        mut self,
        mut trainer: Trainer,
        evaluator: &Evaluator,
        source: &Source,
        test: &Source,
    ) -> Result<Finished> {
        let config = &self.options.config;
        self.log = Some(self.folder.log()?);
        let mut progress = Progress::new("train", self.total, trainer.step_count());
        let mut batches = source.training(trainer.step_count());
        let every = match config.train.checkpoint_every {
            0 => self.per_epoch,
            steps => steps as u64,
        };
        while trainer.step_count() < self.total {
            if let Some(signal) = signal::stop_requested() {
                self.drain(&mut trainer, &mut progress).await?;
                self.folder.save(&trainer.checkpoint().await?)?;
                progress.note(&format!(
                    "interrupted: saved after step {}; `--resume` goes on from there",
                    trainer.step_count()
                ));
                progress.finish();
                let steps = trainer.step_count();
                return Ok(Finished { outcome: Outcome::Interrupted(signal), steps, test: None });
            }
            let batch = batches.next().expect("training batches have no end");
            trainer.step(batch.x.data(), &batch.labels);
            while let Some(report) = trainer.report(false).await? {
                self.record(&report, &mut progress)?;
            }
            let done = trainer.step_count();
            if done.is_multiple_of(every) && done < self.total {
                self.drain(&mut trainer, &mut progress).await?;
                self.folder.save(&trainer.checkpoint().await?)?;
            }
            if done.is_multiple_of(self.per_epoch) && done < self.total {
                self.evaluate(&mut trainer, evaluator, test, &mut progress).await?;
            }
        }
        self.drain(&mut trainer, &mut progress).await?;
        self.folder.save(&trainer.checkpoint().await?)?;
        average_in(&trainer);
        trainer.finish().await?;
        let summary = self.evaluate(&mut trainer, evaluator, test, &mut progress).await?;
        let model = trainer.checkpoint().await?.model_only();
        let certificate = nn::certify(trainer.network().model(), &model.tensors);
        for block in certificate.failures() {
            // Without a coefficient nobody was promised anything.
            if config.model.coefficient.is_some() {
                progress.note(&format!(
                    "{} is not proved to be invertible (Lipschitz bound {:.4}): see `iresnet verify {}`",
                    block.name,
                    block.constant,
                    self.folder.model_path().display()
                ));
            }
        }
        self.folder.save_model(&model, &certificate)?;
        progress.finish();
        Ok(Finished { outcome: Outcome::Done, steps: trainer.step_count(), test: Some(summary) })
    }

    /// Records the steps whose results are still under way.
    async fn drain(&mut self, trainer: &mut Trainer, progress: &mut Progress) -> Result<()> {
        while let Some(report) = trainer.report(true).await? {
            self.record(&report, progress)?;
        }
        Ok(())
    }

    fn record(&mut self, report: &StepReport, progress: &mut Progress) -> Result<()> {
        let mut shown = vec![("loss", f64::from(report.loss))];
        if let Some(accuracy) = report.accuracy {
            shown.push(("accuracy", f64::from(accuracy)));
            shown.extend(report.bits_per_dim.map(|bits| ("bits/dim", f64::from(bits))));
        }
        shown.push(("lr", report.learning_rate));
        progress.step(report.step + 1, &shown);
        if !(report.step + 1).is_multiple_of(self.options.config.train.log_every.max(1) as u64) {
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
        self.write(&line)
    }

    fn write(&mut self, line: &serde_json::Value) -> Result<()> {
        self.log.as_mut().expect("opened before the first step").line(line)
    }

    async fn evaluate(
        &mut self,
        trainer: &mut Trainer,
        evaluator: &Evaluator,
        test: &Source,
        progress: &mut Progress,
    ) -> Result<Summary> {
        let seed = self.options.config.train.seed;
        let averaged = trainer.network().memory().contains(KEPT);
        if averaged {
            trainer.network().memory().copy(PARAMS, KEPT);
            average_in(trainer);
        }
        let summary = evaluator.summarize(test.once(evaluator.batch()), seed).await?;
        if averaged {
            trainer.network().memory().copy(KEPT, PARAMS);
        }
        let done = trainer.step_count();
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
        self.write(&line)?;
        progress.note(&text);
        Ok(summary)
    }
}

/// Puts the parameters' moving average, where there is one, in their place.
fn average_in(trainer: &Trainer) {
    let memory = trainer.network().memory();
    if memory.contains(optim::EMA) {
        memory.copy(optim::EMA, PARAMS);
    }
}
