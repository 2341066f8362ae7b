//! Calls: of code of this notebook, whose bodies are known; `library` has those of all other code.

use super::seen::Seen;
use super::state::{ObjectId, ObjectKind, Objects};
use super::{Code, World};
use crate::facts::CONSTRUCTORS;
use crate::knowledge::{self, Section};
use crate::name::Name;
use crate::program::{Call, Callee, Function, Key, Relation, Source};
use crate::sorted::Set;
use std::rc::Rc;

impl World {
    pub(super) fn call(&mut self, call: &Call) {
        let outer = std::mem::replace(&mut self.statement.is_calling, true);
        self.call_inner(call);
        self.statement.is_calling = outer;
    }

    fn call_inner(&mut self, call: &Call) {
        let arguments: Vec<Objects> = call
            .arguments
            .iter()
            .map(|(_, value)| self.resolve(value, false))
            .collect();
        // A function that is handed over may run.
        let mut handed = Vec::new();
        let mut states = Vec::new();
        for &id in arguments.iter().flatten() {
            let object = self.state.object(id);
            if let Some(code) = object.code
                && !object.is_instance
            {
                self.read_code(code, Name::new(""), &mut handed);
                states.push(id);
            }
        }
        self.statement.through = None;
        // It may also run later, by way of what it was handed to.
        self.statement.takes_prints |= !self.statement.prints.is_empty()
            && self.carries_code(call, &arguments)
            && !self.stays_in_notebook(call, &arguments);
        self.run_code(&handed);
        for &id in &states {
            self.change_state_of(id);
        }
        let mut handed = arguments.iter().flatten();
        if handed.any(|id| self.changes_parameters(*id)) {
            self.change_passed(call, &arguments);
        }
        let result = match &call.callee {
            Callee::Name(name) => self.call_name(call, *name, &arguments),
            Callee::Method {
                receiver, method, ..
            } => {
                let objects = self.resolve(receiver, false);
                // `A().m()` names no object that a read has looked at.
                let is_result =
                    |(source, _): &(Source, Relation)| matches!(source, Source::Result(_));
                if receiver.sources.iter().any(is_result) {
                    let mut code = Vec::new();
                    let mut seen = Seen::default();
                    for &id in &objects {
                        if self.state.object(id).is_instance {
                            self.read_whole(id, *method, &mut seen, &mut code);
                        }
                    }
                    self.run_code(&code);
                }
                match objects.iter().find_map(|&id| self.own_method(id, *method)) {
                    Some(code) => self.own_call(call, code, Some(&objects), &arguments, &[]),
                    None => {
                        let items = self.items_with(&objects, *method);
                        let mut result = self.library_call(call, &arguments, Some(&objects));
                        for (item, code) in items {
                            result.extend(self.own_call(
                                call,
                                code,
                                Some(&[item]),
                                &arguments,
                                &[],
                            ));
                        }
                        result
                    }
                }
            }
            Callee::Other(value) => {
                let objects = self.resolve(value, false);
                self.change_called(&objects);
                let classes = self.run_items(&objects);
                let mut result = Objects::new();
                for id in objects {
                    if let Some(code) = self.state.object(id).code {
                        let mut found = Vec::new();
                        self.read_code(code, Name::new(""), &mut found);
                        self.statement.through = None;
                        self.run_code(&found);
                        self.change_state_of(id);
                        let closure = self.state.object(id).holds.clone();
                        let made = self.own_call(call, code, None, &arguments, &closure);
                        result.extend(made);
                    }
                }
                if result.is_empty() {
                    let made = self.library_call(call, &arguments, None);
                    // `kinds['a'](x)` may be of any class that lies there.
                    for &id in &made {
                        self.pass_on(id, &classes);
                    }
                    made
                } else {
                    result
                }
            }
        };
        self.statement.results.push((call.id, result));
    }

    /// Whether a function of the notebook changes anything that it is given.
    fn changes_parameters(&self, id: ObjectId) -> bool {
        let changes = |id: ObjectId| {
            let object = self.state.object(id);
            object.code.is_some_and(|code| {
                let cell = self.cell_of(code);
                let facts = &cell.program.functions[code.1];
                !object.is_instance && facts.class.is_none() && !facts.mutated_params.is_empty()
            })
        };
        // `partial(f, 2)`
        let owners = self.state.object(id).part_of.clone();
        changes(id) || owners.iter().any(|(owner, _)| changes(*owner))
    }

