//! Glow: its log-determinant is that of its Jacobian, its inverse gives back what went in, and it learns.

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
use common::{on_every_adapter, on_every_device};
use fixture::Tensors;
use iresnet::config::{Architecture, Config, Coupling, Kind, Memory, Permutation, Prior, Scales};
use iresnet::data::Split;
use iresnet::data::source::Source;
use iresnet::eval::{Evaluator, Inverter, largest_difference};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::interpret::Array;
use iresnet::network::Network;
use iresnet::nn::glow::{FlowStep, Mode};
use iresnet::nn::{Activation, Evaluation, LogDet, Model, Probes, Stop, param};
use iresnet::ops::conv2d::Precision;
use iresnet::random::{Distribution, Key};
use iresnet::tensor::Tensor;
use iresnet::train::Trainer;
use small_model::{interpreted, normal, on};

/// In f64 an inverse is a formula: what is left is rounding, magnified by a dozen small matrices.
const SAME: f64 = 1e-11;
/// Log-determinants in f64 against those of Jacobians by central differences: step² of curvature, ε / step of rounding.
const DIFFERENCES: f64 = 1e-6;
/// Step of the differences.
const STEP: f64 = 1e-5;
/// The same where the network has kinks, which a step should not reach over.
const SHORT_STEP: f64 = 1e-7;
/// Relative error of losses, log-determinants and gradients in f32.
const ON_A_DEVICE: f64 = 1e-4;
/// Largest error of an element after there and back in f32.
const ROUND_TRIP: f64 = 1e-5;
/// Smaller log-determinants are compared as if they were of this size: near zero a relative error says nothing.
const SIZE: f64 = 0.1;
/// Samples in a batch: not a multiple of anything.
const BATCH: usize = 3;

/// A small flow of this kind; with `edit`.
fn config(kind: Kind, edit: impl FnOnce(&mut Config)) -> Config {
    let mut config = small_model::config(kind);
    config.model.architecture = Architecture::Glow;
    config.model.coefficient = None;
    config.model.injective_padding = 0;
    config.model.activation = Activation::Elu;
    if kind != Kind::Toy {
        config.model.input = vec![3, 4, 4];
        config.model.strides = vec![2, 2];
    }
    edit(&mut config);
    config
}

/// The model, with parameters far from their simple beginnings.
fn model(config: &Config) -> (Model, Tensors) {
    let model = Model::new(config).unwrap();
    let mut values = Tensors::default();
    for (position, (name, tensor)) in param::initialize(model.params(), 3).into_iter().enumerate() {
        let trained = model.find_param(&name).unwrap().is_parameter();
        let key = Key::new(8, position as u32, 0);
        let element = |(at, &value): (usize, &f32)| {
            // The condition of a triangle grows exponentially with its size and what is off its diagonal.
            let size = if name.ends_with(".lu") { 0.05 } else { 0.1 };
            let noise = size * Distribution::Normal.draw(key, at as u32);
            // Parameters that are f32 numbers, as a device sees them.
            f64::from(if trained { value + noise as f32 } else { value })
        };
        let data = tensor.data().iter().enumerate().map(element).collect();
        values = values.with(&name, Array::new(tensor.shape(), data));
    }
    (model, values)
}

/// Every way to mix and to couple, on images with splits and on vectors, and what else there is.
fn cases() -> Vec<(String, Config)> {
    let mut cases = Vec::new();
    for permutation in [Permutation::Conv1x1, Permutation::Shuffle, Permutation::Reverse] {
        for coupling in [Coupling::Affine, Coupling::Additive] {
            for kind in [Kind::Density, Kind::Toy] {
                let config = config(kind, |config| {
                    config.model.permutation = permutation;
                    config.model.coupling = coupling;
                    if kind == Kind::Toy {
                        config.model.input = vec![5];
                    }
                });
                cases.push((format!("{permutation:?} {coupling:?} {kind:?}"), config));
            }
        }
    }
    let bare = |config: &mut Config| {
        config.model.actnorm = false;
        config.model.prior = Prior::Standard;
    };
    cases.push(("without ActNorm or learned priors".into(), config(Kind::Density, bare)));
    cases.push(("one scale".into(), config(Kind::Density, |config| config.model.scales = Scales::Single)));
    let volume_preserving = |config: &mut Config| {
        bare(config);
        config.model.permutation = Permutation::Reverse;
        config.model.coupling = Coupling::Additive;
    };
    cases.push(("of volume one".into(), config(Kind::Density, volume_preserving)));
    cases.push(("hybrid".into(), config(Kind::Hybrid, |_| {})));
    cases
}

