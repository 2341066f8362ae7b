//! The frames of a log, as bytes. `docs/format.md` has the same layout byte by byte.
//!
//! A frame carries two checksums: one over its head, so that a damaged length is not taken for a frame that is still
//! being written, and one over all of it. Both cover the frame's position in the log: frame bytes inside a payload, or
//! copied to another place, are no frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use uuid::Uuid;

use crate::Fingerprint;
use crate::pack::{Codec, MAX_CHUNK_BYTES};

/// The version of the store's format that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const MAGIC: [u8; 4] = *b"NBRF";
/// Magic, length, check of the head.
pub(crate) const HEAD_BYTES: usize = 12;
pub(crate) const SUM_BYTES: usize = 32;
const TYPE_HEADER: u8 = 1;
const TYPE_COMMIT: u8 = 2;
const TYPE_CONDEMNED: u8 = 128;
const TYPE_RETIRED: u8 = 129;
/// Frames of this type and above may be skipped by who does not know them.
const TYPE_SKIPPABLE: u8 = 128;
pub(crate) const CHUNK_ENTRY_BYTES: usize = 32 + 4 + 8 + 4 + 4 + 1;

/// Where a new chunk lies in its writer's packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    pub name: Fingerprint,
    pub pack: u32,
    pub offset: u64,
    pub stored_len: u32,
    pub raw_len: u32,
    pub codec: Codec,
}

/// A record on its way to or from a frame; the payload stays text until somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordEntry {
    pub kind: String,
    pub key: String,
    pub time_ns: u64,
    pub seq: u64,
    pub needs: Vec<Fingerprint>,
    pub payload: String,
}

/// A pack, or with [`WHOLE`] all of a writer, that `gc` is about to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condemned {
    pub writer: Uuid,
    pub pack: u32,
    /// When it was condemned, by the clock of the file system.
    pub time_ns: u64,
}

/// In place of a pack's number: the whole folder of the writer.
pub(crate) const WHOLE: u32 = u32::MAX;

/// What a frame says.
#[derive(Debug)]
pub(crate) enum Body {
    Header {
        version: u32,
        writer: Uuid,
        /// Its process holds a lock on the writer's folder for as long as it lives.
        holds_lock: bool,
    },
    Condemned(Vec<Condemned>),
    /// Records, by writer and number, that are listed no longer.
    Retired(Vec<(Uuid, u64)>),
    Commit {
        chunks: Vec<ChunkEntry>,
        records: Vec<RecordEntry>,
    },
    Skipped,
}

/// What lies at a position of a log.
#[derive(Debug)]
pub(crate) enum Found {
    /// A frame; the next one starts at `end`.
    Frame { body: Body, end: u64 },
    /// Nothing, or a frame that is being written or never was completed: no damage, and not to be used.
    Tail,
    /// Bytes that no writer leaves behind.
    Damaged,
}

/// The bytes of one frame at this position of its log; None if it is longer than a frame can be.
pub(crate) fn seal(offset: u64, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok()?;
    let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len() + SUM_BYTES);
    frame.extend(MAGIC);
    frame.extend(length.to_le_bytes());
    frame.extend(head_check(offset, &frame));
    frame.extend(payload);
    frame.extend(checksum(offset, &frame));
    Some(frame)
}

/// The first frame of every log.
pub(crate) fn header_payload(writer: Uuid, created_ns: u64, holds_lock: bool) -> Vec<u8> {
    let mut payload = vec![TYPE_HEADER];
    payload.extend(FORMAT_VERSION.to_le_bytes());
    payload.extend(writer.as_bytes());
    payload.extend(created_ns.to_le_bytes());
    payload.push(u8::from(holds_lock));
    payload
}