    /// What comes with a function that is handed over, like `rows` in `map(f, rows)`, may be what that changes.
    fn change_passed(&mut self, call: &Call, arguments: &[Objects]) {
        let mut passed: Objects = arguments.iter().flatten().copied().collect();
        if let Callee::Method { receiver, .. } = &call.callee {
            passed.extend(self.resolve(receiver, false));
        }
        let takes_frame =
            matches!(&call.callee, Callee::Method { method, .. } if method.text() == "pipe");
        passed.retain(|id| {
            let object = self.state.object(*id);
            object.code.is_none() && (takes_frame || object.kind != ObjectKind::Frame)
        });
        self.change_deeply(&passed, None, &mut Seen::default());
    }

    /// Whether the callee may keep code of the notebook that comes with these arguments.
    fn carries_code(&self, call: &Call, arguments: &[Objects]) -> bool {
        if let Callee::Name(name) = &call.callee
            && name.is_in(Section::FreshBuiltins)
        {
            return false;
        }
        let has_code = |id: ObjectId| {
            let object = self.state.object(id);
            object.code.is_some() || !object.contents.code.is_empty()
        };
        arguments.iter().flatten().any(|&id| {
            let owners = self.state.object(id).part_of.clone();
            has_code(id) || owners.iter().any(|(owner, _)| has_code(*owner))
        })
    }

    /// Whether code that comes with these arguments can only be run by code of the notebook: who runs it later is then
    /// known, and nobody catches what it prints.
    fn stays_in_notebook(&mut self, call: &Call, arguments: &[Objects]) -> bool {
        let mut pending = match &call.callee {
            Callee::Name(name) => self.objects_of(*name),
            Callee::Method { receiver, .. } => self.resolve_existing(receiver),
            Callee::Other(_) => return false,
        };
        if pending.is_empty()
            || pending
                .iter()
                .any(|id| self.state.object(*id).code.is_none())
        {
            return false;
        }
        pending.extend(arguments.iter().flatten().copied());
        let mut seen = Seen::default();
        while let Some(id) = pending.pop() {
            let object = self.state.object(id);
            if matches!(object.kind, ObjectKind::Foreign | ObjectKind::Module) {
                return false;
            }
            if seen.insert(id) {
                pending.extend(object.holds.iter().copied());
                pending.extend(object.part_of.iter().map(|(owner, _)| *owner));
            }
        }
        let reached: Vec<Code> = self.statement.visited_code.iter().copied().collect();
        reached.into_iter().all(|code| {
            let owner = self.cell_of(code);
            let facts = &owner.program.functions[code.1];
            facts.unknown.is_empty()
                && facts
                    .calls
                    .iter()
                    .all(|called| self.is_own_or_plain(*called))
        })
    }

    /// A function of the notebook, one of Python's own, or a method that just keeps what it is given.
    fn is_own_or_plain(&mut self, called: Name) -> bool {
        let mut parts = called.text().splitn(2, '.');
        let root = Name::new(parts.next().unwrap_or_default());
        let Some(binding) = self.binding(root) else {
            return root.is_builtin();
        };
        if binding.module.is_some() {
            return false;
        }
        match parts.next() {
            Some(method) => knowledge::has(Section::KeepsArgumentMethods, method),
            None => {
                let mut objects = binding.objects.iter();
                objects.all(|id| self.state.object(*id).code.is_some())
            }
        }
    }

