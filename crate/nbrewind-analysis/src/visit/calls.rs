//! Calls, and what is known of the functions that are called.

use super::questions::{dotted, identifiers, is_false, string_constants};
use super::{Visitor, tables};
use crate::effects::Note;
use crate::facts::{
    Call, Callee, FilePath, FunctionId, How, Key, Keys, Kind, Op, Outside, Path, Relation, Source,
    Value, Varies,
};
use crate::judge::{Called, Judgement, copies_items, is_drawing, judge};
use crate::knowledge::{self, Section};
use crate::name::Name;
use crate::sorted::Set;
use crate::syntax::{Expr, ast, parse};

/// What `open` may be told; whether anything is said of it.
fn is_mode(mode: Option<&str>) -> bool {
    mode.is_some_and(|mode| mode.len() < 4 && mode.bytes().all(|byte| b"rwaxbt+".contains(&byte)))
}

impl Visitor<'_> {
    pub(super) fn call(&mut self, node: &ast::ExprCall) -> Value {
        let line = self.line(node);
        if (self.in_function() || self.detail.is_everything())
            && let Some(name) = dotted(&node.func)
            && let Some(root) = name.split('.').next()
            && self.is_global(Name::new(root))
        {
            match self.frame() {
                Some(frame) => _ = frame.calls.insert(name),
                None => self.summarize(|names| names.calls.insert(name)),
            }
        }
        let callee = match &*node.func {
            Expr::Name(func) => {
                let name = self.mangled(func.id.as_str());
                if !name.is_empty() && self.is_global(name) {
                    self.read_path(name, Keys::new(), How::Call, line);
                    Callee::Name(name)
                } else {
                    Callee::Other(self.value_of(name))
                }
            }
            Expr::Attribute(func) => {
                let method = self.mangled(func.attr.as_str());
                let receiver = self.chain(&func.value, Some(Key::Attr(method)), How::Method);
                let path = self
                    .path_of(&node.func)
                    .map(|(root, keys)| Path { root, keys });
                Callee::Method {
                    path,
                    receiver,
                    method,
                }
            }
            other => Callee::Other(self.expr(other)),
        };
        let method = match &callee {
            Callee::Name(_) => None,
            Callee::Method { method, .. } => Some(*method),
            Callee::Other(_) if is_looked_up(&node.func) => Some(Name::default()),
            Callee::Other(_) => Some(Name::new("__call__")),
        };
        if let (Some(method), Some(frame)) = (method, self.frame()) {
            frame.methods.insert(method);
        }
        let mut arguments: Vec<(Option<Name>, Value)> = Vec::with_capacity(node.arguments.len());
        for argument in &node.arguments.args {
            let value = self.expr(argument);
            arguments.push((None, value));
        }
        for keyword in &node.arguments.keywords {
            let value = self.expr(&keyword.value);
            arguments.push((
                keyword.arg.as_ref().map(|name| Name::new(name.as_str())),
                value,
            ));
        }
        for argument in node.arguments.iter_source_order() {
            self.handed_method(argument.value());
        }
        // Axes are drawn into; tables, which have these methods too, are told apart where it is known what they are.
        let draws = matches!(&callee, Callee::Method { method, .. } if is_drawing(*method));
        let is_inplace = node
            .arguments
            .find_keyword("inplace")
            .is_some_and(|keyword| !is_false(&keyword.value))
            || draws && !node.arguments.args.is_empty();
        let full = match &callee {
            Callee::Name(name) => Some(self.full_name(*name, &[])),
            Callee::Method {
                path: Some(path), ..
            } if path.keys.iter().all(|key| matches!(key, Key::Attr(_))) => {
                Some(self.full_name(path.root, &path.keys))
            }
            _ => None,
        };
        if let Callee::Name(name) = &callee
            && let Some(result) = self.special_call(*name, node, &arguments, line)
        {
            return result;
        }
        if let Some(full) = full {
            self.known_call(full, node, &arguments, line);
        }
        self.file_call(full, &callee, &arguments);
        self.evaluated_strings(full, &callee, node);
        let judgement = self.judge(full, &callee, is_inplace);
        self.apply(&judgement, &callee, &arguments);
        // `next(numbers)` in a closure
        for &position in judgement.changed_arguments.iter().flatten() {
            if let Some(Expr::Name(argument)) = node.arguments.args.get(position) {
                self.note_closure_change(self.mangled(argument.id.as_str()), How::Store);
            }
        }
        self.hand_over(full, &arguments);
        let invoked: Vec<FunctionId> = arguments
            .iter()
            .flat_map(|(_, value)| &value.sources)
            .filter_map(|(source, _)| match source {
                Source::Function(id) => Some(*id),
                _ => None,
            })
            .collect();
        for id in invoked {
            if self.in_function() {
                self.merge_into_frame(id);
            } else {
                self.record_invocation(id);
                self.op(Op::Invoke(id));
            }
        }
        let text = match full.map(Name::text) {
            Some("pathlib.Path" | "Path" | "pathlib.PurePath" | "str") if arguments.len() == 1 => {
                arguments[0].1.text
            }
            _ => None,
        };
        let path = match &arguments[..] {
            [(_, folder), (_, name)] if full.is_some_and(|full| full.text() == "os.path.join") => {
                self.path_below(folder, name)
            }
            _ => Value::default(),
        };
        let (text, below) = (text.or(path.text), path.below);
        if self.in_function() {
            let mut result = Value {
                text,
                below,
                ..Value::default()
            };
            if !judgement.is_fresh {
                if let Callee::Method { receiver, .. } = &callee {
                    result = result.or(&receiver.part(None));
                }
                // A copy of a container holds its items, and is none of them.
                let is_copy = full.is_some_and(|full| copies_items(&full));
                for (_, value) in &arguments {
                    let value = if is_copy {
                        value.element().held()
                    } else {
                        value.part(None)
                    };
                    result = result.or(&value);
                }
            }
            return result;
        }
        let id = self.current.n_calls;
        self.current.n_calls += 1;
        self.op(Op::Call(Box::new(Call {
            id,
            callee,
            arguments,
            is_inplace,
            columns: if is_inplace {
                tables::column_keys(&tables::replaced(node))
            } else {
                Box::default()
            },
        })));
        Value {
            text,
            below,
            ..Value::of(Source::Result(id))
        }
    }

    /// `map(rows.append, found)`: whoever is handed a method that changes its object may call it.
    fn handed_method(&mut self, argument: &Expr) {
        let Expr::Attribute(method) = argument else {
            return;
        };
        let Expr::Name(receiver) = &*method.value else {
            return;
        };
        let receiver = self.mangled(receiver.id.as_str());
        if knowledge::has(Section::ChangingMethods, method.attr.as_str())
            && !self.is_module(receiver)
        {
            let target = self.value_of(receiver);
            self.mutate(target, None, Value::default());
        }
    }

    /// In a function: what comes with a function that is handed over may be what that changes.
    fn hand_over(&mut self, full: Option<Name>, arguments: &[(Option<Name>, Value)]) {
        if !self.in_function() {
            return;
        }
        let last = full.and_then(|full| full.text().rsplit('.').next());
        let runs_first = matches!(last, Some("map" | "filter" | "starmap" | "reduce"));
        for (at, (_, handed)) in arguments.iter().enumerate() {
            let others = || {
                let others = arguments.iter().enumerate();
                others
                    .filter(move |(other, _)| *other != at)
                    .map(|(_, (_, value))| value)
            };
            for &(source, how) in &handed.sources {
                match source {
                    Source::Function(id) if !self.found.functions[id].mutated_params.is_empty() => {
                        others().for_each(|value| self.record_mutation(value));
                    }
                    Source::Name(name) if at == 0 && runs_first && how == Relation::Same => {
                        let passed = others().map(|value| value.changing().collect()).collect();
                        if let Some(frame) = self.frame() {
                            frame.passed_on.push((name, passed));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Calls whose meaning is part of the language. `Some`: nothing more is to be said about the call.
    pub(super) fn special_call(
        &mut self,
        called: Name,
        node: &ast::ExprCall,
        arguments: &[(Option<Name>, Value)],
        line: usize,
    ) -> Option<Value> {
        if self.found.writes.has(called) {
            return None;
        }
        let name = called.text();
        let first = node.arguments.args.first();
        let n_arguments = node.arguments.len();
        match name {
            "exec" | "eval" | "compile" => {
                let mode_is_plain = n_arguments == 1 || name == "compile";
                match first {
                    Some(Expr::StringLiteral(text)) if mode_is_plain => {
                        if name != "compile" {
                            self.embedded(text.value.to_str(), line, name);
                        }
                    }
                    _ => self.unknown(name, line),
                }
                Some(Value::default())
            }
            "locals" | "vars" | "dir" if n_arguments == 0 && self.is_in_function_scope() => {
                Some(self.locals())
            }
            "super" if n_arguments == 0 => {
                let frame = self.frames.last()?;
                Some(Value::of(Source::Param(*frame, 0)))
            }
            "globals" | "locals" => {
                self.unknown(&format!("{name}()"), line);
                Some(Value::default())
            }
            "vars" | "dir" if n_arguments == 0 => {
                self.unknown(&format!("{name}()"), line);
                Some(Value::default())
            }
            "get_ipython" => {
                self.unknown("get_ipython", line);
                Some(Value::default())
            }
            "__import__" => {
                match arguments.first().and_then(|(_, value)| value.text) {
                    Some(module) => {
                        let module = module.text().split('.').next().unwrap_or_default();
                        return Some(Value::of(Source::Module(Name::new(module))));
                    }
                    None => self.unknown("__import__", line),
                }
                Some(Value::default())
            }
            "setattr" | "delattr" => {
                let target = arguments
                    .first()
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default();
                let is_constant = node
                    .arguments
                    .args
                    .get(1)
                    .is_some_and(Expr::is_string_literal_expr);
                let key = arguments
                    .get(1)
                    .and_then(|(_, value)| value.text)
                    .filter(|_| is_constant);
                if key.is_none()
                    && target
                        .sources
                        .iter()
                        .any(|(source, _)| matches!(source, Source::Name(_) | Source::Module(_)))
                {
                    self.unknown(name, line);
                }
                if let (Some(attr), Some(first)) = (&key, first)
                    && let Some(path) = dotted(first)
                    && !self.in_function()
                {
                    self.summarize(|names| {
                        let store = format!("{}.{}", path.text(), attr.text());
                        names.attribute_stores.insert(Name::new(&store));
                    });
                }
                let held = arguments
                    .get(2)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default();
                self.mutate(target, Some(key.map_or(Key::Any, Key::Attr)), held);
                Some(Value::scalar())
            }
            "getattr" => {
                let is_constant = node
                    .arguments
                    .args
                    .get(1)
                    .is_some_and(Expr::is_string_literal_expr);
                let target = arguments
                    .first()
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default();
                if !is_constant
                    && target
                        .sources
                        .iter()
                        .any(|(source, _)| matches!(source, Source::Module(_)))
                {
                    self.unknown(name, line);
                }
                let key = arguments
                    .get(1)
                    .and_then(|(_, value)| value.text)
                    .filter(|_| is_constant);
                Some(target.part(key.map(Key::Attr)))
            }
            _ => None,
        }
    }

    /// Code in a constant string runs where it stands.
    pub(super) fn embedded(&mut self, text: &str, line: usize, construct: &str) {
        let text = if construct == "eval" {
            text.trim()
        } else {
            text
        };
        let Some(parsed) = parse(text) else {
            self.unknown(construct, line);
            return;
        };
        if !parsed.errors.is_empty() {
            self.unknown(construct, line);
        }
        let outer = self.fixed_line.replace(line);
        self.body(&parsed.body);
        self.fixed_line = outer;
    }

    /// Effects outside the namespace of functions that are known by their full name.
    pub(super) fn known_call(
        &mut self,
        name: Name,
        node: &ast::ExprCall,
        arguments: &[(Option<Name>, Value)],
        line: usize,
    ) {
        let full = name.text();
        let has_seed = |name: &str| node.arguments.find_keyword(name).is_some();
        if name.is_in(Section::Seeds) {
            if let Some((module, _)) = full.rsplit_once('.') {
                let state = knowledge::value(Section::RandomState, module).unwrap_or(module);
                self.outside(Outside::Seed(Name::new(state)));
            }
        } else if let Some(state) = knowledge::random_state(name) {
            self.outside(Outside::Draw(Name::new(state)));
        }
        let last = full.rsplit('.').next().unwrap_or(full);
        if last == "default_rng" && node.arguments.is_empty()
            || full == "random.Random" && node.arguments.is_empty()
        {
            self.note_nondeterministic(full, line);
            self.outside(Outside::Varies(Varies::Random));
        }
        if matches!(last, "train_test_split" | "shuffle" | "resample")
            && full.contains("sklearn")
            && !has_seed("random_state")
        {
            self.note_nondeterministic(full, line);
            self.outside(Outside::Draw(Name::new("numpy.random")));
        }
        match full {
            "os.getenv"
            | "os.environ.get"
            | "os.environ.setdefault"
            | "os.environ.pop"
            | "environ.get" => {
                let variable = arguments.first().and_then(|(_, value)| value.text);
                self.outside(Outside::EnvironmentRead(variable));
                if full.ends_with("setdefault") || full.ends_with("pop") {
                    self.outside(Outside::EnvironmentWrite(variable));
                }
            }
            "os.putenv" | "os.unsetenv" => {
                self.outside(Outside::EnvironmentWrite(
                    arguments.first().and_then(|(_, value)| value.text),
                ));
            }
            "os.environ.update" | "os.environ.clear" | "dotenv.load_dotenv" | "load_dotenv" => {
                self.outside(Outside::EnvironmentWrite(None));
            }
            "os.chdir" => self.outside(Outside::FileWrite(FilePath::Unknown)),
            _ => {}
        }
        if name.is_in(Section::Process) {
            self.outside(Outside::EnvironmentRead(None));
            self.outside(Outside::FileRead(FilePath::Unknown));
            self.outside(Outside::FileWrite(FilePath::Unknown));
        }
        if name.is_in(Section::ConfigCalls) {
            let library = full.split('.').next().unwrap_or(full);
            self.outside(Outside::Configure(Name::new(library)));
        }
    }

    pub(super) fn note_nondeterministic(&mut self, construct: &str, line: usize) {
        self.found.marks.nondeterministic.push(Note {
            construct: construct.to_owned(),
            line,
        });
    }

    pub(super) fn file_call(
        &mut self,
        full: Option<Name>,
        callee: &Callee,
        arguments: &[(Option<Name>, Value)],
    ) {
        let argument = |position: usize, keywords: &[&str]| -> Option<(FilePath, bool)> {
            let keyword = arguments
                .iter()
                .find(|(name, _)| name.is_some_and(|name| keywords.contains(&name.text())));
            let value = match keyword {
                Some((_, value)) => value,
                None => {
                    &arguments
                        .get(position)
                        .filter(|(name, _)| name.is_none())?
                        .1
                }
            };
            Some((
                self.file_path(value),
                value.kind == Kind::Scalar || value.text.is_some(),
            ))
        };
        let names = [
            "path",
            "file",
            "filename",
            "fname",
            "filepath_or_buffer",
            "path_or_buf",
            "filepath",
            "name",
            "f",
        ];
        let mode = |position: usize| {
            let mode = arguments.get(position).filter(|(name, _)| name.is_none());
            let mode = arguments
                .iter()
                .find(|(name, _)| name.is_some_and(|name| name.text() == "mode"))
                .or(mode);
            mode.map_or(Some("r"), |(_, value)| value.text.map(Name::text))
        };
        let opened = |path: FilePath, mode: Option<&str>| match mode {
            Some(mode) if !mode.contains(['w', 'a', 'x', '+']) => vec![Outside::FileRead(path)],
            Some(mode) if mode.starts_with(['w', 'x']) && !mode.contains('+') => {
                vec![Outside::FileWrite(path)]
            }
            // Appending depends on what was there.
            _ => vec![Outside::FileRead(path), Outside::FileWrite(path)],
        };
        let mut effects = Vec::new();
        match callee {
            Callee::Name(name) if name.text() == "open" => {
                if let Some((path, _)) = argument(0, &["file"]) {
                    effects = opened(path, mode(1));
                }
            }
            _ if matches!(
                full.map(Name::text),
                Some("glob.glob" | "glob.iglob" | "os.listdir" | "os.scandir" | "os.walk")
            ) =>
            {
                let path = argument(0, &["path", "pathname", "top"]);
                let path = path.map_or(FilePath::Literal(Name::default()), |(path, _)| path);
                effects.push(Outside::FolderRead(path));
            }
            Callee::Method {
                receiver, method, ..
            } if matches!(method.text(), "glob" | "rglob" | "iterdir") => {
                effects.push(Outside::FolderRead(self.file_path(receiver)));
            }
            Callee::Method {
                receiver, method, ..
            } if method.value(Section::PathMethods).is_some() => {
                let path = self.file_path(receiver);
                effects.push(match method.value(Section::PathMethods) {
                    Some("w") => Outside::FileWrite(path),
                    _ => Outside::FileRead(path),
                });
            }
            Callee::Method {
                receiver, method, ..
            } if method.text() == "open"
                && (receiver.text.is_some() || is_mode(mode(0)) && !self.is_in_module(callee)) =>
            {
                effects = opened(self.file_path(receiver), mode(0));
            }
            Callee::Method {
                receiver, method, ..
            } if matches!(
                method.text(),
                "exists" | "is_file" | "unlink" | "mkdir" | "touch"
            ) && (receiver.text.is_some() || receiver.below.is_some()) =>
            {
                let path = self.file_path(receiver);
                effects.push(match method.text() {
                    "exists" | "is_file" => Outside::FileRead(path),
                    "mkdir" => Outside::FolderMake(path),
                    _ => Outside::FileWrite(path),
                });
            }
            _ => {
                let known = full.and_then(|full| full.value(Section::FileFunctions));
                if let Some((how, position)) = known.and_then(|known| known.split_once(':')) {
                    if let Some((path, _)) = argument(position.parse().unwrap_or(0), &names) {
                        effects.push(if how == "w" {
                            Outside::FileWrite(path)
                        } else {
                            Outside::FileRead(path)
                        });
                    }
                    if let Some("os.rename" | "os.replace" | "shutil.move") = full.map(Name::text)
                        && let Some((path, _)) = argument(0, &["src"])
                    {
                        effects.insert(0, Outside::FileRead(path));
                    }
                    if let Some(
                        "shutil.copy" | "shutil.copyfile" | "shutil.copy2" | "shutil.move"
                        | "os.rename" | "os.replace",
                    ) = full.map(Name::text)
                        && let Some((path, _)) = argument(1, &["dst"])
                    {
                        effects.push(Outside::FileWrite(path));
                    }
                } else {
                    let last = match callee {
                        Callee::Method { method, .. } => method.text(),
                        // A name that nothing imports is the notebook's own, whatever it is called.
                        Callee::Name(_) => full
                            .and_then(|full| full.text().rsplit_once('.'))
                            .map(|(_, last)| last)
                            .unwrap_or_default(),
                        Callee::Other(_) => "",
                    };
                    if let Some(position) = knowledge::value(Section::FileReaders, last)
                        && let Some((path, _)) = argument(position.parse().unwrap_or(0), &names)
                    {
                        effects.push(Outside::FileRead(path));
                    }
                    if let Some(position) = knowledge::value(Section::FileWriters, last)
                        && let Some((path, _)) = argument(position.parse().unwrap_or(0), &names)
                    {
                        if mode(usize::MAX).is_some_and(|mode| mode.starts_with('a')) {
                            effects.push(Outside::FileRead(path));
                        }
                        effects.push(Outside::FileWrite(path));
                    }
                }
            }
        }
        for effect in effects {
            self.outside(match effect {
                // Many readers take a pattern.
                Outside::FileRead(FilePath::Literal(path)) if path.contains('*') => {
                    Outside::FolderRead(FilePath::Literal(path))
                }
                effect => effect,
            });
        }
    }

    pub(super) fn file_path(&self, value: &Value) -> FilePath {
        if let Some(text) = value.text {
            return FilePath::Literal(text);
        }
        if let Some((root, below)) = value.below {
            return FilePath::Below(root, below);
        }
        match &value.sources[..] {
            [(Source::Name(name), Relation::Same)] => {
                match self.module_values.get(name).and_then(|value| value.text) {
                    Some(text) if !self.in_function() => FilePath::Literal(text),
                    _ => FilePath::Name(*name),
                }
            }
            _ => FilePath::Unknown,
        }
    }

    /// Strings that a library evaluates: `df.query("a > @limit")`.
    pub(super) fn evaluated_strings(
        &mut self,
        full: Option<Name>,
        callee: &Callee,
        node: &ast::ExprCall,
    ) {
        let (last, is_frame_method) = match callee {
            Callee::Method { method, path, .. } => {
                let of_module = path.as_ref().is_some_and(|path| {
                    self.imports.has(path.root) || path.root.value(Section::Aliases).is_some()
                });
                (
                    method.text(),
                    !of_module && matches!(method.text(), "query" | "eval"),
                )
            }
            Callee::Name(_) => (
                full.and_then(|full| full.text().rsplit('.').next())
                    .unwrap_or_default(),
                false,
            ),
            Callee::Other(_) => return,
        };
        if !knowledge::has(Section::StringEvaluators, last) {
            return;
        }
        let mut names: Set<Name> = Set::default();
        for argument in node.arguments.iter_source_order() {
            string_constants(argument.value(), &mut |text| {
                if is_frame_method {
                    // Inside a frame only `@name` is a variable; bare names are columns first.
                    for (at, _) in text.match_indices('@') {
                        if let Some(name) = identifiers(&text[at + 1..]).next() {
                            names.insert(name);
                        }
                    }
                } else {
                    identifiers(text).for_each(|name| _ = names.insert(name));
                }
            });
        }
        match self.frame() {
            Some(frame) => frame.string_names.add_all(&names),
            None if !names.is_empty() => self.op(Op::StringNames((*names).into())),
            None => {}
        }
    }

    pub(super) fn is_module(&self, name: Name) -> bool {
        self.imports.has(name)
            || (!self.module_values.contains_key(&name)
                && (name.value(Section::Aliases).is_some()
                    || (name.sections().has(Section::PureModules) && !self.found.writes.has(name))))
    }

    fn is_in_module(&self, callee: &Callee) -> bool {
        matches!(callee, Callee::Method { path: Some(path), .. } if self.is_module(path.root))
    }

    pub(super) fn judge(&self, full: Option<Name>, callee: &Callee, is_inplace: bool) -> Judgement {
        let called = match callee {
            Callee::Name(name) => Called::Name(*name),
            Callee::Method { path, method, .. } => match path {
                Some(path) if full.is_some() && self.is_module(path.root) => Called::InModule,
                _ => Called::Method(*method),
            },
            Callee::Other(_) => Called::Other,
        };
        judge(full, called, is_inplace)
    }

    pub(super) fn apply(
        &mut self,
        judgement: &Judgement,
        callee: &Callee,
        arguments: &[(Option<Name>, Value)],
    ) {
        if judgement.changes_receiver
            && let Callee::Method {
                receiver, method, ..
            } = callee
        {
            let is_deep = !method.is_in(Section::ReceiverOnlyMethods);
            self.record_change(receiver, is_deep);
            for (_, value) in arguments {
                self.record_stored(value);
            }
        }
        let own_function = match callee {
            Callee::Name(name) => self.found.named_functions.get(*name).copied(),
            Callee::Other(value) => value.sources.iter().find_map(|(source, _)| match source {
                Source::Function(id) => Some(*id),
                _ => None,
            }),
            Callee::Method { .. } => None,
        };
        if let Some(id) = own_function {
            for (position, (keyword, value)) in arguments.iter().enumerate() {
                if self.found.functions[id].changes_argument(position, *keyword) {
                    self.record_mutation(value);
                }
            }
            let passed_on = !self.found.functions[id].passed_on.is_empty();
            if !passed_on {
                return;
            }
        }
        if judgement.is_open
            && self.in_function()
            && let Callee::Name(name) = callee
        {
            let passed: Box<[Box<[Source]>]> = arguments
                .iter()
                .map(|(_, value)| value.changing().collect())
                .collect();
            let name = *name;
            if let Some(frame) = self.frame() {
                frame.passed_on.push((name, passed));
            }
            return;
        }
        for (position, (keyword, value)) in arguments.iter().enumerate() {
            let is_changed = match &judgement.changed_arguments {
                None => true,
                Some(positions) => {
                    keyword.is_none() && positions.contains(&position)
                        || keyword.is_some_and(|keyword| matches!(keyword.text(), "out" | "file"))
                }
            };
            if is_changed {
                self.record_mutation(value);
            }
        }
    }
}

/// `getattr(visitor, name)(node)`
fn is_looked_up(called: &Expr) -> bool {
    let call = called.as_call_expr();
    let called = call.and_then(|call| call.func.as_name_expr());
    called.is_some_and(|called| called.id.as_str() == "getattr")
}
