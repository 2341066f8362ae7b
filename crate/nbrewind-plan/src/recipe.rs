//! Recipes: the statements of a cell that rebuild what cannot be stored.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What the slice needs to know of one top-level statement.
#[derive(Debug, Clone, Default, Deserialize)]
struct Statement {
    #[serde(default)]
    reads: BTreeSet<String>,
    #[serde(default)]
    writes: BTreeSet<String>,
    #[serde(default)]
    mutates: BTreeSet<String>,
}

/// A minimal backward slice of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slice {
    /// Positions of the statements, in order of execution.
    pub statements: Vec<usize>,
    /// Names that must be there before, with the content that they had when the cell began.
    pub needs: BTreeSet<String>,
}

/// The statements (JSON, as the analysis gives them) that make or change the `wanted` names, and what those need.
///
/// A statement that may change a wanted object counts, because a recipe must give the object as the cell left it.
///
/// # Errors
/// When the statements do not have the form that the analysis gives.
pub fn slice(
    statements: &serde_json::Value,
    wanted: &BTreeSet<String>,
) -> Result<Slice, serde_json::Error> {
    let statements: Vec<Statement> = serde_json::from_value(statements.clone())?;
    let mut wanted = wanted.clone();
    let mut chosen = Vec::new();
    for (index, statement) in statements.iter().enumerate().rev() {
        if statement.writes.is_disjoint(&wanted) && statement.mutates.is_disjoint(&wanted) {
            continue;
        }
        chosen.push(index);
        for name in &statement.writes {
            if !statement.reads.contains(name) && !statement.mutates.contains(name) {
                wanted.remove(name);
            }
        }
        wanted.extend(statement.reads.iter().cloned());
        wanted.extend(statement.mutates.iter().cloned());
    }
    chosen.reverse();
    Ok(Slice {
        statements: chosen,
        needs: wanted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(statements: serde_json::Value, wanted: &[&str], chosen: &[usize], needs: &[&str]) {
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<BTreeSet<_>>()
        };
        let found = slice(&statements, &set(wanted)).expect("statements");
        assert_eq!(
            found,
            Slice {
                statements: chosen.to_vec(),
                needs: set(needs)
            }
        );
    }

    #[test]
    fn a_client_does_not_need_the_data_beside_it() {
        // from dask.distributed import Client | make_data() | client = Client(address)
        check(
            json!([
                {"writes": ["Client"]},
                {"reads": ["make_data"]},
                {"reads": ["Client", "address"], "writes": ["client"]}
            ]),
            &["client"],
            &[0, 2],
            &["address"],
        );
    }

    #[test]
    fn what_was_done_to_the_object_belongs_to_its_recipe() {
        // gen = (i for i in data) | next(gen)
        check(
            json!([{"reads": ["data"], "writes": ["gen"]}, {"reads": ["gen"], "mutates": ["gen"]}]),
            &["gen"],
            &[0, 1],
            &["data"],
        );
    }

    #[test]
    fn an_augmented_assignment_needs_the_value_before() {
        check(
            json!([{"reads": ["x"], "writes": ["x"], "mutates": ["x"]}]),
            &["x"],
            &[0],
            &["x"],
        );
    }
}
