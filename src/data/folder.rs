//! `folder:DIR`: a folder of PNG and JPEG files.
//!
//! * Pictures in sub-folders belong to the class that the sub-folder is; classes are numbered in the order of their names.
//!   Pictures that lie in the folder itself have no classes.
//! * Folders `train` and `test` in DIR are the splits, and `train` says which classes there are. Without a `test` folder
//!   both splits are the same pictures.
//! * Order is that of the names. Files of other kinds and names that begin with a dot are left out; anything else that
//!   does not fit is an error that names it.
//! * Pictures are decoded once, when the set is opened, and held as bytes, in the channels and size of `model.input`;
//!   what happens to those of another size is `data.fit`.

use std::path::{Path, PathBuf};

use super::{Dataset, Split};
use crate::config::Fit;
use crate::error::{Error, Result};
use crate::picture::{self, Picture};

/// What a configuration's `data.name` begins with.
pub const PREFIX: &str = "folder:";

/// The path in a data set's name, if it is one of a folder.
pub fn path(name: &str) -> Option<PathBuf> {
    name.strip_prefix(PREFIX).map(PathBuf::from)
}

/// The pictures of one split, by class and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The files, with the number of their class; 0 where there are no classes.
    pub pictures: Vec<(PathBuf, u32)>,
    /// Names of the classes; empty for none.
    pub classes: Vec<String>,
}

/// The pictures of `split` in the folder `folder`.
///
/// # Errors
/// [`Error::Data`] for a folder that is missing, has no pictures, or is not laid out as it should be.
pub fn list(folder: &Path, split: Split) -> Result<Listing> {
    let fail = |path: &Path, problem: String| Error::Data { path: path.to_owned(), problem };
    let [train, test] = [Split::Train, Split::Test].map(|split| folder.join(split.name()));
    let (train, wanted) = match (train.is_dir(), test.is_dir()) {
        (false, false) => (folder.to_owned(), folder.to_owned()),
        (true, false) => (train.clone(), train),
        (true, true) => (train.clone(), if split == Split::Train { train } else { test }),
        (false, true) => return Err(fail(folder, "has a folder `test` but no folder `train`".into())),
    };
    let classes = read(&train)?.folders;
    let names: Vec<String> = classes.iter().map(|class| name(class)).collect();
    let content = read(&wanted)?;
    let mut pictures = Vec::new();
    for class in &content.folders {
        let number = names
            .iter()
            .position(|known| *known == name(class))
            .ok_or_else(|| fail(class, format!("is no class: {} has the folders {names:?}", train.display())))?;
        let inside = read(class)?;
        if let Some(deeper) = inside.folders.first() {
            return Err(fail(
                deeper,
                "a folder inside the folder of a class: pictures lie in the class's folder itself".into(),
            ));
        }
        pictures.extend(inside.pictures.into_iter().map(|path| (path, number as u32)));
    }
    if let (Some(picture), false) = (content.pictures.first(), names.is_empty()) {
        return Err(fail(picture, "lies beside the folders of classes: move it into one of them".into()));
    }
    pictures.extend(content.pictures.into_iter().map(|path| (path, 0)));
    if pictures.is_empty() {
        return Err(fail(&wanted, "no pictures (.png, .jpg, .jpeg) in it or in folders in it".into()));
    }
    Ok(Listing { pictures, classes: names })
}

/// The pictures of `split` in the folder `folder`, each of which is found whole.
///
/// # Errors
/// [`Error::Data`] as [`list`], and for a picture that is broken, by its name.
pub fn check(folder: &Path, split: Split) -> Result<Listing> {
    let listing = list(folder, split)?;
    // Decoding is what proves them; one pixel of each is enough to keep.
    decode(&listing.pictures, [1, 1, 1], Fit::Resize, &mut vec![0; listing.pictures.len()])?;
    Ok(listing)
}

/// One split of the pictures in `folder`, each of shape `shape` = [C, H, W] with C 1 or 3.
///
/// # Errors
/// [`Error::Data`] as [`list`], and for a picture that is broken or of another size than `fit` takes, by its name.
pub fn load(folder: &Path, split: Split, shape: [usize; 3], fit: Fit) -> Result<Dataset> {
    let Listing { pictures, classes } = list(folder, split)?;
    let dim: usize = shape.iter().product();
    let mut bytes: Vec<u8> = Vec::new();
    let len = pictures.len() * dim;
    bytes.try_reserve_exact(len).map_err(|_| {
        let problem = format!("{} pictures of {shape:?} take {len} bytes, more than there is memory", pictures.len());
        Error::Data { path: folder.to_owned(), problem }
    })?;
    bytes.resize(len, 0);
    decode(&pictures, shape, fit, &mut bytes)?;
    let labels = if classes.is_empty() { Vec::new() } else { pictures.iter().map(|(_, class)| *class).collect() };
    Ok(Dataset::from_bytes(format!("{PREFIX}{}", folder.display()), split, shape, bytes, labels, classes.len()))
}

/// Decodes all pictures into `bytes`, on as many threads as there are processors.
fn decode(pictures: &[(PathBuf, u32)], shape: [usize; 3], fit: Fit, bytes: &mut [u8]) -> Result<()> {
    let fit = match fit {
        Fit::Exact => picture::Fit::Exact,
        Fit::Resize => picture::Fit::Resize,
        Fit::Crop => picture::Fit::Crop,
    };
    let dim: usize = shape.iter().product();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = pictures.len().div_ceil(threads);
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let work = pictures.chunks(share).zip(bytes.chunks_mut(share * dim));
        let threads: Vec<_> = work
            .map(|(pictures, bytes)| {
                scope.spawn(move || {
                    for ((path, _), bytes) in pictures.iter().zip(bytes.chunks_exact_mut(dim)) {
                        let picture = Picture::load(path, shape, fit).map_err(data_error)?;
                        for (byte, value) in bytes.iter_mut().zip(picture.data()) {
                            *byte = (255.0 * (value + 0.5)).round() as u8;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    // The first error in the order of the files, whichever thread was first.
    results.into_iter().collect()
}

/// What lies in a folder, sorted by name.
struct Content {
    folders: Vec<PathBuf>,
    pictures: Vec<PathBuf>,
}

fn read(folder: &Path) -> Result<Content> {
    let fail = |source| data_error(Error::Io { path: folder.to_owned(), source });
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        paths.push(entry.map_err(fail)?.path());
    }
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.into_iter().partition(|path| path.is_dir());
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    };
    Ok(Content { folders, pictures: files.into_iter().filter(is_picture).collect() })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Data that cannot be read are missing data.
fn data_error(error: Error) -> Error {
    match error {
        Error::Io { path, source } => Error::Data { path, problem: format!("cannot be read: {source}") },
        error => error,
    }
}