fn batched(model: &Model, n: usize) -> Vec<usize> {
    [&[n], &model.config().model.input[..]].concat()
}

fn evaluation(labels: bool) -> Evaluation {
    Evaluation { log_det: Some(LogDet::Exact), probes: Probes::Keys, labels }
}

/// Samples, and labels for models that have classes.
fn inputs(model: &Model, values: &Tensors, n: usize) -> Tensors {
    let labels = (0..n).map(|sample| (sample % 3) as f64).collect();
    values.clone().with("x", normal(batched(model, n), 2)).with("labels", Array::new([n], labels))
}

/// ln |det| by elimination.
fn log_determinant(mut rows: Vec<Vec<f64>>) -> f64 {
    let mut total = 0.0;
    for k in 0..rows.len() {
        let largest = (k..rows.len()).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs())).unwrap();
        rows.swap(k, largest);
        total += rows[k][k].abs().ln();
        let (done, rest) = rows.split_at_mut(k + 1);
        for row in rest {
            let multiple = row[k] / done[k][k];
            row.iter_mut().zip(&done[k]).for_each(|(x, above)| *x -= multiple * above);
        }
    }
    total
}

/// Row i is how the latent numbers change with element i of `x`, by central differences over `step`.
fn jacobian(model: &Model, values: &Tensors, x: &[f64], step: f64) -> Vec<Vec<f64>> {
    let d = x.len();
    let moved = |step: f64| {
        (0..d).flat_map(move |i| x.iter().enumerate().map(move |(at, &x)| if at == i { x + step } else { x }))
    };
    let points: Vec<f64> = moved(step).chain(moved(-step)).collect();
    let graph = model.eval_graph(2 * d, &Evaluation::default()).unwrap();
    let z = fixture::run(&graph, &values.clone().with("x", Array::new(batched(model, 2 * d), points)));
    let (ahead, behind) = z.get("z").data().split_at(d * d);
    let quotients: Vec<f64> = ahead.iter().zip(behind).map(|(a, b)| (a - b) / (2.0 * step)).collect();
    quotients.chunks_exact(d).map(<[f64]>::to_vec).collect()
}

#[test]
fn log_determinants_are_those_of_jacobians() {
    for (name, config) in cases() {
        let (model, values) = model(&config);
        let inputs = inputs(&model, &values, BATCH);
        let found = fixture::run(&model.eval_graph(BATCH, &evaluation(false)).unwrap(), &inputs);
        let d = model.input_len();
        let mut size = 0.0_f64;
        for (sample, x) in inputs.get("x").data().chunks_exact(d).enumerate() {
            let wanted = log_determinant(jacobian(&model, &values, x, STEP));
            let found = found.get("log_det").data()[sample];
            size = size.max(wanted.abs());
            assert!((found - wanted).abs() < DIFFERENCES * (1.0 + wanted.abs()), "{name}: {found}, not {wanted}");
        }
        assert_eq!(size > 1e-3, name != "of volume one", "{name}: log-determinants of up to {size}");
    }
}

