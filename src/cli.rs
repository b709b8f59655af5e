//! The command line: what users type, and how the program answers.
//!
//! Every command is one file: its arguments as a struct, and `run`, which does the work through the rest of the crate
//! and says how it ended ([`Outcome`]). What belongs to all of them is here: the list of commands, exit codes, and how
//! errors look.
//!
//! # Rules
//! * Results go to standard output ([`print`](output::print)), everything else to standard error. With `--json`,
//!   standard output holds JSON and nothing else.
//! * Bad input from outside ends in `error: …` lines that say what is wrong, where, and what to do, and in an exit code
//!   ([`Error::exit_code`](crate::error::Error::exit_code)). A panic is a bug of the program, and says so.
//! * A reader that closes the pipe has seen enough: that is no error.

pub mod adapters;
mod batched;
pub mod bench;
mod configuration;
pub mod data;
pub mod decode;
pub mod demo;
pub mod doctor;
pub mod encode;
pub mod eval;
pub mod experiment;
pub mod export;
pub(crate) mod images;
pub mod import;
pub mod inspect;
pub mod interpolate;
pub mod invert;
pub(crate) mod model;
pub mod output;
mod panics;
mod peers;
mod profile;
pub mod progress;
pub mod sample;
pub mod signal;
pub mod solver;
mod table;
pub mod train;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;
use signal::Signal;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything asked for is done.
    Done,
    /// A signal asked to stop, and what was done until then is saved.
    Interrupted(Signal),
}

impl Outcome {
    /// The exit code promised for it: 0, 130 or 143.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Interrupted(signal) => signal.exit_code(),
        }
    }
}

/// Printed below the help of the program.
const AFTER_HELP: &str = "\
Exit codes:
    0  done
    2  the command line or the configuration is wrong
    3  data is missing or damaged
    4  no suitable adapter
    5  the device was lost, or its memory did not suffice, after retries
    6  training diverged
    7  the model file is damaged or of another kind
    8  another process of the run was lost
    9  verification failed
  130  interrupted (Ctrl-C), state saved
  143  asked to terminate (SIGTERM), state saved

Variables:
  WGPU_ADAPTER_NAME  the adapter to use where --adapter does not say
  IRESNET_DATA       folder with data sets, looked into first
  IRESNET_TUNING     off: take the first variant of every kernel instead of timing them
  NO_COLOR, CI       plain output, no progress bar

`iresnet COMMAND --help` explains a command and gives examples. Start with `iresnet doctor`.";

/// Invertible residual networks on any GPU.
///
/// Trains invertible residual networks (Behrmann et al., 2019) as classifiers and as density models, evaluates exact
/// likelihoods, inverts and samples. Runs on every adapter with Vulkan, Metal, DX12 or OpenGL compute shaders.
#[derive(Debug, Parser)]
#[command(name = "iresnet", version, after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the adapters (GPUs and software drivers) and what they can do.
    Adapters(adapters::Args),
    /// Train a model from a configuration or a preset.
    Train(train::Args),
    /// Evaluate a model on a data set.
    Eval(eval::Args),
    /// Draw samples from a density model.
    Sample(sample::Args),
    /// Send arrays through a model: latent numbers, logits, densities.
    Encode(encode::Args),
    /// Send latent numbers back through a model.
    Decode(decode::Args),
    /// Encode images, reconstruct them from their codes, and show both.
    Invert(invert::Args),
    /// Show a model's layers, parameters and Lipschitz certificate.
    Inspect(inspect::Args),
    /// Verify a model file: hash, certificate, round trip.
    Verify(verify::Args),
    /// Draw the way from one image to another through the latent space.
    Interpolate(interpolate::Args),
    /// Make a model file of a PyTorch state dict of the published code.
    Import(import::Args),
    /// Write a model for PyTorch and for the web.
    Export(export::Args),
    /// Train a small model on built-in data and write a report with pictures.
    Demo(demo::Args),
    /// Do again what the paper did: a figure or table from one command.
    Experiment(experiment::Args),
    /// Time kernels and compare them with what the adapter can do at most.
    Bench(bench::Args),
    /// List data sets and verify their files.
    Data(data::Args),
    /// Check this machine: adapters, drivers, folders, and a computation on each adapter.
    Doctor(doctor::Args),
}

impl Command {
    fn run(&self) -> Result<Outcome> {
        match self {
            Self::Adapters(args) => adapters::run(args),
            Self::Train(args) => train::run(args),
            Self::Eval(args) => eval::run(args),
            Self::Sample(args) => sample::run(args),
            Self::Encode(args) => encode::run(args),
            Self::Decode(args) => decode::run(args),
            Self::Invert(args) => invert::run(args),
            Self::Inspect(args) => inspect::run(args),
            Self::Verify(args) => verify::run(args),
            Self::Interpolate(args) => interpolate::run(args),
            Self::Import(args) => import::run(args),
            Self::Export(args) => export::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Experiment(args) => experiment::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Data(args) => data::run(args),
            Self::Doctor(args) => doctor::run(args),
        }
    }
}

/// The whole program: parses the command line, runs the command, reports, and gives the exit code.
pub fn main() -> ExitCode {
    // Usage errors and --help end the program here: 2 and 0.
    let cli = Cli::parse();
    let code = match panics::catch(|| cli.command.run()) {
        None => panics::EXIT_CODE,
        Some(Ok(outcome)) => outcome.exit_code(),
        Some(Err(error)) => {
            output::error(&error.to_string());
            error.exit_code()
        }
    };
    peers::part(code);
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every code an error or an outcome can have is in the table of the help.
    #[test]
    fn exit_codes_are_documented() {
        for code in [0, 2, 3, 4, 5, 6, 7, 8, 9, 130, 143] {
            assert!(AFTER_HELP.contains(&format!("\n{code:>5}  ")), "{code} is missing");
        }
    }
}
