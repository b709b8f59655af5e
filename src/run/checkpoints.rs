//! The checkpoints of a run: the newest few, and the best model so far.
//!
//! `checkpoint.safetensors` is the newest, `checkpoint-1.safetensors` the one before, and so on. A new one is written
//! beside them, flushed, read back and compared before any other is touched; then the old ones move on by a name, and it
//! takes its own. Whatever happens in between, a whole checkpoint lies there under one of the names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, flush_folder, write_beside};
use crate::error::{Error, Result};

/// Name of the newest checkpoint.
pub(super) const NEWEST: &str = "checkpoint.safetensors";
/// Most that are looked for.
const MOST: usize = 1000;

/// The file of the checkpoint with this age, 0 for the newest.
fn file(folder: &Path, age: usize) -> PathBuf {
    folder.join(if age == 0 { NEWEST.to_owned() } else { format!("checkpoint-{age}.safetensors") })
}

/// All checkpoints there are, newest first. One that was just being replaced may leave a gap.
pub(super) fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut missing = 0;
    for age in 0..MOST {
        let path = file(folder, age);
        if path.exists() {
            found.push(path);
        } else {
            missing += 1;
        }
        if missing > 2 {
            break;
        }
    }
    found
}

/// Saves a checkpoint as the newest, and keeps `keep` in all.
///
/// # Errors
/// [`Error::Io`] naming the file. Those that were there before are then still there.
pub(super) fn save(folder: &Path, checkpoint: &Checkpoint, keep: usize) -> Result<()> {
    let newest = file(folder, 0);
    let written = write_beside(&newest, &checkpoint.to_bytes())?;
    let moved = |from: &Path, to: &Path| fs::rename(from, to).map_err(|source| Error::Io { path: to.into(), source });
    for age in (1..keep.max(1)).rev() {
        let before = file(folder, age - 1);
        if before.exists() {
            moved(&before, &file(folder, age))?;
        }
    }
    written.persist(&newest).map_err(|error| Error::Io { path: newest.clone(), source: error.error })?;
    flush_folder(folder);
    for path in all(folder).into_iter().skip(keep.max(1)) {
        fs::remove_file(&path).map_err(|source| Error::Io { path, source })?;
    }
    Ok(())
}

/// Removes all checkpoints, to begin anew.
///
/// # Errors
/// [`Error::Io`] naming the file that stays.
pub(super) fn clear(folder: &Path) -> Result<()> {
    for path in all(folder) {
        fs::remove_file(&path).map_err(|source| Error::Io { path, source })?;
    }
    Ok(())
}

/// The newest checkpoint that is whole, with a warning for each that is damaged.
///
/// # Errors
/// The newest one's error if none is whole.
pub(super) fn newest(folder: &Path) -> Result<(PathBuf, Checkpoint, Vec<String>)> {
    let mut warnings = Vec::new();
    let mut first = None;
    for path in all(folder) {
        match Checkpoint::load(&path) {
            Ok(checkpoint) => {
                if !warnings.is_empty() {
                    warnings.push(format!(
                        "WARNING: going on from {}, after step {}; later steps are done again",
                        path.display(),
                        checkpoint.step
                    ));
                }
                return Ok((path, checkpoint, warnings));
            }
            Err(error) => {
                warnings.push(format!("WARNING: {error}"));
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::Model {
        path: file(folder, 0),
        problem: "is missing, and there is no older checkpoint".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Kind};
    use crate::nn::{Model, param};

    fn checkpoint(step: u64) -> Checkpoint {
        let mut config = Config::default();
        config.model.kind = Kind::Toy;
        config.model.input = vec![2];
        (config.model.blocks, config.model.strides, config.model.channels) = (vec![1], vec![1], vec![3]);
        config.model.injective_padding = 0;
        let tensors = param::initialize(Model::new(&config).unwrap().params(), 5);
        Checkpoint { config, step, tensors }
    }

    fn names(folder: &Path) -> Vec<String> {
        all(folder).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_newest_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for step in 1..6 {
            save(path, &checkpoint(step), 3).unwrap();
        }
        assert_eq!(names(path), [NEWEST, "checkpoint-1.safetensors", "checkpoint-2.safetensors"]);
        let steps: Vec<u64> = all(path).iter().map(|path| Checkpoint::load(path).unwrap().step).collect();
        assert_eq!(steps, [5, 4, 3]);
        // Fewer are wanted from now on.
        save(path, &checkpoint(6), 1).unwrap();
        assert_eq!(names(path), [NEWEST]);
        assert_eq!(fs::read_dir(path).unwrap().count(), 1, "nothing lies beside them");
        clear(path).unwrap();
        assert_eq!(names(path), [""; 0]);
    }

    #[test]
    fn a_damaged_one_is_passed_over_aloud() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for step in 1..4 {
            save(path, &checkpoint(step), 3).unwrap();
        }
        let (_, found, warnings) = newest(path).unwrap();
        assert_eq!((found.step, warnings.len()), (3, 0));
        for (age, left) in [(0, 2), (1, 1)] {
            let damaged = file(path, age);
            let bytes = fs::read(&damaged).unwrap();
            fs::write(&damaged, &bytes[..bytes.len() - 5]).unwrap();
            let (from, found, warnings) = newest(path).unwrap();
            assert_eq!(found.step, left);
            let said = warnings.join("\n");
            assert!(said.contains("WARNING") && said.contains(NEWEST) && said.contains("truncated"), "{said}");
            assert!(said.contains(&from.display().to_string()) && said.contains("again"), "{said}");
        }
        // A move that was cut short leaves a gap.
        fs::remove_file(file(path, 0)).unwrap();
        fs::remove_file(file(path, 1)).unwrap();
        assert_eq!(newest(path).unwrap().1.step, 1);
        fs::write(file(path, 2), b"").unwrap();
        let error = newest(path).unwrap_err();
        assert!(error.exit_code() == 7 && error.to_string().contains("checkpoint-2"), "{error}");
    }
}
