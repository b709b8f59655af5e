//! Invertible residual networks on any GPU.
pub mod error;
pub mod ops;
#[cfg(feature = "cli")]
pub mod picture;
pub mod plan;
#[cfg(feature = "cli")]
pub mod report;
pub mod shape;
pub mod tensor;
