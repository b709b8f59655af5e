//! Optimizers as graphs over flat vectors, and learning-rate schedules.
//!
//! All parameters of a model lie in one vector; so do its gradients and each of the optimizer's state tensors. An update
//! is then one elementwise graph, whatever the model. Update rules and their constants are PyTorch's: SGD with momentum,
//! Adam, AdamW, Adamax.
//!
//! Inputs: `params`, `grads` and the [state](state_names), each `[len]`; the scalar `lr`; for the Adam family the scalar
//! `step`, the number of this update counted from 1. Outputs: `params` and the state under the same names, their next values; `grad_norm`, the
//! Euclidean norm of the gradient before clipping, if clipping is on. State starts as zeros, except `ema`, which starts
//! as a copy of `params`.

use crate::config::{Config, OptimizerConfig, OptimizerName, Schedule};
use crate::graph::{Graph, NodeId, Scope};

/// Name of the moving average of parameters in the state.
pub const EMA: &str = "ema";

/// Added to the norm by which a gradient is clipped, as in PyTorch.
const CLIP_SLACK: f64 = 1e-6;

/// Names of the optimizer's state tensors, each as long as the parameters.
pub fn state_names(config: &OptimizerConfig) -> Vec<&'static str> {
    let mut names = match config.name {
        OptimizerName::Sgd if config.momentum == 0.0 => vec![],
        OptimizerName::Sgd => vec!["momentum"],
        OptimizerName::Adam | OptimizerName::AdamW => vec!["exp_avg", "exp_avg_sq"],
        OptimizerName::Adamax => vec!["exp_avg", "exp_inf"],
    };
    if config.ema > 0.0 {
        names.push(EMA);
    }
    names
}

/// One update of `len` parameters: see the [module documentation](self).
pub fn update_graph(config: &OptimizerConfig, len: usize) -> Graph {
    let mut g = Graph::new();
    g.enter(Scope::OPTIMIZER);
    let params = g.input("params", [len]);
    let grads = g.input("grads", [len]);
    let lr = g.input("lr", []);
    let grads = if config.clip > 0.0 { clip(&mut g, grads, config.clip) } else { grads };
    let decayed = |g: &mut Graph| {
        let decay = g.scale(params, config.weight_decay);
        g.add(grads, decay)
    };
    let next = match config.name {
        OptimizerName::Sgd => {
            let gradient = decayed(&mut g);
            sgd(&mut g, config, params, gradient, lr)
        }
        OptimizerName::Adam => {
            let gradient = decayed(&mut g);
            adam(&mut g, config, params, gradient, lr)
        }
        OptimizerName::AdamW => {
            let rate = g.scale(lr, -config.weight_decay);
            let kept = g.add_scalar(rate, 1.0);
            let shrunk = g.mul(params, kept);
            adam(&mut g, config, shrunk, grads, lr)
        }
        OptimizerName::Adamax => {
            let gradient = decayed(&mut g);
            adamax(&mut g, config, params, gradient, lr)
        }
    };
    g.output("params", next);
    if config.ema > 0.0 {
        average(&mut g, EMA, next, config.ema);
    }
    g
}

/// Name of the number of gradients that are no numbers, an output of the [guarded update](guarded_update_graph).
pub const NONFINITE: &str = "nonfinite";

/// The [update](update_graph) that changes nothing if the `loss` (a further input, a scalar) or any gradient is infinite or
/// not a number. How many of these numbers are is a further output.
pub fn guarded_update_graph(config: &OptimizerConfig, len: usize) -> Graph {
    let mut g = update_graph(config, len);
    let outputs = g.take_outputs();
    let grads = g.find_input("grads").expect("every update has gradients");
    let loss = g.input("loss", []);
    let [of_grads, of_loss] = [grads, loss].map(|node| {
        let finite = g.is_finite(node);
        let one = g.scalar_like(1.0, finite);
        let not = g.sub(one, finite);
        g.sum_all(not)
    });
    let count = g.add(of_grads, of_loss);
    let half = g.scalar_like(0.5, count);
    let sound = g.less(count, half);
    for (name, node) in outputs {
        let node = match g.find_input(&name) {
            Some(old) => g.select(sound, node, old),
            None => node,
        };
        g.output(name, node);
    }
    g.output(NONFINITE, count);
    g
}

/// Shortens the gradient to norm `limit`; declares `grad_norm`.
fn clip(g: &mut Graph, grads: NodeId, limit: f64) -> NodeId {
    let squares = g.square(grads);
    let sum = g.sum_all(squares);
    let norm = g.sqrt(sum);
    g.output("grad_norm", norm);
    let slack = g.add_scalar(norm, CLIP_SLACK);
    let limit = g.constant(limit, []);
    let ratio = g.div(limit, slack);
    let one = g.constant(1.0, []);
    let factor = g.min(one, ratio);
    g.mul(grads, factor)
}

/// The state tensor `name` moved towards `value`: decay · old + (1 - decay) · value, also declared as output.
fn average(g: &mut Graph, name: &str, value: NodeId, decay: f64) -> NodeId {
    let shape = g.shape(value).clone();
    let old = g.input(name, shape);
    let (kept, added) = (g.scale(old, decay), g.scale(value, 1.0 - decay));
    let new = g.add(kept, added);
    g.output(name, new);
    new
}

/// 1 - decayˢᵗᵉᵖ, through expm1: the power is close to one, and f32 would lose most of the difference.
fn bias_correction(g: &mut Graph, step: NodeId, decay: f64) -> NodeId {
    if decay == 0.0 {
        return g.scalar_like(1.0, step);
    }
    let exponent = g.scale(step, decay.ln());
    let rest = g.expm1(exponent);
    g.neg(rest)
}

