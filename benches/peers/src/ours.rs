//! The problems in iresnet.

use iresnet::error::Result;
use iresnet::gpu::{Gpu, Memory, Session, Tuning, block_on};
use iresnet::graph::{Graph, NodeId};
use iresnet::{network, plan};

use crate::case::{Case, Op};

/// A problem bound to a device.
pub struct Ours {
    gpu: Gpu,
    memory: Memory,
    session: Session,
    outputs: Vec<String>,
}

impl Ours {
    /// Plans the problem, chooses its kernels by timing them and uploads the inputs.
    pub fn new(gpu: &Gpu, case: &Case, tuning: &mut Tuning) -> Result<Self> {
        let graph = graph(case);
        let mut memory = Memory::new(gpu);
        for (name, id) in graph.inputs().iter().chain(graph.outputs()) {
            memory.alloc(name, graph.shape(*id).clone())?;
        }
        for input in case.inputs() {
            memory.write(&input.name, &input.data);
        }
        let program = plan::compile(&case.name(), &graph, &network::limits(gpu))?;
        let session = block_on(Session::bind(gpu, &program, &memory, tuning))?;
        let outputs = graph.outputs().iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { gpu: gpu.clone(), memory, session, outputs })
    }

    /// Computes it so many times, and waits for the end.
    pub fn run(&self, times: u32) -> Result<()> {
        for _ in 0..times {
            self.session.run();
        }
        block_on(self.gpu.idle())
    }

    /// The results: y, then the gradients in the order of the inputs.
    pub fn results(&self) -> Result<Vec<Vec<f32>>> {
        self.run(1)?;
        self.outputs.iter().map(|name| block_on(self.memory.read(name))).collect()
    }
}

fn graph(case: &Case) -> Graph {
    let mut g = Graph::new();
    let inputs: Vec<NodeId> = case.inputs().into_iter().map(|input| g.input(input.name, input.shape)).collect();
    let x = inputs[0];
    if case.op == Op::Convolution {
        let y = g.conv2d(x, inputs[1], 1, [case.kernel / 2; 2], 1);
        g.output("y", y);
        return g;
    }
    let mut h = x;
    for (layer, [_, _, kernel]) in case.kernels().into_iter().enumerate() {
        let [weight, bias] = [inputs[1 + 2 * layer], inputs[2 + 2 * layer]];
        let active = elu(&mut g, h);
        let y = g.conv2d(active, weight, 1, [kernel / 2; 2], 1);
        let shift = g.per_channel(bias);
        h = g.add(y, shift);
    }
    let y = g.add(x, h);
    g.output("y", y);
    if case.op == Op::BlockGrad {
        let (wrt, c) = (&inputs[..7], inputs[7]);
        let product = g.mul(y, c);
        let loss = g.sum_all(product);
        for (number, gradient) in g.grad(loss, wrt).into_iter().enumerate() {
            g.output(format!("gradient {number}"), gradient);
        }
    }
    g
}

fn elu(g: &mut Graph, x: NodeId) -> NodeId {
    let zero = g.scalar_like(0.0, x);
    let (up, down) = (g.max(x, zero), g.min(x, zero));
    let down = g.expm1(down);
    g.add(up, down)
}
