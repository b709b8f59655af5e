//! Work on several devices at once: a thread each, and an end to waiting.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::worker::Worker;
use crate::error::Result;

/// The patience with a device that nobody can take the place of.
const ALONE: Duration = Duration::from_secs(1 << 32);

/// Does `work` on every worker that has something to do, at the same time. One that takes longer than `limit` is taken
/// for hung: its device is destroyed, which ends its work with an error.
pub(super) fn each<T: Send>(
    workers: &mut [Worker],
    limit: Duration,
    work: impl Fn(&mut Worker) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    if let [only] = workers {
        return vec![work(only)];
    }
    each_telling(workers, limit, |worker, _: &(dyn Fn(()) + Sync)| work(worker), |_, ()| ())
}

/// The same for work that tells of parts of it as they are done: `hear` gets them on this thread, with the number of the
/// worker, all before this returns.
pub(super) fn each_telling<T: Send, P: Send>(
    workers: &mut [Worker],
    limit: Duration,
    work: impl Fn(&mut Worker, &(dyn Fn(P) + Sync)) -> Result<T> + Sync,
    mut hear: impl FnMut(usize, P),
) -> Vec<Result<T>> {
    let limit = if workers.len() == 1 { ALONE } else { limit };
    let gpus: Vec<_> = workers.iter().map(|worker| worker.gpu().clone()).collect();
    std::thread::scope(|scope| {
        // A part, or nothing at the end.
        let (tell, news) = channel::<(usize, Option<P>)>();
        let threads: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(number, worker)| {
                let (tell, work) = (tell.clone(), &work);
                scope.spawn(move || {
                    // Nobody listens any more where telling fails.
                    let result = work(worker, &|part| drop(tell.send((number, Some(part)))));
                    drop(tell.send((number, None)));
                    result
                })
            })
            .collect();
        drop(tell);
        let deadline = Instant::now() + limit;
        let mut pending: Vec<usize> = (0..gpus.len()).collect();
        while !pending.is_empty() {
            match news.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((number, Some(part))) => hear(number, part),
                Ok((number, None)) => pending.retain(|&other| other != number),
                Err(RecvTimeoutError::Timeout) => {
                    pending.drain(..).for_each(|number| gpus[number].give_up(&format!("no answer within {limit:?}")));
                }
                // A thread that panicked: joining it says so.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let results = threads.into_iter().map(join).collect();
        // What came after the deadline, of those who were done all the same.
        news.try_iter().for_each(|(number, part)| part.into_iter().for_each(|part| hear(number, part)));
        results
    })
}
