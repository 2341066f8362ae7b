//! How a chunk becomes bytes in a pack and comes back: as it is, or zstd where that pays at once.
//!
//! The user waits for a put, and a disk takes bytes faster than they can be compressed: only what shrinks a lot, or is
//! small, is compressed then. The rest waits for `gc`.

use std::borrow::Cow;

use crate::Fingerprint;

/// Buffers are cut at multiples of this, so that a change in place touches few chunks.
pub const CHUNK_BYTES: usize = 1 << 20;
/// No reader accepts a larger chunk (a limit on what a damaged log can make us allocate).
pub(crate) const MAX_CHUNK_BYTES: u32 = 64 << 20;

const LEVEL: i32 = 1;
/// Below this, compressing costs more than it saves.
const MIN_BYTES: usize = 128;
/// Larger chunks are judged by three samples first, and compressed if those shrink to a quarter.
const PROBE_FROM_BYTES: usize = 64 << 10;
const SAMPLE_BYTES: usize = 4 << 10;

/// How the stored bytes of a chunk are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    Raw = 0,
    Zstd = 1,
}

impl Codec {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What to write for these bytes.
pub(crate) fn encode(raw: &[u8]) -> (Codec, Cow<'_, [u8]>) {
    if raw.len() >= MIN_BYTES
        && (raw.len() < PROBE_FROM_BYTES || probe(raw))
        && let Some(small) = compress(raw)
    {
        return (Codec::Zstd, Cow::Owned(small));
    }
    (Codec::Raw, Cow::Borrowed(raw))
}

/// What to write for bytes that nobody waits for: compressed wherever a tenth is saved.
pub(crate) fn encode_cold(raw: &[u8]) -> (Codec, Cow<'_, [u8]>) {
    match compress(raw) {
        Some(small) if raw.len() >= MIN_BYTES => (Codec::Zstd, Cow::Owned(small)),
        _ => (Codec::Raw, Cow::Borrowed(raw)),
    }
}

/// Fills `out` (exactly the raw length) from the stored bytes and says whether they are the content of this name.
pub(crate) fn decode(codec: Codec, stored: &[u8], out: &mut [u8], name: &Fingerprint) -> bool {
    let filled = match codec {
        Codec::Raw => {
            stored.len() == out.len() && {
                out.copy_from_slice(stored);
                true
            }
        }
        Codec::Zstd => zstd::bulk::decompress_to_buffer(stored, out).is_ok_and(|n| n == out.len()),
    };
    filled && Fingerprint::of(out) == *name
}

/// The compressed bytes, if they save at least a tenth.
fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    let small = zstd::bulk::compress(raw, LEVEL).ok()?;
    (small.len() <= raw.len() - raw.len() / 10).then_some(small)
}

fn probe(raw: &[u8]) -> bool {
    let last = raw.len() - SAMPLE_BYTES;
    let sample: Vec<u8> = [0, last / 2, last]
        .iter()
        .flat_map(|&start| &raw[start..start + SAMPLE_BYTES])
        .copied()
        .collect();
    compress(&sample).is_some_and(|small| small.len() <= sample.len() / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without structure, the same in every run.
    fn noise(n_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn check(raw: &[u8], codec: Codec) {
        let (chosen, stored) = encode(raw);
        assert_eq!(chosen, codec, "{} bytes", raw.len());
        assert!(stored.len() <= raw.len());
        let mut out = vec![0; raw.len()];
        assert!(decode(chosen, &stored, &mut out, &Fingerprint::of(raw)));
        assert_eq!(out, raw);
    }

    #[test]
    fn text_is_compressed_and_noise_is_not() {
        check(&b"a line of a text file\n".repeat(50_000), Codec::Zstd);
        check(&b"a line of a text file\n".repeat(20), Codec::Zstd);
        check(&noise(CHUNK_BYTES), Codec::Raw);
        check(&noise(5_000), Codec::Raw);
    }

    #[test]
    fn few_bytes_are_stored_as_they_are() {
        check(b"", Codec::Raw);
        check(&[0; 100], Codec::Raw);
    }

    #[test]
    fn a_promising_sample_of_incompressible_bytes_is_stored_raw() {
        let mut raw = noise(CHUNK_BYTES);
        let last = raw.len() - SAMPLE_BYTES;
        for start in [0, last / 2, last] {
            raw[start..start + SAMPLE_BYTES].fill(0);
        }
        assert!(probe(&raw));
        check(&raw, Codec::Raw);
    }

    #[test]
    fn wrong_bytes_are_not_the_content_of_a_name() {
        let raw = b"a line of a text file\n".repeat(100);
        let (codec, stored) = encode(&raw);
        let mut out = vec![0; raw.len()];
        for idx in 0..stored.len() {
            let mut wrong = stored.to_vec();
            wrong[idx] ^= 1;
            // A flip may decode to the right bytes (zstd ignores a few header bits); what must never pass is other bytes.
            if decode(codec, &wrong, &mut out, &Fingerprint::of(&raw)) {
                assert_eq!(out, raw);
            }
        }
        assert!(!decode(
            Codec::Raw,
            &raw[1..],
            &mut out,
            &Fingerprint::of(&raw)
        ));
    }
}