/// What `gc` is about to delete.
pub(crate) fn condemned_payload(condemned: &[Condemned]) -> Option<Vec<u8>> {
    let mut out = vec![TYPE_CONDEMNED];
    out.extend(u32::try_from(condemned.len()).ok()?.to_le_bytes());
    for item in condemned {
        out.extend(item.writer.as_bytes());
        out.extend(item.pack.to_le_bytes());
        out.extend(item.time_ns.to_le_bytes());
    }
    Some(out)
}

/// Records that are listed no longer.
pub(crate) fn retired_payload(retired: &[(Uuid, u64)]) -> Option<Vec<u8>> {
    let mut out = vec![TYPE_RETIRED];
    out.extend(u32::try_from(retired.len()).ok()?.to_le_bytes());
    for (writer, seq) in retired {
        out.extend(writer.as_bytes());
        out.extend(seq.to_le_bytes());
    }
    Some(out)
}

/// The outcome of one commit.
pub(crate) fn commit_payload(chunks: &[ChunkEntry], records: &[RecordEntry]) -> Option<Vec<u8>> {
    let mut out = vec![TYPE_COMMIT];
    out.extend(u32::try_from(chunks.len()).ok()?.to_le_bytes());
    for chunk in chunks {
        out.extend(chunk.name.as_bytes());
        out.extend(chunk.pack.to_le_bytes());
        out.extend(chunk.offset.to_le_bytes());
        out.extend(chunk.stored_len.to_le_bytes());
        out.extend(chunk.raw_len.to_le_bytes());
        out.push(chunk.codec as u8);
    }
    out.extend(u32::try_from(records.len()).ok()?.to_le_bytes());
    for record in records {
        out.extend(record.seq.to_le_bytes());
        out.extend(record.time_ns.to_le_bytes());
        for text in [&record.kind, &record.key] {
            out.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
            out.extend(text.as_bytes());
        }
        out.extend(u32::try_from(record.needs.len()).ok()?.to_le_bytes());
        for need in &record.needs {
            out.extend(need.as_bytes());
        }
        out.extend(u32::try_from(record.payload.len()).ok()?.to_le_bytes());
        out.extend(record.payload.as_bytes());
    }
    Some(out)
}

/// Reads what is at `offset` of a log of `file_len` bytes.
pub(crate) fn read(file: &File, offset: u64, file_len: u64) -> io::Result<Found> {
    let rest = file_len.saturating_sub(offset);
    if rest < HEAD_BYTES as u64 {
        return Ok(Found::Tail);
    }
    let mut frame = vec![0; HEAD_BYTES];
    if !read_exact(file, &mut frame, offset)? {
        return Ok(Found::Tail);
    }
    let Some(payload_len) = check_head(offset, &frame) else {
        // After a power loss a file can be longer than what reached the disk; the rest reads as zeros.
        return Ok(if is_zero(file, offset, file_len)? {
            Found::Tail
        } else {
            Found::Damaged
        });
    };
    let frame_len = (HEAD_BYTES + SUM_BYTES) as u64 + u64::from(payload_len);
    if frame_len > rest {
        return Ok(Found::Tail);
    }
    frame.resize(HEAD_BYTES + payload_len as usize + SUM_BYTES, 0);
    if !read_exact(file, &mut frame[HEAD_BYTES..], offset + HEAD_BYTES as u64)? {
        return Ok(Found::Tail);
    }
    Ok(match open(offset, &frame) {
        Some(body) => Found::Frame {
            body,
            end: offset + frame_len,
        },
        None => Found::Damaged,
    })
}

/// The next frame in these bytes of a log, which start at `base`: for telling what lies behind damage.
pub(crate) fn find(bytes: &[u8], base: u64) -> Option<(Body, u64)> {
    (0..bytes.len().saturating_sub(HEAD_BYTES + SUM_BYTES))
        .filter(|&start| bytes[start..].starts_with(&MAGIC))
        .find_map(|start| {
            let offset = base + start as u64;
            let payload_len = check_head(offset, &bytes[start..start + HEAD_BYTES])?;
            let end = start.checked_add(HEAD_BYTES + SUM_BYTES + payload_len as usize)?;
            Some((open(offset, bytes.get(start..end)?)?, base + end as u64))
        })
}

