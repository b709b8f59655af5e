//! `cargo xtask web`: the npm package in `web/package`, and the demo in `web/demo`.
//!
//! The module is compiled from `web/wasm`; `web/bindgen` makes the JavaScript around it, `web/package/build.mjs` the
//! package, whose size it checks.

use crate::machine::Machine;
use crate::setup::{self, Needs};
use crate::suites::{npm, npm_ci};
use crate::wasm::{TARGET, Toolchain};
use crate::{Stop, run};
use std::path::{Path, PathBuf};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// The demo, served.
    Serve,
    /// The package.
    Build,
    /// The package as a tarball.
    Pack,
    /// Its speed beside that of others.
    Bench,
    /// Whether it leaks.
    Leak,
}

/// Returns the exit code.
pub(crate) fn run(machine: &Machine, yes: bool, goal: Goal) -> Result<u8, Stop> {
    if machine.program(&["node"]).is_none() || matches!(goal, Goal::Bench | Goal::Leak) {
        setup::ensure(machine, Needs::TEST, yes)?;
    }
    let done = match goal {
        Goal::Build => build(machine),
        Goal::Pack => pack(machine),
        Goal::Bench => bench(machine),
        Goal::Leak => leak(machine),
        Goal::Serve => build(machine).and_then(|()| serve()),
    };
    done.map(|()| 0).map_err(|error| Stop::new(1, error))
}

/// Builds the module with some of its features; gives the folder with it and the JavaScript around it.
fn module(machine: &Machine, name: &str, features: &[&str]) -> Result<PathBuf, String> {
    let toolchain = Toolchain::prepare(machine)?;
    let target = run::target_folder().join("web");
    println!("Building the module; the first time this takes a few minutes.");
    run::run(toolchain.build(&target).args(features))?;
    let module = target.join(TARGET).join("web/iresnet_web.wasm");
    let bindings = target.join(name);
    let mut bindgen = run::cargo();
    bindgen.args(["run", "--locked", "--manifest-path", "web/bindgen/Cargo.toml", "--target-dir"]);
    run::run(bindgen.arg(target.join("bindgen")).arg("--").arg(module).arg(&bindings))?;
    Ok(bindings)
}

/// Builds `web/package/dist`.
pub(crate) fn build(machine: &Machine) -> Result<(), String> {
    let bindings = module(machine, "bindings", &[])?;
    npm_ci(&folder(""))?;
    run::run(run::command("node").current_dir(folder("package")).arg("build.mjs").arg(bindings))
}

/// Builds the package and packs it as npm would publish it.
pub(crate) fn pack(machine: &Machine) -> Result<(), String> {
    build(machine)?;
    run::run(npm().current_dir(folder("package")).args(["pack", "--ignore-scripts"]))
}

/// Whether the demo is there.
pub(crate) fn has_demo() -> bool {
    folder("demo/package.json").is_file()
}

/// Builds the demo's static files, `web/demo/dist`.
pub(crate) fn build_demo() -> Result<(), String> {
    run::run(npm().current_dir(folder("demo")).args(["run", "build"]))
}

/// The test files of a folder of the repository.
pub(crate) fn tests(place: &str) -> Result<Vec<PathBuf>, String> {
    let place = run::repository().join(place);
    let entries = std::fs::read_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let is_test = |path: &PathBuf| path.to_string_lossy().ends_with(".test.mjs");
    let mut tests: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_test).collect();
    tests.sort();
    if tests.is_empty() { Err(format!("no test in {}: nothing is proved", place.display())) } else { Ok(tests) }
}

/// Our convolution and block beside those of other packages, and how fast and smooth the demo is.
fn bench(machine: &Machine) -> Result<(), String> {
    let bench = module(machine, "bench", &["--features", "bench"])?;
    script(machine, "web/bench", "bench.mjs", ("IRESNET_BENCH_MODULE", &bench))?;
    let browser = browser(machine)?;
    build(machine)?;
    build_demo()?;
    run::run(npm().current_dir(folder("demo")).args(["run", "measure"]).env("CHROMIUM", browser))
}

fn leak(machine: &Machine) -> Result<(), String> {
    build(machine)?;
    let fixtures = run::target_folder().join("web/fixtures");
    run::run(run::cargo().args(["run", "--locked", "--example", "web_fixtures", "--"]).arg(&fixtures))?;
    script(machine, "web/test", "leak.mjs", ("IRESNET_WEB_FIXTURES", &fixtures))
}

fn serve() -> Result<(), String> {
    if !has_demo() {
        println!("The package is in web/package/dist. There is no demo to serve.");
        return Ok(());
    }
    build_demo()?;
    run::run(npm().current_dir(folder("demo")).args(["run", "preview"]))
}

/// Runs a script of a package of its own, in a browser.
fn script(machine: &Machine, package: &str, name: &str, variable: (&str, &Path)) -> Result<(), String> {
    let browser = browser(machine)?;
    let package = run::repository().join(package);
    npm_ci(&package)?;
    run::run(run::command("node").current_dir(&package).arg(name).env("CHROMIUM", browser).env(variable.0, variable.1))
}

fn browser(machine: &Machine) -> Result<PathBuf, String> {
    setup::browser(machine).ok_or_else(|| "no Chromium; `cargo xtask setup` says how to get one".into())
}

fn folder(name: &str) -> PathBuf {
    run::repository().join("web").join(name)
}
