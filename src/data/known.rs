//! The table of stored sets: what is published about each, as constants.

use super::cifar::Labels;

/// A set of images in official files.
pub(super) struct Known {
    pub(super) name: &'static str,
    /// Number of training and of test images.
    pub(super) images: [usize; 2],
    /// Channels, height, width.
    pub(super) shape: [usize; 3],
    pub(super) classes: &'static [&'static str],
    pub(super) licence: &'static str,
    pub(super) format: Format,
    /// The files of the training split.
    pub(super) train: &'static [Part],
    /// The files of the test split.
    pub(super) test: &'static [Part],
    /// The archive that the files are published in, if they are not published one by one.
    pub(super) archive: Option<Archive>,
    /// Where the files, or the archive, can be got: each is the address of a folder; the first that answers is used.
    pub(super) addresses: &'static [&'static str],
    /// Mean and standard deviation of each channel of the training images, in [0, 1], with which classifiers are
    /// published.
    pub(super) moments: Option<[[f32; 3]; 2]>,
    /// The gzipped files, where they are part of the program: of the training split, then of the test split.
    pub(super) embedded: Option<[&'static [u8]; 4]>,
}

/// How a set's files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A file of images and a file of labels ([`idx`](super::idx)), each plain or gzipped.
    Idx,
    /// Files of records of labels and an image ([`cifar`](super::cifar)).
    Cifar(Labels),
}

/// An official file.
pub(super) struct Part {
    pub(super) file: &'static str,
    /// MD5 of its uncompressed content, where one is published.
    pub(super) md5: Option<&'static str>,
    /// BLAKE3 of the same content, computed once of the file with the published MD5.
    pub(super) blake3: Option<&'static str>,
}

/// An archive as published.
pub(super) struct Archive {
    pub(super) file: &'static str,
    /// The folder in it.
    pub(super) folder: &'static str,
    /// MD5 of the archive itself, as published.
    pub(super) md5: &'static str,
}

