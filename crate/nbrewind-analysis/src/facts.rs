//! What the visitor finds in a cell: statements as sequences of operations on names. `program` makes it ready for the
//! dataflow pass. Private to the crate; [`crate::CellEffects`] is the summary that others see.

use crate::effects::Note;
use crate::fingerprint::Hash;
use crate::name::Name;
use crate::sorted::{Map, Set};
use smallvec::SmallVec;

/// Position in [`Facts::functions`].
pub(crate) type FunctionId = usize;

/// One step of a path below a name: `.a`, `['a']` or a step that is not constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Attr(Name),
    Item(Name),
    Any,
    /// What going through the items gives.
    Element,
}

impl Key {
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

/// A name and the steps below it, as in `o.a['k']`.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub root: Name,
    pub keys: Keys,
}

/// Few paths have more steps than two.
pub(crate) type Keys = SmallVec<[Key; 2]>;

/// Where the object of a value may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A name of the namespace.
    Name(Name),
    /// A parameter of a function of this cell.
    Param(FunctionId, usize),
    /// The result of a call of this statement.
    Result(usize),
    /// A function or class written here.
    Function(FunctionId),
    /// An imported module or something in one, by dotted name.
    Module(Name),
}

/// How a value relates to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// It is what an operator gives of the source: of an object of the notebook's own class, whatever that makes.
    Operand,
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
    pub sources: Sources,
    pub kind: Kind,
    /// Fingerprint of the expression if it is a constant.
    pub literal: Option<Hash>,
    /// The text of a constant string that may be a path, or of a path made from one.
    pub text: Option<Name>,
    /// Of a path made from the value of a name: that name, and what follows.
    pub below: Option<(Name, Name)>,
    /// Of a constant dict whose keys are all strings, what stands under them.
    pub items: Vec<(Key, Hash)>,
}

/// Most values have one source.
pub(crate) type Sources = SmallVec<[(Source, Relation); 1]>;

impl Value {
    pub(crate) fn scalar() -> Self {
        Value {
            kind: Kind::Scalar,
            ..Value::default()
        }
    }

    pub(crate) fn of(source: Source) -> Self {
        Value {
            sources: SmallVec::from_buf([(source, Relation::Same)]),
            ..Value::default()
        }
    }

    /// A constant path, without a leading `./`.
    pub(crate) fn path(&self) -> Option<Name> {
        self.text.map(path_name)
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
        for &(source, relation) in &other.sources {
            self.add(source, relation);
        }
        if self.kind != other.kind {
            self.kind = Kind::Unknown;
        }
        self.literal = None;
        self.text = None;
        self.below = None;
        self.items.clear();
        self
    }

    /// An item, attribute or view of this value.
    pub(crate) fn part(&self, key: Option<Key>) -> Self {
        let mut part = Value::default();
        for &(source, relation) in &self.sources {
            let relation = match relation {
                Relation::Same => Relation::Part(key),
                // The item of a fresh container may be the held object itself.
                Relation::Holds => Relation::Same,
                Relation::HoldsItems => Relation::Part(Some(Key::Element)),
                Relation::Part(_) | Relation::Rows | Relation::Columns | Relation::Operand => {
                    relation
                }
            };
            part.add(source, relation);
        }
        part
    }

    /// A new object that holds this value.
    pub(crate) fn held(&self) -> Self {
        let mut holder = Value::default();
        for &(source, relation) in &self.sources {
            let relation = match relation {
                Relation::Rows => continue,
                Relation::HoldsItems | Relation::Operand => relation,
                Relation::Part(Some(Key::Item(_) | Key::Element)) => Relation::HoldsItems,
                _ => Relation::Holds,
            };
            holder.add(source, relation);
        }
        holder
    }

    /// What an operator gives of this value.
    pub(crate) fn operand(&self) -> Self {
        let mut result = Value::default();
        for &(source, relation) in &self.sources {
            if matches!(source, Source::Module(_) | Source::Function(_)) {
                continue;
            }
            match relation {
                Relation::Same | Relation::Operand => result.add(source, Relation::Operand),
                // `[a] * 3`
                Relation::Holds | Relation::HoldsItems => result.add(source, relation),
                _ => {}
            }
        }
        result
    }

