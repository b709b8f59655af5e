//! The power series with the gradient of a Neumann series (Residual Flows, theorem 2, restricted to so many terms).
//!
//! With w₀ = v and wₖ = -Jᵀ wₖ₋₁ the series of K terms is Σ_{k<K} ⟨wₖ, J v⟩ / (k + 1): one Jacobian-vector product and
//! K - 1 transposed ones, none of which is differentiated. As d tr ln(I + J) = tr((I + J)⁻¹ dJ), the derivative is that
//! of ⟨a, J v⟩ with a = Σ_{k<K} wₖ held constant. It equals the derivative through every term on average, not draw by
//! draw. The backward pass keeps `a` and what one Jacobian-vector product needs, however many terms there are.

use super::series::series;
use crate::graph::{Function, FunctionRef, Graph, NodeId};
use crate::nn::linearised::Linearised;

/// The first `terms` terms of the power series, averaged over `probes` (shaped as the branch's input): `[n]`.
#[track_caller]
pub fn neumann(g: &mut Graph, point: &Linearised, probes: &[NodeId], terms: usize) -> NodeId {
    assert!(!probes.is_empty() && terms > 0, "the series needs at least one probe and one term");
    if terms == 1 {
        // Both gradients are the same.
        return series(g, point.value(), point.at(), probes, terms);
    }
    let round = round(g, point);
    let mut total = None;
    for &probe in probes {
        let image = point.product(g, probe);
        let (mut product, mut sum) = (probe, probe);
        let mut rest = None;
        for k in 1..terms {
            let mut arguments = vec![product, sum, image];
            arguments.extend(point.arguments(g));
            let results = g.call(&round, &arguments);
            (product, sum) = (results[0], results[1]);
            let term = g.stop_gradient(results[2]);
            let term = g.scale(term, 1.0 / (k + 1) as f64);
            rest = Some(rest.map_or(term, |rest| g.add(rest, term)));
        }
        let first = surrogate(g, probe, sum, image);
        let estimate = rest.map_or(first, |rest| g.add(first, rest));
        total = Some(total.map_or(estimate, |total| g.add(total, estimate)));
    }
    let total = total.expect("at least one probe");
    g.scale(total, 1.0 / probes.len() as f64)
}

/// ⟨v, J v⟩ for each sample, with the derivative of ⟨sum, J v⟩ for constant `sum`; `image` is J v.
pub(super) fn surrogate(g: &mut Graph, probe: NodeId, sum: NodeId, image: NodeId) -> NodeId {
    let value = g.mul(probe, image);
    let value = g.stop_gradient(value);
    // J v less itself: zero, with the derivative of J v.
    let constant = g.stop_gradient(image);
    let moving = g.sub(image, constant);
    let sum = g.stop_gradient(sum);
    let moving = g.mul(sum, moving);
    let products = g.add(value, moving);
    g.sum_samples(products)
}

/// -Jᵀ w.
pub(super) fn next_product(g: &mut Graph, point: &Linearised, product: NodeId) -> NodeId {
    let product = point.transposed(g, product);
    g.neg(product)
}

/// One round: (w, sum, J v, linearised branch…) → (-Jᵀ w, sum - Jᵀ w, ⟨-Jᵀ w, J v⟩ `[n]`).
///
/// A function of its own so that its results lie in memory: the backward pass then keeps the sum instead of the products
/// that it is made of, and each product's memory is used again by the next.
fn round(g: &Graph, point: &Linearised) -> FunctionRef {
    let mut body = Graph::new();
    let shape = g.shape(point.at()).clone();
    let [product, sum, image] = ["product", "sum", "image"].map(|name| body.input(name, shape.clone()));
    let point = point.as_inputs(g, &mut body);
    let next = next_product(&mut body, &point, product);
    let sum = body.add(sum, next);
    let inner = body.mul(next, image);
    let inner = body.sum_samples(inner);
    for (name, node) in [("product", next), ("sum", sum), ("inner", inner)] {
        body.output(name, node);
    }
    Function::new("Neumann round", body)
}
