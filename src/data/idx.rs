//! The IDX format of MNIST and its relatives, plain or gzipped.
//!
//! A file is two zero bytes, a type byte, the number of axes, each axis as a big-endian u32, and the elements. Only bytes
//! (type 0x08) occur in the sets read here. Gzip is told by its own magic number and not by the file name.
//!
//! Files come from outside, so nothing in them is believed: a header that promises more than [`MAX_BYTES`] is refused and
//! memory grows with what is really there, not with what is promised. Every error names the file, what was found, what
//! was expected, and the cure.

use std::fs::File;
use std::io::{BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Largest content accepted; the largest official file has 47 million bytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// Type byte of unsigned bytes.
const BYTES: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The content of an IDX file of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Extents, outermost axis first.
    pub extents: Vec<usize>,
    /// The elements, row-major.
    pub data: Vec<u8>,
}

/// Images of one size, one byte a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// The pixels, image by image, row by row.
    pub pixels: Vec<u8>,
}

/// Reads a file of images: three axes, all above 0.
pub fn read_images(path: &Path) -> Result<Images> {
    parse_images(open(path)?, path)
}

/// Reads a file of labels: one axis, each label below `classes`.
pub fn read_labels(path: &Path, classes: usize) -> Result<Vec<u8>> {
    parse_labels(open(path)?, path, classes)
}

/// Reads images from `source`; errors name `path`.
pub fn parse_images(source: impl Read, path: &Path) -> Result<Images> {
    let Idx { extents, data } = parse(source, path, 3)?;
    let [count, height, width] = extents[..] else { unreachable!("parse checks the number of axes") };
    if data.is_empty() {
        return Err(data_error(path, format!("holds {count} images of {height}x{width}: nothing to read in it")));
    }
    Ok(Images { count, height, width, pixels: data })
}

/// Reads labels from `source`; errors name `path`.
pub fn parse_labels(source: impl Read, path: &Path, classes: usize) -> Result<Vec<u8>> {
    let labels = parse(source, path, 1)?.data;
    if let Some(at) = labels.iter().position(|&label| usize::from(label) >= classes) {
        let label = labels[at];
        let problem = format!(
            "label {label} of image {at} is out of range: this set has {classes} classes, 0 to {}. \
             Is it the labels file of another set?",
            classes.saturating_sub(1)
        );
        return Err(data_error(path, problem));
    }
    Ok(labels)
}

/// Checks that there is one label an image.
pub fn check_pair(images: &Images, images_path: &Path, labels: &[u8], labels_path: &Path) -> Result<()> {
    if images.count == labels.len() {
        return Ok(());
    }
    let problem = format!(
        "{} labels for the {} images of {}: the two files must come from the same split of the same set",
        labels.len(),
        images.count,
        images_path.display()
    );
    Err(data_error(labels_path, problem))
}

/// The IDX bytes of an array.
#[track_caller]
pub fn encode(extents: &[usize], data: &[u8]) -> Vec<u8> {
    assert_eq!(extents.iter().product::<usize>(), data.len(), "an IDX array of {extents:?} with other data");
    let mut bytes = vec![0, 0, BYTES, extents.len() as u8];
    for &extent in extents {
        bytes.extend(u32::try_from(extent).expect("an IDX extent fits u32").to_be_bytes());
    }
    bytes.extend(data);
    bytes
}

/// The content of a file, unpacked if it is gzipped.
pub fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    unpack(BufReader::new(file), path)
}

/// `source`, unpacked if it is gzipped.
pub fn unpack<'a>(mut source: impl Read + 'a, path: &Path) -> Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
    let read = source.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic);
    read.map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let gzipped = magic == GZIP_MAGIC;
    let whole = Cursor::new(magic).chain(source);
    if !gzipped {
        return Ok(Box::new(whole));
    }
    #[cfg(feature = "cli")]
    return Ok(Box::new(flate2::read::MultiGzDecoder::new(whole)));
    #[cfg(not(feature = "cli"))]
    Err(data_error(path, "is gzipped, which this build (without the feature `cli`) cannot read: unpack it".into()))
}

