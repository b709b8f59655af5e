//! The paper's comparison with Glow on densities of the plane.

use serde::{Deserialize, Serialize};

use super::findings::{Cell, Claim, Findings, Sheet};
use super::round_trip::{RoundTrip, RoundTrips};
use super::{Experiment, Lab, Scale, Step, Trained, Training};
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::data::toy::{self, Toy};
use crate::error::Result;
use crate::eval::{Evaluator, PlaneDensity, mean_and_error};
use crate::nn::{Activation, LogDet};
use crate::report::density::EXTENT;
use crate::report::{DensityPanels, Section};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "toy-densities",
    paper: "Figure 5",
    shows: "Densities of eight sets of points in the plane, learned by an i-ResNet and by a Glow with about as many parameters, \
            both with exact log-determinants.",
    found: "the i-ResNet follows modes and gaps where Glow, which changes one coordinate at a time, leaves bridges; it \
            shows pictures, not likelihoods.",
    minutes: 30,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// Points along each side of a map.
const SIDE: usize = 128;
/// Test points whose likelihood is averaged, at a time.
const BATCH: usize = 1000;
/// How many standard errors of the difference count as chance.
const CHANCE: f64 = 2.0;
/// Of 100 steps each; a preset has 25.
const QUICK_EPOCHS: usize = 20;
/// Twenty blocks want all the slope that they may have; the paper has a hundred.
const QUICK_COEFFICIENT: f64 = 0.99;

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let presets = match scale {
        Scale::Quick => ["toy-checkerboard", "toy-checkerboard-glow"],
        Scale::Paper => ["toy-100", "toy-100-glow"],
    };
    let mut trainings = Vec::new();
    for set in Toy::ALL {
        for (preset, model) in presets.into_iter().zip(["iresnet", "glow"]) {
            let mut config = Config::preset(preset)?;
            config.data.name = format!("toy:{}", set.name());
            if scale == Scale::Quick {
                config.train.epochs = QUICK_EPOCHS;
                if model == "iresnet" {
                    config.model.activation = Activation::LipSwish;
                    config.model.coefficient = Some(QUICK_COEFFICIENT);
                }
            }
            trainings.push(Training::new(format!("{}-{model}", set.name()), config));
        }
    }
    Ok(trainings)
}

/// What a network made of a set.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Learned {
    parameters: usize,
    /// Mean log-likelihood of test points in nats, and its standard error.
    log_likelihood: [f64; 2],
    /// Of each test point, to compare two networks on the same points.
    each: Vec<f64>,
    integral: f64,
    there_and_back: RoundTrip,
    /// The density at the centres of cells.
    map: Vec<f64>,
}

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let columns =
        ["data", "i-ResNet, nats", "Glow, nats", "difference", "its standard error", "best possible", "integrals"];
    let caption = "Mean log-likelihood of test points, higher is better";
    let mut sheet = Sheet::new("log-likelihoods", caption, columns);
    let samples = format!("{BATCH} test points encoded and decoded again");
    let mut trips = RoundTrips::new(&samples, &["data", "model"]);
    let mut sizes = [0, 0];
    let trainings = lab.trainings()?;
    lab.train_in_pairs(&trainings)?;
    for pair in trainings.chunks_exact(2) {
        let set = pair[0].config.data.name.clone();
        let mut learned = Vec::new();
        for Training { name, config, .. } in pair {
            let mut trained = lab.train(name, config).await?;
            learned.push(lab.measured(name, &config.to_toml(), examine(&mut trained)).await?);
        }
        let [iresnet, glow]: [Learned; 2] = learned.try_into().unwrap_or_else(|_| unreachable!("two of each"));
        sizes = [iresnet.parameters, glow.parameters];
        let differences: Vec<f64> = iresnet.each.iter().zip(&glow.each).map(|(a, b)| a - b).collect();
        let [difference, error] = mean_and_error(&differences);
        let name = set.trim_start_matches("toy:");
        findings.claim(Claim::new(
            format!(
                "{name}: the i-ResNet is no worse than the Glow, up to {CHANCE:.0} standard errors of the difference"
            ),
            difference >= -CHANCE * error,
            format!("{difference:+.3} ± {error:.3} nats"),
        ));
        for ((model, learned), training) in [("i-ResNet", &iresnet), ("Glow", &glow)].into_iter().zip(pair) {
            trips.push([set.as_str().into(), model.into()], &training.config, &learned.there_and_back);
        }
        let integrals = format!("{:.3}, {:.3}", iresnet.integral, glow.integral);
        sheet.push([
            set.as_str().into(),
            iresnet.log_likelihood[0].into(),
            glow.log_likelihood[0].into(),
            difference.into(),
            error.into(),
            Cell::from(toy::negative_entropy(&set)),
            integrals.into(),
        ]);
        let source = Source::open(&pair[0].config, None, Split::Test)?;
        let points = source.at(&(0..20_000).collect::<Vec<_>>()).x.into_data();
        let points: Vec<[f32; 2]> = points.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
        let panels = DensityPanels::new().histogram("data", &points).heat_map("Glow", SIDE, glow.map).heat_map(
            "i-ResNet",
            SIDE,
            iresnet.map,
        );
        let file = format!("{name}.png");
        let caption = format!("{set}: data, and what a Glow and an i-ResNet make of it.");
        let section = Section::new(name).densities(&file, &panels, &caption, &caption);
        findings.picture(section, &file, &caption);
    }
    findings.sheet(sheet);
    let [iresnet, glow] = sizes;
    let text = "both have about as many parameters (to 20 %)";
    let near = (iresnet as f64 / glow as f64 - 1.0).abs() < 0.2;
    findings.claim(Claim::new(text, near, format!("{iresnet} and {glow}")));
    trips.report(&mut findings);
    Ok(findings)
}

async fn examine(trained: &mut Trained) -> Step<Learned> {
    let parameters = trained.parameters();
    let source = Source::open(&trained.config, None, Split::Test)?;
    let evaluator = Evaluator::new(&mut trained.network, BATCH, Some(LogDet::Exact)).await?;
    let columns = evaluator.columns(source.once(BATCH), trained.config.train.seed, 0).await?;
    let each = columns.get("log_prob").cloned().unwrap_or_default();
    let there_and_back = RoundTrip::of(trained, BATCH).await?;
    let density = PlaneDensity::of(&mut trained.network, EXTENT, SIDE).await?;
    let integral = density.integral();
    Ok(Learned {
        parameters,
        log_likelihood: mean_and_error(&each),
        each,
        integral,
        there_and_back,
        map: density.values,
    })
}
