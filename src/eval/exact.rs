//! Exact log-determinants of whole networks: the Jacobian of every block from the device, its determinant on the host.
//!
//! ln |det| of the network is the sum over its blocks, as squeezes and splits only move elements. For each block and
//! sample the rows of the branch's Jacobian J are vector-Jacobian products with one-hot cotangents, many in a batch;
//! ln |det(I + J)| follows by an LU decomposition in f64. Time grows with the cube of the largest block's dimension. What
//! is a formula, as in a Glow, comes from the device as it is.

use super::determinant::log_abs_determinant;
use crate::error::{Error, Result};
use crate::network::{self, Network, Task};
use crate::nn::model::block_input;

/// Most dimensions of a block: its Jacobian then has 128 MiB in f64.
pub const LIMIT: usize = 4096;

/// Rows of a Jacobian that the device computes at once.
const ROWS: usize = 64;

/// Log-densities under the prior and exact log-determinants.
pub struct ExactEvaluator {
    trace: Task,
    batch: usize,
}

impl ExactEvaluator {
    /// Binds it for batches of `batch` samples.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a density, or with a block of more than [`LIMIT`] dimensions;
    /// [`Error::Gpu`] if the device has no room.
    pub async fn new(network: &mut Network, batch: usize) -> Result<Self> {
        if network.model().training_log_det().is_none() {
            return Err(network::unsupported(network.model(), "an exact log-determinant"));
        }
        let largest = network.model().blocks().iter().map(|block| block.branch.input.len()).max().unwrap_or(0);
        if largest > LIMIT {
            return Err(Error::Config(format!(
                "an exact log-determinant needs the full Jacobian of every block; blocks of this model have {largest} \
                 dimensions, at most {LIMIT} are computed: use `--log-det series`"
            )));
        }
        let graph = network.model().trace_graph(batch);
        Ok(Self { trace: network.task("trace", &graph).await?, batch })
    }

    /// Number of samples in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// (log_prior, log_det) in nats of the first `real` samples of a batch `x`, row-major.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed or has no room.
    pub async fn run(&self, network: &mut Network, x: &[f32], real: usize) -> Result<Vec<[f64; 2]>> {
        self.trace.write("x", x);
        self.trace.run();
        let log_prior = self.trace.read("log_prior").await?;
        let mut results: Vec<[f64; 2]> = log_prior[..real].iter().map(|&value| [f64::from(value), 0.0]).collect();
        if self.trace.has("log_det") {
            for (result, log_det) in results.iter_mut().zip(self.trace.read("log_det").await?) {
                result[1] = f64::from(log_det);
            }
        }
        // One block after the other, so that only one is bound at a time.
        for index in 0..network.model().blocks().len() {
            let inputs = self.trace.read(&block_input(index)).await?;
            let block = BlockJacobian::new(network, index).await?;
            for (result, x) in results.iter_mut().zip(inputs.chunks_exact(block.dimension)) {
                result[1] += block.log_det(x).await?;
            }
        }
        Ok(results)
    }
}

/// The Jacobian of a block, bound.
struct BlockJacobian {
    task: Task,
    dimension: usize,
    rows: usize,
}

impl BlockJacobian {
    async fn new(network: &mut Network, index: usize) -> Result<Self> {
        let dimension = network.model().blocks()[index].branch.input.len();
        let rows = dimension.min(ROWS);
        let graph = network.model().jacobian_graph(index, rows);
        Ok(Self { task: network.task("jacobian", &graph).await?, dimension, rows })
    }

    /// ln |det| of the block, ActNorm included, for one sample of its input.
    async fn log_det(&self, x: &[f32]) -> Result<f64> {
        let d = self.dimension;
        self.task.write("x", x);
        let mut matrix = vec![0.0; d * d];
        for first in (0..d).step_by(self.rows) {
            self.task.write("first", &[first as f32]);
            self.task.run();
            let rows = self.task.read("rows").await?;
            for (to, &value) in matrix[first * d..].iter_mut().zip(&rows) {
                *to = f64::from(value);
            }
        }
        matrix.iter_mut().step_by(d + 1).for_each(|diagonal| *diagonal += 1.0);
        let of_actnorm = self.task.read("log_det").await?[0];
        Ok(f64::from(of_actnorm) + log_abs_determinant(&mut matrix, d))
    }
}
