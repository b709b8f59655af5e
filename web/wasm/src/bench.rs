//! A convolution and a residual block by themselves, for comparisons of speed.

use iresnet::gpu::{Gpu, Memory, Session, Tuning};
use iresnet::graph::Graph;
use iresnet::nn::Activation;
use iresnet::nn::residual::Branch;
use iresnet::{network, plan};
use wasm_bindgen::prelude::*;

use crate::{Device, raise};

/// A graph that is bound, ready to run.
#[wasm_bindgen]
pub struct Case {
    gpu: Gpu,
    memory: Memory,
    session: Session,
}

#[wasm_bindgen]
impl Case {
    /// y = x ∗ w with a 3 × 3 kernel, or y = x + F(x) with F as in a network, of ELU, 3 × 3, ELU, 1 × 1, ELU, 3 × 3. The
    /// operands in order: x, then each weight and, in a block, its bias.
    pub async fn bind(
        device: &Device,
        block: bool,
        batch: usize,
        channels: usize,
        size: usize,
        operands: Vec<f32>,
    ) -> Result<Case, JsValue> {
        let mut g = Graph::new();
        let x = g.input("x", [batch, channels, size, size]);
        let y = if block {
            let branch = Branch::convolutional([channels, size, size], channels, Activation::Elu, true);
            let inputs: Vec<_> = branch.operands().into_iter().map(|(name, shape)| g.input(name, shape)).collect();
            let f = branch.forward(&mut g, x, &inputs);
            g.add(x, f)
        } else {
            let w = g.input("w", [channels, channels, 3, 3]);
            g.conv2d(x, w, 1, [1, 1], 1)
        };
        g.output("y", y);
        let gpu = device.gpu.clone();
        let mut memory = Memory::new(&gpu);
        let mut rest = operands.as_slice();
        for (name, id) in g.inputs() {
            let shape = g.shape(*id).clone();
            let (own, others) = rest.split_at(shape.len());
            memory.alloc(name, shape).map_err(raise)?;
            memory.write(name, own);
            rest = others;
        }
        memory.alloc("y", g.shape(y).clone()).map_err(raise)?;
        let program = plan::compile("case", &g, &network::limits(&gpu)).map_err(raise)?;
        let session = Session::bind(&gpu, &program, &memory, &mut Tuning::first()).await.map_err(raise)?;
        Ok(Self { gpu, memory, session })
    }

    /// Runs it so many times, and waits until that is done.
    pub async fn run(&self, times: u32) -> Result<(), JsValue> {
        for _ in 0..times {
            self.session.run();
        }
        self.gpu.idle().await.map_err(raise)
    }

    /// The result.
    pub async fn read(&self) -> Result<Vec<f32>, JsValue> {
        self.memory.read("y").await.map_err(raise)
    }
}
