//! What a statement reads: names, with everything that can be reached from them, and what the functions among that read
//! in their turn.

use super::seen::Seen;
use super::state::{Ambience, Binding, Contents, ObjectId, ObjectKind, Objects};
use super::version::{Digest, Version};
use super::{Code, Manner, Moment, ReadRecord, Step, World};
use crate::facts::{ANY_NAME, CONSTRUCTORS, How};
use crate::judge::is_history_name;
use crate::knowledge::Section;
use crate::name::Name;
use crate::program::{Key, Keys, Path};
use std::rc::Rc;

impl World {
    pub(super) fn absorb(
        &mut self,
        name: Name,
        version: Version,
        origin: Option<Step>,
        manner: Manner,
    ) {
        self.statement.key.add(version);
        self.note(name, version, origin, manner);
    }

    fn note(&mut self, name: Name, version: Version, origin: Option<Step>, manner: Manner) {
        let through = self.statement.through;
        self.statement.reads.push(ReadRecord {
            name,
            through,
            version,
            origin,
            manner,
        });
    }

    /// Something that may matter: it goes into the full key only.
    pub(super) fn absorb_doubt(
        &mut self,
        name: Name,
        value: Digest,
        origin: Option<Step>,
        manner: Manner,
    ) {
        self.statement.key.add_doubt(&value.to_le_bytes());
        let version = Version {
            certain: 0,
            full: value,
        };
        self.note(name, version, origin, manner);
    }

    pub(super) fn objects_of(&mut self, name: Name) -> Objects {
        let binding = self.binding(name);
        let since = binding.as_ref().map_or(0, |binding| binding.since);
        let mut objects = binding.map_or_else(Objects::new, |binding| binding.objects.clone());
        if self
            .state
            .taint_of(name)
            .is_some_and(|taint| since <= taint.since)
        {
            objects.extend(self.put_anywhere(&objects));
        }
        objects
    }

    /// What was bound to names that are put together: `globals()[f'run_{n}'] = run`. Without those that are known.
    pub(super) fn put_anywhere(&mut self, known: &[ObjectId]) -> Objects {
        let binding = self.binding(Name::new(ANY_NAME));
        let mut objects = binding.map_or_else(Objects::new, |binding| binding.objects.clone());
        objects.retain(|id| !known.contains(id));
        objects
    }

    /// Reads a path, and runs what that calls.
    pub(super) fn read_and_run(&mut self, path: &Path, how: How, is_own: bool, columns: &[Key]) {
        if !is_own {
            self.statement.exposed.push(path.root);
        }
        let code = self.read(path, how, columns);
        if matches!(how, How::Call | How::Method) {
            self.run_code(&code);
        } else if how != How::Refer && !code.is_empty() {
            self.run_implied(&code, how);
        }
        if how == How::Call {
            self.change_state(path.root);
        }
    }

    /// Reads a name with everything that can be reached from it. Returns the functions that may run.
    pub(super) fn read_name(&mut self, name: Name) -> Vec<Code> {
        let path = Path {
            root: name,
            keys: Keys::new(),
        };
        self.statement.exposed.push(name);
        self.read(&path, How::Load, &[])
    }

    fn read(&mut self, path: &Path, how: How, columns: &[Key]) -> Vec<Code> {
        let root = path.root;
        let Some(binding) = self.binding(root) else {
            self.read_absent(root);
            return Vec::new();
        };
        self.absorb(root, binding.version, binding.origin, Manner::Bound);
        self.absorb_taint(root, binding.since);
        if binding.is_lost && self.state.taint_of(root).is_none() {
            self.statement.lost.add(binding.version);
        }
        let mut code = Vec::new();
        let mut seen = Seen::default();
        for &id in &binding.objects {
            let kind = self.state.object(id).kind;
            if !columns.is_empty() && matches!(kind, ObjectKind::Frame | ObjectKind::Foreign) {
                self.read_configuration(root, kind);
                self.read_columns(id, root, columns, &mut code);
            } else {
                self.read_object(id, path, how, &mut seen, &mut code);
            }
        }
        code
    }

