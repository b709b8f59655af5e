//! One residual block: values, log-determinants, gradients through them, inverses.

use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::nn::residual::{BlockFunction, Branch};
use iresnet::nn::spectral::SpectralNorm;
use iresnet::nn::{Activation, LogDet, Probes, Stop};
use iresnet::ops::conv2d::Precision;
use iresnet::random::Distribution;

use crate::GRADIENT;
use crate::fixture::{Tensors, assert_close, load, part};
use crate::machine::{Machine, on_every_machine};

const CASES: [(&str, Activation); 4] = [
    ("block_elu", Activation::Elu),
    ("block_softplus", Activation::Softplus),
    ("block_relu", Activation::Relu),
    ("block_sorting", Activation::MaxMin),
];

/// Names in the published block of what the branch's operands are made from.
const LAYERS: [usize; 3] = [1, 3, 5];

/// The block's operands, weights normalised by the stored vectors, as inputs of `g` named as published.
fn operands(
    g: &mut Graph,
    state: &Tensors,
    channels: usize,
    size: usize,
) -> (Vec<iresnet::graph::NodeId>, Vec<String>) {
    let mut nodes = Vec::new();
    let mut names = Vec::new();
    for name in ["actnorm._log_scale", "actnorm._shift"] {
        nodes.push(g.input(name, [channels]));
        names.push(name.to_owned());
    }
    for layer in LAYERS {
        let name = |suffix: &str| format!("bottleneck_block.{layer}.{suffix}");
        let parts = ["weight_orig", "weight_u", "weight_v"].map(|suffix| {
            let name = name(suffix);
            let shape = state.get(&name).shape().clone();
            g.input(name, shape)
        });
        let weight = g.shape(parts[0]).clone();
        let norm = SpectralNorm { weight: weight.clone(), size: [size, size], coefficient: 0.9, layers: 1 };
        nodes.push(g.call(&norm.function(0), &parts)[0]);
        nodes.push(g.input(name("bias"), [weight[0]]));
        names.extend([name("weight_orig"), name("bias")]);
    }
    (nodes, names)
}

fn description(activation: Activation, batch: usize, log_det: Option<LogDet>) -> BlockFunction {
    BlockFunction {
        branch: Branch::convolutional([4, 6, 6], 16, activation, true),
        actnorm: true,
        batch,
        log_det,
        probes: Probes::Given,
        recompute: false,
        precision: Precision::F32,
    }
}

/// Probe `sample` of every image, from (B, samples, C, H, W).
fn probe(fixture: &Tensors, sample: usize) -> Array {
    let probes = fixture.get("probes");
    let images = (0..probes.shape()[0]).flat_map(|image| part(&part(probes, image), sample).data().to_vec());
    Array::new(fixture.get("x").shape(), images.collect())
}

fn state(fixture: &Tensors) -> Tensors {
    fixture.under("state.").with("x", fixture.get("x").clone()).with("y", fixture.get("y").clone())
}

#[test]
fn values_and_series_terms() {
    on_every_machine(check_values_and_series_terms);
}

fn check_values_and_series_terms(machine: &Machine) {
    for (name, activation) in CASES {
        let (fixture, _) = load(name);
        let batch = fixture.get("x").shape()[0];
        let mut inputs = state(&fixture);
        let of_actnorm = fixture.get("actnorm_logdet").data()[0];
        for terms in [1, 2, 3, 5, 10] {
            let log_det = LogDet::Series { terms, samples: 2, probe: Distribution::Normal };
            let function = description(activation, batch, Some(log_det)).function();
            let mut g = Graph::new();
            let x = g.input("x", fixture.get("x").shape());
            let (nodes, _) = operands(&mut g, &inputs, 4, 6);
            let mut arguments = vec![x];
            arguments.extend(nodes);
            for sample in 0..2 {
                let name = format!("probe {sample}");
                arguments.push(g.input(name.clone(), fixture.get("x").shape()));
                inputs = inputs.with(&name, probe(&fixture, sample));
            }
            let results = g.call(&function, &arguments);
            g.output("y", results[0]);
            g.output("log_det", results[1]);
            let results = machine.run(&g, &inputs);
            assert_close(&format!("{name} y"), results.get("y"), fixture.get("y"), machine.forward());
            let series = part(fixture.get("series_logdet_1_to_10"), terms - 1);
            let wanted = Array::new([batch], series.data().iter().map(|x| x + of_actnorm).collect());
            let what = format!("{name} log-det of {terms} terms");
            assert_close(&what, results.get("log_det"), &wanted, machine.forward());
        }
    }
}

#[test]
fn gradients_through_the_series() {
    on_every_machine(check_gradients_through_the_series);
}

