//! A compiler for `wasm32-unknown-unknown`.
//!
//! Rustup's target is the first choice. Where rustup cannot fetch it but apt can fetch packages, Debian's compiler for
//! its browsers (`rustc-web`) comes with the sources of the standard library, from which cargo builds it for wasm. The
//! packages are unpacked into the user's cache, not installed: no root is needed and the system stays as it is.

use crate::machine::Machine;
use crate::run;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Set to `debian` to pass over rustup, which is how the other way is tested.
const CHOICE: &str = "IRESNET_WASM_TOOLCHAIN";

/// How to compile for wasm here.
pub(crate) enum Toolchain {
    /// Rustup has the target.
    Rustup,
    /// Debian's compiler, unpacked at this folder.
    Debian(PathBuf),
}

impl Toolchain {
    /// Finds or fetches one.
    pub(crate) fn prepare(machine: &Machine) -> Result<Self, String> {
        if machine.variable(CHOICE) != Some("debian") {
            if rustup_has_target() {
                return Ok(Self::Rustup);
            }
            if machine.program(&["rustup"]).is_some() {
                match run::run(run::command("rustup").args(["target", "add", TARGET])) {
                    Ok(()) if rustup_has_target() => return Ok(Self::Rustup),
                    Ok(()) => {}
                    Err(error) => println!("{error}; trying Debian's packages"),
                }
            }
        }
        if machine.has_apt() {
            return debian(machine).map(Self::Debian);
        }
        Err(format!("no compiler for {TARGET}: `rustup target add {TARGET}` does not work here and there is no apt"))
    }

    /// Clippy over the library as the browser gets it, warnings being errors.
    pub(crate) fn clippy(&self) -> Command {
        // Nothing but macros is run: optimising them, as the tests' profile has it, would take longer than they save.
        let quick = "profile.dev.package.\"*\".opt-level=0";
        let packages = ["-p", "iresnet", "-p", "iresnet-web"];
        let mut common = vec!["--no-default-features", "--lib", "--locked", "--config", quick];
        common.extend(packages);
        common.extend(["--target", TARGET, "--target-dir"]);
        let folder = run::target_folder().join("wasm");
        match self {
            Self::Rustup => {
                let mut command = run::cargo();
                command.arg("clippy").args(&common).arg(folder).args(["--", "-D", "warnings"]);
                command
            }
            Self::Debian(root) => {
                let clippy = root.join("usr/bin/cargo-clippy");
                let build_std = "-Zbuild-std=std,panic_abort";
                let mut command = if clippy.is_file() {
                    let mut command = run::command(clippy);
                    command.arg("clippy").args(&common).arg(folder).args([build_std, "--", "-D", "warnings"]);
                    command
                } else {
                    println!("This compiler comes without clippy: `cargo check` with warnings as errors instead.");
                    let mut command = run::cargo();
                    command.arg("check").args(&common).arg(folder).arg(build_std).env("RUSTFLAGS", "-D warnings");
                    command
                };
                self.environment(&mut command);
                command
            }
        }
    }

    /// The build of the module for browsers, into this target folder: as small as can be. The standard library is built
    /// along with it where its sources are there, without the texts of panics.
    pub(crate) fn build(&self, folder: &Path) -> Command {
        let mut command = run::cargo();
        command.args([
            "build",
            "--locked",
            "--profile",
            "web",
            "-p",
            "iresnet-web",
            "--target",
            TARGET,
            "--target-dir",
        ]);
        command.arg(folder);
        self.environment(&mut command);
        if self.has_std_sources() {
            command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
            let features = "-Zbuild-std-features=optimize_for_size";
            if self.knows_immediate_abort() {
                command
                    .env("RUSTFLAGS", "-Zunstable-options -Zlocation-detail=none -Cpanic=immediate-abort")
                    .arg(features);
            } else {
                command.arg(format!("{features},panic_immediate_abort"));
            }
        } else {
            println!(
                "The standard library's sources are not there (rustup component add rust-src): the module gets larger."
            );
        }
        command
    }

    fn has_std_sources(&self) -> bool {
        let Self::Rustup = self else { return true };
        let there = || sysroot().is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library").is_dir());
        if !there()
            && let Err(error) = run::run(run::command("rustup").args(["component", "add", "rust-src"]))
        {
            println!("{error}");
        }
        there()
    }

