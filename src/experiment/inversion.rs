//! Images there and back: constrained networks and their unconstrained twin, Algorithm 1 and the accelerated solver.

use serde::{Deserialize, Serialize};
use std::time::Instant;

use super::findings::{Cell, Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Trained, Training};
use crate::cli::images::Form;
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::error::Result;
use crate::eval::{Evaluator, Inverter, largest_difference};
use crate::nn::{Solver, Stop};
use crate::report::{Axis, Chart, ImageGrid, Section, Series, brief};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "inversion",
    paper: "Figure 2 and appendix D",
    shows: "Classifiers of CIFAR-10 are run backwards from their last activations by fixed-point iteration. The error of the \
            reconstruction against the number of iterations, for several Lipschitz coefficients c, for both solvers, and \
            for the same network without the constraint.",
    found: "constrained networks give images back, within 5 to 20 iterations to the eye; the vanilla network, trained as well \
            as the others, does not after 100.",
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// After how many iterations of each block errors are measured.
const ITERATIONS: [u32; 11] = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100];
/// Images inverted.
const IMAGES: usize = 32;
/// Images shown.
const SHOWN: usize = 8;
/// The error of a pixel that the issue is about: far below a grey level.
const FAITHFUL: f64 = 1e-5;

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let mut trainings = Vec::new();
    for coefficient in ["0.5", "0.7", "0.9", "none"] {
        let mut config = Config::preset(if scale == Scale::Quick { "cifar10-small" } else { "cifar10" })?;
        config.set("model.coefficient", coefficient)?;
        if scale == Scale::Quick {
            config.data.limit = 20_000;
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
    /// The largest error of any pixel after each number of [`ITERATIONS`].
    errors: Vec<f64>,
    /// Seconds of each.
    seconds: Vec<f64>,
}

/// All about one network.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    picard: Curve,
    anderson: Curve,
    /// The images shown.
    originals: Vec<f32>,
    /// What came back of them after the last number of iterations.
    reconstructions: Vec<f32>,
}

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let mut all = Vec::new();
    let mut grid: Option<ImageGrid> = None;
    for Training { name, config } in lab.trainings()? {
        let mut trained = lab.train(&name, &config).await?;
        let measured: Measured = lab.measured(&name, &config.to_toml(), measure(&mut trained)).await?;
        let form = Form::of(&config, &trained.folder)?;
        let rows = grid.take().unwrap_or_else(|| ImageGrid::new().row("original", form.pictures(&measured.originals)));
        let errors = errors_of(&measured.originals, &measured.reconstructions, SHOWN);
        let captions = errors.iter().map(|&error| brief(error)).collect();
        grid = Some(rows.captioned_row(name.replace('-', " = "), form.pictures(&measured.reconstructions), captions));
        all.push((name, trained.test("accuracy"), measured));
    }
    let axis = || Axis::log("iterations of each block").whole();
    let error = || Axis::log("largest error of a pixel");
    let curve = |curve: &Curve| -> Vec<(f64, f64)> {
        ITERATIONS.iter().zip(&curve.errors).map(|(&count, &error)| (f64::from(count), error)).collect()
    };
    let mut chart = Chart::new("Error of the reconstruction by Algorithm 1", axis(), error());
    for (name, _, measured) in &all {
        chart = chart.series(Series::new(name.replace('-', " = "), curve(&measured.picard)));
    }
    findings.chart("error-by-coefficient", chart, "Largest error of any pixel of 32 test images, for each network.");
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
    let columns = ["network", "test error, %", "error after 10", "after 100", "seconds for 10", "for 100"];
    let mut sheet = Sheet::new("summary", "Algorithm 1 on each network", columns);
    let [ten, hundred] = [10, 100].map(|count| ITERATIONS.iter().position(|&c| c == count).expect("one of them"));
    for (name, accuracy, Measured { picard, .. }) in &all {
        let wrong = 100.0 * (1.0 - accuracy);
        sheet.push([
            name.as_str().into(),
            wrong.into(),
            finite(picard.errors[ten]),
            finite(picard.errors[hundred]),
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
        findings.claim(Claim::new(text, reached < FAITHFUL, format!("{reached:.1e} after 100 iterations")));
    }
    let vanilla = all[3].2.picard.errors[hundred];
    let text = "the vanilla network is not inverted";
    findings.claim(Claim::new(text, vanilla.is_nan() || vanilla > 0.1, format!("error {} after 100", brief(vanilla))));
    let ordered = all[..3].windows(2).all(|pair| pair[0].2.picard.errors[3] <= pair[1].2.picard.errors[3]);
    let fifth: Vec<String> = all[..3].iter().map(|(_, _, m)| format!("{:.1e}", m.picard.errors[3])).collect();
    findings.claim(Claim::new(
        "the smaller c, the faster",
        ordered,
        format!("after 5 iterations {}", fifth.join(", ")),
    ));
    Ok(findings)
}

/// A number as a cell; an error that is none, or without bound, in words.
fn finite(error: f64) -> Cell {
    if error.is_finite() { error.into() } else { "without bound".into() }
}

/// The largest error of a pixel in each of `count` images.
fn errors_of(x: &[f32], back: &[f32], count: usize) -> Vec<f64> {
    let len = x.len() / count;
    x.chunks_exact(len).zip(back.chunks_exact(len)).map(|(a, b)| f64::from(largest_difference(a, b))).collect()
}

async fn measure(trained: &mut Trained) -> Step<Measured> {
    let source = Source::open(&trained.config, None, Split::Test)?;
    let x = source.at(&(0..IMAGES as u32).collect::<Vec<_>>()).x.into_data();
    let evaluator = Evaluator::new(&mut trained.network, IMAGES, None).await?;
    evaluator.run(&x, &[0; IMAGES], 0, 0);
    let z = evaluator.read("z").await?;
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
            curve.errors.push(errors_of(&x, &back.x, IMAGES).into_iter().fold(0.0, f64::max).min(f64::MAX));
            last = back.x;
        }
        curves.push(curve);
    }
    let shown = x.len() / IMAGES * SHOWN;
    let [anderson, picard] = curves.try_into().unwrap_or_else(|_| unreachable!("two solvers"));
    Ok(Measured { picard, anderson, originals: x[..shown].to_vec(), reconstructions: last[..shown].to_vec() })
}
