//! Tensors in host memory.

use crate::shape::Shape;

/// A dense row-major f32 tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` with elements `data`, row-major.
    #[track_caller]
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(
            shape.len(),
            data.len(),
            "tensor of shape {shape} needs {} elements, got {}",
            shape.len(),
            data.len()
        );
        Self { shape, data }
    }

    /// A tensor of `shape` filled with `value`.
    pub fn full(shape: impl Into<Shape>, value: f32) -> Self {
        let shape = shape.into();
        let data = vec![value; shape.len()];
        Self { shape, data }
    }

    /// A scalar.
    pub fn scalar(value: f32) -> Self {
        Self { shape: Shape::scalar(), data: vec![value] }
    }

    /// The tensor's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, row-major, for writing.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Takes the elements out.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The same elements under another shape of equal length.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Self {
        Self::new(shape, self.data)
    }

    /// The part `[index, …]` of the outermost axis.
    #[track_caller]
    pub fn row(&self, index: usize) -> &[f32] {
        let width = self.data.len() / self.shape[0];
        &self.data[index * width..(index + 1) * width]
    }
}