    fn call_name(&mut self, call: &Call, name: Name, arguments: &[Objects]) -> Objects {
        let known = self.objects_of(name);
        let code: Vec<(ObjectId, Code)> = known
            .iter()
            .map(|id| (*id, self.state.object(*id)))
            .filter(|(_, object)| !object.is_instance)
            .filter_map(|(id, object)| Some((id, object.code?)))
            .collect();
        let call_method = Name::new("__call__");
        let callable = known
            .iter()
            .find_map(|&id| Some((id, self.own_method(id, call_method)?)));
        if let Some((id, code)) = callable {
            return self.own_call(call, code, Some(&[id]), arguments, &[]);
        }
        if code.is_empty() {
            if known.is_empty() && self.is_missing(name) {
                // The call fails before it does anything.
                return Objects::from(&[self.make(ObjectKind::Foreign)][..]);
            }
            self.change_called(&known);
            return self.library_call(call, arguments, None);
        }
        let mut result = Objects::new();
        for (id, code) in code {
            let closure = self.state.object(id).holds.clone();
            result.extend(self.own_call(call, code, None, arguments, &closure));
            let calls = &self.cell_of(code).program.functions[code.1].calls;
            let is_decorated = |by: &str| calls.iter().any(|call| call.ends_with(by));
            if is_decorated("cache") {
                // What it gives may be what it gave.
                self.keep(id, &result);
            } else if is_decorated("singledispatch") {
                for &held in closure.iter() {
                    if let Some(code) = self.state.object(held).code {
                        result.extend(self.own_call(call, code, None, arguments, &[]));
                    }
                }
            }
        }
        // An instance keeps its class, and through it the base classes.
        let classes = self.objects_of(name);
        for &id in &result {
            if self.state.object(id).is_instance {
                self.keep(id, &classes);
                self.make_by_class(id, &classes);
                self.made_with(id);
            }
        }
        result
    }

    /// A constructor may change what all objects of a class have: `self.all.append(self)`.
    fn made_with(&mut self, id: ObjectId) {
        let Some(code) = self.own_method(id, Name::new(CONSTRUCTORS[0])) else {
            return;
        };
        let changed = self.cell_of(code);
        let changed = &changed.program.functions[code.1].changes_attributes;
        let Some(class) = self.state.object(id).code else {
            return;
        };
        let cell = self.cell_of(class);
        let class = cell.program.functions[class.1].class.as_ref();
        if class.is_some_and(|class| changed.iter().any(|name| class.shared.has(*name))) {
            self.change_classes(id);
        }
    }

    /// A class with a `__new__` may change by it, and may give an object that it keeps.
    fn make_by_class(&mut self, id: ObjectId, classes: &[ObjectId]) {
        let Some((step, function)) = self.own_method(id, Name::new("__new__")) else {
            return;
        };
        let owner = self.cell_of((step, function));
        if !owner.program.functions[function].mutated_params.has(0) {
            return;
        }
        for &class in classes {
            self.change(class, None, false, &mut Seen::default());
            self.keep(class, &[id]);
        }
        let owners = classes.iter().map(|class| (*class, None));
        self.state.object_mut(id).part_of = Rc::new(owners.collect());
        self.follow_owners(id);
    }

    /// Nothing that the notebook does can have bound this name, nor is it one of Python's own.
    fn is_missing(&mut self, name: Name) -> bool {
        self.binding(name).is_none()
            && self.state.taint_of(name).is_none()
            && !name.is_builtin()
            && name.value(Section::Aliases).is_none()
    }

    /// An object of the notebook's own class that is called may change: itself, or as an item of what it was taken from.
    fn change_called(&mut self, objects: &[ObjectId]) {
        let mut items: Vec<ObjectId> = Vec::new();
        for &id in objects {
            let object = self.state.object(id);
            if object.is_instance {
                // `change_state` does it where the object has a name.
                continue;
            }
            let owners = object.part_of.clone();
            // `partial(f, rows)`
            let is_bound = owners
                .iter()
                .any(|(owner, _)| self.changes_parameters(*owner));
            for &(owner, key) in owners.iter() {
                let holds = self.state.object(owner).holds.clone();
                items.extend(holds.iter());
                let is_method = match key {
                    // `add = rows.append`
                    Some(Key::Attr(method)) => match self.own_method(owner, method) {
                        Some(code) => self.code_changes(code, 0, None, 0),
                        None => method.is_in(Section::ChangingMethods),
                    },
                    _ => false,
                };
                if is_method || is_bound && self.state.object(owner).code.is_none() {
                    self.change_deeply(&[owner], None, &mut Seen::default());
                }
            }
        }
        let call = Name::new("__call__");
        for id in items {
            if self.own_method(id, call).is_some() {
                self.change(id, None, false, &mut Seen::default());
                self.change_deeply(objects, None, &mut Seen::default());
            } else if self.change_state_of(id) {
                self.change_all(objects, None);
            } else {
                // What cannot be called has a method there that can: `[rows.append]`.
                let object = self.state.object(id);
                if object.is_instance || object.is_container() {
                    self.change(id, None, false, &mut Seen::default());
                    self.change_given(id);
                }
            }
        }
    }

