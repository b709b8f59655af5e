//! The series cut off at random, and the bias of the one cut off after a fixed number of terms.

use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::nn::logdet::{Law, truncation_bound};
use iresnet::nn::residual::{BlockFunction, Branch};
use iresnet::nn::{Activation, KEY_WIDTH, LogDet, Probes};
use iresnet::random::{Distribution, Key};

use crate::SAME;
use crate::block::Block;
use crate::fixture::{Tensors, assert_close, run};

const LAWS: [Law; 4] = [
    Law::Geometric { probability: 0.5 },
    Law::Geometric { probability: 0.3 },
    Law::Poisson { rate: 2.0 },
    Law::Poisson { rate: 0.5 },
];

fn unbiased(law: Law, exact_terms: usize, samples: usize) -> LogDet {
    LogDet::Unbiased { law, exact_terms, samples, probe: Distribution::Normal }
}

#[test]
fn chances_are_those_of_the_law() {
    const CLOSE: f64 = 1e-12;
    for k in 0..8 {
        let geometric = Law::Geometric { probability: 0.25 }.at_least(k);
        let wanted = (1..k.max(1)).fold(1.0, |chance, _| chance * 0.75);
        assert!((geometric - wanted).abs() < CLOSE, "{k}: {geometric}");
        let poisson = Law::Poisson { rate: 2.0 }.at_least(k);
        let mut term = (-2.0f64).exp();
        let mut below = 0.0;
        for j in 0..k {
            below += term;
            term *= 2.0 / (j + 1) as f64;
        }
        assert!((poisson - (1.0 - below)).abs() < CLOSE, "{k}: {poisson}");
    }
    for law in LAWS {
        let chances = law.chances(2);
        assert!(chances[..2] == [1.0, 1.0] && chances.is_sorted_by(|a, b| a >= b), "{chances:?}");
        // Multiples of what uniform numbers on the device resolve, down to the smallest.
        assert!(chances.iter().all(|chance| (chance * 16_777_216.0).fract() == 0.0 && *chance > 0.0), "{chances:?}");
        assert!(*chances.last().unwrap() < 1e-6, "{chances:?}");
    }
}

/// The block's graph with the random number that decides about terms, and probes, as inputs.
fn decided(block: &Block, log_det: &LogDet) -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", block.function.input_shape());
    let operands: Vec<_> =
        block.function.branch.operands().into_iter().map(|(name, shape)| g.input(name, shape)).collect();
    let probes: Vec<_> =
        (0..log_det.samples()).map(|i| g.input(format!("probe {i}"), block.function.input_shape())).collect();
    let uniform = log_det.draws_terms().then(|| g.input("uniform", [1]));
    let point = block.function.branch.linearise(&mut g, x, &operands);
    let value = log_det.of_residual(&mut g, &point, &probes, uniform);
    g.output("log_det", value);
    let loss = g.sum_all(value);
    g.output("loss", loss);
    let names = block.parameters();
    iresnet::nn::gradient_graph(g, names.iter().map(String::as_str))
}

/// The mean over every number of terms that there is, and over all directions, is the whole series.
#[test]
fn its_mean_over_all_outcomes_is_the_series() {
    for activation in [Activation::Elu, Activation::MaxMin] {
        for block in Block::all(activation).into_iter().take(2) {
            let (d, directions) = (block.dimension(), block.all_directions());
            let mut values = block.values.clone();
            for (index, probe) in directions.into_iter().enumerate() {
                values = values.with(&format!("probe {index}"), probe);
            }
            for (law, exact) in LAWS.into_iter().zip([2, 1, 3, 1]) {
                let mut chances = law.chances(exact);
                let graph = decided(&block, &unbiased(law, exact, d));
                let terms = chances.len();
                chances.push(0.0);
                let mut mean: Option<Tensors> = None;
                // All the numbers below a chance compute the term.
                for pair in chances.windows(2).filter(|pair| pair[0] > pair[1]) {
                    let weight = pair[0] - pair[1];
                    let uniform = Array::new([1], vec![pair[1]]);
                    let mut results = run(&graph, &values.clone().with("uniform", uniform));
                    for (name, array) in &mut results.0 {
                        let so_far = mean.as_ref().map(|mean| mean.get(name).data().to_vec());
                        for (index, x) in array.data_mut().iter_mut().enumerate() {
                            *x = weight * *x + so_far.as_ref().map_or(0.0, |so_far| so_far[index]);
                        }
                    }
                    mean = Some(results);
                }
                let probe = Distribution::Normal;
                let series = run(&decided(&block, &LogDet::Series { terms, samples: d, probe }), &values);
                for (name, mean) in &mean.unwrap().0 {
                    let what = format!("{activation:?} {} {law:?} {exact}: {name}", block.function.branch.label());
                    assert_close(&what, mean, series.get(name), SAME);
                }
            }
        }
    }
}

