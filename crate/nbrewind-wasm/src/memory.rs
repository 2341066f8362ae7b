//! Memory for the module in the browser: one list of free blocks for every size.
//!
//! An analysis makes and drops hundreds of thousands of small things of few sizes. To take a block is to take the first
//! of a list, to drop it is to put it back; blocks know nothing of their neighbours. The price is that a freed block only
//! ever serves its own size again, which is bounded by what the largest page needed of each size.
//!
//! Invariant: a block lies in at most one list, and only while nobody uses it.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// All blocks begin at multiples of this.
const GRAIN: usize = 16;
/// Blocks up to this size come in steps of [`GRAIN`], larger ones in four steps between two powers of two.
const SMALL: usize = 1024;
const N_SMALL: usize = SMALL / GRAIN;
const N_LISTS: usize = N_SMALL + 4 * (usize::BITS - SMALL.ilog2()) as usize;
/// What is asked of the system at once, at least.
const CHUNK: usize = 1 << 20;

struct Block {
    next: Option<NonNull<Block>>,
}

/// `more` gives that many bytes at a multiple of [`GRAIN`], or null.
pub(crate) struct Lists {
    free: [Cell<Option<NonNull<Block>>>; N_LISTS],
    /// Memory that never was a block.
    next: Cell<usize>,
    end: Cell<usize>,
    more: fn(usize) -> *mut u8,
}

// SAFETY: the module has one thread, and so has every test.
unsafe impl Sync for Lists {}

/// The list for blocks that hold `size` bytes, and how large they are.
fn list_of(size: usize) -> (usize, usize) {
    let last = size.max(1) - 1;
    if last < SMALL {
        let list = last / GRAIN;
        return (list, (list + 1) * GRAIN);
    }
    let power = last.ilog2();
    let shift = power - 2;
    let quarter = last >> shift;
    let list = N_SMALL + 4 * (power - SMALL.ilog2()) as usize + (quarter - 4);
    (list, (quarter + 1) << shift)
}

impl Lists {
    pub(crate) const fn new(more: fn(usize) -> *mut u8) -> Self {
        Lists {
            free: [const { Cell::new(None) }; N_LISTS],
            next: Cell::new(0),
            end: Cell::new(0),
            more,
        }
    }

    fn take(&self, size: usize) -> *mut u8 {
        let (list, size) = list_of(size);
        let Some(block) = self.free[list].get() else {
            return self.carve(size);
        };
        // SAFETY: blocks in a list are ours and hold a `Block`.
        self.free[list].set(unsafe { block.as_ref().next });
        block.as_ptr().cast()
    }

    /// # Safety
    /// `block` came from [`Lists::take`] with a size of the same list, and nobody uses it any more.
    unsafe fn put(&self, block: *mut u8, size: usize) {
        let (list, _) = list_of(size);
        let block: *mut Block = block.cast();
        let next = self.free[list].get();
        // SAFETY: every block is aligned and large enough for a `Block`.
        unsafe { block.write(Block { next }) };
        self.free[list].set(NonNull::new(block));
    }

    #[cold]
    fn carve(&self, size: usize) -> *mut u8 {
        if self.end.get() - self.next.get() < size {
            let n_bytes = size.next_multiple_of(CHUNK);
            let begin = (self.more)(n_bytes) as usize;
            if begin == 0 {
                return ptr::null_mut();
            }
            // Mostly it goes on where the last piece ends.
            if begin != self.end.get() {
                self.next.set(begin);
            }
            self.end.set(begin + n_bytes);
        }
        let block = self.next.get();
        self.next.set(block + size);
        block as *mut u8
    }
}

