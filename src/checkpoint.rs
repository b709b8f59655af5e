//! Model files and checkpoints: one self-contained `.safetensors` file.
//!
//! It holds every tensor of the model under its published name, and one metadata entry, `iresnet`, whose JSON gives the
//! format's version, the resolved configuration, the step, and a BLAKE3 hash of all that and of all names, shapes and
//! numbers. A checkpoint of a run is a model file that also holds the optimizer's state as `optimizer/NAME`. Files are written
//! beside their place, flushed and renamed, so that a file under its name is always whole.
//!
//! The JSON of a finished model has its [`Certificate`] as well, under `certificate`. It follows from the numbers, is there
//! for readers who cannot compute it, and is believed by nobody: `iresnet verify` computes it anew. (An entry of its own
//! would do, but a safetensors header holds entries in no fixed order, and equal models are to be equal files.)

mod container;

use std::collections::HashMap;
use std::path::Path;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::json::Value;
use crate::nn::{Certificate, Model};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Version of the format; raised when older programs could misread it.
const VERSION: u64 = 1;
/// The metadata entry.
const ENTRY: &str = "iresnet";
/// What [`Checkpoint::from_bytes`] says of a file whose hash differs.
pub(crate) const DAMAGED: &str = "damaged: its contents do not have the hash it was written with";
/// The one tensor of integers in a published state dict.
pub(crate) const COUNTER: &str = "bn1.num_batches_tracked";
/// Keys of the configuration that the first files did not have. With their defaults they mean what those files mean, and do
/// not count in the hash, so that a model has the same hash whichever version wrote it.
const LATER: [(&str, &str); 6] = [
    ("model", "batch_norm"),
    ("model", "bottleneck"),
    ("model", "permutation"),
    ("model", "coupling"),
    ("train", "keep"),
    ("train", "on_nonfinite"),
];
/// What names of files begin with that are being written.
#[cfg(feature = "cli")]
pub(crate) const BESIDE: &str = ".tmp-iresnet-";
/// What names of optimizer state begin with.
pub const OPTIMIZER: &str = "optimizer/";

/// Contents of a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The resolved configuration.
    pub config: Config,
    /// Training steps done.
    pub step: u64,
    /// Tensors by name: the model's, then the optimizer's.
    pub tensors: Vec<(String, Tensor)>,
}

