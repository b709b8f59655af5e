//! Where an experiment is done: it trains networks, remembers measurements, and writes everything into one folder.

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::findings::{Claim, Figure, Sheet};
use super::{Experiment, Findings, Scale, Training};
use crate::checkpoint::Checkpoint;
use crate::cli::{Outcome, doctor, model, output, signal};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, block_on};
use crate::network::Network;
use crate::report::{Metrics, Report, Section, write_file};
use crate::run::{self, Options};
use crate::train::Trainer;

/// Why an experiment ended early.
#[derive(Debug)]
pub enum Halt {
    /// A signal asked to stop; what was done until then is kept.
    Interrupted(Outcome),
    /// It failed.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A result of a part of an experiment.
pub type Step<T> = std::result::Result<T, Halt>;

/// A trained network on its adapter.
pub struct Trained {
    /// The folder of its run.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// The network.
    pub network: Network,
    /// What was recorded.
    pub metrics: Metrics,
}

impl Trained {
    /// Number of its trained parameters.
    pub fn parameters(&self) -> usize {
        let trained = self.network.model().params().iter().filter(|param| param.is_parameter());
        trained.map(|param| param.shape.len()).sum()
    }

    /// The last value of `key` on the test split.
    pub fn test(&self, key: &str) -> f64 {
        self.metrics.evaluation("test", key).last().map_or(f64::NAN, |&(_, value)| value)
    }

    /// Seconds that the training took, without its last evaluation.
    pub fn seconds(&self) -> f64 {
        self.metrics.training("seconds").last().map_or(f64::NAN, |&(_, value)| value)
    }
}

/// What a document of results is made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The experiment.
    pub name: String,
    /// `quick` or `paper`.
    pub scale: String,
    /// Version of the program.
    pub version: String,
    /// Operating system and processor.
    pub machine: String,
    /// Adapter and driver.
    pub adapter: String,
    /// Seeds of the trainings, each once.
    pub seeds: Vec<u64>,
    /// Seconds of work in all, over all attempts.
    pub seconds: f64,
    /// Operations of its trainings at the scale of the paper.
    pub paper_operations: f64,
    /// Tables.
    pub sheets: Vec<Sheet>,
    /// Claims.
    pub claims: Vec<Claim>,
    /// Figures.
    pub figures: Vec<Figure>,
}

/// The folder of an experiment, and what belongs to its doing.
pub struct Lab {
    experiment: &'static Experiment,
    /// How large everything is.
    pub scale: Scale,
    out: PathBuf,
    adapter: Option<String>,
    gpu: Gpu,
    begun: Instant,
    /// Seconds of earlier attempts.
    before: f64,
}

/// Name of the file that keeps the seconds of earlier attempts.
const SECONDS: &str = "seconds.json";
/// Name of the file that [`Results`] are written to.
pub const RESULTS: &str = "results.json";

