//! The interpreter against numbers worked out by hand, or by a formula that shares nothing with it. Everything else is
//! tested against the interpreter, so this is where the values come from.

use iresnet::graph::{Function, Graph, NodeId};
use iresnet::interpret::{Array, run};
use iresnet::ops::Op;
use iresnet::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use iresnet::ops::samples::Draw;
use iresnet::ops::unary::Unary;
use iresnet::random::{Distribution, Key};
use iresnet::shape::Shape;

/// Sums of fewer than a hundred products of moderate numbers in f64, in another order.
const SAME: f64 = 1e-13;

/// Known values are given to fifteen digits.
const DIGITS: f64 = 2e-15;

/// The first output of what `build` makes of inputs with these values.
fn eval(values: &[Array], build: impl FnOnce(&mut Graph, &[NodeId]) -> NodeId) -> Array {
    let mut g = Graph::new();
    let ids: Vec<NodeId> =
        values.iter().enumerate().map(|(number, value)| g.input(format!("x{number}"), value.shape())).collect();
    let y = build(&mut g, &ids);
    g.output("y", y);
    g.check().expect("a sound graph");
    run(&g, values.to_vec()).swap_remove(0)
}

fn array(shape: &[usize], data: &[f64]) -> Array {
    Array::new(shape, data.to_vec())
}

/// 0, 1, 2, …
fn count(shape: &[usize]) -> Array {
    let shape = Shape::from(shape);
    Array::new(shape.clone(), (0..shape.len()).map(|i| i as f64).collect())
}

#[track_caller]
fn assert_is(found: &Array, shape: &[usize], data: &[f64]) {
    assert_eq!(found, &array(shape, data));
}

#[track_caller]
fn assert_close(found: &Array, wanted: &Array, tolerance: f64) {
    assert_eq!(found.shape(), wanted.shape());
    for (a, b) in found.data().iter().zip(wanted.data()) {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} is not {b}");
    }
}

#[test]
fn functions_of_one_element() {
    let known: [(Unary, f64, f64); 27] = [
        (Unary::Neg, 1.5, -1.5),
        (Unary::Exp, 1.0, std::f64::consts::E),
        (Unary::Expm1, 1e-10, 1.000_000_000_05e-10),
        (Unary::Log, 10.0, std::f64::consts::LN_10),
        (Unary::Log1p, 1e-10, 9.999_999_999_5e-11),
        (Unary::Recip, -4.0, -0.25),
        (Unary::Sqrt, 2.0, std::f64::consts::SQRT_2),
        (Unary::Abs, -3.0, 3.0),
        (Unary::Tanh, 0.5, 0.462_117_157_260_009_8),
        (Unary::Tanh, -400.0, -1.0),
        (Unary::Sigmoid, 0.0, 0.5),
        (Unary::Sigmoid, 2.0, 0.880_797_077_977_882_4),
        (Unary::Sigmoid, -800.0, 0.0),
        (Unary::Softplus, 0.0, std::f64::consts::LN_2),
        (Unary::Softplus, 1.0, 1.313_261_687_518_222_8),
        (Unary::Softplus, 800.0, 800.0),
        (Unary::Softplus, -800.0, 0.0),
        (Unary::Sin, std::f64::consts::FRAC_PI_6, 0.5),
        (Unary::Cos, std::f64::consts::FRAC_PI_3, 0.5),
        (Unary::Floor, 2.7, 2.0),
        (Unary::Floor, -2.1, -3.0),
        (Unary::Floor, 5.0, 5.0),
        (Unary::IsFinite, -1e300, 1.0),
        (Unary::IsFinite, f64::NEG_INFINITY, 0.0),
        (Unary::IsFinite, f64::NAN, 0.0),
        (Unary::StopGradient, 0.1, 0.1),
        (Unary::Exp, 0.0, 1.0),
    ];
    for (op, x, wanted) in known {
        let found = eval(&[array(&[1], &[x])], |g, x| g.unary(op, x[0])).data()[0];
        assert!((found - wanted).abs() <= DIGITS * wanted.abs(), "{op:?} of {x} is {found}, not {wanted}");
    }
    for op in Unary::ALL {
        assert!(known.iter().any(|&(known, ..)| known == op), "{op:?} is not tested");
    }
}