    fn read_absent(&mut self, name: Name) {
        if name.is_builtin() {
            return;
        }
        self.absorb_taint(name, 0);
        if matches!(name.text(), "_" | "__" | "___") {
            if let Some((all, last)) = self.state.shown() {
                self.absorb_doubt(name, all.full, Some(last), Manner::Unknown);
            }
        } else if is_history_name(&name) {
            let so_far = self.state.keys_so_far();
            let last = self.step.checked_sub(1);
            self.absorb_doubt(name, so_far, last, Manner::Unknown);
        } else {
            let version = Version::constant("absent", &name);
            self.absorb(name, version, None, Manner::Bound);
            if self.state.taint_of(name).is_none() {
                self.statement.lost.add(version);
            }
        }
    }

    fn absorb_taint(&mut self, name: Name, since: Moment) {
        if let Some(taint) = self.state.taint_of(name)
            && since <= taint.since
        {
            self.absorb_doubt(name, taint.digest, Some(taint.origin), Manner::Unknown);
        }
    }

    fn read_object(
        &mut self,
        id: ObjectId,
        path: &Path,
        how: How,
        seen: &mut Seen<ObjectId>,
        code: &mut Vec<Code>,
    ) {
        let root = path.root;
        let object = self.state.object(id);
        let kind = object.kind;
        let (base, base_origin) = (object.base, object.base_origin);
        let (whole, origin, manner) = (object.whole, object.origin, object.manner);
        let (own_code, is_instance) = (object.code, object.is_instance);
        let n_steps = path.keys.len();
        let key = match path.keys.first() {
            // A method of the object itself may look at all of it.
            Some(Key::Attr(_))
                if how == How::Method && n_steps == 1 && kind != ObjectKind::Module =>
            {
                None
            }
            Some(key) => self.normal_key(kind, *key),
            None => None,
        };
        self.read_configuration(root, kind);
        if how == How::Store && n_steps == 1 && key.is_some() {
            self.absorb(root, base, base_origin, Manner::Bound);
            return;
        }
        if how == How::Refer
            && n_steps == 0
            && !is_instance
            && let Some(own_code) = own_code
        {
            self.absorb(root, whole, origin, manner);
            let owner = self.cell_of(own_code);
            for prints in &owner.program.functions[own_code.1].prints {
                self.statement.prints.add_bytes(prints);
            }
            return;
        }
        if how == How::Store && n_steps == 0 {
            // `del x` only needs the name.
            return;
        }
        if how != How::Store
            && matches!(path.keys.first(), Some(Key::Item(_) | Key::Any))
            && self.grows(id)
        {
            self.change(id, key, false, &mut Seen::default());
        }
        if let Some(key) = key {
            self.absorb(root, base, base_origin, Manner::Bound);
            // What is set in a module does not depend on what was set there.
            let is_set = how == How::Store && kind == ObjectKind::Module;
            if let Some((version, origin)) = self.state.object(id).key(key)
                && !is_set
            {
                self.absorb(root, version, Some(origin), Manner::Changed);
            }
            // A method below the key belongs to a held object.
            let contents = self.state.object(id).contents.clone();
            self.absorb_contents(&contents, root, code);
            return;
        }
        if kind == ObjectKind::Module {
            // Modules change only through attribute stores.
            if path.keys.is_empty() {
                self.absorb(root, whole, origin, Manner::Changed);
            }
            return;
        }
        if how == How::Call
            && let Some((step, function)) = own_code
            && !is_instance
        {
            let owner = self.cell_of((step, function));
            if let Some(class) = &owner.program.functions[function].class {
                // Making an instance runs the constructors only; what its methods print is known to it.
                for prints in &owner.program.functions[function].prints {
                    self.statement.prints.add_bytes(prints);
                }
                self.absorb(root, whole, origin, manner);
                seen.insert(id);
                let bases = self.state.object(id).holds.clone();
                for &base in bases.iter() {
                    if self.state.object(base).code.is_none() {
                        self.read_whole(base, root, seen, code);
                    }
                }
                for name in CONSTRUCTORS {
                    if let Some(constructor) = class.method(name) {
                        self.read_code((step, constructor), root, code);
                    }
                }
                for base in self.bases_of(id) {
                    self.read_constructors(base, root, code);
                }
                self.read_setters(id, root, code);
                return;
            }
        }
        if is_instance && how != How::Store && how != How::Refer {
            self.change_by_looking(id, path.keys.first().copied());
        }
        self.read_whole(id, root, seen, code);
    }

