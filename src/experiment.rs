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
mod round_trip;
mod runtime;
mod singular_values;
mod toy_densities;
mod turns;

pub use findings::{Cell, Claim, Findings, Sheet};
pub use lab::{Halt, Lab, Step, Trained};
pub use runtime::small_density;
pub use turns::{in_turns, median};

use std::fmt;
use std::path::Path;
use std::pin::Pin;

use crate::cli::{Outcome, output};
use crate::config::Config;
use crate::data;
use crate::error::Result;
use crate::nn::logdet::Law;
use crate::nn::{LogDet, Model};

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
    /// Whether its samples are made by the experiment, whatever the configuration says of data.
    pub own_samples: bool,
}

impl Training {
    /// Names a configuration.
    pub fn new(name: impl Into<String>, config: Config) -> Self {
        Self { name: name.into(), config, own_samples: false }
    }

    /// The same on samples that the experiment makes.
    pub fn on_own_samples(name: impl Into<String>, config: Config) -> Self {
        Self { own_samples: true, ..Self::new(name, config) }
    }

    /// Operations (two a multiply-add) of its blocks in the whole training: one pass forwards and two backwards, and what the
    /// log-determinant adds to them; none where the number of samples is not known.
    pub fn operations(&self) -> Option<f64> {
        let config = &self.config;
        let model = Model::new(config).ok()?;
        let samples = match config.data.limit {
            0 => images(&config.data.name)?[0],
            limit => limit,
        };
        let passes = 3.0 + passes_of_log_det(&model);
        Some(2.0 * passes * model.multiply_adds() as f64 * samples as f64 * config.train.epochs as f64)
    }
}

/// Passes through all branches that the log-determinant adds to a step (see `ARCHITECTURE.md`): none for a formula; for K
/// terms K + 2 with the Neumann gradient, and three for each where every term is differentiated; by the full Jacobian as many
/// as for one term, for each dimension of the largest block.
fn passes_of_log_det(model: &Model) -> f64 {
    let neumann = |terms: f64, samples: usize| samples as f64 * (terms + 2.0);
    match model.training_log_det() {
        None => 0.0,
        Some(LogDet::Exact) => {
            let dimensions = model.blocks().iter().map(|block| block.branch.input.len());
            3.0 * dimensions.max().unwrap_or(0) as f64
        }
        Some(LogDet::Series { terms, samples, .. }) => 3.0 * (samples * terms) as f64,
        Some(LogDet::Neumann { terms, samples, .. }) => neumann(terms as f64, samples),
        Some(LogDet::Unbiased { law, exact_terms, samples, .. }) => {
            let further = match law {
                Law::Geometric { probability } => 1.0 / probability,
                Law::Poisson { rate } => rate,
            };
            neumann(exact_terms as f64 + further, samples)
        }
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
    /// About how many minutes it takes at [`Scale::Quick`] on two processor cores (lavapipe).
    pub minutes: u32,
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
        for training in (self.trainings)(scale)?.into_iter().filter(|training| !training.own_samples) {
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
            Err(Halt::Interrupted(outcome)) => {
                output::note(&format!("{}: interrupted; the same command goes on from here", self.name));
                return Ok(outcome);
            }
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

    /// What the reduced scale is for.
    const MOST_MINUTES: u32 = 40;

    #[test]
    fn none_takes_longer_than_promised() {
        for experiment in &CATALOGUE {
            assert!((1..=MOST_MINUTES).contains(&experiment.minutes), "{}", experiment.name);
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

    /// A series costs what its terms cost, a formula nothing, a Jacobian of the plane its two columns.
    #[test]
    fn log_determinants_are_part_of_the_operations() {
        for (preset, passes) in [
            ("mnist-small", 0.0),
            ("mnist-small-density", 7.0),
            ("mnist-small-glow", 0.0),
            ("toy-8gaussians", 6.0),
            ("toy-8gaussians-glow", 0.0),
        ] {
            let model = Model::new(&Config::preset(preset).unwrap()).unwrap();
            assert!((passes_of_log_det(&model) - passes).abs() < 1e-9, "{preset}: {}", passes_of_log_det(&model));
        }
    }
}
