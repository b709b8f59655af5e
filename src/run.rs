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
mod profiling;
mod record;
mod recovery;
mod together;
mod training;

pub use complete::complete;
pub use folder::{Folder, MODEL};
pub use profiling::Profiling;
pub use together::{OnPeerLoss, Together};

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::cli::Outcome;
use crate::cli::progress::Progress;
use crate::cli::signal;
use crate::config::{Config, Precision};
use crate::data::Split;
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::Summary;
use crate::gpu::{Gpu, Tuning};
use crate::nn;
use crate::profile::{Mode, Profiler, Report};
use folder::{Lock, Log};
use recovery::Recovery;
use training::Training;

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The resolved configuration.
    pub config: Config,
    /// The run folder.
    pub out: PathBuf,
    /// What its progress is called.
    pub name: String,
    /// Whether to go on from the folder's checkpoint.
    pub resume: bool,
    /// Which adapters, as [`choose_several`](crate::gpu::choose_several) takes them.
    pub adapters: Vec<String>,
    /// Stop after so many steps in all.
    pub steps: Option<u64>,
    /// A model file to begin from.
    pub init: Option<PathBuf>,
    /// Called before each step with its number and the devices at work; a test breaks them here.
    pub watch: Option<fn(u64, &[Gpu])>,
    /// The other processes of the run.
    pub together: Together,
    /// The profile to be taken of its steps, if any.
    pub profile: Option<Profiling>,
}

impl Options {
    /// A new run of this configuration in this folder, on the best adapter, to its end.
    pub fn new(config: Config, out: impl Into<PathBuf>) -> Self {
        Self {
            config,
            out: out.into(),
            name: "train".into(),
            resume: false,
            adapters: Vec::new(),
            steps: None,
            init: None,
            watch: None,
            together: Together::default(),
            profile: None,
        }
    }
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
    /// The profile of its steps, where one was asked for and there were enough of them.
    pub profile: Option<Report>,
}

