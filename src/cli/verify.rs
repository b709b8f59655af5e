//! `iresnet verify`.

use std::path::PathBuf;

use serde::Serialize;

use super::{Outcome, model, output};
use crate::checkpoint::{Checkpoint, DAMAGED, stored_certificate};
use crate::config::{Architecture, Config};
use crate::data::Split;
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::{Evaluator, Inverter};
use crate::gpu::{Gpu, block_on};
use crate::nn::certificate::BlockCertificate;
use crate::nn::{Certificate, Model, Stop, certify};
use crate::random::{Distribution, Key};

/// When a fixed-point iteration has settled, as far as f32 can say of numbers of about one.
const SETTLED: f64 = 1e-6;
/// Most rounds of `--tighten`, and the relative change of σ that ends it.
const TIGHTEN: (f64, u32) = (1e-6, 1000);
/// Certificates of one file computed on two machines differ by the last bits of sine, cosine and exponential.
const SAME: f64 = 1e-9;

const EXAMPLES: &str = "\
Examples:
  iresnet verify runs/a/model.safetensors
  iresnet verify model.safetensors --data fashion-mnist --samples 64
  iresnet verify model.safetensors --tighten     make stored norms converge first, and keep that in the file

Exit code 0 if all of this holds, 9 if not:
  hash         the file's contents have the hash they were written with
  certificate  every residual block is proved to be a contraction (L below 1), so that its inverse exists
  round trip   samples, encoded and decoded, come back
A Glow has no such blocks, its inverse is a formula: its certificate does not apply. Of a ResNet, which need not be invertible,
only the hash is verified.";

/// Verify a model file: the hash of its contents, the Lipschitz certificate, and samples there and back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model file (.safetensors), or the output folder of its training.
    #[arg(value_name = "MODEL", value_parser = model::file)]
    pub model: PathBuf,

    /// Data set for the round trip. By default the one that the model was trained on, or noise where that is not there.
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,

    /// Number of samples of the round trip.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub samples: usize,

    /// Largest error of an element after the round trip.
    #[arg(long, value_name = "E", default_value_t = 1e-3)]
    pub tolerance: f64,

    /// Most iterations for one residual block.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub iterations: u32,

    /// Write the certificate into the file.
    #[arg(long)]
    pub write: bool,

    /// First iterate the norms of all layers to convergence, and write vectors and certificate into the file.
    #[arg(long)]
    pub tighten: bool,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,

    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    ok: bool,
    hash: String,
    /// None where blocks are not meant to be contractions.
    certificate: Option<Certificate>,
    /// The certificate in the file: `none`, `same` or `differs`.
    stored_certificate: &'static str,
    /// None of a model that need not be invertible.
    round_trip: Option<RoundTrip>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct RoundTrip {
    data: String,
    samples: usize,
    largest_error: f64,
    iterations: f64,
    converged: usize,
}

/// Verifies.
///
/// # Errors
/// [`Error::Verification`] where something does not hold; otherwise of model file, data and adapter.
pub fn run(args: &Args) -> Result<Outcome> {
    let report = block_on(verify(args))?;
    if args.json {
        output::print_json(&report);
    } else {
        print(&report);
    }
    if report.ok {
        return Ok(Outcome::Done);
    }
    Err(Error::Verification(format!("{}: {}", args.model.display(), report.problems.join("\n"))))
}

