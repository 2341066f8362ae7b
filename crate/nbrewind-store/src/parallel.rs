//! Spread work on big buffers over the cores, results in order.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Applies `f` to every item; a few items are not worth a thread. The work also waits for the disk: there are more
/// threads than cores, so that while one waits another one hashes.
pub(crate) fn map<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    const ITEMS_PER_THREAD: usize = 2;
    const MAX_THREADS: usize = 8;
    let mut n_threads = (items.len() / ITEMS_PER_THREAD).min(MAX_THREADS);
    if n_threads > 1 {
        n_threads = n_threads.min(2 * thread::available_parallelism().map_or(1, usize::from));
    }
    if n_threads <= 1 {
        return items.into_iter().map(f).collect();
    }
    let n_items = items.len();
    let queue = Mutex::new(items.into_iter().enumerate());
    let work = || {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((idx, item)) = next else { return done };
            done.push((idx, f(item)));
        }
    };
    let mut results: Vec<(usize, R)> = Vec::with_capacity(n_items);
    thread::scope(|scope| {
        // Where no thread can be started (a process limit), this one does all of the work.
        let helpers: Vec<_> = (1..n_threads)
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        results.extend(work());
        for helper in helpers {
            match helper.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    results.sort_unstable_by_key(|(idx, _)| *idx);
    results.into_iter().map(|(_, result)| result).collect()
}
