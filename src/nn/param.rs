//! Parameters: the named tensors a model consists of, and how they start.
//!
//! Names are those of the published code's `state_dict`, so that importing and exporting its checkpoints is the
//! identity: `stack.0.bottleneck_block.0.weight_orig` and so on. Initial values come from the counter-based generator,
//! so that a seed determines a model on every machine.

mod rotation;

use crate::random::{Distribution, Key, stream};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::threads;

/// Whether training follows a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Changed by the optimizer.
    Parameter,
    /// Changed by the forward pass of training: power-iteration vectors, running statistics.
    State,
}

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One number everywhere.
    Constant(f64),
    /// Uniform on [-bound, bound]. PyTorch's default for weights and biases of linear layers and convolutions is
    /// bound = 1/√fan_in.
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// A normal random vector divided by its norm.
    UnitNormal,
    /// The square matrix of a random permutation.
    Shuffle,
    /// One of the factors of a random rotation. The three tensors of a rotation stand one after another in a model, in the
    /// order of [`Rotation`].
    Rotation(Rotation),
}

/// The factors of a square matrix P·L·(U + diag s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// P.
    Permutation,
    /// The signs of s, a vector.
    Signs,
    /// L below the diagonal (on which it has ones), U above it, ln |s| on it.
    Triangles,
}

/// A named tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Name in the published `state_dict`.
    pub name: String,
    /// Shape.
    pub shape: Shape,
    /// Initial value.
    pub init: Init,
    /// Parameter or state.
    pub role: Role,
}

impl Param {
    /// A parameter.
    pub fn parameter(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> Self {
        Self { name: name.into(), shape: shape.into(), init, role: Role::Parameter }
    }

    /// A state tensor.
    pub fn state(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> Self {
        Self { name: name.into(), shape: shape.into(), init, role: Role::State }
    }

    /// The same tensor as part of something: under `prefix.name`.
    pub fn under(self, prefix: &str) -> Self {
        Self { name: format!("{prefix}.{}", self.name), ..self }
    }

    /// Whether the optimizer changes it.
    pub fn is_parameter(&self) -> bool {
        self.role == Role::Parameter
    }

    /// The initial value for a seed below 2⁴⁸; `position` is the tensor's position in the model.
    pub fn initialize(&self, seed: u64, position: u32) -> Tensor {
        let key = Key::new(seed, position, stream::INITIALIZE);
        let draw = |distribution: Distribution| distribution.draws(key, self.shape.len()).into_iter();
        let data: Vec<f32> = match self.init {
            Init::Constant(value) => vec![value as f32; self.shape.len()],
            Init::Uniform { bound } => {
                draw(Distribution::Uniform).map(|unit| ((2.0 * unit - 1.0) * bound) as f32).collect()
            }
            Init::UnitNormal => {
                let normal: Vec<f64> = draw(Distribution::Normal).collect();
                let norm = normal.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                normal.into_iter().map(|x| (x / norm) as f32).collect()
            }
            Init::Shuffle => {
                let order = rotation::shuffled(key, self.shape[0]);
                rotation::permutation_matrix(&order).into_iter().map(|x| x as f32).collect()
            }
            Init::Rotation(which) => {
                let first = position - which as u32;
                let factors = rotation::rotation(Key::new(seed, first, stream::INITIALIZE), self.shape[0]);
                let data = match which {
                    Rotation::Permutation => factors.permutation,
                    Rotation::Signs => factors.signs,
                    Rotation::Triangles => factors.triangles,
                };
                data.into_iter().map(|x| x as f32).collect()
            }
        };
        Tensor::new(self.shape.clone(), data)
    }
}

/// Initial values of all tensors of a model, with their names, in the model's order.
pub fn initialize(params: &[Param], seed: u64) -> Vec<(String, Tensor)> {
    threads::map(params.len(), |position| {
        let param = &params[position];
        (param.name.clone(), param.initialize(seed, position as u32))
    })
}
