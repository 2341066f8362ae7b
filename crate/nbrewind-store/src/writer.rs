//! The one writer that a process is: its folder, its packs, its log, and what waits for the next commit.
//!
//! Nothing here is created before there is something to write. Only complete frames stay in the log: what a failed
//! commit wrote of a frame is cut off again, and if that is not possible the writer is given up and a new one started.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::disk::{self, ALIGN, Access, Bounces, DIRECT_FROM_BYTES};
use crate::error::is_gone;
use crate::frame::{self, ChunkEntry, RecordEntry};
use crate::index::{Place, Slot};
use crate::{Fingerprint, StoreError};

/// The folder of all writers, inside the store.
pub(crate) const WRITERS_DIR: &str = "writers";
/// The log, inside a writer's folder.
pub(crate) const LOG_FILE: &str = "log";

/// The name of a pack, inside a writer's folder.
pub(crate) fn pack_file(pack: u32) -> String {
    format!("pack-{pack:06}")
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    match synced {
        // Some network file systems cannot sync a folder; their servers order names themselves.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        other => other.map_err(|error| StoreError::io(dir, error)),
    }
}

pub(crate) fn now_ns() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

/// What waits for the next commit.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub own: Option<Own>,
    pub chunks: Vec<(ChunkEntry, Place)>,
    pub records: Vec<RecordEntry>,
    pub record_bytes: u64,
    next_seq: u64,
    last_time_ns: u64,
}

impl Writer {
    pub(crate) fn push_record(
        &mut self,
        kind: &str,
        key: &str,
        needs: &[Fingerprint],
        payload: String,
        latest_ns: u64,
    ) {
        // A clock that is wrong or steps back does not change the order: who has read a record writes later times.
        self.last_time_ns = now_ns().max(self.last_time_ns.max(latest_ns) + 1);
        self.record_bytes += (payload.len() + kind.len() + key.len() + 32 * needs.len()) as u64;
        self.records.push(RecordEntry {
            kind: kind.to_owned(),
            key: key.to_owned(),
            time_ns: self.last_time_ns,
            seq: self.next_seq,
            needs: needs.to_vec(),
            payload,
        });
        self.next_seq += 1;
    }

    /// A record of another writer, as it is, under a number of this one.
    pub(crate) fn push_copy(&mut self, mut record: RecordEntry) {
        record.seq = self.next_seq;
        self.next_seq += 1;
        self.records.push(record);
    }

    pub(crate) fn clear_buffers(&mut self) {
        self.chunks.clear();
        self.records.clear();
        self.record_bytes = 0;
    }

    /// The next record starts the numbers of a new writer.
    pub(crate) fn give_up(&mut self) -> Option<Own> {
        self.next_seq = 0;
        self.own.take()
    }
}

/// A file that only this writer appends to.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    file: Arc<File>,
    /// The same file past the page cache; opened when it is first needed.
    direct: Option<Arc<File>>,
    is_direct_refused: Arc<AtomicBool>,
    /// Where the next bytes go; whatever lies behind is garbage of a failed write.
    len: u64,
    /// The file is this long where space was allocated ahead.
    allocated_len: u64,
    can_allocate: bool,
    /// Bytes were written since the last sync.
    is_dirty: bool,
    /// Places that were given out and are still being written to.
    n_in_flight: u32,
    /// What frames name ends here.
    committed_len: u64,
}

