//! Reading files out of a `.tar.gz` as distributed.
//!
//! The archive is read as a stream, once, and nothing is unpacked to disk: an entry's path is only compared with the paths
//! wanted, so that no path in it can lead anywhere. How much is unpacked is bounded.

use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::idx::{self, read_error};
use crate::error::{Error, Result};

/// Largest unpacked archive accepted; the official ones have 185 million bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Gives `each` the number, the path for errors and the content of every regular file `folder`/`files[number]` in the
/// archive at `path` (or `files[number]` without a folder), in the archive's order.
///
/// # Errors
/// [`Error::Data`] for an archive that is damaged or truncated, or lacks one of `files` or has it twice; what `each`
/// returns.
pub fn each(
    path: &Path,
    folder: &str,
    files: &[&str],
    mut each: impl FnMut(usize, &Path, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let fail = |problem: String| Error::Data { path: path.to_owned(), problem };
    let file = std::fs::File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let unpacked = idx::unpack(BufReader::new(file), path)?;
    let mut archive = tar::Archive::new(unpacked.take(MAX_BYTES));
    let mut seen = vec![false; files.len()];
    for entry in archive.entries().map_err(|error| damaged(path, error))? {
        let mut entry = entry.map_err(|error| damaged(path, error))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let inside = entry.path().map_err(|error| damaged(path, error))?.into_owned();
        let Some(number) = wanted(&inside, folder, files) else { continue };
        if std::mem::replace(&mut seen[number], true) {
            return Err(fail(format!("has {} twice; get it again", files[number])));
        }
        let name = PathBuf::from(format!("{} ({})", path.display(), files[number]));
        each(number, &name, &mut entry)?;
    }
    // What is behind the last entry: with it the checksum is compared.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(|error| damaged(path, error))?;
    match seen.iter().position(|seen| !seen) {
        Some(number) => Err(fail(format!(
            "has no file {folder}/{}: truncated, or the archive of another set or version; get it again",
            files[number]
        ))),
        None => Ok(()),
    }
}

/// Which of `files` an entry is.
fn wanted(inside: &Path, folder: &str, files: &[&str]) -> Option<usize> {
    let parts: Vec<Component<'_>> = inside.components().filter(|part| !matches!(part, Component::CurDir)).collect();
    let name = match parts[..] {
        [Component::Normal(name)] => name,
        [Component::Normal(found), Component::Normal(name)] if found == folder => name,
        _ => return None,
    };
    files.iter().position(|file| name == *file)
}

fn damaged(path: &Path, error: std::io::Error) -> Error {
    match read_error(path, error) {
        // The archive's own reader says "other" of what it cannot make sense of.
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::Other => Error::Data {
            path: path.to_owned(),
            problem: format!("not a whole .tar.gz archive ({source}); get it again"),
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_places_are_looked_at() {
        let files = ["a.bin", "b.bin"];
        let find = |path: &str| wanted(Path::new(path), "set", &files);
        assert_eq!([find("set/a.bin"), find("./set/b.bin"), find("b.bin")], [Some(0), Some(1), Some(1)]);
        for path in
            ["../a.bin", "/a.bin", "set/../a.bin", "other/a.bin", "set/deep/a.bin", "set/c.bin", "set", "../set/a.bin"]
        {
            assert_eq!(find(path), None, "{path}");
        }
    }
}
