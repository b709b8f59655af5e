//! Tells `cargo xtask test` which adapters the tests really ran on.

use std::io::Write;

/// The variable that names the file; without it nothing is written.
const VARIABLE: &str = "IRESNET_ADAPTER_LOG";

/// Notes that this test program opened the adapter described so, in one line.
pub(crate) fn note(adapter: &str) {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    // One write, so that lines of several test programs do not mix.
    file.and_then(|mut file| file.write_all(format!("{adapter}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
