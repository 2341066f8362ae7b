"""The namespace as the store sees it: co-variables and the content of every name.

The state is symbolic first. A name can be bound to a version in the store without being loaded; then it is in no
dict of the user's, and everything a cell may read is loaded before the cell executes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nbrewind import _native, collector
from nbrewind.fingerprint import Context, Fact, Walk
from nbrewind.fingerprint.arrays import copies_on_write
from nbrewind.fingerprint.objects import is_plain, namespace_fact, singleton_fact
from nbrewind.fingerprint.walker import LENT, SHARED

# Names that IPython manages, not the user.
_MANAGED = frozenset(
    {
        "In",
        "Out",
        "exit",
        "quit",
        "get_ipython",
        "open",
        "_dh",
        "_ih",
        "_oh",
        "_exit_code",
        "__nbrewind__",
    }
)
_HISTORY = re.compile(r"_+|_i{1,3}|_i?\d+")
# What Python and its tools keep in a module; other names of this form are the user's.
_OF_MODULES = frozenset(
    """__annotations__ __builtin__ __builtins__ __conditional_annotations__ __debug__ __doc__ __loader__ __main__
    __name__ __package__ __path__ __session__ __spec__ __vsc_ipynb_file__ __warningregistry__""".split()
)
# Names of the shell that a cell may take for something else (`from gzip import open`).
_REPLACEABLE = frozenset({"open", "exit", "quit"})


@functools.lru_cache(maxsize=65536)
def is_tracked(name: str) -> bool:
    """True for names that belong to the user's program."""
    return (
        name not in _MANAGED
        and name not in _OF_MODULES
        and _HISTORY.fullmatch(name) is None
        and not name.startswith("__pydevd")
    )


def is_history(name: str) -> bool:
    """True for names under which the shell keeps what was shown and sent, and Python what was annotated."""
    return name in {"In", "Out", "__annotations__"} or _HISTORY.fullmatch(name) is not None


# Why a value has no content that could be compared or stored.
NEVER_RECORDED = "the cell that made it is never recorded"


_WORD = "word: "
# The walker's mark of what holds a value that is not a number and of which a module has only one.
_NAN = "nan"
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
# Of longer texts and larger collections nobody says what they name.
_MAX_TEXT = 2000
_MAX_ITEMS = 50
_TOO_MUCH = ":"


def _words_of(value: Any, depth: int = 2) -> set[str]:
    """Identifiers in a short text, or in those that a small collection holds: it may be evaluated."""
    if isinstance(value, str):
        return set(_IDENTIFIER.findall(value)) if len(value) <= _MAX_TEXT else {_TOO_MUCH}
    if depth == 0 or type(value) not in {list, tuple, dict} or len(value) > _MAX_ITEMS:
        return set()
    parts = value.values() if type(value) is dict else value
    return {word for part in parts for word in _words_of(part, depth - 1)}


def _modules_in(found: Walk) -> set[str]:
    """What the value has of the user's modules, as one mark: whoever changes the value may leave that as it is."""
    if not found.components:
        return set()
    parts = json.dumps(sorted(found.components))
    return {IN_MODULES + hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()}


IN_MODULES = "in modules: "


def is_same_of_modules(before: NameFacts, after: NameFacts) -> bool:
    """True when a value changed, if at all, in what it has for itself: an instance of a class of `helpers.py`, say."""
    if before.fp == after.fp or before.fp is None or after.fp is None:
        return before.fp == after.fp
    then, now = (
        [mark for mark in facts.marks if mark.startswith(IN_MODULES)] for facts in (before, after)
    )
    return then == now != []


@dataclass
class NameFacts:
    """What the walk of one name's value found."""

    fp: str | None
    refs: list[str] = field(default_factory=list)
    idents: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    opaque: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        """Identifiers in the texts that the value holds; among them what is none when there are too many."""
        return [mark.removeprefix(_WORD) for mark in self.marks if mark.startswith(_WORD)]

    @classmethod
    def from_walk(cls, found: Walk, value: Any = None) -> NameFacts:
        """The part of a walk that is worth keeping."""
        return cls(
            fp=found.fp,
            refs=sorted(found.refs),
            idents=sorted(found.idents),
            marks=sorted(
                found.marks | {_WORD + word for word in _words_of(value)} | _modules_in(found)
            ),
            handles=sorted(found.handles),
            files=found.files,
            opaque=found.opaque,
        )


