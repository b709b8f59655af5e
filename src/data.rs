//! Data: image sets, two-dimensional sets, and what happens to them before they enter a network.
//!
//! * [`arrays`]: samples from a file of arrays; `folder`: pictures in a folder
//! * [`mod@catalogue`]: which sets there are, where their files are looked for, reading and verifying them
//! * [`idx`], [`cifar`]: the file formats of MNIST and Fashion-MNIST, and of CIFAR; `archive`: files in a `.tar.gz`
//! * `verify`, `fetch`: comparing files with the official ones, and getting them
//! * [`toy`]: samplers of two-dimensional densities
//! * [`batches`]: which images make up the batch of a step
//! * [`prepare`], [`augment`]: padding, augmentation, dequantisation, scale
//! * [`source`]: all that as a configuration asks for it; [`ahead`]: batches made before they are needed
//!
//! A batch is a pure function of (seed, step): order, augmentation and noise come from the counter generator
//! ([`crate::random`]), so a resumed run sees exactly what the uninterrupted one would have seen, and several machines
//! agree without talking. Only `fetch` downloads, and only it writes.

pub mod ahead;
#[cfg(feature = "cli")]
pub mod archive;
#[cfg(feature = "cli")]
pub mod arrays;
pub mod augment;
pub mod batches;
pub mod catalogue;
pub mod cifar;
#[cfg(feature = "cli")]
pub mod fetch;
#[cfg(feature = "cli")]
pub mod folder;
pub mod idx;
#[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "digests are compared by the program only"))]
mod known;
pub mod prepare;
pub mod source;
pub mod toy;
#[cfg(feature = "cli")]
pub mod verify;

use std::sync::Arc;

pub use ahead::Ahead;
pub use augment::{Augment, Padding};
pub use batches::{Batches, EvalBatch, eval_batches, indices};
pub use catalogue::{Entry, catalogue, load, load_from};
pub use prepare::{Prepare, Scale};
#[cfg(feature = "cli")]
pub use verify::{Verified, verify, verify_in};

use crate::random::{Key, stream};
use crate::tensor::Tensor;
use toy::Toy;

/// Which part of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// For training.
    Train,
    /// Held back.
    Test,
}

impl Split {
    /// The part's name in configurations and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// Where the elements of a set come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// One byte an element; 0 to 255 stand for 0 to 1.
    Bytes(Arc<[u8]>),
    /// Numbers taken as they are.
    Floats(Arc<[f32]>),
    /// Points drawn when asked for.
    Drawn(Toy),
}

/// One split of one set. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    split: Split,
    shape: [usize; 3],
    elements: Elements,
    labels: Arc<[u32]>,
    classes: usize,
    /// Coarse labels and the number of their classes, where the set has them.
    coarse: Option<(Arc<[u32]>, usize)>,
    /// Number of points that count as an epoch of a drawn set.
    drawn: usize,
}

/// Samples ready for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The samples, [N, C, H, W].
    pub x: Tensor,
    /// Their classes, N numbers; empty for a set without classes.
    pub labels: Vec<u32>,
}

/// Number of points that stand for one epoch of a drawn set, unless it is limited.
const DRAWN_EPOCH: usize = 10_000;

impl Dataset {
    /// A set of images of bytes, `shape` = [C, H, W]. `labels` is empty where `classes` is 0.
    #[track_caller]
    pub fn from_bytes(
        name: impl Into<String>,
        split: Split,
        shape: [usize; 3],
        bytes: Vec<u8>,
        labels: Vec<u32>,
        classes: usize,
    ) -> Self {
        check(shape, bytes.len(), &labels, classes);
        Self {
            name: name.into(),
            split,
            shape,
            elements: Elements::Bytes(bytes.into()),
            labels: labels.into(),
            classes,
            coarse: None,
            drawn: 0,
        }
    }

