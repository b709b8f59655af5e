//! From stored samples to the input of a network.
//!
//! Bytes go through, in this order:
//! 1. padding with black on all sides (the published density models of MNIST pad 28×28 to 32×32)
//! 2. augmentation, in training only: a random shift of up to `n` pixels, and a random mirror image. A shift by `n` is
//!    what the published code does as padding by `n` and cropping to the old size at a random place
//! 3. to numbers: `(p + u) / 256 − ½` with u uniform on [0, 1) if dequantised, so that a density over real numbers bounds
//!    one over bytes (the published `(255 x + u) / 256 − ½`); else `p / 255 − ½`
//!
//! Numbers taken as they are (floats, drawn points) are padded and augmented, and not scaled.
//!
//! Dequantisation noise is fresh at every step of training. In evaluation it depends on the seed and the sample only, not
//! on the batch the sample happens to be in.

use crate::data::{Batch, Dataset, Elements, Split};
use crate::random::{Key, below, stream};
use crate::tensor::Tensor;

/// What the pixels are that a shift brings in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// 0: black.
    Zero,
    /// The image mirrored at its border, the border pixel itself repeated (as published for CIFAR).
    Symmetric,
}

/// Random changes of training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augment {
    /// Largest shift along each axis, in pixels; each of the 2 `shift` + 1 is equally likely.
    pub shift: usize,
    /// What a shift brings in.
    pub padding: Padding,
    /// Whether half of the images are mirrored left to right.
    pub flip: bool,
}

/// How samples become the input of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepare {
    /// Black pixels added on each of the four sides.
    pub pad: usize,
    /// Random changes in training, if any.
    pub augment: Option<Augment>,
    /// Whether noise is added to bytes.
    pub dequantize: bool,
}

impl Prepare {
    /// Shape of the prepared samples of `dataset`, [C, H, W].
    pub fn shape(&self, dataset: &Dataset) -> [usize; 3] {
        padded(dataset.shape(), self.pad)
    }

    /// The samples at `indices` for training step `step`: with augmentation, with fresh noise. Of a drawn set these are
    /// as many fresh points.
    #[track_caller]
    pub fn batch(&self, dataset: &Dataset, indices: &[u32], seed: u64, step: u32) -> Batch {
        let x = match dataset.elements() {
            Elements::Bytes(_) => {
                let bytes = self.augmented(&dataset.bytes(indices).expect("bytes"), dataset, seed, step);
                self.numbers(&bytes, &[Key::new(seed, step, stream::DEQUANTIZE)])
            }
            Elements::Floats(_) => self.augmented(dataset.batch(indices).x.data(), dataset, seed, step),
            Elements::Drawn(toy) => {
                toy.sample(Key::new(seed, step, stream::TOY), indices.len()).into_iter().flatten().collect()
            }
        };
        self.finish(dataset, indices, x)
    }

    /// The samples at `indices` for evaluation: no augmentation, and noise that depends on `seed` and the sample only.
    #[track_caller]
    pub fn eval_batch(&self, dataset: &Dataset, indices: &[u32], seed: u64) -> Batch {
        let x = match dataset.elements() {
            Elements::Bytes(_) => {
                let bytes = pad(&dataset.bytes(indices).expect("bytes"), dataset.shape(), self.pad);
                // The sample's number takes the place of the step; the stream tells the splits apart from training.
                let stream = match dataset.split() {
                    Split::Train => stream::DEQUANTIZE_TRAIN,
                    Split::Test => stream::DEQUANTIZE_TEST,
                };
                let keys: Vec<Key> = indices.iter().map(|&index| Key::new(seed, index, stream)).collect();
                self.numbers(&bytes, &keys)
            }
            Elements::Floats(_) | Elements::Drawn(_) => pad(dataset.batch(indices).x.data(), dataset.shape(), self.pad),
        };
        self.finish(dataset, indices, x)
    }

    fn augmented<T: Copy + Default>(&self, samples: &[T], dataset: &Dataset, seed: u64, step: u32) -> Vec<T> {
        let samples = pad(samples, dataset.shape(), self.pad);
        let key = Key::new(seed, step, stream::AUGMENT);
        match self.augment {
            Some(augment) => augment.apply(&samples, self.shape(dataset), key),
            None => samples,
        }
    }

