//! Killed at random moments, by the hard way: what was reported as durable is there, bit for bit, and nothing else is claimed.
//!
//! 20 rounds by default. The long run:
//! `NBREWIND_CRASH_ROUNDS=200 cargo test --release -p nbrewind-store --test crash -- --nocapture`.
#![allow(clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use common::{TempDir, child_dir, noise, open, spawn};
use nbrewind_store::{GcOptions, Store, StoreError};
use serde_json::json;

const REPORT: &str = "reported";

fn n_rounds() -> u64 {
    let text = std::env::var("NBREWIND_CRASH_ROUNDS");
    text.map_or(20, |text| {
        text.parse().expect("NBREWIND_CRASH_ROUNDS is a number")
    })
}

/// Another seed in every run; a failure names it.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("NBREWIND_CRASH_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0) | 1;
        eprintln!("NBREWIND_CRASH_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Small, packed, direct, and several chunks.
fn size_of(n: u64) -> usize {
    [300, 60_000, 400_000, 2_500_000][(n % 4) as usize] + (n * 37 % 1000) as usize
}

/// Tells the parent, after the commit returned.
fn report(dir: &Path, key: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.with_extension(REPORT))
        .unwrap();
    file.write_all(format!("{key}\n").as_bytes()).unwrap();
}

fn write_run(store: &Store, dir: &Path, key: &str, seed: u64, is_kept: bool) {
    let content = noise(seed, size_of(seed));
    let result = store.put(&content).and_then(|chunks| {
        let payload = json!({"len": content.len(), "seed": seed, "kept": is_kept});
        store.append("run", key, &payload, &chunks)?;
        store.commit()
    });
    result.unwrap();
    if is_kept {
        report(dir, key);
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn child_writes_and_reports() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    for n in 0.. {
        // Content comes again, also from other processes: it is deduplicated.
        let seed = n % 50;
        write_run(
            &store,
            &dir,
            &format!("{}-{n}", std::process::id()),
            seed,
            n % 3 == 0,
        );
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn child_cleans_up() {
    let Some(dir) = child_dir() else { return };
    loop {
        let store = open(&dir);
        let records = store.records("run", None).into_iter();
        let droppable = records.filter(|record| record.payload["kept"] == json!(false));
        let options = GcOptions {
            budget: Some(0),
            drop: droppable
                .map(|record| vec![(record.writer, record.seq)])
                .collect(),
            grace: Duration::from_millis(50),
            ..GcOptions::default()
        };
        match store.gc(&options) {
            Ok(_) | Err(StoreError::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every run that was reported is there, every run that is listed can be read, and all of it is what was stored.
fn check(dir: &Path, round: u64) -> usize {
    let store = open(dir);
    let reported = fs::read_to_string(dir.with_extension(REPORT)).unwrap_or_default();
    let listed: BTreeMap<String, _> = store
        .records("run", None)
        .into_iter()
        .map(|record| (record.key.clone(), record))
        .collect();
    // A line that the kill cut off was reported to nobody.
    let whole = reported.rfind('\n').map_or("", |end| &reported[..end]);
    for key in whole.lines() {
        assert!(
            listed.contains_key(key),
            "round {round}: {key} was durable and is lost"
        );
    }
    for (key, record) in &listed {
        let seed = record.payload["seed"].as_u64().unwrap();
        let content = store.get(&record.needs);
        let content = content.unwrap_or_else(|error| panic!("round {round}, {key}: {error}"));
        assert!(
            content == noise(seed, size_of(seed)),
            "round {round}, {key}: other content"
        );
    }
    assert_eq!(store.verify().unwrap(), [], "round {round}");
    listed.len()
}

fn kill(mut child: Child) {
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn await_reports(dir: &Path, before: usize) {
    let n_bytes = || fs::metadata(dir.with_extension(REPORT)).map_or(0, |found| found.len());
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while n_bytes() <= before as u64 {
        assert!(
            std::time::Instant::now() < end,
            "nothing was committed in a minute"
        );
        std::thread::yield_now();
    }
}

fn reported(dir: &Path) -> usize {
    fs::metadata(dir.with_extension(REPORT)).map_or(0, |found| found.len()) as usize
}

#[test]
fn a_kill_while_writing_loses_nothing_that_was_reported() {
    let dir = TempDir::new("crash-write");
    let path = dir.path().join("store");
    let mut random = Random::new();
    for round in 0..n_rounds() {
        let before = reported(&path);
        let child = spawn("child_writes_and_reports", &path);
        // Some are killed while they start.
        if round % 5 != 4 {
            await_reports(&path, before);
        }
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        kill(child);
        if round % 5 != 4 || path.join("format.json").exists() {
            assert!(check(&path, round) > 0 || round % 5 == 4);
        }
    }
}

#[test]
fn a_kill_while_cleaning_up_loses_nothing_that_was_reported() {
    let dir = TempDir::new("crash-gc");
    let path = dir.path().join("store");
    let mut random = Random::new();
    for round in 0..n_rounds() {
        let before = reported(&path);
        let writer = spawn("child_writes_and_reports", &path);
        await_reports(&path, before);
        let cleaners = [0, 1].map(|_| spawn("child_cleans_up", &path));
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        // Half of the time the cleaners go on alone for a while: then they delete at once.
        if round % 2 == 0 {
            kill(writer);
            std::thread::sleep(Duration::from_micros(random.below(150_000)));
            cleaners.into_iter().for_each(kill);
        } else {
            cleaners.into_iter().for_each(kill);
            kill(writer);
        }
        check(&path, round);
    }
    // What is left is cleaned up by one that is not killed.
    let store = open(&path);
    store.gc(&GcOptions::default()).unwrap();
    drop(store);
    check(&path, n_rounds());
}