    /// The method of the notebook's own class that an object has under this name.
    pub(super) fn own_method(&self, id: ObjectId, method: Name) -> Option<Code> {
        let object = self.state.object(id);
        let code = object.code.filter(|_| object.is_instance)?;
        let cell = self.cell_of(code);
        let class = cell.program.functions[code.1].class.as_ref()?;
        match class.method(&method) {
            Some(found) => Some((code.0, found)),
            None => self
                .bases_of(id)
                .iter()
                .find_map(|own| self.inherited_method(*own, method, 0)),
        }
    }

    /// A method of the classes that a class is made from, if the notebook has the code of all of these.
    fn inherited_method(&self, class: ObjectId, method: Name, depth: usize) -> Option<Code> {
        let code = self.state.object(class).code?;
        let cell = self.cell_of(code);
        let facts = cell.program.functions[code.1].class.as_ref()?;
        if let Some(found) = facts.method(&method) {
            return Some((code.0, found));
        }
        let bases = self.bases_of(class);
        if bases.len() != facts.bases.len() || depth > 16 {
            return None;
        }
        bases
            .iter()
            .find_map(|base| self.inherited_method(*base, method, depth + 1))
    }

    /// What running these functions does to globals.
    pub(super) fn run_code(&mut self, code: &[Code]) {
        let outer = std::mem::replace(&mut self.statement.is_calling, true);
        let mut done = Seen::default();
        for &code in code {
            if !done.insert(code) {
                continue;
            }
            let owner = self.cell_of(code);
            let facts = &owner.program.functions[code.1];
            for &name in &facts.mutates {
                self.statement.exposed.push(name);
                let objects = self.objects_of(name);
                if facts.deep_mutates.contains(&name) {
                    self.change_all(&objects, None);
                } else {
                    self.rearrange_all(&objects);
                }
            }
            for &name in facts.writes.iter().chain(&facts.deletes) {
                self.bind_weakly(name);
            }
            for &effect in &facts.outside {
                if effect.is_change() {
                    self.outside(effect);
                }
            }
            for &callee in &facts.calls {
                self.change_state(callee);
            }
            self.pass_on_stored(code, &facts.mutates);
            if !facts.methods.is_empty() {
                // `for listen in listeners: listen(event)`
                for &name in &facts.reads {
                    let objects = self.objects_of(name);
                    self.run_held(&objects, &facts.methods);
                }
            }
            let kept = self.kept_by(facts);
            if !kept.is_empty() {
                for &name in &facts.mutates {
                    for id in self.objects_of(name) {
                        self.keep(id, &kept);
                    }
                }
            }
            for (callee, passed) in &facts.passed_on {
                for (position, sources) in passed.iter().enumerate() {
                    if !self.callee_changes(*callee, position, None, 0) {
                        continue;
                    }
                    for source in sources {
                        if let Source::Name(name) = source {
                            let objects = self.objects_of(*name);
                            self.change_all(&objects, None);
                        }
                    }
                }
            }
        }
        self.statement.is_calling = outer;
    }

    /// Whether calling this name may change the argument at a position.
    fn callee_changes(
        &mut self,
        callee: Name,
        position: usize,
        keyword: Option<Name>,
        depth: usize,
    ) -> bool {
        if depth > 16 {
            return true;
        }
        let Some(binding) = self.binding(callee) else {
            return match knowledge::mutated_arguments(callee) {
                Some(positions) => positions.contains(&position),
                None => true,
            };
        };
        if let Some(module) = binding.module {
            return match knowledge::mutated_arguments(module) {
                Some(positions) => keyword.is_none() && positions.contains(&position),
                None => true,
            };
        }
        let mut is_known = false;
        for &id in &binding.objects {
            let Some(code) = self.state.object(id).code else {
                continue;
            };
            is_known = true;
            if self.code_changes(code, position, keyword, depth + 1) {
                return true;
            }
        }
        !is_known
    }