#[test]
fn inverses_are_exact() {
    for (name, config) in cases() {
        let (model, values) = model(&config);
        let inputs = inputs(&model, &values, BATCH);
        let z = fixture::run(&model.eval_graph(BATCH, &Evaluation::default()).unwrap(), &inputs).get("z").clone();
        let back = fixture::run(&model.bounded_inverse_graph(BATCH, Stop::default()), &values.clone().with("z", z));
        let errors = inputs.get("x").data().iter().zip(back.get("x").data()).map(|(a, b)| (a - b).abs());
        let error = errors.fold(0.0, f64::max);
        assert!(error < SAME, "{name}: an element is off by {error:.1e}");
        for (output, wanted) in [("iterations", 0.0), ("residual", 0.0), ("converged", 1.0)] {
            assert_eq!(back.get(output).data(), [wanted; BATCH], "{name}: {output}");
        }
    }
}

/// Latent numbers drawn from the prior, as samples of the model, are what encoding the samples gives.
#[test]
fn samples_are_the_inverse_of_their_latents() {
    let (model, values) = model(&config(Kind::Density, |_| {}));
    let mut keys = Array::full(&iresnet::shape::Shape::from([1, iresnet::nn::KEY_WIDTH]), 0.0);
    keys.data_mut()[0] = 9.0;
    let inputs = values.with("keys", keys).with("temperature", Array::new([0; 0], vec![0.8]));
    let drawn = fixture::run(&model.sample_graph(BATCH, Stop::default()), &inputs);
    let graph = model.eval_graph(BATCH, &Evaluation::default()).unwrap();
    let z = fixture::run(&graph, &inputs.with("x", drawn.get("x").clone()));
    let error = z.get("z").data().iter().zip(drawn.get("z").data()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < SAME, "a latent number is off by {error:.1e}");
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for (name, config) in cases() {
        let (model, values) = model(&config);
        let inputs = inputs(&model, &values, BATCH);
        for direction in 0..2 {
            assert_slope(&name, &model, &inputs, BATCH, 70 + direction);
        }
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
        assert_agree(&name, &recomputed, &stored, SAME);
    }
}

#[test]
fn devices_agree_with_the_interpreter() {
    // Three that have everything: kernels take long to compile.
    let chosen = ["Conv1x1 Affine Density", "Shuffle Additive Toy", "Reverse Affine Toy"];
    let cases: Vec<_> = cases()
        .into_iter()
        .filter(|(name, _)| chosen.contains(&name.as_str()))
        .map(|(name, config)| {
            let (model, values) = model(&config);
            let inputs = inputs(&model, &values, BATCH);
            let graphs = [
                model.gradient_graph(BATCH, Probes::Keys),
                model.eval_graph(BATCH, &evaluation(false)).unwrap(),
                model.init_graph(BATCH),
            ];
            let wanted: Vec<Tensors> = graphs.iter().map(|graph| interpreted(graph, &inputs)).collect();
            let inverse = model.inverse_graph(BATCH, Stop::default());
            (name, graphs, wanted, inverse, inputs)
        })
        .collect();
    assert_eq!(cases.len(), chosen.len());
    on_every_device(|gpu| {
        for (name, graphs, wanted, inverse, inputs) in &cases {
            let what = format!("{name} on {}", gpu.info());
            let found: Vec<Tensors> = graphs.iter().map(|graph| on(gpu, graph, inputs)).collect();
            for (found, wanted) in found.iter().zip(wanted) {
                assert_agree(&what, found, wanted, ON_A_DEVICE);
            }
            let inputs = inputs.clone().with("z", found[1].get("z").clone());
            let back = on(gpu, inverse, &inputs);
            let errors = inputs.get("x").data().iter().zip(back.get("x").data()).map(|(a, b)| (a - b).abs());
            let error = errors.fold(0.0, f64::max);
            println!("{what}: an element is off by at most {error:.1e}");
            assert!(error < ROUND_TRIP, "{what}: an element is off by {error:.1e}");
        }
    });
}

