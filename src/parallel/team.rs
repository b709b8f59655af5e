//! One model on several devices, among which pieces of work that do not depend on each other are shared out: evaluation,
//! inversion, sampling.

use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

use crate::error::{Error, Result};
use crate::network::Network;

/// Networks with what each has bound for the work.
pub struct Team<T> {
    members: Vec<(Network, T)>,
    notes: Vec<String>,
}

/// Jobs with their numbers: those to come, and those that came back.
struct Queue<I, J> {
    fresh: I,
    returned: Vec<(usize, J)>,
}

impl<I: Iterator<Item = (usize, J)>, J> Queue<I, J> {
    fn next(&mut self) -> Option<(usize, J)> {
        self.returned.pop().or_else(|| self.fresh.next())
    }
}

impl<T: Send> Team<T> {
    /// Binds what the work needs on every device, at the same time. `networks` are of one model and in the order of
    /// preference; a device that fails here is left out as long as there is another.
    ///
    /// # Errors
    /// The first device's if none is left, and those that are no device's fault.
    pub fn new(networks: Vec<Network>, bind: impl Fn(&mut Network) -> Result<T> + Sync) -> Result<Self> {
        let bound: Vec<(Network, Result<T>)> = std::thread::scope(|scope| {
            let begin = |mut network: Network| {
                let bind = &bind;
                scope.spawn(move || {
                    let tools = bind(&mut network);
                    (network, tools)
                })
            };
            let threads: Vec<_> = networks.into_iter().map(begin).collect();
            threads.into_iter().map(joined).collect()
        });
        let mut team = Self { members: Vec::new(), notes: Vec::new() };
        let mut first = None;
        for (network, tools) in bound {
            match tools {
                Ok(tools) => team.members.push((network, tools)),
                Err(error) if is_of_device(&network, &error) => {
                    team.notes.push(format!("{} is left out: {error}", network.gpu().info().id));
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if team.members.is_empty() {
            return Err(first.unwrap_or_else(|| Error::NoAdapter("no adapter to compute on".into())));
        }
        Ok(team)
    }

    /// The first device's network.
    pub fn first(&mut self) -> &mut Network {
        &mut self.members[0].0
    }

    /// What happened since the last call that a user should know: devices that failed.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Does all `jobs`, whoever is free the next one; gives the results in their order. What a device that fails had begun
    /// is done again by another.
    ///
    /// # Errors
    /// The last device's if all fail, and those that are no device's fault.
    pub fn map<J: Send, R: Send>(
        &mut self,
        jobs: impl Iterator<Item = J> + Send,
        work: impl Fn(&mut Network, &T, &J) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let queue = Mutex::new(Queue { fresh: jobs.enumerate(), returned: Vec::new() });
        let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut results: Vec<(usize, R)> = Vec::new();
        // More than once only if a job comes back after the others have gone.
        loop {
            let ends = self.each(|(network, tools)| {
                let mut done = Vec::new();
                loop {
                    // A statement of its own, so that the queue is not locked while the work is done.
                    let next = lock().next();
                    let Some((number, job)) = next else { return (done, None) };
                    match work(network, tools, &job) {
                        Ok(result) => done.push((number, result)),
                        Err(error) => {
                            lock().returned.push((number, job));
                            return (done, Some(error));
                        }
                    }
                }
            });
            let mut failed = Vec::new();
            for (number, (done, error)) in ends.into_iter().enumerate().rev() {
                results.extend(done);
                let Some(error) = error else { continue };
                if !is_of_device(&self.members[number].0, &error) {
                    return Err(error);
                }
                let (network, _) = self.members.remove(number);
                failed.push((network.gpu().info().id.clone(), error));
            }
            if self.members.is_empty() {
                let last = failed.pop().map(|(_, error)| error);
                return Err(last.unwrap_or_else(|| Error::NoAdapter("no adapter to compute on".into())));
            }
            let note = |(id, error)| format!("{id} is gone, the others take over its work: {error}");
            self.notes.extend(failed.into_iter().map(note));
            let Some(job) = lock().next() else { break };
            lock().returned.push(job);
        }
        results.sort_by_key(|(number, _)| *number);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    /// Does `work` on all members at the same time.
    fn each<R: Send>(&mut self, work: impl Fn(&mut (Network, T)) -> R + Sync) -> Vec<R> {
        if let [only] = self.members.as_mut_slice() {
            return vec![work(only)];
        }
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = self.members.iter_mut().map(|member| scope.spawn(move || work(member))).collect();
            threads.into_iter().map(joined).collect()
        })
    }
}

/// What a thread gives; its panic is a panic here.
fn joined<R>(thread: ScopedJoinHandle<'_, R>) -> R {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether another device may do what this one failed in.
fn is_of_device(network: &Network, error: &Error) -> bool {
    network.gpu().check().is_err() || matches!(error, Error::Gpu(_) | Error::OutOfMemory(_))
}
