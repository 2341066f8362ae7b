//! What the logs say, in memory: where each chunk lies, and the records by kind and key.
//!
//! A chunk may lie in several packs (two writers stored it at the same time). It is *known* while one of its places is
//! usable: the pack is there and the bytes were not seen damaged. Only records whose needs are all known are listed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use crate::Fingerprint;
use crate::frame::{ChunkEntry, RecordEntry};
use crate::pack::Codec;

/// A writer, as a small number.
pub(crate) type Slot = u32;

/// One copy of a chunk. The order is that of reading: own and older writers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub slot: Slot,
    pub pack: u32,
    pub offset: u64,
    pub stored_len: u32,
    pub raw_len: u32,
    zstd: bool,
}

impl Place {
    pub(crate) fn new(slot: Slot, entry: &ChunkEntry) -> Self {
        Self {
            slot,
            pack: entry.pack,
            offset: entry.offset,
            stored_len: entry.stored_len,
            raw_len: entry.raw_len,
            zstd: entry.codec == Codec::Zstd,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        if self.zstd { Codec::Zstd } else { Codec::Raw }
    }
}

/// Something that was recorded, as any process wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What sort of record: `manifest`, `run`, `task`, `environment`, `history`, `note`...
    pub kind: String,
    /// What it is found by.
    pub key: String,
    /// When it was appended, in nanoseconds since 1970; strictly increasing for one writer.
    pub time_ns: u64,
    /// The UUID of the writer that appended it.
    pub writer: String,
    /// Its number among the records of its writer; numbers of failed commits are missing.
    pub seq: u64,
    /// The record itself.
    pub payload: serde_json::Value,
    /// The chunks it depends on, all of which are in the store.
    pub needs: Vec<Fingerprint>,
}

/// Sizes of a store, as far as this process has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Distinct chunks that can be read.
    pub n_chunks: u64,
    /// Their bytes before compression.
    pub raw_bytes: u64,
    /// Their bytes in packs; a chunk that two writers stored counts once.
    pub stored_bytes: u64,
    /// Listed records by kind.
    pub n_records: BTreeMap<String, u64>,
    /// Logs that were read, this process's own included.
    pub n_writers: u64,
    /// Chunks that are in a log, but whose pack is gone or whose bytes are damaged.
    pub n_missing_chunks: u64,
    /// Logs that could be read only up to damage; `verify` says where.
    pub n_damaged_logs: u64,
}

#[derive(Debug)]
struct Stored {
    slot: Slot,
    seq: u64,
    time_ns: u64,
    needs: Box<[Fingerprint]>,
    payload: Box<str>,
}

#[derive(Debug)]
struct WriterEntry {
    id: Uuid,
    /// This process appends to it, so its log is not read.
    is_own: bool,
    has_log: bool,
    is_damaged: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    writers: Vec<WriterEntry>,
    slots: BTreeMap<Uuid, Slot>,
    chunks: HashMap<Fingerprint, Place>,
    /// Further places of chunks that have several.
    copies: BTreeMap<Fingerprint, Vec<Place>>,
    packs: BTreeSet<(Slot, u32)>,
    missing_packs: BTreeSet<(Slot, u32)>,
    damaged: BTreeSet<Place>,
    records: BTreeMap<String, BTreeMap<String, Vec<Stored>>>,
}

impl Index {
    // ---- writers

    pub(crate) fn slot(&mut self, id: Uuid) -> Slot {
        *self.slots.entry(id).or_insert_with(|| {
            self.writers.push(WriterEntry {
                id,
                is_own: false,
                has_log: false,
                is_damaged: false,
            });
            Slot::try_from(self.writers.len() - 1).unwrap_or(Slot::MAX)
        })
    }

    pub(crate) fn writer_id(&self, slot: Slot) -> Uuid {
        self.writers[slot as usize].id
    }

    pub(crate) fn is_own(&self, slot: Slot) -> bool {
        self.writers[slot as usize].is_own
    }