/// Mixing as wide as in a Glow of CIFAR-10, as it begins and when training has moved it: the triangles' inverses are as good
/// in f32 as the matrix lets them be.
#[test]
fn wide_mixings_are_inverted() {
    const CHANNELS: usize = 48;
    let step = FlowStep::convolutional([CHANNELS, 2, 2], 2, Activation::Relu, Permutation::Conv1x1, Coupling::Additive);
    let operands = step.operands();
    let cases = [0.0, 0.01].map(|moved| {
        let mut values = Tensors::default().with("x", normal([BATCH, CHANNELS, 2, 2], 3));
        for (number, (name, tensor)) in param::initialize(&operands, 5).into_iter().enumerate() {
            let noise = normal(tensor.shape(), 20 + number as u32);
            let moved = if name.ends_with(".lu") { moved } else { 0.0 };
            let data = tensor
                .data()
                .iter()
                .zip(noise.data())
                .map(|(&x, noise)| f64::from((f64::from(x) + moved * noise) as f32));
            values = values.with(&name, Array::new(tensor.shape(), data.collect()));
        }
        values
    });
    let forward = step.function(Mode { batch: BATCH, log_det: false, recompute: false, precision: Precision::F32 });
    let inverse = step.inverse(BATCH);
    let error = |values: &Tensors, run: &dyn Fn(&iresnet::graph::Graph, &Tensors) -> Tensors| {
        let y = run(forward.graph(), values).get("y").clone();
        let back = run(inverse.graph(), &values.clone().with("y", y));
        let errors = values.get("x").data().iter().zip(back.get("x").data()).map(|(a, b)| (a - b).abs());
        errors.fold(0.0, f64::max)
    };
    for values in &cases {
        let found = error(values, &fixture::run);
        assert!(found < SAME, "in f64 an element is off by {found:.1e}");
    }
    on_every_adapter(|gpu| {
        for values in &cases {
            let found = error(values, &|graph, values| on(gpu, graph, values));
            println!("{}: an element is off by at most {found:.1e}", gpu.info());
            assert!(found < ROUND_TRIP, "{}: an element is off by {found:.1e}", gpu.info());
        }
    });
}

/// Steps in an epoch, as the schedules of the presets count.
const PER_EPOCH: u64 = 100;

/// A Glow after `steps` steps on these samples, in turn, and its parameters and state by name.
fn trained(gpu: &Gpu, config: &Config, steps: usize, samples: &[f32]) -> (Model, Vec<(String, Tensor)>) {
    block_on(async {
        let mut trainer = Trainer::new(gpu, config, PER_EPOCH, Tuning::first(), None).await.unwrap();
        let model = trainer.network().model().clone();
        trainer.initialize(&samples[..config.train.init_batch * model.input_len()]).await.unwrap();
        for batch in samples.chunks_exact(config.data.batch * model.input_len()).cycle().take(steps) {
            trainer.step(batch, &[]);
            while trainer.report(false).await.unwrap().is_some() {}
        }
        while trainer.report(true).await.unwrap().is_some() {}
        trainer.finish().await.unwrap();
        (model, trainer.checkpoint().await.unwrap().model_only().tensors)
    })
}

/// Small pictures of clothes: the built-in ones, each of 8×8 pixels the mean of 4×4, dequantised.
fn small_pictures(split: Split) -> Vec<f32> {
    let mut config = Config::preset("fashion-mnist-small").unwrap();
    config.data.name = "fashion-mnist-mini".into();
    let source = Source::open(&config, None, split).unwrap();
    let all: Vec<u32> = (0..source.dataset().len() as u32).collect();
    let noise = Key::new(4, 0, 0);
    let mut small = Vec::new();
    for picture in source.at(&all).x.data().chunks_exact(32 * 32) {
        for at in 0..64 {
            let (y, x) = (at / 8 * 4, at % 8 * 4);
            let sum: f32 = (0..16).map(|k| picture[(y + k / 4) * 32 + x + k % 4]).sum();
            let level = 255.0 * (f64::from(sum) / 16.0 + 0.5);
            let noise = Distribution::Uniform.draw(noise, small.len() as u32);
            small.push(((level + noise) / 256.0 - 0.5) as f32);
        }
    }
    small
}

