//! IPython's escapes and magics.

use super::Visitor;
use super::questions::{identifiers, without_options};
use crate::binder;
use crate::effects::Note;
use crate::facts::{FilePath, How, Keys, Op, Outside, Value, Varies};
use crate::knowledge::{self, Section};
use crate::name::Name;
use crate::syntax::{IpyEscapeKind, Stmt, parse, parse_expression};

impl Visitor<'_> {
    /// A line that is not Python.
    pub(crate) fn escape(&mut self, kind: IpyEscapeKind, text: &str, line: usize) {
        match kind {
            IpyEscapeKind::Help | IpyEscapeKind::Help2 => {
                let text = text.trim().trim_matches('?');
                if !text.starts_with('%') {
                    self.embedded_expression(text, line);
                }
            }
            IpyEscapeKind::Shell | IpyEscapeKind::ShCap => {
                let program = text.split_whitespace().next().unwrap_or_default();
                self.note_process(&format!("!{program}"), text, line);
                self.expanded_names(text, line);
            }
            IpyEscapeKind::Magic | IpyEscapeKind::Magic2 => self.line_magic(text, line),
            IpyEscapeKind::Quote | IpyEscapeKind::Quote2 | IpyEscapeKind::Paren => {
                // `/f a b` calls `f(a, b)`; `,f a b` passes the words as strings.
                let mut words = text.split_whitespace();
                let callee = words.next().unwrap_or_default();
                let rest: Vec<&str> = words.collect();
                let call = if kind == IpyEscapeKind::Paren {
                    format!(
                        "{callee}({})",
                        rest.join(" ").split(',').collect::<Vec<_>>().join(",")
                    )
                } else {
                    format!("{callee}()")
                };
                self.embedded(&call, line, callee);
            }
        }
    }

    /// `script` is what a shell is given, or empty.
    pub(super) fn note_process(&mut self, construct: &str, script: &str, line: usize) {
        self.found.marks.process.push(Note {
            construct: construct.to_owned(),
            line,
        });
        if let Some(written) = echoed(script) {
            for path in written {
                self.write_file(path);
            }
            return;
        }
        self.outside(Outside::Varies(Varies::Process));
        self.outside(Outside::EnvironmentRead(None));
        self.outside(Outside::FileRead(FilePath::Unknown));
        self.outside(Outside::FileWrite(FilePath::Unknown));
    }

    /// Names in `{expression}` and `$name` of a shell line or an opaque magic.
    pub(crate) fn expanded_names(&mut self, text: &str, line: usize) {
        let mut rest = text;
        while let Some(at) = rest.find(['{', '$']) {
            let after = &rest[at + 1..];
            if rest[at..].starts_with('{') {
                let Some(end) = after.find('}') else { break };
                self.embedded_expression(&after[..end], line);
                rest = &after[end + 1..];
            } else {
                if let Some(name) = identifiers(after).next()
                    && after.starts_with(name.text())
                {
                    self.read_path(name, Keys::new(), How::Load, line);
                }
                rest = after.strip_prefix('$').unwrap_or(after);
            }
        }
    }

    pub(super) fn embedded_expression(&mut self, text: &str, line: usize) {
        if let Some(expr) = parse_expression(text) {
            let outer = self.fixed_line.replace(line);
            self.expr(&expr);
            self.fixed_line = outer;
        }
    }

    pub(super) fn line_magic(&mut self, text: &str, line: usize) {
        let text = text.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        if knowledge::has(Section::PythonLineMagics, name) {
            let code = without_options(rest);
            if name == "time" {
                self.embedded(code, line, "%time");
            } else {
                self.as_function(code, line);
            }
            return;
        }
        match name {
            "env" | "set_env" => match rest.split_once(['=', ' ']) {
                Some((variable, value)) => {
                    self.expanded_names(value, line);
                    self.found.marks.environment.push(Note {
                        construct: format!("%{name}"),
                        line,
                    });
                    self.outside(Outside::EnvironmentWrite(Some(Name::new(variable.trim()))));
                    // No name is touched, but what the value becomes is for IPython to say.
                    self.found.unknown.push(Note {
                        construct: format!("%{name}"),
                        line,
                    });
                }
                None => {
                    self.found.marks.environment.push(Note {
                        construct: "%env".to_owned(),
                        line,
                    });
                    let variable = (!rest.is_empty()).then(|| Name::new(rest));
                    self.outside(Outside::EnvironmentRead(variable));
                }
            },
            "sx" | "system" => {
                self.note_process(&format!("%{name}"), rest, line);
                self.expanded_names(rest, line);
            }
            "psource" | "pinfo2" | "pfile" => {
                self.found.marks.reads_source.push(Note {
                    construct: format!("%{name}"),
                    line,
                });
                self.embedded_expression(rest, line);
            }
            "pinfo" | "pdoc" | "pdef" => self.embedded_expression(rest, line),
            "store" if !rest.starts_with("-r") => {
                self.embedded_expression(rest, line);
                self.unknown("%store", line);
            }
            "xdel" => {
                if let Some(variable) = identifiers(rest).last() {
                    self.read_path(variable, Keys::new(), How::Store, line);
                    self.unbind(&variable);
                }
            }
            _ if knowledge::has(Section::PureLineMagics, name) => self.expanded_names(rest, line),
            _ => {
                self.expanded_names(rest, line);
                // `obj.magic x` of an unknown extension often takes names.
                for word in rest.split_whitespace() {
                    self.embedded_expression(word, line);
                }
                self.unknown(&format!("%{name}"), line);
            }
        }
    }

    /// Code that runs in a function's scope of its own, as `%timeit` does: it reads names but binds none.
    pub(crate) fn as_function(&mut self, code: &str, line: usize) {
        let Some(parsed) = parse(code) else {
            self.unknown("%timeit", line);
            return;
        };
        let outer = self.fixed_line.replace(line);
        self.body_as_function(&parsed.body);
        self.fixed_line = outer;
    }

    pub(crate) fn body_as_function(&mut self, body: &[Stmt]) {
        let bindings = binder::of_body(body, self.class_name());
        let id = self.function(None, bindings, |this| this.body(body));
        if !self.in_function() {
            self.record_invocation(id);
            self.op(Op::Invoke(id));
        }
    }

    /// A binding made by a magic, such as `%%capture out`.
    pub(crate) fn bind_name(&mut self, name: &str) {
        self.bind(name, Value::default());
    }

    pub(crate) fn write_file(&mut self, path: &str) {
        let literal = !path.contains(['$', '{']);
        let path = if literal {
            FilePath::Literal(Name::new(path))
        } else {
            FilePath::Unknown
        };
        self.outside(Outside::FileWrite(path));
    }

    /// A script for another program: files and the network are open to it, names of the notebook are not.
    pub(crate) fn run_process(&mut self, construct: &str, script: &str, line: usize) {
        self.note_process(construct, script, line);
        self.found.unknown.push(Note {
            construct: construct.to_owned(),
            line,
        });
    }
}

/// The files that a script writes which does nothing but `echo`; None if it does more.
fn echoed(script: &str) -> Option<Vec<&str>> {
    let mut written = Vec::new();
    let mut is_empty = true;
    for line in script.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        is_empty = false;
        let rest = line.strip_prefix("echo ")?;
        // `$` may be a variable of the environment, except where IPython puts in names, which are read for themselves.
        let does_more = |character| "`|;&<*?[\\$'\"".contains(character);
        if rest.contains(does_more) {
            return None;
        }
        let mut parts = rest.split('>');
        parts.next();
        if let Some(path) = parts.next() {
            let path = path.trim();
            if path.is_empty() || path.contains(char::is_whitespace) || path.contains('{') {
                return None;
            }
            written.push(path);
        }
        // Appending depends on what was there.
        if parts.next().is_some() {
            return None;
        }
    }
    (!is_empty).then_some(written)
}