/// Keys of one draw: a row for the probe, one for the number of terms.
fn with_keys(values: &Tensors, draw: u32) -> Tensors {
    let key = |stream| {
        let mut row = vec![0.0; KEY_WIDTH];
        row.iter_mut().zip(Key::new(11, draw, stream).numbers()).for_each(|(x, word)| *x = f64::from(word));
        Array::new([KEY_WIDTH], row)
    };
    values.clone().with("key 0", key(0)).with("key of terms", key(1))
}

/// As it is used: probes and numbers of terms drawn from keys.
#[test]
fn its_mean_over_draws_is_the_exact_log_determinant_and_its_gradient() {
    const DRAWS: u32 = 10_000;
    const STANDARD_ERRORS: f64 = 3.0;
    for (law, exact_terms) in [(Law::Geometric { probability: 0.5 }, 2), (Law::Poisson { rate: 2.0 }, 1)] {
        let mut block = Block::new(Branch::mlp(2, &[4], Activation::Elu, true), 1, 0.5);
        let exact = block.run(LogDet::Exact, Vec::new());
        block.function = BlockFunction { probes: Probes::Keys, ..block.function };
        let graph = block.graph(Some(unbiased(law, exact_terms, 1)));
        // The value, the gradient along itself, and the gradient along ones.
        let measure = |results: &Tensors| {
            let mut numbers = [results.get("log_det").data()[0], 0.0, 0.0];
            for name in block.parameters().iter().map(|name| format!("grad/{name}")) {
                for (x, along) in results.get(&name).data().iter().zip(exact.get(&name).data()) {
                    numbers[1] += x * along;
                    numbers[2] += x;
                }
            }
            numbers
        };
        let wanted = measure(&exact);
        let (mut sums, mut squares) = ([0.0; 3], [0.0; 3]);
        for draw in 0..DRAWS {
            let found = measure(&run(&graph, &with_keys(&block.values, draw)));
            for i in 0..3 {
                let off = found[i] - wanted[i];
                sums[i] += off;
                squares[i] += off * off;
            }
        }
        for i in 0..3 {
            let mean = sums[i] / f64::from(DRAWS);
            let error = ((squares[i] / f64::from(DRAWS) - mean * mean) / f64::from(DRAWS - 1)).sqrt();
            assert!(
                mean.abs() <= STANDARD_ERRORS * error,
                "{law:?}, number {i}: off by {mean}, standard error {error}"
            );
            assert!(i == 2 || error < 0.1 * wanted[i].abs(), "number {i}: {} ± {error} says little", wanted[i]);
        }
    }
}

/// Largest singular value of an `[o, i]` matrix.
fn norm(matrix: &Array) -> f64 {
    const ROUNDS: usize = 500;
    let [o, i] = [matrix.shape()[0], matrix.shape()[1]];
    let mut v = vec![1.0; i];
    let mut norm = 0.0;
    for _ in 0..ROUNDS {
        let u: Vec<f64> = (0..o).map(|row| (0..i).map(|col| matrix.at(&[row, col]) * v[col]).sum()).collect();
        v = (0..i).map(|col| (0..o).map(|row| matrix.at(&[row, col]) * u[row]).sum()).collect();
        norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
    }
    norm.sqrt()
}

/// Averaged over all directions what is left of the difference to the exact value is the cut-off.
#[test]
fn the_bias_of_a_fixed_number_of_terms_is_within_its_bound() {
    for activation in [Activation::Elu, Activation::Relu, Activation::MaxMin] {
        for block in Block::all(activation).into_iter().take(2) {
            let d = block.dimension();
            let weights = block.function.branch.operands().into_iter().filter(|(name, _)| name.ends_with(".weight"));
            let layers: Vec<f64> = weights.map(|(name, _)| norm(block.values.get(&name))).collect();
            let shrink = (0.7 / layers.iter().product::<f64>()).powf(1.0 / layers.len() as f64);
            let mut block = block.clone();
            for (name, _) in block.function.branch.operands() {
                if name.ends_with(".weight") {
                    block.values.0.get_mut(&name).unwrap().data_mut().iter_mut().for_each(|x| *x *= shrink);
                }
            }
            let exact = block.run(LogDet::Exact, Vec::new());
            for terms in [1, 2, 3, 5, 10] {
                let log_det = LogDet::Series { terms, samples: d, probe: Distribution::Normal };
                let series = block.run(log_det, block.all_directions());
                let bound = truncation_bound(d, 0.7, terms);
                let pairs = series.get("log_det").data().iter().zip(exact.get("log_det").data());
                let bias = pairs.map(|(found, exact)| (found - exact).abs()).fold(0.0, f64::max);
                assert!(bias <= bound, "{activation:?}, {terms} terms: bias {bias}, bound {bound}");
                assert!(terms > 1 || bias > SAME, "one term should be visibly off");
            }
        }
    }
}
