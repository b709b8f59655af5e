//! `iresnet inspect`.

use std::path::PathBuf;

use serde::Serialize;

use super::table::Table;
use super::{Outcome, model, output};
use crate::checkpoint::Checkpoint;
use crate::config::{Architecture, Config, Kind};
use crate::error::Result;
use crate::nn::certificate::{BlockCertificate, LayerCertificate};
use crate::nn::{Certificate, Model, certify};
use crate::shape::Shape;

const EXAMPLES: &str = "\
Examples:
  iresnet inspect runs/a/model.safetensors
  iresnet inspect model.safetensors --json

Bounds are rigorous: computed on the CPU in double precision from above, whatever power iteration says. `bound` of a layer
bounds the norm of the weight that is applied, `L` the Lipschitz constant of a block's residual branch. A block is
invertible where L is below 1. `iresnet verify` fails where one is not. Of a Glow and of a ResNet steps and blocks are listed.";

/// Show a model's layers, shapes and parameters, and rigorous bounds of its Lipschitz constants.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is said of a model.
#[derive(Serialize)]
struct Report<'a> {
    kind: Kind,
    architecture: Architecture,
    input: &'a [usize],
    latent: usize,
    parameters: usize,
    state: usize,
    multiply_adds: usize,
    step: u64,
    hash: String,
    /// Whether every block is proved to be invertible, or an inverse is a formula.
    invertible: bool,
    lipschitz: f64,
    inverse_lipschitz: Option<f64>,
    log_lipschitz: f64,
    log_inverse_lipschitz: Option<f64>,
    blocks: Vec<BlockReport<'a>>,
    /// Steps of a Glow, blocks of a ResNet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepReport>,
    config: &'a Config,
}

#[derive(Serialize)]
struct BlockReport<'a> {
    input: &'a [usize],
    parameters: usize,
    #[serde(flatten)]
    certificate: &'a BlockCertificate,
}

/// A block or step of which nothing is certified.
#[derive(Serialize)]
struct StepReport {
    name: String,
    input: Vec<usize>,
    parameters: usize,
    multiply_adds: usize,
    what: String,
}

/// Inspects.
///
/// # Errors
/// Of the model file.
pub fn run(args: &Args) -> Result<Outcome> {
    let checkpoint = Checkpoint::load(&args.model)?.model_only();
    let model = Model::new(&checkpoint.config)?;
    let certificate = certify(&model, &checkpoint.tensors);
    let report = report(&checkpoint, &model, &certificate);
    if args.json {
        output::print_json(&report);
    } else {
        print(&report);
    }
    Ok(Outcome::Done)
}

fn report<'a>(checkpoint: &'a Checkpoint, model: &'a Model, certificate: &'a Certificate) -> Report<'a> {
    let count = |trainable: bool, prefix: &str| {
        let of = model.params().iter().filter(|param| param.is_parameter() == trainable);
        of.filter(|param| param.name.starts_with(prefix)).map(|param| param.shape.len()).sum()
    };
    let blocks = model.blocks().iter().zip(&certificate.blocks).map(|(block, certificate)| BlockReport {
        input: block.branch.input.extents(),
        parameters: count(true, &format!("{}.", block.prefix)),
        certificate,
    });
    let step = |prefix: &str, input: &Shape, multiply_adds: usize, what: String| StepReport {
        name: prefix.to_owned(),
        input: input.extents().to_vec(),
        parameters: count(true, &format!("{prefix}.")),
        multiply_adds,
        what,
    };
    let flows = model.flows().iter().map(|flow| (&flow.prefix, &flow.step));
    let flows = flows.map(|(prefix, flow)| step(prefix, &flow.input, flow.multiply_adds(), flow.label()));
    let plain = model.plain_blocks().iter().map(|plain| (&plain.prefix, &plain.block));
    let plain = plain.map(|(prefix, block)| step(prefix, &block.input, block.multiply_adds(), block.label()));
    Report {
        kind: checkpoint.config.model.kind,
        architecture: checkpoint.config.model.architecture,
        input: &checkpoint.config.model.input,
        latent: model.latent_len(),
        parameters: count(true, ""),
        state: count(false, ""),
        multiply_adds: model.multiply_adds(),
        step: checkpoint.step,
        hash: checkpoint.hash(),
        invertible: certificate.is_contraction() || model.is_exact(),
        lipschitz: certificate.log_lipschitz.exp(),
        inverse_lipschitz: certificate.log_inverse_lipschitz.map(f64::exp),
        log_lipschitz: certificate.log_lipschitz,
        log_inverse_lipschitz: certificate.log_inverse_lipschitz,
        blocks: blocks.collect(),
        steps: flows.chain(plain).collect(),
        config: &checkpoint.config,
    }
}

