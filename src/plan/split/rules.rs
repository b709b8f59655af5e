//! How some rows of an op's result are computed from as few rows of its operands.

use super::{Splitter, leading, rows, with_rows};
use crate::graph::NodeId;
use crate::ops::Op;
use crate::ops::arrange::{Pad, Permute, Slice};
use crate::ops::conv2d::{Conv2d, Geometry, Role};
use crate::ops::join::Join;
use crate::ops::matmul::MatMul;
use crate::ops::reduce::{Kind, Reduce};

/// A result, or why there is none.
type Made = Result<NodeId, String>;

impl Splitter<'_> {
    /// Whether rows of the result need only rows of the large operands. Otherwise the op goes through all of them for
    /// any part of its result, which is then computed at once.
    pub(super) fn follows_rows(&self, id: NodeId) -> bool {
        let node = self.from.node(id);
        match &node.op {
            Op::Reduce(reduce) => {
                leading(self.from.shape(node.inputs[0])).is_some_and(|axis| !reduce.axes.contains(&axis))
            }
            Op::Conv2d(op) => op.role != Role::WeightGrad,
            Op::MatMul(op) => node.shape[0] > 1 || (self.is_large(node.inputs[0]) && !op.transpose_a),
            _ => true,
        }
    }

    /// The rows from `start` to `end` of the result of `id`.
    pub(super) fn rule(&mut self, id: NodeId, start: usize, end: usize) -> Made {
        let from = self.from;
        let node = from.node(id);
        let shape = with_rows(&node.shape, end - start);
        let row = node.shape.len() / rows(&node.shape);
        match &node.op {
            Op::Constant(constant) => Ok(self.to.constant(constant.value.get(), shape)),
            Op::Iota(iota) => {
                let index = self.to.iota(shape, iota.axis);
                let first = if leading(&node.shape) == Some(iota.axis) { start } else { 0 };
                Ok(self.to.add_scalar(index, first as f64))
            }
            Op::Random(random) => {
                let key = self.whole(node.inputs[0])?;
                Ok(self.to.random_from(random.distribution, key, shape, random.offset + start * row))
            }
            Op::Unary(_) | Op::Binary(_) | Op::Select(_) => {
                let operands = node.inputs.iter().map(|&input| self.rows(input, start, end));
                let operands = operands.collect::<Result<Vec<NodeId>, String>>()?;
                Ok(self.to.add_node(node.op.clone(), &operands))
            }
            Op::Reshape(_) => {
                let flat = self.range(node.inputs[0], start * row, end * row)?;
                Ok(self.to.reshape(flat, shape))
            }
            Op::Broadcast(_) => {
                let source = from.shape(node.inputs[0]);
                let repeated = leading(&node.shape).is_none_or(|axis| source[axis] == 1);
                let operand =
                    if repeated { self.whole(node.inputs[0])? } else { self.rows(node.inputs[0], start, end)? };
                Ok(self.to.broadcast(operand, shape))
            }
            Op::Permute(op) => self.permute(id, op, start, end),
            Op::Slice(op) => self.slice(id, op, start, end),
            Op::Pad(op) => self.pad(id, op, start, end),
            Op::Join(op) => self.part(id, op, start, end),
            Op::Reduce(op) => self.reduce(id, op, start, end),
            Op::MatMul(op) => self.matmul(id, *op, start, end),
            Op::Conv2d(op) => match op.role {
                Role::WeightGrad => self.weight_grad(id, *op, start, end),
                Role::Output | Role::InputGrad => {
                    let geometry = Geometry { batch: end - start, ..op.geometry };
                    if op.geometry.batch == 1 {
                        return Err(self.cannot(id, "it is a convolution of a single image"));
                    }
                    let images = self.rows(node.inputs[0], start, end)?;
                    let weight = self.small(id, node.inputs[1])?;
                    Ok(self.to.add_node(Op::Conv2d(Conv2d { geometry, ..*op }), &[images, weight]))
                }
            },
            Op::Input(_) | Op::Get(_) | Op::Stack(_) | Op::Call(_) | Op::Iterate(_) => {
                unreachable!("{} has its memory from elsewhere", node.op.label())
            }
        }
    }

    /// The elements from `start` to `end` of a node, in order, as a vector.
    fn range(&mut self, id: NodeId, start: usize, end: usize) -> Made {
        let shape = self.from.shape(id);
        let row = shape.len() / rows(shape);
        let (first, last) = (start / row, end.div_ceil(row));
        let around = self.rows(id, first, last)?;
        let flat = self.to.reshape(around, [(last - first) * row]);
        Ok(self.to.slice_axis(flat, 0, start - first * row, end - first * row))
    }

    /// An operand that must be bound whole.
    fn small(&mut self, id: NodeId, operand: NodeId) -> Made {
        if self.is_large(operand) {
            let shape = self.from.shape(operand);
            return Err(self.cannot(id, &format!("every part of it needs all of its operand of shape {shape}")));
        }
        self.whole(operand)
    }

    fn permute(&mut self, id: NodeId, op: &Permute, start: usize, end: usize) -> Made {
        let node = self.from.node(id);
        let source = node.inputs[0];
        let lead = leading(self.from.shape(source)).unwrap_or_default();
        let axis = op.order[leading(&node.shape).unwrap_or_default()];
        if axis == lead {
            let operand = self.rows(source, start, end)?;
            return Ok(self.to.permute(operand, &op.order));
        }
        // Rows of the result cross all rows of the operand: a part from each chunk.
        let mut parts = Vec::new();
        for (first, last) in self.cut(source)? {
            let chunk = self.rows(source, first, last)?;
            let crossed = self.to.slice_axis(chunk, axis, start, end);
            parts.push(self.to.permute(crossed, &op.order));
        }
        let along = op.order.iter().position(|&axis| axis == lead).unwrap_or_default();
        Ok(self.to.concat(&parts, along))
    }

    fn slice(&mut self, id: NodeId, op: &Slice, start: usize, end: usize) -> Made {
        let node = self.from.node(id);
        let source = node.inputs[0];
        let lead = leading(self.from.shape(source)).unwrap_or_default();
        let (mut low, mut high) = (op.start.clone(), op.end.clone());
        if let Some(axis) = leading(&node.shape) {
            (low[axis], high[axis]) = (op.start[axis] + start, op.start[axis] + end);
        }
        let operand = self.rows(source, low[lead], high[lead])?;
        (low[lead], high[lead]) = (0, high[lead] - low[lead]);
        Ok(self.to.slice(operand, &low, &high))
    }

    fn pad(&mut self, id: NodeId, op: &Pad, start: usize, end: usize) -> Made {
        let node = self.from.node(id);
        let source = node.inputs[0];
        let Some(axis) = leading(&node.shape) else {
            let operand = self.whole(source)?;
            return Ok(self.to.pad(operand, &op.low, &op.high));
        };
        let count = self.from.shape(source)[axis];
        let (low, stop) = (op.low[axis], op.low[axis] + count);
        let (first, last) = (start.max(low), end.min(stop));
        if first >= last {
            return Ok(self.to.constant(0.0, with_rows(&node.shape, end - start)));
        }
        // An operand of one row along this axis is led by another.
        let operand = if count == 1 { self.whole(source)? } else { self.rows(source, first - low, last - low)? };
        let (mut before, mut after) = (op.low.clone(), op.high.clone());
        (before[axis], after[axis]) = (first - start, end - last);
        Ok(self.to.pad(operand, &before, &after))
    }

    fn part(&mut self, id: NodeId, op: &Join, start: usize, end: usize) -> Made {
        let node = self.from.node(id);
        let row = node.shape.len() / rows(&node.shape);
        let (start, end) = (start * row, end * row);
        let mut at = 0;
        let mut parts = Vec::new();
        for &part in &node.inputs {
            let next = at + self.from.shape(part).len();
            if at < end && start < next {
                parts.push(self.range(part, start.max(at) - at, end.min(next) - at)?);
            }
            at = next;
        }
        let flat = self.to.concat(&parts, 0);
        Ok(self.to.reshape(flat, with_rows(&op.shape, (end - start) / row)))
    }

    fn reduce(&mut self, id: NodeId, op: &Reduce, start: usize, end: usize) -> Made {
        let node = self.from.node(id);
        let source = node.inputs[0];
        if self.follows_rows(id) {
            let operand = self.rows(source, start, end)?;
            return Ok(self.reduced(op, operand));
        }
        let mut total = None;
        for (first, last) in self.cut(source)? {
            let mut chunk = self.rows(source, first, last)?;
            if let Some(axis) = leading(&node.shape) {
                chunk = self.to.slice_axis(chunk, axis, start, end);
            }
            let value = self.reduced(op, chunk);
            total = Some(total.map_or(value, |total| match op.kind {
                Kind::Sum => self.to.add(total, value),
                Kind::Max => self.to.max(total, value),
            }));
        }
        Ok(total.expect("a node has at least one chunk"))
    }

    fn reduced(&mut self, op: &Reduce, operand: NodeId) -> NodeId {
        match op.kind {
            Kind::Sum => self.to.sum_keep(operand, &op.axes),
            Kind::Max => self.to.max_keep(operand, &op.axes),
        }
    }

    fn matmul(&mut self, id: NodeId, op: MatMul, start: usize, end: usize) -> Made {
        let node = self.from.node(id);
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let g = op.geometry(self.from.shape(a), self.from.shape(b));
        if g.batch > 1 {
            let operands = [self.rows(a, start, end)?, self.rows(b, start, end)?];
            return Ok(self.to.add_node(node.op.clone(), &operands));
        }
        // One product: rows of it, or columns where it is a row.
        let (rows, columns) = if g.m > 1 { ((start, end), (0, g.n)) } else { ((0, 1), (start, end)) };
        let whole = |length: usize| vec![(0, length)];
        let inner = match () {
            () if op.transpose_a && self.is_large(a) => self.cut(a)?,
            () if !op.transpose_b && self.is_large(b) => self.cut(b)?,
            () => whole(g.k),
        };
        let across = if op.transpose_b && self.is_large(b) { self.cut(b)? } else { whole(g.n) };
        let mut parts = Vec::new();
        for (first, last) in across {
            let (first, last) = (first.max(columns.0), last.min(columns.1));
            if first >= last {
                continue;
            }
            let mut total = None;
            for &terms in &inner {
                let of_a = if op.transpose_a { [terms, rows] } else { [rows, terms] };
                let of_b = if op.transpose_b { [(first, last), terms] } else { [terms, (first, last)] };
                let operands = [self.matrix(a, of_a)?, self.matrix(b, of_b)?];
                let product = self.to.add_node(node.op.clone(), &operands);
                total = Some(total.map_or(product, |total| self.to.add(total, product)));
            }
            parts.extend(total);
        }
        Ok(self.to.concat(&parts, 2))
    }

    /// Ranges of the last two axes of a node of shape `[1, …, …]`.
    fn matrix(&mut self, id: NodeId, [(top, bottom), (left, right)]: [(usize, usize); 2]) -> Made {
        let leads = leading(self.from.shape(id)) == Some(1);
        let (operand, top, bottom) =
            if leads { (self.rows(id, top, bottom)?, 0, bottom - top) } else { (self.whole(id)?, top, bottom) };
        Ok(self.to.slice(operand, &[0, top, left], &[1, bottom, right]))
    }

    fn weight_grad(&mut self, id: NodeId, op: Conv2d, start: usize, end: usize) -> Made {
        let g = op.geometry;
        let node = self.from.node(id);
        let (x, y) = (node.inputs[0], node.inputs[1]);
        if self.is_large(id) || end - start != rows(&node.shape) {
            return Err(self.cannot(id, "it is a gradient in weights"));
        }
        let operand = if self.is_large(y) { y } else { x };
        if g.batch == 1 {
            return Err(self.cannot(id, "it is the gradient of a convolution of a single image"));
        }
        let mut total = None;
        for (first, last) in self.cut(operand)? {
            let fits = |images: &usize| !self.has_large_partials(&Geometry { batch: *images, ..g });
            let Some(images) = (1..=last - first).rev().find(fits) else {
                return Err(self.cannot(id, "its partial sums of a single image are too large"));
            };
            let images = (last - first).div_ceil((last - first).div_ceil(images));
            for first in (first..last).step_by(images) {
                let last = last.min(first + images);
                let operands = [self.rows(x, first, last)?, self.rows(y, first, last)?];
                let geometry = Geometry { batch: last - first, ..g };
                let gradient = self.to.add_node(Op::Conv2d(Conv2d { geometry, ..op }), &operands);
                total = Some(total.map_or(gradient, |total| self.to.add(total, gradient)));
            }
        }
        Ok(total.expect("a node has at least one chunk"))
    }
}
