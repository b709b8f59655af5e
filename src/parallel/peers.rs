//! The other processes of a run: who else sums with this one.

use std::cell::RefCell;
use std::fmt::Debug;

use super::shares::divide;
use crate::error::Result;

/// The processes that train one model together, each on devices of its own; rank 0 leads. Every call is made by all of
/// them, in the same order. A call fails with [`Error::PeerLost`](crate::error::Error::PeerLost) where one of them is
/// gone or keeps the others waiting too long.
pub trait Peers: Debug {
    /// This process's place among them, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn count(&self) -> usize;

    /// What to call one of them to a user: its number, its machine.
    fn name(&self, rank: usize) -> String;

    /// The machine that one of them runs on.
    fn machine(&self, rank: usize) -> String;

    /// Begins to add up everybody's numbers, element by element, and returns before that is done. Several sums may be under
    /// way, which everybody begins in the same order.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::error::Error::PeerLost).
    fn begin_sum(&self, numbers: Vec<f64>) -> Result<()>;

    /// The sums that were begun, in that order, for everybody.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::error::Error::PeerLost).
    fn end_sums(&self) -> Result<Vec<Vec<f64>>>;

    /// What everybody has, by rank, for everybody.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::error::Error::PeerLost).
    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>>;

    /// What rank 0 has, for everybody; what the others give is ignored.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::error::Error::PeerLost).
    fn share(&self, of_first: Vec<u8>) -> Result<Vec<u8>>;

    /// After a loss: makes those who are left the whole, with new ranks.
    ///
    /// # Errors
    /// [`Error::PeerLost`](crate::error::Error::PeerLost) where that cannot be done; who would lead is then known all the
    /// same, but nothing can be exchanged any more.
    fn regroup(&self) -> Result<()>;

    /// Ends the exchange, when all are done.
    fn finish(&self) {}
}

/// Nobody else.
#[derive(Clone, Debug, Default)]
pub struct Alone {
    sums: RefCell<Vec<Vec<f64>>>,
}

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        "this process".into()
    }

    fn machine(&self, _: usize) -> String {
        "this machine".into()
    }

    fn begin_sum(&self, numbers: Vec<f64>) -> Result<()> {
        self.sums.borrow_mut().push(numbers);
        Ok(())
    }

    fn end_sums(&self) -> Result<Vec<Vec<f64>>> {
        Ok(self.sums.take())
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![own])
    }

    fn share(&self, of_first: Vec<u8>) -> Result<Vec<u8>> {
        Ok(of_first)
    }

    fn regroup(&self) -> Result<()> {
        Ok(())
    }
}

/// The rows of a batch that belong to `rank` of `count` processes: equal shares, in the order of the batch. Together with
/// the order of an epoch, which depends on the seed and the epoch alone, it says who computes which sample in which step.
pub fn rows(batch: usize, count: usize, rank: usize) -> std::ops::Range<usize> {
    let shares = divide(batch, &vec![1.0; count]);
    let first = shares[..rank].iter().sum();
    first..first + shares[rank]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_belongs_to_one() {
        for (batch, count) in [(256, 4), (100, 3), (10, 4), (3, 5), (128, 1)] {
            let all: Vec<usize> = (0..count).flat_map(|rank| rows(batch, count, rank)).collect();
            assert_eq!(all, (0..batch).collect::<Vec<_>>(), "{batch} rows, {count} processes");
        }
        assert_eq!(rows(256, 4, 3), 192..256);
        assert_eq!(rows(3, 5, 4), 3..3, "there are not enough for all");
    }
}
