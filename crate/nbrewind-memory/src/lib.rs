//! Content fingerprints of large buffers that live on between two looks, at the cost of what changed.
//!
//! A buffer is read as the bytes of its items in order, in slices of 1 MiB; the fingerprint of a slice is its blake3
//! hash, which is also its name in the store. [`Memory`] remembers the slices of every buffer it has seen, and which of
//! them may have changed: by page tracking where the kernel offers it ([`Pages`]), else by xxh3 over the memory, which
//! runs at the speed of reading it. xxh3 only ever compares memory with itself; it is never a name.

mod live;
mod memory;
mod pages;
mod region;
mod slices;

pub use live::Sources;
pub use memory::{Counts, Memory};
pub use pages::{PAGE, Pages, whole_pages};
pub use slices::{Layout, SLICE, copy_slice, copy_slices, digests_of, interleave, mark_of};
