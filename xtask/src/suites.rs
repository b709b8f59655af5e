//! The suites of `cargo xtask test`, in the order they run: quick ones first.

use crate::drivers::Drivers;
use crate::machine::Machine;
use crate::mpi::Mpi;
use crate::wasm::Toolchain;
use crate::{run, setup, web};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One suite.
pub(crate) struct Suite {
    /// Name for `--only`.
    pub(crate) name: &'static str,
    /// What it shows, in a few words.
    pub(crate) about: &'static str,
    /// Whether it must have run on an adapter: a suite that met none proves nothing.
    pub(crate) needs_adapter: bool,
    /// Runs it; the error says what failed.
    pub(crate) run: fn(&Bench) -> Result<(), String>,
}

/// What the suites work with.
pub(crate) struct Bench<'a> {
    pub(crate) machine: &'a Machine,
    /// cargo's target folder.
    pub(crate) target: PathBuf,
    /// A file to which each test program appends the adapters that it opened, one a line.
    pub(crate) adapters: PathBuf,
}

pub(crate) const ALL: &[Suite] = &[
    Suite { name: "fmt", about: "rustfmt leaves every file as it is", needs_adapter: false, run: fmt },
    Suite {
        name: "clippy",
        about: "clippy, native, all targets, warnings are errors",
        needs_adapter: false,
        run: clippy,
    },
    Suite {
        name: "wasm",
        about: "clippy for wasm32, the library as the browser gets it",
        needs_adapter: false,
        run: wasm,
    },
    Suite {
        name: "deny",
        about: "licences, origins and known faults of everything that is built",
        needs_adapter: false,
        run: deny,
    },
    Suite { name: "docs", about: "rustdoc without warnings", needs_adapter: false, run: docs },
    Suite {
        name: "shaders",
        about: "naga validates, translates and lints every shader",
        needs_adapter: false,
        run: shaders,
    },
    Suite { name: "tint", about: "Chromium compiles every shader through WebGPU", needs_adapter: true, run: tint },
    Suite {
        name: "browser",
        about: "the npm package and the demo in Chromium on WebGPU, and what consumes the package",
        needs_adapter: true,
        run: browser,
    },
    Suite { name: "tests", about: "all tests, natively, on every adapter", needs_adapter: true, run: tests },
    Suite {
        name: "python",
        about: "Python's numpy and safetensors open our files, and we theirs",
        needs_adapter: false,
        run: python,
    },
    Suite { name: "doctests", about: "the examples in the documentation", needs_adapter: false, run: doctests },
    Suite {
        name: "mpi",
        about: "several processes under Open MPI, which are lost or stopped",
        needs_adapter: false,
        run: mpi,
    },
];

/// The variable that names the file of [`Bench::adapters`].
const ADAPTER_LOG: &str = "IRESNET_ADAPTER_LOG";

/// What Mesa's software drivers have their compiler do.
const MESA_COMPILER: &str = "GALLIVM_PERF";

impl Bench<'_> {
    /// cargo under which GPU tests meet all drivers, and which fails tests that meet none.
    fn cargo(&self) -> Command {
        let mut command = run::cargo();
        command.env(ADAPTER_LOG, &self.adapters);
        if let Some(files) = Drivers::find(self.machine).for_tests() {
            command.env("VK_DRIVER_FILES", files);
        }
        // Tests run most kernels once or twice: Mesa's software drivers would spend nearly all of the time on optimising them.
        if self.machine.variable(MESA_COMPILER).is_none() {
            command.env(MESA_COMPILER, "nopt");
        }
        command
    }

    /// The folder into which tests write the modules that Tint must compile.
    fn modules(&self) -> PathBuf {
        self.target.join("shaders")
    }
}

