//! Traces: files of the Trace Event Format, which <https://ui.perfetto.dev> and `chrome://tracing` open.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};

use super::Report;
use crate::error::{Error, Result};
use crate::gpu::{Slice, Timeline};

/// The one process of a trace.
const PROCESS: u32 = 1;

/// Writes a timeline to `path`: the host's work, the adapter's submissions, and kernels in the steps in which they were
/// timed, each on a track of its own; the report as further data.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write(path: &Path, report: &Report, timeline: &Timeline) -> Result<()> {
    // On the adapter's side the program is what matters, not that the host recorded it.
    let program = |slice: &Slice| match slice.of.as_str() {
        "" => slice.clone(),
        of => Slice { name: of.into(), of: slice.name.clone(), ..slice.clone() },
    };
    let submissions = timeline.submissions.iter().map(program).collect();
    let tracks = [("host", &timeline.host), ("submissions", &submissions), ("kernels", &timeline.kernels)];
    let mut events = vec![meta("process_name", 0, &format!("iresnet on {} ({})", report.name, report.adapter))];
    for (track, (name, slices)) in (1..).zip(tracks) {
        let name = if track == 1 { name.to_owned() } else { format!("{}: {name}", report.adapter) };
        events.push(meta("thread_name", track, &name));
        events.extend(slices.iter().map(|slice| event(track, slice)));
    }
    let file = json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": report });
    fs::write(path, file.to_string()).map_err(|source| Error::Io { path: path.into(), source })
}

/// Whether a trace can be written to `path`: before anybody trains for it.
///
/// # Errors
/// [`Error::Io`] if not.
pub fn check(path: &Path) -> Result<()> {
    let opened = File::options().append(true).create(true).open(path);
    opened.map(drop).map_err(|source| Error::Io { path: path.into(), source })
}

/// Names a track, or the process.
fn meta(what: &str, track: u32, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": PROCESS, "tid": track, "args": { "name": name } })
}

/// Something with begin and duration, in microseconds.
fn event(track: u32, slice: &Slice) -> Value {
    json!({
        "ph": "X",
        "name": slice.name,
        "cat": if slice.of.is_empty() { &slice.name } else { &slice.of },
        "pid": PROCESS,
        "tid": track,
        "ts": 1e6 * slice.start,
        "dur": 1e6 * (slice.end - slice.start),
        "args": { "of": slice.of },
    })
}
