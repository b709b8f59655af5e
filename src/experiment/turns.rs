//! Times of several things, taken in turns, so that whatever else the machine does falls on all of them.

use std::time::Instant;

use crate::error::Result;

/// Seconds that each of `count` things takes, in the order of `rounds` rounds in each of which every one is run once. A round
/// before them finds cold caches and is not counted. `prepare` gets the number of a thing and of the round before it is
/// `run`, and is not timed.
///
/// # Errors
/// Those of `run`.
pub async fn in_turns(
    count: usize,
    rounds: usize,
    mut prepare: impl FnMut(usize, u32),
    mut run: impl AsyncFnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<f64>>> {
    let mut seconds = vec![Vec::new(); count];
    for round in 0..=rounds {
        for (number, seconds) in seconds.iter_mut().enumerate() {
            prepare(number, round as u32);
            let begun = Instant::now();
            run(number).await?;
            if round > 0 {
                seconds.push(begun.elapsed().as_secs_f64());
            }
        }
    }
    Ok(seconds)
}

/// The one in the middle; of an even number the upper one. Panics if there is none.
pub fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::block_on;

    #[test]
    fn every_one_is_run_once_a_round_and_the_first_round_is_not_counted() {
        let mut prepared = Vec::new();
        let mut order = Vec::new();
        let run = async |number: usize| {
            order.push(number);
            Ok(())
        };
        let seconds = block_on(in_turns(2, 2, |number, round| prepared.push((round, number)), run)).unwrap();
        assert_eq!(seconds.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(order, [0, 1, 0, 1, 0, 1]);
        assert_eq!(prepared, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
    }
}
