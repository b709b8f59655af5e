//! Squeeze, padding, split, ActNorm, spectral normalisation, optimizers.

use iresnet::config::{OptimizerConfig, OptimizerName};
use iresnet::graph::Graph;
use iresnet::interpret::Array;
use iresnet::nn::spectral::SpectralNorm;
use iresnet::nn::{actnorm, squeeze};
use iresnet::optim;

use crate::GRADIENT;
use crate::fixture::{Tensors, assert_close, load, part, reshaped, run};
use crate::machine::{Machine, on_every_machine};

/// Rearrangements compute nothing.
const EXACT: f64 = 0.0;

#[test]
fn rearrangements_and_actnorm() {
    on_every_machine(check_rearrangements_and_actnorm);
}

fn check_rearrangements_and_actnorm(machine: &Machine) {
    let (fixture, _) = load("layers");
    let x = fixture.get("x").clone();
    let mut g = Graph::new();
    let input = g.input("x", x.shape());
    let squeezed = squeeze::squeeze(&mut g, input);
    let back = squeeze::unsqueeze(&mut g, squeezed);
    let padded = squeeze::pad_channels(&mut g, input, 2);
    let dropped = squeeze::drop_channels(&mut g, padded, 2);
    let (first, second) = squeeze::factor_out(&mut g, squeezed);
    let (log_scale, shift) = actnorm::initialize(&mut g, input);
    let normal = actnorm::forward(&mut g, input, log_scale, shift);
    let restored = actnorm::inverse(&mut g, normal, log_scale, shift);
    let outputs = [
        ("squeeze", squeezed, "squeeze", EXACT),
        ("unsqueeze", back, "x", EXACT),
        ("pad", padded, "pad2", EXACT),
        ("drop", dropped, "x", EXACT),
        ("first", first, "split_first", EXACT),
        ("second", second, "split_second", EXACT),
        ("log_scale", log_scale, "actnorm_log_scale", machine.forward()),
        ("shift", shift, "actnorm_shift", machine.forward()),
        ("normal", normal, "actnorm_out", machine.forward()),
        ("restored", restored, "x", machine.forward()),
    ];
    for (name, node, _, _) in outputs {
        g.output(name, node);
    }
    let results = machine.run(&g, &Tensors::default().with("x", x));
    for (name, _, wanted, tolerance) in outputs {
        assert_close(name, results.get(name), fixture.get(wanted), tolerance);
    }
}

#[test]
fn spectral_norm_and_its_gradient() {
    on_every_machine(check_spectral_norm_and_its_gradient);
}

fn check_spectral_norm_and_its_gradient(machine: &Machine) {
    let (fixture, config) = load("spectral_norm");
    for case in config.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().map(|value| value as usize);
        let tensors = fixture.under(&format!("{name}."));
        let weight = tensors.get("weight_orig").shape().clone();
        let size = [number("h").unwrap_or(1), number("w").unwrap_or(1)];
        let norm = SpectralNorm { weight, size, coefficient: case["coeff"].as_f64().unwrap(), layers: 1 };
        let function = norm.function(number("iterations").unwrap());

        let mut g = Graph::new();
        let [w, u, v, x, bias] =
            ["weight_orig", "u0", "v0", "x", "bias"].map(|name| g.input(name, tensors.get(name).shape()));
        let results = g.call(&function, &[w, u, v]);
        let pad = number("k").unwrap() / 2;
        let y = g.conv2d(x, results[0], 1, [pad, pad], 1);
        let bias = g.per_channel(bias);
        let y = g.add(y, bias);
        let squares = g.square(y);
        let loss = g.sum_all(squares);
        let gradient = g.grad(loss, &[w])[0];
        for (name, node) in ["weight_eff", "u1", "v1", "sigma"].into_iter().zip(results) {
            g.output(name, node);
        }
        g.output("y", y);
        g.output("grad_weight_orig", gradient);
        let results = machine.run(&g, &tensors);
        for output in ["weight_eff", "u1", "v1", "sigma", "y"] {
            assert_close(&format!("{name} {output}"), results.get(output), tensors.get(output), machine.forward());
        }
        let gradient = "grad_weight_orig";
        assert_close(&format!("{name} {gradient}"), results.get(gradient), tensors.get(gradient), GRADIENT);
    }
}

