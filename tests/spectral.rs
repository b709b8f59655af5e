//! Layers normalised together: the same numbers as one by one, in few dispatches, whatever the shapes and the order.

mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with the gradient tests, which use more of it")]
mod compare;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;

use common::on_every_adapter;
use fixture::Tensors;
use iresnet::config::{Config, Kind, OptimizerName, PowerUpdate};
use iresnet::gpu::{Gpu, Tuning, block_on};
use iresnet::interpret::Array;
use iresnet::network::Network;
use iresnet::nn::{Model, Probes, certify, param};
use iresnet::plan::program::{Command, Program};
use iresnet::plan::{self, Limits};
use iresnet::random::{Distribution, Key};
use iresnet::train::Trainer;

/// Relative error of f32 against f64: sums of some hundred terms.
const TOLERANCE: f64 = 1e-4;
/// By how much a layer with converged vectors may be bounded above c: the slack of a bound, and what power iteration lacks.
const TIGHT: f64 = 5e-3;
/// Samples in a batch.
const BATCH: usize = 4;

/// Three blocks of one shape, so that groups have several members; channels that are and are not multiples of 64
/// elements.
fn config(channels: usize, update: PowerUpdate, tolerance: f64) -> Config {
    let mut config = Config::default();
    config.model.input = vec![2, 4, 4];
    config.model.blocks = vec![3];
    config.model.strides = vec![1];
    config.model.channels = vec![channels];
    config.model.injective_padding = 2;
    config.model.classes = 3;
    config.model.coefficient = Some(0.5);
    config.model.power_update = update;
    config.model.power_tolerance = tolerance;
    config.model.power_iterations = if tolerance > 0.0 { 200 } else { 2 };
    config.data.batch = BATCH;
    config.data.name = "fashion-mnist-mini".into();
    config.optimizer.name = OptimizerName::Sgd;
    config.optimizer.lr = 0.05;
    config
}

fn normal(len: usize, stream: u32) -> Vec<f32> {
    (0..len).map(|i| Distribution::Normal.draw(Key::new(5, 0, stream), i as u32) as f32).collect()
}

fn start(model: &Model) -> Tensors {
    let mut values = Tensors::default();
    for (name, tensor) in param::initialize(model.params(), 3) {
        let data = tensor.data().iter().map(|&x| f64::from(x)).collect();
        values = values.with(&name, Array::new(tensor.shape(), data));
    }
    values
}

fn f64s(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| f64::from(x)).collect()
}

