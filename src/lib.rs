//! Invertible residual networks on any GPU.
pub mod autodiff;
#[cfg(feature = "cli")]
pub mod cli;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod interpret;
pub mod ops;
#[cfg(feature = "cli")]
pub mod picture;
pub mod plan;
pub mod random;
#[cfg(feature = "cli")]
pub mod report;
pub mod shape;
pub mod tensor;
