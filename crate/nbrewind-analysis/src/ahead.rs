//! Reads many texts at once: natively every processor takes a part of them. What is found does not depend on who reads what.

use crate::memo::Text;
use std::rc::Rc;

/// Reads those of these texts that nobody has read yet.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn read<'t>(texts: impl Iterator<Item = &'t Rc<Text>>) {
    let mut texts: Vec<&Text> = texts
        .map(|text| &**text)
        .filter(|text| !text.is_analysed())
        .collect();
    texts.sort_unstable_by_key(|text| std::ptr::from_ref(*text));
    texts.dedup_by_key(|text| std::ptr::from_ref(*text));
    let readings: Vec<_> = texts.iter().map(|text| text.reading()).collect();
    let cells = threads::map(&readings, |reading| reading.len(), |reading| reading.read());
    for (text, cell) in texts.into_iter().zip(cells) {
        text.is_read_as(cell);
    }
}

/// In a browser there is one thread, which reads a text when somebody asks.
#[cfg(target_arch = "wasm32")]
pub(crate) fn read<'t>(_: impl Iterator<Item = &'t Rc<Text>>) {}

#[cfg(not(target_arch = "wasm32"))]
mod threads {
    use std::num::NonZeroUsize;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// Less than this is not worth another thread: half a millisecond.
    const BYTES_FOR_A_THREAD: usize = 8 * 1024;
    const MAX_THREADS: usize = 8;
    /// As much as a main thread has; only what is used of it is taken.
    const STACK: usize = 8 * 1024 * 1024;
    /// How many a thread takes at a time.
    const AT_ONCE: usize = 8;

    /// `f` of every item, in their order. Empty where one thread is enough.
    pub(super) fn map<T: Sync, R: Send>(
        items: &[T],
        length: impl Fn(&T) -> usize,
        f: impl Fn(&T) -> R + Sync,
    ) -> Vec<R> {
        let n_bytes: usize = items.iter().map(length).sum();
        let n_wanted = (n_bytes / BYTES_FOR_A_THREAD).min(MAX_THREADS);
        if n_wanted < 2 {
            return Vec::new();
        }
        // How many processors there are is a question to the system.
        let n_processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let n_threads = n_wanted.min(n_processors);
        if n_threads < 2 {
            return Vec::new();
        }
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(items.len() / AT_ONCE + 1));
        let work = || {
            let mut own: Vec<(usize, Vec<R>)> = Vec::new();
            loop {
                let from = next.fetch_add(AT_ONCE, Ordering::Relaxed);
                let Some(rest) = items.get(from..).filter(|rest| !rest.is_empty()) else {
                    break;
                };
                own.push((from, rest.iter().take(AT_ONCE).map(&f).collect()));
            }
            if let Ok(mut done) = done.lock() {
                done.extend(own);
            }
        };
        thread::scope(|scope| {
            for _ in 1..n_threads {
                let thread = thread::Builder::new().stack_size(STACK);
                // A thread that the system does not give is done without.
                _ = thread.spawn_scoped(scope, work);
            }
            work();
        });
        let mut parts = done.into_inner().unwrap_or_default();
        parts.sort_unstable_by_key(|(from, _)| *from);
        parts.into_iter().flat_map(|(_, part)| part).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_many_threads_find_stands_in_order() {
            let items: Vec<usize> = (0..1003).collect();
            let found = map(&items, |_| 1024, |item| item * 2);
            let expected: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert!(found.is_empty() || found == expected);
            assert!(map(&items[..4], |_| 1, |item| *item).is_empty());
        }
    }
}
