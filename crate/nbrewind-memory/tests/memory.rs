//! What is written is seen, whoever writes and wherever; what is not written costs no hashing.
#![allow(clippy::print_stderr)] // a test that cannot run here says so

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nbrewind_memory::{Layout, Memory, PAGE, Pages, SLICE, copy_slice, digests_of, interleave};

const MIB: usize = 1 << 20;

/// Numbers that look random, always the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// One test at a time: two trackers in one process mistake each other's memory for their own when one gives back what
/// the other takes. A kernel has one.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn filled(n_bytes: usize) -> Vec<u8> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    (0..n_bytes).map(|_| dice.next(251) as u8).collect()
}

fn span(bytes: &[u8]) -> Range<usize> {
    bytes.as_ptr() as usize..bytes.as_ptr() as usize + bytes.len()
}

fn whole(bytes: &[u8]) -> Layout {
    Layout::bytes(bytes.as_ptr() as usize, bytes.len())
}

fn digests(memory: &mut Memory, bytes: &[u8]) -> Vec<[u8; 32]> {
    memory.begin_sweep();
    // SAFETY: the bytes are alive and nobody writes to them meanwhile.
    unsafe { memory.digests(&span(bytes), &whole(bytes)) }.to_vec()
}

/// With page tracking, where this machine has it, and without.
fn both() -> Vec<Memory> {
    let tracked = Memory::new(true);
    if !tracked.tracks_pages() {
        eprintln!("this kernel offers no page tracking: only hashing is tested");
        return vec![Memory::new(false)];
    }
    vec![Memory::new(false), tracked]
}

#[test]
fn what_is_not_written_is_not_hashed_again() {
    let _alone = alone();
    for mut memory in both() {
        let bytes = filled(12 * MIB + 5000);
        let first = digests(&mut memory, &bytes);
        assert_eq!(first, digests_of(&bytes));
        assert_eq!(memory.counts().hashed, bytes.len());
        for _ in 0..3 {
            assert_eq!(digests(&mut memory, &bytes), first);
            assert_eq!(memory.counts().hashed, 0);
            assert_eq!(memory.counts().known, bytes.len());
        }
        assert_eq!(
            memory.counts().n_tracked,
            usize::from(memory.tracks_pages())
        );
    }
}

#[test]
fn every_written_byte_is_seen() {
    let _alone = alone();
    for mut memory in both() {
        let mut bytes = filled(8 * MIB + 3);
        let mut dice = Dice(7);
        digests(&mut memory, &bytes);
        digests(&mut memory, &bytes);
        let last = bytes.len() - 1;
        for round in 0..60 {
            let at = match round {
                0 => 0,
                1 => last,
                // The bytes on both sides of the first and the last whole page.
                2 => PAGE - 1 - bytes.as_ptr() as usize % PAGE,
                3 => PAGE - bytes.as_ptr() as usize % PAGE,
                4 => last - (bytes.as_ptr() as usize + last) % PAGE,
                5 => last - (bytes.as_ptr() as usize + last) % PAGE - 1,
                _ => dice.next(bytes.len()),
            };
            bytes[at] ^= 0x55;
            assert_eq!(
                digests(&mut memory, &bytes),
                digests_of(&bytes),
                "byte {at}"
            );
            assert!(memory.counts().hashed <= 2 * SLICE);
            assert!(memory.counts().hashed > 0);
        }
    }
}

#[test]
fn writes_of_other_threads_and_of_the_kernel_are_seen() {
    let _alone = alone();
    for mut memory in both() {
        let mut bytes = filled(6 * MIB);
        digests(&mut memory, &bytes);
        digests(&mut memory, &bytes);
        std::thread::scope(|scope| {
            let part = &mut bytes[3 * MIB..3 * MIB + 10];
            scope.spawn(move || part.fill(9));
        });
        assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
        File::open("/dev/zero")
            .and_then(|mut zeros| zeros.read_exact(&mut bytes[MIB + 17..MIB + 9000]))
            .unwrap();
        assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
        // A page may reach over the end of a slice.
        assert!(memory.counts().hashed <= 2 * SLICE);
    }
}

#[test]
fn memory_that_was_given_back_and_taken_again_is_another() {
    let _alone = alone();
    for mut memory in both() {
        // Large enough that the allocator maps it by itself, and gets the same place again.
        for round in 0..8_u8 {
            let mut bytes = vec![round; 40 * MIB];
            bytes[7] = 3;
            for _ in 0..3 {
                assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
            }
        }
    }
}