    /// A set of numbers taken as they are, `shape` = [C, H, W]. `labels` is empty where `classes` is 0.
    #[track_caller]
    pub fn from_floats(
        name: impl Into<String>,
        split: Split,
        shape: [usize; 3],
        floats: Vec<f32>,
        labels: Vec<u32>,
        classes: usize,
    ) -> Self {
        check(shape, floats.len(), &labels, classes);
        let elements = Elements::Floats(floats.into());
        Self { name: name.into(), split, shape, elements, labels: labels.into(), classes, coarse: None, drawn: 0 }
    }

    /// A two-dimensional set, shape [2, 1, 1]. [`Prepare::batch`] draws fresh points for every training step; a point
    /// asked for by its index is always the same, so that an evaluation can be repeated. The length, 10,000 or
    /// what [`limit`](Self::limit) says, is only a convention of what an epoch is.
    pub fn from_toy(toy: Toy, split: Split) -> Self {
        let name = format!("toy:{}", toy.name());
        let elements = Elements::Drawn(toy);
        let labels = Arc::new([]);
        Self { name, split, shape: [2, 1, 1], elements, labels, classes: 0, coarse: None, drawn: DRAWN_EPOCH }
    }

    /// The same set with coarse labels beside its own: one a sample, each below `classes`.
    #[track_caller]
    pub(crate) fn with_coarse(self, labels: Vec<u32>, classes: usize) -> Self {
        check(self.shape, self.len() * self.dim(), &labels, classes);
        Self { coarse: Some((labels.into(), classes)), ..self }
    }

    /// The same samples with their coarse labels as the labels; `None` for a set that has none.
    pub fn coarse(&self) -> Option<Self> {
        let (labels, classes) = self.coarse.clone()?;
        Some(Self { labels, classes, coarse: None, ..self.clone() })
    }

