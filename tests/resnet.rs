//! ResNets: batch normalisation as a hand-written reference has it, the known number of parameters, and learning.

#[path = "common/agreement.rs"]
#[allow(dead_code, reason = "shared with the tests of architectures, which use more of it")]
mod agreement;
mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;
#[path = "common/small_model.rs"]
#[allow(dead_code, reason = "shared with the tests of memory, which use more of it")]
mod small_model;

use agreement::{assert_agree, assert_slope};
use common::on_every_device;
use fixture::Tensors;
use iresnet::config::{Architecture, Config, Kind, Memory};
use iresnet::gpu::{Tuning, block_on};
use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::nn::batch_norm::MOMENTUM;
use iresnet::nn::resnet::{Mode, PlainBlock};
use iresnet::nn::{Activation, Evaluation, Model, Probes, certify, param};
use iresnet::ops::conv2d::Precision;
use iresnet::random::{Distribution, Key};
use iresnet::train::Trainer;
use small_model::{interpreted, normal, on};

/// What is equal in theory agrees in f64 nearly to its last digits.
const SAME: f64 = 1e-11;
/// Relative error of losses and gradients in f32.
const ON_A_DEVICE: f64 = 1e-4;
/// Samples in a batch: not a multiple of anything.
const BATCH: usize = 3;

fn config(edit: impl FnOnce(&mut Config)) -> Config {
    let mut config = small_model::config(Kind::Classifier);
    config.model.architecture = Architecture::Resnet;
    config.model.coefficient = None;
    config.model.actnorm = false;
    config.model.batch_norm = true;
    edit(&mut config);
    config
}

fn bottleneck(config: &mut Config) {
    config.model.bottleneck = true;
    config.model.injective_padding = 0;
    config.model.input = vec![2, 5, 4];
    config.model.channels = vec![2, 3];
}

fn cases() -> Vec<(&'static str, Config)> {
    vec![
        ("twin", config(|_| {})),
        ("twin without normalisation", config(|config| config.model.batch_norm = false)),
        ("twin with ActNorm", config(|config| config.model.actnorm = true)),
        ("bottleneck", config(bottleneck)),
        (
            "bare bottleneck with learned activations",
            config(|config| {
                bottleneck(config);
                config.model.batch_norm = false;
                config.model.activation = Activation::LipSwish;
            }),
        ),
    ]
}

/// The model, with parameters and statistics away from their simple beginnings.
fn model(config: &Config) -> (Model, Tensors) {
    let model = Model::new(config).unwrap();
    let mut values = Tensors::default();
    for (position, (name, tensor)) in param::initialize(model.params(), 3).into_iter().enumerate() {
        let key = Key::new(8, position as u32, 0);
        let noise = |at: usize| (0.1 * Distribution::Normal.draw(key, at as u32)) as f32;
        let data = tensor.data().iter().enumerate().map(|(at, &value)| f64::from(value + noise(at))).collect();
        values = values.with(&name, Array::new(tensor.shape(), data));
    }
    (model, values)
}

fn inputs(model: &Model, values: &Tensors, n: usize) -> Tensors {
    let shape = [&[n], &model.config().model.input[..]].concat();
    let labels = (0..n).map(|sample| (sample % 3) as f64).collect();
    values.clone().with("x", normal(shape, 2)).with("labels", Array::new([n], labels))
}

/// The known network has so many parameters: convolutions without biases, a scale and a shift for each normalised channel,
/// three projections, and the linear layer.
#[test]
fn resnet_164_has_its_known_number_of_parameters() {
    for (preset, wanted) in [("cifar10-resnet-164", 1_703_258), ("cifar100-resnet-164", 1_726_388)] {
        let model = Model::new(&Config::preset(preset).unwrap()).unwrap();
        let trained = model.params().iter().filter(|param| param.is_parameter());
        assert_eq!(trained.map(|param| param.shape.len()).sum::<usize>(), wanted, "{preset}");
        assert_eq!(model.plain_blocks().len(), 54);
        let layers = model.params().iter().filter(|param| param.shape.rank() >= 2);
        let layers = layers.filter(|param| !param.name.contains("shortcut")).count();
        assert_eq!(layers, 164, "{preset}");
    }
}

