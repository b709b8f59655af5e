//! Differentiation: graph to graph, in reverse, to any order.
//!
//! [`Graph::vjp`] walks the arena backwards and lets each op's rule add the nodes of its derivative. What it adds are
//! ordinary nodes, so it can be applied to its own result. The walk, not the rules, decides what depends on what and
//! adds up cotangents.
//!
//! A call is differentiated by deriving two functions once for all calls of the same function: one that also returns
//! the residuals the backward pass needs, one that turns residuals and cotangents into cotangents of the arguments.
//! The call in the graph is widened in place to the first; its old results keep their numbers. Residuals are values
//! that are dear to recompute (convolutions, reductions, results of inner calls); elementwise values are recomputed
//! from them inside the backward function, where they fuse into its kernels. A [recomputed](Function::recomputed)
//! function keeps nothing and runs its forward part again.
//!
//! A function may bring [its own derivative](OwnVjp). One that does not take the function's inputs, because it can
//! compute them from the outputs, leaves nothing in memory but the last outputs of a chain of such calls: each step of
//! the walk hands the value it recovered to the step before. [`Graph::vjp_recovering`] says how far recovered values
//! have drifted from the true ones.

use std::collections::HashMap;

use crate::graph::{Derived, Function, FunctionRef, Graph, NodeId, OwnVjp, Scope};
use crate::ops::Op;
use crate::sorted::Map;

/// Cotangents of the results of a call, by number.
type Results = Map<usize, NodeId>;

/// What a reverse walk finds beside cotangents, where [derivatives recover values](OwnVjp::recovered).
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Results of own derivatives beside cotangents and values, a list for each call in the order of the walk.
    pub reports: Vec<Vec<NodeId>>,
    /// For each value that nothing recovers further, its largest absolute difference from the true one: one number each.
    pub drifts: Vec<NodeId>,
    /// Recovered values of results of calls.
    known: HashMap<NodeId, NodeId>,
}

impl Graph {
    /// Vector-Jacobian products: for outputs `y` with cotangents `ct` (pairs), the cotangent of each of `wrt`. Where
    /// nothing depends, the cotangent is a constant zero. Of what is reshaped further nothing may depend: a reshape of a
    /// reshape is built as one of what lies before both.
    #[track_caller]
    pub fn vjp(&mut self, outputs: &[(NodeId, NodeId)], wrt: &[NodeId]) -> Vec<NodeId> {
        self.vjp_recovering(outputs, wrt).0
    }

    /// As [`vjp`](Self::vjp), with what derivatives that recover values have to say.
    #[track_caller]
    pub fn vjp_recovering(&mut self, outputs: &[(NodeId, NodeId)], wrt: &[NodeId]) -> (Vec<NodeId>, Recovery) {
        let (found, recovery) = self.vjp_sparse(outputs, wrt);
        let all = found.into_iter().zip(wrt).map(|(ct, &x)| ct.unwrap_or_else(|| self.scalar_like(0.0, x)));
        (all.collect(), recovery)
    }

    /// Gradient of the scalar `loss` in each of `wrt`.
    #[track_caller]
    pub fn grad(&mut self, loss: NodeId, wrt: &[NodeId]) -> Vec<NodeId> {
        assert_eq!(self.shape(loss).len(), 1, "grad: the loss must be one number, has shape {}", self.shape(loss));
        let one = self.scalar_like(1.0, loss);
        self.vjp(&[(loss, one)], wrt)
    }

    /// Jacobian-vector product: the tangent of `y` when each `x` moves along its tangent, as the transpose of the
    /// transposed product. The cotangent over which the product is transposed is a free variable that drops out.
    #[track_caller]
    pub fn jvp(&mut self, y: NodeId, tangents: &[(NodeId, NodeId)]) -> NodeId {
        for &(x, tangent) in tangents {
            let (of_x, of_tangent) = (self.shape(x), self.shape(tangent));
            assert_eq!(of_x, of_tangent, "jvp: the tangent of an input of shape {of_x} has shape {of_tangent}");
        }
        // The vjp is linear in its cotangent u: ⟨u, J t⟩ = ⟨Jᵀ u, t⟩. Differentiating in u gives J t, whatever u is;
        // a product with zero would be simplified away, so u is a copy of y that simplification cannot see through.
        let probe = self.stop_gradient(y);
        let wrt: Vec<NodeId> = tangents.iter().map(|&(x, _)| x).collect();
        let (products, _) = self.vjp_sparse(&[(y, probe)], &wrt);
        let pairs: Vec<(NodeId, NodeId)> = products
            .into_iter()
            .zip(tangents)
            .filter_map(|(product, &(_, tangent))| product.map(|product| (product, tangent)))
            .collect();
        self.vjp(&pairs, &[probe])[0]
    }

