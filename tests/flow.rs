//! Properties of the method that hold whatever the published code says: exact log-determinants, inverses, contraction.

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;

use fixture::{Tensors, assert_close, relative_error, run};
use iresnet::config::{Config, Estimator, Kind};
use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::nn::residual::{BlockFunction, Branch};
use iresnet::nn::{Activation, Evaluation, LogDet, Model, Probes, Stop, logdet, param};
use iresnet::ops::conv2d::Precision;
use iresnet::random::{Distribution, Key};
use iresnet::shape::Shape;

/// The interpreter works in f64: what is equal in theory agrees nearly to its last digits.
const SAME: f64 = 1e-9;

/// Central differences of a determinant of about one: step² of truncation, ε / step of rounding.
const DIFFERENCE: f64 = 1e-6;

/// Normal random numbers.
fn normal(shape: impl Into<Shape>, stream: u32) -> Array {
    let shape = shape.into();
    let data = (0..shape.len()).map(|i| Distribution::Normal.draw(Key::new(5, 0, stream), i as u32)).collect();
    Array::new(shape, data)
}

/// A toy model in `d` dimensions; its initial values with tightened norms and data-initialised ActNorm.
fn toy(d: usize, edit: impl FnOnce(&mut Config)) -> (Model, Tensors) {
    let mut config = Config::default();
    config.model.kind = Kind::Toy;
    config.model.input = vec![d];
    config.model.blocks = vec![3];
    config.model.strides = vec![1];
    config.model.channels = vec![8];
    config.model.hidden_layers = 2;
    config.model.injective_padding = 0;
    config.log_det.estimator = Estimator::Exact;
    edit(&mut config);
    let model = Model::new(&config).unwrap();
    let values = initial(&model, normal([16, d], 1));
    (model, values)
}

fn initial(model: &Model, x: Array) -> Tensors {
    let mut values = Tensors::default();
    for (name, tensor) in param::initialize(model.params(), 3) {
        let data = tensor.data().iter().map(|&value| f64::from(value)).collect();
        values = values.with(&name, Array::new(tensor.shape(), data));
    }
    // Larger weights than at the start, so that the norms bind and Jacobians are far from zero.
    for (name, value) in &mut values.0 {
        if name.contains("weight_orig") {
            value.data_mut().iter_mut().for_each(|w| *w *= 3.0);
        }
    }
    if let Some(graph) = model.tighten_graph(1e-6, 1000) {
        let tight = run(&graph, &values);
        values.update(&tight);
    }
    let graph = model.init_graph(x.shape()[0]);
    let started = run(&graph, &values.clone().with("x", x));
    values.update(&started);
    values
}

fn determinant(mut matrix: Vec<Vec<f64>>) -> f64 {
    let n = matrix.len();
    let mut determinant = 1.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| matrix[a][k].abs().total_cmp(&matrix[b][k].abs())).unwrap();
        if pivot != k {
            matrix.swap(pivot, k);
            determinant = -determinant;
        }
        determinant *= matrix[k][k];
        for i in k + 1..n {
            let (upper, lower) = matrix.split_at_mut(i);
            let (pivot, row) = (&upper[k], &mut lower[0]);
            let factor = row[k] / pivot[k];
            for (value, above) in row[k..].iter_mut().zip(&pivot[k..]) {
                *value -= factor * above;
            }
        }
    }
    determinant
}

/// ln |det dz/dx| of the first sample by central differences.
fn log_det_by_differences(model: &Model, values: &Tensors, x: &Array) -> f64 {
    const STEP: f64 = 1e-5;
    let d = x.shape()[1];
    let graph = model.eval_graph(1, &Evaluation::default()).unwrap();
    let z = |x: &[f64]| run(&graph, &values.clone().with("x", Array::new([1, d], x.to_vec()))).get("z").clone();
    let mut jacobian = vec![vec![0.0; d]; d];
    for j in 0..d {
        let moved = |by: f64| {
            let mut x = x.data()[..d].to_vec();
            x[j] += by;
            z(&x)
        };
        let (up, down) = (moved(STEP), moved(-STEP));
        for (i, row) in jacobian.iter_mut().enumerate() {
            row[j] = (up.data()[i] - down.data()[i]) / (2.0 * STEP);
        }
    }
    determinant(jacobian).abs().ln()
}

