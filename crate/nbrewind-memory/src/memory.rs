//! All buffers of one process that were fingerprinted, as long as they are looked at.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rayon::prelude::*;

use crate::live::Sources;
use crate::pages::{Pages, Private};
use crate::region::Region;
use crate::slices::{Layout, SLICE, digests_across, digests_at};

/// Interleaved layouts that are read at once: a slice of each is in memory meanwhile.
const ACROSS: usize = 32;

/// Regions and fingerprints that nobody asked for in this many sweeps are forgotten.
const KEPT: u64 = 2;

/// How much work the last sweep was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that were hashed into fingerprints.
    pub hashed: usize,
    /// Bytes whose fingerprints were known.
    pub known: usize,
    /// Regions that the kernel tracks.
    pub n_tracked: usize,
    /// All regions.
    pub n_regions: usize,
}

#[derive(Debug)]
struct Known {
    digests: Vec<[u8; 32]>,
    /// The look that they are right for.
    look: u64,
    /// The sweep that asked for them last.
    sweep: u64,
}

#[derive(Debug)]
struct Derived {
    spans: Vec<Range<usize>>,
    digests: Vec<[u8; 32]>,
    look: u64,
    sweep: u64,
}

/// Fingerprints of buffers, kept between looks.
///
/// One look sees one moment: while it goes on, nothing may be written to what it has asked for, and nothing of that may be
/// freed, because an address stands for its content until the next look. A sweep is one or more looks at all that is alive.
#[derive(Debug)]
pub struct Memory {
    look: u64,
    sweep: u64,
    regions: BTreeMap<usize, Region>,
    known: HashMap<Layout, Known>,
    derived: HashMap<Vec<u8>, Derived>,
    pages: Option<Pages>,
    counts: Counts,
}

impl Memory {
    /// Nothing is known yet. Without page tracking all is hashed at every look.
    #[must_use]
    pub fn new(tracks_pages: bool) -> Self {
        Self {
            look: 1,
            sweep: 1,
            regions: BTreeMap::new(),
            known: HashMap::new(),
            derived: HashMap::new(),
            pages: tracks_pages.then(Pages::new).flatten(),
            counts: Counts::default(),
        }
    }

    /// True where the kernel tells which pages were written.
    #[must_use]
    pub fn tracks_pages(&self) -> bool {
        self.pages.is_some()
    }

