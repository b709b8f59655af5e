//! Configurations as the command line names them: a file or a preset, and settings on top.

use std::path::Path;

use crate::config::Config;
use crate::error::{Error, Result};

/// The configuration in a TOML file.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, otherwise those of [`Config::from_toml`].
pub(super) fn file(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?;
    Config::from_toml(&text, &path.display().to_string())
}

/// The configuration with each of `settings`, written KEY=VALUE, in this order; checked as a whole.
///
/// # Errors
/// [`Error::Config`] for a setting of another form, an unknown key, or values that do not fit together.
pub(super) fn with_settings(mut config: Config, settings: &[String]) -> Result<Config> {
    for assignment in settings {
        let (key, value) = assignment.split_once('=').ok_or_else(|| {
            Error::Config(format!("--set {assignment}: expected KEY=VALUE, such as optimizer.lr=0.01"))
        })?;
        config.set(key.trim(), value.trim())?;
    }
    config.validate()?;
    Ok(config)
}
