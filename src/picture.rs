//! Pictures as models see them: (C, H, W), f32 in [-0.5, 0.5], and their way from and to PNG and JPEG files.
//!
//! Byte `v` is `v / 255 - 0.5`, and back by rounding, so that writing and reading a picture changes no byte.
//! Files are hostile until proven otherwise: what a decoder may allocate is limited, and where no resizing is asked
//! for, the size is checked before anything is decoded.

use crate::error::{Error, Result};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, imageops::FilterType};
use std::io::{BufRead, Cursor, Seek};
use std::path::Path;

/// The longest side that is decoded, in pixels, and the memory a decoder may take.
const LONGEST_SIDE: u32 = 16_384;
const MEMORY: u64 = 512 << 20;

/// How a picture of another size becomes one of the wanted size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Not at all: another size is an error.
    Exact,
    /// The whole picture is stretched or shrunk.
    Resize,
    /// The largest centred part of the wanted proportions is taken, then resized.
    Crop,
}

/// A picture of 1 (grey) or 3 (red, green, blue) channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    shape: [usize; 3],
    data: Vec<f32>,
}

impl Picture {
    /// A picture of `shape` (C, H, W) from row-major `data` in [-0.5, 0.5].
    ///
    /// Panics unless C is 1 or 3 and `data` has C · H · W elements.
    #[track_caller]
    pub fn new(shape: [usize; 3], data: Vec<f32>) -> Self {
        assert!(shape[0] == 1 || shape[0] == 3, "a picture has 1 or 3 channels, got shape {shape:?}");
        let wanted = shape.iter().product::<usize>();
        assert_eq!(wanted, data.len(), "a picture of shape {shape:?} needs {wanted} elements, got {}", data.len());
        Self { shape, data }
    }

    /// The same from `data` in [0, 1].
    #[track_caller]
    pub fn from_unit(shape: [usize; 3], data: &[f32]) -> Self {
        Self::new(shape, data.iter().map(|value| value - 0.5).collect())
    }