    pub(super) fn code_changes(
        &mut self,
        code: Code,
        position: usize,
        keyword: Option<Name>,
        depth: usize,
    ) -> bool {
        let owner = self.cell_of(code);
        let functions = &owner.program.functions;
        let (function, position) = match &functions[code.1].class {
            Some(class) => match class.method("__init__") {
                Some(constructor) => (constructor, position + 1),
                None => return false,
            },
            None => (code.1, position),
        };
        let facts = &functions[function];
        if facts.changes_argument(position, keyword) {
            return true;
        }
        let parameter = facts.parameter_of(position, keyword);
        let question = (code.0, function, parameter);
        if self.statement.asked.contains(&question) {
            // A function that calls itself changes no more by that.
            return false;
        }
        self.statement.asked.push(question);
        let is_changed = facts.passed_on.iter().any(|(callee, passed)| {
            passed.iter().enumerate().any(|(at, sources)| {
                sources.contains(&Source::Param(function, parameter))
                    && self.callee_changes(*callee, at, None, depth + 1)
            })
        });
        self.statement.asked.pop();
        is_changed
    }

    /// Of an argument that code changes, whether its items may change, too.
    fn code_changes_items(&self, code: Code, position: usize, keyword: Option<Name>) -> bool {
        let owner = self.cell_of(code);
        let functions = &owner.program.functions;
        let facts = &functions[code.1];
        if facts.class.is_some() {
            return true;
        }
        let parameter = facts.parameter_of(position, keyword);
        let is_passed_on = facts.passed_on.iter().any(|(_, passed)| {
            let is_parameter = |source: &Source| *source == Source::Param(code.1, parameter);
            passed
                .iter()
                .any(|sources| sources.iter().any(is_parameter))
        });
        is_passed_on || facts.changes_items(parameter)
    }

    /// Functions that this code makes, and puts into what these names stand for, may be run by way of that.
    fn pass_on_stored(&mut self, (step, function): Code, names: &Set<Name>) {
        let owner = self.cell_of((step, function));
        let stores = &owner.program.functions[function].stores;
        if stores.is_empty() {
            return;
        }
        let stored: Vec<Code> = stores.iter().map(|inner| (step, *inner)).collect();
        for &name in names {
            for id in self.objects_of(name) {
                self.pass_on(id, &stored);
            }
        }
    }

    /// `codes['up'](x)`: what is called may be any function that lies there.
    /// Gives the classes that lie there.
    fn run_items(&mut self, objects: &[ObjectId]) -> Vec<Code> {
        let mut code: Vec<Code> = Vec::new();
        for &id in objects {
            for (owner, _) in self.owners_of(id) {
                code.extend_from_slice(&self.state.object(owner).contents.code);
            }
        }
        let (code, classes): (Vec<Code>, Vec<Code>) =
            code.into_iter().partition(|&(step, function)| {
                let owner = self.cell_of((step, function));
                owner.program.functions[function].class.is_none()
            });
        self.run_code(&code);
        classes
    }

    /// What a function puts somewhere of what the notebook has.
    fn kept_by(&mut self, facts: &Function) -> Objects {
        let mut kept = Objects::new();
        for &name in &facts.keeps {
            kept.extend(self.objects_of(name));
        }
        kept.retain(|id| self.state.object(*id).kind != ObjectKind::Module);
        kept
    }

    /// A method of the notebook's own class runs that may change its object; whether there is one.
    pub(super) fn run_method(&mut self, id: ObjectId, methods: &[&str]) {
        for method in methods {
            if let Some(code) = self.own_method(id, Name::new(method)) {
                self.run_own(id, code);
            }
        }
    }

    fn run_own(&mut self, id: ObjectId, code: Code) {
        if self.code_changes(code, 0, None, 0) {
            self.change(id, None, false, &mut Seen::default());
            self.change_given(id);
        }
    }

