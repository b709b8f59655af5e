//! What the graphs of a model have in common: parameters as inputs, functions made once for each shape, normalised
//! weights.

use std::collections::HashMap;

use super::layout::norm_names;
use super::{Block, Model, NormGroup};
use crate::graph::{FunctionRef, Graph, NodeId, Scope};
use crate::nn::residual::KEY_WIDTH;
use crate::nn::stack;
use crate::shape::Shape;

/// A graph in the making.
pub(super) struct Build<'m> {
    pub(super) model: &'m Model,
    pub(super) g: Graph,
    pub(super) batch: usize,
    /// What each block that was passed received.
    pub(super) block_inputs: Vec<NodeId>,
    functions: HashMap<String, FunctionRef>,
    updates: Vec<(String, NodeId)>,
    /// Normalised weights by the name of the weight; made at the first use of one, together.
    effective: HashMap<String, NodeId>,
}

impl<'m> Build<'m> {
    pub(super) fn new(model: &'m Model, batch: usize) -> Self {
        assert!(batch > 0, "a graph needs at least one sample");
        Self {
            model,
            g: Graph::new(),
            batch,
            block_inputs: Vec::new(),
            functions: HashMap::new(),
            updates: Vec::new(),
            effective: HashMap::new(),
        }
    }

    /// The parameter called `name`, as an input made at its first use.
    pub(super) fn param(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.g.find_input(name) {
            return id;
        }
        let param = self.model.find_param(name).expect("layout and graphs agree on names");
        self.g.input(name, param.shape.clone())
    }

    /// Makes `node` the next value of the parameter called `name`.
    pub(super) fn update(&mut self, name: String, node: NodeId) {
        self.updates.push((name, node));
    }

    /// The finished graph; state updates are its last outputs.
    pub(super) fn finish(mut self) -> Graph {
        for (name, node) in self.updates {
            self.g.output(name, node);
        }
        self.g
    }

    /// The function for this description, made the first time it is asked for.
    pub(super) fn function(&mut self, description: String, make: impl FnOnce() -> FunctionRef) -> FunctionRef {
        self.functions.entry(description).or_insert_with(make).clone()
    }

    /// `[batch, …sample]`.
    pub(super) fn batched(&self, sample: &[usize]) -> Shape {
        let mut extents = vec![self.batch];
        extents.extend_from_slice(sample);
        Shape::from(extents)
    }

    /// The operands of a block's branch, weights normalised.
    pub(super) fn operands(&mut self, block: &Block, iterations: usize) -> Vec<NodeId> {
        let normalised = self.model.config.model.coefficient.is_some();
        if normalised && self.effective.is_empty() {
            self.normalise(iterations);
        }
        let names = block.branch.operands().into_iter().map(|(operand, _)| block.operand_name(&operand, normalised));
        let names: Vec<String> = names.collect();
        names.iter().map(|name| self.effective.get(name).copied().unwrap_or_else(|| self.param(name))).collect()
    }

    /// Normalises the weights of all blocks, group by group, after so many power iterations (or as many as the tolerance
    /// wants, if there is one); their results become the next vectors.
    fn normalise(&mut self, iterations: usize) {
        let tolerance = self.model.config.model.power_tolerance;
        let scope = self.g.enter(Scope::SPECTRAL_NORM);
        for group in self.model.norm_groups() {
            let norm = &group.norm;
            let mut operands = self.stacked(&group);
            let mut rounds = iterations;
            if iterations > 0 && tolerance > 0.0 {
                let [u, v, _] = norm.tighten(&mut self.g, operands, tolerance, iterations as u32);
                operands = [operands[0], u, v];
                rounds = 0;
            }
            let function = self.function(format!("{norm:?} {rounds}"), || norm.function(rounds));
            let results = self.g.call(&function, &operands);
            let flat = self.g.reshape(results[0], [norm.weight.len() * norm.layers]);
            let parts = stack::unstack(&mut self.g, flat, norm.layers);
            for (name, part) in group.weights.iter().zip(parts) {
                let effective = self.g.reshape(part, norm.weight.clone());
                self.effective.insert(name.clone(), effective);
            }
            if iterations > 0 {
                self.update_norms(&group, &results[1..]);
            }
        }
        self.g.enter(scope);
    }

    /// Weights, u and v of a group as the operands of its normalisation.
    pub(super) fn stacked(&mut self, group: &NormGroup) -> [NodeId; 3] {
        let names = group.weights.iter().map(|name| norm_names(name)).collect::<Vec<_>>();
        let of = |this: &mut Self, which: usize| {
            let parts: Vec<NodeId> = names.iter().map(|names| this.param(&names[which])).collect();
            stack::stack(&mut this.g, &parts)
        };
        let (u, v) = (of(self, 0), of(self, 1));
        let weights: Vec<NodeId> = group.weights.iter().map(|name| self.param(name)).collect();
        let weights = stack::stack(&mut self.g, &weights);
        [self.g.reshape(weights, group.norm.stacked()), u, v]
    }

    /// Makes stacked u, v and σ the next ones of a group's layers.
    pub(super) fn update_norms(&mut self, group: &NormGroup, results: &[NodeId]) {
        for (which, &result) in results.iter().enumerate() {
            let parts = stack::views(&mut self.g, result, group.norm.layers);
            for (name, part) in group.weights.iter().zip(parts) {
                self.update(norm_names(name)[which].clone(), part);
            }
        }
    }

    /// Latent parts joined to `[n, d]`.
    pub(super) fn join(&mut self, latent: &[NodeId]) -> NodeId {
        let flat: Vec<NodeId> = latent
            .iter()
            .map(|&part| {
                let length = self.g.shape(part).len() / self.batch;
                self.g.reshape(part, [self.batch, length])
            })
            .collect();
        self.g.concat(&flat, 1)
    }
}

/// Row `row` of `keys` as a key.
pub(super) fn key_row(g: &mut Graph, keys: NodeId, row: usize) -> NodeId {
    let key = g.slice_axis(keys, 0, row, row + 1);
    g.reshape(key, [KEY_WIDTH])
}