    /// What runs where an object of the notebook's own class is looked at may change it.
    fn change_by_looking(&mut self, id: ObjectId, key: Option<Key>) {
        let mut classes = self.bases_of(id);
        let mut at = 0;
        let mut changes = false;
        while let Some(&class) = classes.get(at).filter(|_| at < 16) {
            at += 1;
            classes.extend(self.bases_of(class));
            let Some(code) = self.state.object(class).code else {
                continue;
            };
            let cell = self.cell_of(code);
            let Some(facts) = &cell.program.functions[code.1].class else {
                continue;
            };
            changes |= facts.changing_looks.iter().any(|look| match key {
                None => true,
                Some(Key::Attr(name)) => {
                    *look == name || matches!(look.text(), "__getattr__" | "__getattribute__")
                }
                Some(_) => look.text() == "__getitem__",
            });
        }
        if changes {
            self.change(id, None, false, &mut Seen::default());
            self.change_given(id);
        }
    }

    /// Which rows a table has, and these of its columns.
    fn read_columns(&mut self, id: ObjectId, root: Name, columns: &[Key], code: &mut Vec<Code>) {
        let object = self.state.object(id);
        let (base, base_origin) = (object.base, object.base_origin);
        let (keys, contents) = (object.keys.clone(), object.contents.clone());
        self.absorb(root, base, base_origin, Manner::Bound);
        for (key, version, origin) in keys.iter() {
            if columns.contains(key) {
                self.absorb(root, *version, Some(*origin), Manner::Changed);
            }
        }
        for (owner, _) in self.owners_of(id) {
            let owner = self.state.object(owner);
            let (version, origin, manner) = (owner.whole, owner.origin, owner.manner);
            self.absorb(root, version, origin, manner);
        }
        self.absorb_contents(&contents, root, code);
    }

    /// Settings that what this name gives may depend on.
    fn read_configuration(&mut self, root: Name, kind: ObjectKind) {
        if kind == ObjectKind::Module
            && let Some(library) = self.library_of(root)
            && !matches!(library.text(), "pandas" | "numpy")
            // What is set does not depend on what was set.
            && !self.statement.configures.contains(&library)
        {
            self.read_ambient(Ambience::Configuration(library), Manner::Configuration);
        }
        if self.statement.displays
            && matches!(
                kind,
                ObjectKind::Plain | ObjectKind::Foreign | ObjectKind::Frame
            )
        {
            for library in ["pandas", "numpy"] {
                let library = Name::new(library);
                self.read_ambient(Ambience::Configuration(library), Manner::Configuration);
            }
        }
    }

    /// What making an instance of a class runs of its bases.
    fn read_constructors(&mut self, class: ObjectId, name: Name, code: &mut Vec<Code>) {
        let Some((step, function)) = self.state.object(class).code else {
            return;
        };
        let owner = self.cell_of((step, function));
        if let Some(facts) = &owner.program.functions[function].class {
            for constructor in CONSTRUCTORS {
                if let Some(constructor) = facts.method(constructor) {
                    self.read_code((step, constructor), name, code);
                }
            }
        }
        for base in self.bases_of(class) {
            self.read_constructors(base, name, code);
        }
    }