    /// Bytes to numbers; each of `keys` gives the noise of an equal share of them.
    fn numbers(&self, bytes: &[u8], keys: &[Key]) -> Vec<f32> {
        if !self.dequantize {
            return bytes.iter().map(|&byte| centre(byte)).collect();
        }
        let share = bytes.len() / keys.len().max(1);
        keys.iter().zip(bytes.chunks(share.max(1))).flat_map(|(&key, bytes)| dequantize(bytes, key)).collect()
    }

    fn finish(&self, dataset: &Dataset, indices: &[u32], x: Vec<f32>) -> Batch {
        let [channels, height, width] = self.shape(dataset);
        Batch { x: Tensor::new([indices.len(), channels, height, width], x), labels: dataset.labels_at(indices) }
    }
}

impl Augment {
    /// Changes each sample of [N, C, H, W] on its own; `shape` is [C, H, W]. Sample `i` is shifted and mirrored by random
    /// numbers 4i to 4i + 2 of `key`, all its channels alike.
    #[track_caller]
    pub fn apply<T: Copy + Default>(&self, samples: &[T], shape: [usize; 3], key: Key) -> Vec<T> {
        let [channels, height, width] = shape;
        let dim = channels * height * width;
        assert!(samples.len().is_multiple_of(dim), "{} elements are not whole samples of {shape:?}", samples.len());
        let extreme = self.shift as isize;
        let choices = 2 * self.shift as u32 + 1;
        let mut changed = Vec::with_capacity(samples.len());
        for (number, sample) in samples.chunks_exact(dim).enumerate() {
            let draw = |which: u32, bound: u32| below(key, 4 * number as u32 + which, bound);
            let down = draw(0, choices) as isize - extreme;
            let right = draw(1, choices) as isize - extreme;
            let mirror = self.flip && draw(2, 2) == 1;
            for plane in sample.chunks_exact(height * width) {
                for row in 0..height {
                    for column in 0..width {
                        let column = if mirror { width - 1 - column } else { column };
                        let from_row = self.source(row as isize - down, height);
                        let from_column = self.source(column as isize - right, width);
                        let pixel = from_row.zip(from_column).map(|(row, column)| plane[row * width + column]);
                        changed.push(pixel.unwrap_or_default());
                    }
                }
            }
        }
        changed
    }

    /// The pixel that stands at `place` of an axis that goes on beyond its ends; `None` for black.
    fn source(&self, place: isize, extent: usize) -> Option<usize> {
        let extent = extent as isize;
        match self.padding {
            Padding::Zero => (0..extent).contains(&place).then_some(place as usize),
            Padding::Symmetric => {
                let folded = place.rem_euclid(2 * extent);
                Some(folded.min(2 * extent - 1 - folded) as usize)
            }
        }
    }
}

/// `p / 255 − ½`: the input of classifiers, in [−½, ½].
pub fn centre(byte: u8) -> f32 {
    f32::from(byte) / 255.0 - 0.5
}

/// `(p + u) / 256 − ½` with number i of `key` for element i: the input of density models, in [−½, ½].
pub fn dequantize(bytes: &[u8], key: Key) -> Vec<f32> {
    let noise = key.uniforms(bytes.len());
    bytes.iter().zip(noise).map(|(&byte, noise)| (f32::from(byte) + noise) / 256.0 - 0.5).collect()
}

/// The byte that a number in [−½, ½] shows as: `256 (x + ½)` rounded down, at most 255. It undoes [`dequantize`] and
/// [`centre`] (but for noise within f32's last bit of the next byte).
pub fn to_byte(x: f32) -> u8 {
    // The conversion rounds towards zero and holds at the ends; a number that is not one becomes 0.
    (256.0 * (x + 0.5)) as u8
}

/// `margin` zeros on each of the four sides of each plane of [N, C, H, W]; `shape` is [C, H, W].
pub fn pad<T: Copy + Default>(samples: &[T], shape: [usize; 3], margin: usize) -> Vec<T> {
    if margin == 0 {
        return samples.to_vec();
    }
    let [_, height, width] = shape;
    let [_, tall, wide] = padded(shape, margin);
    let mut result = Vec::with_capacity(samples.len() / (height * width) * tall * wide);
    for plane in samples.chunks_exact(height * width) {
        result.extend(std::iter::repeat_n(T::default(), margin * wide + margin));
        for (row, pixels) in plane.chunks_exact(width).enumerate() {
            let gap = if row + 1 < height { 2 * margin } else { margin + margin * wide };
            result.extend_from_slice(pixels);
            result.extend(std::iter::repeat_n(T::default(), gap));
        }
    }
    result
}

