//! Random changes of training images: shifts and mirror images.
//!
//! A shift by at most n pixels along each axis is what the published code does as padding by n on all sides and cropping
//! to the old size at a random place: with [`Padding::Symmetric`] the padding is the image mirrored at its border.

use crate::config::keys::{section, words};
use crate::random::{Key, below};

/// What the pixels are that a shift brings in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// 0: black.
    #[default]
    Zero,
    /// The image mirrored at its border, the border pixel itself repeated (as published for CIFAR).
    Symmetric,
}

/// Random changes of training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Largest shift along each axis, in pixels; each of the 2 `shift` + 1 is equally likely.
    pub shift: usize,
    /// What a shift brings in.
    pub padding: Padding,
    /// Whether half of the images are mirrored left to right.
    pub flip: bool,
}

words! { Padding: Zero "zero" Symmetric "symmetric" }

section! {
    Augment: shift padding flip
}

impl Augment {
    /// What is usual for the set `name`, where anything is: for CIFAR padding by 4 with the mirrored border, cropping to
    /// the old size and flipping, as in the published code, for densities too; for MNIST shifts of up to 2 pixels; for
    /// Fashion-MNIST these and flipping.
    pub fn usual(name: &str) -> Option<Self> {
        match name {
            "cifar10" | "cifar100" => Some(Self { shift: 4, padding: Padding::Symmetric, flip: true }),
            "mnist" => Some(Self { shift: 2, padding: Padding::Zero, flip: false }),
            "fashion-mnist" | "fashion-mnist-mini" => Some(Self { shift: 2, padding: Padding::Zero, flip: true }),
            _ => None,
        }
    }

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
            // Where each pixel of a row comes from, once for all rows and channels.
            let columns: Vec<Option<usize>> = (0..width)
                .map(|column| if mirror { width - 1 - column } else { column })
                .map(|column| self.source(column as isize - right, width))
                .collect();
            for plane in sample.chunks_exact(height * width) {
                for row in 0..height {
                    match self.source(row as isize - down, height) {
                        Some(row) => {
                            let pixels = &plane[row * width..][..width];
                            changed
                                .extend(columns.iter().map(|column| column.map_or_else(T::default, |at| pixels[at])));
                        }
                        None => changed.extend(std::iter::repeat_n(T::default(), width)),
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

pub(super) fn padded([channels, height, width]: [usize; 3], margin: usize) -> [usize; 3] {
    [channels, height + 2 * margin, width + 2 * margin]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;

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

    /// Padding a plane symmetrically, one pixel around at a time, until it is wide enough: the definition, with copies.
    fn framed(plane: &[Vec<u8>], margin: usize, padding: Padding) -> Vec<Vec<u8>> {
        let line = |line: &[u8]| -> Vec<u8> {
            let mirrored: Vec<u8> = line.iter().rev().copied().collect();
            let beyond = match padding {
                Padding::Zero => vec![0; margin],
                // As many copies as it takes, back and forth.
                Padding::Symmetric => [mirrored, line.to_vec()].concat().repeat(margin)[..margin].to_vec(),
            };
            let before: Vec<u8> = match padding {
                Padding::Zero => beyond.clone(),
                Padding::Symmetric => {
                    let forth: Vec<u8> = [line.to_vec(), line.iter().rev().copied().collect()].concat().repeat(margin);
                    forth[..margin].iter().rev().copied().collect()
                }
            };
            [before, line.to_vec(), beyond].concat()
        };
        let rows: Vec<Vec<u8>> = plane.iter().map(|row| line(row)).collect();
        let columns: Vec<Vec<u8>> =
            (0..rows[0].len()).map(|x| line(&rows.iter().map(|row| row[x]).collect::<Vec<u8>>())).collect();
        (0..columns[0].len()).map(|y| columns.iter().map(|column| column[y]).collect()).collect()
    }

    #[test]
    fn changes_are_padding_cropping_and_flipping_whatever_the_shape() {
        let shapes = [[1, 1, 1], [1, 2, 5], [3, 5, 2], [2, 7, 7], [3, 8, 6]];
        for (number, shape) in shapes.into_iter().enumerate() {
            let [channels, height, width] = shape;
            for padding in [Padding::Zero, Padding::Symmetric] {
                for shift in [0, 1, 4, 9] {
                    let augment = Augment { shift, padding, flip: true };
                    let key = Key::new(3, number as u32, shift as u32);
                    let samples: Vec<u8> = (0..6 * channels * height * width).map(|k| (k * 37 % 251) as u8).collect();
                    let changed = augment.apply(&samples, shape, key);
                    let planes = samples.chunks(height * width).zip(changed.chunks(height * width));
                    for (index, (plane, changed)) in planes.enumerate() {
                        let sample = 4 * (index / channels) as u32;
                        let draw = |which: u32, bound: u32| below(key, sample + which, bound) as usize;
                        // A shift down by n shows what the crop from n rows higher shows.
                        let top = 2 * shift - draw(0, 2 * shift as u32 + 1);
                        let left = 2 * shift - draw(1, 2 * shift as u32 + 1);
                        let rows: Vec<Vec<u8>> = plane.chunks(width).map(<[u8]>::to_vec).collect();
                        let framed = framed(&rows, shift, padding);
                        let mut crop: Vec<Vec<u8>> =
                            framed[top..top + height].iter().map(|row| row[left..left + width].to_vec()).collect();
                        if draw(2, 2) == 1 {
                            crop.iter_mut().for_each(|row| row.reverse());
                        }
                        assert_eq!(changed, crop.concat(), "{shape:?}, {augment:?}, plane {index}");
                    }
                }
            }
        }
    }
}
