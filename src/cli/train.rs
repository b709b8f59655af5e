//! `iresnet train`.

mod dry_run;

use std::path::PathBuf;
use std::time::Duration;

use super::{Outcome, configuration, output, peers, profile};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::block_on;
use crate::run::{self, Folder, OnPeerLoss, Options, Profiling, Together};

const EXAMPLES: &str = "\
Examples:
  iresnet train --preset NAME                           train a preset, output in runs/NAME
  iresnet train model.toml --out runs/a                 train from a configuration
  iresnet train model.toml --set optimizer.lr=0.01 --set train.epochs=5
  iresnet train --out runs/a --resume                   go on where runs/a stopped
  iresnet train model.toml --adapter vulkan:0           on this adapter; `iresnet adapters` lists them
  iresnet train model.toml --adapter all                on all cards together
  mpirun -n 4 iresnet train model.toml                  by four processes together, also on several machines
  iresnet train model.toml --dry-run                    show the model, its memory and time, train nothing
  iresnet train model.toml --steps 20 --profile         say where the time of a step goes
  iresnet train model.toml --steps 20 --trace step.json the same, with a trace for https://ui.perfetto.dev

The output folder holds config.toml (with every key resolved), metrics.jsonl, tuning.json (the chosen kernels),
checkpoint.safetensors and older ones, best.safetensors and, in the end, model.safetensors. Ctrl-C finishes the step, saves, and exits with 130; the run can be resumed.";

/// Train a model from a configuration or a preset.
///
/// A run is determined by its configuration: the same one gives the same model on the same adapter, whether or not it
/// was interrupted and resumed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration, in TOML. Not needed with --preset, nor with --resume.
    #[arg(value_name = "CONFIG.toml", conflicts_with = "preset", required_unless_present_any = ["preset", "resume"])]
    pub config: Option<PathBuf>,

    /// A configuration that comes with the program.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// Set a key of the configuration, such as optimizer.lr=0.01. May be given several times; the last one counts.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Folder for everything the run writes. By default runs/ and the name of the configuration or preset.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Go on from the newest checkpoint in the output folder.
    #[arg(long)]
    pub resume: bool,

    /// Adapters to train on, as `iresnet adapters` names them, or "all": every card once, software only where there is
    /// nothing else. By default the best one. Several work on each batch together.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub adapter: Vec<String>,

    /// Stop after this many steps in all.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,

    /// Begin with the parameters of a model file.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub init: Option<PathBuf>,

    /// What to do when another process of the run is lost (under MPI).
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub on_peer_loss: OnPeerLoss,

    /// Count a process as lost that keeps the others waiting for longer (under MPI).
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0, value_parser = seconds)]
    pub peer_timeout: f64,

    /// Compare the parameters of all processes every so many steps (under MPI); 0 never does.
    #[arg(long, value_name = "STEPS", default_value_t = 100)]
    pub compare_every: u64,

    /// Check everything and show what would be done, but train nothing and write nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Say in the end where the time of a step goes: by kernel, by phase, by what the host does. Looks at steps 3 to 20 of
    /// what is trained, of which it slows down two; their results are as ever.
    #[arg(long, conflicts_with = "dry_run")]
    pub profile: bool,

    /// Write the profile as a trace too, which <https://ui.perfetto.dev> and chrome://tracing open. Implies --profile.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub trace: Option<PathBuf>,

    /// Print the profile as JSON, one object a line, and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// Trains.
///
/// # Errors
/// Of configuration, data, adapter and model file; [`Error::Diverged`] where the loss ceases to be a number,
/// [`Error::Verification`] where a block of a reversible network cannot be inverted. A dry run that does not fit the device
/// ends with [`Error::Gpu`] or [`Error::Config`] as the run itself would.
pub fn run(args: &Args) -> Result<Outcome> {
    if args.json && !args.profile && args.trace.is_none() {
        return Err(Error::Config("--json prints a profile: add --profile".into()));
    }
    let (config, name) = named(args)?;
    let config = configuration::with_settings(config, &args.set)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(name));
    let mut options = Options {
        resume: args.resume,
        adapters: args.adapter.clone(),
        steps: args.steps,
        init: args.init.clone(),
        profile: (args.profile || args.trace.is_some()).then(|| Profiling { trace: args.trace.clone() }),
        ..Options::new(config, out)
    };
    if args.dry_run {
        block_on(dry_run::run(&options))?;
        return Ok(Outcome::Done);
    }
    let peers = peers::meet(Duration::from_secs_f64(args.peer_timeout))?;
    options.together = Together::new(peers, args.on_peer_loss, args.compare_every);
    let finished = block_on(run::train(&options))?;
    if let Some(report) = &finished.profile {
        profile::print(report, args.json);
    }
    if finished.outcome == Outcome::Done && options.together.leads() && !args.json {
        output::print(&format!("{}", options.out.join(run::MODEL).display()));
    }
    Ok(finished.outcome)
}

/// A time limit in seconds.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    let limit = text.parse().ok().filter(|limit: &f64| *limit >= 0.1 && *limit <= 1e9);
    limit.ok_or_else(|| "a number of seconds, at least 0.1".into())
}

/// The configuration asked for, and the name that its run folder gets.
fn named(args: &Args) -> Result<(Config, String)> {
    if let Some(preset) = &args.preset {
        return Ok((Config::preset(preset)?, preset.clone()));
    }
    if let Some(path) = &args.config {
        let name = path.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
        return Ok((configuration::file(path)?, name));
    }
    let out = args.out.as_ref().ok_or_else(|| {
        Error::Config("--resume needs to know which run: add --out DIR, or the configuration or preset".into())
    })?;
    Ok((Folder::config(out)?, String::new()))
}
