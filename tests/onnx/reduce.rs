//! Reductions and what is made of them: softmax, losses, normalisation.

use iresnet::graph::NodeId;

use crate::node::{Made, Node, from_front};

/// The operator's results, if it is one of these.
pub(crate) fn build(node: &mut Node<'_>, operator: &str) -> Option<Made> {
    if let Some(kind) = operator.strip_prefix("Reduce") {
        return Some(reduce(node, kind).map(|x| vec![x]));
    }
    let one = |made: Made<NodeId>| made.map(|x| vec![x]);
    Some(match operator {
        "ArgMax" | "ArgMin" => one(extreme(node, operator == "ArgMin")),
        "Hardmax" => one(hardmax(node)),
        "Softmax" => one(log_softmax(node).map(|x| node.g.exp(x))),
        "LogSoftmax" => one(log_softmax(node)),
        "SoftmaxCrossEntropyLoss" => cross_entropy(node),
        "NegativeLogLikelihoodLoss" => one(node.x(0).and_then(|x| likelihood(node, x))),
        "BatchNormalization" => batch_norm(node),
        "InstanceNormalization" => one(instance_norm(node)),
        "GroupNormalization" => one(group_norm(node)),
        "LayerNormalization" => layer_norm(node),
        "RMSNormalization" => one(rms_norm(node)),
        "MeanVarianceNormalization" => one(mean_variance_norm(node)),
        "LpNormalization" => one(lp_norm(node)),
        _ => return None,
    })
}

fn reduce(node: &mut Node<'_>, kind: &str) -> Made<NodeId> {
    let x = node.x(0)?;
    let rank = node.rank(x);
    let axes = if node.has(1) { node.ints(1)? } else { node.list("axes").unwrap_or_default() };
    let mut axes: Vec<usize> = axes.into_iter().map(|axis| from_front(axis, rank)).collect();
    if axes.is_empty() && node.int("noop_with_empty_axes", 0) == 0 {
        axes = (0..rank).collect();
    }
    let g = &mut *node.g;
    let reduced = match kind {
        "Sum" => g.sum_keep(x, &axes),
        "Mean" => node.mean_keep(x, &axes),
        "Max" => g.max_keep(x, &axes),
        "Min" => {
            let x = g.neg(x);
            let largest = g.max_keep(x, &axes);
            g.neg(largest)
        }
        "L1" => {
            let size = g.abs(x);
            g.sum_keep(size, &axes)
        }
        "L2" | "SumSquare" => {
            let square = g.square(x);
            let sum = g.sum_keep(square, &axes);
            if kind == "L2" { g.sqrt(sum) } else { sum }
        }
        "LogSum" => {
            let sum = g.sum_keep(x, &axes);
            g.log(sum)
        }
        "LogSumExp" => {
            let largest = g.max_keep(x, &axes);
            let shifted = g.sub(x, largest);
            let powers = g.exp(shifted);
            let sum = g.sum_keep(powers, &axes);
            let log = g.log(sum);
            g.add(log, largest)
        }
        "Prod" => {
            let mut product = x;
            for &axis in &axes {
                let extent = g.shape(product)[axis];
                let parts: Vec<NodeId> = (0..extent).map(|at| g.slice_axis(product, axis, at, at + 1)).collect();
                product = parts[1..].iter().fold(parts[0], |product, &part| g.mul(product, part));
            }
            product
        }
        other => return Err(format!("no reduction {other}")),
    };
    Ok(if node.int("keepdims", 1) == 0 { dropped(node, reduced, &axes) } else { reduced })
}

fn dropped(node: &mut Node<'_>, x: NodeId, axes: &[usize]) -> NodeId {
    let shape = node.shape(x);
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
    node.g.reshape(x, kept)
}

