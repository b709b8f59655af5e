//! The spectrum of every layer before and after training, and what power iteration sees of it.

use nalgebra::{Complex, DMatrix};
use serde::{Deserialize, Serialize};

use super::findings::{Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Training};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::error::Result;
use crate::gpu::Tuning;
use crate::nn::{self, Model};
use crate::report::{Axis, Chart, Series};
use crate::tensor::Tensor;
use crate::train::Trainer;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "singular-values",
    paper: "Section 2.1 (spectral norm of convolutions)",
    shows: "All singular values of every layer of a classifier before and after training, of the convolutions on a torus (Sedghi \
            et al., 2019), beside the norm that power iteration believes in and the proved bound.",
    found: "power iteration underestimates the norm, so that layers are checked against their exact singular values afterwards.",
    minutes: 2,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    let mut config = Config::preset(if scale == Scale::Quick { "fashion-mnist-small" } else { "cifar10" })?;
    if scale == Scale::Quick {
        config.data.name = "fashion-mnist-mini".into();
        config.data.batch = 50;
        config.train.epochs = 6;
    }
    Ok(vec![Training::new("classifier", config)])
}

/// Power iteration in f32 may be too large by its rounding, relative.
const ROUNDING: f64 = 1e-4;

/// What is known of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Layer {
    name: String,
    /// Height and width of the images that it is applied to.
    size: [usize; 2],
    /// Whether the vectors of power iteration are of such images. Those of a block behind a squeeze are of the larger ones in
    /// front of it, as published, where the norm is a little larger.
    own_size: bool,
    /// What normalisation aims at.
    coefficient: f64,
    /// σ of the power iteration after normalisation.
    believed: f64,
    /// The proved bound of the zero-padded convolution's norm.
    bound: f64,
    /// Singular values of the periodic convolution, descending.
    spectrum: Vec<f64>,
}

async fn run(lab: &Lab) -> Step<Findings> {
    let Training { name, config, .. } = lab.trainings()?.remove(0);
    let before: Vec<Layer> = lab.measured("before", &config.to_toml(), async { untrained(lab, &config).await }).await?;
    let trained = lab.train(&name, &config).await?;
    let of_file = async |file: &str| -> Step<Vec<Layer>> {
        let checkpoint = Checkpoint::load(&trained.folder.join(file))?;
        Ok(layers(trained.network.model(), &checkpoint.model_only().tensors))
    };
    // Training ends with power iterations until they converge; its last checkpoint is older than these.
    let during: Vec<Layer> = lab.measured("during", &config.to_toml(), of_file("checkpoint.safetensors")).await?;
    let after: Vec<Layer> = lab.measured("after", &config.to_toml(), of_file(crate::run::MODEL)).await?;
    let mut findings = Findings::default();
    let columns = [
        "layer",
        "images",
        "c",
        "power iteration",
        "largest singular value",
        "proved bound",
        "bound before iterations converged",
        "largest singular value before training",
    ];
    let caption = "Norms of each layer after training, normalised: as power iteration sees it, on a torus, and bounded from above \
                   for images with zeros around them";
    let mut sheet = Sheet::new("layers", caption, columns);
    for ((layer, during), before) in after.iter().zip(&during).zip(&before) {
        let [height, width] = layer.size;
        sheet.push([
            layer.name.as_str().into(),
            format!("{height}×{width}").into(),
            layer.coefficient.into(),
            layer.believed.into(),
            layer.spectrum[0].into(),
            layer.bound.into(),
            during.bound.into(),
            before.spectrum[0].into(),
        ]);
    }
    for (when, layers) in [("before", &before), ("after", &after)] {
        let mut chart = Chart::new(
            format!("Singular values {when} training"),
            Axis::linear("part of the singular values, in descending order").range(0.0, 1.0),
            Axis::linear("singular value"),
        );
        for layer in layers.iter().take(SHOWN) {
            let last = (layer.spectrum.len() - 1).max(1) as f64;
            let points = layer.spectrum.iter().enumerate().map(|(k, &value)| (k as f64 / last, value)).collect();
            chart = chart.series(Series::new(layer.name.trim_end_matches(".weight_orig"), points));
        }
        let caption = format!("The first {SHOWN} layers, {when} training, as convolutions on a torus.");
        findings.chart(&format!("spectrum-{when}"), chart, &caption);
        let mut file = Sheet::new(format!("spectrum-{when}"), "Every singular value", ["layer", "rank", "value"]);
        for layer in layers {
            for (rank, &value) in layer.spectrum.iter().enumerate() {
                file.push([layer.name.as_str().into(), (rank as f64).into(), value.into()]);
            }
        }
        findings.file(file);
    }
    findings.sheet(sheet);
    let worst = |layers: &[Layer], of: &dyn Fn(&Layer) -> f64| layers.iter().map(of).fold(0.0, f64::max);
    let largest = worst(&after, &|layer| layer.bound);
    let text = "after training every layer is proved to have a norm below 1";
    findings.claim(Claim::new(text, largest < 1.0, format!("at most {largest:.3}")));
    let [excess, converged] = [&during, &after].map(|layers| worst(layers, &|layer| layer.bound / layer.coefficient));
    let text = "the iterations of training alone underestimate norms: converged ones bring the largest bound down";
    findings.claim(Claim::new(text, converged < excess, format!("from {excess:.4} c to {converged:.4} c")));
    let low = worst(&after, &|layer| if layer.own_size { layer.believed / layer.bound } else { 0.0 });
    let text = "power iteration never exceeds the proved bound, where its vectors are of the layer's own size";
    findings.claim(Claim::new(text, low <= 1.0 + ROUNDING, format!("at most {low:.4} of it")));
    let ratio = |layers: &[Layer]| {
        let flat = layers.iter().map(|layer| layer.spectrum[layer.spectrum.len() / 2] / layer.spectrum[0]);
        flat.sum::<f64>() / layers.len() as f64
    };
    let (first, last) = (ratio(&before), ratio(&after));
    let text = "training changes the spectra: the median singular value moves against the largest";
    findings.claim(Claim::new(text, (first - last).abs() > 0.01, format!("from {first:.3} to {last:.3} on average")));
    Ok(findings)
}

