//! Reductions, matrix products, convolutions.

use super::{Builder, Draw, Sample};
use crate::ops::Op;
use crate::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use crate::shape::Shape;

pub(super) fn collect(draw: &mut Draw, all: &mut Vec<Sample>) {
    reductions(draw, all);
    products(draw, all);
    convolutions(draw, all);
}

fn reductions(draw: &mut Draw, all: &mut Vec<Sample>) {
    let cases: [(&[usize], &[usize]); 14] = [
        (&[7], &[0]),
        (&[1], &[0]),
        (&[3, 4], &[0]),
        (&[3, 4], &[1]),
        (&[3, 4], &[0, 1]),
        (&[3, 4], &[1, 0]),
        (&[1, 4], &[0]),
        (&[1, 4], &[0, 1]),
        (&[2, 3, 4], &[1]),
        (&[2, 3, 4], &[0, 2]),
        (&[2, 3, 2, 2], &[0, 2, 3]),
        (&[2, 3, 2, 2], &[1, 2, 3]),
        (&[2, 1, 3, 1], &[1, 2]),
        (&[3, 97], &[1]),
    ];
    for (shape, axes) in cases {
        let mut b = Builder::new(draw);
        let x = b.moderate(shape);
        let (kept, dropped) = (b.graph.sum_keep(x, axes), b.graph.sum(x, axes));
        let squared = b.graph.square(dropped);
        all.push(b.finish(format!("sum {shape:?} over {axes:?}"), &[kept, dropped, squared]));

        let mut b = Builder::new(draw);
        let value = b.draw.distinct(&Shape::from(shape), 0.02);
        let x = b.variable(value);
        let (kept, dropped) = (b.graph.max_keep(x, axes), b.graph.max_over(x, axes));
        let squared = b.graph.square(dropped);
        all.push(b.finish(format!("max {shape:?} over {axes:?}"), &[kept, squared]));
    }
    // Equal maxima have no derivative, all elements negative must not meet a zero start.
    let mut b = Builder::new(draw);
    let x = b.draw.between(&Shape::from([3, 2]), -2.0, -1.0);
    let x = b.fixed(x);
    let twice = b.graph.concat(&[x, x], 1);
    let y = b.graph.max_over(twice, &[1]);
    all.push(b.finish("max over ties", &[y]));
}

fn products(draw: &mut Draw, all: &mut Vec<Sample>) {
    for [batch, m, n, k] in [[1, 2, 3, 4], [3, 4, 2, 3], [1, 1, 1, 1], [2, 5, 1, 2], [1, 1, 7, 1], [2, 1, 2, 9]] {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut b = Builder::new(draw);
            let x = b.moderate(if ta { [batch, k, m] } else { [batch, m, k] });
            let y = b.moderate(if tb { [batch, n, k] } else { [batch, k, n] });
            let z = b.graph.matmul(x, y, ta, tb);
            all.push(b.finish(format!("matmul {batch}×{m}×{n}×{k} {ta} {tb}"), &[z]));
        }
    }
    let mut b = Builder::new(draw);
    let x = b.moderate([1, 3, 3]);
    let square = b.graph.matmul(x, x, false, false);
    let gram = b.graph.matmul(x, x, true, false);
    all.push(b.finish("matmul with itself", &[square, gram]));
    let mut b = Builder::new(draw);
    let (x, w) = (b.moderate([4, 3]), b.moderate([2, 3]));
    let y = b.graph.linear(x, w);
    all.push(b.finish("linear", &[y]));
}

/// `[batch, groups, in, out, height, width, kernel height, kernel width, stride, pad height, pad width]`.
const CONVOLUTIONS: [[usize; 11]; 16] = [
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
    [2, 1, 3, 4, 5, 5, 3, 3, 1, 1, 1],
    [3, 1, 5, 2, 3, 3, 1, 1, 1, 0, 0],
    // Strides, with and without pixels that no window reaches.
    [2, 1, 2, 3, 6, 5, 3, 3, 2, 1, 1],
    [1, 1, 2, 2, 6, 8, 3, 3, 2, 0, 0],
    [1, 1, 2, 2, 7, 8, 3, 2, 3, 0, 1],
    [2, 1, 3, 2, 5, 4, 1, 1, 2, 0, 0],
    [1, 1, 1, 1, 8, 8, 2, 2, 3, 0, 0],
    // Kernels and paddings that differ between the axes.
    [1, 1, 2, 3, 4, 6, 1, 3, 1, 0, 1],
    [1, 1, 1, 2, 5, 7, 5, 3, 2, 2, 0],
    [1, 1, 2, 1, 3, 4, 4, 2, 1, 1, 0],
    // The kernel covers everything; the padding exceeds the image.
    [1, 1, 2, 2, 3, 4, 3, 4, 1, 0, 0],
    [1, 1, 1, 1, 2, 2, 3, 3, 1, 2, 2],
    // Groups.
    [2, 2, 2, 3, 5, 4, 3, 3, 1, 1, 1],
    [1, 4, 1, 1, 5, 5, 3, 3, 2, 1, 1],
    [1, 3, 2, 1, 4, 4, 2, 3, 3, 1, 0],
];

fn convolutions(draw: &mut Draw, all: &mut Vec<Sample>) {
    for sizes in CONVOLUTIONS {
        let [batch, groups, in_channels, out_channels, height, width, kh, kw, stride, ph, pw] = sizes;
        let geometry = Geometry {
            batch,
            groups,
            in_channels,
            out_channels,
            height,
            width,
            kernel: [kh, kw],
            stride,
            padding: [ph, pw],
        };
        for role in [Role::Output, Role::InputGrad, Role::WeightGrad] {
            let op = Op::Conv2d(Conv2d { role, geometry, precision: Precision::F32 });
            let (x, w, y) = (geometry.input_shape(), geometry.weight_shape(), geometry.output_shape());
            let (first, second) = match role {
                Role::Output => (x, w),
                Role::InputGrad => (y, w),
                Role::WeightGrad => (x, y),
            };
            let mut b = Builder::new(draw);
            let (first, second) = (b.moderate(&first), b.moderate(&second));
            let result = b.graph.add_node(op, &[first, second]);
            all.push(b.finish(format!("{role:?} of convolution {sizes:?}"), &[result]));
        }
    }
}
