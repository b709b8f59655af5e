//! Products, convolutions, pooling.

use iresnet::graph::NodeId;
use iresnet::ops::conv2d::Geometry;

use crate::arrange::{images, padded, strided};
use crate::node::{Made, Node};

/// More shifted copies than this are not added up for a pooling window.
const LARGEST_WINDOW: usize = 25;

/// The operator's results, if it is one of these.
pub(crate) fn build(node: &mut Node<'_>, operator: &str) -> Option<Made> {
    let made = match operator {
        "MatMul" => matmul(node),
        "Gemm" => gemm(node),
        "Conv" => conv(node),
        "ConvTranspose" => conv_transpose(node),
        "AveragePool" | "MaxPool" | "LpPool" => pool(node, operator),
        "GlobalAveragePool" => over_pixels(node).map(|(x, axes)| node.mean_keep(x, &axes)),
        "GlobalMaxPool" => over_pixels(node).map(|(x, axes)| node.g.max_keep(x, &axes)),
        "LRN" => local_response(node),
        "Det" => determinant(node),
        _ => return None,
    };
    Some(made.map(|x| vec![x]))
}

fn matmul(node: &mut Node<'_>) -> Made<NodeId> {
    let (mut a, mut b) = (node.x(0)?, node.x(1)?);
    let (from, to) = (node.shape(a), node.shape(b));
    // A vector is a matrix of one row, or of one column, whose axis is dropped afterwards.
    if from.len() == 1 {
        a = node.g.reshape(a, [1, from[0]]);
    }
    if to.len() == 1 {
        b = node.g.reshape(b, [to[0], 1]);
    }
    let (left, right) = (node.shape(a), node.shape(b));
    let rank = left.len().max(right.len());
    let batch: Vec<usize> = (0..rank - 2)
        .map(|axis| {
            let of = |shape: &[usize]| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
            of(&left).max(of(&right))
        })
        .collect();
    let count = batch.iter().product::<usize>();
    let flat = |node: &mut Node<'_>, x: NodeId| {
        let matrix = node.shape(x)[node.rank(x) - 2..].to_vec();
        let wide = node.g.broadcast(x, [&batch[..], &matrix].concat());
        node.g.reshape(wide, [count, matrix[0], matrix[1]])
    };
    let (a, b) = (flat(node, a), flat(node, b));
    let product = node.g.matmul(a, b, false, false);
    let mut shape = batch.clone();
    if from.len() > 1 {
        shape.push(from[from.len() - 2]);
    }
    if to.len() > 1 {
        shape.push(to[to.len() - 1]);
    }
    Ok(node.g.reshape(product, shape))
}

fn gemm(node: &mut Node<'_>) -> Made<NodeId> {
    let (a, b) = (node.x(0)?, node.x(1)?);
    let (left, right) = (node.shape(a), node.shape(b));
    let (a, b) = (node.g.reshape(a, [1, left[0], left[1]]), node.g.reshape(b, [1, right[0], right[1]]));
    let (turn_a, turn_b) = (node.int("transA", 0) != 0, node.int("transB", 0) != 0);
    let product = node.g.matmul(a, b, turn_a, turn_b);
    let shape = node.shape(product)[1..].to_vec();
    let product = node.g.reshape(product, shape);
    let product = node.g.scale(product, node.float("alpha", 1.0));
    if !node.has(2) {
        return Ok(product);
    }
    let bias = node.x(2)?;
    let bias = node.g.scale(bias, node.float("beta", 1.0));
    Ok(node.g.add(product, bias))
}

/// A window that slides over the axes after the second.
struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Zeros before and after.
    low: Vec<usize>,
    high: Vec<usize>,
    /// Number of places it stops at.
    out: Vec<usize>,
}