#[test]
fn a_region_that_changes_all_the_time_is_no_longer_tracked() {
    let _alone = alone();
    let mut memory = Memory::new(true);
    let mut bytes = filled(8 * MIB);
    for round in 0..8 {
        digests(&mut memory, &bytes);
        assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
        bytes.iter_mut().for_each(|byte| *byte ^= round);
    }
    assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
    assert_eq!(memory.counts().n_tracked, 0);
}

#[test]
fn what_nobody_asks_for_is_forgotten() {
    let _alone = alone();
    let mut memory = Memory::new(true);
    let bytes = filled(8 * MIB);
    digests(&mut memory, &bytes);
    for _ in 0..4 {
        memory.begin_look();
    }
    assert_eq!(memory.counts().n_regions, 1);
    for _ in 0..4 {
        memory.begin_sweep();
    }
    assert_eq!(memory.counts().n_regions, 0);
    assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
}

/// The columns of a table of eight-byte items that is stored by rows.
fn columns(table: &[u8], n_columns: usize) -> Vec<Layout> {
    let count = table.len() / 8 / n_columns;
    (0..n_columns)
        .map(|column| {
            let start = table.as_ptr() as usize + 8 * column;
            Layout::items(start, count, 8 * n_columns, 8).unwrap()
        })
        .collect()
}

fn column_bytes(table: &[u8], n_columns: usize, column: usize) -> Vec<u8> {
    table
        .chunks(8 * n_columns)
        .flat_map(|row| &row[8 * column..8 * column + 8])
        .copied()
        .collect()
}

#[test]
fn columns_have_the_fingerprints_of_their_bytes() {
    let _alone = alone();
    const N_COLUMNS: usize = 37;
    for mut memory in both() {
        let mut table = filled(8 * N_COLUMNS * 150_000);
        let layouts = columns(&table, N_COLUMNS);
        for round in 0..4 {
            memory.begin_sweep();
            // SAFETY: the table is alive and nobody writes to it meanwhile.
            unsafe { memory.prepare(&span(&table), &layouts) };
            let hashed = memory.counts().hashed;
            for (column, layout) in layouts.iter().enumerate() {
                let bytes = column_bytes(&table, N_COLUMNS, column);
                // SAFETY: as above.
                let found = unsafe { memory.digests(&span(&table), layout) }.to_vec();
                assert_eq!(found, digests_of(&bytes));
                assert_eq!(memory.known(layout), Some(found.as_slice()));
                // SAFETY: as above.
                let copied: Vec<u8> = (0..layout.n_slices())
                    .flat_map(|slice| unsafe { copy_slice(layout, slice) })
                    .collect();
                assert_eq!(copied, bytes);
            }
            assert_eq!(memory.counts().hashed, hashed, "prepared ones are known");
            match round {
                0 => assert_eq!(hashed, table.len()),
                1 => assert_eq!(hashed, 0),
                // One slice of every column reaches over the part that was written.
                _ => assert!(hashed > 0 && hashed <= N_COLUMNS * SLICE),
            }
            if round > 0 {
                table[8 * N_COLUMNS * 1000 + 3] ^= 1;
            }
        }
    }
}

#[test]
fn what_was_derived_lasts_as_long_as_its_memory() {
    let _alone = alone();
    for mut memory in both() {
        let mut bytes = filled(5 * MIB);
        let spans = vec![span(&bytes[..MIB]), span(&bytes[2 * MIB..])];
        memory.begin_look();
        // SAFETY: the bytes are alive and nobody writes to them during a call.
        unsafe {
            assert_eq!(memory.derived(b"key", &spans), None);
            memory.remember_derived(b"key".to_vec(), spans.clone(), vec![[1; 32]]);
            assert_eq!(memory.derived(b"key", &spans), Some([[1; 32]].as_slice()));
            assert_eq!(memory.derived(b"another", &spans), None);
            assert_eq!(memory.derived(b"key", &spans[..1]), None);
            bytes[MIB + 1] ^= 1;
            memory.begin_look();
            assert_eq!(memory.derived(b"key", &spans), Some([[1; 32]].as_slice()));
            bytes[3 * MIB] ^= 1;
            memory.begin_look();
            assert_eq!(memory.derived(b"key", &spans), None);
        }
    }
}

