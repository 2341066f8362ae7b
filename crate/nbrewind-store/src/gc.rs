//! Cleaning up: what no record needs goes, and under a budget the records that the caller can do without.
//!
//! Only what *finished* writers left is touched: those whose process no longer holds the lock on their folder, or that
//! were not written to for a week where there are no locks. Live records and chunks of such a writer move to this
//! process's own writer: full packs by a hard link, thin ones chunk by chunk.
//!
//! Nothing is deleted at once. First it is *condemned*, durably, in our log: from then on no writer counts on it, and
//! whoever commits a record that needs it makes a copy. After a grace period, in which every commit that did not know
//! has ended, everything is read again, what is needed after all is copied, and only then files are deleted. The grace is
//! left out when nobody else has the store open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use uuid::Uuid;

use crate::disk::{self, Access};
use crate::error::is_gone;
use crate::frame::{self, ChunkEntry, Condemned, RecordEntry, WHOLE};
use crate::index::{Index, Place, Slot};
use crate::lease::{Lease, mtime_ns};
use crate::pack;
use crate::store::State;
use crate::writer::Writer;
use crate::{Fingerprint, Store, StoreError};

/// Without locks, a writer counts as finished after this long without a write.
const FINISHED_AFTER_NS: u64 = 7 * 24 * 3_600_000_000_000;
/// A folder without a log, and without a lock: its process died before its first commit.
const NEVER_COMMITTED_NS: u64 = 24 * 3_600_000_000_000;
/// So many small writers become one.
const MANY: usize = 8;
const SMALL_BYTES: u64 = 64 << 20;
/// Smaller packs are copied, not linked: few large files are better than many small ones.
const LINK_FROM_BYTES: u64 = 16 << 20;

const CHUNK_ENTRY_BYTES: u64 = frame::CHUNK_ENTRY_BYTES as u64;

/// What [`Store::gc`] may do.
#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// How many bytes the store may take; without one no record goes.
    pub budget: Option<u64>,
    /// Records, by writer and number, that may go if the budget asks for it: one group after the other.
    pub drop: Vec<Vec<(String, u64)>>,
    /// Retired records that are needed after all.
    pub revive: Vec<(String, u64)>,
    /// How long to wait before what is condemned is deleted, while others have the store open.
    pub grace: Duration,
    /// Only say what would be done.
    pub is_dry_run: bool,
}

/// What [`Store::gc`] did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes in the writers' folders before.
    pub bytes_before: u64,
    /// And after; of a dry run what they would be once everything condemned is deleted.
    pub bytes_after: u64,
    /// Records that went, by kind.
    pub n_retired: BTreeMap<String, u64>,
    /// Writers whose live content was moved.
    pub n_moved_writers: u64,
    /// Writers that were deleted.
    pub n_deleted_writers: u64,
    /// Writers that wait for the end of the grace period, and their bytes.
    pub n_waiting_writers: u64,
    /// Bytes that go when they do.
    pub waiting_bytes: u64,
    /// How long until then, at most.
    pub waiting: Duration,
    /// Writers that are in use, or may be.
    pub n_live_writers: u64,
    /// What is needed is more than the budget, by so much.
    pub over_budget_bytes: u64,
    /// There was no room to copy what is live; nothing was lost.
    pub is_disk_full: bool,
}

type RecordId = (Uuid, u64);

/// What must stay, and what a record's going frees.
struct Live {
    needs: HashMap<Fingerprint, u64>,
    chunk_bytes: u64,
    record_bytes: u64,
}

fn n_bytes_of(kind: &str, key: &str, needs: usize, payload: usize) -> u64 {
    (8 + 8 + 4 * 4 + kind.len() + key.len() + 32 * needs + payload) as u64
}

