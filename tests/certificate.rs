//! The certificate never lies: bounds against true norms, constants against distances that networks really stretch.

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;
#[path = "common/naive.rs"]
mod naive;

use std::process::Command;

use fixture::Tensors;
use iresnet::checkpoint::Checkpoint;
use iresnet::config::{Config, Kind};
use iresnet::interpret::Array;
use iresnet::nn::certificate::norm_bound;
use iresnet::nn::{Activation, Certificate, Evaluation, Model, certify, param};
use iresnet::ops::conv2d::{Geometry, Role};
use iresnet::random::{Distribution, Key};
use iresnet::shape::Shape;
use iresnet::tensor::Tensor;

/// A bound of a matrix is the first multiple 1 + 10⁻³ of an estimate of the square that a factorisation proves.
const MATRIX_SLACK: f64 = 2e-3;

/// A bound of a convolution is that of waves on a torus: its slack falls with the square of the image's side, and is
/// largest for kernels whose largest waves lie between those of all four tori.
const CONVOLUTION_SLACK: f64 = 0.04;
/// The same for kernels of 5 × 5, whose waves have four times the curvature.
const WIDE_SLACK: f64 = 0.08;

/// True norms are computed by Jacobi rotations in f64.
const JACOBI: f64 = 1e-12;

/// The largest singular value of a row-major matrix: one-sided Jacobi rotations until all columns are orthogonal.
fn true_norm(rows: usize, columns: usize, matrix: &[f64]) -> f64 {
    let mut a: Vec<Vec<f64>> = (0..columns).map(|j| (0..rows).map(|i| matrix[i * columns + j]).collect()).collect();
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    for _ in 0..60 {
        let mut worst = 0.0_f64;
        for p in 0..columns {
            for q in p + 1..columns {
                let (alpha, beta, gamma) = (dot(&a[p], &a[p]), dot(&a[q], &a[q]), dot(&a[p], &a[q]));
                if gamma == 0.0 {
                    continue;
                }
                worst = worst.max(gamma.abs() / (alpha * beta).sqrt().max(f64::MIN_POSITIVE));
                let zeta = (beta - alpha) / (2.0 * gamma);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                let s = c * t;
                let (left, right) = a.split_at_mut(q);
                for (x, y) in left[p].iter_mut().zip(&mut right[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
        if worst < JACOBI {
            break;
        }
    }
    a.iter().map(|column| dot(column, column).sqrt()).fold(0.0, f64::max)
}

/// The zero-padded convolution as a dense matrix, and its norm.
fn true_convolution_norm(weight: &[f32], [o, i, kh, kw]: [usize; 4], [height, width]: [usize; 2]) -> f64 {
    let geometry = Geometry {
        batch: 1,
        groups: 1,
        in_channels: i,
        out_channels: o,
        height,
        width,
        kernel: [kh, kw],
        stride: 1,
        padding: [kh / 2, kw / 2],
    };
    let (inputs, outputs) = (i * height * width, o * height * width);
    let mut transposed = Vec::with_capacity(inputs * outputs);
    for input in 0..inputs {
        let mut unit = vec![0.0; inputs];
        unit[input] = 1.0;
        transposed.extend(naive::conv2d(&geometry, Role::Output, &unit, weight));
    }
    true_norm(inputs, outputs, &transposed)
}

#[test]
fn bounds_of_matrices_are_tight_and_never_below() {
    for (seed, (o, i)) in [(1, 1), (1, 7), (5, 1), (3, 3), (8, 8), (12, 5), (5, 12), (40, 33)].into_iter().enumerate() {
        let weight = naive::noise(seed as u64, o * i);
        let wide: Vec<f64> = weight.iter().map(|&w| f64::from(w)).collect();
        let (truth, bound) = (true_norm(o, i, &wide), norm_bound(&weight, &Shape::from([o, i]), [1, 1]));
        assert!(bound >= truth && bound <= truth * (1.0 + MATRIX_SLACK), "{o}x{i}: bound {bound}, norm {truth}");
        let of_convolution = norm_bound(&weight, &Shape::from([o, i, 1, 1]), [9, 4]);
        assert_eq!(bound, of_convolution, "a 1x1 convolution is a matrix");
    }
}

#[test]
fn bounds_of_special_matrices() {
    let identity: Vec<f32> = (0..64).map(|at| f32::from(u8::from(at % 9 == 0))).collect();
    let rank_one: Vec<f32> = (0..64).map(|at| (at / 8) as f32 * 0.25).collect();
    let huge: Vec<f32> = identity.iter().map(|x| x * 1e30).collect();
    let tiny: Vec<f32> = identity.iter().map(|x| x * 1e-30).collect();
    let of_rank_one = (0..8).map(|i| 8.0 * (f64::from(i) * 0.25).powi(2)).sum::<f64>().sqrt();
    let cases = [(identity, 1.0), (rank_one, of_rank_one), (huge, f64::from(1e30_f32)), (tiny, f64::from(1e-30_f32))];
    for (weight, truth) in cases {
        let bound = norm_bound(&weight, &Shape::from([8, 8]), [1, 1]);
        assert!(bound >= truth && bound <= truth * (1.0 + MATRIX_SLACK), "bound {bound}, norm {truth}");
    }
    assert_eq!(norm_bound(&[0.0; 6], &Shape::from([2, 3]), [1, 1]), 0.0);
    assert_eq!(norm_bound(&[0.0; 18], &Shape::from([2, 1, 3, 3]), [4, 4]), 0.0);
    for bad in [f32::NAN, f32::INFINITY] {
        let bound = norm_bound(&[1.0, bad, 0.0, 1.0], &Shape::from([2, 2]), [1, 1]);
        assert!(bound.is_nan() || bound == f64::INFINITY, "{bad}: {bound} bounds nothing");
    }
}

#[test]
fn bounds_of_convolutions_are_tight_and_never_below() {
    let cases = [
        // As matrices.
        ([1, 1, 3, 3], [1, 1], MATRIX_SLACK),
        ([1, 2, 3, 3], [6, 5], MATRIX_SLACK),
        ([3, 2, 3, 3], [4, 7], MATRIX_SLACK),
        ([2, 2, 3, 1], [6, 5], MATRIX_SLACK),
        ([1, 2, 5, 5], [2, 3], MATRIX_SLACK),
        // By waves.
        ([2, 2, 3, 3], [12, 12], CONVOLUTION_SLACK),
        ([3, 3, 3, 3], [9, 10], CONVOLUTION_SLACK),
        ([1, 1, 5, 5], [17, 16], WIDE_SLACK),
        ([3, 4, 1, 3], [8, 11], CONVOLUTION_SLACK),
    ];
    for (seed, (shape, size, slack)) in cases.into_iter().enumerate() {
        for round in 0..2 {
            let len = shape.iter().product();
            let weight = naive::noise(100 + 10 * seed as u64 + round, len);
            let truth = true_convolution_norm(&weight, shape, size);
            let bound = norm_bound(&weight, &Shape::from(shape), size);
            println!("{shape:?} on {size:?}: bound / norm = {:.4}", bound / truth);
            assert!(bound >= truth, "{shape:?} on {size:?}: bound {bound} below the norm {truth}");
            assert!(bound <= truth * (1.0 + slack), "{shape:?} on {size:?}: bound {bound}, norm {truth}");
        }
    }
}

/// Kernels whose norms are known: a shift, sums, differences.
#[test]
fn bounds_of_special_convolutions() {
    // As a matrix, and by waves.
    for size in [[6, 5], [17, 18]] {
        special_convolutions(size);
    }
}

fn special_convolutions(size: [usize; 2]) {
    let ones = [1.0_f32; 9];
    let along = |extent: usize| 1.0 + 2.0 * (std::f64::consts::PI / (extent as f64 + 1.0)).cos();
    let mut middle = [0.0_f32; 9];
    middle[4] = -2.0;
    let mut shift = [0.0_f32; 9];
    shift[0] = 1.0;
    // Alternating signs: as large as the ones, at the fastest waves instead of the slowest.
    let checkered: Vec<f32> = (0..9).map(|at| if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let product = along(size[0]) * along(size[1]);
    for (weight, truth) in [(&ones[..], product), (&middle, 2.0), (&shift, 1.0), (&checkered, product)] {
        let bound = norm_bound(weight, &Shape::from([1, 1, 3, 3]), size);
        assert!(
            bound >= truth * (1.0 - JACOBI) && bound <= truth * (1.0 + MATRIX_SLACK),
            "bound {bound}, norm {truth}"
        );
    }
}

/// A model with norms that bind and vectors that have converged.
fn model(kind: Kind, activation: Activation) -> (Model, Vec<(String, Tensor)>) {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.activation = activation;
    config.model.input = vec![2, 8, 8];
    config.model.blocks = vec![2, 1];
    config.model.strides = vec![2, 2];
    config.model.channels = vec![4, 6];
    config.model.injective_padding = if kind == Kind::Classifier { 2 } else { 0 };
    config.model.classes = 3;
    if kind == Kind::Toy {
        config.model.input = vec![4];
        config.model.strides = vec![1, 1];
        config.model.hidden_layers = 1;
    }
    let model = Model::new(&config).unwrap();
    let mut values: Vec<(String, Tensor)> = param::initialize(model.params(), 3);
    for (number, (name, tensor)) in values.iter_mut().enumerate() {
        if name.contains("weight_orig") {
            tensor.data_mut().iter_mut().for_each(|w| *w *= 4.0);
        }
        if name.contains("actnorm") {
            let noise = naive::noise(number as u64, tensor.shape().len());
            tensor.data_mut().copy_from_slice(&noise);
        }
    }
    let tightened = fixture::run(&model.tighten_graph(1e-6, 2000).unwrap(), &arrays(&values));
    for (name, tensor) in &mut values {
        if let Some(new) = tightened.0.get(name) {
            *tensor = Tensor::new(tensor.shape().clone(), new.data().iter().map(|&x| x as f32).collect());
        }
    }
    (model, values)
}

fn arrays(values: &[(String, Tensor)]) -> Tensors {
    values.iter().fold(Tensors::default(), |all, (name, tensor)| {
        all.with(name, Array::new(tensor.shape(), tensor.data().iter().map(|&x| f64::from(x)).collect()))
    })
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Elu, Activation::Softplus, Activation::Relu, Activation::MaxMin, Activation::LipSwish];

#[test]
fn converged_models_are_certified_close_to_the_coefficient() {
    for kind in [Kind::Classifier, Kind::Density, Kind::Toy] {
        let (model, values) = model(kind, Activation::Elu);
        let certificate = certify(&model, &values);
        assert_eq!(certificate.blocks.len(), 3);
        assert!(certificate.is_contraction() && certificate.failures().next().is_none());
        for block in &certificate.blocks {
            for layer in &block.layers {
                let c = layer.coefficient.unwrap();
                let sigma = layer.sigma.unwrap();
                assert!(sigma > c, "{}: the norm of the raw weight binds", layer.name);
                // A classifier's first block of a stage is normalised on the larger image before the squeeze.
                let low = if kind == Kind::Classifier { 0.7 } else { 0.99 };
                assert!(
                    (low * c..(1.0 + MATRIX_SLACK) * c).contains(&layer.bound),
                    "{}: bound {} for c = {c}",
                    layer.name,
                    layer.bound
                );
            }
            let product: f64 = block.layers.iter().map(|layer| layer.bound).product();
            assert!((block.constant / product - 1.0).abs() < 1e-12);
            let inverse = block.inverse_lipschitz.unwrap();
            assert!((inverse * (1.0 - block.constant) * block.scale[0] - 1.0).abs() < 1e-12);
            assert!(block.scale[0] < 1.0 && block.scale[1] > 1.0, "ActNorm stretches and shrinks here");
        }
    }
}

/// Pairs of samples, near and far: the network moves them apart, and together, by no more than certified.
#[test]
fn networks_stretch_no_more_than_certified() {
    const PAIRS: usize = 24;
    for kind in [Kind::Density, Kind::Toy] {
        for activation in ACTIVATIONS {
            let (model, values) = model(kind, activation);
            let certificate = certify(&model, &values);
            let shape = [&[2 * PAIRS], &model.config().model.input[..]].concat();
            let len: usize = shape[1..].iter().product();
            let draw = |stream: u32, at: usize| Distribution::Normal.draw(Key::new(5, 0, stream), at as u32);
            let mut x: Vec<f64> = (0..PAIRS * len).map(|at| draw(1, at)).collect();
            let other: Vec<f64> =
                (0..PAIRS * len).map(|at| x[at] + draw(2, at) * 0.1_f64.powi((at / len % 4) as i32)).collect();
            x.extend(other);
            let graph = model.eval_graph(2 * PAIRS, &Evaluation::default()).unwrap();
            let results = fixture::run(&graph, &arrays(&values).with("x", Array::new(shape, x.clone())));
            let z = results.get("z").data();
            let distance = |v: &[f64], pair: usize| {
                let (a, b) = (&v[pair * len..][..len], &v[(PAIRS + pair) * len..][..len]);
                a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
            };
            for pair in 0..PAIRS {
                let log_ratio = (distance(z, pair) / distance(&x, pair)).ln();
                let what = format!("{kind:?}, {activation:?}: {log_ratio}, certified {certificate:?}");
                assert!(log_ratio <= certificate.log_lipschitz, "{what}");
                assert!(-log_ratio <= certificate.log_inverse_lipschitz.unwrap(), "{what}");
            }
        }
    }
}

/// Vectors that do not belong to the weights: σ is too small, the layer too long, and the certificate says so.
#[test]
fn vectors_that_have_not_converged_are_found_out() {
    let (model, mut values) = model(Kind::Density, Activation::Elu);
    let victim = "stack.0.stack.1.bottleneck_block.3.weight_u";
    let (_, u) = values.iter_mut().find(|(name, _)| name == victim).unwrap();
    let len = u.shape().len();
    let mut other = naive::noise(7, len);
    let norm = other.iter().map(|x| x * x).sum::<f32>().sqrt();
    other.iter_mut().for_each(|x| *x /= norm);
    u.data_mut().copy_from_slice(&other);
    let certificate = certify(&model, &values);
    assert!(!certificate.is_contraction());
    let failures: Vec<_> = certificate.failures().collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].name, "stack.0.stack.1");
    assert_eq!(failures[0].weakest().unwrap().name, "stack.0.stack.1.bottleneck_block.3.weight_orig");
    assert_eq!(failures[0].inverse_lipschitz, None);
    assert_eq!(certificate.log_inverse_lipschitz, None);
}

/// Without a coefficient the raw weights are certified.
#[test]
fn a_network_without_the_constraint_is_certified_as_it_is() {
    let mut config = Config::default();
    config.model.kind = Kind::Toy;
    config.model.input = vec![2];
    config.model.blocks = vec![1];
    config.model.strides = vec![1];
    config.model.channels = vec![4];
    config.model.injective_padding = 0;
    config.model.coefficient = None;
    config.model.actnorm = false;
    config.log_det.estimator = iresnet::config::Estimator::Exact;
    let model = Model::new(&config).unwrap();
    let values = param::initialize(model.params(), 1);
    let certificate = certify(&model, &values);
    let block = &certificate.blocks[0];
    assert_eq!(block.scale, [1.0, 1.0]);
    for layer in &block.layers {
        assert_eq!((layer.coefficient, layer.sigma, layer.size), (None, None, None));
        let (_, weight) = values.iter().find(|(name, _)| *name == layer.name).unwrap();
        assert_eq!(layer.bound, norm_bound(weight.data(), weight.shape(), [1, 1]));
    }
    assert!(certificate.log_lipschitz > 0.0);
}

/// The program on a model file: exit code, standard output, standard error.
fn iresnet(arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_iresnet")).args(arguments).env("IRESNET_TUNING", "off").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_inspects_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let file = path.to_str().unwrap();
    let (model, tensors) = model(Kind::Density, Activation::Elu);
    let mut checkpoint = Checkpoint { config: model.config().clone(), step: 7, tensors };
    // Scales of ActNorm as they may be after training.
    for (name, tensor) in &mut checkpoint.tensors {
        if name.contains("actnorm") {
            tensor.data_mut().iter_mut().for_each(|x| *x *= 0.1);
        }
    }
    checkpoint.save(&path).unwrap();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();

    let (code, out, _) = iresnet(&["inspect", file, "--json"]);
    let report = json(&out);
    assert_eq!(code, 0);
    assert_eq!(report["invertible"], true);
    assert_eq!(report["blocks"].as_array().unwrap().len(), 3);
    assert_eq!(report["blocks"][1]["layers"][0]["shape"], serde_json::json!([4, 8, 3, 3]));
    assert_eq!(report["hash"], checkpoint.hash());
    let (code, out, _) = iresnet(&["inspect", file]);
    assert!(
        code == 0 && out.contains("stack.0.stack.1.bottleneck_block.3.weight_orig") && out.contains("bound"),
        "{out}"
    );

    let verify = |more: &[&str]| iresnet(&[&["verify", file, "--json"], more].concat());
    let (code, out, error) = verify(&[]);
    let report = json(&out);
    assert_eq!(code, 0, "{out} {error}");
    assert_eq!(report["stored_certificate"], "none");
    assert_eq!(report["round_trip"]["samples"], 16);
    assert!(report["round_trip"]["largest_error"].as_f64().unwrap() < 1e-4, "{out}");
    assert_eq!(verify(&["--write"]).0, 0);
    let (code, out, _) = verify(&[]);
    assert_eq!((code, &json(&out)["stored_certificate"]), (0, &"same".into()));
    assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint, "a certificate changes nothing of the model");

    // Vectors that do not belong to the weights.
    let victim = "stack.0.stack.1.bottleneck_block.3.weight";
    let (_, u) = checkpoint.tensors.iter_mut().find(|(name, _)| *name == format!("{victim}_u")).unwrap();
    let len = u.shape().len();
    u.data_mut().copy_from_slice(&naive::noise(7, len));
    u.data_mut().iter_mut().for_each(|x| *x /= (len as f32 / 3.0).sqrt());
    checkpoint.save(&path).unwrap();
    let (code, _, error) = verify(&[]);
    assert_eq!(code, 9, "{error}");
    assert!(error.contains(&format!("{victim}_orig")) && error.contains("--tighten"), "{error}");
    let (code, out, _) = iresnet(&["inspect", file, "--json"]);
    assert_eq!((code, &json(&out)["invertible"]), (0, &false.into()));
    let (code, out, error) = verify(&["--tighten"]);
    assert_eq!(code, 0, "{out} {error}");
    assert_eq!(verify(&[]).0, 0, "the file is repaired");

    let bytes = std::fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let (code, _, error) = verify(&[]);
    assert!(code == 9 && error.contains("hash"), "{code} {error}");
    assert_eq!(iresnet(&["inspect", file]).0, 7);
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    for command in ["inspect", "verify"] {
        let (code, _, error) = iresnet(&[command, file]);
        assert!(code == 7 && error.contains(file), "{command}: {code} {error}");
    }
}

#[test]
fn certificates_survive_json() {
    let (model, values) = model(Kind::Classifier, Activation::Elu);
    let certificate = certify(&model, &values);
    let text = serde_json::to_string(&certificate).unwrap();
    assert_eq!(serde_json::from_str::<Certificate>(&text).unwrap(), certificate);
}
