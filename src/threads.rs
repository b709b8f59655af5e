//! Work on all processors.

/// `work(0)` to `work(count - 1)` on as many threads as there are processors, results in order. One after the other in
/// browsers.
pub(crate) fn map<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    #[cfg(target_arch = "wasm32")]
    return (0..count).map(work).collect();
    #[cfg(not(target_arch = "wasm32"))]
    return on_threads(std::thread::available_parallelism().map_or(1, usize::from).min(count), count, &work);
}

#[cfg(not(target_arch = "wasm32"))]
fn on_threads<T: Send>(threads: usize, count: usize, work: &(impl Fn(usize) -> T + Sync)) -> Vec<T> {
    use std::sync::atomic::{AtomicUsize, Ordering};

    if threads <= 1 {
        return (0..count).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        (number < count).then(|| (number, work(number)))
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| std::iter::from_fn(take).collect::<Vec<_>>())).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|&(number, _)| number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_whatever_the_threads() {
        let squares: Vec<usize> = (0..100).map(|number| number * number).collect();
        for threads in [1, 2, 7] {
            assert_eq!(on_threads(threads, 100, &|number| number * number), squares, "{threads} threads");
        }
        assert!(map(0, |number| number).is_empty());
    }

    #[test]
    #[should_panic(expected = "the seventh")]
    fn a_panic_is_passed_on() {
        on_threads(2, 10, &|number| assert!(number != 7, "the seventh"));
    }
}
