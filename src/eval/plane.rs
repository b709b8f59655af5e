//! The density of a model of points in the plane, over a grid.

use super::Evaluator;
use crate::error::Result;
use crate::network::Network;

/// Points evaluated at a time.
const BATCH: usize = 4096;

/// A density at the centres of the cells of a grid over the square \[-extent, extent\]².
#[derive(Clone, Debug)]
pub struct PlaneDensity {
    /// Half the side of the square.
    pub extent: f64,
    /// Number of cells along each side.
    pub side: usize,
    /// p(x) at each of [`cell_centres`].
    pub values: Vec<f64>,
}

impl PlaneDensity {
    /// Evaluates the model of `network` with the exact log-determinant.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) if the device failed.
    ///
    /// # Panics
    /// Panics if the model's input is not of two numbers.
    pub async fn of(network: &mut Network, extent: f64, side: usize) -> Result<Self> {
        assert_eq!(network.model().input_len(), 2, "a density over a plane grid needs a model of 2 numbers");
        let evaluator = Evaluator::new(network, BATCH, Some(crate::nn::LogDet::Exact)).await?;
        let mut values = Vec::with_capacity(side * side);
        for part in cell_centres(extent, side).chunks(BATCH) {
            let mut points = part.as_flattened().to_vec();
            points.resize(2 * BATCH, 0.0);
            evaluator.run(&points, &[], 0, 0);
            let found = evaluator.read("log_prob").await?;
            values.extend(found[..part.len()].iter().map(|&log| f64::from(log).exp()));
        }
        Ok(Self { extent, side, values })
    }

    /// ∫ p over the square by the midpoint rule: 1, less what lies outside, plus the rule's error.
    pub fn integral(&self) -> f64 {
        self.values.iter().sum::<f64>() * (2.0 * self.extent / self.side as f64).powi(2)
    }
}

/// Centres of the side² cells of \[-extent, extent\]²: x fastest, y upward.
pub fn cell_centres(extent: f64, side: usize) -> Vec<[f32; 2]> {
    let at = |index: usize| ((index as f64 + 0.5) / side as f64 * 2.0 * extent - extent) as f32;
    (0..side * side).map(|index| [at(index % side), at(index / side)]).collect()
}
