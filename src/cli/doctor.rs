//! `iresnet doctor`: what a bug report needs, and whether this machine computes correctly.
//!
//! It prints as it goes, so that a driver that takes the process down has its name on the last line.

mod selftest;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Outcome, output};
use crate::data;
use crate::error::{Error, Result};
use crate::gpu::{self, Adapter, AdapterInfo, Tuning, block_on};
use selftest::Passed;

const EXAMPLES: &str = "\
Examples:
  iresnet doctor                   everything, every adapter
  iresnet doctor --adapter gl      test one adapter
  iresnet doctor --json            one JSON object, for a bug report

The self-test computes convolutions, products, reductions and random numbers, forward and backward, and compares them
with the same in 64 bits on the CPU; convolutions a second time in half precision where the adapter has it. The exit
code is that of the adapter that would be used (or was asked for): 0, or 5 or 9 where its self-test fails; 4 where there
is none.";

/// Check this machine: adapters, drivers, folders, and a computation on each adapter.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,

    /// Test only this adapter, as `iresnet adapters` names it.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Everything found out, as printed with --json.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    debug_build: bool,
    system: String,
    processors: usize,
    variables: Vec<(String, String)>,
    adapters: Vec<AdapterFindings>,
    folders: Vec<Folder>,
    data: Vec<DataSet>,
    hints: Vec<String>,
}

#[derive(Serialize)]
struct AdapterFindings {
    #[serde(flatten)]
    info: AdapterInfo,
    /// Whether a command without --adapter uses this one.
    preferred: bool,
    /// Absent where it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    self_test: Option<SelfTest>,
}

