//! Many tensors of one shape as one: what layers that are treated together want.
//!
//! A stack is flat, `[count·n]` for `count` tensors of n elements. On a device a tensor must begin at a multiple of 64
//! elements to be bound where it lies, so between its parts a stack has room on the way in and on the way out, where n is
//! no such multiple. Where n is one, and the parts lie in a row, nothing is copied or moved.

use crate::graph::{Function, FunctionRef, Graph, NodeId};

/// Elements at whose multiples a device can bind a part of a tensor.
const ROW: usize = 64;

/// `count` times `len` elements, each part moved to a multiple of [`ROW`], or back.
fn spaced(count: usize, len: usize, apart: bool) -> FunctionRef {
    let room = len.next_multiple_of(ROW) - len;
    let mut g = Graph::new();
    let result = if apart {
        let x = g.input("x", [count * len]);
        let rows = g.reshape(x, [count, len]);
        let rows = g.pad(rows, &[0, 0], &[0, room]);
        g.reshape(rows, [count * (len + room)])
    } else {
        let x = g.input("x", [count * (len + room)]);
        let rows = g.reshape(x, [count, len + room]);
        let rows = g.slice_axis(rows, 1, 0, len);
        g.reshape(rows, [count * len])
    };
    g.output("y", result);
    Function::new(if apart { "part" } else { "close up" }, g)
}

/// The tensors' elements one after the other.
#[track_caller]
pub(super) fn stack(g: &mut Graph, parts: &[NodeId]) -> NodeId {
    let len = g.shape(parts[0]).len();
    if parts.len() == 1 {
        return g.reshape(parts[0], [len]);
    }
    let rows: Vec<NodeId> = parts
        .iter()
        .map(|&part| {
            let flat = g.reshape(part, [len]);
            g.pad(flat, &[0], &[len.next_multiple_of(ROW) - len])
        })
        .collect();
    let whole = g.stack(&rows);
    if len.is_multiple_of(ROW) {
        return whole;
    }
    g.call(&spaced(parts.len(), len, false), &[whole])[0]
}

/// The `count` parts of a stack, flat, differentiable.
pub(super) fn unstack(g: &mut Graph, whole: NodeId, count: usize) -> Vec<NodeId> {
    if count == 1 {
        return vec![whole];
    }
    let len = g.shape(whole).len() / count;
    let whole = apart(g, whole, count);
    let rows = g.call(&split(count, len.next_multiple_of(ROW)), &[whole]);
    rows.into_iter().map(|row| g.slice_axis(row, 0, 0, len)).collect()
}

/// The `count` parts of a stack, flat: only to be stored, without a derivative worth the name.
pub(super) fn views(g: &mut Graph, whole: NodeId, count: usize) -> Vec<NodeId> {
    let len = g.shape(whole).len() / count;
    let whole = apart(g, whole, count);
    let row = g.shape(whole).len() / count;
    (0..count).map(|i| g.slice_axis(whole, 0, i * row, i * row + len)).collect()
}

fn apart(g: &mut Graph, whole: NodeId, count: usize) -> NodeId {
    let len = g.shape(whole).len() / count;
    if len.is_multiple_of(ROW) || count == 1 { whole } else { g.call(&spaced(count, len, true), &[whole])[0] }
}

/// The function that cuts a tensor into `count` parts of `len` elements. Its derivative stacks the cotangents: the sum of
/// padded parts that slices have would be many times dearer.
fn split(count: usize, len: usize) -> FunctionRef {
    let mut body = Graph::new();
    let x = body.input("x", [count * len]);
    for i in 0..count {
        let part = body.slice_axis(x, 0, i * len, (i + 1) * len);
        body.output(format!("part {i}"), part);
    }
    let mut vjp = Graph::new();
    vjp.input("x", [count * len]);
    for i in 0..count {
        vjp.input(format!("part {i}"), [len]);
    }
    let cotangents: Vec<NodeId> = (0..count).map(|i| vjp.input(format!("cotangent {i}"), [len])).collect();
    let whole = vjp.stack(&cotangents);
    vjp.output("cotangent", whole);
    Function::with_vjp("split", body, Function::new("split.backward", vjp))
}
