//! Functions of elements, each in every regime, and sources.

use super::{Builder, Draw, Sample};
use crate::interpret::Array;
use crate::ops::binary::Binary;
use crate::ops::unary::Unary;
use crate::random::Distribution;
use crate::shape::Shape;

/// Shape of most problems here: odd extents, more than one axis.
const SHAPE: [usize; 2] = [3, 5];

/// A named range of values.
type Regime = (&'static str, f64, f64);

const POSITIVE: Regime = ("positive", 0.2, 3.0);
const NEGATIVE: Regime = ("negative", -3.0, -0.2);
const SMALL: Regime = ("small", 0.02, 0.1);
const SMALL_NEGATIVE: Regime = ("small negative", -0.1, -0.02);
const LARGE: Regime = ("large", 20.0, 60.0);
const LARGE_NEGATIVE: Regime = ("large negative", -60.0, -20.0);

fn regimes(op: Unary) -> Vec<Regime> {
    match op {
        Unary::Log | Unary::Sqrt => vec![POSITIVE, SMALL, ("large", 20.0, 5000.0)],
        Unary::Log1p => vec![POSITIVE, SMALL, SMALL_NEGATIVE, ("negative", -0.9, -0.2), ("large", 20.0, 5000.0)],
        // Between whole numbers: at them the floor jumps.
        Unary::Floor => {
            vec![("positive", 2.1, 2.9), ("negative", -2.9, -2.1), SMALL, SMALL_NEGATIVE, ("large", 1000.1, 1000.9)]
        }
        _ => vec![POSITIVE, NEGATIVE, SMALL, SMALL_NEGATIVE, LARGE, LARGE_NEGATIVE],
    }
}

pub(super) fn collect(draw: &mut Draw, all: &mut Vec<Sample>) {
    for op in Unary::ALL {
        for (regime, low, high) in regimes(op) {
            let mut b = Builder::new(draw);
            let value = b.draw.between(&Shape::from(SHAPE), low, high);
            let x = if op == Unary::StopGradient { b.fixed(value) } else { b.variable(value) };
            let y = b.graph.unary(op, x);
            all.push(b.finish(format!("{} {regime}", op.name()), &[y]));
        }
        all.push(scalar(draw, op));
    }
    for op in Binary::ALL {
        for (left, right) in
            [(POSITIVE, POSITIVE), (POSITIVE, NEGATIVE), (NEGATIVE, SMALL), (SMALL, LARGE), (LARGE, SMALL_NEGATIVE)]
        {
            all.push(apart(draw, op, left, right));
        }
        all.push(ties(draw, op));
        all.push(broadcasting(draw, op));
        all.push(with_itself(draw, op));
        all.push(with_constant(draw, op));
    }
    selects(draw, all);
    sources(draw, all);
}

fn scalar(draw: &mut Draw, op: Unary) -> Sample {
    let mut b = Builder::new(draw);
    let value = b.draw.between(&Shape::scalar(), 0.3, 0.8);
    let x = if op == Unary::StopGradient { b.fixed(value) } else { b.variable(value) };
    let y = b.graph.unary(op, x);
    b.finish(format!("{} of a scalar", op.name()), &[y])
}

/// Operands whose elements differ by more than a difference quotient moves them.
fn apart(draw: &mut Draw, op: Binary, left: Regime, right: Regime) -> Sample {
    let mut b = Builder::new(draw);
    let shape = Shape::from(SHAPE);
    let x = b.draw.between(&shape, left.1, left.2);
    let mut y = b.draw.between(&shape, right.1, right.2);
    for (x, y) in x.data().iter().zip(y.data_mut()) {
        if (*x - *y).abs() < 0.02 {
            *y += 0.0625;
        }
    }
    let (x, y) = (b.variable(x), b.variable(y));
    let z = b.graph.binary(op, x, y);
    b.finish(format!("{} {} and {}", op.name(), left.0, right.0), &[z])
}

/// Operands of which some elements are equal: the value is defined there, a two-sided derivative need not be.
fn ties(draw: &mut Draw, op: Binary) -> Sample {
    let mut b = Builder::new(draw);
    let x = b.draw.signed(&Shape::from(SHAPE), 0.2, 2.0);
    let mut y = x.clone();
    y.data_mut().iter_mut().step_by(2).for_each(|y| *y = -*y);
    let (x, y) = (b.fixed(x), b.fixed(y));
    let z = b.graph.binary(op, x, y);
    b.finish(format!("{} with ties", op.name()), &[z])
}

/// Operands repeated along missing and single axes, on both sides.
fn broadcasting(draw: &mut Draw, op: Binary) -> Sample {
    let mut b = Builder::new(draw);
    let (x, y) = (b.draw.between(&Shape::from([3, 1]), 0.2, 1.0), b.draw.between(&Shape::from([2, 1, 4]), 1.2, 2.0));
    let (x, y) = (b.variable(x), b.variable(y));
    let z = b.graph.binary(op, x, y);
    b.finish(format!("{} broadcasting", op.name()), &[z])
}

fn with_itself(draw: &mut Draw, op: Binary) -> Sample {
    let mut b = Builder::new(draw);
    let x = b.draw.signed(&Shape::from(SHAPE), 0.2, 2.0);
    let x = b.variable(x);
    let y = b.graph.binary(op, x, x);
    b.finish(format!("{} with itself", op.name()), &[y])
}

fn with_constant(draw: &mut Draw, op: Binary) -> Sample {
    let mut b = Builder::new(draw);
    let x = b.draw.signed(&Shape::from(SHAPE), 0.2, 2.0);
    let x = b.variable(x);
    let c = b.graph.scalar_like(-0.1, x);
    let (left, right) = (b.graph.binary(op, x, c), b.graph.binary(op, c, x));
    b.finish(format!("{} with a constant", op.name()), &[left, right])
}

fn selects(draw: &mut Draw, all: &mut Vec<Sample>) {
    let shape = Shape::from(SHAPE);
    for (name, condition) in [("mixed", None), ("all a", Some(1.0)), ("all b", Some(0.0)), ("odd truth", Some(-2.5))] {
        let mut b = Builder::new(draw);
        let condition = condition.map_or_else(|| b.draw.booleans(&shape), |value| Array::full(&shape, value));
        let condition = b.fixed(condition);
        let (x, y) = (b.moderate(&shape), b.moderate(&shape));
        let z = b.graph.select(condition, x, y);
        all.push(b.finish(format!("select {name}"), &[z]));
    }
    // A leaky unit: the condition follows from an operand.
    let mut b = Builder::new(draw);
    let x = b.draw.signed(&shape, 0.1, 2.0);
    let x = b.variable(x);
    let zero = b.graph.scalar_like(0.0, x);
    let negative = b.graph.less(x, zero);
    let slope = b.moderate([1, 5]);
    let scaled = b.graph.mul(x, slope);
    let y = b.graph.select(negative, scaled, x);
    all.push(b.finish("select by sign", &[y]));
}

fn sources(draw: &mut Draw, all: &mut Vec<Sample>) {
    for axis in 0..3 {
        let mut b = Builder::new(draw);
        let x = b.moderate([2, 3, 4]);
        let index = b.graph.iota([2, 3, 4], axis);
        let y = b.graph.mul(x, index);
        let y = b.graph.square(y);
        all.push(b.finish(format!("iota axis {axis}"), &[y, index]));
    }
    let mut b = Builder::new(draw);
    let x = b.moderate([2, 3]);
    let c = b.graph.constant(0.75, [2, 3]);
    let y = b.graph.max(x, c);
    let away = b.draw.between(&Shape::from([2, 3]), 0.8, 1.5);
    b.values[0] = away;
    all.push(b.finish("constant", &[c, y]));

    for distribution in [Distribution::Uniform, Distribution::Normal, Distribution::Rademacher] {
        for (length, width) in [(1, 4), (130, 4), (63, 64)] {
            let mut b = Builder::new(draw);
            let mut key = Array::full(&Shape::from([width]), 0.0);
            for word in &mut key.data_mut()[..4] {
                *word = b.draw.below(1 << 24) as f64;
            }
            if let Some(rows) = key.data_mut().get_mut(4) {
                *rows = b.draw.below(1000) as f64;
            }
            let key = b.fixed(key);
            let x = b.moderate([length]);
            let noise = b.graph.random(distribution, key, [length]);
            let y = b.graph.mul(x, noise);
            all.push(b.finish(format!("random {} {length} of a key of {width}", distribution.name()), &[noise, y]));
        }
    }
}
