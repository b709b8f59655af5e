//! Plans.
pub mod program;
