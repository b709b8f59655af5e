//! Operators that work element by element.

use iresnet::graph::{Graph, NodeId};
use iresnet::ops::binary::Binary;

use crate::node::{Made, Node};

/// The operator's results, if it is one of these.
pub(crate) fn build(node: &mut Node<'_>, operator: &str) -> Option<Made> {
    if let Some(function) = simple(operator) {
        return Some(node.x(0).map(|x| vec![function(node.g, x)]));
    }
    if let Some(op) = binary(operator) {
        return Some(folded(node, op).map(|x| vec![x]));
    }
    let made = match operator {
        "Identity" => node.x(0),
        "Mean" => mean(node),
        "GreaterOrEqual" | "LessOrEqual" => not_less(node, operator == "LessOrEqual"),
        "Greater" => both(node).map(|[a, b]| node.g.less(b, a)),
        "Xor" => both(node).map(|[a, b]| {
            let difference = node.g.sub(a, b);
            node.g.abs(difference)
        }),
        "Where" => choose(node),
        "Pow" => pow(node),
        "Mod" => remainder(node),
        "Clip" => clip(node),
        "PRelu" => both(node).map(|[x, slope]| leaky(node, x, slope)),
        "Dropout" => return Some(dropout(node)),
        _ => return parametric(node, operator).map(|made| made.map(|x| vec![x])),
    };
    Some(made.map(|x| vec![x]))
}

/// Functions without attributes.
fn simple(operator: &str) -> Option<fn(&mut Graph, NodeId) -> NodeId> {
    Some(match operator {
        "Abs" => Graph::abs,
        "Cos" => Graph::cos,
        "Exp" => Graph::exp,
        "Floor" => Graph::floor,
        "Log" => Graph::log,
        "Neg" => Graph::neg,
        "Reciprocal" => Graph::recip,
        "Sigmoid" => Graph::sigmoid,
        "Sin" => Graph::sin,
        "Softplus" => Graph::softplus,
        "Sqrt" => Graph::sqrt,
        "Tanh" => Graph::tanh,
        "Acosh" => |g: &mut Graph, x: NodeId| {
            let square = g.square(x);
            let less = g.add_scalar(square, -1.0);
            let root = g.sqrt(less);
            let sum = g.add(x, root);
            g.log(sum)
        },
        // Of the magnitude, with the sign put back: a difference would lose the small ones.
        "Asinh" => |g: &mut Graph, x: NodeId| {
            let square = g.square(x);
            let more = g.add_scalar(square, 1.0);
            let root = g.sqrt(more);
            let root = g.add_scalar(root, 1.0);
            let small = g.div(square, root);
            let size = g.abs(x);
            let sum = g.add(size, small);
            let value = g.log1p(sum);
            let sign = sign(g, x);
            g.mul(sign, value)
        },
        "Atanh" => |g: &mut Graph, x: NodeId| {
            let other = g.neg(x);
            let (above, below) = (g.log1p(x), g.log1p(other));
            let difference = g.sub(above, below);
            g.scale(difference, 0.5)
        },
        "Ceil" => |g: &mut Graph, x: NodeId| {
            let x = g.neg(x);
            let x = g.floor(x);
            g.neg(x)
        },
        "Cosh" => |g: &mut Graph, x: NodeId| {
            let other = g.neg(x);
            let (up, down) = (g.exp(x), g.exp(other));
            let sum = g.add(up, down);
            g.scale(sum, 0.5)
        },
        "HardSwish" => |g: &mut Graph, x: NodeId| {
            let line = g.scale(x, 1.0 / 6.0);
            let line = g.add_scalar(line, 0.5);
            let line = between(g, line, 0.0, 1.0);
            g.mul(x, line)
        },
        "Mish" => |g: &mut Graph, x: NodeId| {
            let soft = g.softplus(x);
            let gate = g.tanh(soft);
            g.mul(x, gate)
        },
        "Not" => |g: &mut Graph, x: NodeId| {
            let x = g.neg(x);
            g.add_scalar(x, 1.0)
        },
        "Relu" => |g: &mut Graph, x: NodeId| {
            let zero = g.scalar_like(0.0, x);
            g.max(x, zero)
        },
        "Round" => round,
        "Sign" => sign,
        "Sinh" => |g: &mut Graph, x: NodeId| {
            let other = g.neg(x);
            let (up, down) = (g.expm1(x), g.expm1(other));
            let difference = g.sub(up, down);
            g.scale(difference, 0.5)
        },
        "Softsign" => |g: &mut Graph, x: NodeId| {
            let size = g.abs(x);
            let size = g.add_scalar(size, 1.0);
            g.div(x, size)
        },
        "Tan" => |g: &mut Graph, x: NodeId| {
            let (sin, cos) = (g.sin(x), g.cos(x));
            g.div(sin, cos)
        },
        _ => return None,
    })
}