    /// Constructors store attributes, which may run code.
    fn read_setters(&mut self, class: ObjectId, name: Name, code: &mut Vec<Code>) {
        let mut classes = vec![class];
        let mut at = 0;
        while at < classes.len() && at < 16 {
            let id = classes[at];
            at += 1;
            classes.extend(self.bases_of(id));
            let Some((step, function)) = self.state.object(id).code else {
                continue;
            };
            let owner = self.cell_of((step, function));
            let functions = &owner.program.functions;
            let Some(facts) = &functions[function].class else {
                continue;
            };
            if facts.method("__setattr__").is_none() {
                continue;
            }
            let contents = self.state.object(class).contents.clone();
            self.absorb_contents(&contents, name, code);
            if let Some(implied) = functions[facts.behaviour].implied {
                self.read_code((step, implied.stores), name, code);
            }
        }
    }

    /// What runs of this code without a call, where an object is looked at or something is stored in it.
    fn run_implied(&mut self, code: &[Code], how: How) {
        let mut found = Vec::new();
        for &(step, function) in code {
            let owner = self.cell_of((step, function));
            let functions = &owner.program.functions;
            let class = functions[function].class.as_ref();
            let behaviour = class.map_or(function, |class| class.behaviour);
            let Some(implied) = functions[behaviour].implied else {
                continue;
            };
            found.push((
                step,
                match how {
                    How::Store => implied.stores,
                    _ => implied.looks,
                },
            ));
            // What is called by them is not always a name.
            let runs_held = how == How::Store
                && class.is_none_or(|class| class.method("__setattr__").is_some());
            if runs_held && implied.has_stores {
                let is_function = |code: &&Code| {
                    self.cell_of(**code).program.functions[code.1]
                        .class
                        .is_none()
                };
                found.extend(code.iter().filter(is_function));
            }
        }
        self.run_code(&found);
    }

    /// The same, of an object that has no name.
    pub(super) fn run_implied_of(&mut self, id: ObjectId, how: How) {
        if self.state.object(id).is_instance {
            let mut code = Vec::new();
            self.read_whole(id, Name::new(""), &mut Seen::default(), &mut code);
            self.statement.through = None;
            self.run_implied(&code, how);
        }
    }

    /// The classes of this notebook that a class is made from; of an object, its own class.
    pub(super) fn bases_of(&self, id: ObjectId) -> Objects {
        let object = self.state.object(id);
        let Some(own) = object.code else {
            return Objects::new();
        };
        let is_instance = object.is_instance;
        let cell = self.cell_of(own);
        let Some(class) = &cell.program.functions[own.1].class else {
            return Objects::new();
        };
        let is_base = |held: &ObjectId| {
            let held = self.state.object(*held);
            let Some(code) = held.code.filter(|_| !held.is_instance) else {
                return false;
            };
            if is_instance {
                return code == own;
            }
            // A class is defined before those that are made from it.
            code != own && {
                let cell = self.cell_of(code);
                let held = cell.program.functions[code.1].class.as_ref();
                held.is_some_and(|held| class.bases.contains(&held.name))
            }
        };
        let holds = self.state.object(id).holds.clone();
        holds.iter().copied().filter(is_base).collect()
    }

    /// An object, with all that can be reached from it.
    pub(super) fn read_whole(
        &mut self,
        id: ObjectId,
        name: Name,
        seen: &mut Seen<ObjectId>,
        code: &mut Vec<Code>,
    ) {
        if !seen.insert(id) {
            return;
        }
        let object = self.state.object(id);
        if object.kind == ObjectKind::Module {
            return;
        }
        let (own_code, is_instance) = (object.code, object.is_instance);
        let (whole, origin, manner) = (object.whole, object.origin, object.manner);
        let contents = object.contents.clone();
        self.absorb(name, whole, origin, manner);
        for (owner, key) in self.owners_of(id) {
            let kind = self.state.object(owner).kind;
            // A stored item replaces what was there: an item taken out before is not changed by it.
            let keeps_items = key.is_some_and(|key| self.normal_key(kind, key).is_some());
            let owner = self.state.object(owner);
            let (version, origin, manner) = if keeps_items {
                (owner.base, owner.base_origin, owner.manner)
            } else {
                (owner.whole, owner.origin, owner.manner)
            };
            // A part may be one of the objects that its owner holds.
            let contents = owner.contents.clone();
            // What happens inside a list or a dict is noted at its items.
            let is_noted = owner.is_container() && key.is_some_and(Key::is_item);
            if !is_noted {
                self.absorb(name, version, origin, manner);
            }
            self.absorb_contents(&contents, name, code);
        }
        self.absorb_contents(&contents, name, code);
        if let Some(own_code) = own_code {
            let mut own = vec![own_code];
            if is_instance {
                self.without_constructors(own_code, &mut own);
            }
            for own in own {
                self.read_code(own, name, code);
            }
        }
    }

