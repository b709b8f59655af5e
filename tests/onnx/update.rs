//! Updates of optimizers: groups of tensors at a time.

use iresnet::config::{OptimizerConfig, OptimizerName};
use iresnet::graph::{Function, NodeId};
use iresnet::optim;

use crate::node::{Made, Node};

/// The update of one parameter, from (parameter, gradient, state…) and the number of the step.
type Update = fn(&mut Node<'_>, &[NodeId], f64) -> Made;

/// The operator's results, if it is one of these.
pub(crate) fn build(node: &mut Node<'_>, operator: &str) -> Option<Made> {
    match operator {
        "Momentum" => Some(each(node, 1, momentum)),
        "Adagrad" => Some(each(node, 1, adagrad)),
        "Adam" => Some(each(node, 2, adam)),
        _ => None,
    }
}

/// Applies `update` to each parameter, with as many state tensors; operands and results are listed kind by kind.
fn each(node: &mut Node<'_>, state: usize, update: Update) -> Made {
    let step = node.numbers(1)?[0];
    let kinds = 2 + state;
    let count = (node.count() - 2) / kinds;
    let mut results = vec![Vec::new(); 1 + state];
    for number in 0..count {
        let operands: Made = (0..kinds).map(|kind| node.x(2 + kind * count + number)).collect();
        for (list, result) in results.iter_mut().zip(update(node, &operands?, step)?) {
            list.push(result);
        }
    }
    Ok(results.concat())
}

/// The gradient with its weight decay.
fn decayed(node: &mut Node<'_>, x: NodeId, gradient: NodeId) -> NodeId {
    let decay = node.g.scale(x, node.float("norm_coefficient", 0.0));
    node.g.add(gradient, decay)
}

/// `kept` of the old, and `added` of the new.
fn mixed(node: &mut Node<'_>, old: NodeId, kept: f64, new: NodeId, added: f64) -> NodeId {
    let (old, new) = (node.g.scale(old, kept), node.g.scale(new, added));
    node.g.add(old, new)
}

/// Where the gradient counts in full this is the library's own SGD.
fn momentum(node: &mut Node<'_>, operands: &[NodeId], step: f64) -> Made {
    let (alpha, beta) = (node.float("alpha", 0.0), node.float("beta", 1.0));
    let nesterov = node.text("mode") == "nesterov";
    let rate = node.x(0)?;
    let [x, gradient, velocity] = [operands[0], operands[1], operands[2]];
    if step == 0.0 || beta == 1.0 {
        let config = OptimizerConfig {
            name: OptimizerName::Sgd,
            momentum: alpha,
            nesterov,
            weight_decay: node.float("norm_coefficient", 0.0),
            ..OptimizerConfig::default()
        };
        let graph = optim::update_graph(&config, node.g.shape(x).len());
        let argument = |(name, _): &(String, NodeId)| match name.as_str() {
            "params" => x,
            "grads" => gradient,
            "lr" => rate,
            _ => velocity,
        };
        let arguments: Vec<NodeId> = graph.inputs().iter().map(argument).collect();
        let place =
            |wanted: &str| graph.outputs().iter().position(|(name, _)| name == wanted).expect("an update has it");
        let order = [place("params"), place("momentum")];
        let results = node.g.call(&Function::new("sgd", graph), &arguments);
        return Ok(order.map(|place| results[place]).to_vec());
    }
    let gradient = decayed(node, x, gradient);
    let next = mixed(node, velocity, alpha, gradient, beta);
    let direction = if nesterov { mixed(node, next, alpha, gradient, 1.0) } else { next };
    let change = node.g.mul(direction, rate);
    Ok(vec![node.g.sub(x, change), next])
}

fn adagrad(node: &mut Node<'_>, operands: &[NodeId], step: f64) -> Made {
    let rate = node.x(0)?;
    let [x, gradient, sum] = [operands[0], operands[1], operands[2]];
    let gradient = decayed(node, x, gradient);
    let square = node.g.square(gradient);
    let next = node.g.add(sum, square);
    let root = node.g.sqrt(next);
    let divisor = node.g.add_scalar(root, node.float("epsilon", 1e-6));
    let rate = node.g.scale(rate, 1.0 / (1.0 + step * node.float("decay_factor", 0.0)));
    let scaled = node.g.mul(gradient, rate);
    let change = node.g.div(scaled, divisor);
    Ok(vec![node.g.sub(x, change), next])
}

/// Not the library's Adam: here ε is added before the averages are corrected, and the first step corrects nothing.
fn adam(node: &mut Node<'_>, operands: &[NodeId], step: f64) -> Made {
    let (alpha, beta) = (node.float("alpha", 0.9), node.float("beta", 0.999));
    let rate = node.x(0)?;
    let [x, gradient, mean, variance] = [operands[0], operands[1], operands[2], operands[3]];
    let gradient = decayed(node, x, gradient);
    let mean = mixed(node, mean, alpha, gradient, 1.0 - alpha);
    let square = node.g.square(gradient);
    let variance = mixed(node, variance, beta, square, 1.0 - beta);
    let root = node.g.sqrt(variance);
    let divisor = node.g.add_scalar(root, node.float("epsilon", 1e-6));
    let corrected = |decay: f64| if step > 0.0 { 1.0 - decay.powf(step) } else { 1.0 };
    let rate = node.g.scale(rate, corrected(beta).sqrt() / corrected(alpha));
    let scaled = node.g.mul(mean, rate);
    let change = node.g.div(scaled, divisor);
    let next = node.g.sub(x, change);
    let next = node.g.scale(next, 1.0 - node.float("norm_coefficient_post", 0.0));
    Ok(vec![next, mean, variance])
}
