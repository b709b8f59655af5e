//! What the host did when.

use crate::gpu::Slice;

/// What the host was doing, without what lies within it: name, begin and end, in order. `slices` lie within one another or
/// apart.
pub(super) fn innermost(slices: &[Slice]) -> Vec<(&str, f64, f64)> {
    let mut slices: Vec<&Slice> = slices.iter().collect();
    slices.sort_by(|a, b| a.start.total_cmp(&b.start).then(b.end.total_cmp(&a.end)));
    let mut found = Vec::new();
    let mut open: Vec<&Slice> = Vec::new();
    let mut at = 0.0;
    // The next beginning, and at last the end.
    let starts = slices.iter().skip(1).map(|slice| slice.start).chain([f64::INFINITY]);
    for (slice, next) in slices.iter().zip(starts) {
        open.push(slice);
        at = f64::max(at, slice.start);
        while let Some(last) = open.last().filter(|_| at < next) {
            let until = last.end.min(next);
            if until > at {
                found.push((last.name.as_str(), at, until));
                at = until;
            }
            if last.end > next {
                break;
            }
            open.pop();
        }
    }
    found
}

/// How long two times have in common.
pub(super) fn overlap(a: (f64, f64), b: (f64, f64)) -> f64 {
    (a.1.min(b.1) - a.0.max(b.0)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, start: f64, end: f64) -> Slice {
        Slice { name: name.into(), of: String::new(), start, end }
    }

    #[test]
    fn what_lies_within_is_taken_out() {
        let host = [
            slice("submit", 2.0, 3.0),
            slice("step", 1.0, 6.0),
            slice("record", 1.0, 4.0),
            slice("wait", 4.0, 5.0),
            slice("step", 8.0, 9.0),
        ];
        let wanted = [
            ("record", 1.0, 2.0),
            ("submit", 2.0, 3.0),
            ("record", 3.0, 4.0),
            ("wait", 4.0, 5.0),
            ("step", 5.0, 6.0),
            ("step", 8.0, 9.0),
        ];
        assert_eq!(innermost(&host), wanted);
    }

    #[test]
    fn overlaps() {
        assert_eq!(overlap((1.0, 3.0), (2.0, 5.0)), 1.0);
        assert_eq!(overlap((1.0, 2.0), (3.0, 5.0)), 0.0);
    }
}
