//! Plans.
pub mod launch;
pub mod program;
