//! What readers make of logs and packs that are torn, damaged, or of another version. The frames that this suite makes
//! itself follow `docs/format.md`, not the code.

mod common;

use std::fs;
use std::path::Path;

use common::{TempDir, check_all_readable, keys, noise, only_writer, open, record};
use nbrewind_store::{DamageKind, Fingerprint, Mode, Store, StoreError};
use serde_json::json;

const HEADER_FRAME_BYTES: usize = 12 + 30 + 32;

/// A frame as `docs/format.md` describes it.
fn frame(offset: u64, payload: &[u8]) -> Vec<u8> {
    let sum = |bytes: &[u8]| *blake3::hash(&[&offset.to_le_bytes(), bytes].concat()).as_bytes();
    let mut frame = [b"NBRF", &(payload.len() as u32).to_le_bytes()[..]].concat();
    frame.extend(&sum(&frame)[..4]);
    frame.extend(payload);
    frame.extend(sum(&frame));
    frame
}

/// The payload of a commit with one note and no chunks.
fn note(seq: u64, key: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let mut payload = [&[2][..], &0u32.to_le_bytes(), &1u32.to_le_bytes()].concat();
    payload.extend(seq.to_le_bytes());
    payload.extend((1_000 + seq).to_le_bytes());
    payload.extend([text("note"), text(key)].concat());
    payload.extend(0u32.to_le_bytes());
    payload.extend(text("{\"len\":0}"));
    payload
}

fn header(version: u32, writer: uuid::Uuid) -> Vec<u8> {
    [
        &[1][..],
        &version.to_le_bytes(),
        writer.as_bytes(),
        &5u64.to_le_bytes(),
    ]
    .concat()
}

/// A writer whose log consists of these payloads.
fn write_log(dir: &Path, writer: uuid::Uuid, payloads: &[Vec<u8>]) -> std::path::PathBuf {
    let mut log = Vec::new();
    for payload in payloads {
        log.extend(frame(log.len() as u64, payload));
    }
    let path = dir.join("writers").join(writer.to_string());
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("log"), log).unwrap();
    path.join("log")
}

