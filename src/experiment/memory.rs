//! What training keeps: activations by depth, for each way to keep memory.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::findings::{Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Training};
use crate::budget::Budget;
use crate::config::{Config, Memory};
use crate::error::Result;
use crate::gpu::Tuning;
use crate::network;
use crate::nn::Model;
use crate::random::Key;
use crate::report::{Axis, Chart, Series};
use crate::train::Trainer;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "memory",
    paper: "Section 1 (memory of reversible networks)",
    shows: "Memory of the activations in a training step of the paper's CIFAR-10 classifier, by its number of blocks: stored, \
            computed again from each block's input, or recovered by inverting blocks.",
    found: "an invertible network need not store activations; the paper names it and does not measure it.",
    minutes: 2,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

const MODES: [Memory; 3] = [Memory::Store, Memory::Checkpoint, Memory::Reversible];
/// Blocks of each of three stages.
const DEPTHS: [usize; 6] = [2, 4, 6, 9, 12, 18];

fn trainings(_: Scale) -> Result<Vec<Training>> {
    Ok(Vec::new())
}

fn name(memory: Memory) -> &'static str {
    match memory {
        Memory::Store => "store",
        Memory::Checkpoint => "checkpoint",
        Memory::Reversible => "reversible",
    }
}

/// A step of one mode, run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    seconds: f64,
    bytes: Option<u64>,
    drift: Option<f32>,
    loss: f32,
}

async fn run(lab: &Lab) -> Step<Findings> {
    let mut findings = Findings::default();
    let paper = Config::preset("cifar10")?;
    let columns = ["blocks", "store, MiB", "checkpoint, MiB", "reversible, MiB", "store / reversible"];
    let caption = format!("Activations at the peak of a step with batch {}, as planned", paper.data.batch);
    let mut sheet = Sheet::new("activations", caption, columns);
    let mut curves = [Vec::new(), Vec::new(), Vec::new()];
    let mut ratio = 0.0;
    for depth in DEPTHS {
        let mut config = paper.clone();
        config.model.blocks = vec![depth; 3];
        let limits = network::limits(lab.gpu());
        let mebibytes: [f64; 3] = lab
            .measured(&format!("plan-{depth}"), &format!("{}{limits:?}", config.to_toml()), async {
                let mut found = [0.0; 3];
                for (found, memory) in found.iter_mut().zip(MODES) {
                    config.train.memory = memory;
                    *found = Budget::plan(&config, &limits)?.activations as f64 / f64::from(1 << 20);
                }
                Ok(found)
            })
            .await?;
        let blocks = 3.0 * depth as f64;
        curves.iter_mut().zip(mebibytes).for_each(|(curve, value)| curve.push((blocks, value)));
        ratio = mebibytes[0] / mebibytes[2];
        let [store, checkpoint, reversible] = mebibytes;
        sheet.push([blocks.into(), store.into(), checkpoint.into(), reversible.into(), ratio.into()]);
    }
    findings.sheet(sheet);
    let mut chart = Chart::new(
        "Activations of a step",
        Axis::linear("residual blocks").whole(),
        Axis::log("activations").unit("MiB"),
    );
    for (memory, curve) in MODES.into_iter().zip(curves.clone()) {
        chart = chart.series(Series::new(name(memory), curve));
    }
    findings.chart("activations", chart, "Memory between a batch and its gradients, at the peak.");

    let mut small = paper.clone();
    if !lab.is_paper() {
        small.model.blocks = vec![3, 3, 3];
        small.data.batch = 16;
    }
    let columns = ["memory", "seconds a step", "times", "device memory, MiB", "largest drift", "loss"];
    let blocks: usize = small.model.blocks.iter().sum();
    let caption = format!("A step that was run: {blocks} blocks, batch {}", small.data.batch);
    let mut sheet = Sheet::new("steps", caption, columns);
    let mut steps = Vec::new();
    for memory in MODES {
        small.train.memory = memory;
        let key = format!("step-{}", name(memory));
        let found: Measured = lab.measured(&key, &small.to_toml(), step(lab, &small)).await?;
        steps.push(found);
    }
    for (memory, found) in MODES.into_iter().zip(&steps) {
        sheet.push([
            name(memory).into(),
            found.seconds.into(),
            (found.seconds / steps[0].seconds).into(),
            found.bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)).into(),
            found.drift.map(f64::from).into(),
            f64::from(found.loss).into(),
        ]);
    }
    findings.sheet(sheet);
    let text = "with 54 blocks reversible training keeps at most a sixth";
    findings.claim(Claim::new(text, ratio >= 6.0, format!("1/{ratio:.1} of what store keeps")));
    let flat = curves[2][DEPTHS.len() - 1].1 / curves[2][0].1;
    let grown = curves[0][DEPTHS.len() - 1].1 / curves[0][0].1;
    let text = "the memory of reversible training grows much less with depth than that of store";
    findings.claim(Claim::new(
        text,
        flat < grown / 2.0,
        format!("from 6 to 54 blocks {flat:.1} times and {grown:.1} times"),
    ));
    Ok(findings)
}

/// Steps after which the time of one is taken.
const STEPS: usize = 3;

async fn step(lab: &Lab, config: &Config) -> Step<Measured> {
    let gpu = lab.gpu();
    let before = gpu.allocated_bytes();
    let mut trainer = Trainer::new(gpu, config, 1000, Tuning::usual(), None).await?;
    let n = config.data.batch;
    let x = Key::new(1, 0, 0).normals(n * Model::new(config)?.input_len());
    let labels: Vec<u32> = (0..n as u32).map(|sample| sample % config.model.classes as u32).collect();
    trainer.initialize(&x).await?;
    let mut measured = Measured { seconds: f64::INFINITY, bytes: None, drift: None, loss: 0.0 };
    for _ in 0..=STEPS {
        let begun = Instant::now();
        trainer.step(&x, &labels);
        while let Some(report) = trainer.report(true).await? {
            measured.loss = report.loss;
            measured.drift = report.inversion.map(|[_, drift]| drift.max(measured.drift.unwrap_or(0.0)));
        }
        measured.seconds = measured.seconds.min(begun.elapsed().as_secs_f64());
    }
    measured.bytes = gpu.allocated_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(measured)
}
