//! How files are reached: on a disk, on a network file system, and where things are refused in the middle of a session.
#![allow(clippy::print_stderr)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{
    TempDir, check_all_readable, child_dir, keys, noise, only_writer, open, record, spawn,
};
use nbrewind_store::{Access, DamageKind, GcOptions, Mode, Store, StoreError};
use serde_json::json;

const MIB: usize = 1 << 20;

/// The flags of all files below this folder that this process has open.
fn open_flags(dir: &Path) -> Vec<i32> {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let inside =
        links.filter(|link| fs::read_link(link.path()).is_ok_and(|path| path.starts_with(dir)));
    let info = inside.filter_map(|link| {
        let number = link.file_name().into_string().unwrap();
        fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()
    });
    let flags = |text: String| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))?
            .trim()
            .to_owned();
        i32::from_str_radix(&line, 8).ok()
    };
    info.filter_map(flags).collect()
}

/// Whether anything below this folder is locked by this process or mapped into it.
fn is_locked_or_mapped(dir: &Path) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let mut paths: Vec<PathBuf> = vec![dir.to_owned(), only_writer(dir)];
    paths.extend(
        fs::read_dir(only_writer(dir))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let inodes = paths.iter().map(|path| fs::metadata(path).unwrap().ino());
    let is_locked = inodes
        .into_iter()
        .any(|inode| locks.contains(&format!(":{inode} ")));
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    is_locked || maps.contains(&*dir.to_string_lossy())
}

#[test]
#[ignore = "a process that other tests start"]
fn child_uses_a_network_file_system() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir);
    assert_eq!(store.access(), Access::Network);
    record(&store, "run", "a", &noise(1, 5 * MIB + 3));
    record(&store, "run", "b", &noise(2, 300_000));
    assert!(!is_locked_or_mapped(&dir));
    assert!(
        open_flags(&dir)
            .iter()
            .all(|flags| flags & libc::O_DIRECT == 0)
    );
    // Nothing is allocated ahead, and nothing aligned: the pack is what was stored.
    let pack = only_writer(&dir).join("pack-000000");
    assert_eq!(
        fs::metadata(pack).unwrap().len() as usize,
        5 * MIB + 3 + 300_000
    );
    store.gc(&GcOptions::default()).unwrap();
    assert!(!is_locked_or_mapped(&dir));
    assert_eq!(check_all_readable(&store), 2);
}

#[test]
fn a_network_file_system_is_used_without_direct_writes_locks_and_mappings() {
    let dir = TempDir::new("network");
    let binary = std::env::current_exe().unwrap();
    let status = Command::new(binary)
        .args([
            "--ignored",
            "--exact",
            "child_uses_a_network_file_system",
            "--nocapture",
        ])
        .env("NBREWIND_STORE_TEST_DIR", dir.path())
        .env("NBREWIND_STORE_MODE", "network")
        .status();
    assert!(status.unwrap().success());
    // A machine that reaches the same folder as a disk reads it all the same, and the other way round.
    let local = Store::open_as(dir.path(), Mode::ReadWrite, Access::Local).unwrap();
    assert_eq!(check_all_readable(&local), 2);
    record(&local, "run", "c", &noise(3, 2 * MIB));
    let network = Store::open_as(dir.path(), Mode::ReadWrite, Access::Network).unwrap();
    assert_eq!(check_all_readable(&network), 3);
    assert_eq!(network.verify().unwrap(), []);
}

#[test]
fn a_disk_is_used_with_locks_and_past_the_page_cache_where_it_can_be() {
    let dir = TempDir::new("disk");
    let store = Store::open_as(dir.path(), Mode::ReadWrite, Access::Local).unwrap();
    let content = noise(1, 9 * MIB + 5);
    record(&store, "run", "a", &content);
    assert!(is_locked_or_mapped(dir.path()));
    if !open_flags(dir.path())
        .iter()
        .any(|flags| flags & libc::O_DIRECT != 0)
    {
        eprintln!(
            "not tested here: the file system of {} has no direct writes",
            dir.path().display()
        );
    }
    // Small and big ones lie in one pack, and nothing is left of what was allocated ahead.
    record(&store, "run", "b", &noise(2, 100));
    record(&store, "run", "c", &noise(3, 700_000));
    let pack = fs::metadata(only_writer(dir.path()).join("pack-000000")).unwrap();
    assert!(
        pack.len() < 9 * MIB as u64 + 5 + 100 + 700_000 + 4 * 4096,
        "{}",
        pack.len()
    );
    assert_eq!(check_all_readable(&open(dir.path())), 3);
}

#[test]
fn memory_is_a_file_system_too() {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        eprintln!("not tested here: there is no /dev/shm");
        return;
    }
    let dir = shm.join(format!("nbrewind-store-{}", uuid::Uuid::new_v4()));
    let store = open(&dir);
    record(&store, "run", "a", &noise(1, 5 * MIB + 7));
    assert_eq!(check_all_readable(&open(&dir)), 1);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_flipped_byte_of_a_big_chunk_is_found_wherever_it_is() {
    let dir = TempDir::new("flip-big");
    let content = noise(1, 2 * MIB + 300_000);
    let chunks = record(&open(dir.path()), "run", "a", &content);
    let pack = only_writer(dir.path()).join("pack-000000");
    let good = fs::read(&pack).unwrap();
    let places = [
        0,
        1,
        4095,
        4096,
        MIB - 1,
        MIB,
        2 * MIB - 1,
        2 * MIB,
        2 * MIB + 299_999,
    ];
    for place in places {
        let mut wrong = good.clone();
        wrong[place] ^= 0x10;
        fs::write(&pack, &wrong).unwrap();
        let store = open(dir.path());
        let found = store.verify().unwrap();
        assert_eq!(found.len(), 1, "byte {place}");
        let damaged = found[0].what;
        assert!(
            matches!(damaged, DamageKind::Chunk(name) if chunks.contains(&name)),
            "{damaged:?}"
        );
        assert_eq!(found[0].file, pack);
        assert_eq!(found[0].records[0].key, "a");
        let store = open(dir.path());
        let error = store.get(&chunks).unwrap_err();
        assert!(
            matches!(&error, StoreError::DamagedChunk { pack: named, .. } if *named == pack),
            "{error}"
        );
        // From then on it is a miss, so the plan falls back to executing; storing it again repairs it.
        assert_eq!(keys(&store, "run"), Vec::<String>::new());
        store.put(&content).unwrap();
        store.commit().unwrap();
        assert!(store.get(&chunks).unwrap() == content);
        fs::remove_dir_all(dir.path().join("writers").join(store.writer_id().unwrap())).unwrap();
    }
}

