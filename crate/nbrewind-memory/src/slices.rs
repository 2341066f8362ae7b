//! Buffers as items at equal distances, and the slices of their bytes.

use std::ops::Range;

use rayon::prelude::*;

/// Bytes of a slice; the store cuts what it is given the same way.
pub const SLICE: usize = 1 << 20;

/// Below this many bytes, threads cost more than they save.
const ALONE: usize = 4 * SLICE;

/// `count` items of `item` bytes, `stride` bytes apart, the first at address `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layout {
    /// Address of the first item.
    pub start: usize,
    /// Number of items.
    pub count: usize,
    /// Bytes from one item to the next; at least `item`.
    pub stride: usize,
    /// Bytes of an item; divides the size of a slice, or the items touch each other.
    pub item: usize,
}

impl Layout {
    /// Plain bytes, one after the other.
    #[must_use]
    pub fn bytes(start: usize, len: usize) -> Self {
        Self {
            start,
            count: len,
            stride: 1,
            item: 1,
        }
    }

    /// Items at a distance; items that touch each other are plain bytes. None for what cannot be cut into slices.
    #[must_use]
    pub fn items(start: usize, count: usize, stride: usize, item: usize) -> Option<Self> {
        if stride == item || count <= 1 {
            return Some(Self::bytes(start, count * item));
        }
        let can_be_cut = matches!(item, 1 | 2 | 4 | 8 | 16) && stride > item;
        can_be_cut.then_some(Self {
            start,
            count,
            stride,
            item,
        })
    }

    /// Bytes of content.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count * self.item
    }

    /// True without items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of slices; an empty buffer has none.
    #[must_use]
    pub fn n_slices(&self) -> usize {
        self.len().div_ceil(SLICE)
    }

    /// The items of a slice.
    #[must_use]
    pub fn items_of(&self, slice: usize) -> Range<usize> {
        let per_slice = SLICE / self.item;
        slice * per_slice..((slice + 1) * per_slice).min(self.count)
    }

    /// The addresses that a slice reaches over.
    #[must_use]
    pub fn span_of(&self, slice: usize) -> Range<usize> {
        let items = self.items_of(slice);
        self.start + items.start * self.stride
            ..self.start + (items.end - 1) * self.stride + self.item
    }

    /// The addresses that all of it reaches over.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        if self.is_empty() {
            return self.start..self.start;
        }
        self.start..self.start + (self.count - 1) * self.stride + self.item
    }

    pub(crate) fn is_contiguous(&self) -> bool {
        self.stride == self.item
    }
}

/// The memory at these addresses.
///
/// # Safety
/// It must be readable and unchanged for as long as the slice is used.
pub(crate) unsafe fn memory<'a>(span: Range<usize>) -> &'a [u8] {
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(span.start as *const u8, span.len()) }
}

/// Copy items that lie apart to where they touch.
///
/// # Safety
/// All `count` items must be readable, and `to` must have room for them.
unsafe fn gather<const ITEM: usize>(from: usize, stride: usize, count: usize, to: *mut u8) {
    for index in 0..count {
        // SAFETY: promised by the caller; the items are copied as bytes, so alignment does not matter.
        unsafe {
            to.add(index * ITEM)
                .cast::<[u8; ITEM]>()
                .write_unaligned(((from + index * stride) as *const [u8; ITEM]).read_unaligned());
        }
    }
}

/// Copy `count` items of a layout, from the item `first` on, to `to`.
///
/// # Safety
/// As for [`gather`].
unsafe fn gather_items(layout: &Layout, first: usize, count: usize, to: *mut u8) {
    let from = layout.start + first * layout.stride;
    // SAFETY: promised by the caller.
    unsafe {
        if layout.is_contiguous() {
            to.copy_from_nonoverlapping(from as *const u8, count * layout.item);
            return;
        }
        match layout.item {
            1 => gather::<1>(from, layout.stride, count, to),
            2 => gather::<2>(from, layout.stride, count, to),
            4 => gather::<4>(from, layout.stride, count, to),
            8 => gather::<8>(from, layout.stride, count, to),
            _ => gather::<16>(from, layout.stride, count, to),
        }
    }
}

/// The bytes of one slice, copied.
///
/// # Safety
/// The memory of the slice must be readable and unchanged during the call.
#[must_use]
pub unsafe fn copy_slice(layout: &Layout, slice: usize) -> Vec<u8> {
    let items = layout.items_of(slice);
    let mut bytes = Vec::with_capacity(items.len() * layout.item);
    // SAFETY: the capacity is that of all items, which are all written before the length is set.
    unsafe {
        gather_items(layout, items.start, items.len(), bytes.as_mut_ptr());
        bytes.set_len(items.len() * layout.item);
    }
    bytes
}

