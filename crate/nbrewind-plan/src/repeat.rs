//! When a recorded run may stand for a real one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One name of a namespace: its content and the names it shares objects with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameFact {
    /// Content fingerprint of the value by itself; none when it cannot be fingerprinted.
    pub fp: Option<String>,
    /// Every name of its co-variable, itself included, sorted.
    #[serde(default)]
    pub group: Vec<String>,
    /// Fingerprint of the whole co-variable, sharing included.
    #[serde(default)]
    pub joint: Option<String>,
}

/// What a run read, or could have read, as it was when the run began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// Names that were there.
    #[serde(default)]
    pub names: BTreeMap<String, NameFact>,
    /// Names of which the run changed the object or its sharing: all that shares with them is an input.
    #[serde(default)]
    pub touched: BTreeSet<String>,
    /// Names that were looked up and missing.
    #[serde(default)]
    pub absent: BTreeSet<String>,
    /// Files and folders by content; none: it did not exist.
    #[serde(default)]
    pub files: BTreeMap<String, Option<String>>,
    /// Environment variables by digest; none: unset.
    #[serde(default)]
    pub env: BTreeMap<String, Option<String>>,
    /// Ambient state by provider.
    #[serde(default)]
    pub ambient: BTreeMap<String, Option<String>>,
    /// The user's own modules by content.
    #[serde(default)]
    pub modules: BTreeMap<String, Option<String>>,
    /// Versions of Python and of packages.
    #[serde(default)]
    pub versions: BTreeMap<String, Option<String>>,
}

/// A run record as far as the rule needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Candidate {
    /// Which run.
    pub run_id: String,
    /// False for runs that are never replayed.
    #[serde(default)]
    pub replayable: bool,
    /// Why they are not.
    #[serde(default)]
    pub why_not: Vec<String>,
    /// What it read.
    pub inputs: Inputs,
}

/// The state now, with a fact for everything any candidate asks about.
pub type State = Inputs;

/// Replay this run, or execute for these reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The newest record that matches, and how many others match as well.
    Replay {
        /// Which record.
        run_id: String,
        /// Further records that match too.
        n_others: usize,
    },
    /// Why the newest record does not match.
    Execute {
        /// One sentence each.
        why: Vec<String>,
    },
}

fn name_mismatch(name: &str, then: &NameFact, recorded: &Inputs, now: &State) -> Option<String> {
    let Some(current) = now.names.get(name) else {
        return Some(format!("`{name}` is not defined now"));
    };
    match (&then.fp, &current.fp) {
        (None, _) | (_, None) => {
            return Some(format!("`{name}` has no content that can be compared"));
        }
        (Some(a), Some(b)) if a != b => return Some(format!("`{name}` changed")),
        _ => {}
    }
    let among_inputs = |group: &[String]| -> BTreeSet<String> {
        group
            .iter()
            .filter(|other| recorded.names.contains_key(*other))
            .cloned()
            .collect()
    };
    let shared_then = among_inputs(&then.group);
    if shared_then != among_inputs(&current.group) {
        return Some(format!(
            "`{name}` shares its object with other names than before"
        ));
    }
    let whole_group_counts = shared_then.len() > 1 || recorded.touched.contains(name);
    if whole_group_counts && then.group != current.group {
        return Some(format!(
            "`{name}` shares its object with other names than before"
        ));
    }
    if shared_then.len() > 1 && (then.joint.is_none() || then.joint != current.joint) {
        return Some(format!(
            "`{name}` and the names it shares objects with changed"
        ));
    }
    None
}

fn outside_mismatch(
    what: &str,
    recorded: &BTreeMap<String, Option<String>>,
    now: &BTreeMap<String, Option<String>>,
) -> Vec<String> {
    recorded
        .iter()
        .filter_map(|(key, then)| match now.get(key) {
            None => Some(format!("{what} {key} could not be checked")),
            Some(current) if current == then => None,
            Some(None) => Some(format!("{what} {key} is gone")),
            Some(Some(_)) if then.is_none() => Some(format!("{what} {key} was not there before")),
            Some(Some(_)) => Some(format!("{what} {key} changed")),
        })
        .collect()
}

/// Every way in which the state differs from what a run had, one sentence each.
fn mismatches(recorded: &Inputs, now: &State) -> Vec<String> {
    let mut why: Vec<String> = recorded
        .names
        .iter()
        .filter_map(|(name, then)| name_mismatch(name, then, recorded, now))
        .collect();
    why.extend(
        recorded
            .absent
            .iter()
            .filter(|name| now.names.contains_key(*name))
            .map(|name| format!("`{name}` was not defined before and is now")),
    );
    why.extend(outside_mismatch("file", &recorded.files, &now.files));
    why.extend(outside_mismatch(
        "environment variable",
        &recorded.env,
        &now.env,
    ));
    why.extend(outside_mismatch(
        "state of",
        &recorded.ambient,
        &now.ambient,
    ));
    why.extend(outside_mismatch("module", &recorded.modules, &now.modules));
    why.extend(outside_mismatch(
        "version of",
        &recorded.versions,
        &now.versions,
    ));
    why
}

