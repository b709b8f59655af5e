//! Section 4 of the paper: what spectral normalisation and the log-determinant cost a training step.

use std::time::Instant;

use super::findings::{Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Training};
use crate::config::{Config, Kind};
use crate::error::Result;
use crate::gpu::Tuning;
use crate::network::{self, Network, Task};
use crate::nn::{LogDet, Model, Probes, param};
use crate::random::{Distribution, Key};
use crate::report::{Axis, Chart, Series};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "runtime",
    paper: "Section 4.1 and 4.3",
    shows: "Seconds of a training step with and without spectral normalisation, by the number of power iterations, and of a \
            density model's step by the number of terms of the series and the kind of its gradient.",
    found: "0.5 s with one power iteration and 0.2 s without (2.5 times); five terms make a step about 4 times as long.",
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// Power iterations of a step; without the first there is no normalisation.
const ITERATIONS: [Option<usize>; 5] = [None, Some(1), Some(2), Some(5), Some(10)];
/// Terms of the series; 0 stands for no log-determinant.
const TERMS: [usize; 6] = [0, 1, 2, 3, 5, 10];

fn trainings(_: Scale) -> Result<Vec<Training>> {
    Ok(Vec::new())
}

/// Networks and rounds.
fn configurations(scale: Scale) -> Result<(Config, Config, usize)> {
    if scale == Scale::Paper {
        return Ok((Config::preset("cifar10")?, Config::preset("cifar10-density-16")?, 5));
    }
    let mut classifier = Config::default();
    classifier.model.blocks = vec![3, 3, 3];
    classifier.data.batch = 32;
    let mut density = Config::default();
    density.model.kind = Kind::Density;
    density.model.blocks = vec![2, 2, 2];
    density.model.channels = vec![64, 64, 64];
    density.model.initial_squeeze = true;
    density.model.injective_padding = 0;
    density.data.batch = 32;
    Ok((classifier, density, 7))
}

async fn run(lab: &Lab) -> Step<Findings> {
    let (classifier, density, rounds) = configurations(lab.scale)?;
    let mut findings = Findings::default();
    let of = format!("{}{rounds}", classifier.to_toml());
    let norms: Vec<f64> = lab.measured("spectral-norm", &of, spectral_norm(lab, &classifier, rounds)).await?;
    let mut sheet =
        Sheet::new("spectral-norm", "A classifier's step, median", ["power iterations", "seconds", "times"]);
    for (iterations, &seconds) in ITERATIONS.iter().zip(&norms) {
        let name = iterations.map_or("not normalised".into(), |count| count.to_string());
        sheet.push([name.into(), seconds.into(), (seconds / norms[0]).into()]);
    }
    findings.sheet(sheet);
    let points = ITERATIONS.iter().zip(&norms).filter_map(|(count, s)| Some(((*count)? as f64, s / norms[0])));
    let chart = Chart::new(
        "Spectral normalisation",
        Axis::linear("power iterations a step").whole(),
        Axis::linear("step's time, relative to no normalisation"),
    )
    .series(Series::new("", points.collect()));
    findings.chart("spectral-norm", chart, "Time of a classifier's training step.");

    let of = format!("{}{rounds}", density.to_toml());
    let [neumann, autodiff]: [Vec<f64>; 2] = lab.measured("log-det", &of, log_det(lab, &density, rounds)).await?;
    let columns = ["terms", "Neumann gradient, seconds", "times", "automatic differentiation, seconds", "times"];
    let mut sheet = Sheet::new("log-det", "A density model's step, median", columns);
    for (at, &terms) in TERMS.iter().enumerate() {
        let (a, b) = (neumann[at], autodiff[at]);
        sheet.push([(terms as f64).into(), a.into(), (a / neumann[0]).into(), b.into(), (b / autodiff[0]).into()]);
    }
    findings.sheet(sheet);
    let points = |seconds: &[f64]| {
        TERMS.iter().zip(seconds).map(|(&terms, s)| (terms as f64, s / seconds[0])).collect::<Vec<_>>()
    };
    let chart = Chart::new(
        "Log-determinant",
        Axis::linear("terms of the series").whole(),
        Axis::linear("step's time, relative to no log-determinant"),
    )
    .series(Series::new("Neumann gradient", points(&neumann)))
    .series(Series::new("automatic differentiation", points(&autodiff)));
    findings.chart("log-det", chart, "Time of a density model's training step.");

    let one = norms[1] / norms[0];
    let text = "one power iteration costs less than the paper's 2.5 times";
    findings.claim(Claim::new(text, one < 2.5, format!("{one:.2} times")));
    let five = TERMS.iter().position(|&terms| terms == 5).expect("one of them");
    let times = neumann[five] / neumann[0];
    let text = "five terms cost at most the paper's 4 times";
    findings.claim(Claim::new(text, times <= 4.0, format!("{times:.2} times with the Neumann gradient")));
    Ok(findings)
}

