//! What the visitor found in a cell, made ready for the dataflow pass: the same operations, with names as
//! [`Name`]s and in as little memory as they take, because a pass goes through all of them again and again.

use crate::facts::{self, FunctionId, How, Kind, Varies};
use crate::fingerprint::Hash;
use crate::name::Name;
use std::collections::BTreeSet;

/// One step of a path below a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Attr(Name),
    Item(Name),
    Any,
    Element,
}

impl Key {
    fn new(key: &facts::Key) -> Self {
        match key {
            facts::Key::Attr(text) => Key::Attr(Name::new(text)),
            facts::Key::Item(text) => Key::Item(Name::new(text)),
            facts::Key::Any => Key::Any,
            facts::Key::Element => Key::Element,
        }
    }

    /// An order among keys, the same as long as the process lives.
    pub(crate) fn rank(self) -> (u8, u32) {
        match self {
            Key::Attr(name) => (0, name.index()),
            Key::Item(name) => (1, name.index()),
            Key::Any => (2, 0),
            Key::Element => (3, 0),
        }
    }

    /// Whether it leads to an item, and not to an attribute.
    pub(crate) fn is_item(self) -> bool {
        !matches!(self, Key::Attr(_))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub root: Name,
    pub keys: Box<[Key]>,
}

impl Path {
    fn new(path: &facts::Path) -> Self {
        Path {
            root: Name::new(&path.root),
            keys: path.keys.iter().map(Key::new).collect(),
        }
    }
}

/// Where the object of a value may come from; see [`facts::Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Name(Name),
    Param(FunctionId, usize),
    Result(usize),
    Function(FunctionId),
    Module(Name),
}

impl Source {
    fn new(source: &facts::Source) -> Self {
        match source {
            facts::Source::Name(name) => Source::Name(Name::new(name)),
            facts::Source::Param(function, index) => Source::Param(*function, *index),
            facts::Source::Result(id) => Source::Result(*id),
            facts::Source::Function(id) => Source::Function(*id),
            facts::Source::Module(module) => Source::Module(Name::new(module)),
        }
    }
}

/// How a value relates to a source; see [`facts::Relation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Same,
    Part(Option<Key>),
    Holds,
    HoldsItems,
    Rows,
    Columns,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Value {
    pub sources: Box<[(Source, Relation)]>,
    pub kind: Kind,
    pub literal: Option<Hash>,
    /// A constant path, without a leading `./`.
    pub path: Option<Name>,
    /// Of a constant dict whose keys are all strings, what stands under them.
    pub items: Box<[(Key, Hash)]>,
}

impl Value {
    fn new(value: &facts::Value) -> Self {
        let sources = value.sources.iter().map(|(source, relation)| {
            let relation = match relation {
                facts::Relation::Same => Relation::Same,
                facts::Relation::Part(key) => Relation::Part(key.as_ref().map(Key::new)),
                facts::Relation::Holds => Relation::Holds,
                facts::Relation::HoldsItems => Relation::HoldsItems,
                facts::Relation::Rows => Relation::Rows,
                facts::Relation::Columns => Relation::Columns,
            };
            (Source::new(source), relation)
        });
        Value {
            sources: sources.collect(),
            kind: value.kind,
            literal: value.literal,
            path: value.text.as_deref().map(path_name),
            items: value
                .items
                .iter()
                .map(|(key, item)| (Key::new(key), *item))
                .collect(),
        }
    }

    pub(crate) fn of(source: Source) -> Self {
        Value {
            sources: Box::new([(source, Relation::Same)]),
            ..Value::default()
        }
    }
}

/// A path of a file as the pass compares it.
pub(crate) fn path_name(path: &str) -> Name {
    Name::new(path.trim_start_matches("./"))
}

#[derive(Debug, Clone)]
pub(crate) enum Callee {
    Name(Name),
    Method {
        path: Option<Path>,
        receiver: Value,
        method: Name,
    },
    Other(Value),
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub id: usize,
    pub callee: Callee,
    pub arguments: Box<[(Option<Name>, Value)]>,
    pub is_inplace: bool,
    pub columns: Box<[Key]>,
}

