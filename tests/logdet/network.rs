//! Whole networks on devices: training losses and gradients, exact log-determinants, estimates with their error.

use iresnet::config::{Config, Estimator, Gradient, Kind, TermDistribution};
use iresnet::eval::{self, Demand, ExactEvaluator};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::interpret::Array;
use iresnet::network::{self, Network};
use iresnet::nn::{KEY_WIDTH, Model, Probes, param};
use iresnet::tensor::Tensor;

use crate::block::normal;
use crate::common::{adapters, on_every_device};
use crate::compare;
use crate::fixture::{Tensors, assert_close, load, part, relative_error, rows, run};

/// Relative error of losses and gradients in f32, as for all networks: a gradient through a power series loses up to
/// three of seven digits.
const TOLERANCE: f64 = 1e-4;

/// Samples in a batch: not a multiple of anything.
const BATCH: usize = 3;

/// A small density model whose norms bind, and its values.
fn model(edit: impl FnOnce(&mut Config)) -> (Model, Tensors) {
    let mut config = Config::default();
    config.model.kind = Kind::Density;
    config.model.input = vec![2, 4, 4];
    config.model.blocks = vec![2];
    config.model.strides = vec![2];
    config.model.channels = vec![4];
    config.model.injective_padding = 0;
    config.model.coefficient = Some(0.8);
    edit(&mut config);
    let model = Model::new(&config).unwrap();
    let mut values = Tensors::default();
    for (name, tensor) in param::initialize(model.params(), 3) {
        let scale = if name.contains("weight_orig") { 3.0 } else { 1.0 };
        let data = tensor.data().iter().map(|&value| f64::from(value) * scale);
        values = values.with(&name, Array::new(tensor.shape(), data.collect()));
    }
    values.update(&run(&model.tighten_graph(1e-6, 1000).unwrap(), &values));
    let x = normal([8, 2, 4, 4], 1);
    values.update(&run(&model.init_graph(8), &values.clone().with("x", x)));
    (model, values)
}

/// The model with its numbers on a device.
fn place(gpu: &Gpu, model: &Model, values: &Tensors) -> Network {
    let tensor = |array: &Array| Tensor::new(array.shape(), array.data().iter().map(|&x| x as f32).collect());
    let values: Vec<(String, Tensor)> =
        model.params().iter().map(|param| (param.name.clone(), tensor(values.get(&param.name)))).collect();
    Network::new(gpu, model.clone(), &values, Tuning::first()).unwrap()
}

#[test]
fn losses_and_gradients_are_those_of_the_interpreter() {
    let cases = [
        (Estimator::Series, TermDistribution::Geometric, 4),
        (Estimator::Unbiased, TermDistribution::Geometric, 2),
        (Estimator::Unbiased, TermDistribution::Poisson, 1),
    ];
    let cases = cases.map(|(estimator, distribution, exact_terms)| {
        let (model, values) = model(|config| {
            config.log_det.estimator = estimator;
            config.log_det.gradient = Gradient::Neumann;
            config.log_det.distribution = distribution;
            config.log_det.exact_terms = exact_terms;
            config.log_det.terms = 4;
            config.log_det.samples = 2;
        });
        let log_det = model.training_log_det();
        let streams = model.streams(log_det.as_ref());
        let keys = network::keys(9, 5, streams).iter().map(|&x| f64::from(x)).collect();
        let values = values.with("x", normal([BATCH, 2, 4, 4], 2)).with("keys", Array::new([streams, KEY_WIDTH], keys));
        let graph = model.gradient_graph(BATCH, Probes::Keys);
        let inputs: Vec<Array> = graph.inputs().iter().map(|(name, _)| values.get(name).clone()).collect();
        let wanted = iresnet::interpret::run(&graph, compare::rounded(&inputs));
        (log_det, graph, inputs, wanted)
    });
    on_every_device(|gpu| {
        for (log_det, graph, inputs, wanted) in &cases {
            let found = compare::run(gpu, graph, inputs, &mut Tuning::first());
            let norm = |data: &[f64]| data.iter().map(|x| x * x).sum::<f64>().sqrt();
            let gradients = graph.outputs().iter().zip(wanted).filter(|((name, _), _)| name.starts_with("grad/"));
            let largest = gradients.map(|(_, wanted)| norm(wanted.data())).fold(0.0, f64::max);
            for (((name, _), wanted), found) in graph.outputs().iter().zip(wanted).zip(found) {
                let off: Vec<f64> = wanted.data().iter().zip(found).map(|(a, b)| a - f64::from(b)).collect();
                // What is left of sums that cancel is compared as if it were a hundredth of the largest gradient.
                let floor = if name.starts_with("grad/") { largest / 100.0 } else { 1e-30 };
                let error = norm(&off) / norm(wanted.data()).max(floor);
                assert!(error <= TOLERANCE, "{log_det:?} on {}: {name} is off by {error:.1e}", gpu.info());
            }
        }
    });
}