/// Medians of the seconds that tasks take, run in turns after one round to warm up; each is prepared with its number and
/// the round's.
async fn medians(tasks: &[Task], rounds: usize, prepare: impl Fn(usize, u32)) -> Step<Vec<f64>> {
    let mut seconds = vec![Vec::new(); tasks.len()];
    for round in 0..=rounds {
        for (number, (task, seconds)) in tasks.iter().zip(&mut seconds).enumerate() {
            prepare(number, round as u32);
            let begun = Instant::now();
            task.run();
            task.read("loss").await?;
            if round > 0 {
                seconds.push(begun.elapsed().as_secs_f64());
            }
        }
    }
    let median = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    Ok(seconds.into_iter().map(median).collect())
}

async fn spectral_norm(lab: &Lab, config: &Config, rounds: usize) -> Step<Vec<f64>> {
    let n = config.data.batch;
    let labels: Vec<f32> = (0..n).map(|sample| (sample % config.model.classes) as f32).collect();
    let (mut tasks, mut networks) = (Vec::new(), Vec::new());
    for iterations in ITERATIONS {
        let mut config = config.clone();
        match iterations {
            None => config.model.coefficient = None,
            Some(count) => config.model.power_iterations = count,
        }
        let model = Model::new(&config)?;
        let values = param::initialize(model.params(), config.train.seed);
        let x = Key::new(1, 0, 0).normals(n * model.input_len());
        let graph = model.gradient_graph(n, Probes::Keys);
        let mut network = Network::new(lab.gpu(), model, &values, Tuning::usual())?;
        let task = network.task("gradient", &graph).await?;
        task.write("x", &x);
        task.write("labels", &labels);
        tasks.push(task);
        networks.push(network);
    }
    medians(&tasks, rounds, |_, _| {}).await
}

async fn log_det(lab: &Lab, config: &Config, rounds: usize) -> Step<[Vec<f64>; 2]> {
    let n = config.data.batch;
    let model = Model::new(config)?;
    let values = param::initialize(model.params(), config.train.seed);
    let x = Key::new(1, 0, 0).normals(n * model.input_len());
    let mut network = Network::new(lab.gpu(), model.clone(), &values, Tuning::usual())?;
    let probe = Distribution::Normal;
    let (mut tasks, mut streams) = (Vec::new(), Vec::new());
    for neumann in [true, false] {
        for terms in TERMS {
            let log_det = match (terms, neumann) {
                (0, _) => None,
                (_, true) => Some(LogDet::Neumann { terms, samples: 1, probe }),
                (_, false) => Some(LogDet::Series { terms, samples: 1, probe }),
            };
            streams.push(model.streams(log_det.as_ref()));
            let graph = model.with_gradients(model.loss_graph_by(n, Probes::Keys, log_det));
            let task = network.task(&format!("{terms} terms"), &graph).await?;
            task.write("x", &x);
            tasks.push(task);
        }
    }
    let found = medians(&tasks, rounds, |number, round| {
        if streams[number] > 0 {
            tasks[number].write("keys", &network::keys(1, round, streams[number]));
        }
    });
    let mut found = found.await?;
    let autodiff = found.split_off(TERMS.len());
    Ok([found, autodiff])
}
