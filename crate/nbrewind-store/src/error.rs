//! Why the store could not do something: one variant for each thing that the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::Fingerprint;

/// What stopped the store. Whatever was committed before stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Name another folder: there is no store here.
    #[error("{} is not an NBRewind store ({why}). Name the folder of a store, or an empty one to start a store in.", .dir.display())]
    NotAStore {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Upgrade: a newer NBRewind wrote this.
    #[error("{} has format version {found} and this NBRewind knows versions up to {known}. Nothing was changed. Upgrade NBRewind, or use another store.", .path.display())]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// Use it for reading only, or put the store where writing is possible.
    #[error("{} is read-only, so nothing can be recorded in it. What it holds can still be used; to record, choose a store in a folder that you can write to.", .path.display())]
    ReadOnly {
        /// What could not be written.
        path: PathBuf,
    },
    /// Get access.
    #[error("NBRewind has no permission for {}. Give your user access to it, or use another store.", .path.display())]
    PermissionDenied {
        /// What could not be opened.
        path: PathBuf,
    },
    /// Make room, then go on with the same store.
    #[error("There is no room left to write {}: the disk is full, or a quota or size limit is reached. What was recorded before is safe; free some space and run again.", .path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// Execute again: the stored bytes are not what was recorded. Storing the same content again repairs it.
    #[error("Chunk {chunk} in {} does not match its fingerprint, so it was not used. Run the cells that made it again; that also repairs the store.", .pack.display())]
    DamagedChunk {
        /// The content that was asked for.
        chunk: Fingerprint,
        /// Where its damaged copy lies.
        pack: PathBuf,
    },
    /// Execute again: the bytes are not in this store, or its pack was deleted.
    #[error(
        "Chunk {chunk} is not in this store (never recorded here, or its pack was deleted). Run the cells that made it again."
    )]
    MissingChunk {
        /// The content that was asked for.
        chunk: Fingerprint,
    },
    /// Wait for the other one.
    #[error("Somebody else is cleaning up {} right now. Try again when that has ended.", .dir.display())]
    Busy {
        /// The store.
        dir: PathBuf,
    },
    /// Anything else that the operating system reports.
    #[error("NBRewind could not use {} ({source}). Check the disk or the network share, then run again.", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// The one place where an error number becomes an action.
    pub(crate) fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_owned();
        match source.raw_os_error() {
            // EFBIG is a limit on the size of files (ulimit -f, some quotas): the way out is the same.
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Self::DiskFull { path },
            Some(libc::EROFS) => Self::ReadOnly { path },
            Some(libc::EACCES | libc::EPERM) => Self::PermissionDenied { path },
            _ => Self::Io { path, source },
        }
    }
}

/// The file is not there: deleted, purged from a scratch disk, or its handle went stale on a network share.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESTALE)
}
