//! Runs every case of `tests/cases`: what is stale after which edit.

use nbrewind_analysis::{CellInput, CellState, RunInput, Verdict, VerdictState, Workbench, stale};
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Default)]
struct Case {
    title: String,
    cells: Vec<CellInput>,
    edits: Vec<Edit>,
    stale: Option<BTreeSet<String>>,
    unknown: Option<BTreeSet<String>>,
    may: BTreeSet<String>,
    reasons: Vec<(String, String)>,
}

enum Edit {
    Text(String, String),
    Delete(String),
    Move(String, String),
    Insert(String, Option<String>, String),
    Rename(String, String),
}

fn unescape(text: &str) -> String {
    match text
        .strip_prefix("<<")
        .and_then(|rest| rest.strip_suffix(">>"))
    {
        Some(inner) => inner
            .replace("\\n", "\n")
            .replace("\\r", "\r")
            .replace("\\t", "\t")
            .replace("\\u{feff}", "\u{feff}"),
        None => text.to_owned(),
    }
}

fn ids(text: &str) -> BTreeSet<String> {
    text.split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty() && *id != "nothing")
        .map(str::to_owned)
        .collect()
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case {
                title: title.to_owned(),
                ..Case::default()
            });
            continue;
        }
        let (Some(case), Some(line)) = (cases.last_mut(), line.strip_prefix("    ")) else {
            continue;
        };
        if let Some(more) = line.trim_start().strip_prefix('|') {
            let more = more.strip_prefix(' ').unwrap_or(more);
            let text = match case.edits.last_mut() {
                Some(Edit::Text(_, text) | Edit::Insert(_, _, text)) => text,
                _ => {
                    &mut case
                        .cells
                        .last_mut()
                        .expect("a cell before its continuation")
                        .source
                }
            };
            text.push('\n');
            text.push_str(more);
        } else if let Some((id, text)) = line
            .strip_prefix("cell ")
            .and_then(|rest| rest.split_once(':'))
        {
            case.cells.push(CellInput {
                id: id.to_owned(),
                source: unescape(text.trim()),
                tags: Vec::new(),
            });
        } else if let Some((id, text)) = line
            .strip_prefix("edit ")
            .and_then(|rest| rest.split_once(':'))
        {
            case.edits
                .push(Edit::Text(id.to_owned(), unescape(text.trim())));
        } else if let Some(id) = line.strip_prefix("delete ") {
            case.edits.push(Edit::Delete(id.trim().to_owned()));
        } else if let Some((id, before)) = line
            .strip_prefix("move ")
            .and_then(|rest| rest.split_once(" before "))
        {
            case.edits
                .push(Edit::Move(id.to_owned(), before.trim().to_owned()));
        } else if let Some((id, new)) = line
            .strip_prefix("rename ")
            .and_then(|rest| rest.split_once(" to "))
        {
            case.edits
                .push(Edit::Rename(id.to_owned(), new.trim().to_owned()));
        } else if let Some((place, text)) = line
            .strip_prefix("insert ")
            .and_then(|rest| rest.split_once(':'))
        {
            let (id, before) = match place.split_once(" before ") {
                Some((id, before)) => (id, Some(before.to_owned())),
                None => (place.trim_end_matches(" at end"), None),
            };
            case.edits
                .push(Edit::Insert(id.to_owned(), before, unescape(text.trim())));
        } else if let Some(list) = line.strip_prefix("stale =") {
            case.stale = Some(ids(list));
        } else if let Some(list) = line.strip_prefix("unknown =") {
            case.unknown = Some(ids(list));
        } else if let Some(list) = line.strip_prefix("may =") {
            case.may = ids(list);
        } else if let Some((id, text)) = line
            .strip_prefix("reason ")
            .and_then(|rest| rest.split_once(':'))
        {
            case.reasons.push((id.to_owned(), text.trim().to_owned()));
        } else if !line.trim().is_empty() {
            panic!("{}: what does this line mean? {line:?}", case.title);
        }
    }
    cases
}

fn edited(case: &Case) -> Vec<CellInput> {
    let mut cells = case.cells.clone();
    let position = |cells: &[CellInput], id: &str| {
        cells
            .iter()
            .position(|cell| cell.id == id)
            .expect("a cell of this id")
    };
    for edit in &case.edits {
        match edit {
            Edit::Text(id, text) => {
                let at = position(&cells, id);
                cells[at].source = text.clone();
            }
            Edit::Delete(id) => {
                let at = position(&cells, id);
                cells.remove(at);
            }
            Edit::Move(id, before) => {
                let at = position(&cells, id);
                let cell = cells.remove(at);
                let at = position(&cells, before);
                cells.insert(at, cell);
            }
            Edit::Insert(id, before, text) => {
                let at = before
                    .as_ref()
                    .map_or(cells.len(), |before| position(&cells, before));
                cells.insert(
                    at,
                    CellInput {
                        id: id.clone(),
                        source: text.clone(),
                        tags: Vec::new(),
                    },
                );
            }
            Edit::Rename(id, new) => {
                let at = position(&cells, id);
                cells[at].id = new.clone();
            }
        }
    }
    cells
}

