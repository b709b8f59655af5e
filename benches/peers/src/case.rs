//! What is compared: convolutions and residual blocks at the shapes invertible residual networks have.

use iresnet::ops::conv2d::Geometry;
use iresnet::random::Key;

/// Images in a batch.
pub const BATCH: usize = 32;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// y = w ∗ x, without bias, zero padding that keeps the size.
    Convolution,
    /// y = x + F(x), F(x) = W₃ ∗ elu(W₂ ∗ elu(W₁ ∗ elu(x) + b₁) + b₂) + b₃ with kernels 3 × 3, 1 × 1, 3 × 3.
    Block,
    /// The same, and the gradients of Σ y·c in x, the weights and the biases.
    BlockGrad,
}

/// A problem for both.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub op: Op,
    /// Input channels.
    pub r#in: usize,
    /// Output channels; inside a block as many.
    pub out: usize,
    /// Side of the kernel, of a block the largest.
    pub kernel: usize,
    /// Side of the images.
    pub side: usize,
}

/// An input of a problem.
pub struct Input {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// All problems; those the project promises to be faster at come first.
pub fn all() -> Vec<Case> {
    let convolution = |[r#in, out, kernel, side]: [usize; 4]| Case { op: Op::Convolution, r#in, out, kernel, side };
    let block = |op, channels, side| Case { op, r#in: channels, out: channels, kernel: 3, side };
    let shapes = [
        [64, 64, 3, 16],
        [128, 128, 3, 8],
        [64, 64, 1, 16],
        [128, 128, 1, 8],
        [32, 32, 3, 32],
        [16, 16, 3, 32],
        [12, 512, 3, 16],
        [512, 12, 3, 16],
        [256, 256, 3, 8],
        [512, 512, 1, 8],
    ];
    let mut all: Vec<Case> = shapes.into_iter().map(convolution).collect();
    all.extend([block(Op::Block, 64, 16), block(Op::BlockGrad, 64, 16), block(Op::BlockGrad, 128, 8)]);
    all
}

impl Case {
    /// Name of the op in JSON.
    pub fn op_name(&self) -> &'static str {
        match self.op {
            Op::Convolution => "conv2d",
            Op::Block => "residual_block",
            Op::BlockGrad => "residual_block_grad",
        }
    }

    /// Name in the table.
    pub fn name(&self) -> String {
        let Self { r#in, out, kernel, side, .. } = self;
        let kernel = if self.op == Op::Convolution { format!("{kernel}×{kernel}") } else { "3×3 1×1 3×3".into() };
        format!("{} {in}→{out} {kernel} {side}×{side} n{BATCH}", self.op_name())
    }

    /// Output channels, input channels and side of each kernel.
    pub fn kernels(&self) -> Vec<[usize; 3]> {
        match self.op {
            Op::Convolution => vec![[self.out, self.r#in, self.kernel]],
            Op::Block | Op::BlockGrad => [3, 1, 3].map(|kernel| [self.out, self.r#in, kernel]).into(),
        }
    }

    /// The inputs, random: x, then the weight (and the bias, in a block) of each layer, then c where there is one.
    /// Weights are scaled to keep the variance, so that no layer works on vanishing or infinite numbers.
    pub fn inputs(&self) -> Vec<Input> {
        let image = |channels| vec![BATCH, channels, self.side, self.side];
        let mut wanted = vec![("x".to_owned(), image(self.r#in), 1.0)];
        for (layer, [out, r#in, kernel]) in self.kernels().into_iter().enumerate() {
            let scale = 1.0 / ((r#in * kernel * kernel) as f32).sqrt();
            wanted.push((format!("weight {layer}"), vec![out, r#in, kernel, kernel], scale));
            if self.op != Op::Convolution {
                wanted.push((format!("bias {layer}"), vec![out], 0.1));
            }
        }
        if self.op == Op::BlockGrad {
            wanted.push(("c".to_owned(), image(self.out), 1.0));
        }
        let fill = |(stream, (name, shape, scale)): (u32, (String, Vec<usize>, f32))| {
            let numbers = Key::new(1, 0, stream).normals(shape.iter().product());
            Input { name, shape, data: numbers.into_iter().map(|number| number * scale).collect() }
        };
        (0..).zip(wanted).map(fill).collect()
    }

    /// Floating-point operations of the convolutions, two a multiply-add; derivatives count twice as much as the value.
    pub fn flops(&self) -> u64 {
        let of = |[out, r#in, kernel]: [usize; 3]| {
            Geometry {
                batch: BATCH,
                groups: 1,
                in_channels: r#in,
                out_channels: out,
                height: self.side,
                width: self.side,
                kernel: [kernel; 2],
                stride: 1,
                padding: [kernel / 2; 2],
            }
            .flops()
        };
        let forward: u64 = self.kernels().into_iter().map(of).sum();
        if self.op == Op::BlockGrad { 3 * forward } else { forward }
    }
}
