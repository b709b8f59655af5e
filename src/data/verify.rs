//! Comparing the files of a set with the official ones.

use std::io::Read;
use std::path::{Path, PathBuf};

use md5::{Digest as _, Md5};

use super::catalogue::{Place, roots};
use super::known::{Format, KIND_OF, Known, Part};
use super::toy::Toy;
use super::{cifar, idx};
use crate::error::{Error, Result};

/// A file that [`verify`] found to be the official one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// BLAKE3 of its uncompressed content, or of the archive itself.
    pub blake3: String,
    /// The published MD5 that its uncompressed content, or the archive itself, was found to have; `None` where none is
    /// published, and number, balance and kinds of the classes were compared instead.
    pub md5: Option<&'static str>,
}

/// Checks that the files of the set `name` have the content of the official ones. A drawn set has no files.
///
/// # Errors
/// [`Error::Config`] for an unknown name, [`Error::Data`] for files that are missing or cannot be unpacked,
/// [`Error::Verification`] for other content.
pub fn verify(name: &str) -> Result<Vec<Verified>> {
    verify_in(&roots(), name)
}

/// [`verify`] with other folders than the usual ones.
///
/// # Errors
/// As [`verify`].
pub fn verify_in(roots: &[PathBuf], name: &str) -> Result<Vec<Verified>> {
    if let Some(toy) = name.strip_prefix("toy:") {
        return Toy::parse(toy).map(|_| Vec::new());
    }
    let known = Known::find(name)?;
    let parts: Vec<&Part> = known.parts().collect();
    if let (Place::Archive(path), Some(archive), true) =
        (known.place(roots), &known.archive, parts.iter().any(|part| part.md5.is_none()))
    {
        let file = std::fs::File::open(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        return Ok(vec![compare(file, &path, Some(archive.md5), None, "it")?]);
    }
    let mut verified: Vec<(usize, Verified)> = Vec::with_capacity(parts.len());
    known.read(roots, &parts, |number, path, source| {
        let part = parts[number];
        let found = match (known.format, part.md5) {
            (Format::Cifar(labels), None) => {
                let mut tee = Tee { source, hasher: blake3::Hasher::new() };
                let records = cifar::parse(&mut tee, path, labels, known.classes.len())?;
                let count = known.images[usize::from(number >= known.train.len())];
                cifar::check_official(&records, count, &KIND_OF).map_err(|problem| {
                    Error::Verification(format!("{}: not the official file: {problem}. Get it again", path.display()))
                })?;
                Verified { path: path.to_owned(), blake3: tee.hasher.finalize().to_hex().to_string(), md5: None }
            }
            _ => compare(source, path, part.md5, part.blake3, "its uncompressed content")?,
        };
        verified.push((number, found));
        Ok(())
    })?;
    verified.sort_by_key(|(number, _)| *number);
    Ok(verified.into_iter().map(|(_, found)| found).collect())
}

/// Reads `source` to its end and compares its digests with those expected.
pub(super) fn compare(
    source: impl Read,
    path: &Path,
    md5: Option<&'static str>,
    blake3: Option<&'static str>,
    what: &str,
) -> Result<Verified> {
    // More than any official file has: what is longer is not one, and has other digests.
    let mut source = source.take(idx::MAX_BYTES);
    let (mut md5_hasher, mut blake3_hasher) = (Md5::new(), blake3::Hasher::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match source.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(|error| idx::read_error(path, error))?,
        };
        if read == 0 {
            break;
        }
        md5_hasher.update(&buffer[..read]);
        blake3_hasher.update(&buffer[..read]);
    }
    let found_md5: String = md5_hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let found_blake3 = blake3_hasher.finalize().to_hex().to_string();
    for (name, found, expected) in [("MD5", &found_md5, md5), ("BLAKE3", &found_blake3, blake3)] {
        if let Some(expected) = expected.filter(|expected| expected != found) {
            return Err(Error::Verification(format!(
                "{}: not the official file: {name} of {what} is {found}, expected {expected}. Get it again",
                path.display()
            )));
        }
    }
    Ok(Verified { path: path.to_owned(), blake3: found_blake3, md5 })
}

/// What is read from it is hashed too.
struct Tee<R> {
    source: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