/// The twin is the same network: the i-ResNet's convolutions and its head, and two vectors for each normalisation more.
#[test]
fn the_twin_is_the_i_resnet_without_its_constraint() {
    for (constrained, twin) in
        [("cifar10", "cifar10-vanilla"), ("mnist", "mnist-vanilla"), ("mnist-small", "mnist-small-vanilla")]
    {
        let models = [constrained, twin].map(|name| Model::new(&Config::preset(name).unwrap()).unwrap());
        let weights = |model: &Model| -> Vec<(String, iresnet::shape::Shape)> {
            let params = model.params().iter().filter(|param| param.is_parameter() && param.shape.rank() >= 2);
            params.map(|param| (param.name.trim_end_matches("_orig").to_owned(), param.shape.clone())).collect()
        };
        assert_eq!(weights(&models[0]), weights(&models[1]), "{twin}");
        assert_eq!(models[0].latent_len(), models[1].latent_len(), "{twin}");
        assert_eq!(models[0].multiply_adds(), models[1].multiply_adds(), "{twin}");
    }
}

/// Mean and variance of each channel of `[n, c, pixels]`.
fn moments(x: &[f64], [n, c, pixels]: [usize; 3]) -> Vec<[f64; 2]> {
    let of_channel = |channel: usize| {
        let elements = (0..n * pixels).map(|i| x[(i / pixels * c + channel) * pixels + i % pixels]);
        let mean = elements.clone().sum::<f64>() / (n * pixels) as f64;
        [mean, elements.map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n * pixels) as f64]
    };
    (0..c).map(of_channel).collect()
}

/// A convolution by its definition; weight `[o, c, k, k]`, padding k/2.
fn convolve(x: &[f64], [n, c, h, w]: [usize; 4], weight: &Array, stride: usize) -> (Vec<f64>, [usize; 4]) {
    let [o, k] = [weight.shape()[0], weight.shape()[2]];
    let out = [n, o, h.div_ceil(stride), w.div_ceil(stride)];
    let mut y = vec![0.0; out.iter().product()];
    for (at, y) in y.iter_mut().enumerate() {
        let (column, row) = (at % out[3], at / out[3] % out[2]);
        let (output, sample) = (at / (out[3] * out[2]) % o, at / (out[3] * out[2] * o));
        for input in 0..c {
            for (dy, dx) in (0..k * k).map(|i| (i / k, i % k)) {
                let (Some(i), Some(j)) =
                    ((row * stride + dy).checked_sub(k / 2), (column * stride + dx).checked_sub(k / 2))
                else {
                    continue;
                };
                if i < h && j < w {
                    *y += weight.at(&[output, input, dy, dx]) * x[((sample * c + input) * h + i) * w + j];
                }
            }
        }
    }
    (y, out)
}

