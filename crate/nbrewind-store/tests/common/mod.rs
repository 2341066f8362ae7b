//! What the suites share: fresh folders, content, and this binary as a child process.
#![allow(dead_code, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nbrewind_store::{Fingerprint, Mode, Store};

/// A folder that is removed at the end of the test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let unique = format!("nbrewind-store-{name}-{}", uuid::Uuid::new_v4());
        let dir = std::env::temp_dir().join(unique);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn open(dir: &Path) -> Store {
    Store::open(dir, Mode::ReadWrite).unwrap()
}

/// Bytes without structure that differ by seed, the same in every run.
pub fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Stores and commits some content under a record.
pub fn record(store: &Store, kind: &str, key: &str, content: &[u8]) -> Vec<Fingerprint> {
    let chunks = store.put(content).unwrap();
    store
        .append(
            kind,
            key,
            &serde_json::json!({ "len": content.len() }),
            &chunks,
        )
        .unwrap();
    store.commit().unwrap();
    chunks
}

/// The keys of the listed records of a kind, oldest first.
pub fn keys(store: &Store, kind: &str) -> Vec<String> {
    store
        .records(kind, None)
        .into_iter()
        .map(|record| record.key)
        .collect()
}

/// The folders of the writers, sorted.
pub fn writers(dir: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<_> = std::fs::read_dir(dir.join("writers"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    dirs.sort();
    dirs
}

/// The folder of the only writer.
pub fn only_writer(dir: &Path) -> PathBuf {
    let dirs = writers(dir);
    assert_eq!(dirs.len(), 1, "{dirs:?}");
    dirs[0].clone()
}

/// Every record's chunks can be read; returns the number of records.
pub fn check_all_readable(store: &Store) -> usize {
    let mut n_records = 0;
    for kind in store.kinds() {
        for record in store.records(&kind, None) {
            let content = store
                .get(&record.needs)
                .unwrap_or_else(|error| panic!("{kind} {}: {error}", record.key));
            assert_eq!(
                record.payload["len"],
                content.len(),
                "{kind} {}",
                record.key
            );
            n_records += 1;
        }
    }
    n_records
}

const CHILD_DIR: &str = "NBREWIND_STORE_TEST_DIR";

/// Starts an ignored test of this binary as a process of its own, on this folder.
pub fn spawn(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The folder that [`spawn`] passed; None when somebody runs all ignored tests by hand.
pub fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIR).map(PathBuf::from)
}