#[derive(Serialize)]
struct SelfTest {
    ok: bool,
    #[serde(flatten)]
    passed: Option<Passed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Folder {
    what: &'static str,
    path: Option<PathBuf>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct DataSet {
    name: String,
    available: bool,
    path: Option<PathBuf>,
}

/// Variables that change which drivers are found, or how this program behaves.
const VARIABLES: [&str; 20] = [
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_ADD_DRIVER_FILES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "VK_INSTANCE_LAYERS",
    "__EGL_VENDOR_LIBRARY_FILENAMES",
    "LIBGL_ALWAYS_SOFTWARE",
    "GALLIUM_DRIVER",
    "LP_NUM_THREADS",
    "LD_LIBRARY_PATH",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "WGPU_BACKEND",
    "WGPU_ADAPTER_NAME",
    "IRESNET_DATA",
    "XDG_CACHE_HOME",
    "NO_COLOR",
    "CI",
    "RUST_BACKTRACE",
];

/// Examines the machine.
///
/// # Errors
/// [`Error::NoAdapter`] where no adapter can be used or the one asked for does not exist; [`Error::Gpu`] or
/// [`Error::Verification`] where the self-test of the one that would be used fails.
pub fn run(args: &Args) -> Result<Outcome> {
    let say = |text: &str| {
        if !args.json {
            output::print(text);
        }
    };
    let mut findings = system();
    say(&findings.describe());

    let adapters = block_on(gpu::adapters());
    let chosen = block_on(gpu::choose(args.adapter.as_deref()));
    let id = |adapter: &Adapter| adapter.info().id.clone();
    let preferred = chosen.as_ref().ok().map(id);
    let mut verdict = chosen.as_ref().map(|_| ()).map_err(|error| Error::NoAdapter(error.to_string()));
    say(if adapters.is_empty() { "\nAdapters: none" } else { "\nAdapters" });
    for adapter in &adapters {
        let info = adapter.info();
        let is_preferred = Some(&info.id) == preferred.as_ref();
        say(&describe_adapter(info, is_preferred && args.adapter.is_none()));
        let wanted = info.suitable && (args.adapter.is_none() || is_preferred);
        let result = wanted.then(|| block_on(selftest::run(adapter)));
        match &result {
            None if info.suitable => say("    self-test: not run"),
            None => say("    self-test: not run, this adapter cannot run compute shaders with indirect dispatch"),
            Some(Ok(passed)) => {
                let of_f16 = passed.f16_error.map_or(String::new(), |error| format!(", {error:.1e} in half precision"));
                say(&format!(
                    "    self-test: ok in {:.1} s, largest error {:.1e} of {:.0e} allowed{of_f16}",
                    passed.seconds, passed.error, passed.tolerance
                ));
            }
            Some(Err(error)) => say(&format!("    self-test: FAILED: {error}")),
        }
        let self_test = result.map(|result| match result {
            Ok(passed) => SelfTest { ok: true, passed: Some(passed), error: None },
            Err(error) => {
                let text = error.to_string();
                findings.hints.push(format!(
                    "adapter {info} fails its self-test: update its driver, or use another adapter (--adapter ID, or \
                     WGPU_ADAPTER_NAME); the error above belongs in a bug report"
                ));
                if is_preferred {
                    verdict = Err(error);
                }
                SelfTest { ok: false, passed: None, error: Some(text) }
            }
        });
        findings.adapters.push(AdapterFindings { info: info.clone(), preferred: is_preferred, self_test });
    }
    findings.hints.extend(hints(&findings));

    say("\nFolders");
    for folder in &findings.folders {
        let path = folder.path.as_ref().map_or("nowhere".into(), |path| path.display().to_string());
        let state = folder.problem.as_deref().unwrap_or("ok");
        say(&format!("  {}: {path}: {state}", folder.what));
    }
    say("\nData sets");
    for set in &findings.data {
        let path = set.path.as_ref().map_or("built in".into(), |path| path.display().to_string());
        say(&format!("  {}: {}", set.name, if set.available { path } else { format!("not found, looked in {path}") }));
    }
    if !findings.hints.is_empty() {
        say("\nHints");
        for hint in &findings.hints {
            say(&format!("  * {hint}"));
        }
    }
    if args.json {
        output::print_json(&findings);
    } else if verdict.is_ok() {
        say("\nAll is well.");
    }
    verdict.map(|()| Outcome::Done)
}

impl Findings {
    fn describe(&self) -> String {
        let Self { version, debug_build, system, processors, variables, .. } = self;
        let build = if *debug_build { ", debug build" } else { "" };
        let mut text = format!("iresnet {version}{build}\n{system}, {processors} processors");
        for (name, value) in variables {
            text.push_str(&format!("\n  {name}={value}"));
        }
        text
    }
}

fn system() -> Findings {
    let variable = |name: &str| Some((name.to_owned(), std::env::var_os(name)?.to_string_lossy().into_owned()));
    let set = |entry: data::Entry| DataSet { name: entry.name, available: entry.available, path: entry.path };
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        debug_build: cfg!(debug_assertions),
        system: describe_system(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        variables: VARIABLES.into_iter().filter_map(variable).collect(),
        adapters: Vec::new(),
        folders: folders(),
        data: data::catalogue().into_iter().filter(|entry| entry.images.is_some()).map(set).collect(),
        hints: Vec::new(),
    }
}

/// Operating system and processor; on Linux also the distribution and the kernel.
fn describe_system() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    [describe_machine(), kernel.trim().to_owned()].join(" ").trim_end().to_owned()
}

/// What results of measurements name: operating system and processor, on Linux also the distribution and the processor's
/// name.
pub(crate) fn describe_machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (release, processors) = (read("/etc/os-release"), read("/proc/cpuinfo"));
    let distribution = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let parts = [
        std::env::consts::OS,
        std::env::consts::ARCH,
        distribution.unwrap_or_default().trim_matches('"'),
        processor.map_or("", |(_, name)| name.trim()),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn describe_adapter(info: &AdapterInfo, preferred: bool) -> String {
    let limits = &info.limits;
    let kind = format!("{:?}", info.kind).to_lowercase();
    let mark = if preferred { ", used unless told otherwise" } else { "" };
    let same = info.duplicate_of.as_ref().map_or(String::new(), |of| format!(", same device as {of}"));
    format!(
        "  {} {} ({kind}{same}{mark})\n    driver: {}\n    limits: buffer {}, binding {}, {} storage buffers; workgroup \
         {} invocations, {}; {} workgroups an axis{}",
        info.id,
        info.name,
        info.driver,
        output::bytes(limits.buffer_bytes),
        output::bytes(limits.binding_bytes),
        limits.storage_buffers,
        limits.invocations,
        output::bytes(limits.workgroup_bytes.into()),
        limits.groups_per_axis,
        if info.f16 { "; half precision" } else { "" }
    )
}

fn folders() -> Vec<Folder> {
    let tuning = Tuning::default_path();
    let problem = match &tuning {
        None => {
            Some("no cache folder is known; kernels are tuned anew in every run: set HOME or XDG_CACHE_HOME".into())
        }
        Some(path) => path.parent().and_then(unwritable),
    };
    let here = std::env::current_dir().ok();
    let here_problem = here.as_deref().and_then(unwritable);
    vec![
        Folder { what: "tuning results", path: tuning, problem },
        Folder { what: "working folder (runs/ goes here)", path: here, problem: here_problem },
    ]
}

/// Why nothing can be written below `folder`, which need not exist yet. Leaves nothing behind.
fn unwritable(folder: &Path) -> Option<String> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    let attempt = tempfile::tempfile_in(existing);
    attempt.err().map(|error| format!("{} cannot be written to: {error}", existing.display()))
}

/// What to do about what was found.
fn hints(findings: &Findings) -> Vec<String> {
    let mut hints = Vec::new();
    for (name, value) in &findings.variables {
        if ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"].contains(&name.as_str()) {
            let missing = std::env::split_paths(value).filter(|path| !path.as_os_str().is_empty() && !path.exists());
            hints.extend(missing.map(|path| format!("{name} names {}, which does not exist", path.display())));
        }
    }
    if let Some((_, value)) = findings.variables.iter().find(|(name, _)| name == "WGPU_BACKEND") {
        hints.push(format!("WGPU_BACKEND={value} hides all other backends"));
    }
    let usable: Vec<&AdapterInfo> =
        findings.adapters.iter().map(|found| &found.info).filter(|info| info.suitable).collect();
    if !usable.is_empty() && usable.iter().all(|info| info.is_software) {
        hints.push(
            "only software adapters: where there is a GPU, its Vulkan driver is missing, or this user may not open the \
             device (on Linux: groups `video` and `render`)"
                .into(),
        );
    }
    for folder in &findings.folders {
        hints.extend(folder.problem.as_ref().map(|problem| format!("{}: {problem}", folder.what)));
    }
    if findings.debug_build {
        hints.push("this is a debug build: build with --release before measuring anything".into());
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_be_made_is_writable_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("a/b");
        assert_eq!(unwritable(&new), None);
        assert!(!folder.path().join("a").exists());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(unwritable(&file.join("below")).is_some(), "a file is no folder");
    }
}
