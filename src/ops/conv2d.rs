//! Two-dimensional convolution: one trilinear form in three roles.

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
