//! Panics: bugs of the program, reported as such.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::output;

/// The exit code of a bug, as Rust programs have it.
pub(super) const EXIT_CODE: u8 = 101;

/// What the last panic said.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// Runs `work`. If it panics, says that this is a bug and what to do, and gives `None`.
///
/// The hook only remembers: the GPU layer catches panics of the driver's making and turns them into errors, and those
/// must not look like bugs.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::set_hook(Box::new(|info| {
        let mut text = info.to_string();
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("\n{backtrace}"));
        }
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }));
    // What `work` borrows is not used again after a panic.
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    if result.is_none() {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
        output::error(&format!(
            "this is a bug in iresnet: {}\nplease report it with the command line and what `iresnet doctor` prints",
            last.as_deref().unwrap_or("a panic without a message")
        ));
    }
    result
}
