//! The frame of a chart: from values to places, and what of a line is drawn.

use super::axis::Span;

/// Where the data stand in the drawing.
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    pub(crate) xs: Span,
    pub(crate) ys: Span,
}

impl Frame {
    /// The place of the point (x, y).
    pub(crate) fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (across, up) = (self.xs.fraction(x), self.ys.fraction(y));
        (self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top))
    }

    /// Whether a place is within the frame.
    pub(crate) fn holds(&self, (x, y): (f64, f64)) -> bool {
        let slack = 0.01;
        (self.left - slack..=self.right + slack).contains(&x) && (self.top - slack..=self.bottom + slack).contains(&y)
    }

    /// The parts of a polyline within the frame (Liang and Barsky's clipping, segment by segment).
    pub(crate) fn cut(&self, points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
        for pair in points.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let (mut enter, mut leave) = (0.0f64, 1.0f64);
            let sides =
                [(-dx, a.0 - self.left), (dx, self.right - a.0), (-dy, a.1 - self.top), (dy, self.bottom - a.1)];
            for (speed, distance) in sides {
                if speed == 0.0 {
                    if distance < 0.0 {
                        leave = -1.0;
                    }
                } else if speed < 0.0 {
                    enter = enter.max(distance / speed);
                } else {
                    leave = leave.min(distance / speed);
                }
            }
            if enter > leave {
                continue;
            }
            let at = |share: f64| if share == 1.0 { b } else { (a.0 + share * dx, a.1 + share * dy) };
            let (from, to) = (at(enter), at(leave));
            match pieces.last_mut() {
                Some(piece) if enter == 0.0 && piece.last() == Some(&from) => piece.push(to),
                _ => pieces.push(vec![from, to]),
            }
        }
        pieces
    }
}

/// `points` with at most four per half pixel of width: first, lowest, highest and last, which look the same.
///
/// Lines that turn back are kept as they are.
pub(crate) fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() < 4 * 256 || points.windows(2).any(|pair| pair[1].0 < pair[0].0) {
        return points.to_vec();
    }
    let column = |point: &(f64, f64)| (point.0 * 2.0).floor();
    let mut kept = Vec::new();
    for run in points.chunk_by(|a, b| column(a) == column(b)) {
        let extreme = |better: fn(f64, f64) -> bool| {
            (0..run.len()).fold(0, |best, i| if better(run[i].1, run[best].1) { i } else { best })
        };
        let mut indices = [0, extreme(|a, b| a < b), extreme(|a, b| a > b), run.len() - 1];
        indices.sort_unstable();
        indices.iter().enumerate().for_each(|(i, &index)| {
            if i == 0 || indices[i - 1] != index {
                kept.push(run[index]);
            }
        });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_extremes_and_ends() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i) * 0.005, f64::from(i % 7))).collect();
        points[50_001].1 = 99.0;
        let kept = thin(&points);
        assert!(kept.len() <= 4 * 1001, "{} points", kept.len());
        assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
        assert!(kept.contains(&points[50_001]));
    }
}