    pub(crate) fn set_own(&mut self, slot: Slot, is_own: bool) {
        self.writers[slot as usize].is_own = is_own;
    }

    pub(crate) fn set_log(&mut self, slot: Slot, is_damaged: bool) {
        let writer = &mut self.writers[slot as usize];
        writer.has_log = true;
        writer.is_damaged = is_damaged;
    }

    /// Forgets everything that came from a writer whose log is gone or was replaced.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.copies.retain(|_, places| {
            places.retain(|place| place.slot != slot);
            !places.is_empty()
        });
        let copies = &mut self.copies;
        self.chunks.retain(|name, place| {
            if place.slot != slot {
                return true;
            }
            let Some(next) = pop_copy(copies, name) else {
                return false;
            };
            *place = next;
            true
        });
        self.packs.retain(|pack| pack.0 != slot);
        self.missing_packs.retain(|pack| pack.0 != slot);
        self.damaged.retain(|place| place.slot != slot);
        for keys in self.records.values_mut() {
            for records in keys.values_mut() {
                records.retain(|record| record.slot != slot);
            }
            keys.retain(|_, records| !records.is_empty());
        }
        self.records.retain(|_, keys| !keys.is_empty());
        let writer = &mut self.writers[slot as usize];
        (writer.has_log, writer.is_damaged) = (false, false);
    }

    // ---- chunks

    pub(crate) fn add_chunk(&mut self, name: Fingerprint, place: Place) {
        self.packs.insert((place.slot, place.pack));
        match self.chunks.entry(name) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(place);
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                let places = self.copies.entry(name).or_default();
                if *entry.get() != place && !places.contains(&place) {
                    places.push(place);
                }
                if places.is_empty() {
                    self.copies.remove(&name);
                }
            }
        }
    }

    pub(crate) fn remove_chunk(&mut self, name: &Fingerprint, place: &Place) {
        if let Some(places) = self.copies.get_mut(name) {
            places.retain(|copy| copy != place);
            if places.is_empty() {
                self.copies.remove(name);
            }
        }
        if self.chunks.get(name) == Some(place) {
            match pop_copy(&mut self.copies, name) {
                Some(next) => self.chunks.insert(*name, next),
                None => self.chunks.remove(name),
            };
        }
        self.damaged.remove(place);
    }

    /// Every place of a chunk, usable or not.
    pub(crate) fn places<'a>(
        &'a self,
        name: &Fingerprint,
    ) -> impl Iterator<Item = &'a Place> + use<'a> {
        self.chunks
            .get(name)
            .into_iter()
            .chain(self.copies.get(name).into_iter().flatten())
    }

    pub(crate) fn usable_places<'a>(
        &'a self,
        name: &Fingerprint,
    ) -> impl Iterator<Item = &'a Place> + use<'a> {
        self.places(name).filter(|place| self.is_usable(place))
    }

    pub(crate) fn is_known(&self, name: &Fingerprint) -> bool {
        self.usable_places(name).next().is_some()
    }

    pub(crate) fn is_damaged(&self, place: &Place) -> bool {
        self.damaged.contains(place)
    }

    fn is_usable(&self, place: &Place) -> bool {
        !self.missing_packs.contains(&(place.slot, place.pack)) && !self.damaged.contains(place)
    }

    pub(crate) fn packs(&self) -> impl Iterator<Item = (Slot, u32)> {
        self.packs.iter().copied()
    }

    pub(crate) fn set_missing_packs(&mut self, missing: BTreeSet<(Slot, u32)>) {
        self.missing_packs = missing;
    }

    pub(crate) fn add_missing_pack(&mut self, slot: Slot, pack: u32) {
        self.missing_packs.insert((slot, pack));
    }

    pub(crate) fn add_damaged(&mut self, place: Place) {
        self.damaged.insert(place);
    }

    // ---- records

    pub(crate) fn add_record(&mut self, slot: Slot, record: RecordEntry) {
        let stored = Stored {
            slot,
            seq: record.seq,
            time_ns: record.time_ns,
            needs: record.needs.into(),
            payload: record.payload.into(),
        };
        let writers = &self.writers;
        let records = self
            .records
            .entry(record.kind)
            .or_default()
            .entry(record.key)
            .or_default();
        let age = |stored: &Stored| (stored.time_ns, writers[stored.slot as usize].id, stored.seq);
        let position = records.partition_point(|other| age(other) <= age(&stored));
        records.insert(position, stored);
    }

    fn is_listed(&self, stored: &Stored) -> bool {
        stored.needs.iter().all(|need| self.is_known(need))
    }

    fn record(&self, kind: &str, key: &str, stored: &Stored) -> Record {
        Record {
            kind: kind.to_owned(),
            key: key.to_owned(),
            time_ns: stored.time_ns,
            writer: self.writer_id(stored.slot).to_string(),
            seq: stored.seq,
            // The text was made from a value and its frame's checksum holds.
            payload: serde_json::from_str(&stored.payload).unwrap_or_default(),
            needs: stored.needs.to_vec(),
        }
    }

    pub(crate) fn records(&self, kind: &str, key: Option<&str>) -> Vec<Record> {
        let Some(keys) = self.records.get(kind) else {
            return Vec::new();
        };
        if let Some(key) = key {
            let stored = keys.get(key).into_iter().flatten();
            return stored
                .filter(|stored| self.is_listed(stored))
                .map(|stored| self.record(kind, key, stored))
                .collect();
        }
        let mut found: Vec<(&String, &Stored)> = keys
            .iter()
            .flat_map(|(key, records)| records.iter().map(move |stored| (key, stored)))
            .collect();
        found.retain(|(_, stored)| self.is_listed(stored));
        found.sort_by_key(|(_, stored)| (stored.time_ns, self.writer_id(stored.slot), stored.seq));
        found
            .into_iter()
            .map(|(key, stored)| self.record(kind, key, stored))
            .collect()
    }

    /// Kinds with their number of listed records.
    pub(crate) fn kinds(&self) -> BTreeMap<String, u64> {
        let listed = |keys: &BTreeMap<String, Vec<Stored>>| {
            keys.values()
                .flatten()
                .filter(|stored| self.is_listed(stored))
                .count() as u64
        };
        self.records
            .iter()
            .map(|(kind, keys)| (kind.clone(), listed(keys)))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    /// Kind, key and needs of every record, listed or not.
    pub(crate) fn all_needs(&self) -> impl Iterator<Item = (&str, &str, &[Fingerprint])> {
        self.records.iter().flat_map(|(kind, keys)| {
            keys.iter().flat_map(move |(key, records)| {
                records
                    .iter()
                    .map(move |stored| (kind.as_str(), key.as_str(), &*stored.needs))
            })
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats {
            n_records: self.kinds(),
            n_writers: self.writers.iter().filter(|writer| writer.has_log).count() as u64,
            n_damaged_logs: self
                .writers
                .iter()
                .filter(|writer| writer.is_damaged)
                .count() as u64,
            ..Stats::default()
        };
        self.chunks
            .keys()
            .for_each(|name| match self.usable_places(name).next() {
                Some(place) => {
                    stats.n_chunks += 1;
                    stats.raw_bytes += u64::from(place.raw_len);
                    stats.stored_bytes += u64::from(place.stored_len);
                }
                None => stats.n_missing_chunks += 1,
            });
        stats
    }
}

fn pop_copy(copies: &mut BTreeMap<Fingerprint, Vec<Place>>, name: &Fingerprint) -> Option<Place> {
    let places = copies.get_mut(name)?;
    let place = (!places.is_empty()).then(|| places.remove(0));
    if places.is_empty() {
        copies.remove(name);
    }
    place
}