fn sign(g: &mut Graph, x: NodeId) -> NodeId {
    let zero = g.scalar_like(0.0, x);
    let (positive, negative) = (g.less(zero, x), g.less(x, zero));
    g.sub(positive, negative)
}

/// To the nearest whole number, halves to the even one.
fn round(g: &mut Graph, x: NodeId) -> NodeId {
    let low = g.floor(x);
    let rest = g.sub(x, low);
    let half = g.scalar_like(0.5, x);
    let (above, middle) = (g.less(half, rest), g.equal(half, rest));
    let pairs = g.scale(low, 0.5);
    let pairs = g.floor(pairs);
    let even = g.scale(pairs, 2.0);
    let odd = g.sub(low, even);
    let step = g.select(middle, odd, above);
    g.add(low, step)
}

fn between(g: &mut Graph, x: NodeId, low: f64, high: f64) -> NodeId {
    let (low, high) = (g.scalar_like(low, x), g.scalar_like(high, x));
    let x = g.max(x, low);
    g.min(x, high)
}

/// Operators that are one of ours, between any number of operands.
fn binary(operator: &str) -> Option<Binary> {
    Some(match operator {
        "Add" | "Sum" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" | "And" => Binary::Mul,
        "Div" => Binary::Div,
        "Max" | "Or" => Binary::Max,
        "Min" => Binary::Min,
        "Less" => Binary::Less,
        "Equal" => Binary::Equal,
        _ => return None,
    })
}

fn folded(node: &mut Node<'_>, op: Binary) -> Made<NodeId> {
    let all = node.all()?;
    let rest = all[1..].iter().copied();
    Ok(rest.fold(all[0], |sum, x| node.g.binary(op, sum, x)))
}

fn both(node: &mut Node<'_>) -> Made<[NodeId; 2]> {
    Ok([node.x(0)?, node.x(1)?])
}

fn mean(node: &mut Node<'_>) -> Made<NodeId> {
    let count = node.count() as f64;
    let sum = folded(node, Binary::Add)?;
    Ok(node.g.scale(sum, 1.0 / count))
}

fn not_less(node: &mut Node<'_>, or_equal: bool) -> Made<NodeId> {
    let [a, b] = both(node)?;
    let other = if or_equal { node.g.less(b, a) } else { node.g.less(a, b) };
    let negated = node.g.neg(other);
    Ok(node.g.add_scalar(negated, 1.0))
}

fn choose(node: &mut Node<'_>) -> Made<NodeId> {
    let [condition, a, b] = [node.x(0)?, node.x(1)?, node.x(2)?];
    Ok(node.g.select(condition, a, b))
}

fn pow(node: &mut Node<'_>) -> Made<NodeId> {
    let [base, exponent] = both(node)?;
    if node.numbers(0)?.iter().any(|&x| x <= 0.0) {
        return Err("powers are those of positive numbers, exp(y ln x)".into());
    }
    let log = node.g.log(base);
    let product = node.g.mul(exponent, log);
    Ok(node.g.exp(product))
}

/// The remainder with the sign of the divisor, or of the dividend where `fmod` says so.
fn remainder(node: &mut Node<'_>) -> Made<NodeId> {
    let [a, b] = both(node)?;
    let quotient = node.g.div(a, b);
    let whole = if node.int("fmod", 0) == 0 {
        if node.numbers(0)?.into_iter().chain(node.numbers(1)?).any(|x| !x.is_finite()) {
            return Err("kernels promise nothing about infinities and NaN".into());
        }
        node.g.floor(quotient)
    } else {
        let (sign, size) = (sign(node.g, quotient), node.g.abs(quotient));
        let whole = node.g.floor(size);
        node.g.mul(sign, whole)
    };
    let multiple = node.g.mul(whole, b);
    Ok(node.g.sub(a, multiple))
}

