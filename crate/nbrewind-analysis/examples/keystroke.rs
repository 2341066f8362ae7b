//! What an edit costs: `cargo run --release -p nbrewind-analysis --example keystroke`.

use nbrewind_analysis::{CellInput, RunInput, Workbench};
use std::time::{Duration, Instant};

/// Cells as analysts write them, in turn.
const TEXTS: &[&str] = &[
    "import numpy as np\nimport pandas as pd\nimport matplotlib.pyplot as plt",
    "df_N = pd.read_csv('events_N.csv')\ndf_N = df_N.dropna()\ndf_N['ratio'] = df_N['a'] / df_N['b']",
    "def select_N(frame, threshold=10.0):\n    \"\"\"Keep what is above.\"\"\"\n    kept = frame[frame.pt > threshold]\n    return kept.assign(weight=kept.w * scale)",
    "scale = 1.5 + N\nlimits = {'low': 0.1, 'high': scale}",
    "chosen_N = select_N(df_N)\nfor i in range(3):\n    chosen_N[f'c{i}'] = i\nprint(len(chosen_N))",
    "fig, ax = plt.subplots(figsize=(8, 4))\nax.hist(chosen_N.ratio, bins=50)\nax.set_xlabel('ratio')\nplt.show()",
    "summary = chosen_N.groupby('run').agg({'ratio': 'mean', 'pt': 'max'})\nsummary.sort_values('pt', inplace=True)\nsummary",
    "results = []\nfor run, group in chosen_N.groupby('run'):\n    results.append((run, np.mean(group.ratio)))",
];

/// Every cell reads the one before it, so that an edit of the first one touches all.
fn chain(n: usize) -> Vec<CellInput> {
    (0..n)
        .map(|at| CellInput {
            id: format!("cell-{at}"),
            source: match at.checked_sub(1) {
                None => "table0 = {'a': 1}".to_owned(),
                Some(before) => format!(
                    "def step{at}(rows, factor={at}):\n    kept = {{key: value * factor for key, value in rows.items()}}\n    \
                     return dict(kept, c{at}=len(kept))\n\ntable{at} = step{at}(table{before})\nnames{at} = sorted(table{at})[:5]"
                ),
            },
            tags: Vec::new(),
        })
        .collect()
}

fn cells(n: usize) -> Vec<CellInput> {
    (0..n)
        .map(|at| CellInput {
            id: format!("cell-{at}"),
            source: TEXTS[at % TEXTS.len()].replace('N', &(at / TEXTS.len()).to_string()),
            tags: Vec::new(),
        })
        .collect()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
fn main() {
    println!("cells  runs  first call  edit  same page  new run   (ms)");
    for (is_chain, n, n_passes) in [
        (false, 300, 1),
        (false, 300, 5),
        (false, 1000, 1),
        (false, 1000, 5),
        (true, 300, 1),
        (true, 1000, 1),
    ] {
        let mut page = if is_chain { chain(n) } else { cells(n) };
        let mut runs: Vec<RunInput> = Vec::new();
        for _ in 0..n_passes {
            for cell in &page {
                runs.push(RunInput {
                    cell: cell.id.clone(),
                    source: cell.source.clone(),
                    number: u32::try_from(runs.len() + 1).ok(),
                    ..RunInput::default()
                });
            }
        }
        let mut bench = Workbench::new();
        let mut timed = |page: &[CellInput], runs: &[RunInput]| {
            let started = Instant::now();
            let verdicts = bench.verdicts(page, runs);
            assert_eq!(verdicts.len(), page.len());
            started.elapsed()
        };
        let first = timed(&page, &runs);
        let at = if is_chain { 0 } else { 3 };
        let old = page[at].source.clone();
        let edits = (0..21).map(|n| {
            page[at].source = format!("{old}\nscale = table0 = {n}");
            timed(&page, &runs)
        });
        let edits = median(edits.collect());
        let same = median((0..21).map(|_| timed(&page, &runs)).collect());
        let added = (0..21).map(|_| {
            let cell = &page[at];
            runs.push(RunInput {
                cell: cell.id.clone(),
                source: cell.source.clone(),
                ..RunInput::default()
            });
            timed(&page, &runs)
        });
        let added = median(added.collect());
        println!(
            "{n:5} {:5} {:11.1} {edits:5.2} {same:10.2} {added:8.2}",
            n * n_passes,
            first.as_secs_f64() * 1000.0
        );
    }
}
