//! Configurations that come with the program.

use super::Config;
use crate::error::{Error, Result};
use crate::nearest::unknown;

/// Name and text of each preset: small ones first, then the networks of the paper and of its scripts, and
/// what they are compared with.
const PRESETS: [(&str, &str); 31] = [
    ("toy-8gaussians", include_str!("../../presets/toy-8gaussians.toml")),
    ("toy-checkerboard", include_str!("../../presets/toy-checkerboard.toml")),
    ("fashion-mnist-small", include_str!("../../presets/fashion-mnist-small.toml")),
    ("fashion-mnist-small-density", include_str!("../../presets/fashion-mnist-small-density.toml")),
    ("mnist-small", include_str!("../../presets/mnist-small.toml")),
    ("mnist-small-density", include_str!("../../presets/mnist-small-density.toml")),
    ("mnist-small-hybrid", include_str!("../../presets/mnist-small-hybrid.toml")),
    ("cifar10-small", include_str!("../../presets/cifar10-small.toml")),
    ("toy-8gaussians-glow", include_str!("../../presets/toy-8gaussians-glow.toml")),
    ("toy-checkerboard-glow", include_str!("../../presets/toy-checkerboard-glow.toml")),
    ("mnist-small-vanilla", include_str!("../../presets/mnist-small-vanilla.toml")),
    ("mnist-small-glow", include_str!("../../presets/mnist-small-glow.toml")),
    ("mnist", include_str!("../../presets/mnist.toml")),
    ("cifar10", include_str!("../../presets/cifar10.toml")),
    ("cifar10-21", include_str!("../../presets/cifar10-21.toml")),
    ("cifar100", include_str!("../../presets/cifar100.toml")),
    ("mnist-density", include_str!("../../presets/mnist-density.toml")),
    ("cifar10-density-16", include_str!("../../presets/cifar10-density-16.toml")),
    ("cifar10-density-32", include_str!("../../presets/cifar10-density-32.toml")),
    ("toy-100", include_str!("../../presets/toy-100.toml")),
    ("mnist-vanilla", include_str!("../../presets/mnist-vanilla.toml")),
    ("mnist-resnet-164", include_str!("../../presets/mnist-resnet-164.toml")),
    ("cifar10-vanilla", include_str!("../../presets/cifar10-vanilla.toml")),
    ("cifar10-resnet-164", include_str!("../../presets/cifar10-resnet-164.toml")),
    ("cifar10-glow-classifier", include_str!("../../presets/cifar10-glow-classifier.toml")),
    ("cifar10-glow-style", include_str!("../../presets/cifar10-glow-style.toml")),
    ("cifar100-vanilla", include_str!("../../presets/cifar100-vanilla.toml")),
    ("cifar100-resnet-164", include_str!("../../presets/cifar100-resnet-164.toml")),
    ("mnist-glow", include_str!("../../presets/mnist-glow.toml")),
    ("cifar10-glow", include_str!("../../presets/cifar10-glow.toml")),
    ("toy-100-glow", include_str!("../../presets/toy-100-glow.toml")),
];

impl Config {
    /// Names of all presets.
    pub fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|&(name, _)| name)
    }

    /// The TOML text of a preset.
    ///
    /// # Errors
    /// A name that is no preset's; the message names the nearest.
    pub fn preset_text(name: &str) -> Result<&'static str> {
        PRESETS
            .iter()
            .find(|&&(known, _)| known == name)
            .map(|&(_, text)| text)
            .ok_or_else(|| Error::Config(unknown("preset", name, Self::preset_names())))
    }

    /// A preset.
    ///
    /// # Errors
    /// A name that is no preset's; the message names the nearest.
    #[cfg(feature = "cli")]
    pub fn preset(name: &str) -> Result<Self> {
        Self::from_toml(Self::preset_text(name)?, &format!("preset {name}"))
    }
}
