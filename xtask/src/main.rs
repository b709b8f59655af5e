//! The project's own tasks: `cargo xtask demo`, `test`, `mpi`, `web` and `setup`.
//!
//! It is built before anything else, so it depends on the standard library alone. Each task first sees to what it needs
//! (a Vulkan driver, a browser, the wasm target), says what it is about to do, and changes the system only with
//! consent.

mod cli;
mod demo;
mod drivers;
mod machine;
mod mpi;
mod run;
mod setup;
mod suites;
mod test;
mod wasm;
mod web;

use cli::Task;
use machine::Machine;
use std::process::ExitCode;

/// A task that ended early: what to tell the user, and the exit code.
pub(crate) struct Stop {
    message: String,
    code: u8,
}

impl Stop {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let machine = Machine::here();
    let outcome = cli::parse(&arguments).and_then(|task| match task {
        Task::Help(text) => {
            println!("{text}");
            Ok(0)
        }
        Task::Demo { yes, out } => demo::run(&machine, yes, &out),
        Task::Web { yes, goal } => web::run(&machine, yes, goal),
        Task::Test { yes, only } => test::run(&machine, yes, &only),
        Task::Mpi => mpi::build(&machine),
        Task::Setup { yes } => setup::ensure(&machine, setup::Needs::TEST, yes).map(|()| 0),
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(stop) => {
            eprintln!("{}", stop.message);
            ExitCode::from(stop.code)
        }
    }
}
