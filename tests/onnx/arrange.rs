//! Operators that move elements.

use iresnet::graph::NodeId;

use crate::node::{Made, Node, from_front};

/// The operator's results, if it is one of these.
pub(crate) fn build(node: &mut Node<'_>, operator: &str) -> Option<Made> {
    if operator == "Split" {
        return Some(split(node));
    }
    let made = match operator {
        "Reshape" => reshape(node),
        "Flatten" => flatten(node),
        "Squeeze" | "Unsqueeze" => reshape_to_output(node),
        "Transpose" => transpose(node),
        "Expand" => expand(node),
        "Tile" => tile(node),
        "Upsample" => upsample(node),
        "Concat" => concat(node),
        "Slice" => slice(node),
        "Gather" => gather(node),
        "Pad" => pad(node),
        "CenterCropPad" => center(node),
        "SpaceToDepth" => space_to_depth(node),
        "DepthToSpace" => depth_to_space(node),
        "OneHot" => one_hot(node),
        _ => return None,
    };
    Some(made.map(|x| vec![x]))
}

fn reshape(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let from = node.shape(x);
    let wanted = node.ints(1)?;
    let keeps = node.int("allowzero", 0) == 0;
    let mut shape: Vec<usize> = Vec::new();
    for (axis, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            0 if keeps => from[axis],
            -1 => 1,
            extent => extent as usize,
        });
    }
    if let Some(free) = wanted.iter().position(|&extent| extent == -1) {
        shape[free] = from.iter().product::<usize>() / shape.iter().product::<usize>();
    }
    Ok(node.g.reshape(x, shape))
}

fn flatten(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let shape = node.shape(x);
    let axis = node.axis(1, shape.len());
    let rows = shape[..axis].iter().product::<usize>();
    Ok(node.g.reshape(x, [rows, shape.iter().product::<usize>() / rows]))
}

/// Axes of extent one dropped or added: the same elements under the shape that the case states.
fn reshape_to_output(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let from = node.shape(x);
    let squeezes = node.case.operators[0] == "Squeeze";
    let axes = if node.has(1) { node.ints(1)? } else { node.list("axes").unwrap_or_default() };
    let rank = if squeezes { from.len() } else { from.len() + axes.len() };
    let axes: Vec<usize> = axes.into_iter().map(|axis| from_front(axis, rank)).collect();
    let mut rest = from.iter().copied();
    let shape: Vec<usize> = if squeezes {
        let dropped = |axis: usize| if axes.is_empty() { from[axis] == 1 } else { axes.contains(&axis) };
        (0..rank).filter(|&axis| !dropped(axis)).map(|axis| from[axis]).collect()
    } else {
        (0..rank).filter_map(|axis| if axes.contains(&axis) { Some(1) } else { rest.next() }).collect()
    };
    Ok(node.g.reshape(x, shape))
}

fn transpose(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let rank = node.rank(x);
    let order = node.list("perm").unwrap_or_else(|| (0..rank as i64).rev().collect());
    let order: Vec<usize> = order.into_iter().map(|axis| axis as usize).collect();
    Ok(node.g.permute(x, &order))
}

fn expand(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let wanted: Vec<usize> = node.ints(1)?.into_iter().map(|extent| extent as usize).collect();
    let one = node.g.constant(1.0, wanted);
    // A product with ones is simplified away after both sides have been broadcast.
    Ok(node.g.mul(x, one))
}

/// Every axis repeated as a whole.
fn tile(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let times = node.ints(1)?;
    repeat(node, x, &times, true)
}

/// Every element repeated along its axes.
fn upsample(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let scales = node.numbers(1)?;
    if node.text("mode") != "nearest" || scales.iter().any(|scale| scale.fract() != 0.0) {
        return Err("only whole factors and the nearest pixel".into());
    }
    let times: Vec<i64> = scales.into_iter().map(|scale| scale as i64).collect();
    repeat(node, x, &times, false)
}

fn repeat(node: &mut Node<'_>, x: NodeId, times: &[i64], outside: bool) -> Made<NodeId> {
    let shape = node.shape(x);
    let pair = |extent: usize, other: usize| if outside { [other, extent] } else { [extent, other] };
    let apart: Vec<usize> = shape.iter().flat_map(|&extent| pair(extent, 1)).collect();
    let wide: Vec<usize> = shape.iter().zip(times).flat_map(|(&extent, &n)| pair(extent, n as usize)).collect();
    let to: Vec<usize> = shape.iter().zip(times).map(|(&extent, &n)| extent * n as usize).collect();
    let x = node.g.reshape(x, apart);
    let x = node.g.broadcast(x, wide);
    Ok(node.g.reshape(x, to))
}

