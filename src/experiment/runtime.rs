//! Section 4 of the paper: what spectral normalisation and the log-determinant cost a training step.

use super::findings::{Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Training, in_turns, median};
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
    minutes: 4,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// Power iterations of a step; without the first there is no normalisation.
const ITERATIONS: [Option<usize>; 5] = [None, Some(1), Some(2), Some(5), Some(10)];
/// Terms of the series; 0 stands for no log-determinant.
const TERMS: [usize; 6] = [0, 1, 2, 3, 5, 10];
/// Terms that the paper states a time for.
const FIVE: usize = 5;
/// How many times as long a step is in the paper: with one power iteration, and with five terms.
const PAPER_NORM: f64 = 2.5;
const PAPER_FIVE: f64 = 4.0;

fn trainings(_: Scale) -> Result<Vec<Training>> {
    Ok(Vec::new())
}

/// A density model on the shapes of CIFAR-10 with so many blocks of 64 channels in each of three stages, batch 32: small
/// enough for steps of a second without a GPU.
pub fn small_density(blocks: usize) -> Config {
    let mut config = Config::default();
    config.model.kind = Kind::Density;
    config.model.blocks = vec![blocks; 3];
    config.model.channels = vec![64; 3];
    config.model.initial_squeeze = true;
    config.model.injective_padding = 0;
    config.data.batch = 32;
    config
}

/// Networks and rounds.
fn configurations(scale: Scale) -> Result<(Config, Config, usize)> {
    if scale == Scale::Paper {
        return Ok((Config::preset("cifar10")?, Config::preset("cifar10-density-16")?, 5));
    }
    let mut classifier = Config::default();
    classifier.model.blocks = vec![3, 3, 3];
    classifier.data.batch = 32;
    Ok((classifier, small_density(2), 7))
}

async fn run(lab: &Lab) -> Step<Findings> {
    let (classifier, density, rounds) = configurations(lab.scale)?;
    let mut findings = Findings::default();
    let of = format!("{}{rounds}", classifier.to_toml());
    let norms: Vec<f64> = lab.measured("spectral-norm", &of, spectral_norm(lab, &classifier, rounds)).await?;
    let columns = ["power iterations", "seconds", "times", "paper, times"];
    let mut sheet = Sheet::new("spectral-norm", "A classifier's step, median", columns);
    for (iterations, &seconds) in ITERATIONS.iter().zip(&norms) {
        let name = iterations.map_or("not normalised".into(), |count| count.to_string());
        let paper = (*iterations == Some(1)).then_some(PAPER_NORM);
        sheet.push([name.into(), seconds.into(), (seconds / norms[0]).into(), paper.into()]);
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
    let columns =
        ["terms", "Neumann gradient, seconds", "times", "automatic differentiation, seconds", "times", "paper, times"];
    let mut sheet = Sheet::new("log-det", "A density model's step, median", columns);
    for (at, &terms) in TERMS.iter().enumerate() {
        let (a, b) = (neumann[at], autodiff[at]);
        let paper = (terms == FIVE).then_some(PAPER_FIVE);
        let (of_a, of_b) = ((a / neumann[0]).into(), (b / autodiff[0]).into());
        sheet.push([(terms as f64).into(), a.into(), of_a, b.into(), of_b, paper.into()]);
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
    let text = format!("one power iteration makes a step less than the paper's {PAPER_NORM} times as long");
    findings.claim(Claim::new(text, one < PAPER_NORM, format!("{one:.2} times")));
    let five = TERMS.iter().position(|&terms| terms == FIVE).expect("one of them");
    let times = neumann[five] / neumann[0];
    let text = format!("{FIVE} terms make a step at most the paper's {PAPER_FIVE} times as long");
    findings.claim(Claim::new(text, times <= PAPER_FIVE, format!("{times:.2} times with the Neumann gradient")));
    Ok(findings)
}

/// Medians of the seconds that tasks take, run in turns; each is prepared with its number and the round's.
async fn medians(tasks: &[Task], rounds: usize, prepare: impl Fn(usize, u32)) -> Step<Vec<f64>> {
    let run = async |number: usize| {
        tasks[number].run();
        tasks[number].read("loss").await.map(drop)
    };
    let seconds = in_turns(tasks.len(), rounds, prepare, run).await?;
    Ok(seconds.iter().map(|seconds| median(seconds)).collect())
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
