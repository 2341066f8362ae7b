//! Reading everything once and comparing it with its checksums.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::error::is_gone;
use crate::frame::{self, Body, ChunkEntry, FORMAT_VERSION, Found};
use crate::index::Place;
use crate::store::read_stored;
use crate::{Fingerprint, Store, StoreError};

/// A place in a store that does not hold what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: DamageKind,
    /// The records that cannot be used because of it, as far as they can still be told.
    pub records: Vec<AffectedRecords>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The bytes of this chunk do not match its fingerprint. Storing the same content again repairs it.
    Chunk(Fingerprint),
    /// A frame of a log does not match its checksum. It and the frames behind it are not used.
    Frame,
}

/// Records with one kind and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedRecords {
    /// Their kind.
    pub kind: String,
    /// Their key.
    pub key: String,
    /// How many there are.
    pub count: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_records: u64 = self.records.iter().map(|affected| affected.count).sum();
        let file = self.file.display();
        match self.what {
            DamageKind::Chunk(chunk) => write!(
                f,
                "{file}: chunk {chunk} at byte {} does not match its fingerprint; {n_records} records need it. Run the cells that made it again.",
                self.offset
            ),
            DamageKind::Frame => write!(
                f,
                "{file}: the frame at byte {} does not match its checksum; it and what follows ({n_records} records that can be told) are not used. Run those cells again.",
                self.offset
            ),
        }
    }
}

impl Store {
    /// Reads every frame of every log and every chunk that they name, and lists what does not match, by file and offset.
    ///
    /// Nothing on disk is changed. What is found damaged is no longer used by this process. A missing pack and an
    /// incomplete last frame are no damage: the one is a miss, the other a commit in progress or one that never ended.
    pub fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        let mut found = Vec::new();
        for id in self.writer_ids()? {
            let chunks = self.verify_log(id, &mut found)?;
            self.verify_packs(id, &chunks, &mut found)?;
        }
        found.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        Ok(found)
    }

    fn verify_log(&self, id: Uuid, found: &mut Vec<Damage>) -> Result<Vec<ChunkEntry>, StoreError> {
        let path = self.log_path(id);
        let failed = |error| StoreError::io(&path, error);
        let log = match File::open(&path) {
            Ok(log) => log,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let file_len = log.metadata().map_err(failed)?.len();
        let mut offset = 0;
        let mut all_chunks = Vec::new();
        loop {
            match frame::read(&log, offset, file_len).map_err(failed)? {
                Found::Tail => return Ok(all_chunks),
                Found::Frame {
                    body: Body::Header { version, .. },
                    ..
                } if version > FORMAT_VERSION => {
                    return Err(StoreError::NewerFormat {
                        path,
                        found: version,
                        known: FORMAT_VERSION,
                    });
                }
                Found::Frame {
                    body: Body::Header { writer, .. },
                    end,
                } if offset == 0 && writer == id => offset = end,
                Found::Frame {
                    body: Body::Commit { chunks, .. },
                    end,
                } if offset > 0 => {
                    all_chunks.extend(chunks);
                    offset = end;
                }
                Found::Frame {
                    body: Body::Skipped | Body::Condemned(_) | Body::Retired(_),
                    end,
                } if offset > 0 => offset = end,
                Found::Frame { .. } | Found::Damaged => {
                    let records = records_behind(&path, offset)?;
                    found.push(Damage {
                        file: path,
                        offset,
                        what: DamageKind::Frame,
                        records,
                    });
                    return Ok(all_chunks);
                }
            }
        }
    }

    fn verify_packs(
        &self,
        id: Uuid,
        chunks: &[ChunkEntry],
        found: &mut Vec<Damage>,
    ) -> Result<(), StoreError> {
        let mut by_pack: BTreeMap<u32, Vec<&ChunkEntry>> = BTreeMap::new();
        for chunk in chunks {
            by_pack.entry(chunk.pack).or_default().push(chunk);
        }
        let slot = self.with_index(|index| index.slot(id));
        for (pack, mut chunks) in by_pack {
            let path = self.pack_path(id, pack);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(StoreError::io(path, error)),
            };
            chunks.sort_by_key(|chunk| chunk.offset);
            let mut buffer = Vec::new();
            for chunk in chunks {
                buffer.resize(chunk.raw_len as usize, 0);
                let place = Place::new(slot, chunk);
                if read_stored(&file, &place, &chunk.name, &mut buffer)
                    .map_err(|error| StoreError::io(&path, error))?
                {
                    continue;
                }
                let records = self.with_index(|index| {
                    index.add_damaged(place);
                    let needing = index
                        .all_needs()
                        .filter(|(_, _, needs)| needs.contains(&chunk.name));
                    count(needing.map(|(kind, key, _)| (kind.to_owned(), key.to_owned())))
                });
                let what = DamageKind::Chunk(chunk.name);
                found.push(Damage {
                    file: path.clone(),
                    offset: chunk.offset,
                    what,
                    records,
                });
            }
        }
        Ok(())
    }
}

/// The records in whole frames behind damage; they are not used, but they can be named.
fn records_behind(path: &Path, offset: u64) -> Result<Vec<AffectedRecords>, StoreError> {
    let log = fs::read(path).map_err(|error| StoreError::io(path, error))?;
    let mut start = offset as usize + 1;
    let mut lost = Vec::new();
    while let Some((body, end)) = log
        .get(start..)
        .and_then(|rest| frame::find(rest, start as u64))
    {
        if let Body::Commit { records, .. } = body {
            lost.extend(records.into_iter().map(|record| (record.kind, record.key)));
        }
        start = end as usize;
    }
    Ok(count(lost.into_iter()))
}

fn count(records: impl Iterator<Item = (String, String)>) -> Vec<AffectedRecords> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    records.for_each(|record| *counts.entry(record).or_default() += 1);
    counts
        .into_iter()
        .map(|((kind, key), count)| AffectedRecords { kind, key, count })
        .collect()
}
