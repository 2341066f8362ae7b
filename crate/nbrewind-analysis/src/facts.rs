//! What the visitor finds in a cell: statements as sequences of operations on names. `program` makes it ready for the
//! dataflow pass. Private to the crate; [`crate::CellEffects`] is the summary that others see.

use crate::effects::Note;
use crate::fingerprint::Hash;
use std::collections::{BTreeMap, BTreeSet};

/// Position in [`Facts::functions`].
pub(crate) type FunctionId = usize;

/// One step of a path below a name: `.a`, `['a']` or a step that is not constant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Attr(String),
    Item(String),
    Any,
    /// What going through the items gives.
    Element,
}

/// A name and the steps below it, as in `o.a['k']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub root: String,
    pub keys: Vec<Key>,
}

/// Where the object of a value may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A name of the namespace.
    Name(String),
    /// A parameter of a function of this cell.
    Param(FunctionId, usize),
    /// The result of a call of this statement.
    Result(usize),
    /// A function or class written here.
    Function(FunctionId),
    /// An imported module or something in one, by dotted name.
    Module(String),
}

/// How a value relates to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Relation {
    /// It is the source.
    Same,
    /// It is an item, an attribute or a view of the source.
    Part(Option<Key>),
    /// It is a new object that holds the source.
    Holds,
    /// It is a new object that holds items of the source.
    HoldsItems,
    /// It is some rows of the source, copied.
    Rows,
    /// It is some columns of the source: of a table a copy, of an array perhaps a view.
    Columns,
}

/// What kind of object an expression makes, as far as the text shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Unknown,
    /// Cannot change: numbers, strings, tuples of such.
    Scalar,
    List,
    Dict,
    Iterator,
}

/// What is known of an expression's value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Value {
    pub sources: Vec<(Source, Relation)>,
    pub kind: Kind,
    /// Fingerprint of the expression if it is a constant.
    pub literal: Option<Hash>,
    /// The text of a constant string, or of a path made from one.
    pub text: Option<String>,
    /// Of a constant dict whose keys are all strings, what stands under them.
    pub items: Vec<(Key, Hash)>,
}

impl Value {
    pub(crate) fn scalar() -> Self {
        Value {
            kind: Kind::Scalar,
            ..Value::default()
        }
    }

    pub(crate) fn of(source: Source) -> Self {
        Value {
            sources: vec![(source, Relation::Same)],
            ..Value::default()
        }
    }

    fn add(&mut self, source: Source, relation: Relation) {
        if !self
            .sources
            .iter()
            .any(|(known, how)| *known == source && *how == relation)
        {
            self.sources.push((source, relation));
        }
    }

    /// This value or the other one.
    pub(crate) fn or(mut self, other: &Value) -> Self {
        for (source, relation) in &other.sources {
            self.add(source.clone(), relation.clone());
        }
        if self.kind != other.kind {
            self.kind = Kind::Unknown;
        }
        self.literal = None;
        self.text = None;
        self.items.clear();
        self
    }

    /// An item, attribute or view of this value.
    pub(crate) fn part(&self, key: Option<Key>) -> Self {
        let mut part = Value::default();
        for (source, relation) in &self.sources {
            let relation = match relation {
                Relation::Same => Relation::Part(key.clone()),
                Relation::Part(first) => Relation::Part(first.clone()),
                // The item of a fresh container may be the held object itself.
                Relation::Holds => Relation::Same,
                Relation::HoldsItems => Relation::Part(Some(Key::Element)),
                Relation::Rows => Relation::Rows,
                Relation::Columns => Relation::Columns,
            };
            part.add(source.clone(), relation);
        }
        part
    }

    /// A new object that holds this value.
    pub(crate) fn held(&self) -> Self {
        let mut holder = Value::default();
        for (source, relation) in &self.sources {
            let relation = match relation {
                Relation::Rows => continue,
                Relation::HoldsItems => Relation::HoldsItems,
                Relation::Part(Some(Key::Item(_) | Key::Element)) => Relation::HoldsItems,
                _ => Relation::Holds,
            };
            holder.add(source.clone(), relation);
        }
        holder
    }

    /// What going through the items of this value gives.
    pub(crate) fn element(&self) -> Self {
        self.part(Some(Key::Element))
    }

    /// Rows or columns of this value, where its text says that they are picked out.
    pub(crate) fn picked(&self, relation: &Relation) -> Self {
        let mut picked = Value::default();
        for (source, how) in &self.sources {
            match (how, relation) {
                (Relation::Same, _) => picked.add(source.clone(), relation.clone()),
                // Of what is a part of it, or holds it, nothing is known.
                (_, Relation::Rows) => {}
                (how, _) => picked.add(source.clone(), how.clone()),
            }
        }
        picked
    }
}

/// How a path is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Load,
    /// The last step is stored to, so only the object around it matters.
    Store,
    /// The object is named, not used: a base class, the right side of `g = f`.
    Refer,
    /// The path is called.
    Call,
    /// The last step names a method that is called.
    Method,
}

/// What is called.
#[derive(Debug, Clone)]
pub(crate) enum Callee {
    /// A plain name.
    Name(String),
    /// A method, or a function of a module: the dotted path if there is one, the receiver and the method's name.
    Method {
        path: Option<Path>,
        receiver: Value,
        method: String,
    },
    /// Anything else.
    Other(Value),
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub id: usize,
    pub callee: Callee,
    /// Keyword (if any) and value of every argument, in order.
    pub arguments: Vec<(Option<String>, Value)>,
    /// `inplace=` is given and is not `False`.
    pub is_inplace: bool,
    /// If it is a table that is changed, only these columns of it are.
    pub columns: Vec<String>,
}

