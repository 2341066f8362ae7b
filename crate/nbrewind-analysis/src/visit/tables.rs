//! Which columns of a table an expression looks at, where its text says so: `df.groupby('town')['score'].mean()` depends
//! on two columns and on which rows there are.
//!
//! Invariant: whatever the other columns hold, and whether they are there, the expression gives the same. So only steps
//! are followed that are known, with their columns as constants; whether the thing is a table is for the pass to say.

use super::questions::is_mask_of;
use crate::facts::Key;
use crate::knowledge::{self, Section};
use crate::name::Name;
use crate::syntax::{Expr, Ranged, ast};

/// The name of a table, by where it stands, and the columns that are looked at.
pub(super) struct Columns {
    pub at: usize,
    pub names: Vec<String>,
}

/// A column as a step of a path.
pub(super) fn column_key(column: &str) -> Key {
    Key::Item(Name::joined(&["s:", column]))
}

pub(super) fn column_keys(columns: &[String]) -> Box<[Key]> {
    columns.iter().map(|column| column_key(column)).collect()
}

/// A constant column, or a display of such.
fn constants(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::StringLiteral(node) => Some(vec![node.value.to_str().to_owned()]),
        Expr::List(node) => strings(&node.elts),
        _ => None,
    }
}

fn strings(elements: &[Expr]) -> Option<Vec<String>> {
    let elements = elements.iter().map(|element| match element {
        Expr::StringLiteral(node) => Some(node.value.to_str().to_owned()),
        _ => None,
    });
    elements.collect()
}

/// `df[['a', 'b']]`
pub(super) fn is_list_of_columns(slice: &Expr) -> bool {
    matches!(slice, Expr::List(node) if !node.elts.is_empty() && strings(&node.elts).is_some())
}

/// The columns that a whole chain looks at: attributes and items, and a method at its end that the caller calls.
pub(super) fn of_chain(expr: &Expr, method: Option<&str>) -> Option<Columns> {
    let (inner, names, is_last) = first_pick(expr)?;
    if let Expr::Call(call) = inner
        && let Some((table, by)) = grouped(call)
    {
        // Grouped columns are only looked at by what makes something of them.
        let method = method.filter(|_| is_last)?;
        let is_made = knowledge::has(Section::GroupMethods, method)
            || method == "apply"
                && matches!(expr, Expr::Subscript(node) if node.slice.is_string_literal_expr());
        return is_made.then(|| of_table(table, with(names, by))).flatten();
    }
    of_table(inner, names)
}

/// The columns that a call of a method looks at.
pub(super) fn of_call(node: &ast::ExprCall) -> Option<Columns> {
    let Expr::Attribute(func) = &*node.func else {
        return None;
    };
    let method = func.attr.as_str();
    if let Expr::Call(call) = &*func.value
        && let Some((table, by)) = grouped(call)
    {
        let names = match method {
            "size" | "ngroup" if node.arguments.is_empty() => Vec::new(),
            "agg" | "aggregate" => aggregated(&node.arguments)?,
            _ => return None,
        };
        return of_table(table, with(names, by));
    }
    let keywords: &[&str] = match method {
        "pivot_table" | "pivot" => &["index", "columns", "values"],
        "melt" => &["id_vars", "value_vars"],
        _ => return None,
    };
    if !node.arguments.args.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    if method == "melt" {
        // A column that is called as the new one must not be there.
        match node.arguments.find_keyword("value_name") {
            Some(found) => names.extend(constants(&found.value)?),
            None => names.push("value".to_owned()),
        }
    }
    for keyword in keywords {
        match node.arguments.find_keyword(keyword) {
            Some(found) => names.extend(constants(&found.value)?),
            // Without values all other columns are taken.
            None if matches!(*keyword, "values" | "value_vars") => return None,
            None => {}
        }
    }
    // `**options` may hold anything.
    let is_named = node
        .arguments
        .keywords
        .iter()
        .all(|keyword| keyword.arg.is_some());
    is_named.then(|| of_table(&func.value, names)).flatten()
}

