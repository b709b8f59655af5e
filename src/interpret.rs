//! The interpreter: runs a graph on the CPU in f64, naively.
//!
//! It is the specification. Every kernel and every derivative is tested against it, so it must be plain enough to be
//! believed by reading; nothing here is fast.

use crate::graph::Graph;
use crate::ops::Op;
use crate::shape::Shape;

/// A dense row-major f64 tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    shape: Shape,
    data: Vec<f64>,
}

impl Array {
    /// An array of `shape` with elements `data`.
    #[track_caller]
    pub fn new(shape: impl Into<Shape>, data: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(
            shape.len(),
            data.len(),
            "array of shape {shape} needs {} elements, got {}",
            shape.len(),
            data.len()
        );
        Self { shape, data }
    }

    /// An array filled with `value`.
    pub fn full(shape: &Shape, value: f64) -> Self {
        Self { shape: shape.clone(), data: vec![value; shape.len()] }
    }

    /// An array whose element at each index is `value(index)`.
    pub fn from_fn(shape: &Shape, mut value: impl FnMut(&[usize]) -> f64) -> Self {
        let mut data = Vec::with_capacity(shape.len());
        for_each_index(shape, |index| data.push(value(index)));
        Self { shape: shape.clone(), data }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// The elements for writing.
    pub fn data_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }

    /// The element at `index`.
    #[track_caller]
    pub fn at(&self, index: &[usize]) -> f64 {
        let flat = index.iter().zip(self.shape.extents()).fold(0, |flat, (&i, &extent)| flat * extent + i);
        self.data[flat]
    }

    /// Visits every index with its element.
    pub fn for_each(&self, mut visit: impl FnMut(&[usize], f64)) {
        let mut elements = self.data.iter();
        for_each_index(&self.shape, |index| visit(index, *elements.next().expect("as many elements as indices")));
    }
}

/// Visits every index of `shape` in row-major order.
fn for_each_index(shape: &Shape, mut visit: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.rank()];
    for _ in 0..shape.len() {
        visit(&index);
        for axis in (0..shape.rank()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

enum Value {
    Missing,
    One(Array),
    Several(Vec<Array>),
}

/// Values of the graph's outputs for these values of its inputs, both in the order of declaration.
#[track_caller]
pub fn run(graph: &Graph, inputs: Vec<Array>) -> Vec<Array> {
    let (given, wanted) = (inputs.len(), graph.inputs().len());
    assert_eq!(given, wanted, "interpret: the graph has {wanted} inputs, got {given} arrays");
    // Each array belongs to one node and is moved into it.
    let mut inputs: Vec<Option<Array>> = inputs.into_iter().map(Some).collect();
    let live = graph.live();
    let mut values: Vec<Value> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        if !live[id.index()] {
            values.push(Value::Missing);
            continue;
        }
        let one = |input: usize| match &values[node.inputs[input].index()] {
            Value::One(array) => array,
            _ => panic!("interpret: %{} is not a single array", node.inputs[input].index()),
        };
        values.push(match &node.op {
            Op::Input(number) => {
                let name = &graph.inputs()[*number].0;
                let given = inputs[*number].take().expect("an input is one node");
                assert_eq!(given.shape, node.shape, "interpret: input {name:?} has another shape than its array");
                Value::One(given)
            }
            Op::Call(function) => {
                Value::Several(run(function.graph(), (0..node.inputs.len()).map(|i| one(i).clone()).collect()))
            }
            Op::Iterate(iterate) => {
                Value::Several(iterate.run((0..node.inputs.len()).map(|i| one(i).clone()).collect()))
            }
            Op::Get(get) => match &values[node.inputs[0].index()] {
                Value::Several(results) => Value::One(results[get.index].clone()),
                _ => panic!("interpret: get of a single result"),
            },
            op => {
                let operands: Vec<&Array> = (0..node.inputs.len()).map(one).collect();
                Value::One(op.eval(&operands, &node.shape))
            }
        });
    }
    let outputs = graph.outputs().iter().map(|(_, id)| match &values[id.index()] {
        Value::One(array) => array.clone(),
        _ => panic!("interpret: an output is not a single array"),
    });
    outputs.collect()
}
