//! Two-dimensional convolution: one trilinear form in three roles.
//!
//! T(x, w, g) = ⟨conv(x, w), g⟩ is linear in each of its three tensors. Its partial gradients are the convolution, its
//! adjoint in x and its adjoint in w, and each of these has the other two as derivatives, so the set is closed.

use super::{Op, Rule};
use crate::graph::{Graph, NodeId};
use crate::interpret::Array;
use crate::shape::Shape;

/// Which of the three tensors of the trilinear form ⟨conv(x, w), g⟩ an op computes from the other two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// y = conv(x, w): inputs `x`, `w`.
    Output,
    /// The adjoint in x, also called transposed convolution: inputs `g`, `w`, result shaped as x.
    InputGrad,
    /// The adjoint in w: inputs `x`, `g`, result shaped as w.
    WeightGrad,
}

/// How exactly the products of a convolution must be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Of the operands as they are.
    #[default]
    F32,
    /// Of operands that may be rounded to half precision (11 significant bits) where the device computes in it. Sums are f32
    /// all the same.
    F16,
}

/// The extents of a convolution (cross-correlation, as deep learning has it): x is `[batch, groups·in_channels, height,
/// width]`, w is `[groups·out_channels, in_channels, kernel…]`, y is `[batch, groups·out_channels, out_height,
/// out_width]`. Input height and width are part of it because a stride forgets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Number of images.
    pub batch: usize,
    /// Number of independent groups of channels.
    pub groups: usize,
    /// Input channels in each group.
    pub in_channels: usize,
    /// Output channels in each group.
    pub out_channels: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Step between output pixels, the same along both axes.
    pub stride: usize,
    /// Zeros added on each side, along height and along width.
    pub padding: [usize; 2],
}

impl Geometry {
    /// Height of the output.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding[0] - self.kernel[0]) / self.stride + 1
    }

    /// Width of the output.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding[1] - self.kernel[1]) / self.stride + 1
    }

    /// Floating-point operations of any of the three roles: two per multiply-add.
    pub fn flops(&self) -> u64 {
        2 * (self.batch * self.groups * self.out_channels * self.out_height() * self.out_width()) as u64
            * (self.in_channels * self.kernel[0] * self.kernel[1]) as u64
    }
}

/// A convolution of given geometry, in one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Which tensor is computed from which.
    pub role: Role,
    /// The extents.
    pub geometry: Geometry,
    /// How exactly. Derivatives of the op are as exact as the op.
    pub precision: Precision,
}

impl Geometry {
    /// Shape of x.
    pub fn input_shape(&self) -> Shape {
        Shape::from([self.batch, self.groups * self.in_channels, self.height, self.width])
    }

    /// Shape of w.
    pub fn weight_shape(&self) -> Shape {
        Shape::from([self.groups * self.out_channels, self.in_channels, self.kernel[0], self.kernel[1]])
    }

    /// Shape of y.
    pub fn output_shape(&self) -> Shape {
        Shape::from([self.batch, self.groups * self.out_channels, self.out_height(), self.out_width()])
    }

    /// Calls `visit` with flat indices into x, w and y for every product of the trilinear form.
    fn for_each_product(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (xs, ws, ys) = (self.input_shape().strides(), self.weight_shape().strides(), self.output_shape().strides());
        let [kh, kw] = self.kernel;
        for n in 0..self.batch {
            for o in 0..self.groups * self.out_channels {
                let first = o / self.out_channels * self.in_channels;
                for p in 0..self.out_height() {
                    for q in 0..self.out_width() {
                        let y = n * ys[0] + o * ys[1] + p * ys[2] + q * ys[3];
                        for i in 0..kh {
                            let Some(h) = (p * self.stride + i).checked_sub(self.padding[0]) else { continue };
                            if h >= self.height {
                                continue;
                            }
                            for j in 0..kw {
                                let Some(v) = (q * self.stride + j).checked_sub(self.padding[1]) else { continue };
                                if v >= self.width {
                                    continue;
                                }
                                for c in 0..self.in_channels {
                                    let x = n * xs[0] + (first + c) * xs[1] + h * xs[2] + v * xs[3];
                                    visit(x, o * ws[0] + c * ws[1] + i * ws[2] + j * ws[3], y);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Rule for Conv2d {
    fn label(&self) -> String {
        let g = &self.geometry;
        let name = match self.role {
            Role::Output => "conv2d",
            Role::InputGrad => "conv2d_input_grad",
            Role::WeightGrad => "conv2d_weight_grad",
        };
        let groups = if g.groups == 1 { String::new() } else { format!(" groups {}", g.groups) };
        let precision = if self.precision == Precision::F16 { " f16" } else { "" };
        format!(
            "{name} {}→{} {}×{} stride {} padding {:?}{groups}{precision}",
            g.in_channels, g.out_channels, g.kernel[0], g.kernel[1], g.stride, g.padding
        )
    }

    #[track_caller]
    fn infer(&self, inputs: &[&Shape]) -> Shape {
        let g = &self.geometry;
        let (first, second, result) = match self.role {
            Role::Output => (g.input_shape(), g.weight_shape(), g.output_shape()),
            Role::InputGrad => (g.output_shape(), g.weight_shape(), g.input_shape()),
            Role::WeightGrad => (g.input_shape(), g.output_shape(), g.weight_shape()),
        };
        assert!(
            *inputs[0] == first && *inputs[1] == second,
            "{}: operands have shapes {} and {}, need {first} and {second}",
            self.label(),
            inputs[0],
            inputs[1]
        );
        result
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, ct: NodeId) -> Vec<Option<NodeId>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let mut conv = |role, first, second| Some(g.add_node(Op::Conv2d(Self { role, ..*self }), &[first, second]));
        match self.role {
            Role::Output => vec![conv(Role::InputGrad, ct, b), conv(Role::WeightGrad, a, ct)],
            Role::InputGrad => vec![conv(Role::Output, ct, b), conv(Role::WeightGrad, ct, a)],
            Role::WeightGrad => vec![conv(Role::InputGrad, b, ct), conv(Role::Output, a, ct)],
        }
    }

    fn eval(&self, inputs: &[&Array], shape: &Shape) -> Array {
        let mut result = Array::full(shape, 0.0);
        let (a, b) = (inputs[0].data(), inputs[1].data());
        let r = result.data_mut();
        match self.role {
            Role::Output => self.geometry.for_each_product(|x, w, y| r[y] += a[x] * b[w]),
            Role::InputGrad => self.geometry.for_each_product(|x, w, y| r[x] += a[y] * b[w]),
            Role::WeightGrad => self.geometry.for_each_product(|x, w, y| r[w] += a[x] * b[y]),
        }
        result
    }
}