impl Live {
    fn of(index: &Index) -> Self {
        let mut live = Self {
            needs: HashMap::new(),
            chunk_bytes: 0,
            record_bytes: 0,
        };
        for (kind, key, stored) in index.all_records().filter(|item| !index.is_retired(item.2)) {
            live.record_bytes += n_bytes_of(kind, key, stored.needs.len(), stored.payload.len());
            for need in &stored.needs {
                let count = live.needs.entry(*need).or_default();
                *count += 1;
                if *count == 1 {
                    live.chunk_bytes += stored_len(index, need);
                }
            }
        }
        live
    }

    fn drop_record(&mut self, index: &Index, record: &(&str, &str, &crate::index::Stored)) {
        let (kind, key, stored) = record;
        self.record_bytes -= n_bytes_of(kind, key, stored.needs.len(), stored.payload.len());
        for need in &stored.needs {
            if let Some(count) = self.needs.get_mut(need) {
                *count -= 1;
                if *count == 0 {
                    self.needs.remove(need);
                    self.chunk_bytes -= stored_len(index, need);
                }
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.chunk_bytes + self.record_bytes
    }
}

fn stored_len(index: &Index, name: &Fingerprint) -> u64 {
    let place = index.usable_places(name).next();
    place.map_or(0, |place| u64::from(place.stored_len) + CHUNK_ENTRY_BYTES)
}

/// A finished writer and what is to become of it.
struct Fold {
    id: Uuid,
    slot: Slot,
    /// Live places by pack, and the length of the pack.
    packs: BTreeMap<u32, (Vec<(Fingerprint, Place)>, u64)>,
    n_records: usize,
    log_bytes: u64,
    live_log_bytes: u64,
}

impl Fold {
    fn bytes(&self) -> u64 {
        self.log_bytes + self.packs.values().map(|(_, len)| len).sum::<u64>()
    }

    fn is_dead(&self) -> bool {
        self.n_records == 0 && self.packs.values().all(|(places, _)| places.is_empty())
    }

    /// So little of a file is live that it is worth rewriting.
    fn is_thin(&self, percent: u64) -> bool {
        let is_thin_pack = |(places, len): &(Vec<(Fingerprint, Place)>, u64)| {
            is_thin(live_bytes(places), *len, percent)
        };
        is_thin(self.live_log_bytes, self.log_bytes, percent)
            || self.packs.values().any(is_thin_pack)
    }
}

fn is_thin(live: u64, len: u64, percent: u64) -> bool {
    100 * live < percent * len
}

fn live_bytes(places: &[(Fingerprint, Place)]) -> u64 {
    places
        .iter()
        .map(|(_, place)| u64::from(place.stored_len))
        .sum()
}

impl Store {
    /// Cleans up; see the module. Fails with [`StoreError::Busy`] while somebody else does.
    ///
    /// No record that stays loses a chunk, and neither does one that is committed meanwhile. Damaged logs are left
    /// alone. When this fails half-way, nothing is lost, and the next one goes on.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport, StoreError> {
        if !options.is_dry_run {
            self.check_writable()?;
            self.commit()?;
        }
        let lease = (!options.is_dry_run)
            .then(|| Lease::take(self))
            .transpose()?;
        self.refresh()?;
        let now = match &lease {
            Some(lease) => lease.renew()?,
            None => crate::writer::now_ns(),
        };
        let mut report = GcReport {
            bytes_before: self.disk_bytes()?,
            ..GcReport::default()
        };
        let finished = self.finished_writers(now)?;
        report.n_live_writers = self.with_index(|index| {
            let is_live =
                |item: &(Slot, Uuid)| !finished.contains(&item.1) && !index.is_own(item.0);
            index.writers().filter(is_live).count() as u64
        });
        let retired = self.choose(options, &finished, &mut report);
        let Some(lease) = lease else {
            report.bytes_after = self.with_index(|index| {
                let gone: BTreeSet<_> = retired.iter().copied().collect();
                let mut live = Live::of(index);
                for item in index.all_records() {
                    let id = (index.writer_id(item.2.slot), item.2.seq);
                    if gone.contains(&id) && !index.is_retired(item.2) {
                        live.drop_record(index, &item);
                    }
                }
                live.bytes()
            });
            // What live writers hold beyond that stays with them.
            report.bytes_after = report.bytes_after.min(report.bytes_before);
            return Ok(report);
        };
        match self.collect(options, &finished, &retired, &lease, &mut report) {
            Err(StoreError::DiskFull { .. }) => {
                report.is_disk_full = true;
                let is_retired =
                    |index: &mut Index| index.retired(None).any(|id| retired.contains(&id));
                if !self.with_index(is_retired) {
                    report.n_retired.clear();
                }
            }
            outcome => outcome?,
        }
        report.bytes_after = self.disk_bytes()?;
        Ok(report)
    }

    /// The writers whose process lives, or may live: what they recorded lately is in use.
    pub fn live_writers(&self) -> Result<Vec<String>, StoreError> {
        let finished = self.finished_writers(crate::writer::now_ns())?;
        Ok(self.with_index(|index| {
            let ids = index.writers().map(|(_, id)| id);
            ids.filter(|id| !finished.contains(id))
                .map(|id| id.to_string())
                .collect()
        }))
    }

    fn collect(
        &self,
        options: &GcOptions,
        finished: &BTreeSet<Uuid>,
        retired: &[RecordId],
        lease: &Lease,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let state = self.state();
        let revived = self.rescue(state, options)?;
        let now = lease.renew()?;
        let dead: Vec<Uuid> = {
            self.retire(state, retired, &revived)?;
            let folds = self.folds(finished)?;
            folds
                .iter()
                .filter(|fold| fold.is_dead())
                .map(|fold| fold.id)
                .collect()
        };
        let dead = dead.into_iter().chain(self.never_committed(now)?);
        let condemned: Vec<Condemned> = dead
            .map(|writer| Condemned {
                writer,
                pack: WHOLE,
                time_ns: now,
            })
            .collect();
        self.condemn(state, &condemned)?;
        // What needs no copies goes first: it makes room for them.
        self.sweep(state, options, finished, lease, report)?;

        let mut folds = self.folds(finished)?;
        let n_small = folds
            .iter()
            .filter(|fold| fold.bytes() < SMALL_BYTES)
            .count();
        // Half of a file is given up for peace; more only where the budget asks for it.
        let is_over = options
            .budget
            .is_some_and(|budget| self.disk_bytes().is_ok_and(|now| now > budget));
        let percent = if is_over { 90 } else { 50 };
        folds.retain(|fold| {
            fold.is_thin(percent) || (n_small >= MANY && fold.bytes() < SMALL_BYTES)
        });
        for fold in &folds {
            let now = lease.renew()?;
            self.fold(state, fold, percent, now)?;
            report.n_moved_writers += 1;
        }
        self.sweep(state, options, finished, lease, report)
    }

    // ---- deciding

    /// Bytes in the folders of all writers; what has several names counts once.
    fn disk_bytes(&self) -> Result<u64, StoreError> {
        let mut seen = BTreeSet::new();
        let mut n_bytes = 0;
        for id in self.writer_ids()? {
            let dir = self.writer_dir(id);
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for metadata in entries.flatten().filter_map(|entry| entry.metadata().ok()) {
                if seen.insert((metadata.dev(), metadata.ino())) {
                    n_bytes += metadata.len();
                }
            }
        }
        Ok(n_bytes)
    }

    fn finished_writers(&self, now: u64) -> Result<BTreeSet<Uuid>, StoreError> {
        let state = self.state();
        let writers: Vec<(Slot, Uuid, bool)> = {
            let index = state.index();
            let others = index.writers();
            others
                .filter(|(slot, _)| !index.is_own(*slot) && !index.is_damaged_log(*slot))
                .map(|(slot, id)| (slot, id, index.holds_lock(slot)))
                .collect()
        };
        let mut finished = BTreeSet::new();
        for (_, id, holds_lock) in writers {
            let dir = self.writer_dir(id);
            let is_finished = if holds_lock && self.access() == Access::Local {
                disk::lock(&dir, libc::LOCK_EX).is_ok()
            } else {
                let times = [mtime_ns(&dir), mtime_ns(&self.log_path(id))];
                times
                    .into_iter()
                    .all(|time| time.is_ok_and(|time| now.saturating_sub(time) > FINISHED_AFTER_NS))
            };
            if is_finished {
                finished.insert(id);
            }
        }
        Ok(finished)
    }

    /// Folders whose process died before its first commit.
    fn never_committed(&self, now: u64) -> Result<Vec<Uuid>, StoreError> {
        let state = self.state();
        let is_alone = Alone::new(self).is_alone;
        let mut found = Vec::new();
        for id in self.writer_ids()? {
            let dir = self.writer_dir(id);
            let is_known = {
                let index = state.index();
                index.writers().any(|(_, known)| known == id)
                    || index
                        .condemned(None)
                        .any(|(condemned, _, _)| condemned == id)
            };
            let is_own = state.writer().own.as_ref().is_some_and(|own| own.id == id);
            if is_known || is_own || self.log_path(id).exists() {
                continue;
            }
            let age = mtime_ns(&dir).map_or(0, |time| now.saturating_sub(time));
            if self.is_unlocked(id) && (is_alone || age > NEVER_COMMITTED_NS) {
                found.push(id);
            }
        }
        Ok(found)
    }

    fn is_unlocked(&self, id: Uuid) -> bool {
        self.access() == Access::Network || disk::lock(&self.writer_dir(id), libc::LOCK_EX).is_ok()
    }

    /// Which records go: copies that an interrupted `gc` left, then as many groups as the budget asks for.
    fn choose(
        &self,
        options: &GcOptions,
        finished: &BTreeSet<Uuid>,
        report: &mut GcReport,
    ) -> Vec<RecordId> {
        let state = self.state();
        let index = state.index();
        let mut live = Live::of(&index);
        let mut by_id = BTreeMap::new();
        let mut seen = HashMap::new();
        let mut chosen = Vec::new();
        for item in index.all_records().filter(|item| !index.is_retired(item.2)) {
            let (kind, key, stored) = item;
            let id = (index.writer_id(stored.slot), stored.seq);
            if !finished.contains(&id.0) {
                continue;
            }
            let same = (kind, key, stored.time_ns, &*stored.payload);
            if seen.insert(same, ()).is_some() {
                live.drop_record(&index, &item);
                chosen.push(id);
            } else {
                by_id.insert(id, item);
            }
        }
        let Some(budget) = options.budget else {
            return chosen;
        };
        // Records that cannot be used are worth least.
        let unlisted: Vec<RecordId> = by_id
            .iter()
            .filter(|(_, item)| !index.has_needs(item.2))
            .map(|(id, _)| *id)
            .collect();
        let parse = |(writer, seq): &(String, u64)| Some((Uuid::try_parse(writer).ok()?, *seq));
        let groups = options
            .drop
            .iter()
            .map(|group| group.iter().filter_map(parse).collect());
        for group in std::iter::once(unlisted).chain(groups) {
            if live.bytes() <= budget {
                break;
            }
            for id in group {
                if let Some(item) = by_id.remove(&id) {
                    live.drop_record(&index, &item);
                    chosen.push(id);
                    *report.n_retired.entry(item.0.to_owned()).or_default() += 1;
                }
            }
        }
        report.over_budget_bytes = live.bytes().saturating_sub(budget);
        chosen
    }

    /// The finished writers that are not condemned yet, with what of theirs is live.
    fn folds(&self, finished: &BTreeSet<Uuid>) -> Result<Vec<Fold>, StoreError> {
        let state = self.state();
        let mut folds: BTreeMap<Slot, Fold> = BTreeMap::new();
        {
            let index = state.index();
            let live = Live::of(&index);
            for (slot, id) in index.writers() {
                if finished.contains(&id) && !index.is_condemned(slot, WHOLE) {
                    let fold = Fold {
                        id,
                        slot,
                        packs: BTreeMap::new(),
                        n_records: 0,
                        log_bytes: 0,
                        live_log_bytes: 0,
                    };
                    folds.insert(slot, fold);
                }
            }
            for (slot, pack) in index.packs() {
                if let Some(fold) = folds.get_mut(&slot) {
                    fold.packs.entry(pack).or_default();
                }
            }
            for (name, place) in index.chunks() {
                if let Some(fold) = folds.get_mut(&place.slot)
                    && live.needs.contains_key(name)
                    && index.kept_place(name) == Some(place)
                {
                    fold.live_log_bytes += CHUNK_ENTRY_BYTES;
                    let pack = fold.packs.entry(place.pack).or_default();
                    pack.0.push((*name, *place));
                }
            }
            for (kind, key, stored) in index.all_records() {
                if let Some(fold) = folds.get_mut(&stored.slot)
                    && !index.is_retired(stored)
                {
                    fold.n_records += 1;
                    fold.live_log_bytes +=
                        n_bytes_of(kind, key, stored.needs.len(), stored.payload.len());
                }
            }
        }
        let len = |path| match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if is_gone(&error) => Ok(0),
            Err(error) => Err(StoreError::io(path, error)),
        };
        for fold in folds.values_mut() {
            fold.log_bytes = len(self.log_path(fold.id))?;
            for (pack, (places, pack_len)) in &mut fold.packs {
                *pack_len = len(self.pack_path(fold.id, *pack))?;
                places.sort_unstable_by_key(|(_, place)| place.offset);
            }
        }
        Ok(folds.into_values().collect())
    }