impl Call {
    fn new(call: &facts::Call) -> Self {
        let callee = match &call.callee {
            facts::Callee::Name(name) => Callee::Name(Name::new(name)),
            facts::Callee::Method {
                path,
                receiver,
                method,
            } => Callee::Method {
                path: path.as_ref().map(Path::new),
                receiver: Value::new(receiver),
                method: Name::new(method),
            },
            facts::Callee::Other(value) => Callee::Other(Value::new(value)),
        };
        let arguments = call.arguments.iter();
        Call {
            id: call.id,
            callee,
            arguments: arguments
                .map(|(keyword, value)| (keyword.as_deref().map(Name::new), Value::new(value)))
                .collect(),
            is_inplace: call.is_inplace,
            columns: column_keys(&call.columns),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum FilePath {
    Literal(Name),
    Name(Name),
    Unknown,
}

impl FilePath {
    fn new(path: &facts::FilePath) -> Self {
        match path {
            facts::FilePath::Literal(text) => FilePath::Literal(path_name(text)),
            facts::FilePath::Name(name) => FilePath::Name(Name::new(name)),
            facts::FilePath::Unknown => FilePath::Unknown,
        }
    }
}

/// An effect outside the namespace; see [`facts::Outside`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outside {
    FileRead(FilePath),
    FolderRead(FilePath),
    FileWrite(FilePath),
    FolderMake(FilePath),
    EnvironmentRead(Option<Name>),
    EnvironmentWrite(Option<Name>),
    Draw(Name),
    Seed(Name),
    Configure(Name),
    Varies(Varies),
}

impl Outside {
    fn new(outside: &facts::Outside) -> Self {
        match outside {
            facts::Outside::FileRead(path) => Outside::FileRead(FilePath::new(path)),
            facts::Outside::FolderRead(path) => Outside::FolderRead(FilePath::new(path)),
            facts::Outside::FileWrite(path) => Outside::FileWrite(FilePath::new(path)),
            facts::Outside::FolderMake(path) => Outside::FolderMake(FilePath::new(path)),
            facts::Outside::EnvironmentRead(name) => {
                Outside::EnvironmentRead(name.as_deref().map(Name::new))
            }
            facts::Outside::EnvironmentWrite(name) => {
                Outside::EnvironmentWrite(name.as_deref().map(Name::new))
            }
            facts::Outside::Draw(state) => Outside::Draw(Name::new(state)),
            facts::Outside::Seed(state) => Outside::Seed(Name::new(state)),
            facts::Outside::Configure(library) => Outside::Configure(Name::new(library)),
            facts::Outside::Varies(how) => Outside::Varies(*how),
        }
    }

    /// Whether it leaves something behind; the others only look.
    pub(crate) fn is_change(self) -> bool {
        matches!(
            self,
            Outside::FileWrite(_)
                | Outside::FolderMake(_)
                | Outside::EnvironmentWrite(_)
                | Outside::Seed(_)
                | Outside::Configure(_)
        )
    }
}

/// One operation of a statement; see [`facts::Op`].
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Read {
        path: Path,
        how: How,
        is_own: bool,
        columns: Box<[Key]>,
    },
    Iterate(Value),
    Bind {
        name: Name,
        value: Value,
        is_definite: bool,
    },
    Augment {
        name: Name,
        is_definite: bool,
    },
    Unbind {
        name: Name,
        is_definite: bool,
    },
    Mutate {
        target: Value,
        key: Option<Key>,
        held: Value,
    },
    Call(Box<Call>),
    Invoke(FunctionId),
    Outside(Outside),
    StringNames(Box<[Name]>),
    Star(Name),
    Unknown,
}

impl Op {
    fn new(op: &facts::Op) -> Self {
        match op {
            facts::Op::Read {
                path,
                how,
                is_own,
                columns,
            } => Op::Read {
                path: Path::new(path),
                how: *how,
                is_own: *is_own,
                columns: column_keys(columns),
            },
            facts::Op::Iterate(value) => Op::Iterate(Value::new(value)),
            facts::Op::Bind {
                name,
                value,
                is_definite,
            } => Op::Bind {
                name: Name::new(name),
                value: Value::new(value),
                is_definite: *is_definite,
            },
            facts::Op::Augment { name, is_definite } => Op::Augment {
                name: Name::new(name),
                is_definite: *is_definite,
            },
            facts::Op::Unbind { name, is_definite } => Op::Unbind {
                name: Name::new(name),
                is_definite: *is_definite,
            },
            facts::Op::Mutate { target, key, held } => Op::Mutate {
                target: Value::new(target),
                key: key.as_ref().map(Key::new),
                held: Value::new(held),
            },
            facts::Op::Call(call) => Op::Call(Box::new(Call::new(call))),
            facts::Op::Invoke(id) => Op::Invoke(*id),
            facts::Op::Outside(outside) => Op::Outside(Outside::new(outside)),
            facts::Op::StringNames(names) => {
                Op::StringNames(names.iter().map(|name| Name::new(name)).collect())
            }
            facts::Op::Star(module) => Op::Star(Name::new(module)),
            facts::Op::Unknown => Op::Unknown,
        }
    }
}

/// What is passed on to a callee: where the arguments at every position come from.
pub(crate) type PassedOn = (Name, Box<[Box<[Source]>]>);

/// What a function's body does when it runs; see [`facts::FunctionFacts`].
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub params: Box<[Name]>,
    pub vararg: Option<usize>,
    pub reads: Box<[Name]>,
    /// Names to whose objects it only adds something.
    pub adds_to: Box<[Name]>,
    /// Global names it binds or deletes.
    pub writes: Box<[Name]>,
    pub mutates: Box<[Name]>,
    mutated_params: Box<[usize]>,
    /// See [`facts::FunctionFacts::deep_params`].
    deep_params: Box<[usize]>,
    pub deep_mutates: Box<[Name]>,
    pub passed_on: Box<[PassedOn]>,
    pub calls: Box<[Name]>,
    pub returns: Value,
    pub outside: Box<[Outside]>,
    pub string_names: Box<[Name]>,
    pub has_unknown: bool,
    pub is_generator: bool,
    /// See [`facts::FunctionFacts::prints`].
    pub prints: Box<[Hash]>,
    pub is_stateful: bool,
    pub class: Option<Class>,
}

