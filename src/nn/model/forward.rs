//! The way forwards through a network, part after part.

use super::build::{Build, key_row};
use super::layout::{STEM, split_prefix};
use super::{Block, Flow, Part, actnorm_names, of_other_architecture};
use crate::config::{Memory, Precision};
use crate::graph::NodeId;
use crate::nn::logdet::LogDet;
use crate::nn::residual::{BlockFunction, KEY_WIDTH, Probes};
use crate::nn::{actnorm, glow, resnet, reversible, squeeze};

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
    /// How exactly the convolutions of blocks and steps are computed.
    pub(super) precision: Precision,
    /// Whether ActNorm is initialised from what arrives at it; its parameters then become outputs.
    pub(super) initialize: bool,
    /// Whether batch normalisation takes the statistics of this batch; the next running ones become outputs, unless the
    /// pass initialises.
    pub(super) training: bool,
}

impl Pass {
    /// Evaluation: nothing changes.
    pub(super) fn evaluation(log_det: Option<LogDet>, probes: Probes) -> Self {
        let (memory, precision) = (Memory::Store, Precision::F32);
        Self { iterations: 0, log_det, probes, memory, precision, initialize: false, training: false }
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

impl Build<'_> {
    pub(super) fn block_function(&self, block: &Block, pass: Option<&Pass>) -> BlockFunction {
        BlockFunction {
            branch: block.branch.clone(),
            actnorm: self.model.config().model.actnorm,
            batch: self.batch,
            log_det: pass.and_then(|pass| pass.log_det.clone()),
            probes: pass.map_or(Probes::Keys, |pass| pass.probes),
            recompute: pass.is_some_and(|pass| pass.memory == Memory::Checkpoint),
            precision: pass.map_or(Precision::F32, |pass| pass.precision),
        }
    }

    /// Most rounds in which the backward pass of `pass` may invert the block, if it does.
    fn reversible_rounds(&self, block: &Block, pass: &Pass) -> Option<u32> {
        let coefficient = self.model.config().model.coefficient.filter(|_| pass.memory == Memory::Reversible)?;
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
            probes.push(self.key(log_det, self.model.blocks().len() * samples + index));
        }
        probes
    }

    /// Row `row` of `keys`, an input made at its first use.
    fn key(&mut self, log_det: &LogDet, row: usize) -> NodeId {
        let rows = self.model.streams(Some(log_det));
        let keys = self.g.find_input("keys").unwrap_or_else(|| self.g.input("keys", [rows, KEY_WIDTH]));
        key_row(&mut self.g, keys, row)
    }

    /// ActNorm's parameters `names` where it receives `x`, made from `x` if the pass initialises.
    pub(super) fn actnorm(&mut self, names: [String; 2], x: NodeId, initialize: bool) -> [NodeId; 2] {
        if !initialize {
            return names.map(|name| self.param(&name));
        }
        let (log_scale, shift) = actnorm::initialize(&mut self.g, x);
        let nodes = [log_scale, shift];
        for (name, node) in names.into_iter().zip(nodes) {
            self.update(name, node);
        }
        nodes
    }

    /// The way from `x` to the latent parts, with the log-determinant if the pass asks for it.
    pub(super) fn forward(&mut self, x: NodeId, pass: &Pass) -> Forward {
        let model = self.model;
        let mut at = Forward { latent: Vec::new(), log_det: None, seen: Vec::new() };
        let mut x = x;
        for &part in model.parts() {
            match part {
                Part::Squeeze => x = squeeze::squeeze(&mut self.g, x),
                Part::Pad(extra) => x = squeeze::pad_channels(&mut self.g, x, extra),
                Part::Head(_) => at.seen.push(x),
                Part::FactorOut => {
                    let (out, rest) = squeeze::factor_out(&mut self.g, x);
                    at.latent.push(out);
                    x = rest;
                }
                Part::Split(number) => {
                    let operands = self.split_operands(number);
                    let split = glow::split::forward(&mut self.g, x, operands);
                    at.latent.push(split.out);
                    x = split.rest;
                    if pass.log_det.is_some() {
                        self.add_log_det(&mut at, split.log_det);
                    }
                }
                Part::Stem => {
                    let weight = self.param(STEM);
                    x = self.g.conv2d(x, weight, 1, [1, 1], 1);
                }
                Part::Plain(index) => x = self.plain(index, x, pass),
                Part::Flow(index) => {
                    let results = self.flow(index, x, pass);
                    x = self.pass_on(&mut at, &results);
                }
                Part::Block(index) => {
                    let results = self.block(index, x, pass);
                    x = self.pass_on(&mut at, &results);
                }
            }
        }
        at.latent.push(x);
        at
    }

