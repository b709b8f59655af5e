//! What the graphs of a model have in common: parameters as inputs, functions made once for each shape, the walk
//! through the parts.

use std::collections::HashMap;

use super::layout::norm_names;
use super::{Block, Model, Part};
use crate::graph::{FunctionRef, Graph, NodeId};
use crate::nn::logdet::LogDet;
use crate::nn::residual::{BlockFunction, KEY_WIDTH, Probes};
use crate::nn::{actnorm, squeeze};
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
    /// Whether the backward pass recomputes blocks.
    pub(super) recompute: bool,
    /// Whether ActNorm is initialised from what arrives at it; its parameters then become outputs.
    pub(super) initialize: bool,
}

impl Pass {
    /// Evaluation: nothing changes.
    pub(super) fn evaluation(log_det: Option<LogDet>, probes: Probes) -> Self {
        Self { iterations: 0, log_det, probes, recompute: false, initialize: false }
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
    functions: HashMap<String, FunctionRef>,
    updates: Vec<(String, NodeId)>,
}

impl<'m> Build<'m> {
    pub(super) fn new(model: &'m Model, batch: usize) -> Self {
        assert!(batch > 0, "a graph needs at least one sample");
        Self { model, g: Graph::new(), batch, functions: HashMap::new(), updates: Vec::new() }
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
        let mut norms: HashMap<_, _> = self.model.norms(block).into_iter().collect();
        let normalised = !norms.is_empty();
        let mut operands = Vec::new();
        for (operand, _) in block.branch.operands() {
            let name = block.operand_name(&operand, normalised);
            let value = self.param(&name);
            let Some(norm) = norms.remove(&name) else {
                operands.push(value);
                continue;
            };
            let names = norm_names(&name);
            let (u, v) = (self.param(&names[0]), self.param(&names[1]));
            let function = self.function(format!("{norm:?} {iterations}"), || norm.function(iterations));
            let results = self.g.call(&function, &[value, u, v]);
            operands.push(results[0]);
            if iterations > 0 {
                for (name, &result) in names.into_iter().zip(&results[1..]) {
                    self.update(name, result);
                }
            }
        }
        operands
    }

    pub(super) fn block_function(&self, block: &Block, pass: Option<&Pass>) -> BlockFunction {
        BlockFunction {
            branch: block.branch.clone(),
            actnorm: self.model.config.model.actnorm,
            batch: self.batch,
            log_det: pass.and_then(|pass| pass.log_det.clone()),
            probes: pass.map_or(Probes::Keys, |pass| pass.probes),
            recompute: pass.is_some_and(|pass| pass.recompute),
        }
    }

    /// Keys or probes of a block's log-determinant.
    fn probes(&mut self, index: usize, block: &Block, pass: &Pass) -> Vec<NodeId> {
        let Some(log_det) = &pass.log_det else { return Vec::new() };
        let samples = log_det.samples();
        let rows = self.model.streams(Some(log_det));
        (0..samples)
            .map(|sample| match pass.probes {
                Probes::Keys => {
                    let keys = self.g.find_input("keys").unwrap_or_else(|| self.g.input("keys", [rows, KEY_WIDTH]));
                    key_row(&mut self.g, keys, index * samples + sample)
                }
                Probes::Given => {
                    let shape = self.batched(block.branch.input.extents());
                    self.g.input(format!("probe/{index}/{sample}"), shape)
                }
            })
            .collect()
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
                    let mut arguments = vec![x];
                    arguments.extend(self.actnorm(block, x, pass.initialize));
                    arguments.extend(self.operands(block, pass.iterations));
                    arguments.extend(self.probes(index, block, pass));
                    let description = self.block_function(block, Some(pass));
                    let function = self.function(format!("{description:?}"), || description.function());
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