    /// The same from bytes, channel by channel.
    #[track_caller]
    pub fn from_bytes(shape: [usize; 3], bytes: &[u8]) -> Self {
        Self::new(shape, bytes.iter().map(|&byte| f32::from(byte) / 255.0 - 0.5).collect())
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The elements, row-major (C, H, W), in [-0.5, 0.5] unless the maker said otherwise.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Takes the elements out.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The picture in bytes: values outside [-0.5, 0.5] take the nearest end, NaN is magenta, so that nobody takes it
    /// for black.
    pub fn to_rgb(&self) -> RgbImage {
        let [channels, height, width] = self.shape;
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let value =
                |channel: usize| self.data[(channel.min(channels - 1) * height + y as usize) * width + x as usize];
            let values = [value(0), value(1), value(2)];
            if values.iter().any(|value| value.is_nan()) {
                return image::Rgb([255, 0, 255]);
            }
            image::Rgb(values.map(|value| ((value + 0.5) * 255.0).round().clamp(0.0, 255.0) as u8))
        })
    }

    /// Reads the PNG or JPEG file at `path` as a picture of `shape` (C, H, W).
    ///
    /// Colours become grey, or grey colours, as C wants; what is transparent is laid on white; a JPEG's orientation is
    /// obeyed. A file that is missing, damaged, of another format, or with [`Fit::Exact`] of another size, is an
    /// [`Error::Data`] (or [`Error::Io`] where it cannot be opened).
    pub fn load(path: &Path, shape: [usize; 3], fit: Fit) -> Result<Self> {
        Ok(Self::load_noting(path, shape, fit)?.0)
    }

    /// The same, and what had to be done to the file's picture, for people: `640 × 480 pixels resized to 28 × 28, colours
    /// made grey`. Nothing where it is what the file holds.
    pub fn load_noting(path: &Path, shape: [usize; 3], fit: Fit) -> Result<(Self, Option<String>)> {
        let file = std::fs::File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::read(std::io::BufReader::new(file), shape, fit)
            .map_err(|problem| Error::Data { path: path.to_owned(), problem })
    }

    /// Writes the picture to `path` as PNG, or as JPEG where the name ends in .jpg or .jpeg.
    pub fn save(&self, path: &Path) -> Result<()> {
        save_rgb(path, &self.to_rgb())
    }

    fn read(
        input: impl BufRead + Seek,
        [channels, height, width]: [usize; 3],
        fit: Fit,
    ) -> Result<(Self, Option<String>), String> {
        if channels != 1 && channels != 3 {
            return Err(format!("the model wants {channels} channels; a picture has 1 or 3"));
        }
        if height == 0 || width == 0 || height.max(width) > LONGEST_SIDE as usize {
            return Err(format!("the model wants a picture of {width} × {height} pixels, which cannot be"));
        }
        let mut reader = ImageReader::new(input).with_guessed_format().map_err(|error| error.to_string())?;
        match reader.format() {
            Some(ImageFormat::Png | ImageFormat::Jpeg) => {}
            Some(other) => return Err(format!("a {other:?} file; convert it to PNG or JPEG")),
            None => return Err(String::from("not a picture; PNG and JPEG are understood")),
        }
        let mut limits = Limits::default();
        (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
        limits.max_alloc = Some(MEMORY);
        reader.limits(limits);
        let damaged = |error: image::ImageError| match error {
            image::ImageError::Limits(_) => {
                format!("too large: pictures of up to {LONGEST_SIDE} pixels a side and {} MiB are read", MEMORY >> 20)
            }
            error => format!("damaged picture: {error}"),
        };
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let orientation = decoder.orientation().map_err(damaged)?;
        let (found_width, found_height) = decoder.dimensions();
        let turned = matches!(
            orientation,
            image::metadata::Orientation::Rotate90
                | image::metadata::Orientation::Rotate270
                | image::metadata::Orientation::Rotate90FlipH
                | image::metadata::Orientation::Rotate270FlipH
        );
        let found = if turned { (found_height, found_width) } else { (found_width, found_height) };
        let wanted = (width as u32, height as u32);
        if fit == Fit::Exact && found != wanted {
            let ((a, b), (c, d)) = (found, wanted);
            return Err(format!(
                "{a} × {b} pixels, the model wants {c} × {d}; ask for it with --resize or --crop, or convert the file"
            ));
        }
        let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        image.apply_orientation(orientation);
        let mut changes = Vec::new();
        if found != wanted {
            let how = if fit == Fit::Crop { "cropped and resized" } else { "resized" };
            changes.push(format!("{} × {} pixels {how} to {width} × {height}", found.0, found.1));
        }
        match (image.color().has_color(), channels) {
            (true, 1) => changes.push(String::from("colours made grey")),
            (false, 3) => changes.push(String::from("grey taken as colour")),
            _ => {}
        }
        let picture = Self::from_image(&fitted(image, wanted, fit), channels);
        Ok((picture, (!changes.is_empty()).then(|| changes.join(", "))))
    }

    /// `image`, laid on white, in `channels` channels.
    fn from_image(image: &DynamicImage, channels: usize) -> Self {
        let image = image.to_rgba32f();
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut data = vec![0.0; channels * height * width];
        for (index, pixel) in image.pixels().enumerate() {
            let alpha = pixel[3];
            let [red, green, blue] = [0, 1, 2].map(|c| alpha * pixel[c] + (1.0 - alpha) - 0.5);
            if channels == 1 {
                // Luminance by the weights of ITU-R BT.709, arranged so that grey stays exactly what it was.
                data[index] = green + 0.2126 * (red - green) + 0.0722 * (blue - green);
            } else {
                [red, green, blue].into_iter().enumerate().for_each(|(c, v)| data[c * height * width + index] = v);
            }
        }
        Self { shape: [channels, height, width], data }
    }
}

/// `image` at the wanted width and height.
fn fitted(image: DynamicImage, (width, height): (u32, u32), fit: Fit) -> DynamicImage {
    let (found_width, found_height) = (image.width(), image.height());
    if (found_width, found_height) == (width, height) {
        return image;
    }
    let image = if fit == Fit::Crop {
        let (w, h, fw, fh) = (u64::from(width), u64::from(height), u64::from(found_width), u64::from(found_height));
        // Compare proportions as products: no rounding.
        let (part_w, part_h) = if fw * h > fh * w { ((fh * w / h).max(1), fh) } else { (fw, (fw * h / w).max(1)) };
        image.crop_imm(((fw - part_w) / 2) as u32, ((fh - part_h) / 2) as u32, part_w as u32, part_h as u32)
    } else {
        image
    };
    // A triangle filter widens with the reduction, so that fine patterns average out instead of aliasing.
    image.resize_exact(width, height, FilterType::Triangle)
}

