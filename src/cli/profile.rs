//! A profile on the terminal.

use serde::Serialize;

use super::output;
use super::table::Table;
use crate::gpu::Peak;
use crate::profile::{Report, Work};

/// Kernels in the table; the rest is short.
const SHOWN: usize = 24;

/// The adapter's rates, as printed.
#[derive(Serialize)]
pub(super) struct PeakLine<'a> {
    pub(super) op: &'static str,
    #[serde(flatten)]
    pub(super) peak: Peak,
    pub(super) adapter: &'a str,
    pub(super) name: &'a str,
}

/// A line about the step, about something that the host does, a phase, or a kernel.
#[derive(Serialize)]
struct Line<'a, T> {
    op: &'static str,
    #[serde(flatten)]
    of: &'a T,
    adapter: &'a str,
}

/// The step as a whole.
#[derive(Serialize)]
struct Step {
    seconds: f64,
    idle: f64,
    steps: u64,
    timestamps: bool,
}

/// Prints a profile: as tables, or as JSON, one object a line.
pub(super) fn print(report: &Report, json: bool) {
    if json { print_json(report) } else { output::print(&tables(report)) }
}

fn print_json(report: &Report) {
    let adapter = report.adapter.as_str();
    if let Some(peak) = report.peak {
        output::print_json(&PeakLine { op: "peak", peak, adapter, name: &report.name });
    }
    let &Report { seconds, idle, steps, timestamps, .. } = report;
    output::print_json(&Line { op: "step", of: &Step { seconds, idle, steps, timestamps }, adapter });
    report.host.iter().for_each(|of| output::print_json(&Line { op: "host", of, adapter }));
    report.phases.iter().for_each(|of| output::print_json(&Line { op: "phase", of, adapter }));
    report.kernels.iter().for_each(|of| output::print_json(&Line { op: "kernel", of, adapter }));
}

fn tables(report: &Report) -> String {
    let rates = report.peak.map_or("not measured, for want of memory".into(), |peak| {
        format!("{:.1} GFLOP/s, copy {:.1} GB/s", peak.gflops, peak.copy_gb_per_s)
    });
    let how = if report.timestamps { "by its timestamps" } else { "one by one, as it has no timestamps" };
    let total = report.total();
    let mut text = format!(
        "{} {}\npeak {rates}\n\nstep {}, mean of {}; adapter idle {:.1} % of it\n\
         kernels {} a step, timed {how}\n\n",
        report.adapter,
        report.name,
        time(report.seconds),
        report.steps,
        100.0 * report.idle,
        time(total.seconds),
    );
    let columns = [">TIME", ">SHARE", ">CALLS", ">GFLOP", ">GFLOP/s", ">MB", ">GB/s", ">ROOFLINE"];
    let mut table = Table::new(&[&["PHASE"], &columns[..]].concat());
    for phase in report.phases.iter().chain([&total]) {
        table.row([vec![phase.phase.clone()], cells(phase, &total)].concat());
    }
    text += &format!("{table}\n\n");
    let mut table = Table::new(&[&columns[..], &["PHASE", "VARIANT", "KERNEL"]].concat());
    for kernel in report.kernels.iter().take(SHOWN) {
        let names = [&kernel.work.phase, &kernel.variant, &kernel.kernel].map(String::clone);
        table.row([cells(&kernel.work, &total), names.to_vec()].concat());
    }
    text += &table.to_string();
    if let Some(rest) = report.kernels.get(SHOWN..).filter(|rest| !rest.is_empty()) {
        let seconds: f64 = rest.iter().map(|kernel| kernel.work.seconds).sum();
        let share = percent(seconds, total.seconds);
        text += &format!("\n{} more: {}, {share}; all are in --json", rest.len(), time(seconds));
    }
    let mut table = Table::new(&["HOST", ">TIME", ">SHARE", ">ADAPTER IDLE"]);
    for of in &report.host {
        let share = percent(of.seconds, report.seconds);
        table.row([of.activity.clone(), time(of.seconds), share, time(of.idle_seconds)]);
    }
    format!("{text}\n\n{table}")
}

fn cells(work: &Work, total: &Work) -> Vec<String> {
    let [gflops, gb_per_s] = [work.gflops(), work.gb_per_s()].map(|rate| format!("{rate:.1}"));
    vec![
        time(work.seconds),
        percent(work.seconds, total.seconds),
        format!("{:.0}", work.calls),
        format!("{:.3}", 1e-9 * work.flops),
        gflops,
        format!("{:.1}", 1e-6 * work.bytes),
        gb_per_s,
        work.roofline_ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")),
    ]
}

fn percent(part: f64, whole: f64) -> String {
    format!("{:.1}%", 100.0 * part / whole)
}

fn time(seconds: f64) -> String {
    format!("{:.2} ms", 1e3 * seconds)
}