/// A bottleneck with stride and projection, with statistics of the batch and with running ones, against loops.
#[test]
fn a_bottleneck_is_what_its_definition_says() {
    const SHAPE: [usize; 4] = [4, 3, 5, 6];
    let block = PlainBlock { batch_norm: true, ..PlainBlock::bottleneck([3, 5, 6], 2, 2, Activation::Relu) };
    assert_eq!(block.output().extents(), [8, 3, 3]);
    let mut values = Tensors::default().with("x", normal(SHAPE, 1));
    for (stream, operand) in block.operands().into_iter().enumerate() {
        let mut value = normal(operand.shape.clone(), 10 + stream as u32);
        if operand.name.ends_with("running_var") {
            value.data_mut().iter_mut().for_each(|x| *x = x.abs() + 0.5);
        }
        values = values.with(&operand.name, value);
    }
    for training in [true, false] {
        let graph = block.function(Mode { batch: SHAPE[0], training, recompute: false, precision: Precision::F32 });
        let found = fixture::run(graph.graph(), &values);
        let get = |name: String| values.get(&name).data();
        let (mut x, mut shape) = (values.get("x").data().to_vec(), SHAPE);
        let mut shortcut = Vec::new();
        for (layer, stride) in [1, 2, 1].into_iter().enumerate() {
            let [n, c, h, w] = shape;
            let at = 2 * layer;
            let seen = moments(&x, [n, c, h * w]);
            for (i, x) in x.iter_mut().enumerate() {
                let channel = i / (h * w) % c;
                let running =
                    [get(format!("{at}.norm.running_mean"))[channel], get(format!("{at}.norm.running_var"))[channel]];
                let [mean, variance] = if training { seen[channel] } else { running };
                let normal = (*x - mean) / (variance + 1e-5).sqrt();
                *x = (normal * get(format!("{at}.norm.weight"))[channel] + get(format!("{at}.norm.bias"))[channel])
                    .max(0.0);
            }
            if training {
                let count = (n * h * w) as f64;
                for (channel, [mean, variance]) in seen.into_iter().enumerate() {
                    let unbiased = variance * count / (count - 1.0);
                    for (name, new) in [("running_mean", mean), ("running_var", unbiased)] {
                        let old = get(format!("{at}.norm.{name}"))[channel];
                        let wanted = (1.0 - MOMENTUM) * old + MOMENTUM * new;
                        let next = found.get(&format!("next {at}.norm.{name}")).data()[channel];
                        assert!((next - wanted).abs() < SAME, "{at}.norm.{name}: {next}, not {wanted}");
                    }
                }
            }
            if layer == 0 {
                shortcut = convolve(&x, shape, values.get("shortcut.weight"), 2).0;
            }
            (x, shape) = convolve(&x, shape, values.get(&format!("{}.weight", at + 1)), stride);
        }
        let wanted = x.iter().zip(&shortcut).map(|(a, b)| a + b);
        for (at, (found, wanted)) in found.get("y").data().iter().zip(wanted).enumerate() {
            assert!((found - wanted).abs() < SAME * (1.0 + wanted.abs()), "element {at}: {found}, not {wanted}");
        }
        assert_eq!(found.0.len(), if training { 1 + 6 } else { 1 });
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for (name, config) in cases() {
        let (model, values) = model(&config);
        let inputs = inputs(&model, &values, BATCH);
        assert_slope(name, &model, &inputs, BATCH, 70);
    }
}

#[test]
fn gradients_are_the_same_whatever_is_kept() {
    for (name, mut config) in cases() {
        let (store, values) = model(&config);
        let inputs = inputs(&store, &values, BATCH);
        let stored = fixture::run(&store.gradient_graph(BATCH, Probes::Keys), &inputs);
        config.train.memory = Memory::Checkpoint;
        let again = Model::new(&config).unwrap();
        let recomputed = fixture::run(&again.gradient_graph(BATCH, Probes::Keys), &inputs);
        assert_agree(name, &recomputed, &stored, SAME);
    }
}

#[test]
fn devices_agree_with_the_interpreter() {
    let cases: Vec<_> = cases()
        .into_iter()
        .filter(|(name, _)| ["twin with ActNorm", "bottleneck"].contains(name))
        .map(|(name, config)| {
            let (model, values) = model(&config);
            let inputs = inputs(&model, &values, BATCH);
            let labelled = Evaluation { labels: true, ..Evaluation::default() };
            let mut graphs: Vec<Graph> =
                vec![model.gradient_graph(BATCH, Probes::Keys), model.eval_graph(BATCH, &labelled).unwrap()];
            let init = model.init_graph(BATCH);
            graphs.extend((!init.outputs().is_empty()).then_some(init));
            let wanted: Vec<Tensors> = graphs.iter().map(|graph| interpreted(graph, &inputs)).collect();
            (name, graphs, wanted, inputs)
        })
        .collect();
    on_every_device(|gpu| {
        for (name, graphs, wanted, inputs) in &cases {
            for (graph, wanted) in graphs.iter().zip(wanted) {
                assert_agree(&format!("{name} on {}", gpu.info()), &on(gpu, graph, inputs), wanted, ON_A_DEVICE);
            }
        }
    });
}

/// A dozen steps on one batch.
#[test]
fn a_short_training_lowers_the_loss_and_moves_the_statistics() {
    on_every_device(|gpu| {
        let mut config = config(|config| {
            bottleneck(config);
            config.model.blocks = vec![1, 1];
        });
        config.data.batch = 6;
        config.optimizer.lr = 0.01;
        let mut trainer = block_on(Trainer::new(gpu, &config, 100, Tuning::first(), None)).unwrap();
        let x: Vec<f32> = normal([6, 2, 5, 4], 4).data().iter().map(|&x| x as f32).collect();
        block_on(trainer.initialize(&x)).unwrap();
        let before = block_on(trainer.network().download()).unwrap();
        for _ in 0..12 {
            trainer.step(&x, &[0, 1, 2, 0, 1, 2]);
        }
        let mut losses = Vec::new();
        while let Some(report) = block_on(trainer.report(true)).unwrap() {
            losses.push(report.loss);
        }
        assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
        let after = block_on(trainer.network().download()).unwrap();
        let moved = before.iter().zip(&after).filter(|(a, b)| a.1.data() != b.1.data()).count();
        assert_eq!(moved, before.len(), "all tensors change");
        // Nothing is certified of such a network, least of all that it is invertible.
        let certificate = certify(trainer.network().model(), &after);
        assert!(!certificate.is_contraction() && certificate.log_inverse_lipschitz.is_none());
    });
}
