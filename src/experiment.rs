//! The paper's figures and tables, each from one command: `iresnet experiment NAME`.
//!
//! An [`Experiment`] is an entry of the [`CATALOGUE`]: what it shows, which trainings it needs at which [`Scale`], and a
//! function that does it in a [`Lab`]. The laboratory trains (or finds trained) networks, remembers what was measured, so
//! that an interrupted experiment goes on where it was, and writes what was [found](Findings): tables as CSV, charts as
//! SVG and PNG, a page `report.html`, the configurations, and `results.json`, from which [`results`] makes a document of
//! all experiments.
//!
//! One file an experiment. A new one needs a file with a `pub(super) const EXPERIMENT`, and its name in the catalogue.

mod classifiers;
mod density;
mod dynamics;
mod findings;
mod inversion;
mod lab;
mod lipschitz;
mod log_det;
mod memory;
pub mod results;
mod runtime;
mod singular_values;
mod toy_densities;

pub use findings::{Cell, Claim, Findings, Sheet};
pub use lab::{Halt, Lab, Step, Trained};

use std::fmt;
use std::path::Path;
use std::pin::Pin;

use crate::cli::Outcome;
use crate::config::Config;
use crate::data;
use crate::error::Result;
use crate::nn::Model;

/// How large the networks are and how long they train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scale {
    /// Minutes on two processor cores.
    Quick,
    /// The networks and the training of the paper.
    Paper,
}

impl fmt::Display for Scale {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Quick => "quick",
            Self::Paper => "paper",
        })
    }
}

/// A network that an experiment trains.
#[derive(Clone, Debug)]
pub struct Training {
    /// Name of its run folder below that of the experiment.
    pub name: String,
    /// Its configuration.
    pub config: Config,
}

impl Training {
    /// Names a configuration.
    pub fn new(name: impl Into<String>, config: Config) -> Self {
        Self { name: name.into(), config }
    }

    /// Operations (two a multiply-add) of its residual branches in the whole training: one pass forwards and two backwards,
    /// and for a log-determinant of K terms K + 2 more (see `ARCHITECTURE.md`); none where the number of samples is not
    /// known.
    pub fn operations(&self) -> Option<f64> {
        let config = &self.config;
        let model = Model::new(config).ok()?;
        let samples = match config.data.limit {
            0 => images(&config.data.name)?[0],
            limit => limit,
        };
        let series = if config.model.kind.has_density() { config.log_det.terms as f64 + 2.0 } else { 0.0 };
        let passes = 3.0 + series;
        Some(2.0 * passes * model.multiply_adds() as f64 * samples as f64 * config.train.epochs as f64)
    }
}

/// Numbers of training and of test images of the set called `name`, where that has an end.
fn images(name: &str) -> Option<[usize; 2]> {
    data::catalogue().into_iter().find(|entry| entry.name == name)?.images
}

/// What an experiment's function gives.
pub type Run<'a> = Pin<Box<dyn Future<Output = Step<Findings>> + 'a>>;

/// An experiment of the paper.
#[derive(Clone, Copy)]
pub struct Experiment {
    /// What users type.
    pub name: &'static str,
    /// Which figure or table of the paper it is.
    pub paper: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
    /// What the paper found, in a sentence.
    pub found: &'static str,
    /// The networks it trains.
    pub trainings: fn(Scale) -> Result<Vec<Training>>,
    /// Does it.
    pub run: for<'a> fn(&'a Lab) -> Run<'a>,
}

impl fmt::Debug for Experiment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "experiment {}", self.name)
    }
}

impl Experiment {
    /// The one called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        CATALOGUE.iter().find(|experiment| experiment.name == name)
    }

    /// Data sets that it needs and that are not built in, each once.
    ///
    /// # Errors
    /// Those of a preset.
    pub fn data(&self, scale: Scale) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for training in (self.trainings)(scale)? {
            let name = training.config.data.name;
            if !name.contains(':') && !names.contains(&name) && !name.ends_with("-mini") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Operations of all its trainings.
    ///
    /// # Errors
    /// Those of a preset.
    pub fn operations(&self, scale: Scale) -> Result<f64> {
        Ok((self.trainings)(scale)?.iter().filter_map(Training::operations).sum())
    }

    /// Runs it, with everything in `out`; what an earlier run of the same experiment left there is used.
    ///
    /// # Errors
    /// Of data, adapter, device and files.
    pub async fn perform(&'static self, scale: Scale, out: &Path, adapter: Option<String>) -> Result<Outcome> {
        let lab = Lab::open(self, scale, out, adapter).await?;
        let findings = match (self.run)(&lab).await {
            Ok(findings) => findings,
            Err(Halt::Interrupted(outcome)) => return Ok(outcome),
            Err(Halt::Failed(error)) => return Err(error),
        };
        lab.write(&findings)?;
        Ok(Outcome::Done)
    }
}

/// All experiments, in the order of the paper.
pub const CATALOGUE: [Experiment; 10] = [
    dynamics::EXPERIMENT,
    lipschitz::EXPERIMENT,
    inversion::EXPERIMENT,
    classifiers::EXPERIMENT,
    density::EXPERIMENT,
    toy_densities::EXPERIMENT,
    log_det::EXPERIMENT,
    runtime::EXPERIMENT,
    memory::EXPERIMENT,
    singular_values::EXPERIMENT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_experiment_can_be_found_and_its_networks_can_be_built() {
        for experiment in &CATALOGUE {
            assert_eq!(Experiment::find(experiment.name).map(|found| found.paper), Some(experiment.paper));
            for scale in [Scale::Quick, Scale::Paper] {
                let trainings = (experiment.trainings)(scale).unwrap();
                for (number, training) in trainings.iter().enumerate() {
                    Model::new(&training.config)
                        .unwrap_or_else(|error| panic!("{} {}: {error}", experiment.name, training.name));
                    let same = trainings[..number].iter().find(|other| other.name == training.name);
                    assert!(same.is_none(), "{}: two are called {}", experiment.name, training.name);
                }
            }
        }
    }

    #[test]
    fn operations_are_those_of_the_branches() {
        let mut config = Config::preset("mnist-small").unwrap();
        (config.data.limit, config.train.epochs) = (100, 2);
        let once = 2.0 * Model::new(&config).unwrap().multiply_adds() as f64;
        assert_eq!(Training::new("a", config.clone()).operations(), Some(once * 3.0 * 200.0));
        config.data.name = "arrays:a.npz".into();
        config.data.limit = 0;
        assert_eq!(Training::new("a", config).operations(), None);
    }
}
