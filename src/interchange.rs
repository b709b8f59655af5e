//! State dicts of the published PyTorch code: models from them, and back.
//!
//! A model's tensors bear the names of the published `state_dict` already ([`Param`]), so that import
//! is a check and a conversion of number formats, and export writes the same names back. What differs:
//!
//! * names may begin with `module.`, as those of a model inside `DataParallel` do;
//! * a classifier's state also holds a prior, a density's also a classifier's head, which nothing uses: they are taken
//!   for granted on import and filled in on export;
//! * `num_batches_tracked` is an integer there;
//! * halves and doubles are converted to single precision.
//!
//! Whether ActNorm has been initialised is a Python attribute of the published layer and not in its state: loading a
//! state there and running forward initialises it anew from the data. Here a model that has parameters is initialised.

mod describe;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::arrays::{self, Array, ArrayFile, Elements};
use crate::checkpoint::{COUNTER, Checkpoint, write_whole};
use crate::config::{Config, Kind, Prior};
use crate::error::{Error, Result};
use crate::nn::{Model, Param, param};
use crate::shape::Shape;
use crate::tensor::Tensor;
use describe::Description;

/// Files of an exported model.
const MODEL: &str = "model.safetensors";
const CONFIG: &str = "config.toml";
const ABOUT: &str = "model.json";
/// What names begin with that were saved from inside `torch.nn.DataParallel`.
const PARALLEL: &str = "module.";
/// The published prior, present whether or not it is learned.
const PRIOR: [&str; 2] = ["prior_mu", "prior_logstd"];
/// Problems listed in one message; the others are counted.
const LISTED: usize = 8;

/// A model made of a state dict.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model, at step 0.
    pub checkpoint: Checkpoint,
    /// Names of tensors that the state holds and the model does not use.
    pub unused: Vec<String>,
}

/// Makes a model of the state dict in the file at `path`, laid out as `config` says.
///
/// # Errors
/// [`Error::Config`] if the configuration does not fit together; [`Error::Model`] if the file is damaged, or tensors are
/// missing, too many, of another shape, or not finite, each named, with what the state itself says of its model.
pub fn import(path: &Path, config: &Config) -> Result<Imported> {
    let model = Model::new(config)?;
    let as_model = |error| match error {
        Error::Data { path, problem } => Error::Model { path, problem },
        other => other,
    };
    if let Some(problem) = pickled(path) {
        return Err(Error::Model { path: path.into(), problem });
    }
    let file = ArrayFile::open(path).map_err(as_model)?;
    let mut state = BTreeMap::new();
    for name in file.names() {
        let array = file.read(name).map_err(as_model)?;
        let plain = name.strip_prefix(PARALLEL).unwrap_or(name);
        if state.insert(plain.to_owned(), array).is_some() {
            let problem = format!("tensor {plain:?} is there twice, with and without {PARALLEL:?} before its name");
            return Err(Error::Model { path: path.into(), problem });
        }
    }
    let shapes: BTreeMap<String, Shape> =
        state.iter().map(|(name, array)| (name.clone(), array.shape.clone())).collect();
    let (tensors, unused, problems) = match_up(&model, state);
    if !problems.is_empty() {
        let all = [model.params().to_vec(), model.unused_params()].concat();
        let ours = all.into_iter().map(|param| (param.name, param.shape)).collect();
        let mut differences = Description::of(&shapes).differences(&Description::of(&ours));
        // One tensor that is not what it should be is a damaged state, not another network.
        differences.retain(|_| problems.len() > 1);
        let problem = complaint(&problems, &differences);
        return Err(Error::Model { path: path.into(), problem });
    }
    Ok(Imported { checkpoint: Checkpoint { config: config.clone(), step: 0, tensors }, unused })
}

/// What to do about a file that PyTorch pickled.
fn pickled(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    ["t7", "pt", "pth", "pkl", "bin", "ckpt"].contains(&ending.as_str()).then(|| {
        "looks like a pickle of PyTorch, which only the Python code that wrote it can read; there, \
         safetensors.torch.save_file(model.state_dict(), \"state.safetensors\") writes what can be imported"
            .into()
    })
}

/// The model's tensors out of a state, in the model's order; names of what else it may hold; and what is wrong.
fn match_up(model: &Model, mut state: BTreeMap<String, Array>) -> (Vec<(String, Tensor)>, Vec<String>, Vec<String>) {
    let (mut tensors, mut problems) = (Vec::new(), Vec::new());
    for param in model.params() {
        let name = &param.name;
        match state.remove(name) {
            None => problems.push(format!("tensor {name:?} of shape {} is missing", param.shape)),
            Some(array) => match fitting(param, &array) {
                Ok(tensor) => tensors.push((name.clone(), tensor)),
                Err(problem) => problems.push(problem),
            },
        }
    }
    let known: HashMap<String, Param> =
        model.unused_params().into_iter().map(|param| (param.name.clone(), param)).collect();
    let mut unused = Vec::new();
    for (name, array) in state {
        match known.get(&name) {
            None => problems.push(format!("tensor {name:?} of shape {} does not belong to this model", array.shape)),
            Some(param) => {
                problems.extend(check_unused(model, param, &array).err());
                unused.push(name);
            }
        }
    }
    (tensors, unused, problems)
}

