//! Work on several devices at once: a thread each, and an end to waiting.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::worker::Worker;
use crate::error::Result;

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
    let gpus: Vec<_> = workers.iter().map(|worker| worker.gpu().clone()).collect();
    std::thread::scope(|scope| {
        let (done, ends) = channel();
        let threads: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(number, worker)| {
                let (done, work) = (done.clone(), &work);
                scope.spawn(move || {
                    let result = work(worker);
                    // Nobody listens any more where this fails.
                    let _ = done.send(number);
                    result
                })
            })
            .collect();
        drop(done);
        let deadline = Instant::now() + limit;
        let mut pending: Vec<usize> = (0..gpus.len()).collect();
        while !pending.is_empty() {
            match ends.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(number) => pending.retain(|&other| other != number),
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
        threads.into_iter().map(join).collect()
    })
}
