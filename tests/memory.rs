//! What training keeps in memory: `train.memory` changes it, and neither losses nor gradients; plans say how much it is,
//! and devices hold no more.

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
mod small_model;

use agreement::norm;
use common::on_every_device;
use fixture::Tensors;
use iresnet::autodiff::Recovery;
use iresnet::config::{Config, Estimator, Gradient, Kind, Memory};
use iresnet::gpu::{self, Session, Tuning};
use iresnet::graph::{Function, FunctionRef, Graph, NodeId, OwnVjp};
use iresnet::interpret::{self, Array};
use iresnet::nn::reversible::{DRIFT, RESIDUAL, TOLERANCE};
use iresnet::nn::{Model, Probes};
use iresnet::plan::program::Program;
use iresnet::plan::{self, Limits};
use small_model::{config, inputs, interpreted, normal, on, values};

/// Relative error of gradients that recompute the very same numbers in f64.
const SAME: f64 = 1e-12;
/// Relative error of gradients in f64 whose inputs are recovered to [`TOLERANCE`]: each of four blocks may add
/// Lip(F)/(1 - Lip(F)) ≈ 1 tolerance to an input, and the gradient's relative change is a few times that.
const RECOVERED: f64 = 2e-5;
/// Relative error on a device: what gradients have anyway in f32 (see `method_gpu.rs`), with recovered inputs.
const ON_A_DEVICE: f64 = 1e-4;
/// How far what devices really hold may be from what plans say.
const PLANNED: f64 = 0.05;
/// Samples in a batch: not a multiple of anything.
const BATCH: usize = 3;

const MODES: [Memory; 3] = [Memory::Store, Memory::Checkpoint, Memory::Reversible];

fn with_memory(config: &Config, memory: Memory) -> Model {
    let mut config = config.clone();
    config.train.memory = memory;
    Model::new(&config).unwrap()
}

/// Asserts that every output of `wanted` is among `found`, and that its gradients are not zero.
#[track_caller]
fn assert_agree(what: &str, found: &Tensors, wanted: &Tensors, tolerance: f64) {
    let gradients = wanted.0.iter().filter(|(name, _)| name.starts_with("grad/"));
    assert!(gradients.filter(|(_, gradient)| norm(gradient) > 0.0).count() >= 10, "{what}: gradients are zero");
    agreement::assert_agree(what, found, wanted, tolerance);
}

/// Models of each kind, one that begins with a squeeze, without ActNorm, whose channels are sorted, and densities whose
/// log-determinants have a gradient of their own.
fn cases() -> Vec<(String, Config)> {
    let mut cases: Vec<_> = [Kind::Classifier, Kind::Density, Kind::Hybrid, Kind::Toy]
        .map(|kind| (format!("{kind:?}"), config(kind)))
        .into();
    let mut other = config(Kind::Density);
    other.model.initial_squeeze = true;
    other.model.strides = vec![1, 1];
    other.model.actnorm = false;
    other.model.activation = iresnet::nn::Activation::MaxMin;
    cases.push(("density of another make".into(), other));
    for estimator in [Estimator::Series, Estimator::Unbiased] {
        let mut neumann = config(Kind::Density);
        neumann.log_det.estimator = estimator;
        neumann.log_det.gradient = Gradient::Neumann;
        cases.push((format!("density, {estimator:?}, Neumann gradient"), neumann));
    }
    cases
}

#[test]
fn gradients_are_the_same_whatever_is_kept() {
    for (name, config) in cases() {
        // One state for all: to converge, power iteration takes as long as the slowest layer of a group needs.
        let values = values(&with_memory(&config, Memory::Store));
        let [store, checkpoint, reversible] = MODES.map(|memory| {
            let model = with_memory(&config, memory);
            let inputs = inputs(&model, &values, model.training_log_det().as_ref(), BATCH);
            fixture::run(&model.gradient_graph(BATCH, Probes::Keys), &inputs)
        });
        assert_agree(&format!("{name}, checkpoint"), &checkpoint, &store, SAME);
        assert_agree(&format!("{name}, reversible"), &reversible, &store, RECOVERED);
        let [residual, drift] = [RESIDUAL, DRIFT].map(|output| reversible.get(output).data()[0]);
        println!("{name}: residual {residual:.1e}, drift {drift:.1e}");
        assert!(0.0 < residual && residual <= TOLERANCE, "{name}: residual {residual:.1e}");
        assert!(0.0 < drift && drift <= 100.0 * TOLERANCE, "{name}: drift {drift:.1e}");
        assert!(!store.0.contains_key(RESIDUAL) && !checkpoint.0.contains_key(RESIDUAL), "{name}");
    }
}