#[test]
fn layouts_that_cannot_be_cut_are_refused() {
    let _alone = alone();
    assert!(Layout::items(0, 10, 12, 3).is_none());
    assert!(Layout::items(0, 10, 4, 8).is_none());
    assert_eq!(Layout::items(64, 10, 8, 8), Some(Layout::bytes(64, 80)));
}

#[test]
fn memory_that_others_share_is_not_tracked() {
    let _alone = alone();
    let Some(pages) = Pages::new() else {
        eprintln!("this kernel offers no page tracking: nothing to test");
        return;
    };
    let bytes = filled(5 * MIB);
    let private = nbrewind_memory::whole_pages(span(&bytes));
    assert!(pages.arm(&private).is_ok());
    pages.disarm(&private);
    // SAFETY: a mapping of our own, unmapped at the end.
    unsafe {
        let area = libc::mmap(
            std::ptr::null_mut(),
            MIB,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(area, libc::MAP_FAILED);
        let shared = area as usize..area as usize + MIB;
        assert!(pages.arm(&shared).is_err());
        // What another process may write to is never known to be untouched.
        let mut memory = Memory::new(true);
        memory.begin_sweep();
        assert!(memory.is_untouched());
        memory.digests(&shared, &Layout::bytes(shared.start, MIB));
        assert!(!memory.is_untouched());
        libc::munmap(area, MIB);
    }
}

#[test]
fn a_touch_is_seen_without_reading_the_memory() {
    let _alone = alone();
    let mut memory = Memory::new(true);
    if !memory.tracks_pages() {
        eprintln!("this kernel offers no page tracking: nothing to test");
        return;
    }
    let mut bytes = filled(40 * MIB);
    for _ in 0..3 {
        digests(&mut memory, &bytes);
    }
    assert!(memory.is_untouched());
    bytes[9 * MIB] ^= 1;
    assert!(!memory.is_untouched());
    assert!(memory.is_untouched(), "it was told once");
    assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
    let place = span(&bytes);
    drop(bytes);
    assert!(
        !memory.is_untouched(),
        "the memory at {place:?} was given back"
    );
    let bytes = filled(40 * MIB);
    for _ in 0..3 {
        assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
    }
}

#[test]
fn columns_are_put_back_as_they_lay() {
    let _alone = alone();
    for (n_columns, n_rows) in [(1, 5), (3, 512), (20, 1300), (7, 0)] {
        let table = filled(8 * n_columns * n_rows);
        let columns: Vec<Vec<u8>> = (0..n_columns)
            .map(|column| column_bytes(&table, n_columns, column))
            .collect();
        let columns: Vec<&[u8]> = columns.iter().map(Vec::as_slice).collect();
        let mut found = vec![0; table.len()];
        interleave(&columns, 8, &mut found);
        assert_eq!(found, table);
    }
}

#[test]
fn what_was_compared_when_it_was_loaded_is_not_hashed() {
    let _alone = alone();
    for mut memory in both() {
        // Something else was there before.
        let mut table = filled(9 * MIB + 77);
        digests(&mut memory, &table);
        table.reverse();
        let (first, second) = table.split_at(5 * MIB);
        let parts = [whole(first), whole(second)];
        // SAFETY: the bytes are alive and nobody writes to them meanwhile.
        unsafe {
            memory.adopt(&span(&table), vec![(parts[0], digests_of(first))]);
            memory.begin_sweep();
            assert_eq!(memory.digests(&span(&table), &parts[0]), digests_of(first));
            assert_eq!(memory.counts().hashed, 0);
            // Of the rest nothing was said.
            assert_eq!(memory.digests(&span(&table), &parts[1]), digests_of(second));
            assert_eq!(memory.counts().hashed, second.len());
        }
    }
}

#[test]
fn every_byte_that_is_written_after_loading_is_seen() {
    let _alone = alone();
    let mut dice = Dice(7);
    for mut memory in both() {
        for n_bytes in [200_000, 5 * MIB, 6 * MIB + 1] {
            for _ in 0..12 {
                let mut bytes = filled(n_bytes);
                let known = vec![(whole(&bytes), digests_of(&bytes))];
                // SAFETY: the bytes are alive and nobody writes to them meanwhile.
                unsafe { memory.adopt(&span(&bytes), known) };
                let at = [0, n_bytes - 1, dice.next(n_bytes)][dice.next(3)];
                bytes[at] ^= 1;
                assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
                bytes[at] ^= 1;
                assert_eq!(digests(&mut memory, &bytes), digests_of(&bytes));
            }
        }
    }
}
