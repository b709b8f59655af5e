//! Table 3: invertible networks as classifiers.

use super::findings::{Cell, Claim, Findings, Sheet};
use super::round_trip::{RoundTrip, RoundTrips};
use super::{Experiment, Lab, Scale, Step, Training};
use crate::config::{Config, OptimizerName, Schedule};
use crate::error::Result;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "invertible-classifiers",
    paper: "Table 3",
    shows: "Test errors on CIFAR-10 of networks that can be inverted: Glow with affine couplings and learned mixing of channels, \
            Glow with additive couplings and reversed channels, each with three optimizers; an i-ResNet in the layout of a Glow; \
            and an i-ResNet.",
    found: "12.63 % and 12.36 % for the Glows, the best of their optimizers, 8.03 % for the i-ResNet in the layout of a Glow, \
            6.69 % for the i-ResNet.",
    minutes: 20,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

const OPTIMIZERS: [(&str, OptimizerName); 3] =
    [("sgd", OptimizerName::Sgd), ("adam", OptimizerName::Adam), ("adamax", OptimizerName::Adamax)];

/// Networks by name with the paper's test errors in percent.
const NETWORKS: [(&str, f64); 4] =
    [("glow-affine", 12.63), ("glow-additive", 12.36), ("iresnet-glow-style", 8.03), ("iresnet", 6.69)];

/// Test images that are encoded and decoded again.
const ENCODED: usize = 100;

/// Learning rates at the reduced scale and at the paper's, which does not state them.
fn rate(scale: Scale, name: OptimizerName) -> f64 {
    match (scale, name) {
        (Scale::Quick, OptimizerName::Sgd) => 0.02,
        (Scale::Quick, OptimizerName::Adam) => 0.005,
        (Scale::Quick, _) => 0.002,
        (Scale::Paper, OptimizerName::Sgd) => 0.01,
        (Scale::Paper, _) => 0.001,
    }
}

/// What all small networks train on.
fn small(config: &mut Config) {
    config.data.batch = 100;
    config.data.limit = 10_000;
    config.train.epochs = 1;
    config.optimizer.schedule = Schedule::Cosine;
    config.optimizer.warmup = 0.2;
    config.optimizer.clip = 1.0;
}

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let mut trainings = Vec::new();
    let quick = scale == Scale::Quick;
    for (coupling, permutation) in [("affine", "conv1x1"), ("additive", "reverse")] {
        for (label, name) in OPTIMIZERS {
            let mut config = Config::preset("cifar10-glow-classifier")?;
            config.set("model.coupling", coupling)?;
            config.set("model.permutation", permutation)?;
            config.optimizer.name = name;
            config.optimizer.lr = rate(scale, name);
            if quick {
                config.model.blocks = vec![2, 2, 2];
                config.model.channels = vec![32, 48, 64];
                small(&mut config);
            }
            trainings.push(Training::new(format!("glow-{coupling}-{label}"), config));
        }
    }
    let mut style = Config::preset("cifar10-glow-style")?;
    let mut full = Config::preset(if quick { "cifar10-small" } else { "cifar10" })?;
    if quick {
        style.model.blocks = vec![2, 2, 2];
        style.model.channels = vec![32, 64, 64];
        style.optimizer = full.optimizer.clone();
        small(&mut style);
        small(&mut full);
    }
    trainings.push(Training::new("iresnet-glow-style", style));
    trainings.push(Training::new("iresnet", full));
    Ok(trainings)
}

/// The name of a training without its optimizer.
fn network(training: &str) -> &str {
    let suffix = OPTIMIZERS.iter().find_map(|(label, _)| training.strip_suffix(label)?.strip_suffix('-'));
    suffix.unwrap_or(training)
}

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let columns = ["network", "parameters", "test error, %", "best of", "paper, %", "minutes"];
    let mut sheet = Sheet::new("errors", "Test errors on CIFAR-10", columns);
    let samples = format!("{ENCODED} test images encoded and decoded again; 1 is from black to white");
    let mut trips = RoundTrips::new(&samples, &["network"]);
    let mut best = [f64::INFINITY; NETWORKS.len()];
    for Training { name, config, .. } in lab.trainings()? {
        let mut trained = lab.train(&name, &config).await?;
        let found: RoundTrip = lab.measured(&name, &config.to_toml(), RoundTrip::of(&mut trained, ENCODED)).await?;
        trips.push([name.as_str().into()], &config, &found);
        let error = 100.0 * (1.0 - trained.test("accuracy"));
        let kind = NETWORKS.iter().position(|(kind, _)| *kind == network(&name)).expect("a network of the table");
        best[kind] = best[kind].min(error);
        let (group, paper) = NETWORKS[kind];
        sheet.push([
            name.as_str().into(),
            (trained.parameters() as f64).into(),
            error.into(),
            group.into(),
            Cell::Number(paper),
            (trained.seconds() / 60.0).into(),
        ]);
    }
    findings.sheet(sheet);
    let [affine, additive, style, full] = best;
    let glows = affine.min(additive);
    let seen = format!("{full:.2} % and {glows:.2} %");
    findings.claim(Claim::new("the i-ResNet has a lower error than the better Glow", full < glows, seen));
    let seen = format!("{style:.2} % and {glows:.2} %");
    findings.claim(Claim::new("so has the i-ResNet in the layout of a Glow", style < glows, seen));
    let seen = format!("{style:.2} % and {full:.2} %");
    findings.claim(Claim::new("factoring out costs accuracy", style > full, seen));
    trips.report(&mut findings);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_training_belongs_to_a_row_of_the_paper() {
        for training in trainings(Scale::Quick).unwrap() {
            assert!(NETWORKS.iter().any(|(name, _)| *name == network(&training.name)), "{}", training.name);
        }
        assert_eq!(network("glow-affine-adamax"), "glow-affine");
        assert_eq!(network("iresnet-glow-style"), "iresnet-glow-style");
    }
}
