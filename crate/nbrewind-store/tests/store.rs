//! What a store promises to one process.

mod common;

use std::fs;
use std::str::FromStr;
use std::time::Instant;

use common::{TempDir, check_all_readable, keys, noise, only_writer, open, record, writers};
use nbrewind_store::{CHUNK_BYTES, Fingerprint, Mode, Store, StoreError, hash_file};
use serde_json::json;

const MIB: usize = 1 << 20;

#[test]
fn what_is_put_comes_back() {
    let dir = TempDir::new("roundtrip");
    let store = open(dir.path());
    for (seed, n_bytes) in [
        0,
        1,
        127,
        128,
        4096,
        MIB - 1,
        MIB,
        MIB + 1,
        9 * MIB + 5,
        70 * MIB,
    ]
    .into_iter()
    .enumerate()
    {
        for content in [noise(seed as u64, n_bytes), vec![seed as u8; n_bytes]] {
            let chunks = store.put(&content).unwrap();
            assert_eq!(chunks.len(), n_bytes.div_ceil(MIB));
            assert!(
                store.get(&chunks).unwrap() == content,
                "{n_bytes} bytes before the commit"
            );
            store.commit().unwrap();
            assert!(
                store.get(&chunks).unwrap() == content,
                "{n_bytes} bytes after the commit"
            );
        }
    }
    assert_eq!(store.get(&[]).unwrap(), b"");
    let chunks = store.put(&noise(0, 5_000)).unwrap();
    for n_bytes in [0, 4_999, 5_001] {
        let refused = store.get_into(&chunks, &mut vec![0; n_bytes]);
        assert!(matches!(refused, Err(StoreError::Io { .. })), "{n_bytes}");
    }
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
fn chunks_with_known_names_are_stored_as_put_stores_them() {
    let dir = TempDir::new("named");
    let store = open(dir.path());
    let content = [noise(1, 3 * MIB + 5), noise(1, MIB)].concat();
    let chunks: Vec<(Fingerprint, &[u8])> = content
        .chunks(CHUNK_BYTES)
        .map(|raw| (Fingerprint::of(raw), raw))
        .collect();
    assert!(chunks.iter().all(|(name, _)| !store.has(name)));
    store.put_chunks(&chunks).unwrap();
    assert!(chunks.iter().all(|(name, _)| store.has(name)));
    let names: Vec<_> = chunks.iter().map(|(name, _)| *name).collect();
    assert_eq!(store.put(&content).unwrap(), names);
    store
        .append("run", "a", &json!({"len": content.len()}), &names)
        .unwrap();
    store.commit().unwrap();
    let n_chunks = store.stats().n_chunks;
    store.put_chunks(&chunks).unwrap();
    store.put_chunks(&[]).unwrap();
    assert_eq!(store.stats().n_chunks, n_chunks);
    let again = open(dir.path());
    assert!(names.iter().all(|name| again.has(name)));
    assert!(again.get(&names).unwrap() == content);
    let long = vec![0; MIB + 1];
    assert!(matches!(
        store.put_chunks(&[(Fingerprint::of(&long), &long)]),
        Err(StoreError::Io { .. })
    ));
    let read_only = Store::open(dir.path(), Mode::ReadOnly).unwrap();
    assert!(matches!(
        read_only.put_chunks(&chunks),
        Err(StoreError::ReadOnly { .. })
    ));
}

#[test]
fn a_name_is_the_blake3_hash_of_the_raw_bytes() {
    // Pinned: a store that names content differently cannot find what older versions recorded.
    for (content, name) in [
        (
            &b""[..],
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        ),
        (
            b"abc",
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        ),
        (
            &[0; MIB],
            "488de202f73bd976de4e7048f4e1f39a776d86d582b7348ff53bf432b987fca8",
        ),
    ] {
        assert_eq!(Fingerprint::of(content).to_string(), name);
    }
    let dir = TempDir::new("pinned");
    let chunks = open(dir.path())
        .put(&[&[0; MIB][..], b"abc"].concat())
        .unwrap();
    assert_eq!(
        chunks[0].to_string(),
        "488de202f73bd976de4e7048f4e1f39a776d86d582b7348ff53bf432b987fca8"
    );
    assert_eq!(
        chunks[1].to_string(),
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    );
}

#[test]
fn a_fingerprint_is_64_hex_digits_in_text_and_json() {
    let name = Fingerprint::of(b"abc");
    let text = name.to_string();
    assert_eq!(Fingerprint::from_str(&text), Ok(name));
    assert_eq!(json!(name), json!(text));
    assert_eq!(
        serde_json::from_value::<Fingerprint>(json!(text)).unwrap(),
        name
    );
    assert_eq!(Fingerprint::from_bytes(*name.as_bytes()), name);
    for wrong in [
        "",
        "abc",
        &text[1..],
        &format!("{text}0"),
        &text.replace('6', "g"),
    ] {
        assert!(Fingerprint::from_str(wrong).is_err(), "{wrong}");
        assert!(
            serde_json::from_value::<Fingerprint>(json!(wrong)).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_file_has_the_fingerprint_of_its_bytes() {
    let dir = TempDir::new("file");
    let path = dir.path().join("data");
    for n_bytes in [0, 1, MIB, 3 * MIB + 7] {
        let content = noise(1, n_bytes);
        fs::write(&path, &content).unwrap();
        assert_eq!(hash_file(&path).unwrap(), Fingerprint::of(&content));
    }
    assert!(hash_file(dir.path().join("absent")).is_err());
}

#[test]
fn the_same_content_is_stored_once() {
    let dir = TempDir::new("dedupe");
    let content = noise(1, 3 * MIB);
    let store = open(dir.path());
    let chunks = record(&store, "run", "first", &content);
    let size = |dir: &TempDir| {
        let packs = writers(dir.path())
            .into_iter()
            .map(|dir| dir.join("pack-000000"));
        packs
            .filter_map(|pack| fs::metadata(pack).ok())
            .map(|metadata| metadata.len())
            .sum::<u64>()
    };
    assert_eq!(size(&dir), 3 * MIB as u64);
    assert_eq!(record(&store, "run", "again", &content), chunks);
    assert_eq!(record(&store, "run", "zeros", &vec![0; 50 * MIB]).len(), 50);
    // One changed byte costs one chunk.
    let mut changed = content.clone();
    changed[MIB + 5] ^= 1;
    record(&store, "run", "changed", &changed);
    assert!(size(&dir) < 4 * MIB as u64 + 5000, "{}", size(&dir));
    // Another process finds it, too.
    let other = open(dir.path());
    assert_eq!(record(&other, "run", "other", &content), chunks);
    assert!(size(&dir) < 4 * MIB as u64 + 5000, "{}", size(&dir));
    let stats = other.stats();
    assert_eq!(
        (stats.n_chunks, stats.raw_bytes, stats.n_writers),
        (5, 5 * MIB as u64, 2)
    );
    assert!(stats.stored_bytes < 4 * MIB as u64 + 5000);
    assert_eq!((stats.n_missing_chunks, stats.n_damaged_logs), (0, 0));
    assert_eq!(stats.n_records, [("run".to_owned(), 5)].into());
}

#[test]
fn a_store_opened_again_holds_what_was_committed_and_nothing_else() {
    let dir = TempDir::new("reopen");
    let store = open(dir.path());
    let chunks = record(&store, "run", "a", b"content of a");
    let lost = store.put(b"never committed").unwrap();
    store.append("run", "b", &json!({}), &lost).unwrap();
    assert_eq!(
        keys(&store, "run"),
        ["a"],
        "a record counts once it is durable"
    );
    drop(store);

    let store = Store::open(dir.path(), Mode::ReadOnly).unwrap();
    assert_eq!(store.get(&chunks).unwrap(), b"content of a");
    assert_eq!(keys(&store, "run"), ["a"]);
    assert!(!store.has(&lost[0]));
    assert!(
        matches!(store.get(&lost), Err(StoreError::MissingChunk { chunk }) if chunk == lost[0])
    );
    let found = &store.records("run", Some("a"))[0];
    assert_eq!(
        (found.kind.as_str(), found.key.as_str(), found.seq),
        ("run", "a", 0)
    );
    assert_eq!(found.needs, chunks);
    assert_eq!(
        found.writer,
        only_writer(dir.path())
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
    );
    assert_eq!(store.records("run", Some("absent")), []);
    assert_eq!(store.records("absent", None), []);
}

#[test]
fn payloads_come_back_bit_for_bit() {
    let dir = TempDir::new("payload");
    let payload = json!({
        "floats": [0.1, 1e-300, 2.225_073_858_507_201e-308, 6.02214076e23, 0.30000000000000004],
        "ints": [i64::MIN, u64::MAX, 0],
        "text": "naïve \u{0} \" \\ \u{1F600}\n",
        "nested": {"list": [[], {}, null, true]},
    });
    open(dir.path()).append("note", "", &payload, &[]).unwrap();
    let store = open(dir.path());
    store.append("note", "clé \n", &payload, &[]).unwrap();
    store.commit().unwrap();
    assert_eq!(
        open(dir.path())
            .records("note", None)
            .iter()
            .map(|r| &r.payload)
            .collect::<Vec<_>>(),
        [&payload]
    );
    assert_eq!(keys(&open(dir.path()), "note"), ["clé \n"]);
}

#[test]
fn records_come_oldest_first_whoever_wrote_them() {
    let dir = TempDir::new("order");
    let (one, two) = (open(dir.path()), open(dir.path()));
    for n in 0..20 {
        let store = if n % 3 == 0 { &one } else { &two };
        store
            .append("run", &format!("{}", n % 4), &json!(n), &[])
            .unwrap();
        if n % 5 == 4 {
            // The order is that of the appends, not of the commits.
            two.commit().unwrap();
        }
    }
    one.commit().unwrap();
    two.commit().unwrap();
    let expected: Vec<_> = (0..20).map(|n| json!(n)).collect();
    let payloads = |store: &Store, key| {
        store
            .records("run", key)
            .into_iter()
            .map(|r| r.payload)
            .collect::<Vec<_>>()
    };
    for store in [&one, &two, &open(dir.path())] {
        store.refresh().unwrap();
        assert_eq!(payloads(store, None), expected);
        assert_eq!(
            payloads(store, Some("3")),
            [3, 7, 11, 15, 19].map(|n| json!(n))
        );
        assert_eq!(
            (store.record_count("run"), store.kinds()),
            (20, vec!["run".to_owned()])
        );
    }
}

#[test]
fn a_record_cannot_need_what_is_not_stored() {
    let dir = TempDir::new("needs");
    let store = open(dir.path());
    let absent = Fingerprint::of(b"absent");
    let refused = store.append("run", "a", &json!({}), &[absent]);
    assert!(matches!(refused, Err(StoreError::MissingChunk { chunk }) if chunk == absent));
    store.commit().unwrap();
    assert_eq!(store.kinds(), Vec::<String>::new());
    // What another writer has committed by now can be needed without a refresh.
    let chunks = record(&open(dir.path()), "run", "theirs", b"absent");
    store
        .append("run", "ours", &json!({"len": 6}), &chunks)
        .unwrap();
    store.commit().unwrap();
    assert_eq!(keys(&store, "run"), ["theirs", "ours"]);
    assert_eq!(check_all_readable(&store), 2);
}

#[test]
fn nothing_is_written_before_there_is_something_to_write() {
    let dir = TempDir::new("lazy");
    let store = open(&dir.path().join("a/b/store"));
    store.commit().unwrap();
    store.refresh().unwrap();
    assert_eq!(store.writer_id(), None);
    assert_eq!(writers(store.dir()), Vec::<std::path::PathBuf>::new());
    assert_eq!(
        fs::read_to_string(store.dir().join(".gitignore")).unwrap(),
        "*\n"
    );
    let format = fs::read_to_string(store.dir().join("format.json")).unwrap();
    assert_eq!(format, "{\"format\":\"nbrewind-store\",\"version\":1}\n");
    store.put(b"").unwrap();
    assert_eq!(store.writer_id(), None);
    store.put(b"x").unwrap();
    assert_eq!(
        store.writer_id(),
        only_writer(store.dir())
            .file_name()
            .unwrap()
            .to_str()
            .map(str::to_owned)
    );
}

#[test]
fn ten_thousand_records_in_one_commit_take_less_than_a_second() {
    let dir = TempDir::new("many");
    let store = open(dir.path());
    let chunks = store.put(b"shared").unwrap();
    let payload = json!({"name": "t".repeat(150), "value": {"head": chunks}, "seconds": 0.25, "status": "ok"});
    let start = Instant::now();
    for n in 0..10_000 {
        store
            .append("task", &format!("{n:064}"), &payload, &chunks)
            .unwrap();
    }
    store.commit().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(store.record_count("task"), 10_000);
    let start = Instant::now();
    let again = open(dir.path());
    assert_eq!(again.records("task", None).len(), 10_000);
    let open_seconds = start.elapsed().as_secs_f64();
    assert!(
        seconds < 1.0 && open_seconds < 2.0,
        "commit {seconds} s, open and list {open_seconds} s (a debug build)"
    );
}

#[test]
fn threads_share_one_handle() {
    let dir = TempDir::new("threads");
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..20 {
                    // Every content is stored by two threads at once.
                    let content = noise(thread / 2 * 100 + n, 30_000);
                    let chunks = store.put(&content).unwrap();
                    assert!(store.get(&chunks).unwrap() == content);
                    let len = json!({ "len": content.len() });
                    store
                        .append("run", &format!("{thread}-{n}"), &len, &chunks)
                        .unwrap();
                    store.commit().unwrap();
                    store.refresh().unwrap();
                }
            });
        }
    });
    assert_eq!(check_all_readable(&store), 80);
    assert_eq!(check_all_readable(&open(dir.path())), 80);
    assert_eq!(store.stats().n_chunks, 40);
    only_writer(dir.path());
}

