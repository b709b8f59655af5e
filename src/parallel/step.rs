//! A step of training over all devices of all processes: see the [module above](super).

use std::collections::HashMap;
use std::rc::Rc;

use super::buckets::Sums;
use super::crew::{each, each_telling};
use super::message;
use super::mirror::Mirror;
use super::replicas::{Replicas, Trouble, all};
use super::worker::{Assignment, Contribution, LARGEST, SUMMED, Told, Verdict, Worker};
use crate::config::{Memory, OnNonfinite};
use crate::error::{Error, Result};
use crate::gpu::block_on;
use crate::network::STATE;
use crate::nn::model::DENSITY_LOSS;
use crate::optim;
use crate::train::{GRADS, StepReport};

impl Replicas {
    /// Does one step on a batch, the whole of it in every process, whatever happens to devices meanwhile.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::OutOfMemory`] if no device is left, [`Error::Diverged`] if the loss is not finite,
    /// [`Error::Verification`] if the backward pass could not invert a block, [`Error::PeerLost`]. The step is then not
    /// done.
    pub fn step(&mut self, x: &[f32], labels: &[u32]) -> Result<StepReport> {
        self.ask_the_lost();
        self.look_at_the_division();
        let own = self.locally(|replicas| replicas.forward(x))?;
        let verdict = self.judge(own, labels)?;
        let buckets = Rc::clone(&self.buckets);
        let mut sums = Sums::new(&buckets, (self.peers.count() > 1).then(|| Rc::clone(&self.peers)));
        let own = self.locally(|replicas| replicas.backward(x, &verdict, &mut sums))?;
        self.overlap = own.overlap;
        let (total, sums) = self.meet(&own, sums)?;
        let (loss, values) = results(&verdict, &total);

        let mut again = false;
        let outcome = if self.peers.rank() == 0 {
            let gradients = self.with_head(&sums, &verdict);
            self.locally(|replicas| {
                if std::mem::replace(&mut again, true) {
                    // Another device leads now, whose power iteration has to be where the other's was.
                    replicas.backward(x, &verdict, &mut Sums::new(&buckets, None))?;
                }
                replicas.update(&gradients, loss)
            })?
        } else {
            (Mirror::default(), 0)
        };
        let (mirror, nonfinite) = self.spread(outcome)?;
        let learning_rate = optim::learning_rate(&self.config, self.step, self.steps_per_epoch);
        let skipped = self.config.train.on_nonfinite == OnNonfinite::Skip;
        let report = StepReport::of(self.step, learning_rate, &values, nonfinite, skipped)?;
        self.mirror = mirror;
        self.step += 1;
        // The lead of rank 0 made these numbers; everybody else gets them.
        let made = usize::from(self.peers.rank() == 0);
        self.workers.iter_mut().skip(made).for_each(|worker| worker.stale = true);
        Ok(report)
    }

    /// The activations that the head looks at, of this process's samples, for each scale.
    fn forward(&mut self, x: &[f32]) -> Result<Vec<Vec<f32>>, Trouble> {
        let assignment = Assignment { x, seed: self.config.train.seed, step: self.step_number(), mirror: &self.mirror };
        let parts = each(&mut self.workers, self.patience.step, |worker| worker.forward(&assignment));
        let mut activations: Vec<Vec<f32>> = Vec::new();
        for part in all(&self.workers, parts)? {
            activations.resize(part.len(), Vec::new());
            activations.iter_mut().zip(part).for_each(|(whole, part)| whole.extend(part));
        }
        Ok(activations)
    }

