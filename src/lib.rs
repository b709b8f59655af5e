//! Invertible residual networks on any GPU.
pub mod autodiff;
pub mod config;
pub mod error;
pub mod graph;
pub mod interpret;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod random;
pub mod shape;
pub mod tensor;