@dataclass(eq=False)
class CoVariable:
    """One version of names that share objects. `data` is where its bytes are; None: it cannot be stored.

    `joint` is its content; where that cannot be told, `seen` is what can be told of it.
    """

    names: tuple[str, ...]
    joint: str | None
    facts: dict[str, NameFacts]
    manifest_id: str = ""
    data: dict[str, Any] | None = None
    why: str | None = None
    recipe: list[dict[str, Any]] | None = None
    made_by: str = ""
    n_bytes: int = 0
    seen: str | None = None

    def __post_init__(self) -> None:
        if not self.manifest_id:
            text = json.dumps([self.names, self.joint or uuid.uuid4().hex])
            self.manifest_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @functools.cached_property
    def is_handle(self) -> bool:
        """True when every name is a compute engine: not content, rebuilt by its recipe."""
        return all(fact.handles for fact in self.facts.values())

    @property
    def holds_nan(self) -> bool:
        """True when `np.nan` or `math.nan` itself is in it, not only a value like it."""
        return any(_NAN in fact.marks for fact in self.facts.values())

    @property
    def is_lent(self) -> bool:
        """True when arrow or polars use the memory of an array in it."""
        return any(LENT in fact.marks for fact in self.facts.values())

    @property
    def is_shared(self) -> bool:
        """True when tables in it, which copy before they write, have memory in common with arrays."""
        return any(SHARED in fact.marks for fact in self.facts.values())

    @property
    def is_unrecorded(self) -> bool:
        """True when a cell made it that is never recorded: only its names are kept."""
        return self.why == NEVER_RECORDED

    def chunks(self) -> list[str]:
        """Names of all chunks that hold its bytes, each once."""
        if self.data is None:
            return []
        parts = [self.data["head"]]
        parts += [
            part["chunks"] for kind in ("buffers", "columns") for part in self.data.get(kind, ())
        ]
        return list(dict.fromkeys(chunk for part in parts for chunk in part))

    def to_payload(self) -> dict[str, Any]:
        """As a record of kind `manifest`."""
        payload = asdict(self)
        if self.is_unrecorded:
            payload["n_bytes"] = 0
            payload["facts"] = {
                name: asdict(NameFacts(None, opaque=[NEVER_RECORDED])) for name in self.names
            }
        payload["names"] = list(self.names)
        return payload

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> CoVariable:
        """From a record of kind `manifest`."""
        facts = {name: NameFacts(**found) for name, found in payload["facts"].items()}
        return cls(**{**payload, "names": tuple(payload["names"]), "facts": facts})


def _without_content(facts: NameFacts) -> NameFacts:
    """What other code may reach through the value, and nothing of what it is."""
    marks = [mark for mark in facts.marks if not mark.startswith(_WORD)]
    return NameFacts(fp=None, refs=facts.refs, marks=marks, opaque=[NEVER_RECORDED])


_MAX_PLAIN = 4096


def _is_plain(value: Any) -> bool:
    """True for what cannot change and has no parts, and costs nothing to keep a little longer."""
    kind = type(value)
    if kind is str:
        return len(value) <= _MAX_PLAIN
    if kind is int:
        return bool(value.bit_length() <= _MAX_PLAIN)
    # A value that is not a number may be a module's own.
    return bool(value == value) if kind is float else kind is bool or value is None


def _group_of(bound: Mapping[str, CoVariable], name: str) -> list[str]:
    version = bound[name]
    if len(version.names) == 1:
        return [name]
    return sorted(other for other in version.names if bound.get(other) is version)


def _name_fact(bound: Mapping[str, CoVariable], name: str) -> dict[str, Any]:
    version = bound[name]
    group = _group_of(bound, name)
    joint = version.joint if tuple(group) == version.names else None
    return {"fp": version.facts[name].fp, "group": group, "joint": joint}


class FactsThen(Mapping[str, dict[str, Any]]):
    """The facts of all names that were bound at some time. Most are never asked for."""

    def __init__(self, bound: Mapping[str, CoVariable]) -> None:
        self._bound = dict(bound)

    def __getitem__(self, name: str) -> dict[str, Any]:
        return _name_fact(self._bound, name)

    def __contains__(self, name: object) -> bool:
        return name in self._bound

    def __iter__(self) -> Iterator[str]:
        return iter(self._bound)

    def __len__(self) -> int:
        return len(self._bound)


