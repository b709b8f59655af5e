//! The `iresnet` program: see [`iresnet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    iresnet::cli::main()
}