#[test]
fn devices_recover_inputs_as_well() {
    // One with padding, one with factoring out and a log-determinant: kernels take long to compile.
    let cases: Vec<_> = cases()
        .into_iter()
        .take(2)
        .map(|(name, config)| {
            let [store, _, reversible] = MODES.map(|memory| with_memory(&config, memory));
            let inputs = inputs(&store, &values(&store), store.training_log_det().as_ref(), BATCH);
            let wanted = interpreted(&store.gradient_graph(BATCH, Probes::Keys), &inputs);
            (name, reversible.gradient_graph(BATCH, Probes::Keys), inputs, wanted)
        })
        .collect();
    on_every_device(|gpu| {
        for (name, graph, inputs, wanted) in &cases {
            let found = on(gpu, graph, inputs);
            assert_agree(&format!("{name} on {}", gpu.info()), &found, wanted, ON_A_DEVICE);
            let [residual, drift] = [RESIDUAL, DRIFT].map(|output| found.get(output).data()[0]);
            println!("{name}: residual {residual:.1e}, drift {drift:.1e}");
            assert!(0.0 <= residual && residual <= f64::from(TOLERANCE as f32), "{name}: residual {residual:.1e}");
            assert!(0.0 < drift && drift < 100.0 * TOLERANCE, "{name}: drift {drift:.1e}");
        }
    });
}

/// A block whose norms are far above what the power iteration believes: its vectors are zero, and so are its norms.
#[test]
fn an_inversion_that_fails_is_told() {
    let model = with_memory(&config(Kind::Classifier), Memory::Reversible);
    let mut values = values(&model);
    for (name, value) in &mut values.0 {
        if name.starts_with("stack.1.") && (name.ends_with("_u") || name.ends_with("_orig")) {
            let factor = if name.ends_with("_u") { 0.0 } else { 4.0 };
            *value = Array::new(value.shape(), value.data().iter().map(|x| factor * x).collect());
        }
    }
    let inputs = inputs(&model, &values, None, BATCH);
    let graph = model.gradient_graph(BATCH, Probes::Keys);
    let residual = fixture::run(&graph, &inputs).get(RESIDUAL).data()[0];
    assert!(residual > TOLERANCE, "the interpreter: {residual:.1e}");
    on_every_device(|gpu| {
        let residual = on(gpu, &graph, &inputs).get(RESIDUAL).data()[0];
        assert!(residual > TOLERANCE, "{}: {residual:.1e}", gpu.info());
    });
}

/// y = x + tanh w, whose derivative recovers x.
fn shift() -> FunctionRef {
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [4]), g.input("w", [4]));
    let by = g.tanh(w);
    let y = g.add(x, by);
    g.output("y", y);
    let mut d = Graph::new();
    let [w, y, dy] = ["w", "y", "dy"].map(|name| d.input(name, [4]));
    let by = d.tanh(w);
    let x = d.sub(y, by);
    // The derivative of y's square in x is 2x + 2 tanh w: through the recovered value, so that the test sees it.
    let square = d.square(by);
    let one = d.scalar_like(1.0, square);
    let slope = d.sub(one, square);
    let of_w = d.mul(slope, dy);
    let sum = d.sum_all(x);
    for (name, node) in [("of x", dy), ("of w", of_w), ("x", x), ("sum", sum)] {
        d.output(name, node);
    }
    let function = Function::new("shift.vjp", d);
    Function::with_own_vjp(
        "shift",
        g,
        OwnVjp { function, inputs: vec![1], outputs: vec![0], gradients: vec![0, 1], recovered: vec![0] },
    )
}

/// Three shifts with a reversal of order between them; the loss is the sum of squares.
fn chain() -> (Graph, Vec<NodeId>, Vec<NodeId>, Recovery) {
    let (mut g, shift) = (Graph::new(), shift());
    let (x, w) = (g.input("x", [4]), g.input("w", [4]));
    let mut values = vec![x];
    for _ in 0..3 {
        let last = *values.last().unwrap();
        let square = g.reshape(last, [2, 2]);
        let turned = g.permute(square, &[1, 0]);
        let flat = g.reshape(turned, [4]);
        values.push(g.call(&shift, &[flat, w])[0]);
    }
    let squares = g.square(values[3]);
    let loss = g.sum_all(squares);
    let one = g.scalar_like(1.0, loss);
    let (gradients, recovery) = g.vjp_recovering(&[(loss, one)], &[x, w]);
    (g, values, gradients, recovery)
}

