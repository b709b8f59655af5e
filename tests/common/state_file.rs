//! Tensors of tests as files of arrays, and back.

use std::path::Path;

use iresnet::arrays::{Array, ArrayFile, Elements, write};
use iresnet::interpret;

use crate::fixture::Tensors;

/// Writes tensors as a PyTorch program would save them: counts as integers, every name behind `prefix`.
pub(crate) fn save(path: &Path, tensors: &Tensors, prefix: &str) {
    let mut arrays: Vec<(String, Array)> =
        tensors.0.iter().map(|(name, value)| (format!("{prefix}{name}"), array(name, value))).collect();
    arrays.sort_by(|a, b| a.0.cmp(&b.0));
    let arrays: Vec<(&str, Array)> = arrays.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
    write(path, &arrays).unwrap();
}

fn array(name: &str, value: &interpret::Array) -> Array {
    if name.ends_with("num_batches_tracked") || name == "labels" {
        let counts = value.data().iter().map(|&count| count as i64).collect();
        return Array::new(value.shape(), Elements::I64(counts));
    }
    Array::floats(value.shape(), value.data().iter().map(|&x| x as f32).collect())
}

/// All arrays of a file, whatever their type.
#[allow(dead_code, reason = "each test binary compiles this file for itself and uses what it needs")]
pub(crate) fn load(path: &Path) -> Tensors {
    let file = ArrayFile::open(path).unwrap();
    let number = |name: &str| {
        let array = file.read(name).unwrap();
        let data = (0..array.elements.len()).map(|at| array.elements.number(at)).collect();
        (name.to_owned(), interpret::Array::new(array.shape, data))
    };
    Tensors(file.names().into_iter().map(number).collect())
}