/// Writes `image` to `path`, as JPEG where the name ends in .jpg or .jpeg, else as PNG; whole or not at all.
pub fn save_rgb(path: &Path, image: &RgbImage) -> Result<()> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let format = if matches!(extension.as_str(), "jpg" | "jpeg") { ImageFormat::Jpeg } else { ImageFormat::Png };
    let mut bytes = Cursor::new(Vec::new());
    let encoded = image.write_to(&mut bytes, format);
    encoded.map_err(|error| Error::Io { path: path.to_owned(), source: std::io::Error::other(error) })?;
    crate::report::write_file(path, bytes.get_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        (folder, path)
    }

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).expect("PNG in memory");
        bytes.into_inner()
    }

    fn problem(name: &str, bytes: &[u8], shape: [usize; 3], fit: Fit) -> String {
        let (_folder, path) = file(name, bytes);
        match Picture::load(&path, shape, fit) {
            Err(Error::Data { path: named, problem }) => {
                assert_eq!(named, path);
                problem
            }
            other => panic!("expected a data error, got {other:?}"),
        }
    }

    #[test]
    fn bytes_survive_the_round_trip() {
        let picture = Picture::from_bytes([1, 16, 16], &(0..=255).collect::<Vec<u8>>());
        assert_eq!((picture.data()[0], picture.data()[255]), (-0.5, 0.5));
        let (_folder, path) = file("x.png", &[]);
        picture.save(&path).expect("saved");
        for channels in [1, 3] {
            let back = Picture::load(&path, [channels, 16, 16], Fit::Exact).expect("loaded");
            assert_eq!(&back.data()[..256], picture.data(), "{channels} channels");
        }
    }

    #[test]
    fn colour_to_grey_and_transparency_on_white() {
        let mut image = image::RgbaImage::from_pixel(2, 1, image::Rgba([255, 0, 0, 255]));
        image.put_pixel(1, 0, image::Rgba([0, 0, 0, 0]));
        let (_folder, path) = file("x.png", &png(&DynamicImage::ImageRgba8(image)));
        let grey = Picture::load(&path, [1, 1, 2], Fit::Exact).expect("loaded");
        assert!((grey.data()[0] - (0.2126 - 0.5)).abs() < 1e-6, "red is {}", grey.data()[0]);
        assert_eq!(grey.data()[1], 0.5, "clear is white");
    }

    #[test]
    fn crop_takes_the_middle_and_resize_all() {
        let image = RgbImage::from_fn(40, 10, |x, _| image::Rgb(if (15..25).contains(&x) { [255; 3] } else { [0; 3] }));
        let bytes = png(&DynamicImage::ImageRgb8(image));
        let (_folder, path) = file("x.png", &bytes);
        let cropped = Picture::load(&path, [1, 5, 5], Fit::Crop).expect("cropped");
        assert!(cropped.data().iter().all(|&v| v == 0.5), "{:?}", cropped.data());
        let resized = Picture::load(&path, [1, 5, 5], Fit::Resize).expect("resized");
        assert_eq!((resized.data()[0], resized.data()[2] > 0.3), (-0.5, true));
        let note = |shape, fit| Picture::load_noting(&path, shape, fit).expect("loaded").1;
        let said = note([1, 5, 5], Fit::Crop).expect("changes");
        assert_eq!(said, "40 × 10 pixels cropped and resized to 5 × 5, colours made grey");
        assert_eq!(note([3, 10, 40], Fit::Exact), None);
        let exact = problem("x.png", &bytes, [1, 5, 5], Fit::Exact);
        assert!(exact.contains("40 × 10") && exact.contains("5 × 5"), "{exact}");
    }

    #[test]
    fn hostile_files_are_data_errors() {
        let good = png(&DynamicImage::ImageRgb8(RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 7]))));
        assert!(problem("cut.png", &good[..good.len() / 2], [3, 64, 64], Fit::Exact).contains("damaged"));
        let mut flipped = good.clone();
        flipped[60] ^= 0xff;
        assert!(problem("flipped.png", &flipped, [3, 64, 64], Fit::Exact).contains("damaged"));
        assert!(problem("empty.png", &[], [3, 64, 64], Fit::Resize).contains("not a picture"));
        assert!(problem("text.png", b"<html>", [3, 64, 64], Fit::Resize).contains("not a picture"));
        assert!(problem("x.gif", b"GIF89a\x01\0\x01\0", [3, 64, 64], Fit::Resize).contains("convert"));
        // A header that claims two thousand million pixels a side, its checksum in order.
        let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0".to_vec();
        huge.extend(crc32(&huge[12..]).to_be_bytes());
        huge.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
        let said = problem("huge.png", &huge, [3, 64, 64], Fit::Resize);
        assert!(said.contains("too large"), "{said}");
        assert!(problem("x.png", &good, [2, 64, 64], Fit::Exact).contains("2 channels"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Picture::load(Path::new("/nonexistent/x.png"), [1, 2, 2], Fit::Exact).expect_err("missing");
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("x.png"));
    }

    #[test]
    fn not_a_number_is_magenta_and_excess_is_clamped() {
        let rgb = Picture::new([1, 1, 3], vec![f32::NAN, 9.0, -9.0]).to_rgb();
        assert_eq!([rgb[(0, 0)].0, rgb[(1, 0)].0, rgb[(2, 0)].0], [[255, 0, 255], [255; 3], [0; 3]]);
    }

    /// The checksum of PNG chunks, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
        })
    }
}
