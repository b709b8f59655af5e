//! Images there and back: constrained networks and their unconstrained twin, Algorithm 1 and the accelerated solver.

use serde::{Deserialize, Serialize};
use std::time::Instant;

use super::findings::{Claim, Findings, Sheet};
use super::round_trip::{FAITHFUL, bounded, encoded, errors_of, finite, in_words, largest};
use super::{Experiment, Lab, Scale, Step, Trained, Training};
use crate::cli::images::Form;
use crate::config::Config;
use crate::error::Result;
use crate::eval::{Inverter, largest_difference};
use crate::nn::{Solver, Stop};
use crate::report::{Axis, Chart, ImageGrid, Section, Series};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "inversion",
    paper: "Figure 2 and appendix D",
    shows: "Classifiers of CIFAR-10 are run backwards from their last activations by fixed-point iteration. The error of the \
            reconstruction against the number of iterations, for several Lipschitz coefficients c, for both solvers, and \
            for the same network without the constraint.",
    found: "constrained networks give images back, within 5 to 20 iterations to the eye; the vanilla network, trained as well \
            as the others, does not after 100.",
    minutes: 17,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// After how many iterations of each block errors are measured.
const ITERATIONS: [u32; 11] = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100];
/// Images inverted.
const IMAGES: usize = 32;
/// Images shown.
const SHOWN: usize = 8;
/// What a vanilla network's error is at least, for it to count as not inverted: one that the eye sees in any pixel.
const LOST: f64 = 0.1;
/// The errors that charts show: from below rounding to far beyond what a picture can hold.
const SHOWN_ERRORS: [f64; 2] = [1e-8, 1e3];
/// Unit of errors.
const UNIT: &str = "1 = from black to white";

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let mut trainings = Vec::new();
    for coefficient in ["0.5", "0.7", "0.9", "none"] {
        let mut config = Config::preset(if scale == Scale::Quick { "cifar10-small" } else { "cifar10" })?;
        config.set("model.coefficient", coefficient)?;
        if scale == Scale::Quick {
            config.data.limit = 10_000;
            config.train.epochs = 1;
        }
        trainings.push(Training::new(label(coefficient), config));
    }
    Ok(trainings)
}

fn label(coefficient: &str) -> String {
    if coefficient == "none" { "vanilla".into() } else { format!("c-{coefficient}") }
}

/// What one solver reached on one network.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Curve {
    /// The largest error of any pixel after each number of [`ITERATIONS`], of the range from black to white; none where it
    /// is without bound.
    errors: Vec<Option<f64>>,
    /// Seconds of each.
    seconds: Vec<f64>,
}