fn padded([channels, height, width]: [usize; 3], margin: usize) -> [usize; 3] {
    [channels, height + 2 * margin, width + 2 * margin]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { seed: 5, step: 1, stream: stream::AUGMENT };

    #[test]
    fn padding_frames_each_plane() {
        let framed = pad(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 3, 2], 1);
        let first = [0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0, 0, 0, 0];
        let second = [0, 0, 0, 0, 0, 7, 8, 0, 0, 9, 10, 0, 0, 11, 12, 0, 0, 0, 0, 0];
        assert_eq!(framed, [first, second].concat());
        assert_eq!(pad(&[1_u8, 2], [1, 1, 2], 0), [1, 2]);
    }

    /// The image that padding by `shift` and cropping at (top, left) gives, written from the definition.
    fn cropped(image: &[u8], side: usize, shift: usize, (top, left): (usize, usize), symmetric: bool) -> Vec<u8> {
        let at = |place: usize| {
            let place = place as isize - shift as isize;
            let mirrored = if place < 0 { -1 - place } else { place.min(2 * side as isize - 1 - place) };
            (place == mirrored || symmetric).then_some(mirrored as usize)
        };
        let pixel = |row, column| at(row).zip(at(column)).map_or(0, |(row, column)| image[row * side + column]);
        (0..side * side).map(|k| pixel(k / side + top, k % side + left)).collect()
    }

    #[test]
    fn a_shift_is_padding_and_cropping_and_all_shifts_occur() {
        let (side, shift) = (4, 2);
        let image: Vec<u8> = (1..=16).collect();
        for padding in [Padding::Zero, Padding::Symmetric] {
            let augment = Augment { shift, padding, flip: false };
            let many = augment.apply(&image.repeat(500), [1, side, side], KEY);
            let mut seen = [false; 25];
            for changed in many.chunks_exact(side * side) {
                let place = (0..25).find(|place| {
                    let corner = (place / 5, place % 5);
                    changed == cropped(&image, side, shift, corner, padding == Padding::Symmetric)
                });
                seen[place.expect("a shift of the image")] = true;
            }
            assert_eq!(seen, [true; 25], "{padding:?}");
        }
    }

    #[test]
    fn half_of_the_images_are_mirrored() {
        let augment = Augment { shift: 0, padding: Padding::Zero, flip: true };
        let changed = augment.apply(&[1_u8, 2, 3].repeat(2000), [1, 1, 3], KEY);
        let mirrored = changed.chunks_exact(3).filter(|image| image == &[3, 2, 1]).count();
        let kept = changed.chunks_exact(3).filter(|image| image == &[1, 2, 3]).count();
        assert_eq!(mirrored + kept, 2000);
        // Five standard errors of 2000 coins.
        assert!(mirrored.abs_diff(1000) < 112, "{mirrored}");
    }

    #[test]
    fn all_channels_of_an_image_move_together() {
        let augment = Augment { shift: 1, padding: Padding::Zero, flip: true };
        let plane: Vec<u8> = (1..=9).collect();
        let changed = augment.apply(&plane.repeat(3 * 20), [3, 3, 3], KEY);
        assert!(changed.chunks_exact(27).all(|image| image[..9] == image[9..18] && image[..9] == image[18..]));
    }

    #[test]
    fn dequantised_numbers_are_the_published_formula() {
        let bytes: Vec<u8> = (0..=255).collect();
        let noise = KEY.uniforms(256);
        for ((x, byte), noise) in dequantize(&bytes, KEY).into_iter().zip(&bytes).zip(noise) {
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
            assert_eq!(to_byte(centre(byte)), byte);
            assert!(dequantize(&[byte; 64], KEY).into_iter().all(|x| to_byte(x) == byte));
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
        let prepare = Prepare { pad: 2, augment, dequantize: true };
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
        let expected: Vec<f32> = grey().bytes(&[0, 1]).unwrap().into_iter().map(centre).collect();
        assert_eq!(prepare.eval_batch(&grey(), &[0, 1], 7).x.data(), expected);
    }

    #[test]
    fn drawn_points_are_fresh_at_every_training_step() {
        let moons = Dataset::from_toy(crate::data::toy::Toy::Moons, Split::Train);
        let prepare = Prepare::default();
        assert_ne!(prepare.batch(&moons, &[0, 1], 7, 0).x, prepare.batch(&moons, &[0, 1], 7, 1).x);
        assert_eq!(prepare.eval_batch(&moons, &[0, 1], 7), prepare.eval_batch(&moons, &[0, 1], 7));
    }
}