#[test]
fn functions_of_two_elements() {
    let (a, b) = (array(&[4], &[1.0, -2.0, 3.0, 4.0]), array(&[4], &[2.0, -3.0, 3.0, -8.0]));
    let both = [a, b];
    assert_is(&eval(&both, |g, x| g.add(x[0], x[1])), &[4], &[3.0, -5.0, 6.0, -4.0]);
    assert_is(&eval(&both, |g, x| g.sub(x[0], x[1])), &[4], &[-1.0, 1.0, 0.0, 12.0]);
    assert_is(&eval(&both, |g, x| g.mul(x[0], x[1])), &[4], &[2.0, 6.0, 9.0, -32.0]);
    assert_is(&eval(&both, |g, x| g.div(x[0], x[1])), &[4], &[0.5, 2.0 / 3.0, 1.0, -0.5]);
    assert_is(&eval(&both, |g, x| g.max(x[0], x[1])), &[4], &[2.0, -2.0, 3.0, 4.0]);
    assert_is(&eval(&both, |g, x| g.min(x[0], x[1])), &[4], &[1.0, -3.0, 3.0, -8.0]);
    assert_is(&eval(&both, |g, x| g.less(x[0], x[1])), &[4], &[1.0, 0.0, 0.0, 0.0]);
    assert_is(&eval(&both, |g, x| g.equal(x[0], x[1])), &[4], &[0.0, 0.0, 1.0, 0.0]);
    let condition = array(&[4], &[1.0, 0.0, -0.5, 0.0]);
    let three = [condition, both[0].clone(), both[1].clone()];
    assert_is(&eval(&three, |g, x| g.select(x[0], x[1], x[2])), &[4], &[1.0, -3.0, 3.0, -8.0]);
    // Broadcasting aligns the last axes.
    let (column, row) = (array(&[2, 1], &[10.0, 20.0]), array(&[3], &[1.0, 2.0, 3.0]));
    let sum = eval(&[column, row], |g, x| g.add(x[0], x[1]));
    assert_is(&sum, &[2, 3], &[11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
}

#[test]
fn arrangements() {
    let x = [count(&[2, 3])];
    assert_is(&eval(&x, |g, x| g.reshape(x[0], [3, 2])), &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_is(&eval(&x, |g, x| g.permute(x[0], &[1, 0])), &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_is(&eval(&x, |g, x| g.slice(x[0], &[0, 1], &[2, 3])), &[2, 2], &[1.0, 2.0, 4.0, 5.0]);
    let padded = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0];
    assert_is(&eval(&x, |g, x| g.pad(x[0], &[1, 1], &[0, 0])), &[3, 4], &padded);
    let twice = [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0];
    assert_is(&eval(&x, |g, x| g.concat(&[x[0], x[0]], 1)), &[2, 6], &twice);
    let column = [array(&[2, 1], &[5.0, 7.0])];
    assert_is(&eval(&column, |g, x| g.broadcast(x[0], [2, 2])), &[2, 2], &[5.0, 5.0, 7.0, 7.0]);
    assert_is(&eval(&column, |g, x| g.broadcast(x[0], [2, 2, 1])), &[2, 2, 1], &[5.0, 7.0, 5.0, 7.0]);
    // Axis i of the result is axis order[i] of the operand: with [2, 0, 1], result[c, a, b] = x[a, b, c].
    let turned = eval(&[count(&[2, 3, 4])], |g, x| g.permute(x[0], &[2, 0, 1]));
    assert_eq!(turned.shape(), &Shape::from([4, 2, 3]));
    turned.for_each(|index, value| assert_eq!(value, (index[1] * 12 + index[2] * 4 + index[0]) as f64));
    let indices = eval(&[], |g, _| g.iota([2, 3], 1));
    assert_is(&indices, &[2, 3], &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
}

#[test]
fn reductions() {
    let x = [count(&[2, 3, 2])];
    assert_is(&eval(&x, |g, x| g.sum(x[0], &[1])), &[2, 2], &[6.0, 9.0, 24.0, 27.0]);
    assert_is(&eval(&x, |g, x| g.sum_keep(x[0], &[0, 2])), &[1, 3, 1], &[14.0, 22.0, 30.0]);
    assert_is(&eval(&x, |g, x| g.sum_all(x[0])), &[], &[66.0]);
    assert_is(&eval(&x, |g, x| g.mean_all(x[0])), &[], &[5.5]);
    assert_is(&eval(&x, |g, x| g.sum_samples(x[0])), &[2], &[15.0, 51.0]);
    assert_is(&eval(&x, |g, x| g.max_over(x[0], &[0, 1])), &[2], &[10.0, 11.0]);
    let negative = eval(&x, |g, x| {
        let x = g.add_scalar(x[0], -100.0);
        g.max_keep(x, &[2])
    });
    assert_is(&negative, &[2, 3, 1], &[-99.0, -97.0, -95.0, -93.0, -91.0, -89.0]);
}

#[test]
fn products_of_matrices() {
    let a = array(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = array(&[1, 3, 2], &[7.0, 8.0, 9.0, 10.0, 11.0, 12.0]);
    let wanted = [58.0, 64.0, 139.0, 154.0];
    let turn = |x: &Array| eval(std::slice::from_ref(x), |g, x| g.permute(x[0], &[0, 2, 1]));
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let (a, b) = (if ta { turn(&a) } else { a.clone() }, if tb { turn(&b) } else { b.clone() });
        assert_is(&eval(&[a, b], |g, x| g.matmul(x[0], x[1], ta, tb)), &[1, 2, 2], &wanted);
    }
    let batch = array(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_is(&eval(&[batch], |g, x| g.matmul(x[0], x[0], false, true)), &[2, 1, 1], &[5.0, 25.0]);
    let (x, w) = (array(&[1, 2], &[1.0, 2.0]), array(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 3.0, -1.0]));
    assert_is(&eval(&[x, w], |g, x| g.linear(x[0], x[1])), &[1, 3], &[1.0, 2.0, 1.0]);
}

/// Worked out on paper: cross-correlation, not convolution; zeros outside; windows start at the padding.
#[test]
fn convolution_by_hand() {
    let x = count(&[1, 1, 3, 3]);
    let w = array(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let both = [x, w];
    let plain = eval(&both, |g, x| g.conv2d(x[0], x[1], 1, [0, 0], 1));
    assert_is(&plain, &[1, 1, 2, 2], &[27.0, 37.0, 57.0, 67.0]);
    let padded = eval(&both, |g, x| g.conv2d(x[0], x[1], 1, [1, 0], 1));
    assert_is(&padded, &[1, 1, 4, 2], &[4.0, 11.0, 27.0, 37.0, 57.0, 67.0, 20.0, 23.0]);
    let strided = eval(&both, |g, x| g.conv2d(x[0], x[1], 2, [1, 1], 1));
    assert_is(&strided, &[1, 1, 2, 2], &[0.0, 11.0, 6.0 + 24.0, 67.0]);
    // Depthwise: each channel meets its own kernel.
    let x = array(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    let w = array(&[2, 1, 1, 1], &[10.0, 100.0]);
    let grouped = eval(&[x, w], |g, x| g.conv2d(x[0], x[1], 1, [0, 0], 2));
    assert_is(&grouped, &[1, 2, 1, 2], &[10.0, 20.0, 300.0, 400.0]);
}

/// The convolution as a matrix: column `p` is the image of the `p`-th unit image, found pixel by pixel from where each
/// input pixel lands. The adjoint is the transpose.
fn matrix(g: &Geometry, w: &Array) -> Vec<Vec<f64>> {
    let (xs, ys) = (g.input_shape(), g.output_shape());
    let mut rows = vec![vec![0.0; xs.len()]; ys.len()];
    let flat = |shape: &Shape, index: [usize; 4]| index.iter().zip(shape.strides()).map(|(i, s)| i * s).sum::<usize>();
    let [kh, kw] = g.kernel;
    for n in 0..g.batch {
        for channel in 0..g.groups * g.in_channels {
            for h in 0..g.height {
                for v in 0..g.width {
                    // Pixel (h, v) is tap (i, j) of the window at (h + padding - tap) / stride, where that is whole.
                    for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
                        let at = |pixel: usize, tap: usize, axis: usize, extent: usize| {
                            let offset = (pixel + g.padding[axis]) as isize - tap as isize;
                            let whole = offset >= 0 && (offset as usize).is_multiple_of(g.stride);
                            whole.then_some(offset as usize / g.stride).filter(|&place| place < extent)
                        };
                        let (Some(p), Some(q)) = (at(h, i, 0, g.out_height()), at(v, j, 1, g.out_width())) else {
                            continue;
                        };
                        let group = channel / g.in_channels;
                        for o in group * g.out_channels..(group + 1) * g.out_channels {
                            rows[flat(&ys, [n, o, p, q])][flat(&xs, [n, channel, h, v])] +=
                                w.at(&[o, channel % g.in_channels, i, j]);
                        }
                    }
                }
            }
        }
    }
    rows
}

#[test]
fn convolution_is_a_matrix_and_its_adjoints() {
    let mut draw = Draw::new(3);
    for [batch, groups, in_channels, out_channels, height, width, kh, kw, stride, ph, pw] in [
        [2, 1, 2, 3, 5, 4, 3, 3, 1, 1, 1],
        [1, 2, 2, 1, 6, 5, 3, 2, 2, 1, 0],
        [1, 1, 1, 2, 7, 7, 2, 3, 3, 0, 2],
        [2, 3, 1, 2, 4, 3, 1, 1, 2, 0, 0],
    ] {
        let kernel = [kh, kw];
        let geometry =
            Geometry { batch, groups, in_channels, out_channels, height, width, kernel, stride, padding: [ph, pw] };
        let mut between = |shape: Shape| draw.between(&shape, -1.0, 1.0);
        let (x, w, y) =
            (between(geometry.input_shape()), between(geometry.weight_shape()), between(geometry.output_shape()));
        let rows = matrix(&geometry, &w);
        let conv = |role, a: &Array, b: &Array| {
            let op = Op::Conv2d(Conv2d { role, geometry, precision: Precision::F32 });
            eval(&[a.clone(), b.clone()], |g, x| g.add_node(op, x))
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let forward = rows.iter().map(|row| dot(row, x.data())).collect();
        assert_close(&conv(Role::Output, &x, &w), &Array::new(geometry.output_shape(), forward), SAME);
        let column = |p: usize| rows.iter().zip(y.data()).map(|(row, y)| row[p] * y).sum::<f64>();
        let backward = (0..x.data().len()).map(column).collect();
        assert_close(&conv(Role::InputGrad, &y, &w), &Array::new(geometry.input_shape(), backward), SAME);
        // The form is linear in w: its gradient along the k-th unit weight is the form there.
        let along = |k: usize| {
            let mut unit = Array::full(&geometry.weight_shape(), 0.0);
            unit.data_mut()[k] = 1.0;
            matrix(&geometry, &unit).iter().zip(y.data()).map(|(row, y)| dot(row, x.data()) * y).sum::<f64>()
        };
        let of_weight = (0..w.data().len()).map(along).collect();
        assert_close(&conv(Role::WeightGrad, &x, &y), &Array::new(geometry.weight_shape(), of_weight), SAME);
    }
}

#[test]
fn random_numbers_follow_the_key() {
    let key = Key::new(0x0123_4567_89ab, 42, 7);
    let numbers: Vec<f64> = key.words().iter().map(|&word| f64::from(word)).chain([0.0; 60]).collect();
    for distribution in [Distribution::Uniform, Distribution::Normal, Distribution::Rademacher] {
        // The fifth number says how many rows are passed over.
        for rows in [0, 2] {
            let mut numbers = numbers.clone();
            numbers[4] = f64::from(rows);
            let found = eval(&[array(&[64], &numbers)], |g, x| g.random(distribution, x[0], [3, 5]));
            for (index, &value) in found.data().iter().enumerate() {
                let drawn = distribution.draw(key, 5 * rows + index as u32);
                assert_eq!(value, drawn, "{distribution:?}, number {index} after {rows} rows");
            }
        }
    }
}

/// x → x / 2 while x > `least`; the flag is x - `least`.
fn halve(least: f64, limit: u32, start: f64) -> (f64, f64) {
    let mut body = Graph::new();
    let (x, least_input) = (body.input("x", []), body.input("least", []));
    let half = body.scale(x, 0.5);
    let flag = body.sub(half, least_input);
    body.output("x", half);
    body.output("flag", flag);
    let mut g = Graph::new();
    let (x, least_input) = (g.input("x", []), g.input("least", []));
    let results = g.iterate(&Function::new("halve", body), 1, limit, &[x, least_input]);
    g.output("x", results[0]);
    g.output("flag", results[1]);
    let results = run(&g, vec![array(&[], &[start]), array(&[], &[least])]);
    (results[0].data()[0], results[1].data()[0])
}

#[test]
fn iteration_stops_by_flag_or_limit() {
    assert_eq!(halve(1.5, 100, 16.0), (1.0, -0.5), "goes on while the flag is positive");
    assert_eq!(halve(1.0, 100, 16.0), (1.0, 0.0), "a flag of zero stops");
    assert_eq!(halve(0.0, 3, 16.0), (2.0, 2.0), "the limit counts rounds");
    assert_eq!(halve(100.0, 5, 16.0), (8.0, -92.0), "one round is always run");
    let (x, flag) = halve(f64::NAN, 5, 16.0);
    assert!(x == 8.0 && flag.is_nan(), "a flag that is no number stops");
}

#[test]
fn states_change_together() {
    // (a, b) → (b, a + b): a round sees the last round's state only.
    let mut body = Graph::new();
    let (a, b) = (body.input("a", []), body.input("b", []));
    let sum = body.add(a, b);
    let one = body.constant(1.0, [1, 1]);
    body.output("a", b);
    body.output("b", sum);
    body.output("flag", one);
    let body = Function::new("fibonacci", body);
    let mut g = Graph::new();
    let (a, b) = (g.input("a", []), g.input("b", []));
    let results = g.iterate(&body, 2, 10, &[a, b]);
    g.output("a", results[0]);
    g.output("b", results[1]);
    let results = run(&g, vec![array(&[], &[0.0]), array(&[], &[1.0])]);
    assert_eq!((results[0].data()[0], results[1].data()[0]), (55.0, 89.0));
}

#[test]
fn calls_take_and_give_by_position() {
    let mut body = Graph::new();
    let (x, y) = (body.input("x", []), body.input("y", []));
    let (difference, quotient) = (body.sub(x, y), body.div(x, y));
    body.output("difference", difference);
    body.output("quotient", quotient);
    let body = Function::new("both", body);
    let values = [array(&[], &[6.0]), array(&[], &[3.0])];
    assert_is(&eval(&values, |g, x| g.call(&body, x)[0]), &[], &[3.0]);
    assert_is(&eval(&values, |g, x| g.call(&body, x)[1]), &[], &[2.0]);
    assert_is(&eval(&values, |g, x| g.call(&body, &[x[1], x[0]])[1]), &[], &[0.5]);
}

#[test]
#[should_panic(expected = "the graph has 1 inputs, got 0 arrays")]
fn inputs_are_counted() {
    let mut g = Graph::new();
    g.input("x", [2]);
    run(&g, vec![]);
}
