//! How many samples of a batch each device gets.

/// Shares are multiples of this many samples: kernels like them better, and there are fewer distinct shapes to compile.
pub fn granule(batch: usize) -> usize {
    match batch {
        0..16 => 1,
        16..64 => 4,
        _ => 8,
    }
}

/// Divides a batch among devices of these speeds (samples a second, or anything in proportion), in multiples of the
/// [`granule`] except for what is left over, which the fastest gets. Who is too slow for a granule gets nothing.
#[track_caller]
pub fn divide(batch: usize, speeds: &[f64]) -> Vec<usize> {
    assert!(speeds.iter().all(|speed| speed.is_finite() && *speed > 0.0), "speeds {speeds:?}");
    let granule = granule(batch);
    let units = batch / granule;
    let total: f64 = speeds.iter().sum();
    let ideal: Vec<f64> = speeds.iter().map(|speed| units as f64 * speed / total).collect();
    let mut shares: Vec<usize> = ideal.iter().map(|units| *units as usize).collect();
    // What rounding down left goes to the largest remainders, earlier devices first.
    let mut order: Vec<usize> = (0..speeds.len()).collect();
    order.sort_by(|&a, &b| ideal[b].fract().total_cmp(&ideal[a].fract()));
    let left = units - shares.iter().sum::<usize>();
    for &device in order.iter().take(left) {
        shares[device] += 1;
    }
    for share in &mut shares {
        *share *= granule;
    }
    let fastest = (0..speeds.len()).rev().max_by(|&a, &b| speeds[a].total_cmp(&speeds[b]));
    if let Some(fastest) = fastest {
        shares[fastest] += batch - units * granule;
    }
    shares
}

/// Seconds of a step with these shares, if the speeds are right: that of the slowest.
pub(super) fn seconds(shares: &[usize], speeds: &[f64]) -> f64 {
    shares.iter().zip(speeds).map(|(&share, speed)| share as f64 / speed).fold(0.0, f64::max)
}

/// Into how many equal pieces a share of `samples` is cut, where at least `wanted` are.
pub(super) fn pieces(samples: usize, wanted: usize) -> usize {
    (wanted..=samples).find(|pieces| samples.is_multiple_of(*pieces)).unwrap_or(samples.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_proportion_and_whole() {
        assert_eq!(divide(256, &[1.0, 1.0]), [128, 128]);
        assert_eq!(divide(256, &[3.0, 1.0]), [192, 64]);
        assert_eq!(divide(100, &[1.0, 1.0]), [52, 48], "12 units of 8, and the 4 left over for the first of equals");
        assert_eq!(divide(10, &[2.0, 1.0]), [7, 3]);
        assert_eq!(divide(256, &[1.0, 1e-3]), [256, 0], "too slow for a granule");
        assert_eq!(divide(3, &[1.0; 5]).iter().sum::<usize>(), 3);
    }

    #[test]
    fn nothing_is_lost_whatever_the_speeds() {
        for batch in 1..200 {
            for speeds in [vec![1.0], vec![0.3, 5.0, 1.1], vec![1e-9, 1e9], vec![7.0; 9]] {
                assert_eq!(divide(batch, &speeds).iter().sum::<usize>(), batch, "{batch} over {speeds:?}");
            }
        }
    }

    #[test]
    fn the_slowest_says_how_long_a_step_takes() {
        assert_eq!(seconds(&[30, 10], &[10.0, 5.0]), 3.0);
        assert_eq!(seconds(&[30, 0], &[10.0, 1e-3]), 3.0);
    }

    #[test]
    fn pieces_are_equal() {
        assert_eq!([pieces(100, 1), pieces(100, 3), pieces(100, 6), pieces(7, 2), pieces(8, 100)], [1, 4, 10, 7, 8]);
    }
}
