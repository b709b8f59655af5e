//! Table 4: bits per dimension.

use serde::{Deserialize, Serialize};

use super::findings::{Cell, Claim, Findings, Sheet};
use super::round_trip::{RoundTrip, RoundTrips};
use super::{Experiment, Lab, Scale, Step, Trained, Training};
use crate::cli::images::Form;
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::error::Result;
use crate::eval::{Demand, Inverter, Summary, estimate};
use crate::nn::{Solver, Stop};
use crate::report::{Section, grid};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "density",
    paper: "Table 4",
    shows: "Bits per dimension of an i-ResNet and of a Glow on MNIST and CIFAR-10, by the rigorous protocol, and samples of both.",
    found: "1.06 bits/dim on MNIST and 3.45 on CIFAR-10; Glow has 1.05 and 3.35.",
    minutes: 25,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// What the paper lists, in bits per dimension on MNIST and CIFAR-10.
const LITERATURE: [(&str, f64, f64); 7] = [
    ("NICE", 4.36, 4.48),
    ("MADE", 2.04, 5.67),
    ("MAF", 1.89, 4.31),
    ("Real NVP", 1.06, 3.49),
    ("Glow", 1.05, 3.35),
    ("FFJORD", 0.99, 3.40),
    ("i-ResNet", 1.06, 3.45),
];

/// Learning rate of the i-ResNets at the reduced scale: they move slower than a Glow, and have few steps.
const QUICK_RATE: f64 = 0.03;
/// Test images that count at the reduced scale.
const EVALUATED: usize = 500;
/// Test images that are encoded and decoded again.
const ENCODED: usize = 100;
/// Samples drawn.
const DRAWN: usize = 32;
/// Blocks are inverted to well below a grey level.
const STOP: Stop = Stop { solver: Solver::Anderson, tolerance: 1e-5, limit: 100 };

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let mut trainings = Vec::new();
    for (set, full) in [("mnist", "mnist-density"), ("cifar10", "cifar10-density-16")] {
        for model in ["iresnet", "glow"] {
            let preset = match (scale, model) {
                (Scale::Paper, "iresnet") => full.into(),
                (Scale::Paper, _) => format!("{set}-glow"),
                (Scale::Quick, "iresnet") => "mnist-small-density".into(),
                (Scale::Quick, _) => "mnist-small-glow".into(),
            };
            let mut config = Config::preset(&preset)?;
            if scale == Scale::Quick {
                config.data.name = set.into();
                config.model.input = vec![if set == "mnist" { 1 } else { 3 }, 32, 32];
                config.model.blocks = vec![4, 4];
                config.data.limit = if set == "mnist" { 20_000 } else { 15_000 };
                config.train.epochs = 1;
                if model == "iresnet" {
                    config.optimizer.lr = QUICK_RATE;
                }
            }
            trainings.push(Training::new(format!("{set}-{model}"), config));
        }
    }
    Ok(trainings)
}

/// What the paper gives for a model on a set.
fn published(set: &str, model: &str) -> Option<f64> {
    let name = if model == "iresnet" { "i-ResNet" } else { "Glow" };
    let (_, mnist, cifar) = LITERATURE.iter().find(|(other, ..)| *other == name)?;
    Some(if set == "mnist" { *mnist } else { *cifar })
}

