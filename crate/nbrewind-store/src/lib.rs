//! The store: what was recorded, as plain files that any number of processes and hosts write at the same time.
//!
//! Terms: a *chunk* is up to 1 MiB of bytes named by their *fingerprint* (blake3); a *pack* holds chunks; a *log* holds
//! *frames*, each the result of one commit: where new chunks lie, and *records*; a *writer* is one pack folder and one
//! log that exactly one process appends to. `docs/format.md` describes the bytes.
//!
//! Invariants: only the owner of a log writes or truncates it, and never takes back a complete frame; a chunk is on
//! disk before the frame that locates it; a record is listed only while every chunk it needs is there; whatever is read
//! is checked against its fingerprint.

mod disk;
mod error;
mod fingerprint;
mod format;
mod frame;
mod gc;
mod index;
mod lease;
mod pack;
mod parallel;
mod parts;
mod put;
mod records;
mod store;
mod verify;
mod writer;

pub use disk::{Access, Aligned};
pub use error::StoreError;
pub use fingerprint::{Fingerprint, ParseFingerprintError, hash_file};
pub use frame::FORMAT_VERSION;
pub use gc::{GcOptions, GcReport};
pub use index::{Record, Stats};
pub use pack::CHUNK_BYTES;
pub use parts::PartHasher;
pub use records::{BufferRef, FileFact, Manifest, TaskRecord, TaskStatus, ValueRef};
pub use store::{Mode, Store};
pub use verify::{AffectedRecords, Damage, DamageKind};
