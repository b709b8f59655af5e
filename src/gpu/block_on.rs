//! Blocking on a future natively: the one place where GPU work is waited for.
//!
//! wgpu calls back only from inside a poll of the device, so a general executor would sleep for ever. This one
//! remembers which submissions its thread's futures wait for ([`expect`]) and, whenever the future has nothing to do,
//! waits for the oldest of them, and for no more: a read of the loss of two steps ago does not wait for the steps since.
//! Several devices on one thread take turns.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::{TURN, wait};

thread_local! {
    static EXPECTED: RefCell<Vec<(wgpu::Device, wgpu::SubmissionIndex)>> = const { RefCell::new(Vec::new()) };
}

/// Notes that a future of this thread waits for `submission`.
pub(super) fn expect(device: &wgpu::Device, submission: &wgpu::SubmissionIndex) {
    EXPECTED.with_borrow_mut(|list| list.push((device.clone(), submission.clone())));
}

struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Runs `future` to its end on this thread, polling the devices whose work it waits for.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark { thread: std::thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        unpark.woken.store(false, Ordering::Release);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unpark.woken.load(Ordering::Acquire) {
            let mut expected = EXPECTED.take();
            if expected.is_empty() {
                // Waits for another thread.
                std::thread::park_timeout(TURN);
                continue;
            }
            let (device, submission) = expected.remove(0);
            if !wait(&device, &submission) {
                expected.push((device, submission));
            }
            EXPECTED.with_borrow_mut(|list| list.splice(0..0, expected).for_each(drop));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;

    #[test]
    fn woken_by_another_thread() {
        let (sender, receiver) = oneshot::channel();
        let thread = std::thread::spawn(move || sender.send(7));
        assert_eq!(block_on(receiver), Ok(7));
        thread.join().unwrap().unwrap();
    }
}
