//! Adds what tuning has found on this machine to the table that is part of the program, `src/gpu/tuned.json`:
//! `cargo run --example ship_tuning [FILE]`, where FILE is a tuning file and else the user's own.
//!
//! Adapters are named without their drivers' versions there: which kernel is fastest seldom depends on them, and whoever has
//! timed kernels himself is not bound by the table. A choice ends where the program gets a variant that it was not made among.

use std::collections::BTreeMap;
use std::path::PathBuf;

use iresnet::gpu::{Choice, Tuning};

type Table = BTreeMap<String, BTreeMap<String, Choice>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args_os().nth(1).map(PathBuf::from).or_else(Tuning::default_path);
    let found: Table = serde_json::from_slice(&std::fs::read(file.ok_or("there is no tuning file")?)?)?;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/gpu/tuned.json");
    let mut table: Table = serde_json::from_slice(&std::fs::read(&path)?)?;
    for (adapter, choices) in found {
        let (name, _driver) = adapter.rsplit_once(" | ").ok_or("an adapter without a driver")?;
        let known = table.entry(name.into()).or_default();
        known.extend(choices);
        println!("{name}: {} kernels", known.len());
    }
    std::fs::write(path, serde_json::to_string_pretty(&table)? + "\n")?;
    Ok(())
}
