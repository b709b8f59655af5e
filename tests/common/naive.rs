//! Convolution and matrix product as their formulas, in f64.
#![allow(dead_code, reason = "each test binary uses a part")]

use iresnet::ops::conv2d::{Geometry, Role};
use iresnet::ops::matmul;

/// Numbers of elements of x, w and y.
pub(crate) fn conv2d_sizes(g: &Geometry) -> [usize; 3] {
    [
        g.batch * g.groups * g.in_channels * g.height * g.width,
        g.groups * g.out_channels * g.in_channels * g.kernel[0] * g.kernel[1],
        g.batch * g.groups * g.out_channels * g.out_height() * g.out_width(),
    ]
}

/// The three roles: visits every term of the trilinear form once. Inputs and result are in the order of [`Role`].
pub(crate) fn conv2d(g: &Geometry, role: Role, a: &[f32], b: &[f32]) -> Vec<f64> {
    let [nx, nw, ny] = conv2d_sizes(g);
    let mut result = vec![
        0.0;
        match role {
            Role::Output => ny,
            Role::InputGrad => nx,
            Role::WeightGrad => nw,
        }
    ];
    let ([kh, kw], [ph, pw]) = (g.kernel, g.padding);
    for n in 0..g.batch {
        for group in 0..g.groups {
            for o in 0..g.out_channels {
                for i in 0..g.in_channels {
                    for oy in 0..g.out_height() {
                        for ky in 0..kh {
                            let Some(y) = (oy * g.stride + ky).checked_sub(ph).filter(|&y| y < g.height) else {
                                continue;
                            };
                            for ox in 0..g.out_width() {
                                let at_y = ((n * g.groups + group) * g.out_channels + o) * g.out_height() + oy;
                                let at_y = at_y * g.out_width() + ox;
                                for kx in 0..kw {
                                    let Some(x) = (ox * g.stride + kx).checked_sub(pw).filter(|&x| x < g.width) else {
                                        continue;
                                    };
                                    let at_x = ((n * g.groups + group) * g.in_channels + i) * g.height + y;
                                    let at_x = at_x * g.width + x;
                                    let at_w = (((group * g.out_channels + o) * g.in_channels + i) * kh + ky) * kw + kx;
                                    let (to, left, right) = match role {
                                        Role::Output => (at_y, at_x, at_w),
                                        Role::InputGrad => (at_x, at_y, at_w),
                                        Role::WeightGrad => (at_w, at_x, at_y),
                                    };
                                    result[to] += f64::from(a[left]) * f64::from(b[right]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    result
}

/// C = op(A)·op(B), batched.
pub(crate) fn matmul(g: &matmul::Geometry, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut c = Vec::with_capacity(g.batch * g.m * g.n);
    for n in 0..g.batch {
        for i in 0..g.m {
            for j in 0..g.n {
                c.push(
                    (0..g.k)
                        .map(|l| {
                            let at_a = n * g.m * g.k + if g.transpose_a { l * g.m + i } else { i * g.k + l };
                            let at_b = n * g.k * g.n + if g.transpose_b { j * g.k + l } else { l * g.n + j };
                            f64::from(a[at_a]) * f64::from(b[at_b])
                        })
                        .sum(),
                );
            }
        }
    }
    c
}

/// Numbers spread over -1..1, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}
