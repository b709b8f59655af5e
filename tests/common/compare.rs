//! Running a graph on a GPU and holding the results against the f64 interpreter.

use iresnet::gpu::{Gpu, Memory, Session, Tuning, block_on};
use iresnet::graph::Graph;
use iresnet::interpret::{self, Array};
use iresnet::plan::{self, Limits};

/// Outputs of `graph` for these inputs, computed by `gpu`.
pub(crate) fn run(gpu: &Gpu, graph: &Graph, inputs: &[Array], tuning: &mut Tuning) -> Vec<Vec<f32>> {
    run_within(gpu, &Limits::default(), graph, inputs, tuning)
}

/// As [`run`], by a plan for a device of these limits.
pub(crate) fn run_within(
    gpu: &Gpu,
    limits: &Limits,
    graph: &Graph,
    inputs: &[Array],
    tuning: &mut Tuning,
) -> Vec<Vec<f32>> {
    let program = plan::compile("test", graph, limits).unwrap();
    let mut memory = Memory::new(gpu);
    for ((name, id), value) in graph.inputs().iter().zip(inputs) {
        memory.alloc(name, graph.shape(*id).clone()).unwrap();
        let data: Vec<f32> = value.data().iter().map(|&x| x as f32).collect();
        memory.write(name, &data);
    }
    for (name, id) in graph.outputs() {
        if graph.find_input(name).is_none() {
            memory.alloc(name, graph.shape(*id).clone()).unwrap();
        }
    }
    let session = block_on(Session::bind(gpu, &program, &memory, tuning)).unwrap();
    session.run();
    graph.outputs().iter().map(|(name, _)| block_on(memory.read(name)).unwrap()).collect()
}

/// The inputs as a GPU sees them: rounded to f32.
pub(crate) fn rounded(inputs: &[Array]) -> Vec<Array> {
    let round =
        |array: &Array| Array::new(array.shape().clone(), array.data().iter().map(|&x| f64::from(x as f32)).collect());
    inputs.iter().map(round).collect()
}

/// Asserts that `gpu` computes what the interpreter computes: each output's largest difference is at most `tolerance`
/// times its largest magnitude (or one, where that is larger).
#[track_caller]
pub(crate) fn assert_agrees(gpu: &Gpu, name: &str, graph: &Graph, inputs: &[Array], tolerance: f64) {
    assert_agrees_within(gpu, &Limits::default(), name, graph, inputs, tolerance);
}

/// As [`assert_agrees`], by a plan for a device of these limits.
#[track_caller]
pub(crate) fn assert_agrees_within(
    gpu: &Gpu,
    limits: &Limits,
    name: &str,
    graph: &Graph,
    inputs: &[Array],
    tolerance: f64,
) {
    let wanted = interpret::run(graph, rounded(inputs));
    let found = run_within(gpu, limits, graph, inputs, &mut Tuning::first());
    for (((output, _), wanted), found) in graph.outputs().iter().zip(&wanted).zip(&found) {
        let scale = wanted.data().iter().fold(1.0f64, |scale, &x| scale.max(x.abs()));
        for (index, (&wanted, &found)) in wanted.data().iter().zip(found).enumerate() {
            let error = (wanted - f64::from(found)).abs() / scale;
            assert!(
                error <= tolerance,
                "{name}, output {output:?}[{index}]: {found} on {}, {wanted} by the interpreter, off by {error:.1e} \
                 of {scale}\n{graph}",
                gpu.info()
            );
        }
    }
}