/// The newest of `candidates` (oldest first) that may stand for an execution in the state `now`.
#[must_use]
pub fn choose(candidates: &[Candidate], now: &State) -> Decision {
    let judge = |candidate: &Candidate| {
        if candidate.replayable {
            mismatches(&candidate.inputs, now)
        } else if candidate.why_not.is_empty() {
            vec!["its run cannot be replayed".to_owned()]
        } else {
            candidate.why_not.clone()
        }
    };
    let verdicts: Vec<Vec<String>> = candidates.iter().rev().map(judge).collect();
    let matching: Vec<usize> = verdicts
        .iter()
        .enumerate()
        .filter(|(_, why)| why.is_empty())
        .map(|(index, _)| index)
        .collect();
    match matching.first() {
        Some(newest) => Decision::Replay {
            run_id: candidates[candidates.len() - 1 - newest].run_id.clone(),
            n_others: matching.len() - 1,
        },
        // Of several near misses the one with the fewest differences explains best.
        None => Decision::Execute {
            why: verdicts
                .into_iter()
                .min_by_key(Vec::len)
                .unwrap_or_else(|| vec!["this code has not run before".to_owned()]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(found: serde_json::Value) -> Candidate {
        serde_json::from_value(found).expect("a record")
    }

    fn check(recorded: serde_json::Value, now: serde_json::Value, expected: &[&str]) {
        let found = json!({"run_id": "r1", "replayable": true, "inputs": recorded});
        let now: State = serde_json::from_value(now).expect("a state");
        let decision = choose(&[record(found)], &now);
        if expected.is_empty() {
            assert_eq!(
                decision,
                Decision::Replay {
                    run_id: "r1".into(),
                    n_others: 0
                }
            );
        } else {
            let why = expected.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(decision, Decision::Execute { why });
        }
    }

    #[test]
    fn equal_content_is_replayed() {
        let inputs =
            json!({"names": {"x": {"fp": "1", "group": ["x"], "joint": "1"}}, "absent": ["len"]});
        check(inputs.clone(), inputs, &[]);
    }

    #[test]
    fn changed_content_is_not() {
        check(
            json!({"names": {"x": {"fp": "1", "group": ["x"]}}}),
            json!({"names": {"x": {"fp": "2", "group": ["x"]}}}),
            &["`x` changed"],
        );
    }

    #[test]
    fn a_name_that_was_missing_and_is_there_now_is_a_change() {
        check(
            json!({"absent": ["len"]}),
            json!({"names": {"len": {"fp": "1", "group": ["len"]}}}),
            &["`len` was not defined before and is now"],
        );
    }

    #[test]
    fn content_that_cannot_be_compared_never_matches() {
        let opaque = json!({"names": {"gen": {"fp": null, "group": ["gen"]}}});
        check(
            opaque.clone(),
            opaque,
            &["`gen` has no content that can be compared"],
        );
    }

    #[test]
    fn a_reader_of_two_shared_names_does_not_match_two_copies() {
        check(
            json!({"names": {"a": {"fp": "1", "group": ["a", "b"], "joint": "j"},
                             "b": {"fp": "1", "group": ["a", "b"], "joint": "j"}}}),
            json!({"names": {"a": {"fp": "1", "group": ["a"], "joint": "1"},
                             "b": {"fp": "1", "group": ["b"], "joint": "1"}}}),
            &[
                "`a` shares its object with other names than before",
                "`b` shares its object with other names than before",
            ],
        );
    }

    #[test]
    fn a_change_in_place_counts_every_name_that_shares() {
        check(
            json!({"names": {"a": {"fp": "1", "group": ["a"], "joint": "1"}}, "touched": ["a"]}),
            json!({"names": {"a": {"fp": "1", "group": ["a", "b"], "joint": "j"}}}),
            &["`a` shares its object with other names than before"],
        );
    }

    #[test]
    fn a_pure_reader_does_not_care_for_an_alias_it_never_sees() {
        check(
            json!({"names": {"a": {"fp": "1", "group": ["a"], "joint": "1"}}}),
            json!({"names": {"a": {"fp": "1", "group": ["a", "b"], "joint": "j"}}}),
            &[],
        );
    }

    #[test]
    fn a_file_that_did_not_exist_is_an_input() {
        check(
            json!({"files": {"c.pkl": null}}),
            json!({"files": {"c.pkl": "d"}}),
            &["file c.pkl was not there before"],
        );
    }

    #[test]
    fn what_was_not_checked_does_not_match() {
        check(
            json!({"env": {"KEY": "d"}}),
            json!({}),
            &["environment variable KEY could not be checked"],
        );
    }

    #[test]
    fn the_newest_matching_record_is_taken_and_the_others_are_counted() {
        let run = |id: &str| record(json!({"run_id": id, "replayable": true, "inputs": {}}));
        let decision = choose(&[run("old"), run("new")], &State::default());
        assert_eq!(
            decision,
            Decision::Replay {
                run_id: "new".into(),
                n_others: 1
            }
        );
    }

    #[test]
    fn a_record_that_is_not_replayable_says_why() {
        let run =
            json!({"run_id": "r", "replayable": false, "why_not": ["it failed"], "inputs": {}});
        let decision = choose(&[record(run)], &State::default());
        assert_eq!(
            decision,
            Decision::Execute {
                why: vec!["it failed".into()]
            }
        );
    }

    #[test]
    fn code_without_a_record_is_executed() {
        let decision = choose(&[], &State::default());
        assert_eq!(
            decision,
            Decision::Execute {
                why: vec!["this code has not run before".into()]
            }
        );
    }
}
