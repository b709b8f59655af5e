//! Every shader is portable: naga validates each linked module and writes SPIR-V, MSL, HLSL and GLSL from it, it keeps
//! to WebGPU's default limits and to the binding convention, and breaks none of the lints. `cargo xtask test` has Tint
//! compile the same modules in Chromium.

#[path = "common/shader_checks.rs"]
mod shader_checks;

#[path = "common/sample_kernels.rs"]
mod sample_kernels;

use shader_checks::{LINTS, check, check_kernel, dump_folder, lint, parse};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The WGSL files below a folder, sorted.
fn wgsl_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wgsl") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The fixtures: name without `.wgsl`, and text.
fn fixtures() -> Vec<(String, String)> {
    let files = wgsl_files(&root().join("tests/fixtures/shaders"));
    let read = |path: &PathBuf| {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a file name").to_owned();
        (name, std::fs::read_to_string(path).expect("a text file"))
    };
    files.iter().map(read).collect()
}

/// All checks on kernels of all kinds, which also writes them where Tint finds them.
#[test]
fn every_kernel_is_portable() {
    for kernel in sample_kernels::kernels() {
        check_kernel(&kernel);
    }
    let dumped = wgsl_files(&dump_folder());
    assert!(dumped.len() > 50, "{} modules", dumped.len());
}

#[test]
fn every_shader_is_part_of_a_checked_kernel() {
    let kernels = sample_kernels::kernels();
    let modules: Vec<&str> =
        kernels.iter().flat_map(|kernel| &kernel.variants).map(|variant| &*variant.source).collect();
    for path in wgsl_files(&root().join("shaders")) {
        let text = std::fs::read_to_string(&path).expect("a text file");
        let used = modules.iter().any(|module| module.contains(text.trim()));
        assert!(used, "{}: no kernel that the checks see contains it", path.display());
    }
}

#[test]
fn each_lint_refuses_its_bad_shaders() {
    for rule in LINTS {
        let bad: Vec<_> = fixtures().into_iter().filter(|(name, _)| name.starts_with(rule.name)).collect();
        assert!(!bad.is_empty(), "the lint `{}` is not proved by any shader", rule.name);
        for (name, text) in bad {
            let module = parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
            for other in LINTS {
                let violations = (other.violations)(&module);
                assert_eq!(
                    !violations.is_empty(),
                    other.name == rule.name,
                    "{name}, lint {}: {violations:?}",
                    other.name
                );
            }
            let messages = lint(&name, &text, &module);
            assert!(messages[0].contains(rule.summary) && messages[0].contains(rule.explanation), "{messages:?}");
            assert!(check(&name, &text, 1, 1).is_err(), "{name} passes as a whole");
        }
    }
}

#[test]
fn good_shaders_pass() {
    let good: Vec<_> = fixtures().into_iter().filter(|(name, _)| name.starts_with("good-")).collect();
    assert!(good.len() >= 3);
    for (name, text) in good {
        let demand = check(&name, &text, 1, 1).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        assert_eq!(demand.invocations, 64, "{name}");
        assert!(demand.fits_default_limits(), "{name}");
    }
}

/// A sound module, changed in one place each time, must fail for that reason.
#[test]
fn departures_from_the_convention_are_refused() {
    let (_, good) = fixtures().into_iter().find(|(name, _)| name == "good-reduce").expect("the fixture is there");
    let refused = |text: &str, inputs, outputs, reason: &str| {
        let problems = check("module", text, inputs, outputs).expect_err(reason).join("\n");
        assert!(problems.contains(reason), "expected `{reason}` among:\n{problems}");
    };
    refused(&good, 2, 1, "nothing is bound at group 0 binding 2");
    refused(&good, 1, 0, "has no place in the convention");
    refused(&good, 0, 2, "expected to be read_write");
    refused(&good, 2, 0, "expected to be read");
    refused(&good, 8, 1, "a default device has 8");
    refused(&good.replace("fn main", "fn start"), 1, 1, "one compute entry point `main`");
    refused(&good.replace("Grid", "Other"), 1, 1, "expected to be a `Grid`");
    refused(&good.replace("@group(1)", "@group(2)"), 1, 1, "has no place in the convention");
    refused(&format!("{good}\nfn loose(x: f64) {{}}"), 1, 1, "f64");
    refused("fn main( {", 1, 1, "expected");
}

#[test]
fn demands_beyond_the_default_limits_are_seen() {
    let (_, good) = fixtures().into_iter().find(|(name, _)| name == "good-reduce").expect("the fixture is there");
    let fits = |from: &str, to: &str| {
        assert!(good.contains(from));
        check("module", &good.replace(from, to), 1, 1).expect("sound").fits_default_limits()
    };
    assert!(fits("@workgroup_size(64)", "@workgroup_size(256)"));
    assert!(!fits("@workgroup_size(64)", "@workgroup_size(257)"));
    assert!(!fits("@workgroup_size(64)", "@workgroup_size(16, 17)"));
    assert!(!fits("@workgroup_size(64)", "@workgroup_size(1, 1, 65)"));
    assert!(fits("array<f32, 64>", "array<f32, 4096>"));
    assert!(!fits("array<f32, 64>", "array<f32, 4097>"));
    // Sound, but not for every device; and like a barrier it needs all invocations.
    assert!(!fits("y[row] = shared_x[0];\n    }", "y[row] = shared_x[0];\n    }\n    y[row] = subgroupAdd(sum);"));
    let uneven = good.replace("sum += x[i]", "sum += subgroupAdd(x[i])");
    assert!(check("module", &uneven, 1, 1).is_err_and(|problems| problems[0].contains("non-uniform")));
}