    /// The sources that change when this value does: those that it is, or is a part of.
    pub(crate) fn changing(&self) -> impl Iterator<Item = Source> + '_ {
        let is_apart = |how: &Relation| {
            matches!(
                how,
                Relation::Holds | Relation::HoldsItems | Relation::Rows | Relation::Operand
            )
        };
        let sources = self.sources.iter();
        sources
            .filter(move |(_, how)| !is_apart(how))
            .map(|(source, _)| *source)
    }

    /// What going through the items of this value gives.
    pub(crate) fn element(&self) -> Self {
        self.part(Some(Key::Element))
    }

    /// Rows or columns of this value, where its text says that they are picked out.
    pub(crate) fn picked(&self, relation: Relation) -> Self {
        let mut picked = Value::default();
        for &(source, how) in &self.sources {
            match (how, relation) {
                (Relation::Same, _) => picked.add(source, relation),
                // Of what is a part of it, or holds it, nothing is known.
                (_, Relation::Rows) if how != Relation::Operand => {}
                (how, _) => picked.add(source, how),
            }
        }
        picked
    }
}

/// A path of a file as the pass compares it.
pub(crate) fn path_name(path: Name) -> Name {
    match path.text().trim_start_matches("./") {
        same if same.len() == path.len() => path,
        shorter => Name::new(shorter),
    }
}

/// Stands for all names that are made while the notebook runs.
pub(crate) const ANY_NAME: &str = "globals()[...]";

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
    Name(Name),
    /// A method, or a function of a module: the path if there is one, the receiver and the method's name.
    Method {
        path: Option<Path>,
        receiver: Value,
        method: Name,
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
    pub arguments: Vec<(Option<Name>, Value)>,
    /// `inplace=` is given and is not `False`.
    pub is_inplace: bool,
    /// If it is a table that is changed, only these columns of it are.
    pub columns: Box<[Key]>,
}

/// The path of a file as far as the text shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FilePath {
    Literal(Name),
    Name(Name),
    /// What follows the path that a name stands for.
    Below(Name, Name),
    Unknown,
}

/// An effect outside the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outside {
    FileRead(FilePath),
    /// Which files there are in a folder, or of a pattern.
    FolderRead(FilePath),
    FileWrite(FilePath),
    /// A folder is there from now on; no file is another one.
    FolderMake(FilePath),
    /// Environment variable, or all of them.
    EnvironmentRead(Option<Name>),
    EnvironmentWrite(Option<Name>),
    /// A draw advances the state of this name.
    Draw(Name),
    /// Seeding replaces the state of this name.
    Seed(Name),
    /// A configuration call for this library.
    Configure(Name),
    /// Doing it again may give something else.
    Varies(Varies),
}

impl Outside {
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
        columns: Box<[Key]>,
    },
    /// Goes through the items of a value, which uses up an iterator.
    Iterate(Value),
    Bind {
        name: Name,
        value: Value,
        is_definite: bool,
    },
    /// `name op= value`.
    Augment {
        name: Name,
        is_definite: bool,
        held: Value,
    },
    /// A function is handed to its decorator, the callee.
    Decorate(Box<Call>),
    /// A context is entered, and left.
    Enter(Value),
    Unbind {
        name: Name,
        is_definite: bool,
    },
    /// Changes an object: at one key, or (`None`) anywhere. It may hold `held` afterwards.
    Mutate {
        target: Value,
        key: Option<Key>,
        held: Value,
    },
    Call(Box<Call>),
    /// A function made in this statement may run now.
    Invoke(FunctionId),
    Outside(Outside),
    /// Identifiers in a string that is evaluated.
    StringNames(Box<[Name]>),
    /// `from module import *`.
    Star(Name),
    /// Names that begin so may be bound; which ones, the text does not show.
    SomeNames(Name),
    /// Anything may be read and written.
    Unknown,
}

/// Calls of names that a cell does not define, with the parameters and names passed at each position.
pub(crate) type PassedOn = (Name, Box<[Box<[Source]>]>);

