//! What the commands that take a model file share.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::eval::NOT_INVERTIBLE;
use crate::gpu::{Gpu, Tuning};
use crate::network::Network;
use crate::nn::Model;
use crate::run;

/// The model file that an argument names: itself, or the one in a run's folder.
pub(super) fn file(argument: &str) -> std::result::Result<PathBuf, Infallible> {
    let path = PathBuf::from(argument);
    Ok(if path.is_dir() { path.join(run::MODEL) } else { path })
}

/// Reads a model file and puts it on an adapter.
pub(super) async fn open(path: &Path, adapter: Option<&str>) -> Result<(Network, Config)> {
    let checkpoint = Checkpoint::load(path)?;
    let gpu = Gpu::open(adapter).await?;
    place(&gpu, checkpoint)
}

/// Reads a model file and puts it on an adapter, to be run backwards.
///
/// # Errors
/// [`Error::Model`] for a model that cannot be; otherwise those of [`open`].
pub(super) async fn open_invertible(path: &Path, adapter: Option<&str>) -> Result<(Network, Config)> {
    let checkpoint = Checkpoint::load(path)?;
    require_invertible(path, &checkpoint)?;
    let gpu = Gpu::open(adapter).await?;
    place(&gpu, checkpoint)
}

/// # Errors
/// [`Error::Model`] for a model that cannot be run backwards.
pub(super) fn require_invertible(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    if Model::new(&checkpoint.config)?.is_invertible() {
        return Ok(());
    }
    Err(Error::Model { path: path.into(), problem: NOT_INVERTIBLE.into() })
}

/// Puts a model file's contents on a device.
pub(crate) fn place(gpu: &Gpu, checkpoint: Checkpoint) -> Result<(Network, Config)> {
    let model = Model::new(&checkpoint.config)?;
    let tuning = Tuning::usual();
    Ok((Network::new(gpu, model, &checkpoint.tensors, tuning)?, checkpoint.config))
}