    /// Whether panics that are nothing but a trap are a way of the compiler's, as they are since Rust 1.91.
    fn knows_immediate_abort(&self) -> bool {
        let mut command = run::command("rustc");
        if let Self::Debian(root) = self {
            command = run::command(root.join("usr/bin/rustc"));
        }
        self.environment(&mut command);
        command.env("RUSTC_BOOTSTRAP", "1").args(["-Zunstable-options", "-Cpanic=immediate-abort", "--print", "cfg"]);
        command.output().is_ok_and(|done| done.status.success())
    }

    /// Sets the variables under which cargo uses this compiler.
    fn environment(&self, command: &mut Command) {
        let Self::Debian(root) = self else { return };
        command.env("RUSTC", root.join("usr/bin/rustc")).env("RUSTC_BOOTSTRAP", "1");
        let libraries = library_folder(root);
        let inherited = std::env::var_os("LD_LIBRARY_PATH");
        let folders = libraries.into_iter().chain(inherited.iter().flat_map(std::env::split_paths));
        if let Ok(joined) = std::env::join_paths(folders) {
            command.env("LD_LIBRARY_PATH", joined);
        }
        if let Some(linker) = sysroot().and_then(|sysroot| rust_lld(&sysroot)) {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
}

fn sysroot() -> Option<PathBuf> {
    Some(PathBuf::from(run::output("rustc", &["--print", "sysroot"])?.trim()))
}

fn rustup_has_target() -> bool {
    sysroot().is_some_and(|sysroot| sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn rust_lld(sysroot: &Path) -> Option<PathBuf> {
    let targets = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?.flatten();
    targets.map(|target| target.path().join("bin/rust-lld")).find(|path| path.is_file())
}

/// The folder in `usr/lib` named for the architecture.
fn library_folder(root: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(root.join("usr/lib")).ok()?.flatten().map(|entry| entry.path());
    folders
        .filter(|folder| folder.is_dir())
        .find(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-")))
}

/// The names in `apt-cache depends` that begin so.
fn dependencies(package: &str, prefix: &str) -> Vec<String> {
    let text = run::output("apt-cache", &["depends", package]).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

/// Unpacks Debian's compiler into the cache, unless this version of it is there.
fn debian(machine: &Machine) -> Result<PathBuf, String> {
    let base = ["rustc-web", "rust-web-src", "libstd-rust-web-dev"];
    let policy = run::output("apt-cache", &["policy", base[0]]).unwrap_or_default();
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    let version = candidate.filter(|version| *version != "(none)").ok_or_else(|| {
        format!(
            "apt knows no {} (it is in Debian's security suite): try `apt-get update`, or `rustup target add {TARGET}`",
            base[0]
        )
    })?;
    let folder =
        machine.cache().join("wasm-toolchain").join(version.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let done = folder.join("complete");
    let root = folder.join("root");
    if done.is_file() {
        return Ok(root);
    }
    // The library package carries its version in its name, and depends on LLVM's, which does the same.
    let std = dependencies("libstd-rust-web-dev", "libstd-rust-web-");
    let llvm = std.iter().flat_map(|package| dependencies(package, "libllvm"));
    let mut packages: Vec<String> = base.map(str::to_owned).into_iter().chain(llvm).collect();
    packages.extend(std);
    if run::output("apt-cache", &["show", "rust-web-clippy"]).is_some() {
        packages.push("rust-web-clippy".to_owned());
    }
    println!("Unpacking {} {version} into {} (nothing is installed).", packages.join(" "), folder.display());
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&root).map_err(fault)?;
    run::run(run::command("apt-get").current_dir(&folder).args(["download", "--quiet"]).args(&packages))?;
    for entry in std::fs::read_dir(&folder).map_err(fault)?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run::run(run::command("dpkg").arg("-x").args([&path, &root]))?;
            std::fs::remove_file(&path).map_err(fault)?;
        }
    }
    drop_unused_sources(&root);
    std::fs::write(&done, "").map_err(fault)?;
    Ok(root)
}

/// Of the compiler's sources only the standard library is needed; the rest is several hundred megabytes.
fn drop_unused_sources(root: &Path) {
    let sources = std::fs::read_dir(root.join("usr/src")).into_iter().flatten().flatten();
    let parts = sources.flat_map(|source| std::fs::read_dir(source.path()).into_iter().flatten().flatten());
    for part in parts.filter(|part| part.file_name() != "library") {
        let path = part.path();
        // What cannot be removed only takes room.
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}
