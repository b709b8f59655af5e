//! Plans.
pub mod conv2d;
pub mod launch;
pub mod matmul;
pub mod program;
