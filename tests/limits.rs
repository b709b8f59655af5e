//! What a device allows changes how a graph is computed, not what: tensors larger than one binding, more workgroups than
//! an axis of a dispatch has, more tensors than a kernel binds.

#[path = "limits/cases.rs"]
mod cases;
mod common;
#[path = "common/compare.rs"]
mod compare;

use std::path::PathBuf;

use common::{on_every_adapter, on_every_device};
use iresnet::config::{Config, Kind};
use iresnet::gpu::{Gpu, Tuning};
use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::network;
use iresnet::nn::{Model, Probes, Stop, param};
use iresnet::plan::program::Program;
use iresnet::plan::{self, Limits};
use iresnet::random::Key;

/// f32 rounding through sums of up to some thousand terms.
const TOLERANCE: f64 = 2e-5;

/// Largest difference of a gradient in chunks to the one computed at once, relative to the gradient's largest element:
/// sums over the batch are grouped differently, and a power series amplifies their roundings.
const REGROUPED: f64 = 1e-4;

/// A gradient so much smaller than the largest of the model is what is left of sums that cancel: it is compared as if it
/// were this part of the largest, as where models are compared with the interpreter.
const NEGLIGIBLE: f32 = 1e-2;

/// Samples in a batch.
const BATCH: usize = 8;

/// What devices bind at once in the tests of models: one image's activations, and those of half the batch.
const BYTES: [u64; 2] = [16 << 10, 64 << 10];

fn binding(bytes: u64) -> Limits {
    Limits { storage_binding_bytes: bytes, ..Limits::default() }
}

/// The program for these limits, which must differ from that for a device which binds everything whole.
fn split(name: &str, graph: &Graph, limits: &Limits) -> Program {
    let program = plan::compile(name, graph, limits).unwrap();
    program.check(limits).unwrap_or_else(|error| panic!("{error}\n{program}"));
    assert_ne!(program, plan::compile(name, graph, &Limits::default()).unwrap(), "{name} needs no splitting");
    program
}

#[test]
fn every_op_is_computed_in_chunks() {
    let limits = binding(cases::BINDING);
    let cases = cases::cases();
    for case in &cases {
        split(&case.name, &case.graph, &limits);
    }
    on_every_adapter(|gpu| {
        for case in &cases {
            compare::assert_agrees_within(gpu, &limits, &case.name, &case.graph, &case.values, TOLERANCE);
        }
    });
}

/// A model of one block whose images are larger than what the tests bind.
fn model(kind: Kind) -> Model {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.input = vec![2, 16, 16];
    config.model.blocks = vec![1];
    config.model.strides = vec![1];
    config.model.channels = vec![16];
    config.model.injective_padding = if kind == Kind::Classifier { 2 } else { 0 };
    config.model.initial_squeeze = false;
    config.model.coefficient = Some(0.6);
    config.model.classes = 3;
    config.log_det.terms = 2;
    Model::new(&config).unwrap()
}

/// A value for every input of a model's graph.
fn values(model: &Model, graph: &Graph) -> Vec<Array> {
    let initial = param::initialize(model.params(), 3);
    let value = |(name, id): &(String, iresnet::graph::NodeId)| {
        let shape = graph.shape(*id).clone();
        let data: Vec<f64> = match initial.iter().find(|(known, _)| known == name) {
            Some((_, value)) => value.data().iter().map(|&x| f64::from(x)).collect(),
            None if name == "keys" => network::keys(9, 7, shape[0]).into_iter().map(f64::from).collect(),
            None if name == "labels" => (0..shape.len()).map(|sample| (sample % 3) as f64).collect(),
            None => Key::new(5, 0, 1).normals(shape.len()).into_iter().map(f64::from).collect(),
        };
        Array::new(shape, data)
    };
    graph.inputs().iter().map(value).collect()
}

fn run(gpu: &Gpu, limits: &Limits, model: &Model, graph: &Graph) -> Vec<Vec<f32>> {
    compare::run_within(gpu, limits, graph, &values(model, graph), &mut Tuning::first())
}

