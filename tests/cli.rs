//! The program's promises: exit codes, what goes where, JSON that programs can read.

use std::collections::HashSet;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn iresnet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iresnet"));
    command.args(arguments).env_remove("WGPU_ADAPTER_NAME");
    command
}

/// What is left of the machine when no driver can be found: the Vulkan loader and the GL dispatcher of Linux are sent
/// to nowhere, and where there is neither (Windows, macOS), wgpu to a backend that the system lacks.
fn without_adapters(arguments: &[&str]) -> Command {
    let mut command = iresnet(arguments);
    if cfg!(target_os = "linux") {
        let nowhere = "/nonexistent.json";
        command.env("VK_DRIVER_FILES", nowhere).env("VK_ICD_FILENAMES", nowhere).env_remove("VK_ADD_DRIVER_FILES");
        command.env("__EGL_VENDOR_LIBRARY_FILENAMES", nowhere);
    } else if cfg!(windows) {
        command.env("WGPU_BACKEND", "metal");
    } else {
        command.env("WGPU_BACKEND", "dx12");
    }
    command
}

/// Runs the command and checks how it ended. Gives standard output and standard error.
#[track_caller]
fn ends_with(mut command: Command, code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\n{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (stdout, stderr)
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

const COMMANDS: [&str; 10] =
    ["adapters", "train", "eval", "sample", "invert", "interpolate", "demo", "bench", "data", "doctor"];

#[test]
fn help_lists_commands_and_exit_codes() {
    let (help, _) = ends_with(iresnet(&["--help"]), 0);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is missing in\n{help}");
    }
    assert!(help.contains("Exit codes:") && help.contains("\n  143  "), "{help}");
    for command in COMMANDS {
        let (help, _) = ends_with(iresnet(&[command, "--help"]), 0);
        assert!(help.contains("Examples:") && help.contains(&format!("iresnet {command}")), "{help}");
    }
    let (version, _) = ends_with(iresnet(&["--version"]), 0);
    assert_eq!(version.trim(), concat!("iresnet ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_2() {
    let cases: [&[&str]; 8] = [
        &[],
        &["adapter"],
        &["adapters", "--jason"],
        &["train"],
        &["train", "a.toml", "--preset", "b"],
        &["sample", "m.safetensors", "-n", "many", "--output", "x.png"],
        &["data", "verify", "mnits"],
        &["bench", "--filter", "no such case"],
    ];
    for arguments in cases {
        let (stdout, stderr) = ends_with(iresnet(arguments), 2);
        assert!(stdout.is_empty(), "{stdout}");
        assert!(arguments.is_empty() || stderr.starts_with("error: "), "{stderr}");
    }
    let (_, stderr) = ends_with(iresnet(&["adapter"]), 2);
    assert!(stderr.contains("'adapters'"), "the nearest command is named: {stderr}");
    let (_, stderr) = ends_with(iresnet(&["data", "verify", "mnits"]), 2);
    assert!(stderr.contains("\"mnist\""), "the nearest set is named: {stderr}");
}

#[test]
fn missing_data_is_3() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = iresnet(&["data", "verify", "mnist"]);
    command.env("IRESNET_DATA", folder.path()).env("HOME", folder.path());
    let (_, stderr) = ends_with(command, 3);
    assert!(stderr.contains("train-images-idx3-ubyte") && stderr.contains("IRESNET_DATA"), "{stderr}");
}

#[test]
fn foreign_data_is_9() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("mnist");
    std::fs::create_dir(&set).unwrap();
    std::fs::write(set.join("train-images-idx3-ubyte"), "something else").unwrap();
    let mut command = iresnet(&["data", "verify", "mnist"]);
    command.env("IRESNET_DATA", folder.path());
    let (_, stderr) = ends_with(command, 9);
    assert!(stderr.contains("train-images-idx3-ubyte") && stderr.contains("official"), "{stderr}");
}

#[test]
fn an_unknown_adapter_is_4_and_the_known_ones_are_named() {
    let (list, _) = ends_with(iresnet(&["adapters", "--json"]), 0);
    let list = json(&list);
    let ids: Vec<&str> = list.as_array().unwrap().iter().map(|adapter| adapter["id"].as_str().unwrap()).collect();
    for command in ["bench", "doctor"] {
        let (_, stderr) = ends_with(iresnet(&[command, "--adapter", "voodoo"]), 4);
        assert!(stderr.contains("voodoo") && ids.iter().all(|id| stderr.contains(id)), "{stderr}");
    }
}

#[test]
fn no_adapter_is_4_and_says_what_to_install() {
    for command in ["adapters", "bench", "doctor"] {
        let (_, stderr) = ends_with(without_adapters(&[command]), 4);
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains("install") || cfg!(not(target_os = "linux")), "{stderr}");
    }
    let (list, _) = ends_with(without_adapters(&["adapters", "--json"]), 4);
    assert_eq!(json(&list), Value::Array(Vec::new()), "the list is JSON even where it is empty");
    let (findings, _) = ends_with(without_adapters(&["doctor", "--json"]), 4);
    assert_eq!(json(&findings)["adapters"], Value::Array(Vec::new()));
}

#[test]
fn adapters_as_a_table_and_as_json() {
    let (list, _) = ends_with(iresnet(&["adapters", "--json"]), 0);
    let (table, _) = ends_with(iresnet(&["adapters"]), 0);
    for adapter in json(&list).as_array().unwrap() {
        assert!(table.contains(adapter["id"].as_str().unwrap()), "{table}");
        assert!(adapter["limits"]["binding_bytes"].as_u64().unwrap() > 0);
        assert!(adapter["is_software"].is_boolean() && adapter["driver"].is_string() && adapter["name"].is_string());
    }
}

