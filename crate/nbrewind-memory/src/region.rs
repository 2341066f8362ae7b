//! One piece of memory, and when its parts were last seen to change.

use std::ops::Range;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::pages::{PAGE, Pages, whole_pages};
use crate::slices::memory;

/// Changes are known to this many bytes.
const UNIT: usize = 64 << 10;

/// Smaller regions are hashed: to look at their pages would cost as much.
const TRACKED_FROM: usize = 4 << 20;

/// A region of which more than this share (one in so many) changed is not worth tracking.
const MAX_CHANGED: usize = 4;

/// How a region is looked at.
#[derive(Debug)]
enum Way {
    /// xxh3 of every unit.
    Hashed(Vec<u128>),
    /// The kernel tells which whole pages were written; the bytes before and after them are compared.
    Tracked { edges: [u128; 2] },
    /// Nothing is known of what it holds.
    Unknown,
}

/// A piece of memory with one owner.
#[derive(Debug)]
pub(crate) struct Region {
    span: Range<usize>,
    way: Way,
    /// For every unit, the look that found it changed.
    changed: Vec<u64>,
    /// The last look.
    pub(crate) looked: u64,
    /// The last sweep.
    pub(crate) sweep: u64,
    /// How often tracking was not worth its cost.
    n_busy: u32,
}

/// xxh3 of every unit.
///
/// # Safety
/// The memory must be readable and unchanged during the call.
unsafe fn hashes(span: &Range<usize>) -> Vec<u128> {
    // SAFETY: promised by the caller.
    let bytes = unsafe { memory(span.clone()) };
    if bytes.len() < TRACKED_FROM {
        bytes.chunks(UNIT).map(xxh3_128).collect()
    } else {
        bytes.par_chunks(UNIT).map(xxh3_128).collect()
    }
}

impl Region {
    /// A region that is seen for the first time, in this look. Tracked from the beginning where that is worth it: to begin
    /// costs next to nothing and reads no memory, and the first write to a page costs less than hashing it.
    ///
    /// # Safety
    /// The memory must be readable and unchanged during the call.
    pub(crate) unsafe fn new(
        span: Range<usize>,
        look: u64,
        sweep: u64,
        pages: Option<&Pages>,
    ) -> Self {
        let is_armed = span.len() >= TRACKED_FROM
            && pages.is_some_and(|pages| pages.arm(&whole_pages(span.clone())).is_ok());
        let mut region = Self {
            changed: vec![look; span.len().div_ceil(UNIT)],
            way: Way::Unknown,
            span,
            looked: look,
            sweep,
            n_busy: 0,
        };
        // SAFETY: promised by the caller.
        region.way = unsafe {
            if is_armed {
                Way::Tracked {
                    edges: region.edges(),
                }
            } else {
                Way::Hashed(hashes(&region.span))
            }
        };
        region
    }

    pub(crate) fn span(&self) -> &Range<usize> {
        &self.span
    }

    pub(crate) fn is_tracked(&self) -> bool {
        matches!(self.way, Way::Tracked { .. })
    }

    /// The latest look that found any of these addresses changed.
    pub(crate) fn changed(&self, span: &Range<usize>) -> u64 {
        self.changed[self.units(span)]
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
    }

    fn units(&self, span: &Range<usize>) -> Range<usize> {
        (span.start - self.span.start) / UNIT..(span.end - self.span.start).div_ceil(UNIT)
    }

    fn mark(&mut self, span: &Range<usize>, look: u64) {
        let units = self.units(span);
        self.changed[units].fill(look);
    }

    /// The bytes before and after the whole pages.
    ///
    /// # Safety
    /// The memory must be readable and unchanged during the call.
    unsafe fn edges(&self) -> [u128; 2] {
        let pages = whole_pages(self.span.clone());
        // SAFETY: promised by the caller; both ranges lie within the region, which is larger than two pages.
        unsafe {
            [
                xxh3_128(memory(self.span.start..pages.start)),
                xxh3_128(memory(pages.end..self.span.end)),
            ]
        }
    }

