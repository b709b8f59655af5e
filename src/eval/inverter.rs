//! Inversion and sampling of a model on a device.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::network::{self, Network, Task};
use crate::nn::{Model, Stop};

/// Inputs rebuilt from latent numbers, and how well that went for each sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inverted {
    /// The inputs, row-major.
    pub x: Vec<f32>,
    /// Evaluations of residual branches, summed over blocks.
    pub iterations: Vec<f32>,
    /// The last iteration's largest change of an element, the largest over blocks.
    pub residual: Vec<f32>,
    /// Whether every block converged.
    pub converged: Vec<bool>,
    /// Upper bounds of the Euclidean distance to the true solution, infinite where none is known. Only of an inverter
    /// that is [bounded](Inverter::bounded).
    pub error_bound: Vec<f32>,
}

impl Inverted {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.converged.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.converged.is_empty()
    }

    /// Number of samples of which a block did not converge.
    pub fn unconverged(&self) -> usize {
        self.converged.iter().filter(|&&converged| !converged).count()
    }

    /// The largest last change of any sample; infinite where one is not a number.
    pub fn largest_residual(&self) -> f32 {
        largest(self.residual.iter().copied())
    }

    /// Adds the first `count` samples of `more`.
    pub fn append(&mut self, more: &Self, count: usize) {
        let width = more.x.len() / more.len();
        self.x.extend_from_slice(&more.x[..count * width]);
        self.iterations.extend_from_slice(&more.iterations[..count]);
        self.residual.extend_from_slice(&more.residual[..count]);
        self.converged.extend_from_slice(&more.converged[..count]);
        self.error_bound.extend_from_slice(&more.error_bound[..count.min(more.error_bound.len())]);
    }
}

/// The largest difference of two samples' elements; infinite where one is not a number.
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    largest(a.iter().zip(b).map(|(a, b)| (a - b).abs()))
}

/// The largest of sizes; infinite where one is not a number.
fn largest(sizes: impl Iterator<Item = f32>) -> f32 {
    sizes.fold(0.0, |largest, size| if size.is_nan() { f32::INFINITY } else { largest.max(size) })
}

/// The inverse of a network, bound for batches of one size: from latent numbers, or from noise of its own.
pub struct Inverter {
    task: Task,
    batch: usize,
    latent_len: usize,
}

impl Inverter {
    /// Binds the inversion of latent vectors, `batch` at a time.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that is not invertible, [`Error::Gpu`] if the device has no room.
    pub async fn new(network: &mut Network, batch: usize, stop: Stop) -> Result<Self> {
        require_invertible(network.model())?;
        let graph = network.model().inverse_graph(batch, stop);
        Self::bind(network, "inverse", batch, &graph).await
    }

    /// The same, with an upper bound of each sample's error, at the price of three more evaluations of each block. Where
    /// inverses are formulas no bound is known.
    ///
    /// # Errors
    /// As [`Inverter::new`].
    pub async fn bounded(network: &mut Network, batch: usize, stop: Stop) -> Result<Self> {
        require_invertible(network.model())?;
        let graph = network.model().bounded_inverse_graph(batch, stop);
        Self::bind(network, "bounded inverse", batch, &graph).await
    }

    /// Binds sampling of `batch` inputs.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a density, otherwise as [`Inverter::new`].
    pub async fn sampler(network: &mut Network, batch: usize, stop: Stop) -> Result<Self> {
        if !network.model().config().model.kind.has_density() {
            return Err(network::unsupported(network.model(), "sampling"));
        }
        let graph = network.model().sample_graph(batch, stop);
        Self::bind(network, "sample", batch, &graph).await
    }

    async fn bind(network: &mut Network, name: &str, batch: usize, graph: &Graph) -> Result<Self> {
        let latent_len = network.model().latent_len();
        Ok(Self { task: network.task(name, graph).await?, batch, latent_len })
    }

    /// Inverts latent numbers of any number of samples, row-major.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub async fn invert(&self, z: &[f32]) -> Result<Inverted> {
        let width = self.latent_len;
        assert!(z.len().is_multiple_of(width), "{} latent numbers are no whole number of samples of {width}", z.len());
        let mut inverted = Inverted::default();
        for part in z.chunks(self.batch * width) {
            let count = part.len() / width;
            // The last batch is filled up with its last sample.
            let mut filled = part.to_vec();
            for _ in count..self.batch {
                filled.extend_from_slice(&part[part.len() - width..]);
            }
            self.task.write("z", &filled);
            inverted.append(&self.finish().await?, count);
        }
        Ok(inverted)
    }

    /// Draws samples; `draw` tells draws with one seed apart.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub async fn sample(&self, seed: u64, draw: u32, temperature: f32) -> Result<Inverted> {
        self.sample_from(0, seed, draw, temperature).await
    }

    /// The same for samples from number `first` on of a draw of more.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub async fn sample_from(&self, first: usize, seed: u64, draw: u32, temperature: f32) -> Result<Inverted> {
        self.task.write("keys", &network::keys_from(seed, draw, 1, 1, first));
        self.task.write("temperature", &[temperature]);
        self.finish().await
    }

    async fn finish(&self) -> Result<Inverted> {
        self.task.run();
        let x = self.task.start_read("x");
        let iterations = self.task.start_read("iterations");
        let residual = self.task.start_read("residual");
        let bound = self.task.has("error_bound").then(|| self.task.start_read("error_bound"));
        let converged = self.task.read("converged").await?;
        let x = x.await?;
        // The formula of a Glow has nothing to converge, and yet may overflow.
        let is_finite = |sample: &[f32]| sample.iter().all(|value| value.is_finite());
        let samples = x.chunks_exact((x.len() / converged.len()).max(1));
        let converged = converged.iter().zip(samples).map(|(&flag, sample)| flag > 0.0 && is_finite(sample)).collect();
        let mut inverted = Inverted {
            x,
            iterations: iterations.await?,
            residual: residual.await?,
            converged,
            error_bound: Vec::new(),
        };
        if let Some(bound) = bound {
            let known = |bound: f32| if bound < UNKNOWN { bound } else { f32::INFINITY };
            inverted.error_bound = bound.await?.into_iter().map(known).collect();
        }
        Ok(inverted)
    }
}

/// Fails for a model that is no invertible one.
pub(super) fn require_invertible(model: &Model) -> Result<()> {
    if model.is_invertible() { Ok(()) } else { Err(Error::Config(NOT_INVERTIBLE.into())) }
}

/// What is wrong with a ResNet that is to be run backwards, and what to do.
pub(crate) const NOT_INVERTIBLE: &str = "this model has model.architecture = \"resnet\", whose blocks need not be invertible; \
    run a model of architecture \"iresnet\" backwards (with model.coefficient = \"none\" it is such a network's twin, and says \
    where its iteration fails), or one of architecture \"glow\"";

/// Graphs have no infinity: this stands for it.
const UNKNOWN: f32 = crate::nn::inverse::DIVERGED as f32;