fn concat(node: &mut Node<'_>) -> Made<NodeId> {
    let parts = node.all()?;
    let axis = node.axis(0, node.rank(parts[0]));
    Ok(node.g.concat(&parts, axis))
}

fn split(node: &mut Node<'_>) -> Made {
    let x = node.x(0)?;
    let axis = node.axis(0, node.rank(x));
    let extent = node.shape(x)[axis];
    let sizes: Vec<usize> = if node.has(1) {
        node.ints(1)?.into_iter().map(|size| size as usize).collect()
    } else {
        let count = node.outputs();
        let size = extent.div_ceil(count);
        (0..count).map(|part| size.min(extent - part * size)).collect()
    };
    let mut start = 0;
    let mut parts = Vec::new();
    for size in sizes {
        parts.push(node.g.slice_axis(x, axis, start, start + size));
        start += size;
    }
    Ok(parts)
}

/// Elements `start`, `start + step`, … along an axis.
pub(crate) fn strided(node: &mut Node<'_>, x: NodeId, axis: usize, [start, count, step]: [usize; 3]) -> NodeId {
    let x = node.g.slice_axis(x, axis, start, start + (count - 1) * step + 1);
    if step == 1 {
        return x;
    }
    let mut shape = node.shape(x);
    let mut high = vec![0; shape.len()];
    high[axis] = step - 1;
    let x = node.g.pad(x, &vec![0; shape.len()], &high);
    shape[axis] = count;
    let to = shape.clone();
    shape.insert(axis + 1, step);
    let x = node.g.reshape(x, shape);
    let x = node.g.slice_axis(x, axis + 1, 0, 1);
    node.g.reshape(x, to)
}

fn slice(node: &mut Node<'_>) -> Made<NodeId> {
    let mut x = node.x(0)?;
    let rank = node.rank(x);
    let (starts, ends) = (node.ints(1)?, node.ints(2)?);
    let axes = if node.has(3) { node.ints(3)? } else { (0..starts.len() as i64).collect() };
    let steps = if node.has(4) { node.ints(4)? } else { vec![1; starts.len()] };
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        if step < 0 {
            return Err("a slice runs backwards".into());
        }
        let axis = from_front(axis, rank);
        let extent = node.shape(x)[axis] as i64;
        let within = |at: i64| (if at < 0 { at + extent } else { at }).clamp(0, extent) as usize;
        let (start, end, step) = (within(start), within(end), step as usize);
        if start >= end {
            return Err("a tensor is empty".into());
        }
        x = strided(node, x, axis, [start, (end - start).div_ceil(step), step]);
    }
    Ok(x)
}

/// The elements with these indices along an axis.
fn pick(node: &mut Node<'_>, x: NodeId, axis: usize, indices: &[usize]) -> NodeId {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &index in indices {
        match runs.last_mut() {
            Some((_, end)) if *end == index => *end += 1,
            _ => runs.push((index, index + 1)),
        }
    }
    let parts: Vec<NodeId> = runs.into_iter().map(|(start, end)| node.g.slice_axis(x, axis, start, end)).collect();
    node.g.concat(&parts, axis)
}

/// Indices that are known when the graph is built.
fn gather(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let shape = node.shape(x);
    let axis = node.axis(0, shape.len());
    let extent = shape[axis];
    let indices: Vec<usize> = node.ints(1)?.into_iter().map(|index| from_front(index, extent)).collect();
    let of_indices = node.case.inputs[1].as_ref().and_then(|tensor| tensor.shape.clone()).unwrap_or_default();
    let picked = pick(node, x, axis, &indices);
    Ok(node.g.reshape(picked, [&shape[..axis], &of_indices, &shape[axis + 1..]].concat()))
}