#[test]
fn a_log_made_by_the_format_document_is_read() {
    let dir = TempDir::new("by-hand");
    let store = open(dir.path());
    let writer = uuid::Uuid::new_v4();
    let skipped = vec![200, 1, 2, 3];
    write_log(
        dir.path(),
        writer,
        &[
            [header(1, writer), vec![9; 50]].concat(),
            note(0, "a"),
            skipped,
            note(1, "b"),
        ],
    );
    store.refresh().unwrap();
    assert_eq!(keys(&store, "note"), ["a", "b"]);
    assert_eq!(store.records("note", None)[1].time_ns, 1_001);
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
fn a_clock_that_was_set_back_does_not_make_new_records_old() {
    let dir = TempDir::new("clock");
    let writer = uuid::Uuid::new_v4();
    // As a kernel wrote it whose clock was a century ahead.
    let mut ahead = note(0, "ahead");
    ahead[17..25].copy_from_slice(&7_000_000_000_000_000_000u64.to_le_bytes());
    drop(open(dir.path()));
    write_log(dir.path(), writer, &[header(1, writer), ahead]);
    let store = open(dir.path());
    record(&store, "note", "b", b"b");
    record(&open(dir.path()), "note", "c", b"c");
    store.refresh().unwrap();
    record(&store, "note", "d", b"d");
    for store in [&store, &open(dir.path())] {
        assert_eq!(keys(store, "note"), ["ahead", "b", "c", "d"]);
    }
}

#[test]
fn what_the_format_document_calls_retired_and_condemned_is_so() {
    let dir = TempDir::new("by-hand-gc");
    let (writer, other) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let store = open(dir.path());
    let chunks = record(&store, "note", "mine", b"content");
    let mine = store.writer_id().unwrap();
    write_log(
        dir.path(),
        writer,
        &[header(1, writer), note(0, "a"), note(1, "b")],
    );
    let retired = [
        &[129, 1, 0, 0, 0][..],
        writer.as_bytes(),
        &0u64.to_le_bytes(),
    ]
    .concat();
    let mine_bytes = *uuid::Uuid::parse_str(&mine).unwrap().as_bytes();
    let condemned = [
        &[128, 1, 0, 0, 0][..],
        &mine_bytes,
        &u32::MAX.to_le_bytes(),
        &7u64.to_le_bytes(),
    ]
    .concat();
    write_log(dir.path(), other, &[header(1, other), retired, condemned]);
    let again = open(dir.path());
    assert_eq!(keys(&again, "note"), ["b", "mine"]);
    assert_eq!(again.retired_records("note")[0].key, "a");
    // It can be read as long as it is there, but nobody counts on it.
    assert_eq!(again.get(&chunks).unwrap(), b"content");
    assert!(!again.has(&chunks[0]));
    assert_eq!(again.verify().unwrap(), []);
}

#[test]
fn the_bytes_of_a_chunk_lie_where_the_format_document_says() {
    let dir = TempDir::new("bytes");
    record(&open(dir.path()), "run", "key", b"content");
    let writer = only_writer(dir.path());
    assert_eq!(fs::read(writer.join("pack-000000")).unwrap(), b"content");
    let log = fs::read(writer.join("log")).unwrap();
    let payload = &log[HEADER_FRAME_BYTES + 12..log.len() - 32];
    assert_eq!(
        frame(HEADER_FRAME_BYTES as u64, payload),
        log[HEADER_FRAME_BYTES..]
    );
    let mut expected = [&[2, 1, 0, 0, 0][..], Fingerprint::of(b"content").as_bytes()].concat();
    expected.extend(
        [
            &0u32.to_le_bytes()[..],
            &0u64.to_le_bytes(),
            &7u32.to_le_bytes(),
            &7u32.to_le_bytes(),
            &[0],
        ]
        .concat(),
    );
    assert_eq!(&payload[..expected.len()], expected);
}

#[test]
fn a_torn_last_frame_costs_only_itself() {
    let dir = TempDir::new("torn");
    let store = open(dir.path());
    let first = record(&store, "run", "first", &noise(1, 5_000));
    let log_path = only_writer(dir.path()).join("log");
    let older = fs::metadata(&log_path).unwrap().len() as usize;
    let last = record(&store, "run", "last", &noise(2, 5_000));
    drop(store);
    let log = fs::read(&log_path).unwrap();
    for length in 0..=log.len() {
        fs::write(&log_path, &log[..length]).unwrap();
        let store = open(dir.path());
        let whole = [HEADER_FRAME_BYTES, older, log.len()]
            .iter()
            .filter(|&&end| length >= end)
            .count();
        let expected = [&[][..], &[], &["first"], &["first", "last"]][whole];
        assert_eq!(keys(&store, "run"), expected, "{length} bytes");
        assert_eq!(check_all_readable(&store), expected.len());
        assert_eq!(
            (store.has(&first[0]), store.has(&last[0])),
            (whole >= 2, whole == 3)
        );
        assert_eq!(
            store.verify().unwrap(),
            [],
            "an incomplete frame is no damage: {length} bytes"
        );
        assert_eq!(store.stats().n_damaged_logs, 0);
        if length % 50 == 0 {
            // Life goes on in a writer of its own; the other's log stays as it is.
            record(&store, "run", "next", b"next");
            assert_eq!(keys(&open(dir.path()), "run").last().unwrap(), "next");
            assert_eq!(fs::metadata(&log_path).unwrap().len(), length as u64);
            let id = store.writer_id().unwrap();
            fs::remove_dir_all(dir.path().join("writers").join(id)).unwrap();
        }
    }
}

#[test]
fn a_tail_that_is_completed_later_is_read_then() {
    let dir = TempDir::new("growing");
    record(&open(dir.path()), "run", "a", b"content");
    let log_path = only_writer(dir.path()).join("log");
    let log = fs::read(&log_path).unwrap();
    fs::write(&log_path, &log[..7]).unwrap();
    let store = open(dir.path());
    for length in (7..=log.len()).step_by(9).chain([log.len()]) {
        fs::write(&log_path, &log[..length]).unwrap();
        store.refresh().unwrap();
        assert_eq!(
            keys(&store, "run").len(),
            usize::from(length == log.len()),
            "{length} bytes"
        );
    }
    // An older copy is put back, then the writer's folder goes.
    fs::write(&log_path, &log[..HEADER_FRAME_BYTES]).unwrap();
    store.refresh().unwrap();
    assert_eq!(keys(&store, "run"), Vec::<String>::new());
    fs::write(&log_path, &log).unwrap();
    store.refresh().unwrap();
    assert_eq!(keys(&store, "run"), ["a"]);
    fs::remove_dir_all(log_path.parent().unwrap()).unwrap();
    store.refresh().unwrap();
    assert_eq!(
        (
            store.kinds(),
            store.stats().n_chunks,
            store.stats().n_writers
        ),
        (vec![], 0, 0)
    );
}

#[test]
fn zeros_behind_the_last_frame_are_a_tail() {
    // What a power loss leaves when the size of a file was on disk before its bytes.
    let dir = TempDir::new("zeros");
    record(&open(dir.path()), "run", "a", b"content");
    let log_path = only_writer(dir.path()).join("log");
    let log = [fs::read(&log_path).unwrap(), vec![0; 100_000]].concat();
    fs::write(&log_path, log).unwrap();
    let store = open(dir.path());
    assert_eq!(keys(&store, "run"), ["a"]);
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
fn a_flipped_byte_anywhere_in_a_log_is_found() {
    let dir = TempDir::new("flip-log");
    let store = open(dir.path());
    for key in ["a", "b", "c"] {
        record(&store, "run", key, key.as_bytes());
    }
    drop(store);
    let log_path = only_writer(dir.path()).join("log");
    let log = fs::read(&log_path).unwrap();
    for position in 0..log.len() {
        for flip in [1, 0x80] {
            let mut wrong = log.clone();
            wrong[position] ^= flip;
            fs::write(&log_path, &wrong).unwrap();
            let store = open(dir.path());
            let listed = keys(&store, "run");
            let mut expected = vec!["a", "b", "c"];
            expected.truncate(listed.len());
            assert!(
                listed == expected && listed.len() < 3,
                "byte {position}: {listed:?}"
            );
            check_all_readable(&store);
            let damage = store.verify().unwrap();
            assert_eq!(damage.len(), 1, "byte {position}");
            assert_eq!(
                (&damage[0].file, damage[0].what),
                (&log_path, DamageKind::Frame)
            );
            assert!(damage[0].offset as usize <= position);
            // Records of whole frames behind the damage can still be named; the header holds none.
            let told: u64 = damage[0]
                .records
                .iter()
                .map(|affected| affected.count)
                .sum();
            let in_header = u64::from(position < HEADER_FRAME_BYTES);
            assert_eq!(told, 2 + in_header - listed.len() as u64, "byte {position}");
            assert_eq!(store.stats().n_damaged_logs, 1);
            assert!(
                damage[0].to_string().contains("Run those cells again"),
                "{}",
                damage[0]
            );
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_in_a_pack_is_found() {
    let dir = TempDir::new("flip-pack");
    let store = open(dir.path());
    record(&store, "run", "noise", &noise(1, 700));
    record(
        &store,
        "run",
        "text",
        &b"a line of a text file\n".repeat(300),
    );
    let chunks = record(&store, "task", "few", b"few bytes");
    store
        .append("task", "few", &json!({"len": 9}), &chunks)
        .unwrap();
    store.commit().unwrap();
    drop(store);
    let pack_path = only_writer(dir.path()).join("pack-000000");
    let pack = fs::read(&pack_path).unwrap();
    let mut n_harmless = 0;
    for position in 0..pack.len() {
        for flip in [1, 0x10, 0xFF] {
            let mut wrong = pack.clone();
            wrong[position] ^= flip;
            fs::write(&pack_path, &wrong).unwrap();
            let store = open(dir.path());
            let damage = store.verify().unwrap();
            if damage.is_empty() {
                // zstd ignores one bit of its frame header; the content is what it was.
                assert_eq!(check_all_readable(&store), 4, "byte {position}");
                n_harmless += 1;
                continue;
            }
            assert_eq!(damage.len(), 1, "byte {position}");
            assert_eq!(damage[0].file, pack_path);
            assert!(damage[0].offset as usize <= position);
            let affected: u64 = damage[0]
                .records
                .iter()
                .map(|affected| affected.count)
                .sum();
            assert_eq!(
                affected,
                if damage[0].records[0].kind == "task" {
                    2
                } else {
                    1
                }
            );
            // What verify found is not used any more; what it did not name still is.
            assert_eq!(check_all_readable(&store) as u64, 4 - affected);
        }
    }
    assert!(n_harmless <= 1, "{n_harmless}");
}

#[test]
fn a_pack_that_lost_its_end_is_damaged() {
    let dir = TempDir::new("short-pack");
    let store = open(dir.path());
    record(&store, "run", "a", &noise(1, 5_000));
    record(&store, "run", "b", &noise(2, 5_000));
    let pack = only_writer(dir.path()).join("pack-000000");
    fs::OpenOptions::new()
        .write(true)
        .open(&pack)
        .unwrap()
        .set_len(7_000)
        .unwrap();
    let store = open(dir.path());
    let damage = store.verify().unwrap();
    assert_eq!((damage.len(), damage[0].offset), (1, 5_000));
    assert_eq!(keys(&store, "run"), ["a"]);
}

#[test]
fn one_newer_log_is_refused_clearly() {
    let dir = TempDir::new("newer-log");
    let store = open(dir.path());
    let chunks = record(&store, "run", "a", b"content");
    let writer = uuid::Uuid::new_v4();
    let log = write_log(
        dir.path(),
        writer,
        &[[header(2, writer), vec![1; 9]].concat(), vec![7; 20]],
    );
    for error in [
        Store::open(dir.path(), Mode::ReadOnly).unwrap_err(),
        store.refresh().unwrap_err(),
        store.verify().unwrap_err(),
    ] {
        assert!(
            matches!(&error, StoreError::NewerFormat { path, found: 2, known: 1 } if *path == log),
            "{error}"
        );
    }
    assert_eq!(
        store.get(&chunks).unwrap(),
        b"content",
        "what was read before stays usable"
    );
}

#[test]
fn frames_that_are_not_this_logs_are_not_read() {
    let dir = TempDir::new("foreign");
    let (one, two) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let store = open(dir.path());
    // A log under another writer's name; a log without header; a second header; an unknown type that must be known.
    for payloads in [
        vec![header(1, one), note(0, "x")],
        vec![note(0, "x")],
        vec![
            header(1, two),
            note(0, "good"),
            header(1, two),
            note(1, "x"),
        ],
        vec![header(1, two), note(0, "good"), vec![3], note(1, "x")],
    ] {
        write_log(dir.path(), two, &payloads);
        let fresh = open(dir.path());
        assert!(!keys(&fresh, "note").contains(&"x".to_owned()));
        assert_eq!(fresh.verify().unwrap().len(), 1);
    }
    fs::remove_dir_all(dir.path().join("writers").join(two.to_string())).unwrap();
    // Names that are no writers are none of our business.
    fs::create_dir(dir.path().join("writers/lost+found")).unwrap();
    fs::write(dir.path().join("writers/README"), "").unwrap();
    fs::create_dir(dir.path().join("writers").join(one.simple().to_string())).unwrap();
    store.refresh().unwrap();
    assert_eq!(store.stats().n_writers, 0);
}

#[test]
fn frame_bytes_inside_a_payload_are_not_taken_for_a_frame() {
    let dir = TempDir::new("embedded");
    let writer = uuid::Uuid::new_v4();
    let store = open(dir.path());
    let embedded = [vec![200], frame(0, &note(7, "embedded"))].concat();
    let log_path = write_log(dir.path(), writer, &[header(1, writer), embedded]);
    let mut log = fs::read(&log_path).unwrap();
    let last = log.len() - 1;
    log[last] ^= 1;
    fs::write(&log_path, log).unwrap();
    store.refresh().unwrap();
    let damage = store.verify().unwrap();
    assert_eq!((damage.len(), damage[0].records.len()), (1, 0));
}
