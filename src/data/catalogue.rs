//! The sets known by name: where their files are looked for, reading and verifying them.
//!
//! Files of a set NAME are looked for in the folder NAME of `$IRESNET_DATA`, if that is set, and of
//! `~/.cache/iresnet/datasets`; the first root that has any of them is used. They bear their official names:
//!
//! * `mnist`, `fashion-mnist`: four files, plain or with `.gz`
//! * `cifar10`, `cifar100`: the files of the binary version, in NAME or in the folder that the archive makes there
//!   (`cifar-10-batches-bin`, `cifar-100-binary`), or the `.tar.gz` as distributed, which is read without unpacking it
//!
//! `fashion-mnist-mini` is part of the program and needs no file; `toy:` sets are drawn ([`toy`](super::toy)).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::cifar::{self, Labels, Records};
use super::known::{Format, KNOWN, Known, Part};
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

/// Where the files of a set were found.
pub(super) enum Place {
    /// They are part of the program.
    BuiltIn([&'static [u8]; 4]),
    /// In this folder, or at least some of them.
    Folder(PathBuf),
    /// In this archive.
    Archive(PathBuf),
    /// Nowhere; this is the folder that they would be put into.
    Missing(PathBuf),
}

/// The folders in which folders of sets are looked for: `$IRESNET_DATA`, `~/.cache/iresnet/datasets`.
pub fn roots() -> Vec<PathBuf> {
    let given = std::env::var_os("IRESNET_DATA").filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cache/iresnet/datasets"));
    given.into_iter().chain(home).collect()
}

/// Every set known by name, and whether it is there.
pub fn catalogue() -> Vec<Entry> {
    let roots = roots();
    let stored = KNOWN.iter().map(|known| {
        let (available, path) = match known.place(&roots) {
            Place::BuiltIn(_) => (true, None),
            Place::Folder(folder) => (known.parts().all(|part| existing(&folder, part.file).is_some()), Some(folder)),
            Place::Archive(archive) => (true, Some(archive)),
            Place::Missing(folder) => (false, Some(folder)),
        };
        Entry {
            name: known.name.to_owned(),
            available,
            path,
            images: Some(known.images),
            shape: known.shape,
            classes: known.classes.to_vec(),
            licence: known.licence,
        }
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

/// One split of the set `name`: one that [`catalogue`] lists.
///
/// # Errors
/// [`Error::Config`] for an unknown name, [`Error::Data`] for files that are missing or damaged.
pub fn load(name: &str, split: Split) -> Result<Dataset> {
    load_from(&roots(), name, split)
}

/// [`load`] with other folders than the usual ones.
///
/// # Errors
/// As [`load`].
pub fn load_from(roots: &[PathBuf], name: &str, split: Split) -> Result<Dataset> {
    if let Some(toy) = name.strip_prefix("toy:") {
        return Ok(Dataset::from_toy(Toy::parse(toy)?, split));
    }
    let known = Known::find(name)?;
    match known.format {
        Format::Idx => known.load_idx(roots, split),
        Format::Cifar(labels) => known.load_cifar(roots, split, labels),
    }
}

impl Known {
    pub(super) fn find(name: &str) -> Result<&'static Self> {
        KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
            let toys = Toy::ALL.map(|toy| format!("toy:{}", toy.name()));
            let names: Vec<&str> =
                KNOWN.iter().map(|known| known.name).chain(toys.iter().map(String::as_str)).collect();
            Error::Config(nearest::unknown("data set", name, names))
        })
    }

    /// Where the set's files are.
    pub(super) fn place(&self, roots: &[PathBuf]) -> Place {
        if let Some(embedded) = self.embedded {
            return Place::BuiltIn(embedded);
        }
        for root in roots {
            let own = root.join(self.name);
            let inner = self.archive.as_ref().map(|archive| own.join(archive.folder));
            let mut folders: Vec<PathBuf> = inner.into_iter().chain([own.clone()]).collect();
            let there = |folder: &PathBuf| self.parts().filter(|part| existing(folder, part.file).is_some()).count();
            // Whole sets first; among equals the order above.
            folders.sort_by_key(|folder| std::cmp::Reverse(there(folder)));
            let best = folders.swap_remove(0);
            let archive = self.archive.as_ref().map(|archive| own.join(archive.file)).filter(|path| path.is_file());
            match (there(&best), archive) {
                (found, _) if found == self.parts().count() => return Place::Folder(best),
                (_, Some(archive)) => return Place::Archive(archive),
                (0, None) => {}
                (_, None) => return Place::Folder(best),
            }
        }
        Place::Missing(roots.first().map_or_else(|| PathBuf::from(self.name), |root| root.join(self.name)))
    }

    /// Gives `each` the number, the path for errors and the unpacked content of each of `parts`, in any order.
    pub(super) fn read(
        &self,
        roots: &[PathBuf],
        parts: &[&Part],
        mut each: impl FnMut(usize, &Path, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        match self.place(roots) {
            Place::BuiltIn(contents) => {
                for (number, part) in parts.iter().enumerate() {
                    let which = self.parts().position(|of| of.file == part.file).expect("a part of this set");
                    let path = PathBuf::from(format!("(built in) {}/{}.gz", self.name, part.file));
                    each(number, &path, &mut idx::unpack(contents[which], &path)?)?;
                }
                Ok(())
            }
            Place::Folder(folder) | Place::Missing(folder) => {
                for (number, part) in parts.iter().enumerate() {
                    let path = existing(&folder, part.file).ok_or_else(|| self.missing(roots, &folder, part))?;
                    each(number, &path, &mut idx::open(&path)?)?;
                }
                Ok(())
            }
            #[cfg(feature = "cli")]
            Place::Archive(path) => {
                let files: Vec<&str> = parts.iter().map(|part| part.file).collect();
                super::archive::each(&path, self.archive.as_ref().map_or("", |archive| archive.folder), &files, each)
            }
            #[cfg(not(feature = "cli"))]
            Place::Archive(path) => {
                let problem = "this build (without the feature `cli`) reads no archives: unpack it".to_owned();
                Err(Error::Data { path, problem })
            }
        }
    }

    fn split(&self, split: Split) -> Vec<&'static Part> {
        match split {
            Split::Train => self.train.iter().collect(),
            Split::Test => self.test.iter().collect(),
        }
    }

    fn load_idx(&self, roots: &[PathBuf], split: Split) -> Result<Dataset> {
        let [_, height, width] = self.shape;
        let (mut images, mut labels) = (None, None);
        self.read(roots, &self.split(split), |number, path, source| {
            if number == 0 {
                images = Some((idx::parse_images(source, path)?, path.to_owned()));
            } else {
                labels = Some((idx::parse_labels(source, path, self.classes.len())?, path.to_owned()));
            }
            Ok(())
        })?;
        let ((images, images_path), (labels, labels_path)) = images.zip(labels).expect("two files in each split");
        idx::check_pair(&images, &images_path, &labels, &labels_path)?;
        if (images.height, images.width) != (height, width) {
            let problem = format!(
                "images of {}x{}, those of {} are {height}x{width}: the files of another set?",
                images.height, images.width, self.name
            );
            return Err(Error::Data { path: images_path, problem });
        }
        let labels = labels.into_iter().map(u32::from).collect();
        Ok(Dataset::from_bytes(self.name, split, self.shape, images.pixels, labels, self.classes.len()))
    }

    fn load_cifar(&self, roots: &[PathBuf], split: Split, labels: Labels) -> Result<Dataset> {
        let parts = self.split(split);
        let mut files: Vec<Records> = vec![Records::default(); parts.len()];
        self.read(roots, &parts, |number, path, source| {
            files[number] = cifar::parse(source, path, labels, self.classes.len())?;
            Ok(())
        })?;
        let mut all = Records::default();
        files.into_iter().for_each(|records| all.append(records));
        let wide = |labels: Vec<u8>| -> Vec<u32> { labels.into_iter().map(u32::from).collect() };
        let (labels, classes) = (wide(all.labels), self.classes.len());
        let dataset = Dataset::from_bytes(self.name, split, cifar::SHAPE, all.pixels, labels, classes);
        Ok(if all.coarse.is_empty() { dataset } else { dataset.with_coarse(wide(all.coarse), cifar::COARSE_CLASSES) })
    }

    fn missing(&self, roots: &[PathBuf], folder: &Path, part: &Part) -> Error {
        let path = folder.join(part.file);
        if self.addresses.is_empty() {
            let problem = "this build (without the feature `cli`) does not contain it".to_owned();
            return Error::Data { path, problem };
        }
        let looked: Vec<String> = roots.iter().map(|root| root.join(self.name).display().to_string()).collect();
        let files: Vec<&str> = self.parts().map(|part| part.file).collect();
        let (gz, archive) = match &self.archive {
            Some(archive) => (String::new(), format!(" or the archive {}", archive.file)),
            None => (format!(", and so is {}.gz", part.file), ", plain or .gz,".to_owned()),
        };
        let problem = format!(
            "missing{gz}. Looked for {name} in {}. `iresnet data fetch {name}` gets it; or put the official files {}{archive} \
             into one of these folders (another root: set IRESNET_DATA), or use fashion-mnist-mini, which is built in",
            looked.join(" and "),
            files.join(", "),
            name = self.name,
        );
        Error::Data { path, problem }
    }
}

/// The file in `folder`, plain or else gzipped.
pub(super) fn existing(folder: &Path, file: &str) -> Option<PathBuf> {
    [folder.join(file), folder.join(format!("{file}.gz"))].into_iter().find(|path| path.is_file())
}

/// Mean and deviation of the channels of the set `name`, where classifiers are published with them.
pub(super) fn moments(name: &str) -> Option<[[f32; 3]; 2]> {
    KNOWN.iter().find(|known| known.name == name).and_then(|known| known.moments)
}
