//! The store as its callers see it.

mod reading;
mod writing;

pub(crate) use reading::read_stored;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use uuid::Uuid;

use crate::disk::{self, Access, Bounces};
use crate::format::{check_format, create_if_empty};
use crate::index::{Index, Slot};
use crate::writer::{LOG_FILE, WRITERS_DIR, Writer, pack_file};
use crate::{Fingerprint, Record, Stats, StoreError, parallel};

const PACK_LIMIT_BYTES: u64 = 1 << 30;
/// What one commit may hold; a frame ends at 4 GiB.
const MAX_BUFFERED_BYTES: u64 = 2 << 30;
const MAX_OPEN_PACKS: usize = 64;

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look up and record; an empty or absent folder becomes a store.
    ReadWrite,
    /// Look up only; nothing on disk is created or changed.
    ReadOnly,
}

/// An open store. Any number of threads may use it; after `fork` the child goes on as a new writer.
///
/// Dropping it drops what was not committed.
#[derive(Debug)]
pub struct Store {
    pub(crate) dir: PathBuf,
    mode: Mode,
    access: Access,
    pub(crate) pack_limit: u64,
    /// A shared lock on the folder, so that `gc` can tell whether anybody else is there.
    pub(crate) presence: OnceLock<File>,
    first: State,
}

/// What one process knows and writes. A forked child must not touch its parent's files, nor wait for locks that a
/// thread of the parent held at the fork; so it appends a state of its own to the chain and uses only that.
#[derive(Debug)]
pub(crate) struct State {
    pid: u32,
    loaded: OnceLock<()>,
    // Whoever takes several of these takes them in this order.
    writer: Mutex<Writer>,
    tails: Mutex<BTreeMap<Slot, Tail>>,
    index: RwLock<Index>,
    open_packs: Mutex<BTreeMap<(Slot, u32), Arc<File>>>,
    pub(crate) bounces: Bounces,
    next: OnceLock<Box<State>>,
}

/// How far another writer's log was read.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    /// The end of the last good frame.
    read_len: u64,
    /// The size of the file then: if it did not change, there is nothing new.
    file_len: u64,
    /// Up to here it is known to be on disk.
    synced_len: u64,
}

