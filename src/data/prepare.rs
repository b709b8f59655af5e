//! From stored samples to the input of a network.
//!
//! Bytes go through, in this order:
//! 1. padding with black on all sides (the published density models of MNIST pad 28×28 to 32×32)
//! 2. augmentation, in training only ([`Augment`])
//! 3. repetition of a grey image in several channels, where asked for (the published density models of MNIST have 3)
//! 4. to numbers in [0, 1]: with n bits, q = ⌊p / 2⁸⁻ⁿ⌋ becomes `(q + u) / 2ⁿ` with u uniform on [0, 1) if dequantised, so
//!    that a density over real numbers bounds one over levels (for n = 8 the published `(255 x + u) / 256`), else
//!    `q / (2ⁿ − 1)`
//! 5. the [`Scale`]: minus ½, or, for classifiers of CIFAR as published, minus the mean and divided by the standard
//!    deviation of each channel
//!
//! Numbers taken as they are (arrays, drawn points) are not scaled; the other steps apply to arrays where they are asked
//! for by name, noise being one level, u / 2ⁿ.
//!
//! Dequantisation noise is fresh at every step of training. In evaluation it depends on the seed and the sample only, not
//! on the batch the sample happens to be in.

use super::augment::{Augment, pad, padded};
use crate::config::{Config, Kind};
use crate::data::{Batch, Dataset, Elements, Split};
use crate::random::{Key, stream};
use crate::tensor::Tensor;

/// How numbers in [0, 1] become the input of a network: `(v − mean) / deviation` for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl Default for Scale {
    /// `v − ½`.
    fn default() -> Self {
        Self { mean: [0.5; 3], deviation: [1.0; 3] }
    }
}

impl Scale {
    /// The scale that a model with this configuration is trained with.
    pub fn of(config: &Config) -> Self {
        let classifier = config.model.kind == Kind::Classifier && config.data.normalize;
        let moments = if classifier { super::catalogue::moments(&config.data.name) } else { None };
        moments.map_or_else(Self::default, |[mean, deviation]| Self { mean, deviation })
    }

    /// `value` in [0, 1] of `channel` as the network's input.
    pub fn apply(&self, value: f32, channel: usize) -> f32 {
        let channel = channel.min(2);
        (value - self.mean[channel]) / self.deviation[channel]
    }

    /// Turns pictures (N, C, H, W) in [−½, ½] into the network's input, in place; `shape` is [C, H, W].
    pub fn from_centred(&self, pictures: &mut [f32], shape: [usize; 3]) {
        self.each(pictures, shape, |scale, value, channel| scale.apply(value + 0.5, channel));
    }

    /// Turns the network's inputs (N, C, H, W) into pictures in [−½, ½], in place; `shape` is [C, H, W].
    pub fn to_centred(&self, inputs: &mut [f32], shape: [usize; 3]) {
        self.each(inputs, shape, |scale, input, channel| scale.undo(input, channel) - 0.5);
    }

    fn each(&self, numbers: &mut [f32], [channels, height, width]: [usize; 3], change: fn(&Self, f32, usize) -> f32) {
        // The usual scale is that of pictures: their bits stay what they are.
        if *self == Self::default() {
            return;
        }
        for (number, plane) in numbers.chunks_mut(height * width).enumerate() {
            plane.iter_mut().for_each(|value| *value = change(self, *value, number % channels));
        }
    }

    /// The value in [0, 1] that a network's input stands for.
    pub fn undo(&self, input: f32, channel: usize) -> f32 {
        let channel = channel.min(2);
        input * self.deviation[channel] + self.mean[channel]
    }
}

/// How samples become the input of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prepare {
    /// Black pixels added on each of the four sides.
    pub pad: usize,
    /// Random changes in training, if any.
    pub augment: Option<Augment>,
    /// How often the channels are repeated.
    pub copies: usize,
    /// Whether noise is added.
    pub dequantize: bool,
    /// Bytes are reduced to 2^bits levels; 1 to 8.
    pub bits: u32,
    /// What happens to numbers in [0, 1] in the end.
    pub scale: Scale,
}

impl Default for Prepare {
    /// 256 levels, minus ½, and nothing else.
    fn default() -> Self {
        Self { pad: 0, augment: None, copies: 1, dequantize: false, bits: 8, scale: Scale::default() }
    }
}

