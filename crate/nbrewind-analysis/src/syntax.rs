//! The only door to ruff's parser: everything else imports the syntax tree from here, so that a new parser version is
//! one module's work. Also bounds nesting: source that nests deeper than [`MAX_DEPTH`] is never parsed.

pub(crate) use ruff_python_ast as ast;
pub(crate) use ruff_python_ast::{
    Arguments, Comprehension, ExceptHandler, Expr, FStringPart, InterpolatedStringElement,
    IpyEscapeKind, Number, Operator, Parameters, Pattern, Singleton, Stmt, TypeParam, TypeParams,
};
pub(crate) use ruff_text_size::Ranged;

use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

/// Nesting beyond this is refused. CPython's own tokenizer stops at 200 brackets and 100 indents; a browser's stack
/// cannot be grown, so the bound has to hold before the parser runs.
const MAX_DEPTH: usize = 400;
const MAX_INDENT: usize = 100;
const MAX_BRACKETS: usize = 200;

/// A parsed piece of source.
pub(crate) struct Parsed {
    /// Top-level statements, as far as the text could be understood.
    pub body: Vec<Stmt>,
    /// Message and byte offset of every syntax error.
    pub errors: Vec<(String, usize)>,
}

/// Parses notebook Python; broken source gives a partial tree. `None`: nested too deeply to be parsed safely.
pub(crate) fn parse(source: &str) -> Option<Parsed> {
    if nests_too_deeply(source) {
        return None;
    }
    let options = ParseOptions::from(Mode::Ipython);
    let parsed = parse_unchecked(source, options);
    let errors = parsed
        .errors()
        .iter()
        .map(|error| {
            // Verdicts only tell the line: the texts are left out of the browser's module.
            let message = if cfg!(any(not(target_arch = "wasm32"), feature = "fingerprints")) {
                error.error.to_string()
            } else {
                String::new()
            };
            (message, error.location.start().to_usize())
        })
        .collect();
    let body = match parsed.into_syntax() {
        ast::Mod::Module(module) => module.body.into_iter().collect(),
        ast::Mod::Expression(_) => Vec::new(),
    };
    Some(Parsed { body, errors })
}

/// Parses one expression, such as the text inside `!echo {here}`.
pub(crate) fn parse_expression(source: &str) -> Option<Expr> {
    let mut parsed = parse(source.trim())?;
    if !parsed.errors.is_empty() || parsed.body.len() != 1 {
        return None;
    }
    match parsed.body.pop() {
        Some(Stmt::Expr(statement)) => Some(*statement.value),
        _ => None,
    }
}

/// Runs `f` with enough stack for one more level of nesting.
pub(crate) fn deeper<T>(f: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(128 * 1024, 1024 * 1024, f)
}

/// Looks at statements and expressions, and says whether what is in them is to be looked at as well.
pub(crate) trait Look {
    fn statement(&mut self, _: &Stmt) -> bool {
        true
    }

    fn expression(&mut self, expression: &Expr) -> bool;
}

/// Goes through an expression. One walk for all that only look: each of its own would be some kilobytes.
pub(crate) fn look_through(expression: &Expr, look: &mut dyn Look) {
    ast::visitor::Visitor::visit_expr(&mut Walk(look), expression);
}

/// Goes through statements.
pub(crate) fn look_through_body(body: &[Stmt], look: &mut dyn Look) {
    ast::visitor::Visitor::visit_body(&mut Walk(look), body);
}

struct Walk<'l>(&'l mut dyn Look);

impl<'a> ast::visitor::Visitor<'a> for Walk<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        if self.0.statement(stmt) {
            deeper(|| ast::visitor::walk_stmt(self, stmt));
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if self.0.expression(expr) {
            deeper(|| ast::visitor::walk_expr(self, expr));
        }
    }
}

