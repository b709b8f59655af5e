//! Files to begin fuzzing with, one folder a format: what this program and others write, and what was trouble once.
//!
//! ```text
//! cargo run --example fuzz_seeds
//! RUSTC_BOOTSTRAP=1 cargo fuzz run npy -- -max_total_time=360
//! ```
//! The second wants `cargo install cargo-fuzz`; with a nightly toolchain it needs no `RUSTC_BOOTSTRAP`.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};

/// Files of the repository that are as they come: format, folder, what their names end with.
const REAL: [(&str, &str, &str); 4] = [
    ("toml", "presets", "toml"),
    ("image", "docs/images", "png"),
    ("safetensors", "tests/fixtures", "safetensors"),
    ("state_dict", "tests/fixtures", "safetensors"),
];
/// Larger ones make a fuzzer slow.
const MOST_BYTES: u64 = 1 << 18;

/// The files in a folder; none where there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in targets::TARGETS {
        let folder = root.join("fuzz/corpus").join(target.name);
        std::fs::create_dir_all(&folder)?;
        let mut seeds = (target.seeds)();
        let mut more = files(&root.join("fuzz/cases").join(target.name));
        for (_, real, extension) in REAL.iter().filter(|(name, ..)| *name == target.name) {
            let of_format = |path: &PathBuf| path.extension().is_some_and(|found| found == *extension);
            more.extend(files(&root.join(real)).into_iter().filter(of_format));
        }
        for path in more {
            if path.metadata()?.len() <= MOST_BYTES {
                seeds.push(std::fs::read(path)?);
            }
        }
        let taken = seeds.iter().filter(|seed| (target.run)(seed)).count();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
        println!("{:<12} {} files, {taken} of them accepted", target.name, seeds.len());
    }
    Ok(())
}
