//! The binary format of CIFAR-10 and CIFAR-100.
//!
//! A file is a run of records without a header: the label bytes (CIFAR-10 one; CIFAR-100 the coarse class, then the fine
//! one), and 3,072 bytes of an image, the planes red, green and blue of 32 rows of 32 pixels. Files come from outside, so
//! nothing in them is believed: more than [`MAX_BYTES`] are not read, and every error names the
//! file, what was found, what was expected, and the cure.

use std::io::Read;
use std::path::Path;

use super::idx::{MAX_BYTES, read_error};
use crate::error::{Error, Result};

/// Channels, height, width of an image.
pub const SHAPE: [usize; 3] = [3, 32, 32];
/// Bytes of an image.
const IMAGE: usize = 3 * 32 * 32;
/// Coarse classes of CIFAR-100.
pub const COARSE_CLASSES: usize = 20;

/// What stands before each image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The class (CIFAR-10).
    One,
    /// The coarse class, then the fine one (CIFAR-100).
    CoarseAndFine,
}

impl Labels {
    /// Bytes before each image.
    pub fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::CoarseAndFine => 2,
        }
    }
}

/// The content of one or more files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The images, (N, 3, 32, 32).
    pub pixels: Vec<u8>,
    /// The class of each; of CIFAR-100 the fine one.
    pub labels: Vec<u8>,
    /// The coarse class of each; empty for CIFAR-10.
    pub coarse: Vec<u8>,
}

impl Records {
    /// These records and then `more`.
    pub fn append(&mut self, mut more: Self) {
        self.pixels.append(&mut more.pixels);
        self.labels.append(&mut more.labels);
        self.coarse.append(&mut more.coarse);
    }
}

/// Reads the records of one file from `source`; errors name `path`. Labels must be below `classes`, coarse ones below 20.
///
/// # Errors
/// [`Error::Data`] for content that is not a whole number of records, or a label out of range.
pub fn parse(source: impl Read, path: &Path, labels: Labels, classes: usize) -> Result<Records> {
    let fail = |problem: String| Error::Data { path: path.to_owned(), problem };
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| read_error(path, error))?;
    let size = labels.bytes() + IMAGE;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(fail(format!("more than the {MAX_BYTES} bytes accepted: not a file of CIFAR")));
    }
    if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
        let guess = match bytes.as_slice() {
            [b'<', ..] => "this looks like a web page, perhaps an error page saved by a download",
            [b'P', b'K', ..] => "this is a zip archive",
            [0x80, 2..=5, ..] => "this is a pickle of the Python version; the binary version is read",
            _ => "truncated, or of another set",
        };
        return Err(fail(format!(
            "{} bytes are not a whole number of records of {size} bytes ({} of labels, {IMAGE} of image): {guess}; get it again",
            bytes.len(),
            labels.bytes(),
        )));
    }
    let count = bytes.len() / size;
    let mut records = Records { pixels: Vec::with_capacity(count * IMAGE), ..Records::default() };
    for (number, record) in bytes.chunks_exact(size).enumerate() {
        let (classes_of, image) = record.split_at(labels.bytes());
        let check = |what: &str, label: u8, below: usize| {
            (usize::from(label) < below).then_some(label).ok_or_else(|| {
                fail(format!(
                    "{what} {label} of image {number} is out of range: this set has {below} classes, 0 to {}. Is it the \
                     file of another set?",
                    below - 1
                ))
            })
        };
        match *classes_of {
            [label] => records.labels.push(check("label", label, classes)?),
            [coarse, fine] => {
                records.coarse.push(check("coarse label", coarse, COARSE_CLASSES)?);
                records.labels.push(check("fine label", fine, classes)?);
            }
            _ => unreachable!("one or two label bytes"),
        }
        records.pixels.extend_from_slice(image);
    }
    Ok(records)
}

