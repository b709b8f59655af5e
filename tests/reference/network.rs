//! Whole networks: training steps, evaluation, inversion.