    /// What calls methods of something, or something without a name, may call what these hold: handlers, steps, listeners.
    /// Methods of the notebook's own classes may be called like those that the tables know, and do something else.
    pub(super) fn run_held(&mut self, holders: &[ObjectId], methods: &Set<Name>) {
        if methods.is_empty() {
            return;
        }
        let mut seen = Seen::default();
        let mut pending = Objects::from(holders);
        for &id in holders {
            if !self.state.object(id).part_of.is_empty() {
                let owners = self.owners_of(id);
                pending.extend(owners.iter().map(|(owner, _)| *owner));
            }
        }
        let mut found: Vec<(ObjectId, Code)> = Vec::new();
        while let Some(id) = pending.pop() {
            let parts = self.state.object(id).part_of.clone();
            for &(owner, key) in parts.iter() {
                // `port.listen(clerk.hear)`
                if let Some(Key::Attr(method)) = key
                    && methods.has(Name::new("__call__"))
                {
                    if method.is_in(Section::ChangingMethods) {
                        self.change(owner, None, false, &mut Seen::default());
                    }
                    self.run_method(owner, &[method.text()]);
                }
            }
            let object = self.state.object(id);
            let is_code = object.code.is_some();
            // No code of the notebook can be reached from others.
            if !is_code && object.contents.code.is_empty()
                || object.kind == ObjectKind::Module
                || !seen.insert(id)
            {
                continue;
            }
            if let Some(code) = object.code {
                found.push((id, code));
            }
            if !is_code || object.is_instance {
                pending.extend(object.holds.iter().copied());
            }
        }
        let mut methods = methods.clone();
        let is_unknown = |method: &Name| method.sections().is_empty();
        let mut n_known = 0;
        // What it runs may run more of them.
        while n_known < methods.len() {
            n_known = methods.len();
            for &(id, code) in &found {
                if !self.state.object(id).is_instance {
                    if methods.iter().any(is_unknown) && !self.statement.ran.contains(&(id, code)) {
                        self.statement.ran.push((id, code));
                        self.change_state_of(id);
                    }
                    continue;
                }
                let mut called = methods.clone();
                if methods.has(Name::default()) {
                    let cell = self.cell_of(code);
                    let class = cell.program.functions[code.1].class.as_ref();
                    called.extend_from(class.into_iter().flat_map(|class| class.methods.names()));
                }
                for &method in &called {
                    let Some(code) = self.own_method(id, method) else {
                        continue;
                    };
                    if CONSTRUCTORS.contains(&method.text())
                        || self.statement.ran.contains(&(id, code))
                    {
                        continue;
                    }
                    self.statement.ran.push((id, code));
                    self.run_own(id, code);
                    methods.add_all(&self.cell_of(code).program.functions[code.1].methods);
                }
            }
        }
    }

    /// Objects of the notebook's own classes, with this method, that these may be: items and attributes of what holds such.
    fn items_with(&mut self, objects: &[ObjectId], method: Name) -> Vec<(ObjectId, Code)> {
        let mut found: Vec<(ObjectId, Code)> = Vec::new();
        let mut pending = Objects::new();
        for &id in objects {
            if self.state.object(id).part_of.is_empty() {
                continue;
            }
            let owners = self.owners_of(id);
            pending.extend(owners.iter().map(|(owner, _)| *owner));
        }
        let mut seen = Seen::default();
        while let Some(id) = pending.pop() {
            let object = self.state.object(id);
            // No code of the notebook can be reached from there.
            if object.contents.code.is_empty()
                || object.kind == ObjectKind::Module
                || !seen.insert(id)
            {
                continue;
            }
            // `with a as b` may give the object itself.
            let held = object.holds.clone();
            for held in held.iter().copied().chain([id]) {
                let object = self.state.object(held);
                if !object.is_instance {
                    if object.code.is_none() {
                        pending.push(held);
                    }
                } else if !found.iter().any(|(known, _)| *known == held) {
                    match self.own_method(held, method) {
                        Some(code) => found.push((held, code)),
                        None => pending.push(held),
                    }
                }
            }
        }
        found
    }

