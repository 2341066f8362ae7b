//! Cleaning up: what goes, what stays, and that nobody who works meanwhile loses anything.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{TempDir, check_all_readable, keys, noise, open, record, spawn, writers};
use nbrewind_store::{Access, GcOptions, Mode, Store, StoreError};
use serde_json::json;

const MIB: usize = 1 << 20;

/// A process that wrote these records and ended.
fn session(dir: &Path, keys: &[(&str, u64, usize)]) {
    let store = open(dir);
    for (key, seed, n_bytes) in keys {
        record(&store, "run", key, &noise(*seed, *n_bytes));
    }
}

fn ids(store: &Store, keys: &[&str]) -> Vec<(String, u64)> {
    let records = store.records("run", None);
    let of_key = |key: &&str| {
        let found = records.iter().filter(|record| record.key == *key);
        found
            .map(|record| (record.writer.clone(), record.seq))
            .collect::<Vec<_>>()
    };
    keys.iter().flat_map(of_key).collect()
}

/// Drops these records, whatever the budget.
fn drop_all(store: &Store, keys: &[&str]) -> GcOptions {
    GcOptions {
        budget: Some(0),
        drop: vec![ids(store, keys)],
        ..GcOptions::default()
    }
}

fn size(dir: &Path) -> u64 {
    let files = writers(dir)
        .into_iter()
        .flat_map(|dir| fs::read_dir(dir).unwrap());
    files
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn without_a_budget_only_garbage_goes() {
    let dir = TempDir::new("gc-garbage");
    session(dir.path(), &[("a", 1, 3 * MIB), ("b", 2, 1000)]);
    let killed = dir
        .path()
        .join("writers")
        .join(uuid::Uuid::new_v4().to_string());
    fs::create_dir(&killed).unwrap();
    fs::write(killed.join("pack-000000"), noise(3, 100_000)).unwrap();
    let before = size(dir.path());
    let store = open(dir.path());
    let report = store.gc(&GcOptions::default()).unwrap();
    assert_eq!(keys(&store, "run"), ["a", "b"]);
    assert_eq!((report.n_deleted_writers, report.n_waiting_writers), (1, 0));
    assert_eq!(report.bytes_before, before);
    assert!(!killed.exists());
    assert!(report.bytes_after < before - 90_000, "{report:?}");
    assert_eq!(check_all_readable(&open(dir.path())), 2);
    assert_eq!(
        store.gc(&GcOptions::default()).unwrap().n_deleted_writers,
        0
    );
}

#[test]
fn a_budget_drops_groups_in_order_until_the_rest_fits() {
    let dir = TempDir::new("gc-budget");
    session(dir.path(), &[("a", 1, MIB), ("b", 2, MIB), ("c", 3, MIB)]);
    // Another record needs what `a` needs.
    session(dir.path(), &[("same", 1, MIB), ("d", 4, 2 * MIB)]);
    let store = open(dir.path());
    let mut options = GcOptions {
        budget: Some(4 * MIB as u64 + 10_000),
        drop: ["a", "b", "d", "c"].map(|key| ids(&store, &[key])).into(),
        ..GcOptions::default()
    };
    options.is_dry_run = true;
    let planned = store.gc(&options).unwrap();
    assert_eq!(keys(&store, "run"), ["a", "b", "c", "same", "d"]);
    options.is_dry_run = false;
    let report = store.gc(&options).unwrap();
    assert_eq!(keys(&store, "run"), ["c", "same", "d"]);
    assert_eq!(report.n_retired, BTreeMap::from([("run".to_owned(), 2)]));
    assert_eq!(planned.n_retired, report.n_retired);
    assert_eq!(report.over_budget_bytes, 0);
    assert!(
        size(dir.path()) <= 4 * MIB as u64 + 10_000,
        "{}",
        size(dir.path())
    );
    assert!(
        planned.bytes_after.abs_diff(report.bytes_after) < 10_000,
        "{planned:?} {report:?}"
    );
    for store in [&store, &open(dir.path())] {
        assert_eq!(check_all_readable(store), 3);
        assert_eq!(store.verify().unwrap(), []);
        assert_eq!(store.stats().n_missing_chunks, 0);
    }
    // What the caller does not offer stays, and the report says by how much that is too much.
    let options = GcOptions {
        budget: Some(MIB as u64),
        ..GcOptions::default()
    };
    let report = store.gc(&options).unwrap();
    assert!(
        report.over_budget_bytes > 3 * MIB as u64 - 10_000,
        "{report:?}"
    );
    assert_eq!(check_all_readable(&store), 3);
}

#[test]
fn what_moved_keeps_its_order_its_times_and_its_payload() {
    let dir = TempDir::new("gc-order");
    for n in 0..20 {
        session(dir.path(), &[(&format!("{n}"), n, 3_000)]);
    }
    let list = |store: &Store| {
        let records = store.records("run", None).into_iter();
        records
            .map(|r| (r.key, r.time_ns, r.payload, r.needs))
            .collect::<Vec<_>>()
    };
    let store = open(dir.path());
    let before = list(&store);
    let report = store.gc(&GcOptions::default()).unwrap();
    assert_eq!(report.n_moved_writers, 20, "many small writers become one");
    assert_eq!(list(&store), before);
    assert_eq!(writers(dir.path()).len(), 1);
    let again = open(dir.path());
    assert_eq!(list(&again), before);
    assert_eq!(check_all_readable(&again), 20);
    assert_eq!(again.verify().unwrap(), []);
    drop((store, again));
    // And once more, when the first mover is gone, too.
    for n in 20..40 {
        session(dir.path(), &[(&format!("{n}"), n, 3_000)]);
    }
    let store = open(dir.path());
    store.gc(&GcOptions::default()).unwrap();
    assert_eq!(check_all_readable(&store), 40);
    assert_eq!(list(&open(dir.path()))[..20], before);
}

#[test]
fn full_packs_move_without_a_copy() {
    let dir = TempDir::new("gc-link");
    session(dir.path(), &[("big", 1, 40 * MIB)]);
    for n in 0..8 {
        session(dir.path(), &[(&format!("{n}"), 2 + n, 3_000)]);
    }
    let inodes = || {
        use std::os::unix::fs::MetadataExt;
        let packs = writers(dir.path())
            .into_iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap());
        let found = packs.map(|entry| entry.unwrap().metadata().unwrap());
        found
            .filter(|m| m.len() > 16 << 20)
            .map(|m| m.ino())
            .collect::<Vec<_>>()
    };
    let before = inodes();
    let store = open(dir.path());
    store.gc(&GcOptions::default()).unwrap();
    assert_eq!(inodes(), before);
    assert_eq!(writers(dir.path()).len(), 1);
    assert_eq!(check_all_readable(&open(dir.path())), 9);
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
fn while_others_have_the_store_open_nothing_is_deleted_before_the_grace_is_over() {
    let dir = TempDir::new("gc-grace");
    session(dir.path(), &[("a", 1, MIB), ("b", 2, MIB)]);
    let kernel = open(dir.path());
    let (a, b) = (
        kernel.records("run", Some("a")),
        kernel.records("run", Some("b")),
    );
    let store = open(dir.path());
    let mut options = drop_all(&store, &["a", "b"]);
    options.grace = Duration::from_secs(3600);
    let report = store.gc(&options).unwrap();
    assert_eq!((report.n_deleted_writers, report.n_waiting_writers), (0, 1));
    assert!(report.waiting > Duration::from_secs(3500) && report.waiting_bytes > 2 * MIB as u64);
    assert_eq!(keys(&store, "run"), Vec::<String>::new());

    // The kernel has not looked since, and counts on the content of `a`.
    assert_eq!(kernel.put(&noise(1, MIB)).unwrap(), a[0].needs);
    kernel
        .append("run", "again", &json!({"len": MIB}), &a[0].needs)
        .unwrap();
    kernel.commit().unwrap();
    // A plain reader can still load the rest.
    assert!(kernel.get(&b[0].needs).unwrap() == noise(2, MIB));
    assert_eq!(store.retired_records("run").len(), 2);

    // The record of `b` turns out to be needed, and comes back.
    options.grace = Duration::ZERO;
    (options.drop, options.revive) = (Vec::new(), vec![(b[0].writer.clone(), b[0].seq)]);
    let report = store.gc(&options).unwrap();
    assert_eq!((report.n_deleted_writers, report.n_waiting_writers), (1, 0));
    for store in [&kernel, &store, &open(dir.path())] {
        store.refresh().unwrap();
        assert_eq!(keys(store, "run"), ["b", "again"]);
        assert_eq!(check_all_readable(store), 2);
        assert_eq!(store.stats().n_missing_chunks, 0);
    }
}

#[test]
fn a_record_that_was_committed_to_what_is_condemned_is_found_in_time() {
    let dir = TempDir::new("gc-late");
    session(dir.path(), &[("a", 1, MIB)]);
    let store = open(dir.path());
    let needs = store.records("run", Some("a"))[0].needs.clone();
    let _other = open(dir.path());
    let mut options = drop_all(&store, &["a"]);
    options.grace = Duration::from_secs(3600);
    store.gc(&options).unwrap();
    // As a commit does that had looked before, and wrote after: its log names chunks of the condemned writer. The folder
    // for the lease is hidden meanwhile, so that the commit does not look.
    let away = dir.path().join("away");
    fs::rename(dir.path().join("gc"), &away).unwrap();
    let log = writers(dir.path())
        .into_iter()
        .find(|path| path.ends_with(store.writer_id().unwrap()))
        .unwrap()
        .join("log");
    let ours = fs::read(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let late = open(dir.path());
    late.append("run", "late", &json!({"len": MIB}), &needs)
        .unwrap();
    late.commit().unwrap();
    fs::write(&log, ours).unwrap();
    fs::rename(&away, dir.path().join("gc")).unwrap();
    drop(store);

    let store = open(dir.path());
    options.grace = Duration::ZERO;
    options.drop.clear();
    let report = store.gc(&options).unwrap();
    assert_eq!(
        report.n_deleted_writers, 2,
        "the condemned one, and the first cleaner's: {report:?}"
    );
    assert_eq!(keys(&store, "run"), ["late"]);
    assert_eq!(check_all_readable(&open(dir.path())), 1);
}

#[test]
fn live_writers_are_left_alone() {
    let dir = TempDir::new("gc-live");
    let kernel = open(dir.path());
    record(&kernel, "run", "mine", &noise(1, MIB));
    session(dir.path(), &[("gone", 2, MIB)]);
    let store = open(dir.path());
    assert_eq!(store.live_writers().unwrap(), [kernel.writer_id().unwrap()]);
    let report = store.gc(&drop_all(&store, &["mine", "gone"])).unwrap();
    assert_eq!(keys(&store, "run"), ["mine"]);
    assert_eq!((report.n_live_writers, report.n_retired["run"]), (1, 1));
    record(&kernel, "run", "more", &noise(3, MIB));
    store.refresh().unwrap();
    assert_eq!(check_all_readable(&store), 2);
}

#[test]
fn one_cleans_at_a_time_and_the_lease_of_a_dead_one_is_taken() {
    let dir = TempDir::new("gc-lease");
    session(dir.path(), &[("a", 1, 1000)]);
    let store = open(dir.path());
    store.gc(&GcOptions::default()).unwrap();
    let held = dir
        .path()
        .join("gc")
        .join(format!("held-{}", uuid::Uuid::new_v4()));
    fs::rename(dir.path().join("gc/free"), &held).unwrap();
    // Somebody without locks holds it, and lives.
    let refused = store.gc(&GcOptions::default());
    assert!(
        matches!(refused, Err(StoreError::Busy { .. })),
        "{refused:?}"
    );
    // Somebody with a lock held it, and is gone.
    let locked = dir
        .path()
        .join("gc")
        .join(format!("held-locked-{}", uuid::Uuid::new_v4()));
    fs::rename(&held, &locked).unwrap();
    store.gc(&GcOptions::default()).unwrap();
    assert!(dir.path().join("gc/free").exists() && !locked.exists());
    // Somebody without locks held it two hours ago.
    fs::rename(dir.path().join("gc/free"), &held).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7_200);
    fs::File::options()
        .write(true)
        .open(&held)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    store.gc(&GcOptions::default()).unwrap();
    assert_eq!(check_all_readable(&store), 1);
}

#[test]
fn without_locks_a_writer_is_finished_after_a_week() {
    let dir = TempDir::new("gc-network");
    let open = || Store::open_as(dir.path(), Mode::ReadWrite, Access::Network).unwrap();
    let kernel = open();
    record(&kernel, "run", "a", &noise(1, 2 * MIB));
    let store = open();
    let options = drop_all(&store, &["a"]);
    assert_eq!(store.gc(&options).unwrap().n_retired, BTreeMap::new());
    let week_ago = std::time::SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    for writer in writers(dir.path()) {
        for path in [writer.join("log"), writer] {
            fs::File::open(path)
                .unwrap()
                .set_modified(week_ago)
                .unwrap();
        }
    }
    let mut options = drop_all(&store, &["a"]);
    options.grace = Duration::from_secs(3600);
    assert_eq!(store.gc(&options).unwrap().n_retired["run"], 1);
    // It slept, and comes back: a new writer, and nothing that it says is durable is lost.
    let before = kernel.writer_id();
    kernel.refresh().unwrap();
    record(&kernel, "run", "b", &noise(1, 2 * MIB));
    assert_ne!(kernel.writer_id(), before);
    options.grace = Duration::ZERO;
    store.gc(&options).unwrap();
    for store in [&store, &kernel, &open()] {
        store.refresh().unwrap();
        assert_eq!(keys(store, "run"), ["b"]);
        assert_eq!(check_all_readable(store), 1);
    }
}

#[test]
fn a_clock_that_was_set_back_only_delays() {
    let dir = TempDir::new("gc-clock");
    session(dir.path(), &[("a", 1, MIB)]);
    let _other = open(dir.path());
    let store = open(dir.path());
    let mut options = drop_all(&store, &["a"]);
    options.grace = Duration::from_secs(3600);
    store.gc(&options).unwrap();
    // Nothing here goes by the clock of the machine alone: the same again waits as before.
    let report = store.gc(&options).unwrap();
    assert_eq!((report.n_deleted_writers, report.n_waiting_writers), (0, 1));
}

#[test]
#[ignore = "a process that other tests start"]
fn child_cleans_up_again_and_again() {
    let Some(dir) = common::child_dir() else {
        return;
    };
    let end = dir.join("end");
    while !end.exists() {
        let store = open(&dir);
        let mut all: Vec<_> = store.records("run", None);
        let newest = all.split_off(all.len().saturating_sub(10));
        assert!(newest.len() <= 10);
        let options = GcOptions {
            budget: Some(2 * MIB as u64),
            drop: all.into_iter().map(|r| vec![(r.writer, r.seq)]).collect(),
            grace: Duration::from_millis(300),
            ..GcOptions::default()
        };
        match store.gc(&options) {
            Ok(_) | Err(StoreError::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn writers_go_on_while_others_clean_up_and_lose_nothing() {
    let dir = TempDir::new("gc-concurrent");
    drop(open(dir.path()));
    let mut cleaners: Vec<_> = (0..2)
        .map(|_| spawn("child_cleans_up_again_and_again", dir.path()))
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let dir = dir.path();
            scope.spawn(move || {
                for round in 0..15 {
                    // Each is a kernel that ends after a while; they store much the same.
                    let store = open(dir);
                    for n in 0..10 {
                        let key = format!("{thread}-{round}-{n}");
                        let content = noise((round + n) % 7, 150_000);
                        let chunks = record(&store, "run", &key, &content);
                        store.refresh().unwrap();
                        // It lives, so its records do.
                        let mine = store.records("run", Some(&key));
                        assert_eq!(mine.len(), 1, "{key}");
                        assert!(store.get(&chunks).unwrap() == content);
                    }
                }
            });
        }
    });
    fs::write(dir.path().join("end"), "").unwrap();
    for cleaner in &mut cleaners {
        assert!(cleaner.wait().unwrap().success());
    }
    let store = open(dir.path());
    assert!(check_all_readable(&store) >= 10);
    assert_eq!(store.verify().unwrap(), []);
}
