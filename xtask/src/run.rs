//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository.
pub(crate) fn repository() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let xtask = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask.parent().map(Path::to_owned).unwrap_or(xtask)
}

/// A command in the repository.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(repository()).stdin(Stdio::null());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Prints a command and runs it; the error says how it ended.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    let line = words.join(" ");
    println!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(error) => Err(format!("`{line}` could not be started: {error}")),
    }
}

/// What a program prints, if it can be started and succeeds.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = command(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// cargo's target folder.
pub(crate) fn target_folder() -> PathBuf {
    let metadata = cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output();
    let text = metadata.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    let found = strings(&text, "target_directory").into_iter().next();
    found.map_or_else(|| repository().join("target"), PathBuf::from)
}

/// All string values of a key in JSON text, whatever the nesting. Knows the escapes that paths and names hold.
pub(crate) fn strings(json: &str, key: &str) -> Vec<String> {
    let marker = format!("\"{key}\"");
    let mut values = Vec::new();
    for (at, _) in json.match_indices(&marker) {
        let rest = json[at + marker.len()..].trim_start();
        let Some(rest) = rest.strip_prefix(':').and_then(|rest| rest.trim_start().strip_prefix('"')) else { continue };
        let mut value = String::new();
        let mut characters = rest.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => value.extend(characters.next()),
                other => value.push(other),
            }
        }
        values.push(value);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_json_are_found() {
        let json = r#"[{"name": "llvmpipe \"x\"", "id": 3}, {"name":"SwiftShader"}, {"rename": "no", "name": 4}]"#;
        assert_eq!(strings(json, "name"), ["llvmpipe \"x\"", "SwiftShader"]);
    }

    #[test]
    fn failures_are_told() {
        assert!(run(&mut command("false")).unwrap_err().contains("ended with"));
        assert!(run(&mut command("no-such-program")).unwrap_err().contains("could not be started"));
    }

    #[test]
    fn the_target_folder_is_cargos() {
        assert!(target_folder().is_absolute());
    }
}