/// The path of a file as far as the text shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FilePath {
    Literal(String),
    Name(String),
    Unknown,
}

/// An effect outside the namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outside {
    FileRead(FilePath),
    /// Which files there are in a folder, or of a pattern.
    FolderRead(FilePath),
    FileWrite(FilePath),
    /// A folder is there from now on; no file is another one.
    FolderMake(FilePath),
    /// Environment variable, or all of them.
    EnvironmentRead(Option<String>),
    EnvironmentWrite(Option<String>),
    /// A draw advances the state of this name.
    Draw(String),
    /// Seeding replaces the state of this name.
    Seed(String),
    /// A configuration call for this library.
    Configure(String),
    /// Doing it again may give something else.
    Varies(Varies),
}

/// Why doing something again may give something else; the last one explains most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Varies {
    /// An unknown construct.
    Unknown,
    Environment,
    Files,
    Process,
    Network,
    Clock,
    Random,
}

/// One operation of a statement on the namespace, in evaluation order.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Reads a path whose root was not surely bound before in the same statement.
    Read {
        path: Path,
        how: How,
        /// The root was surely bound before in the same statement.
        is_own: bool,
        /// If it is a table, only these columns of it are looked at.
        columns: Vec<String>,
    },
    /// Goes through the items of a value, which uses up an iterator.
    Iterate(Value),
    Bind {
        name: String,
        value: Value,
        is_definite: bool,
    },
    /// `name op= value`.
    Augment {
        name: String,
        is_definite: bool,
    },
    Unbind {
        name: String,
        is_definite: bool,
    },
    /// Changes an object: at one key, or (`None`) anywhere. It may hold `held` afterwards.
    Mutate {
        target: Value,
        key: Option<Key>,
        held: Value,
    },
    Call(Call),
    /// A function made in this statement may run now.
    Invoke(FunctionId),
    Outside(Outside),
    /// Identifiers in a string that is evaluated.
    StringNames(Vec<String>),
    /// `from module import *`.
    Star(String),
    /// Anything may be read and written.
    Unknown,
}

/// What a function's body does when it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct FunctionFacts {
    pub params: Vec<String>,
    pub vararg: Option<usize>,
    pub reads: BTreeSet<String>,
    /// Global names to whose objects it only adds something.
    pub adds_to: BTreeSet<String>,
    pub writes: BTreeSet<String>,
    pub deletes: BTreeSet<String>,
    pub mutates: BTreeSet<String>,
    pub mutated_params: BTreeSet<usize>,
    /// Those of them, and of the names, whose items may change, and not only which items there are.
    pub deep_params: BTreeSet<usize>,
    pub deep_mutates: BTreeSet<String>,
    /// Calls of names this cell does not define, with the parameters and names passed at each position.
    pub passed_on: Vec<(String, Vec<Vec<Source>>)>,
    pub calls: BTreeSet<String>,
    pub returns: Value,
    pub outside: BTreeSet<Outside>,
    pub string_names: BTreeSet<String>,
    pub unknown: Vec<Note>,
    pub is_generator: bool,
    /// Fingerprints of this function and of those that it runs, where they print besides what they compute.
    pub prints: BTreeSet<Hash>,
    /// Running it may change the function itself: its defaults or what its closure holds.
    pub is_stateful: bool,
    pub class: Option<ClassFacts>,
}

/// Methods that run when an object is made, and not afterwards.
pub(crate) const CONSTRUCTORS: [&str; 3] = ["__init__", "__new__", "__post_init__"];

impl FunctionFacts {
    /// Running this runs the other one, too.
    pub(crate) fn do_also(&mut self, other: &FunctionFacts) {
        self.reads.extend(other.reads.iter().cloned());
        self.adds_to.extend(other.adds_to.iter().cloned());
        self.writes.extend(other.writes.iter().cloned());
        self.deletes.extend(other.deletes.iter().cloned());
        self.mutates.extend(other.mutates.iter().cloned());
        self.deep_mutates.extend(other.deep_mutates.iter().cloned());
        self.calls.extend(other.calls.iter().cloned());
        self.outside.extend(other.outside.iter().cloned());
        self.string_names.extend(other.string_names.iter().cloned());
        self.unknown.extend(other.unknown.iter().cloned());
        self.prints.extend(other.prints.iter().copied());
    }

    /// Whether the argument at this position, or with this keyword, may change.
    pub(crate) fn changes_argument(&self, position: usize, keyword: Option<&str>) -> bool {
        let index = match keyword {
            Some(keyword) => match self.params.iter().position(|param| param == keyword) {
                Some(index) => index,
                // Taken by `**kwargs`, the last parameter.
                None => self.params.len().saturating_sub(1),
            },
            None => match self.vararg {
                Some(vararg) if position >= vararg => vararg,
                _ => position,
            },
        };
        self.mutated_params.contains(&index)
    }
}

/// What is particular to a class.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClassFacts {
    pub name: String,
    /// The names of its bases; empty for one that is no plain name.
    pub bases: Vec<String>,
    /// What the methods do of an object that is there: all but the constructors.
    pub behaviour: FunctionId,
    pub methods: BTreeMap<String, FunctionId>,
    /// Storing an attribute does nothing but store it.
    pub has_plain_attributes: bool,
}

/// One top-level statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatementFacts {
    pub fingerprint: Hash,
    /// Of what it computes, where that is less.
    pub values: Option<Hash>,
    pub ops: Vec<Op>,
    /// An expression statement, whose value may be displayed.
    pub is_expression: bool,
    /// All that it does is to give names to a value.
    pub names_value: bool,
    /// What is displayed may be a table or an array, or hold one.
    pub shows_tables: bool,
    /// What it binds depends on everything the other statements of the cell do (`%%capture out`).
    pub covers_cell: bool,
}
