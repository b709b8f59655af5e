//! The power series cut off, differentiated through every term.

use crate::graph::{Graph, NodeId};

/// The first `terms` terms of the power series, averaged over `probes` (shaped as `a`): `[n]`.
#[track_caller]
pub fn series(g: &mut Graph, f: NodeId, a: NodeId, probes: &[NodeId], terms: usize) -> NodeId {
    assert!(!probes.is_empty() && terms > 0, "the series needs at least one probe and one term");
    let mut total = None;
    for &probe in probes {
        let mut product = probe;
        let mut weighted = None;
        for k in 1..=terms {
            product = g.vjp(&[(f, product)], &[a])[0];
            let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
            let term = g.scale(product, sign / k as f64);
            weighted = Some(weighted.map_or(term, |sum| g.add(sum, term)));
        }
        // Terms are added up before the inner product with the probe: one reduction instead of one a term.
        let weighted = weighted.expect("at least one term");
        let products = g.mul(weighted, probe);
        let estimate = g.sum_samples(products);
        total = Some(total.map_or(estimate, |sum| g.add(sum, estimate)));
    }
    let total = total.expect("at least one probe");
    g.scale(total, 1.0 / probes.len() as f64)
}
