//! Several processes and one store: at the same time, after a fork, after a kill, on a full disk.

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{
    TempDir, check_all_readable, child_dir, keys, noise, only_writer, open, record, spawn, writers,
};
use nbrewind_store::{Store, StoreError};
use serde_json::json;

#[test]
fn two_handles_see_each_others_commits_after_a_refresh() {
    let dir = TempDir::new("refresh");
    let (one, two) = (open(dir.path()), open(dir.path()));
    let chunks = record(&one, "run", "a", b"content of a");
    assert!(!two.has(&chunks[0]));
    two.refresh().unwrap();
    assert_eq!(two.get(&chunks).unwrap(), b"content of a");
    assert_eq!(keys(&two, "run"), ["a"]);
    record(&two, "run", "b", b"content of b");
    record(&one, "run", "c", b"content of c");
    for store in [&one, &two] {
        store.refresh().unwrap();
        assert_eq!(keys(store, "run"), ["a", "b", "c"]);
        assert_eq!(store.stats().n_writers, 2);
    }
    // What both stored before they saw each other is there twice and counts once.
    record(&one, "run", "d", b"same");
    record(&two, "run", "e", b"same");
    one.refresh().unwrap();
    assert_eq!(one.stats().n_chunks, 4);
    fs::remove_dir_all(dir.path().join("writers").join(two.writer_id().unwrap())).unwrap();
    one.refresh().unwrap();
    assert_eq!(keys(&one, "run"), ["a", "c", "d"]);
    assert_eq!(check_all_readable(&one), 3);
}

#[test]
#[ignore = "a process that other tests start"]
fn child_writes_fifty_records() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    for n in 0..50 {
        record(
            &store,
            "run",
            &format!("{}-{n}", std::process::id()),
            &noise(n, 20_000),
        );
    }
}

#[test]
fn processes_write_at_the_same_time() {
    let dir = TempDir::new("processes");
    // They also create the store at the same time.
    let children: Vec<_> = (0..4)
        .map(|_| spawn("child_writes_fifty_records", dir.path()))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = open(dir.path());
    assert_eq!(check_all_readable(&store), 200);
    assert_eq!(store.stats().n_chunks, 50);
    assert_eq!(writers(dir.path()).len(), 4);
    assert_eq!(store.verify().unwrap(), []);
}

/// Runs `work` in a forked child and returns its exit status.
fn in_fork(work: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child runs `work`, which takes no lock that a thread of the parent may hold (malloc's are reset by
    // libc), and leaves without running anybody's exit handlers.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: plain calls; the alarm ends a child that hangs.
        unsafe {
            libc::alarm(60);
            libc::_exit(if work() { 0 } else { 1 });
        }
    }
    let mut status = 0;
    // SAFETY: `pid` is our child and `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

fn write_in_child(store: &Store, key: &str) -> Result<(), StoreError> {
    let content = noise(7, 3_000);
    let chunks = store.put(&content)?;
    store.append("run", key, &json!({"len": content.len()}), &chunks)?;
    store.commit()
}

#[test]
#[ignore = "a process that other tests start"]
fn child_forks() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    record(&store, "run", "before", b"before");
    let pending = store.put(b"pending").unwrap();
    store
        .append("run", "pending", &json!({"len": 7}), &pending)
        .unwrap();
    let parent = store.writer_id();

    let status = in_fork(|| {
        // The parent's buffer is not the child's; what the parent committed is.
        let mut good = store.writer_id().is_none()
            && !store.has(&pending[0])
            && keys(&store, "run") == ["before"];
        good &= write_in_child(&store, "child").is_ok();
        good &= store.writer_id().is_some() && store.writer_id() != parent;
        good &= in_fork(|| {
            write_in_child(&store, "grandchild").is_ok() && keys(&store, "run").len() == 3
        }) == 0;
        good && keys(&store, "run") == ["before", "child"]
    });
    assert_eq!(status, 0);

    store.commit().unwrap();
    assert_eq!(store.writer_id(), parent);
    store.refresh().unwrap();
    assert_eq!(store.record_count("run"), 4);
    assert_eq!(check_all_readable(&store), 4);
}

#[test]
fn a_forked_child_is_a_new_writer_and_loses_nothing_of_its_parents() {
    let dir = TempDir::new("fork");
    assert!(spawn("child_forks", dir.path()).wait().unwrap().success());
    let store = open(dir.path());
    assert_eq!(check_all_readable(&store), 4);
    assert_eq!(writers(dir.path()).len(), 3);
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
#[ignore = "a process that other tests start"]
fn child_forks_while_a_thread_commits() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                record(&store, "parent", &format!("{n}"), &noise(n, 2_000));
                n += 1;
            }
            n
        });
        // Most forks find the locks taken.
        for n in 0..30 {
            assert_eq!(
                in_fork(|| write_in_child(&store, &format!("{n}")).is_ok()),
                0,
                "fork {n}"
            );
        }
        done.store(true, Ordering::Relaxed);
        let n_written = writing.join().unwrap();
        store.refresh().unwrap();
        assert_eq!(
            (store.record_count("parent"), store.record_count("run")),
            (n_written, 30)
        );
    });
}