fn print(report: &Report<'_>) {
    output::print(&format!("kind         {}", report.kind.word()));
    output::print(&format!("architecture {}", report.architecture.word()));
    output::print(&format!("input        {} ({} latent numbers)", shape(report.input), report.latent));
    output::print(&format!("parameters   {} (and {} numbers of state)", report.parameters, report.state));
    output::print(&format!("step         {}", report.step));
    output::print(&format!("hash         {}", report.hash));
    output::print("");
    if !report.steps.is_empty() {
        print_steps(report);
        return;
    }
    let mut table = Table::new(&["layer", "weight", "image", ">parameters", ">c", ">sigma", ">bound"]);
    for layer in report.blocks.iter().flat_map(|block| &block.certificate.layers) {
        table.row(cells(layer));
    }
    output::print(&format!("{table}\n"));
    let mut table = Table::new(&["block", "input", ">parameters", ">L", ">Lipschitz", ">of the inverse"]);
    for block in &report.blocks {
        let certificate = block.certificate;
        table.row([
            certificate.name.clone(),
            shape(block.input),
            block.parameters.to_string(),
            number(certificate.constant),
            number(certificate.lipschitz),
            certificate.inverse_lipschitz.map_or_else(|| "none".into(), number),
        ]);
    }
    output::print(&format!("{table}\n"));
    output::print(&format!("network      Lipschitz constant at most {}", power(report.log_lipschitz)));
    output::print(&match report.log_inverse_lipschitz {
        Some(log) => format!("its inverse  Lipschitz constant at most {}", power(log)),
        None => "its inverse  not proved to exist: L is not below 1 in every block; see `iresnet verify`".into(),
    });
}

fn print_steps(report: &Report<'_>) {
    let flow = report.architecture == Architecture::Glow;
    let mut table =
        Table::new(&[if flow { "step" } else { "block" }, "input", ">parameters", ">multiply-adds", "what"]);
    for step in &report.steps {
        let StepReport { name, input, parameters, multiply_adds, what } = step;
        table.row([name.clone(), shape(input), parameters.to_string(), multiply_adds.to_string(), what.clone()]);
    }
    output::print(&format!("{table}\n"));
    output::print(if flow {
        "inverse      a formula, exact up to rounding, and so is the log-determinant; no Lipschitz constant is bounded"
    } else {
        "inverse      none: blocks of this architecture need not be invertible"
    });
}

fn cells(layer: &LayerCertificate) -> [String; 7] {
    let or_none = |value: Option<f64>| value.map_or_else(|| "-".into(), number);
    [
        layer.name.clone(),
        shape(&layer.shape),
        layer.size.map_or_else(|| "-".into(), |size| shape(&size)),
        layer.shape.iter().product::<usize>().to_string(),
        layer.coefficient.map_or_else(|| "none".into(), |c| c.to_string()),
        or_none(layer.sigma),
        number(layer.bound),
    ]
}

fn shape(extents: &[usize]) -> String {
    extents.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

fn number(x: f64) -> String {
    if (1e-3..1e5).contains(&x) || x == 0.0 { format!("{x:.4}") } else { format!("{x:.3e}") }
}

/// eˣ, also where it is too large to be written.
fn power(log: f64) -> String {
    format!("10^{:.2}", log / std::f64::consts::LN_10)
}