/// The place along `axis` where the largest element is, the first or last of several: that axis keeps extent one.
fn place_of_largest(node: &mut Node<'_>, x: NodeId, axis: usize, last: bool) -> NodeId {
    let largest = node.g.max_keep(x, &[axis]);
    let reaches = node.g.equal(x, largest);
    let shape = node.shape(x);
    let extent = shape[axis] as f64;
    let mut index = node.g.iota(shape, axis);
    if !last {
        // The smallest index is the largest of those counted from the end.
        let negated = node.g.neg(index);
        index = node.g.add_scalar(negated, extent - 1.0);
    }
    let never = node.g.scalar_like(-1.0, index);
    let candidates = node.g.select(reaches, index, never);
    let found = node.g.max_keep(candidates, &[axis]);
    if last {
        return found;
    }
    let negated = node.g.neg(found);
    node.g.add_scalar(negated, extent - 1.0)
}

fn extreme(node: &mut Node<'_>, smallest: bool) -> Made<NodeId> {
    let mut x = node.x(0)?;
    if smallest {
        x = node.g.neg(x);
    }
    let axis = node.axis(0, node.rank(x));
    let last = node.int("select_last_index", 0) != 0;
    let place = place_of_largest(node, x, axis, last);
    Ok(if node.int("keepdims", 1) == 0 { dropped(node, place, &[axis]) } else { place })
}

fn hardmax(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let axis = node.axis(-1, node.rank(x));
    let place = place_of_largest(node, x, axis, false);
    let shape = node.shape(x);
    let index = node.g.iota(shape, axis);
    Ok(node.g.equal(index, place))
}

fn log_softmax(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let axis = node.axis(-1, node.rank(x));
    Ok(log_softmax_of(node, x, axis))
}

fn log_softmax_of(node: &mut Node<'_>, x: NodeId, axis: usize) -> NodeId {
    let largest = node.g.max_keep(x, &[axis]);
    let shifted = node.g.sub(x, largest);
    let powers = node.g.exp(shifted);
    let sum = node.g.sum_keep(powers, &[axis]);
    let log = node.g.log(sum);
    node.g.sub(shifted, log)
}

fn cross_entropy(node: &mut Node<'_>) -> Made {
    let logits = node.x(0)?;
    let log_prob = log_softmax_of(node, logits, 1);
    let loss = likelihood(node, log_prob)?;
    Ok([loss, log_prob][..node.outputs()].to_vec())
}

/// -w[label] · log p[label] for logarithms of probabilities `[n, c, …]`, labels `[n, …]` and weights `[c]`.
fn likelihood(node: &mut Node<'_>, log_prob: NodeId) -> Made<NodeId> {
    let labels = node.any(1)?;
    let shape = node.shape(log_prob);
    let mut thin = shape.clone();
    thin[1] = 1;
    let of_labels = node.g.reshape(labels, thin);
    let index = node.g.iota(shape.clone(), 1);
    let mut hot = node.g.equal(index, of_labels);
    if node.case.attributes.contains_key("ignore_index") {
        let ignored = node.scalar(node.int("ignore_index", 0) as f64);
        let same = node.g.equal(of_labels, ignored);
        let negated = node.g.neg(same);
        let counted = node.g.add_scalar(negated, 1.0);
        hot = node.g.mul(hot, counted);
    }
    if node.has(2) {
        let weights = node.x(2)?;
        let weights = node.per_channel(weights, shape.len());
        hot = node.g.mul(hot, weights);
    }
    let chosen = node.g.mul(hot, log_prob);
    let chosen = node.g.sum(chosen, &[1]);
    let losses = node.g.neg(chosen);
    match node.text("reduction") {
        "none" => Ok(losses),
        "sum" => Ok(node.g.sum_all(losses)),
        _ => {
            let (total, weight) = (node.g.sum_all(losses), node.g.sum_all(hot));
            Ok(node.g.div(total, weight))
        }
    }
}

