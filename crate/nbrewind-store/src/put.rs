//! Storing content: one pass over each chunk, on several threads.
//!
//! A chunk is hashed, looked up, and only when it is new given a place and written there. The place is taken under a
//! lock, the write needs none, so hashing and writing go on at the same time.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::frame::ChunkEntry;
use crate::index::Place;
use crate::pack::{self, CHUNK_BYTES, Codec};
use crate::store::State;
use crate::writer::{Spot, Writer};
use crate::{Fingerprint, Store, StoreError, parallel};

impl Store {
    /// Stores bytes as chunks of 1 MiB (the last may be shorter) and returns their names; no bytes, no chunks.
    ///
    /// Content that is in the store already, from whatever writer, is not written again. The new chunks can be read at
    /// once by this process; they are durable, and visible to others, after [`Store::commit`]. On failure nothing of
    /// `data` takes room that was not there before.
    pub fn put(&self, data: &[u8]) -> Result<Vec<Fingerprint>, StoreError> {
        self.check_writable()?;
        let put = Put::new(self, data.len());
        let names = parallel::map(data.chunks(CHUNK_BYTES).collect(), |raw: &[u8]| {
            let name = Fingerprint::of(raw);
            put.chunk(name, raw);
            name
        });
        put.end()?;
        Ok(names)
    }

    /// Stores chunks whose names the caller has worked out already, without hashing them again: [`Store::put`] for
    /// whoever hashes by chunk anyway.
    ///
    /// The caller vouches that every name is the fingerprint of its bytes (a debug build checks), and that they are cut
    /// as `put` cuts: each is 1 MiB, but for the last of a buffer. A wrong name is never read as content: `get` checks,
    /// and calls it damage.
    pub fn put_chunks(&self, chunks: &[(Fingerprint, &[u8])]) -> Result<(), StoreError> {
        self.check_writable()?;
        for (name, raw) in chunks {
            if raw.len() > CHUNK_BYTES {
                let why = format!("chunk {name} has {} bytes; 1 MiB is the limit", raw.len());
                let error = io::Error::new(io::ErrorKind::InvalidInput, why);
                return Err(StoreError::io(&self.dir, error));
            }
            debug_assert_eq!(
                Fingerprint::of(raw),
                *name,
                "a chunk with a name of another"
            );
        }
        let put = Put::new(self, chunks.iter().map(|(_, raw)| raw.len()).sum());
        let is_new = |(name, _): &&(Fingerprint, &[u8])| !put.state.index().is_kept(name);
        parallel::map(
            chunks.iter().filter(is_new).copied().collect(),
            |(name, raw)| put.chunk(name, raw),
        );
        put.end()
    }
}

/// One call of `put`, as its threads share it.
struct Put<'a> {
    store: &'a Store,
    state: &'a State,
    /// What this call may still write, at most.
    rest: Mutex<u64>,
    /// What one of its threads stores, the others need not.
    claimed: Mutex<HashSet<Fingerprint>>,
    /// What it has written; given back if it fails.
    written: Mutex<BTreeSet<Place>>,
    has_failed: AtomicBool,
    error: Mutex<Option<StoreError>>,
}

impl<'a> Put<'a> {
    fn new(store: &'a Store, n_bytes: usize) -> Self {
        Self {
            store,
            state: store.state(),
            rest: Mutex::new(n_bytes as u64),
            claimed: Mutex::default(),
            written: Mutex::default(),
            has_failed: AtomicBool::new(false),
            error: Mutex::default(),
        }
    }

    /// Stores a chunk unless it is there. After the first failure nothing more is written.
    fn chunk(&self, name: Fingerprint, raw: &[u8]) {
        let ahead = {
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            *rest = rest.saturating_sub(raw.len() as u64);
            *rest
        };
        if self.has_failed.load(Ordering::Relaxed) || self.state.index().is_kept(&name) {
            return;
        }
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(name) {
            return;
        }
        drop(claimed);
        if let Err(error) = self.write(name, raw, ahead) {
            self.has_failed.store(true, Ordering::Relaxed);
            let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        }
    }

    fn write(&self, name: Fingerprint, raw: &[u8], ahead: u64) -> Result<(), StoreError> {
        let (codec, stored) = pack::encode(raw);
        let spot = {
            let mut writer = self.state.writer();
            let own = self.store.own(self.state, &mut writer)?;
            own.reserve(stored.len(), ahead, self.store.pack_limit)?
        };
        let outcome = spot.write(&stored, &self.state.bounces);
        let mut writer = self.state.writer();
        let Some(own) = writer.own.as_mut().filter(|own| own.id == spot.writer) else {
            // A commit of another thread failed in a way that ended the writer; what it had is not committed.
            outcome?;
            let why = io::Error::other("a commit failed while this was being stored");
            return Err(StoreError::io(&self.store.dir, why));
        };
        own.release(&spot, outcome.is_ok());
        outcome?;
        let place = note_written(
            self.state,
            &mut writer,
            name,
            &spot,
            codec,
            [stored.len(), raw.len()],
        );
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(place);
        Ok(())
    }

    fn end(self) -> Result<(), StoreError> {
        let error = self.error.into_inner();
        let Some(error) = error.unwrap_or_else(PoisonError::into_inner) else {
            return Ok(());
        };
        // Half a value is of no use, and on a full disk its room is.
        let written = self.written.into_inner();
        let written = written.unwrap_or_else(PoisonError::into_inner);
        let mut writer = self.state.writer();
        {
            let mut index = self.state.index_mut();
            for (entry, place) in &writer.chunks {
                if written.contains(place) {
                    index.remove_chunk(&entry.name, place);
                }
            }
        }
        let Writer { own, chunks, .. } = &mut *writer;
        chunks.retain(|(_, place)| !written.contains(place));
        if let Some(own) = own {
            own.cut_unused(chunks);
        }
        Err(error)
    }
}

/// A chunk lies where it should: it can be read, and the next commit names it.
fn note_written(
    state: &State,
    writer: &mut Writer,
    name: Fingerprint,
    spot: &Spot,
    codec: Codec,
    [stored_len, raw_len]: [usize; 2],
) -> Place {
    let Some(slot) = writer.own.as_ref().map(|own| own.slot) else {
        unreachable!("it gave out the place")
    };
    let entry = ChunkEntry {
        name,
        pack: spot.pack,
        offset: spot.offset,
        // A chunk is 1 MiB at most.
        stored_len: stored_len as u32,
        raw_len: raw_len as u32,
        codec,
    };
    let place = Place::new(slot, &entry);
    state.keep_open(slot, spot.pack, Arc::clone(&spot.file));
    state.index_mut().add_chunk(name, place);
    writer.chunks.push((entry, place));
    place
}

impl Store {
    /// Writes a chunk, whoever else has it, for a caller that holds the writer.
    pub(crate) fn write_copy(
        &self,
        state: &State,
        writer: &mut Writer,
        name: Fingerprint,
        (codec, stored): (Codec, &[u8]),
        raw_len: usize,
    ) -> Result<(), StoreError> {
        let own = self.own(state, writer)?;
        let spot = own.reserve(stored.len(), 0, self.pack_limit)?;
        let outcome = spot.write(stored, &state.bounces);
        own.release(&spot, outcome.is_ok());
        outcome?;
        note_written(state, writer, name, &spot, codec, [stored.len(), raw_len]);
        Ok(())
    }
}
