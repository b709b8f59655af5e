//! Ops that move elements.

use super::{Builder, Draw, Sample};

pub(super) fn collect(draw: &mut Draw, all: &mut Vec<Sample>) {
    reshapes(draw, all);
    permutes(draw, all);
    broadcasts(draw, all);
    boxes(draw, all);
    stacks(draw, all);
    joins(draw, all);
    views_of_views(draw, all);
}

/// All orders of `rank` axes.
fn orders(rank: usize) -> Vec<Vec<usize>> {
    if rank == 0 {
        return vec![vec![]];
    }
    let shorter = orders(rank - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, rank - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..rank).map(move |at| insert(order, at))).collect()
}

fn reshapes(draw: &mut Draw, all: &mut Vec<Sample>) {
    let pairs: [(&[usize], &[usize]); 7] = [
        (&[2, 3, 4], &[24]),
        (&[24], &[2, 3, 2, 2]),
        (&[6, 4], &[4, 6]),
        (&[1, 5, 1], &[5]),
        (&[3], &[1, 3, 1, 1]),
        (&[1, 1], &[]),
        (&[], &[1, 1, 1]),
    ];
    for (from, to) in pairs {
        let mut b = Builder::new(draw);
        let x = b.moderate(from);
        let y = b.graph.reshape(x, to);
        let y = b.graph.square(y);
        all.push(b.finish(format!("reshape {from:?} to {to:?}"), &[y]));
    }
}

fn permutes(draw: &mut Draw, all: &mut Vec<Sample>) {
    let chosen = [[3, 2, 1, 0], [0, 2, 3, 1], [0, 3, 1, 2], [1, 0, 3, 2], [2, 0, 3, 1]].map(Vec::from);
    for order in orders(2).into_iter().chain(orders(3)).chain(chosen) {
        let mut b = Builder::new(draw);
        let x = b.moderate(&[2, 3, 4, 5][..order.len()]);
        let y = b.graph.permute(x, &order);
        let y = b.graph.square(y);
        all.push(b.finish(format!("permute {order:?}"), &[y]));
    }
    let mut b = Builder::new(draw);
    let x = b.moderate([2, 1, 3]);
    let y = b.graph.permute(x, &[1, 2, 0]);
    all.push(b.finish("permute with an axis of one", &[y]));
}

fn broadcasts(draw: &mut Draw, all: &mut Vec<Sample>) {
    let pairs: [(&[usize], &[usize]); 8] = [
        (&[], &[2, 3]),
        (&[1], &[7]),
        (&[3], &[2, 3]),
        (&[2, 1], &[2, 3]),
        (&[1, 3, 1, 1], &[2, 3, 4, 2]),
        (&[2, 1, 4, 1], &[2, 3, 4, 5]),
        (&[1, 1, 1], &[2, 3, 4]),
        (&[3, 1], &[2, 3, 1]),
    ];
    for (from, to) in pairs {
        let mut b = Builder::new(draw);
        let x = b.moderate(from);
        let y = b.graph.broadcast(x, to);
        let z = b.graph.square(y);
        all.push(b.finish(format!("broadcast {from:?} to {to:?}"), &[y, z]));
    }
}

