//! The one error type of the crate, and the exit code each kind of error maps to.

use std::path::PathBuf;

/// Everything that the outside world can do wrong. Programmer errors (shapes that do not fit and the like) panic instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line or the configuration asks for something that does not exist or does not fit together.
    #[error("{0}")]
    Config(String),
    /// A data file is missing, truncated or not what it claims to be.
    #[error("{path}: {problem}", path = path.display())]
    Data {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it, where, and what to do.
        problem: String,
    },
    /// No adapter suits the request.
    #[error("{0}")]
    NoAdapter(String),
    /// The driver reported an error, ran out of memory, or the device was lost.
    #[error("{0}")]
    Gpu(String),
    /// A device has no room for what it was asked to hold. Smaller batches need less.
    #[error("{0}")]
    OutOfMemory(String),
    /// Training produced a loss that is not finite.
    #[error("{0}")]
    Diverged(String),
    /// A model file is damaged or of another kind.
    #[error("{path}: {problem}", path = path.display())]
    Model {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// Another process of the run is gone, or keeps the others waiting too long.
    #[error("{0}")]
    PeerLost(String),
    /// A promise of the method does not hold (certificate, round trip, hash).
    #[error("{0}")]
    Verification(String),
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Error {
    /// The process exit code promised for this kind of error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Io { .. } => 2,
            Self::Data { .. } => 3,
            Self::NoAdapter(_) => 4,
            Self::Gpu(_) | Self::OutOfMemory(_) => 5,
            Self::Diverged(_) => 6,
            Self::Model { .. } => 7,
            Self::PeerLost(_) => 8,
            Self::Verification(_) => 9,
        }
    }
}

/// A result whose error is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
