//! What the logs say, in memory: where each chunk lies, and the records by kind and key.
//!
//! A chunk may lie in several packs (two writers stored it at the same time). It is *known* while one of its places is
//! usable: the pack is there and the bytes were not seen damaged. Only records whose needs are all known are listed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use crate::Fingerprint;
use crate::frame::{ChunkEntry, Condemned, RecordEntry, WHOLE};
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
pub(crate) struct Stored {
    pub slot: Slot,
    pub seq: u64,
    pub time_ns: u64,
    pub needs: Box<[Fingerprint]>,
    pub payload: Box<str>,
}

#[derive(Debug)]
struct WriterEntry {
    id: Uuid,
    /// This process appends to it, so its log is not read.
    is_own: bool,
    has_log: bool,
    is_damaged: bool,
    holds_lock: bool,
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
    /// What is about to be deleted, by writer and pack: which logs say so, and since when.
    condemned: BTreeMap<(Uuid, u32), BTreeMap<Slot, u64>>,
    /// Records that are listed no longer: which logs say so.
    retired: BTreeMap<(Uuid, u64), BTreeSet<Slot>>,
    records: BTreeMap<String, BTreeMap<String, Vec<Stored>>>,
    /// The latest time of a record that was ever read.
    latest_ns: u64,
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
                holds_lock: false,
            });
            Slot::try_from(self.writers.len() - 1).unwrap_or(Slot::MAX)
        })
    }

    pub(crate) fn writer_id(&self, slot: Slot) -> Uuid {
        self.writers[slot as usize].id
    }

    pub(crate) fn set_lock(&mut self, slot: Slot, holds_lock: bool) {
        self.writers[slot as usize].holds_lock = holds_lock;
    }

    pub(crate) fn holds_lock(&self, slot: Slot) -> bool {
        self.writers[slot as usize].holds_lock
    }

    /// The writers with a log, as far as it was read.
    pub(crate) fn writers(&self) -> impl Iterator<Item = (Slot, Uuid)> {
        let entries = self.writers.iter().enumerate();
        entries
            .filter(|(_, writer)| writer.has_log)
            .map(|(slot, writer)| (slot as Slot, writer.id))
    }

    fn has_log(&self, id: Uuid) -> bool {
        let slot = self.slots.get(&id);
        slot.is_some_and(|slot| self.writers[*slot as usize].has_log)
    }

    pub(crate) fn is_damaged_log(&self, slot: Slot) -> bool {
        self.writers[slot as usize].is_damaged
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
        self.condemned.retain(|_, sources| {
            sources.remove(&slot);
            !sources.is_empty()
        });
        self.retired.retain(|_, sources| {
            sources.remove(&slot);
            !sources.is_empty()
        });
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

    /// It can be read, and will not be deleted: nothing is gained by storing it again.
    pub(crate) fn is_kept(&self, name: &Fingerprint) -> bool {
        self.kept_place(name).is_some()
    }

    pub(crate) fn kept_place(&self, name: &Fingerprint) -> Option<&Place> {
        let is_kept = |place: &&Place| !self.is_condemned(place.slot, place.pack);
        self.usable_places(name).find(is_kept)
    }

    pub(crate) fn is_condemned(&self, slot: Slot, pack: u32) -> bool {
        if self.condemned.is_empty() {
            return false;
        }
        let id = self.writer_id(slot);
        [pack, WHOLE]
            .iter()
            .any(|&pack| self.condemned.contains_key(&(id, pack)))
    }

    pub(crate) fn add_condemned(&mut self, source: Slot, item: Condemned) {
        let sources = self.condemned.entry((item.writer, item.pack)).or_default();
        sources.insert(source, item.time_ns);
    }

    /// What is condemned, each with the times at which it was; `unless_by`: only what that log does not say.
    pub(crate) fn condemned(
        &self,
        unless_by: Option<Slot>,
    ) -> impl Iterator<Item = (Uuid, u32, Vec<u64>)> {
        self.condemned
            .iter()
            .filter(move |(_, sources)| !unless_by.is_some_and(|slot| sources.contains_key(&slot)))
            .filter(move |((id, _), _)| unless_by.is_none() || self.has_log(*id))
            .map(|((id, pack), sources)| (*id, *pack, sources.values().copied().collect()))
    }

    /// Every chunk with all its places.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (&Fingerprint, &Place)> {
        // The order is that of a hash map; whoever needs one sorts.
        #[allow(clippy::iter_over_hash_type)]
        let first = self.chunks.iter();
        let further = self.copies.iter();
        first
            .chain(further.flat_map(|(name, places)| places.iter().map(move |place| (name, place))))
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
        self.latest_ns = self.latest_ns.max(record.time_ns);
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

    pub(crate) fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    pub(crate) fn add_retired(&mut self, source: Slot, record: (Uuid, u64)) {
        self.retired.entry(record).or_default().insert(source);
    }

    /// Which records are retired; `unless_by`: only those of which that log does not say so.
    pub(crate) fn retired(&self, unless_by: Option<Slot>) -> impl Iterator<Item = (Uuid, u64)> {
        self.retired
            .iter()
            .filter(move |(_, sources)| !unless_by.is_some_and(|slot| sources.contains(&slot)))
            .map(|(id, _)| *id)
            .filter(|(writer, _)| self.has_log(*writer))
    }

    pub(crate) fn is_retired(&self, stored: &Stored) -> bool {
        !self.retired.is_empty()
            && self
                .retired
                .contains_key(&(self.writer_id(stored.slot), stored.seq))
    }

    /// Every record, retired or not, with kind and key, in no particular order of time.
    pub(crate) fn all_records(&self) -> impl Iterator<Item = (&str, &str, &Stored)> {
        self.records.iter().flat_map(|(kind, keys)| {
            keys.iter().flat_map(move |(key, records)| {
                records
                    .iter()
                    .map(move |stored| (kind.as_str(), key.as_str(), stored))
            })
        })
    }

    /// Retired records of one kind that could still be read.
    pub(crate) fn retired_records(&self, kind: &str) -> Vec<Record> {
        let of_kind = self.records.get(kind).into_iter().flatten();
        of_kind
            .flat_map(|(key, records)| records.iter().map(move |stored| (key, stored)))
            .filter(|(_, stored)| self.is_retired(stored) && self.has_needs(stored))
            .map(|(key, stored)| self.record(kind, key, stored))
            .collect()
    }

    pub(crate) fn has_needs(&self, stored: &Stored) -> bool {
        stored.needs.iter().all(|need| self.is_known(need))
    }

    pub(crate) fn is_listed(&self, stored: &Stored) -> bool {
        !self.is_retired(stored) && stored.needs.iter().all(|need| self.is_known(need))
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

    /// Time and payload of the listed records of one kind and key, oldest first.
    pub(crate) fn record_texts(&self, kind: &str, key: &str) -> Vec<(u64, String)> {
        let keys = self.records.get(kind);
        let stored = keys.and_then(|keys| keys.get(key)).into_iter().flatten();
        stored
            .filter(|stored| self.is_listed(stored))
            .map(|stored| (stored.time_ns, stored.payload.to_string()))
            .collect()
    }

    /// Time and payload of every listed record of one kind, in no particular order.
    pub(crate) fn each_record_text(&self, kind: &str, mut see: impl FnMut(u64, &str)) {
        let keys = self.records.get(kind);
        for stored in keys.into_iter().flatten().flat_map(|(_, records)| records) {
            if self.is_listed(stored) {
                see(stored.time_ns, &stored.payload);
            }
        }
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

    /// Kind, key and needs of every record that is not retired.
    pub(crate) fn all_needs(&self) -> impl Iterator<Item = (&str, &str, &[Fingerprint])> {
        self.all_records()
            .filter(|(_, _, stored)| !self.is_retired(stored))
            .map(|(kind, key, stored)| (kind, key, &*stored.needs))
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
