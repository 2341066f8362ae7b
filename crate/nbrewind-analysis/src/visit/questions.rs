//! Small questions about syntax.

use crate::facts::{Key, Kind, Value};
use crate::fingerprint;
use crate::name::Name;
use crate::syntax::{
    ExceptHandler, Expr, InterpolatedStringElement, Look, Stmt, ast, deeper, look_through,
};
use smallvec::SmallVec;

pub(super) fn literal(expr: &Expr) -> Value {
    Value {
        kind: Kind::Scalar,
        literal: Some(fingerprint::constant(expr)),
        ..Value::default()
    }
}

/// `a.b.c` as text.
pub(super) fn dotted(expr: &Expr) -> Option<Name> {
    let mut parts: SmallVec<[&str; 8]> = SmallVec::new();
    let mut at = expr;
    loop {
        match at {
            Expr::Attribute(node) => {
                parts.extend([node.attr.as_str(), "."]);
                at = &node.value;
            }
            Expr::Name(node) => {
                parts.push(node.id.as_str());
                parts.reverse();
                return (!parts.contains(&"")).then(|| Name::joined(&parts));
            }
            _ => return None,
        }
    }
}

/// The key of a constant subscript. The prefix keeps `d['1']` and `d[1]` apart.
pub(super) fn constant_key(slice: &Expr) -> Key {
    match slice {
        Expr::StringLiteral(node) => super::tables::column_key(node.value.to_str()),
        Expr::NumberLiteral(node) => match &node.value {
            crate::syntax::Number::Int(int) => Key::Item(Name::new(&format!("i:{int}"))),
            _ => Key::Any,
        },
        _ => Key::Any,
    }
}

/// The text of a constant string key.
pub(super) fn item_text(key: Key) -> Option<Name> {
    match key {
        Key::Item(item) => item.text().strip_prefix("s:").map(Name::new),
        _ => None,
    }
}

pub(super) fn items(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(node) => Some(&node.elts),
        Expr::List(node) => Some(&node.elts),
        _ => None,
    }
}

pub(super) fn is_false(expr: &Expr) -> bool {
    matches!(expr, Expr::BooleanLiteral(node) if !node.value)
}

pub(super) fn terminates(body: &[Stmt]) -> bool {
    matches!(
        body.last(),
        Some(Stmt::Raise(_) | Stmt::Return(_) | Stmt::Continue(_) | Stmt::Break(_))
    )
}

pub(super) fn is_only_imports(stmt: &Stmt) -> bool {
    let all = |body: &[Stmt]| {
        body.iter()
            .all(|stmt| is_only_imports(stmt) || matches!(stmt, Stmt::Pass(_)))
            && body.iter().any(is_only_imports)
    };
    match stmt {
        Stmt::Import(_) => true,
        Stmt::ImportFrom(node) => node.names.iter().all(|alias| alias.name.as_str() != "*"),
        Stmt::Try(node) => {
            all(&node.body)
                && node
                    .handlers
                    .iter()
                    .all(|ExceptHandler::ExceptHandler(handler)| {
                        handler
                            .body
                            .iter()
                            .all(|stmt| is_only_imports(stmt) || matches!(stmt, Stmt::Pass(_)))
                    })
                && node.orelse.iter().all(is_only_imports)
                && node.finalbody.iter().all(is_only_imports)
        }
        Stmt::If(node) => {
            all(&node.body)
                && node
                    .elif_else_clauses
                    .iter()
                    .all(|clause| all(&clause.body))
                && !has_call(&node.test)
        }
        _ => false,
    }
}

pub(super) fn has_call(expr: &Expr) -> bool {
    struct Finder(bool);
    impl Look for Finder {
        fn expression(&mut self, expr: &Expr) -> bool {
            self.0 |= expr.is_call_expr();
            true
        }
    }
    let mut finder = Finder(false);
    look_through(expr, &mut finder);
    finder.0
}

pub(super) fn string_constants(expr: &Expr, found: &mut dyn FnMut(&str)) {
    struct Finder<'f>(&'f mut dyn FnMut(&str));
    impl Look for Finder<'_> {
        fn expression(&mut self, expr: &Expr) -> bool {
            if let Expr::StringLiteral(node) = expr {
                (self.0)(node.value.to_str());
            }
            if let Expr::FString(node) = expr {
                for element in node.value.elements() {
                    if let InterpolatedStringElement::Literal(literal) = element {
                        (self.0)(&literal.value);
                    }
                }
            }
            true
        }
    }
    look_through(expr, &mut Finder(found));
}

pub(super) fn target_names(target: &Expr, found: &mut dyn FnMut(&str)) {
    match target {
        Expr::Name(node) => found(node.id.as_str()),
        Expr::Tuple(node) => node
            .elts
            .iter()
            .for_each(|target| target_names(target, found)),
        Expr::List(node) => node
            .elts
            .iter()
            .for_each(|target| target_names(target, found)),
        Expr::Starred(node) => target_names(&node.value, found),
        _ => {}
    }
}

pub(super) fn identifiers(text: &str) -> impl Iterator<Item = Name> + '_ {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| word.starts_with(|first: char| first.is_alphabetic() || first == '_'))
        .map(Name::new)
}

