//! From a cell's text to its effects: what IPython does to the text before Python sees it, then the walk, then the
//! summary.

use crate::effects::{CellEffects, Directives, FunctionEffects, ParseError, StatementKind};
use crate::facts::{FunctionFacts, Source};
use crate::fingerprint::{self, Hash, hash_parts, to_hex};
use crate::knowledge::{self, Section};
use crate::name::Name;
use crate::program::{Program, Statement};
use crate::sorted::{Map, Set};
use crate::syntax::{Ranged, Stmt, parse};
use crate::visit::{Found, Visitor};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much of the summary is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What verdicts and their reasons ask for: names of the cell, syntax errors, marks.
    #[default]
    Verdicts,
    /// All of [`CellEffects`].
    Everything,
}

impl Detail {
    /// In the browser nobody asks for more than verdicts, and what only others see is left out of the module.
    pub(crate) fn is_everything(self) -> bool {
        cfg!(any(not(target_arch = "wasm32"), feature = "fingerprints"))
            && self == Detail::Everything
    }
}

/// A cell's summary and what the dataflow pass needs of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub effects: CellEffects,
    pub program: Program,
    /// Names that are imported modules, or things of modules, when the cell has run.
    pub imports: Map<Name>,
    pub names: Names,
    pub fingerprint: Hash,
    pub exact_fingerprint: Hash,
}

/// What the summary says of names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub reads: Set<Name>,
    pub loads: Set<Name>,
    pub writes: Set<Name>,
    pub mutates: Set<Name>,
    pub deletes: Set<Name>,
}

/// Python text cut out of a cell, with the way back to the cell's offsets.
struct Prepared<'s> {
    text: Cow<'s, str>,
    /// (offset in `text`, offset in the cell), ascending; between two entries offsets run in parallel.
    breaks: Vec<(usize, usize)>,
}

impl<'s> Prepared<'s> {
    /// Removes byte order mark, carriage returns and common leading indentation from `source[from..]`.
    fn new(source: &'s str, from: usize) -> Self {
        let body = &source[from..];
        // IPython takes the first line's indentation off every line.
        let first = body
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let indent = &first[..first.len() - first.trim_start_matches([' ', '\t']).len()];
        let has_mark = from == 0 && body.starts_with('\u{feff}');
        if indent.is_empty() && !has_mark && !body.contains('\r') {
            return Prepared {
                text: Cow::Borrowed(body),
                breaks: vec![(0, from)],
            };
        }
        let mut text = String::with_capacity(body.len());
        let mut breaks = Vec::new();
        let mut at = from;
        for line in body.split_inclusive('\n') {
            let mut start = 0;
            if at == 0 && line.starts_with('\u{feff}') {
                start = '\u{feff}'.len_utf8();
            }
            if line[start..].starts_with(indent) {
                start += indent.len();
            }
            breaks.push((text.len(), at + start));
            let content = &line[start..];
            match content.strip_suffix("\r\n") {
                Some(rest) => {
                    text.push_str(rest);
                    text.push('\n');
                }
                None => text.push_str(content),
            }
            at += line.len();
        }
        Prepared {
            text: Cow::Owned(text),
            breaks,
        }
    }

    fn original(&self, offset: usize) -> usize {
        let index = self
            .breaks
            .partition_point(|(prepared, _)| *prepared <= offset);
        match index
            .checked_sub(1)
            .and_then(|index| self.breaks.get(index))
        {
            Some((prepared, original)) => original + (offset - prepared),
            None => offset,
        }
    }
}

