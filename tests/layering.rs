//! The project's own rules about its code: which layer may know of which, where shaders may be written, how long a file
//! may grow.

#[path = "common/rust_source.rs"]
mod rust_source;

use rust_source::Source;
use std::path::{Path, PathBuf};

/// What may name wgpu: the layer over it, and the edge to the browser.
const GPU: &[&str] = &["src/gpu.rs", "src/gpu/", "src/wasm.rs", "src/wasm/"];

/// What computes without a device, as plain data: it may not even name our own layer over wgpu.
const PURE: &[&str] = &[
    "src/error.rs",
    "src/shape.rs",
    "src/tensor.rs",
    "src/random.rs",
    "src/graph.rs",
    "src/graph/",
    "src/ops.rs",
    "src/ops/",
    "src/autodiff.rs",
    "src/autodiff/",
    "src/interpret.rs",
    "src/interpret/",
    "src/plan.rs",
    "src/plan/",
];

/// What may read the environment: the edges, where the user's wishes come in. All else takes arguments.
const ENVIRONMENT: &[&str] =
    &["src/main.rs", "src/cli.rs", "src/cli/", "src/data.rs", "src/data/", "src/gpu/adapter.rs", "src/gpu/tune.rs"];

/// What may be unsafe: each is argued for in docs/reliability.md.
const UNSAFE: &[&str] = &["src/gpu/heap.rs", "src/parallel/mpi/raw.rs"];

/// What may write WGSL beyond an expression: the generator of fused work, and what declares its bindings.
const GENERATORS: &[&str] = &["src/plan/codegen.rs", "src/plan/codegen/", "src/plan/lower.rs", "src/plan/lower/"];

/// Longer files do more than one thing.
const MAX_LINES: usize = 600;

/// The files with this extension below a folder of the repository, with paths relative to it.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path: PathBuf = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let name = path.strip_prefix(root).expect("below the root").display().to_string().replace('\\', "/");
                found.push((name, text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{extension} file in {folder}: the rule proves nothing");
    found
}

fn is_in(name: &str, places: &[&str]) -> bool {
    places.iter().any(|place| name == *place || place.ends_with('/') && name.starts_with(place))
}

/// `path:line` of each line of code in `src` that contains one of `patterns`, in the files that `applies` picks.
fn offences(applies: impl Fn(&str) -> bool, patterns: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for (name, text) in files("src", "rs").iter().filter(|(name, _)| applies(name)) {
        let source = Source::read(text);
        for pattern in patterns {
            offences.extend(source.lines_with(pattern).map(|line| format!("{name}:{line}: {pattern}")));
        }
    }
    offences
}

#[track_caller]
fn none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}

#[test]
fn only_the_gpu_layer_knows_wgpu() {
    let found = offences(|name| !is_in(name, GPU), &["wgpu::", "use wgpu", "extern crate wgpu"]);
    none(&found, "only src/gpu and src/wasm.rs may name wgpu");
    let found = offences(|name| is_in(name, PURE), &["crate::gpu", "super::gpu"]);
    none(&found, "graphs, plans and what stands below them are plain data and know no device");
}

#[test]
fn only_the_edges_read_the_environment() {
    let found = offences(|name| !is_in(name, ENVIRONMENT), &["env::var", "env::set_var", "env::remove_var"]);
    none(&found, "take an argument instead, or add the file to the list");
}

#[test]
fn unsafe_code_is_listed() {
    let found = offences(|name| !is_in(name, UNSAFE), &["unsafe "]);
    none(&found, "find a safe way, or add the file to the list and its argument to docs/reliability.md");
    let list = include_str!("../docs/reliability.md");
    let unargued: Vec<String> =
        UNSAFE.iter().filter(|name| !list.contains(&format!("| `{name}` |"))).map(|name| (*name).to_owned()).collect();
    none(&unargued, "docs/reliability.md has no argument for");
}

/// Whether a string literal is WGSL longer than an expression.
fn is_wgsl_program(text: &str) -> bool {
    ["@compute", "@group(", "var<storage", "var<workgroup", "var<uniform"].iter().any(|mark| text.contains(mark))
        || text.contains("fn ") && text.contains("->") && text.contains('{')
}

#[test]
fn shaders_are_files() {
    let mut found = Vec::new();
    for (name, text) in files("src", "rs").iter().filter(|(name, _)| !is_in(name, GENERATORS)) {
        // Tests of a module may hold the small shaders they need.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let strings = Source::read(text).strings;
        found
            .extend(strings.iter().filter(|(_, text)| is_wgsl_program(text)).map(|(line, _)| format!("{name}:{line}")));
    }
    none(&found, "write WGSL into a file of shaders/ and include it");
}

#[test]
fn files_stay_short() {
    let all = [("src", "rs"), ("tests", "rs"), ("xtask/src", "rs"), ("shaders", "wgsl")];
    let all = all.iter().flat_map(|(folder, extension)| files(folder, extension));
    let long = all.filter(|(_, text)| text.lines().count() > MAX_LINES);
    let long: Vec<_> = long.map(|(name, text)| format!("{name}: {} lines", text.lines().count())).collect();
    none(&long, "a file of more than 600 lines does more than one thing");
}

/// The rules above would pass on anything if comments and strings were not told from code.
#[test]
fn code_is_told_from_comments_and_strings() {
    let text = r##"
// wgpu::Device in a comment
/* env::var
   over lines */
let a = "wgpu::Buffer \" still";
let b = r#"@compute "x" fn"#; let c = '"'; let d: &'static str = b"y";
use wgpu::Queue; let e = '\''; let f = error"z";
"##;
    let source = Source::read(text);
    assert_eq!(source.lines_with("wgpu::").collect::<Vec<_>>(), [7], "{}", source.code);
    assert_eq!(source.lines_with("env::var").count(), 0);
    let strings: Vec<_> = source.strings.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(strings, [(5, "wgpu::Buffer \\\" still"), (6, "@compute \"x\" fn"), (6, "y"), (7, "z")]);
    assert!(is_wgsl_program("@compute @workgroup_size(64)") && is_wgsl_program("fn f(x: f32) -> f32 { return x; }"));
    assert!(!is_wgsl_program("({a} + fma({b}, {c}, 1.0))"));
    assert!(is_in("src/gpu/tune.rs", GPU) && is_in("src/gpu.rs", GPU) && !is_in("src/gpu_like.rs", GPU));
}
