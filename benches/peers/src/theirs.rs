//! The problems in burn: its wgpu backend on Vulkan with what it has on by default, fusion and tuning by timing.

use burn::backend::wgpu::{RuntimeOptions, WgpuDevice, graphics, init_setup};
use burn::backend::{Autodiff, Vulkan};
use burn::tensor::activation::elu;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};
use iresnet::gpu::DeviceKind;

use crate::case::{Case, Input, Op};

type Plain = Vulkan<f32, i32>;

/// burn's version, from the lock file.
pub fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split_once("name = \"burn\"\nversion = \"").map(|(_, rest)| rest);
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("of unknown version")
}

/// Opens the first adapter of this kind that Vulkan lists: the device, and the adapter's name.
pub fn open(kind: DeviceKind) -> (WgpuDevice, String) {
    let device = match kind {
        DeviceKind::Discrete => WgpuDevice::DiscreteGpu(0),
        DeviceKind::Integrated => WgpuDevice::IntegratedGpu(0),
        DeviceKind::Virtual => WgpuDevice::VirtualGpu(0),
        DeviceKind::Software => WgpuDevice::Cpu,
        DeviceKind::Other => WgpuDevice::DefaultDevice,
    };
    let setup = init_setup::<graphics::Vulkan>(&device, RuntimeOptions::default());
    let name = setup.adapter.get_info().name;
    (device, name)
}

/// A problem with its inputs on a device.
pub struct Theirs {
    device: WgpuDevice,
    case: Case,
    x: Tensor<Plain, 4>,
    weights: Vec<Tensor<Plain, 4>>,
    biases: Vec<Tensor<Plain, 1>>,
    c: Option<Tensor<Plain, 4>>,
}

/// What a run makes.
struct Results {
    images: Vec<Tensor<Plain, 4>>,
    /// Gradients in weights and biases, layer by layer.
    layers: Vec<(Tensor<Plain, 4>, Tensor<Plain, 1>)>,
}

impl Theirs {
    /// Uploads the inputs.
    pub fn new(device: &WgpuDevice, case: &Case) -> Self {
        let mut inputs = case.inputs().into_iter();
        let mut next = || inputs.next().expect("the problem has all its inputs");
        let x = tensor(next(), device);
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for _ in case.kernels() {
            weights.push(tensor(next(), device));
            if case.op != Op::Convolution {
                biases.push(tensor(next(), device));
            }
        }
        let c = (case.op == Op::BlockGrad).then(|| tensor(next(), device));
        Self { device: device.clone(), case: *case, x, weights, biases, c }
    }

    /// Computes it so many times, and waits for the end.
    pub fn run(&self, times: u32) -> Result<(), String> {
        // Results live until all is done, as nothing may be left out because nobody wants it.
        let mut results = Vec::new();
        for _ in 0..times {
            results.push(self.compute());
        }
        Plain::sync(&self.device).map_err(|error| format!("burn: {error:?}"))
    }

    /// The results: y, then the gradients in the order of the inputs.
    pub fn results(&self) -> Result<Vec<Vec<f32>>, String> {
        let Results { images, layers } = self.compute();
        let mut datas: Vec<TensorData> = images.into_iter().map(Tensor::into_data).collect();
        for (weight, bias) in layers {
            datas.extend([weight.into_data(), bias.into_data()]);
        }
        datas.into_iter().map(|data| data.to_vec().map_err(|error| format!("burn: {error:?}"))).collect()
    }

    fn compute(&self) -> Results {
        let Some(c) = &self.c else {
            let y = match self.case.op {
                Op::Convolution => convolve(self.x.clone(), self.weights[0].clone(), None, self.case.kernel),
                Op::Block | Op::BlockGrad => block(self.x.clone(), &self.weights, &self.biases, &self.case),
            };
            return Results { images: vec![y], layers: Vec::new() };
        };
        let x = Tensor::<Autodiff<Plain>, 4>::from_inner(self.x.clone()).require_grad();
        let lift = |weight: &Tensor<Plain, 4>| Tensor::from_inner(weight.clone()).require_grad();
        let weights: Vec<_> = self.weights.iter().map(lift).collect();
        let lift = |bias: &Tensor<Plain, 1>| Tensor::from_inner(bias.clone()).require_grad();
        let biases: Vec<_> = self.biases.iter().map(lift).collect();
        let y = block(x.clone(), &weights, &biases, &self.case);
        let gradients = (y.clone() * Tensor::from_inner(c.clone())).sum().backward();
        let missing = "every parameter takes part";
        let layers = weights
            .iter()
            .zip(&biases)
            .map(|(weight, bias)| (weight.grad(&gradients).expect(missing), bias.grad(&gradients).expect(missing)));
        Results { layers: layers.collect(), images: vec![y.inner(), x.grad(&gradients).expect(missing)] }
    }
}

fn tensor<const D: usize>(input: Input, device: &WgpuDevice) -> Tensor<Plain, D> {
    Tensor::from_data(TensorData::new(input.data, input.shape), device)
}

fn convolve<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    kernel: usize,
) -> Tensor<B, 4> {
    conv2d(x, weight, bias, ConvOptions::new([1, 1], [kernel / 2; 2], [1, 1], 1))
}

fn block<B: Backend>(x: Tensor<B, 4>, weights: &[Tensor<B, 4>], biases: &[Tensor<B, 1>], case: &Case) -> Tensor<B, 4> {
    let mut h = x.clone();
    for ((weight, bias), [_, _, kernel]) in weights.iter().zip(biases).zip(case.kernels()) {
        h = convolve(elu(h, 1.0), weight.clone(), Some(bias.clone()), kernel);
    }
    x + h
}