/// Training makes the numbers of a flow less friendly than those it begins with. What it promises holds then as well: for
/// points of the plane and for pictures.
#[test]
fn trained_flows_have_exact_inverses_and_log_determinants() {
    const STEPS: usize = 400;
    let plane = Config::preset("toy-8gaussians-glow").unwrap();
    let mut pictures = Config::preset("mnist-small-glow").unwrap();
    pictures.model.input = vec![1, 8, 8];
    (pictures.model.blocks, pictures.model.channels) = (vec![4, 4], vec![16, 16]);
    (pictures.data.batch, pictures.train.init_batch) = (50, 500);
    let points = |split| {
        let source = Source::open(&plane, None, split).unwrap();
        source.at(&(0..8192).collect::<Vec<_>>()).x.into_data()
    };
    // How many samples are sent there and back, and of how many the Jacobian is computed.
    let cases = [
        ("plane", &plane, points(Split::Train), points(Split::Test), 1024, 64),
        ("pictures", &pictures, small_pictures(Split::Train), small_pictures(Split::Test), 256, 2),
    ];
    let gpu = common::open(&common::adapters()[0]);
    let cases = cases.map(|(name, config, samples, unseen, count, judged)| {
        let (model, tensors) = trained(&gpu, config, STEPS, &samples);
        let mut values = Tensors::default();
        for (name, tensor) in &tensors {
            let data = tensor.data().iter().map(|&value| f64::from(value)).collect();
            values = values.with(name, Array::new(tensor.shape(), data));
        }
        let d = model.input_len();
        let x = unseen[..count * d].to_vec();
        let wanted: Vec<f64> = x
            .chunks_exact(d)
            .take(judged)
            .map(|x| {
                let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                log_determinant(jacobian(&model, &values, &x, SHORT_STEP))
            })
            .collect();
        (name, model, tensors, x, wanted)
    });
    on_every_device(|gpu| {
        for (name, model, tensors, x, wanted) in &cases {
            let count = x.len() / model.input_len();
            let mut network = Network::new(gpu, model.clone(), tensors, Tuning::first()).unwrap();
            let (log_det, back) = block_on(async {
                let evaluator = Evaluator::new(&mut network, count, Some(LogDet::Exact)).await.unwrap();
                evaluator.run(x, &[], 0, 0);
                let [z, log_det] = [evaluator.read("z").await.unwrap(), evaluator.read("log_det").await.unwrap()];
                let inverter = Inverter::new(&mut network, count, Stop::default()).await.unwrap();
                (log_det, inverter.invert(&z).await.unwrap().x)
            });
            let errors = log_det.iter().zip(wanted).map(|(&a, &b)| (f64::from(a) - b).abs() / b.abs().max(SIZE));
            let error = errors.fold(0.0, f64::max);
            let there_and_back = f64::from(largest_difference(x, &back));
            let what = format!("{name} on {}", gpu.info());
            println!("{what}: an element is off by at most {there_and_back:.1e}, a log-determinant by {error:.1e}");
            assert!(there_and_back < ROUND_TRIP, "{what}: an element is off by {there_and_back:.1e}");
            assert!(error < ON_A_DEVICE, "{what}: a log-determinant is off by {error:.1e}, relative");
        }
    });
}

/// The small Glow of the plane is comparable with the i-ResNet of the same preset by its number of parameters.
#[test]
fn flows_of_the_plane_have_parameters_as_many_as_their_i_resnets() {
    for preset in ["toy-8gaussians", "toy-checkerboard", "toy-100"] {
        let [iresnet, glow] = [preset.to_owned(), format!("{preset}-glow")].map(|name| {
            let model = Model::new(&Config::preset(&name).unwrap()).unwrap();
            let trained = model.params().iter().filter(|param| param.is_parameter());
            trained.map(|param| param.shape.len()).sum::<usize>() as f64
        });
        assert!((glow / iresnet - 1.0).abs() < 0.05, "{preset}: {iresnet} and {glow}");
    }
}
