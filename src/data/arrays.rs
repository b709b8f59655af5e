//! `arrays:FILE`: samples from a file of arrays, taken as they are.
//!
//! | array | shape | what |
//! | --- | --- | --- |
//! | `x` | (N, C, H, W), or (N, D) for models of vectors | the samples, f32 (f64 is rounded to it) |
//! | `labels` | (N) | the class of each, whole numbers of any type; only classifiers need it |
//! | `x_test`, `labels_test` | the same | the test split; where they are not, both splits are `x` |
//!
//! The file is `.safetensors`. Numbers reach the network as they are: nothing is padded, scaled, shifted, mirrored or
//! given noise.

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Dataset, Split};
use crate::error::{Error, Result};

/// What a configuration's `data.name` begins with.
pub const PREFIX: &str = "arrays:";

/// One array, its numbers as f64 so that labels of every type are exact.
struct Found<'a> {
    name: String,
    view: TensorView<'a>,
}

/// One split of the arrays in `path`, for samples of shape `input` (`[C, H, W]` or `[D]`). With `classes`, labels must be
/// there and below that number; otherwise the set has no classes.
///
/// # Errors
/// [`Error::Data`] for a file that is missing or damaged, and for arrays that are missing, of another shape or type, or
/// hold numbers that are not finite or labels that are no class: with the array and the place in it.
pub fn load(path: &Path, split: Split, input: &[usize], classes: Option<usize>) -> Result<Dataset> {
    let fail = |problem: String| Error::Data { path: path.to_owned(), problem };
    let bytes = std::fs::read(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| {
        fail(format!(
            "not a whole .safetensors file ({error}); {} bytes: truncated, or of another format?",
            bytes.len()
        ))
    })?;
    let name = format!("{PREFIX}{}", path.display());
    read(&file, &name, split, input, classes).map_err(fail)
}

fn read(
    file: &SafeTensors<'_>,
    name: &str,
    split: Split,
    input: &[usize],
    classes: Option<usize>,
) -> Result<Dataset, String> {
    let held_back = ["x_test", "labels_test"];
    let [x_name, labels_name] = if split == Split::Test && held_back.iter().any(|name| find(file, name).is_some()) {
        held_back
    } else {
        ["x", "labels"]
    };
    let x = find(file, x_name).ok_or_else(|| {
        let names: Vec<&str> = file.names();
        format!("has no array {x_name:?}; it has {names:?}. The samples are (N, …) under that name")
    })?;
    let (count, floats) = samples(&x, input)?;
    let labels = match (find(file, labels_name), classes) {
        (Some(labels), Some(classes)) => whole(&labels, count, x_name, classes)?,
        (None, Some(classes)) => {
            return Err(format!(
                "has no array {labels_name:?}, which a classifier needs: (N) whole numbers from 0 to {}",
                classes.saturating_sub(1)
            ));
        }
        (_, None) => Vec::new(),
    };
    let shape = match *input {
        [channels, height, width] => [channels, height, width],
        _ => [input.iter().product(), 1, 1],
    };
    Ok(Dataset::from_floats(name, split, shape, floats, labels, classes.unwrap_or(0)))
}

/// The path in a data set's name, if it is one of arrays.
pub fn path(name: &str) -> Option<PathBuf> {
    name.strip_prefix(PREFIX).map(PathBuf::from)
}

fn find<'a>(file: &SafeTensors<'a>, name: &str) -> Option<Found<'a>> {
    file.tensor(name).ok().map(|view| Found { name: name.into(), view })
}

/// The number of samples in `x`, and its numbers.
fn samples(x: &Found<'_>, input: &[usize]) -> Result<(usize, Vec<f32>), String> {
    let (name, shape) = (&x.name, x.view.shape());
    let axes = match input.len() {
        3 => "(N, C, H, W)",
        _ => "(N, D)",
    };
    if shape.get(1..) != Some(input) {
        return Err(format!(
            "array {name:?} has shape {shape:?}, model.input = {input:?} wants {axes} = {:?}",
            [&[shape.first().copied().unwrap_or(0)], input].concat()
        ));
    }
    if shape[0] == 0 {
        return Err(format!("array {name:?} has shape {shape:?}: no samples"));
    }
    let floats: Vec<f32> = match x.view.dtype() {
        Dtype::F32 => x.view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect(),
        Dtype::F64 => x.numbers()?.map(|number| number as f32).collect(),
        other => return Err(format!("array {name:?} is {other:?}; samples are F32")),
    };
    if let Some(at) = floats.iter().position(|number| !number.is_finite()) {
        return Err(format!("array {name:?} holds {} at {}: samples must be finite", floats[at], place(at, shape)));
    }
    Ok((shape[0], floats))
}

/// `labels` as classes of `count` samples.
fn whole(labels: &Found<'_>, count: usize, of: &str, classes: usize) -> Result<Vec<u32>, String> {
    let (name, shape) = (&labels.name, labels.view.shape());
    if shape != [count] {
        return Err(format!("array {name:?} has shape {shape:?}, the {count} samples of {of:?} want [{count}]"));
    }
    let class = |(at, number): (usize, f64)| {
        let fits = number.fract() == 0.0 && (0.0..classes as f64).contains(&number);
        fits.then_some(number as u32).ok_or_else(|| {
            format!(
                "array {name:?} holds {number} at [{at}]: with model.classes = {classes}, labels are whole numbers from \
                 0 to {}",
                classes.saturating_sub(1)
            )
        })
    };
    labels.numbers()?.enumerate().map(class).collect()
}

impl Found<'_> {
    /// The numbers, whatever their type.
    fn numbers(&self) -> Result<Box<dyn Iterator<Item = f64> + '_>, String> {
        macro_rules! each {
            ($type:ty) => {{
                let of = |bytes: &[u8]| <$type>::from_le_bytes(bytes.try_into().expect("as many bytes")) as f64;
                Box::new(self.view.data().chunks_exact(size_of::<$type>()).map(of))
            }};
        }
        Ok(match self.view.dtype() {
            Dtype::F32 => each!(f32),
            Dtype::F64 => each!(f64),
            Dtype::I64 => each!(i64),
            Dtype::U64 => each!(u64),
            Dtype::I32 => each!(i32),
            Dtype::U32 => each!(u32),
            Dtype::I16 => each!(i16),
            Dtype::U16 => each!(u16),
            Dtype::I8 => each!(i8),
            Dtype::U8 => each!(u8),
            other => return Err(format!("array {:?} is {other:?}, which is not read here", self.name)),
        })
    }
}

/// Where element `at` of an array of `shape` stands: `[3, 0, 17]`.
fn place(at: usize, shape: &[usize]) -> String {
    let mut rest = at;
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|extent| {
            let index = rest % extent;
            rest /= extent;
            index
        })
        .collect();
    indices.reverse();
    format!("{indices:?}")
}
