//! Versions: what a key covers, as 128 bits.
//!
//! They are only ever compared with versions of the same process, to notice a change; what decides a replay is a
//! fingerprint. So a fast hash is enough.

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_128;

/// 128 bits over what something was made of.
pub(crate) type Digest = u128;

/// Digests of one kind are never taken for those of another.
pub(super) fn digest(domain: &str, parts: &[&[u8]]) -> Digest {
    // Nearly all are short.
    const SHORT: usize = 160;
    let length: usize = domain.len() + 1 + parts.iter().map(|part| part.len() + 4).sum::<usize>();
    if length > SHORT {
        let mut bytes = Vec::with_capacity(length);
        write(domain, parts, |part| bytes.extend_from_slice(part));
        return xxh3_128(&bytes);
    }
    let mut bytes = [0; SHORT];
    let mut at = 0;
    write(domain, parts, |part| {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    });
    xxh3_128(&bytes[..at])
}

fn write(domain: &str, parts: &[&[u8]], mut put: impl FnMut(&[u8])) {
    put(domain.as_bytes());
    put(&[0xff]);
    for part in parts {
        put(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        put(part);
    }
}

/// What something is, twice: `certain` leaves out what only may have happened, `full` has it in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub certain: Digest,
    pub full: Digest,
}

impl Version {
    pub(super) fn constant(domain: &str, text: &str) -> Self {
        Version::certain(digest(domain, &[text.as_bytes()]))
    }

    pub(super) fn certain(value: Digest) -> Self {
        Version {
            certain: value,
            full: value,
        }
    }

    /// A version made from this one, a label and optionally what was there before.
    pub(super) fn derive(self, label: &[u8], old: Option<Version>) -> Self {
        let make = |key: Digest, old: Option<Digest>| match old {
            Some(old) => digest("changed", &[&key.to_le_bytes(), label, &old.to_le_bytes()]),
            None => digest("made", &[&key.to_le_bytes(), label]),
        };
        let certain = make(self.certain, old.map(|old| old.certain));
        // Most of the time nothing is doubtful.
        let is_certain = self.certain == self.full && old.is_none_or(|old| old.certain == old.full);
        let full = if is_certain {
            certain
        } else {
            make(self.full, old.map(|old| old.full))
        };
        Version { certain, full }
    }
}

/// What a version is made of, as bytes. As long as nothing is doubtful there is one list of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Mixture {
    certain: SmallVec<[u8; 128]>,
    /// With all that is doubtful, once something is.
    full: Vec<u8>,
    is_doubtful: bool,
}

impl Mixture {
    pub(super) fn clear(&mut self) {
        self.certain.clear();
        self.full.clear();
        self.is_doubtful = false;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.full.is_empty()
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        self.certain.extend_from_slice(bytes);
        if self.is_doubtful {
            self.full.extend_from_slice(bytes);
        }
    }

    pub(super) fn add(&mut self, version: Version) {
        if self.is_doubtful || version.certain != version.full {
            self.doubt();
            self.full.extend_from_slice(&version.full.to_le_bytes());
        }
        self.certain
            .extend_from_slice(&version.certain.to_le_bytes());
    }

    /// Only in `full`.
    pub(super) fn add_doubt(&mut self, bytes: &[u8]) {
        self.doubt();
        self.full.extend_from_slice(bytes);
    }

    fn doubt(&mut self) {
        if !self.is_doubtful {
            self.is_doubtful = true;
            self.full.extend_from_slice(&self.certain);
        }
    }

    /// Adds what is in the other one and empties that.
    pub(super) fn take_over(&mut self, other: &mut Mixture) {
        if other.is_doubtful {
            self.add_doubt(&other.full);
        } else if self.is_doubtful {
            self.full.extend_from_slice(&other.certain);
        }
        self.certain.extend_from_slice(&other.certain);
        other.clear();
    }

    pub(super) fn version(&self) -> Version {
        let certain = xxh3_128(&self.certain);
        let full = if self.is_doubtful && self.full[..] != self.certain[..] {
            xxh3_128(&self.full)
        } else {
            certain
        };
        Version { certain, full }
    }

    /// Over all so far, doubts included.
    pub(super) fn digest_of_full(&self) -> Digest {
        xxh3_128(if self.is_doubtful {
            &self.full
        } else {
            &self.certain
        })
    }
}
