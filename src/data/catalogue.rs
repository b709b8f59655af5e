//! The sets known by name: where their files are looked for, reading and verifying them.
//!
//! Files of a set NAME are looked for in the folder NAME of `$IRESNET_DATA`, if that is set, and of
//! `~/.cache/iresnet/datasets`; the first folder that has any of them is used. They bear their official names, plain or
//! with `.gz`. `fashion-mnist-mini` is part of the program and needs no file; `toy:` sets are drawn
//! ([`toy`](super::toy)).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::toy::Toy;
use super::{Dataset, Split, idx};
use crate::error::{Error, Result};
use crate::nearest;

/// What is known of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The set's name in a configuration.
    pub name: String,
    /// Whether it can be loaded now.
    pub available: bool,
    /// The folder its files are in, or would be put into; `None` for sets without files.
    pub path: Option<PathBuf>,
    /// Number of training and of test images; `None` for drawn sets, which have no end.
    pub images: Option<[usize; 2]>,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Names of the classes; empty for none.
    pub classes: Vec<&'static str>,
    /// Under what terms the set may be used.
    pub licence: &'static str,
}

/// A file that [`verify`] found to be the official one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// BLAKE3 of its uncompressed content.
    pub blake3: String,
    /// MD5 of the uncompressed content as published. It is not computed: BLAKE3 of the same content stands for it.
    pub md5: &'static str,
}

/// A set of images in four IDX files.
struct Known {
    name: &'static str,
    images: [usize; 2],
    side: usize,
    classes: &'static [&'static str],
    licence: &'static str,
    /// Training images, training labels, test images, test labels.
    files: [Official; 4],
    /// The gzipped files, where they are part of the program.
    embedded: Option<[&'static [u8]; 4]>,
}

/// Digests of an official file's uncompressed content.
struct Official {
    md5: &'static str,
    blake3: &'static str,
}

