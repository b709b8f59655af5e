//! Figure 1: what a network does to the line, block by block.

use super::findings::{Cell, Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Training};
use crate::config::{Config, Estimator, Kind, OptimizerName, Schedule};
use crate::error::Result;
use crate::eval::Evaluator;
use crate::gpu::Tuning;
use crate::nn::model::{block_input, target};
use crate::random::{Distribution, Key};
use crate::report::{Axis, Chart, Series};
use crate::train::Trainer;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "dynamics-1d",
    paper: "Figure 1",
    shows: "Two networks learn to send 64 points of [-2, 2] to noisy values of x³ at half their depth and to noisy values of x at \
            the end, an ordinary ResNet and one whose branches are contractive. A map of the line is invertible where no two paths meet.",
    found: "paths of the ResNet cross and collapse, so that it has no inverse; those of the i-ResNet never do.",
    minutes: 4,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// Blocks of the networks; half of them lead to x³.
const BLOCKS: usize = 20;
/// Standard deviation of the noise on what is learned. Points and noise are drawn once: a network that is free to do so
/// learns the noise, for which neighbours must change places.
const NOISE: f64 = 0.2;
/// Points learned.
const LEARNED: usize = 64;
/// Paths drawn.
const DRAWN: usize = 33;
/// Paths by which order is judged.
const JUDGED: usize = 401;
/// The interval reaches from minus this to this.
const REACH: f64 = 2.0;

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let mut config = Config::default();
    config.model.kind = Kind::Toy;
    config.model.input = vec![1];
    config.model.blocks = vec![BLOCKS];
    config.model.strides = vec![1];
    config.model.channels = vec![32];
    config.model.hidden_layers = 2;
    config.model.injective_padding = 0;
    config.model.actnorm = false;
    config.model.coefficient = Some(0.9);
    config.model.power_iterations = 5;
    // Not computed; what is asked for must only be possible without the constraint as well.
    config.log_det.estimator = Estimator::Exact;
    config.data.batch = LEARNED;
    config.optimizer.name = OptimizerName::Adam;
    config.optimizer.lr = 0.003;
    config.optimizer.warmup = 50.0;
    config.optimizer.clip = 1.0;
    config.optimizer.schedule = Schedule::Cosine;
    // A step sees every point.
    config.data.limit = LEARNED;
    config.train.epochs = if scale == Scale::Quick { 2500 } else { 20_000 };
    let mut resnet = config.clone();
    resnet.model.coefficient = None;
    Ok(vec![Training::on_own_samples("resnet", resnet), Training::on_own_samples("iresnet", config)])
}

/// Paths of points through a network: `[depth][point]`, the points being in ascending order at depth 0.
type Paths = Vec<Vec<f64>>;

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let columns = ["network", "error at half depth", "error at the end", "pairs that change order", "least distance"];
    let mut sheet = Sheet::new("summary", "Root mean square distance from x³ and x, and order of neighbours", columns);
    let mut swapped = Vec::new();
    for training in lab.trainings()? {
        let Training { name, config, .. } = training;
        let key = format!("paths-{name}");
        let paths: Paths = lab.measured(&key, &config.to_toml(), train(lab, &name, &config)).await?;
        let [half, end] = [(BLOCKS / 2, cube as fn(f64) -> f64), (BLOCKS, same)].map(|(depth, wanted)| {
            let squares = points(JUDGED).zip(&paths[depth]).map(|(x, y)| (wanted(x) - y).powi(2));
            (squares.sum::<f64>() / JUDGED as f64).sqrt()
        });
        let pairs = swaps(&paths);
        swapped.push(pairs);
        sheet.push([name.as_str().into(), half.into(), end.into(), (pairs as f64).into(), nearest(&paths).into()]);
        let title = if name == "resnet" { "ResNet without the constraint" } else { "i-ResNet, c = 0.9" };
        let chart = Chart::new(title, Axis::linear("blocks passed").whole(), Axis::linear("value of the point"))
            .series(Series::new("", drawn(&paths)).thin());
        let caption = format!("Paths of {DRAWN} points of [-2, 2] through {BLOCKS} blocks.");
        findings.chart(&name, chart, &caption);
        findings.file(file(&name, &paths));
    }
    findings.sheet(sheet);
    findings.claim(Claim::new(
        "no two paths of the i-ResNet change places",
        swapped[1] == 0,
        format!("{} of {} neighbouring pairs do at some depth", swapped[1], JUDGED - 1),
    ));
    findings.claim(Claim::new(
        "paths of the ResNet cross",
        swapped[0] > 0,
        format!("{} of {} neighbouring pairs do at some depth", swapped[0], JUDGED - 1),
    ));
    Ok(findings)
}