/// Layers in one chart.
const SHOWN: usize = 6;

/// The layers as initialisation leaves them.
async fn untrained(lab: &Lab, config: &Config) -> Step<Vec<Layer>> {
    let source = Source::open(config, None, Split::Train)?;
    let per_epoch = source.steps_per_epoch();
    let mut trainer = Trainer::new(lab.gpu(), config, per_epoch, Tuning::usual(), None).await?;
    trainer.initialize(source.first(config.train.init_batch).x.data()).await?;
    trainer.finish().await?;
    let checkpoint = trainer.checkpoint().await?;
    Ok(layers(trainer.network().model(), &checkpoint.tensors))
}

fn layers(model: &Model, tensors: &[(String, Tensor)]) -> Vec<Layer> {
    let weight = |name: &str| tensors.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor);
    let weight_vector = |name: &str| weight(&name.replace("weight_orig", "weight_u"));
    let certificate = nn::certify(model, tensors);
    let layers = certificate.blocks.iter().flat_map(|block| &block.layers);
    let layer = |layer: &nn::certificate::LayerCertificate| {
        let weight = weight(&layer.name)?;
        let coefficient = layer.coefficient?;
        let sigma = layer.sigma?;
        let scale = 1.0 / f64::max(1.0, sigma / coefficient);
        let size = layer.size.unwrap_or([1, 1]);
        let vector = weight_vector(&layer.name)?;
        let [out, kernel] = [0, 2].map(|axis| weight.shape().extents().get(axis).copied().unwrap_or(1));
        // The vectors of a 1×1 layer are of a single pixel, as its norm does not depend on the image.
        let own_size = kernel == 1 || vector.shape().len() == out * size[0] * size[1];
        let spectrum = spectrum(weight, size, scale);
        let believed = sigma * scale;
        let bound = layer.bound;
        Some(Layer { name: layer.name.clone(), size, own_size, coefficient, believed, bound, spectrum })
    };
    layers.filter_map(layer).collect()
}

/// Singular values, descending, of the periodic convolution of images of `size` with `scale` times the weight
/// `[out, in, k, k]`, or of a matrix `[out, in]`. At each frequency (a, b) of the torus the convolution is the matrix
/// Σ W(y, x) exp(2πi (a y / h + b x / w)).
fn spectrum(weight: &Tensor, [height, width]: [usize; 2], scale: f64) -> Vec<f64> {
    let extents = weight.shape().extents();
    let (out, into) = (extents[0], extents[1]);
    let (rows, columns) = (extents.get(2).copied().unwrap_or(1), extents.get(3).copied().unwrap_or(1));
    let (data, taps) = (weight.data(), rows * columns);
    let mut values = Vec::new();
    for a in 0..height {
        for b in 0..width {
            let matrix = DMatrix::from_fn(out, into, |o, i| {
                let mut sum = Complex::new(0.0, 0.0);
                for tap in 0..taps {
                    let (y, x) = ((tap / columns) as f64, (tap % columns) as f64);
                    let turn = a as f64 * y / height as f64 + b as f64 * x / width as f64;
                    let value = scale * f64::from(data[(o * into + i) * taps + tap]);
                    sum += Complex::from_polar(value, std::f64::consts::TAU * turn);
                }
                sum
            });
            values.extend(matrix.singular_values().iter().copied());
        }
    }
    values.sort_by(|a: &f64, b| b.total_cmp(a));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On an image of one pixel every tap meets that pixel; on two rows the taps of a column alternate.
    #[test]
    fn spectra_of_small_convolutions() {
        let weight = Tensor::new([1, 1, 3, 3], vec![0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.5, 0.0]);
        assert!((spectrum(&weight, [1, 1], 1.0)[0] - 3.5).abs() < 1e-12);
        let two = spectrum(&weight, [2, 1], 2.0);
        assert!((two[0] - 7.0).abs() < 1e-12 && (two[1] - 1.0).abs() < 1e-12, "{two:?}");
        let matrix = Tensor::new([2, 2], vec![3.0, 0.0, 0.0, -4.0]);
        assert_eq!(spectrum(&matrix, [1, 1], 1.0), [4.0, 3.0]);
    }
}