#[test]
fn a_read_only_store_can_be_used_but_not_written() {
    let dir = TempDir::new("readonly");
    let chunks = record(&open(dir.path()), "run", "a", b"content");
    let store = Store::open(dir.path(), Mode::ReadOnly).unwrap();
    assert_eq!(store.get(&chunks).unwrap(), b"content");
    for refused in [
        store.put(b"x").map(drop),
        store.append("run", "b", &json!({}), &[]),
        store.commit(),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, StoreError::ReadOnly { path } if path == dir.path()));
        assert!(
            error
                .to_string()
                .contains("choose a store in a folder that you can write to"),
            "{error}"
        );
    }
    only_writer(dir.path());
}

#[test]
#[allow(clippy::print_stderr)]
fn a_store_without_write_permission_opens_and_says_what_it_cannot_write() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new("permission");
    let chunks = record(&open(dir.path()), "run", "a", b"content");
    let writers = dir.path().join("writers");
    fs::set_permissions(&writers, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(writers.join("probe"), "").is_ok() {
        eprintln!("not tested here: this user (root?) writes whatever the permissions say");
        fs::remove_file(writers.join("probe")).unwrap();
    } else {
        let store = open(dir.path());
        assert_eq!(store.get(&chunks).unwrap(), b"content");
        assert!(matches!(
            store.put(b"x"),
            Err(StoreError::PermissionDenied { .. })
        ));
    }
    fs::set_permissions(&writers, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Opening fails with a text that contains this.
fn check_refused(dir: &std::path::Path, mode: Mode, text: &str) -> StoreError {
    let error = Store::open(dir, mode).unwrap_err();
    assert!(error.to_string().contains(text), "{error}");
    assert!(
        error.to_string().contains(&*dir.to_string_lossy()),
        "{error}"
    );
    error
}

#[test]
fn a_folder_that_is_no_store_is_refused_and_left_alone() {
    let dir = TempDir::new("no-store");
    for mode in [Mode::ReadOnly, Mode::ReadWrite] {
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            check_refused(&file, mode, "leads to a file"),
            StoreError::NotAStore { .. }
        ));
        let home = dir.path().join("home");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("thesis.tex"), "").unwrap();
        let refused = check_refused(&home, mode, "has no format.json");
        assert!(matches!(refused, StoreError::NotAStore { .. }));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    }
    let absent = dir.path().join("absent");
    check_refused(&absent, Mode::ReadOnly, "does not exist");
    assert!(!absent.exists());
}

