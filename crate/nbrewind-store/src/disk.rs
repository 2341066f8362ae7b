//! How files of the store are reached: past the page cache where the disk allows it, in the plainest way on a network.
//!
//! Big chunks are written with `O_DIRECT` from aligned memory, at 4 KiB-aligned places: the disk takes them at its own
//! speed and the page cache stays the user's. Where a file system refuses that (tmpfs, some overlays), and on network
//! file systems, the same bytes go through the page cache. The two kinds of writes never share a page.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::pack::CHUNK_BYTES;

/// What offset, length and address of a direct write are multiples of: a page, and no disk has larger blocks.
pub(crate) const ALIGN: u64 = 4096;
/// Smaller chunks are packed one behind the other, through the page cache.
pub(crate) const DIRECT_FROM_BYTES: usize = 256 << 10;

const MODE_VARIABLE: &str = "NBREWIND_STORE_MODE";

/// How the store's file system is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A disk of this machine.
    Local,
    /// Other hosts may be there, too: no `O_DIRECT`, no allocation ahead, no locks.
    Network,
}

impl Access {
    /// What `NBREWIND_STORE_MODE` (`local` or `network`) says, else what kind of file system the folder is on.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        match std::env::var(MODE_VARIABLE).as_deref() {
            Ok("network") => Self::Network,
            Ok("local") => Self::Local,
            _ if is_network(dir) => Self::Network,
            _ => Self::Local,
        }
    }
}

#[cfg(target_os = "linux")]
fn is_network(dir: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    /// NFS, SMB, CIFS, SMB2, AFS (two clients), Coda, NCP, Lustre, GPFS, Ceph, FUSE, 9p, BeeGFS, OCFS2, GFS2, PanFS.
    const MAGICS: [u32; 17] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x5346_414F,
        0x6B41_4653,
        0x7375_7245,
        0x564C,
        0x0BD0_0BD0,
        0x4750_4653,
        0x00C3_6400,
        0x6573_5546,
        0x0102_1997,
        0x1983_0326,
        0x7461_636F,
        0x0116_1970,
        0xAAD7_AAEA,
    ];
    let Ok(path) = std::ffi::CString::new(dir.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: the path ends with a zero and `found` is large enough; it is read only if the call succeeded.
    unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut found) == 0 && MAGICS.contains(&(found.f_type as u32))
    }
}

#[cfg(not(target_os = "linux"))]
fn is_network(_dir: &Path) -> bool {
    false
}

/// A lock on a file or folder (`LOCK_SH` or `LOCK_EX`) that ends with the returned handle. It is not waited for:
/// `WouldBlock` if somebody else holds one, other errors where there are no locks.
pub(crate) fn lock(path: &Path, how: libc::c_int) -> io::Result<File> {
    let file = File::open(path)?;
    relock(&file, how)?;
    Ok(file)
}

/// Changes the kind of a lock. On failure there may be none left.
pub(crate) fn relock(file: &File, how: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: a plain call on an open file.
    match unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes it a shared lock again. The one wait there is: for another cleaner to end its deletions.
pub(crate) fn share(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: a plain call on an open file.
    while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH) } != 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// The file for direct writes; None where there is no such thing.
pub(crate) fn open_direct(path: &Path) -> Option<File> {
    #[cfg(target_os = "linux")]
    {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_DIRECT);
        options.open(path).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (path, OpenOptions::new().custom_flags(0));
        None
    }
}

/// Allocates this part of a file, so that writes to it change no sizes and can be under way at the same time.
pub(crate) fn allocate(file: &File, offset: u64, len: u64) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
            return false;
        };
        // SAFETY: a plain call on an open file.
        unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, len) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, offset, len);
        false
    }
}