fn pad(node: &mut Node<'_>) -> Made<NodeId> {
    let mut x = node.x(0)?;
    let rank = node.rank(x);
    let pads = node.ints(1)?;
    let value = if node.has(2) { node.numbers(2)?.first().copied().unwrap_or(0.0) } else { 0.0 };
    let axes = if node.has(3) { node.ints(3)? } else { (0..rank as i64).collect() };
    let mode = node.text("mode").to_string();
    let (mut low, mut high) = (vec![0; rank], vec![0; rank]);
    for (number, &axis) in axes.iter().enumerate() {
        let axis = from_front(axis, rank);
        (low[axis], high[axis]) = (pads[number], pads[axes.len() + number]);
    }
    if low.iter().chain(&high).any(|&extra| extra < 0) {
        return Err("padding takes away".into());
    }
    let sizes = |list: &[i64]| list.iter().map(|&extra| extra as usize).collect::<Vec<_>>();
    let (low, high) = (sizes(&low), sizes(&high));
    if matches!(mode.as_str(), "" | "constant") {
        return Ok(padded(node, x, &low, &high, value));
    }
    for axis in 0..rank {
        let extent = node.shape(x)[axis] as i64;
        let source = |at: i64| match mode.as_str() {
            "edge" => at.clamp(0, extent - 1),
            "wrap" => at.rem_euclid(extent),
            _ => {
                let at = at.rem_euclid(2 * extent - 2);
                at.min(2 * extent - 2 - at)
            }
        };
        let range = -(low[axis] as i64)..extent + high[axis] as i64;
        let indices: Vec<usize> = range.map(|at| source(at) as usize).collect();
        x = pick(node, x, axis, &indices);
    }
    Ok(x)
}

/// x with `value` around.
pub(crate) fn padded(node: &mut Node<'_>, x: NodeId, low: &[usize], high: &[usize], value: f64) -> NodeId {
    let wide = node.g.pad(x, low, high);
    if value == 0.0 || wide == x {
        return wide;
    }
    let one = node.g.scalar_like(1.0, x);
    let inside = node.g.pad(one, low, high);
    let around = node.g.scalar_like(value, wide);
    node.g.select(inside, wide, around)
}

fn center(node: &mut Node<'_>) -> Made<NodeId> {
    let mut x = node.x(0)?;
    let rank = node.rank(x);
    let axes = node.list("axes").unwrap_or_else(|| (0..rank as i64).collect());
    for (axis, wanted) in axes.into_iter().zip(node.ints(1)?) {
        let axis = from_front(axis, rank);
        let (extent, wanted) = (node.shape(x)[axis], wanted as usize);
        if wanted <= extent {
            let start = (extent - wanted) / 2;
            x = node.g.slice_axis(x, axis, start, start + wanted);
        } else {
            let (mut low, mut high) = (vec![0; rank], vec![0; rank]);
            low[axis] = (wanted - extent) / 2;
            high[axis] = wanted - extent - low[axis];
            x = node.g.pad(x, &low, &high);
        }
    }
    Ok(x)
}

fn space_to_depth(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let b = node.int("blocksize", 1) as usize;
    let [n, c, h, w] = images(node, x)?;
    let order = if node.text("mode") == "CRD" { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    let x = node.g.reshape(x, [n, c, h / b, b, w / b, b]);
    let x = node.g.permute(x, &order);
    Ok(node.g.reshape(x, [n, c * b * b, h / b, w / b]))
}

fn depth_to_space(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let b = node.int("blocksize", 1) as usize;
    let [n, c, h, w] = images(node, x)?;
    let fewer = c / (b * b);
    let crd = node.text("mode") == "CRD";
    let apart = if crd { [n, fewer, b, b, h, w] } else { [n, b, b, fewer, h, w] };
    let order = if crd { [0, 1, 4, 2, 5, 3] } else { [0, 3, 4, 1, 5, 2] };
    let x = node.g.reshape(x, apart);
    let x = node.g.permute(x, &order);
    Ok(node.g.reshape(x, [n, fewer, h * b, w * b]))
}

/// Extents of a tensor of rank four.
pub(crate) fn images(node: &Node<'_>, x: NodeId) -> Made<[usize; 4]> {
    let shape = node.shape(x);
    shape.try_into().map_err(|shape: Vec<usize>| format!("it works on {} axes, convolutions have two", shape.len() - 2))
}

fn one_hot(node: &mut Node<'_>) -> Made<NodeId> {
    let indices = node.any(0)?;
    let depth = node.numbers(1)?[0];
    let values = node.numbers(2)?;
    let mut shape = node.shape(indices);
    let axis = from_front(node.int("axis", -1), shape.len() + 1);
    let mut thin = shape.clone();
    thin.insert(axis, 1);
    shape.insert(axis, depth as usize);
    let zero = node.g.scalar_like(0.0, indices);
    let below = node.g.less(indices, zero);
    let more = node.g.add_scalar(indices, depth);
    let index = node.g.select(below, more, indices);
    let index = node.g.reshape(index, thin);
    let places = node.g.iota(shape, axis);
    let hot = node.g.equal(places, index);
    let (on, off) = (node.scalar(values[1]), node.scalar(values[0]));
    Ok(node.g.select(hot, on, off))
}