#[test]
fn exact_log_determinant_is_that_of_the_map() {
    for d in [1, 2, 3, 5] {
        for activation in [Activation::Elu, Activation::LipSwish] {
            let (model, values) = toy(d, |config| config.model.activation = activation);
            let x = normal([4, d], 2);
            let evaluation = Evaluation { log_det: Some(LogDet::Exact), ..Default::default() };
            let results = run(&model.eval_graph(4, &evaluation).unwrap(), &values.clone().with("x", x.clone()));
            let wanted = log_det_by_differences(&model, &values, &x);
            let found = results.get("log_det").data()[0];
            assert!(
                (found - wanted).abs() < DIFFERENCE,
                "{d} dimensions, {activation:?}: {found}, by differences {wanted}"
            );
        }
    }
}

#[test]
fn the_series_tends_to_the_exact_value_and_keeps_its_bound() {
    // With one dimension and Rademacher probes ⟨v, Jᵏv⟩ = Jᵏ exactly: what remains is the cut-off.
    let (model, values) = toy(1, |config| config.model.blocks = vec![1]);
    let values = values.with("x", normal([8, 1], 4)).with("keys", Array::full(&Shape::from([1, 64]), 1.0));
    let log_det = |log_det| {
        let evaluation = Evaluation { log_det: Some(log_det), ..Default::default() };
        run(&model.eval_graph(8, &evaluation).unwrap(), &values).get("log_det").clone()
    };
    let exact = log_det(LogDet::Exact);
    let lipschitz = 0.9f64.powi(3);
    let mut last = f64::INFINITY;
    for terms in [1, 2, 4, 8, 60] {
        let series = log_det(LogDet::Series { terms, samples: 1, probe: Distribution::Rademacher });
        let error = series.data().iter().zip(exact.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error <= logdet::truncation_bound(1, lipschitz, terms), "{terms} terms: {error}");
        assert!(terms > 1 || error > DIFFERENCE, "the first term alone should be visibly off, not {error}");
        assert!(error <= last, "{terms} terms: {error} is worse than {last}");
        last = error;
    }
    assert!(last < SAME, "{last}");
}

#[test]
fn gradients_of_the_exact_loss_match_differences() {
    const STEP: f64 = 1e-5;
    let (model, mut values) = toy(2, |config| config.model.power_iterations = 1);
    values = values.with("x", normal([4, 2], 6));
    let graph = model.gradient_graph(4, Probes::Keys);
    let gradients = run(&graph, &values);
    for name in [
        "stack.0.bottleneck_block.0.bias",
        "stack.1.bottleneck_block.2.bias",
        "stack.2.actnorm._log_scale",
        "prior_logstd",
    ] {
        let loss = |by: f64| {
            let mut moved = values.clone();
            moved.0.get_mut(name).unwrap().data_mut()[1] += by;
            run(&graph, &moved).get("loss").data()[0]
        };
        let difference = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
        let gradient = gradients.get(&format!("grad/{name}")).data()[1];
        assert!((gradient - difference).abs() < DIFFERENCE, "{name}: {gradient}, by differences {difference}");
    }
}

