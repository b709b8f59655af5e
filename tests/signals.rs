//! Being asked to stop: the first signal is noted, the second ends the program, and the exit code tells which it was.

use std::process::Command;

use iresnet::cli::signal::{self, Signal};
use iresnet::cli::{Outcome, signal::stop_requested};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::raise;

/// Tells [`child`] which signal to send to itself. Signals concern a whole process, so it has to be another one.
const VARIABLE: &str = "IRESNET_TEST_SIGNAL";

/// The other process. Without the variable it is a test that has nothing to do.
#[test]
fn child() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let (number, wanted) = if name == "interrupt" { (SIGINT, Signal::Interrupt) } else { (SIGTERM, Signal::Terminate) };
    assert_eq!((stop_requested(), signal::outcome()), (None, Outcome::Done));
    signal::listen();
    signal::listen();
    raise(number).unwrap();
    assert_eq!(stop_requested(), Some(wanted), "the first signal is noted");
    assert_eq!(signal::outcome(), Outcome::Interrupted(wanted));
    assert_eq!(i32::from(signal::outcome().exit_code()), 128 + number);
    raise(number).unwrap();
    panic!("the second signal should have ended the process");
}

#[test]
fn two_signals() {
    for (name, code) in [("interrupt", 130), ("terminate", 143)] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", "child", "--nocapture"]).env(VARIABLE, name).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
    }
}
