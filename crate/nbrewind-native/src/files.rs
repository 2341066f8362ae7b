//! Digests of files, memoised.
//!
//! A digest is reused while size, times and inode are the same, with git's caution: a file that was changed so
//! recently that a second change could leave the same times is hashed again ("racily clean").

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;

/// What must be unchanged for a digest to be reused: device, inode, size, mtime and ctime in nanoseconds.
type Signature = (u64, u64, u64, i128, i128);

static MEMO: LazyLock<Mutex<HashMap<String, (Signature, String)>>> =
    LazyLock::new(|| Mutex::new(HashMap::new()));

/// Times this close to now may belong to a write that is not over.
const RACY: Duration = Duration::from_millis(50);

fn signature(metadata: &std::fs::Metadata) -> Signature {
    let nanoseconds =
        |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    )
}

fn digest_now(path: &str) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let before = signature(&file.metadata()?);
    if let Ok(memo) = MEMO.lock()
        && let Some((known, digest)) = memo.get(path)
        && *known == before
    {
        return Ok(digest.clone());
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n_read = file.read(&mut buffer)?;
        if n_read == 0 {
            break;
        }
        hasher.update(&buffer[..n_read]);
    }
    let digest = hasher.finalize().to_hex().to_string();
    let after = signature(&file.metadata()?);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let settled = now.saturating_sub(RACY).as_nanos() as i128;
    if before == after
        && after.3 < settled
        && after.4 < settled
        && let Ok(mut memo) = MEMO.lock()
    {
        memo.insert(path.to_owned(), (after, digest.clone()));
    }
    Ok(digest)
}

/// Blake3 digest of a file's content, 64 hex digits. Raises `OSError` when it cannot be read.
#[pyfunction]
pub fn file_digest(py: Python<'_>, path: String) -> PyResult<String> {
    Ok(py.detach(|| digest_now(&path))?)
}
