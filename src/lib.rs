//! Invertible residual networks on any GPU.
//!
//! A residual block y = x + F(x) whose branch F has a Lipschitz constant below one can be inverted by the fixed-point
//! iteration x ← y − F(x), and ln |det(I + ∂F/∂x)| is a power series (Behrmann et al., *Invertible Residual Networks*,
//! ICML 2019). This crate trains such networks as classifiers and as density models, inverts them and samples. WGSL
//! compute shaders do the arithmetic on Vulkan, Metal, DX12, OpenGL or WebGPU.
//!
//! # Tour
//! From the inside out:
//!
//! * [`graph`], [`ops`]: what to compute, as plain data; a small closed set of operations. [`autodiff`] turns a graph
//!   into one that also has derivatives, to any order. [`interpret`] runs any graph on the CPU in f64: it is the
//!   specification that everything else is tested against.
//! * [`plan`]: how to compute it, still plain data: fused kernels, shared memory, a flat list of commands.
//! * [`gpu`]: the only part that knows wgpu; adapters, memory, sessions.
//! * [`nn`], [`optim`], [`random`]: layers and models as graphs, update rules, counter-based random numbers.
//! * [`network`], [`mod@train`], [`eval`], [`checkpoint`], [`data`], [`config`]: a model on a device, its training,
//!   its uses, its file.
//! * `arrays`, `interchange`: files of arrays, and state dicts of the published PyTorch code.
//! * `run`, `report`, `picture`, `experiment`, `cli`: the program. Only with the feature `cli`, which is on by default and off for
//!   browsers.
//!
//! # A graph and its derivative
//! ```
//! use iresnet::graph::Graph;
//! use iresnet::interpret::{self, Array};
//!
//! let mut g = Graph::new();
//! let x = g.input("x", [3]);
//! let square = g.square(x);
//! let loss = g.sum_all(square);
//! let gradient = g.grad(loss, &[x])[0];
//! g.output("loss", loss);
//! g.output("gradient", gradient);
//!
//! let results = interpret::run(&g, vec![Array::new([3], vec![1.0, 2.0, 3.0])]);
//! assert_eq!(results[0].data(), [14.0]);
//! assert_eq!(results[1].data(), [2.0, 4.0, 6.0]);
//! ```
//!
//! # The same on a GPU
//! Inputs and outputs are tensors of a [`gpu::Memory`], bound by name. Opening, binding and reading are `async`, in
//! browsers as well; natively [`gpu::block_on`] drives them.
//! ```no_run
//! # use iresnet::graph::Graph;
//! use iresnet::gpu::{Gpu, Memory, Session, Tuning, block_on};
//! use iresnet::{network, plan};
//!
//! # fn main() -> iresnet::error::Result<()> {
//! # let mut g = Graph::new();
//! # let x = g.input("x", [3]);
//! # let square = g.square(x);
//! # let loss = g.sum_all(square);
//! # g.output("loss", loss);
//! block_on(async {
//!     let gpu = Gpu::open(None).await?;
//!     let mut memory = Memory::new(&gpu);
//!     for (name, id) in g.inputs().iter().chain(g.outputs()) {
//!         memory.alloc(name, g.shape(*id).clone())?;
//!     }
//!     let program = plan::compile("example", &g, &network::limits(&gpu))?;
//!     let session = Session::bind(&gpu, &program, &memory, &mut Tuning::first()).await?;
//!     memory.write("x", &[1.0, 2.0, 3.0]);
//!     session.run();
//!     assert_eq!(memory.read("loss").await?, [14.0]);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # A model
//! ```
//! use iresnet::config::{Config, Kind};
//! use iresnet::nn::{Model, Stop};
//!
//! let mut config = Config::default();
//! config.model.kind = Kind::Toy;
//! config.model.input = vec![2];
//! (config.model.blocks, config.model.strides, config.model.channels) = (vec![4], vec![1], vec![16]);
//! config.model.injective_padding = 0;
//! let model = Model::new(&config)?;
//! // From 32 latent vectors back to inputs; stops for each sample by itself.
//! let inverse = model.inverse_graph(32, Stop::default());
//! assert!(inverse.find_input("z").is_some());
//! # Ok::<(), iresnet::error::Error>(())
//! ```
//! [`network::Network`] puts it on a device, [`train::Trainer`] trains it, [`eval::Evaluator`] and [`eval::Inverter`]
//! use it.
//!
//! # Errors and panics
//! What the outside does wrong is an [`enum@error::Error`] that says what, where and what to do. What a caller does
//! wrong (shapes that do not fit) panics at the caller.

#[cfg(feature = "cli")]
pub mod arrays;
pub mod autodiff;
pub mod budget;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod data;
pub mod error;
pub mod eval;
#[cfg(feature = "cli")]
pub mod experiment;
pub mod gpu;
pub mod graph;
#[cfg(feature = "cli")]
pub mod interchange;
pub mod interpret;
pub mod json;
pub mod nearest;
pub mod network;
pub mod nn;
pub mod ops;
pub mod optim;
#[cfg(feature = "cli")]
pub mod parallel;
#[cfg(feature = "cli")]
pub mod picture;
pub mod plan;
#[cfg(feature = "cli")]
pub mod profile;
pub mod random;
#[cfg(feature = "cli")]
pub mod report;
#[cfg(feature = "cli")]
pub mod run;
pub mod shape;
mod sorted;
pub mod tensor;
mod threads;
pub mod train;
mod wgsl;
