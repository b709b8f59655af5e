//! Being asked to stop: Ctrl-C and SIGTERM.
//!
//! The first signal only sets a flag, which long work looks at between steps ([`stop_requested`]): it finishes the step,
//! saves, and ends as [`Outcome::Interrupted`]. The second one ends the program at once.
//!
//! The crate `signal-hook` does this, rather than `ctrlc`, as the exit code tells the two signals apart (130 and 143)
//! and `ctrlc` does not; it also needs no thread of its own. On Windows, Ctrl-C arrives as SIGINT.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::Outcome;
use super::output;

/// Which signal asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as batch systems send it.
    Terminate,
}

impl Signal {
    /// 128 and the signal's number, as shells report it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Number of the last signal that arrived, or zero.
static ARRIVED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From now on the first signal is only noted. Call it when there is something to save. Calling it again does nothing.
pub fn listen() {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if LISTENING.swap(true, Ordering::Relaxed) {
        return;
    }
    let second = Arc::new(AtomicBool::new(false));
    let register = |signal: i32, code: i32| -> std::io::Result<()> {
        // Run in this order: the end of the program comes before the flag is set, so the first signal passes.
        flag::register_conditional_shutdown(signal, code, Arc::clone(&second))?;
        flag::register(signal, Arc::clone(&second))?;
        flag::register_usize(signal, Arc::clone(&ARRIVED), signal as usize)?;
        Ok(())
    };
    if let Err(error) = register(SIGINT, 130).and_then(|()| register(SIGTERM, 143)) {
        output::note(&format!("note: signals cannot be caught, an interruption will not save the state: {error}"));
    }
}

/// The signal that arrived since [`listen`], if any.
pub fn stop_requested() -> Option<Signal> {
    match ARRIVED.load(Ordering::Relaxed) {
        0 => None,
        number if number == SIGTERM as usize => Some(Signal::Terminate),
        _ => Some(Signal::Interrupt),
    }
}

/// How a command ended that did all it was asked for unless a signal cut it short.
pub fn outcome() -> Outcome {
    stop_requested().map_or(Outcome::Done, Outcome::Interrupted)
}