impl Appended {
    fn create(path: PathBuf, access: Access) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let file = Arc::new(file.map_err(|error| StoreError::io(&path, error))?);
        Ok(Self {
            path,
            file,
            direct: None,
            is_direct_refused: Arc::new(AtomicBool::new(access == Access::Network)),
            len: 0,
            allocated_len: 0,
            can_allocate: access == Access::Local,
            is_dirty: false,
            n_in_flight: 0,
            committed_len: 0,
        })
    }

    /// Where `n_bytes` would go, and where they would end.
    fn place_for(&self, n_bytes: usize) -> (u64, u64) {
        if n_bytes < DIRECT_FROM_BYTES || self.is_direct_refused.load(Ordering::Relaxed) {
            return (self.len, self.len + n_bytes as u64);
        }
        let start = self.len.next_multiple_of(ALIGN);
        (start, start + (n_bytes as u64).next_multiple_of(ALIGN))
    }

    /// The file past the page cache for what is to be written at an aligned place.
    fn direct(&mut self) -> Option<Arc<File>> {
        if self.is_direct_refused.load(Ordering::Relaxed) {
            return None;
        }
        if self.direct.is_none() {
            self.direct = disk::open_direct(&self.path).map(Arc::new);
            if self.direct.is_none() {
                self.is_direct_refused.store(true, Ordering::Relaxed);
            }
        }
        self.direct.clone()
    }

    /// Allocates what the rest of a big put may take.
    fn allocate(&mut self, end: u64, ahead: u64) {
        const STEP_BYTES: u64 = 64 << 20;
        if !self.can_allocate || end <= self.allocated_len {
            return;
        }
        let start = self.allocated_len.max(self.len);
        let end = end + ahead.min(STEP_BYTES);
        self.can_allocate = disk::allocate(&self.file, start, end - start);
        if self.can_allocate {
            self.allocated_len = end;
        }
    }

    /// On failure nothing counts as written; `cut` gives back the room that it took.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            return Err(StoreError::io(&self.path, error));
        }
        self.len += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|error| StoreError::io(&self.path, error))?;
        self.is_dirty = false;
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        self.allocated_len = len;
        Ok(())
    }

    /// Gives back what was allocated ahead and not used.
    fn trim(&mut self) {
        if self.allocated_len > self.len && self.n_in_flight == 0 {
            // Best effort: what stays is empty room behind the last chunk.
            let _ = self.cut(self.len);
        }
    }

    /// The name still leads to this file; false after somebody deleted the store under a running kernel.
    fn is_in_place(&self) -> Result<bool, StoreError> {
        let by_name = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(StoreError::io(&self.path, error)),
        };
        let by_handle = self
            .file
            .metadata()
            .map_err(|error| StoreError::io(&self.path, error))?;
        Ok((by_name.dev(), by_name.ino()) == (by_handle.dev(), by_handle.ino()))
    }
}

/// A place in a pack that a chunk is being written to.
#[derive(Debug)]
pub(crate) struct Spot {
    /// The writer that gave it out.
    pub writer: Uuid,
    pub pack: u32,
    pub offset: u64,
    pub file: Arc<File>,
    path: PathBuf,
    end: u64,
    /// Where the pack ended before.
    len_before: u64,
    direct: Option<Arc<File>>,
    is_direct_refused: Arc<AtomicBool>,
}

impl Spot {
    /// Writes the chunk there; no lock is needed, since nobody else has this place.
    pub(crate) fn write(&self, stored: &[u8], bounces: &Bounces) -> Result<(), StoreError> {
        let outcome = match &self.direct {
            Some(direct) => match bounces.write(direct, stored, self.offset) {
                // Opened, but not written to: the file system has none of it, or larger blocks.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    self.is_direct_refused.store(true, Ordering::Relaxed);
                    self.file.write_all_at(stored, self.offset)
                }
                outcome => outcome,
            },
            None => self.file.write_all_at(stored, self.offset),
        };
        outcome.map_err(|error| StoreError::io(&self.path, error))
    }
}

/// The files of this process's writer.
#[derive(Debug)]
pub(crate) struct Own {
    pub id: Uuid,
    pub slot: Slot,
    dir: PathBuf,
    log: Option<Appended>,
    /// The packs with uncommitted chunks, and the one that is being filled (the last).
    packs: Vec<(u32, Appended)>,
    next_pack: u32,
    has_new_names: bool,
    access: Access,
    pid: u32,
    /// The folder, locked for as long as this process (or a fork of it) lives: so others know that it does.
    lock: Option<File>,
    /// No more frames may follow what is in the log now.
    pub is_lost: bool,
}