impl Window {
    fn of(node: &Node<'_>, x: NodeId, kernel: Vec<usize>) -> Self {
        let count = kernel.len();
        let extents = node.shape(x)[2..].to_vec();
        let (strides, dilations) = (node.sizes("strides", count), node.sizes("dilations", count));
        let pads = node.list("pads").unwrap_or_else(|| vec![0; 2 * count]);
        let mut low: Vec<usize> = pads[..count].iter().map(|&pad| pad as usize).collect();
        let mut high: Vec<usize> = pads[count..].iter().map(|&pad| pad as usize).collect();
        let mut out = Vec::new();
        for axis in 0..count {
            let (extent, stride) = (extents[axis], strides[axis]);
            let reach = (kernel[axis] - 1) * dilations[axis] + 1;
            let auto = node.text("auto_pad");
            if auto.starts_with("SAME") {
                let places = extent.div_ceil(stride);
                let total = ((places - 1) * stride + reach).saturating_sub(extent);
                low[axis] = if auto == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                high[axis] = total - low[axis];
            }
            let room = extent + low[axis] + high[axis] - reach;
            let mut places = room / stride + 1;
            // A last window may hang over the end, but not begin beyond it.
            if node.int("ceil_mode", 0) != 0 {
                places = room.div_ceil(stride) + 1;
                if (places - 1) * stride >= extent + low[axis] {
                    places -= 1;
                }
            }
            out.push(places);
        }
        Self { kernel, strides, dilations, low, high, out }
    }

