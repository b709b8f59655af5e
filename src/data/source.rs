//! A data set as a configuration asks for it: loaded, cut, and prepared to fit the model.

use super::ahead::Ahead;
use super::augment::Augment;
use super::batches::{Batches, eval_batches};
use super::prepare::{Prepare, Scale};
use super::{Batch, Dataset, Elements, Split, catalogue};
#[cfg(feature = "cli")]
use super::{arrays, folder};
use crate::config::{Augmentation, Config};
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
        let mut dataset = load(config, name, split)?;
        if config.data.coarse {
            dataset = dataset.coarse().ok_or_else(|| {
                Error::Config(format!(
                    "data.coarse = true: {name} has no coarse classes, cifar100 has; set it to false"
                ))
            })?;
        }
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

    /// The training batches from step `first` on, without end, made ahead.
    pub fn training(&self, first: u64) -> Ahead<Batch> {
        let this = self.clone();
        let len = this.dataset.len();
        let mut batches =
            if this.shuffle { Batches::new(this.seed, this.batch, len) } else { Batches::in_order(this.batch, len) };
        Ahead::new((first..).map(move |step| {
            let step = step as u32;
            let indices = batches.indices(step);
            this.prepare.batch(&this.dataset, &indices, this.seed, step)
        }))
    }

    /// The first `count` samples in the order of training, for initialisation.
    pub fn first(&self, count: usize) -> Batch {
        let count = count.min(self.dataset.len());
        let mut batches = Batches::new(self.seed, count, self.dataset.len());
        let indices = batches.indices(0);
        self.prepare.batch(&self.dataset, &indices, self.seed, 0)
    }

    /// Every sample once, in batches of `batch` with the number of those that count, made ahead.
    pub fn once(&self, batch: usize) -> Ahead<(Vec<f32>, Vec<u32>, usize)> {
        let this = self.clone();
        Ahead::new(eval_batches(batch, this.dataset.len()).map(move |part| {
            let ready = this.prepare.eval_batch(&this.dataset, &part.indices, this.seed);
            (ready.x.into_data(), ready.labels, part.real)
        }))
    }

    /// The samples at `indices`, prepared as for evaluation.
    pub fn at(&self, indices: &[u32]) -> Batch {
        self.prepare.eval_batch(&self.dataset, indices, self.seed)
    }
}

/// Loads `split` of the set called `name`, whatever its kind.
#[cfg_attr(
    not(feature = "cli"),
    expect(unused_variables, reason = "only files of the user's are read by configuration")
)]
fn load(config: &Config, name: &str, split: Split) -> Result<Dataset> {
    #[cfg(feature = "cli")]
    if let Some(path) = arrays::path(name) {
        let classes = config.model.kind.has_classes().then_some(config.model.classes);
        return arrays::load(&path, split, &config.model.input, classes);
    }
    #[cfg(feature = "cli")]
    if let Some(path) = folder::path(name) {
        let input = &config.model.input;
        let &[channels @ (1 | 3), height, width] = input.as_slice() else {
            return Err(Error::Config(format!(
                "{name}: pictures have 1 or 3 channels, a height and a width; model.input = {input:?} has another form"
            )));
        };
        return folder::load(&path, split, [channels, height, width], config.data.fit);
    }
    catalogue::load(name, split)
}

/// How samples of `dataset` become inputs of the configured model.
fn prepare(config: &Config, dataset: &Dataset) -> Result<Prepare> {
    let (data, name) = (&config.data, dataset.name());
    let [stored, height, width] = dataset.shape();
    let copies = match data.channels {
        0 => 1,
        wanted if wanted == stored => 1,
        wanted if stored == 1 => wanted,
        wanted => {
            return Err(Error::Config(format!(
                "data.channels = {wanted}: {name} has {stored} channels, only 1 can be repeated; set data.channels = 0"
            )));
        }
    };
    let channels = stored * copies;
    let wanted = &config.model.input;
    let fits = match wanted.as_slice() {
        [d] => *d == channels * height * width,
        [c, h, w] => *c == channels && h >= &height && w >= &width && h - height == w - width && (h - height) % 2 == 0,
        _ => false,
    };
    if !fits {
        let grey = if stored == 1 && copies == 1 { ", or data.channels to repeat a grey image" } else { "" };
        return Err(Error::Config(format!(
            "{name} has samples of shape [{channels}, {height}, {width}], which do not fit model.input = {wanted:?}; set \
             model.input to that shape (height and width may be larger by the same even number){grey}"
        )));
    }
    let augment = match data.augment {
        Augmentation::Off => None,
        Augmentation::Usual => Augment::usual(name).filter(|_| wanted.len() == 3),
        Augmentation::Custom(_) if wanted.len() != 3 => {
            return Err(Error::Config(format!(
                "data.augment: only images can be shifted and mirrored, model.input = {wanted:?} is none; set it to false"
            )));
        }
        Augmentation::Custom(augment) => Some(augment),
    };
    // Arrays are taken as they are, unless noise is asked for by name.
    let density = config.model.kind.is_image_density() && matches!(dataset.elements(), Elements::Bytes(_));
    Ok(Prepare {
        pad: if wanted.len() == 3 { (wanted[1] - height) / 2 } else { 0 },
        augment,
        copies,
        dequantize: data.dequantize || density,
        bits: data.bits,
        scale: Scale::of(config),
    })
}