    /// See what changed since the last look.
    ///
    /// # Safety
    /// The memory must be readable and unchanged during the call.
    pub(crate) unsafe fn look(&mut self, look: u64, pages: Option<&Pages>) {
        // SAFETY: promised by the caller.
        unsafe {
            match &self.way {
                Way::Tracked { edges } => {
                    let edges = *edges;
                    self.look_at_pages(look, pages, edges);
                }
                Way::Hashed(_) => self.look_at_bytes(look, pages),
                Way::Unknown => {
                    self.changed.fill(look);
                    self.way = Way::Hashed(hashes(&self.span));
                }
            }
        }
        self.looked = look;
    }

    /// Mark what the kernel saw written; how many bytes that is. None when it no longer tracks the region.
    fn mark_written(&mut self, look: u64, pages: Option<&Pages>) -> Option<usize> {
        let written = pages?.written(&whole_pages(self.span.clone())).ok()?;
        for part in &written {
            self.mark(part, look);
        }
        Some(written.iter().map(Range::len).sum())
    }

    /// False when a tracked page was written, or is gone. Reads no memory of the region.
    pub(crate) fn is_untouched(&mut self, look: u64, pages: Option<&Pages>) -> bool {
        if !self.is_tracked() {
            return true;
        }
        match self.mark_written(look, pages) {
            Some(written) => written == 0,
            None => {
                self.stop_tracking(pages);
                self.way = Way::Unknown;
                false
            }
        }
    }

    unsafe fn look_at_pages(&mut self, look: u64, pages: Option<&Pages>, before: [u128; 2]) {
        let whole = whole_pages(self.span.clone());
        let Some(written) = self.mark_written(look, pages) else {
            // The memory was given back and taken again, or nothing can be tracked any more.
            self.changed.fill(look);
            // SAFETY: promised by the caller.
            self.way = Way::Hashed(unsafe { hashes(&self.span) });
            return;
        };
        // SAFETY: promised by the caller.
        let edges = unsafe { self.edges() };
        if edges[0] != before[0] {
            self.mark(&(self.span.start..whole.start), look);
        }
        if edges[1] != before[1] {
            self.mark(&(whole.end..self.span.end), look);
        }
        self.way = Way::Tracked { edges };
        if written > self.span.len() / MAX_CHANGED {
            self.n_busy += 1;
            if self.n_busy >= 2 {
                self.stop_tracking(pages);
                // SAFETY: promised by the caller.
                self.way = Way::Hashed(unsafe { hashes(&self.span) });
            }
        }
    }

    unsafe fn look_at_bytes(&mut self, look: u64, pages: Option<&Pages>) {
        let whole = whole_pages(self.span.clone());
        // Tracking begins before the hashing, so that no write falls between them.
        let tracker = pages.filter(|pages| {
            self.span.len() >= TRACKED_FROM && self.n_busy < 2 && pages.arm(&whole).is_ok()
        });
        // SAFETY: promised by the caller.
        let now = unsafe { hashes(&self.span) };
        let Way::Hashed(before) = &self.way else {
            return;
        };
        let mut n_changed = 0;
        for ((before, now), changed) in before.iter().zip(&now).zip(&mut self.changed) {
            if before != now {
                *changed = look;
                n_changed += 1;
            }
        }
        let is_busy = n_changed > now.len() / MAX_CHANGED;
        if is_busy {
            self.n_busy += 1;
        }
        match tracker {
            // SAFETY: promised by the caller.
            Some(_) if !is_busy => {
                self.way = Way::Tracked {
                    edges: unsafe { self.edges() },
                }
            }
            Some(pages) => {
                pages.disarm(&whole);
                self.way = Way::Hashed(now);
            }
            None => self.way = Way::Hashed(now),
        }
    }

    /// The kernel forgets the region; whoever goes on with it must hash it.
    pub(crate) fn stop_tracking(&self, pages: Option<&Pages>) {
        if let (Way::Tracked { .. }, Some(pages)) = (&self.way, pages) {
            pages.disarm(&whole_pages(self.span.clone()));
        }
    }
}

const _: () = assert!(UNIT.is_multiple_of(PAGE) && TRACKED_FROM > 2 * PAGE);
