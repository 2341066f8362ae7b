//! Measures the store on the file system of a folder, and the limits that it is to be compared with; prints JSON.
//!
//! `store_bench DIR [MIB]`. `bench/store/run.py` runs it several times and writes the table.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nbrewind_store::{CHUNK_BYTES, Fingerprint, Mode, Store};
use serde_json::{Value, json};

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Random 64-bit floats in [0, 1), as numpy makes them: 52 random bits each.
fn floats(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let float = |bits: u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
    (0..n_bytes / 8)
        .flat_map(|_| float(next()).to_le_bytes())
        .collect()
}

/// blake3 of every chunk on all cores, and nothing else.
fn hash_all(content: &[u8]) {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let n_chunks = content.len().div_ceil(CHUNK_BYTES);
    let per_thread = n_chunks.div_ceil(n_threads) * CHUNK_BYTES;
    std::thread::scope(|scope| {
        for part in content.chunks(per_thread) {
            scope.spawn(move || {
                for chunk in part.chunks(CHUNK_BYTES) {
                    std::hint::black_box(Fingerprint::of(chunk));
                }
            });
        }
    });
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn best(n: usize, mut work: impl FnMut()) -> f64 {
    (0..n).map(|_| seconds(&mut work)).fold(f64::MAX, f64::min)
}

fn fresh(dir: &Path) -> PathBuf {
    let path = dir.join("store-bench");
    let _ = fs::remove_dir_all(&path);
    path
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("store_bench DIR [MIB]"));
    let mib: usize = arguments
        .next()
        .map_or(1024, |text| text.parse().expect("MiB"));
    let n_bytes = mib << 20;
    let content = floats(1, n_bytes);
    let gb = n_bytes as f64 / 1e9;
    let mut found = serde_json::Map::new();
    let mut note = |name: &str, value: Value| {
        found.insert(name.to_owned(), value);
    };

    note("hash_s", json!(best(3, || hash_all(&content))));
    let path = fresh(&dir);
    let store = Store::open(&path, Mode::ReadWrite).expect("store");
    note("access", json!(format!("{:?}", store.access())));
    let mut names = Vec::new();
    let put = seconds(|| {
        names = store.put(&content).expect("put");
        store.commit().expect("commit");
    });
    note("put_gb_s", json!(gb / put));
    note(
        "again_s",
        json!(best(3, || drop(store.put(&content).expect("put")))),
    );
    let pairs: Vec<_> = names
        .iter()
        .copied()
        .zip(content.chunks(CHUNK_BYTES))
        .collect();
    note(
        "again_hashed_s",
        json!(best(3, || store.put_chunks(&pairs).expect("put"))),
    );

    // One byte in every hundredth chunk, and at least in one.
    let mut changed = content;
    let n_changed = (names.len() / 100).max(1);
    for n in 0..n_changed {
        changed[n * (names.len() / n_changed) * CHUNK_BYTES] ^= 1;
    }
    note(
        "changed_s",
        json!(seconds(|| {
            store.put(&changed).expect("put");
            store.commit().expect("commit");
        })),
    );
    drop(changed);
    note(
        "get_gb_s",
        json!(gb / best(3, || drop(store.get(&names).expect("get")))),
    );
    let fill = best(2, || {
        let mut memory = vec![0u8; n_bytes];
        // One write a page: the cost of new memory alone.
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::hint::black_box(&memory);
    });
    note("new_memory_gb_s", json!(gb / fill));

    let mut n_records = 0;
    let mut commit = |content: Option<&[u8]>| {
        n_records += 1;
        let needs = content.map_or_else(Vec::new, |content| store.put(content).expect("put"));
        let payload = json!({"number": n_records, "text": "x".repeat(400)});
        store
            .append("run", "bench", &payload, &needs)
            .expect("append");
        seconds(|| store.commit().expect("commit"))
    };
    note(
        "commit_record_ms",
        json!(1e3 * median((0..40).map(|_| commit(None)).collect())),
    );
    let with_chunk = (0..40)
        .map(|n| commit(Some(&floats(100 + n, 20_000))))
        .collect();
    note("commit_20kb_ms", json!(1e3 * median(with_chunk)));

    let small: Vec<Vec<u8>> = (0..5_000).map(|n| floats(1_000 + n, 4_000)).collect();
    let many = seconds(|| {
        for content in &small {
            store.put(content).expect("put");
        }
        store.commit().expect("commit");
    });
    note("small_per_s", json!(small.len() as f64 / many));
    drop(store);
    note(
        "open_ms",
        json!(
            1e3 * best(3, || drop(
                Store::open(&path, Mode::ReadOnly).expect("open")
            ))
        ),
    );
    let _ = fs::remove_dir_all(&path);
    println!("{}", Value::Object(found));
}