// SAFETY: blocks are disjoint, aligned to `GRAIN` and at least as large as asked. Stricter alignment is met inside a larger
// block, whose address stands right before what is given out.
unsafe impl GlobalAlloc for Lists {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align();
        if align <= GRAIN {
            return self.take(layout.size());
        }
        let block = self.take(layout.size() + align + GRAIN);
        if block.is_null() {
            return block;
        }
        let given = (block as usize + GRAIN).next_multiple_of(align) as *mut u8;
        // SAFETY: `given` lies at least one `GRAIN` inside the block.
        unsafe { given.cast::<*mut u8>().sub(1).write(block) };
        given
    }

    unsafe fn dealloc(&self, given: *mut u8, layout: Layout) {
        let align = layout.align();
        // SAFETY: the caller gives back what `alloc` gave it for this layout.
        unsafe {
            if align <= GRAIN {
                self.put(given, layout.size());
            } else {
                let block = given.cast::<*mut u8>().sub(1).read();
                self.put(block, layout.size() + align + GRAIN);
            }
        }
    }

    unsafe fn realloc(&self, given: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= GRAIN && list_of(layout.size()) == list_of(size) {
            return given;
        }
        // SAFETY: as the caller promises; sizes that overflow are refused before they come here.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(given, new, layout.size().min(size));
                self.dealloc(given, layout);
            }
            new
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod module {
    use super::Lists;
    use std::ptr;

    const PAGE: usize = 1 << 16;

    #[global_allocator]
    static MEMORY: Lists = Lists::new(grow);

    fn grow(n_bytes: usize) -> *mut u8 {
        let before = core::arch::wasm32::memory_grow(0, n_bytes.div_ceil(PAGE));
        if before == usize::MAX {
            ptr::null_mut()
        } else {
            (before * PAGE) as *mut u8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    fn more(n_bytes: usize) -> *mut u8 {
        let layout = Layout::from_size_align(n_bytes, GRAIN).expect("a size");
        // SAFETY: the size is not zero.
        unsafe { System.alloc(layout) }
    }

    #[test]
    fn every_size_has_a_list_of_its_own_kind() {
        let mut last = (0, GRAIN);
        for size in (0..8 * SMALL).chain([1 << 20, (1 << 20) + 1, isize::MAX as usize]) {
            let (list, block) = list_of(size);
            assert!(block >= size && list < N_LISTS, "{size}");
            assert!(size < SMALL || block <= size + size / 4 + GRAIN, "{size}");
            assert!(block.is_multiple_of(GRAIN), "{size}");
            assert!((list, block) == last || (list > last.0 && block > last.1));
            last = (list, block);
        }
    }

    #[test]
    fn what_is_held_stays_as_it_is() {
        let lists = Lists::new(more);
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let mut dice = 1u64;
        let mut draw = |below: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) as usize % below
        };
        for round in 0..20_000usize {
            let mark = (round % 251) as u8;
            // SAFETY: everything is given back once, with the layout that it was asked for with.
            unsafe {
                match draw(5) {
                    0 | 1 => {
                        let most = [40, 300, 5_000, 100_000][draw(4)];
                        let size = 1 + draw(most);
                        let layout = Layout::from_size_align(size, 1 << draw(8)).expect("a layout");
                        let given = lists.alloc(layout);
                        assert!(
                            !given.is_null() && (given as usize).is_multiple_of(layout.align())
                        );
                        given.write_bytes(mark, size);
                        held.push((given, layout, mark));
                    }
                    2 if !held.is_empty() => {
                        let (given, layout, mark) = held.swap_remove(draw(held.len()));
                        let size = 1 + draw(3 * layout.size());
                        let given = lists.realloc(given, layout, size);
                        let kept = std::slice::from_raw_parts(given, layout.size().min(size));
                        assert!(kept.iter().all(|byte| *byte == mark));
                        given.write_bytes(mark, size);
                        let layout = Layout::from_size_align(size, layout.align());
                        held.push((given, layout.expect("a layout"), mark));
                    }
                    _ if !held.is_empty() => {
                        let (given, layout, mark) = held.swap_remove(draw(held.len()));
                        let bytes = std::slice::from_raw_parts(given, layout.size());
                        assert!(bytes.iter().all(|byte| *byte == mark));
                        lists.dealloc(given, layout);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_block_that_was_freed_serves_again() {
        let lists = Lists::new(more);
        let layout = Layout::from_size_align(100, 8).expect("a layout");
        // SAFETY: given back once.
        unsafe {
            let first = lists.alloc(layout);
            lists.dealloc(first, layout);
            assert_eq!(lists.alloc(layout), first);
        }
    }
}