impl Checkpoint {
    /// The file's bytes. Equal contents give equal bytes. [`check`](Self::check) first: [`from_bytes`](Self::from_bytes)
    /// refuses numbers that are not finite.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_certified_bytes(None)
    }

    /// The file's bytes, with a certificate among the metadata.
    pub fn to_certified_bytes(&self, certificate: Option<&Certificate>) -> Vec<u8> {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.shape().extents(), bytemuck::cast_slice(tensor.data())));
        container::write(tensors.collect(), &[(ENTRY, self.entry(certificate))])
    }

    /// The file's metadata. Whatever holds the tensors and this is a model file, also with the published code's unused
    /// tensors besides, and its counter as an integer.
    pub fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([(ENTRY.to_string(), self.entry(None))])
    }

    fn entry(&self, certificate: Option<&Certificate>) -> String {
        let mut entry = vec![
            ("version", Value::Number(VERSION.to_string())),
            ("step", Value::Number(self.step.to_string())),
            ("hash", Value::Text(self.hash())),
            ("config", self.config.tree()),
        ];
        // JSON has no infinities: a certificate that holds one certifies nothing.
        if let Some(certificate) = certificate.filter(|certificate| certificate.log_lipschitz.is_finite()) {
            entry.push(("certificate", certificate.tree()));
        }
        Value::Object(entry.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()).to_string()
    }

    /// Reads a file's bytes; `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is truncated, of another format, from a newer version, damaged (its hash differs), or
    /// if its tensors are not those its configuration asks for, or not finite.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::Model { path: path.into(), problem };
        if bytes.is_empty() {
            return Err(fail("the file is empty; was it interrupted while being copied?".into()));
        }
        let (metadata, entries) = container::read(bytes).map_err(|error| {
            fail(format!(
                "not a whole .safetensors file ({error}); {} bytes: truncated, or a pointer to the real file?",
                bytes.len()
            ))
        })?;
        let (_, entry) = metadata.iter().find(|(key, _)| key == ENTRY).ok_or_else(|| {
            fail("a .safetensors file, but not written by iresnet: its metadata have no entry \"iresnet\"".into())
        })?;
        let unreadable = |error: &str| fail(format!("unreadable metadata ({error})"));
        let header = Value::parse(entry).map_err(|error| unreadable(&error))?;
        let number = |key: &str| header.get(key).and_then(Value::as_u64).ok_or_else(|| unreadable(key));
        let version = number("version")?;
        if version != VERSION {
            return Err(fail(format!("format version {version}; this program reads version {VERSION}: update it")));
        }
        let step = number("step")?;
        let hash = header.get("hash").and_then(Value::as_str).ok_or_else(|| unreadable("hash"))?;
        // As it was written: a later version may know more keys, which must not change the hash.
        let written = header.get("config").ok_or_else(|| unreadable("config"))?;
        let mut tensors = Vec::with_capacity(entries.len());
        for container::Entry { name, dtype, shape, data } in entries {
            let numbers: Vec<f32> = match dtype.as_str() {
                "F32" => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                // An exported file has PyTorch's type for what counts.
                "I64" if name == COUNTER => {
                    let count = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("a chunk of eight"));
                    data.chunks_exact(8).map(|bytes| count(bytes) as f32).collect()
                }
                other => return Err(fail(format!("tensor {name:?} is {other}, expected F32"))),
            };
            tensors.push((name, Tensor::new(Shape::from(shape), numbers)));
        }
        let config = Config::from_tree(written).map_err(|error| fail(format!("unreadable configuration ({error})")))?;
        let mut checkpoint = Self { config, step, tensors };
        checkpoint.sort().map_err(fail)?;
        if checkpoint.hash_with(written.clone()) != hash {
            return Err(fail(DAMAGED.into()));
        }
        Ok(checkpoint)
    }

    /// Brings the tensors into the model's order, and checks that they are all there.
    fn sort(&mut self) -> Result<(), String> {
        let model = Model::new(&self.config).map_err(|error| format!("its configuration is invalid: {error}"))?;
        let mut given: HashMap<String, Tensor> = std::mem::take(&mut self.tensors).into_iter().collect();
        for param in model.params() {
            let name = &param.name;
            let tensor = given.remove(name).ok_or_else(|| format!("tensor {name:?} is missing"))?;
            if *tensor.shape() != param.shape {
                return Err(format!("tensor {name:?} has shape {}, expected {}", tensor.shape(), param.shape));
            }
            self.tensors.push((name.clone(), tensor));
        }
        // What only PyTorch needs is left out, so that an exported file is the same model.
        for unused in model.unused_params() {
            given.remove(&unused.name);
        }
        let mut rest: Vec<(String, Tensor)> = given.into_iter().collect();
        rest.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some((name, _)) = rest.iter().find(|(name, _)| !name.starts_with(OPTIMIZER)) {
            return Err(format!("tensor {name:?} does not belong to this model"));
        }
        self.tensors.extend(rest);
        self.check()
    }

    /// Checks that all numbers are finite.
    ///
    /// # Errors
    /// Where the first that is not stands.
    pub fn check(&self) -> Result<(), String> {
        for (name, tensor) in &self.tensors {
            if let Some(at) = tensor.data().iter().position(|x| !x.is_finite()) {
                return Err(format!("tensor {name:?} holds {} at position {at}", tensor.data()[at]));
            }
        }
        Ok(())
    }

    /// BLAKE3 over configuration, step, and names, shapes and numbers of all tensors, in order of their names.
    pub fn hash(&self) -> String {
        self.hash_with(self.config.tree())
    }

    /// The hash with this configuration, in which order does not count, nor later keys with their defaults.
    fn hash_with(&self, config: Value) -> String {
        let config = canonical(config);
        let mut order: Vec<&(String, Tensor)> = self.tensors.iter().collect();
        order.sort_by(|a, b| a.0.cmp(&b.0));
        let mut hasher = blake3::Hasher::new();
        hasher.update(config.as_bytes());
        hasher.update(&self.step.to_le_bytes());
        for (name, tensor) in order {
            hasher.update(name.as_bytes());
            hasher.update(tensor.shape().to_string().as_bytes());
            hasher.update(bytemuck::cast_slice(tensor.data()));
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// With the parameters' moving average in the place of the parameters, where there is one.
    ///
    /// # Errors
    /// Those of [`Model::new`].
    pub fn averaged(mut self) -> Result<Self> {
        let name = format!("{OPTIMIZER}{}", crate::optim::EMA);
        let Some(average) = self.tensor(&name).cloned() else { return Ok(self) };
        let mut at = 0;
        for param in Model::new(&self.config)?.params().iter().filter(|param| param.is_parameter()) {
            let len = param.shape.len();
            let place = self.tensors.iter_mut().find(|(known, _)| *known == param.name);
            if let (Some((_, tensor)), Some(numbers)) = (place, average.data().get(at..at + len)) {
                tensor.data_mut().copy_from_slice(numbers);
            }
            at += len.next_multiple_of(crate::gpu::ROW);
        }
        Ok(self)
    }

    /// Without the optimizer's state: what is worth keeping of a finished run.
    pub fn model_only(mut self) -> Self {
        self.tensors.retain(|(name, _)| !name.starts_with(OPTIMIZER));
        self
    }
}

/// The text of a configuration that is hashed.
fn canonical(mut config: Value) -> String {
    let defaults = Config::default().tree();
    if let Value::Object(sections) = &mut config {
        for (section, keys) in sections {
            if let Value::Object(keys) = keys {
                let usual = |key: &str| defaults.get(section).and_then(|keys| keys.get(key));
                keys.retain(|(key, value)| !LATER.contains(&(section, key)) || Some(value) != usual(key));
            }
        }
    }
    config.sorted().to_string()
}

/// The certificate that a file's bytes hold, if they hold one that can be read.
#[cfg(feature = "cli")]
pub fn stored_certificate(bytes: &[u8]) -> Option<Certificate> {
    let metadata = container::metadata(bytes).ok()?;
    let (_, entry) = metadata.iter().find(|(key, _)| key == ENTRY)?;
    serde_json::from_str(&Value::parse(entry).ok()?.get("certificate")?.to_string()).ok()
}

#[cfg(feature = "cli")]
impl Checkpoint {
    /// Writes the file whole or not at all, with a certificate among its metadata.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn save_certified(&self, path: &Path, certificate: &Certificate) -> Result<()> {
        write_whole(path, &self.to_certified_bytes(Some(certificate)))
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes())
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`Error::Model`] if it cannot be read or is not what it should be: see [`Checkpoint::from_bytes`].
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .map_err(|error| Error::Model { path: path.into(), problem: format!("cannot be read: {error}") })?;
        Self::from_bytes(&bytes, path)
    }
}