#[test]
fn a_start_that_was_interrupted_is_finished() {
    let dir = TempDir::new("interrupted");
    fs::write(dir.path().join(".gitignore"), "").unwrap();
    fs::write(dir.path().join(".format.json.1234"), "{").unwrap();
    fs::create_dir(dir.path().join("writers")).unwrap();
    record(&open(dir.path()), "run", "a", b"content");
    assert_eq!(check_all_readable(&open(dir.path())), 1);
}

#[test]
fn a_damaged_or_foreign_format_file_is_refused() {
    let dir = TempDir::new("format");
    record(&open(dir.path()), "run", "a", b"content");
    let format = dir.path().join("format.json");
    for (text, why) in [
        ("", "is damaged"),
        ("{\"format\":\"nbrewind-st", "is damaged"),
        (
            "{\"format\":\"other\",\"version\":1}",
            "names the format \"other\"",
        ),
    ] {
        fs::write(&format, text).unwrap();
        assert!(matches!(
            check_refused(dir.path(), Mode::ReadWrite, why),
            StoreError::NotAStore { .. }
        ));
    }
    // Fields that a later build of the same version adds do no harm.
    fs::write(
        &format,
        r#"{"format":"nbrewind-store","version":1,"more":[]}"#,
    )
    .unwrap();
    assert_eq!(check_all_readable(&open(dir.path())), 1);
}