/// Checks what is known of the official CIFAR-100 files without a digest: `count` images, as many of each of the 100 fine
/// classes, each of which belongs to the coarse class that `coarse_of` says.
#[cfg(feature = "cli")]
pub(super) fn check_official(records: &Records, count: usize, coarse_of: &[u8; 100]) -> Result<(), String> {
    let found = records.labels.len();
    if found != count {
        return Err(format!("{found} images, the official file has {count}"));
    }
    for class in 0..coarse_of.len() {
        let of = records.labels.iter().filter(|&&label| usize::from(label) == class).count();
        if of != count / coarse_of.len() {
            return Err(format!("{of} images of class {class}, the official file has {}", count / coarse_of.len()));
        }
    }
    let mut pairs = records.labels.iter().zip(&records.coarse).enumerate();
    match pairs.find(|(_, (fine, coarse))| coarse_of[usize::from(**fine)] != **coarse) {
        Some((number, (fine, coarse))) => Err(format!(
            "image {number} of fine class {fine} has coarse class {coarse}, other than in the official file"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], first: u8) -> Vec<u8> {
        labels.iter().copied().chain((0..IMAGE).map(|k| first.wrapping_add(k as u8))).collect()
    }

    fn parsed(bytes: &[u8], labels: Labels, classes: usize) -> Result<Records, String> {
        parse(bytes, Path::new("some/file.bin"), labels, classes).map_err(|error| {
            assert_eq!(error.exit_code(), 3);
            error.to_string()
        })
    }

    #[track_caller]
    fn refused(bytes: &[u8], labels: Labels, parts: &[&str]) {
        let message = parsed(bytes, labels, 100).expect_err("accepted");
        for part in parts.iter().chain(&["some/file.bin"]) {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }

    #[test]
    fn records_are_read_in_their_order() {
        let ten = [record(&[9], 0), record(&[0], 7)].concat();
        let records = parsed(&ten, Labels::One, 10).unwrap();
        assert_eq!((&records.labels[..], records.coarse.len()), (&[9, 0][..], 0));
        assert_eq!((records.pixels[0], records.pixels[IMAGE], records.pixels.len()), (0, 7, 2 * IMAGE));
        let hundred = [record(&[19, 99], 3), record(&[0, 1], 4)].concat();
        let records = parsed(&hundred, Labels::CoarseAndFine, 100).unwrap();
        assert_eq!((&records.labels[..], &records.coarse[..]), (&[99, 1][..], &[19, 0][..]));
        assert_eq!((records.pixels[0], records.pixels[IMAGE]), (3, 4));
    }

    #[test]
    fn files_that_are_not_whole_records_are_refused() {
        let whole = record(&[1, 2], 0);
        refused(&[], Labels::One, &["0 bytes", "3073"]);
        refused(&whole[..whole.len() - 1], Labels::CoarseAndFine, &["3073 bytes", "3074", "truncated"]);
        refused(&whole, Labels::One, &["3074 bytes", "3073", "another set"]);
        refused(b"<!DOCTYPE html>", Labels::One, &["web page"]);
        refused(&[0x80, 2, 125], Labels::One, &["Python"]);
    }

    #[test]
    fn labels_out_of_range_are_named_with_their_place() {
        let bytes = [record(&[19, 99], 0), record(&[20, 0], 0)].concat();
        refused(&bytes, Labels::CoarseAndFine, &["coarse label 20 of image 1", "0 to 19"]);
        refused(
            &[record(&[0, 1], 0), record(&[0, 100], 0)].concat(),
            Labels::CoarseAndFine,
            &["fine label 100 of image 1"],
        );
        refused(&record(&[200], 0), Labels::One, &["label 200 of image 0", "0 to 99"]);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn what_differs_from_the_official_cifar_100_is_found() {
        let kind_of: [u8; 100] = std::array::from_fn(|class| (class / 5) as u8);
        let labels: Vec<u8> = (0..200).map(|k| (k % 100) as u8).collect();
        let coarse: Vec<u8> = labels.iter().map(|label| label / 5).collect();
        let records = Records { pixels: Vec::new(), labels, coarse };
        assert_eq!(check_official(&records, 200, &kind_of), Ok(()));
        assert!(check_official(&records, 300, &kind_of).unwrap_err().contains("200 images"));
        let mut other = records.clone();
        other.coarse[7] = 2;
        assert!(check_official(&other, 200, &kind_of).unwrap_err().contains("image 7"));
        other.labels[7] = 8;
        assert!(check_official(&other, 200, &kind_of).unwrap_err().contains("1 images of class 7"));
    }
}
