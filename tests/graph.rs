//! A graph holds what it is told: equal nodes are one, simplification changes no value, mistakes are named where they
//! are made, and the text of a graph stays as it is.

#[path = "common/expressions.rs"]
mod expressions;

use std::collections::HashSet;
use std::panic::{Location, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use expressions::expression;
use iresnet::graph::{Function, FunctionRef, Graph, NodeId};
use iresnet::interpret::{Array, run};
use iresnet::ops::Op;
use iresnet::shape::Shape;

/// Direct and simplified evaluation do the same f64 operations but for reordered operands and folded constants; forty
/// steps with values up to 1e3 amplify roundings of 1e-16 to no more than this, relative to one or the value.
const SAME: f64 = 1e-10;

/// How many random expressions are tried, and how large they are.
const EXPRESSIONS: u64 = 400;
const STEPS: usize = 40;

#[test]
fn simplification_keeps_values() {
    for seed in 0..EXPRESSIONS {
        let expression = expression(seed, STEPS);
        expression.graph.check().unwrap_or_else(|problem| panic!("expression {seed}: {problem}"));
        let found = run(&expression.graph, expression.values);
        assert_eq!(found.len(), expression.expected.len());
        for (found, wanted) in found.iter().zip(&expression.expected) {
            assert_eq!(found.shape(), wanted.shape(), "expression {seed}");
            for (a, b) in found.data().iter().zip(wanted.data()) {
                assert!(
                    (a - b).abs() <= SAME * (1.0 + b.abs()),
                    "expression {seed}: {a} is not {b}\n{}",
                    expression.graph
                );
            }
        }
    }
}

/// The generator is worth its name: everything it is there for occurs often.
#[test]
fn expressions_are_varied() {
    let mut labels = HashSet::new();
    let (mut of_inputs, mut of_constants, mut twice, mut updates, mut live, mut shared) = (0, 0, 0, 0, 0, 0);
    for seed in 0..EXPRESSIONS {
        let graph = expression(seed, STEPS).graph;
        live += graph.live().iter().filter(|&&live| live).count();
        let mut users = vec![0; graph.len()];
        for (id, node) in graph.nodes() {
            labels.insert(node.op.label().split(' ').next().unwrap_or_default().to_owned());
            if graph.live()[id.index()] {
                node.inputs.iter().for_each(|input| users[input.index()] += 1);
            }
        }
        shared += usize::from(users.iter().filter(|&&users| users > 1).count() > 2);
        let ids: Vec<NodeId> = graph.outputs().iter().map(|&(_, id)| id).collect();
        let is = |test: fn(&Op) -> bool| usize::from(ids.iter().any(|&id| test(&graph.node(id).op)));
        of_inputs += is(|op| matches!(op, Op::Input(_)));
        of_constants += is(|op| matches!(op, Op::Constant(_)));
        twice += usize::from(ids.iter().collect::<HashSet<_>>().len() < ids.len());
        updates += usize::from(graph.outputs().iter().any(|(name, _)| graph.find_input(name).is_some()));
    }
    for label in [
        "constant",
        "iota",
        "neg",
        "exp",
        "expm1",
        "log",
        "log1p",
        "recip",
        "sqrt",
        "abs",
        "tanh",
        "sigmoid",
        "softplus",
        "sin",
        "cos",
        "floor",
        "stop_gradient",
        "add",
        "sub",
        "mul",
        "div",
        "max",
        "min",
        "less",
        "equal",
        "select",
        "reshape",
        "permute",
        "broadcast",
        "slice",
        "pad",
        "sum",
        "matmul",
        "conv2d",
        "conv2d_input_grad",
        "conv2d_weight_grad",
        "call",
        "get",
    ] {
        assert!(labels.contains(label), "{label} does not occur");
    }
    let tenth = EXPRESSIONS as usize / 10;
    for (what, count) in [
        ("inputs", of_inputs),
        ("constants", of_constants),
        ("a node twice", twice),
        ("updates", updates),
        ("shared", shared),
    ] {
        assert!(count >= tenth, "{what}: in {count} of {EXPRESSIONS} expressions only");
    }
    assert!(live >= 12 * EXPRESSIONS as usize, "{live} live nodes in all");
}

#[test]
fn equal_nodes_are_one() {
    let mut g = Graph::new();
    let (a, b) = (g.input("a", [2, 3]), g.input("b", [2, 3]));
    assert_ne!(a, b, "inputs of equal shape are different nodes");
    assert_eq!(g.add(a, b), g.add(b, a));
    assert_eq!(g.mul(a, b), g.mul(b, a));
    assert_ne!(g.sub(a, b), g.sub(b, a));
    assert_ne!(g.max(a, b), g.max(b, a), "the derivative tells the operands of a maximum apart");
    assert_eq!(g.sum(a, &[1, 0]), g.sum(a, &[0, 1]));
    assert_eq!(g.constant(0.0, [2]), g.constant(-0.0, [2]));
    assert_ne!(g.constant(0.0, [2]), g.constant(0.0, [3]));
    let before = g.len();
    let (exp, again) = (g.exp(a), g.exp(a));
    assert_eq!((exp, g.len()), (again, before + 1));
    let function = double();
    let other = double();
    let x = g.input("x", [2]);
    assert_eq!(g.call(&function, &[x]), g.call(&function, &[x]));
    assert_ne!(
        g.call(&function, &[x]),
        g.call(&other, &[x]),
        "functions are the same only if they are the same object"
    );
}

fn double() -> FunctionRef {
    let mut g = Graph::new();
    let x = g.input("x", [2]);
    let y = g.add(x, x);
    g.output("y", y);
    Function::new("double", g)
}

#[test]
fn neutral_steps_vanish() {
    let mut g = Graph::new();
    let x = g.input("x", [2, 3]);
    let (zero, one) = (g.constant(0.0, []), g.constant(1.0, [3]));
    let two = g.constant(2.0, [2, 3]);
    let negative = g.neg(x);
    assert_eq!(g.neg(negative), x);
    assert_eq!(g.scale(x, -1.0), negative);
    assert_eq!(g.sub(zero, x), negative);
    for same in [g.add(x, zero), g.add(zero, x), g.sub(x, zero), g.mul(x, one), g.mul(one, x), g.div(x, one)] {
        assert_eq!(same, x);
    }
    assert_eq!(g.select(one, x, two), x);
    assert_eq!(g.select(zero, x, two), two);
    for product in [g.mul(x, zero), g.mul(zero, x), g.div(zero, x)] {
        assert_eq!((g.constant_value(product), g.shape(product)), (Some(0.0), &Shape::from([2, 3])));
    }
    let turned = g.permute(x, &[1, 0]);
    assert_eq!(g.permute(turned, &[1, 0]), x);
    let flat = g.reshape(x, [6]);
    assert_eq!(g.reshape(flat, [2, 3]), x);
    let tall = g.reshape(flat, [3, 2]);
    assert_eq!(g.node(tall).inputs, [x], "a reshape of a reshape is one reshape");
    assert_eq!(g.slice(x, &[0, 0], &[2, 3]), x);
    assert_eq!(g.pad(x, &[0, 0], &[0, 0]), x);
    assert_eq!(g.broadcast(x, [2, 3]), x);
    assert_eq!(g.concat(&[x], 1), x);
    let column = g.slice_axis(x, 1, 0, 1);
    assert_eq!(g.sum_keep(column, &[1]), column);
    // Constants stay constants.
    let root = g.sqrt(two);
    let total = g.sum(root, &[0]);
    assert_eq!(g.constant_value(total), Some(2.0 * 2.0f64.sqrt()));
    for (constant, shape) in [
        (g.permute(two, &[1, 0]), [3, 2]),
        (g.reshape(two, [1, 6]), [1, 6]),
        (g.slice_axis(two, 1, 1, 2), [2, 1]),
        (g.max_keep(two, &[0, 1]), [1, 1]),
    ] {
        assert_eq!((g.constant_value(constant), g.shape(constant)), (Some(2.0), &Shape::from(shape)));
    }
}

#[test]
fn dead_nodes_are_not_live() {
    let mut g = Graph::new();
    let (x, unused) = (g.input("x", [2]), g.input("unused", [2]));
    let dead = g.exp(unused);
    let y = g.sin(x);
    g.output("y", y);
    let live = g.live();
    assert_eq!([x, unused, dead, y].map(|id| live[id.index()]), [true, false, false, true]);
    let text = g.to_string();
    assert!(text.contains("\"unused\"") && !text.contains("exp"), "{text}");
    let values = vec![Array::full(&[2].into(), 0.5), Array::full(&[2].into(), f64::NAN)];
    assert_eq!(run(&g, values)[0].data(), [0.5f64.sin(); 2]);
}

/// Message and place of the panic in `build`. Panics of other tests in other threads are not ours to see.
fn panic_of(build: fn(&mut Graph)) -> (String, String) {
    thread_local! {
        static SEEN: std::cell::RefCell<Option<(String, String)>> = const { std::cell::RefCell::new(None) };
    }
    static HOOK: Mutex<bool> = Mutex::new(false);
    let mut installed = HOOK.lock().expect("nothing panics while it is held");
    if !*installed {
        *installed = true;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(Location::to_string).unwrap_or_default();
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
            let message = text.unwrap_or_default().to_owned();
            let expected = std::thread::current().name().is_some_and(|name| name.contains("mistakes"));
            SEEN.with_borrow_mut(|seen| *seen = Some((message, place)));
            if !expected {
                before(info);
            }
        }));
    }
    drop(installed);
    let outcome = catch_unwind(|| build(&mut Graph::new()));
    let seen = SEEN.with_borrow_mut(Option::take);
    assert!(outcome.is_err(), "a mistake went unnoticed");
    seen.expect("the hook has seen the panic")
}