/// Writes `bytes` beside `path`, flushes them to the disk, and renames: the file is never half there.
///
/// # Errors
/// [`Error::Io`] naming the file. What was there before is then still there.
#[cfg(feature = "cli")]
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = write_beside(path, bytes)?;
    written.persist(path).map_err(|error| cannot_write(path, &error.error))?;
    flush_folder(folder_of(path));
    Ok(())
}

/// Writes `bytes` to a file beside `path`, flushes them to the disk, reads them back and compares. The file is gone
/// again unless it is renamed.
///
/// # Errors
/// [`Error::Io`] naming `path`.
#[cfg(feature = "cli")]
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    use std::io::{Error as IoError, Write};
    let fail = |source: IoError| cannot_write(path, &source);
    let mut file = tempfile::Builder::new().prefix(BESIDE).tempfile_in(folder_of(path)).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    let found = std::fs::read(file.path()).map_err(fail)?;
    if found != bytes {
        return Err(fail(IoError::other("what was written is not what can be read back: is the disk failing?")));
    }
    Ok(file)
}

#[cfg(feature = "cli")]
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error of a file that cannot be written, with what helps.
#[cfg(feature = "cli")]
fn cannot_write(path: &Path, source: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let cure = match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            ": make room there, or choose another folder; what was there before is untouched"
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => ": choose a folder that can be written",
        _ => "",
    };
    Error::Io {
        path: path.into(),
        source: std::io::Error::new(source.kind(), format!("cannot be written: {source}{cure}")),
    }
}

/// Flushes a folder, so that renaming a file in it reaches the disk too. Not every system can; those that cannot say so
/// here, and nothing follows from it.
#[cfg(feature = "cli")]
pub(crate) fn flush_folder(folder: &Path) {
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
}
