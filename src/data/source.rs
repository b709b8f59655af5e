//! A data set as a configuration asks for it: loaded, cut, and prepared to fit the model.

use super::batches::{Batches, eval_batches};
use super::prepare::{Augment, Padding, Prepare};
use super::{Batch, Dataset, Elements, Split, arrays, catalogue};
use crate::config::Config;
use crate::error::{Error, Result};

/// Samples of one split, ready to be fed to a model.
#[derive(Clone, Debug)]
pub struct Source {
    dataset: Dataset,
    prepare: Prepare,
    seed: u64,
    batch: usize,
    shuffle: bool,
}

impl Source {
    /// Loads `split` of the set that `config` names, or of `name` where it is given.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such set or its samples do not fit `model.input`; [`Error::Data`] if its files are
    /// missing or damaged, or if a user's own data do not fit `model.input`.
    pub fn open(config: &Config, name: Option<&str>, split: Split) -> Result<Self> {
        let name = name.unwrap_or(&config.data.name);
        let classes = config.model.kind.has_classes().then_some(config.model.classes);
        let mut dataset = match arrays::path(name) {
            Some(path) => arrays::load(&path, split, &config.model.input, classes)?,
            None => catalogue::load(name, split)?,
        };
        if split == Split::Train && config.data.limit > 0 {
            dataset = dataset.limit(config.data.limit);
        }
        let prepare = prepare(config, &dataset)?;
        let classes = dataset.classes();
        if config.model.kind.has_classes() && classes != config.model.classes {
            return Err(Error::Config(format!(
                "{name} has {classes} classes, model.classes = {}; set model.classes={classes}",
                config.model.classes
            )));
        }
        Ok(Self { dataset, prepare, seed: config.train.seed, batch: config.data.batch, shuffle: config.data.shuffle })
    }

    /// The samples themselves.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Number of training steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        u64::from(super::batches::steps_per_epoch(self.batch, self.dataset.len()))
    }

    /// The training batches from step `first` on, without end.
    pub fn training(&self, first: u64) -> impl Iterator<Item = Batch> + Send + 'static {
        let this = self.clone();
        let len = this.dataset.len();
        let mut batches =
            if this.shuffle { Batches::new(this.seed, this.batch, len) } else { Batches::in_order(this.batch, len) };
        (first..).map(move |step| {
            let step = step as u32;
            let indices = batches.indices(step);
            this.prepare.batch(&this.dataset, &indices, this.seed, step)
        })
    }

    /// The first `count` samples in the order of training, for initialisation.
    pub fn first(&self, count: usize) -> Batch {
        let count = count.min(self.dataset.len());
        let mut batches = Batches::new(self.seed, count, self.dataset.len());
        let indices = batches.indices(0);
        self.prepare.batch(&self.dataset, &indices, self.seed, 0)
    }

    /// Every sample once, in batches of `batch` with the number of those that count.
    pub fn once(&self, batch: usize) -> impl Iterator<Item = (Vec<f32>, Vec<u32>, usize)> + '_ {
        eval_batches(batch, self.dataset.len()).map(move |part| {
            let ready = self.prepare.eval_batch(&self.dataset, &part.indices, self.seed);
            (ready.x.into_data(), ready.labels, part.real)
        })
    }

    /// The samples at `indices`, prepared as for evaluation.
    pub fn at(&self, indices: &[u32]) -> Batch {
        self.prepare.eval_batch(&self.dataset, indices, self.seed)
    }
}

/// How samples of `dataset` become inputs of the configured model.
fn prepare(config: &Config, dataset: &Dataset) -> Result<Prepare> {
    if matches!(dataset.elements(), Elements::Floats(_)) {
        return Ok(Prepare::default());
    }
    let [channels, height, width] = dataset.shape();
    let wanted = &config.model.input;
    let fits = match wanted.as_slice() {
        [d] => *d == dataset.dim(),
        [c, h, w] => *c == channels && h >= &height && w >= &width && h - height == w - width && (h - height) % 2 == 0,
        _ => false,
    };
    if !fits {
        return Err(Error::Config(format!(
            "{} has samples of shape [{channels}, {height}, {width}], which do not fit model.input = {wanted:?}; set \
             model.input to that shape (height and width may be larger by the same even number)",
            dataset.name()
        )));
    }
    let pad = if wanted.len() == 3 { (wanted[1] - height) / 2 } else { 0 };
    let colour = channels == 3;
    let augment = (config.data.augment && wanted.len() == 3).then_some(Augment {
        shift: if colour { 4 } else { 2 },
        padding: if colour { Padding::Symmetric } else { Padding::Zero },
        flip: colour || dataset.name().starts_with("fashion"),
    });
    Ok(Prepare { pad, augment, dequantize: config.data.dequantize || config.model.kind.is_multiscale() })
}