#[test]
fn mistakes_are_named_where_they_are_made() {
    type Mistake = (fn(&mut Graph), &'static [&'static str]);
    fn x(g: &mut Graph) -> NodeId {
        g.input("x", [2, 3])
    }
    fn y(g: &mut Graph) -> NodeId {
        g.input("y", [4])
    }
    fn images(g: &mut Graph) -> [NodeId; 2] {
        [g.input("images", [2, 4, 5, 5]), g.input("weights", [3, 3, 3, 3])]
    }
    let mistakes: Vec<Mistake> = vec![
        (
            |g| {
                let (x, y) = (x(g), y(g));
                g.add(x, y);
            },
            &["add", "[2, 3]", "[4]"],
        ),
        (
            |g| {
                let (x, y) = (x(g), y(g));
                g.select(x, y, y);
            },
            &["select", "[2, 3]", "[4]"],
        ),
        (
            |g| {
                let x = x(g);
                g.reshape(x, [5]);
            },
            &["reshape", "[2, 3]", "[5]"],
        ),
        (
            |g| {
                let x = g.constant(1.0, [2, 3]);
                g.reshape(x, [5]);
            },
            &["reshape", "[2, 3]", "[5]"],
        ),
        (
            |g| {
                let x = x(g);
                g.permute(x, &[0, 0]);
            },
            &["permute", "[2, 3]", "[0, 0]"],
        ),
        (
            |g| {
                let x = x(g);
                g.permute(x, &[0, 2]);
            },
            &["permute", "[2, 3]", "[0, 2]"],
        ),
        (
            |g| {
                let x = x(g);
                let x = g.permute(x, &[1, 0]);
                g.permute(x, &[1]);
            },
            &["permute", "[3, 2]", "[1]"],
        ),
        (
            |g| {
                let x = x(g);
                g.broadcast(x, [2, 4]);
            },
            &["broadcast", "[2, 3]", "[2, 4]"],
        ),
        (
            |g| {
                let x = x(g);
                g.broadcast(x, [3]);
            },
            &["broadcast", "[2, 3]", "[3]"],
        ),
        (
            |g| {
                let x = g.constant(1.0, [3]);
                g.broadcast(x, [2]);
            },
            &["broadcast", "[3]", "[2]"],
        ),
        (
            |g| {
                let x = x(g);
                g.slice(x, &[0, 1], &[2, 4]);
            },
            &["slice", "[2, 3]", "[2, 4]"],
        ),
        (
            |g| {
                let x = x(g);
                g.slice(x, &[0, 1], &[2, 1]);
            },
            &["slice", "[2, 3]"],
        ),
        (
            |g| {
                let x = x(g);
                g.slice_axis(x, 2, 0, 1);
            },
            &["slice", "[2, 3]", "2"],
        ),
        (
            |g| {
                let x = x(g);
                g.pad(x, &[1], &[1]);
            },
            &["pad", "[2, 3]", "[1]"],
        ),
        (
            |g| {
                let (x, y) = (x(g), y(g));
                g.concat(&[x, y], 0);
            },
            &["concat", "[2, 3]", "[4]"],
        ),
        (
            |g| {
                let x = x(g);
                let z = g.input("z", [2, 1]);
                g.concat(&[x, z], 0);
            },
            &["concat", "[2, 3]", "[2, 1]"],
        ),
        (
            |g| {
                let x = x(g);
                g.sum(x, &[2]);
            },
            &["reduce", "[2]", "[2, 3]"],
        ),
        (
            |g| {
                let x = x(g);
                g.matmul(x, x, false, true);
            },
            &["matmul", "[2, 3]"],
        ),
        (
            |g| {
                let a = g.input("a", [1, 2, 3]);
                g.matmul(a, a, false, false);
            },
            &["matmul", "[1, 2, 3]"],
        ),
        (
            |g| {
                let (x, y) = (x(g), y(g));
                g.linear(x, y);
            },
            &["linear", "[2, 3]", "[4]"],
        ),
        (
            |g| {
                let [x, w] = images(g);
                g.conv2d(x, w, 1, [1, 1], 1);
            },
            &["conv2d", "[2, 4, 5, 5]", "[3, 3, 3, 3]"],
        ),
        (
            |g| {
                let [_, w] = images(g);
                g.conv2d(w, w, 0, [1, 1], 1);
            },
            &["conv2d", "stride", "[3, 3, 3, 3]"],
        ),
        (
            |g| {
                let [_, w] = images(g);
                let v = g.input("v", [3, 3, 4, 4]);
                g.conv2d(w, v, 1, [0, 0], 1);
            },
            &["conv2d", "[3, 3, 4, 4]"],
        ),
        (
            |g| {
                g.iota([2, 3], 2);
            },
            &["iota", "[2, 3]", "2"],
        ),
        (
            |g| {
                let x = x(g);
                g.call(&double(), &[x]);
            },
            &["double", "[2, 3]", "[2]"],
        ),
        (
            |g| {
                let x = g.input("x", [2]);
                g.call(&double(), &[x, x]);
            },
            &["double", "takes 1", "got 2"],
        ),
        (
            |g| {
                let x = g.input("x", [2]);
                g.iterate(&double(), 1, 5, &[x]);
            },
            &["iterate double"],
        ),
        (
            |g| {
                let x = x(g);
                g.grad(x, &[x]);
            },
            &["grad", "[2, 3]"],
        ),
        (
            |g| {
                let (x, y) = (x(g), y(g));
                g.vjp(&[(x, y)], &[x]);
            },
            &["vjp", "[2, 3]", "[4]"],
        ),
        (
            |g| {
                let (x, y) = (x(g), y(g));
                let z = g.exp(x);
                g.jvp(z, &[(x, y)]);
            },
            &["jvp", "[2, 3]", "[4]"],
        ),
        (
            |g| {
                x(g);
                x(g);
            },
            &["input \"x\"", "twice"],
        ),
        (
            |g| {
                let x = x(g);
                g.output("o", x);
                g.output("o", x);
            },
            &["output \"o\"", "twice"],
        ),
    ];
    for (number, (mistake, words)) in mistakes.into_iter().enumerate() {
        let (message, place) = panic_of(mistake);
        assert!(
            words.iter().all(|word| message.contains(word)),
            "mistake {number} is called {message:?}, not {words:?}"
        );
        assert!(place.contains("tests/graph.rs"), "mistake {number} ({message}) is reported at {place}");
    }
}

