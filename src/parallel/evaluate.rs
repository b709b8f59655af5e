//! Evaluation on all devices: whoever is free takes the next batch.

use std::sync::{Mutex, PoisonError};

use super::crew::each;
use super::message;
use super::replicas::{Replicas, Trouble, all};
use crate::error::Result;
use crate::eval::{Columns, Summary};
use crate::gpu::block_on;
use crate::optim;

/// A batch of an evaluation: samples, labels, and how many of them count.
type Batch = (Vec<f32>, Vec<u32>, usize);

impl Replicas {
    /// Samples in a batch of an evaluation.
    pub fn evaluation_batch(&self) -> usize {
        self.evaluation
    }

    /// Mean results over the batches that `batches` gives, with the parameters' moving average where there is one. Each
    /// batch has the draws of its number, whoever computes it.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) if no device is left; [`Error::PeerLost`](crate::error::Error::PeerLost).
    pub fn evaluate<I>(&mut self, batches: impl Fn(usize) -> I, seed: u64) -> Result<Summary>
    where
        I: Iterator<Item = Batch> + Send,
    {
        let mut size = self.agree_on_the_batch()?;
        let own = loop {
            match self.try_to_evaluate(batches(size), size, seed) {
                Ok(own) => break own,
                Err(Trouble::Other(error)) => return Err(error),
                Err(Trouble::Devices(failed)) => self.without(failed)?,
            }
            if self.peers.count() == 1 {
                size = self.evaluation;
            }
        };
        let names = self.workers[0].evaluator.columns_given();
        let values = |columns: Columns| names.iter().map(|name| columns[name].clone()).collect();
        let own: Vec<_> = own.into_iter().map(|(number, columns)| (number, values(columns))).collect();
        let parts = self.peers.gather(message::of_columns(&own))?;
        let mut numbered: Vec<(u32, Vec<Vec<f64>>)> = parts.iter().flat_map(|part| message::columns(part)).collect();
        numbered.sort_by_key(|(number, _)| *number);
        let mut columns = Columns::new();
        for (_, part) in numbered {
            for (&name, values) in names.iter().zip(part) {
                columns.entry(name).or_default().extend(values);
            }
        }
        Ok(Summary::of(&columns))
    }

    /// Samples in a batch: as few as the smallest device of all processes needs.
    fn agree_on_the_batch(&mut self) -> Result<usize> {
        let sizes = self.peers.gather((self.evaluation as u64).to_le_bytes().to_vec())?;
        let size = |bytes: &Vec<u8>| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes) as usize);
        self.evaluation = sizes.iter().filter_map(size).min().unwrap_or(self.evaluation);
        Ok(self.evaluation)
    }

    fn try_to_evaluate(
        &mut self,
        batches: impl Iterator<Item = Batch> + Send,
        size: usize,
        seed: u64,
    ) -> Result<Vec<(u32, Columns)>, Trouble> {
        let names = self.lead().optimizer();
        let averaged = names.iter().position(|name| *name == optim::EMA).map(|place| &self.mirror.optimizer[place]);
        let mut evaluated = self.mirror.clone();
        if let Some(average) = averaged {
            evaluated.params.clone_from(average);
        }
        let limit = self.patience.evaluation;
        let (count, rank) = (self.peers.count() as u32, self.peers.rank() as u32);
        let queue = Mutex::new(batches.zip(0_u32..).filter(|(_, number)| number % count == rank));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let results = each(&mut self.workers, limit, |worker| {
            worker.evaluate_batches_of(size)?;
            evaluated.write_model(&worker.learner);
            (worker.stale, worker.begun) = (true, false);
            let mut done = Vec::new();
            while let Some((batch, number)) = next() {
                done.push((number, block_on(worker.evaluator.columns([batch], seed, number))?));
            }
            Ok(done)
        });
        Ok(all(&self.workers, results)?.into_iter().flatten().collect())
    }
}
