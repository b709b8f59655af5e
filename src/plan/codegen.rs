//! WGSL of fused elementwise work.
//!
//! An expression of the graph is evaluated at one element of its result. Ops that move elements change the index at
//! which their operand is evaluated; nothing is moved. All extents are literals, so the shader compiler turns the
//! divisions into multiplications. This is the only place where WGSL is written by Rust.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::ops::select::Select;
use crate::random::Distribution;
use crate::shape::Shape;

/// Where an expression is evaluated: WGSL of the flat index, of the coordinates, or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Index {
    flat: Option<String>,
    coordinates: Option<Vec<String>>,
    /// WGSL of a condition: where it is false the value is not used and the index may lie anywhere.
    guard: Option<String>,
}

impl Index {
    /// The element whose flat index is the WGSL expression `flat`.
    pub(super) fn flat(flat: impl Into<String>) -> Self {
        Self { flat: Some(flat.into()), coordinates: None, guard: None }
    }

    /// The element with these coordinates.
    pub(super) fn coordinates(coordinates: Vec<String>) -> Self {
        Self { flat: None, coordinates: Some(coordinates), guard: None }
    }
}

/// Writes the statements that evaluate expressions, sharing what is equal.
pub(super) struct Writer<'a> {
    graph: &'a Graph,
    /// For each stored node the name of its binding.
    bindings: &'a HashMap<NodeId, String>,
    /// Statements so far.
    pub(super) body: String,
    /// Statements that are the same for four neighbours, where four are computed at a time: they come before `body`.
    pub(super) shared: String,
    /// Names that stand for something else at each of four neighbours; none where one is computed at a time.
    varying: HashSet<String>,
    values: HashMap<(NodeId, Index), String>,
    lets: HashMap<String, String>,
    names: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(graph: &'a Graph, bindings: &'a HashMap<NodeId, String>) -> Self {
        Self {
            graph,
            bindings,
            body: String::new(),
            shared: String::new(),
            varying: HashSet::new(),
            values: HashMap::new(),
            lets: HashMap::new(),
            names: 0,
        }
    }

    /// A writer of what is computed at four neighbours, of which `index` is one: the statements of `body` are to be
    /// repeated for each, those of `shared` hold for all.
    pub(super) fn by_four(graph: &'a Graph, bindings: &'a HashMap<NodeId, String>) -> Self {
        Self { varying: HashSet::from(["index".to_string()]), ..Self::new(graph, bindings) }
    }

    /// Declares that `node` at `index` is the WGSL variable `name`.
    pub(super) fn define(&mut self, node: NodeId, index: &Index, name: &str) {
        self.values.insert((node, key(index)), name.into());
    }

    /// As [`define`](Self::define), for a variable that differs between four neighbours.
    pub(super) fn define_varying(&mut self, node: NodeId, index: &Index, name: &str) {
        self.define(node, index, name);
        self.varying.insert(name.into());
    }

    /// Whether the stored `node` was read at `index`, and nowhere else.
    pub(super) fn reads_only(&self, node: NodeId, index: &Index) -> bool {
        let mut places = self.values.keys().filter(|(read, _)| *read == node);
        places.next().is_some_and(|(_, at)| *at == key(index)) && places.next().is_none()
    }

    /// WGSL name or literal of the value of `node` at `index`.
    pub(super) fn value(&mut self, node: NodeId, index: &Index) -> String {
        if let Some(known) = self.values.get(&(node, key(index))) {
            return known.clone();
        }
        if let Some(binding) = self.bindings.get(&node) {
            let flat = self.flat_of(index, self.graph.shape(node));
            let flat = match &index.guard {
                Some(guard) => format!("select(0u, {flat}, {guard})"),
                None => flat,
            };
            let name = self.assign("v", &format!("{binding}[{flat}]"));
            self.define(node, index, &name);
            return name;
        }
        let graph = self.graph;
        let this = graph.node(node);
        let shape = &this.shape;
        let operand = |number: usize| this.inputs[number];
        let text = match &this.op {
            Op::Constant(constant) => return literal(constant.value.get()),
            Op::Iota(iota) => {
                let at = self.coordinates_of(index, shape)[iota.axis].clone();
                format!("f32({at})")
            }
            Op::Unary(op) => op.wgsl(&self.value(operand(0), index)),
            Op::Binary(op) => {
                let (a, b) = (self.value(operand(0), index), self.value(operand(1), index));
                op.wgsl(&a, &b)
            }
            Op::Select(_) => {
                let [condition, a, b] = [0, 1, 2].map(|number| self.value(operand(number), index));
                Select::wgsl(&condition, &a, &b)
            }
            Op::Random(random) => {
                let words: Vec<String> = (0..4)
                    .map(|word| format!("u32({})", self.value(operand(0), &Index::flat(format!("{word}u")))))
                    .collect();
                let key = self.share("key", &format!("vec4<u32>({})", words.join(", ")));
                let flat = self.flat_of(index, shape);
                let function = match random.distribution {
                    Distribution::Normal => "random_normal",
                    Distribution::Uniform => "random_uniform",
                    Distribution::Rademacher => "random_rademacher",
                };
                let mut number = self.plus(&flat, random.offset);
                if graph.shape(operand(0)).len() > 4 {
                    let rows = self.value(operand(0), &Index::flat("4u".to_owned()));
                    number = self.share("i", &format!("{number} + u32({rows}) * {}u", random.row()));
                }
                format!("{function}({key}, {number})")
            }
            Op::Reshape(_) => {
                let moved = self.reshaped(index, shape, graph.shape(operand(0)));
                return self.value(operand(0), &moved);
            }
            Op::Permute(permute) => {
                let at = self.coordinates_of(index, shape);
                let mut from = vec![String::new(); at.len()];
                for (to, &axis) in permute.order.iter().enumerate() {
                    from[axis].clone_from(&at[to]);
                }
                return self
                    .value(operand(0), &Index { flat: None, coordinates: Some(from), guard: index.guard.clone() });
            }
            Op::Broadcast(_) => {
                let from = graph.shape(operand(0));
                let at = self.coordinates_of(index, shape);
                let at = at.into_iter().enumerate();
                let at = at.map(|(axis, at)| if from[axis] == 1 { "0u".into() } else { at }).collect();
                return self
                    .value(operand(0), &Index { flat: None, coordinates: Some(at), guard: index.guard.clone() });
            }
            Op::Slice(slice) => {
                let at = self.coordinates_of(index, shape);
                let at = at.iter().zip(&slice.start).map(|(at, &start)| self.plus(at, start)).collect();
                return self
                    .value(operand(0), &Index { flat: None, coordinates: Some(at), guard: index.guard.clone() });
            }
            Op::Pad(pad) => {
                let at = self.coordinates_of(index, shape);
                let from = graph.shape(operand(0));
                let mut conditions: Vec<String> = index.guard.iter().cloned().collect();
                let mut inner = Vec::new();
                for axis in 0..from.rank() {
                    let (low, high) = (pad.low[axis], pad.high[axis]);
                    // Below `low` the difference wraps to a large number, so one comparison serves both ends.
                    let moved =
                        if low == 0 { at[axis].clone() } else { self.share("i", &format!("{} - {low}u", at[axis])) };
                    if low > 0 || high > 0 {
                        conditions.push(format!("{moved} < {}u", from[axis]));
                    }
                    inner.push(moved);
                }
                let guard = self.share("inside", &conditions.join(" && "));
                let inner = Index { flat: None, coordinates: Some(inner), guard: Some(guard.clone()) };
                let value = self.value(operand(0), &inner);
                format!("select(0.0, {value}, {guard})")
            }
            other => unreachable!("{} is stored, not computed inside an expression", other.label()),
        };
        let name = self.assign("v", &text);
        self.define(node, index, &name);
        name
    }

    fn assign(&mut self, prefix: &str, text: &str) -> String {
        let name = format!("{prefix}{}", self.names);
        self.names += 1;
        let body = if self.varying.is_empty() {
            &mut self.body
        } else if varies(text, &self.varying) {
            self.varying.insert(name.clone());
            &mut self.body
        } else {
            &mut self.shared
        };
        writeln!(body, "    let {name} = {text};").expect("writing to a string");
        name
    }

    /// A `let` whose name starts with `prefix`, one for equal texts.
    pub(super) fn share(&mut self, prefix: &str, text: &str) -> String {
        if let Some(known) = self.lets.get(text) {
            return known.clone();
        }
        let name = self.assign(prefix, text);
        self.lets.insert(text.into(), name.clone());
        name
    }

    fn plus(&mut self, at: &str, offset: usize) -> String {
        if offset == 0 { at.into() } else { self.share("i", &format!("{at} + {offset}u")) }
    }

    /// Coordinates of `index` in `shape`.
    fn coordinates_of(&mut self, index: &Index, shape: &Shape) -> Vec<String> {
        if let Some(known) = &index.coordinates {
            return known.clone();
        }
        let flat = index.flat.clone().expect("an index has one form or the other");
        self.split(&flat, shape.extents())
    }

    /// Coordinates of the flat index `flat` in a box.
    pub(super) fn split(&mut self, flat: &str, extents: &[usize]) -> Vec<String> {
        let mut coordinates = vec!["0u".to_string(); extents.len()];
        let mut rest = flat.to_string();
        if flat == "0u" {
            return coordinates;
        }
        let Some(first) = extents.iter().position(|&extent| extent > 1) else { return coordinates };
        let mut below = 1;
        for axis in (first + 1..extents.len()).rev().filter(|&axis| extents[axis] > 1) {
            let extent = extents[axis];
            coordinates[axis] = self.share("i", &format!("{rest} % {extent}u"));
            below *= extent;
            rest = self.share("i", &format!("{flat} / {below}u"));
        }
        coordinates[first] = rest;
        coordinates
    }

    /// Flat index of coordinates in a box.
    fn join(&mut self, coordinates: &[String], extents: &[usize]) -> String {
        let mut stride = 1;
        let mut terms = Vec::new();
        for (at, &extent) in coordinates.iter().zip(extents).rev() {
            if extent > 1 && at != "0u" {
                terms.push(if stride == 1 { at.clone() } else { format!("{at} * {stride}u") });
            }
            stride *= extent;
        }
        match terms.len() {
            0 => "0u".into(),
            1 if !terms[0].contains(' ') => terms.remove(0),
            _ => {
                terms.reverse();
                self.share("i", &terms.join(" + "))
            }
        }
    }

    fn flat_of(&mut self, index: &Index, shape: &Shape) -> String {
        if let Some(flat) = &index.flat {
            return flat.clone();
        }
        let coordinates = index.coordinates.clone().expect("an index has one form or the other");
        self.join(&coordinates, shape.extents())
    }

    /// The index into `from` of what stands at `index` of `to`, where both have the same elements in order. Axes are
    /// matched in runs of equal length, so that only what really changes is divided.
    fn reshaped(&mut self, index: &Index, to: &Shape, from: &Shape) -> Index {
        let Some(at) = index.coordinates.clone() else { return index.clone() };
        let (mut i, mut j) = (0, 0);
        let mut coordinates = Vec::with_capacity(from.rank());
        while i < to.rank() || j < from.rank() {
            let (first_i, first_j) = (i, j);
            let (mut left, mut right) = (1, 1);
            if i < to.rank() {
                left = to[i];
                i += 1;
            }
            if j < from.rank() {
                right = from[j];
                j += 1;
            }
            while left != right {
                if left < right {
                    left *= to[i];
                    i += 1;
                } else {
                    right *= from[j];
                    j += 1;
                }
            }
            let (outer, inner) = (&to.extents()[first_i..i], &from.extents()[first_j..j]);
            let flat = self.join(&at[first_i..i], outer);
            coordinates.extend(self.split(&flat, inner));
        }
        Index { flat: index.flat.clone(), coordinates: Some(coordinates), guard: index.guard.clone() }
    }
}

/// Whether the WGSL expression differs between four neighbours, the first of which has an index divisible by four, if
/// these names do.
fn varies(text: &str, varying: &HashSet<String>) -> bool {
    let by = text.strip_prefix("index / ").and_then(|rest| rest.strip_suffix('u')?.parse::<usize>().ok());
    if by.is_some_and(|by| by.is_multiple_of(4)) {
        return false;
    }
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| varying.contains(word))
}

/// Indices that mean the same element have the same key.
fn key(index: &Index) -> Index {
    match &index.flat {
        Some(flat) => Index { flat: Some(flat.clone()), coordinates: None, guard: index.guard.clone() },
        None => index.clone(),
    }
}

/// A WGSL literal of type f32. WGSL has none for infinities and NaN; masks use the largest finite number.
pub(super) fn literal(value: f64) -> String {
    let value = (value as f32).clamp(f32::MIN, f32::MAX);
    let text = format!("{value:?}");
    let text = if text.contains(['.', 'e']) { text } else { format!("{text}.0") };
    if value < 0.0 { format!("({text}f)") } else { format!("{text}f") }
}
