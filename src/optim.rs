//! Optimizers as graphs over flat vectors.