    /// A call of code of this notebook.
    fn own_call(
        &mut self,
        call: &Call,
        code: Code,
        receiver: Option<&[ObjectId]>,
        arguments: &[Objects],
        closure: &[ObjectId],
    ) -> Objects {
        let (step, function) = code;
        let shift = usize::from(receiver.is_some());
        let mut changed: Vec<ObjectId> = Vec::new();
        for (position, objects) in arguments.iter().enumerate() {
            let keyword = call.arguments[position].0;
            if self.code_changes(code, position + shift, keyword, 0) {
                let is_deep = self.code_changes_items(code, position + shift, keyword);
                // Methods of other objects may do more than their names say.
                let (containers, others): (Objects, Objects) = objects
                    .iter()
                    .copied()
                    .partition(|&id| !is_deep && self.state.object(id).is_container());
                self.change_deeply(&others, None, &mut Seen::default());
                self.rearrange_all(&containers);
                changed.extend(objects);
            }
        }
        if let Some(receiver) = receiver
            && self.code_changes(code, 0, None, 0)
        {
            self.change_all(receiver, None);
            for &id in receiver {
                self.change_given(id);
            }
            changed.extend(receiver);
        }
        let mut given: Objects = arguments.iter().flatten().copied().collect();
        let owner = self.cell_of(code);
        let facts = &owner.program.functions[function];
        if facts.class.is_none() {
            let mut holders = given.clone();
            holders.extend(receiver.unwrap_or_default().iter().copied());
            self.run_held(&holders, &facts.methods);
        }
        for (position, objects) in arguments.iter().enumerate() {
            let parameter = facts.parameter_of(position + shift, call.arguments[position].0);
            if facts.class.is_none() && facts.iterates.has(parameter) {
                self.consume(objects);
                self.consume_items(objects);
            }
        }
        given.extend(self.kept_by(facts));
        for &name in &facts.mutates {
            changed.extend(self.objects_of(name));
        }
        // What it changes may hold what it was given from now on.
        let changes_given = !changed.is_empty();
        let stored: Vec<Code> = facts.stores.iter().map(|inner| (step, *inner)).collect();
        for id in changed {
            if self.state.object(id).kind != ObjectKind::Module {
                self.keep(id, &given);
                self.pass_on(id, &stored);
            }
        }
        if let Some(class) = &facts.class {
            let id = self.make(if class.has_plain_attributes {
                ObjectKind::Namespace
            } else {
                ObjectKind::Plain
            });
            let object = self.state.object_mut(id);
            object.code = Some(code);
            object.is_instance = true;
            self.fill(id, given);
            return Objects::from(&[id][..]);
        }
        // What the function returns may be what it was given, or a global.
        let mut result = Objects::new();
        let id = self.make(if facts.is_generator {
            ObjectKind::Iterator
        } else {
            ObjectKind::Foreign
        });
        self.state.object_mut(id).changes_owners = facts.is_generator && changes_given;
        let mut holds = Objects::new();
        if facts.is_generator {
            // It goes on with it, later.
            holds.extend(given.iter().copied());
        }
        let mut of_items = Objects::new();
        let mut part_of: Vec<(ObjectId, Option<Key>)> = Vec::new();
        if facts.is_generator && changes_given {
            part_of.extend(given.iter().map(|&given| (given, None)));
        }
        for (source, relation) in &facts.returns.sources {
            let objects: Objects = match source {
                Source::Param(owner, index) if *owner == function => match (receiver, index) {
                    (Some(receiver), 0) => Objects::from(receiver),
                    _ => argument_at(facts, *index, shift, call, arguments),
                },
                Source::Name(name) => self.objects_of(*name),
                Source::Function(inner) => {
                    let made = self.make(ObjectKind::Plain);
                    self.state.object_mut(made).code = Some((step, *inner));
                    // The inner function sees what the outer one was given, and what that sees itself.
                    let mut seen = given.clone();
                    seen.extend(closure.iter().copied().filter(|held| !given.contains(held)));
                    self.fill(made, seen);
                    Objects::from(&[made][..])
                }
                _ => continue,
            };
            match relation {
                Relation::Same => result.extend(objects),
                Relation::Part(key) => {
                    part_of.extend(objects.into_iter().map(|object| (object, *key)));
                }
                Relation::Columns => {
                    part_of.extend(objects.into_iter().map(|object| (object, None)));
                }
                Relation::Holds => holds.extend(objects),
                Relation::Operand => {
                    holds.extend(
                        objects
                            .iter()
                            .copied()
                            .filter(|id| self.state.object(*id).is_instance),
                    );
                }
                Relation::HoldsItems => of_items.extend(objects),
                Relation::Rows => {}
            }
        }
        self.state.object_mut(id).part_of = Rc::new(part_of);
        self.fill(id, holds);
        self.hold_items(id, &of_items);
        self.follow_owners(id);
        if facts.is_late || facts.is_generator {
            self.pass_on(id, &[code]);
        }
        result.push(id);
        result
    }
}

fn argument_at(
    facts: &Function,
    index: usize,
    shift: usize,
    call: &Call,
    arguments: &[Objects],
) -> Objects {
    let mut objects = Objects::new();
    for (position, (keyword, _)) in call.arguments.iter().enumerate() {
        if facts.parameter_of(position + shift, *keyword) == index {
            objects.extend(arguments[position].iter().copied());
        }
    }
    objects
}