    /// Adds the second result, the log-determinant of a block or step, if there is one; gives the first.
    fn pass_on(&mut self, at: &mut Forward, results: &[NodeId]) -> NodeId {
        if let Some(&log_det) = results.get(1) {
            self.add_log_det(at, log_det);
        }
        results[0]
    }

    fn add_log_det(&mut self, at: &mut Forward, log_det: NodeId) {
        at.log_det = Some(at.log_det.map_or(log_det, |sum| self.g.add(sum, log_det)));
    }

    fn block(&mut self, index: usize, x: NodeId, pass: &Pass) -> Vec<NodeId> {
        let block = &self.model.blocks()[index];
        self.block_inputs.push(x);
        let mut arguments = vec![x];
        if self.model.config().model.actnorm {
            arguments.extend(self.actnorm(block.actnorm_names(), x, pass.initialize));
        }
        arguments.extend(self.operands(block, pass.iterations));
        arguments.extend(self.probes(index, block, pass));
        let description = self.block_function(block, Some(pass));
        let rounds = self.reversible_rounds(block, pass);
        let function = self.function(format!("{description:?} {rounds:?}"), || match rounds {
            Some(rounds) => description.reversible(rounds),
            None => description.function(),
        });
        self.g.call(&function, &arguments)
    }

    fn plain(&mut self, index: usize, x: NodeId, pass: &Pass) -> NodeId {
        of_other_architecture();
        let plain = &self.model.plain_blocks()[index];
        let mut arguments = vec![x];
        if plain.block.actnorm {
            arguments.extend(self.actnorm(actnorm_names(&plain.prefix), x, pass.initialize));
        }
        for operand in plain.block.operands() {
            arguments.push(self.param(&plain.operand_name(&operand.name)));
        }
        let recompute = pass.memory == Memory::Checkpoint;
        let mode = resnet::Mode { batch: self.batch, training: pass.training, recompute, precision: pass.precision };
        let function = self.function(format!("{:?} {mode:?}", plain.block), || plain.block.function(mode));
        let results = self.g.call(&function, &arguments);
        if pass.training && !pass.initialize {
            for (name, &node) in plain.block.statistics().into_iter().zip(&results[1..]) {
                self.update(plain.operand_name(&name), node);
            }
        }
        results[0]
    }

    fn flow(&mut self, index: usize, x: NodeId, pass: &Pass) -> Vec<NodeId> {
        of_other_architecture();
        let flow = &self.model.flows()[index];
        let mut arguments = vec![x];
        arguments.extend(self.flow_operands(flow, x, pass.initialize));
        let recompute = pass.memory == Memory::Checkpoint;
        let mode =
            glow::Mode { batch: self.batch, log_det: pass.log_det.is_some(), recompute, precision: pass.precision };
        let function = self.function(format!("{:?} {mode:?}", flow.step), || flow.step.function(mode));
        self.g.call(&function, &arguments)
    }

    /// What a step's functions take behind the sample: ActNorm's parameters where it receives `x`, then the operands.
    pub(super) fn flow_operands(&mut self, flow: &Flow, x: NodeId, initialize: bool) -> Vec<NodeId> {
        let mut operands = Vec::new();
        if flow.step.actnorm {
            operands.extend(self.actnorm(actnorm_names(&flow.prefix), x, initialize));
        }
        for operand in flow.step.operands() {
            operands.push(self.param(&flow.operand_name(&operand.name)));
        }
        operands
    }

    /// Weight and bias of the convolution of the split with this number.
    pub(super) fn split_operands(&mut self, number: usize) -> [NodeId; 2] {
        of_other_architecture();
        let prefix = split_prefix(number);
        ["weight", "bias"].map(|name| self.param(&format!("{prefix}.{name}")))
    }
}