    /// Of an object's own class and its bases, among this code, only what the methods do: what the constructors do was done
    /// when the object was made.
    pub(super) fn without_constructors(&self, own: Code, code: &mut [Code]) {
        let mut bases: Vec<Name> = Vec::new();
        loop {
            let mut is_done = true;
            for one in code.iter_mut() {
                let cell = self.cell_of(*one);
                let Some(class) = &cell.program.functions[one.1].class else {
                    continue;
                };
                if *one == own || bases.contains(&class.name) {
                    bases.extend(
                        class
                            .bases
                            .iter()
                            .filter(|base| base.text() != class.name.text()),
                    );
                    one.1 = class.behaviour;
                    is_done = false;
                }
            }
            if is_done {
                return;
            }
        }
    }

    /// What an object holds, directly or not.
    fn absorb_contents(&mut self, contents: &Contents, name: Name, code: &mut Vec<Code>) {
        if !contents.changed.is_empty() {
            self.statement.key.add(contents.all);
            for &(_, version, origin) in &contents.changed {
                self.note(name, version, Some(origin), Manner::Changed);
            }
        }
        for &held in &contents.code {
            self.read_code(held, name, code);
        }
    }

    /// What a function reads when it runs: late binding, so the names are looked up now.
    pub(super) fn read_code(&mut self, code: Code, name: Name, found: &mut Vec<Code>) {
        found.push(code);
        if !self.statement.visited_code.insert(code) {
            return;
        }
        let owner = self.cell_of(code);
        let facts = &owner.program.functions[code.1];
        if self.runs[self.step].cell.program.reads_source {
            let exact = &owner.program.exact_fingerprint;
            self.statement.key.add_bytes(exact);
        }
        for prints in &facts.prints {
            self.statement.prints.add_bytes(prints);
        }
        self.statement.takes_prints |= owner.program.takes_prints();
        let outer = self.statement.through.replace(name);
        for &name in &facts.reads {
            let more = self.read_name(name);
            found.extend(more);
            if facts.asks.has(name) {
                for id in self.objects_of(name) {
                    if self.grows(id) {
                        self.change(id, None, false, &mut Seen::default());
                    }
                }
            }
        }
        for &name in &facts.adds_to {
            if !self.add_to(name) {
                let more = self.read_name(name);
                found.extend(more);
            }
        }
        for &name in &facts.string_names {
            if self.meant(name).is_some() {
                self.read_name(name);
            }
        }
        for &effect in &facts.outside {
            if !effect.is_change() {
                self.outside(effect);
            }
        }
        if !facts.unknown.is_empty() && !owner.program.is_declared {
            self.statement.is_unknown = true;
        }
        self.statement.through = outer;
    }

    /// Whether it makes items that are asked for.
    fn grows(&self, id: ObjectId) -> bool {
        self.state.object(id).grows_when_read
            || self.own_method(id, Name::new("__missing__")).is_some()
    }

