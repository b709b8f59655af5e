//! Table 2: what the constraint costs a classifier.

use super::findings::{Cell, Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Training, images};
use crate::config::{Architecture, Config};
use crate::error::Result;
use crate::report::{Axis, Chart, Series};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "lipschitz-classification",
    paper: "Table 2",
    shows: "The test error of one network with Lipschitz coefficients c from 0.5 to 0.9 on its layers, and without (vanilla).",
    found: "the error falls as c grows; with c = 0.9 it is as low as without the constraint, up to 0.1 % (0.6 % on CIFAR-100).",
    minutes: 21,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

const COEFFICIENTS: [&str; 6] = ["0.5", "0.6", "0.7", "0.8", "0.9", "none"];

/// Where the network without the constraint stands among the errors of a set: behind those of the coefficients.
const VANILLA: usize = COEFFICIENTS.len() - 1;
/// Where the one with batch normalisation stands.
const WITH_BATCH_NORM: usize = COEFFICIENTS.len();

/// A row of the table.
struct Set {
    name: &'static str,
    /// Presets at the reduced scale and at the paper's.
    small: Option<&'static str>,
    full: &'static str,
    /// The paper's test errors in percent: in the order of [`COEFFICIENTS`], and of ResNet-164.
    paper: [f64; 6],
    resnet: Option<f64>,
}

const SETS: [Set; 3] = [
    Set {
        name: "mnist",
        small: Some("mnist-small"),
        full: "mnist",
        paper: [0.86, 0.42, 0.40, 0.42, 0.40, 0.38],
        resnet: None,
    },
    Set {
        name: "cifar10",
        small: Some("cifar10-small"),
        full: "cifar10",
        paper: [8.71, 7.72, 6.93, 6.86, 6.78, 6.69],
        resnet: Some(5.50),
    },
    // Not at the reduced scale: with few steps a hundred classes tell nothing.
    Set {
        name: "cifar100",
        small: None,
        full: "cifar100",
        paper: [29.45, 27.30, 25.99, 24.99, 24.58, 23.97],
        resnet: Some(24.30),
    },
];

/// A network without constraint, with batch normalisation in the place of ActNorm: the paper does not say which of both its
/// vanilla network has.
const BATCH_NORM: &str = "vanilla-batch-norm";
const RESNET: &str = "resnet-164";

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let mut trainings = Vec::new();
    for Set { name: set, small, full, .. } in SETS {
        let Some(preset) = (if scale == Scale::Quick { small } else { Some(full) }) else { continue };
        let mut configs = Vec::new();
        for coefficient in COEFFICIENTS {
            let mut config = Config::preset(preset)?;
            config.set("model.coefficient", coefficient)?;
            configs.push((label(coefficient), config));
        }
        let mut config = configs[COEFFICIENTS.len() - 1].1.clone();
        config.model.architecture = Architecture::Resnet;
        (config.model.batch_norm, config.model.actnorm) = (true, false);
        configs.push((BATCH_NORM.into(), config));
        if scale == Scale::Paper {
            configs.push((RESNET.into(), Config::preset(&format!("{set}-{RESNET}"))?));
        }
        for (label, mut config) in configs {
            if scale == Scale::Quick {
                config.data.limit = 10_000;
                config.train.epochs = 1;
            }
            trainings.push(Training::new(format!("{set}-{label}"), config));
        }
    }
    Ok(trainings)
}

fn label(coefficient: &str) -> String {
    if coefficient == "none" { "vanilla".into() } else { format!("c-{coefficient}") }
}

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let columns = ["data", "network", "test error, %", "standard error", "paper, %", "minutes"];
    let mut sheet = Sheet::new("errors", "Test errors", columns);
    let trainings = lab.trainings()?;
    for Set { name: set, paper, resnet, .. } in SETS {
        let mut errors = Vec::new();
        let samples = images(set);
        let constrained = COEFFICIENTS.into_iter().zip(paper).map(|(c, paper)| (label(c), Some(paper)));
        for (label, paper) in constrained.chain([(BATCH_NORM.into(), None), (RESNET.into(), resnet)]) {
            let name = format!("{set}-{label}");
            let Some(training) = trainings.iter().find(|training| training.name == name) else { continue };
            let trained = lab.train(&name, &training.config).await?;
            let error = 1.0 - trained.test("accuracy");
            let uncertain = samples.map(|[_, test]| 100.0 * (error * (1.0 - error) / test as f64).sqrt());
            errors.push((100.0 * error, uncertain.unwrap_or(0.0)));
            sheet.push([
                set.into(),
                label.into(),
                (100.0 * error).into(),
                Cell::from(uncertain),
                Cell::from(paper),
                (trained.seconds() / 60.0).into(),
            ]);
        }
        if errors.len() < COEFFICIENTS.len() {
            continue;
        }
        let points = COEFFICIENTS.iter().zip(&errors).filter_map(|(c, (error, _))| Some((c.parse().ok()?, *error)));
        let points: Vec<(f64, f64)> = points.collect();
        let level = |at: usize| points.iter().map(|&(c, _)| (c, errors[at].0)).collect();
        let title = format!("Test error by Lipschitz coefficient, {set}");
        let mut chart = Chart::new(
            title,
            Axis::linear("Lipschitz coefficient c of each layer"),
            Axis::linear("test error").unit("%"),
        )
        .series(Series::new("i-ResNet", points.clone()))
        .series(Series::new("without the constraint", level(VANILLA)));
        if errors.len() > WITH_BATCH_NORM {
            chart = chart.series(Series::new("without, with batch normalisation", level(WITH_BATCH_NORM)));
        }
        let caption =
            format!("Test error on {set} against the coefficient; networks without the constraint as levels.");
        findings.chart(&format!("error-by-coefficient-{set}"), chart, &caption);
        let (tight, loose, vanilla) = (errors[0], errors[VANILLA - 1], errors[VANILLA]);
        let several = 2.0 * tight.1.hypot(loose.1);
        findings.claim(Claim::new(
            format!("{set}: c = 0.9 has a lower error than c = 0.5, by more than two standard errors"),
            tight.0 - loose.0 > several,
            format!("{:.2} % and {:.2} %, two standard errors are {several:.2} %", loose.0, tight.0),
        ));
        // Of five errors, each pair of neighbours; sampling may turn around a pair that is close.
        let falls = errors[..VANILLA].windows(2).all(|pair| pair[1].0 <= pair[0].0 + 2.0 * pair[0].1.hypot(pair[1].1));
        let list: Vec<String> = errors[..VANILLA].iter().map(|(error, _)| format!("{error:.2}")).collect();
        findings.claim(Claim::new(
            format!("{set}: the error falls as c grows, up to two standard errors"),
            falls,
            format!("{} % for c = 0.5 to 0.9", list.join(", ")),
        ));
        findings.claim(Claim::new(
            format!("{set}: c = 0.9 is at most one percent behind vanilla"),
            loose.0 - vanilla.0 <= 1.0,
            format!("{:.2} % and {:.2} %", loose.0, vanilla.0),
        ));
    }
    findings.sheet(sheet);
    Ok(findings)
}