impl Prepare {
    /// Shape of the prepared samples of `dataset`, [C, H, W].
    pub fn shape(&self, dataset: &Dataset) -> [usize; 3] {
        let [channels, height, width] = padded(dataset.shape(), self.pad);
        [channels * self.copies, height, width]
    }

    /// The samples at `indices` for training step `step`: with augmentation, with fresh noise. Of a drawn set these are
    /// as many fresh points.
    #[track_caller]
    pub fn batch(&self, dataset: &Dataset, indices: &[u32], seed: u64, step: u32) -> Batch {
        let noise = [Key::new(seed, step, stream::DEQUANTIZE)];
        let x = match dataset.elements() {
            Elements::Bytes(_) => {
                let bytes = self.changed(&dataset.bytes(indices).expect("bytes"), dataset, seed, step);
                self.numbers(&bytes, self.shape(dataset), &noise)
            }
            Elements::Floats(_) => {
                let floats = self.changed(dataset.batch(indices).x.data(), dataset, seed, step);
                self.noisy(floats, &noise)
            }
            Elements::Drawn(toy) => {
                toy.sample(Key::new(seed, step, stream::TOY), indices.len()).into_iter().flatten().collect()
            }
        };
        self.finish(dataset, indices, x)
    }

    /// The samples at `indices` for evaluation: no augmentation, and noise that depends on `seed` and the sample only.
    #[track_caller]
    pub fn eval_batch(&self, dataset: &Dataset, indices: &[u32], seed: u64) -> Batch {
        // The sample's number takes the place of the step; the stream tells the splits apart from training.
        let stream = match dataset.split() {
            Split::Train => stream::DEQUANTIZE_TRAIN,
            Split::Test => stream::DEQUANTIZE_TEST,
        };
        let noise: Vec<Key> = indices.iter().map(|&index| Key::new(seed, index, stream)).collect();
        let x = match dataset.elements() {
            Elements::Bytes(_) => {
                let bytes = self.arranged(&dataset.bytes(indices).expect("bytes"), dataset, None);
                self.numbers(&bytes, self.shape(dataset), &noise)
            }
            Elements::Floats(_) => self.noisy(self.arranged(dataset.batch(indices).x.data(), dataset, None), &noise),
            Elements::Drawn(_) => dataset.batch(indices).x.into_data(),
        };
        self.finish(dataset, indices, x)
    }

    fn changed<T: Copy + Default>(&self, samples: &[T], dataset: &Dataset, seed: u64, step: u32) -> Vec<T> {
        self.arranged(samples, dataset, Some(Key::new(seed, step, stream::AUGMENT)))
    }

    /// Padded, augmented by `key` where there is one, and repeated in channels.
    fn arranged<T: Copy + Default>(&self, samples: &[T], dataset: &Dataset, key: Option<Key>) -> Vec<T> {
        let shape = padded(dataset.shape(), self.pad);
        let mut samples = pad(samples, dataset.shape(), self.pad);
        if let Some((augment, key)) = self.augment.zip(key) {
            samples = augment.apply(&samples, shape, key);
        }
        if self.copies == 1 {
            return samples;
        }
        samples.chunks_exact(shape.iter().product()).flat_map(|sample| sample.repeat(self.copies)).collect()
    }

    /// Bytes of samples of `shape` to numbers; each of `keys` gives the noise of an equal share of them.
    fn numbers(&self, bytes: &[u8], [channels, height, width]: [usize; 3], keys: &[Key]) -> Vec<f32> {
        let plane = height * width;
        if !self.dequantize {
            // A table of all bytes for each channel.
            let tables: Vec<[f32; 256]> = (0..channels)
                .map(|channel| std::array::from_fn(|byte| self.scale.apply(unit(byte as u8, self.bits), channel)))
                .collect();
            let planes = bytes.chunks(plane).zip(tables.iter().cycle());
            return planes
                .flat_map(|(pixels, table)| pixels.iter().map(move |&byte| table[usize::from(byte)]))
                .collect();
        }
        let mut numbers = Vec::with_capacity(bytes.len());
        for (&key, share) in keys.iter().zip(bytes.chunks((bytes.len() / keys.len().max(1)).max(1))) {
            numbers.append(&mut dequantize(share, self.bits, key));
        }
        for (number, plane) in numbers.chunks_mut(plane).enumerate() {
            plane.iter_mut().for_each(|value| *value = self.scale.apply(*value, number % channels));
        }
        numbers
    }

