//! Training that may have been done already.

use super::{MODEL, Options, checkpoints, train};
use crate::checkpoint::Checkpoint;
use crate::cli::Outcome;
use crate::error::Result;

/// Trains as `options` say unless the folder holds the finished model of this configuration; goes on where an earlier
/// attempt was interrupted. What the folder holds of another configuration is begun anew.
///
/// # Errors
/// As [`train`].
pub async fn complete(options: Options) -> Result<Outcome> {
    let is_this = |checkpoint: Checkpoint| checkpoint.config == options.config;
    if Checkpoint::load(&options.out.join(MODEL)).is_ok_and(is_this) {
        return Ok(Outcome::Done);
    }
    let resume = checkpoints::newest(&options.out).is_ok_and(|(_, checkpoint, _)| is_this(checkpoint));
    if !resume {
        // Of another configuration: its files would be in the way of the new run's.
        checkpoints::clear(&options.out)?;
    }
    Ok(train(&Options { resume, ..options }).await?.outcome)
}