/// The only place that calls the analysis. Gives the complaints about a case.
fn check(case: &Case) -> Vec<String> {
    let after = edited(case);
    let found = stale(&case.cells, &after, None);
    let of_state = |states: &[CellState]| -> BTreeSet<String> {
        found
            .states
            .iter()
            .filter(|(_, state)| states.contains(state))
            .map(|(id, _)| id.clone())
            .collect()
    };
    let flagged = of_state(&[CellState::Stale, CellState::Unknown]);
    let mut complaints = Vec::new();
    let Some(expected) = &case.stale else {
        return vec!["no `stale =` line".to_owned()];
    };
    for id in expected.difference(&flagged) {
        complaints.push(format!("missed: {id}"));
    }
    for id in flagged.difference(expected) {
        if !case.may.contains(id) {
            complaints.push(format!(
                "false: {id} ({})",
                found.reasons.get(id).map_or("", |reason| reason)
            ));
        }
    }
    if let Some(unknown) = &case.unknown {
        let flagged = of_state(&[CellState::Unknown]);
        if *unknown != flagged {
            complaints.push(format!(
                "unknown: expected {unknown:?}, found {flagged:?}: {:?}",
                found.reasons
            ));
        }
    }
    for (id, text) in &case.reasons {
        let reason = found.reasons.get(id).map_or("", |reason| reason);
        if !reason.contains(text.as_str()) {
            complaints.push(format!(
                "reason of {id}: {reason:?} does not contain {text:?}"
            ));
        }
    }
    for id in flagged {
        if found
            .reasons
            .get(&id)
            .is_none_or(|reason| reason.is_empty())
        {
            complaints.push(format!("no reason for {id}"));
        }
    }
    complaints
}

#[test]
fn every_case_holds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("tests/cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "md")
                && !path.ends_with("README.md")
        })
        .collect();
    files.sort();
    let mut n_cases = 0;
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable case file");
        for case in parse(&text) {
            n_cases += 1;
            let complaints = check(&case);
            if !complaints.is_empty() {
                failures.push(format!("{}: {}", case.title, complaints.join("; ")));
            }
        }
    }
    assert!(n_cases >= 48, "only {n_cases} cases were found");
    assert!(
        failures.is_empty(),
        "{} of {n_cases} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn all_cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases");
    let mut cases = Vec::new();
    for name in ["table", "variants", "sessions", "more"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.md")));
        cases.extend(parse(&text.expect("a readable case file")));
    }
    cases
}

fn runs_of(cells: &[CellInput]) -> Vec<RunInput> {
    let cells = cells.iter();
    cells
        .map(|cell| RunInput {
            cell: cell.id.clone(),
            source: cell.source.clone(),
            ..RunInput::default()
        })
        .collect()
}

fn flagged(verdicts: &[Verdict]) -> BTreeSet<String> {
    let flagged = verdicts.iter().filter(|verdict| {
        matches!(
            verdict.state,
            VerdictState::Stale | VerdictState::UpstreamEdited | VerdictState::Unknown
        )
    });
    flagged.map(|verdict| verdict.id.clone()).collect()
}

/// A session in which every cell ran once, in order, is what `stale` judges; running the edited cells as well changes
/// nothing for the others.
#[test]
fn a_live_session_flags_what_a_comparison_of_notebooks_flags() {
    for case in all_cases() {
        let after = edited(&case);
        let found = stale(&case.cells, &after, None);
        let of_state = |wanted: &[CellState]| -> BTreeSet<String> {
            let states = found.states.iter();
            states
                .filter(|(_, state)| wanted.contains(state))
                .map(|(id, _)| id.clone())
                .collect()
        };
        let expected = of_state(&[CellState::Stale, CellState::Unknown]);
        let edits = of_state(&[CellState::Edited, CellState::New]);
        let mut runs = runs_of(&case.cells);
        let mut bench = Workbench::new();
        assert_eq!(
            flagged(&bench.verdicts(&after, &runs)),
            expected,
            "{}",
            case.title
        );
        let again = runs_of(&after).into_iter();
        let again = again.filter(|run| {
            let is_broken = !nbrewind_analysis::analyze_cell(&run.source)
                .parse_errors
                .is_empty();
            edits.contains(&run.cell) && !is_broken
        });
        runs.extend(again);
        let others: BTreeSet<String> = flagged(&bench.verdicts(&after, &runs))
            .difference(&edits)
            .cloned()
            .collect();
        assert_eq!(others, expected, "{} (run)", case.title);
    }
}

/// Running the whole page again makes everything fresh, whatever the first time left behind.
#[test]
fn running_the_page_again_leaves_nothing_stale() {
    for case in all_cases() {
        let mut runs = runs_of(&case.cells);
        runs.extend(runs_of(&case.cells));
        let verdicts = Workbench::new().verdicts(&case.cells, &runs);
        let flagged: Vec<&Verdict> = verdicts
            .iter()
            .filter(|verdict| verdict.state != VerdictState::Fresh)
            .collect();
        assert!(flagged.is_empty(), "{}: {flagged:?}", case.title);
    }
}