/// Facts about one cell; never an error.
/// `imports`: what other cells import under names that this one uses.
pub(crate) fn analyze(
    source: &Arc<str>,
    tags: &[String],
    imports: &[(Name, Name)],
    detail: Detail,
) -> Cell {
    let exact_fingerprint = if source.contains('\r') {
        let folded = source.replace("\r\n", "\n");
        hash_parts(detail, "exact", &[folded.as_bytes()])
    } else {
        hash_parts(detail, "exact", &[source.as_bytes()])
    };
    let mut line_starts = vec![0];
    line_starts.extend(source.match_indices('\n').map(|(at, _)| at + 1));
    let line_at = |offset: usize| line_starts.partition_point(|&start| start <= offset).max(1);

    let magic = cell_magic(source);
    let body_start = magic.as_ref().map_or(0, |magic| magic.body_start);
    let prepared = Prepared::new(source, body_start);
    let line_of = |offset: usize| line_at(prepared.original(offset));
    let mut visitor = Visitor::new(&line_of, imports, detail);
    let mut effects = CellEffects {
        directives: directives(source, tags),
        ..CellEffects::default()
    };
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let mut parts: Vec<Hash> = Vec::new();
    let whole = (0, source.trim_end().len());
    let mut is_exact = false;
    let mut has_outputs = false;

    if let Some(magic) = &magic {
        parts.push(hash_parts(detail, "cell magic", &[magic.line.as_bytes()]));
        let name = magic.name.as_str();
        if !knowledge::has(Section::PythonCellMagics, name) {
            // The body is no Python: any change of it counts.
            is_exact = true;
            let kind = if knowledge::has(Section::PureCellMagics, name) {
                StatementKind::Magic
            } else {
                StatementKind::Other
            };
            visitor.cell_magic(exact_fingerprint, kind, |visitor| {
                opaque_magic(visitor, magic, &source[body_start..])
            });
            spans.push(whole);
        }
    }
    if !is_exact {
        match parse(&prepared.text) {
            None => {
                effects.parse_errors.push(ParseError {
                    message: "code is nested too deeply to be analysed".to_owned(),
                    line: 1,
                });
                is_exact = true;
                visitor.cell_magic(exact_fingerprint, StatementKind::Other, |visitor| {
                    visitor.unknown("deeply nested code", 1)
                });
                spans.push(whole);
            }
            Some(parsed) => {
                effects
                    .parse_errors
                    .extend(parsed.errors.iter().map(|(message, offset)| ParseError {
                        message: message.clone(),
                        line: line_of(*offset),
                    }));
                is_exact = !parsed.errors.is_empty();
                let is_timed = magic.as_ref().is_some_and(|magic| magic.name == "timeit");
                if is_timed {
                    // Statements of `%%timeit` bind nothing outside: one statement for all.
                    let setup = magic
                        .as_ref()
                        .map(|magic| magic.arguments.clone())
                        .unwrap_or_default();
                    visitor.cell_magic(exact_fingerprint, StatementKind::Other, |visitor| {
                        visitor.as_function(crate::visit::without_options(&setup), 1);
                        visitor.body_as_function(&parsed.body);
                    });
                    spans.push(whole);
                } else {
                    if let Some(magic) = &magic {
                        let outputs = magic_outputs(magic);
                        if !outputs.is_empty() {
                            let fingerprint =
                                hash_parts(detail, "cell magic", &[magic.line.as_bytes()]);
                            visitor.cell_magic(fingerprint, StatementKind::Other, |visitor| {
                                outputs.iter().for_each(|name| visitor.bind_name(name));
                            });
                            spans.push((0, magic.line_end));
                            has_outputs = true;
                        }
                    }
                    for stmt in &parsed.body {
                        visitor.top_level(stmt);
                        spans.push(span(stmt, &prepared));
                    }
                }
                if is_quiet(&prepared.text) && matches!(parsed.body.last(), Some(Stmt::Expr(_))) {
                    parts.push(hash_parts(detail, "quiet", &[]));
                }
                if is_timed {
                    // Not in the statements' own fingerprints.
                    parts.extend(
                        parsed
                            .body
                            .iter()
                            .map(|stmt| fingerprint::statement(stmt, detail)),
                    );
                }
            }
        }
    }
    let found = visitor.into_found();
    let is_timed = magic.as_ref().is_some_and(|magic| magic.name == "timeit");
    if !is_timed {
        parts.extend(found.statements.iter().map(|(facts, _)| facts.fingerprint));
    }
    let fingerprint = if is_exact {
        exact_fingerprint
    } else {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        hash_parts(detail, "cell", &parts)
    };
    let mut found = found;
    effects.unknown = std::mem::take(&mut found.unknown);
    effects.marks = std::mem::take(&mut found.marks);
    if detail.is_everything() {
        effects.functions = function_effects(&found);
    }
    let names = Names::new(&mut found, &effects.directives);
    let mut statements: Vec<Statement> = Vec::with_capacity(found.statements.len());
    for ((facts, summary), (start, end)) in found.statements.into_iter().zip(spans) {
        let mut statement = Statement::new(facts);
        statement.line = line_at(start);
        statements.push(statement);
        if let Some(mut statement) = summary {
            statement.start = start;
            statement.end = end;
            statement.line = line_at(start);
            statement.end_line = line_at(end.saturating_sub(1).max(start));
            effects.statements.push(*statement);
        }
    }
    if has_outputs {
        // The line stands first, but what it binds is there only when the cell has run.
        statements[0].covers_cell = true;
        statements.rotate_left(1);
    }
    if detail.is_everything() {
        effects.fingerprint = to_hex(&fingerprint);
        effects.exact_fingerprint = to_hex(&exact_fingerprint);
        effects.reads = names.reads.texts();
        effects.loads = names.loads.texts();
        effects.writes = names.writes.texts();
        effects.mutates = names.mutates.texts();
        effects.deletes = names.deletes.texts();
        effects.string_names = found.string_names.texts();
        effects.files_read = found.files_read.texts();
        effects.files_written = found.files_written.texts();
    }
    found.functions.iter_mut().for_each(FunctionFacts::settle);
    let declared = |names: &[String]| names.iter().map(|name| Name::new(name)).collect();
    let program = Program {
        statements: statements.into(),
        functions: found.functions.into(),
        exact_fingerprint,
        reads_source: !effects.marks.reads_source.is_empty(),
        text: source.clone(),
        declared_reads: declared(&effects.directives.reads),
        declared_writes: declared(&effects.directives.writes),
        is_declared: effects.directives.declared,
        takes_prints: OnceCell::new(),
    };
    Cell {
        effects,
        program,
        imports: found.imports,
        names,
        fingerprint,
        exact_fingerprint,
    }
}