fn head_check(offset: u64, magic_and_length: &[u8]) -> [u8; 4] {
    let sum = checksum(offset, magic_and_length);
    [sum[0], sum[1], sum[2], sum[3]]
}

fn checksum(offset: u64, bytes: &[u8]) -> [u8; SUM_BYTES] {
    *blake3::Hasher::new()
        .update(&offset.to_le_bytes())
        .update(bytes)
        .finalize()
        .as_bytes()
}

fn check_head(offset: u64, head: &[u8]) -> Option<u32> {
    (head.starts_with(&MAGIC) && head[8..] == head_check(offset, &head[..8]))
        .then(|| u32::from_le_bytes([head[4], head[5], head[6], head[7]]))
}

fn open(offset: u64, frame: &[u8]) -> Option<Body> {
    let (sealed, sum) = frame.split_at(frame.len() - SUM_BYTES);
    if *sum != checksum(offset, sealed) {
        return None;
    }
    Body::decode(&sealed[HEAD_BYTES..])
}

impl Body {
    fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        match fields.u8()? {
            // Later versions may append to the header; what this one knows stays where it is.
            TYPE_HEADER => Some(Self::Header {
                version: fields.u32()?,
                writer: Uuid::from_bytes(fields.array()?),
                holds_lock: fields.u64().is_some() && fields.u8() == Some(1),
            }),
            TYPE_CONDEMNED => {
                let n = fields.count(16 + 4 + 8)?;
                (0..n)
                    .map(|_| fields.condemned())
                    .collect::<Option<_>>()
                    .map(Self::Condemned)
            }
            TYPE_RETIRED => {
                let n = fields.count(16 + 8)?;
                (0..n)
                    .map(|_| Some((fields.uuid()?, fields.u64()?)))
                    .collect::<Option<_>>()
                    .map(Self::Retired)
            }
            TYPE_COMMIT => {
                let n_chunks = fields.count(CHUNK_ENTRY_BYTES)?;
                let chunks = (0..n_chunks)
                    .map(|_| fields.chunk())
                    .collect::<Option<_>>()?;
                let n_records = fields.count(1)?;
                let records = (0..n_records)
                    .map(|_| fields.record())
                    .collect::<Option<_>>()?;
                fields
                    .0
                    .is_empty()
                    .then_some(Self::Commit { chunks, records })
            }
            other => (other >= TYPE_SKIPPABLE).then_some(Self::Skipped),
        }
    }
}

/// Takes fields from the front; None where the bytes end too early.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, n_bytes: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(n_bytes)?;
        self.0 = rest;
        Some(field)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    fn condemned(&mut self) -> Option<Condemned> {
        Some(Condemned {
            writer: self.uuid()?,
            pack: self.u32()?,
            time_ns: self.u64()?,
        })
    }

    fn fingerprint(&mut self) -> Option<Fingerprint> {
        self.array().map(Fingerprint::from_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let n_bytes = self.count(1)?;
        String::from_utf8(self.bytes(n_bytes)?.to_vec()).ok()
    }

    /// A number of entries that can really follow, so that no allocation trusts it blindly.
    fn count(&mut self, entry_bytes: usize) -> Option<usize> {
        let n = self.u32()? as usize;
        (n <= self.0.len() / entry_bytes).then_some(n)
    }

    fn chunk(&mut self) -> Option<ChunkEntry> {
        let chunk = ChunkEntry {
            name: self.fingerprint()?,
            pack: self.u32()?,
            offset: self.u64()?,
            stored_len: self.u32()?,
            raw_len: self.u32()?,
            codec: Codec::from_byte(self.u8()?)?,
        };
        (chunk.stored_len <= MAX_CHUNK_BYTES && chunk.raw_len <= MAX_CHUNK_BYTES).then_some(chunk)
    }

    fn record(&mut self) -> Option<RecordEntry> {
        let (seq, time_ns) = (self.u64()?, self.u64()?);
        let (kind, key) = (self.text()?, self.text()?);
        let n_needs = self.count(32)?;
        let needs = (0..n_needs)
            .map(|_| self.fingerprint())
            .collect::<Option<_>>()?;
        Some(RecordEntry {
            kind,
            key,
            time_ns,
            seq,
            needs,
            payload: self.text()?,
        })
    }
}