/// Trains, until done or interrupted.
///
/// # Errors
/// Of data, adapter, files; [`Error::Diverged`] if the loss is not finite, [`Error::Verification`] if
/// `train.memory = "reversible"` and a block could not be inverted; [`Error::PeerLost`]. What was saved before stays.
pub async fn train(options: &Options) -> Result<Finished> {
    let (mut config, together) = (options.config.clone(), &options.together);
    let source = Source::open(&config, None, Split::Train)?;
    let test = Source::open(&config, None, Split::Test)?;
    together.agree(&config, source.dataset().len())?;
    let folder = Folder::open(&options.out, options.resume, together.leads())?;
    let mut start = match (options.resume, &options.init) {
        (true, _) => Some(together.newest(&folder, &config)?),
        (false, Some(path)) => Some(fresh(path, Checkpoint::load(path)?, &config)?),
        (false, None) => None,
    };
    let first = start.clone();
    let (mut adapters, notes) = together.choose(&options.adapters).await?;
    notes.iter().for_each(|note| together.note(note));
    for adapter in adapters.iter().filter(|adapter| config.train.precision == Precision::F16 && !adapter.info().f16) {
        together.note(&format!(
            "note: {} has no half precision: train.precision = \"f16\" is f32 there",
            adapter.info().id
        ));
    }
    let per_epoch = source.steps_per_epoch();
    let total = (config.train.epochs as u64 * per_epoch).min(options.steps.unwrap_or(u64::MAX));
    if let Some(profile) = &options.profile {
        let begun = start.as_ref().map_or(0, |start| start.step);
        profile.check(total.saturating_sub(begun), adapters.len().max(together.count()))?;
    }
    let mut lock = folder.begin(&config)?;
    let pinned = if options.resume && adapters.len() == 1 { folder.tuning()? } else { None };
    let tuning = pinned.map_or_else(Tuning::usual, Tuning::fixed);
    let mut recovery = Recovery::new();
    loop {
        folder.cut_metrics(start.as_ref().map_or(0, |start| start.step))?;
        let peers = together.peers();
        let training =
            Training::new(&adapters, &config, &source, &tuning, start.as_ref(), recovery.pieces(), peers).await?;
        folder.write_tuning(&training.choices())?;
        let begun = start.as_ref().map_or(0, |start| start.step);
        let run = Run {
            options,
            config: &config,
            folder: folder.clone(),
            lock: lock.take(),
            per_epoch,
            total,
            started: Instant::now(),
            log: folder.log()?,
            profiler: options.profile.as_ref().and_then(|_| training.profiler()),
            profile: None,
            training,
            progress: if together.leads() { Progress::new(&options.name, total, begun) } else { Progress::silent() },
            best: best(&folder.evaluations()),
            skipped: 0,
            unsaved: false,
            rollbacks: recovery.rollbacks(),
        };
        signal::listen();
        let ended = run.go(&source, &test).await;
        let error = match ended.result {
            Ok(finished) => {
                together.finish();
                return Ok(finished);
            }
            Err(error) => error,
        };
        lock = ended.lock;
        // What one process does about its own trouble the others do not know of.
        if together.count() > 1 && !matches!(error, Error::Diverged(_)) {
            return Err(error);
        }
        // Tells what to do about it, or gives the error back.
        together.note_once(&recovery.plan(error, ended.reached, &ended.gpus, &mut config)?);
        drop(ended.gpus);
        folder.write_config(&config)?;
        start = if together.any(folder.has_checkpoint())? {
            Some(together.newest(&folder, &config)?)
        } else {
            first.clone()
        };
        // A driver that was reset may list its adapters anew.
        if let Ok((again, _)) = together.choose(&options.adapters).await {
            adapters = again;
        }
    }
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
    folder: Folder,
    lock: Option<Lock>,
    per_epoch: u64,
    total: u64,
    started: Instant,
    log: Log,
    training: Training,
    /// Takes the profile, where one is asked for, until it is taken.
    profiler: Option<Profiler>,
    profile: Option<Report>,
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

/// What a run leaves behind.
struct Ended {
    result: Result<Finished>,
    /// Steps done.
    reached: u64,
    gpus: Vec<Gpu>,
    lock: Option<Lock>,
}

impl Run<'_> {
    /// Trains to the end, or until something stops it.
    async fn go(mut self, source: &Source, test: &Source) -> Ended {
        let gpus = self.training.gpus();
        let result = loop {
            match self.steps(source, test).await {
                Err(Error::PeerLost(why)) => match self.after_a_loss(why).await {
                    Ok(None) => {}
                    Ok(Some(finished)) => break Ok(finished),
                    Err(error) => break Err(error),
                },
                ended => break ended,
            }
        };
        let reached = self.training.step_count();
        self.progress.finish();
        Ended { result, reached, gpus, lock: self.lock }
    }

    /// What was asked for where another process is lost: nothing to give where the rest goes on.
    async fn after_a_loss(&mut self, why: String) -> Result<Option<Finished>> {
        let together = &self.options.together;
        let signal = signal::stop_requested();
        let step = self.training.step_count();
        if signal.is_none() && together.on_loss == OnPeerLoss::Abort {
            return Err(Error::PeerLost(format!("{why}; the run ends here: {}", self.resume_from(None))));
        }
        together.note(&format!("step {step}: {why}"));
        let led = together.leads();
        let regrouped = self.training.regroup();
        if let (OnPeerLoss::Shrink, None, Ok(())) = (together.on_loss, signal, &regrouped) {
            if together.leads() && !led {
                self.take_over()?;
            }
            self.say_notes();
            return Ok(None);
        }
        if together.leads() {
            if !led {
                self.take_over()?;
            }
            self.training.rewind();
            self.save().await?;
        }
        together.wait_for_the_save(regrouped.is_ok());
        let steps = self.training.step_count();
        if let Some(signal) = signal {
            return Ok(Some(Finished {
                outcome: Outcome::Interrupted(signal),
                steps,
                test: None,
                profile: self.profile.take(),
            }));
        }
        let not = match (together.on_loss, regrouped) {
            (OnPeerLoss::Shrink, Err(Error::PeerLost(problem))) if problem != why => {
                format!("; the rest cannot go on ({problem})")
            }
            (OnPeerLoss::Shrink, Err(_)) => "; the rest cannot go on without it".into(),
            _ => String::new(),
        };
        Err(Error::PeerLost(format!("{why}{not}; {}", self.resume_from(Some(steps)))))
    }

    /// How to go on.
    fn resume_from(&self, saved: Option<u64>) -> String {
        let saved = saved.map_or("with --resume it goes on from its last checkpoint".into(), |steps| {
            format!("saved after step {steps}, --resume goes on from there")
        });
        format!("{saved}, with as many processes as there are then")
    }

    /// Writes the folder from here on, in the place of a process that is gone.
    fn take_over(&mut self) -> Result<()> {
        self.folder = Folder::taken_over(self.folder.path());
        self.lock = self.folder.begin(self.config)?;
        self.folder.cut_metrics(self.training.step_count())?;
        self.folder.write_tuning(&self.training.choices())?;
        self.log = self.folder.log()?;
        self.progress = Progress::new(&self.options.name, self.total, self.training.step_count());
        Ok(())
    }

    async fn steps(&mut self, source: &Source, test: &Source) -> Result<Finished> {
        let together = &self.options.together;
        let mut batches = source.training(self.training.step_count());
        let every = match self.config.train.checkpoint_every {
            0 => self.per_epoch,
            steps => steps as u64,
        };
        while self.training.step_count() < self.total {
            if let Some(signal) = together.stop_requested()? {
                self.drain().await?;
                self.save().await?;
                let steps = self.training.step_count();
                together.note_once(&format!("interrupted: saved after step {steps}; `--resume` goes on from there"));
                let profile = self.profile.take();
                return Ok(Finished { outcome: Outcome::Interrupted(signal), steps, test: None, profile });
            }
            if let Some(watch) = self.options.watch {
                watch(self.training.step_count(), &self.training.gpus());
            }
            let mode = self.profiler.as_mut().map_or(Mode::AsEver, Profiler::begin_step);
            let waiting = self.profiler.as_ref().map(|profiler| profiler.span("wait for data"));
            let batch = batches.next().expect("training batches have no end");
            drop(waiting);
            let reports = match mode {
                Mode::AsEver => self.training.step(&batch).await,
                Mode::ByKernel => self.step_by_kernel(&batch).await,
            };
            self.say_notes();
            for report in reports? {
                self.record(&report)?;
            }
            self.end_profiled_step(every).await?;
            let done = self.training.step_count();
            if together.compares_after(done) {
                self.training.compare()?;
            }
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
        if together.leads() {
            self.save_model(&model)?;
        }
        self.log.flush()?;
        let (steps, profile) = (self.training.step_count(), self.profile.take());
        Ok(Finished { outcome: Outcome::Done, steps, test: Some(summary), profile })
    }

    fn save_model(&mut self, model: &Checkpoint) -> Result<()> {
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
        self.folder.save_model(model, &certificate)
    }

    fn say_notes(&mut self) {
        for note in self.training.notes() {
            self.progress.note(&self.options.together.signed(&note));
        }
    }

    /// Every process makes the checkpoint, so that all find what is wrong with it; the folder is one's.
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
}
