//! Gradients in buckets, which are read back and added up one by one while devices still compute the next.

use std::ops::Range;
use std::rc::Rc;

use super::peers::Peers;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::nn::Probes;
use crate::plan::{self, Limits};
use crate::train::GRADS;

/// Bytes with which a bucket is full, unless told otherwise: what is worth a submission and a staging buffer of its own.
pub(super) const BYTES: usize = 4 << 20;

/// How the gradients of a model are cut into buckets: each is ranges of numbers in memory's bucket [`GRADS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Buckets(pub(super) Vec<Vec<Range<usize>>>);

impl Buckets {
    /// Cuts the gradients of steps with batches of `total` samples into buckets of at least so many `bytes`, but for the
    /// last, in the order in which a backward pass finishes them. That is looked up in the plan of a small shard for a device
    /// that allows what all do, so that every device and every process has the same buckets.
    ///
    /// # Errors
    /// [`Error::Config`] where a tensor is too large.
    pub(super) fn cut(network: &Network, total: usize, bytes: usize) -> Result<Self> {
        let len = network.memory().len(GRADS);
        if 4 * len <= bytes {
            return Ok(Self::whole(len));
        }
        let layout = network.memory().layout();
        let graph = network.model().shard_graph(total.min(2), total, Probes::Keys);
        let program = plan::compile_early("shard", &graph, &Limits::default(), &layout, GRADS)?;
        let of_gradients = layout.values().filter(|(bucket, _, _)| bucket == GRADS);
        let mut firsts: Vec<u64> = of_gradients.map(|&(_, _, first)| first).collect();
        firsts.sort_unstable();
        // Padding belongs to the tensor before it.
        let ends = firsts.iter().copied().skip(1).chain([4 * len as u64]);
        let tensors = firsts.iter().zip(ends).map(|(&first, end)| first..end);
        let mut tensors: Vec<(usize, Range<u64>)> =
            tensors.map(|bytes| (program.last_writer_within(GRADS, &bytes), bytes)).collect();
        tensors.sort_by_key(|(finished, bytes)| (*finished, bytes.start));
        let mut buckets = vec![Vec::new()];
        let mut held = 0;
        for (_, tensor) in tensors {
            if held >= bytes {
                buckets.push(Vec::new());
                held = 0;
            }
            held += (tensor.end - tensor.start) as usize;
            let bucket = buckets.last_mut().expect("never empty");
            bucket.push(tensor.start as usize / 4..tensor.end as usize / 4);
        }
        Ok(Self(buckets.into_iter().map(joined).collect()))
    }

    /// All in one.
    pub(super) fn whole(len: usize) -> Self {
        Self(vec![vec![Range { start: 0, end: len }]])
    }

    /// How many numbers a bucket has.
    fn len(&self, bucket: usize) -> usize {
        self.0[bucket].iter().map(ExactSizeIterator::len).sum()
    }

    /// Numbers of all buckets, laid out as devices hold them.
    fn lay_out(&self, numbers: &[Vec<f64>]) -> Vec<f64> {
        let mut all = vec![0.0; (0..self.0.len()).map(|bucket| self.len(bucket)).sum()];
        for (bucket, mut rest) in self.0.iter().zip(numbers.iter().map(Vec::as_slice)) {
            for range in bucket {
                let (head, tail) = rest.split_at(range.len());
                all[range.clone()].copy_from_slice(head);
                rest = tail;
            }
        }
        all
    }
}

/// Ranges in order, those that follow each other as one.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// Adds `numbers` to `sums`, which may still be empty.
pub(super) fn add<T: Copy + Into<f64>>(sums: &mut Vec<f64>, numbers: &[T]) {
    sums.resize(numbers.len(), 0.0);
    for (sum, &number) in sums.iter_mut().zip(numbers) {
        *sum += number.into();
    }
}

/// The sum of a step's gradients over the devices of this process, and over others: bucket by bucket, as they come, but each
/// number in the order of the devices.
pub(super) struct Sums<'a> {
    buckets: &'a Buckets,
    /// Those who add up with this process, if any: they are given a bucket as soon as it is whole here.
    peers: Option<Rc<dyn Peers>>,
    /// How many buckets were given to them.
    given: usize,
    /// What they have to say about that.
    problem: Option<Error>,
    /// Numbers of the workers that contribute, in the order of the batch.
    workers: Vec<usize>,
    sums: Vec<Sum>,
}

/// One bucket's.
#[derive(Clone, Default)]
struct Sum {
    numbers: Vec<f64>,
    /// How many workers are in it.
    workers: usize,
    /// Contributions whose turn has not come, by the places of their workers.
    waiting: Vec<(usize, Vec<f64>)>,
}

