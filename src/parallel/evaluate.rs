//! Evaluation on all devices: whoever is free takes the next batch.

use std::sync::{Mutex, PoisonError};

use super::crew::each;
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
    /// [`Error::Gpu`](crate::error::Error::Gpu) if no device is left.
    pub fn evaluate<I>(&mut self, batches: impl Fn(usize) -> I, seed: u64) -> Result<Summary>
    where
        I: Iterator<Item = Batch> + Send,
    {
        loop {
            match self.try_to_evaluate(batches(self.evaluation), seed) {
                Ok(summary) => return Ok(summary),
                Err(Trouble::Other(error)) => return Err(error),
                Err(Trouble::Devices(failed)) => self.without(failed)?,
            }
        }
    }

    fn try_to_evaluate(&mut self, batches: impl Iterator<Item = Batch> + Send, seed: u64) -> Result<Summary, Trouble> {
        let names = self.lead().optimizer();
        let averaged = names.iter().position(|name| *name == optim::EMA).map(|place| &self.mirror.optimizer[place]);
        let mut evaluated = self.mirror.clone();
        if let Some(average) = averaged {
            evaluated.params.clone_from(average);
        }
        let limit = self.patience.evaluation;
        let queue = Mutex::new(batches.zip(0_u32..));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let results = each(&mut self.workers, limit, |worker| {
            evaluated.write_model(&worker.learner);
            worker.stale = true;
            let mut done = Vec::new();
            while let Some((batch, number)) = next() {
                done.push((number, block_on(worker.evaluator.columns([batch], seed, number))?));
            }
            Ok(done)
        });
        let results = all(&self.workers, results)?;
        let mut numbered: Vec<(u32, Columns)> = results.into_iter().flatten().collect();
        numbered.sort_by_key(|(number, _)| *number);
        let mut columns = Columns::new();
        for (_, part) in numbered {
            for (name, values) in part {
                columns.entry(name).or_default().extend(values);
            }
        }
        Ok(Summary::of(&columns))
    }
}