    /// What the head says of the whole batch; and the state that the lead then has, with the head's new statistics in it
    /// and the old vectors. Both empty without a head.
    fn judge(&mut self, own: Vec<Vec<f32>>, labels: &[u32]) -> Result<Verdict> {
        if own.is_empty() {
            return Ok(Verdict::default());
        }
        let together = self.peers.count() > 1;
        let mut activations = own;
        if together {
            let parts = self.peers.gather(message::of_lists(&activations))?;
            activations = vec![Vec::new(); activations.len()];
            for part in parts {
                activations.iter_mut().zip(message::lists(&part)).for_each(|(whole, part)| whole.extend(part));
            }
        }
        let mut verdict = Verdict::default();
        if self.peers.rank() == 0 {
            verdict = self.locally(|replicas| {
                let lead = &replicas.workers[0];
                let of_lead = |error| Trouble::of(&replicas.workers, 0, error);
                let mut verdict = lead.judge(&activations, labels).map_err(of_lead)?.unwrap_or_default();
                let state = lead.learner.network().memory().start_read(STATE);
                verdict.state = block_on(state).map_err(of_lead)?;
                Ok(verdict)
            })?;
        }
        if together {
            let told = self.peers.share(message::of_verdict(&verdict))?;
            if self.peers.rank() > 0 {
                verdict = message::verdict(&told);
            }
        }
        Ok(verdict)
    }

    /// What this process's samples contribute: gradients to `sums`, bucket by bucket, and the rest.
    fn backward(&mut self, x: &[f32], verdict: &Verdict, sums: &mut Sums<'_>) -> Result<Contribution, Trouble> {
        let assignment = Assignment { x, seed: self.config.train.seed, step: self.step_number(), mirror: &self.mirror };
        let buckets = Rc::clone(&self.buckets);
        let (buckets, limit) = (&*buckets, self.patience.step);
        sums.begin((0..self.workers.len()).filter(|&number| self.workers[number].len > 0).collect());
        let work = |worker: &mut Worker, tell: &(dyn Fn(Told) + Sync)| {
            let judged = worker.leads && !verdict.state.is_empty();
            let state = if judged { &verdict.state } else { &assignment.mirror.state };
            worker.backward(&assignment, &verdict.activations, state, buckets, tell)
        };
        let hear = |number, (bucket, gradients)| sums.take(number, bucket, gradients);
        let contributions = each_telling(&mut self.workers, limit, work, hear);
        let mut total = Contribution::default();
        for contribution in all(&self.workers, contributions)? {
            total.merge(&contribution);
        }
        Ok(total)
    }

    /// Where this process's sums meet the others': the contribution of the whole batch, and the gradients.
    fn meet(&self, own: &Contribution, sums: Sums<'_>) -> Result<(Contribution, Vec<f64>)> {
        let mut more = Vec::new();
        for name in SUMMED {
            // With how many know it, as some models have less to report.
            more.push(own.sums.get(name).copied().unwrap_or(0.0));
            more.push(f64::from(u8::from(own.sums.contains_key(name))));
        }
        let (gradients, more) = sums.end(more)?;
        let mut total = Contribution::default();
        for (name, pair) in SUMMED.into_iter().zip(more.chunks_exact(2)) {
            if pair[1] > 0.0 {
                total.sums.insert(name, pair[0]);
            }
        }
        if self.config.train.memory == Memory::Reversible {
            let known = LARGEST.map(|name| own.largest.get(name).map_or(Vec::new(), |&value| vec![value]));
            for part in self.peers.gather(message::of_lists(&known))? {
                let mut part_of = Contribution::default();
                for (name, value) in LARGEST.into_iter().zip(message::lists(&part)) {
                    part_of.largest.extend(value.first().map(|&value| (name, value)));
                }
                total.merge(&part_of);
            }
        }
        Ok((total, gradients))
    }

    /// The optimizer's update, on the lead: everything as it then is, and how many gradients were no numbers.
    fn update(&mut self, gradients: &[f32], loss: f32) -> Result<(Mirror, u32), Trouble> {
        let lead = &self.workers[0].learner;
        lead.network().memory().write(GRADS, gradients);
        lead.set_loss(loss);
        lead.update(self.step);
        let of_lead = |error| Trouble::of(&self.workers, 0, error);
        let nonfinite = block_on(lead.start_read_nonfinite()).map_err(of_lead)?[0] as u32;
        Ok((block_on(Mirror::of(lead)).map_err(of_lead)?, nonfinite))
    }