/// False if the file ends before the buffer is full.
pub(crate) fn read_exact(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_zero(file: &File, mut offset: u64, end: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    while offset < end {
        let n_bytes = buffer
            .len()
            .min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        if !read_exact(file, &mut buffer[..n_bytes], offset)? {
            return Ok(true);
        }
        if buffer[..n_bytes].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        offset += n_bytes as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<ChunkEntry>, Vec<RecordEntry>) {
        let name = Fingerprint::of(b"chunk");
        let chunks = vec![ChunkEntry {
            name,
            pack: 3,
            offset: 1 << 33,
            stored_len: 5,
            raw_len: 9,
            codec: Codec::Zstd,
        }];
        let records = vec![RecordEntry {
            kind: "run".into(),
            key: "clé".into(),
            time_ns: 7,
            seq: 1,
            needs: vec![name],
            payload: "{}".into(),
        }];
        (chunks, records)
    }

    #[test]
    fn a_commit_comes_back_as_it_was() {
        let (chunks, records) = sample();
        let frame = seal(77, &commit_payload(&chunks, &records).unwrap()).unwrap();
        let Some(Body::Commit {
            chunks: c,
            records: r,
        }) = open(77, &frame)
        else {
            panic!("no commit")
        };
        assert_eq!((c, r), (chunks, records));
    }

    #[test]
    fn a_frame_counts_only_where_it_was_written() {
        let (chunks, records) = sample();
        let frame = seal(77, &commit_payload(&chunks, &records).unwrap()).unwrap();
        assert!(open(78, &frame).is_none());
        let mut log = vec![0; 100];
        log.extend(&frame);
        assert!(find(&log, 0).is_none());
        assert!(
            matches!(find(&frame, 77), Some((Body::Commit { .. }, end)) if end == 77 + frame.len() as u64)
        );
    }

    #[test]
    fn a_shortened_or_padded_payload_is_refused() {
        let (chunks, records) = sample();
        let payload = commit_payload(&chunks, &records).unwrap();
        for length in 0..payload.len() {
            assert!(Body::decode(&payload[..length]).is_none(), "{length}");
        }
        assert!(Body::decode(&[&payload[..], &[0]].concat()).is_none());
    }

    #[test]
    fn what_gc_writes_comes_back_and_an_older_header_holds_no_lock() {
        let writer = Uuid::new_v4();
        let condemned = [Condemned {
            writer,
            pack: WHOLE,
            time_ns: 5,
        }];
        let decoded = Body::decode(&condemned_payload(&condemned).unwrap());
        assert!(matches!(decoded, Some(Body::Condemned(items)) if items == condemned));
        let decoded = Body::decode(&retired_payload(&[(writer, 7)]).unwrap());
        assert!(matches!(decoded, Some(Body::Retired(items)) if items == [(writer, 7)]));
        let header = header_payload(writer, 1, true);
        assert!(matches!(
            Body::decode(&header),
            Some(Body::Header {
                holds_lock: true,
                ..
            })
        ));
        assert!(matches!(
            Body::decode(&header[..29]),
            Some(Body::Header {
                holds_lock: false,
                ..
            })
        ));
    }

    #[test]
    fn frames_of_skippable_types_are_skipped_and_others_refused() {
        assert!(matches!(Body::decode(&[200, 1, 2]), Some(Body::Skipped)));
        assert!(Body::decode(&[3]).is_none());
    }
}
