//! The computer as the tasks see it: a file tree and the environment. Tests put a made-up one in its place.

use crate::run;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What the tasks know of the computer.
pub(crate) struct Machine {
    /// `/`, or the folder that plays it in a test.
    pub(crate) root: PathBuf,
    /// The environment.
    pub(crate) variables: BTreeMap<String, String>,
}

impl Machine {
    pub(crate) fn here() -> Self {
        // Variables that are not Unicode are none that the tasks ask for.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { root: PathBuf::from("/"), variables: std::env::vars_os().filter_map(text).collect() }
    }

    /// An environment variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// An absolute path of this machine as a path that can be opened.
    pub(crate) fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The entries of a folder, sorted; none if there is no such folder.
    pub(crate) fn list(&self, absolute: impl AsRef<Path>) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path(absolute)).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    /// The first of these programs on `PATH`.
    pub(crate) fn program(&self, names: &[&str]) -> Option<PathBuf> {
        let folders: Vec<_> = std::env::split_paths(self.variable("PATH")?).collect();
        let suffix = std::env::consts::EXE_SUFFIX;
        let candidates =
            names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(format!("{name}{suffix}"))));
        candidates.map(|path| self.path(path)).find(|path| path.is_file())
    }

    /// A field of `/etc/os-release`.
    pub(crate) fn os_release(&self, field: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path("/etc/os-release")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    }

    /// Whether packages are installed with apt here.
    pub(crate) fn has_apt(&self) -> bool {
        cfg!(target_os = "linux") && self.program(&["apt-get"]).is_some()
    }

    /// The prefix that makes a command run as root: nothing for root, `sudo -n` where that works without a password.
    pub(crate) fn root_prefix(&self) -> Option<Vec<String>> {
        if run::output("id", &["-u"]).is_some_and(|uid| uid.trim() == "0") {
            return Some(Vec::new());
        }
        let sudo = self.program(&["sudo"]).is_some() && run::output("sudo", &["-n", "true"]).is_some();
        sudo.then(|| vec!["sudo".to_owned(), "-n".to_owned()])
    }

    /// Whether the user agrees to a change of the system: `--yes`, `CI=true`, or a yes at the terminal.
    pub(crate) fn consents(&self, yes: bool, question: &str) -> bool {
        if yes || self.variable("CI").is_some_and(|value| value == "true" || value == "1") {
            return true;
        }
        if !std::io::stdin().is_terminal() {
            return false;
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// The folder for things that can be fetched again.
    pub(crate) fn cache(&self) -> PathBuf {
        let base = self.variable("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(self.variable("HOME").or(self.variable("USERPROFILE")).unwrap_or("."));
        base.unwrap_or_else(|| home().join(".cache")).join("iresnet")
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod fake {
    use super::*;

    /// A made-up machine in a folder of its own, removed at the end.
    pub(crate) struct Fake(pub(crate) Machine);

    impl Fake {
        /// With these files (path, text) and variables.
        pub(crate) fn new(name: &str, files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("iresnet-xtask-{name}-{}", std::process::id()));
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let machine = Machine { root, variables: variables.iter().map(owned).collect() };
            for (path, text) in files {
                let path = machine.path(path);
                std::fs::create_dir_all(path.parent().expect("below the root")).expect("a temporary folder");
                std::fs::write(path, text).expect("a temporary file");
            }
            Self(machine)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            // Nothing depends on the removal of a temporary folder.
            let _ = std::fs::remove_dir_all(&self.0.root);
        }
    }
}