#[test]
fn a_newer_store_is_refused() {
    let dir = TempDir::new("newer");
    record(&open(dir.path()), "run", "a", b"content");
    fs::write(
        dir.path().join("format.json"),
        r#"{"format":"nbrewind-store","version":2,"x":1}"#,
    )
    .unwrap();
    for mode in [Mode::ReadOnly, Mode::ReadWrite] {
        let error = check_refused(dir.path(), mode, "Upgrade NBRewind");
        assert!(matches!(
            error,
            StoreError::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ));
    }
}

#[test]
fn a_missing_pack_is_a_miss_and_the_content_can_be_stored_again() {
    let dir = TempDir::new("missing-pack");
    let content = noise(1, 2 * MIB);
    let chunks = record(&open(dir.path()), "run", "purged", &content);
    let first = only_writer(dir.path()).join("pack-000000");
    record(&open(dir.path()), "run", "kept", b"kept");
    let early = open(dir.path());
    fs::rename(&first, dir.path().join("away")).unwrap();

    // Seen at open, at a refresh, or only when the content is asked for.
    let late = open(dir.path());
    assert_eq!(keys(&late, "run"), ["kept"]);
    assert_eq!(late.stats().n_missing_chunks, 2);
    assert!(!late.has(&chunks[0]));
    assert_eq!(late.verify().unwrap(), []);
    assert!(matches!(
        late.get(&chunks),
        Err(StoreError::MissingChunk { .. })
    ));
    assert_eq!(keys(&early, "run"), ["purged", "kept"]);
    assert!(matches!(
        early.get(&chunks),
        Err(StoreError::MissingChunk { .. })
    ));
    assert_eq!(keys(&early, "run"), ["kept"]);

    // The pack comes back: so does the record.
    fs::rename(dir.path().join("away"), &first).unwrap();
    late.refresh().unwrap();
    assert_eq!(check_all_readable(&late), 2);

    // It is purged for good while a record is made that needs it.
    let store = open(dir.path());
    store.append("run", "late", &json!({}), &chunks).unwrap();
    fs::remove_file(&first).unwrap();
    assert!(matches!(
        store.commit(),
        Err(StoreError::MissingChunk { .. })
    ));
    assert_eq!(record(&store, "run", "again", &content), chunks);
    assert_eq!(keys(&open(dir.path()), "run"), ["purged", "kept", "again"]);
    assert_eq!(check_all_readable(&store), 3);
}