fn clip(node: &mut Node<'_>) -> Made<NodeId> {
    let mut x = node.x(0)?;
    if node.has(1) {
        let low = node.x(1)?;
        x = node.g.max(x, low);
    }
    if node.has(2) {
        let high = node.x(2)?;
        x = node.g.min(x, high);
    }
    Ok(x)
}

/// x where it is positive, slope · x elsewhere.
fn leaky(node: &mut Node<'_>, x: NodeId, slope: NodeId) -> NodeId {
    let zero = node.g.scalar_like(0.0, x);
    let (positive, negative) = (node.g.max(x, zero), node.g.min(x, zero));
    let scaled = node.g.mul(negative, slope);
    node.g.add(positive, scaled)
}

/// Dropout as it is in evaluation.
fn dropout(node: &mut Node<'_>) -> Made {
    let x = node.x(0)?;
    let training = node.has(2) && node.numbers(2)? != [0.0];
    if training && (!node.has(1) || node.numbers(1)? != [0.0]) {
        return Err("it draws from another generator than ours".into());
    }
    let mask = node.g.scalar_like(1.0, x);
    Ok([x, mask][..node.outputs()].to_vec())
}

/// Activations with attributes.
fn parametric(node: &mut Node<'_>, operator: &str) -> Option<Made<NodeId>> {
    let float = |name: &str, default: f64| {
        node.case.attributes.get(name).and_then(serde_json::Value::as_f64).unwrap_or(default)
    };
    let known = ["Celu", "Elu", "Gelu", "HardSigmoid", "LeakyRelu", "Selu", "Shrink", "Swish", "ThresholdedRelu"];
    if !known.contains(&operator) {
        return None;
    }
    if operator == "Gelu" && node.text("approximate") != "tanh" {
        return Some(Err("it needs the error function, which is none of our ops".into()));
    }
    let (alpha, beta, gamma) = (float("alpha", f64::NAN), float("beta", 0.5), float("gamma", 1.050_700_9));
    let (lambda, bias) = (float("lambd", 0.5), float("bias", 0.0));
    let alpha_or = |default: f64| if alpha.is_nan() { default } else { alpha };
    let x = match node.x(0) {
        Ok(x) => x,
        Err(reason) => return Some(Err(reason)),
    };
    let g = &mut *node.g;
    let zero = g.scalar_like(0.0, x);
    let (positive, negative) = (g.max(x, zero), g.min(x, zero));
    // max(0, x) + scale · (exp(min(0, x) / width) - 1)
    let bent = |g: &mut Graph, scale: f64, width: f64| {
        let part = g.scale(negative, 1.0 / width);
        let part = g.expm1(part);
        let part = g.scale(part, scale);
        g.add(positive, part)
    };
    Some(Ok(match operator {
        "Celu" => bent(g, alpha_or(1.0), alpha_or(1.0)),
        "Elu" => bent(g, alpha_or(1.0), 1.0),
        "Selu" => {
            let value = bent(g, alpha_or(1.673_263_2), 1.0);
            g.scale(value, gamma)
        }
        "Gelu" => {
            let cube = g.square(x);
            let cube = g.mul(cube, x);
            let cube = g.scale(cube, 0.044_715);
            let sum = g.add(x, cube);
            let sum = g.scale(sum, std::f64::consts::FRAC_2_PI.sqrt());
            let gate = g.tanh(sum);
            let gate = g.add_scalar(gate, 1.0);
            let product = g.mul(x, gate);
            g.scale(product, 0.5)
        }
        "HardSigmoid" => {
            let line = g.scale(x, alpha_or(0.2));
            let line = g.add_scalar(line, beta);
            between(g, line, 0.0, 1.0)
        }
        "LeakyRelu" => {
            let slope = g.scalar_like(alpha_or(0.01), x);
            leaky(node, x, slope)
        }
        "Shrink" => {
            let (low, high) = (g.scalar_like(-lambda, x), g.scalar_like(lambda, x));
            let (below, above) = (g.less(x, low), g.less(high, x));
            let (up, down) = (g.add_scalar(x, bias), g.add_scalar(x, -bias));
            let rest = g.select(above, down, zero);
            g.select(below, up, rest)
        }
        "Swish" => {
            let scaled = g.scale(x, alpha_or(1.0));
            let gate = g.sigmoid(scaled);
            g.mul(x, gate)
        }
        _ => {
            let threshold = g.scalar_like(alpha_or(1.0), x);
            let above = g.less(threshold, x);
            g.select(above, x, zero)
        }
    }))
}