/// Layers normalised together come out as they do alone.
#[test]
fn spectral_norm_of_several_layers_at_once() {
    let (fixture, _) = load("spectral_norm");
    for (first, second) in
        [("conv3x8_c0.9_it5", "conv3x8_c0.5_it5"), ("conv1x1_32x32_c0.9_it3", "conv1x1_32x32_c0.5_it3")]
    {
        let both = [first, second].map(|case| fixture.under(&format!("{case}.")));
        let weight = both[0].get("weight_orig").shape().clone();
        let norm = |layers| SpectralNorm { weight: weight.clone(), size: [8, 8], coefficient: 0.7, layers };
        let join = |name: &str| {
            let data = both.iter().flat_map(|tensors| tensors.get(name).data().to_vec()).collect::<Vec<f64>>();
            let mut shape = both[0].get(name).shape().extents().to_vec();
            shape[0] *= 2;
            Array::new(shape, data)
        };
        let names = ["weight_orig", "u0", "v0"];
        let normalise = |norm: &SpectralNorm, values: [Array; 3]| {
            let inputs =
                names.into_iter().zip(values).fold(Tensors::default(), |all, (name, value)| all.with(name, value));
            let function = norm.function(3);
            let mut g = Graph::new();
            let arguments = names.map(|name| g.input(name, inputs.get(name).shape()));
            for (name, node) in ["w", "u", "v", "sigma"].into_iter().zip(g.call(&function, &arguments)) {
                g.output(name, node);
            }
            run(&g, &inputs)
        };
        let together = normalise(&norm(2), names.map(join));
        let alone = [0, 1].map(|which| normalise(&norm(1), names.map(|name| both[which].get(name).clone())));
        for output in ["w", "u", "v", "sigma"] {
            let joined: Vec<f64> = alone.iter().flat_map(|results| results.get(output).data().to_vec()).collect();
            let ours = together.get(output);
            assert_close(output, ours, &Array::new(ours.shape(), joined), 1e-12);
        }
    }
}

#[test]
fn optimizer_trajectories() {
    on_every_machine(check_optimizer_trajectories);
}

fn check_optimizer_trajectories(machine: &Machine) {
    let (fixture, _) = load("optimizers");
    let base = OptimizerConfig::default();
    let cases = [
        ("sgd", OptimizerConfig { name: OptimizerName::Sgd, lr: 0.1, weight_decay: 5e-4, ..base.clone() }),
        ("sgd_nesterov", OptimizerConfig { name: OptimizerName::Sgd, lr: 0.1, nesterov: true, ..base.clone() }),
        ("adam", OptimizerConfig { name: OptimizerName::Adam, lr: 1e-3, ..base.clone() }),
        ("adamw", OptimizerConfig { name: OptimizerName::AdamW, lr: 1e-3, weight_decay: 0.01, ..base.clone() }),
        ("adamax", OptimizerConfig { name: OptimizerName::Adamax, lr: 3e-3, ..base }),
    ];
    for (name, config) in cases {
        let (grads, wanted) = (fixture.get("grads"), fixture.get(name));
        let (steps, len) = (grads.shape()[0], grads.shape()[1]);
        let graph = optim::update_graph(&config, len);
        let mut values = Tensors::default().with("params", fixture.get("p0").clone());
        for state in optim::state_names(&config) {
            values = values.with(state, Array::full(&[len].into(), 0.0));
        }
        for step in 0..steps {
            let scalar = |value| reshaped(&Array::new([1], vec![value]), &[]);
            values = values
                .with("grads", part(grads, step))
                .with("lr", scalar(config.lr))
                .with("step", scalar(step as f64 + 1.0));
            let results = machine.run(&graph, &values);
            values.update(&results);
            let what = format!("{name} after step {step}");
            assert_close(&what, values.get("params"), &part(wanted, step), machine.forward());
        }
    }
}

/// A clipped gradient has the norm it is clipped to; a short one passes unchanged; the average follows.
#[test]
fn clipping_and_average() {
    let config =
        OptimizerConfig { name: OptimizerName::Sgd, momentum: 0.0, clip: 1.0, ema: 0.75, ..Default::default() };
    let graph = optim::update_graph(&config, 2);
    for (gradient, factor) in [([3.0, 4.0], 0.2), ([0.3, 0.4], 1.0)] {
        let inputs = Tensors::default()
            .with("params", Array::new([2], vec![1.0, 1.0]))
            .with("ema", Array::new([2], vec![1.0, 1.0]))
            .with("grads", Array::new([2], gradient.to_vec()))
            .with("lr", Array::new([0; 0], vec![0.5]));
        let results = run(&graph, &inputs);
        let wanted = gradient.map(|x| 1.0 - 0.5 * factor * x);
        assert_close("params", results.get("params"), &Array::new([2], wanted.to_vec()), 1e-5);
        let average = wanted.map(|x| 0.75 + 0.25 * x);
        assert_close("ema", results.get("ema"), &Array::new([2], average.to_vec()), 1e-5);
        let norm = (gradient[0] * gradient[0] + gradient[1] * gradient[1]).sqrt();
        assert_close("grad_norm", results.get("grad_norm"), &Array::new([0; 0], vec![norm]), 1e-12);
    }
}
