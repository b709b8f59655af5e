//! Soft spectral normalisation: W̃ = W / max(1, σ/c), where σ estimates the largest singular value of a layer (paper,
//! equation 2).
//!
//! The layer is the linear map that is really applied: for a convolution the zero-padded convolution on images of the
//! layer's size, not its weight reshaped to a matrix, whose norm can be several times smaller. σ = ⟨u, W v⟩ with
//! vectors u, v that are kept from step to step; each training step improves them by a few power iterations
//! v ← Wᵀu/‖Wᵀu‖, u ← Wv/‖Wv‖. Gradients flow through σ into W with u, v held fixed. Evaluation does not iterate and
//! computes σ from the stored vectors.
//!
//! σ approaches the true norm from below, so a layer may exceed c a little until the vectors have converged;
//! [`SpectralNorm::tighten`] iterates to a tolerance before anything is certified.
//!
//! Several layers of one shape can be normalised together ([`SpectralNorm::layers`]): their weights, stacked along the
//! output axis, are one grouped convolution, so that a power iteration of a deep network is not hundreds of tiny
//! dispatches.

use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::shape::Shape;

/// Below this a vector's norm is taken for this, as in PyTorch's `normalize`.
const NORM_FLOOR: f64 = 1e-12;

/// Published: added to the divisor of convolutions with kernels larger than one pixel, and of those only.
pub(super) const CONVOLUTION_SLACK: f64 = 1e-5;

/// Spectral normalisation of `layers` linear maps of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectralNorm {
    /// Shape of one layer's weight: `[o, i, k, k]` of a convolution with odd k and padding k/2, or `[o, i]` of a matrix.
    pub weight: Shape,
    /// Height and width of the images on which a convolution's norm is taken. Without meaning for matrices and 1×1
    /// convolutions, whose norm does not depend on it.
    pub size: [usize; 2],
    /// c: the largest norm a layer may have.
    pub coefficient: f64,
    /// How many layers are normalised together.
    pub layers: usize,
}

impl SpectralNorm {
    /// Whether the layer's norm is that of the matrix `[o, i]`: linear layers and 1×1 convolutions.
    pub fn is_matrix(&self) -> bool {
        self.weight.rank() == 2 || (self.weight[2] == 1 && self.weight[3] == 1)
    }

    /// Number of elements of u for one layer: those of the layer's output.
    pub fn u_len(&self) -> usize {
        if self.is_matrix() { self.weight[0] } else { self.weight[0] * self.size[0] * self.size[1] }
    }

    /// Number of elements of v for one layer: those of the layer's input.
    pub fn v_len(&self) -> usize {
        if self.is_matrix() { self.weight[1] } else { self.weight[1] * self.size[0] * self.size[1] }
    }

    /// Shape of the stacked weights.
    pub(super) fn stacked(&self) -> Shape {
        let mut extents = self.weight.extents().to_vec();
        extents[0] *= self.layers;
        Shape::from(extents)
    }

    /// Name of functions made from this, by shape.
    fn label(&self) -> String {
        let size = if self.is_matrix() { String::new() } else { format!(" on {}x{}", self.size[0], self.size[1]) };
        format!("spectral {} x{}{size}", self.stacked(), self.layers)
    }

    /// W v for every layer: `[layers, v_len]` to `[layers, u_len]`.
    fn apply(&self, g: &mut Graph, w: NodeId, v: NodeId) -> NodeId {
        let (l, o, i) = (self.layers, self.weight[0], self.weight[1]);
        if self.is_matrix() {
            // As products and their sum, not as a matrix product of one column: then its derivative, an outer product,
            // is computed inside the kernel that uses it.
            return weighted_sum(g, (w, [l, o, i]), (v, [l, 1, i]), 2);
        }
        let [h, width] = self.size;
        let v = g.reshape(v, [1, l * i, h, width]);
        let padding = [self.weight[2] / 2, self.weight[3] / 2];
        let y = g.conv2d(v, w, 1, padding, l);
        g.reshape(y, [l, self.u_len()])
    }

    /// Wᵀ u for every layer: `[layers, u_len]` to `[layers, v_len]`.
    fn apply_transposed(&self, g: &mut Graph, w: NodeId, u: NodeId) -> NodeId {
        let (l, o, i) = (self.layers, self.weight[0], self.weight[1]);
        if self.is_matrix() {
            return weighted_sum(g, (w, [l, o, i]), (u, [l, o, 1]), 1);
        }
        let [height, width] = self.size;
        let u = g.reshape(u, [1, l * o, height, width]);
        let geometry = crate::ops::conv2d::Geometry {
            batch: 1,
            groups: l,
            in_channels: i,
            out_channels: o,
            height,
            width,
            kernel: [self.weight[2], self.weight[3]],
            stride: 1,
            padding: [self.weight[2] / 2, self.weight[3] / 2],
        };
        let x = g.conv2d_input_grad(u, w, geometry);
        g.reshape(x, [l, self.v_len()])
    }

    /// One power iteration from u `[layers, u_len]`: the new (u, v), which are constants to differentiation, and W v for
    /// the new v.
    fn iterate(&self, g: &mut Graph, w: NodeId, u: NodeId) -> [NodeId; 3] {
        let v = self.apply_transposed(g, w, u);
        let v = normalize_rows(g, v);
        let v = g.stop_gradient(v);
        let image = self.apply(g, w, v);
        let u = normalize_rows(g, image);
        [g.stop_gradient(u), v, image]
    }