#[test]
fn a_fork_while_another_thread_commits_does_not_hang() {
    let dir = TempDir::new("fork-threads");
    assert!(
        spawn("child_forks_while_a_thread_commits", dir.path())
            .wait()
            .unwrap()
            .success()
    );
    let store = open(dir.path());
    assert!(check_all_readable(&store) > 30);
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
#[ignore = "a process that other tests start"]
fn child_writes_until_killed() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    for n in 0.. {
        let content = noise(n % 37, 1 + (n as usize * 7919) % 300_000);
        let chunks = store.put(&content).unwrap();
        for part in 0..n % 5 {
            store
                .append(
                    "task",
                    &format!("{n}-{part}"),
                    &json!({"len": content.len()}),
                    &chunks,
                )
                .unwrap();
        }
        store
            .append(
                "run",
                &format!("{n}"),
                &json!({"len": content.len()}),
                &chunks,
            )
            .unwrap();
        store.commit().unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_costs_only_the_commit_in_progress() {
    let dir = TempDir::new("kill");
    drop(open(dir.path()));
    let mut n_before = 0;
    for round in 0..12 {
        let mut child = spawn("child_writes_until_killed", dir.path());
        // The child is killed at some moment after its first commits; the moment differs from round to round.
        let log_grew = || {
            let sizes = writers(dir.path())
                .into_iter()
                .filter_map(|dir| fs::metadata(dir.join("log")).ok());
            sizes.map(|metadata| metadata.len()).sum::<u64>()
        };
        let start = log_grew();
        while log_grew() < start + 1_000 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the child must not end by itself"
            );
            std::thread::yield_now();
        }
        std::thread::park_timeout(Duration::from_micros(3_700 * round));
        child.kill().unwrap();
        child.wait().unwrap();

        let store = open(dir.path());
        let n_records = check_all_readable(&store);
        assert!(n_records > n_before, "round {round}");
        assert_eq!(store.verify().unwrap(), [], "round {round}");
        // Within one writer the runs have no gaps: no commit that a later one followed is lost.
        for writer in writers(dir.path()) {
            let id = writer.file_name().unwrap().to_string_lossy().into_owned();
            let runs = store
                .records("run", None)
                .into_iter()
                .filter(|record| record.writer == id);
            runs.enumerate()
                .for_each(|(n, record)| assert_eq!(record.key, format!("{n}")));
        }
        n_before = n_records;
    }
}

fn limit_file_size(n_bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: n_bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: plain calls with a valid pointer; without the signal the write fails with EFBIG.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn child_runs_out_of_room() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    record(&store, "run", "before", &noise(0, 10_000));
    let log_path = only_writer(&dir).join("log");
    let pack_path = only_writer(&dir).join("pack-000000");
    let len = |path| fs::metadata(path).unwrap().len();
    let log_len = len(&log_path);

    // No room in the pack: the put fails, what was put before stays.
    limit_file_size(100_000);
    let small = store.put(&noise(1, 20_000)).unwrap();
    let error = store.put(&noise(2, 500_000)).unwrap_err();
    assert!(
        matches!(&error, StoreError::DiskFull { path } if *path == pack_path),
        "{error}"
    );
    assert!(
        error.to_string().contains("free some space and run again"),
        "{error}"
    );
    assert_eq!(
        len(&pack_path),
        30_000,
        "the half-written chunk takes no room"
    );
    assert!(store.get(&small).unwrap() == noise(1, 20_000));
    store
        .append("run", "small", &json!({"len": 20_000}), &small)
        .unwrap();
    store.commit().unwrap();
    assert_eq!(keys(&store, "run"), ["before", "small"]);

    // No room in the log: the commit fails as a whole.
    let lost = store.put(&noise(3, 1_000)).unwrap();
    store
        .append(
            "run",
            "lost",
            &json!({"len": 1_000, "text": "x".repeat(200_000)}),
            &lost,
        )
        .unwrap();
    let before = len(&log_path);
    assert!(before > log_len);
    let error = store.commit().unwrap_err();
    assert!(
        matches!(&error, StoreError::DiskFull { path } if *path == log_path),
        "{error}"
    );
    assert_eq!((len(&log_path), len(&pack_path)), (before, 30_000));
    assert!(
        !store.has(&lost[0]),
        "a chunk of a failed commit must be stored again"
    );
    assert_eq!(keys(&store, "run"), ["before", "small"]);

    // Later commits work, with the same content, too.
    record(&store, "run", "after", &noise(3, 1_000));
    limit_file_size(libc::RLIM_INFINITY);
    record(&store, "run", "room", &noise(2, 500_000));
    assert_eq!(check_all_readable(&store), 4);

    // A new writer that cannot even write the header of its log.
    let other = open(&dir);
    limit_file_size(20);
    other
        .append("run", "header", &json!({"len": 0}), &[])
        .unwrap();
    assert!(matches!(other.commit(), Err(StoreError::DiskFull { .. })));
    limit_file_size(libc::RLIM_INFINITY);
    record(&other, "run", "last", b"last");
    assert_eq!(check_all_readable(&other), 5);
}

#[test]
fn a_full_disk_is_told_and_costs_only_the_commit_that_did_not_fit() {
    let dir = TempDir::new("full");
    assert!(
        spawn("child_runs_out_of_room", dir.path())
            .wait()
            .unwrap()
            .success()
    );
    let store = open(dir.path());
    assert_eq!(
        keys(&store, "run"),
        ["before", "small", "after", "room", "last"]
    );
    assert_eq!(check_all_readable(&store), 5);
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
#[ignore = "a process that other tests start"]
fn child_cannot_create_a_store() {
    let Some(dir) = child_dir() else { return };
    limit_file_size(0);
    let error = Store::open(&dir.join("store"), nbrewind_store::Mode::ReadWrite).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    limit_file_size(libc::RLIM_INFINITY);
    record(&open(&dir.join("store")), "run", "a", b"a");
}

#[test]
fn a_store_that_could_not_be_created_can_be_created_later() {
    let dir = TempDir::new("create-full");
    assert!(
        spawn("child_cannot_create_a_store", dir.path())
            .wait()
            .unwrap()
            .success()
    );
    assert_eq!(check_all_readable(&open(&dir.path().join("store"))), 1);
}
