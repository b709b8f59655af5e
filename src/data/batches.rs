//! Which samples make up a batch.
//!
//! Training: epoch `e` goes through all samples in an order that depends on (seed, `e`) only. It is cut into
//! `len / batch` whole batches; the remainder of the order is dropped, and comes in other epochs, whose orders differ. So
//! step `s` belongs to epoch `s / (len / batch)`. A batch larger than the set is an epoch of its own: the order,
//! repeated as often as it takes.
//!
//! Evaluation: every sample once, in file order. The last batch is filled up by repeating the last sample, because shapes
//! are static, and says how many are real.

use crate::random::{Key, permutation, stream};

/// Number of steps in an epoch.
#[track_caller]
pub fn steps_per_epoch(batch: usize, len: usize) -> u32 {
    assert!(batch > 0 && len > 0, "batches of {batch} out of {len} samples");
    ((len / batch).max(1)) as u32
}

/// The samples of step `step`, shuffled. A pure function; [`Batches`] does the same without shuffling anew each step.
#[track_caller]
pub fn indices(seed: u64, step: u32, batch: usize, len: usize) -> Vec<u32> {
    Batches::new(seed, batch, len).indices(step)
}

/// The batches of a training run. It remembers the order of one epoch; what it answers depends on the arguments only.
#[derive(Clone, Debug)]
pub struct Batches {
    seed: u64,
    batch: usize,
    len: usize,
    shuffle: bool,
    order: Option<(u32, Vec<u32>)>,
}

impl Batches {
    /// Shuffled batches of `batch` out of `len` samples.
    #[track_caller]
    pub fn new(seed: u64, batch: usize, len: usize) -> Self {
        assert!(batch > 0 && len > 0, "batches of {batch} out of {len} samples");
        Self { seed, batch, len, shuffle: true, order: None }
    }

    /// The same in file order, every epoch alike.
    #[track_caller]
    pub fn in_order(batch: usize, len: usize) -> Self {
        Self { shuffle: false, ..Self::new(0, batch, len) }
    }

    /// Number of steps in an epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        steps_per_epoch(self.batch, self.len)
    }

    /// The epoch that `step` belongs to, from 0.
    pub fn epoch(&self, step: u32) -> u32 {
        step / self.steps_per_epoch()
    }

    /// The samples of step `step`.
    pub fn indices(&mut self, step: u32) -> Vec<u32> {
        let epoch = self.epoch(step);
        if self.order.as_ref().is_none_or(|&(of, _)| self.shuffle && of != epoch) {
            let order = if self.shuffle {
                permutation(Key::new(self.seed, epoch, stream::SHUFFLE), self.len)
            } else {
                (0..self.len as u32).collect()
            };
            self.order = Some((epoch, order));
        }
        let (_, order) = self.order.as_ref().expect("made above");
        let first = (step % self.steps_per_epoch()) as usize * self.batch;
        (first..first + self.batch).map(|place| order[place % self.len]).collect()
    }
}

/// One batch of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalBatch {
    /// As many samples as the batch size says.
    pub indices: Vec<u32>,
    /// How many of them, from the front, count; the rest repeats the last sample.
    pub real: usize,
}

/// The batches that go once through `len` samples in file order.
#[track_caller]
pub fn eval_batches(batch: usize, len: usize) -> impl Iterator<Item = EvalBatch> {
    assert!(batch > 0, "batches of no samples");
    (0..len).step_by(batch).map(move |first| EvalBatch {
        indices: (first..first + batch).map(|place| place.min(len - 1) as u32).collect(),
        real: batch.min(len - first),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_no_sample_twice_and_drops_only_the_remainder() {
        let (batch, len) = (4, 11);
        let mut batches = Batches::new(3, batch, len);
        assert_eq!(batches.steps_per_epoch(), 2);
        let mut seen: Vec<u32> = (2..4).flat_map(|step| batches.indices(step)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert!(seen.iter().all(|&index| index < 11));
    }

    #[test]
    fn what_one_epoch_drops_comes_in_another() {
        let mut batches = Batches::new(3, 4, 7);
        let mut seen: Vec<u32> = (0..20).flat_map(|step| batches.indices(step)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..7).collect::<Vec<u32>>());
    }

    #[test]
    fn epochs_and_seeds_have_different_orders() {
        assert_ne!(indices(1, 0, 100, 100), indices(1, 1, 100, 100));
        assert_ne!(indices(1, 0, 100, 100), indices(2, 0, 100, 100));
    }

    #[test]
    fn a_batch_larger_than_the_set_repeats_the_order() {
        let batch = indices(1, 5, 7, 3);
        assert_eq!(batch.len(), 7);
        assert_eq!(batch[..3], batch[3..6]);
        assert_eq!(batch[6], batch[0]);
        assert_eq!(Batches::new(1, 7, 3).epoch(5), 5);
    }

    #[test]
    fn unshuffled_batches_are_in_file_order() {
        let mut batches = Batches::in_order(2, 5);
        assert_eq!([batches.indices(0), batches.indices(1), batches.indices(2)], [[0, 1], [2, 3], [0, 1]]);
    }

    #[test]
    fn an_evaluation_sees_every_sample_once() {
        let batches: Vec<EvalBatch> = eval_batches(4, 10).collect();
        assert!(batches.iter().all(|batch| batch.indices.len() == 4));
        let seen: Vec<u32> = batches.iter().flat_map(|batch| batch.indices[..batch.real].to_vec()).collect();
        assert_eq!(seen, (0..10).collect::<Vec<u32>>());
        assert_eq!(batches[2], EvalBatch { indices: vec![8, 9, 9, 9], real: 2 });
        assert_eq!(eval_batches(4, 8).count(), 2);
        assert_eq!(eval_batches(4, 0).count(), 0);
    }
}