async fn verify(args: &Args) -> Result<Report> {
    let bytes = std::fs::read(&args.model)
        .map_err(|error| Error::Model { path: args.model.clone(), problem: format!("cannot be read: {error}") })?;
    let mut checkpoint = Checkpoint::from_bytes(&bytes, &args.model).map_err(|error| match error {
        Error::Model { path, problem } if problem == DAMAGED => {
            Error::Verification(format!("{}: {problem}; fetch or copy it again", path.display()))
        }
        other => other,
    })?;
    let network = Model::new(&checkpoint.config)?;
    let certified = checkpoint.config.model.architecture == Architecture::Iresnet;
    if !certified && (args.tighten || args.write) {
        return Err(Error::Config(format!(
            "--tighten, --write: a model of architecture {:?} has no contractions, so there is no certificate to write; leave \
             them away",
            checkpoint.config.model.architecture.word()
        )));
    }
    if !network.is_invertible() {
        let hash = checkpoint.hash();
        let (certificate, round_trip, problems) = (None, None, Vec::new());
        return Ok(Report { ok: true, hash, certificate, stored_certificate: "none", round_trip, problems });
    }
    let gpu = Gpu::open(args.adapter.as_deref()).await?;
    if args.tighten {
        checkpoint = tighten(&gpu, checkpoint).await?;
    }
    let certificate = certify(&network, &checkpoint.tensors);
    let mut problems: Vec<String> =
        certificate.failures().map(|block| problem(block, &checkpoint.config, &args.model)).collect();
    let rewritten = args.write || args.tighten;
    let stored_certificate = match stored_certificate(&bytes) {
        _ if rewritten => "same",
        None => "none",
        Some(stored) if agree(&stored, &certificate) => "same",
        Some(_) => "differs",
    };
    if stored_certificate == "differs" {
        problems.push(
            "the certificate in the file is not that of its numbers: they were changed by another program; --write puts \
             the right one in its place"
                .into(),
        );
    }
    let hash = checkpoint.hash();
    if rewritten {
        checkpoint.save_certified(&args.model, &certificate)?;
    }
    let round_trip = round_trip(args, &gpu, checkpoint).await?;
    // An error that is not a number must not pass.
    if round_trip.largest_error.is_nan() || round_trip.largest_error > args.tolerance {
        problems.push(format!(
            "round trip: an element of {} comes back with an error of {:.2e}, more than {:.0e} ({} of {} samples \
             converged); {}",
            round_trip.data,
            round_trip.largest_error,
            args.tolerance,
            round_trip.converged,
            round_trip.samples,
            if certified {
                "give more --iterations, or train with a smaller model.coefficient"
            } else {
                "its inverse is a formula, so this is rounding: train with a smaller optimizer.lr or some \
                 optimizer.weight_decay, which keep steps well conditioned"
            }
        ));
    }
    let (certificate, round_trip) = (certified.then_some(certificate), Some(round_trip));
    Ok(Report { ok: problems.is_empty(), hash, certificate, stored_certificate, round_trip, problems })
}

/// The model with power iteration converged.
async fn tighten(gpu: &Gpu, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
    let others: Vec<_> = checkpoint.tensors.split_off(Model::new(&checkpoint.config)?.params().len());
    let (mut network, _) = model::place(gpu, checkpoint.clone())?;
    if let Some(graph) = network.model().tighten_graph(TIGHTEN.0, TIGHTEN.1) {
        network.task("tighten", &graph).await?.run();
    }
    checkpoint.tensors = network.download().await?;
    checkpoint.tensors.extend(others);
    Ok(checkpoint)
}

/// What is wrong with a block that is not proved to be invertible, and what to do.
fn problem(block: &BlockCertificate, config: &Config, path: &std::path::Path) -> String {
    let mut text =
        format!("block {} is not proved to be invertible: L is {:.4}, not below 1.", block.name, block.constant);
    let Some(layer) = block.weakest() else { return text };
    let (name, bound) = (&layer.name, layer.bound);
    match (layer.coefficient, layer.sigma) {
        (Some(c), Some(sigma)) => {
            text += &format!(
                " Worst is layer {name}: its norm is bounded by {bound:.4}, its coefficient is {c}, σ of the stored \
                 vectors {sigma:.4}."
            );
            text += &if bound > 1.05 * c {
                format!(
                    " Power iteration has not converged: `iresnet verify {} --tighten` repairs the file; train with more \
                     model.power_iterations (now {}) or a model.power_tolerance",
                    path.display(),
                    config.model.power_iterations
                )
            } else {
                format!(" Train with a smaller model.coefficient: {} layers multiply", block.layers.len())
            };
        }
        _ => {
            text += &format!(
                " Worst is layer {name}: its norm is bounded by {bound:.4}. model.coefficient = \"none\" promises \
                 nothing: train with a coefficient below 1"
            );
        }
    }
    text
}

