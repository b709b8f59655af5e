//! Writing to standard output and standard error.

use std::io::{self, IsTerminal, Write};

/// Writes text and a line end to standard output.
///
/// Where the reader has gone away (`iresnet bench | head -1`), the program ends here, successfully: whoever calls this
/// has nothing left to do than to print more. Training writes its files whether or not somebody looks on, and must
/// report with [`note`].
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        self::error(&format!("standard output: {error}"));
        std::process::exit(2);
    }
}

/// Writes a value to standard output as JSON: on one line.
pub fn print_json(value: &impl serde::Serialize) {
    print(&serde_json::to_string(value).expect("plain data with text keys"));
}

/// Writes text and a line end to standard error. Does not fail: where nobody listens there is nobody to tell.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes an error to standard error, `error: ` before its first line.
pub fn error(text: &str) {
    let (on, off) = if colors() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    note(&format!("{on}error:{off} {text}"));
}

/// Whether standard error is a terminal that a person watches: progress may be drawn over itself.
pub fn is_interactive() -> bool {
    io::stderr().is_terminal() && !is_set("CI") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether standard error takes colours.
pub fn colors() -> bool {
    is_interactive() && !is_set("NO_COLOR")
}

/// Whether a variable is there and not empty, as <https://no-color.org> has it.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// A number of bytes for people: `128 MiB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1).ilog2() / 10).min(4) as usize;
    let value = bytes as f64 / 1024f64.powi(power as i32);
    if power == 0 || value >= 9.95 {
        format!("{value:.0} {}", units[power])
    } else {
        format!("{value:.1} {}", units[power]).replace(".0 ", " ")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_for_people() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (32 << 10, "32 KiB"), (3 << 29, "1.5 GiB"), (2 << 30, "2 GiB")];
        for (bytes, text) in cases {
            assert_eq!(super::bytes(bytes), text);
        }
    }
}