    /// Numbers with noise of one level, if any is wanted; each of `keys` gives that of an equal share of them.
    fn noisy(&self, mut numbers: Vec<f32>, keys: &[Key]) -> Vec<f32> {
        if self.dequantize {
            let share = numbers.len() / keys.len().max(1);
            for (key, share) in keys.iter().zip(numbers.chunks_mut(share.max(1))) {
                let noise = key.uniforms(share.len());
                share.iter_mut().zip(noise).for_each(|(number, noise)| *number += noise / levels(self.bits));
            }
        }
        numbers
    }

    fn finish(&self, dataset: &Dataset, indices: &[u32], x: Vec<f32>) -> Batch {
        let [channels, height, width] = self.shape(dataset);
        Batch { x: Tensor::new([indices.len(), channels, height, width], x), labels: dataset.labels_at(indices) }
    }
}

/// Number of levels of `bits` bits.
fn levels(bits: u32) -> f32 {
    (1_u32 << bits) as f32
}

/// The level of a byte among 2^`bits`.
fn level(byte: u8, bits: u32) -> f32 {
    f32::from(byte >> (8 - bits))
}

/// A byte's level as a number in [0, 1]: `q / (2ⁿ − 1)`.
fn unit(byte: u8, bits: u32) -> f32 {
    level(byte, bits) / (levels(bits) - 1.0)
}

/// Bytes as numbers in [0, 1], with noise: `(q + u) / 2ⁿ`, q the level among 2ⁿ, u number i of `key` for element i.
pub fn dequantize(bytes: &[u8], bits: u32, key: Key) -> Vec<f32> {
    let noise = key.uniforms(bytes.len());
    bytes.iter().zip(noise).map(|(&byte, noise)| (level(byte, bits) + noise) / levels(bits)).collect()
}