#[test]
fn recovered_values_stand_for_those_of_the_forward_pass() {
    let (mut g, values, gradients, recovery) = chain();
    assert_eq!((recovery.reports.len(), recovery.drifts.len()), (3, 1), "one report a call, one drift a chain");
    for (number, &node) in gradients.iter().enumerate() {
        g.output(format!("gradient {number}"), node);
    }
    // Of the forward pass the gradients read the last value only: nothing else is kept.
    let forward = g.len();
    let first_vjp = g.nodes().find(|(_, node)| node.op.label() == "call shift.vjp").unwrap().0;
    for (id, node) in g.nodes().filter(|(id, _)| g.live()[id.index()] && *id >= first_vjp) {
        let kept = node.inputs.iter().filter(|&input| values[1..3].contains(input));
        assert_eq!(kept.count(), 0, "%{} of {forward} reads a value between", id.index());
    }
    g.output("drift", recovery.drifts[0]);
    for (number, report) in recovery.reports.iter().enumerate() {
        g.output(format!("sum {number}"), report[0]);
    }
    let (x, w) = (normal([4], 1), normal([4], 2));
    let results = interpret::run(&g, vec![x.clone(), w.clone()]);
    let shifted = |times: f64, i: usize| x.data()[[0, 2, 1, 3][i]] + times * w.data()[i].tanh();
    // Two turns are none; w itself is not turned, so the middle shift meets the elements in another order.
    let last = |i: usize| shifted(1.0, i) + w.data()[i].tanh() + w.data()[[0, 2, 1, 3][i]].tanh();
    for i in 0..4 {
        let wanted = 2.0 * last([0, 2, 1, 3][i]);
        assert!((results[0].data()[i] - wanted).abs() < 1e-12, "{} is not {wanted}", results[0].data()[i]);
    }
    assert!(results[2].data()[0] < 1e-12, "x came back");
    let sums: f64 = x.data().iter().sum();
    assert!((results[5].data()[0] - sums).abs() < 1e-12, "the last report is of the first call");
}

fn paper(kind: Kind) -> Config {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.blocks = vec![18, 18, 18];
    config
}

fn gradient_program(config: &Config, memory: Memory) -> Program {
    let graph = with_memory(config, memory).gradient_graph(config.data.batch, Probes::Keys);
    plan::compile("gradient", &graph, &Limits::default()).unwrap()
}

/// The classifier of the paper, 54 blocks, batch 128.
#[test]
fn the_deep_classifier_needs_a_sixth_of_the_memory() {
    let config = paper(Kind::Classifier);
    let [store, checkpoint, reversible] = MODES.map(|memory| gradient_program(&config, memory).scratch_bytes());
    println!(
        "store {store}, checkpoint {checkpoint}, reversible {reversible}: {:.2}",
        store as f64 / reversible as f64
    );
    assert!(6 * reversible <= store, "{reversible} bytes of {store}");
    // Checkpointing keeps one tensor a block of the five or so that a block has.
    assert!(2 * checkpoint <= store, "{checkpoint} bytes of {store}");
}

/// Another block costs its weights, normalised, and nothing that grows with the batch.
#[test]
fn depth_costs_no_activations() {
    for kind in [Kind::Classifier, Kind::Density] {
        let mut config = paper(kind);
        if kind == Kind::Density {
            config.model.initial_squeeze = true;
            config.model.injective_padding = 0;
        }
        let bytes = |blocks: usize, memory: Memory| {
            let mut config = config.clone();
            config.model.blocks = vec![blocks; 3];
            let weights: usize = Model::new(&config)
                .unwrap()
                .params()
                .iter()
                .filter(|param| param.name.ends_with("weight_orig"))
                .map(|param| 4 * param.shape.len())
                .sum();
            (gradient_program(&config, memory).scratch_bytes() as f64, weights as f64)
        };
        let growth = |memory: Memory| {
            let ((few, light), (many, heavy)) = (bytes(4, memory), bytes(8, memory));
            println!("{kind:?} {memory:?}: {few} to {many} bytes, weights {light} to {heavy}");
            (many - few - 2.0 * (heavy - light)) / few
        };
        assert!(growth(Memory::Reversible) < 0.05, "{kind:?}");
        assert!(growth(Memory::Store) > 0.5, "{kind:?}");
    }
}

/// Plans say what devices then hold, buffer by buffer.
#[test]
fn devices_hold_what_plans_say() {
    let mut config = config(Kind::Classifier);
    config.model.input = vec![3, 16, 16];
    config.model.channels = vec![8, 16];
    config.data.batch = 8;
    on_every_device(|gpu| {
        for memory in MODES {
            let program = gradient_program(&config, memory);
            let graph = with_memory(&config, memory).gradient_graph(config.data.batch, Probes::Keys);
            let mut tensors = gpu::Memory::new(gpu);
            for (name, id) in graph.inputs().iter().chain(graph.outputs()) {
                if !tensors.contains(name) {
                    tensors.alloc(name, graph.shape(*id).clone()).unwrap();
                }
            }
            let before = gpu.allocated_bytes();
            let session = gpu::block_on(Session::bind(gpu, &program, &tensors, &mut Tuning::first())).unwrap();
            let (planned, made) = (program.scratch_bytes() as f64, session.scratch_bytes() as f64);
            let after = gpu.allocated_bytes();
            println!("{memory:?} on {}: {planned} planned, {made} made, {before:?} to {after:?}", gpu.info());
            assert!((made - planned).abs() <= PLANNED * planned, "{memory:?}: {planned} planned, {made} made");
            if let (Some(before), Some(after)) = (before, after) {
                let held = (after - before) as f64;
                assert!((held - planned).abs() <= PLANNED * planned, "{memory:?}: {planned} planned, {held} held");
            }
        }
    });
}
