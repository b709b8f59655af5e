//! `iresnet experiment`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::table::Table;
use super::{Outcome, output};
use crate::error::{Error, Result};
use crate::experiment::{CATALOGUE, Experiment, Scale, results};
use crate::gpu::block_on;

const EXAMPLES: &str = "\
Examples:
  iresnet experiment list                          what there is, what it shows and costs
  iresnet experiment dynamics-1d                   everything goes to runs/experiments/dynamics-1d-quick
  iresnet experiment inversion --scale paper --adapter vulkan:0
  iresnet experiment all                           one after the other; what is done already is not done again
  iresnet experiment results --output docs/results.md

Ctrl-C stops an experiment; the same command goes on where it was. Its folder gets tables (CSV), charts (SVG and PNG),
configurations and report.html.";

/// Do again what the paper did: a figure or table from one command.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// An experiment, or: list, all, results.
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    pub name: String,

    /// quick: minutes on two processor cores. paper: the networks and the training of the paper.
    #[arg(long, value_name = "SCALE", value_enum, default_value = "quick")]
    pub scale: Scale,

    /// Folder for everything it writes. By default runs/experiments/NAME-SCALE; for `all` and `results` the folder that
    /// these are in.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Document that `results` writes.
    #[arg(short, long, value_name = "FILE", default_value = "results.md")]
    pub output: PathBuf,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,

    /// Print `list` as JSON.
    #[arg(long)]
    pub json: bool,
}

fn names() -> Vec<&'static str> {
    CATALOGUE.iter().map(|experiment| experiment.name).chain(["list", "all", "results"]).collect()
}

/// Runs an experiment, or all.
///
/// # Errors
/// Of data, adapter, device and files.
pub fn run(args: &Args) -> Result<Outcome> {
    let folder = || args.out.clone().unwrap_or_else(|| PathBuf::from("runs/experiments"));
    let place = |experiment: &Experiment| format!("{}-{}", experiment.name, args.scale);
    match args.name.as_str() {
        "list" => list(args).map(|()| Outcome::Done),
        "results" => {
            results::write(&folder(), &args.output)?;
            output::print(&format!("{}", args.output.display()));
            Ok(Outcome::Done)
        }
        "all" => {
            for experiment in &CATALOGUE {
                let out = folder().join(place(experiment));
                let outcome = block_on(experiment.perform(args.scale, &out, args.adapter.clone()))?;
                if outcome != Outcome::Done {
                    return Ok(outcome);
                }
            }
            Ok(Outcome::Done)
        }
        name => {
            let experiment = Experiment::find(name).ok_or_else(|| Error::Config(format!("no experiment {name:?}")))?;
            let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs/experiments").join(place(experiment)));
            block_on(experiment.perform(args.scale, &out, args.adapter.clone()))
        }
    }
}

/// An experiment as listed.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    paper: &'static str,
    shows: &'static str,
    found: &'static str,
    /// About how many minutes it takes on two processor cores; not known at the paper's scale.
    minutes: Option<u32>,
    /// Networks trained at the scale asked for.
    trainings: usize,
    /// Operations of their training.
    operations: f64,
    /// Operations at the paper's scale.
    paper_operations: f64,
    /// Data sets that are not built in.
    data: Vec<String>,
}

fn list(args: &Args) -> Result<()> {
    let mut lines = Vec::new();
    for experiment in &CATALOGUE {
        lines.push(Line {
            name: experiment.name,
            paper: experiment.paper,
            shows: experiment.shows,
            found: experiment.found,
            minutes: (args.scale == Scale::Quick).then_some(experiment.minutes),
            trainings: (experiment.trainings)(args.scale)?.len(),
            operations: experiment.operations(args.scale)?,
            paper_operations: experiment.operations(Scale::Paper)?,
            data: experiment.data(args.scale)?,
        });
    }
    if args.json {
        output::print_json(&lines);
        return Ok(());
    }
    let mut table =
        Table::new(&["experiment", "paper", ">trainings", ">minutes", ">operations", ">paper scale", "data"]);
    let operations = |count: f64| if count > 0.0 { format!("{count:.1e}") } else { "–".into() };
    for line in &lines {
        let data = if line.data.is_empty() { "built in".into() } else { line.data.join(", ") };
        let (here, paper) = (operations(line.operations), operations(line.paper_operations));
        let minutes = line.minutes.map_or("–".into(), |minutes| minutes.to_string());
        table.row([line.name.into(), line.paper.into(), line.trainings.to_string(), minutes, here, paper, data]);
    }
    output::print(&table.to_string());
    for line in &lines {
        output::print(&format!("\n{}: {}\n  The paper: {}", line.name, line.shows, line.found));
    }
    output::print(&format!(
        "\nMinutes: about, at scale quick on two processor cores without a GPU. Operations: of all trainings at scale {}, and at \
         that of the paper; 1e18 take 28 hours at 10 TFLOP/s. Data that is not built in comes with `iresnet data fetch NAME`.",
        args.scale
    ));
    Ok(())
}
