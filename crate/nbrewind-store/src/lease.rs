//! Who may clean up: one process at a time, by holding a file that can only be taken by renaming it.
//!
//! `gc/free` renamed to `gc/held-<uuid>` is the lease taken; a rename has one winner on every file system. Where there are
//! locks, the file is locked before it is renamed to `gc/held-locked-<uuid>`, and a free lock tells that its holder died;
//! else a file that was not touched for an hour does. Nothing that a second
//! holder could do loses data (the phases of `gc` see to that); the lease saves work.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::disk::{self, Access};
use crate::error::is_gone;
use crate::{Store, StoreError};

const FREE_FILE: &str = "free";
const HELD_PREFIX: &str = "held-";
const LOCKED_PREFIX: &str = "held-locked-";
const EXPIRES_NS: u64 = 3_600_000_000_000;

/// The right to clean up. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    dir: PathBuf,
    path: PathBuf,
    file: File,
}

impl Store {
    pub(crate) fn lease_dir(&self) -> PathBuf {
        self.dir.join("gc")
    }
}

impl Lease {
    /// Takes the lease, or says that somebody else has it.
    pub(crate) fn take(store: &Store) -> Result<Self, StoreError> {
        let dir = store.lease_dir();
        let failed = |error| StoreError::io(&dir, error);
        let busy = || StoreError::Busy {
            dir: store.dir.clone(),
        };
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let from = match held(&dir)?.pop() {
            Some(other) if is_abandoned(&dir, &other).map_err(failed)? => other,
            Some(_) => return Err(busy()),
            None => {
                let free = dir.join(FREE_FILE);
                match File::create_new(&free) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(failed(error));
                    }
                    _ => free,
                }
            }
        };
        let file = match OpenOptions::new().read(true).write(true).open(&from) {
            Err(error) if is_gone(&error) => return Err(busy()),
            opened => opened.map_err(failed)?,
        };
        let mut prefix = HELD_PREFIX;
        if store.access() == Access::Local {
            if disk::relock(&file, libc::LOCK_EX).is_err() {
                return Err(busy());
            }
            prefix = LOCKED_PREFIX;
        }
        let path = dir.join(format!("{prefix}{}", Uuid::new_v4()));
        match fs::rename(&from, &path) {
            Err(error) if is_gone(&error) => return Err(busy()),
            outcome => outcome.map_err(failed)?,
        }
        let lease = Self { dir, path, file };
        lease.renew()?;
        // Two that found the folder empty can both have made the file and taken it.
        for other in held(&lease.dir)? {
            if other != lease.path {
                if !is_abandoned(&lease.dir, &other)
                    .map_err(|error| StoreError::io(&other, error))?
                {
                    return Err(busy());
                }
                let _ = fs::remove_file(&other);
            }
        }
        Ok(lease)
    }

    /// Shows that the holder lives; returns the time by the clock of the file system. Fails when the lease was taken away.
    /// Nothing is written: a full disk is when cleaning up is needed most.
    pub(crate) fn renew(&self) -> Result<u64, StoreError> {
        if !self.path.exists() {
            return Err(StoreError::Busy {
                dir: self.dir.parent().unwrap_or(&self.dir).to_owned(),
            });
        }
        touch(&self.file).map_err(|error| StoreError::io(&self.path, error))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // If it was taken away, there is nothing to give back.
        let _ = fs::rename(&self.path, self.dir.join(FREE_FILE));
    }
}

/// When a file was last written to, by the clock that the file system uses.
pub(crate) fn mtime_ns(path: &Path) -> io::Result<u64> {
    Ok(ns_of(&fs::metadata(path)?))
}

/// Sets the times of a file to those of this moment, and returns it.
fn touch(file: &File) -> io::Result<u64> {
    use std::os::fd::AsRawFd;
    // SAFETY: a plain call on an open file; without times it takes the file system's own.
    if unsafe { libc::futimens(file.as_raw_fd(), std::ptr::null()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ns_of(&file.metadata()?))
}

fn ns_of(metadata: &fs::Metadata) -> u64 {
    let ns = metadata.mtime().saturating_mul(1_000_000_000) + metadata.mtime_nsec();
    u64::try_from(ns).unwrap_or_default()
}

/// The time by the clock of the file system, for who does not hold the lease.
fn now_in(dir: &Path) -> io::Result<u64> {
    let probe = dir.join(format!(".now-{}", Uuid::new_v4()));
    let now = File::create_new(&probe).and_then(|file| touch(&file));
    let _ = fs::remove_file(&probe);
    now
}

fn held(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| StoreError::io(dir, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(HELD_PREFIX) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Nobody holds it any more. A holder that gives it back at this moment is no error.
fn is_abandoned(dir: &Path, held: &Path) -> io::Result<bool> {
    let age = || -> io::Result<u64> {
        let name = held.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(LOCKED_PREFIX) && disk::lock(held, libc::LOCK_EX).is_ok() {
            return Ok(u64::MAX);
        }
        Ok(now_in(dir)?.saturating_sub(mtime_ns(held)?))
    };
    match age() {
        Err(error) if is_gone(&error) => Ok(false),
        age => Ok(age? > EXPIRES_NS),
    }
}