impl State {
    fn new() -> Self {
        Self {
            pid: std::process::id(),
            loaded: OnceLock::new(),
            writer: Mutex::default(),
            tails: Mutex::default(),
            index: RwLock::default(),
            open_packs: Mutex::default(),
            bounces: Bounces::default(),
            next: OnceLock::new(),
        }
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tails(&self) -> MutexGuard<'_, BTreeMap<Slot, Tail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open_packs(&self) -> MutexGuard<'_, BTreeMap<(Slot, u32), Arc<File>>> {
        self.open_packs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keep_open(&self, slot: Slot, pack: u32, file: Arc<File>) {
        let mut open = self.open_packs();
        if open.len() >= MAX_OPEN_PACKS {
            open.clear();
        }
        open.insert((slot, pack), file);
    }
}

impl Store {
    /// Opens a store and reads the logs of all its writers.
    ///
    /// `ReadWrite` makes an absent or empty folder a store (synced before this returns). A store that cannot be
    /// written to opens as well; recording in it then fails with `ReadOnly` or `PermissionDenied`.
    pub fn open(dir: &Path, mode: Mode) -> Result<Self, StoreError> {
        Self::open_with(dir, mode, None, PACK_LIMIT_BYTES)
    }

    /// [`Store::open`], with the kind of file system said by the caller.
    pub fn open_as(dir: &Path, mode: Mode, access: Access) -> Result<Self, StoreError> {
        Self::open_with(dir, mode, Some(access), PACK_LIMIT_BYTES)
    }

    pub(crate) fn open_with(
        dir: &Path,
        mode: Mode,
        access: Option<Access>,
        pack_limit: u64,
    ) -> Result<Self, StoreError> {
        let dir = std::path::absolute(dir).map_err(|error| StoreError::io(dir, error))?;
        if mode == Mode::ReadWrite {
            create_if_empty(&dir)?;
        }
        check_format(&dir)?;
        let store = Self {
            access: access.unwrap_or_else(|| Access::of(&dir)),
            dir,
            mode,
            pack_limit,
            presence: OnceLock::new(),
            first: State::new(),
        };
        store.note_presence();
        store.read_logs(&store.first)?;
        let _ = store.first.loaded.set(());
        Ok(store)
    }

    /// The folder of this store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it was opened for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How its file system is used.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// The UUID under which this process writes; none before its first `put` of new content or `commit`.
    #[must_use]
    pub fn writer_id(&self) -> Option<String> {
        self.state()
            .writer()
            .own
            .as_ref()
            .map(|own| own.id.to_string())
    }

    /// The content of these chunks, one after the other, each checked against its name.
    ///
    /// A chunk that fails the check, or whose pack is gone, counts as not stored from then on: records that need it are
    /// not listed, and a later `put` of the same content stores it anew.
    pub fn get(&self, chunks: &[Fingerprint]) -> Result<Vec<u8>, StoreError> {
        let mut data = vec![0; self.len_of(chunks)?];
        self.get_into(chunks, &mut data)?;
        Ok(data)
    }

    /// How many bytes these chunks hold together.
    pub fn len_of(&self, chunks: &[Fingerprint]) -> Result<usize, StoreError> {
        let index = self.state().index();
        let len = |chunk: &Fingerprint| match index.places(chunk).next() {
            Some(place) => Ok(place.raw_len as usize),
            None => Err(StoreError::MissingChunk { chunk: *chunk }),
        };
        chunks.iter().map(len).sum()
    }

    /// [`Store::get`] into memory that is there, which is [`Store::len_of`] the chunks long. On failure it holds anything.
    pub fn get_into(&self, chunks: &[Fingerprint], data: &mut [u8]) -> Result<(), StoreError> {
        self.get_into_from(chunks, data, |_, _| false)
    }

    /// [`Store::get_into`], but for chunks that `nearer` can fill from somewhere else, which it compares with their names itself.
    pub fn get_into_from(
        &self,
        chunks: &[Fingerprint],
        data: &mut [u8],
        nearer: impl Fn(&Fingerprint, &mut [u8]) -> bool + Sync,
    ) -> Result<(), StoreError> {
        let state = self.state();
        disk::expect_writes(data);
        let mut rest = data;
        let mut parts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let len = self.len_of(std::slice::from_ref(chunk))?;
            let Some((part, behind)) = rest.split_at_mut_checked(len) else {
                return Err(self.wrong_length());
            };
            parts.push((chunk, part));
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(self.wrong_length());
        }
        parallel::map(parts, |(chunk, part)| {
            if nearer(chunk, part) {
                return Ok(());
            }
            self.read_chunk(state, chunk, part)
        })
        .into_iter()
        .collect()
    }

    fn wrong_length(&self) -> StoreError {
        let why = "the memory to read into has another length than the chunks";
        StoreError::io(&self.dir, io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// The chunk can be read, as far as this process has looked: it is durable or this process has put it, its pack was
    /// there and is not about to be deleted, and no damage was seen. `put` would not write it again.
    #[must_use]
    pub fn has(&self, chunk: &Fingerprint) -> bool {
        self.state().index().is_kept(chunk)
    }

    /// Adds a record to the next commit. `needs` lists the chunks it depends on; they must be in the store by now.
    ///
    /// Nothing is written before [`Store::commit`].
    pub fn append(
        &self,
        kind: &str,
        key: &str,
        payload: &serde_json::Value,
        needs: &[Fingerprint],
    ) -> Result<(), StoreError> {
        self.check_writable()?;
        let state = self.state();
        let unknown = || {
            let index = state.index();
            needs.iter().find(|need| !index.is_known(need)).copied()
        };
        if unknown().is_some() {
            // Another writer may have stored it since we looked.
            self.read_logs(state)?;
            if let Some(chunk) = unknown() {
                return Err(StoreError::MissingChunk { chunk });
            }
        }
        let mut writer = state.writer();
        let payload = payload.to_string();
        if writer.record_bytes + payload.len() as u64 > MAX_BUFFERED_BYTES {
            let why = "more than 2 GiB of records wait for one commit";
            return Err(StoreError::io(
                &self.dir,
                io::Error::new(io::ErrorKind::InvalidInput, why),
            ));
        }
        let latest_ns = state.index().latest_ns();
        writer.push_record(kind, key, needs, payload, latest_ns);
        Ok(())
    }

    /// Makes everything since the last commit durable: packs first, then one frame in the log that names it.
    ///
    /// When this returns Ok, chunks and records survive a crash of the machine and other processes can see them. On
    /// failure none of it counts: the records are dropped, the chunks are forgotten, the log ends where it did, and the
    /// next commit can succeed. (If only the last sync failed, others may see the records; all they name is durable.)
    pub fn commit(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        let state = self.state();
        let mut writer = state.writer();
        if writer.chunks.is_empty() && writer.records.is_empty() {
            return Ok(());
        }
        let outcome = self.write_commit(state, &mut writer);
        if outcome.is_ok() {
            let mut index = state.index_mut();
            if let Some(slot) = writer.own.as_ref().map(|own| own.slot) {
                index.set_log(slot, false);
                for record in writer.records.drain(..) {
                    index.add_record(slot, record);
                }
            }
        } else {
            self.roll_back(state, &mut writer);
        }
        writer.clear_buffers();
        outcome
    }

    /// Reads what other writers have committed since, notices new writers, and packs and logs that are gone.
    ///
    /// If one log cannot be read, the others are, and the first error is returned.
    pub fn refresh(&self) -> Result<(), StoreError> {
        self.note_presence();
        self.read_logs(self.state())
    }

    /// The records of one kind (with one key), from all writers, oldest first by (time, writer, number).
    ///
    /// A record is listed only if it is committed and every chunk it needs can be read.
    #[must_use]
    pub fn records(&self, kind: &str, key: Option<&str>) -> Vec<Record> {
        self.state().index().records(kind, key)
    }

    /// Time and JSON text of what [`Store::records`] gives for one key: for callers that read them in their own way.
    #[must_use]
    pub fn record_texts(&self, kind: &str, key: &str) -> Vec<(u64, String)> {
        self.state().index().record_texts(kind, key)
    }

    /// Show time and JSON text of every record of one kind to `see`, in no particular order.
    pub fn each_record_text(&self, kind: &str, see: impl FnMut(u64, &str)) {
        self.state().index().each_record_text(kind, see);
    }

    /// Records of one kind that `gc` has retired and whose content is still there: they are listed no longer.
    #[must_use]
    pub fn retired_records(&self, kind: &str) -> Vec<Record> {
        self.state().index().retired_records(kind)
    }

    /// How many records of this kind are listed.
    #[must_use]
    pub fn record_count(&self, kind: &str) -> u64 {
        self.state().index().kinds().get(kind).copied().unwrap_or(0)
    }

    /// The kinds of which records are listed, sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        self.state().index().kinds().into_keys().collect()
    }

    /// Sizes, as far as this process has read.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state().index().stats()
    }

    /// While `gc` deletes there is none: it is waited for, since what is about to be deleted must not be counted on.
    /// Where there are no locks, `gc` does not count on them.
    fn note_presence(&self) {
        const LONG_MS: u64 = 5_000;
        const STEP_MS: u64 = 5;
        if self.access == Access::Network || self.presence.get().is_some() {
            return;
        }
        for _ in 0..LONG_MS / STEP_MS {
            match disk::lock(&self.dir, libc::LOCK_SH) {
                Ok(lock) => {
                    let _ = self.presence.set(lock);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            std::thread::sleep(std::time::Duration::from_millis(STEP_MS));
        }
    }

    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        match self.mode {
            Mode::ReadWrite => Ok(()),
            Mode::ReadOnly => Err(StoreError::ReadOnly {
                path: self.dir.clone(),
            }),
        }
    }

    /// The state of this process: the last of the chain, after a fork a new one.
    pub(crate) fn state(&self) -> &State {
        let pid = std::process::id();
        let mut state = &self.first;
        while let Some(next) = state.next.get() {
            state = next;
        }
        if state.pid != pid {
            state = state.next.get_or_init(|| Box::new(State::new()));
        }
        state.loaded.get_or_init(|| {
            // Why a forked child cannot read is what its next `refresh` says; until then it finds nothing.
            let _ = self.read_logs(state);
        });
        state
    }

    pub(crate) fn pack_path(&self, writer: Uuid, pack: u32) -> PathBuf {
        self.writer_dir(writer).join(pack_file(pack))
    }

    pub(crate) fn writer_dir(&self, writer: Uuid) -> PathBuf {
        self.dir.join(WRITERS_DIR).join(writer.to_string())
    }

    /// The log of a writer.
    pub(crate) fn log_path(&self, writer: Uuid) -> PathBuf {
        self.writer_dir(writer).join(LOG_FILE)
    }

    /// Runs `look` on what this process knows.
    pub(crate) fn with_index<R>(&self, look: impl FnOnce(&mut Index) -> R) -> R {
        look(&mut self.state().index_mut())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sizes(store: &Store) -> Vec<u64> {
        let id = store.state().writer().own.as_ref().unwrap().id;
        let len = |pack| fs::metadata(store.pack_path(id, pack)).map(|metadata| metadata.len());
        (0..).map_while(|pack| len(pack).ok()).collect()
    }

    fn noise(seed: u8, n_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_full_pack_is_followed_by_the_next_and_a_failed_commit_gives_the_room_back() {
        let dir = std::env::temp_dir().join(format!("nbrewind-store-packs-{}", Uuid::new_v4()));
        let store = Store::open_with(&dir, Mode::ReadWrite, None, 10_000).unwrap();
        let mut all = Vec::new();
        for seed in 0..7 {
            all.extend(store.put(&noise(seed, 4_000)).unwrap());
        }
        // Larger than a pack: alone in its own.
        all.extend(store.put(&noise(7, 20_000)).unwrap());
        assert_eq!(sizes(&store), [8_000, 8_000, 8_000, 4_000, 20_000]);
        store.commit().unwrap();
        all.extend(store.put(&noise(8, 4_000)).unwrap());
        store.commit().unwrap();
        assert_eq!(sizes(&store), [8_000, 8_000, 8_000, 4_000, 20_000, 4_000]);

        // The commit fails because a pack that a record needs is gone by then; three packs hold what it would have kept.
        store
            .append("run", "a", &serde_json::json!({}), &all[..1])
            .unwrap();
        let lost = (20..24)
            .map(|seed| store.put(&noise(seed, 4_000)).unwrap()[0])
            .collect::<Vec<_>>();
        let first = store.pack_path(store.state().writer().own.as_ref().unwrap().id, 0);
        fs::rename(&first, dir.join("away")).unwrap();
        assert!(
            matches!(store.commit(), Err(StoreError::MissingChunk { chunk }) if chunk == all[0])
        );
        fs::rename(dir.join("away"), &first).unwrap();
        assert_eq!(
            sizes(&store),
            [8_000, 8_000, 8_000, 4_000, 20_000, 4_000, 0, 0]
        );
        assert!(lost.iter().all(|chunk| !store.has(chunk)));

        all.extend(store.put(&noise(20, 4_000)).unwrap());
        store.commit().unwrap();
        store.refresh().unwrap();
        let again = Store::open(&dir, Mode::ReadOnly).unwrap();
        let seeds = [
            (0..7).map(|seed| noise(seed, 4_000)).collect(),
            vec![noise(7, 20_000), noise(8, 4_000), noise(20, 4_000)],
        ];
        for store in [&store, &again] {
            assert!(store.get(&all).unwrap() == seeds.concat().concat());
            assert_eq!(store.verify().unwrap(), []);
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_writer_whose_log_cannot_be_trusted_is_given_up_and_what_it_committed_stays() {
        let dir = std::env::temp_dir().join(format!("nbrewind-store-lost-{}", Uuid::new_v4()));
        let store = Store::open(&dir, Mode::ReadWrite).unwrap();
        let kept = store.put(b"kept").unwrap();
        store
            .append("run", "kept", &serde_json::json!({}), &kept)
            .unwrap();
        store.commit().unwrap();
        let first = store.writer_id();

        let lost = store.put(b"lost").unwrap();
        store
            .append("run", "lost", &serde_json::json!({}), &lost)
            .unwrap();
        {
            // As after a failed sync of the log.
            let state = store.state();
            let mut writer = state.writer();
            writer.own.as_mut().unwrap().is_lost = true;
            store.roll_back(state, &mut writer);
            writer.clear_buffers();
        }
        assert_eq!(store.writer_id(), None);
        assert_eq!(store.get(&kept).unwrap(), b"kept");
        assert!(!store.has(&lost[0]));
        let lost = store.put(b"lost").unwrap();
        store
            .append("run", "again", &serde_json::json!({}), &[kept[0], lost[0]])
            .unwrap();
        store.commit().unwrap();
        assert_ne!(store.writer_id(), first);
        store.refresh().unwrap();
        let again = Store::open(&dir, Mode::ReadOnly).unwrap();
        for store in [&store, &again] {
            let keys: Vec<_> = store
                .records("run", None)
                .into_iter()
                .map(|record| record.key)
                .collect();
            assert_eq!(keys, ["kept", "again"]);
            assert_eq!((store.stats().n_chunks, store.stats().n_writers), (2, 2));
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