#[test]
fn damaged_content_is_never_returned_and_storing_it_again_repairs_it() {
    let dir = TempDir::new("repair");
    let content = noise(1, 100_000);
    let chunks = record(&open(dir.path()), "run", "a", &content);
    let pack = only_writer(dir.path()).join("pack-000000");
    let mut bytes = fs::read(&pack).unwrap();
    bytes[50_000] ^= 4;
    fs::write(&pack, bytes).unwrap();

    let store = open(dir.path());
    for _ in 0..2 {
        let error = store.get(&chunks).unwrap_err();
        assert!(
            matches!(&error, StoreError::DamagedChunk { chunk, pack: p } if *chunk == chunks[0] && *p == pack)
        );
        assert!(
            error
                .to_string()
                .contains("Run the cells that made it again"),
            "{error}"
        );
    }
    assert!(!store.has(&chunks[0]));
    assert_eq!(keys(&store, "run"), Vec::<String>::new());
    record(&store, "run", "b", &content);
    assert!(store.get(&chunks).unwrap() == content);
    assert_eq!(keys(&store, "run"), ["a", "b"]);
    // A fresh process prefers whatever copy is good.
    let fresh = open(dir.path());
    assert_eq!(check_all_readable(&fresh), 2);
    assert_eq!(fresh.verify().unwrap().len(), 1);
}

#[test]
fn a_store_that_is_deleted_under_a_running_kernel_is_noticed_at_the_commit() {
    let dir = TempDir::new("deleted");
    let store = open(dir.path());
    record(&store, "run", "a", b"content");
    fs::remove_dir_all(dir.path().join("writers")).unwrap();
    let chunks = store.put(b"more").unwrap();
    store.append("run", "b", &json!({}), &chunks).unwrap();
    assert!(matches!(store.commit(), Err(StoreError::NotAStore { .. })));
    assert_eq!(store.kinds(), Vec::<String>::new());
    assert!(matches!(
        store.put(b"more"),
        Err(StoreError::NotAStore { .. })
    ));
    fs::create_dir(dir.path().join("writers")).unwrap();
    record(&store, "run", "c", b"content");
    assert_eq!(check_all_readable(&open(dir.path())), 1);
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(matches!(store.refresh(), Err(StoreError::NotAStore { .. })));
    fs::create_dir(dir.path()).unwrap();
}
