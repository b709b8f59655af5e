//! Invertible residual networks on any GPU.
pub mod error;
pub mod gpu;
pub mod ops;
pub mod plan;
pub mod shape;
pub mod tensor;