/// The array as the model's tensor.
fn fitting(param: &Param, array: &Array) -> Result<Tensor, String> {
    let name = &param.name;
    let single = |shape: &Shape| shape.len() == 1 && shape.rank() <= 1;
    if array.shape != param.shape && !(single(&array.shape) && single(&param.shape)) {
        return Err(format!("tensor {name:?} has shape {}, this model's has {}", array.shape, param.shape));
    }
    if name == COUNTER && matches!(array.elements, Elements::I64(_)) {
        let data = array.integers()?.into_iter().map(|count| count as f32).collect();
        return Ok(Tensor::new(param.shape.clone(), data));
    }
    let tensor = array.tensor().map_err(|problem| format!("tensor {name:?} {problem}"))?;
    Ok(tensor.reshape(param.shape.clone()))
}

/// Checks a tensor that the model does not use: it must be what the published code would have saved.
fn check_unused(model: &Model, param: &Param, array: &Array) -> Result<(), String> {
    // How many classes a density's head has is nowhere said.
    let mut param = param.clone();
    if param.name.starts_with("logits.") && array.shape.rank() == param.shape.rank() {
        let mut extents = param.shape.extents().to_vec();
        extents[0] = array.shape[0];
        param.shape = extents.into();
    }
    let tensor = fitting(&param, array)?;
    let config = &model.config().model;
    let used_elsewhere = config.kind != Kind::Classifier && config.prior == Prior::Standard;
    if used_elsewhere && PRIOR.contains(&param.name.as_str()) && tensor.data().iter().any(|&x| x != 0.0) {
        return Err(format!(
            "tensor {:?} is not zero, so this prior was learned; set model.prior = \"learned\"",
            param.name
        ));
    }
    Ok(())
}

/// One message of all problems.
fn complaint(problems: &[String], cures: &[String]) -> String {
    let mut text = "not the state of the model that the configuration describes:".to_owned();
    for problem in problems.iter().take(LISTED) {
        text += &format!("\n  {problem}");
    }
    if problems.len() > LISTED {
        text += &format!("\n  and {} more", problems.len() - LISTED);
    }
    if cures.is_empty() {
        text += "\nIts layout is what the configuration says; save the state again, with \
                 safetensors.torch.save_file(model.state_dict(), \"state.safetensors\")";
    } else {
        text += &format!("\nThe state itself says {}; change the configuration if that is meant", cures.join(", "));
    }
    text
}

/// The published `state_dict` of a model: its own tensors, then those that the published code holds besides.
///
/// # Errors
/// [`Error::Config`] if the model's configuration does not fit together.
pub fn state_dict(checkpoint: &Checkpoint) -> Result<Vec<(String, Array)>> {
    let model = Model::new(&checkpoint.config)?;
    let unused = param::initialize(&model.unused_params(), 0);
    let own =
        model.params().iter().filter_map(|param| checkpoint.tensor(&param.name).map(|tensor| (&param.name, tensor)));
    let all = own.chain(unused.iter().map(|(name, tensor)| (name, tensor)));
    Ok(all
        .map(|(name, tensor)| {
            let elements = if name == COUNTER {
                Elements::I64(tensor.data().iter().map(|&count| count as i64).collect())
            } else {
                Elements::F32(tensor.data().to_vec())
            };
            (name.clone(), Array::new(tensor.shape(), elements))
        })
        .collect())
}

/// Writes a model into `folder` for PyTorch and for the web: `model.safetensors`, which is both the published state dict
/// and a model file, `config.toml`, and `model.json`, which says what a page needs to know before it loads the model.
/// Gives the files.
///
/// # Errors
/// [`Error::Io`] if the folder or a file cannot be written.
pub fn export(checkpoint: &Checkpoint, folder: &Path) -> Result<Vec<PathBuf>> {
    let model = Model::new(&checkpoint.config)?;
    let state = state_dict(checkpoint)?;
    let state: Vec<(&str, Array)> = state.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
    let bytes = arrays::safetensors_bytes(&state, Some(checkpoint.metadata()));
    let config = &checkpoint.config.model;
    let trained = model.params().iter().filter(|param| param.is_parameter());
    let parameters: usize = trained.map(|param| param.shape.len()).sum();
    let about = json!({
        "format": "iresnet",
        "version": 1,
        "file": MODEL,
        "bytes": bytes.len(),
        "blake3": blake3::hash(&bytes).to_hex().as_str(),
        "kind": config.kind,
        "input": config.input,
        "latent": model.latent_len(),
        "classes": model.classes(),
        "blocks": model.blocks().len(),
        "parameters": parameters,
        "step": checkpoint.step,
    });
    let about = serde_json::to_string_pretty(&about).expect("plain data with text keys") + "\n";
    std::fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
    let files = [(CONFIG, checkpoint.config.to_toml().into_bytes()), (ABOUT, about.into_bytes()), (MODEL, bytes)];
    let mut written = Vec::new();
    for (name, content) in files {
        let path = folder.join(name);
        write_whole(&path, &content)?;
        written.push(path);
    }
    Ok(written)
}
