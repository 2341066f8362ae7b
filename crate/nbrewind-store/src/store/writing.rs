//! What a store writes: its own packs and log, durable before anybody hears of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;

use uuid::Uuid;

use super::{State, Store};
use crate::error::is_gone;
use crate::frame::{self, ChunkEntry};
use crate::index::{Place, Slot};
use crate::writer::{Own, Writer};
use crate::{Fingerprint, StoreError, pack};

impl Store {
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

    pub(super) fn write_commit(
        &self,
        state: &State,
        writer: &mut Writer,
    ) -> Result<(), StoreError> {
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
}
