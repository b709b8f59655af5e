//! `iresnet adapters`.

use serde::Serialize;

use super::table::Table;
use super::{Outcome, output};
use crate::error::Result;
use crate::gpu::{self, AdapterInfo, Gpu, Peak, block_on};

const EXAMPLES: &str = "\
Examples:
  iresnet adapters                 a table, the preferred adapter first
  iresnet adapters --bench --json  one JSON list, with measured rates

A card appears once for each backend that reaches it; the column NOTE says which entries are the same card. Other
commands take an adapter's id, its backend, its place in this list from 0, or a part of its name: --adapter vulkan:0.";

/// List the adapters (GPUs and software drivers) and what they can do.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print JSON: a list with one object for each adapter.
    #[arg(long)]
    pub json: bool,

    /// Measure each adapter's multiply-add rate and copy bandwidth.
    #[arg(long)]
    pub bench: bool,
}

/// What is printed of an adapter.
#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    info: AdapterInfo,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    peak: Option<Peak>,
    /// Why the peak could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Lists adapters.
///
/// # Errors
/// [`Error::NoAdapter`](crate::error::Error::NoAdapter) where there is none that can be used, saying what to install.
pub fn run(args: &Args) -> Result<Outcome> {
    let list = block_on(gpu::adapters());
    let mut entries = Vec::with_capacity(list.len());
    for adapter in &list {
        let mut entry = Entry { info: adapter.info().clone(), peak: None, error: None };
        if args.bench && entry.info.suitable {
            let peak = block_on(async { gpu::peak(&Gpu::open_adapter(adapter).await?).await });
            match peak {
                Ok(peak) => entry.peak = Some(peak),
                // One broken driver does not hide the other adapters.
                Err(error) => entry.error = Some(error.to_string()),
            }
        }
        entries.push(entry);
    }
    if args.json {
        output::print_json(&entries);
    } else if !entries.is_empty() {
        print_table(&entries, args.bench);
    }
    if !list.iter().any(|adapter| adapter.info().suitable) {
        // Nothing can be chosen: this is the error that says so, and what to do.
        block_on(gpu::choose(None))?;
    }
    Ok(Outcome::Done)
}

fn print_table(entries: &[Entry], bench: bool) {
    let mut headings = vec!["ID", "NAME", "TYPE", "DRIVER", ">BINDING", ">WORKGROUP", ">SHARED", "F16"];
    if bench {
        headings.extend([">GFLOP/s", ">COPY GB/s"]);
    }
    headings.push("NOTE");
    let mut table = Table::new(&headings);
    for Entry { info, peak, error } in entries {
        let limits = &info.limits;
        let mut row = vec![
            info.id.clone(),
            info.name.clone(),
            format!("{:?}", info.kind).to_lowercase(),
            info.driver.clone(),
            output::bytes(limits.binding_bytes),
            limits.invocations.to_string(),
            output::bytes(limits.workgroup_bytes.into()),
            if info.f16 { "yes" } else { "–" }.into(),
        ];
        if bench {
            let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1}"));
            row.push(number(peak.map(|peak| peak.gflops)));
            row.push(number(peak.map(|peak| peak.copy_gb_per_s)));
        }
        row.push(match (info.suitable, error, &info.duplicate_of) {
            (false, ..) => "cannot run: no compute shaders with indirect dispatch".into(),
            (true, Some(error), _) => format!("failed: {error}"),
            (true, None, Some(of)) => format!("same device as {of}"),
            (true, None, None) => String::new(),
        });
        table.row(row);
    }
    output::print(&table.to_string());
    if !bench {
        return;
    }
    output::print("\nGFLOP/s: multiply-adds, two operations each. COPY: bytes read and written.");
}
