//! Matrix products and convolutions in random expressions.

use iresnet::ops::Op;
use iresnet::ops::conv2d::{Conv2d, Geometry, Precision, Role};
use iresnet::ops::matmul::MatMul;
use iresnet::shape::Shape;

use super::{Entry, Grower};

impl Grower {
    /// `x` reshaped to `rank` axes: leading ones added or merged.
    fn ranked(&mut self, x: &Entry, rank: usize) -> Option<Entry> {
        let extents = x.value.shape().extents();
        let mut shape = vec![1; rank.saturating_sub(extents.len())];
        let surplus = extents.len().saturating_sub(rank);
        if surplus > 0 {
            shape.push(extents[..=surplus].iter().product());
            shape.extend_from_slice(&extents[surplus + 1..]);
        } else {
            shape.extend_from_slice(extents);
        }
        self.apply_reshape(x, shape)
    }

    pub(super) fn matmul(&mut self, x: &Entry) -> Option<Entry> {
        let x = self.ranked(x, 3)?;
        let shape = x.shape();
        let (transpose_a, transpose_b) = (self.draw.one_in(2), self.draw.one_in(2));
        let k = if transpose_a { shape[1] } else { shape[2] };
        let y = if transpose_a != transpose_b && self.draw.one_in(2) {
            x.clone()
        } else {
            let n = 1 + self.draw.below(5);
            self.input(Shape::from(if transpose_b { [shape[0], n, k] } else { [shape[0], k, n] }))
        };
        let id = self.graph.matmul(x.id, y.id, transpose_a, transpose_b);
        self.entry(id, &Op::MatMul(MatMul { transpose_a, transpose_b }), &[&x, &y])
    }

    /// A convolution in one of its roles, of `x` and a new input.
    pub(super) fn convolution(&mut self, x: &Entry) -> Option<Entry> {
        let x = self.ranked(x, 4)?;
        let shape = x.shape();
        let role = self.draw.choose(&[Role::Output, Role::Output, Role::InputGrad, Role::WeightGrad]);
        let (stride, padding) = (1 + self.draw.below(2), [self.draw.below(2), self.draw.below(2)]);
        let mut kernel = [1 + self.draw.below(3), 1 + self.draw.below(3)];
        let groups = if shape[1].is_multiple_of(2) && self.draw.one_in(3) { 2 } else { 1 };
        let other = 1 + self.draw.below(3);
        // As the input of the convolution x fixes height and width; as its output, the smallest input that gives it.
        let (mut height, mut width) = (shape[2], shape[3]);
        let (mut in_channels, mut out_channels) = (shape[1] / groups, other);
        if role == Role::InputGrad {
            let input = |out: usize, axis: usize| ((out - 1) * stride + kernel[axis]).checked_sub(2 * padding[axis]);
            (height, width) = (input(shape[2], 0)?, input(shape[3], 1)?);
            (in_channels, out_channels) = (other, shape[1] / groups);
        } else {
            kernel = [kernel[0].min(height + 2 * padding[0]), kernel[1].min(width + 2 * padding[1])];
        }
        if height == 0 || width == 0 {
            return None;
        }
        let batch = shape[0];
        let geometry = Geometry { batch, groups, in_channels, out_channels, height, width, kernel, stride, padding };
        let partner = match role {
            Role::Output | Role::InputGrad => geometry.weight_shape(),
            Role::WeightGrad => geometry.output_shape(),
        };
        let partner = self.input(partner);
        let op = Op::Conv2d(Conv2d { role, geometry, precision: Precision::F32 });
        let id = self.graph.add_node(op.clone(), &[x.id, partner.id]);
        self.entry(id, &op, &[&x, &partner])
    }
}