type Box = (&'static [usize], &'static [usize], &'static [usize]);

fn boxes(draw: &mut Draw, all: &mut Vec<Sample>) {
    let slices: [Box; 7] = [
        (&[7], &[2], &[5]),
        (&[4, 5], &[0, 1], &[4, 3]),
        (&[4, 5], &[3, 0], &[4, 5]),
        (&[2, 3, 4], &[1, 1, 1], &[2, 3, 3]),
        (&[2, 6, 3, 3], &[0, 2, 0, 0], &[2, 5, 3, 3]),
        (&[2, 3, 5, 5], &[0, 0, 1, 2], &[2, 3, 4, 5]),
        (&[3, 64], &[1, 0], &[2, 64]),
    ];
    for (shape, start, end) in slices {
        let mut b = Builder::new(draw);
        let x = b.moderate(shape);
        let y = b.graph.slice(x, start, end);
        let y = b.graph.square(y);
        all.push(b.finish(format!("slice {shape:?} {start:?}..{end:?}"), &[y]));
    }
    let pads: [Box; 6] = [
        (&[3], &[2], &[0]),
        (&[3], &[0], &[4]),
        (&[2, 3], &[1, 0], &[0, 2]),
        (&[1, 1], &[1, 2], &[2, 1]),
        (&[2, 2, 3, 3], &[0, 0, 1, 1], &[0, 0, 1, 1]),
        (&[2, 3, 2, 2], &[0, 0, 0, 0], &[0, 5, 0, 0]),
    ];
    for (shape, low, high) in pads {
        let mut b = Builder::new(draw);
        let x = b.moderate(shape);
        let y = b.graph.pad(x, low, high);
        let y = b.graph.square(y);
        all.push(b.finish(format!("pad {shape:?} {low:?} {high:?}"), &[y]));
    }
    for axis in 0..2 {
        let mut b = Builder::new(draw);
        let (x, y, z) = (b.moderate([2, 3]), b.moderate([2, 3]), b.moderate([2, 3]));
        let joined = b.graph.concat(&[x, y, z, x], axis);
        let joined = b.graph.square(joined);
        all.push(b.finish(format!("concat axis {axis}"), &[joined]));
    }
}

fn stacks(draw: &mut Draw, all: &mut Vec<Sample>) {
    // Parts that lie in a row on a device or do not, one that occurs twice, and parts computed before.
    for shape in [vec![1], vec![3, 2], vec![2, 64], vec![64]] {
        let mut b = Builder::new(draw);
        let (x, y) = (b.moderate(&shape[..]), b.moderate(&shape[..]));
        let product = b.graph.mul(x, y);
        let whole = b.graph.stack(&[x, product, y, x]);
        let curved = b.graph.square(whole);
        all.push(b.finish(format!("stack {shape:?}"), &[whole, curved]));
    }
}

fn joins(draw: &mut Draw, all: &mut Vec<Sample>) {
    // Parts of one shape, the last one shorter, of which one is an input, one is computed for the join alone, and one
    // is used elsewhere too.
    let mut b = Builder::new(draw);
    let (x, y, z) = (b.moderate([2, 32]), b.moderate([2, 32]), b.moderate([1, 32]));
    let (curved, sum) = (b.graph.tanh(y), b.graph.add(x, y));
    let joined = b.graph.join(&[x, curved, sum, z], [7, 32]);
    let square = b.graph.square(joined);
    let used = b.graph.square(sum);
    all.push(b.finish("join", &[joined, square, used]));

    // A part twice, and a part that another part is computed from: they cannot all lie in the result's memory.
    let mut b = Builder::new(draw);
    let x = b.moderate([1, 64, 1]);
    let first = b.graph.tanh(x);
    let summed = b.graph.matmul(first, x, false, true);
    let joined = b.graph.join(&[first, summed, first], [66, 64]);
    all.push(b.finish("join of dependent parts", &[joined]));
}

fn views_of_views(draw: &mut Draw, all: &mut Vec<Sample>) {
    // Squeeze: 2×2 pixels become channels; and back.
    let mut b = Builder::new(draw);
    let x = b.moderate([2, 3, 4, 6]);
    let split = b.graph.reshape(x, [2, 3, 2, 2, 3, 2]);
    let moved = b.graph.permute(split, &[0, 1, 3, 5, 2, 4]);
    let squeezed = b.graph.reshape(moved, [2, 12, 2, 3]);
    let curved = b.graph.tanh(squeezed);
    let split = b.graph.reshape(curved, [2, 3, 2, 2, 2, 3]);
    let moved = b.graph.permute(split, &[0, 1, 4, 2, 5, 3]);
    let back = b.graph.reshape(moved, [2, 3, 4, 6]);
    all.push(b.finish("squeeze and back", &[squeezed, back]));

    let mut b = Builder::new(draw);
    let x = b.moderate([3, 4]);
    let turned = b.graph.permute(x, &[1, 0]);
    let padded = b.graph.pad(turned, &[1, 0], &[1, 2]);
    let cut = b.graph.slice(padded, &[0, 1], &[4, 5]);
    let flat = b.graph.reshape(cut, [2, 8]);
    let row = b.graph.slice_axis(flat, 0, 1, 2);
    let spread = b.graph.broadcast(row, [3, 8]);
    let y = b.graph.mul(spread, spread);
    all.push(b.finish("a view of views", &[y, cut]));
}