    /// The set's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which part of the set this is.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Channels, height, width of a sample.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Numbers in a sample: the product of its shape.
    pub fn dim(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        match &self.elements {
            Elements::Bytes(bytes) => bytes.len() / self.dim(),
            Elements::Floats(floats) => floats.len() / self.dim(),
            Elements::Drawn(_) => self.drawn,
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of classes, 0 for none.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of every sample; empty for a set without classes.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Where the elements come from.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Only the first `len` samples, or all if there are fewer. A drawn set has no end: it gets exactly `len`.
    pub fn limit(&self, len: usize) -> Self {
        let mut limited = self.clone();
        let cut = len.min(self.len());
        match &self.elements {
            Elements::Bytes(bytes) => limited.elements = Elements::Bytes(bytes[..cut * self.dim()].into()),
            Elements::Floats(floats) => limited.elements = Elements::Floats(floats[..cut * self.dim()].into()),
            Elements::Drawn(_) => limited.drawn = len,
        }
        limited.labels = self.labels[..cut.min(self.labels.len())].into();
        limited.coarse = self.coarse.as_ref().map(|(labels, classes)| (labels[..cut].into(), *classes));
        limited
    }

    /// The samples at `indices` without any preparation: bytes as numbers in [0, 1], others as they are.
    #[track_caller]
    pub fn batch(&self, indices: &[u32]) -> Batch {
        let x = match &self.elements {
            Elements::Bytes(bytes) => {
                self.gather(bytes, indices).into_iter().map(|byte| f32::from(byte) / 255.0).collect()
            }
            Elements::Floats(floats) => self.gather(floats, indices),
            Elements::Drawn(toy) => indices.iter().flat_map(|&index| toy.point(self.fixed_key(), index)).collect(),
        };
        Batch { x: self.tensor(indices.len(), x), labels: self.labels_at(indices) }
    }

    /// The bytes of the samples at `indices`; `None` for a set that is not stored as bytes.
    #[track_caller]
    pub fn bytes(&self, indices: &[u32]) -> Option<Vec<u8>> {
        match &self.elements {
            Elements::Bytes(bytes) => Some(self.gather(bytes, indices)),
            Elements::Floats(_) | Elements::Drawn(_) => None,
        }
    }

    /// The labels at `indices`; empty for a set without classes.
    #[track_caller]
    pub fn labels_at(&self, indices: &[u32]) -> Vec<u32> {
        if self.labels.is_empty() {
            return Vec::new();
        }
        indices.iter().map(|&index| self.labels[index as usize]).collect()
    }

    #[track_caller]
    fn gather<T: Copy>(&self, from: &[T], indices: &[u32]) -> Vec<T> {
        let dim = self.dim();
        let mut gathered = Vec::with_capacity(dim * indices.len());
        for &index in indices {
            let start = index as usize * dim;
            assert!(start + dim <= from.len(), "sample {index} of {}, which has {}", self.name, self.len());
            gathered.extend_from_slice(&from[start..start + dim]);
        }
        gathered
    }

    fn tensor(&self, count: usize, data: Vec<f32>) -> Tensor {
        let [channels, height, width] = self.shape;
        Tensor::new([count, channels, height, width], data)
    }

    /// The key of the points that a drawn set always has: another one for each split, and none that a training step uses,
    /// which count up from 0.
    fn fixed_key(&self) -> Key {
        let step = match self.split {
            Split::Train => 0xff_ffff,
            Split::Test => 0xff_fffe,
        };
        Key::new(0, step, stream::TOY)
    }
}

#[track_caller]
fn check(shape: [usize; 3], elements: usize, labels: &[u32], classes: usize) {
    let dim: usize = shape.iter().product();
    assert!(dim > 0 && elements.is_multiple_of(dim), "{elements} elements are not whole samples of shape {shape:?}");
    let labelled = if classes == 0 { 0 } else { elements / dim };
    assert_eq!(labels.len(), labelled, "{} labels for {} samples, {classes} classes", labels.len(), elements / dim);
    assert!(labels.iter().all(|&label| (label as usize) < classes), "a label is not below {classes}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Dataset {
        Dataset::from_bytes("three", Split::Train, [1, 1, 2], vec![0, 51, 102, 153, 204, 255], vec![2, 0, 1], 3)
    }

    #[test]
    fn a_batch_holds_the_samples_asked_for_in_their_order() {
        let batch = three().batch(&[2, 0, 2]);
        assert_eq!(batch.x, Tensor::new([3, 1, 1, 2], vec![0.8, 1.0, 0.0, 0.2, 0.8, 1.0]));
        assert_eq!(batch.labels, [1, 2, 1]);
        assert_eq!(three().bytes(&[1]).unwrap(), [102, 153]);
    }

    #[test]
    fn a_limited_set_is_the_beginning() {
        let two = three().limit(2);
        assert_eq!((two.len(), two.labels()), (2, &[2, 0][..]));
        assert_eq!(two.batch(&[1]), three().batch(&[1]));
        assert_eq!(three().limit(100).len(), 3);
    }

    #[test]
    fn numbers_are_taken_as_they_are() {
        let set = Dataset::from_floats("floats", Split::Test, [1, 1, 1], vec![-7.5, 3.0], Vec::new(), 0);
        let batch = set.batch(&[1, 0]);
        assert_eq!((batch.x.data(), batch.labels.len()), (&[3.0, -7.5][..], 0));
    }

    #[test]
    fn a_drawn_set_repeats_its_points_and_its_splits_differ() {
        let [train, test] = [Split::Train, Split::Test].map(|split| Dataset::from_toy(Toy::Moons, split));
        assert_eq!(train.batch(&[5, 6]), train.batch(&[5, 6]));
        assert_ne!(train.batch(&[5]), test.batch(&[5]));
        assert_eq!(train.batch(&[5, 6]).x.shape().extents(), [2, 2, 1, 1]);
        assert_eq!(train.limit(25_600).len(), 25_600, "a drawn set has no end");
        assert_eq!(train.limit(7).batch(&[5, 6]), train.batch(&[5, 6]));
    }

    #[test]
    #[should_panic(expected = "sample 3 of three, which has 3")]
    fn a_sample_beyond_the_end_is_a_programmer_error() {
        three().batch(&[3]);
    }
}