    /// Combines what the window sees at each of its places; outside it sees `fill`.
    fn fold(
        &self,
        node: &mut Node<'_>,
        x: NodeId,
        (low, fill): (&[usize], f64),
        mut combine: impl FnMut(&mut Node<'_>, NodeId, NodeId) -> NodeId,
    ) -> NodeId {
        let shape = node.shape(x);
        let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
        for axis in 0..self.kernel.len() {
            let reach = (self.out[axis] - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            before[axis + 2] = low[axis];
            after[axis + 2] = reach.saturating_sub(low[axis] + shape[axis + 2]);
        }
        let wide = padded(node, x, &before, &after, fill);
        let mut total = None;
        for number in 0..self.kernel.iter().product::<usize>() {
            let (mut seen, mut rest) = (wide, number);
            for axis in (0..self.kernel.len()).rev() {
                let tap = rest % self.kernel[axis];
                rest /= self.kernel[axis];
                seen = strided(node, seen, axis + 2, [tap * self.dilations[axis], self.out[axis], self.strides[axis]]);
            }
            total = Some(match total {
                Some(total) => combine(node, total, seen),
                None => seen,
            });
        }
        total.expect("a window sees something")
    }

    fn sum(&self, node: &mut Node<'_>, x: NodeId, low: &[usize]) -> NodeId {
        self.fold(node, x, (low, 0.0), |node, a, b| node.g.add(a, b))
    }
}

fn pool(node: &mut Node<'_>, operator: &str) -> Made<NodeId> {
    let x = node.x(0)?;
    let kernel: Vec<usize> = node.list("kernel_shape").unwrap_or_default().into_iter().map(|k| k as usize).collect();
    if kernel.iter().product::<usize>() > LARGEST_WINDOW {
        return Err(format!("its window has more than {LARGEST_WINDOW} places"));
    }
    if node.outputs() > 1 {
        return Err("indices of maxima are not kept".into());
    }
    let window = Window::of(node, x, kernel);
    match operator {
        "MaxPool" => {
            let low = f64::from(f32::MIN);
            Ok(window.fold(node, x, (&window.low, low), |node, a, b| node.g.max(a, b)))
        }
        "LpPool" => {
            let p = node.int("p", 2);
            let size = node.g.abs(x);
            let power = (1..p).fold(size, |power, _| node.g.mul(power, size));
            let sum = window.sum(node, power, &window.low);
            let log = node.g.log(sum);
            let log = node.g.scale(log, 1.0 / p as f64);
            Ok(node.g.exp(log))
        }
        _ => {
            // How many elements each window has: of the image, or of the image with its frame.
            let mut counted = node.g.scalar_like(1.0, x);
            let mut low = window.low.clone();
            if node.int("count_include_pad", 0) != 0 {
                let extents = node.shape(x);
                let framed = |axis: usize| match axis.checked_sub(2) {
                    Some(axis) => window.low[axis] + extents[axis + 2] + window.high[axis],
                    None => extents[axis],
                };
                let shape: Vec<usize> = (0..extents.len()).map(framed).collect();
                counted = node.g.constant(1.0, shape);
                low.fill(0);
            }
            let count = window.sum(node, counted, &low);
            let sum = window.sum(node, x, &window.low);
            Ok(node.g.div(sum, count))
        }
    }
}

fn over_pixels(node: &mut Node<'_>) -> Made<(NodeId, Vec<usize>)> {
    let x = node.x(0)?;
    Ok((x, (2..node.rank(x)).collect()))
}

/// Zeros between the elements along two axes.
fn diluted(node: &mut Node<'_>, mut x: NodeId, steps: &[usize]) -> NodeId {
    for (axis, &step) in steps.iter().enumerate().filter(|&(_, &step)| step > 1) {
        let axis = axis + 2;
        let mut shape = node.shape(x);
        let extent = shape[axis];
        shape.insert(axis + 1, 1);
        let apart = node.g.reshape(x, shape.clone());
        let mut high = vec![0; shape.len()];
        high[axis + 1] = step - 1;
        let apart = node.g.pad(apart, &vec![0; shape.len()], &high);
        shape.remove(axis + 1);
        shape[axis] = extent * step;
        let joined = node.g.reshape(apart, shape);
        x = node.g.slice_axis(joined, axis, 0, (extent - 1) * step + 1);
    }
    x
}

fn with_bias(node: &mut Node<'_>, y: NodeId) -> Made<NodeId> {
    if !node.has(2) {
        return Ok(y);
    }
    let bias = node.x(2)?;
    let bias = node.per_channel(bias, 4);
    Ok(node.g.add(y, bias))
}

fn conv(node: &mut Node<'_>) -> Made<NodeId> {
    let (x, w) = (node.x(0)?, node.x(1)?);
    images(node, x)?;
    let [_, _, kh, kw] = images(node, w)?;
    let window = Window::of(node, x, vec![kh, kw]);
    if window.strides[0] != window.strides[1] {
        return Err("its strides differ between the axes".into());
    }
    let w = diluted(node, w, &window.dilations);
    let groups = node.int("group", 1) as usize;
    let (low, high) = ([window.low[0], window.low[1]], [window.high[0], window.high[1]]);
    let y = if low == high {
        node.g.conv2d(x, w, window.strides[0], low, groups)
    } else {
        let wide = node.g.pad(x, &[0, 0, low[0], low[1]], &[0, 0, high[0], high[1]]);
        node.g.conv2d(wide, w, window.strides[0], [0, 0], groups)
    };
    with_bias(node, y)
}

fn conv_transpose(node: &mut Node<'_>) -> Made<NodeId> {
    let (x, w) = (node.x(0)?, node.x(1)?);
    let ([batch, channels, h, width], [_, out, ..]) = (images(node, x)?, images(node, w)?);
    let groups = node.int("group", 1) as usize;
    let (strides, dilations) = (node.sizes("strides", 2), node.sizes("dilations", 2));
    let w = diluted(node, w, &dilations);
    let [_, _, kh, kw] = images(node, w)?;
    let (extents, kernel) = ([h, width], [kh, kw]);
    let extra = node.list("output_padding").unwrap_or_else(|| vec![0; 2]);
    let pads = node.list("pads").unwrap_or_else(|| vec![0; 4]);
    let (mut low, mut size) = ([0; 2], [0; 2]);
    for axis in 0..2 {
        let whole = (extents[axis] - 1) * strides[axis] + kernel[axis] + extra[axis] as usize;
        let auto = node.text("auto_pad");
        let wanted = match node.list("output_shape") {
            Some(shape) => Some(shape[shape.len() - 2 + axis] as usize),
            None => auto.starts_with("SAME").then_some(extents[axis] * strides[axis]),
        };
        (low[axis], size[axis]) = match wanted {
            Some(wanted) => {
                let total = whole.saturating_sub(wanted);
                (if auto == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) }, wanted)
            }
            None => (pads[axis] as usize, whole - pads[axis] as usize - pads[axis + 2] as usize),
        };
    }
    let geometry = |stride: usize, size: [usize; 2], padding: [usize; 2]| Geometry {
        batch,
        groups,
        in_channels: out,
        out_channels: channels / groups,
        height: size[0],
        width: size[1],
        kernel,
        stride,
        padding,
    };
    // The adjoint of a convolution as it is, where that convolution gives images of this size.
    let plain = geometry(strides[0], size, low);
    let reaches = |axis: usize| size[axis] + 2 * low[axis] >= kernel[axis];
    if strides[0] == strides[1] && (0..2).all(reaches) && [plain.out_height(), plain.out_width()] == extents {
        let y = node.g.conv2d_input_grad(x, w, plain);
        return with_bias(node, y);
    }
    // Otherwise with the zeros between the pixels made first, and the frame cut off or added afterwards.
    let apart = diluted(node, x, &strides);
    let full: [usize; 2] = std::array::from_fn(|axis| (extents[axis] - 1) * strides[axis] + kernel[axis]);
    let mut y = node.g.conv2d_input_grad(apart, w, geometry(1, full, [0, 0]));
    for axis in 0..2 {
        let end = (low[axis] + size[axis]).min(full[axis]);
        y = node.g.slice_axis(y, axis + 2, low[axis], end);
        let mut high = [0; 4];
        high[axis + 2] = low[axis] + size[axis] - end;
        y = node.g.pad(y, &[0; 4], &high);
    }
    with_bias(node, y)
}