impl Lab {
    pub(super) async fn open(
        experiment: &'static Experiment,
        scale: Scale,
        out: &Path,
        adapter: Option<String>,
    ) -> Result<Self> {
        fs::create_dir_all(out).map_err(|source| Error::Io { path: out.into(), source })?;
        let before = fs::read(out.join(SECONDS)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        signal::listen();
        let gpu = Gpu::open(adapter.as_deref()).await?;
        let before = before.unwrap_or(0.0);
        Ok(Self { experiment, scale, out: out.into(), adapter, gpu, begun: Instant::now(), before })
    }

    /// The folder.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Whether this is the scale of the paper.
    pub fn is_paper(&self) -> bool {
        self.scale == Scale::Paper
    }

    /// The trainings of the experiment at this scale.
    ///
    /// # Errors
    /// Those of a preset.
    pub fn trainings(&self) -> Result<Vec<Training>> {
        (self.experiment.trainings)(self.scale)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Trains a network in the folder `name`, goes on training where that was interrupted, or finds it trained.
    ///
    /// # Errors
    /// [`Halt`].
    pub async fn train(&self, name: &str, config: &Config) -> Step<Trained> {
        let done = self.complete(name, config).await;
        self.keep_time()?;
        done?;
        let folder = self.out.join(name);
        let (network, config) = model::place(&self.gpu, Checkpoint::load(&folder.join(run::MODEL))?)?;
        let metrics = Metrics::read(&folder.join("metrics.jsonl"))?;
        Ok(Trained { folder, config, network, metrics })
    }

    /// Trains networks as [`train`](Self::train) does, two at a time: a small one alone leaves its adapter waiting between
    /// its many short dispatches.
    ///
    /// # Errors
    /// [`Halt`].
    pub fn train_in_pairs(&self, trainings: &[Training]) -> Step<()> {
        let waiting = Mutex::new(trainings.iter());
        let next = || waiting.lock().expect("nobody panics with it").next();
        let train = || -> Step<()> {
            while let Some(Training { name, config, .. }) = next() {
                block_on(self.complete(name, config))?;
            }
            Ok(())
        };
        // Where one ends early, the other begins no more.
        let work = || train().inspect_err(|_| while next().is_some() {});
        let both = thread::scope(|scope| {
            [scope.spawn(work), scope.spawn(work)].map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        self.keep_time()?;
        both.into_iter().collect()
    }

    async fn complete(&self, name: &str, config: &Config) -> Step<()> {
        output::note(&format!("{}: training {name}", self.experiment.name));
        let adapters = self.adapter.iter().cloned().collect();
        let options = Options { adapters, name: name.into(), ..Options::new(config.clone(), self.out.join(name)) };
        match run::complete(options).await? {
            Outcome::Done => Ok(()),
            outcome => Err(Halt::Interrupted(outcome)),
        }
    }

    /// The result of `measure`, or of an earlier attempt to measure the same: `key` names it, `of` is all that it depends
    /// on, in words.
    ///
    /// # Errors
    /// [`Halt`].
    pub async fn measured<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        of: &str,
        measure: impl Future<Output = Step<T>>,
    ) -> Step<T> {
        #[derive(Serialize, Deserialize)]
        struct Kept<T> {
            of: String,
            value: T,
        }
        let path = self.out.join("measured").join(format!("{key}.json"));
        let of = blake3::hash(format!("{} {of}", env!("CARGO_PKG_VERSION")).as_bytes()).to_hex().to_string();
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept<T>>(&bytes).ok());
        if let Some(kept) = kept.filter(|kept| kept.of == of) {
            return Ok(kept.value);
        }
        if let Some(signal) = signal::stop_requested() {
            return Err(Halt::Interrupted(Outcome::Interrupted(signal)));
        }
        output::note(&format!("{}: measuring {key}", self.experiment.name));
        let value = measure.await?;
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
        let kept = Kept { of, value };
        write_file(&path, serde_json::to_string(&kept).expect("measurements are JSON").as_bytes())?;
        self.keep_time()?;
        Ok(kept.value)
    }

    /// Where a training that the experiment does by itself is kept while it is interrupted.
    fn paused(&self, name: &str) -> PathBuf {
        self.out.join(format!("{name}.paused.safetensors"))
    }

    /// The state in which [`may_stop`](Self::may_stop) left the training `name` of this configuration, if it did.
    pub fn left(&self, name: &str, config: &Config) -> Option<Checkpoint> {
        Checkpoint::load(&self.paused(name)).ok().filter(|checkpoint| checkpoint.config == *config)
    }

    /// To be called between the steps of a training that the experiment does by itself: where a signal asked to stop, saves
    /// the training for [`left`](Self::left).
    ///
    /// # Errors
    /// [`Halt`].
    pub async fn may_stop(&self, name: &str, trainer: &mut Trainer) -> Step<()> {
        let Some(signal) = signal::stop_requested() else { return Ok(()) };
        while trainer.report(true).await?.is_some() {}
        trainer.checkpoint().await?.save(&self.paused(name))?;
        self.keep_time()?;
        Err(Halt::Interrupted(Outcome::Interrupted(signal)))
    }

    /// Removes what [`may_stop`](Self::may_stop) saved of a training that has come to its end.
    pub fn forget(&self, name: &str) {
        // A file that stays does no harm: whoever finds it measures again from there.
        let _ = fs::remove_file(self.paused(name));
    }

    fn seconds(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    fn keep_time(&self) -> Result<()> {
        write_file(&self.out.join(SECONDS), self.seconds().to_string().as_bytes())
    }

    /// Writes what was found.
    pub(super) fn write(&self, findings: &Findings) -> Result<()> {
        let trainings = self.trainings()?;
        let experiment = self.experiment;
        findings.write(&self.out)?;
        let adapter = self.gpu.info().to_string();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let mut seeds: Vec<u64> = trainings.iter().map(|training| training.config.train.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let results = Results {
            name: experiment.name.into(),
            scale: self.scale.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            machine: format!("{}, {processors} processors", doctor::describe_machine()),
            adapter,
            seeds,
            seconds: self.seconds(),
            paper_operations: experiment.operations(Scale::Paper)?,
            sheets: findings.sheets.clone(),
            claims: findings.claims.clone(),
            figures: findings.figures.clone(),
        };
        let json = serde_json::to_string_pretty(&results).expect("results are JSON");
        write_file(&self.out.join(RESULTS), json.as_bytes())?;
        let page = self.page(findings, &results, &trainings).write(&self.out)?;
        self.keep_time()?;
        for claim in &findings.claims {
            let verdict = if claim.holds { "holds" } else { "DOES NOT HOLD" };
            output::print(&format!("{verdict}: {} ({})", claim.text, claim.measured));
        }
        output::print(&format!("{}", page.display()));
        Ok(())
    }

    fn page(&self, findings: &Findings, results: &Results, trainings: &[Training]) -> Report {
        let experiment = self.experiment;
        let scale = if self.is_paper() {
            "The networks and the training are those of the paper."
        } else {
            "This is the reduced scale: small networks, few steps. Orderings may be compared with the paper's, numbers not."
        };
        let mut report = Report::new(format!("{}: {}", experiment.name, experiment.paper))
            .lead(&format!("{} {scale}", experiment.shows))
            .lead(&format!("The paper: {}", experiment.found))
            .key_figure("Scale", self.scale.to_string())
            .key_figure("Minutes", format!("{:.0}", results.seconds / 60.0))
            .key_figure("Held", {
                let held = findings.claims.iter().filter(|claim| claim.holds).count();
                format!("{held} of {}", findings.claims.len())
            });
        let mut section = Section::new("Results").table(&findings.verdicts());
        for (_, chart, caption) in &findings.charts {
            section = section.chart(chart, caption);
        }
        for sheet in &findings.sheets {
            section = section.table(&sheet.table());
        }
        report = report.section(section);
        for section in &findings.sections {
            report = report.section(section.clone());
        }
        let made = format!(
            "iresnet {} on {}, {}; seeds {:?}; {:.0} seconds in all.",
            results.version, results.adapter, results.machine, results.seeds, results.seconds
        );
        let configuration = |training: &Training| {
            let note = if training.own_samples { ", on samples that the experiment makes" } else { "" };
            format!("# {}{note}\n{}", training.name, training.config.to_toml())
        };
        let configurations: Vec<String> = trainings.iter().map(configuration).collect();
        report.section(Section::new("How it was made").prose(&made)).configuration(configurations.join("\n"))
    }
}