/// Who may do everything gives that up: permissions mean nothing to root.
fn become_nobody(dir: &Path) {
    // SAFETY: plain calls; this process is one that a test started for this.
    unsafe {
        if libc::geteuid() == 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
            assert_eq!(libc::setgid(65_534), 0);
            assert_eq!(libc::setuid(65_534), 0);
        }
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn child_loses_its_permission() {
    let Some(dir) = child_dir() else { return };
    become_nobody(&dir);
    let dir = dir.join("store");
    let store = open(&dir);
    let before = record(&store, "run", "before", &noise(1, 3 * MIB));
    let writer = only_writer(&dir);
    let modes = [
        dir.join("writers"),
        writer.clone(),
        writer.join("log"),
        writer.join("pack-000000"),
    ];
    let set = |mode: u32| {
        for path in modes.iter().rev() {
            let bits = if path.is_dir() { mode } else { mode & 0o666 };
            fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
        }
    };
    // Read-only in the middle of a session: what is open goes on, or says what it cannot write.
    set(0o555);
    let other = open(&dir);
    assert_eq!(check_all_readable(&other), 1);
    let refused = other.put(&noise(2, 1000)).unwrap_err();
    assert!(
        matches!(refused, StoreError::PermissionDenied { .. }),
        "{refused}"
    );
    record(&store, "run", "open files", &noise(3, MIB));
    assert_eq!(check_all_readable(&store), 2);

    // No access at all: refused with the path, and nothing is claimed.
    for path in &modes[..1] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let lost = store.put(&noise(4, MIB)).unwrap();
    store
        .append("run", "lost", &json!({"len": MIB}), &lost)
        .unwrap();
    let refused = store.commit().unwrap_err();
    assert!(
        matches!(refused, StoreError::PermissionDenied { .. }),
        "{refused}"
    );
    assert!(!store.has(&lost[0]));
    assert!(matches!(
        Store::open(&dir, Mode::ReadOnly),
        Err(StoreError::PermissionDenied { .. })
    ));

    // It is back: so is everything.
    fs::set_permissions(&modes[0], fs::Permissions::from_mode(0o755)).unwrap();
    set(0o755);
    record(&store, "run", "after", &noise(4, MIB));
    let again = open(&dir);
    assert_eq!(keys(&again, "run"), ["before", "open files", "after"]);
    assert_eq!(check_all_readable(&again), 3);
    assert!(again.get(&before).unwrap() == noise(1, 3 * MIB));
    assert_eq!(again.verify().unwrap(), []);
}

#[test]
fn a_permission_that_is_lost_in_the_middle_costs_nothing_that_was_committed() {
    let dir = TempDir::new("permission-lost");
    assert!(
        spawn("child_loses_its_permission", dir.path())
            .wait()
            .unwrap()
            .success()
    );
}

/// A small disk in memory, unmounted in the end however the test ends.
struct SmallDisk<'a>(&'a Path);

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_disk_without_room_is_told_and_what_was_recorded_stays() {
    let dir = TempDir::new("no-room");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
        .arg(dir.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!(
            "not tested here: this user cannot mount a small disk (file size limits are tested elsewhere)"
        );
        return;
    }
    let _disk = SmallDisk(dir.path());
    let path = dir.path().join("store");
    let store = open(&path);
    let first = record(&store, "run", "first", &noise(1, 3 * MIB));
    let refused = store.put(&noise(2, 8 * MIB)).unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(store.get(&first).unwrap() == noise(1, 3 * MIB));
    // What did fit of it takes no room.
    let pack = only_writer(&path).join("pack-000000");
    assert_eq!(fs::metadata(pack).unwrap().len(), 3 * MIB as u64);
    record(&store, "run", "small", &noise(3, 1_000_000));
    let again = open(&path);
    assert_eq!(keys(&again, "run"), ["first", "small"]);
    assert_eq!(check_all_readable(&again), 2);
    assert_eq!(again.verify().unwrap(), []);
    drop((store, again));
    // To the last byte: cleaning up has no room even for its log, and says so.
    let mut ballast = fs::File::create(dir.path().join("ballast")).unwrap();
    while std::io::Write::write(&mut ballast, &[1; 4096]).is_ok() {}
    let store = open(&path);
    let options = GcOptions {
        budget: Some(0),
        drop: vec![
            store
                .records("run", None)
                .into_iter()
                .map(|r| (r.writer, r.seq))
                .collect(),
        ],
        ..GcOptions::default()
    };
    let report = store.gc(&options).unwrap();
    assert!(
        report.is_disk_full && report.n_retired.is_empty(),
        "{report:?}"
    );
    store.refresh().unwrap();
    assert_eq!(check_all_readable(&store), 2);
    ballast.set_len(0).unwrap();
    let report = store.gc(&options).unwrap();
    assert_eq!(check_all_readable(&open(&path)), 0, "{report:?}");
}
