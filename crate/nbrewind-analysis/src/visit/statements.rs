//! Statements and patterns.

use super::questions::{added_to, is_only_imports, items, terminates};
use super::{ScopeKind, Visitor};
use crate::binder;
use crate::effects::{Note, StatementKind};
use crate::facts::{How, Keys, Kind, Op, Relation, Source, Value};
use crate::knowledge::{self, Section};
use crate::name::Name;
use crate::syntax::{ExceptHandler, Expr, IpyEscapeKind, Pattern, Stmt, ast, deeper};

impl Visitor<'_> {
    pub(super) fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    pub(super) fn stmt(&mut self, stmt: &Stmt) {
        deeper(|| self.stmt_inner(stmt));
    }

    pub(super) fn stmt_inner(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::FunctionDef(node) => self.function_def(node),
            Stmt::ClassDef(node) => self.class_def(node),
            Stmt::Return(node) => {
                if let Some(value) = &node.value {
                    let value = self.expr(value);
                    if let Some(frame) = self.frame() {
                        frame.returns = std::mem::take(&mut frame.returns).or(&value);
                    }
                }
            }
            Stmt::Delete(node) => node.targets.iter().for_each(|target| self.delete(target)),
            Stmt::TypeAlias(node) => {
                self.with_type_params(node.type_params.as_deref(), |this| {
                    this.expr(&node.value);
                });
                self.bind_target(&node.name, Value::default());
            }
            Stmt::Assign(node) => {
                // `a, b = c, d` item by item keeps the items apart.
                if let [target] = &node.targets[..]
                    && let (Some(targets), Some(values)) = (items(target), items(&node.value))
                    && targets.len() == values.len()
                    && !targets.iter().chain(values).any(Expr::is_starred_expr)
                {
                    let values: Vec<Value> = values.iter().map(|value| self.expr(value)).collect();
                    for (target, value) in targets.iter().zip(values) {
                        self.bind_target(target, value);
                    }
                    return;
                }
                let value = self.referred(&node.value);
                let mut value = value;
                for target in &node.targets {
                    self.bind_target(target, value.clone());
                    // `a = b = []` makes one list, not two.
                    if let Expr::Name(name) = target
                        && value.kind != Kind::Scalar
                    {
                        value = Value {
                            kind: value.kind,
                            literal: value.literal,
                            text: value.text,
                            ..self.value_of(self.mangled(name.id.as_str()))
                        };
                    }
                }
            }
            Stmt::AugAssign(node) => self.augment(node),
            Stmt::AnnAssign(node) => {
                let in_function = self
                    .scopes
                    .last()
                    .is_some_and(|scope| scope.kind == ScopeKind::Function);
                let value = node.value.as_ref().map(|value| self.expr(value));
                let is_evaluated = !in_function || !node.target.is_name_expr();
                if !self.has_lazy_annotations && is_evaluated {
                    self.expr(&node.annotation);
                }
                match value {
                    Some(value) => self.bind_target(&node.target, value),
                    None if !node.target.is_name_expr() => {
                        self.chain(&node.target, None, How::Load);
                    }
                    None => {}
                }
            }
            Stmt::For(node) => {
                let iterated = self.expr(&node.iter);
                self.iterate(&iterated);
                let n_spelled = self.spelled.len();
                if let Expr::Name(target) = &*node.target {
                    let bound = binder::of_body(&node.body, None).bound;
                    if !bound.contains(&Name::new(target.id.as_str())) {
                        self.spell(&node.target, &node.iter);
                    }
                }
                self.maybe(|this| {
                    this.bind_items(
                        &node.target,
                        &node.iter,
                        iterated.element(),
                        &mut |this, target, item| this.bind_target(target, item),
                    );
                    this.body(&node.body);
                });
                self.spelled.truncate(n_spelled);
                self.maybe(|this| this.body(&node.orelse));
            }
            Stmt::While(node) => {
                self.expr(&node.test);
                self.maybe(|this| this.body(&node.body));
                self.maybe(|this| this.body(&node.orelse));
            }
            Stmt::If(node) => self.if_stmt(node),
            Stmt::With(node) => {
                for item in &node.items {
                    let value = self.expr(&item.context_expr);
                    // Entering and leaving run code of the manager; a file or lock changes by it.
                    if !value
                        .sources
                        .iter()
                        .any(|(source, _)| matches!(source, Source::Result(_)))
                    {
                        self.mutate(value.clone(), None, Value::default());
                    }
                    self.op(Op::Enter(value.clone()));
                    if let Some(target) = &item.optional_vars {
                        self.bind_target(target, value.or(&Value::default()));
                    }
                }
                self.body(&node.body);
            }
            Stmt::Match(node) => {
                let subject = self.expr(&node.subject);
                let mut branches = Vec::new();
                let mut is_exhaustive = false;
                for case in &node.cases {
                    is_exhaustive |= case.guard.is_none() && case.pattern.is_irrefutable();
                    let bound = self.maybe(|this| {
                        this.pattern(&case.pattern, &subject);
                        if let Some(guard) = &case.guard {
                            this.expr(guard);
                        }
                        this.body(&case.body);
                    });
                    branches.push((!terminates(&case.body)).then_some(bound));
                }
                if is_exhaustive {
                    self.join(branches);
                }
            }
            Stmt::Raise(node) => {
                for expr in [&node.exc, &node.cause].into_iter().flatten() {
                    self.expr(expr);
                }
            }
            Stmt::Try(node) => {
                let is_guarded = !node.handlers.is_empty();
                self.maybe(|this| {
                    this.body(&node.body);
                    this.body(&node.orelse);
                });
                for ExceptHandler::ExceptHandler(handler) in &node.handlers {
                    self.maybe(|this| {
                        if let Some(kind) = &handler.type_ {
                            this.expr(kind);
                        }
                        if let Some(name) = &handler.name {
                            this.bind(name.as_str(), Value::default());
                        }
                        this.body(&handler.body);
                        if let Some(name) = &handler.name {
                            this.unbind(name.as_str());
                        }
                    });
                }
                if is_guarded {
                    self.maybe(|this| this.body(&node.finalbody));
                } else {
                    self.body(&node.finalbody);
                }
            }
            Stmt::Assert(node) => {
                self.expr(&node.test);
                if let Some(message) = &node.msg {
                    self.expr(message);
                }
            }
            Stmt::Import(node) => {
                for alias in &node.names {
                    let module = alias.name.as_str();
                    let (name, bound) = match &alias.asname {
                        Some(name) => (name.as_str(), module),
                        None => {
                            let top = module.split('.').next().unwrap_or_default();
                            (top, top)
                        }
                    };
                    self.bind(name, Value::of(Source::Module(Name::new(bound))));
                }
            }
            Stmt::ImportFrom(node) => self.import_from(node),
            // Handled before the body is walked; at top level `global x` changes nothing.
            Stmt::Global(_) | Stmt::Nonlocal(_) => {}
            Stmt::Expr(node) => {
                self.adding_to = added_to(&node.value).map(|name| self.mangled(name));
                let value = self.expr(&node.value);
                self.adding_to = None;
                // A displayed value is gone through by its `repr`, which does not use up iterators.
                drop(value);
            }
            Stmt::Pass(_) | Stmt::Break(_) | Stmt::Continue(_) => {}
            Stmt::IpyEscapeCommand(node) => {
                let line = self.line(stmt);
                self.escape(node.kind, &node.value, line);
            }
        }
    }

    pub(super) fn if_stmt(&mut self, node: &ast::StmtIf) {
        self.expr(&node.test);
        let mut branches = Vec::new();
        let bound = self.maybe(|this| this.body(&node.body));
        branches.push((!terminates(&node.body)).then_some(bound));
        let mut has_else = false;
        for clause in &node.elif_else_clauses {
            match &clause.test {
                Some(test) => {
                    // Later tests run only if the earlier ones failed.
                    self.maybe(|this| {
                        this.expr(test);
                    });
                }
                None => has_else = true,
            }
            let bound = self.maybe(|this| this.body(&clause.body));
            branches.push((!terminates(&clause.body)).then_some(bound));
        }
        if has_else {
            self.join(branches);
        }
    }

    pub(super) fn augment(&mut self, node: &ast::StmtAugAssign) {
        match &*node.target {
            Expr::Name(target) => {
                let name = self.mangled(target.id.as_str());
                let line = self.line(&*node.target);
                if name.is_empty() {
                    self.expr(&node.value);
                    return;
                }
                self.read_path(name, Keys::new(), How::Load, line);
                let held = self.expr(&node.value);
                if self.is_global(name) && !self.in_function() && self.scopes.is_empty() {
                    self.record_mutation(&Value::of(Source::Name(name)));
                    let is_definite = self.n_conditions == 0;
                    self.found.writes.insert(name);
                    self.summarize(|names| names.writes.insert(name));
                    self.set_definite(name);
                    let value = Value::of(Source::Name(name));
                    // `l += [a]` keeps `a`.
                    let keeps = held
                        .sources
                        .iter()
                        .any(|(_, how)| matches!(how, Relation::Holds | Relation::HoldsItems));
                    self.op(Op::Augment {
                        name,
                        is_definite,
                        held: if keeps {
                            Value::default()
                        } else {
                            held.clone()
                        },
                    });
                    if keeps {
                        self.op(Op::Mutate {
                            target: value,
                            key: None,
                            held,
                        });
                    }
                } else {
                    let value = self.value_of(name);
                    self.record_change(&value, false);
                    self.record_stored(&held);
                    if self.is_global(name) {
                        self.bind(target.id.as_str(), value);
                    }
                }
            }
            target => {
                let value = self.chain(target, None, How::Load);
                let held = self.expr(&node.value);
                if held.kind != Kind::Scalar {
                    // `box['a'] += [x]` changes the list that lies there.
                    self.mutate(value, None, Value::default());
                }
                self.store(target, held);
            }
        }
    }

    pub(super) fn import_from(&mut self, node: &ast::StmtImportFrom) {
        let module = node.module.as_ref().map_or("", |module| module.as_str());
        let module = format!("{}{module}", ".".repeat(node.level as usize));
        if module == "__future__" {
            self.has_lazy_annotations |= node
                .names
                .iter()
                .any(|alias| alias.name.as_str() == "annotations");
        }
        for alias in &node.names {
            if alias.name.as_str() == "*" {
                let line = self.line(node);
                let note = Note {
                    construct: format!("from {module} import *"),
                    line,
                };
                self.found.unknown.push(note.clone());
                match self.frame() {
                    Some(frame) => frame.unknown.push(note),
                    None => self.current.ops.push(Op::Star(Name::new(&module))),
                }
                continue;
            }
            let name = alias.asname.as_ref().unwrap_or(&alias.name);
            self.bind(
                name.as_str(),
                Value::of(Source::Module(Name::new(&format!(
                    "{module}.{}",
                    alias.name.as_str()
                )))),
            );
        }
    }

    pub(super) fn kind_of(&self, stmt: &Stmt) -> StatementKind {
        match stmt {
            _ if is_only_imports(stmt) => StatementKind::Import,
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => StatementKind::Definition,
            Stmt::IpyEscapeCommand(node) => match node.kind {
                IpyEscapeKind::Help | IpyEscapeKind::Help2 => StatementKind::Magic,
                IpyEscapeKind::Magic => {
                    let name = node.value.split_whitespace().next().unwrap_or_default();
                    let is_query = name == "env"
                        && !node.value.contains('=')
                        && node.value.split_whitespace().count() < 3;
                    if knowledge::has(Section::PureLineMagics, name) || is_query {
                        StatementKind::Magic
                    } else {
                        StatementKind::Other
                    }
                }
                _ => StatementKind::Other,
            },
            Stmt::Expr(node) => match &*node.value {
                Expr::Call(call) => match self.path_of(&call.func) {
                    Some((root, keys))
                        if self.full_name(root, &keys).is_in(Section::ConfigCalls) =>
                    {
                        StatementKind::Config
                    }
                    _ => StatementKind::Other,
                },
                _ => StatementKind::Other,
            },
            Stmt::Assign(node) => {
                // `pd.options.display.max_rows = 5`, `plt.rcParams['figure.dpi'] = 100`.
                let is_option = |target: &Expr| {
                    self.path_of(target).is_some_and(|(root, keys)| {
                        let full = self.full_name(root, &keys);
                        full.starts_with("pandas.options.")
                            || full.ends_with(".rcParams")
                            || full.starts_with("IPython.core.interactiveshell.InteractiveShell")
                    })
                };
                if node.targets.iter().all(is_option) {
                    StatementKind::Config
                } else {
                    StatementKind::Other
                }
            }
            _ => StatementKind::Other,
        }
    }

    pub(super) fn pattern(&mut self, pattern: &Pattern, subject: &Value) {
        deeper(|| match pattern {
            Pattern::MatchValue(node) => {
                self.expr(&node.value);
            }
            Pattern::MatchSingleton(_) => {}
            Pattern::MatchSequence(node) => self.patterns(&node.patterns, &subject.element()),
            Pattern::MatchMapping(node) => {
                for key in &node.keys {
                    self.expr(key);
                }
                self.patterns(&node.patterns, &subject.part(None));
                if let Some(rest) = &node.rest {
                    self.bind(rest.as_str(), subject.part(None));
                }
            }
            Pattern::MatchClass(node) => {
                self.expr(&node.cls);
                self.patterns(&node.arguments.patterns, &subject.part(None));
                for keyword in &node.arguments.keywords {
                    self.pattern(&keyword.pattern, &subject.part(None));
                }
            }
            Pattern::MatchStar(node) => {
                if let Some(name) = &node.name {
                    self.bind(name.as_str(), subject.part(None));
                }
            }
            Pattern::MatchAs(node) => {
                if let Some(inner) = &node.pattern {
                    self.pattern(inner, subject);
                }
                if let Some(name) = &node.name {
                    self.bind(name.as_str(), subject.clone());
                }
            }
            Pattern::MatchOr(node) => self.patterns(&node.patterns, subject),
        });
    }

    pub(super) fn patterns(&mut self, patterns: &[Pattern], subject: &Value) {
        for pattern in patterns {
            self.pattern(pattern, subject);
        }
    }
}
