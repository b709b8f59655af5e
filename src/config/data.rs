//! `[data]`: what a model is trained on.

use super::keys::{Key, Section, section, words};
use crate::data::Augment;
use crate::json::Value;

/// `[data]`: what the model is trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// A set that `iresnet data list` lists (`cifar10`, `mnist`, `toy:NAME`, …), `folder:DIR` or `arrays:FILE`.
    pub name: String,
    /// Samples in a training step.
    pub batch: usize,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Random changes of training images: `true` for what is usual for the set (nothing for folders and arrays), `false`
    /// for none, or a table of `shift`, `padding`, `flip`.
    pub augment: Augmentation,
    /// Whether uniform noise of one level is added, so that a density exists; always on for images of `density` and
    /// `hybrid`. Arrays get noise only if this is `true`.
    pub dequantize: bool,
    /// Images are reduced to 2^bits levels, 1 to 8; bits per dimension count so many bits. Arrays are not reduced.
    pub bits: u32,
    /// Grey images are repeated in so many channels; 0 leaves them as they are.
    pub channels: usize,
    /// Whether classifiers of CIFAR see (x − mean) / deviation of each channel, as published, instead of x − ½.
    pub normalize: bool,
    /// Whether labels are the 20 coarse classes of `cifar100`.
    pub coarse: bool,
    /// What becomes of a folder's images of another size than `model.input`.
    pub fit: Fit,
    /// Use only so many training samples; 0 uses all. For `toy:` the number of samples in an epoch.
    pub limit: usize,
}

section! {
    DataConfig: name batch shuffle augment dequantize bits channels normalize coarse fit limit
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            name: "cifar10".into(),
            batch: 128,
            shuffle: true,
            augment: Augmentation::Usual,
            dequantize: false,
            bits: 8,
            channels: 0,
            normalize: true,
            coarse: false,
            fit: Fit::Exact,
            limit: 0,
        }
    }
}

/// Random changes of training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Augmentation {
    /// None (`false`).
    Off,
    /// What is usual for the data set (`true`): [`Augment::usual`].
    Usual,
    /// These (a table).
    Custom(Augment),
}

/// What becomes of images of another size than the model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// They are refused.
    #[default]
    Exact,
    /// The whole image is stretched or shrunk.
    Resize,
    /// The largest centred part of the model's proportions is taken, then resized.
    Crop,
}

words! { Fit: Exact "exact" Resize "resize" Crop "crop" }

impl Key for Augmentation {
    fn value(&self) -> Value {
        match self {
            Self::Off => Value::Bool(false),
            Self::Usual => Value::Bool(true),
            Self::Custom(augment) => {
                Value::Object(augment.entries().into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }
        }
    }

    fn read(value: &Value) -> Result<Self, String> {
        if let Value::Bool(usual) = value {
            return Ok(if *usual { Self::Usual } else { Self::Off });
        }
        let wrong = || "expected true, false, or a table such as { shift = 4, padding = \"symmetric\", flip = true }";
        let mut augment = Augment::default();
        for (key, value) in value.as_object().ok_or_else(wrong)? {
            augment.set(key, value).ok_or_else(wrong)?.map_err(|error| format!("{key}: {error}"))?;
        }
        Ok(Self::Custom(augment))
    }
}