/// Reads an array of `rank` axes.
fn parse(mut source: impl Read, path: &Path, rank: usize) -> Result<Idx> {
    let mut magic = [0; 4];
    let found = fill(&mut source, &mut magic, path)?;
    if found < magic.len() {
        let problem = format!("has {found} bytes, an IDX file starts with 4: empty or truncated, get it again");
        return Err(data_error(path, problem));
    }
    check_magic(magic, path, rank)?;

    let mut header = vec![0; 4 * rank];
    let found = fill(&mut source, &mut header, path)?;
    if found < header.len() {
        let problem = format!("ends inside its header after {} bytes of {}: get it again", 4 + found, 4 + header.len());
        return Err(data_error(path, problem));
    }
    let (words, _) = header.as_chunks::<4>();
    let extents: Vec<u32> = words.iter().map(|&word| u32::from_be_bytes(word)).collect();
    let what = describe(&extents);
    let product = extents.iter().try_fold(1_u64, |product, &extent| product.checked_mul(u64::from(extent)));
    let Some(expected) = product.filter(|&bytes| bytes <= MAX_BYTES) else {
        let problem = format!(
            "its header promises {what}, more than the {MAX_BYTES} bytes accepted: not an image set, or a damaged \
             header; get it again"
        );
        return Err(data_error(path, problem));
    };

    let mut data = Vec::new();
    source.by_ref().take(expected).read_to_end(&mut data).map_err(|error| read_error(path, error))?;
    let found = data.len() as u64;
    if found < expected {
        let problem = format!("truncated: its header promises {what} = {expected} bytes, it has {found}; get it again");
        return Err(data_error(path, problem));
    }
    // Reading to the very end also has the gzip checksum compared.
    let extra = std::io::copy(&mut source.take(MAX_BYTES), &mut std::io::sink());
    let extra = extra.map_err(|error| read_error(path, error))?;
    if extra > 0 {
        let problem = format!(
            "{extra} bytes too many: its header promises {what} = {expected} bytes, it has {}; \
             damaged or two files joined, get it again",
            found + extra
        );
        return Err(data_error(path, problem));
    }
    Ok(Idx { extents: extents.into_iter().map(|extent| extent as usize).collect(), data })
}

fn check_magic(magic: [u8; 4], path: &Path, rank: usize) -> Result<()> {
    let expected = [0, 0, BYTES, rank as u8];
    if magic == expected {
        return Ok(());
    }
    let wanted = if rank == 1 { "labels" } else { "images" };
    let cure = match magic {
        [0, 0, BYTES, 1] => format!("a labels file where {wanted} were expected: are the two swapped?"),
        [0, 0, BYTES, 3] => format!("an images file where {wanted} were expected: are the two swapped?"),
        [0, 0, BYTES, axes] => format!("an array of {axes} axes where {wanted} ({rank}) were expected"),
        [0, 0, kind @ (0x09 | 0x0b | 0x0c | 0x0d | 0x0e), _] => {
            format!("elements of type 0x{kind:02x}, only bytes (0x08) are read")
        }
        [b'<', ..] => "this looks like a web page, perhaps an error page saved by a download: get it again".to_owned(),
        [b'P', b'K', ..] => "this is a zip archive: unpack it first".to_owned(),
        _ => "not an IDX file, or damaged: get it again".to_owned(),
    };
    let hex = |bytes: [u8; 4]| bytes.map(|byte| format!("{byte:02x}")).join(" ");
    Err(data_error(path, format!("starts with {}, expected {}: {cure}", hex(magic), hex(expected))))
}

/// Reads until `buffer` is full or the source ends; says how many bytes came.
fn fill(source: &mut impl Read, buffer: &mut [u8], path: &Path) -> Result<usize> {
    let mut bytes = Vec::with_capacity(buffer.len());
    source.take(buffer.len() as u64).read_to_end(&mut bytes).map_err(|error| read_error(path, error))?;
    buffer[..bytes.len()].copy_from_slice(&bytes);
    Ok(bytes.len())
}

/// Extents in words: "60000 images of 28x28" or "60000 labels".
fn describe(extents: &[u32]) -> String {
    match extents {
        [count, height, width] => format!("{count} images of {height}x{width}"),
        [count] => format!("{count} labels"),
        _ => format!("an array of {extents:?}"),
    }
}

/// A failure of reading: the decoder reports damage as an error of input, anything else is the operating system's.
pub(crate) fn read_error(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => data_error(path, "truncated: the gzip stream ends early; get it again".to_owned()),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            data_error(path, format!("damaged gzip stream ({error}); get it again"))
        }
        _ => Error::Io { path: path.to_owned(), source: error },
    }
}