/// The byte that a number in [−½, ½] shows as: `256 (x + ½)` rounded down, at most 255. It undoes [`dequantize`] (but for
/// noise within f32's last bit of the next byte) and `p / 255`, with 8 bits and the default [`Scale`].
pub fn to_byte(x: f32) -> u8 {
    // The conversion rounds towards zero and holds at the ends; a number that is not one becomes 0.
    (256.0 * (x + 0.5)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Padding;

    const KEY: Key = Key { seed: 5, step: 1, stream: stream::AUGMENT };

    #[test]
    fn dequantised_numbers_are_the_published_formula() {
        let bytes: Vec<u8> = (0..=255).collect();
        let noise = KEY.uniforms(256);
        for ((x, byte), noise) in dequantize(&bytes, 8, KEY).into_iter().zip(&bytes).zip(noise) {
            let x = Scale::default().apply(x, 0);
            let x01 = f64::from(*byte) / 255.0;
            let expected = (255.0 * x01 + f64::from(noise)) / 256.0 - 0.5;
            // One rounding of a sum below 256.
            assert!((f64::from(x) - expected).abs() < 2e-7, "{byte}: {x}, expected {expected}");
            assert!((-0.5..=0.5).contains(&x));
        }
    }

    #[test]
    fn bytes_come_back() {
        for byte in 0..=255 {
            assert_eq!(to_byte(unit(byte, 8) - 0.5), byte);
            assert!(dequantize(&[byte; 64], 8, KEY).into_iter().all(|x| to_byte(x - 0.5) == byte));
        }
        assert_eq!([f32::NAN, -9.0, 9.0].map(to_byte), [0, 0, 255]);
    }

    fn grey() -> Dataset {
        let bytes = (0..5 * 16).map(|k| (3 * k) as u8).collect();
        Dataset::from_bytes("grey", Split::Test, [1, 4, 4], bytes, vec![0, 1, 2, 3, 4], 5)
    }

    #[test]
    fn a_training_batch_depends_on_seed_and_step_only() {
        let augment = Some(Augment { shift: 1, padding: Padding::Symmetric, flip: true });
        let prepare = Prepare { pad: 2, augment, dequantize: true, ..Prepare::default() };
        let batch = prepare.batch(&grey(), &[3, 1], 7, 10);
        assert_eq!(batch.x.shape().extents(), [2, 1, 8, 8]);
        assert_eq!(batch, prepare.batch(&grey(), &[3, 1], 7, 10));
        assert_ne!(batch, prepare.batch(&grey(), &[3, 1], 7, 11));
        assert_ne!(batch, prepare.batch(&grey(), &[3, 1], 8, 10));
    }

    #[test]
    fn the_noise_of_an_evaluation_does_not_depend_on_the_batch() {
        let prepare = Prepare { dequantize: true, ..Prepare::default() };
        let pair = prepare.eval_batch(&grey(), &[2, 4], 7);
        let single = prepare.eval_batch(&grey(), &[4], 7);
        assert_eq!(pair.x.row(1), single.x.row(0));
        assert_ne!(pair.x.row(1), prepare.eval_batch(&grey(), &[4], 8).x.row(0));
    }

    #[test]
    fn an_evaluation_is_not_augmented() {
        let augment = Some(Augment { shift: 2, padding: Padding::Zero, flip: true });
        let prepare = Prepare { augment, ..Prepare::default() };
        let expected: Vec<f32> = grey().bytes(&[0, 1]).unwrap().into_iter().map(|byte| unit(byte, 8) - 0.5).collect();
        assert_eq!(prepare.eval_batch(&grey(), &[0, 1], 7).x.data(), expected);
    }

    #[test]
    fn drawn_points_are_fresh_at_every_training_step() {
        let moons = Dataset::from_toy(crate::data::toy::Toy::Moons, Split::Train);
        let prepare = Prepare::default();
        assert_ne!(prepare.batch(&moons, &[0, 1], 7, 0).x, prepare.batch(&moons, &[0, 1], 7, 1).x);
        assert_eq!(prepare.eval_batch(&moons, &[0, 1], 7), prepare.eval_batch(&moons, &[0, 1], 7));
    }

    /// Draws in the tests of moments; bounds are five standard errors, and the draws are fixed.
    const DRAWS: usize = 60_000;
    const STANDARD_ERRORS: f64 = 5.0;

    #[test]
    fn noise_fills_each_level_evenly() {
        for bits in 1..=8 {
            let byte = 0b1011_0110;
            let values = dequantize(&vec![byte; DRAWS], bits, KEY);
            let (levels, level) = (f64::from(1_u32 << bits), f64::from(byte >> (8 - bits)));
            let noise: Vec<f64> = values.iter().map(|&value| f64::from(value) * levels - level).collect();
            assert!(noise.iter().all(|noise| (0.0..=1.0).contains(noise)), "{bits} bits");
            // The mean and the mean square of a uniform number, whose variances are 1/12 and 4/45.
            for (power, expected, variance) in [(1, 1.0 / 2.0, 1.0 / 12.0), (2, 1.0 / 3.0, 4.0 / 45.0_f64)] {
                let mean = noise.iter().map(|noise| noise.powi(power)).sum::<f64>() / DRAWS as f64;
                let bound = STANDARD_ERRORS * (variance / DRAWS as f64).sqrt();
                assert!((mean - expected).abs() < bound, "{bits} bits, moment {power}: {mean}, expected {expected}");
            }
        }
    }

    #[test]
    fn fewer_bits_are_the_high_bits() {
        let prepare = Prepare { bits: 2, ..Prepare::default() };
        let set = Dataset::from_bytes("bytes", Split::Train, [1, 1, 4], vec![63, 64, 191, 255], Vec::new(), 0);
        assert_eq!(prepare.eval_batch(&set, &[0], 7).x.data(), [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0].map(|v: f32| v - 0.5));
        let noisy = Prepare { dequantize: true, ..prepare }.eval_batch(&set, &[0], 7);
        for (x, level) in noisy.x.data().iter().zip([0.0, 1.0, 2.0, 3.0]) {
            assert!(((level / 4.0 - 0.5)..=((level + 1.0) / 4.0 - 0.5)).contains(x), "{x}, level {level}");
        }
    }

    #[test]
    fn repeated_channels_have_one_image_and_noise_of_their_own() {
        let plain = Prepare { copies: 3, pad: 1, ..Prepare::default() };
        let batch = plain.eval_batch(&grey(), &[2, 4], 7);
        assert_eq!(batch.x.shape().extents(), [2, 3, 6, 6]);
        let sample = batch.x.row(1);
        assert_eq!((&sample[..36], &sample[36..72]), (&sample[36..72], &sample[72..]));
        let single = Prepare { copies: 1, ..plain }.eval_batch(&grey(), &[4], 7);
        assert_eq!(&sample[..36], single.x.data());
        let noisy = Prepare { dequantize: true, ..plain }.eval_batch(&grey(), &[4], 7);
        let channels: Vec<&[f32]> = noisy.x.data().chunks(36).collect();
        assert!(channels[0] != channels[1] && channels[1] != channels[2]);
        assert!(noisy.x.data().iter().zip(sample).all(|(a, b)| to_byte(*a) == to_byte(*b)));
        let augment = Some(Augment { shift: 2, padding: Padding::Symmetric, flip: true });
        let changed = Prepare { augment, ..plain }.batch(&grey(), &[0, 1, 2], 7, 3);
        for sample in changed.x.data().chunks(3 * 36) {
            assert_eq!((&sample[..36], &sample[36..72]), (&sample[36..72], &sample[72..]));
        }
    }

    #[test]
    fn classifiers_of_cifar_see_the_published_scale_and_come_back() {
        let mut config = Config::default();
        config.data.name = "cifar10".into();
        let scale = Scale::of(&config);
        // ToTensor and Normalize of a white pixel.
        for (channel, (mean, deviation)) in
            [(0.4914, 0.2023), (0.4822, 0.1994), (0.4465, 0.2010)].into_iter().enumerate()
        {
            assert_eq!(scale.apply(1.0, channel), (1.0 - mean) / deviation);
            assert!((scale.undo(scale.apply(0.3, channel), channel) - 0.3).abs() < 1e-6, "two roundings");
        }
        let set = Dataset::from_bytes("cifar10", Split::Train, [3, 1, 2], vec![0, 255, 0, 255, 0, 255], vec![1], 2);
        let x = Prepare { scale, ..Prepare::default() }.batch(&set, &[0], 7, 0).x.into_data();
        let expected: Vec<f32> = (0..6).map(|k| scale.apply((k % 2) as f32, k / 2)).collect();
        assert_eq!(x, expected);
        let mut picture = vec![0.5, -0.5, 0.5, -0.5, 0.25, 0.0];
        let before = picture.clone();
        scale.from_centred(&mut picture, [3, 1, 2]);
        assert_eq!((picture[0], picture[3]), (scale.apply(1.0, 0), scale.apply(0.0, 1)));
        scale.to_centred(&mut picture, [3, 1, 2]);
        assert!(picture.iter().zip(before).all(|(a, b)| (a - b).abs() < 1e-6), "two roundings: {picture:?}");
        config.data.normalize = false;
        assert_eq!(Scale::of(&config), Scale::default());
        config.data.normalize = true;
        config.model.kind = Kind::Density;
        assert_eq!(Scale::of(&config), Scale::default());
    }

    #[test]
    fn arrays_are_changed_only_where_asked_for() {
        let floats: Vec<f32> = (0..32).map(|k| k as f32 * 3.5 - 40.0).collect();
        let set = Dataset::from_floats("floats", Split::Train, [1, 4, 4], floats.clone(), Vec::new(), 0);
        assert_eq!(Prepare::default().batch(&set, &[0, 1], 7, 0).x.data(), floats);
        let noisy = Prepare { dequantize: true, bits: 5, ..Prepare::default() };
        for x in [noisy.batch(&set, &[0, 1], 7, 0).x, noisy.eval_batch(&set, &[0, 1], 7).x] {
            let noise: Vec<f32> = x.data().iter().zip(&floats).map(|(x, float)| 32.0 * (x - float)).collect();
            assert!(noise.iter().all(|noise| (-1e-3..=1.001).contains(noise)), "{noise:?}");
            assert_ne!(noise[..16], noise[16..]);
        }
    }
}
