//! The gradient by a Neumann series.

use iresnet::nn::residual::Branch;
use iresnet::nn::{Activation, LogDet};
use iresnet::plan::program::{Command, Program};
use iresnet::plan::{self, Limits};
use iresnet::random::Distribution;

use crate::SAME;
use crate::block::{Block, normal};
use crate::fixture::{assert_close, relative_error};

const ACTIVATIONS: [Activation; 5] =
    [Activation::Elu, Activation::Softplus, Activation::Relu, Activation::MaxMin, Activation::LipSwish];

/// So many terms leave less than rounding: the blocks' Jacobians are well below one.
const ENOUGH: usize = 80;

fn series(terms: usize, samples: usize) -> LogDet {
    LogDet::Series { terms, samples, probe: Distribution::Normal }
}

fn neumann(terms: usize, samples: usize) -> LogDet {
    LogDet::Neumann { terms, samples, probe: Distribution::Normal }
}

/// For each probe, not only on average: the logged value is the log-determinant, not what is differentiated.
#[test]
fn its_value_is_that_of_the_series() {
    for activation in ACTIVATIONS {
        for block in Block::all(activation) {
            let probes = vec![normal(block.function.input_shape(), 30), normal(block.function.input_shape(), 31)];
            for terms in [1, 2, 3, 6] {
                let (ours, theirs) =
                    [neumann(terms, 2), series(terms, 2)].map(|log_det| block.run(log_det, probes.clone())).into();
                for name in ["y", "log_det"] {
                    let what = format!("{activation:?} {} {terms} terms: {name}", block.function.branch.label());
                    assert_close(&what, ours.get(name), theirs.get(name), SAME);
                }
            }
        }
    }
}

/// Averaged over all directions, as over random probes.
#[test]
fn its_gradient_is_that_of_the_series_on_average() {
    for activation in ACTIVATIONS {
        for block in Block::all(activation) {
            let (d, probes) = (block.dimension(), block.all_directions());
            for terms in [1, 2, 5] {
                let (ours, theirs) =
                    [neumann(terms, d), series(terms, d)].map(|log_det| block.run(log_det, probes.clone())).into();
                for name in block.parameters() {
                    let what = format!("{activation:?} {} {terms} terms: {name}", block.function.branch.label());
                    let name = format!("grad/{name}");
                    assert_close(&what, ours.get(&name), theirs.get(&name), SAME);
                }
            }
        }
    }
}

#[test]
fn with_many_terms_it_is_the_gradient_of_the_exact_log_determinant() {
    for activation in ACTIVATIONS {
        for block in Block::all(activation).into_iter().take(2) {
            let d = block.dimension();
            let ours = block.run(neumann(ENOUGH, d), block.all_directions());
            let theirs = block.run(LogDet::Exact, Vec::new());
            for name in block.parameters().iter().map(|name| format!("grad/{name}")).chain(["log_det".into()]) {
                let what = format!("{activation:?} {}: {name}", block.function.branch.label());
                assert_close(&what, ours.get(&name), theirs.get(&name), SAME);
            }
        }
    }
}

/// For a single probe the two gradients are different estimates: a test that could not tell them apart would be blind.
#[test]
fn for_one_probe_it_differs_from_that_of_the_series() {
    let block = &Block::all(Activation::Elu)[0];
    let probe = vec![normal(block.function.input_shape(), 30)];
    let (ours, theirs) = [neumann(5, 1), series(5, 1)].map(|log_det| block.run(log_det, probe.clone())).into();
    let error = relative_error(ours.get("grad/1.weight"), theirs.get("grad/1.weight"));
    assert!(error > 1e-4, "{error}");
}

/// The block's training program with gradients in everything.
fn program(block: &Block, log_det: Option<LogDet>) -> Program {
    plan::compile("block", &block.graph(log_det), &Limits::default()).unwrap()
}

fn image_block() -> Block {
    Block::new(Branch::convolutional([12, 8, 8], 32, Activation::Elu, true), 16, 0.5)
}

/// Floating-point operations of the convolutions, in passes through the branch's layers.
fn passes(block: &Block, program: &Program) -> f64 {
    let flops = |command: &Command| {
        match command {
            Command::Dispatch { kernel, .. } => Some(&program.kernels[*kernel]),
            _ => None,
        }
        .filter(|kernel| kernel.family.starts_with("conv2d"))
        .map_or(0, |kernel| kernel.flops)
    };
    let pass = 2 * block.function.branch.multiply_adds() * block.function.batch;
    program.commands.iter().map(flops).sum::<u64>() as f64 / pass as f64
}

/// Forward, K - 1 transposed products, one Jacobian-vector product, and a reverse pass with two products and two
/// weight gradients: nothing is computed twice.
#[test]
fn it_runs_no_more_convolutions_than_it_must() {
    /// Of a pass: weight gradients that are computed in parts add these up, and kernels count what is fused behind them.
    const BESIDES: f64 = 0.05;
    let block = image_block();
    let close = |log_det: Option<LogDet>, wanted: usize| {
        let found = passes(&block, &program(&block, log_det.clone()));
        assert!(
            (found - wanted as f64).abs() < BESIDES * wanted as f64,
            "{log_det:?}: {found} passes, {wanted} are enough"
        );
    };
    close(None, 3);
    // The value of a single term does not need the last layer of J v.
    assert!(passes(&block, &program(&block, Some(neumann(1, 1)))) <= 6.0);
    for terms in [2, 5, 20] {
        close(Some(neumann(terms, 1)), 6 + (terms - 1));
    }
}

#[test]
fn its_memory_does_not_grow_with_the_terms() {
    let block = image_block();
    let bytes = |log_det| program(&block, Some(log_det)).scratch_bytes();
    let one = bytes(neumann(1, 1));
    for terms in [2, 5, 20] {
        let more = bytes(neumann(terms, 1));
        assert!(more <= one, "{terms} terms: {more} bytes, one term {one}");
    }
    assert!(bytes(series(20, 1)) > 2 * one, "differentiating through every term keeps every term");
}
