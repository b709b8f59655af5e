//! numpy's `.npz`: a zip archive with a file `NAME.npy` for each array.

use std::io::{Cursor, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{Array, npy};

const ENDING: &str = ".npy";

/// A whole archive with the names of its arrays.
#[derive(Debug)]
pub(super) struct File {
    bytes: Vec<u8>,
    names: Vec<String>,
}

impl File {
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let names = {
            let archive = ZipArchive::new(Cursor::new(&bytes)).map_err(|error| {
                format!("not a whole .npz archive ({error}); {} bytes: truncated, or of another format?", bytes.len())
            })?;
            let mut names = Vec::with_capacity(archive.len());
            for name in archive.file_names() {
                let name = name.map_err(|error| format!("has a file whose name is damaged ({error})"))?;
                names.extend(name.strip_suffix(ENDING).map(str::to_owned));
            }
            names
        };
        Ok(Self { bytes, names })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(super) fn read(&self, name: &str) -> Result<Array, String> {
        let damaged = |error: ZipError| format!("cannot be unpacked ({error}); is the archive damaged?");
        let mut archive = ZipArchive::new(Cursor::new(&self.bytes)).map_err(damaged)?;
        let file = archive.by_name(&format!("{name}{ENDING}")).map_err(damaged)?;
        let len = file.size();
        npy::read(file, Some(len))
    }
}

/// An archive of these arrays, not compressed, as `numpy.savez` writes it.
pub(super) fn to_bytes(arrays: &[(&str, Array)]) -> Vec<u8> {
    // Files of more than 4 GiB need the larger format, which old programs do not read.
    const LARGE: usize = 1 << 31;
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let bytes = npy::to_bytes(array);
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(bytes.len() > LARGE);
        let written = archive.start_file(format!("{name}{ENDING}"), options);
        written.expect("names differ and are short");
        archive.write_all(&bytes).expect("memory takes all bytes");
    }
    archive.finish().expect("memory takes all bytes").into_inner()
}