/// What a function's body does when it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct FunctionFacts {
    pub params: Box<[Name]>,
    pub vararg: Option<usize>,
    pub reads: Set<Name>,
    /// Names of which it asks for items.
    pub asks: Set<Name>,
    /// Global names to whose objects it only adds something.
    pub adds_to: Set<Name>,
    pub writes: Set<Name>,
    pub deletes: Set<Name>,
    pub mutates: Set<Name>,
    pub mutated_params: Set<usize>,
    /// Those of them, and of the names, whose items may change, and not only which items there are.
    pub deep_params: Set<usize>,
    pub deep_mutates: Set<Name>,
    pub passed_on: Vec<PassedOn>,
    pub calls: Set<Name>,
    pub returns: Value,
    pub outside: Set<Outside>,
    pub string_names: Set<Name>,
    pub unknown: Vec<Note>,
    pub is_generator: bool,
    /// Fingerprints of this function and of those that it runs, where they print besides what they compute.
    pub prints: Set<Hash>,
    /// Running it may change the function itself: its defaults or what its closure holds.
    pub is_stateful: bool,
    /// What its closure holds, and it changes, may be what the function around it was given, or found in the notebook.
    pub changes_closed_over: bool,
    /// Attributes that its object is given: the parameters as they are; and those whose objects it changes.
    pub keeps_attributes: Set<Name>,
    pub changes_attributes: Set<Name>,
    /// What is called gives something that may run it later.
    pub is_late: bool,
    /// Methods that it calls of anything: `__call__` is one, and an empty name stands for all of them.
    pub methods: Set<Name>,
    /// Global names of which it puts something into something.
    pub keeps: Set<Name>,
    /// Parameters whose items it goes through.
    pub iterates: Set<usize>,
    /// Functions made in it that it puts into something, from where they may be run later.
    pub stores: Vec<FunctionId>,
    /// Of what an object's class does: what runs without a call, when it is looked at and when something is stored in it.
    pub implied: Option<Implied>,
    pub class: Option<ClassFacts>,
}

/// Methods that run without being called: properties, descriptors, operators, contexts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Implied {
    pub looks: FunctionId,
    pub stores: FunctionId,
    pub has_stores: bool,
}

/// Methods that run when an object is made, and not afterwards.
pub(crate) const CONSTRUCTORS: [&str; 3] = ["__init__", "__new__", "__post_init__"];

impl FunctionFacts {
    /// Running this runs the other one, too.
    pub(crate) fn do_also(&mut self, other: &FunctionFacts) {
        self.reads.add_all(&other.reads);
        self.asks.add_all(&other.asks);
        self.adds_to.add_all(&other.adds_to);
        self.writes.add_all(&other.writes);
        self.deletes.add_all(&other.deletes);
        self.mutates.add_all(&other.mutates);
        self.deep_mutates.add_all(&other.deep_mutates);
        self.calls.add_all(&other.calls);
        self.outside.add_all(&other.outside);
        self.string_names.add_all(&other.string_names);
        self.unknown.extend(other.unknown.iter().cloned());
        self.prints.add_all(&other.prints);
        self.methods.add_all(&other.methods);
        self.keeps.add_all(&other.keeps);
        for stored in &other.stores {
            if !self.stores.contains(stored) {
                self.stores.push(*stored);
            }
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
        self.mutated_params.has(index)
    }

    /// Whether not only which items this parameter has may change, but the items, too.
    pub(crate) fn changes_items(&self, parameter: usize) -> bool {
        self.deep_params.has(parameter)
    }

    /// The walk is over: to names that are read it does more than add.
    pub(crate) fn settle(&mut self) {
        self.adds_to.remove_all(&self.reads);
    }
}

/// What is particular to a class.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClassFacts {
    pub name: Name,
    /// The names of its bases; empty for one that is no plain name.
    pub bases: Vec<Name>,
    /// What the methods do of an object that is there: all but the constructors.
    pub behaviour: FunctionId,
    pub methods: Map<FunctionId>,
    /// Methods change what the constructor was given, and kept as an attribute.
    pub changes_given: bool,
    /// Attributes of the class that objects share, and that may change in place.
    pub shared: Set<Name>,
    /// Methods change attributes that objects share.
    pub changes_shared: bool,
    /// Methods that run where an object is looked at, and change it.
    pub changing_looks: Set<Name>,
    /// Storing an attribute does nothing but store it.
    pub has_plain_attributes: bool,
}

impl ClassFacts {
    pub(crate) fn method(&self, name: &str) -> Option<FunctionId> {
        let mut methods = self.methods.iter();
        methods
            .find(|(known, _)| known.text() == name)
            .map(|(_, id)| *id)
    }
}

/// One top-level statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatementFacts {
    pub fingerprint: Hash,
    /// Of what it computes, where that is less.
    pub values: Option<Hash>,
    pub ops: Box<[Op]>,
    /// An expression statement, whose value may be displayed.
    pub is_expression: bool,
    /// All that it does is to give names to a value.
    pub names_value: bool,
    /// What is displayed may be a table or an array, or hold one.
    pub shows_tables: bool,
    /// What it binds depends on everything the other statements of the cell do (`%%capture out`).
    pub covers_cell: bool,
}
