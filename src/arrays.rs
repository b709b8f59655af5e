//! Arrays in files: `.safetensors`, and numpy's `.npy` and `.npz`.
//!
//! What other programs hand over and take back. Formats are told by the name's ending. A `.npy` file holds one array
//! without a name, which stands for whichever array is asked for. Files are untrusted: nothing is allocated for what a
//! header claims beyond what the file can hold, and whatever is wrong becomes an [`Error::Data`] that names the file, the
//! array and the place.

mod element;
mod npy;
mod npz;
mod safetensors;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use element::{Element, Elements};

use crate::checkpoint::write_whole;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A dense row-major array as a file has it, halves and small integers widened.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Shape.
    pub shape: Shape,
    /// The elements, as many as the shape says.
    pub elements: Elements,
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Named arrays (Hugging Face).
    Safetensors,
    /// One array (numpy).
    Npy,
    /// Named arrays (numpy): a zip archive of `.npy` files.
    Npz,
}

impl Format {
    /// The format that a file of this name has, by its ending.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "safetensors" => Some(Self::Safetensors),
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            _ => None,
        }
    }

    /// The format of a file to be written.
    ///
    /// # Errors
    /// [`Error::Config`] if the name ends otherwise.
    pub fn of_output(path: &Path) -> Result<Self> {
        Self::of(path).ok_or_else(|| {
            let path = path.display();
            Error::Config(format!("{path}: the name of an output must end in .safetensors, .npz or .npy"))
        })
    }
}

impl Array {
    /// An array of numbers.
    #[track_caller]
    pub fn floats(shape: impl Into<Shape>, data: Vec<f32>) -> Self {
        Self::new(shape, Elements::F32(data))
    }

    /// An array of these elements.
    #[track_caller]
    pub fn new(shape: impl Into<Shape>, elements: Elements) -> Self {
        let shape = shape.into();
        assert_eq!(shape.len(), elements.len(), "an array of shape {shape} needs another number of elements");
        Self { shape, elements }
    }

    /// The numbers as f32, rounded where they were f64.
    ///
    /// # Errors
    /// What is wrong and where: elements that are integers, not finite, or beyond f32.
    pub fn tensor(&self) -> Result<Tensor, String> {
        let data = match &self.elements {
            Elements::F32(data) => data.clone(),
            Elements::F64(data) => data.iter().map(|&x| x as f32).collect(),
            Elements::I64(_) | Elements::Bool(_) => {
                let kind = self.elements.kind();
                return Err(format!("holds {kind}, floating-point numbers are wanted; convert it to float32"));
            }
        };
        if let Some(at) = data.iter().position(|x| !x.is_finite()) {
            let (place, value) = (self.place(at), self.elements.number(at));
            let beyond = if value.is_finite() { ", which is beyond the range of float32" } else { "" };
            return Err(format!("holds {value} at {place}{beyond}"));
        }
        Ok(Tensor::new(self.shape.clone(), data))
    }

    /// The integers; numbers that are whole count as such.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn integers(&self) -> Result<Vec<i64>, String> {
        if let Elements::I64(data) = &self.elements {
            return Ok(data.clone());
        }
        // Beyond this not every whole number is an f64.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let number = |at| {
            let value = self.elements.number(at);
            let whole = value.fract() == 0.0 && value.abs() <= EXACT;
            if whole { Ok(value as i64) } else { Err(format!("holds {value} at {}, no integer", self.place(at))) }
        };
        (0..self.elements.len()).map(number).collect()
    }

    /// Position `at` of the flat elements as indices: `[3, 0, 5]`.
    pub fn place(&self, at: usize) -> String {
        let indices: Vec<usize> = self
            .shape
            .strides()
            .iter()
            .zip(self.shape.extents())
            .map(|(stride, extent)| at / stride % extent)
            .collect();
        Shape::from(indices).to_string()
    }
}

/// A file of arrays, read whole and not yet decoded.
#[derive(Debug)]
pub struct ArrayFile {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Safetensors(safetensors::File),
    Npy(Vec<u8>),
    Npz(npz::File),
}

impl ArrayFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read, or is not whole and of the format that its name says.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::Data { path: path.into(), problem };
        let Some(format) = Format::of(path) else {
            return Err(fail(
                "arrays are read from .safetensors, .npz and .npy files; convert it to one of these".into(),
            ));
        };
        let bytes = std::fs::read(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
        if bytes.is_empty() {
            return Err(fail("the file is empty; was it interrupted while being copied?".into()));
        }
        let content = match format {
            Format::Safetensors => Content::Safetensors(safetensors::File::parse(bytes).map_err(fail)?),
            Format::Npy => Content::Npy(bytes),
            Format::Npz => Content::Npz(npz::File::parse(bytes).map_err(fail)?),
        };
        Ok(Self { path: path.into(), content })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the arrays, in alphabetical order; none for a `.npy` file, whose only array has no name.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match &self.content {
            Content::Safetensors(file) => file.names().collect(),
            Content::Npy(_) => Vec::new(),
            Content::Npz(file) => file.names().collect(),
        };
        names.sort_unstable();
        names
    }

    /// Whether there is an array called `name`.
    pub fn contains(&self, name: &str) -> bool {
        matches!(self.content, Content::Npy(_)) || self.names().contains(&name)
    }

    /// The array called `name`.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, or it is damaged or of a type that is no number.
    pub fn read(&self, name: &str) -> Result<Array> {
        if !self.contains(name) {
            let names = self.names();
            let listed = names.iter().take(8).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
            let has = if names.is_empty() { "it holds no arrays".into() } else { format!("it has {listed}{more}") };
            return Err(self.error(&format!("there is no array {name:?}; {has}")));
        }
        let read = match &self.content {
            Content::Safetensors(file) => file.read(name),
            Content::Npy(bytes) => npy::read(bytes.as_slice(), Some(bytes.len() as u64)),
            Content::Npz(file) => file.read(name),
        };
        read.map_err(|problem| self.array_error(name, &problem))
    }

    /// The array called `name` as finite f32 numbers.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`Array::tensor`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.read(name)?.tensor().map_err(|problem| self.array_error(name, &problem))
    }

    /// An error of this file.
    pub fn error(&self, problem: &str) -> Error {
        Error::Data { path: self.path.clone(), problem: problem.into() }
    }

    /// An error of an array in this file.
    pub fn array_error(&self, name: &str, problem: &str) -> Error {
        match self.content {
            Content::Npy(_) => self.error(&format!("the array {problem}")),
            _ => self.error(&format!("array {name:?} {problem}")),
        }
    }
}

/// Writes arrays, whole or not at all, in the format that the name asks for. A `.npy` file takes the first array only.
///
/// # Errors
/// [`Error::Config`] if the name has no such ending, [`Error::Io`] if the file cannot be written.
#[track_caller]
pub fn write(path: &Path, arrays: &[(&str, Array)]) -> Result<()> {
    let bytes = match Format::of_output(path)? {
        Format::Safetensors => safetensors_bytes(arrays, None),
        Format::Npy => npy::to_bytes(&arrays.first().expect("at least one array").1),
        Format::Npz => npz::to_bytes(arrays),
    };
    write_whole(path, &bytes)
}

/// A `.safetensors` file of these arrays with these metadata. Metadata of more than one entry come in any order.
pub(crate) fn safetensors_bytes(arrays: &[(&str, Array)], metadata: Option<HashMap<String, String>>) -> Vec<u8> {
    safetensors::to_bytes(arrays, metadata)
}

#[cfg(test)]
mod tests;
