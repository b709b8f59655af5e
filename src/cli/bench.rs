//! `iresnet bench`: how fast kernels are, and how near to what the adapter can do.
//!
//! # How it is timed
//! A case is a graph of one op, planned, tuned and run as in training. Its commands are repeated within one program
//! until it takes some 50 ms, so that recording, submitting and waiting weigh next to nothing; the time between two
//! waits divided by the repetitions is a sample. Samples are taken until their middle half agrees within 3%, and the
//! median counts. Inputs are random numbers: hardware that saves power on zeros would flatter itself.
//!
//! The yardstick is the adapter's own measured peak ([`gpu::peak`]), not a data sheet, so ratios compare between
//! machines. A ratio's peak is measured beside the kernel, once after each sample ([`gpu::Yardstick`]), and the median
//! counts there too: what else the machine does then weighs on both.

mod cases;
mod measure;
mod step;

use std::path::PathBuf;

use serde::Serialize;

use super::{Outcome, output, profile};
use crate::error::{Error, Result};
use crate::gpu::{self, Gpu, Tuning, Yardstick, block_on};
use cases::{Case, Dims};
use measure::Measured;

const EXAMPLES: &str = "\
Examples:
  iresnet bench --quick                     a few shapes of each op
  iresnet bench --filter 'conv2d 64'        convolutions with 64 input channels
  iresnet bench --adapter gl --json         one JSON object a line, the adapter's peak first
  iresnet bench --profile                   where the time of a training step goes, without data
  iresnet bench --profile --preset cifar10 --trace step.json

Columns: GFLOP/s counts two operations a multiply-add, PEAK is its share of the adapter's multiply-add rate, measured
between the samples; GB/s counts each tensor once, COPY is its share of the copy rate measured first (caches can push it
above 100%). In JSON a case has either pair, by what bounds it. ROOF is the time by the roofline, of the operations at
the one rate or of the bytes at the other, whichever is longer, over the time it took; of all convolutions, their geometric
mean comes last. Kernels not timed before on this adapter are tuned first; the choices are kept in the cache folder.";

/// Time kernels and compare them with what the adapter can do at most.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,

    /// Only a few shapes of each op, and fewer samples.
    #[arg(long)]
    pub quick: bool,

    /// Only cases whose name, as in the table, contains this text. It is found in any letter case.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,

    /// Say where the time of a training step goes instead, as `train --profile` does, of a model on random numbers.
    #[arg(long, conflicts_with_all = ["quick", "filter"])]
    pub profile: bool,

    /// The preset whose training step is profiled.
    #[arg(long, value_name = "NAME", requires = "profile", default_value = step::PRESET)]
    pub preset: String,

    /// The configuration whose training step is profiled, in TOML.
    #[arg(long, value_name = "FILE", requires = "profile", conflicts_with = "preset")]
    pub config: Option<PathBuf>,

    /// Set a key of the configuration, such as data.batch=8. May be given several times; the last one counts.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "profile")]
    pub set: Vec<String>,

    /// Write the profile as a trace too, which <https://ui.perfetto.dev> and chrome://tracing open.
    #[arg(long, value_name = "FILE", requires = "profile")]
    pub trace: Option<PathBuf>,
}

/// A measured case, as printed.
#[derive(Serialize)]
struct Line<'a> {
    op: &'static str,
    #[serde(flatten)]
    dims: &'a Dims,
    seconds: f64,
    #[serde(flatten)]
    rate: Rate,
    roofline_ratio: f64,
    adapter: &'a str,
}

/// What all convolutions come to, as printed.
#[derive(Serialize)]
struct Mean<'a> {
    op: &'static str,
    cases: usize,
    roofline_ratio: f64,
    adapter: &'a str,
}

/// How fast it was, in terms of what bounds it.
#[derive(Serialize)]
#[serde(untagged)]
enum Rate {
    Arithmetic { gflops: f64, peak_ratio: f64 },
    Memory { gb_per_s: f64, copy_ratio: f64 },
}

