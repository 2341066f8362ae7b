//! The store as its callers see it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use uuid::Uuid;

use crate::disk::{self, Access, Bounces};
use crate::error::is_gone;
use crate::format::{FORMAT_FILE, check_format, create_if_empty};
use crate::frame::{self, Body, ChunkEntry, FORMAT_VERSION, Found};
use crate::index::{Index, Place, Slot};
use crate::pack;
use crate::writer::{LOG_FILE, Own, WRITERS_DIR, Writer, pack_file};
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

    // ---- writing

    /// Its own writer; a new one if there is none, or if a `gc` took this process for gone and nothing is pending.
    pub(crate) fn own<'a>(
        &self,
        state: &State,
        writer: &'a mut Writer,
    ) -> Result<&'a mut Own, StoreError> {
        if let Some(own) = &writer.own
            && writer.chunks.is_empty()
            && writer.records.is_empty()
            && state.index().is_condemned(own.slot, frame::WHOLE)
        {
            self.give_up(state, writer);
        }
        if writer.own.is_none() {
            self.note_presence();
            let id = Uuid::new_v4();
            let slot = {
                let mut index = state.index_mut();
                let slot = index.slot(id);
                // Before its folder appears: a refresh in another thread must not read our log as somebody else's.
                index.set_own(slot, true);
                slot
            };
            writer.own = Some(Own::create(&self.dir, id, slot, self.access)?);
        }
        match &mut writer.own {
            Some(own) => Ok(own),
            None => unreachable!("it was just created"),
        }
    }

    fn write_commit(&self, state: &State, writer: &mut Writer) -> Result<(), StoreError> {
        let records = writer.records.iter();
        let needs: BTreeSet<Fingerprint> =
            records.flat_map(|record| &record.needs).copied().collect();
        let is_collected = self.lease_dir().exists();
        if is_collected {
            // What cannot be read changes nothing: `gc` refuses where it cannot read, too.
            let _ = self.read_logs(state);
            self.check_not_condemned(state, writer)?;
            self.keep(state, writer, &needs)?;
        }
        self.check_needs(state, writer)?;
        self.write_frames(state, writer, 0, &[])?;
        if is_collected {
            // A `gc` that began meanwhile may have looked before this frame was there.
            let n_committed = writer.chunks.len();
            let _ = self.read_logs(state);
            self.keep(state, writer, &needs)?;
            if writer.chunks.len() > n_committed {
                let records = std::mem::take(&mut writer.records);
                let outcome = self.write_frames(state, writer, n_committed, &[]);
                writer.records = records;
                outcome?;
            }
        }
        Ok(())
    }

    /// Writes what waits, without the first chunks, and more payloads behind it. The order makes it durable: packs first.
    pub(crate) fn write_frames(
        &self,
        state: &State,
        writer: &mut Writer,
        n_written: usize,
        more: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let own = self.own(state, writer)?;
        own.open_log()?;
        own.sync_packs()?;
        own.check_in_place()?;
        let waiting = writer.chunks[n_written..].iter();
        let chunks: Vec<ChunkEntry> = waiting.map(|(entry, _)| *entry).collect();
        let mut payloads = Vec::new();
        if !chunks.is_empty() || !writer.records.is_empty() {
            payloads.push(
                frame::commit_payload(&chunks, &writer.records).ok_or_else(|| {
                    let why = "too much for one commit";
                    StoreError::io(&self.dir, io::Error::new(io::ErrorKind::InvalidInput, why))
                })?,
            );
        }
        payloads.extend_from_slice(more);
        self.own(state, writer)?.write_frames(&payloads)
    }

    /// A process that slept for days can find that it was taken for gone.
    fn check_not_condemned(&self, state: &State, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(own) = &mut writer.own else {
            return Ok(());
        };
        if !state.index().is_condemned(own.slot, frame::WHOLE) {
            return Ok(());
        }
        own.is_lost = true;
        let why = "it was taken for gone after days without a write, and cleaned up; what follows is recorded again";
        Err(StoreError::io(&self.dir, io::Error::other(why)))
    }

    /// Makes copies of what is about to be deleted.
    pub(crate) fn keep(
        &self,
        state: &State,
        writer: &mut Writer,
        needs: &BTreeSet<Fingerprint>,
    ) -> Result<(), StoreError> {
        for need in needs {
            if !state.index().is_kept(need) {
                let mut raw = vec![0; self.len_of(&[*need])?];
                self.read_chunk(state, need, &mut raw)?;
                let (codec, stored) = pack::encode(&raw);
                self.write_copy(state, writer, *need, (codec, &stored), raw.len())?;
            }
        }
        Ok(())
    }

    /// A record may depend only on what is durable: on chunks of ours that this commit syncs, or on chunks of others
    /// whose packs are still there and whose logs are on disk (their packs were synced before their frames).
    fn check_needs(&self, state: &State, writer: &Writer) -> Result<(), StoreError> {
        let uncommitted: BTreeSet<Place> = writer.chunks.iter().map(|(_, place)| *place).collect();
        let mut packs = BTreeMap::new();
        {
            let index = state.index();
            for need in writer.records.iter().flat_map(|record| &record.needs) {
                let Some(place) = index.kept_place(need) else {
                    return Err(StoreError::MissingChunk { chunk: *need });
                };
                if !uncommitted.contains(place) {
                    packs
                        .entry((place.slot, place.pack, index.writer_id(place.slot)))
                        .or_insert(*need);
                }
            }
        }
        for ((slot, pack, id), chunk) in packs {
            let path = self.pack_path(id, pack);
            match fs::metadata(&path) {
                Ok(_) => self.sync_log(state, slot, id)?,
                Err(error) if is_gone(&error) => {
                    state.index_mut().add_missing_pack(slot, pack);
                    return Err(StoreError::MissingChunk { chunk });
                }
                Err(error) => return Err(StoreError::io(path, error)),
            }
        }
        Ok(())
    }

    /// What we read of another writer's log may still be in memory only.
    fn sync_log(&self, state: &State, slot: Slot, id: Uuid) -> Result<(), StoreError> {
        let mut tails = state.tails();
        let Some(tail) = tails
            .get_mut(&slot)
            .filter(|tail| tail.synced_len < tail.read_len)
        else {
            return Ok(());
        };
        let path = self.log_path(id);
        match File::open(&path).and_then(|log| log.sync_data()) {
            Ok(()) => tail.synced_len = tail.read_len,
            // A file system that cannot sync a file opened for reading has its own rules for other hosts' writes.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINVAL | libc::EROFS | libc::EBADF)
                ) => {}
            Err(error) => return Err(StoreError::io(path, error)),
        }
        Ok(())
    }

    pub(crate) fn roll_back(&self, state: &State, writer: &mut Writer) {
        {
            let mut index = state.index_mut();
            for (entry, place) in &writer.chunks {
                index.remove_chunk(&entry.name, place);
            }
        }
        match &mut writer.own {
            Some(own) if own.is_lost => self.give_up(state, writer),
            Some(own) => own.cut_packs(),
            None => {}
        }
    }

    /// Ends the writer; the next put starts a new one.
    fn give_up(&self, state: &State, writer: &mut Writer) {
        let Some(own) = writer.give_up() else { return };
        state.open_packs().retain(|key, _| key.0 != own.slot);
        {
            let mut index = state.index_mut();
            index.forget(own.slot);
            index.set_own(own.slot, false);
        }
        // From here on its log is one of the others'. Why it cannot be read is for the next refresh to say.
        let _ = self.read_logs(state);
    }

    // ---- reading

    pub(crate) fn read_chunk(
        &self,
        state: &State,
        name: &Fingerprint,
        out: &mut [u8],
    ) -> Result<(), StoreError> {
        let places: Vec<(Place, Uuid)> = {
            let index = state.index();
            index
                .places(name)
                .map(|place| (*place, index.writer_id(place.slot)))
                .collect()
        };
        let mut damaged = None;
        for (place, id) in places {
            let path = self.pack_path(id, place.pack);
            if state.index().is_damaged(&place) {
                damaged.get_or_insert(path);
                continue;
            }
            match self.read_place(state, &place, &path, name, out)? {
                Content::Good => return Ok(()),
                Content::Gone => state.index_mut().add_missing_pack(place.slot, place.pack),
                Content::Damaged => {
                    state.index_mut().add_damaged(place);
                    damaged.get_or_insert(path);
                }
            }
        }
        Err(match damaged {
            Some(pack) => StoreError::DamagedChunk { chunk: *name, pack },
            None => StoreError::MissingChunk { chunk: *name },
        })
    }

    fn read_place(
        &self,
        state: &State,
        place: &Place,
        path: &Path,
        name: &Fingerprint,
        out: &mut [u8],
    ) -> Result<Content, StoreError> {
        let open = state.open_packs().get(&(place.slot, place.pack)).cloned();
        let file = match open {
            Some(file) => file,
            None => match File::open(path) {
                Ok(file) => {
                    let file = Arc::new(file);
                    state.keep_open(place.slot, place.pack, Arc::clone(&file));
                    file
                }
                Err(error) if is_gone(&error) => return Ok(Content::Gone),
                Err(error) => return Err(StoreError::io(path, error)),
            },
        };
        match read_stored(&file, place, name, out) {
            Ok(true) => Ok(Content::Good),
            Ok(false) => Ok(Content::Damaged),
            Err(error) if is_gone(&error) => Ok(Content::Gone),
            Err(error) => Err(StoreError::io(path, error)),
        }
    }

    fn read_logs(&self, state: &State) -> Result<(), StoreError> {
        let mut tails = state.tails();
        let ids = match self.writer_ids() {
            Ok(ids) => ids,
            Err(error) => {
                if matches!(error, StoreError::NotAStore { .. }) {
                    let mut index = state.index_mut();
                    std::mem::take(&mut *tails)
                        .into_keys()
                        .for_each(|slot| index.forget(slot));
                }
                return Err(error);
            }
        };
        let mut read: BTreeSet<Slot> = BTreeSet::new();
        let mut outcome = Ok(());
        for id in ids {
            let slot = {
                let mut index = state.index_mut();
                let slot = index.slot(id);
                if index.is_own(slot) {
                    continue;
                }
                slot
            };
            match self.read_tail(state, id, slot, tails.entry(slot).or_default()) {
                Ok(true) => {
                    read.insert(slot);
                }
                Ok(false) => {}
                Err(error) => {
                    // What was read of it before stays valid.
                    read.insert(slot);
                    if outcome.is_ok() {
                        outcome = Err(error);
                    }
                }
            }
        }
        let mut gone: Vec<Slot> = tails
            .keys()
            .copied()
            .filter(|slot| !read.contains(slot))
            .collect();
        tails.retain(|slot, _| read.contains(slot));
        {
            let mut index = state.index_mut();
            gone.drain(..).for_each(|slot| index.forget(slot));
        }
        self.look_for_packs(state);
        outcome
    }

    /// The writers there are, in the order of their ids; other names in the folder are not ours to judge.
    pub(crate) fn writer_ids(&self) -> Result<Vec<Uuid>, StoreError> {
        let dir = self.dir.join(WRITERS_DIR);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) && self.dir.join(FORMAT_FILE).exists() => {
                return Ok(Vec::new());
            }
            Err(error) if is_gone(&error) => {
                return Err(StoreError::NotAStore {
                    dir: self.dir.clone(),
                    why: "it was deleted".into(),
                });
            }
            Err(error) => return Err(StoreError::io(dir, error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry
                .map_err(|error| StoreError::io(&dir, error))?
                .file_name();
            let Some(name) = name.to_str() else { continue };
            // Only the spelling that we write: two names of one id would be read as one writer.
            ids.extend(
                Uuid::try_parse(name)
                    .ok()
                    .filter(|id| id.to_string() == name),
            );
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Adds what is new in a log to the index. False: there is no log.
    fn read_tail(
        &self,
        state: &State,
        id: Uuid,
        slot: Slot,
        tail: &mut Tail,
    ) -> Result<bool, StoreError> {
        let path = self.log_path(id);
        let failed = |error| StoreError::io(&path, error);
        let log = match File::open(&path) {
            Ok(log) => log,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let file_len = log.metadata().map_err(failed)?.len();
        if file_len < tail.read_len {
            // No owner takes back a frame, so this is another file: an older copy that somebody put back.
            state.index_mut().forget(slot);
            *tail = Tail::default();
        }
        if file_len == tail.file_len {
            return Ok(true);
        }
        loop {
            let found = frame::read(&log, tail.read_len, file_len).map_err(failed)?;
            let mut index = state.index_mut();
            let Found::Frame { body, end } = found else {
                index.set_log(slot, matches!(found, Found::Damaged));
                break;
            };
            match body {
                Body::Header { version, .. } if version > FORMAT_VERSION => {
                    return Err(StoreError::NewerFormat {
                        path,
                        found: version,
                        known: FORMAT_VERSION,
                    });
                }
                Body::Header {
                    writer, holds_lock, ..
                } if writer == id && tail.read_len == 0 => index.set_lock(slot, holds_lock),
                Body::Condemned(items) if tail.read_len > 0 => {
                    items
                        .into_iter()
                        .for_each(|item| index.add_condemned(slot, item));
                }
                Body::Retired(items) if tail.read_len > 0 => {
                    items
                        .into_iter()
                        .for_each(|item| index.add_retired(slot, item));
                }
                Body::Commit { chunks, records } if tail.read_len > 0 => {
                    for chunk in chunks {
                        index.add_chunk(chunk.name, Place::new(slot, &chunk));
                    }
                    for record in records {
                        index.add_record(slot, record);
                    }
                }
                Body::Skipped if tail.read_len > 0 => {}
                // A frame of another log, or in the wrong place.
                _ => {
                    index.set_log(slot, true);
                    break;
                }
            }
            tail.read_len = end;
        }
        tail.file_len = file_len;
        Ok(true)
    }

    fn look_for_packs(&self, state: &State) {
        let packs: Vec<(Slot, u32, Uuid)> = {
            let index = state.index();
            index
                .packs()
                .map(|(slot, pack)| (slot, pack, index.writer_id(slot)))
                .collect()
        };
        let is_missing = |&(_, pack, id): &(Slot, u32, Uuid)| {
            fs::metadata(self.pack_path(id, pack)).is_err_and(|error| is_gone(&error))
        };
        let missing: BTreeSet<(Slot, u32)> = packs
            .into_iter()
            .filter(is_missing)
            .map(|(slot, pack, _)| (slot, pack))
            .collect();
        state.open_packs().retain(|key, _| !missing.contains(key));
        state.index_mut().set_missing_packs(missing);
    }
}

enum Content {
    Good,
    Gone,
    Damaged,
}

/// Reads one copy of a chunk; false if it is not the content of this name.
pub(crate) fn read_stored(
    file: &File,
    place: &Place,
    name: &Fingerprint,
    out: &mut [u8],
) -> io::Result<bool> {
    if place.codec() == pack::Codec::Raw && place.stored_len as usize == out.len() {
        // Straight into its place: no copy.
        return Ok(frame::read_exact(file, out, place.offset)? && Fingerprint::of(out) == *name);
    }
    let mut stored = vec![0; place.stored_len as usize];
    Ok(frame::read_exact(file, &mut stored, place.offset)?
        && pack::decode(place.codec(), &stored, out, name))
}

#[cfg(test)]
mod tests {
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
