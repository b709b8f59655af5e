//! The prior: a diagonal Gaussian over all latent numbers of a sample, standard or with learned mean and scale.

use super::actnorm::per_channel;
use crate::graph::{Graph, NodeId};

/// Mean and logarithm of the standard deviation, `[d]` each.
#[derive(Clone, Copy, Debug)]
pub struct Gaussian {
    /// The mean μ.
    pub mean: NodeId,
    /// ln σ.
    pub log_std: NodeId,
}

/// ln p(z) for each sample of z `[n, d]`, in nats: Σ -½ ((z-μ)/σ)² - ln σ - ½ ln 2π. Without `gaussian` the standard
/// normal distribution. Shape `[n]`.
pub fn log_density(g: &mut Graph, z: NodeId, gaussian: Option<Gaussian>) -> NodeId {
    let dimension = g.shape(z)[1];
    let constant = -0.5 * dimension as f64 * (2.0 * std::f64::consts::PI).ln();
    let Some(Gaussian { mean, log_std }) = gaussian else {
        let squares = g.square(z);
        let sum = g.sum(squares, &[1]);
        let exponent = g.scale(sum, -0.5);
        return g.add_scalar(exponent, constant);
    };
    let mean = per_channel(g, mean, z);
    let negative = g.neg(log_std);
    let precision = g.exp(negative);
    let precision = per_channel(g, precision, z);
    let centred = g.sub(z, mean);
    let standard = g.mul(centred, precision);
    let squares = g.square(standard);
    let sum = g.sum(squares, &[1]);
    let exponent = g.scale(sum, -0.5);
    let volume = g.sum_all(log_std);
    let density = g.sub(exponent, volume);
    g.add_scalar(density, constant)
}

/// Turns standard normal `noise` `[n, d]` into a sample at `temperature` (one number, 1 for the distribution itself):
/// μ + temperature · σ · noise.
pub fn sample(g: &mut Graph, noise: NodeId, temperature: NodeId, gaussian: Option<Gaussian>) -> NodeId {
    let temperature = super::activation::broadcast_scalar(g, temperature, noise);
    let scaled = g.mul(noise, temperature);
    let Some(Gaussian { mean, log_std }) = gaussian else { return scaled };
    let std = g.exp(log_std);
    let std = per_channel(g, std, noise);
    let mean = per_channel(g, mean, noise);
    let spread = g.mul(scaled, std);
    g.add(spread, mean)
}