/// What is particular to a class.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub name: Name,
    pub bases: Box<[Name]>,
    /// What the methods do of an object that is there.
    pub behaviour: FunctionId,
    methods: Box<[(Name, FunctionId)]>,
    pub has_plain_attributes: bool,
}

impl Class {
    pub(crate) fn method(&self, name: &str) -> Option<FunctionId> {
        let mut methods = self.methods.iter();
        methods
            .find(|(known, _)| known.text() == name)
            .map(|(_, id)| *id)
    }
}

impl Function {
    fn new(facts: &facts::FunctionFacts) -> Self {
        let passed_on = facts.passed_on.iter().map(|(callee, passed)| {
            let passed = passed.iter();
            let passed = passed.map(|sources| sources.iter().map(Source::new).collect());
            (Name::new(callee), passed.collect())
        });
        Function {
            params: facts.params.iter().map(|name| Name::new(name)).collect(),
            vararg: facts.vararg,
            reads: names(&facts.reads),
            adds_to: facts
                .adds_to
                .difference(&facts.reads)
                .map(|name| Name::new(name))
                .collect(),
            writes: facts
                .writes
                .iter()
                .chain(&facts.deletes)
                .map(|name| Name::new(name))
                .collect(),
            mutates: names(&facts.mutates),
            mutated_params: facts.mutated_params.iter().copied().collect(),
            deep_params: facts.deep_params.iter().copied().collect(),
            deep_mutates: names(&facts.deep_mutates),
            passed_on: passed_on.collect(),
            calls: names(&facts.calls),
            returns: Value::new(&facts.returns),
            outside: facts.outside.iter().map(Outside::new).collect(),
            string_names: names(&facts.string_names),
            has_unknown: !facts.unknown.is_empty(),
            is_generator: facts.is_generator,
            prints: facts.prints.iter().copied().collect(),
            is_stateful: facts.is_stateful,
            class: facts.class.as_ref().map(|class| Class {
                name: Name::new(&class.name),
                bases: class.bases.iter().map(|name| Name::new(name)).collect(),
                behaviour: class.behaviour,
                methods: class
                    .methods
                    .iter()
                    .map(|(name, id)| (Name::new(name), *id))
                    .collect(),
                has_plain_attributes: class.has_plain_attributes,
            }),
        }
    }

