//! Where names live: scopes and frames, what is surely bound, and where findings go.

use super::{Resolved, ScopeKind, Visitor};
use crate::binder;
use crate::effects::Note;
use crate::facts::{
    FilePath, FunctionFacts, FunctionId, Key, Op, Outside, Relation, Source, Value,
};
use crate::judge::is_history_name;
use crate::name::Name;
use crate::sorted::Set;
use crate::syntax::Ranged;

impl Visitor<'_> {
    pub(super) fn line(&self, node: &impl Ranged) -> usize {
        self.fixed_line
            .unwrap_or_else(|| (self.line_of)(node.start().to_usize()))
    }

    pub(super) fn frame(&mut self) -> Option<&mut FunctionFacts> {
        let id = *self.frames.last()?;
        self.found.functions.get_mut(id)
    }

    pub(super) fn in_function(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(super) fn op(&mut self, op: Op) {
        if !self.in_function() {
            self.current.ops.push(op);
        }
    }

    /// True where `locals()` has nothing to do with the names of the notebook.
    pub(super) fn is_in_function_scope(&self) -> bool {
        self.scopes
            .last()
            .is_some_and(|scope| scope.kind == ScopeKind::Function)
    }

    /// `locals()` of a function: it holds what its names refer to.
    pub(super) fn locals(&self) -> Value {
        let Some(scope) = self.scopes.last() else {
            return Value::default();
        };
        let mut names: Vec<_> = scope.values.iter().collect();
        names.sort_unstable_by_key(|(name, _)| name.text());
        names
            .into_iter()
            .fold(Value::default(), |all, (_, value)| all.or(value))
    }

    pub(crate) fn unknown(&mut self, construct: &str, line: usize) {
        self.note_unknown(construct, line);
        if self.frame().is_none() {
            self.current.ops.push(Op::Unknown);
        }
    }

    /// For those who ask what a cell does; the pass knows better.
    pub(super) fn note_unknown(&mut self, construct: &str, line: usize) {
        let note = Note {
            construct: construct.to_owned(),
            line,
        };
        self.found.unknown.push(note.clone());
        if let Some(frame) = self.frame() {
            frame.unknown.push(note);
        }
    }

    pub(super) fn outside(&mut self, outside: Outside) {
        match outside {
            Outside::FileRead(FilePath::Literal(path))
            | Outside::FolderRead(FilePath::Literal(path))
                if !path.is_empty() =>
            {
                self.found.files_read.insert(path);
            }
            Outside::FileWrite(FilePath::Literal(path))
            | Outside::FolderMake(FilePath::Literal(path)) => {
                self.found.files_written.insert(path);
            }
            _ => {}
        }
        match self.frame() {
            Some(frame) => {
                frame.outside.insert(outside);
            }
            None => self.current.ops.push(Op::Outside(outside)),
        }
    }

    pub(super) fn class_name(&self) -> Option<Name> {
        self.scopes.iter().rev().find_map(|scope| scope.class_name)
    }

    /// A name as it is looked up.
    pub(super) fn mangled(&self, name: &str) -> Name {
        // Most names are not private, and need not know their class.
        if name.starts_with("__") {
            binder::mangled(name, self.class_name())
        } else {
            Name::new(name)
        }
    }

    pub(super) fn resolve(&self, name: Name) -> Resolved {
        // Functions inside a class have this one for `super()`.
        if self.in_function()
            && name.text() == "__class__"
            && let Some(class) = self
                .scopes
                .iter()
                .position(|scope| scope.kind == ScopeKind::Class)
        {
            return Resolved::Local(class);
        }
        let mut is_innermost = true;
        for (index, scope) in self.scopes.iter().enumerate().rev() {
            let is_visible = scope.kind != ScopeKind::Class || is_innermost;
            if is_visible {
                if scope.bindings.globals.contains(&name) {
                    return Resolved::Global;
                }
                if scope.bindings.bound.contains(&name) && !scope.bindings.nonlocals.contains(&name)
                {
                    return if scope.kind == ScopeKind::Class && !scope.bound_so_far.contains(&name)
                    {
                        Resolved::ClassOrGlobal(index)
                    } else {
                        Resolved::Local(index)
                    };
                }
            }
            // A class is visible from its own type parameters and to nothing else inside it.
            is_innermost = is_innermost && scope.kind == ScopeKind::TypeParams;
        }
        Resolved::Global
    }

    pub(super) fn set_definite(&mut self, name: Name) {
        let old = self.definite.insert(name, self.statement_index);
        self.undo.push((name, old));
    }

    /// Runs `f` as code that may not run, or not to its end. Returns the names it surely binds when it does.
    pub(super) fn maybe(&mut self, f: impl FnOnce(&mut Self)) -> Set<Name> {
        let mark = self.undo.len();
        self.n_conditions += 1;
        f(self);
        self.n_conditions -= 1;
        let mut bound = Set::default();
        while self.undo.len() > mark {
            if let Some((name, old)) = self.undo.pop() {
                if self.definite.contains_key(&name) {
                    bound.insert(name);
                }
                match old {
                    Some(index) => self.definite.insert(name, index),
                    None => self.definite.remove(&name),
                };
            }
        }
        bound
    }

    /// Applies what all branches that can be left normally agree on.
    pub(super) fn join(&mut self, branches: Vec<Option<Set<Name>>>) {
        let mut branches = branches.into_iter().flatten();
        if let Some(mut common) = branches.next() {
            branches.for_each(|branch| common.keep_common(&branch));
            for &name in &common {
                self.set_definite(name);
            }
        }
    }

    /// Names a global read with its consequences for a function of this cell.
    pub(super) fn record_read(&mut self, name: Name, line: usize) {
        self.found.loads.insert(name);
        if is_history_name(&name) {
            self.history.push((name, line));
        }
        let is_added_to = self.adding_to.take_if(|adding| *adding == name).is_some();
        if let Some(frame) = self.frame() {
            if is_added_to {
                frame.adds_to.insert(name);
            } else {
                frame.reads.insert(name);
            }
            return;
        }
        self.record_exposed(name);
        if let Some(&id) = self.found.named_functions.get(name) {
            self.record_invocation(id);
        }
    }

    pub(super) fn record_exposed(&mut self, name: Name) {
        match self.definite.get(&name) {
            None => {
                self.found.reads.insert(name);
                self.summarize(|names| names.reads.insert(name));
            }
            Some(&index) if index < self.statement_index => {
                self.summarize(|names| names.reads.insert(name));
            }
            Some(_) => {}
        }
    }

    /// What a function of this cell does, done by the cell itself.
    pub(super) fn record_invocation(&mut self, id: FunctionId) {
        let mut seen = Set::default();
        seen.insert(id);
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let Some(facts) = self.found.functions.get(id) else {
                continue;
            };
            let mut reads = facts.reads.clone();
            reads.add_all(&facts.adds_to);
            let mutates = facts.mutates.clone();
            let (writes, deletes) = (facts.writes.clone(), facts.deletes.clone());
            for &name in &reads {
                self.record_exposed(name);
                if let Some(&next) = self.found.named_functions.get(name)
                    && seen.insert(next)
                {
                    pending.push(next);
                }
            }
            self.summarize(|names| {
                names.mutates.add_all(&mutates);
                names.writes.add_all(&writes);
                names.deletes.add_all(&deletes);
            });
            self.found.mutates.add_all(&mutates);
            self.found.writes.add_all(&writes);
            self.found.deletes.add_all(&deletes);
        }
    }

    /// The cell's own aliases of a value: `m = l` makes a change of `m` one of `l`.
    pub(super) fn record_mutation(&mut self, value: &Value) {
        self.record_change(value, true);
    }

    /// What the value is may change; if not `is_deep`, a list or a dict only has other items.
    pub(super) fn record_change(&mut self, value: &Value, is_deep: bool) {
        for &(source, how) in &value.sources {
            if !is_deep && how == Relation::Same
                || matches!(how, Relation::Rows | Relation::Operand)
            {
                continue;
            }
            if let (Source::Param(function, 0), Relation::Part(Some(Key::Attr(attribute)))) =
                (source, how)
                && let Some(facts) = self.found.functions.get_mut(function)
            {
                facts.changes_attributes.insert(attribute);
            }
            match source {
                Source::Name(name) => {
                    if let Some(frame) = self.frame() {
                        frame.deep_mutates.insert(name);
                    }
                }
                Source::Param(function, index) => {
                    if let Some(facts) = self.found.functions.get_mut(function) {
                        facts.deep_params.insert(index);
                    }
                }
                _ => {}
            }
        }
        let mut seen: Vec<Source> = Vec::new();
        // What happens to a copy of rows does not happen to what they were copied from.
        let mut pending: Vec<Source> = value
            .sources
            .iter()
            .filter(|(_, how)| !matches!(how, Relation::Rows | Relation::Operand))
            .map(|(source, _)| *source)
            .collect();
        while let Some(source) = pending.pop() {
            if seen.contains(&source) {
                continue;
            }
            match source {
                Source::Name(name) => {
                    match self.frame() {
                        Some(frame) => {
                            frame.mutates.insert(name);
                        }
                        None => {
                            self.found.mutates.insert(name);
                            self.summarize(|names| names.mutates.insert(name));
                        }
                    }
                    if !self.in_function()
                        && let Some(value) = self.module_values.get(&name)
                    {
                        pending.extend(value.changing());
                    }
                }
                Source::Param(function, index) => {
                    if let Some(facts) = self.found.functions.get_mut(function) {
                        facts.mutated_params.insert(index);
                    }
                }
                _ => {}
            }
            seen.push(source);
        }
    }

    /// What a function puts into something may be functions that it makes, or what it finds in the notebook.
    pub(super) fn record_stored(&mut self, held: &Value) {
        let Some(frame) = self.frame() else {
            return;
        };
        for &(source, how) in &held.sources {
            match source {
                Source::Function(id) if !frame.stores.contains(&id) => frame.stores.push(id),
                Source::Name(name) if !matches!(how, Relation::Operand | Relation::Rows) => {
                    frame.keeps.insert(name);
                }
                _ => {}
            }
        }
    }

    pub(super) fn mutate(&mut self, target: Value, key: Option<Key>, held: Value) {
        self.record_change(&target, false);
        self.record_stored(&held);
        if let (Some(Key::Attr(attribute)), [(Source::Param(_, 0), Relation::Same)]) =
            (key, &target.sources[..])
        {
            let is_given = |(source, how): &(Source, Relation)| {
                matches!(
                    (source, how),
                    (Source::Param(..) | Source::Name(_), Relation::Same)
                )
            };
            if held.sources.iter().any(is_given)
                && let Some(frame) = self.frame()
            {
                frame.keeps_attributes.insert(attribute);
            }
        }
        self.op(Op::Mutate { target, key, held });
    }
}
