//! Files to begin fuzzing with, one folder a format: what this program and others write, and what was trouble once.
//!
//! ```text
//! cargo run --example fuzz_seeds
//! RUSTC_BOOTSTRAP=1 cargo fuzz run npy -- -max_total_time=360
//! ```
//! The second wants `cargo install cargo-fuzz`; with a nightly toolchain it needs no `RUSTC_BOOTSTRAP`.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for target in targets::TARGETS {
        let folder = root.join("corpus").join(target.name);
        std::fs::create_dir_all(&folder)?;
        let mut files = (target.seeds)();
        let taken = files.iter().filter(|file| (target.run)(file)).count();
        for case in std::fs::read_dir(root.join("cases").join(target.name)).into_iter().flatten().flatten() {
            files.push(std::fs::read(case.path())?);
        }
        for (number, file) in files.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), file)?;
        }
        println!("{:<12} {} files, {taken} of them accepted", target.name, files.len());
    }
    Ok(())
}