    /// A function only adds to what this name stands for: a list or a dict is another one then, and nothing else that
    /// the statement does depends on what it held.
    fn add_to(&mut self, name: Name) -> bool {
        self.statement.exposed.push(name);
        let Some(binding) = self.binding(name) else {
            return false;
        };
        let is_plain = |id: &ObjectId| {
            let object = self.state.object(*id);
            matches!(object.kind, ObjectKind::List | ObjectKind::Dict)
                && object.part_of.is_empty()
                && object.contents.code.is_empty()
                && !object.grows_when_read
        };
        let are_plain = binding.objects.iter().all(is_plain);
        if !are_plain || self.state.taint_of(name).is_some() {
            return false;
        }
        self.statement.added_to.add(binding.version);
        self.note(name, binding.version, binding.origin, Manner::Bound);
        for &id in &binding.objects {
            let object = self.state.object(id);
            let (whole, origin, manner) = (object.whole, object.origin, object.manner);
            let all = object.contents.all;
            self.statement.added_to.add(whole);
            self.statement.added_to.add(all);
            self.note(name, whole, origin, manner);
        }
        true
    }

    /// What an identifier in a string may mean: many are columns, so what the cells below left under a name is not
    /// meant.
    pub(super) fn meant(&mut self, name: Name) -> Option<Rc<Binding>> {
        self.statement.exposed.push(name);
        let binding = self.binding(name)?;
        (!self.is_from_below(binding.origin)).then_some(binding)
    }

    fn library_of(&mut self, name: Name) -> Option<Name> {
        let module = self.binding(name)?.module?;
        let libraries = &mut self.answers.libraries;
        Some(*libraries.entry(module).or_insert_with(|| {
            let dotted = module.text();
            Name::new(dotted.split('.').next().unwrap_or(dotted))
        }))
    }

    pub(super) fn ambience_name(&mut self, which: Ambience) -> Name {
        let names = &mut self.answers.ambience;
        if let Some((_, name)) = names.iter().find(|(known, _)| *known == which) {
            return *name;
        }
        let name = Name::joined(&match which {
            Ambience::Configuration(library) => ["configuration of ", library.text()],
            Ambience::Random(state) => ["random state of ", state.text()],
        });
        names.push((which, name));
        name
    }

    pub(super) fn read_ambient(&mut self, which: Ambience, manner: Manner) {
        let Some(ambient) = self.state.ambient(which) else {
            return;
        };
        let (mut version, origin) = (ambient.version, ambient.origin);
        let mut is_set = true;
        let mut is_shown = false;
        if let Ambience::Configuration(library) = which {
            // What cells below have set is still in force, but not after a restart.
            let above = ambient.settings.of(|step| !self.is_from_below(Some(step)));
            is_set = above.is_some();
            version.certain = above.map_or(0, |above| above.certain);
            is_shown = library.is_in(Section::ShowsOnly);
        }
        // Some settings change what the cell shows, not what it computes.
        let key = if is_shown {
            &mut self.statement.shown
        } else {
            &mut self.statement.key
        };
        if is_set {
            key.add(version);
        } else {
            key.add_doubt(&version.full.to_le_bytes());
        }
        let name = self.ambience_name(which);
        self.note(name, version, origin, manner);
    }

    /// The key under which a kind of object keeps what this step reaches, if its keys are independent of each other.
    pub(super) fn normal_key(&mut self, kind: ObjectKind, key: Key) -> Option<Key> {
        match (kind, key) {
            (ObjectKind::Dict | ObjectKind::Frame, Key::Item(_))
            | (ObjectKind::Namespace | ObjectKind::Module, Key::Attr(_)) => {
                let is_all = matches!(key, Key::Attr(name) if name.text() == "__dict__");
                (!is_all).then_some(key)
            }
            (ObjectKind::Foreign, Key::Item(item)) if item.starts_with("s:") => Some(key),
            (ObjectKind::Frame, Key::Attr(attribute)) => {
                let columns = &mut self.answers.frame_columns;
                if let Some(known) = columns.get(attribute) {
                    return *known;
                }
                let is_column = !attribute.is_in(Section::FrameAttributes);
                let column = is_column.then(|| Key::Item(Name::joined(&["s:", attribute.text()])));
                columns.insert(attribute, column);
                column
            }
            _ => None,
        }
    }
}