/// The text of a graph is looked at in reviews; `BLESS=1` writes it anew.
#[test]
fn text_of_graphs() {
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [2, 4, 6, 6]), g.input("w", [6, 2, 3, 3]));
    g.input("unused", []);
    let y = g.conv2d(x, w, 2, [1, 0], 2);
    let y = g.softplus(y);
    let largest = g.max_keep(y, &[1]);
    let shifted = g.sub(y, largest);
    let cut = g.slice(shifted, &[0, 1, 0, 0], &[2, 3, 3, 2]);
    let moved = g.permute(cut, &[0, 2, 3, 1]);
    let padded = g.pad(moved, &[0, 0, 1, 0], &[0, 0, 0, 0]);
    let scaled = g.scale(padded, 0.5);
    let total = g.sum_all(scaled);
    g.output("y", y);
    g.output("total", total);
    compare("convolution", &g);

    let mut body = Graph::new();
    let (x, w) = (body.input("x", [2, 3]), body.input("w", [3, 3]));
    let product = body.linear(x, w);
    let h = body.tanh(product);
    body.output("h", h);
    let layer = Function::new("layer", body);
    let mut g = Graph::new();
    let (x, w) = (g.input("x", [2, 3]), g.input("w", [3, 3]));
    let h = g.call(&layer, &[x, w])[0];
    let h = g.call(&layer, &[h, w])[0];
    let squares = g.square(h);
    let loss = g.sum_all(squares);
    let gradient = g.grad(loss, &[w])[0];
    g.output("loss", loss);
    g.output("gradient", gradient);
    compare("call", &g);
    let functions: Vec<&FunctionRef> = g
        .nodes()
        .filter_map(|(_, node)| match &node.op {
            Op::Call(function) => Some(function),
            _ => None,
        })
        .collect();
    compare("call_forward", functions[0].graph());
    compare("call_backward", functions[2].graph());
}

#[track_caller]
fn compare(name: &str, graph: &Graph) {
    graph.check().expect("a sound graph");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("graph_{name}.txt"));
    let text = graph.to_string();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).expect("the folder of snapshots is there");
        return;
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, known, "{} differs; BLESS=1 writes it anew", path.display());
}

/// Functions and graphs may go to other threads: replicas share them.
#[test]
fn graphs_are_shared_between_threads() {
    let function = double();
    let sum = Arc::new(Mutex::new(0.0));
    std::thread::scope(|scope| {
        for value in [1.0, 2.0] {
            let (function, sum) = (function.clone(), sum.clone());
            scope.spawn(move || {
                let mut g = Graph::new();
                let x = g.input("x", [2]);
                let y = g.call(&function, &[x])[0];
                let loss = g.sum_all(y);
                let gradient = g.grad(loss, &[x])[0];
                g.output("gradient", gradient);
                let result = run(&g, vec![Array::full(&[2].into(), value)]);
                *sum.lock().expect("no panic") += result[0].data()[0];
            });
        }
    });
    assert_eq!(*sum.lock().expect("no panic"), 4.0);
}
