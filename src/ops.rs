//! The closed set of operations.
pub mod conv2d;
pub mod matmul;