class NamespaceState:
    """Which version every tracked name has, and which names are loaded."""

    def __init__(
        self,
        namespace: dict[str, Any],
        root: str | None = None,
        memory: _native.Memory | None = None,
    ) -> None:
        self.namespace = namespace
        self.root = root
        self.memory = memory or _native.Memory()
        self.bound: dict[str, CoVariable] = {}
        self.loaded: set[str] = set()
        self._ids: dict[str, int] = {}
        # Numbers and short texts of the last sweep with their versions: most names of a long notebook.
        self._plain: dict[str, tuple[Any, CoVariable]] = {}
        # What the shell has under names that a cell may take.
        self._of_shell = {name: namespace.get(name) for name in _REPLACEABLE}
        self.view_owners: set[int] = set()
        # What cells made that are never recorded, by name: of these objects nothing is kept, not even a fingerprint.
        self.unrecorded: dict[str, Any] = {}

    def group_of(self, name: str) -> list[str]:
        """The names that share objects with this one now, itself included, sorted."""
        return _group_of(self.bound, name)

    def name_fact(self, name: str) -> dict[str, Any]:
        """The name's content and sharing, as the repeat rule asks for it."""
        return _name_fact(self.bound, name)

    def facts(self, name: str) -> NameFacts:
        """What the walk of this name found."""
        return self.bound[name].facts[name]

    def pending(self) -> list[str]:
        """Names that are bound but not loaded."""
        return [name for name in self.bound if name not in self.loaded]

    def closure(self, names: Iterable[str]) -> tuple[set[str], set[str]]:
        """Names reachable from `names` through functions and strings: those that are bound, and those that are not."""
        present: set[str] = set()
        absent: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in present or name in absent:
                continue
            if name not in self.bound:
                absent.add(name)
                continue
            present.add(name)
            facts = self.facts(name)
            todo.extend(facts.refs)
            todo.extend(facts.idents)
        return present, absent

    def live_names(self) -> list[str]:
        """Tracked names that are in the namespace, in order."""
        return [name for name in self.namespace if is_tracked(name) or self._is_taken(name)]

    def _is_taken(self, name: str) -> bool:
        """True when a cell has given a name of the shell another value."""
        return name in _REPLACEABLE and self.namespace.get(name) is not self._of_shell[name]

    def same_object(self, name: str) -> bool:
        """True when the name is bound to the object that it had at the last sweep."""
        return name in self.namespace and self._ids.get(name) == id(self.namespace[name])

    def sweep(self, suspects: set[str] | None = None) -> tuple[list[CoVariable], list[str]]:
        """Walk everything that is loaded. Returns the versions that are new, and the names that are gone.

        An opaque value counts as changed when it is another object, when what can be told of it differs, and when it is
        among the `suspects` (None: all).
        """
        names = self.live_names()
        before = list(self.bound)
        self.unrecorded = {
            name: value
            for name, value in self.unrecorded.items()
            if self.namespace.get(name) is value
        }
        facts_known: dict[int, tuple[Any, Fact]] = {}
        context = Context(namespace=self.namespace, memory=self.memory, known=facts_known)
        context.view_owners = self.view_owners = set()
        walked = [name for name in names if not self._stands(name)]
        values = [self._as_walked(self.namespace[name]) for name in walked]
        frames_copy = copies_on_write()
        walks, groups, _ = context.walk_namespace(values, self.root, frames_copy)
        gone = [name for name in self.loaded if name not in self.namespace]
        changed: list[CoVariable] = []
        for positions in groups:
            members = sorted(positions, key=lambda position: walked[position])
            group = tuple(walked[position] for position in members)
            is_unrecorded = not self.unrecorded.keys().isdisjoint(group)
            is_shared = False
            joint = seen = None
            if not is_unrecorded:
                found = walks[positions[0]]
                if len(group) > 1 or (found.shares and not frames_copy):
                    found, owners = self._joint(
                        {name: self.namespace[name] for name in group}, facts_known=facts_known
                    )
                    self.view_owners |= owners
                joint = found.fp
                seen = found.seen if joint is None else None
                is_shared = found.shares and frames_copy
            known = self.bound.get(group[0])
            unchanged = (
                known is not None
                and known.names == group
                and all(self.bound.get(name) is known for name in group)
                and (
                    known.joint == joint
                    if joint is not None and known.joint is not None
                    else joint is None
                    and known.joint is None
                    and known.seen == seen
                    and all(self.same_object(name) for name in group)
                    and suspects is not None
                    and suspects.isdisjoint(group)
                )
            )
            if unchanged:
                continue
            facts = {
                walked[position]: NameFacts.from_walk(walks[position], values[position])
                for position in members
            }
            if is_unrecorded:
                facts = {name: _without_content(found) for name, found in facts.items()}
            if is_shared:
                first = facts[group[0]]
                first.marks = sorted({*first.marks, SHARED})
            version = CoVariable(group, joint, facts, seen=seen)
            version.n_bytes = sum(walks[position].n_bytes for position in members)
            if is_unrecorded:
                version.why = NEVER_RECORDED
            elif joint is None:
                version.why = "; ".join(
                    sorted({text for fact in facts.values() for text in fact.opaque})
                )
            changed.append(version)
            for name in group:
                self.bound[name] = version
        for name in gone:
            self.bound.pop(name, None)
        self.loaded = set(names)
        self._order_as(names, before)
        self._note_plain(names)
        return changed, gone

    def _stands(self, name: str) -> bool:
        """True for a number or a text that is the very object of the last sweep: there is nothing to look at."""
        found = self._plain.get(name)
        return (
            found is not None
            and found[0] is self.namespace.get(name, self)
            and found[1] is self.bound.get(name)
            and name not in self.unrecorded
        )

    def _note_plain(self, names: list[str]) -> None:
        plain = {}
        for name in names:
            # Another thread may have taken it away meanwhile.
            value, version = self.namespace.get(name, self), self.bound.get(name)
            if version and version.joint and version.names == (name,) and _is_plain(value):
                plain[name] = value, version
        self._plain = plain

    def _order_as(self, names: list[str], before: list[str]) -> None:
        """Names in the order in which they are in the namespace; what is not loaded stands where it stood."""
        if len(names) != len(self.bound):
            known = set(before)
            names = [name for name in before if name in self.bound]
            names += [name for name in self.namespace if name in self.bound and name not in known]
        if names != list(self.bound):
            self.bound = {name: self.bound[name] for name in names}

    def put_in_order(self, known: set[str], recorded: Iterable[str]) -> None:
        """Names that were not `known` in the order in which a run left them, behind those that were."""
        places = {name: place for place, name in enumerate(recorded)}
        new = [name for name in self.bound if name not in known]
        names = [name for name in self.bound if name in known]
        names += sorted(new, key=lambda name: places.get(name, len(places)))
        self.bound = {name: self.bound[name] for name in names}

    def arrange(self) -> None:
        """Put the names of the namespace into the order in which they would be there: some code goes through them."""
        tracked = [name for name in self.namespace if name in self.bound]
        ordered = [name for name in self.bound if name in self.namespace]
        if tracked == ordered:
            return
        # In one step of the interpreter, so that no other thread finds a name missing.
        put, take = self.namespace.__setitem__, self.namespace.pop
        with collector.paused():
            deque(map(put, ordered, map(take, ordered)), maxlen=0)

    def fingerprint(
        self, values: dict[str, Any], memory: _native.Memory | None = None
    ) -> str | None:
        """The joint fingerprint of a co-variable's values, as `sweep` computes it.

        `memory`: another one than the state's, for values that nobody keeps.
        """
        return self._joint(values, memory)[0].fp

    def seen(self, values: dict[str, Any]) -> str:
        """What can be told of a co-variable's values that have no fingerprint as a whole, as `sweep` computes it."""
        return self._joint(values)[0].seen

    def _joint(
        self,
        values: dict[str, Any],
        memory: _native.Memory | None = None,
        facts_known: dict[int, tuple[Any, Fact]] | None = None,
    ) -> tuple[Walk, set[int]]:
        """The walk of all values together, and the arrays that frames among them are parts of, if that counts."""
        walked = {name: self._as_walked(value) for name, value in values.items()}
        whole = (
            next(iter(walked.values()))
            if len(walked) == 1
            else tuple((name, walked[name]) for name in sorted(walked))
        )
        known = memory or self.memory
        context = Context(namespace=self.namespace, memory=known, known=facts_known)
        found = context.walk(whole)
        if copies_on_write() or not found.shares:
            return found, set()
        # Else two frames that share their memory would be as good as two equal ones that do not.
        exact = Context(namespace=self.namespace, memory=known, by_memory=True)
        return exact.walk(whole), exact.view_owners

    def _as_walked(self, value: Any) -> Any:
        """The value, or a fact instead of a list or dict that stands for more than it holds."""
        if value is self.namespace:
            return namespace_fact()
        if is_plain(value):
            return singleton_fact(value) or value
        return value

    def remember_objects(self) -> None:
        """Note which object every name has, so that the next sweep can tell a change in place from a rebinding."""
        self._ids = {
            name: id(self.namespace[name]) for name in self.loaded if name in self.namespace
        }

    def bring(self, name: str, value: Any) -> None:
        """A bound name gets its value in the middle of a cell: what others are by then is for the cell's end."""
        self.namespace[name] = value
        self.loaded.add(name)
        self._ids[name] = id(value)

    def bind(self, version: CoVariable) -> None:
        """Bind names to a version in the store; they are no longer loaded."""
        for name in version.names:
            # Where it is among the others: to bind a name again does not move it.
            if name in self.bound:
                self._unload(name)
            self.bound[name] = version

    def forget(self, name: str) -> None:
        """The name is gone."""
        self.bound.pop(name, None)
        self._unload(name)

    def _unload(self, name: str) -> None:
        self.loaded.discard(name)
        # Without a name of the shell, Python's own is found.
        if is_tracked(name) or self._is_taken(name):
            self.namespace.pop(name, None)