/// Copy slices into `into`, each at a multiple of 1 MiB. Returns their bytes there, in order.
///
/// # Safety
/// As for [`copy_slice`], for every slice.
pub unsafe fn copy_slices<'a>(
    layout: &Layout,
    slices: &[usize],
    into: &'a mut [u8],
) -> Vec<&'a [u8]> {
    assert!(
        slices.len() <= into.len().div_ceil(SLICE),
        "too little room"
    );
    into.par_chunks_mut(SLICE)
        .zip(slices)
        .map(|(room, slice)| {
            let items = layout.items_of(*slice);
            let room = &mut room[..items.len() * layout.item];
            // SAFETY: promised by the caller; the room has the length of the slice.
            unsafe { gather_items(layout, items.start, items.len(), room.as_mut_ptr()) };
            &*room
        })
        .collect()
}

/// The fingerprint of a slice.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// The fingerprints of the slices of plain bytes, in order.
#[must_use]
pub fn digests_of(bytes: &[u8]) -> Vec<[u8; 32]> {
    if bytes.len() < ALONE {
        bytes.chunks(SLICE).map(digest).collect()
    } else {
        bytes.par_chunks(SLICE).map(digest).collect()
    }
}

/// What tells whether bytes are still what they were a moment ago; never a name.
#[must_use]
pub fn mark_of(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// The fingerprints of some slices of one layout.
///
/// # Safety
/// The memory of the layout must be readable and unchanged during the call.
pub(crate) unsafe fn digests_at(layout: &Layout, slices: &[usize]) -> Vec<[u8; 32]> {
    let one = |slice: &usize| {
        // SAFETY: promised by the caller.
        unsafe {
            if layout.is_contiguous() {
                digest(memory(layout.span_of(*slice)))
            } else {
                digest(&copy_slice(layout, *slice))
            }
        }
    };
    if slices.len() * SLICE < ALONE {
        slices.iter().map(one).collect()
    } else {
        slices.par_iter().map(one).collect()
    }
}

/// The fingerprints of one slice of several layouts that interleave: `layouts[0]` and others of the same shape that start
/// a little later. The memory is read once, not once per layout.
///
/// # Safety
/// The memory of all layouts must be readable and unchanged during the call.
pub(crate) unsafe fn digests_across(layouts: &[Layout], slice: usize) -> Vec<[u8; 32]> {
    /// Items of every layout that are copied before going on to the next layout: what they reach over fits the cache.
    const AT_ONCE: usize = 512;
    let Some(first) = layouts.first() else {
        return Vec::new();
    };
    let items = first.items_of(slice);
    let n_bytes = items.len() * first.item;
    let mut columns: Vec<Vec<u8>> = layouts
        .iter()
        .map(|_| Vec::with_capacity(n_bytes))
        .collect();
    let mut done = 0;
    while done < items.len() {
        let count = AT_ONCE.min(items.len() - done);
        for (layout, column) in layouts.iter().zip(&mut columns) {
            // SAFETY: promised by the caller; the capacity is that of all items.
            unsafe {
                let to = column.as_mut_ptr().add(done * layout.item);
                gather_items(layout, items.start + done, count, to);
            }
        }
        done += count;
    }
    columns
        .iter_mut()
        .map(|column| {
            // SAFETY: all items were written above.
            unsafe { column.set_len(n_bytes) };
            digest(column)
        })
        .collect()
}

/// Put columns of items beside each other, row by row: the opposite of reading them out of a table that is stored so.
///
/// `into` has the bytes of all columns, which are equally long and hold items of `item` bytes.
pub fn interleave(columns: &[&[u8]], item: usize, into: &mut [u8]) {
    /// Rows that are filled before going on to the next ones: what they reach over fits the cache.
    const AT_ONCE: usize = 512;
    let row = columns.len() * item;
    if row == 0 {
        return;
    }
    into.par_chunks_mut(AT_ONCE * row)
        .enumerate()
        .for_each(|(index, rows)| {
            let first = index * AT_ONCE * item;
            for (position, column) in columns.iter().enumerate() {
                let (from, to) = (&column[first..], &mut rows[position * item..]);
                match item {
                    1 => spread::<1>(from, row, to),
                    2 => spread::<2>(from, row, to),
                    4 => spread::<4>(from, row, to),
                    8 => spread::<8>(from, row, to),
                    16 => spread::<16>(from, row, to),
                    _ => {
                        let items = from.chunks_exact(item);
                        for (to, from) in to.chunks_mut(row).zip(items) {
                            to[..item].copy_from_slice(from);
                        }
                    }
                }
            }
        });
}

/// Items that touch to the beginning of every row.
fn spread<const ITEM: usize>(from: &[u8], row: usize, to: &mut [u8]) {
    let items = from.as_chunks::<ITEM>().0;
    for (to, from) in to.chunks_mut(row).zip(items) {
        to[..ITEM].copy_from_slice(from);
    }
}