fn agree(stored: &Certificate, computed: &Certificate) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= SAME * b.abs();
    stored.blocks.len() == computed.blocks.len()
        && stored.blocks.iter().zip(&computed.blocks).all(|(a, b)| {
            a.name == b.name && close(a.constant, b.constant) && (0..2).all(|end| close(a.scale[end], b.scale[end]))
        })
}

/// Samples for the round trip, and where they are from.
fn samples(args: &Args, config: &Config) -> Result<(String, Vec<f32>)> {
    let count = args.samples.max(1);
    match Source::open(config, args.data.as_deref(), Split::Test) {
        Ok(source) => {
            let indices: Vec<u32> = (0..count.min(source.dataset().len()) as u32).collect();
            Ok((format!("{} test", source.dataset().name()), source.at(&indices).x.into_data()))
        }
        Err(error) if args.data.is_some() => Err(error),
        Err(_) => {
            let len: usize = config.model.input.iter().product();
            let draw =
                |at: usize| Distribution::Uniform.draw(Key::new(config.train.seed, 0, 0), at as u32) as f32 - 0.5;
            Ok(("noise".into(), (0..count * len).map(draw).collect()))
        }
    }
}

async fn round_trip(args: &Args, gpu: &Gpu, checkpoint: Checkpoint) -> Result<RoundTrip> {
    let (data, x) = samples(args, &checkpoint.config)?;
    let (mut network, _) = model::place(gpu, checkpoint)?;
    let samples = x.len() / network.model().input_len();
    let evaluator = Evaluator::new(&mut network, samples, None).await?;
    evaluator.run(&x, &vec![0; samples], 0, 0);
    let z = evaluator.read("z").await?;
    let stop = Stop { tolerance: SETTLED, limit: args.iterations, ..Stop::default() };
    let inverted = Inverter::new(&mut network, samples, stop).await?.invert(&z).await?;
    let errors = x.iter().zip(&inverted.x).map(|(a, b)| f64::from((a - b).abs()));
    // Not with `f64::max`, which passes over what is not a number.
    let largest_error =
        errors.fold(0.0, |worst: f64, error| if error <= worst || worst.is_nan() { worst } else { error });
    let iterations = inverted.iterations.iter().map(|&n| f64::from(n)).sum::<f64>() / samples as f64;
    let converged = inverted.converged.iter().filter(|&&converged| converged).count();
    Ok(RoundTrip { data, samples, largest_error, iterations, converged })
}

fn print(report: &Report) {
    let mark = |ok: bool| if ok { "ok    " } else { "FAILED" };
    output::print(&format!("hash         {}  {}", mark(true), report.hash));
    let largest =
        |certificate: &Certificate| certificate.blocks.iter().max_by(|a, b| a.constant.total_cmp(&b.constant)).cloned();
    let certificate = report.certificate.as_ref();
    if certificate.is_none() {
        output::print(
            "certificate          does not apply: this architecture has no blocks that are kept contractions",
        );
    }
    if let Some((certificate, block)) = certificate.and_then(|found| Some((found, largest(found)?))) {
        let stored = match report.stored_certificate {
            "none" => ", none stored in the file",
            "differs" => ", ANOTHER one stored in the file",
            _ => "",
        };
        output::print(&format!(
            "certificate  {}  L at most {:.4} ({}), {} blocks{stored}",
            mark(certificate.is_contraction() && report.stored_certificate != "differs"),
            block.constant,
            block.name,
            certificate.blocks.len()
        ));
    }
    let Some(trip) = &report.round_trip else {
        output::print("round trip           does not apply: a ResNet need not be invertible");
        return;
    };
    output::print(&format!(
        "round trip   {}  {} samples of {}, largest error {:.2e}, {:.0} iterations a sample over all blocks",
        mark(!report.problems.iter().any(|problem| problem.starts_with("round trip"))),
        trip.samples,
        trip.data,
        trip.largest_error,
        trip.iterations
    ));
}