/// Draws differ in how many terms they compute, and training counts on it.
#[test]
fn numbers_of_terms_differ_between_draws_and_blocks() {
    let (model, values) = model(|config| {
        config.log_det.estimator = Estimator::Unbiased;
        config.log_det.gradient = Gradient::Neumann;
    });
    let log_det = model.training_log_det().unwrap();
    assert!(log_det.draws_terms());
    let streams = model.streams(Some(&log_det));
    assert_eq!(streams, 4, "a probe and a number of terms for each of two blocks");
    let graph = model.loss_graph(1, Probes::Keys);
    let values = values.with("x", normal([1, 2, 4, 4], 2));
    // The same probes, other numbers of terms.
    let value = |step: [u32; 2]| {
        let mut keys = network::keys(9, 1, streams);
        for (row, step) in step.into_iter().enumerate() {
            let other = network::keys(9, step, streams);
            let range = (2 + row) * KEY_WIDTH..(3 + row) * KEY_WIDTH;
            keys[range.clone()].copy_from_slice(&other[range]);
        }
        let keys = keys.into_iter().map(f64::from).collect();
        let results = run(&graph, &values.clone().with("keys", Array::new([streams, KEY_WIDTH], keys)));
        results.get("log_det").data()[0]
    };
    for row in 0..2 {
        let values: Vec<f64> = (0..12).map(|step| value(if row == 0 { [step, 0] } else { [0, step] })).collect();
        let mut distinct = values.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        assert!((3..12).contains(&distinct.len()), "block {row}: {values:?}");
    }
}

/// The published density model after training, from its own code's brute-force determinants.
#[test]
fn exact_log_determinants_are_those_of_the_published_code() {
    const SAMPLES: usize = 2;
    let (fixture, _) = load("density");
    let mut config = Config::default();
    config.model.kind = Kind::Density;
    config.model.input = vec![3, 16, 16];
    config.model.blocks = vec![2, 2, 2];
    config.model.channels = vec![16, 16, 16];
    config.model.initial_squeeze = true;
    config.model.injective_padding = 0;
    let model = Model::new(&config).unwrap();
    let values = fixture.under("final.");
    let x = rows(&part(fixture.get("x"), 0), 0, SAMPLES);
    let x: Vec<f32> = x.data().iter().map(|&x| x as f32).collect();
    // One adapter: the kernels are those of every network, the determinant is the host's.
    let gpu = block_on(Gpu::open_adapter(&adapters()[0])).unwrap();
    let mut network = place(&gpu, &model, &values);
    let evaluator = block_on(ExactEvaluator::new(&mut network, SAMPLES)).unwrap();
    let found = block_on(evaluator.run(&mut network, &x, SAMPLES)).unwrap();
    let column = |which: usize| Array::new([SAMPLES], found.iter().map(|row| row[which]).collect());
    assert_close("log_prior", &column(0), &rows(fixture.get("eval.logpz"), 0, SAMPLES), TOLERANCE);
    assert_close("log_det", &column(1), fixture.get("eval.exact_logdet_first2"), TOLERANCE);
}

#[test]
fn rigorous_estimates_are_as_good_as_they_say() {
    const SAMPLES: usize = 12;
    /// Of two normal errors, one claimed by each estimate; the seed is fixed.
    const STANDARD_ERRORS: f64 = 4.0;
    let (model, values) = model(|_| {});
    let x = normal([SAMPLES, 2, 4, 4], 20);
    let gpu = block_on(Gpu::open_adapter(&adapters()[0])).unwrap();
    let mut network = place(&gpu, &model, &values);
    let exact = block_on(ExactEvaluator::new(&mut network, SAMPLES)).unwrap();
    let data: Vec<f32> = x.data().iter().map(|&x| x as f32).collect();
    let exact = block_on(exact.run(&mut network, &data, SAMPLES)).unwrap();
    let bits = |log_prob: f64| 8.0 - log_prob / (std::f64::consts::LN_2 * model.input_len() as f64);
    let exact: Vec<f64> = exact.iter().map(|[prior, log_det]| bits(prior + log_det)).collect();
    let width = data.len() / SAMPLES;
    // Batches of five: the last is not full.
    let batches = || {
        data.chunks(5 * width).map(move |part| {
            let mut x = part.to_vec();
            x.resize(5 * width, 0.0);
            (x, vec![0; 5], part.len() / width)
        })
    };
    let demand = Demand { bias: 1e-3, standard_error: 2e-3, passes: 400 };
    let found = block_on(eval::estimate(&mut network, 5, batches, 3, demand)).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let precision = found.precision;
    let found = &found.columns["bits_per_dim"];
    assert_eq!(found.len(), SAMPLES);
    let bias_bound = precision.bias_bound.expect("the norms are tight, so the blocks are proved contractions");
    assert!(bias_bound <= demand.bias && precision.probe_standard_error <= demand.standard_error);
    let constants = block_on(eval::lipschitz_constants(&network)).unwrap();
    assert!(constants.iter().all(|&l| l > 0.0 && l < 1.0), "{constants:?}");
    let fewer = eval::bias_bound(&model, &constants, precision.terms - 1);
    assert!(fewer > demand.bias, "{} terms were enough", precision.terms - 1);
    let off = (mean(found) - mean(&exact)).abs();
    let allowed = STANDARD_ERRORS * precision.probe_standard_error + bias_bound;
    assert!(off <= allowed, "off by {off}, allowed {allowed}, {precision:?}");
    let z = Array::new([1], vec![mean(found)]);
    assert!(relative_error(&z, &Array::new([1], vec![mean(&exact)])) < 0.01);
}

/// Where nothing bounds the branches, there is an error instead of a number.
#[test]
fn without_contraction_there_is_no_rigorous_estimate() {
    let mut config = Config::default();
    config.model.kind = Kind::Toy;
    config.model.input = vec![4];
    config.model.blocks = vec![1];
    config.model.strides = vec![1];
    config.model.channels = vec![8];
    config.model.injective_padding = 0;
    config.model.coefficient = None;
    config.log_det.estimator = Estimator::Exact;
    let model = Model::new(&config).unwrap();
    let error = eval::terms_for(&model, &[1.7], 1e-4).unwrap_err();
    assert!(error.to_string().contains("--log-det exact"), "{error}");
}