fn batch_norm(node: &mut Node<'_>) -> Made {
    let x = node.x(0)?;
    let rank = node.rank(x);
    let mut vector = |number| node.x(number).map(|x| node.per_channel(x, rank));
    let [scale, shift, mean, variance] = [vector(1)?, vector(2)?, vector(3)?, vector(4)?];
    let epsilon = node.float("epsilon", 1e-5);
    if node.int("training_mode", 0) == 0 {
        let centred = node.g.sub(x, mean);
        let floored = node.g.add_scalar(variance, epsilon);
        let std = node.g.sqrt(floored);
        let normal = node.g.div(centred, std);
        let scaled = node.g.mul(normal, scale);
        return Ok(vec![node.g.add(scaled, shift)]);
    }
    let axes: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
    let [normal, of_batch, _] = node.normalized(x, &axes, epsilon);
    let scaled = node.g.mul(normal, scale);
    let y = node.g.add(scaled, shift);
    let centred = node.g.sub(x, of_batch);
    let square = node.g.square(centred);
    let spread = node.mean_keep(square, &axes);
    let momentum = node.float("momentum", 0.9);
    let mut mix = |old, new| {
        let (kept, added) = (node.g.scale(old, momentum), node.g.scale(new, 1.0 - momentum));
        let sum = node.g.add(kept, added);
        dropped(node, sum, &axes)
    };
    Ok(vec![y, mix(mean, of_batch), mix(variance, spread)])
}

fn instance_norm(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let rank = node.rank(x);
    let axes: Vec<usize> = (2..rank).collect();
    let [normal, ..] = node.normalized(x, &axes, node.float("epsilon", 1e-5));
    scaled_and_shifted(node, normal, rank)
}

fn scaled_and_shifted(node: &mut Node<'_>, normal: NodeId, rank: usize) -> Made<NodeId> {
    let (scale, shift) = (node.x(1)?, node.x(2)?);
    let (scale, shift) = (node.per_channel(scale, rank), node.per_channel(shift, rank));
    let scaled = node.g.mul(normal, scale);
    Ok(node.g.add(scaled, shift))
}

fn group_norm(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let shape = node.shape(x);
    let groups = node.int("num_groups", 1) as usize;
    let flat = node.g.reshape(x, [shape[0], groups, shape[1..].iter().product::<usize>() / groups]);
    let [normal, ..] = node.normalized(flat, &[2], node.float("epsilon", 1e-5));
    let normal = node.g.reshape(normal, shape.clone());
    scaled_and_shifted(node, normal, shape.len())
}

fn layer_norm(node: &mut Node<'_>) -> Made {
    let x = node.x(0)?;
    let rank = node.rank(x);
    let axes: Vec<usize> = (node.axis(-1, rank)..rank).collect();
    let [normal, mean, inverse] = node.normalized(x, &axes, node.float("epsilon", 1e-5));
    let scale = node.x(1)?;
    let mut y = node.g.mul(normal, scale);
    if node.has(2) {
        let shift = node.x(2)?;
        y = node.g.add(y, shift);
    }
    Ok([y, mean, inverse][..node.outputs()].to_vec())
}

fn rms_norm(node: &mut Node<'_>) -> Made<NodeId> {
    let (x, scale) = (node.x(0)?, node.x(1)?);
    let rank = node.rank(x);
    let axes: Vec<usize> = (node.axis(-1, rank)..rank).collect();
    let square = node.g.square(x);
    let mean = node.mean_keep(square, &axes);
    let floored = node.g.add_scalar(mean, node.float("epsilon", 1e-5));
    let root = node.g.sqrt(floored);
    let normal = node.g.div(x, root);
    Ok(node.g.mul(normal, scale))
}

fn mean_variance_norm(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let axes = node.list("axes").unwrap_or_else(|| vec![0, 2, 3]);
    let axes: Vec<usize> = axes.into_iter().map(|axis| axis as usize).collect();
    Ok(node.normalized(x, &axes, 0.0)[0])
}

fn lp_norm(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let axis = node.axis(-1, node.rank(x));
    let size = node.g.abs(x);
    let norm = if node.int("p", 2) == 1 {
        node.g.sum_keep(size, &[axis])
    } else {
        let square = node.g.square(x);
        let sum = node.g.sum_keep(square, &[axis]);
        node.g.sqrt(sum)
    };
    // Nothing but zeros stays zeros.
    let zero = node.scalar(0.0);
    let none = node.g.equal(norm, zero);
    let divisor = node.g.add(norm, none);
    Ok(node.g.div(x, divisor))
}