/// The loss, the vectors and all gradients of a step on a device, with weights where its memory has them, are those of
/// the interpreter, which knows nothing of memory.
#[test]
fn layers_normalised_together_agree_with_the_interpreter() {
    for (channels, tolerance) in [(16, 0.0), (5, 0.0), (16, 1e-3)] {
        let config = config(channels, PowerUpdate::Before, tolerance);
        let model = Model::new(&config).unwrap();
        assert_eq!(model.norm_groups().len(), 3);
        assert!(model.norm_groups().iter().all(|group| group.weights.len() == 3 && group.norm.layers == 3));
        let graph = model.gradient_graph(BATCH, Probes::Keys);
        let x = normal(BATCH * model.input_len(), 1);
        let labels = [0.0, 2.0, 1.0, 2.0];
        let inputs = start(&model)
            .with("x", Array::new([BATCH, 2, 4, 4], f64s(&x)))
            .with("labels", Array::new([BATCH], f64s(&labels)));
        let wanted = fixture::run(&graph, &inputs);
        on_every_adapter(|gpu| {
            let values = param::initialize(model.params(), 3);
            let mut network = Network::new(gpu, Model::new(&config).unwrap(), &values, Tuning::first()).unwrap();
            let task = block_on(network.task("gradient", &graph)).unwrap();
            task.write("x", &x);
            task.write("labels", &labels);
            task.run();
            for (name, wanted) in &wanted.0 {
                let found = block_on(task.read(name)).unwrap();
                let found = Array::new(wanted.shape(), f64s(&found));
                let size = wanted.data().iter().map(|x| x * x).sum::<f64>().sqrt();
                let off = found.data().iter().zip(wanted.data()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                // What is nearly zero is compared to the gradients' size, which is about one.
                assert!(off <= TOLERANCE * size.max(1e-2), "{name} on {}: off by {off:.1e} of {size:.1e}", gpu.info());
            }
        });
    }
}

/// In memory stacked tensors lie in a row, and in a program nothing copies them.
#[test]
fn stacks_are_views_of_the_buckets() {
    let copies = |program: &Program, before_last: bool| {
        let last = program.commands.iter().rev().take_while(|command| matches!(command, Command::Copy { .. })).count();
        let first = program.commands.len() - last;
        let commands = if before_last { &program.commands[..first] } else { &program.commands[first..] };
        commands.iter().filter(|command| matches!(command, Command::Copy { .. })).count()
    };
    let config = config(64, PowerUpdate::Before, 0.0);
    let model = Model::new(&config).unwrap();
    let values = param::initialize(model.params(), 3);
    let gpu = block_on(Gpu::open(None)).unwrap();
    let network = Network::new(&gpu, Model::new(&config).unwrap(), &values, Tuning::first()).unwrap();
    let graph = model.loss_graph(BATCH, Probes::Keys);
    let limits = Limits::default();
    let anywhere = plan::compile("loss", &graph, &limits).unwrap();
    let in_buckets = plan::compile_in("loss", &graph, &limits, &network.memory().layout()).unwrap();
    assert_eq!(copies(&in_buckets, true), 0, "{in_buckets}");
    assert!(copies(&anywhere, true) >= 27, "three groups of three layers, three tensors each:\n{anywhere}");
    // u, v of three groups, nine σ, three running statistics: some of these lie in a row as well.
    assert!(copies(&in_buckets, false) <= 6 + 9 + 3, "{in_buckets}");
    // What is stored does not depend on it.
    let downloaded = block_on(network.download()).unwrap();
    assert_eq!(downloaded, values);
}

/// A step of a trainer, and what it leaves behind.
fn trained(gpu: &Gpu, config: &Config, steps: usize) -> (Trainer, Model) {
    let model = Model::new(config).unwrap();
    let x = normal(BATCH * model.input_len(), 1);
    let mut trainer = block_on(Trainer::new(gpu, config, 10, Tuning::first(), None)).unwrap();
    block_on(trainer.initialize(&x)).unwrap();
    for _ in 0..steps {
        trainer.step(&x, &[0, 2, 1, 2]);
        while block_on(trainer.report(true)).unwrap().is_some() {}
    }
    (trainer, model)
}

fn largest_excess(trainer: &Trainer, model: &Model) -> f64 {
    let values = block_on(trainer.network().download()).unwrap();
    let certificate = certify(model, &values);
    let layers = certificate.blocks.iter().flat_map(|block| &block.layers);
    layers.map(|layer| layer.bound / layer.coefficient.unwrap()).fold(0.0, f64::max)
}

/// After the update, stored vectors belong to the stored weights; before it, they lag one update behind.
#[test]
fn power_iteration_after_the_update_leaves_tight_norms() {
    let gpu = block_on(Gpu::open(None)).unwrap();
    let with = |update| {
        let mut config = config(16, update, 1e-6);
        config.optimizer.lr = 0.5;
        let (trainer, model) = trained(&gpu, &config, 5);
        largest_excess(&trainer, &model)
    };
    let (before, after) = (with(PowerUpdate::Before), with(PowerUpdate::After));
    println!("largest bound over c: {before} before, {after} after");
    assert!(after < 1.0 + TIGHT, "{after}");
    assert!(before > after, "{before} and {after}");
}

/// The end of training tightens: a model trained with vectors that lag behind is certified all the same.
#[test]
fn finished_models_keep_the_promise() {
    let gpu = block_on(Gpu::open(None)).unwrap();
    let mut config = config(16, PowerUpdate::Before, 0.0);
    config.model.power_iterations = 1;
    config.optimizer.lr = 0.3;
    let (mut trainer, model) = trained(&gpu, &config, 8);
    let before = largest_excess(&trainer, &model);
    block_on(trainer.finish()).unwrap();
    let after = largest_excess(&trainer, &model);
    println!("largest bound over c: {before}, then {after}");
    assert!(before > after && after < 1.0 + TIGHT, "{before}, then {after}");
    let values = block_on(trainer.network().download()).unwrap();
    assert!(certify(&model, &values).is_contraction());
}

/// Optimizer state in files is in the model's order, and a run goes on bit for bit.
#[test]
fn optimizer_state_survives_the_order_of_memory() {
    let gpu = block_on(Gpu::open(None)).unwrap();
    let config = config(5, PowerUpdate::After, 0.0);
    let (straight, _) = trained(&gpu, &config, 4);
    let straight = block_on(straight.checkpoint()).unwrap();
    let (first, model) = trained(&gpu, &config, 2);
    let middle = block_on(first.checkpoint()).unwrap();
    let x = normal(BATCH * model.input_len(), 1);
    let mut second = block_on(Trainer::new(&gpu, &config, 10, Tuning::first(), Some(&middle))).unwrap();
    for _ in 0..2 {
        second.step(&x, &[0, 2, 1, 2]);
        while block_on(second.report(true)).unwrap().is_some() {}
    }
    assert_eq!(block_on(second.checkpoint()).unwrap(), straight);
    // The momentum of the first parameter, a weight of the first block, stands first whatever the order in memory.
    let momentum = straight.tensor("optimizer/momentum").unwrap().data();
    let (name, first) = &straight.tensors[0];
    assert!(name.starts_with("stack.0.") && momentum[..first.shape().len()].iter().all(|&x| x != 0.0));
}

#[test]
fn graphs_of_every_kind_have_groups() {
    for kind in [Kind::Classifier, Kind::Density, Kind::Toy] {
        let mut config = Config::default();
        config.model.kind = kind;
        config.model.blocks = vec![2, 2];
        config.model.strides = vec![1, 1];
        config.model.channels = vec![8, 8];
        config.model.injective_padding = 0;
        config.model.input = if kind == Kind::Toy { vec![2] } else { vec![4, 8, 8] };
        let model = Model::new(&config).unwrap();
        let layers: usize = model.blocks().iter().map(|block| model.norms(block).len()).sum();
        let groups = model.norm_groups();
        assert_eq!(groups.iter().map(|group| group.weights.len()).sum::<usize>(), layers);
        let mut names: Vec<&str> = model.params_in_memory().iter().map(|param| param.name.as_str()).collect();
        let mut wanted: Vec<&str> = model.params().iter().map(|param| param.name.as_str()).collect();
        names.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(names, wanted, "every parameter has its place in memory");
        model.loss_graph(2, Probes::Keys).check().unwrap();
    }
}