/// Asks for large pages where a value is about to be loaded: the first touch of new memory costs more than the copy. Every
/// byte will be written, so they waste nothing.
pub(crate) fn expect_writes(memory: &mut [u8]) {
    #[cfg(target_os = "linux")]
    {
        const FROM_BYTES: usize = 4 << 20;
        if memory.len() < FROM_BYTES {
            return;
        }
        let start = memory.as_mut_ptr().align_offset(ALIGN as usize);
        let len = (memory.len() - start) / ALIGN as usize * ALIGN as usize;
        let pages = memory[start..start + len].as_mut_ptr();
        // SAFETY: whole pages inside memory that is ours alone; the advice changes no content. If it is refused, the pages
        // stay small.
        unsafe {
            libc::madvise(pages.cast(), len, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Memory at an address that direct writes take: chunks that lie in it one behind the other, all but the last as long as
/// chunks are, are written without a copy.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// So many bytes, all zero.
    #[must_use]
    pub fn new(n_bytes: usize) -> Self {
        let mut bytes = vec![0; n_bytes + ALIGN as usize];
        let start = bytes.as_ptr().align_offset(ALIGN as usize);
        expect_writes(&mut bytes);
        Self {
            bytes,
            start,
            len: n_bytes,
        }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// Aligned memory that a chunk is copied to on its way to the disk.
#[derive(Debug)]
struct Bounce(Aligned);

impl Bounce {
    fn new() -> Self {
        Self(Aligned::new(CHUNK_BYTES))
    }

    /// The bytes, with zeros up to the next multiple of [`ALIGN`].
    fn fill(&mut self, content: &[u8]) -> &[u8] {
        let padded = content.len().next_multiple_of(ALIGN as usize);
        let place = &mut self.0[..padded];
        place[..content.len()].copy_from_slice(content);
        place[content.len()..].fill(0);
        place
    }
}

/// Keeps a few bounces between writes: new memory costs as much as the copy.
#[derive(Debug, Default)]
pub(crate) struct Bounces(Mutex<Vec<Bounce>>);

impl Bounces {
    const KEPT: usize = 4;

    /// Writes content (up to 1 MiB) past the page cache, padded with zeros.
    pub(crate) fn write(&self, file: &File, content: &[u8], offset: u64) -> io::Result<()> {
        let is_aligned = (content.as_ptr() as u64).is_multiple_of(ALIGN)
            && (content.len() as u64).is_multiple_of(ALIGN);
        if is_aligned {
            return write_aligned(file, content, offset);
        }
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().pop();
        let mut bounce = kept.unwrap_or_else(Bounce::new);
        let outcome = write_aligned(file, bounce.fill(content), offset);
        let mut kept = lock();
        if kept.len() < Self::KEPT {
            kept.push(bounce);
        }
        outcome
    }
}

/// `write_all_at`, but what a short write leaves starts at a multiple of [`ALIGN`] again.
fn write_aligned(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(n) if (n as u64) < ALIGN && n < bytes.len() => {
                // So little room is left that the disk is as good as full; the next attempt says how.
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            Ok(n) => {
                let n = if n < bytes.len() {
                    n - n % ALIGN as usize
                } else {
                    n
                };
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_in_aligned_memory_are_written_from_there() {
        let mut memory = Aligned::new(3 * CHUNK_BYTES + 5);
        assert_eq!(memory.len(), 3 * CHUNK_BYTES + 5);
        assert_eq!(memory.as_ptr() as u64 % ALIGN, 0);
        memory.fill(7);
        let path = std::env::temp_dir().join(format!("nbrewind-aligned-{}", uuid::Uuid::new_v4()));
        let (bounces, file) = (Bounces::default(), File::create(&path).unwrap());
        for (idx, chunk) in memory.chunks(CHUNK_BYTES).enumerate() {
            let offset = (idx * CHUNK_BYTES) as u64;
            bounces.write(&file, chunk, offset).unwrap();
        }
        // Only the last one, which is not a whole number of pages, was copied.
        assert_eq!(bounces.0.lock().unwrap().len(), 1);
        let found = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(found.starts_with(&memory));
        assert_eq!(found.len(), 3 * CHUNK_BYTES + ALIGN as usize);
    }

    #[test]
    fn a_bounce_is_aligned_and_padded_with_zeros() {
        let mut bounce = Bounce::new();
        for n_bytes in [CHUNK_BYTES, 1, 4096, 4097, 300_001] {
            let padded = bounce.fill(&vec![7; n_bytes]);
            assert_eq!(padded.as_ptr() as u64 % ALIGN, 0);
            assert_eq!(padded.len(), n_bytes.next_multiple_of(4096));
            assert!(padded[..n_bytes].iter().all(|&byte| byte == 7));
            assert!(padded[n_bytes..].iter().all(|&byte| byte == 0));
        }
    }
}
