//! What a recorded run says beside the text: it adds what the text hides, and takes away what did not happen.

use nbrewind_analysis::{CellInput, RecordedCell, RecordedFacts, stale};

fn cells(page: &[(&str, &str)]) -> Vec<CellInput> {
    let cell = |&(id, source): &(&str, &str)| CellInput {
        id: id.to_owned(),
        source: source.to_owned(),
        tags: Vec::new(),
    };
    page.iter().map(cell).collect()
}

/// Flagged cells of `edited` that the run of `audited` had, without and with these facts about one cell.
fn flagged(
    audited: &[(&str, &str)],
    edited: &[(&str, &str)],
    of: &str,
    facts: RecordedCell,
) -> [Vec<String>; 2] {
    let facts = RecordedFacts {
        cells: [(of.to_owned(), facts)].into(),
    };
    [None, Some(&facts)].map(|facts| {
        let found = stale(&cells(audited), &cells(edited), facts);
        let found = found.stale.into_iter().chain(found.unknown);
        let is_own = |id: &String| {
            audited
                .iter()
                .any(|cell| edited.contains(cell) && cell.0 == id)
        };
        found.filter(is_own).collect()
    })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

const GROUPS: [(&str, &str); 3] = [
    (
        "a",
        "import pandas as pd\nfrom tools import split\ndata = pd.read_csv('t.csv')",
    ),
    // What a function of somebody else's gives may be a part of what it was given.
    ("b", "groups = split(data)"),
    ("c", "print(groups)"),
];

fn groups_are_apart() -> RecordedCell {
    RecordedCell {
        writes: names(&["groups"]),
        apart: names(&["groups"]),
        ..RecordedCell::default()
    }
}

#[test]
fn what_shared_nothing_is_not_changed_through_another_name() {
    let mut edited = GROUPS.to_vec();
    edited.insert(2, ("new", "data.drop(index=0, inplace=True)"));
    let found = flagged(&GROUPS, &edited, "b", groups_are_apart());
    assert_eq!(found, [names(&["c"]), names(&[])]);
}

#[test]
fn what_shared_nothing_still_comes_from_its_inputs() {
    let mut edited = GROUPS.to_vec();
    edited[0].1 = "import pandas as pd\nfrom tools import split\ndata = pd.read_csv('u.csv')";
    edited.insert(2, ("new", "data.drop(index=0, inplace=True)"));
    let found = flagged(&GROUPS, &edited, "b", groups_are_apart());
    assert_eq!(found, [names(&["b", "c"]), names(&["b", "c"])]);
}

#[test]
fn facts_belong_to_the_text_that_was_run() {
    let mut edited = GROUPS.to_vec();
    edited[1].1 = "groups = {n: part for n, part in data.groupby('g')}";
    let found = flagged(&GROUPS, &edited, "b", groups_are_apart());
    assert_eq!(found, [names(&["c"]), names(&["c"])]);
}

#[test]
fn a_change_that_the_text_hides_counts() {
    let audited = [("a", "box = [1]"), ("b", "len(box)"), ("c", "print(box)")];
    let edited = [("a", "box = [1]"), ("c", "print(box)")];
    let facts = RecordedCell {
        mutates: names(&["box"]),
        ..RecordedCell::default()
    };
    assert_eq!(
        flagged(&audited, &edited, "b", facts),
        [names(&[]), names(&["c"])]
    );
}

#[test]
fn a_name_that_the_text_hides_counts() {
    let audited = [("a", "prepare()"), ("b", "print(made)")];
    let edited = [("b", "print(made)")];
    let facts = RecordedCell {
        writes: names(&["made"]),
        ..RecordedCell::default()
    };
    assert_eq!(
        flagged(&audited, &edited, "a", facts),
        [names(&[]), names(&["b"])]
    );
}

#[test]
fn a_name_that_was_put_together_still_stands_for_what_was_put_there() {
    let page = [
        ("a", "runs = [{'u': 1}]"),
        (
            "b",
            "for run in runs:\n    globals()[f\"run_{run['u']}\"] = run",
        ),
        ("c", "print(runs)"),
    ];
    let mut edited = page.to_vec();
    edited.insert(2, ("new", "other = run_1\nother.pop('u')"));
    let wrote = RecordedCell {
        writes: names(&["run", "run_1"]),
        ..RecordedCell::default()
    };
    let found = flagged(&page, &edited, "b", wrote);
    assert_eq!(found, [names(&["c"]), names(&["c"])]);
}