    // ---- acting

    /// Copies what is condemned and needed after all: chunks, and records that were committed to a condemned log.
    fn rescue(&self, state: &State, options: &GcOptions) -> Result<BTreeSet<RecordId>, StoreError> {
        let parse = |(writer, seq): &(String, u64)| Some((Uuid::try_parse(writer).ok()?, *seq));
        let revive: BTreeSet<RecordId> = options.revive.iter().filter_map(parse).collect();
        let mut moved = Vec::new();
        let mut revived = BTreeSet::new();
        let mut needs = BTreeSet::new();
        {
            let index = state.index();
            for (kind, key, stored) in index.all_records() {
                let id = (index.writer_id(stored.slot), stored.seq);
                let is_retired = index.is_retired(stored);
                let is_revived = is_retired && revive.contains(&id) && index.has_needs(stored);
                let is_late = !is_retired && index.is_condemned(stored.slot, WHOLE);
                if is_revived || is_late {
                    moved.push(copy_of(kind, key, stored));
                }
                if is_revived || is_late {
                    revived.insert(id);
                }
                if is_revived || !is_retired {
                    let lost = |need: &&Fingerprint| !index.is_kept(need) && index.is_known(need);
                    needs.extend(stored.needs.iter().filter(lost));
                }
            }
        }
        if moved.is_empty() && needs.is_empty() {
            return Ok(revived);
        }
        let mut writer = state.writer();
        let late: Vec<RecordId> = revived.iter().copied().collect();
        let outcome = self.keep_readable(state, &mut writer, &needs);
        let outcome = outcome.and_then(|()| {
            moved.sort_by_key(|record| record.time_ns);
            moved
                .into_iter()
                .for_each(|record| writer.push_copy(record));
            let retired = frame::retired_payload(&late).unwrap_or_default();
            self.write_frames(state, &mut writer, 0, &[retired])
        });
        self.end_writing(state, &mut writer, outcome)?;
        self.with_own_slot(state, &writer, |index, slot| {
            late.iter().for_each(|id| index.add_retired(slot, *id));
        });
        Ok(revived)
    }