fn cube(x: f64) -> f64 {
    x.powi(3)
}

fn same(x: f64) -> f64 {
    x
}

/// So many points of the interval in ascending order.
fn points(count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |k| REACH * (2.0 * k as f64 / (count - 1) as f64 - 1.0))
}

async fn train(lab: &Lab, name: &str, config: &Config) -> Step<Paths> {
    let depths = [BLOCKS / 2, BLOCKS];
    let gradient = |model: &crate::nn::Model| model.regression_graph(LEARNED, &depths);
    let left = lab.left(name, config);
    let mut trainer = Trainer::by(lab.gpu(), config, 1, Tuning::usual(), left.as_ref(), gradient).await?;
    for ((depth, wanted), stream) in depths.into_iter().zip([cube as fn(f64) -> f64, same]).zip(0..) {
        let key = Key::new(config.train.seed, 0, stream);
        let noise = (0..).map(|k| NOISE * Distribution::Normal.draw(key, k));
        let noisy: Vec<f32> = points(LEARNED).zip(noise).map(|(x, noise)| (wanted(x) + noise) as f32).collect();
        trainer.gradient_task().write(&target(depth), &noisy);
    }
    let x: Vec<f32> = points(LEARNED).map(|x| x as f32).collect();
    while trainer.step_count() < config.train.epochs as u64 {
        trainer.step(&x, &[]);
        while trainer.report(false).await?.is_some() {}
        lab.may_stop(name, &mut trainer).await?;
    }
    while trainer.report(true).await?.is_some() {}
    trainer.finish().await?;
    lab.forget(name);
    let x: Vec<f32> = points(JUDGED).map(|x| x as f32).collect();
    let network = trainer.network_mut();
    let graph = network.model().trace_graph(JUDGED);
    let trace = network.task("trace", &graph).await?;
    trace.write("x", &x);
    trace.run();
    let wide = |data: Vec<f32>| data.into_iter().map(f64::from).collect::<Vec<_>>();
    let mut paths = Vec::new();
    for block in 0..BLOCKS {
        paths.push(wide(trace.read(&block_input(block)).await?));
    }
    let evaluator = Evaluator::new(network, JUDGED, None).await?;
    evaluator.run(&x, &[], 0, 0);
    paths.push(wide(evaluator.read("z").await?));
    Ok(paths)
}

/// Neighbouring pairs of points that stand in another order, or on the same spot, at some depth.
fn swaps(paths: &Paths) -> usize {
    (1..JUDGED).filter(|&k| paths.iter().any(|values| values[k] <= values[k - 1])).count()
}

/// The least distance of neighbours at any depth, as a part of their distance at first; negative where they changed places.
fn nearest(paths: &Paths) -> f64 {
    let first = 2.0 * REACH / (JUDGED - 1) as f64;
    let distances = paths.iter().flat_map(|values| values.windows(2).map(|pair| pair[1] - pair[0]));
    distances.fold(f64::INFINITY, f64::min) / first
}

/// Some of the paths, with a gap between one and the next.
fn drawn(paths: &Paths) -> Vec<(f64, f64)> {
    let every = (JUDGED - 1) / (DRAWN - 1);
    let path = |point: usize| {
        let values = paths.iter().enumerate().map(move |(depth, values)| (depth as f64, values[point]));
        values.chain([(f64::NAN, f64::NAN)])
    };
    (0..JUDGED).step_by(every).flat_map(path).collect()
}

fn file(name: &str, paths: &Paths) -> Sheet {
    let columns = (0..paths.len()).map(|depth| format!("depth {depth}"));
    let mut sheet = Sheet::new(format!("paths-{name}"), "Every path", columns);
    for point in 0..JUDGED {
        sheet.push(paths.iter().map(|values| Cell::Number(values[point])));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossing_paths_are_counted() {
        let straight: Vec<f64> = points(JUDGED).collect();
        let mut crossed = straight.clone();
        crossed.swap(7, 8);
        assert_eq!(swaps(&vec![straight.clone(), straight.clone()]), 0);
        assert_eq!(swaps(&vec![straight.clone(), crossed.clone(), straight.clone()]), 1);
        assert!((nearest(&vec![straight.clone()]) - 1.0).abs() < 1e-9);
        assert!(nearest(&vec![straight, crossed]) < 0.0);
    }
}
