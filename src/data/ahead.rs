//! Work done ahead of its use, so that a device never waits for data.

/// Items made ahead. A channel that holds more would only cost memory: an item takes about as long to make every time.
#[cfg(not(target_arch = "wasm32"))]
const AHEAD: usize = 4;

/// The items of an iterator, made a few ahead on a thread of their own; in browsers, which have none, when asked for.
/// Order and values are the iterator's either way.
pub struct Ahead<T> {
    #[cfg(not(target_arch = "wasm32"))]
    items: std::sync::mpsc::Receiver<T>,
    #[cfg(not(target_arch = "wasm32"))]
    maker: Option<std::thread::JoinHandle<()>>,
    #[cfg(target_arch = "wasm32")]
    items: Box<dyn Iterator<Item = T> + Send>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Begins to make `items`. The thread ends with them, or soon after this is dropped.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(items: impl Iterator<Item = T> + Send + 'static) -> Self {
        let (sender, receiver) = std::sync::mpsc::sync_channel(AHEAD);
        let maker = std::thread::spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    return;
                }
            }
        });
        Self { items: receiver, maker: Some(maker) }
    }

    /// `items`, made when asked for.
    #[cfg(target_arch = "wasm32")]
    pub fn new(items: impl Iterator<Item = T> + Send + 'static) -> Self {
        Self { items: Box::new(items) }
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    #[cfg(not(target_arch = "wasm32"))]
    fn next(&mut self) -> Option<T> {
        if let Ok(item) = self.items.recv() {
            return Some(item);
        }
        // A panic of the maker is a panic here, not an early end.
        if let Some(Err(panic)) = self.maker.take().map(std::thread::JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }

    #[cfg(target_arch = "wasm32")]
    fn next(&mut self) -> Option<T> {
        self.items.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn items_come_in_order_and_end() {
        let mut ahead = Ahead::new(0..100);
        assert!(ahead.by_ref().eq(0..100));
        assert_eq!(ahead.next(), None, "the end stays the end");
    }

    #[test]
    fn items_are_made_before_they_are_asked_for_but_not_without_bound() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let mut ahead = Ahead::new((0..).inspect(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        // The channel's, and the one that waits to be sent.
        let full = AHEAD + 1;
        let deadline = Instant::now() + Duration::from_secs(30);
        while made.load(Ordering::SeqCst) < full {
            assert!(Instant::now() < deadline, "only {} were made", made.load(Ordering::SeqCst));
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(made.load(Ordering::SeqCst), full);
        assert_eq!(ahead.next(), Some(0));
    }

    #[test]
    fn dropping_ends_the_thread() {
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let ahead = Ahead::new((0..).inspect(move |_| {
            let _ = &held;
        }));
        drop(ahead);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&token) > 1 {
            assert!(Instant::now() < deadline, "the thread is still there");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    #[should_panic(expected = "made of nothing")]
    fn a_panic_of_the_maker_is_not_taken_for_the_end() {
        let _ = Ahead::new((0..3).inspect(|&item| assert!(item < 2, "made of nothing"))).count();
    }
}