#[test]
fn inversion_undoes_the_map_and_stops_by_itself() {
    let (model, values) = toy(2, |config| config.model.coefficient = Some(0.7));
    let x = normal([6, 2], 7);
    let values = values.with("x", x.clone());
    let z = run(&model.eval_graph(6, &Evaluation::default()).unwrap(), &values).get("z").clone();
    let stop = Stop { tolerance: 1e-10, limit: 500, ..Stop::default() };
    let results = run(&model.inverse_graph(6, stop), &values.clone().with("z", z.clone()));
    assert_close("x", results.get("x"), &x, SAME);
    for sample in 0..6 {
        let [iterations, residual, converged] =
            ["iterations", "residual", "converged"].map(|name| results.get(name).data()[sample]);
        assert!(converged == 1.0 && residual <= stop.tolerance, "sample {sample}: {converged} {residual}");
        assert!((3.0..300.0).contains(&iterations), "sample {sample} took {iterations} iterations");
    }
    // A sample's result does not depend on its batch.
    let first = Array::new([1, 2], z.data()[..2].to_vec());
    let alone = run(&model.inverse_graph(1, stop), &values.clone().with("z", first));
    assert_eq!(alone.get("x").data(), &results.get("x").data()[..2]);
    assert_eq!(alone.get("iterations").data()[0], results.get("iterations").data()[0]);
    // Too few iterations are reported as such.
    let hasty = run(&model.inverse_graph(6, Stop { limit: 2, ..stop }), &values.with("z", z));
    assert!(hasty.get("converged").data().iter().all(|&converged| converged == 0.0));
    assert!(hasty.get("iterations").data().iter().all(|&iterations| iterations == 6.0));
}

#[test]
fn a_diverging_inversion_is_not_called_converged() {
    // Without the constraint and with large weights the fixed point repels.
    let (model, mut values) = toy(2, |config| config.model.coefficient = None);
    for (name, value) in &mut values.0 {
        if name.ends_with(".weight") {
            value.data_mut().iter_mut().for_each(|w| *w *= 20.0);
        }
    }
    let values = values.with("z", normal([3, 2], 8));
    let results = run(&model.inverse_graph(3, Stop { limit: 400, ..Stop::default() }), &values);
    assert!(results.get("converged").data().iter().all(|&converged| converged == 0.0));
}

#[test]
fn normalised_branches_contract() {
    for (branch, activation) in [
        (Branch::convolutional([4, 6, 6], 6, Activation::Elu, true), Activation::Elu),
        (Branch::convolutional([4, 6, 6], 6, Activation::MaxMin, true), Activation::MaxMin),
        (Branch::mlp(4, &[8, 8], Activation::LipSwish, false), Activation::LipSwish),
        (Branch::mlp(4, &[8, 8], Activation::Softplus, true), Activation::Softplus),
    ] {
        const COEFFICIENT: f64 = 0.8;
        let mut g = Graph::new();
        let mut batch = vec![2];
        batch.extend_from_slice(branch.input.extents());
        let x = g.input("x", batch.clone());
        let mut values = Tensors::default();
        let mut operands = Vec::new();
        for (stream, (name, shape)) in branch.operands().into_iter().enumerate() {
            values = values.with(&name, normal(shape.clone(), 20 + stream as u32));
            let operand = g.input(name.clone(), shape.clone());
            operands.push(if name.ends_with(".weight") {
                let norm = iresnet::nn::spectral::SpectralNorm {
                    weight: shape,
                    size: [6, 6],
                    coefficient: COEFFICIENT,
                    layers: 1,
                };
                let u = g.constant(1.0, [norm.u_len()]);
                let v = g.constant(1.0, [norm.v_len()]);
                let [u, v, _] = norm.tighten(&mut g, [operand, u, v], 1e-12, 2000);
                g.call(&norm.function(0), &[operand, u, v])[0]
            } else {
                operand
            });
        }
        let y = branch.forward(&mut g, x, &operands);
        g.output("y", y);
        let layers = branch.members.iter().filter(|member| matches!(member, iresnet::nn::residual::Member::Layer(_)));
        let bound = COEFFICIENT.powi(layers.count() as i32);
        for pair in 0..4 {
            let y = run(&g, &values.clone().with("x", normal(batch.clone(), 40 + pair))).get("y").clone();
            let x = normal(batch.clone(), 40 + pair);
            let distance = |array: &Array| {
                let (first, second) = array.data().split_at(array.data().len() / 2);
                first.iter().zip(second).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
            };
            let stretch = distance(&y) / distance(&x);
            assert!(stretch <= bound, "{activation:?}: stretches by {stretch}, bound {bound}");
        }
    }
}

