//! Images that commands take: files, or images of the test split.

use std::path::{Path, PathBuf};

use super::output;
use crate::config::Config;
use crate::data::source::Source;
use crate::data::{Scale, Split};
use crate::error::{Error, Result};
use crate::picture::{Fit, Picture};

/// Flags that say what becomes of pictures of another size.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Stretch or shrink images of another size than the model's, instead of refusing them.
    #[arg(long, conflicts_with = "crop")]
    pub resize: bool,

    /// Take the largest centred part of the model's proportions from images of another size, and resize that.
    #[arg(long)]
    pub crop: bool,
}

impl Args {
    fn fit(self) -> Fit {
        match (self.resize, self.crop) {
            (true, _) => Fit::Resize,
            (_, true) => Fit::Crop,
            _ => Fit::Exact,
        }
    }

    /// Reads a file as the model wants it; says on standard error what had to be changed.
    pub(super) fn load(self, path: &Path, form: Form) -> Result<Vec<f32>> {
        let (picture, changes) = Picture::load_noting(path, form.shape, self.fit())?;
        if let Some(changes) = changes {
            output::note(&format!("{}: {changes}", path.display()));
        }
        let mut pixels = picture.into_data();
        form.scale.from_centred(&mut pixels, form.shape);
        Ok(pixels)
    }
}

/// What a model's images are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// [C, H, W].
    pub(super) shape: [usize; 3],
    scale: Scale,
}

impl Form {
    /// The form of the images of a model with this configuration.
    ///
    /// # Errors
    /// [`Error::Model`] for a model of something else.
    pub(crate) fn of(config: &Config, model: &Path) -> Result<Self> {
        match config.model.input.as_slice() {
            &[c, h, w] if c == 1 || c == 3 => Ok(Self { shape: [c, h, w], scale: Scale::of(config) }),
            other => {
                let problem = format!("a model of images is needed; this one models arrays of shape {other:?}");
                Err(Error::Model { path: model.into(), problem })
            }
        }
    }

    /// Inputs of the model (N, C, H, W) as pictures.
    pub(crate) fn pictures(&self, inputs: &[f32]) -> Vec<Picture> {
        let picture = |pixels: &[f32]| {
            let mut pixels = pixels.to_vec();
            self.scale.to_centred(&mut pixels, self.shape);
            Picture::new(self.shape, pixels)
        };
        inputs.chunks_exact(self.shape.iter().product()).map(picture).collect()
    }
}

/// The first `count` images of the test split of the data that the model was trained on: names and pixels.
pub(super) fn first_of_test(config: &Config, count: usize) -> Result<(Vec<String>, Vec<f32>)> {
    let source = Source::open(config, None, Split::Test)?;
    let indices: Vec<u32> = (0..count.clamp(1, source.dataset().len()) as u32).collect();
    let names = indices.iter().map(|index| format!("test image {index}")).collect();
    Ok((names, source.at(&indices).x.into_data()))
}

/// An image as users name it: a file, or `test:N`.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    /// A PNG or JPEG file.
    File(PathBuf),
    /// Number N of the test split of the data that the model was trained on.
    Test(u32),
}

impl std::str::FromStr for Image {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.strip_prefix("test:") {
            None => Ok(Self::File(PathBuf::from(text))),
            Some(number) => {
                let number =
                    number.parse().map_err(|_| String::from("test: takes the number of an image, as in test:3"))?;
                Ok(Self::Test(number))
            }
        }
    }
}

impl Image {
    /// Its pixels.
    pub(super) fn load(&self, config: &Config, form: Form, args: Args) -> Result<Vec<f32>> {
        match self {
            Self::File(path) => args.load(path, form),
            Self::Test(number) => {
                let source = Source::open(config, None, Split::Test)?;
                let len = source.dataset().len();
                if *number as usize >= len {
                    return Err(Error::Config(format!("test:{number}: the test split has {len} images, from test:0")));
                }
                Ok(source.at(&[*number]).x.into_data())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_by_name() {
        assert_eq!("test:3".parse(), Ok(Image::Test(3)));
        assert_eq!("a/test.png".parse(), Ok(Image::File(PathBuf::from("a/test.png"))));
        assert!("test:x".parse::<Image>().is_err());
    }
}