    /// The function (w, u, v) → (w_eff, u, v, σ): `iterations` power iterations, then W / max(1, σ/c).
    ///
    /// Shapes: w and w_eff as [`weight`](Self::weight) with `layers` times the outputs; u `[layers·u_len]`, v
    /// `[layers·v_len]`, σ `[layers]`. With zero iterations u and v come back as they are (evaluation). The derivative of
    /// w_eff in w includes that through σ, with the new u and v held fixed.
    pub fn function(&self, iterations: usize) -> FunctionRef {
        let (l, mut g) = (self.layers, Graph::new());
        let w = g.input("weight", self.stacked());
        let u = g.input("u", [l * self.u_len()]);
        let v = g.input("v", [l * self.v_len()]);
        let (mut left, mut right) = (g.reshape(u, [l, self.u_len()]), g.reshape(v, [l, self.v_len()]));
        let mut image = None;
        for _ in 0..iterations {
            let [next_left, next_right, of_right] = self.iterate(&mut g, w, left);
            (left, right, image) = (next_left, next_right, Some(of_right));
        }
        let image = image.unwrap_or_else(|| self.apply(&mut g, w, right));
        let sigma = inner_products(&mut g, left, image);
        let one = g.scalar_like(1.0, sigma);
        let ratio = g.scale(sigma, 1.0 / self.coefficient);
        let mut divisor = g.max(one, ratio);
        if !self.is_matrix() {
            divisor = g.add_scalar(divisor, CONVOLUTION_SLACK);
        }
        let rows = g.reshape(w, [l, self.weight.len()]);
        let scaled = g.div(rows, divisor);
        let effective = g.reshape(scaled, self.stacked());
        let (left, right) = (g.reshape(left, [l * self.u_len()]), g.reshape(right, [l * self.v_len()]));
        let sigma = g.reshape(sigma, [l]);
        g.output("weight", effective);
        g.output("u", left);
        g.output("v", right);
        g.output("sigma", sigma);
        Function::new(format!("{} iterations {iterations}", self.label()), g)
    }

    /// So many power iterations, at least one, for nodes w, u, v shaped as the arguments of
    /// [`function`](Self::function): the new (u, v, σ).
    pub(super) fn advance(&self, g: &mut Graph, [w, u, v]: [NodeId; 3], iterations: usize) -> [NodeId; 3] {
        let l = self.layers;
        let mut left = g.reshape(u, [l, self.u_len()]);
        let mut right = g.reshape(v, [l, self.v_len()]);
        let mut image = left;
        for _ in 0..iterations {
            [left, right, image] = self.iterate(g, w, left);
        }
        let sigma = inner_products(g, left, image);
        let (left, right) = (g.reshape(left, [l * self.u_len()]), g.reshape(right, [l * self.v_len()]));
        [left, right, g.reshape(sigma, [l])]
    }

    /// Iterates until σ of every layer grows by less than `tolerance` of itself in a round, at most `limit` rounds. For
    /// nodes w, u, v shaped as the arguments of [`function`](Self::function); gives the new (u, v, σ).
    pub fn tighten(&self, g: &mut Graph, [w, u, v]: [NodeId; 3], tolerance: f64, limit: u32) -> [NodeId; 3] {
        let l = self.layers;
        let mut body = Graph::new();
        let left = body.input("u", [l * self.u_len()]);
        body.input("v", [l * self.v_len()]);
        let before = body.input("sigma", [l]);
        let weight = body.input("weight", self.stacked());
        let left = body.reshape(left, [l, self.u_len()]);
        let [left, right, image] = self.iterate(&mut body, weight, left);
        let sigma = inner_products(&mut body, left, image);
        let sigma = body.reshape(sigma, [l]);
        let change = body.sub(sigma, before);
        let change = body.abs(change);
        let allowed = body.scale(sigma, tolerance);
        let moving = body.less(allowed, change);
        let flag = body.max_over(moving, &[0]);
        let (left, right) = (body.reshape(left, [l * self.u_len()]), body.reshape(right, [l * self.v_len()]));
        for (name, node) in [("u", left), ("v", right), ("sigma", sigma), ("moving", flag)] {
            body.output(name, node);
        }
        let body = Function::new(format!("{} round", self.label()), body);
        let start = g.constant(0.0, [l]);
        let results = g.iterate(&body, 3, limit, &[u, v, start, w]);
        [results[0], results[1], results[2]]
    }
}

/// Σ of w·x over `axis`, for the layers' matrices w and vectors x under these shapes: `[layers, n]`.
fn weighted_sum(
    g: &mut Graph,
    (w, of_w): (NodeId, [usize; 3]),
    (x, of_x): (NodeId, [usize; 3]),
    axis: usize,
) -> NodeId {
    let (w, x) = (g.reshape(w, of_w), g.reshape(x, of_x));
    let x = g.broadcast(x, of_w);
    let products = g.mul(w, x);
    let sum = g.sum_keep(products, &[axis]);
    g.reshape(sum, [of_w[0], of_w[3 - axis]])
}

/// ⟨u, Wv⟩ of every layer: `[layers, 1]` of two `[layers, n]`.
fn inner_products(g: &mut Graph, u: NodeId, image: NodeId) -> NodeId {
    let products = g.mul(u, image);
    g.sum_keep(products, &[1])
}

/// Each row of a matrix divided by its Euclidean norm.
fn normalize_rows(g: &mut Graph, x: NodeId) -> NodeId {
    let squares = g.square(x);
    let sum = g.sum_keep(squares, &[1]);
    let norm = g.sqrt(sum);
    let floor = g.scalar_like(NORM_FLOOR, norm);
    let norm = g.max(norm, floor);
    g.div(x, norm)
}