/// The first step of a chain that picks columns, what it picks them from, and whether it is the only step.
fn first_pick(expr: &Expr) -> Option<(&Expr, Vec<String>, bool)> {
    let mut at = expr;
    let mut found = None;
    loop {
        match at {
            Expr::Attribute(node) => at = &node.value,
            Expr::Subscript(node) => {
                if let Some(names) = constants(&node.slice).filter(|names| !names.is_empty()) {
                    found = Some((&*node.value, names, std::ptr::eq(at, expr)));
                } else if let Some(names) = located(node) {
                    let Expr::Attribute(loc) = &*node.value else {
                        return None;
                    };
                    found = Some((&*loc.value, names, std::ptr::eq(at, expr)));
                }
                at = &node.value;
            }
            _ => break,
        }
    }
    // A column of a name is a path of its own, which the pass follows already.
    let (inner, names, is_last) = found?;
    let is_path = inner.is_name_expr() && names.len() == 1 && !is_located(expr);
    (!is_path).then_some((inner, names, is_last))
}

fn is_located(expr: &Expr) -> bool {
    match expr {
        Expr::Attribute(node) => node.attr.as_str() == "loc" || is_located(&node.value),
        Expr::Subscript(node) => is_located(&node.value),
        _ => false,
    }
}

/// `df.loc[rows, 'a']`, `df.loc[rows, ['a', 'b']]`
fn located(node: &ast::ExprSubscript) -> Option<Vec<String>> {
    match (&*node.value, &*node.slice) {
        (Expr::Attribute(loc), Expr::Tuple(slice)) if loc.attr.as_str() == "loc" => {
            match &slice.elts[..] {
                [_, columns] => constants(columns).filter(|names| !names.is_empty()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `df.groupby('a')`: the table and its keys.
fn grouped(call: &ast::ExprCall) -> Option<(&Expr, Vec<String>)> {
    let Expr::Attribute(func) = &*call.func else {
        return None;
    };
    let is_plain = call.arguments.keywords.iter().all(|keyword| {
        let name = keyword.arg.as_ref().map_or("", |name| name.as_str());
        matches!(
            name,
            "as_index" | "sort" | "observed" | "dropna" | "group_keys"
        )
    });
    match &call.arguments.args[..] {
        [by] if func.attr.as_str() == "groupby" && is_plain => Some((&func.value, constants(by)?)),
        _ => None,
    }
}

/// The columns of `agg(mean=('a', 'mean'))` and `agg({'a': 'sum'})`.
fn aggregated(arguments: &ast::Arguments) -> Option<Vec<String>> {
    if let [Expr::Dict(node)] = &arguments.args[..]
        && arguments.keywords.is_empty()
    {
        let keys: Option<Vec<&Expr>> = node.items.iter().map(|item| item.key.as_ref()).collect();
        let keys = keys?.into_iter().map(constants);
        return keys.collect::<Option<Vec<_>>>().map(|names| names.concat());
    }
    if !arguments.args.is_empty() || arguments.keywords.is_empty() {
        return None;
    }
    let names = arguments.keywords.iter().map(|keyword| {
        keyword.arg.as_ref()?;
        match &keyword.value {
            Expr::Tuple(node) => match &node.elts[..] {
                [Expr::StringLiteral(column), _] => Some(column.value.to_str().to_owned()),
                _ => None,
            },
            _ => None,
        }
    });
    names.collect()
}

/// `df.loc[rows, 'a'] = 1`: the table and the column that is stored to, where the rows are picked out of those that are
/// there. A label of a row that is not there would be a new row.
pub(super) fn stored(target: &Expr) -> Option<(&str, String)> {
    let Expr::Subscript(node) = target else {
        return None;
    };
    let (Expr::Attribute(loc), Expr::Tuple(slice)) = (&*node.value, &*node.slice) else {
        return None;
    };
    let (Expr::Name(table), [rows, Expr::StringLiteral(column)]) = (&*loc.value, &slice.elts[..])
    else {
        return None;
    };
    let table = table.id.as_str();
    let is_column = |rows: &Expr| match rows {
        Expr::Subscript(rows) => {
            matches!(&*rows.value, Expr::Name(name) if name.id.as_str() == table)
                && rows.slice.is_string_literal_expr()
        }
        _ => false,
    };
    let is_all = |rows: &Expr| matches!(rows, Expr::Slice(rows) if rows.lower.is_none() && rows.upper.is_none());
    let picks = is_mask_of(rows, table) || is_column(rows) || is_all(rows);
    (loc.attr.as_str() == "loc" && picks).then(|| (table, column.value.to_str().to_owned()))
}

/// The columns that `df.drop(columns=...)` and `df.rename(columns=...)` change.
pub(super) fn replaced(node: &ast::ExprCall) -> Vec<String> {
    let Expr::Attribute(func) = &*node.func else {
        return Vec::new();
    };
    let arguments = &node.arguments;
    let is_plain = arguments.args.is_empty()
        && arguments.keywords.iter().all(|keyword| {
            let name = keyword.arg.as_ref().map_or("", |name| name.as_str());
            matches!(name, "columns" | "inplace" | "errors")
        });
    let Some(columns) = arguments.find_keyword("columns").filter(|_| is_plain) else {
        return Vec::new();
    };
    match (func.attr.as_str(), &columns.value) {
        ("drop", columns) => constants(columns).unwrap_or_default(),
        ("rename", Expr::Dict(names)) => {
            let pairs = names.items.iter().map(|item| {
                let old = constants(item.key.as_ref()?)?;
                Some(with(old, constants(&item.value)?))
            });
            pairs
                .collect::<Option<Vec<_>>>()
                .map_or_else(Vec::new, |names| names.concat())
        }
        _ => Vec::new(),
    }
}

/// Through methods that leave the columns as they are, down to the name of the table.
fn of_table(expr: &Expr, names: Vec<String>) -> Option<Columns> {
    match expr {
        Expr::Name(node) => Some(Columns {
            at: node.start().to_usize(),
            names,
        }),
        Expr::Subscript(node) => {
            if is_list_of_columns(&node.slice) {
                return of_table(&node.value, constants(&node.slice)?);
            }
            if let (Some(names), Expr::Attribute(loc)) = (located(node), &*node.value) {
                return of_table(&loc.value, names);
            }
            match &*node.value {
                Expr::Name(name) if is_mask_of(&node.slice, name.id.as_str()) => {
                    of_table(&node.value, names)
                }
                _ => None,
            }
        }
        Expr::Call(node) => {
            let Expr::Attribute(func) = &*node.func else {
                return None;
            };
            let arguments = &node.arguments;
            let keyword = |name: &str| arguments.find_keyword(name).map(|found| &found.value);
            let first = || arguments.args.first();
            let looked_at = match func.attr.as_str() {
                "sort_values" => constants(keyword("by").or_else(first)?)?,
                "drop_duplicates" | "dropna" => constants(keyword("subset")?)?,
                "set_index" => constants(keyword("keys").or_else(first)?)?,
                "nlargest" | "nsmallest" => {
                    constants(keyword("columns").or_else(|| arguments.args.get(1))?)?
                }
                // The index becomes a column, whose name must be free; most have none of their own.
                "reset_index" if arguments.args.is_empty() => strings_of(&["index", "level_0"]),
                "copy" | "sort_index" if arguments.args.is_empty() => Vec::new(),
                "head" | "tail" => Vec::new(),
                _ => return None,
            };
            let is_plain = arguments.keywords.iter().all(|keyword| {
                let name = keyword.arg.as_ref().map_or("", |name| name.as_str());
                !matches!(name, "" | "inplace" | "axis" | "key" | "level" | "names")
            });
            is_plain
                .then(|| of_table(&func.value, with(names, looked_at)))
                .flatten()
        }
        _ => None,
    }
}

fn strings_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn with(mut names: Vec<String>, more: Vec<String>) -> Vec<String> {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
