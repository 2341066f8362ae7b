//! What passes in and out of the [`Workbench`](crate::Workbench): what a kernel ran, and how every cell stands.

use serde::{Deserialize, Deserializer, Serialize};

/// One run of a text in this kernel. Fields that are not listed here are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct RunInput {
    /// The id of the cell; empty, null or left out for a run from elsewhere, such as a console.
    #[serde(default, deserialize_with = "null_is_empty")]
    #[cfg_attr(feature = "types", ts(as = "Option<String>", optional = nullable))]
    pub cell: String,
    /// The text that was sent, which need not be the text on the page.
    pub source: String,
    /// The number in brackets beside the cell, once it is known.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(optional = nullable))]
    pub number: Option<u32>,
    /// How it went.
    pub status: RunStatus,
    /// Where its effects came from.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<RunHow>", optional))]
    pub how: RunHow,
    /// A restore went back behind it: it is not part of the state.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<bool>", optional))]
    pub undone: bool,
    /// A fingerprint of what the run left behind: a cell that ran again with the same result makes nothing doubtful.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(optional = nullable))]
    pub result: Option<String>,
    /// Files and folders that it read and that something outside the notebook has changed since.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub outside: Vec<String>,
}

/// How a run went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// It has begun, or is queued.
    Running,
    /// To the end.
    #[default]
    Ok,
    /// With an exception.
    Failed,
    /// The user stopped it.
    Interrupted,
}

/// Where the effects of a run came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum RunHow {
    /// The code ran.
    #[default]
    Executed,
    /// From the record of an earlier run.
    Replayed,
    /// The state after an earlier run was brought back.
    Restored,
}

/// How a cell on the page stands towards its last run in this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum VerdictState {
    /// No run in this kernel.
    NeverRun,
    /// Its run has begun or is queued.
    Running,
    /// Its text differs from what was sent.
    Edited,
    /// Its last run failed or was interrupted.
    Failed,
    /// A run from the top would give it other inputs, even with all edits undone.
    Stale,
    /// A run from the top would give it other inputs, because a cell was edited or has not run.
    UpstreamEdited,
    /// Its inputs may differ.
    Unknown,
    /// Its run came after the state that was restored.
    Ahead,
    /// Nothing that can reach it differs; its last run was replayed or restored.
    Replayed,
    /// Nothing that can reach it differs.
    Fresh,
}

/// What is behind a verdict that comes from other cells, for programs; the sentence says it to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A cell above was edited and has not run since.
    Edited,
    /// A cell above has not run.
    NotRun,
    /// A cell above failed or was interrupted.
    Failed,
    /// A cell above ran later, with another result.
    RanLater,
    /// A cell above ran again and depends on what lies outside: random numbers, files, the network, the clock. Or a file
    /// that the cell read is another one now.
    Outside,
    /// A cell above is stale itself.
    Upstream,
    /// The cell ran on an input that it had changed before.
    AlreadyChanged,
    /// An input comes from a cell that was deleted.
    DeletedDefinition,
    /// An input comes from a cell that does not set it any more.
    RemovedDefinition,
    /// A cell above deletes an input.
    DeletedName,
    /// An input was set in a console.
    Console,
    /// An input is defined only below: after a restart the cell would not find it.
    DefinedBelow,
    /// The cell took an input from another cell than a run from the top would.
    OutOfOrder,
    /// Code that nothing can see through may have changed an input.
    UnknownCode,
}

/// The verdict on one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct Verdict {
    /// The cell's id.
    pub id: String,
    /// How it stands.
    pub state: VerdictState,
    /// One sentence; empty for a fresh cell.
    pub reason: String,
    /// For cells that are stale, edited above or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "types", ts(optional))]
    pub why: Option<Why>,
    /// Cells to jump to, most relevant first.
    pub because: Vec<Because>,
}

/// A cell that a verdict speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct Because {
    /// What passes from that cell to this one: a name, a file, a variable of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "types", ts(optional))]
    pub name: Option<String>,
    /// The cell's id. A deleted cell is on no page; a console has no cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "types", ts(optional))]
    pub cell: Option<String>,
    /// The number of the run that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "types", ts(optional))]
    pub number: Option<u32>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}
