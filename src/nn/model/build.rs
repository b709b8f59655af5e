//! What the graphs of a model have in common: parameters as inputs, functions made once for each shape, the walk
//! through the parts.

use std::collections::HashMap;

use super::layout::norm_names;
use super::{Block, Model, NormGroup, Part};
use crate::config::Memory;
use crate::graph::{FunctionRef, Graph, NodeId};
use crate::nn::logdet::LogDet;
use crate::nn::residual::{BlockFunction, KEY_WIDTH, Probes};
use crate::nn::{actnorm, reversible, squeeze, stack};
use crate::shape::Shape;

/// How the network is run forwards.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// Power iterations; with some, the new vectors become outputs.
    pub(super) iterations: usize,
    /// The log-determinant, if wanted.
    pub(super) log_det: Option<LogDet>,
    /// Where probes come from.
    pub(super) probes: Probes,
    /// What is kept of blocks for the backward pass.
    pub(super) memory: Memory,
    /// Whether ActNorm is initialised from what arrives at it; its parameters then become outputs.
    pub(super) initialize: bool,
}

impl Pass {
    /// Evaluation: nothing changes.
    pub(super) fn evaluation(log_det: Option<LogDet>, probes: Probes) -> Self {
        Self { iterations: 0, log_det, probes, memory: Memory::Store, initialize: false }
    }
}

/// Where the way forwards leads.
pub(super) struct Forward {
    /// The latent parts in order.
    pub(super) latent: Vec<NodeId>,
    /// The log-determinant `[n]`, if the pass asks for it.
    pub(super) log_det: Option<NodeId>,
    /// The activations that heads look at, in order.
    pub(super) seen: Vec<NodeId>,
}

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

    pub(super) fn block_function(&self, block: &Block, pass: Option<&Pass>) -> BlockFunction {
        BlockFunction {
            branch: block.branch.clone(),
            actnorm: self.model.config.model.actnorm,
            batch: self.batch,
            log_det: pass.and_then(|pass| pass.log_det.clone()),
            probes: pass.map_or(Probes::Keys, |pass| pass.probes),
            recompute: pass.is_some_and(|pass| pass.memory == Memory::Checkpoint),
        }
    }

    /// Most rounds in which the backward pass of `pass` may invert the block, if it does.
    fn reversible_rounds(&self, block: &Block, pass: &Pass) -> Option<u32> {
        let coefficient = self.model.config.model.coefficient.filter(|_| pass.memory == Memory::Reversible)?;
        Some(reversible::round_limit(coefficient, block.branch.layers()))
    }

    /// Keys or probes of a block's log-determinant, and the key of its number of terms where that is drawn.
    fn probes(&mut self, index: usize, block: &Block, pass: &Pass) -> Vec<NodeId> {
        let Some(log_det) = &pass.log_det else { return Vec::new() };
        let samples = log_det.samples();
        let mut probes: Vec<NodeId> = (0..samples)
            .map(|sample| match pass.probes {
                Probes::Keys => self.key(log_det, index * samples + sample),
                Probes::Given => {
                    let shape = self.batched(block.branch.input.extents());
                    self.g.input(format!("probe/{index}/{sample}"), shape)
                }
            })
            .collect();
        if log_det.draws_terms() {
            probes.push(self.key(log_det, self.model.blocks.len() * samples + index));
        }
        probes
    }

    /// Row `row` of `keys`, an input made at its first use.
    fn key(&mut self, log_det: &LogDet, row: usize) -> NodeId {
        let rows = self.model.streams(Some(log_det));
        let keys = self.g.find_input("keys").unwrap_or_else(|| self.g.input("keys", [rows, KEY_WIDTH]));
        key_row(&mut self.g, keys, row)
    }

    /// ActNorm's parameters for a block that receives `x`, made from `x` if the pass initialises.
    pub(super) fn actnorm(&mut self, block: &Block, x: NodeId, initialize: bool) -> Vec<NodeId> {
        if !self.model.config.model.actnorm {
            return Vec::new();
        }
        let names = block.actnorm_names();
        if !initialize {
            return names.iter().map(|name| self.param(name)).collect();
        }
        let (log_scale, shift) = actnorm::initialize(&mut self.g, x);
        let nodes = [log_scale, shift];
        for (name, node) in names.into_iter().zip(nodes) {
            self.update(name, node);
        }
        nodes.to_vec()
    }

    /// The way from `x` to the latent parts, with the log-determinant if the pass asks for it.
    pub(super) fn forward(&mut self, x: NodeId, pass: &Pass) -> Forward {
        let model = self.model;
        let (mut x, mut latent, mut seen, mut log_det) = (x, Vec::new(), Vec::new(), None);
        for &part in &model.parts {
            match part {
                Part::Squeeze => x = squeeze::squeeze(&mut self.g, x),
                Part::Pad(extra) => x = squeeze::pad_channels(&mut self.g, x, extra),
                Part::Head(_) => seen.push(x),
                Part::FactorOut => {
                    let (out, rest) = squeeze::factor_out(&mut self.g, x);
                    latent.push(out);
                    x = rest;
                }
                Part::Block(index) => {
                    let block = &model.blocks[index];
                    self.block_inputs.push(x);
                    let mut arguments = vec![x];
                    arguments.extend(self.actnorm(block, x, pass.initialize));
                    arguments.extend(self.operands(block, pass.iterations));
                    arguments.extend(self.probes(index, block, pass));
                    let description = self.block_function(block, Some(pass));
                    let rounds = self.reversible_rounds(block, pass);
                    let function = self.function(format!("{description:?} {rounds:?}"), || match rounds {
                        Some(rounds) => description.reversible(rounds),
                        None => description.function(),
                    });
                    let results = self.g.call(&function, &arguments);
                    x = results[0];
                    if let Some(&part) = results.get(1) {
                        log_det = Some(log_det.map_or(part, |sum| self.g.add(sum, part)));
                    }
                }
            }
        }
        latent.push(x);
        Forward { latent, log_det, seen }
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