impl Known {
    /// The parts of both splits.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'static Part> {
        self.train.iter().chain(self.test)
    }
}

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const CLOTHES: &[&str] =
    &["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];
const OBJECTS: &[&str] = &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// The fine classes of CIFAR-100.
const THINGS: &[&str] = &[
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
];
/// The coarse class of each fine class of CIFAR-100.
pub(super) const KIND_OF: [u8; 100] = [
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10,
    12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16,
    12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14,
    13,
];

#[cfg(feature = "cli")]
const MINI: Option<[&[u8]; 4]> = Some([
    include_bytes!("../../assets/fashion-mnist-mini/train-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/fashion-mnist-mini/train-labels-idx1-ubyte.gz"),
    include_bytes!("../../assets/fashion-mnist-mini/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/fashion-mnist-mini/t10k-labels-idx1-ubyte.gz"),
]);
#[cfg(not(feature = "cli"))]
const MINI: Option<[&[u8]; 4]> = None;

const NOT_STATED: &str = "not stated by its authors (LeCun, Cortes, Burges); fetch, do not redistribute";
const KRIZHEVSKY: &str = "not stated by its authors (Krizhevsky, Nair, Hinton); fetch, do not redistribute";

/// Every stored set.
pub(super) const KNOWN: [Known; 5] = [
    Known {
        name: "fashion-mnist-mini",
        images: [2_000, 500],
        shape: [1, 28, 28],
        classes: CLOTHES,
        licence: "MIT, Copyright 2017 Zalando SE",
        format: Format::Idx,
        // The digests are those of the committed files; the first images of each class of the official ones.
        train: &[
            Part {
                file: "train-images-idx3-ubyte",
                md5: Some("fc2dd2cd627f464cd717afe5a3ddc438"),
                blake3: Some("f5143ce6ccdae94427d6d7ddd1149fabd6fb5b5cf75a877ff577fa8b906f05ff"),
            },
            Part {
                file: "train-labels-idx1-ubyte",
                md5: Some("f2751a24eee86e9a35eee15ce0688f0d"),
                blake3: Some("3d29e5ba76ca2bcfad49c03aed2d36e3216f22c0ea6e2f565eb544f6ab2f1304"),
            },
        ],
        test: &[
            Part {
                file: "t10k-images-idx3-ubyte",
                md5: Some("11dd45a03b42d5ec35028c55043cb759"),
                blake3: Some("80267fc3ebc8f6efb78ecc7f3e57a7dd384d60348f746ad6cdcf1575fbec7c60"),
            },
            Part {
                file: "t10k-labels-idx1-ubyte",
                md5: Some("5a0a86476c6e811c477bdf994db101cc"),
                blake3: Some("23189a6bc0ff34bca2943f93c966238452399cd103979a452ba573a949c7d428"),
            },
        ],
        archive: None,
        addresses: &[],
        moments: None,
        embedded: MINI,
    },
    Known {
        name: "fashion-mnist",
        images: [60_000, 10_000],
        shape: [1, 28, 28],
        classes: CLOTHES,
        licence: "MIT, Copyright 2017 Zalando SE",
        format: Format::Idx,
        train: &[
            Part {
                file: "train-images-idx3-ubyte",
                md5: Some("f4a8712d7a061bf5bd6d2ca38dc4d50a"),
                blake3: Some("feaca08b36e07f8d504641a929bff1554884ef73964323e44e59e39a986b4c9e"),
            },
            Part {
                file: "train-labels-idx1-ubyte",
                md5: Some("9018921c3c673c538a1fc5bad174d6f9"),
                blake3: Some("b4d9ea8013b029ef778c95ea7de31195ef443589877589523ad330db2829ebd6"),
            },
        ],
        test: &[
            Part {
                file: "t10k-images-idx3-ubyte",
                md5: Some("8181f5470baa50b63fa0f6fddb340f0a"),
                blake3: Some("a19b8c1e5f798e5a6fa7229093b630c04a620179497a1fa3a71e7334fb59a30b"),
            },
            Part {
                file: "t10k-labels-idx1-ubyte",
                md5: Some("15d484375f8d13e6eb1aabb0c3f46965"),
                blake3: Some("0a067399ed18bcc9d7dc26832b3b8e4481abf2d33fee04c611e90b9061296b90"),
            },
        ],
        archive: None,
        addresses: &[
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ],
        moments: None,
        embedded: None,
    },
    Known {
        name: "mnist",
        images: [60_000, 10_000],
        shape: [1, 28, 28],
        classes: DIGITS,
        licence: NOT_STATED,
        format: Format::Idx,
        train: &[
            Part {
                file: "train-images-idx3-ubyte",
                md5: Some("6bbc9ace898e44ae57da46a324031adb"),
                blake3: Some("c6e6fd8c67d07c8a9b7bffa7dd0413ff4b8af241607b049b7721107f379df9fd"),
            },
            Part {
                file: "train-labels-idx1-ubyte",
                md5: Some("a25bea736e30d166cdddb491f175f624"),
                blake3: Some("8ebcfdf2fe191516f9cb37fceb75d2d19289d91ee92026534ed45e44144b5642"),
            },
        ],
        test: &[
            Part {
                file: "t10k-images-idx3-ubyte",
                md5: Some("2646ac647ad5339dbf082846283269ea"),
                blake3: Some("f8d502322cd9f186e155a74a3dff598ed56c1a7b5a5c8d312749ac47c4a2bec7"),
            },
            Part {
                file: "t10k-labels-idx1-ubyte",
                md5: Some("27ae3e4e09519cfbb04c329615203637"),
                blake3: Some("6d43ea317fa8f5851bb85404bb7358defd48b0294cf31f60cdcde8106fe2c3ad"),
            },
        ],
        archive: None,
        addresses: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ],
        moments: None,
        embedded: None,
    },
    Known {
        name: "cifar10",
        images: [50_000, 10_000],
        shape: [3, 32, 32],
        classes: OBJECTS,
        licence: KRIZHEVSKY,
        format: Format::Cifar(Labels::One),
        train: &[
            Part { file: "data_batch_1.bin", md5: Some("5dd7e06a14cb22eb9f671a540d1b7c25"), blake3: None },
            Part { file: "data_batch_2.bin", md5: Some("5ea93a67294ea407fff1d09f752e9692"), blake3: None },
            Part { file: "data_batch_3.bin", md5: Some("942cd6a4bcdd0dd3c604fbe906cb4421"), blake3: None },
            Part { file: "data_batch_4.bin", md5: Some("ae636b3ba5c66a11e91e8cb52e771fcb"), blake3: None },
            Part { file: "data_batch_5.bin", md5: Some("53f37980c15c3d472c316c40844f3f0d"), blake3: None },
        ],
        test: &[Part { file: "test_batch.bin", md5: Some("803d5f7f4d78ea53de84dbe85f74fb6d"), blake3: None }],
        archive: Some(Archive {
            file: "cifar-10-binary.tar.gz",
            folder: "cifar-10-batches-bin",
            md5: "c32a1d4ab5d03f1284b67883e8d87530",
        }),
        addresses: &["https://www.cs.toronto.edu/~kriz"],
        moments: Some([[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]]),
        embedded: None,
    },
    Known {
        name: "cifar100",
        images: [50_000, 10_000],
        shape: [3, 32, 32],
        classes: THINGS,
        licence: KRIZHEVSKY,
        format: Format::Cifar(Labels::CoarseAndFine),
        train: &[Part { file: "train.bin", md5: None, blake3: None }],
        test: &[Part { file: "test.bin", md5: None, blake3: None }],
        archive: Some(Archive {
            file: "cifar-100-binary.tar.gz",
            folder: "cifar-100-binary",
            md5: "03b5dce01913d631647c71ecec9e9cb8",
        }),
        addresses: &["https://www.cs.toronto.edu/~kriz"],
        moments: Some([[0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]]),
        embedded: None,
    },
];
