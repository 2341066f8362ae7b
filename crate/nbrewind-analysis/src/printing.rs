//! Statements that only print: whoever calls the function around them shows something else, and computes the same.
//!
//! Invariant: what is left out of a function's values is text on the standard output and nothing else. So the arguments are
//! constants and parameters, which are bound whatever happens, and the function runs when it is called and not later.

use crate::syntax::{
    Expr, FStringPart, InterpolatedStringElement, Look, Stmt, ast, look_through_body,
};

/// Decorators that call the function when it is called, in this statement.
const PROMPT_DECORATORS: [&str; 12] = [
    "property",
    "setter",
    "getter",
    "deleter",
    "staticmethod",
    "classmethod",
    "abstractmethod",
    "override",
    "cache",
    "lru_cache",
    "cached_property",
    "wraps",
];

/// The names that a print in this function may show: its parameters. None: its prints may be more than that.
pub(crate) fn printable_names(node: &ast::StmtFunctionDef) -> Option<Vec<&str>> {
    let is_prompt = |decorator: &ast::Decorator| {
        let callee = match &decorator.expression {
            Expr::Call(call) => &*call.func,
            other => other,
        };
        let name = match callee {
            Expr::Name(name) => name.id.as_str(),
            Expr::Attribute(attribute) => attribute.attr.as_str(),
            _ => "",
        };
        PROMPT_DECORATORS.contains(&name)
    };
    if node.is_async || !node.decorator_list.iter().all(is_prompt) {
        return None;
    }
    let parameters = node.parameters.iter();
    let names: Vec<&str> = parameters
        .map(|parameter| parameter.name().as_str())
        .collect();
    let mut search = Search::default();
    look_through_body(&node.body, &mut search);
    (!search.is_found && !names.contains(&"print")).then_some(names)
}

/// The arguments of a statement that is a call of `print`.
pub(crate) fn printed(stmt: &Stmt) -> Option<&ast::Arguments> {
    match stmt {
        Stmt::Expr(node) => match &*node.value {
            Expr::Call(call) => match &*call.func {
                Expr::Name(name) if name.id.as_str() == "print" => Some(&call.arguments),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Whether these are constants and these names.
pub(crate) fn are_plain(arguments: &ast::Arguments, names: &[&str]) -> bool {
    arguments.args.iter().all(|arg| is_plain(arg, names))
        && arguments.keywords.iter().all(|keyword| {
            let name = keyword.arg.as_ref().map_or("", |name| name.as_str());
            matches!(name, "sep" | "end" | "flush") && keyword.value.is_literal_expr()
        })
}

fn is_plain(expr: &Expr, names: &[&str]) -> bool {
    match expr {
        Expr::Name(name) => names.contains(&name.id.as_str()),
        Expr::FString(node) => node.value.iter().all(|part| match part {
            FStringPart::Literal(_) => true,
            FStringPart::FString(formatted) => formatted.elements.iter().all(|element| {
                match element {
                    InterpolatedStringElement::Literal(_) => true,
                    // A format may not fit the value.
                    InterpolatedStringElement::Interpolation(node) => {
                        node.format_spec.is_none() && is_plain(&node.expression, names)
                    }
                }
            }),
        }),
        other => other.is_literal_expr(),
    }
}

/// Looks for what makes a function run later than it is called, or `print` mean something else.
#[derive(Default)]
struct Search {
    is_found: bool,
}

impl Look for Search {
    fn statement(&mut self, stmt: &Stmt) -> bool {
        match stmt {
            Stmt::FunctionDef(node) => self.is_found |= node.name.as_str() == "print",
            Stmt::ClassDef(node) => self.is_found |= node.name.as_str() == "print",
            Stmt::Delete(_) | Stmt::Import(_) | Stmt::ImportFrom(_) => self.is_found = true,
            _ => return true,
        }
        false
    }

    fn expression(&mut self, expr: &Expr) -> bool {
        match expr {
            Expr::Yield(_) | Expr::YieldFrom(_) => self.is_found = true,
            Expr::Name(name) if name.id.as_str() == "print" && !name.ctx.is_load() => {
                self.is_found = true;
            }
            _ => return true,
        }
        false
    }
}