/// What the functions of a cell do, for those who see it.
fn function_effects(found: &Found) -> BTreeMap<String, FunctionEffects> {
    let mut effects = BTreeMap::new();
    for &(name, id) in found.named_functions.iter() {
        let facts = &found.functions[id];
        let mut mutates = facts.mutates.clone();
        let mut mutated_params = facts.mutated_params.clone();
        // What is passed to a function that this cell does not define may change.
        for (callee, passed) in &facts.passed_on {
            for (position, sources) in passed.iter().enumerate() {
                for source in sources {
                    let own = found.named_functions.get(*callee);
                    let own = own.map(|&id| &found.functions[id]);
                    if own.is_some_and(|own| {
                        own.passed_on.is_empty() && !own.changes_argument(position, None)
                    }) {
                        continue;
                    }
                    match *source {
                        Source::Name(name) => _ = mutates.insert(name),
                        Source::Param(function, index) if function == id => {
                            mutated_params.insert(index);
                        }
                        _ => {}
                    }
                }
            }
        }
        let mut reads = facts.reads.clone();
        reads.add_all(&facts.adds_to);
        let mut writes = facts.writes.clone();
        writes.add_all(&facts.deletes);
        effects.insert(
            name.text().to_owned(),
            FunctionEffects {
                reads: reads.texts(),
                writes: writes.texts(),
                mutates: mutates.texts(),
                mutated_params: mutated_params.to_vec(),
                calls: facts.calls.texts(),
            },
        );
    }
    effects
}

impl Names {
    fn new(found: &mut Found, directives: &Directives) -> Self {
        let take = std::mem::take::<Set<Name>>;
        let mut names = Names {
            reads: take(&mut found.reads),
            loads: take(&mut found.loads),
            writes: take(&mut found.writes),
            mutates: take(&mut found.mutates),
            deletes: take(&mut found.deletes),
        };
        // To change an object its name has to be looked up; a name that is bound first is the cell's own.
        for &name in &names.mutates {
            if !names.writes.has(name) {
                names.reads.insert(name);
            }
        }
        for name in &directives.reads {
            names.reads.insert(Name::new(name));
        }
        for name in &directives.writes {
            names.writes.insert(Name::new(name));
        }
        names
    }
}

fn span(stmt: &Stmt, prepared: &Prepared) -> (usize, usize) {
    let start = stmt.start().to_usize();
    let end = stmt.end().to_usize();
    // The end lies after the last byte; mapping that byte keeps a carriage return that follows out of the statement.
    let end = if end > start {
        prepared.original(end - 1) + 1
    } else {
        prepared.original(end)
    };
    (prepared.original(start), end)
}

/// IPython shows no result when the last token is a semicolon.
fn is_quiet(text: &str) -> bool {
    // A comment may follow it; whether a `#` starts one is only asked of the last line.
    let trimmed = text.trim_end();
    if trimmed.ends_with(';') {
        return !trimmed
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .contains('#')
            || !ends_in_comment(trimmed);
    }
    for last in trimmed.rsplit('\n') {
        let last = last.trim();
        if last.is_empty() || last.starts_with('#') {
            continue;
        }
        if !last.contains(';') {
            return false;
        }
        return match code_of_line(last) {
            Some(code) => code.trim_end().ends_with(';'),
            None => false,
        };
    }
    false
}