    /// The parameter that takes the argument at this position, or with this keyword.
    pub(crate) fn parameter_of(&self, position: usize, keyword: Option<Name>) -> usize {
        match keyword {
            Some(keyword) => self
                .params
                .iter()
                .position(|param| *param == keyword)
                // Taken by `**kwargs`, the last parameter.
                .unwrap_or(self.params.len().saturating_sub(1)),
            None => match self.vararg {
                Some(vararg) if position >= vararg => vararg,
                _ => position,
            },
        }
    }

    /// Whether the argument at this position, or with this keyword, may change.
    pub(crate) fn changes_argument(&self, position: usize, keyword: Option<Name>) -> bool {
        let index = self.parameter_of(position, keyword);
        self.mutated_params.contains(&index)
    }

    /// Whether not only which items this parameter has may change, but the items, too.
    pub(crate) fn changes_items(&self, parameter: usize) -> bool {
        self.deep_params.contains(&parameter)
    }
}

fn column_keys(columns: &[String]) -> Box<[Key]> {
    let columns = columns.iter();
    columns
        .map(|column| Key::Item(Name::new(&format!("s:{column}"))))
        .collect()
}

fn names(names: &BTreeSet<String>) -> Box<[Name]> {
    names.iter().map(|name| Name::new(name)).collect()
}

/// One top-level statement; see [`facts::StatementFacts`].
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// Of what it computes.
    pub fingerprint: Hash,
    /// Of the statement, where that is more.
    pub whole: Option<Hash>,
    pub ops: Box<[Op]>,
    /// Libraries that it sets up.
    pub configures: Box<[Name]>,
    /// See [`facts::StatementFacts::names_value`].
    pub names_value: bool,
    /// See [`facts::StatementFacts::shows_tables`].
    pub shows_tables: bool,
    /// An expression that may give something, so that `_` stands for it where a cell ends with it.
    pub gives_value: bool,
    pub covers_cell: bool,
}

impl Statement {
    pub(crate) fn new(facts: &facts::StatementFacts) -> Self {
        let ops: Box<[Op]> = facts.ops.iter().map(Op::new).collect();
        let configures = ops.iter().filter_map(|op| match op {
            Op::Outside(Outside::Configure(library)) => Some(*library),
            _ => None,
        });
        let is_print = |op: &Op| match op {
            Op::Call(call) => matches!(call.callee, Callee::Name(name) if name.text() == "print"),
            _ => false,
        };
        Statement {
            fingerprint: facts.values.unwrap_or(facts.fingerprint),
            whole: facts.values.is_some().then_some(facts.fingerprint),
            gives_value: facts.is_expression && !ops.last().is_some_and(is_print),
            configures: configures.collect(),
            ops,
            names_value: facts.names_value,
            shows_tables: facts.shows_tables,
            covers_cell: facts.covers_cell,
        }
    }
}

/// Everything the dataflow pass needs of a cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub statements: Box<[Statement]>,
    pub functions: Box<[Function]>,
    /// Over the text as it is.
    pub exact_fingerprint: Hash,
    /// The code looks at its own text.
    pub reads_source: bool,
    /// What is printed may end up in values here.
    pub takes_prints: bool,
    pub declared_reads: Box<[Name]>,
    pub declared_writes: Box<[Name]>,
    /// Effects were declared: unknown constructs are covered.
    pub is_declared: bool,
}

impl Program {
    pub(crate) fn functions(facts: &[facts::FunctionFacts]) -> Box<[Function]> {
        facts.iter().map(Function::new).collect()
    }
}
