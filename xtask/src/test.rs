//! `cargo xtask test`: runs the suites and sums up.

use crate::Stop;
use crate::machine::Machine;
use crate::run;
use crate::setup::{self, Needs};
use crate::suites::{self, Bench};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// How a suite ended.
struct Line {
    name: &'static str,
    outcome: Result<(), String>,
    seconds: f64,
    adapters: BTreeSet<String>,
}

/// Returns the exit code: 0 if all suites passed, 1 otherwise.
pub(crate) fn run(machine: &Machine, yes: bool, only: &[&'static str]) -> Result<u8, Stop> {
    let browser = only.is_empty() || only.contains(&"tint") || only.contains(&"browser");
    let adapter = browser || only.contains(&"tests") || only.contains(&"mpi");
    if adapter {
        setup::ensure(machine, if browser { Needs::TEST } else { Needs::DEMO }, yes)?;
    }
    let target = run::target_folder();
    let folder = target.join("adapters");
    std::fs::create_dir_all(&folder).map_err(|error| Stop::new(2, format!("{}: {error}", folder.display())))?;

    let mut lines = Vec::new();
    for suite in suites::ALL.iter().filter(|suite| only.is_empty() || only.contains(&suite.name)) {
        println!("\n=== {}: {}", suite.name, suite.about);
        let log = folder.join(suite.name);
        // A log of an earlier run must not count.
        std::fs::write(&log, "").map_err(|error| Stop::new(2, format!("{}: {error}", log.display())))?;
        let bench = Bench { machine, target: target.clone(), adapters: log.clone() };
        let start = Instant::now();
        let mut outcome = (suite.run)(&bench);
        let adapters = read_adapters(&log);
        if suite.needs_adapter && outcome.is_ok() && adapters.is_empty() {
            outcome = Err("no adapter was met, so nothing is proved".to_owned());
        }
        let seconds = start.elapsed().as_secs_f64();
        match &outcome {
            Ok(()) => println!("--- {} passed in {seconds:.1} s", suite.name),
            Err(error) => println!("--- {} FAILED in {seconds:.1} s: {error}", suite.name),
        }
        lines.push(Line { name: suite.name, outcome, seconds, adapters });
    }
    println!("\n{}", summary(&lines));
    Ok(u8::from(lines.iter().any(|line| line.outcome.is_err())))
}

fn read_adapters(log: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The table, the failures, and the closing line.
fn summary(lines: &[Line]) -> String {
    let mut text = format!("{:9} {:7} {:>8}  {}\n", "suite", "result", "seconds", "adapters");
    for line in lines {
        let result = if line.outcome.is_ok() { "passed" } else { "FAILED" };
        let adapters: Vec<_> = line.adapters.iter().map(String::as_str).collect();
        let adapters = if adapters.is_empty() { "-".to_owned() } else { adapters.join("; ") };
        text += &format!("{:9} {result:7} {:8.1}  {adapters}\n", line.name, line.seconds);
    }
    let mut failed = 0;
    for line in lines {
        if let Err(error) = &line.outcome {
            failed += 1;
            text += &format!("\n{}: {error}\n    again: cargo xtask test --only {}\n", line.name, line.name);
        }
    }
    text + &format!("\n{} passed, {failed} failed", lines.len() - failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_closes_with_the_count() {
        let line = |name, outcome, adapters: &[&str]| Line {
            name,
            outcome,
            seconds: 1.25,
            adapters: adapters.iter().map(|name| (*name).to_owned()).collect(),
        };
        let lines = [
            line("fmt", Ok(()), &[]),
            line("tests", Ok(()), &["llvmpipe (Vulkan)", "SwiftShader (Vulkan)"]),
            line("tint", Err("no Chromium".to_owned()), &[]),
        ];
        let text = summary(&lines);
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed"));
        assert!(text.contains("tests     passed       1.2  SwiftShader (Vulkan); llvmpipe (Vulkan)"), "{text}");
        assert!(text.contains("tint: no Chromium\n    again: cargo xtask test --only tint"), "{text}");
    }
}