    #[track_caller]
    fn vjp_sparse(&mut self, outputs: &[(NodeId, NodeId)], wrt: &[NodeId]) -> (Vec<Option<NodeId>>, Recovery) {
        let mut recovery = Recovery::default();
        let mut cotangents: Map<NodeId, NodeId> = Map::default();
        let active = self.dependent_on(wrt);
        for &(y, ct) in outputs {
            let (of_y, of_ct) = (self.shape(y), self.shape(ct));
            assert_eq!(of_y, of_ct, "vjp: the cotangent of an output of shape {of_y} has shape {of_ct}");
            if active[y.index()] {
                self.accumulate(&mut cotangents, y, ct);
            }
        }
        let mut found: Vec<Option<NodeId>> = vec![None; wrt.len()];
        // Cotangents of the results of calls, by call and number of the result.
        let mut of_results: Map<NodeId, Results> = Map::default();
        let scope = self.enter(Scope::default());
        loop {
            let next_node = cotangents.last_key();
            let next_call = of_results.last_key();
            let Some(node) = next_node.max(next_call) else { break };
            let part = self.scope_of(node).part.or(scope.part);
            self.enter(Scope { part, ..scope });
            let (inputs, parts) = if next_call == Some(node) {
                let results = of_results.remove(node).unwrap_or_default();
                (self.node(node).inputs.clone(), self.call_vjp(node, &results, &active, &mut recovery))
            } else {
                let Some(ct) = cotangents.remove(node) else { break };
                for (slot, _) in found.iter_mut().zip(wrt).filter(|&(_, &x)| x == node) {
                    *slot = Some(ct);
                }
                if let Op::Get(get) = self.node(node).op {
                    let call = self.node(node).inputs[0];
                    if !active[call.index()] {
                        continue;
                    }
                    let existing = of_results.or_insert(call, Results::default()).remove(get.index);
                    let total = existing.map_or(ct, |existing| self.add(existing, ct));
                    of_results.or_insert(call, Results::default()).insert(get.index, total);
                    continue;
                }
                let inputs = self.node(node).inputs.clone();
                if inputs.iter().all(|input| !active[input.index()]) {
                    continue;
                }
                let op = self.node(node).op.clone();
                (inputs, op.vjp(self, node, ct))
            };
            for (input, part) in inputs.into_iter().zip(parts) {
                if let Some(part) = part.filter(|_| active[input.index()]) {
                    self.accumulate(&mut cotangents, input, part);
                }
            }
        }
        self.enter(scope);
        (found, recovery)
    }

    fn accumulate(&mut self, cotangents: &mut Map<NodeId, NodeId>, node: NodeId, ct: NodeId) {
        debug_assert_eq!(self.shape(node), self.shape(ct), "a rule gave a cotangent of another shape");
        let total = match cotangents.get(node) {
            Some(&existing) => self.add(existing, ct),
            None => ct,
        };
        cotangents.insert(node, total);
    }

    /// For every node, whether it depends on one of `sources` differentiably.
    fn dependent_on(&self, sources: &[NodeId]) -> Vec<bool> {
        let mut dependent = vec![false; self.len()];
        for source in sources {
            dependent[source.index()] = true;
        }
        for (id, node) in self.nodes() {
            let carries =
                !matches!(node.op, Op::Iterate(_) | Op::Random(_) | Op::Unary(crate::ops::unary::Unary::StopGradient));
            if carries && node.inputs.iter().any(|input| dependent[input.index()]) {
                dependent[id.index()] = true;
            }
        }
        dependent
    }

    /// Cotangents of a call's arguments, from those of its results.
    fn call_vjp(
        &mut self,
        call: NodeId,
        results: &Results,
        active: &[bool],
        recovery: &mut Recovery,
    ) -> Vec<Option<NodeId>> {
        let Op::Call(function) = self.node(call).op.clone() else { return Vec::new() };
        let arguments = self.node(call).inputs.clone();
        let count = function.graph().outputs().len();
        if let Some(vjp) = function.own_vjp() {
            return self.call_own_vjp(call, vjp, results, recovery);
        }
        let wanted: Vec<bool> = arguments.iter().map(|argument| active[argument.index()]).collect();
        let given: Vec<bool> = (0..count).map(|index| results.get(index).is_some()).collect();
        let derived = function.derived(&wanted, &given, || derive(&function, &wanted, &given));
        self.widen_call(call, derived.forward.clone());
        let mut all: Vec<NodeId> = derived.kept_inputs.iter().map(|&index| arguments[index]).collect();
        for &index in &derived.residuals {
            all.push(self.get(call, index));
        }
        all.extend(results.values());
        let mut parts = self.call(&derived.backward, &all).into_iter();
        wanted.iter().map(|&wanted| if wanted { parts.next() } else { None }).collect()
    }
}