#[test]
fn actnorm_initialisation_standardises_what_every_block_sees() {
    let mut config = Config::default();
    config.model.input = vec![2, 4, 4];
    config.model.blocks = vec![1, 1];
    config.model.strides = vec![1, 2];
    config.model.channels = vec![4, 4];
    config.model.injective_padding = 0;
    let model = Model::new(&config).unwrap();
    let x = normal([8, 2, 4, 4], 9);
    let values = initial(&model, x.clone());
    // The first block's ActNorm output.
    let mut g = Graph::new();
    let input = g.input("x", x.shape());
    let [log_scale, shift] = ["stack.0.actnorm._log_scale", "stack.0.actnorm._shift"].map(|name| g.input(name, [2]));
    let a = iresnet::nn::actnorm::forward(&mut g, input, log_scale, shift);
    g.output("a", a);
    let a = run(&g, &values.with("x", x)).get("a").clone();
    for channel in 0..2 {
        let elements: Vec<f64> =
            (0..8).flat_map(|n| a.data()[(n * 2 + channel) * 16..(n * 2 + channel + 1) * 16].to_vec()).collect();
        let mean = elements.iter().sum::<f64>() / elements.len() as f64;
        let variance = elements.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / elements.len() as f64;
        assert!(mean.abs() < 1e-9 && (variance - 1.0).abs() < 1e-4, "channel {channel}: {mean} {variance}");
    }
}

#[test]
fn samples_are_the_inverse_of_their_latents() {
    let (model, values) = toy(2, |_| {});
    let mut keys = Array::full(&Shape::from([1, 64]), 0.0);
    keys.data_mut()[0] = 9.0;
    let values = values.with("keys", keys).with("temperature", Array::new([0; 0], vec![0.8]));
    let results = run(&model.sample_graph(5, Stop { tolerance: 1e-10, limit: 500, ..Stop::default() }), &values);
    let back = values.with("x", results.get("x").clone());
    let z = run(&model.eval_graph(5, &Evaluation::default()).unwrap(), &back);
    assert_close("z", z.get("z"), results.get("z"), SAME);
    assert!(relative_error(results.get("z"), &Array::full(&Shape::from([5, 2]), 0.0)) > 0.0);
}

#[test]
fn recomputed_blocks_have_the_same_gradients() {
    let (model, values) = toy(2, |_| {});
    let (again, _) = toy(2, |config| config.train.memory = iresnet::config::Memory::Checkpoint);
    let values = values.with("x", normal([4, 2], 10));
    let (stored, recomputed) =
        [&model, &again].map(|model| run(&model.gradient_graph(4, Probes::Keys), &values)).into();
    for (name, value) in &stored.0 {
        assert_close(name, recomputed.get(name), value, SAME);
    }
}

#[test]
fn graphs_share_functions_between_equal_blocks() {
    let count = |blocks: usize| {
        let (model, _) = toy(2, |config| config.model.blocks = vec![blocks]);
        let graph = model.gradient_graph(4, Probes::Keys);
        let mut functions = std::collections::HashSet::new();
        for (_, node) in graph.nodes() {
            if let iresnet::ops::Op::Call(function) = &node.op {
                functions.insert(function.id());
            }
        }
        functions.len()
    };
    assert_eq!(count(12), count(4), "the number of functions does not depend on the number of blocks");
}

/// The description is public, so that programs other than a model's can use a single block.
#[test]
fn a_block_function_names_its_inputs() {
    let block = BlockFunction {
        branch: Branch::mlp(2, &[4], Activation::LipSwish, true),
        actnorm: true,
        batch: 3,
        log_det: Some(LogDet::Series { terms: 2, samples: 2, probe: Distribution::Normal }),
        probes: Probes::Keys,
        recompute: false,
        precision: Precision::F32,
    };
    let function = block.function();
    let names: Vec<&str> = function.graph().inputs().iter().map(|(name, _)| name.as_str()).collect();
    let wanted =
        ["x", "log_scale", "shift", "0.beta", "1.weight", "1.bias", "2.beta", "3.weight", "3.bias", "key 0", "key 1"];
    assert_eq!(names, wanted);
}