/// Official names of the four files, in the order of [`Known::files`].
const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const CLOTHES: &[&str] =
    &["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

#[cfg(feature = "cli")]
const MINI: Option<[&[u8]; 4]> = Some([
    include_bytes!("../../assets/fashion-mnist-mini/train-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/fashion-mnist-mini/train-labels-idx1-ubyte.gz"),
    include_bytes!("../../assets/fashion-mnist-mini/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/fashion-mnist-mini/t10k-labels-idx1-ubyte.gz"),
]);
#[cfg(not(feature = "cli"))]
const MINI: Option<[&[u8]; 4]> = None;

const KNOWN: [Known; 3] = [
    Known {
        name: "fashion-mnist-mini",
        images: [2_000, 500],
        side: 28,
        classes: CLOTHES,
        licence: "MIT, Copyright 2017 Zalando SE",
        // The MD5s are those of the committed files; the first images of each class of the official ones.
        files: [
            Official {
                md5: "fc2dd2cd627f464cd717afe5a3ddc438",
                blake3: "f5143ce6ccdae94427d6d7ddd1149fabd6fb5b5cf75a877ff577fa8b906f05ff",
            },
            Official {
                md5: "f2751a24eee86e9a35eee15ce0688f0d",
                blake3: "3d29e5ba76ca2bcfad49c03aed2d36e3216f22c0ea6e2f565eb544f6ab2f1304",
            },
            Official {
                md5: "11dd45a03b42d5ec35028c55043cb759",
                blake3: "80267fc3ebc8f6efb78ecc7f3e57a7dd384d60348f746ad6cdcf1575fbec7c60",
            },
            Official {
                md5: "5a0a86476c6e811c477bdf994db101cc",
                blake3: "23189a6bc0ff34bca2943f93c966238452399cd103979a452ba573a949c7d428",
            },
        ],
        embedded: MINI,
    },
    Known {
        name: "fashion-mnist",
        images: [60_000, 10_000],
        side: 28,
        classes: CLOTHES,
        licence: "MIT, Copyright 2017 Zalando SE",
        files: [
            Official {
                md5: "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                blake3: "feaca08b36e07f8d504641a929bff1554884ef73964323e44e59e39a986b4c9e",
            },
            Official {
                md5: "9018921c3c673c538a1fc5bad174d6f9",
                blake3: "b4d9ea8013b029ef778c95ea7de31195ef443589877589523ad330db2829ebd6",
            },
            Official {
                md5: "8181f5470baa50b63fa0f6fddb340f0a",
                blake3: "a19b8c1e5f798e5a6fa7229093b630c04a620179497a1fa3a71e7334fb59a30b",
            },
            Official {
                md5: "15d484375f8d13e6eb1aabb0c3f46965",
                blake3: "0a067399ed18bcc9d7dc26832b3b8e4481abf2d33fee04c611e90b9061296b90",
            },
        ],
        embedded: None,
    },
    Known {
        name: "mnist",
        images: [60_000, 10_000],
        side: 28,
        classes: DIGITS,
        licence: "not stated by its authors (LeCun, Cortes, Burges); fetch, do not redistribute",
        files: [
            Official {
                md5: "6bbc9ace898e44ae57da46a324031adb",
                blake3: "c6e6fd8c67d07c8a9b7bffa7dd0413ff4b8af241607b049b7721107f379df9fd",
            },
            Official {
                md5: "a25bea736e30d166cdddb491f175f624",
                blake3: "8ebcfdf2fe191516f9cb37fceb75d2d19289d91ee92026534ed45e44144b5642",
            },
            Official {
                md5: "2646ac647ad5339dbf082846283269ea",
                blake3: "f8d502322cd9f186e155a74a3dff598ed56c1a7b5a5c8d312749ac47c4a2bec7",
            },
            Official {
                md5: "27ae3e4e09519cfbb04c329615203637",
                blake3: "6d43ea317fa8f5851bb85404bb7358defd48b0294cf31f60cdcde8106fe2c3ad",
            },
        ],
        embedded: None,
    },
];

/// The folders in which folders of sets are looked for: `$IRESNET_DATA`, `~/.cache/iresnet/datasets`.
pub fn roots() -> Vec<PathBuf> {
    let given = std::env::var_os("IRESNET_DATA").filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cache/iresnet/datasets"));
    given.into_iter().chain(home).collect()
}

/// Every set known by name, and whether it is there.
pub fn catalogue() -> Vec<Entry> {
    let roots = roots();
    let stored = KNOWN.iter().map(|known| Entry {
        name: known.name.to_owned(),
        available: known.available(&roots),
        path: if known.embedded.is_some() { None } else { known.folder(&roots) },
        images: Some(known.images),
        shape: [1, known.side, known.side],
        classes: known.classes.to_vec(),
        licence: known.licence,
    });
    let drawn = Toy::ALL.map(|toy| Entry {
        name: format!("toy:{}", toy.name()),
        available: true,
        path: None,
        images: None,
        shape: [2, 1, 1],
        classes: Vec::new(),
        licence: "part of this program",
    });
    stored.chain(drawn).collect()
}

/// One split of the set `name`: `fashion-mnist-mini`, `fashion-mnist`, `mnist` or `toy:NAME`.
///
/// Errors: [`Error::Config`] for an unknown name, [`Error::Data`] for files that are missing or damaged.
pub fn load(name: &str, split: Split) -> Result<Dataset> {
    load_from(&roots(), name, split)
}

/// [`load`] with other folders than the usual ones.
pub fn load_from(roots: &[PathBuf], name: &str, split: Split) -> Result<Dataset> {
    if let Some(toy) = name.strip_prefix("toy:") {
        return Ok(Dataset::from_toy(Toy::parse(toy)?, split));
    }
    let known = Known::find(name)?;
    let which = match split {
        Split::Train => 0,
        Split::Test => 2,
    };
    let ((images_path, images), (labels_path, labels)) = (known.open(roots, which)?, known.open(roots, which + 1)?);
    let images = idx::parse_images(images, &images_path)?;
    let labels = idx::parse_labels(labels, &labels_path, known.classes.len())?;
    idx::check_pair(&images, &images_path, &labels, &labels_path)?;
    if (images.height, images.width) != (known.side, known.side) {
        let problem = format!(
            "images of {}x{}, those of {name} are {side}x{side}: the files of another set?",
            images.height,
            images.width,
            side = known.side
        );
        return Err(Error::Data { path: images_path, problem });
    }
    let labels = labels.into_iter().map(u32::from).collect();
    let shape = [1, known.side, known.side];
    Ok(Dataset::from_bytes(name, split, shape, images.pixels, labels, known.classes.len()))
}

/// Checks that the files of the set `name` have the content of the official ones. A drawn set has no files.
///
/// Errors: [`Error::Config`] for an unknown name, [`Error::Data`] for files that are missing or cannot be unpacked,
/// [`Error::Verification`] for other content.
pub fn verify(name: &str) -> Result<Vec<Verified>> {
    verify_in(&roots(), name)
}

/// [`verify`] with other folders than the usual ones.
pub fn verify_in(roots: &[PathBuf], name: &str) -> Result<Vec<Verified>> {
    if let Some(toy) = name.strip_prefix("toy:") {
        return Toy::parse(toy).map(|_| Vec::new());
    }
    let known = Known::find(name)?;
    let verify = |(which, official): (usize, &Official)| {
        let (path, source) = known.open(roots, which)?;
        let found = digest(source, &path)?;
        if found != official.blake3 {
            let message = format!(
                "{}: not the official file: BLAKE3 of its uncompressed content is {found}, expected {} (MD5 {}). \
                 Get it again",
                path.display(),
                official.blake3,
                official.md5
            );
            return Err(Error::Verification(message));
        }
        Ok(Verified { path, blake3: found, md5: official.md5 })
    };
    known.files.iter().enumerate().map(verify).collect()
}

/// BLAKE3 of everything that `source` gives, in hexadecimal.
fn digest(source: impl Read, path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    // More than any official file has: what is longer is not one, and has another digest.
    let copied = std::io::copy(&mut source.take(idx::MAX_BYTES), &mut hasher);
    copied.map_err(|error| idx::read_error(path, error))?;
    Ok(hasher.finalize().to_hex().to_string())
}

impl Known {
    fn find(name: &str) -> Result<&'static Self> {
        KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
            let toys = Toy::ALL.map(|toy| format!("toy:{}", toy.name()));
            let names: Vec<&str> =
                KNOWN.iter().map(|known| known.name).chain(toys.iter().map(String::as_str)).collect();
            Error::Config(nearest::unknown("data set", name, names))
        })
    }

    /// The folder that has any of the set's files, or else the one they would be put into.
    fn folder(&self, roots: &[PathBuf]) -> Option<PathBuf> {
        let folders: Vec<PathBuf> = roots.iter().map(|root| root.join(self.name)).collect();
        let holding = folders.iter().find(|folder| FILES.iter().any(|file| existing(folder, file).is_some()));
        holding.or(folders.first()).cloned()
    }

    fn available(&self, roots: &[PathBuf]) -> bool {
        let complete = |folder: PathBuf| FILES.iter().all(|file| existing(&folder, file).is_some());
        self.embedded.is_some() || self.folder(roots).is_some_and(complete)
    }

    /// The unpacked content of file number `which`, and the path that errors should name.
    fn open(&self, roots: &[PathBuf], which: usize) -> Result<(PathBuf, Box<dyn Read>)> {
        if let Some(embedded) = self.embedded {
            let path = PathBuf::from(format!("(built in) {}/{}.gz", self.name, FILES[which]));
            let source = idx::unpack(embedded[which], &path)?;
            return Ok((path, source));
        }
        let folder = self.folder(roots).unwrap_or_else(|| PathBuf::from(self.name));
        let path = existing(&folder, FILES[which]).ok_or_else(|| self.missing(roots, &folder, which))?;
        let source = idx::open(&path)?;
        Ok((path, source))
    }

    fn missing(&self, roots: &[PathBuf], folder: &Path, which: usize) -> Error {
        let path = folder.join(FILES[which]);
        if MINI.is_none() && self.name == KNOWN[0].name {
            let problem = "this build (without the feature `cli`) does not contain it".to_owned();
            return Error::Data { path, problem };
        }
        let looked: Vec<String> = roots.iter().map(|root| root.join(self.name).display().to_string()).collect();
        let problem = format!(
            "missing, and so is {}.gz. Looked for {} in {}. This release downloads nothing: put the four official files \
             {}, plain or .gz, into one of these folders (another root: set IRESNET_DATA), or use fashion-mnist-mini, \
             which is built in",
            FILES[which],
            self.name,
            looked.join(" and "),
            FILES.join(", ")
        );
        Error::Data { path, problem }
    }
}

/// The file in `folder`, plain or else gzipped.
fn existing(folder: &Path, file: &str) -> Option<PathBuf> {
    [folder.join(file), folder.join(format!("{file}.gz"))].into_iter().find(|path| path.is_file())
}