/// An upper bound on how deep a parser may recurse, from brackets, indentation and operators since the last comma.
fn nests_too_deeply(source: &str) -> bool {
    let bytes = source.as_bytes();
    // Every level takes a byte; most cells are not even as long as that.
    if bytes.len() <= MAX_BRACKETS {
        return false;
    }
    // Operators seen in each open bracket since its last comma; their sum bounds the depth of the tree.
    let mut frames: Vec<usize> = vec![0];
    let mut depth = 0usize;
    let mut at = 0;
    let mut line_start = true;
    let mut indents: Vec<usize> = Vec::new();
    while at < bytes.len() {
        if line_start && frames.len() == 1 {
            let width = bytes[at..]
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t'))
                .count();
            let first = bytes.get(at + width);
            if !matches!(first, None | Some(b'\n' | b'#')) {
                while indents.last().is_some_and(|last| *last >= width) {
                    indents.pop();
                }
                if width > 0 {
                    indents.push(width);
                }
                if indents.len() > MAX_INDENT {
                    return true;
                }
            }
            at += width;
            line_start = false;
            continue;
        }
        line_start = false;
        match bytes[at] {
            b'#' => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            quote @ (b'"' | b'\'') => {
                let is_formatted = source[..at]
                    .bytes()
                    .rev()
                    .take_while(u8::is_ascii_alphabetic)
                    .take(3)
                    .any(|byte| matches!(byte, b'f' | b'F' | b't' | b'T'));
                let end = end_of_string(bytes, at, quote);
                // The inside of an f-string is code, which nests without brackets of its own around it.
                if is_formatted && frames.len() + nesting(&bytes[at..end]) > MAX_BRACKETS {
                    return true;
                }
                at = end;
                continue;
            }
            b'(' | b'[' | b'{' => {
                frames.push(0);
                depth += 1;
                if frames.len() > MAX_BRACKETS {
                    return true;
                }
            }
            b')' | b']' | b'}' if frames.len() > 1 => {
                depth -= 1 + frames.pop().unwrap_or(0);
                // A trailer keeps the chain it belongs to growing: `f()()()`.
                if let Some(frame) = frames.last_mut() {
                    *frame += 1;
                    depth += 1;
                }
            }
            b',' => {
                if let Some(frame) = frames.last_mut() {
                    depth -= *frame;
                    *frame = 0;
                }
            }
            b'\n' => {
                if frames.len() == 1 {
                    depth -= frames[0];
                    frames[0] = 0;
                }
                line_start = true;
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'@' | b'&' | b'|' | b'^' | b'~' | b'.' | b'!'
            | b':' | b'?' => {
                if let Some(frame) = frames.last_mut() {
                    *frame += 1;
                    depth += 1;
                }
            }
            b'n' | b'l' | b'i' | b'a' | b'e' | b'o' if at == 0 || !is_word(bytes[at - 1]) => {
                let end = at
                    + bytes[at..]
                        .iter()
                        .take_while(|byte| is_word(**byte))
                        .count();
                if matches!(
                    &bytes[at..end],
                    b"not" | b"lambda" | b"if" | b"await" | b"else" | b"or" | b"and"
                ) && let Some(frame) = frames.last_mut()
                {
                    *frame += 1;
                    depth += 1;
                }
                at = end;
                if depth > MAX_DEPTH {
                    return true;
                }
                continue;
            }
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
        at += 1;
    }
    false
}

/// How deep brackets nest in a piece of text.
fn nesting(bytes: &[u8]) -> usize {
    let mut deepest = 0;
    let mut open = 0usize;
    for byte in bytes {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn end_of_string(bytes: &[u8], start: usize, quote: u8) -> usize {
    let is_triple = bytes.get(start + 1) == Some(&quote) && bytes.get(start + 2) == Some(&quote);
    let mut at = start + if is_triple { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' if !is_triple => return at,
            byte if byte == quote => {
                if !is_triple {
                    return at + 1;
                }
                if bytes.get(at + 1) == Some(&quote) && bytes.get(at + 2) == Some(&quote) {
                    return at + 3;
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    bytes.len()
}