fn data_error(path: &Path, problem: String) -> Error {
    Error::Data { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(bytes: &[u8]) -> Result<Images> {
        let path = Path::new("some/images");
        parse_images(unpack(bytes, path)?, path)
    }

    fn labels(bytes: &[u8]) -> Result<Vec<u8>> {
        let path = Path::new("some/labels");
        parse_labels(unpack(bytes, path)?, path, 10)
    }

    /// The result must be a data error that names the file and says each of `parts`.
    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
        let error = result.expect_err("accepted");
        assert!(matches!(error, Error::Data { .. }), "{error:?}");
        let message = error.to_string();
        for part in parts.iter().chain(&["some/"]) {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }

    fn two_images() -> Vec<u8> {
        encode(&[2, 2, 3], &(0..12).collect::<Vec<u8>>())
    }

    #[test]
    fn what_is_written_is_read() {
        let read = images(&two_images()).unwrap();
        assert_eq!(read, Images { count: 2, height: 2, width: 3, pixels: (0..12).collect() });
        assert_eq!(labels(&encode(&[3], &[9, 0, 5])).unwrap(), [9, 0, 5]);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_gzipped_file_reads_like_the_plain_one() {
        assert_eq!(images(&gzip(&two_images())).unwrap(), images(&two_images()).unwrap());
    }

    #[cfg(feature = "cli")]
    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn swapped_files_are_recognised() {
        refused(images(&encode(&[3], &[1, 2, 3])), &["00 00 08 01", "00 00 08 03", "are the two swapped?"]);
        refused(labels(&two_images()), &["an images file where labels were expected", "are the two swapped?"]);
    }

    #[test]
    fn a_foreign_file_is_refused_with_a_guess_what_it_is() {
        refused(images(b"<!DOCTYPE html>"), &["3c 21 44 4f", "web page"]);
        refused(images(b"PK\x03\x04rest"), &["zip archive"]);
        refused(images(b"\x89PNG\r\n"), &["not an IDX file"]);
        refused(images(&[0, 0, 0x0d, 3, 0, 0, 0, 1]), &["type 0x0d", "only bytes"]);
        refused(images(&[0, 0, 8, 2, 0, 0, 0, 1]), &["an array of 2 axes"]);
    }

    #[test]
    fn every_truncation_is_noticed() {
        let whole = two_images();
        for len in 0..whole.len() {
            refused(images(&whole[..len]), &["get it again"]);
        }
        let promise = "its header promises 2 images of 2x3 = 12 bytes, it has 11";
        refused(images(&whole[..whole.len() - 1]), &["truncated", promise]);
        refused(images(&[]), &["has 0 bytes"]);
        refused(images(&whole[..9]), &["ends inside its header after 9 bytes of 16"]);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn every_truncation_of_a_gzipped_file_is_noticed() {
        let whole = gzip(&two_images());
        for len in 0..whole.len() {
            refused(images(&whole[..len]), &["get it again"]);
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_flipped_bit_of_a_gzipped_file_is_noticed() {
        let whole = gzip(&two_images());
        let mut damaged = whole.clone();
        // The checksum, and a byte of the data.
        for at in [whole.len() - 8, whole.len() - 10] {
            damaged.copy_from_slice(&whole);
            damaged[at] ^= 1;
            refused(images(&damaged), &["get it again"]);
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = two_images();
        bytes.extend([1, 2, 3]);
        refused(images(&bytes), &["3 bytes too many", "12 bytes, it has 15"]);
    }

    #[test]
    fn an_absurd_header_is_refused_without_allocating() {
        let header = |extents: [u32; 3]| {
            let mut bytes = vec![0, 0, 8, 3];
            extents.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
            bytes
        };
        // The product overflows 64 bits.
        refused(images(&header([u32::MAX; 3])), &["promises 4294967295 images of 4294967295x4294967295"]);
        refused(images(&header([u32::MAX, 28, 28])), &["more than the 1073741824 bytes accepted"]);
        // Within the bound, but not there: this would take a gigabyte if the promise were believed.
        refused(images(&header([1 << 20, 32, 32])), &["truncated", "it has 0"]);
    }

    #[test]
    fn a_file_of_no_images_is_refused() {
        refused(images(&encode(&[0, 28, 28], &[])), &["0 images of 28x28"]);
        refused(images(&encode(&[5, 0, 28], &[])), &["5 images of 0x28"]);
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_place() {
        refused(labels(&encode(&[4], &[0, 9, 10, 255])), &["label 10 of image 2", "10 classes, 0 to 9"]);
    }

    #[test]
    fn images_and_labels_must_be_as_many() {
        let images = images(&two_images()).unwrap();
        let check = |labels: &[u8]| check_pair(&images, Path::new("some/images"), labels, Path::new("some/labels"));
        refused(check(&[1, 2, 3]), &["3 labels for the 2 images of some/images"]);
        assert!(check(&[1, 2]).is_ok());
    }
}