#[test]
fn bench_prints_an_object_a_line_and_the_peak_first() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = iresnet(&["bench", "--json", "--quick", "--filter", "conv2d 16→16 1×1"]);
    command.env("XDG_CACHE_HOME", cache.path());
    let (stdout, _) = ends_with(command, 0);
    let lines: Vec<Value> = stdout.lines().map(json).collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert_eq!(lines[0]["op"], "peak");
    let number = |line: usize, key: &str| lines[line][key].as_f64().unwrap_or_else(|| panic!("{key} in {stdout}"));
    assert!(number(0, "gflops") > 0.0 && number(0, "copy_gb_per_s") > 0.0);
    assert_eq!(lines[1]["op"], "conv2d");
    for (key, value) in
        [("in", 16.0), ("out", 16.0), ("kernel", 1.0), ("height", 32.0), ("width", 32.0), ("batch", 32.0)]
    {
        assert_eq!(number(1, key), value, "{key} in {stdout}");
    }
    // Two operations for each of 32·32·32 pixels, 16 inputs and 16 outputs.
    let wanted = 2.0 * 32768.0 * 256.0 / number(1, "seconds") * 1e-9;
    assert!((number(1, "gflops") / wanted - 1.0).abs() < 1e-6 && number(1, "peak_ratio") > 0.0, "{stdout}");
    assert!(lines[1]["adapter"].is_string());
    let keys: HashSet<&str> = lines[1].as_object().unwrap().keys().map(String::as_str).collect();
    let promised = [
        "op",
        "in",
        "out",
        "kernel",
        "height",
        "width",
        "batch",
        "seconds",
        "gflops",
        "peak_ratio",
        "roofline_ratio",
        "adapter",
    ];
    assert_eq!(keys, promised.into());
    // Both bounds are known; the nearer one counts.
    assert!(number(1, "roofline_ratio") >= number(1, "peak_ratio"), "{stdout}");
}

#[test]
fn doctor_tests_an_adapter() {
    let (list, _) = ends_with(iresnet(&["adapters", "--json"]), 0);
    let list = json(&list);
    let id = list[0]["id"].as_str().unwrap();
    let (findings, _) = ends_with(iresnet(&["doctor", "--json", "--adapter", id]), 0);
    let findings = json(&findings);
    assert_eq!(findings["version"], env!("CARGO_PKG_VERSION"));
    let adapters = findings["adapters"].as_array().unwrap();
    assert_eq!(adapters.len(), list.as_array().unwrap().len(), "all are described");
    let tested: Vec<&Value> = adapters.iter().filter(|adapter| adapter["self_test"].is_object()).collect();
    assert_eq!(tested.len(), 1, "one is tested");
    assert_eq!((&tested[0]["id"], &tested[0]["self_test"]["ok"]), (&Value::from(id), &Value::from(true)));
    assert_eq!(
        tested[0]["self_test"]["f16_error"].is_number(),
        list[0]["f16"] == true,
        "half precision where there is some"
    );
}

#[test]
fn data_list_knows_what_is_built_in() {
    let (list, _) = ends_with(iresnet(&["data", "list", "--json"]), 0);
    let list = json(&list);
    let mini = list.as_array().unwrap().iter().find(|set| set["name"] == "fashion-mnist-mini").unwrap();
    assert_eq!((&mini["available"], &mini["shape"]), (&Value::from(true), &Value::from(vec![1, 28, 28])));
    let (table, _) = ends_with(iresnet(&["data", "list"]), 0);
    assert!(table.contains("fashion-mnist-mini") && table.contains("toy:"), "{table}");
    let (report, _) = ends_with(iresnet(&["data", "verify", "fashion-mnist-mini"]), 0);
    assert_eq!(report.lines().count(), 4, "{report}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = iresnet(&["data", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Sum of the density of a network barely trained over cells of 1/32: only its tails beyond the square are missing.
const INTEGRAL: f64 = 0.02;

#[test]
fn a_density_in_the_plane_is_a_density() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    let run = run.to_str().unwrap();
    ends_with(iresnet(&["train", "--preset", "toy-8gaussians", "--steps", "20", "--out", run]), 0);
    // The folder of a run stands for its model.
    let (result, _) = ends_with(iresnet(&["eval", run, "--limit", "500", "--json"]), 0);
    let result = json(&result);
    let integral = result["integral"].as_f64().unwrap();
    assert!((integral - 1.0).abs() < INTEGRAL, "{result}");
    let (reached, best) = (result["log_prob"].as_f64().unwrap(), result["negative_entropy"].as_f64().unwrap());
    assert!(reached < best, "{result}");
    let (text, _) = ends_with(iresnet(&["eval", run, "--limit", "500"]), 0);
    assert!(text.contains("integral") && text.contains("at best"), "{text}");
}

/// Each of them would train for itself, in one folder.
#[cfg(not(feature = "mpi"))]
#[test]
fn processes_started_together_are_told_what_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
        let mut command = iresnet(&["train", "--preset", "toy-8gaussians", "--out", run.to_str().unwrap()]);
        command.env(variable, "4");
        let (_, said) = ends_with(command, 2);
        assert!(said.contains("4 processes") && said.contains("--features mpi"), "{said}");
        assert!(!run.exists());
    }
}