/// Runs the benchmark.
///
/// # Errors
/// [`Error::NoAdapter`]; [`Error::Gpu`] where the device fails; [`Error::Config`] where the filter matches nothing.
pub fn run(args: &Args) -> Result<Outcome> {
    if args.profile {
        return block_on(step::run(args)).map(|()| Outcome::Done);
    }
    let wanted = |case: &Case| {
        let filter = args.filter.as_deref().unwrap_or_default().to_lowercase();
        (case.quick || !args.quick) && case.name().to_lowercase().contains(&filter)
    };
    let cases: Vec<Case> = cases::all().into_iter().filter(wanted).collect();
    if cases.is_empty() {
        let filter = args.filter.as_deref().unwrap_or_default();
        let examples = cases::all().iter().step_by(9).take(3).map(Case::name).collect::<Vec<_>>().join("`, `");
        return Err(Error::Config(format!("--filter {filter}: no case matches; names are such as `{examples}`")));
    }
    block_on(async {
        let gpu = Gpu::open(args.adapter.as_deref()).await?;
        let peak = gpu::peak(&gpu).await?;
        let mut tuning = Tuning::default_path().map_or_else(Tuning::measured, Tuning::open);
        let info = gpu.info();
        if args.json {
            output::print_json(&profile::PeakLine { op: "peak", peak, adapter: &info.id, name: &info.name });
        } else {
            let (gflops, copy) = (peak.gflops, peak.copy_gb_per_s);
            output::print(&format!("{info}\npeak {gflops:.1} GFLOP/s, copy {copy:.1} GB/s\n"));
            output::print(&format!("{:HEAD$}{:>11}  GFLOP/s   PEAK     GB/s   COPY   ROOF  VARIANT", "CASE", "TIME"));
        }
        let yardstick = Yardstick::new(&gpu).await?;
        let mut of_convolutions = Vec::new();
        for case in &cases {
            let measured = match measure::measure(&gpu, case, &mut tuning, &yardstick, args.quick).await {
                Err(Error::Config(message)) => {
                    output::note(&format!("note: {}: left out: {message}", case.name()));
                    continue;
                }
                result => result?,
            };
            let speed = Speed::of(case, &measured, peak.copy_gb_per_s);
            if case.op.starts_with("conv2d") {
                of_convolutions.push(speed.roofline_ratio);
            }
            if args.json {
                let (op, dims, seconds, adapter) = (case.op, &case.dims, measured.seconds, info.id.as_str());
                let (rate, roofline_ratio) = (speed.rate(case), speed.roofline_ratio);
                output::print_json(&Line { op, dims, seconds, rate, roofline_ratio, adapter });
            } else {
                output::print(&row(case, &measured, &speed));
            }
        }
        let cases = of_convolutions.len();
        if cases > 1 {
            let logarithms: f64 = of_convolutions.iter().map(|ratio| ratio.ln()).sum();
            let roofline_ratio = (logarithms / cases as f64).exp();
            if args.json {
                output::print_json(&Mean { op: "geometric mean", cases, roofline_ratio, adapter: &info.id });
            } else {
                output::print(&format!("\nroofline, geometric mean of {cases} convolutions: {roofline_ratio:.2}"));
            }
        }
        Ok(Outcome::Done)
    })
}

/// Width of the column of names.
const HEAD: usize = 52;

/// How fast a case was, in all terms.
struct Speed {
    gflops: f64,
    peak_ratio: f64,
    gb_per_s: f64,
    copy_ratio: f64,
    roofline_ratio: f64,
}

impl Speed {
    fn of(case: &Case, measured: &Measured, copy_gb_per_s: f64) -> Self {
        let gflops = case.flops as f64 / measured.seconds * 1e-9;
        let gb_per_s = case.traffic() as f64 / measured.seconds * 1e-9;
        let [peak_ratio, copy_ratio] = [gflops / measured.peak_gflops, gb_per_s / copy_gb_per_s];
        Self { gflops, peak_ratio, gb_per_s, copy_ratio, roofline_ratio: peak_ratio.max(copy_ratio) }
    }

    fn rate(&self, case: &Case) -> Rate {
        let &Self { gflops, peak_ratio, gb_per_s, copy_ratio, .. } = self;
        if case.flops > 0 { Rate::Arithmetic { gflops, peak_ratio } } else { Rate::Memory { gb_per_s, copy_ratio } }
    }
}

fn row(case: &Case, measured: &Measured, speed: &Speed) -> String {
    let (name, milliseconds) = (case.name(), 1e3 * measured.seconds);
    let &Speed { gflops, peak_ratio, gb_per_s, copy_ratio, roofline_ratio } = speed;
    let [rate, share] = if case.flops > 0 {
        [format!("{gflops:.1}"), format!("{:.0}%", 100.0 * peak_ratio)]
    } else {
        ["–".to_owned(), "–".to_owned()]
    };
    let [copy, roof] = [copy_ratio, roofline_ratio].map(|ratio| format!("{:.0}%", 100.0 * ratio));
    let variant = measured.variant.as_deref().unwrap_or_default();
    let row =
        format!("{name:HEAD$}{milliseconds:>8.3} ms{rate:>9}{share:>7}{gb_per_s:>9.1}{copy:>7}{roof:>7}  {variant}");
    row.trim_end().to_owned()
}