    /// Brings what rank 0 made to all.
    fn spread(&self, (mirror, nonfinite): (Mirror, u32)) -> Result<(Mirror, u32)> {
        if self.peers.count() == 1 {
            return Ok((mirror, nonfinite));
        }
        let first = self.peers.rank() == 0;
        let told = if first { message::of_mirror(&mirror, self.step, nonfinite) } else { Vec::new() };
        let told = self.peers.share(told)?;
        if first {
            return Ok((mirror, nonfinite));
        }
        let (mirror, step, nonfinite) = message::mirror(&told);
        if step != self.step {
            return Err(Error::Verification(format!(
                "{} is at step {}, {} at step {step}; this should not happen: resume from the last checkpoint",
                self.peers.name(self.peers.rank()),
                self.step,
                self.peers.name(0)
            )));
        }
        Ok((mirror, nonfinite))
    }

    /// Compares what every device of every process holds.
    ///
    /// # Errors
    /// [`Error::Verification`] naming those that hold other numbers than rank 0; [`Error::PeerLost`], [`Error::Gpu`].
    pub fn compare(&mut self) -> Result<()> {
        let held = self.locally(|replicas| {
            let mut held = vec![replicas.mirror.hash()];
            for number in 0..replicas.workers.len() {
                let worker = &mut replicas.workers[number];
                worker.refresh(&replicas.mirror);
                let found = block_on(Mirror::of(&worker.learner));
                let found = found.map_err(|error| Trouble::of(&replicas.workers, number, error))?;
                // Only the lead has the optimizer's state.
                held.push(Mirror { optimizer: replicas.mirror.optimizer.clone(), ..found }.hash());
            }
            Ok(held)
        })?;
        let held = self.peers.gather(held.concat())?;
        let expected = &held[0][..blake3::OUT_LEN];
        let differs = |held: &Vec<u8>| held.chunks(blake3::OUT_LEN).any(|hash| hash != expected);
        let others: Vec<String> =
            (0..held.len()).filter(|&rank| differs(&held[rank])).map(|rank| self.peers.name(rank)).collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Error::Verification(format!(
            "after step {}, {} holds other parameters than {} gave out: its memory, or the way there, cannot be trusted; \
             leave it out, and resume from the last checkpoint",
            self.step,
            others.join(", "),
            self.peers.name(0)
        )))
    }

    /// The gradients of the batch, those in the head's parameters included.
    fn with_head(&self, sums: &[f64], verdict: &Verdict) -> Vec<f32> {
        let mut gradients: Vec<f32> = sums.iter().map(|&sum| sum as f32).collect();
        if verdict.gradients.is_empty() {
            return gradients;
        }
        let network = self.workers[0].learner.network();
        for param in network.model().params().iter().filter(|param| param.is_parameter()) {
            if !network.model().is_of_head(&param.name) {
                continue;
            }
            let first = network.memory().place_in_bucket(&param.name);
            let place = first..first + param.shape.len();
            gradients[place.clone()].copy_from_slice(&verdict.gradients[place]);
        }
        gradients
    }

    fn step_number(&self) -> u32 {
        u32::try_from(self.step).expect("fewer than 2^24 steps")
    }
}

/// The loss, and the results of the whole batch by name.
fn results(verdict: &Verdict, total: &Contribution) -> (f32, HashMap<&'static str, f32>) {
    let mut values: HashMap<&'static str, f32> = total.sums.iter().map(|(&name, &sum)| (name, sum as f32)).collect();
    values.extend(&total.largest);
    let mut loss = total.sums.get(DENSITY_LOSS).copied().unwrap_or_default();
    if !verdict.activations.is_empty() {
        loss += f64::from(verdict.loss);
        values.insert("accuracy", verdict.accuracy);
    }
    values.insert("loss", loss as f32);
    (loss as f32, values)
}