fn fmt(_: &Bench) -> Result<(), String> {
    component("rustfmt", "fmt");
    run::run(run::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(_: &Bench) -> Result<(), String> {
    component("clippy", "clippy");
    run::run(run::cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

/// Small installations of Rust lack components; rustup may have them. If not, the suite's own command says so.
fn component(name: &str, command: &str) {
    let there = run::cargo().args([command, "--version"]).output().is_ok_and(|done| done.status.success());
    if !there && let Err(error) = run::run(run::command("rustup").args(["component", "add", name])) {
        println!("{error}");
    }
}

fn wasm(bench: &Bench) -> Result<(), String> {
    let toolchain = Toolchain::prepare(bench.machine)?;
    match &toolchain {
        Toolchain::Rustup => println!("with rustup's target"),
        Toolchain::Debian(root) => println!("with Debian's compiler in {}", root.display()),
    }
    run::run(&mut toolchain.clippy())
}

fn deny(bench: &Bench) -> Result<(), String> {
    let tools = bench.machine.cache().join("tools");
    let fetched = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    let installed = || run::cargo().args(["deny", "--version"]).output().is_ok_and(|done| done.status.success());
    let deny = || if fetched.is_file() { run::command(&fetched) } else { run::cargo() };
    if !fetched.is_file() && !installed() {
        let mut install = run::cargo();
        // Without optimisation and without a debugger's tables: it is run once.
        install.args(["install", "--quiet", "--debug", "--locked", "cargo-deny", "--root"]).arg(&tools);
        install.env("CARGO_PROFILE_DEV_DEBUG", "0");
        run::run(install.env("CARGO_TARGET_DIR", bench.target.join("tools")))?;
    }
    // Packages for other systems are looked at too.
    run::run(run::cargo().args(["fetch", "--locked"]))?;
    run::run(deny().args(["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    // The database of known faults is a repository that not every network reaches.
    match run::run(deny().args(["deny", "fetch", "db"])) {
        Ok(()) => run::run(deny().args(["deny", "check", "advisories"])),
        Err(error) => {
            println!("not run: advisories, as their database cannot be had here ({error})");
            Ok(())
        }
    }
}

fn docs(_: &Bench) -> Result<(), String> {
    run::run(run::cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn shaders(bench: &Bench) -> Result<(), String> {
    // Modules of earlier runs would hide that none are written any more.
    let folder = bench.modules();
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    run::run(bench.cargo().args(["test", "--locked", "--test", "shaders"]))
}

fn tests(bench: &Bench) -> Result<(), String> {
    let nextest = run::cargo().args(["nextest", "--version"]).output().is_ok_and(|done| done.status.success());
    if nextest {
        return run::run(bench.cargo().args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]));
    }
    run::run(bench.cargo().args(["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"]))
}

fn python(bench: &Bench) -> Result<(), String> {
    let python = environment(bench)?;
    let mut command = bench.cargo();
    command.args(["test", "--locked", "--test", "interchange", "python"]).env("IRESNET_PYTHON", python);
    run::run(&mut command)
}

/// A Python with numpy and safetensors, in a virtual environment under the target folder.
fn environment(bench: &Bench) -> Result<PathBuf, String> {
    let folder = bench.target.join("python");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let ready = || run::command(&python).args(["-c", "import numpy, safetensors"]).output();
    if !ready().is_ok_and(|done| done.status.success()) {
        let system = bench.machine.program(&["python3", "python"]).ok_or("no Python; install Python 3 with venv")?;
        run::run(run::command(system).args(["-m", "venv"]).arg(&folder))?;
        run::run(run::command(&python).args(["-m", "pip", "install", "--quiet", "numpy", "safetensors"]))?;
    }
    Ok(python)
}

fn doctests(bench: &Bench) -> Result<(), String> {
    run::run(bench.cargo().args(["test", "--workspace", "--locked", "--doc"]))
}

fn mpi(bench: &Bench) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        println!("not run: it looks for its processes in Linux's /proc");
        return Ok(());
    }
    let mpi = Mpi::prepare(bench.machine)?;
    component("clippy", "clippy");
    let features = ["--locked", "--features", "mpi"];
    let mut clippy = mpi.with(run::cargo());
    run::run(clippy.arg("clippy").args(features).args(["--lib", "--", "-D", "warnings"]))?;
    let mut tests = mpi.with(bench.cargo());
    // One after the other: each brings several processes, and the cores are few.
    tests.arg("test").args(features).args(["--test", "mpi", "--", "--test-threads", "1"]);
    run::run(tests.env("IRESNET_MPIRUN", mpi.mpirun()))
}

fn tint(bench: &Bench) -> Result<(), String> {
    if !has_modules(&bench.modules()) {
        shaders(bench)?;
    }
    let browser = setup::browser(bench.machine).ok_or("no Chromium; `cargo xtask setup` says how to get one")?;
    let package = run::repository().join("xtask/web-check");
    npm_ci(&package)?;
    let script = package.join("check.mjs");
    let fixtures = run::repository().join("tests/fixtures/shaders");
    let mut command = run::command("node");
    command.arg(script).arg(browser).arg(bench.modules()).arg(fixtures).env(ADAPTER_LOG, &bench.adapters);
    run::run(&mut command)
}

/// The tests of `web/`: the package against native results, its promises, its consumers; and the demo's own.
fn browser(bench: &Bench) -> Result<(), String> {
    let browser = setup::browser(bench.machine).ok_or("no Chromium; `cargo xtask setup` says how to get one")?;
    let fixtures = bench.target.join("web/fixtures");
    let mut example = bench.cargo();
    example.args(["run", "--locked", "--example", "web_fixtures", "--"]).arg(&fixtures).env_remove(ADAPTER_LOG);
    // Linking the module keeps one core busy, and so does compiling kernels.
    std::thread::scope(|scope| {
        let expected = scope.spawn(|| run::run(&mut example));
        web::pack(bench.machine)?;
        expected.join().map_err(|_| "the example panicked".to_owned())?
    })?;
    let node = |package: &str, tests: Vec<PathBuf>| {
        let mut command = run::command("node");
        command.current_dir(run::repository().join(package)).args(["--test", "--test-concurrency=1"]).args(tests);
        command.env("CHROMIUM", &browser).env("IRESNET_WEB_FIXTURES", &fixtures).env(ADAPTER_LOG, &bench.adapters);
        run::run(&mut command)
    };
    npm_ci(&run::repository().join("web/test"))?;
    node("web/test", web::tests("web/test")?)?;
    if web::has_demo() {
        web::build_demo()?;
        node("web/demo", web::tests("web/demo/test")?)?;
    }
    Ok(())
}

fn has_modules(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Installs a package's dependencies, as locked, unless that has been done since the lock file last changed.
pub(crate) fn npm_ci(package: &Path) -> Result<(), String> {
    let changed = |path: PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let (lock, installed) =
        (changed(package.join("package-lock.json")), changed(package.join("node_modules/.package-lock.json")));
    if installed.is_some() && installed >= lock {
        return Ok(());
    }
    run::run(npm().current_dir(package).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))
}

/// A command of npm's.
pub(crate) fn npm() -> Command {
    run::command(if cfg!(windows) { "npm.cmd" } else { "npm" })
}