/// Calls of functions that bring their own derivative.
impl Graph {
    fn call_own_vjp(
        &mut self,
        call: NodeId,
        vjp: &OwnVjp,
        results: &Results,
        recovery: &mut Recovery,
    ) -> Vec<Option<NodeId>> {
        let Op::Call(function) = self.node(call).op.clone() else { return Vec::new() };
        let arguments = self.node(call).inputs.clone();
        let mut all: Vec<NodeId> = vjp.inputs.iter().map(|&index| arguments[index]).collect();
        for &index in &vjp.outputs {
            let output = self.get(call, index);
            all.push(recovery.known.get(&output).copied().unwrap_or(output));
        }
        for index in 0..function.graph().outputs().len() {
            let zero = |graph: &mut Self| graph.constant(0.0, function.output_shape(index).clone());
            all.push(results.get(index).copied().unwrap_or_else(|| zero(self)));
        }
        let given = self.call(&vjp.function, &all);
        let (gradients, rest) = given.split_at(vjp.gradients.len());
        for (&index, &value) in vjp.recovered.iter().zip(rest) {
            self.recovered(arguments[index], value, recovery);
        }
        if !vjp.reports().is_empty() {
            recovery.reports.push(given[vjp.reports()].to_vec());
        }
        let mut parts = vec![None; arguments.len()];
        for (&index, &gradient) in vjp.gradients.iter().zip(gradients) {
            parts[index] = Some(gradient);
        }
        parts
    }

    /// Notes that `value` is what `node` was recovered as. Goes back through what only moves elements to a call whose own
    /// derivative takes it; where there is none, measures the difference on the spot, so that neither has to be kept.
    fn recovered(&mut self, node: NodeId, value: NodeId, recovery: &mut Recovery) {
        let (mut node, mut value) = (node, value);
        loop {
            let source = self.node(node).inputs.first().copied();
            match (self.node(node).op.clone(), source) {
                (Op::Reshape(_), Some(source)) => {
                    value = self.reshape(value, self.shape(source).clone());
                    node = source;
                }
                (Op::Permute(permute), Some(source)) => {
                    value = self.permute(value, &permute.inverse());
                    node = source;
                }
                (Op::Get(get), Some(source)) if self.takes_output(source, get.index) => {
                    recovery.known.insert(node, value);
                    return;
                }
                _ => break,
            }
        }
        let difference = self.sub(value, node);
        let drift = self.largest(difference);
        recovery.drifts.push(drift);
    }

    /// Whether the function called at `call` has a derivative of its own that takes this output.
    fn takes_output(&self, call: NodeId, index: usize) -> bool {
        match &self.node(call).op {
            Op::Call(function) => function.own_vjp().is_some_and(|vjp| vjp.outputs.contains(&index)),
            _ => false,
        }
    }
}