/// The code of `%timeit -n 10 -r3 code`.
pub(crate) fn without_options(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(option) = rest.strip_prefix('-') {
        let (word, after) = option
            .split_once(char::is_whitespace)
            .unwrap_or((option, ""));
        rest = after.trim_start();
        // `-n 10` takes the next word; `-n10` does not.
        if matches!(
            word,
            "n" | "r" | "t" | "p" | "s" | "l" | "f" | "T" | "D" | "m"
        ) && word.len() == 1
        {
            let (value, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if matches!(word, "s" | "l" | "T" | "D" | "f" | "m")
                || value.bytes().all(|byte| byte.is_ascii_digit())
            {
                rest = after.trim_start();
            }
        }
    }
    rest
}

/// `df[df['a'] > 1]`: what a comparison of the thing itself picks out of it is a copy.
pub(super) fn is_mask_of(slice: &Expr, root: &str) -> bool {
    match slice {
        Expr::Compare(node) => {
            let is_about_root = |side: &Expr| names_root(side, root);
            is_about_root(&node.left) || node.comparators.iter().any(is_about_root)
        }
        Expr::BinOp(node) => is_mask_of(&node.left, root) && is_mask_of(&node.right, root),
        Expr::UnaryOp(node) => is_mask_of(&node.operand, root),
        // `df.loc[df['a'] > 1, ['a', 'b']]`
        Expr::Tuple(node) => node.elts.iter().any(|part| is_mask_of(part, root)),
        _ => false,
    }
}

/// Whether a chain of attributes, items and calls begins with this name.
fn names_root(expr: &Expr, root: &str) -> bool {
    match expr {
        Expr::Name(node) => node.id.as_str() == root,
        Expr::Attribute(node) => names_root(&node.value, root),
        Expr::Subscript(node) => names_root(&node.value, root),
        Expr::Call(node) => names_root(&node.func, root),
        _ => false,
    }
}

/// A format that only numbers have: tables, and their texts, fail with it.
fn is_of_numbers(spec: &ast::InterpolatedStringFormatSpec) -> bool {
    match spec.elements.last() {
        Some(InterpolatedStringElement::Literal(text)) => text
            .value
            .ends_with(|last: char| "bcdeEfFgGnoxX%,".contains(last)),
        _ => false,
    }
}

/// Whether what this expression shows is the same whatever the settings of tables and arrays are: it is text, a number
/// or a truth value. `print` is taken to be Python's own.
pub(super) fn shows_no_table(expr: &Expr) -> bool {
    deeper(|| match expr {
        Expr::FString(node) => node.value.elements().all(|element| match element {
            InterpolatedStringElement::Literal(_) => true,
            InterpolatedStringElement::Interpolation(node) => {
                node.format_spec.as_deref().is_some_and(is_of_numbers)
                    || shows_no_table(&node.expression)
            }
        }),
        Expr::Compare(node) => {
            let is_truth = |op: &ast::CmpOp| {
                matches!(
                    op,
                    ast::CmpOp::In | ast::CmpOp::NotIn | ast::CmpOp::Is | ast::CmpOp::IsNot
                )
            };
            node.ops.iter().all(is_truth)
                || shows_no_table(&node.left) && node.comparators.iter().all(shows_no_table)
        }
        Expr::UnaryOp(node) => node.op == ast::UnaryOp::Not || shows_no_table(&node.operand),
        Expr::BinOp(node) => shows_no_table(&node.left) && shows_no_table(&node.right),
        Expr::BoolOp(node) => node.values.iter().all(shows_no_table),
        Expr::If(node) => shows_no_table(&node.body) && shows_no_table(&node.orelse),
        Expr::Tuple(node) => node.elts.iter().all(shows_no_table),
        Expr::List(node) => node.elts.iter().all(shows_no_table),
        Expr::Attribute(node) => matches!(node.attr.as_str(), "shape" | "ndim" | "empty"),
        Expr::Call(node) => {
            let arguments = || node.arguments.iter_source_order();
            let are_plain = || arguments().all(|argument| shows_no_table(argument.value()));
            match &*node.func {
                Expr::Name(name) => match name.id.as_str() {
                    "len" | "int" | "float" | "bool" | "isinstance" | "hasattr" | "any" | "all"
                    | "id" | "ord" | "hash" | "callable" => true,
                    "print" | "str" | "repr" | "abs" | "round" => are_plain(),
                    _ => false,
                },
                Expr::Attribute(method) => match method.attr.as_str() {
                    "tolist" | "to_list" => true,
                    "to_dict" => node.arguments.is_empty(),
                    "join" => method.value.is_string_literal_expr() && are_plain(),
                    _ => false,
                },
                _ => false,
            }
        }
        other => other.is_literal_expr(),
    })
}

/// The name in `found.append(x)`: all that happens is that it holds more, if it is a list or a dict.
pub(super) fn added_to(expr: &Expr) -> Option<&str> {
    let Expr::Call(call) = expr else {
        return None;
    };
    match &*call.func {
        Expr::Attribute(method)
            if matches!(
                method.attr.as_str(),
                "append" | "extend" | "insert" | "update"
            ) =>
        {
            match &*method.value {
                Expr::Name(name) => Some(name.id.as_str()),
                _ => None,
            }
        }
        _ => None,
    }
}
