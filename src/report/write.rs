//! Writing files whole.

use crate::error::{Error, Result};
use image::RgbImage;
use std::path::Path;

/// Writes `bytes` to `path` in one step: whoever reads the file sees the old or the new whole, never a part.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    std::fs::write(&part, bytes).map_err(io)?;
    std::fs::rename(&part, path).map_err(io)
}

/// Writes `image` to `path` as PNG.
pub(crate) fn write_png(path: &Path, image: &RgbImage) -> Result<()> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let encoded = image.write_to(&mut bytes, image::ImageFormat::Png);
    encoded.map_err(|error| Error::Io { path: path.to_owned(), source: std::io::Error::other(error) })?;
    write_file(path, bytes.get_ref())
}