    /// What was done since the last [`Memory::begin_sweep`].
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            n_tracked: self.regions.values().filter(|it| it.is_tracked()).count(),
            n_regions: self.regions.len(),
            ..self.counts
        }
    }

    /// From here on, memory may hold something else than before.
    pub fn begin_look(&mut self) {
        self.look += 1;
        if self
            .pages
            .as_ref()
            .is_some_and(|pages| !pages.is_of_this_process())
        {
            // A forked child: the descriptors speak of the parent's memory. Begin anew, without asking them anything.
            let (look, sweep) = (self.look, self.sweep);
            *self = Self::new(true);
            (self.look, self.sweep) = (look, sweep);
        }
    }

    /// Begin a look at all that is alive: what the last sweeps did not ask for is forgotten.
    pub fn begin_sweep(&mut self) {
        self.begin_look();
        self.counts = Counts::default();
        self.sweep += 1;
        if self.pages.as_ref().is_some_and(Pages::has_pinned_memory) {
            self.pages = None;
        }
        let oldest = self.sweep.saturating_sub(KEPT);
        let pages = self.pages.as_ref();
        self.regions.retain(|_, region| {
            let is_kept = region.sweep >= oldest;
            if !is_kept {
                region.stop_tracking(pages);
            }
            is_kept
        });
        self.known.retain(|_, known| known.sweep >= oldest);
        self.derived.retain(|_, derived| derived.sweep >= oldest);
    }

    /// False when a page that is tracked was written since its last look, or is gone, and when a region may be written by others:
    /// when it is shared with another process, or is a file's. Regions that are hashed are not looked at: this reads no
    /// memory, so that nothing need still be there.
    pub fn is_untouched(&mut self) -> bool {
        self.begin_look();
        let (look, sweep, pages) = (self.look, self.sweep, self.pages.as_ref());
        let private = Private::now();
        let mut is_untouched = true;
        for region in self.regions.values_mut() {
            if region.sweep == sweep {
                is_untouched &= private.holds(region.span());
                is_untouched &= region.is_untouched(look, pages);
            }
        }
        is_untouched
    }

    /// Look at a region, once per look.
    ///
    /// # Safety
    /// The memory must be readable and unchanged during the call.
    unsafe fn visit(&mut self, span: &Range<usize>) -> &Region {
        let is_same = self
            .regions
            .get(&span.start)
            .is_some_and(|region| region.span() == span);
        if is_same {
            let region = self.regions.get_mut(&span.start).expect("just seen");
            region.sweep = self.sweep;
            if region.looked < self.look {
                // SAFETY: promised by the caller.
                unsafe { region.look(self.look, self.pages.as_ref()) };
            }
        } else {
            self.forget_regions_in(span);
            // SAFETY: promised by the caller.
            let region =
                unsafe { Region::new(span.clone(), self.look, self.sweep, self.pages.as_ref()) };
            self.regions.insert(span.start, region);
        }
        &self.regions[&span.start]
    }

    /// Regions do not overlap, so that the kernel is never asked for one page twice: the last one asked for stays.
    fn forget_regions_in(&mut self, span: &Range<usize>) {
        let others: Vec<usize> = self
            .regions
            .range(..span.end)
            .rev()
            .take_while(|(_, region)| region.span().end > span.start)
            .map(|(start, _)| *start)
            .collect();
        for start in others {
            if let Some(region) = self.regions.remove(&start) {
                region.stop_tracking(self.pages.as_ref());
            }
        }
    }

    /// Take over memory that was just made and filled, and the fingerprints that its parts were compared with then: nothing
    /// of it is hashed again.
    ///
    /// # Safety
    /// The memory of the owner must be readable, hold the layouts, and be unchanged since it was filled until the call
    /// has ended.
    pub unsafe fn adopt(&mut self, owner: &Range<usize>, parts: Vec<(Layout, Vec<[u8; 32]>)>) {
        // The addresses may have been something else's.
        self.begin_look();
        self.forget_regions_in(owner);
        let (look, sweep) = (self.look, self.sweep);
        // SAFETY: promised by the caller.
        let region = unsafe { Region::new(owner.clone(), look, sweep, self.pages.as_ref()) };
        self.regions.insert(owner.start, region);
        for (layout, digests) in parts {
            debug_assert!(owner.start <= layout.span().start && layout.span().end <= owner.end);
            debug_assert_eq!(digests.len(), layout.n_slices());
            let known = Known {
                digests,
                look,
                sweep,
            };
            self.known.insert(layout, known);
        }
    }

    /// The slices of a layout whose fingerprints are not known, of all of them.
    ///
    /// # Safety
    /// As for [`Memory::digests`].
    unsafe fn unknown(&mut self, owner: &Range<usize>, layout: &Layout) -> Vec<usize> {
        let since = self.known.get(layout).map(|known| known.look);
        // SAFETY: promised by the caller.
        let region = unsafe { self.visit(owner) };
        match since {
            None => (0..layout.n_slices()).collect(),
            Some(look) => (0..layout.n_slices())
                .filter(|slice| region.changed(&layout.span_of(*slice)) > look)
                .collect(),
        }
    }

    fn remember(&mut self, layout: &Layout, slices: &[usize], found: Vec<[u8; 32]>) {
        let n_hashed = (slices.len() * SLICE).min(layout.len());
        self.counts.hashed += n_hashed;
        self.counts.known += layout.len() - n_hashed;
        let (look, sweep) = (self.look, self.sweep);
        let known = self.known.entry(*layout).or_insert_with(|| Known {
            digests: vec![[0; 32]; layout.n_slices()],
            look,
            sweep,
        });
        for (slice, digest) in slices.iter().zip(found) {
            known.digests[*slice] = digest;
        }
        (known.look, known.sweep) = (look, sweep);
    }

    /// The fingerprints of the slices of a buffer, in order. `owner` is the whole memory that it is a part of.
    ///
    /// # Safety
    /// The memory of the owner must be readable and unchanged during the call, and hold the layout.
    pub unsafe fn digests(&mut self, owner: &Range<usize>, layout: &Layout) -> &[[u8; 32]] {
        debug_assert!(owner.start <= layout.span().start && layout.span().end <= owner.end);
        let is_fresh = self
            .known
            .get(layout)
            .is_some_and(|known| known.look == self.look);
        if !is_fresh {
            // SAFETY: promised by the caller.
            let (slices, found) = unsafe {
                let slices = self.unknown(owner, layout);
                let found = digests_at(layout, &slices);
                (slices, found)
            };
            self.remember(layout, &slices, found);
        }
        &self.known[layout].digests
    }

    /// Find the fingerprints of layouts of one shape that interleave, such as the columns of a table that is stored by
    /// rows, reading the memory once; [`Memory::digests`] of each then costs nothing.
    ///
    /// # Safety
    /// As for [`Memory::digests`], for every layout.
    pub unsafe fn prepare(&mut self, owner: &Range<usize>, layouts: &[Layout]) {
        for batch in layouts.chunks(ACROSS) {
            // SAFETY: promised by the caller.
            let unknown: Vec<Vec<usize>> = batch
                .iter()
                .map(|layout| unsafe { self.unknown(owner, layout) })
                .collect();
            let mut by_slice: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (column, slices) in unknown.iter().enumerate() {
                for slice in slices {
                    by_slice.entry(*slice).or_default().push(column);
                }
            }
            let found: Vec<(usize, Vec<usize>, Vec<[u8; 32]>)> = by_slice
                .into_par_iter()
                .map(|(slice, columns)| {
                    let layouts: Vec<Layout> =
                        columns.iter().map(|column| batch[*column]).collect();
                    // SAFETY: promised by the caller.
                    let digests = unsafe { digests_across(&layouts, slice) };
                    (slice, columns, digests)
                })
                .collect();
            let mut per_column: Vec<HashMap<usize, [u8; 32]>> = vec![HashMap::new(); batch.len()];
            for (slice, columns, digests) in found {
                for (column, digest) in columns.into_iter().zip(digests) {
                    per_column[column].insert(slice, digest);
                }
            }
            for ((layout, slices), digests) in batch.iter().zip(&unknown).zip(per_column) {
                let found = slices.iter().map(|slice| digests[slice]).collect();
                self.remember(layout, slices, found);
            }
        }
    }

    /// The fingerprints of a buffer, if they were found in this look.
    #[must_use]
    pub fn known(&self, layout: &Layout) -> Option<&[[u8; 32]]> {
        self.known
            .get(layout)
            .filter(|known| known.look == self.look)
            .map(|known| known.digests.as_slice())
    }

    /// Where the content of contiguous buffers was when they were last looked at.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let mut contiguous: Vec<_> = self
            .known
            .iter()
            .filter(|(layout, _)| layout.is_contiguous())
            .collect();
        // What was seen last is the likeliest to be there still.
        contiguous.sort_by_key(|(_, known)| known.look);
        contiguous
            .into_iter()
            .flat_map(|(layout, known)| {
                let digests = known.digests.iter().enumerate();
                digests.map(|(slice, digest)| (*digest, layout.span_of(slice)))
            })
            .collect()
    }

    /// Fingerprints of something that was computed from these pieces of memory and nothing else, when none of them changed.
    ///
    /// # Safety
    /// The memory must be readable and unchanged during the call.
    pub unsafe fn derived(&mut self, key: &[u8], spans: &[Range<usize>]) -> Option<&[[u8; 32]]> {
        let since = self
            .derived
            .get(key)
            .filter(|derived| derived.spans == spans)
            .map(|derived| derived.look)?;
        for span in spans {
            // SAFETY: promised by the caller.
            if unsafe { self.visit(span) }.changed(span) > since {
                return None;
            }
        }
        let derived = self.derived.get_mut(key)?;
        (derived.look, derived.sweep) = (self.look, self.sweep);
        self.counts.known += spans.iter().map(Range::len).sum::<usize>();
        Some(&derived.digests)
    }

    /// Remember what was computed from these pieces of memory in this look.
    ///
    /// # Safety
    /// The memory must be readable and unchanged since it was read for the computation.
    pub unsafe fn remember_derived(
        &mut self,
        key: Vec<u8>,
        spans: Vec<Range<usize>>,
        digests: Vec<[u8; 32]>,
    ) {
        for span in &spans {
            // SAFETY: promised by the caller.
            unsafe { self.visit(span) };
        }
        self.counts.hashed += spans.iter().map(Range::len).sum::<usize>();
        let (look, sweep) = (self.look, self.sweep);
        self.derived.insert(
            key,
            Derived {
                spans,
                digests,
                look,
                sweep,
            },
        );
    }
}