    /// [`Store::keep`], but a chunk that turns out to be damaged or gone is left.
    fn keep_readable(
        &self,
        state: &State,
        writer: &mut Writer,
        needs: &BTreeSet<Fingerprint>,
    ) -> Result<(), StoreError> {
        for need in needs {
            match self.keep(state, writer, &BTreeSet::from([*need])) {
                Err(StoreError::DamagedChunk { .. } | StoreError::MissingChunk { .. }) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn retire(
        &self,
        state: &State,
        retired: &[RecordId],
        revived: &BTreeSet<RecordId>,
    ) -> Result<(), StoreError> {
        let retired: Vec<RecordId> = retired
            .iter()
            .filter(|id| !revived.contains(id))
            .copied()
            .collect();
        if retired.is_empty() {
            return Ok(());
        }
        let mut writer = state.writer();
        let payload = frame::retired_payload(&retired).unwrap_or_default();
        let outcome = self.write_frames(state, &mut writer, 0, &[payload]);
        self.end_writing(state, &mut writer, outcome)?;
        self.with_own_slot(state, &writer, |index, slot| {
            retired.iter().for_each(|id| index.add_retired(slot, *id));
        });
        Ok(())
    }

    fn condemn(&self, state: &State, condemned: &[Condemned]) -> Result<(), StoreError> {
        if condemned.is_empty() {
            return Ok(());
        }
        let mut writer = state.writer();
        self.write_condemned(state, &mut writer, Ok(()), Vec::new(), condemned)
    }

    /// Moves what is live of a finished writer to our own, and condemns it; all in one append to the log.
    fn fold(&self, state: &State, fold: &Fold, percent: u64, now: u64) -> Result<(), StoreError> {
        let mut writer = state.writer();
        let outcome = self.fold_files(state, &mut writer, fold, percent);
        let mut moved = Vec::new();
        let mut retired = Vec::new();
        {
            let index = state.index();
            for (kind, key, stored) in index.all_records() {
                if stored.slot == fold.slot && !index.is_retired(stored) {
                    retired.push((fold.id, stored.seq));
                    moved.push(copy_of(kind, key, stored));
                }
            }
        }
        moved.sort_by_key(|record| record.time_ns);
        moved
            .into_iter()
            .for_each(|record| writer.push_copy(record));
        let condemned = Condemned {
            writer: fold.id,
            pack: WHOLE,
            time_ns: now,
        };
        self.write_condemned(state, &mut writer, outcome, retired, &[condemned])
    }

    /// Writes what waits, and behind it what is retired and condemned. What the logs say about that which are condemned
    /// themselves is said again, so that it is not lost with them.
    fn write_condemned(
        &self,
        state: &State,
        writer: &mut Writer,
        before: Result<(), StoreError>,
        mut retired: Vec<RecordId>,
        more: &[Condemned],
    ) -> Result<(), StoreError> {
        let mut condemned = more.to_vec();
        {
            let own = writer.own.as_ref().map(|own| own.slot);
            let index = state.index();
            retired.extend(index.retired(own));
            let others = index.condemned(own).map(|(writer, pack, times)| Condemned {
                writer,
                pack,
                time_ns: times.into_iter().min().unwrap_or_default(),
            });
            condemned
                .extend(others.filter(|item| more.iter().all(|new| new.writer != item.writer)));
        }
        let outcome = before.and_then(|()| {
            let more = [
                frame::retired_payload(&retired).unwrap_or_default(),
                frame::condemned_payload(&condemned).unwrap_or_default(),
            ];
            self.write_frames(state, writer, 0, &more)
        });
        self.end_writing(state, writer, outcome)?;
        self.with_own_slot(state, writer, |index, slot| {
            retired
                .into_iter()
                .for_each(|id| index.add_retired(slot, id));
            condemned
                .into_iter()
                .for_each(|item| index.add_condemned(slot, item));
        });
        Ok(())
    }

    fn fold_files(
        &self,
        state: &State,
        writer: &mut Writer,
        fold: &Fold,
        percent: u64,
    ) -> Result<(), StoreError> {
        for (pack, (places, len)) in &fold.packs {
            if places.is_empty() {
                continue;
            }
            let is_full = *len >= LINK_FROM_BYTES && !is_thin(live_bytes(places), *len, percent);
            let own = self.own(state, writer)?;
            let slot = own.slot;
            let adopted = match is_full {
                true => own.adopt(&self.pack_path(fold.id, *pack))?,
                false => None,
            };
            for (name, place) in places {
                if let Some(number) = adopted {
                    let entry = ChunkEntry {
                        name: *name,
                        pack: number,
                        offset: place.offset,
                        stored_len: place.stored_len,
                        raw_len: place.raw_len,
                        codec: place.codec(),
                    };
                    let place = Place::new(slot, &entry);
                    state.index_mut().add_chunk(*name, place);
                    writer.chunks.push((entry, place));
                    continue;
                }
                let mut raw = vec![0; place.raw_len as usize];
                match self.read_chunk(state, name, &mut raw) {
                    // The records that need it are not listed anyhow.
                    Err(StoreError::DamagedChunk { .. } | StoreError::MissingChunk { .. }) => {
                        continue;
                    }
                    outcome => outcome?,
                }
                let (codec, stored) = pack::encode_cold(&raw);
                self.write_copy(state, writer, *name, (codec, &stored), raw.len())?;
            }
        }
        Ok(())
    }

    /// Deletes what was condemned long enough ago, or at once if nobody else has the store open.
    fn sweep(
        &self,
        state: &State,
        options: &GcOptions,
        finished: &BTreeSet<Uuid>,
        lease: &Lease,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let now = lease.renew()?;
        let grace = u64::try_from(options.grace.as_nanos()).unwrap_or(u64::MAX);
        let condemned: Vec<(Uuid, u32, Vec<u64>)> = {
            let index = state.index();
            index.condemned(None).collect()
        };
        let present: BTreeSet<Uuid> = self.writer_ids()?.into_iter().collect();
        (
            report.n_waiting_writers,
            report.waiting_bytes,
            report.waiting,
        ) = Default::default();
        let mut again = Vec::new();
        // Only now: whoever opens the store from here on has read what is condemned.
        let alone = Alone::new(self);
        for (id, pack, times) in condemned {
            if pack != WHOLE || !present.contains(&id) {
                continue;
            }
            let age = since(&times, now).map(|time| now - time);
            if age.is_none() {
                // The clock was set back: the grace begins again.
                again.push(Condemned {
                    writer: id,
                    pack,
                    time_ns: now,
                });
            }
            let is_over = alone.is_alone || age.is_some_and(|age| age >= grace);
            if is_over && self.is_swept_clean(state, id, finished)? {
                self.delete_writer(id)?;
                report.n_deleted_writers += 1;
            } else {
                let dir = self.writer_dir(id);
                let files = fs::read_dir(&dir).into_iter().flatten().flatten();
                let lens = files.filter_map(|entry| entry.metadata().ok());
                report.n_waiting_writers += 1;
                // What has a second name stays under that.
                report.waiting_bytes += lens
                    .filter(|metadata| metadata.nlink() == 1)
                    .map(|metadata| metadata.len())
                    .sum::<u64>();
                let rest = grace.saturating_sub(age.unwrap_or(0));
                report.waiting = report.waiting.max(Duration::from_nanos(rest));
            }
        }
        drop(alone);
        self.condemn(state, &again)?;
        self.refresh()
    }

    /// Nothing of it is live now, and nothing was added since its log was read.
    fn is_swept_clean(
        &self,
        state: &State,
        id: Uuid,
        finished: &BTreeSet<Uuid>,
    ) -> Result<bool, StoreError> {
        let log = self.log_path(id);
        if !log.exists() {
            return Ok(self.is_unlocked(id));
        }
        // Its process came back: it will notice, and move.
        if !finished.contains(&id) {
            return Ok(false);
        }
        self.refresh()?;
        let index = state.index();
        let slot = index
            .writers()
            .find(|(_, known)| *known == id)
            .map(|(slot, _)| slot);
        let Some(slot) = slot else { return Ok(true) };
        let mut records = index.all_records();
        let has_late = records.any(|item| item.2.slot == slot && !index.is_retired(item.2));
        let is_only_place = |(name, place): &(&Fingerprint, &Place)| {
            place.slot == slot && !index.is_kept(name) && index.is_known(name)
        };
        let only_here: BTreeSet<Fingerprint> = index
            .chunks()
            .filter(is_only_place)
            .map(|(name, _)| *name)
            .collect();
        let is_needed = |needs: &[Fingerprint]| needs.iter().any(|need| only_here.contains(need));
        let mut needing = index.all_needs().filter(|(_, _, needs)| is_needed(needs));
        Ok(!has_late && needing.next().is_none())
    }

    fn delete_writer(&self, id: Uuid) -> Result<(), StoreError> {
        let dir = self.writer_dir(id);
        let failed = |error| StoreError::io(&dir, error);
        // The log first: a writer without one is nobody, while a log without packs promises what is not there.
        let mut paths = vec![self.log_path(id)];
        for entry in fs::read_dir(&dir).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        for path in paths {
            match fs::remove_file(&path) {
                Err(error) if !is_gone(&error) => return Err(StoreError::io(path, error)),
                _ => {}
            }
        }
        match fs::remove_dir(&dir) {
            Err(error) if !is_gone(&error) => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// What [`Store::commit`] does after the frame, for records that are copies.
    fn end_writing(
        &self,
        state: &State,
        writer: &mut Writer,
        outcome: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if outcome.is_ok() {
            let records = std::mem::take(&mut writer.records);
            self.with_own_slot(state, writer, |index, slot| {
                index.set_log(slot, false);
                records
                    .into_iter()
                    .for_each(|record| index.add_record(slot, record));
            });
        } else {
            self.roll_back(state, writer);
        }
        writer.clear_buffers();
        outcome
    }

    fn with_own_slot(&self, state: &State, writer: &Writer, act: impl FnOnce(&mut Index, Slot)) {
        if let Some(own) = &writer.own {
            act(&mut state.index_mut(), own.slot);
        }
    }
}

fn copy_of(kind: &str, key: &str, stored: &crate::index::Stored) -> RecordEntry {
    RecordEntry {
        kind: kind.to_owned(),
        key: key.to_owned(),
        time_ns: stored.time_ns,
        seq: 0,
        needs: stored.needs.to_vec(),
        payload: stored.payload.to_string(),
    }
}

/// The first of these times that is not in the future.
fn since(times: &[u64], now: u64) -> Option<u64> {
    times.iter().copied().filter(|&time| time <= now).min()
}

/// Nobody else has the store open; who opens it waits until this is dropped.
struct Alone<'a> {
    store: &'a Store,
    is_alone: bool,
}

impl<'a> Alone<'a> {
    fn new(store: &'a Store) -> Self {
        let is_locked = store
            .presence
            .get()
            .is_some_and(|presence| disk::relock(presence, libc::LOCK_EX).is_ok());
        // Who takes no locks can be there unseen.
        let only_locked = store.with_index(|index| {
            let mut writers = index.writers();
            writers.all(|(slot, _)| index.is_own(slot) || index.holds_lock(slot))
        });
        Self {
            store,
            is_alone: is_locked && only_locked,
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        if let Some(presence) = self.store.presence.get() {
            disk::share(presence);
        }
    }
}
