//! Times the analysis of one notebook: `bench-analysis FILE.json [ROUNDS]`, the file as `bench/analysis/run.py` writes it. One line of JSON.
//!
//! All times are processor time of the program, which other programs on the machine lengthen little. A full analysis reads
//! texts on every processor, so there is its time by the clock as well.

use nbrewind_analysis::{CellInput, RunInput, RunStatus, VerdictState, Workbench};
use serde::Deserialize;
use std::time::Instant;

#[derive(Deserialize)]
struct Notebook {
    cells: Vec<CellInput>,
    edits: Vec<(usize, String)>,
    /// What is typed on after each of them.
    further: Vec<Vec<String>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("a file, please")?;
    let notebook: Notebook = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let cells = notebook.cells;
    let runs: Vec<RunInput> = (1u32..)
        .zip(&cells)
        .map(|(number, cell)| RunInput {
            cell: cell.id.clone(),
            source: cell.source.clone(),
            number: Some(number),
            status: RunStatus::Ok,
            ..RunInput::default()
        })
        .collect();
    let mut full = Vec::new();
    let mut by_clock = Vec::new();
    let mut bench = Workbench::new();
    let rounds = std::env::args()
        .nth(2)
        .map_or(Ok(15), |rounds| rounds.parse())?;
    for _ in 0..rounds {
        let started = Instant::now();
        let begun = processor_time();
        let mut fresh = Workbench::new();
        let verdicts = fresh.verdicts(&cells, &runs);
        full.push(milliseconds(begun));
        by_clock.push(started.elapsed().as_secs_f64() * 1e3);
        if verdicts.iter().any(|one| one.state != VerdictState::Fresh) {
            return Err("a notebook that just ran is not fresh".into());
        }
        bench = fresh;
    }
    // Nobody types at once.
    while bench.prepare() {}
    let mut edit = Vec::new();
    let mut undo = Vec::new();
    let mut reached = Vec::new();
    let mut further = Vec::new();
    let mut ahead = Vec::new();
    let mut expected = Vec::new();
    for ((at, source), typed) in notebook.edits.iter().zip(&notebook.further) {
        let begun = processor_time();
        let changed = bench.edit(*at, source);
        edit.push(milliseconds(begun));
        reached.push(changed.len() as f64);
        for source in typed {
            let begun = processor_time();
            bench.edit(*at, source);
            further.push(milliseconds(begun));
        }
        let begun = processor_time();
        bench.edit(*at, &cells[*at].source);
        undo.push(milliseconds(begun));
    }
    // The same once more where somebody said beforehand in which line it will be.
    for (at, source) in &notebook.edits {
        let mut pairs = cells[*at].source.lines().zip(source.lines());
        let line = 1 + pairs.position(|(old, new)| old != new).unwrap_or(0);
        let begun = processor_time();
        bench.expect(*at, line);
        while bench.prepare() {}
        ahead.push(milliseconds(begun));
        let begun = processor_time();
        bench.edit(*at, source);
        expected.push(milliseconds(begun));
        bench.edit(*at, &cells[*at].source);
    }
    let first = full[0];
    let report = serde_json::json!({
        "first_ms": first, "full_ms": full, "full_by_clock_ms": by_clock, "edit_ms": edit, "further_ms": further, "undo_ms": undo, "reached": reached,
        "ahead_ms": ahead, "expected_ms": expected,
    });
    print(&report.to_string());
    Ok(())
}

fn milliseconds(begun: f64) -> f64 {
    processor_time() - begun
}

/// Milliseconds that this program has had of a processor.
fn processor_time() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to the struct that it is given, and to nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
fn print(text: &str) {
    println!("{text}");
}