/// All about one network.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    picard: Curve,
    anderson: Curve,
    /// The largest error of Algorithm 1 after the last number of iterations in units of the network's input.
    of_input: Option<f64>,
    /// The images shown.
    originals: Vec<f32>,
    /// What came back of them after the last number of iterations.
    reconstructions: Vec<f32>,
    /// The largest error of a pixel of each of these; none where it is without bound.
    of_shown: Vec<Option<f64>>,
}

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let mut all = Vec::new();
    let mut grid: Option<ImageGrid> = None;
    for Training { name, config, .. } in lab.trainings()? {
        let mut trained = lab.train(&name, &config).await?;
        let measured: Measured = lab.measured(&name, &config.to_toml(), measure(&mut trained)).await?;
        let form = Form::of(&config, &trained.folder)?;
        let rows = grid.take().unwrap_or_else(|| ImageGrid::new().row("original", form.pictures(&measured.originals)));
        let captions = measured.of_shown.iter().map(|&error| finite(error).brief()).collect();
        grid = Some(rows.captioned_row(name.replace('-', " = "), form.pictures(&measured.reconstructions), captions));
        all.push((name, trained.test("accuracy"), measured));
    }
    let axis = || Axis::log("iterations of each block").whole();
    let [low, high] = SHOWN_ERRORS;
    let error = || Axis::log("largest error of a pixel").unit(UNIT).range(low, high);
    // What is without bound leaves the chart at its upper edge.
    let curve = |curve: &Curve| -> Vec<(f64, f64)> {
        let errors = curve.errors.iter().map(|error| error.map_or(f64::from(f32::MAX), |error| error.max(low)));
        ITERATIONS.iter().zip(errors).map(|(&count, error)| (f64::from(count), error)).collect()
    };
    let mut chart = Chart::new("Error of the reconstruction by Algorithm 1", axis(), error());
    for (name, _, measured) in &all {
        chart = chart.series(Series::new(name.replace('-', " = "), curve(&measured.picard)));
    }
    let caption = format!("Largest error of any pixel of {IMAGES} test images, for each network.");
    findings.chart("error-by-coefficient", chart, &caption);
    let (_, _, last) = &all[2];
    let chart = Chart::new("Algorithm 1 and the accelerated solver, c = 0.9", axis(), error())
        .series(Series::new("Algorithm 1", curve(&last.picard)))
        .series(Series::new("Anderson", curve(&last.anderson)));
    findings.chart("error-by-solver", chart, "The same network and images, with and without acceleration.");

    let columns = ["network", "solver", "iterations", "largest error", "seconds"];
    let mut sheet = Sheet::new("errors", format!("{IMAGES} images at once"), columns);
    for (name, _, measured) in &all {
        for (solver, curve) in [("Algorithm 1", &measured.picard), ("Anderson", &measured.anderson)] {
            for (at, count) in ITERATIONS.iter().enumerate() {
                let (error, seconds) = (finite(curve.errors[at]), curve.seconds[at].into());
                sheet.push([name.as_str().into(), solver.into(), f64::from(*count).into(), error, seconds]);
            }
        }
    }
    findings.file(sheet);
    let columns = [
        "network",
        "test error, %",
        "error after 10",
        "after 100",
        "the same in units of the input",
        "seconds for 10",
        "for 100",
    ];
    let caption = format!(
        "Algorithm 1 on each network: largest error of a pixel of {IMAGES} images, of the range from black to white, and \
         seconds for all of them"
    );
    let mut sheet = Sheet::new("summary", caption, columns);
    let [ten, hundred] = [10, 100].map(|count| ITERATIONS.iter().position(|&c| c == count).expect("one of them"));
    for (name, accuracy, Measured { picard, of_input, .. }) in &all {
        let wrong = 100.0 * (1.0 - accuracy);
        sheet.push([
            name.as_str().into(),
            wrong.into(),
            finite(picard.errors[ten]),
            finite(picard.errors[hundred]),
            finite(*of_input),
            picard.seconds[ten].into(),
            picard.seconds[hundred].into(),
        ]);
    }
    findings.sheet(sheet);
    let caption = "Test images, and what each network gives back after 100 iterations of each block; below each its largest \
                   error.";
    if let Some(grid) = grid {
        let section = Section::new("Reconstructions").grid("reconstructions.png", &grid, caption, caption);
        findings.picture(section, "reconstructions.png", caption);
    }
    for (name, _, measured) in &all[..3] {
        let reached = measured.picard.errors[hundred];
        let text = format!("{} is inverted to below {FAITHFUL:.0e}", name.replace('-', " = "));
        let holds = reached.is_some_and(|error| error < FAITHFUL);
        findings.claim(Claim::new(text, holds, format!("{} after 100 iterations", in_words(reached))));
    }
    let vanilla = all[3].2.picard.errors[hundred];
    let text = "the vanilla network is not inverted";
    let holds = vanilla.is_none_or(|error| error > LOST);
    findings.claim(Claim::new(text, holds, format!("error {} after 100", in_words(vanilla))));
    let five = ITERATIONS.iter().position(|&count| count == 5).expect("one of them");
    let fifth = |measured: &Measured| measured.picard.errors[five];
    let infinite = |error: Option<f64>| error.unwrap_or(f64::INFINITY);
    let ordered = all[..3].windows(2).all(|pair| infinite(fifth(&pair[0].2)) <= infinite(fifth(&pair[1].2)));
    let list: Vec<String> = all[..3].iter().map(|(_, _, measured)| in_words(fifth(measured))).collect();
    let text = "the smaller c, the faster";
    findings.claim(Claim::new(text, ordered, format!("after 5 iterations {}", list.join(", "))));
    Ok(findings)
}

async fn measure(trained: &mut Trained) -> Step<Measured> {
    let form = Form::of(&trained.config, &trained.folder)?;
    let (x, z) = encoded(trained, IMAGES).await?;
    let mut curves = Vec::new();
    let mut last = Vec::new();
    for solver in [Solver::Anderson, Solver::Picard] {
        let mut curve = Curve { errors: Vec::new(), seconds: Vec::new() };
        for limit in ITERATIONS {
            let stop = Stop { solver, tolerance: 0.0, limit };
            let inverter = Inverter::new(&mut trained.network, IMAGES, stop).await?;
            // The first one compiles the kernels.
            if curve.seconds.is_empty() {
                inverter.invert(&z).await?;
            }
            let begun = Instant::now();
            let back = inverter.invert(&z).await?;
            curve.seconds.push(begun.elapsed().as_secs_f64());
            curve.errors.push(largest(&errors_of(form, &x, &back.x)));
            last = back.x;
        }
        curves.push(curve);
    }
    let of_input = bounded(largest_difference(&x, &last).into());
    let shown = x.len() / IMAGES * SHOWN;
    let of_shown = errors_of(form, &x[..shown], &last[..shown]);
    // Files of measurements hold numbers only.
    let reconstructions = last[..shown].iter().map(|&x| if x.is_finite() { x } else { f32::MAX }).collect();
    let [anderson, picard] = curves.try_into().unwrap_or_else(|_| unreachable!("two solvers"));
    Ok(Measured { picard, anderson, of_input, originals: x[..shown].to_vec(), reconstructions, of_shown })
}
