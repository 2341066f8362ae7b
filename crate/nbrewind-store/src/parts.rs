//! What is fed into a fingerprint: tagged, length-prefixed parts, so that two different objects cannot give the same
//! bytes by concatenation.

/// How many bytes are gathered before they are hashed: blake3 is several times as fast on whole subtrees as on a few
/// bytes at a time, and a power of two keeps the subtrees aligned.
const GATHERED: usize = 32 << 10;

/// A blake3 hash of many small parts; it does not depend on how they are gathered.
#[derive(Clone, Default)]
pub struct PartHasher {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
}

impl PartHasher {
    /// Nothing so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes as they are.
    // Most parts are a few bytes long: where their length is known, they are copied without a call.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() < GATHERED {
            self.pending.extend_from_slice(bytes);
        } else {
            self.update_full(bytes);
        }
    }

    #[cold]
    fn update_full(&mut self, mut bytes: &[u8]) {
        while self.pending.len() + bytes.len() >= GATHERED {
            let (now, later) = bytes.split_at(GATHERED - self.pending.len());
            self.pending.extend_from_slice(now);
            self.hasher.update(&self.pending);
            self.pending.clear();
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// A length, or how many parts follow.
    #[inline]
    pub fn put_len(&mut self, tag: u8, len: usize) {
        self.put_word(tag, (len as u64).to_le_bytes());
    }

    /// A tagged word.
    #[inline]
    pub fn put_word(&mut self, tag: u8, word: [u8; 8]) {
        let mut part = [tag; 9];
        part[1..].copy_from_slice(&word);
        self.update(&part);
    }

    /// Tagged bytes after their length.
    pub fn put_bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.put_len(tag, bytes.len());
        self.update(bytes);
    }

    /// A large buffer as the fingerprints of its slices, marked so that it differs from the same bytes fed directly.
    pub fn put_digests(&mut self, tag: u8, len: usize, digests: &[[u8; 32]]) {
        self.update(b"#");
        self.put_len(tag, len);
        self.put_len(tag, digests.len());
        for digest in digests {
            self.update(digest);
        }
    }

    /// The fingerprint of all parts.
    #[must_use]
    pub fn finalize(mut self) -> blake3::Hash {
        self.hasher.update(&self.pending);
        self.hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_changes_nothing() {
        for lengths in [
            vec![0],
            vec![GATHERED],
            vec![1, GATHERED - 1, 1],
            vec![GATHERED + 1, 3 * GATHERED, 7],
            (0..3000).collect(),
        ] {
            let mut parts = PartHasher::new();
            let mut plain = blake3::Hasher::new();
            for length in lengths {
                let bytes: Vec<u8> = (0..length).map(|n: usize| n as u8).collect();
                parts.update(&bytes);
                plain.update(&bytes);
            }
            assert_eq!(parts.finalize(), plain.finalize());
        }
    }
}
