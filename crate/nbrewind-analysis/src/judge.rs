//! How calls of code that is not in the notebook change what they are given, as far as their names tell.

use crate::knowledge::{self, Section};
use crate::name::Name;

/// How a callee changes what it is given.
#[derive(Debug, Clone)]
pub(crate) struct Judgement {
    pub changes_receiver: bool,
    /// `None`: every argument may change.
    pub changed_arguments: Option<Vec<usize>>,
    /// The callee is a name that another cell may define: only the dataflow pass can tell.
    pub is_open: bool,
    /// The result shares nothing with receiver or arguments.
    pub is_fresh: bool,
}

/// What is called, as far as it is looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Called {
    Name(Name),
    /// A function of a module, or of something in one.
    InModule,
    Method(Name),
    Other,
}

/// `full` is the dotted name, if it is known.
pub(crate) fn judge(full: Option<Name>, called: Called, is_inplace: bool) -> Judgement {
    let mut judgement = Judgement {
        changes_receiver: false,
        changed_arguments: None,
        is_open: false,
        is_fresh: false,
    };
    match called {
        Called::Name(name) => {
            let full = full.unwrap_or(name);
            judgement.changed_arguments = knowledge::mutated_arguments(full);
            judgement.is_open = judgement.changed_arguments.is_none();
            judgement.is_fresh = full.is_in(Section::FreshBuiltins)
                || (full.contains('.') && !judgement.is_open && is_plain_function(full));
        }
        Called::InModule => {
            let full = full.unwrap_or_default();
            judgement.changed_arguments = knowledge::mutated_arguments(full);
            judgement.is_fresh = judgement.changed_arguments.is_some() && is_plain_function(full);
        }
        Called::Method(method) => {
            if is_inplace {
                judgement.changes_receiver = true;
                judgement.changed_arguments = Some(Vec::new());
            } else if method.is_in(Section::FillsArgumentMethods) {
                judgement.changes_receiver = true;
                judgement.changed_arguments = Some(vec![0]);
            } else if method.is_in(Section::PureMethods) {
                judgement.changed_arguments = Some(Vec::new());
                judgement.is_fresh = !method.is_in(Section::ViewMethods);
            } else if method.is_in(Section::ReceiverOnlyMethods) {
                judgement.changes_receiver = true;
                judgement.changed_arguments = Some(Vec::new());
            } else {
                judgement.changes_receiver = true;
            }
        }
        Called::Other => {}
    }
    judgement
}

/// Functions of known libraries give new objects; classes keep what they are given.
fn is_plain_function(full: Name) -> bool {
    let last = full.text().rsplit('.').next().unwrap_or_default();
    !full.is_in(Section::ViewFunctions) && !last.starts_with(|first: char| first.is_uppercase())
        || full.is_in(Section::FrameMakers)
}

/// Methods of axes that draw, and of tables that do not change by it.
pub(crate) fn is_drawing(method: Name) -> bool {
    method.is_in(Section::PureMethods) && matches!(method.text(), "plot" | "hist" | "boxplot")
}

/// Makes a new container with the items of the one that is given.
pub(crate) fn copies_items(full: &str) -> bool {
    matches!(
        full,
        "list" | "dict" | "set" | "tuple" | "sorted" | "reversed" | "frozenset"
    )
}

/// Names under which IPython keeps what cells gave.
pub(crate) fn is_history_name(name: &str) -> bool {
    if matches!(
        name,
        "_" | "__"
            | "___"
            | "Out"
            | "In"
            | "_i"
            | "_ii"
            | "_iii"
            | "_ih"
            | "_oh"
            | "_dh"
            | "_exit_code"
    ) {
        return true;
    }
    let digits = name.strip_prefix("_i").or_else(|| name.strip_prefix('_'));
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}
