//! `arrays:FILE`: samples from a file of arrays, taken as they are.
//!
//! | array | shape | what |
//! | --- | --- | --- |
//! | `x` | (N, C, H, W), or (N, D) for models of vectors | the samples, f32 (f64 is rounded to it) |
//! | `labels` | (N) | the class of each, whole numbers of any type; only classifiers need it |
//! | `x_test`, `labels_test` | the same | the test split; where they are not, both splits are `x` |
//!
//! The file is one that [`ArrayFile`] reads; the only array of a `.npy` file is `x`. Numbers reach the network as they
//! are: nothing is padded, scaled, shifted, mirrored or given noise.

use std::path::{Path, PathBuf};

use super::{Dataset, Split};
use crate::arrays::{Array, ArrayFile};
use crate::error::Result;

/// What a configuration's `data.name` begins with.
pub const PREFIX: &str = "arrays:";

/// The path in a data set's name, if it is one of arrays.
pub fn path(name: &str) -> Option<PathBuf> {
    name.strip_prefix(PREFIX).map(PathBuf::from)
}

/// One split of the arrays in `path`, for samples of shape `input` (`[C, H, W]` or `[D]`). With `classes`, labels must be
/// there and below that number; otherwise the set has no classes.
///
/// # Errors
/// [`Error::Data`](crate::error::Error::Data) for a file that is missing or damaged, and for arrays that are missing, of
/// another shape or type, or hold numbers that are not finite or labels that are no class: with the array and the place
/// in it.
pub fn load(path: &Path, split: Split, input: &[usize], classes: Option<usize>) -> Result<Dataset> {
    let file = ArrayFile::open(path)?;
    let named = |name: &str| file.names().contains(&name);
    let held_back = ["x_test", "labels_test"];
    let [x_name, labels_name] =
        if split == Split::Test && held_back.into_iter().any(named) { held_back } else { ["x", "labels"] };
    let x = file.read(x_name)?;
    let floats = samples(&x, input).map_err(|problem| file.array_error(x_name, &problem))?;
    let count = x.shape[0];
    let labels = match classes {
        Some(classes) if named(labels_name) => labels(&file.read(labels_name)?, count, classes)
            .map_err(|problem| file.array_error(labels_name, &problem))?,
        Some(classes) => {
            return Err(file.error(&format!(
                "there is no array {labels_name:?}, which a classifier needs: (N) whole numbers from 0 to {}",
                classes.saturating_sub(1)
            )));
        }
        None => Vec::new(),
    };
    let shape = match *input {
        [channels, height, width] => [channels, height, width],
        _ => [input.iter().product(), 1, 1],
    };
    let name = format!("{PREFIX}{}", path.display());
    Ok(Dataset::from_floats(&name, split, shape, floats, labels, classes.unwrap_or(0)))
}

/// The numbers of samples of shape `input`.
fn samples(x: &Array, input: &[usize]) -> Result<Vec<f32>, String> {
    let shape = x.shape.extents();
    let axes = match input.len() {
        3 => "(N, C, H, W)",
        _ => "(N, D)",
    };
    if shape.get(1..) != Some(input) {
        return Err(format!(
            "has shape {shape:?}, model.input = {input:?} wants {axes} = {:?}",
            [&[shape.first().copied().unwrap_or(0)], input].concat()
        ));
    }
    if shape[0] == 0 {
        return Err(format!("has shape {shape:?}: no samples"));
    }
    Ok(x.tensor()?.into_data())
}

/// The classes of `count` samples.
fn labels(array: &Array, count: usize, classes: usize) -> Result<Vec<u32>, String> {
    let shape = array.shape.extents();
    if shape != [count] {
        return Err(format!("has shape {shape:?}, the {count} samples want [{count}]"));
    }
    let class = |(at, number): (usize, i64)| {
        u32::try_from(number).ok().filter(|&class| (class as usize) < classes).ok_or_else(|| {
            format!("holds {number} at [{at}]: with model.classes = {classes}, labels run from 0 to {}", classes - 1)
        })
    };
    array.integers()?.into_iter().enumerate().map(class).collect()
}