/// Derives the forward and backward functions of `function` for these active inputs and given cotangents.
fn derive(function: &FunctionRef, wanted: &[bool], given: &[bool]) -> Derived {
    let body = function.graph();
    let count = body.len();
    let mut joint = body.clone();
    joint.enter(Scope::default());
    let outputs: Vec<NodeId> = body.outputs().iter().map(|&(_, id)| id).collect();
    let mut pairs = Vec::new();
    for (index, &y) in outputs.iter().enumerate().filter(|&(index, _)| given[index]) {
        let shape = body.shape(y).clone();
        let ct = joint.input(unused(format!("cotangent {index}"), joint.inputs()), shape);
        pairs.push((y, ct));
    }
    let wrt: Vec<NodeId> =
        body.inputs().iter().zip(wanted).filter(|&(_, &wanted)| wanted).map(|(&(_, id), _)| id).collect();
    let gradients = joint.vjp(&pairs, &wrt);

    let mut split = Split { joint: &joint, count, recompute: function.recomputes(), map: vec![None; joint.len()] };
    let mut backward = Graph::new();
    let needed = split.needed(&gradients);
    let mut kept_inputs = Vec::new();
    for (number, (name, id)) in body.inputs().iter().enumerate() {
        if needed[id.index()] {
            split.map[id.index()] = Some(backward.input(name.clone(), body.shape(*id).clone()));
            kept_inputs.push(number);
        }
    }
    let mut forward = joint.prefix(count);
    for (name, id) in body.outputs() {
        forward.output(name.clone(), *id);
    }
    let mut residuals = Vec::new();
    for (id, node) in joint.nodes() {
        if !needed[id.index()] || !split.is_residual(id) {
            continue;
        }
        let name = format!("residual {}", id.index());
        let index = outputs.iter().position(|&output| output == id).unwrap_or_else(|| {
            let index = forward.outputs().len();
            // What a widened inner call gives besides is not yet in the forward part.
            let value = match node.op {
                Op::Get(get) if id.index() >= count => forward.get(node.inputs[0], get.index),
                _ => id,
            };
            forward.output(unused(name.clone(), forward.outputs()), value);
            index
        });
        split.map[id.index()] = Some(backward.input(unused(name, backward.inputs()), node.shape.clone()));
        residuals.push(index);
    }
    for &(_, ct) in &pairs {
        let Op::Input(number) = joint.node(ct).op else { unreachable!("cotangents were made as inputs") };
        let shape = joint.shape(ct).clone();
        let name = unused(joint.inputs()[number].0.clone(), backward.inputs());
        split.map[ct.index()] = Some(backward.input(name, shape));
    }
    split.copy(&needed, &mut backward);
    for (index, gradient) in gradients.iter().enumerate() {
        let node = split.map[gradient.index()].expect("everything the gradients need was copied");
        backward.output(format!("gradient {index}"), node);
    }
    let (forward, name) = if function.recomputes()
        || residuals.iter().all(|&index| index < outputs.len()) && !has_widened(body, &forward)
    {
        (function.clone(), function.name())
    } else {
        (Function::new(format!("{}.forward", function.name()), forward), function.name())
    };
    let backward = Function::new(format!("{name}.backward"), backward);
    Derived { forward, backward, kept_inputs, residuals }
}

/// `name`, with primes until none of `taken` has it: derivatives of derivatives have cotangents of cotangents.
fn unused(mut name: String, taken: &[(String, NodeId)]) -> String {
    while taken.iter().any(|(known, _)| *known == name) {
        name.push('\'');
    }
    name
}

/// Whether differentiation widened a call inside the body.
fn has_widened(body: &Graph, forward: &Graph) -> bool {
    body.nodes().zip(forward.nodes()).any(|((_, before), (_, after))| before.op != after.op)
}

/// Splits a joint forward and backward graph into the two.
struct Split<'a> {
    joint: &'a Graph,
    /// How many nodes belong to the forward part.
    count: usize,
    recompute: bool,
    map: Vec<Option<NodeId>>,
}

impl Split<'_> {
    /// Whether the backward function receives this node's value instead of computing it.
    fn is_residual(&self, id: NodeId) -> bool {
        let node = self.joint.node(id);
        let held = matches!(node.op, Op::Input(_) | Op::Call(_) | Op::Iterate(_));
        // Differentiation widens inner calls in place and takes their further results by nodes of its own.
        let of_call = matches!(node.op, Op::Get(_)) && node.inputs[0].index() < self.count;
        (id.index() < self.count || of_call) && !held && !self.recompute && !node.op.is_elementwise()
    }

    /// Which nodes the backward function computes or receives.
    fn needed(&self, gradients: &[NodeId]) -> Vec<bool> {
        let mut needed = vec![false; self.joint.len()];
        for gradient in gradients {
            needed[gradient.index()] = true;
        }
        for index in (0..self.joint.len()).rev() {
            let id = NodeId(index as u32);
            if needed[index] && !self.is_residual(id) {
                for input in &self.joint.node(id).inputs {
                    needed[input.index()] = true;
                }
            }
        }
        needed
    }

    fn copy(&mut self, needed: &[bool], backward: &mut Graph) {
        for (id, node) in self.joint.nodes() {
            if !needed[id.index()] || self.map[id.index()].is_some() {
                continue;
            }
            let mut copy = node.clone();
            for input in &mut copy.inputs {
                *input = self.map[input.index()].expect("operands are copied before their users");
            }
            backward.enter(self.joint.scope_of(id));
            self.map[id.index()] = Some(backward.push(copy));
        }
    }
}