impl Own {
    /// A new writer; `id` is random, and it is an error if somebody has it already.
    pub(crate) fn create(
        store: &Path,
        id: Uuid,
        slot: Slot,
        access: Access,
    ) -> Result<Self, StoreError> {
        let dir = store.join(WRITERS_DIR).join(id.to_string());
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {
                return Err(StoreError::NotAStore {
                    dir: store.to_owned(),
                    why: "its folder `writers` is gone".into(),
                });
            }
            Err(error) => return Err(StoreError::io(&dir, error)),
        }
        let lock = match access {
            Access::Local => disk::lock(&dir, libc::LOCK_EX).ok(),
            Access::Network => None,
        };
        Ok(Self {
            id,
            slot,
            dir,
            lock,
            log: None,
            packs: Vec::new(),
            next_pack: 0,
            has_new_names: true,
            access,
            pid: std::process::id(),
            is_lost: false,
        })
    }

    /// A place behind the last chunk, for the caller to write to; `ahead` is how much the same put may still store.
    /// Give it back with [`Own::release`].
    pub(crate) fn reserve(
        &mut self,
        n_bytes: usize,
        ahead: u64,
        pack_limit: u64,
    ) -> Result<Spot, StoreError> {
        let has_room =
            |(_, pack): &(u32, Appended)| pack.len == 0 || pack.place_for(n_bytes).1 <= pack_limit;
        if !self.packs.last().is_some_and(has_room) {
            let number = self.next_pack;
            if let Some((_, full)) = self.packs.last_mut() {
                full.trim();
            }
            let pack = Appended::create(self.dir.join(pack_file(number)), self.access)?;
            self.packs.push((number, pack));
            self.next_pack += 1;
            self.has_new_names = true;
        }
        let Some((number, pack)) = self.packs.last_mut() else {
            unreachable!("a pack was pushed")
        };
        let direct = if n_bytes >= DIRECT_FROM_BYTES {
            pack.direct()
        } else {
            None
        };
        let (offset, end) = pack.place_for(n_bytes);
        if direct.is_some() {
            pack.allocate(end, ahead.min(pack_limit.saturating_sub(end)));
        }
        let len_before = std::mem::replace(&mut pack.len, end);
        pack.n_in_flight += 1;
        Ok(Spot {
            writer: self.id,
            pack: *number,
            offset,
            file: Arc::clone(&pack.file),
            path: pack.path.clone(),
            end,
            len_before,
            direct,
            is_direct_refused: Arc::clone(&pack.is_direct_refused),
        })
    }

    /// The chunk is written, or could not be. Not durable before [`Own::sync_packs`].
    pub(crate) fn release(&mut self, spot: &Spot, is_written: bool) {
        let Some((_, pack)) = self
            .packs
            .iter_mut()
            .find(|(number, _)| *number == spot.pack)
        else {
            unreachable!("a pack stays while it is written to")
        };
        pack.n_in_flight -= 1;
        if is_written {
            pack.is_dirty = true;
        } else if pack.len == spot.end {
            // Best effort: on a full disk the half-written chunk only takes room.
            let _ = pack.cut(spot.len_before);
        }
    }

    /// Takes over a finished pack of another writer under a number of our own; nothing is copied. None: this file system
    /// has no hard links.
    pub(crate) fn adopt(&mut self, pack: &Path) -> Result<Option<u32>, StoreError> {
        let number = self.next_pack;
        let failed = |error| StoreError::io(pack, error);
        if fs::hard_link(pack, self.dir.join(pack_file(number))).is_err() {
            return Ok(None);
        }
        self.next_pack += 1;
        self.has_new_names = true;
        // Its writer may have been stopped before it could.
        File::open(pack)
            .and_then(|file| file.sync_data())
            .map_err(failed)?;
        Ok(Some(number))
    }

    /// Makes the bytes and names of all packs durable.
    pub(crate) fn sync_packs(&mut self) -> Result<(), StoreError> {
        for (_, pack) in &mut self.packs {
            pack.trim();
            if pack.is_dirty {
                pack.sync()?;
            }
        }
        if self.has_new_names {
            sync_dir(&self.dir)?;
            if let Some(writers) = self.dir.parent() {
                sync_dir(writers)?;
            }
            self.has_new_names = false;
        }
        Ok(())
    }

    /// The log with its header, made on the first commit.
    pub(crate) fn open_log(&mut self) -> Result<(), StoreError> {
        if self.log.is_some() {
            return Ok(());
        }
        let path = self.dir.join(LOG_FILE);
        let mut log = match Appended::create(path.clone(), self.access) {
            Ok(log) => log,
            Err(StoreError::Io { source, .. }) if is_gone(&source) => return Err(self.lose()),
            Err(error) => return Err(error),
        };
        let header = frame::seal(
            0,
            &frame::header_payload(self.id, now_ns(), self.lock.is_some()),
        )
        .unwrap_or_default();
        if let Err(error) = log.append(&header).and_then(|()| log.sync()) {
            // No frame was ever in it, so no reader has used it. If it stays, the name is taken: another writer follows.
            self.is_lost = fs::remove_file(&path).is_err();
            return Err(error);
        }
        self.log = Some(log);
        self.has_new_names = true;
        Ok(())
    }

    /// The files are still where their names say.
    pub(crate) fn check_in_place(&mut self) -> Result<(), StoreError> {
        let mut files = self
            .log
            .iter()
            .chain(self.packs.iter().map(|(_, pack)| pack));
        match files.try_fold(true, |all, file| {
            Ok::<_, StoreError>(all && file.is_in_place()?)
        })? {
            true => Ok(()),
            false => Err(self.lose()),
        }
    }

    /// Appends and syncs frames. When this returns Ok they survive a power loss.
    pub(crate) fn write_frames(&mut self, payloads: &[Vec<u8>]) -> Result<(), StoreError> {
        let Some(log) = &mut self.log else {
            unreachable!("open_log comes first")
        };
        let start = log.len;
        let too_long = || {
            StoreError::io(
                &log.path,
                io::Error::new(io::ErrorKind::InvalidInput, "too much for one commit"),
            )
        };
        let mut frames = Vec::new();
        for payload in payloads {
            let at = start + frames.len() as u64;
            frames.extend(frame::seal(at, payload).ok_or_else(too_long)?);
        }
        if let Err(error) = log.append(&frames) {
            self.is_lost = log.cut(start).is_err();
            return Err(error);
        }
        // After a failed sync nobody knows what is on disk, but other processes may already have read the frame, and
        // what it names is durable. So it is not taken back: the writer ends here.
        log.sync().inspect_err(|_| self.is_lost = true)?;
        for (_, pack) in &mut self.packs {
            pack.committed_len = pack.len;
        }
        // The last one is filled on; a thread may still be writing to an earlier one.
        let last = self.packs.last().map(|(number, _)| *number);
        self.packs.retain(|(number, pack)| {
            Some(*number) == last || pack.is_dirty || pack.n_in_flight > 0
        });
        Ok(())
    }

    /// Gives back what lies behind the last chunk that waits for a commit.
    pub(crate) fn cut_unused(&mut self, waiting: &[(ChunkEntry, Place)]) {
        for (number, pack) in &mut self.packs {
            if pack.n_in_flight > 0 {
                continue;
            }
            let ends = waiting
                .iter()
                .filter(|(entry, _)| entry.pack == *number)
                .map(|(entry, _)| entry.offset + u64::from(entry.stored_len));
            // Up to a whole page: what is written past the page cache shares none.
            let end = ends.max().map_or(0, |end| end.next_multiple_of(ALIGN));
            let end = end.max(pack.committed_len);
            if end < pack.len {
                // Best effort: bytes that stay are garbage that no frame names.
                let _ = pack.cut(end);
            }
        }
    }

    /// Gives back what the packs hold beyond the last commit. Not for a lost writer: its last frame may count.
    pub(crate) fn cut_packs(&mut self) {
        // A thread that is writing holds a place behind the end; its bytes must not be cut off, nor given out again.
        for (_, pack) in self
            .packs
            .iter_mut()
            .filter(|(_, pack)| pack.n_in_flight == 0)
        {
            // Best effort: bytes that stay are garbage that no frame names.
            let _ = pack.cut(pack.committed_len);
        }
    }

    fn lose(&mut self) -> StoreError {
        self.is_lost = true;
        StoreError::NotAStore {
            dir: self.dir.clone(),
            why: "it was deleted while NBRewind was writing to it".into(),
        }
    }
}

impl Drop for Own {
    /// What was put and never committed takes no room. After a fork the files are the parent's.
    fn drop(&mut self) {
        if self.pid == std::process::id() && !self.is_lost {
            self.cut_packs();
        }
    }
}
