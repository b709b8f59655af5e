//! One operator on its way into a graph.

use iresnet::graph::{Graph, NodeId};
use iresnet::interpret::Array;
use iresnet::shape::Shape;

use crate::case::{Case, Fixture, Tensor};

/// Results, or why the operator cannot be expressed.
pub(crate) type Made<T = Vec<NodeId>> = Result<T, String>;

/// What a case is built from.
pub(crate) struct Node<'a> {
    pub(crate) case: &'a Case,
    pub(crate) fixture: &'a Fixture,
    pub(crate) g: &'a mut Graph,
    /// Values of the graph's inputs, in their order.
    pub(crate) values: &'a mut Vec<Array>,
}

/// Said where the fixture leaves numbers out.
pub(crate) const NO_NUMBERS: &str =
    "the fixture leaves its numbers out: they are many, or it is not among KEPT in convert.py";

impl Node<'_> {
    fn tensor(&self, number: usize) -> Made<&Tensor> {
        let tensor = self.case.inputs.get(number).and_then(Option::as_ref);
        tensor.ok_or_else(|| format!("input {number} is left out"))
    }

    pub(crate) fn has(&self, number: usize) -> bool {
        self.tensor(number).is_ok()
    }

    /// How many inputs are there.
    pub(crate) fn count(&self) -> usize {
        self.case.inputs.len()
    }

    /// How many outputs are asked for.
    pub(crate) fn outputs(&self) -> usize {
        self.case.outputs.len()
    }

    /// The numbers of an input that says how the operator is set up.
    pub(crate) fn numbers(&self, number: usize) -> Made<Vec<f64>> {
        let tensor = self.tensor(number)?;
        if tensor.shape.as_ref().is_some_and(|shape| shape.contains(&0)) {
            return Ok(Vec::new());
        }
        let array = self.fixture.array(tensor).ok_or(NO_NUMBERS)?;
        Ok(array.data().to_vec())
    }

    pub(crate) fn ints(&self, number: usize) -> Made<Vec<i64>> {
        Ok(self.numbers(number)?.into_iter().map(|x| x as i64).collect())
    }

    /// An input as a node.
    pub(crate) fn x(&mut self, number: usize) -> Made<NodeId> {
        match self.tensor(number)?.kind.as_str() {
            "float32" | "bool" => self.any(number),
            other => Err(format!("it computes with {other}, and tensors hold f32")),
        }
    }

    /// An input of whole numbers or of f32 as a node.
    pub(crate) fn any(&mut self, number: usize) -> Made<NodeId> {
        let tensor = self.tensor(number)?;
        let shape = tensor.shape.clone().ok_or_else(|| format!("it works on a {}", tensor.kind))?;
        if shape.contains(&0) {
            return Err("a tensor is empty".into());
        }
        let name = format!("{}/{number}", self.case.name);
        if let Some(known) = self.g.find_input(&name) {
            return Ok(known);
        }
        let array = self.fixture.array(tensor).ok_or(NO_NUMBERS)?;
        self.values.push(array);
        Ok(self.g.input(name, shape))
    }

    pub(crate) fn all(&mut self) -> Made {
        (0..self.count()).map(|number| self.x(number)).collect()
    }

    pub(crate) fn shape(&self, id: NodeId) -> Vec<usize> {
        self.g.shape(id).extents().to_vec()
    }

    pub(crate) fn rank(&self, id: NodeId) -> usize {
        self.g.shape(id).rank()
    }

    pub(crate) fn float(&self, name: &str, default: f64) -> f64 {
        self.case.attributes.get(name).and_then(serde_json::Value::as_f64).unwrap_or(default)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.case.attributes.get(name).and_then(serde_json::Value::as_i64).unwrap_or(default)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.case.attributes.get(name).and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    pub(crate) fn list(&self, name: &str) -> Option<Vec<i64>> {
        let list = self.case.attributes.get(name)?.as_array()?;
        list.iter().map(serde_json::Value::as_i64).collect()
    }

    /// A list of sizes, all one where there is none.
    pub(crate) fn sizes(&self, name: &str, count: usize) -> Vec<usize> {
        self.list(name).map_or(vec![1; count], |list| list.into_iter().map(|x| x as usize).collect())
    }

    /// The attribute `axis`, counted from the front.
    pub(crate) fn axis(&self, default: i64, rank: usize) -> usize {
        from_front(self.int("axis", default), rank)
    }

    pub(crate) fn scalar(&mut self, value: f64) -> NodeId {
        self.g.constant(value, Shape::scalar())
    }

    /// A vector over channels, ready to meet a tensor `[n, c, …]` of this rank.
    pub(crate) fn per_channel(&mut self, vector: NodeId, rank: usize) -> NodeId {
        let mut extents = vec![1; rank];
        extents[1] = self.g.shape(vector).len();
        self.g.reshape(vector, extents)
    }

    pub(crate) fn mean_keep(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let sum = self.g.sum_keep(x, axes);
        let terms = self.g.shape(x).len() / self.g.shape(sum).len();
        self.g.scale(sum, 1.0 / terms as f64)
    }

    /// (x - mean) / √(variance + ε) with mean and 1/√(variance + ε) over `axes`.
    pub(crate) fn normalized(&mut self, x: NodeId, axes: &[usize], epsilon: f64) -> [NodeId; 3] {
        let mean = self.mean_keep(x, axes);
        let centred = self.g.sub(x, mean);
        let square = self.g.square(centred);
        let variance = self.mean_keep(square, axes);
        let floored = self.g.add_scalar(variance, epsilon);
        let std = self.g.sqrt(floored);
        let inverse = self.g.recip(std);
        [self.g.mul(centred, inverse), mean, inverse]
    }
}

/// An axis or index that may be counted from the end.
pub(crate) fn from_front(index: i64, len: usize) -> usize {
    if index < 0 { (index + len as i64) as usize } else { index as usize }
}