fn sgd(g: &mut Graph, config: &OptimizerConfig, params: NodeId, gradient: NodeId, lr: NodeId) -> NodeId {
    let mut direction = gradient;
    if config.momentum > 0.0 {
        let shape = g.shape(gradient).clone();
        let old = g.input("momentum", shape);
        let kept = g.scale(old, config.momentum);
        let new = g.add(kept, gradient);
        g.output("momentum", new);
        direction = new;
        if config.nesterov {
            let ahead = g.scale(new, config.momentum);
            direction = g.add(gradient, ahead);
        }
    }
    let change = g.mul(direction, lr);
    g.sub(params, change)
}

fn adam(g: &mut Graph, config: &OptimizerConfig, params: NodeId, gradient: NodeId, lr: NodeId) -> NodeId {
    let step = g.input("step", []);
    let [first, second] = config.betas;
    let mean = average(g, "exp_avg", gradient, first);
    let square = g.square(gradient);
    let variance = average(g, "exp_avg_sq", square, second);
    let (of_mean, of_variance) = (bias_correction(g, step, first), bias_correction(g, step, second));
    let of_std = g.sqrt(of_variance);
    let std = g.sqrt(variance);
    let std = g.div(std, of_std);
    let divisor = g.add_scalar(std, config.epsilon);
    let rate = g.div(lr, of_mean);
    let scaled = g.mul(mean, rate);
    let change = g.div(scaled, divisor);
    g.sub(params, change)
}

fn adamax(g: &mut Graph, config: &OptimizerConfig, params: NodeId, gradient: NodeId, lr: NodeId) -> NodeId {
    let step = g.input("step", []);
    let [first, second] = config.betas;
    let mean = average(g, "exp_avg", gradient, first);
    let shape = g.shape(gradient).clone();
    let old = g.input("exp_inf", shape);
    let kept = g.scale(old, second);
    let magnitude = g.abs(gradient);
    let floored = g.add_scalar(magnitude, config.epsilon);
    let largest = g.max(kept, floored);
    g.output("exp_inf", largest);
    let correction = bias_correction(g, step, first);
    let rate = g.div(lr, correction);
    let scaled = g.mul(mean, rate);
    let change = g.div(scaled, largest);
    g.sub(params, change)
}

/// The learning rate of update `step`, counted from 0, when an epoch has `steps_per_epoch` updates.
///
/// During warm-up it rises in proportion to the updates done and reaches the configured rate with warm-up's last update.
/// (The published code overshoots here by one epoch and, for density models, stays there.)
pub fn learning_rate(config: &Config, step: u64, steps_per_epoch: u64) -> f64 {
    let (train, config) = (&config.train, &config.optimizer);
    let epoch_len = steps_per_epoch.max(1) as f64;
    let (warmup, total) = (config.warmup * epoch_len, train.epochs as f64 * epoch_len);
    let step = step as f64;
    if step + 1.0 < warmup {
        return config.lr * (step + 1.0) / warmup;
    }
    let factor = match config.schedule {
        Schedule::Constant => 1.0,
        Schedule::Step => {
            let passed = config.milestones.iter().filter(|&&epoch| step >= epoch * epoch_len).count();
            config.decay.powi(passed as i32)
        }
        Schedule::Cosine => {
            // The last update still has a rate above zero: progress counts the updates before this one.
            let progress = ((step - warmup) / (total - warmup).max(1.0)).clamp(0.0, 1.0);
            0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
        }
    };
    config.lr * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schedules are a few f64 operations.
    const TOLERANCE: f64 = 1e-12;

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= TOLERANCE, "{a} is not {b}");
    }

    fn config(epochs: usize, optimizer: OptimizerConfig) -> Config {
        let mut config = Config { optimizer, ..Default::default() };
        config.train.epochs = epochs;
        config
    }

    #[test]
    fn warmup_ends_at_the_configured_rate_and_stays() {
        let config = config(5, OptimizerConfig { lr: 0.1, warmup: 2.0, ..Default::default() });
        close(learning_rate(&config, 0, 10), 0.005);
        close(learning_rate(&config, 18, 10), 0.095);
        for step in 19..50 {
            close(learning_rate(&config, step, 10), 0.1);
        }
    }

    #[test]
    fn steps_fall_after_their_epochs() {
        let optimizer = OptimizerConfig {
            lr: 1.0,
            schedule: Schedule::Step,
            milestones: vec![1.0, 2.0],
            decay: 0.2,
            ..Default::default()
        };
        let config = config(3, optimizer);
        for (step, wanted) in [(9, 1.0), (10, 0.2), (19, 0.2), (20, 0.04)] {
            close(learning_rate(&config, step, 10), wanted);
        }
    }

    #[test]
    fn cosine_falls_from_the_rate_to_nearly_zero() {
        let optimizer = OptimizerConfig { lr: 1.0, schedule: Schedule::Cosine, warmup: 1.0, ..Default::default() };
        let config = config(11, optimizer);
        close(learning_rate(&config, 10, 10), 1.0);
        close(learning_rate(&config, 60, 10), 0.5);
        let last = learning_rate(&config, 109, 10);
        assert!(last > 0.0 && last < 1e-3, "{last}");
    }

    #[test]
    fn state_follows_the_rule() {
        let named = |name, ema| state_names(&OptimizerConfig { name, ema, ..Default::default() });
        assert_eq!(named(OptimizerName::Sgd, 0.0), ["momentum"]);
        assert_eq!(named(OptimizerName::Adamax, 0.999), ["exp_avg", "exp_inf", "ema"]);
    }
}
