//! `cargo xtask demo`: the main job on built-in real data, ending with pictures and `report.html`.

use crate::drivers::Drivers;
use crate::machine::Machine;
use crate::setup::{self, Needs};
use crate::{Stop, run};
use std::path::{Path, PathBuf};

/// Returns the exit code of the demonstration.
pub(crate) fn run(machine: &Machine, yes: bool, out: &Path) -> Result<u8, Stop> {
    setup::ensure(machine, Needs::DEMO, yes)?;
    println!("Building the program; the first time this takes some minutes.");
    run::run(run::cargo().args(["build", "--locked", "--bin", "iresnet"])).map_err(|error| Stop::new(1, error))?;

    let program = run::target_folder().join("debug").join(format!("iresnet{}", std::env::consts::EXE_SUFFIX));
    let mut command = run::command(program);
    command.arg("demo").arg("--out").arg(out);
    if let Some(files) = Drivers::find(machine).for_programs() {
        command.env("VK_DRIVER_FILES", files);
    }
    let status =
        command.status().map_err(|error| Stop::new(1, format!("the program could not be started: {error}")))?;
    let report = absolute(out).join("report.html");
    match status.code() {
        Some(0) if report.is_file() => {
            println!("The report is {}", report.display());
            Ok(0)
        }
        Some(0) => Err(Stop::new(1, format!("the demonstration ended well but left no {}", report.display()))),
        // Exit codes are bytes wherever this runs, but for Windows' own.
        Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
        None => Err(Stop::new(1, format!("the demonstration was ended: {status}"))),
    }
}

fn absolute(path: &Path) -> PathBuf {
    run::repository().join(path)
}