fn check_gradients_through_the_series(machine: &Machine) {
    for (name, activation) in CASES {
        let (fixture, _) = load(name);
        let shape = fixture.get("x").shape().clone();
        let log_det = LogDet::Series { terms: 5, samples: 2, probe: Distribution::Normal };
        let mut block = description(activation, shape[0], Some(log_det));
        for recompute in [false, true] {
            block.recompute = recompute;
            let function = block.function();
            let mut inputs = state(&fixture).with("cotangent", fixture.get("cotangent").clone());
            let mut g = Graph::new();
            let x = g.input("x", shape.clone());
            let cotangent = g.input("cotangent", shape.clone());
            let (nodes, names) = operands(&mut g, &inputs, 4, 6);
            let mut arguments = vec![x];
            arguments.extend(&nodes);
            for sample in 0..2 {
                let name = format!("probe {sample}");
                arguments.push(g.input(name.clone(), shape.clone()));
                inputs = inputs.with(&name, probe(&fixture, sample));
            }
            let results = g.call(&function, &arguments);
            let product = g.mul(results[0], cotangent);
            let first = g.sum_all(product);
            // The published loss leaves ActNorm's own log-determinant out.
            let log_scale = g.find_input("actnorm._log_scale").unwrap();
            let of_actnorm = iresnet::nn::actnorm::log_det(&mut g, x, log_scale);
            let of_actnorm = g.broadcast_like(of_actnorm, results[1]);
            let of_series = g.sub(results[1], of_actnorm);
            let second = g.sum_all(of_series);
            let loss = g.add(first, second);
            g.output("loss", loss);
            let names: Vec<&str> = names.iter().map(String::as_str).chain(["x"]).collect();
            let g = iresnet::nn::gradient_graph(g, names.iter().copied());
            let results = machine.run(&g, &inputs);
            for parameter in names {
                let (ours, theirs) = (format!("grad/{parameter}"), format!("grad.{parameter}"));
                assert_close(&format!("{name} {theirs}"), results.get(&ours), fixture.get(&theirs), GRADIENT);
            }
        }
    }
}

#[test]
fn inverses_after_fixed_numbers_of_iterations() {
    on_every_machine(check_inverses_after_fixed_numbers_of_iterations);
}

fn check_inverses_after_fixed_numbers_of_iterations(machine: &Machine) {
    for (name, activation) in CASES {
        let (fixture, _) = load(name);
        let shape = fixture.get("x").shape().clone();
        let inputs = state(&fixture);
        for limit in [1, 5, 10, 100] {
            let function = description(activation, shape[0], None).inverse(Stop::after(limit));
            let mut g = Graph::new();
            let y = g.input("y", shape.clone());
            let (nodes, _) = operands(&mut g, &inputs, 4, 6);
            let mut arguments = vec![y];
            arguments.extend(nodes);
            let results = g.call(&function, &arguments);
            g.output("x", results[0]);
            let results = machine.run(&g, &inputs);
            let wanted = fixture.get(&format!("inverse_{limit}"));
            assert_close(&format!("{name} after {limit} iterations"), results.get("x"), wanted, machine.forward());
        }
    }
}

/// ln |det m| by elimination with row pivoting.
fn log_abs_determinant(mut m: Vec<Vec<f64>>) -> f64 {
    let mut total = 0.0;
    while let Some(pivot) = (0..m.len()).max_by(|&a, &b| m[a][0].abs().total_cmp(&m[b][0].abs())) {
        let above = m.swap_remove(pivot);
        total += above[0].abs().ln();
        for row in &mut m {
            let factor = row[0] / above[0];
            *row = row.iter().zip(&above).skip(1).map(|(x, y)| x - factor * y).collect();
        }
    }
    total
}

/// The determinant of the full Jacobian, one row for each copy of a sample.
#[test]
fn exact_log_determinants() {
    on_every_machine(check_exact_log_determinants);
}

fn check_exact_log_determinants(machine: &Machine) {
    for (name, activation) in CASES {
        let (fixture, _) = load(name);
        let a = fixture.get("actnorm_out");
        let d = a.shape().len() / a.shape()[0];
        let branch = Branch::convolutional([4, 6, 6], 16, activation, true);
        let mut g = Graph::new();
        let input = g.input("a", [d, 4, 6, 6]);
        let (nodes, _) = operands(&mut g, &state(&fixture), 4, 6);
        let f = branch.forward(&mut g, input, &nodes[2..]);
        let (row, column) = (g.iota([d, d], 0), g.iota([d, d], 1));
        let identity = g.equal(row, column);
        let cotangent = g.reshape(identity, [d, 4, 6, 6]);
        let jacobian = g.vjp(&[(f, cotangent)], &[input])[0];
        let jacobian = g.reshape(jacobian, [d, d]);
        let jacobian = g.add(jacobian, identity);
        g.output("jacobian", jacobian);
        let sample = part(a, 0);
        let copies = (0..d).flat_map(|_| sample.data().to_vec()).collect();
        let results = machine.run(&g, &state(&fixture).with("a", Array::new([d, 4, 6, 6], copies)));
        let matrix = results.get("jacobian").data().chunks_exact(d).map(<[f64]>::to_vec).collect();
        let found = Array::new([1], vec![log_abs_determinant(matrix)]);
        let wanted = Array::new([1], vec![fixture.get("exact_block_logdet").data()[0]]);
        assert_close(&format!("{name} exact log-det"), &found, &wanted, machine.forward());
    }
}
