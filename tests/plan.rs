//! Plans compute what graphs say, keep to what every device allows, and look as reviewed.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/expressions.rs"]
#[allow(dead_code, reason = "shared with the graph tests, which use more of it")]
mod expressions;

use std::collections::HashSet;
use std::path::PathBuf;

use common::adapters;
use expressions::expression;
use iresnet::config::{Config, Kind};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::nn::{Model, Probes, Stop};
use iresnet::plan::program::{Binding, BufferKind, Command, Program};
use iresnet::plan::{self, Limits};

/// Steps of a random expression: enough for chains across several kernels.
const STEPS: usize = 14;
/// Expressions run on the first adapter, and on each of the others.
const RUN: [u64; 2] = [40, 10];
/// Expressions that are only planned: cheap.
const PLANNED: u64 = 300;

/// Largest difference to f64, relative to the largest number of the output or one. Expressions are made such that rounding
/// every step to f32 moves them by less than 3e-6; functions on a GPU err by a few units more than rounding does.
const TOLERANCE: f64 = 5e-5;

#[test]
fn random_expressions_run_as_they_evaluate() {
    for (number, adapter) in adapters().iter().enumerate() {
        let gpu = block_on(Gpu::open_adapter(adapter)).unwrap();
        for seed in 0..RUN[number.min(1)] {
            let expression = expression(seed, STEPS);
            let found = compare::run(&gpu, &expression.graph, &expression.values, &mut Tuning::first());
            for (((name, _), wanted), found) in expression.graph.outputs().iter().zip(&expression.expected).zip(&found)
            {
                let scale = wanted.data().iter().fold(1.0f64, |scale, &x| scale.max(x.abs()));
                assert_eq!(wanted.data().len(), found.len());
                for (index, (&wanted, &found)) in wanted.data().iter().zip(found).enumerate() {
                    assert!(
                        (wanted - f64::from(found)).abs() <= TOLERANCE * scale,
                        "seed {seed}, {name}[{index}]: {found} on {}, expected {wanted}\n{}",
                        gpu.info(),
                        expression.graph
                    );
                }
            }
        }
    }
}

/// What every device demands of a program, whatever it computes.
struct Demands<'a> {
    program: &'a Program,
    limits: &'a Limits,
    /// Scratch memory that something has been written to.
    written: HashSet<usize>,
}

impl Demands<'_> {
    fn inside(&self, binding: &Binding) {
        let buffer = &self.program.buffers[binding.buffer];
        let fits =
            binding.offset + binding.bytes <= buffer.bytes && binding.bytes > 0 && binding.bytes.is_multiple_of(4);
        assert!(fits, "{binding:?} of {buffer:?}");
    }

    fn read(&self, binding: &Binding) {
        self.inside(binding);
        let scratch = self.program.buffers[binding.buffer].kind == BufferKind::Scratch;
        assert!(!scratch || self.written.contains(&binding.buffer), "{binding:?} is read before it is written");
    }

    fn write(&mut self, binding: &Binding) {
        self.inside(binding);
        assert!(!matches!(self.program.buffers[binding.buffer].kind, BufferKind::Constant(_)), "a constant is written");
        self.written.insert(binding.buffer);
    }

    fn check(&mut self, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Dispatch { kernel, bindings } => {
                    let kernel = &self.program.kernels[*kernel];
                    assert_eq!(bindings.len(), kernel.inputs + kernel.outputs, "{}", kernel.label);
                    assert!(
                        bindings.len() <= self.limits.storage_buffers,
                        "{}: {} bindings",
                        kernel.label,
                        bindings.len()
                    );
                    let (inputs, outputs) = bindings.split_at(kernel.inputs);
                    for binding in bindings {
                        assert!(binding.offset.is_multiple_of(256), "{}: {binding:?}", kernel.label);
                        assert!(binding.bytes <= self.limits.storage_binding_bytes, "{}: {binding:?}", kernel.label);
                    }
                    for output in outputs {
                        let uses = bindings.iter().filter(|other| other.buffer == output.buffer).count();
                        assert_eq!(uses, 1, "{}: b{} is written and bound twice", kernel.label, output.buffer);
                    }
                    inputs.iter().for_each(|input| self.read(input));
                    outputs.iter().for_each(|output| self.write(output));
                }
                Command::Copy { from, to } => {
                    assert_eq!(from.bytes, to.bytes);
                    assert_ne!(from.buffer, to.buffer, "a copy within a buffer");
                    self.read(from);
                    self.write(to);
                }
                Command::Loop { body, limit, flag } => {
                    assert!(*limit > 0 && !body.iter().any(|command| matches!(command, Command::Loop { .. })));
                    self.check(body);
                    self.read(flag);
                }
            }
        }
    }
}

fn assert_sound(program: &Program, limits: &Limits) {
    let names = program.buffers.iter().filter_map(|buffer| match &buffer.kind {
        BufferKind::External(name) => Some(name),
        _ => None,
    });
    let mut seen = HashSet::new();
    assert!(names.into_iter().all(|name| seen.insert(name)), "a named tensor has one buffer\n{program}");
    for kernel in &program.kernels {
        assert!(!kernel.variants.is_empty() && kernel.outputs > 0, "{}", kernel.label);
    }
    Demands { program, limits, written: HashSet::new() }.check(&program.commands);
}

#[test]
fn random_expressions_become_programs_that_every_device_takes() {
    let limits = Limits::default();
    for seed in 0..PLANNED {
        let graph = expression(seed, 3 * STEPS).graph;
        assert_sound(&plan::compile("random", &graph, &limits).unwrap(), &limits);
    }
}

/// One block of every kind of graph, small enough to read.
fn block(kind: Kind) -> Model {
    let mut config = Config::default();
    config.model.kind = kind;
    config.model.input = vec![4, 6, 6];
    config.model.blocks = vec![1];
    config.model.strides = vec![1];
    config.model.channels = vec![8];
    config.model.injective_padding = 0;
    config.log_det.terms = 2;
    Model::new(&config).unwrap()
}

#[test]
fn programs_of_a_block() {
    let limits = Limits::default();
    let density = block(Kind::Density);
    let programs = [
        ("block_gradient", density.gradient_graph(2, Probes::Keys)),
        ("block_inverse", density.inverse_graph(2, Stop { limit: 20, ..Stop::default() })),
        ("block_classifier", block(Kind::Classifier).gradient_graph(2, Probes::Keys)),
    ];
    for (name, graph) in programs {
        let program = plan::compile(name, &graph, &limits).unwrap();
        assert_sound(&program, &limits);
        let again = plan::compile(name, &graph, &limits).unwrap();
        assert_eq!(program, again, "{name}: planning depends on nothing but the graph");
        let text = program.to_string();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("plan_{name}.txt"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).expect("the folder of snapshots is there");
            continue;
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, known, "{} differs; BLESS=1 writes it anew", path.display());
    }
}

#[test]
fn a_tensor_larger_than_the_device_binds_is_named() {
    let graph = block(Kind::Density).loss_graph(2, Probes::Keys);
    let limits = Limits { storage_binding_bytes: 1000, ..Limits::default() };
    let error = plan::compile("small", &graph, &limits).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("["), "{error}");
}
