//! The one writer that a process is: its folder, its packs, its log, and what waits for the next commit.
//!
//! Nothing here is created before there is something to write. Only complete frames stay in the log: what a failed
//! commit wrote of a frame is cut off again, and if that is not possible the writer is given up and a new one started.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

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
    ) {
        // A clock that steps back does not change the order of one writer's records.
        self.last_time_ns = now_ns().max(self.last_time_ns + 1);
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
    /// Where the next bytes go; whatever lies behind is garbage of a failed write.
    len: u64,
    synced_len: u64,
    /// What frames name ends here.
    committed_len: u64,
}

impl Appended {
    fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let file = Arc::new(file.map_err(|error| StoreError::io(&path, error))?);
        Ok(Self {
            path,
            file,
            len: 0,
            synced_len: 0,
            committed_len: 0,
        })
    }

    /// On failure nothing counts as written; `cut` gives back the room that it took.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            return Err(StoreError::io(&self.path, error));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|error| StoreError::io(&self.path, error))?;
        self.synced_len = self.len;
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        self.synced_len = self.synced_len.min(len);
        Ok(())
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
    /// No more frames may follow what is in the log now.
    pub is_lost: bool,
}

impl Own {
    /// A new writer; `id` is random, and it is an error if somebody has it already.
    pub(crate) fn create(store: &Path, id: Uuid, slot: Slot) -> Result<Self, StoreError> {
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
        Ok(Self {
            id,
            slot,
            dir,
            log: None,
            packs: Vec::new(),
            next_pack: 0,
            has_new_names: true,
            is_lost: false,
        })
    }

    /// Writes a chunk behind the last one. Not durable before [`Own::sync_packs`].
    pub(crate) fn write_chunk(
        &mut self,
        stored: &[u8],
        pack_limit: u64,
    ) -> Result<(u32, u64, Arc<File>), StoreError> {
        let has_room = |(_, pack): &(u32, Appended)| {
            pack.len == 0 || pack.len + stored.len() as u64 <= pack_limit
        };
        if !self.packs.last().is_some_and(has_room) {
            let number = self.next_pack;
            let pack = Appended::create(self.dir.join(pack_file(number)))?;
            self.packs.push((number, pack));
            self.next_pack += 1;
            self.has_new_names = true;
        }
        let Some((number, pack)) = self.packs.last_mut() else {
            unreachable!("a pack was pushed")
        };
        let offset = pack.len;
        if let Err(error) = pack.append(stored) {
            // Best effort: on a full disk the half-written chunk only takes room.
            let _ = pack.cut(offset);
            return Err(error);
        }
        Ok((*number, offset, Arc::clone(&pack.file)))
    }

    /// Makes the bytes and names of all packs durable.
    pub(crate) fn sync_packs(&mut self) -> Result<(), StoreError> {
        for (_, pack) in &mut self.packs {
            if pack.synced_len < pack.len {
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
        let mut log = match Appended::create(path.clone()) {
            Ok(log) => log,
            Err(StoreError::Io { source, .. }) if is_gone(&source) => return Err(self.lose()),
            Err(error) => return Err(error),
        };
        let header = frame::seal(0, &frame::header_payload(self.id, now_ns())).unwrap_or_default();
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

    /// Appends and syncs one frame. When this returns Ok the frame survives a power loss.
    pub(crate) fn write_frame(&mut self, payload: &[u8]) -> Result<(), StoreError> {
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
        let frame = frame::seal(start, payload).ok_or_else(too_long)?;
        if let Err(error) = log.append(&frame) {
            self.is_lost = log.cut(start).is_err();
            return Err(error);
        }
        // After a failed sync nobody knows what is on disk, but other processes may already have read the frame, and
        // what it names is durable. So it is not taken back: the writer ends here.
        log.sync().inspect_err(|_| self.is_lost = true)?;
        for (_, pack) in &mut self.packs {
            pack.committed_len = pack.len;
        }
        self.packs.drain(..self.packs.len().saturating_sub(1));
        Ok(())
    }

    /// Gives back what the packs hold beyond the last commit. Not for a lost writer: its last frame may count.
    pub(crate) fn cut_packs(&mut self) {
        for (_, pack) in &mut self.packs {
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
