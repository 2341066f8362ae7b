//! What a store reads: chunks of any writer, and the logs that say where they are.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::{State, Store, Tail};
use crate::error::is_gone;
use crate::format::FORMAT_FILE;
use crate::frame::{self, Body, FORMAT_VERSION, Found};
use crate::index::{Place, Slot};
use crate::writer::WRITERS_DIR;
use crate::{Fingerprint, StoreError, pack};

impl Store {
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

    pub(super) fn read_logs(&self, state: &State) -> Result<(), StoreError> {
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