impl<'a> Sums<'a> {
    pub(super) fn new(buckets: &'a Buckets, peers: Option<Rc<dyn Peers>>) -> Self {
        Self { buckets, peers, given: 0, problem: None, workers: Vec::new(), sums: Vec::new() }
    }

    /// Begins anew, with contributions of these workers: those so far are thrown away, as one who made them was lost. Buckets
    /// that others were given stay as they are.
    pub(super) fn begin(&mut self, workers: Vec<usize>) {
        self.workers = workers;
        self.sums = vec![Sum::default(); self.buckets.0.len()];
    }

    /// Takes a worker's contribution to a bucket.
    pub(super) fn take(&mut self, worker: usize, bucket: usize, numbers: Vec<f64>) {
        if bucket < self.given {
            return;
        }
        let place = self.workers.iter().position(|&one| one == worker).expect("one that contributes");
        let sum = &mut self.sums[bucket];
        sum.waiting.push((place, numbers));
        while let Some(next) = sum.waiting.iter().position(|&(place, _)| place == sum.workers) {
            let (_, numbers) = sum.waiting.swap_remove(next);
            add(&mut sum.numbers, &numbers);
            sum.workers += 1;
        }
        self.give();
    }

    /// Gives buckets that are whole to the others, in the order that all keep. The last one waits for what else is added up.
    fn give(&mut self) {
        let Some(peers) = self.peers.clone().filter(|_| self.problem.is_none()) else { return };
        while self.given + 1 < self.buckets.0.len() && self.sums[self.given].workers == self.workers.len() {
            let sum = self.numbers(self.given);
            self.problem = peers.begin_sum(sum).err();
            self.given += 1;
        }
    }

    /// The sum of a bucket; zeros where nobody has samples.
    fn numbers(&mut self, bucket: usize) -> Vec<f64> {
        let mut numbers = std::mem::take(&mut self.sums[bucket].numbers);
        numbers.resize(self.buckets.len(bucket), 0.0);
        numbers
    }

    /// The sums over everybody, laid out as devices hold them, and with them those of `more`, everybody's in the same way.
    ///
    /// # Errors
    /// [`Error::PeerLost`].
    pub(super) fn end(mut self, more: Vec<f64>) -> Result<(Vec<f64>, Vec<f64>)> {
        let last = self.buckets.0.len() - 1;
        let Some(peers) = self.peers.clone() else {
            let numbers: Vec<Vec<f64>> = (0..=last).map(|bucket| self.numbers(bucket)).collect();
            return Ok((self.buckets.lay_out(&numbers), more));
        };
        self.give();
        self.problem.take().map_or(Ok(()), Err)?;
        let numbers = self.numbers(last);
        let len = numbers.len();
        peers.begin_sum([numbers, more].concat())?;
        let mut sums = peers.end_sums()?;
        let more = sums.last_mut().map_or_else(Vec::new, |last| last.split_off(len));
        Ok((self.buckets.lay_out(&sums), more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Range<usize> = 2..4;

    /// Two buckets, of which the first is what lies around the second.
    fn buckets() -> Buckets {
        Buckets(vec![joined(vec![4..6, 0..1, 1..2]), vec![SECOND]])
    }

    #[test]
    fn buckets_lie_where_they_belong() {
        assert_eq!(buckets().0, [vec![0..2, 4..6], vec![SECOND]]);
        assert_eq!(buckets().lay_out(&[vec![0.0, 1.0, 4.0, 5.0], vec![2.0, 3.0]]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    /// 1 + 2⁵³ is 2⁵³, so that another order gives another sum.
    #[test]
    fn sums_have_the_order_of_the_workers_whoever_comes_first() {
        let buckets = Buckets::whole(1);
        let large = 2.0_f64.powi(53);
        let numbers = [large, 1.0, -large];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut sums = Sums::new(&buckets, None);
            sums.begin(vec![0, 1, 2]);
            order.into_iter().for_each(|worker| sums.take(worker, 0, vec![numbers[worker]]));
            assert_eq!(sums.end(vec![7.0]).unwrap(), (vec![0.0], vec![7.0]), "{order:?}");
        }
    }

    #[test]
    fn what_a_lost_device_contributed_is_thrown_away() {
        let buckets = buckets();
        let mut sums = Sums::new(&buckets, None);
        sums.begin(vec![0, 2]);
        sums.take(0, 0, vec![1.0; 4]);
        sums.take(2, 0, vec![2.0; 4]);
        sums.take(2, 1, vec![3.0; 2]);
        sums.begin(vec![0]);
        sums.take(0, 0, vec![5.0; 4]);
        sums.take(0, 1, vec![6.0; 2]);
        assert_eq!(sums.end(Vec::new()).unwrap().0, [5.0, 5.0, 6.0, 6.0, 5.0, 5.0]);
    }
}
