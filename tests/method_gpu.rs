//! The method on every device: loss and gradients as the interpreter has them, log-determinants, inverses.

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

use agreement::{assert_agree, norm};
use common::on_every_device;
use fixture::Tensors;
use iresnet::config::{Config, Estimator, Kind, Precision};
use iresnet::gpu::Tuning;
use iresnet::nn::{Evaluation, LogDet, Model, Probes, Stop};
use iresnet::plan::program::Suits;
use iresnet::plan::{self, Limits};
use iresnet::random::Distribution;
use small_model::{inputs, interpreted, on};

/// Relative error of losses and gradients: f32 keeps seven digits, a gradient through a power series loses up to three.
const TOLERANCE: f64 = 1e-4;
/// The same with operands of half precision, each off by 2⁻¹¹ at most: a gradient through a power series loses another digit.
const F16_TOLERANCE: f64 = 5e-3;
/// Largest error of an element after there and back: numbers of about one, rounded at each of some hundred operations.
const ROUND_TRIP: f64 = 1e-5;
/// Samples in a batch: not a multiple of anything.
const BATCH: usize = 3;

/// A small model and its values: norms that bind, ActNorm set from data.
fn model(kind: Kind) -> (Model, Tensors) {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.input = vec![2, 4, 4];
    // Two blocks of equal shape: the kernels are compiled once.
    config.model.blocks = vec![2];
    config.model.strides = vec![2];
    config.model.channels = vec![4];
    config.model.injective_padding = if kind == Kind::Classifier { 2 } else { 0 };
    config.model.coefficient = Some(0.8);
    config.model.classes = 3;
    config.model.head_channels = 5;
    config.train.density_weight = 2.0;
    config.log_det.terms = 2;
    if kind == Kind::Toy {
        config.model.input = vec![2];
        config.model.strides = vec![1];
        config.model.hidden_layers = 1;
        config.log_det.estimator = Estimator::Exact;
    }
    let model = Model::new(&config).unwrap();
    let values = small_model::values(&model);
    (model, values)
}

#[test]
fn losses_and_gradients_are_those_of_the_interpreter() {
    let cases = [Kind::Classifier, Kind::Density, Kind::Toy, Kind::Hybrid].map(|kind| {
        let (model, values) = model(kind);
        let graph = model.gradient_graph(BATCH, Probes::Keys);
        let inputs = inputs(&model, &values, model.training_log_det().as_ref(), BATCH);
        let wanted = interpreted(&graph, &inputs);
        let gradients = wanted.0.iter().filter(|(name, value)| name.starts_with("grad/") && norm(value) > 0.0).count();
        assert!(gradients >= 10, "{gradients} gradients of {kind:?} are not zero");
        (kind, graph, inputs, wanted)
    });
    on_every_device(|gpu| {
        for (kind, graph, inputs, wanted) in &cases {
            assert_agree(&format!("{kind:?} on {}", gpu.info()), &on(gpu, graph, inputs), wanted, TOLERANCE);
        }
    });
}

/// What a graph asks for in half precision gets it where the device can: convolutions of blocks, and nothing else.
#[test]
fn half_precision_changes_losses_and_gradients_by_its_rounding_only() {
    let cases = [Kind::Classifier, Kind::Density].map(|kind| {
        let (exact, values) = model(kind);
        let mut config = exact.config().clone();
        config.train.precision = Precision::F16;
        let model = Model::new(&config).unwrap();
        let inputs = inputs(&model, &values, model.training_log_det().as_ref(), BATCH);
        let graphs = [exact, model].map(|model| model.gradient_graph(BATCH, Probes::Keys));
        let wanted = interpreted(&graphs[0], &inputs);
        let program = plan::compile("half", &graphs[1], &Limits::default()).unwrap();
        let rounding = program.choices(Suits::F16);
        // Each layer forwards and in both gradients, and what the log-determinant adds: as many geometries as there are.
        assert!(rounding.len() >= 6, "{rounding:?}");
        (kind, graphs, inputs, wanted, rounding)
    });
    on_every_device(|gpu| {
        for (kind, [exact, half], inputs, wanted, rounding) in &cases {
            let what = format!("{kind:?} on {}", gpu.info());
            let found = small_model::on_with(gpu, half, inputs, &mut Tuning::fixed(rounding.clone()));
            if !gpu.info().f16 {
                assert_agree(&what, &found, wanted, TOLERANCE);
                continue;
            }
            assert_agree(&what, &found, wanted, F16_TOLERANCE);
            let error = (found.get("loss").data()[0] / wanted.get("loss").data()[0] - 1.0).abs();
            assert!(error > 1e-6, "{what}: a loss that is off by {error:.1e} was not rounded");
            let exact = on(gpu, exact, inputs);
            for (name, value) in
                exact.0.iter().filter(|(name, _)| name.ends_with("weight_u") || name.ends_with("weight_v"))
            {
                assert_eq!(value.data(), found.get(name).data(), "{what}: {name} is always computed in f32");
            }
        }
    });
}