fn ends_in_comment(text: &str) -> bool {
    let last = text.rsplit('\n').next().unwrap_or_default();
    code_of_line(last).is_some_and(|code| code.len() < last.len())
}

/// A line without its comment, if quotes are balanced before it.
fn code_of_line(line: &str) -> Option<&str> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, character) in line.char_indices() {
        match quote {
            Some(open) => {
                if is_escaped {
                    is_escaped = false;
                } else if character == '\\' {
                    is_escaped = true;
                } else if character == open {
                    quote = None;
                }
            }
            None => match character {
                '\'' | '"' => quote = Some(character),
                '#' => return Some(&line[..at]),
                _ => {}
            },
        }
    }
    Some(line)
}

struct CellMagic {
    name: String,
    arguments: String,
    /// The whole first line.
    line: String,
    line_end: usize,
    body_start: usize,
}

/// `%%name arguments` on the first line that is not empty.
fn cell_magic(source: &str) -> Option<CellMagic> {
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let text = line.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            at += line.len();
            continue;
        }
        let rest = text.strip_prefix("%%")?;
        if rest.starts_with('%') || rest.trim_end().ends_with('?') {
            return None;
        }
        let (name, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if name.is_empty() {
            return None;
        }
        return Some(CellMagic {
            name: name.to_owned(),
            arguments: arguments.trim().to_owned(),
            line: text.to_owned(),
            line_end: at + line.trim_end().len(),
            body_start: at + line.len(),
        });
    }
    None
}

/// Names that the magic itself binds.
fn magic_outputs(magic: &CellMagic) -> Vec<String> {
    match magic.name.as_str() {
        "capture" => magic
            .arguments
            .split_whitespace()
            .filter(|word| !word.starts_with('-'))
            .map(str::to_owned)
            .take(1)
            .collect(),
        _ => Vec::new(),
    }
}

fn opaque_magic(visitor: &mut Visitor, magic: &CellMagic, body: &str) {
    let name = magic.name.as_str();
    let construct = format!("%%{name}");
    if knowledge::has(Section::PureCellMagics, name) {
        return;
    }
    if matches!(name, "writefile" | "file") {
        let path = magic
            .arguments
            .split_whitespace()
            .rfind(|word| !word.starts_with('-'))
            .unwrap_or_default();
        visitor.expanded_names(path, 1);
        visitor.write_file(path.trim_matches(['"', '\'']));
        return;
    }
    visitor.expanded_names(&magic.arguments, 1);
    if knowledge::has(Section::ProcessCellMagics, name) || matches!(name, "!" | "sx" | "system") {
        let is_shell = matches!(name, "bash" | "sh" | "!" | "sx" | "system");
        visitor.run_process(&construct, if is_shell { body } else { "" }, 1);
        visitor.expanded_names(body, 2);
        let mut words = magic.arguments.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if matches!(word, "--out" | "--err" | "--proc")
                && let Some(target) = words.next()
            {
                visitor.bind_name(target);
            }
        }
        return;
    }
    visitor.unknown(&construct, 1);
}

/// `# nbrewind: reads=a,b writes=c` comments and cell tags.
fn directives(source: &str, tags: &[String]) -> Directives {
    let mut found = Directives::default();
    let is_directed = source.contains('#') && source.contains("nbrewind:");
    for line in source.lines().filter(|_| is_directed) {
        let Some(comment) = line.trim_start().strip_prefix('#') else {
            continue;
        };
        let Some(rest) = comment.trim_start().strip_prefix("nbrewind:") else {
            continue;
        };
        for word in rest.split_whitespace() {
            let Some((key, names)) = word.split_once('=') else {
                match word {
                    "always-run" => found.always_run = true,
                    "never-record" => found.never_record = true,
                    _ => {}
                }
                continue;
            };
            let names = names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned);
            match key {
                "reads" => {
                    found.reads.extend(names);
                    found.declared = true;
                }
                "writes" => {
                    found.writes.extend(names);
                    found.declared = true;
                }
                _ => {}
            }
        }
    }
    found.always_run |= tags.iter().any(|tag| tag == "nbrewind-always-run");
    found.never_record |= tags.iter().any(|tag| tag == "nbrewind-never-record");
    found
}
