//! Arrays of any number of samples, in batches of one size: graphs have static shapes.

use crate::arrays::ArrayFile;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The array `name`, which must have the shape (N, …`sample`).
///
/// # Errors
/// [`Error::Data`](crate::error::Error::Data) if it has not, or is no array of finite numbers.
pub(super) fn input(file: &ArrayFile, name: &str, sample: &[usize]) -> Result<Tensor> {
    let tensor = file.tensor(name)?;
    let extents = tensor.shape().extents();
    if extents.split_first().is_none_or(|(_, rest)| rest != sample) {
        let wanted: Vec<String> = sample.iter().map(usize::to_string).collect();
        let lone = if extents == sample { "; a single sample needs an axis of length 1 before the others" } else { "" };
        let problem = format!("has shape {}, this model takes [N, {}]{lone}", tensor.shape(), wanted.join(", "));
        return Err(file.array_error(name, &problem));
    }
    some(file, name, tensor)
}

/// The array `name` of N samples of `len` numbers, however these are arranged: (N, `len`).
///
/// # Errors
/// As [`input`].
pub(super) fn flat(file: &ArrayFile, name: &str, len: usize) -> Result<Tensor> {
    let tensor = file.tensor(name)?;
    let extents = tensor.shape().extents();
    if extents.split_first().is_none_or(|(_, rest)| rest.iter().product::<usize>() != len || rest.is_empty()) {
        let problem = format!("has shape {}, this model takes [N, {len}]", tensor.shape());
        return Err(file.array_error(name, &problem));
    }
    let count = extents[0];
    some(file, name, tensor.reshape(Shape::from([count, len])))
}

fn some(file: &ArrayFile, name: &str, tensor: Tensor) -> Result<Tensor> {
    if tensor.shape()[0] == 0 {
        return Err(file.array_error(name, &format!("has shape {}: there are no samples in it", tensor.shape())));
    }
    Ok(tensor)
}

/// Samples in a batch that is handed to one of several devices: two batches for each, so that a slow one may take fewer, and
/// at most `most`.
pub(super) fn among(samples: usize, most: usize, devices: usize) -> usize {
    let batches = if devices == 1 { 1 } else { 2 * devices };
    samples.div_ceil(batches).clamp(1, most)
}

/// Samples in a batch: as asked for, else `usual`, but no more than there are.
pub(super) fn size(asked: Option<u32>, usual: usize, tensor: &Tensor) -> usize {
    asked.map_or(usual, |asked| asked as usize).min(tensor.shape()[0])
}

/// The samples in batches of `batch`, each with the number of those that count. The last is filled up with the last
/// sample.
pub(super) fn parts(tensor: &Tensor, batch: usize) -> impl Iterator<Item = (Vec<f32>, usize)> + '_ {
    let count = tensor.shape()[0];
    (0..count).step_by(batch).map(move |first| {
        let real = batch.min(count - first);
        let rows = (first..first + batch).flat_map(|row| tensor.row(row.min(count - 1)).iter().copied());
        (rows.collect(), real)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_counts_once_and_the_last_batch_is_filled_up() {
        let tensor = Tensor::new([5, 1], vec![0.0, 1.0, 2.0, 3.0, 4.0]);
        let found: Vec<_> = parts(&tensor, 2).collect();
        assert_eq!(found, [(vec![0.0, 1.0], 2), (vec![2.0, 3.0], 2), (vec![4.0, 4.0], 1)]);
        assert_eq!([among(100, 64, 1), among(10, 64, 1), among(100, 64, 2), among(1, 64, 3)], [64, 10, 25, 1]);
        assert_eq!((size(None, 128, &tensor), size(Some(2), 128, &tensor), size(Some(9), 128, &tensor)), (5, 2, 5));
    }
}