/// The loss of a hybrid model is that of its parts: cross-entropy, and the density's weighted nats per dimension.
#[test]
fn a_hybrid_model_weighs_density_and_classes() {
    let (model, values) = model(Kind::Hybrid);
    let log_det = model.training_log_det();
    let inputs = inputs(&model, &values, log_det.as_ref(), BATCH);
    let graph = model.eval_graph(BATCH, &Evaluation { log_det, probes: Probes::Keys, labels: true }).unwrap();
    let found = fixture::run(&graph, &inputs);
    let get = |name: &str, sample: usize| found.get(name).data()[sample];
    let dimensions = model.input_len() as f64;
    for sample in 0..BATCH {
        let expected = get("cross_entropy", sample) - 2.0 / dimensions * get("log_prob", sample);
        assert!((get("loss", sample) - expected).abs() < 1e-12, "sample {sample}");
        let bits = 8.0 - get("log_prob", sample) / dimensions / std::f64::consts::LN_2;
        assert!((get("bits_per_dim", sample) - bits).abs() < 1e-12, "sample {sample}");
    }
    // The heads see every scale: the first scale's convolution has a gradient.
    let gradients = fixture::run(&model.gradient_graph(BATCH, Probes::Keys), &inputs);
    for name in ["heads.0.conv.weight", "logits.weight", "prior_mu"] {
        assert!(norm(gradients.get(&format!("grad/{name}"))) > 0.0, "{name} has no gradient");
    }
}

#[test]
fn log_determinants_by_series_and_exactly() {
    let series = LogDet::Series { terms: 8, samples: 2, probe: Distribution::Rademacher };
    let (toy, values) = model(Kind::Toy);
    let (density, images) = model(Kind::Density);
    let cases = [
        ("exact", &toy, &values, LogDet::Exact),
        ("series", &toy, &values, series.clone()),
        ("series of images", &density, &images, series),
    ];
    let cases = cases.map(|(name, model, values, log_det)| {
        let inputs = inputs(model, values, Some(&log_det), BATCH);
        let evaluation = Evaluation { log_det: Some(log_det), probes: Probes::Keys, labels: false };
        let graph = model.eval_graph(BATCH, &evaluation).unwrap();
        let wanted = interpreted(&graph, &inputs);
        (name, graph, inputs, wanted)
    });
    on_every_device(|gpu| {
        for (name, graph, inputs, wanted) in &cases {
            assert_agree(&format!("{name} on {}", gpu.info()), &on(gpu, graph, inputs), wanted, TOLERANCE);
        }
    });
}

#[test]
fn inverses_give_back_what_went_in_and_say_how_well() {
    let stop = Stop::default();
    let cases = [Kind::Density, Kind::Toy].map(|kind| {
        let (model, values) = model(kind);
        let inputs = inputs(&model, &values, None, BATCH);
        let forward = model.eval_graph(BATCH, &Evaluation::default()).unwrap();
        (kind, forward, model.inverse_graph(BATCH, stop), model.inverse_graph(BATCH, Stop { limit: 2, ..stop }), inputs)
    });
    on_every_device(|gpu| {
        for (kind, forward, inverse, hasty, inputs) in &cases {
            let what = format!("{kind:?} on {}", gpu.info());
            let z = on(gpu, forward, inputs).get("z").clone();
            let inputs = inputs.clone().with("z", z);
            let found = on(gpu, inverse, &inputs);
            let (x, back) = (inputs.get("x"), found.get("x"));
            let error = x.data().iter().zip(back.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < ROUND_TRIP, "{what}: an element is off by {error:.1e}");
            for name in ["iterations", "residual", "converged"] {
                assert_eq!(found.get(name).shape().extents(), [BATCH], "{what}: {name} of each sample");
            }
            assert!(found.get("converged").data().iter().all(|&x| x == 1.0), "{what}: {:?}", found.get("converged"));
            assert!(
                found.get("residual").data().iter().all(|&x| (0.0..=stop.tolerance as f32 as f64).contains(&x)),
                "{what}"
            );
            let rounds = found.get("iterations").data();
            assert!(
                rounds.iter().all(|&n| n.fract() == 0.0 && n > 4.0 && n < 2.0 * 100.0),
                "{what}: {rounds:?} iterations"
            );

            let found = on(gpu, hasty, &inputs);
            assert_eq!(found.get("iterations").data(), [4.0; BATCH], "{what}: two iterations in each of two blocks");
            assert!(found.get("converged").data().iter().all(|&x| x == 0.0), "{what}: two iterations are too few");
            assert!(found.get("residual").data().iter().all(|&x| x > stop.tolerance), "{what}");
        }
    });
}