/// What was found of a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    bits: f64,
    /// Standard error over images.
    error: f64,
    /// Standard error by probes, and bound of the bias.
    probes: f64,
    bias: Option<f64>,
    samples: usize,
    there_and_back: RoundTrip,
    drawn: Vec<f32>,
}

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let columns = [
        "data",
        "model",
        "parameters",
        "bits/dim",
        "over images ±",
        "by probes ±",
        "bias at most",
        "paper",
        "images",
        "minutes",
    ];
    let mut sheet = Sheet::new(
        "bits-per-dim",
        "Bits per dimension on the test set; at the reduced scale on its first images",
        columns,
    );
    let samples = format!("{ENCODED} test images encoded and decoded again; 1 is from black to white");
    let mut trips = RoundTrips::new(&samples, &["data", "model"]);
    let mut all = Vec::new();
    for Training { name, config, .. } in lab.trainings()? {
        let mut trained = lab.train(&name, &config).await?;
        let limit = if lab.is_paper() { None } else { Some(EVALUATED) };
        let found: Found = lab.measured(&name, &config.to_toml(), examine(&mut trained, limit)).await?;
        let (set, model) = name.split_once('-').expect("named so");
        sheet.push([
            set.into(),
            model.into(),
            (trained.parameters() as f64).into(),
            found.bits.into(),
            found.error.into(),
            found.probes.into(),
            Cell::from(found.bias),
            Cell::from(published(set, model)),
            (found.samples as f64).into(),
            (trained.seconds() / 60.0).into(),
        ]);
        trips.push([set.into(), model.into()], &config, &found.there_and_back);
        let pictures = Form::of(&config, &trained.folder)?.pictures(&found.drawn);
        let file = format!("samples-{name}.png");
        let lost = pictures.iter().any(|picture| picture.data().iter().any(|value| value.is_nan()));
        let meaning = if lost { " Magenta: not a number, the inverse overflows there." } else { "" };
        let caption = format!("Samples of {name}, temperature 1.{meaning}");
        let section = Section::new(format!("Samples: {name}")).image(
            &file,
            grid::samples(&pictures, 8, Some(2)),
            &caption,
            &caption,
        );
        findings.picture(section, &file, &caption);
        all.push(found);
    }
    findings.sheet(sheet);
    for (set, pair) in ["MNIST", "CIFAR-10"].into_iter().zip(all.chunks_exact(2)) {
        let (iresnet, glow) = (&pair[0], &pair[1]);
        let text = format!("{set}: the i-ResNet is as good as the Glow, to 5 %");
        let near = iresnet.bits <= 1.05 * glow.bits;
        findings.claim(Claim::new(text, near, format!("{:.3} and {:.3} bits/dim", iresnet.bits, glow.bits)));
        let text = format!("{set}: the i-ResNet's figure is off by less than 1e-3 bits/dim through its estimate");
        let off = iresnet.probes + iresnet.bias.unwrap_or(f64::INFINITY);
        findings.claim(Claim::new(text, off < 1e-3, format!("{off:.1e}")));
    }
    trips.report(&mut findings);
    let mut sheet = Sheet::new("literature", "As the paper lists them, bits/dim", ["model", "MNIST", "CIFAR-10"]);
    for (model, mnist, cifar) in LITERATURE {
        sheet.push([model.into(), mnist.into(), cifar.into()]);
    }
    findings.sheet(sheet);
    Ok(findings)
}

async fn examine(trained: &mut Trained, limit: Option<usize>) -> Step<Found> {
    let source = Source::open(&trained.config, None, Split::Test)?;
    let (batch, seed) = (trained.config.data.batch, trained.config.train.seed);
    let most = limit.map_or(usize::MAX, |limit| limit.div_ceil(batch));
    let batches = || source.once(batch).take(most);
    let demand = Demand { standard_error: 2e-4, ..Demand::default() };
    let found = estimate(&mut trained.network, batch, batches, seed, demand).await?;
    let summary = Summary::of(&found.columns);
    let sampler = Inverter::sampler(&mut trained.network, DRAWN, STOP).await?;
    let drawn = sampler.sample(0, 0, 1.0).await?;
    Ok(Found {
        bits: summary.bits_per_dim.unwrap_or(f64::NAN),
        error: summary.loss_standard_error,
        probes: found.precision.probe_standard_error,
        bias: found.precision.bias_bound,
        samples: summary.samples,
        there_and_back: RoundTrip::of(trained, ENCODED).await?,
        drawn: drawn.x,
    })
}