/// Division by a power of the sum of squares over neighbouring channels.
fn local_response(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let size = node.int("size", 1) as usize;
    let (alpha, beta, bias) = (node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0));
    let square = node.g.square(x);
    let shape = node.shape(x);
    let (mut low, mut high) = (vec![0; shape.len()], vec![0; shape.len()]);
    (low[1], high[1]) = ((size - 1) / 2, size / 2);
    let wide = node.g.pad(square, &low, &high);
    let shifted: Vec<NodeId> = (0..size).map(|shift| node.g.slice_axis(wide, 1, shift, shift + shape[1])).collect();
    let sum = shifted[1..].iter().fold(shifted[0], |sum, &x| node.g.add(sum, x));
    let scaled = node.g.scale(sum, alpha / size as f64);
    let scaled = node.g.add_scalar(scaled, bias);
    let log = node.g.log(scaled);
    let power = node.g.scale(log, -beta);
    let factor = node.g.exp(power);
    Ok(node.g.mul(x, factor))
}

fn determinant(node: &mut Node<'_>) -> Made<NodeId> {
    let x = node.x(0)?;
    let shape = node.shape(x);
    let (batch, matrix) = shape.split_at(shape.len() - 2);
    if matrix != [2, 2] {
        return Err("only two rows and columns: there is no elimination with pivots".into());
    }
    let count = batch.iter().product::<usize>();
    let flat = node.g.reshape(x, [count, 4]);
    let element: Vec<NodeId> = (0..4).map(|number| node.g.slice_axis(flat, 1, number, number + 1)).collect();
    let (main, other) = (node.g.mul(element[0], element[3]), node.g.mul(element[1], element[2]));
    let difference = node.g.sub(main, other);
    Ok(node.g.reshape(difference, batch))
}
