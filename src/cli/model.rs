//! What the commands that take a model file share.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use super::output;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::eval::NOT_INVERTIBLE;
use crate::gpu::{self, Gpu, Tuning};
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

/// Reads a model file and puts it on several adapters, as [`choose_several`](gpu::choose_several) takes them. One that cannot
/// be opened is left out, aloud, as long as there is another.
///
/// # Errors
/// [`Error::Model`], [`Error::NoAdapter`], [`Error::Gpu`].
pub(super) async fn open_several(path: &Path, adapters: &[String]) -> Result<(Vec<Network>, Config)> {
    let checkpoint = Checkpoint::load(path)?;
    place_several(adapters, &checkpoint).await
}

/// The same for a model file's contents.
///
/// # Errors
/// [`Error::NoAdapter`], [`Error::Gpu`].
pub(super) async fn place_several(adapters: &[String], checkpoint: &Checkpoint) -> Result<(Vec<Network>, Config)> {
    let (chosen, notes) = gpu::choose_several(adapters).await?;
    notes.iter().for_each(|note| output::note(note));
    let mut networks = Vec::new();
    let mut last = None;
    for adapter in &chosen {
        let opened = Gpu::open_adapter(adapter).await;
        match opened.and_then(|gpu| place(&gpu, checkpoint.clone())) {
            Ok((network, _)) => networks.push(network),
            Err(error) => {
                if chosen.len() > 1 {
                    output::note(&format!("{} is left out: {error}", adapter.info()));
                }
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if networks.is_empty() => Err(error),
        _ => Ok((networks, checkpoint.config.clone())),
    }
}

/// Puts a model file's contents on a device.
pub(crate) fn place(gpu: &Gpu, checkpoint: Checkpoint) -> Result<(Network, Config)> {
    let model = Model::new(&checkpoint.config)?;
    let tuning = Tuning::usual();
    Ok((Network::new(gpu, model, &checkpoint.tensors, tuning)?, checkpoint.config))
}