#[test]
fn models_have_the_same_gradients_in_chunks() {
    for kind in [Kind::Classifier, Kind::Density] {
        let model = model(kind);
        let graph = model.gradient_graph(BATCH, Probes::Keys);
        for bytes in BYTES {
            split("gradient", &graph, &binding(bytes));
        }
        on_every_device(|gpu| {
            let whole = run(gpu, &Limits::default(), &model, &graph);
            for bytes in BYTES {
                let parts = run(gpu, &binding(bytes), &model, &graph);
                let size = |numbers: &[f32]| numbers.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                let outputs = || graph.outputs().iter().zip(&whole);
                let gradients = outputs().filter(|((name, _), _)| name.starts_with("grad/"));
                let steepest = gradients.map(|(_, gradient)| size(gradient)).fold(0.0, f32::max);
                for (((name, _), whole), parts) in outputs().zip(parts) {
                    let floor = if name.starts_with("grad/") { NEGLIGIBLE * steepest } else { 0.0 };
                    let largest = size(whole).max(floor);
                    let pairs = whole.iter().zip(&parts);
                    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(
                        f64::from(difference) <= REGROUPED * f64::from(largest),
                        "{kind:?}, {bytes} bytes, {name} on {}: off by {difference:.1e} of {largest:.1e}",
                        gpu.info()
                    );
                }
            }
        });
    }
}

/// An inversion adds nothing up over samples, so it gives the same bits. It runs in loops on the device.
#[test]
fn an_inversion_gives_the_same_bits_in_chunks() {
    let model = model(Kind::Density);
    let graph = model.inverse_graph(BATCH, Stop { tolerance: 1e-4, limit: 12, ..Stop::default() });
    on_every_device(|gpu| {
        let whole = run(gpu, &Limits::default(), &model, &graph);
        for bytes in BYTES {
            split("inverse", &graph, &binding(bytes));
            let parts = run(gpu, &binding(bytes), &model, &graph);
            for (((name, _), whole), parts) in graph.outputs().iter().zip(&whole).zip(&parts) {
                assert!(whole.iter().all(|x| x.is_finite()), "{name} goes astray on {}", gpu.info());
                let different = whole.iter().zip(parts).position(|(a, b)| a.to_bits() != b.to_bits());
                assert_eq!(different, None, "{bytes} bytes, {name} on {}", gpu.info());
            }
        }
    });
}

#[test]
fn a_plan_in_chunks_looks_as_reviewed() {
    let program = split("block in chunks", &cases::block(), &binding(4096));
    let text = program.to_string();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/plan_block_in_chunks.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).expect("the folder of snapshots is there");
        return;
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, known, "{} differs; BLESS=1 writes it anew", path.display());
}

#[test]
fn what_cannot_be_cut_is_named() {
    let error = |graph: &Graph, limits: &Limits| {
        let error = plan::compile("large", graph, limits).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    // One image by itself is too large.
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [1, 4, 16, 16]), g.input("w", [4, 4, 3, 3]));
    let y = g.conv2d(x, w, 1, [1, 1], 1);
    g.output("y", y);
    let text = error(&g, &binding(2048));
    assert!(["[1, 4, 16, 16]", "4096 bytes", "2048", "smaller"].iter().all(|part| text.contains(part)), "{text}");

    // Rows whose multiples never begin where a binding may, within the limit.
    let mut g = Graph::new();
    let x = g.input("x", [64, 33]);
    let y = g.exp(x);
    g.output("y", y);
    let text = error(&g, &binding(1024));
    assert!(["[64, 33]", "132 bytes", "multiple of 64", "1024"].iter().all(|part| text.contains(part)), "{text}");

    // No buffer has room for it.
    let text = error(&g, &Limits { buffer_bytes: 8000, ..Limits::default() });
    assert!(["[64, 33]", "8448 bytes", "8000"].iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn more_workgroups_than_an_axis_has() {
    // Workgroups of the elementwise kernel have 64 invocations.
    let len = 64 * 65_535 + 100;
    let mut g = Graph::new();
    let x = g.input("x", [len]);
    let doubled = g.scale(x, 2.0);
    g.output("y", doubled);
    let values = Array::new([len], (0..len).map(|index| (index % 1000) as f64).collect());
    on_every_adapter(|gpu| {
        let found = compare::run(gpu, &g, std::slice::from_ref(&values), &mut Tuning::first()).remove(0);
        let wrong = (0..len).find(|&index| f64::from(found[index]) != 2.0 * values.data()[index]);
        assert_eq!(wrong, None, "on {}", gpu.info());
    });
}

#[test]
fn more_tensors_than_a_kernel_binds() {
    let (graph, values) = cases::many_tensors();
    let program = plan::compile("many", &graph, &Limits::default()).unwrap();
    program.check(&Limits::default()).unwrap();
    assert!(program.commands.len() > 1, "{program}");
    on_every_adapter(|gpu| compare::assert_agrees(gpu, "many tensors", &graph, &values, TOLERANCE));
}
