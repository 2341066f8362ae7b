"""The walker as Python sees it: `Fact`, `Walk`, `Context` and the registry of handlers."""

from __future__ import annotations

import gc
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbrewind import _native, collector
from nbrewind.fingerprint.files import path_fact_parts
from nbrewind.hush import hushed

# Smaller buffers are hashed as they come.
LARGE = 64 << 10

# Address, items, bytes from one item to the next, bytes of an item; address and bytes of the memory it is a part of.
Place = tuple[int, int, int, int, int, int]


class Fact:
    """What one object is, for the walker.

    `parts` are walked in order (`unordered`: sorted by digest). `mutable` objects are numbered, so that sharing
    counts; `label` gives the object a digest of its own, for explanations. `data` is a flat buffer of bytes; with
    `place` (see `Place`) it may be any array whose items are there, and lives as long as the object. `derived` is
    (key, [(address, bytes)], function): bytes that the function computes from those pieces of memory alone.
    `buffers` are (address, bytes, holder) of memory that other names may share; holder 0 is a plain array, `READ_ONLY`
    and `FOREIGN` those who do not write, `OWNER` an object that may lend its memory, any other number an owner that
    copies on write.
    """

    __slots__ = (
        "buffers",
        "data",
        "derived",
        "files",
        "handle",
        "idents",
        "label",
        "marks",
        "mutable",
        "opaque",
        "parts",
        "place",
        "refs",
        "tag",
        "unordered",
    )

    def __init__(
        self,
        tag: str,
        parts: Sequence[Any] = (),
        *,
        mutable: bool = False,
        label: str | None = None,
        refs: Iterable[str] = (),
        idents: Iterable[str] = (),
        marks: Iterable[str] = (),
        files: dict[str, str] | None = None,
        buffers: Iterable[tuple[int, int, int]] = (),
        data: Any = None,
        place: Place | None = None,
        derived: tuple[bytes, list[tuple[int, int]], Callable[[], Any]] | None = None,
        opaque: str | None = None,
        handle: str | None = None,
        unordered: bool = False,
    ) -> None:
        self.tag = tag
        self.parts = parts
        self.mutable = mutable
        self.label = label
        self.refs = refs
        self.idents = idents
        self.marks = marks
        self.files = files
        self.buffers = buffers
        self.data = data
        self.place = place
        self.derived = derived
        self.opaque = opaque
        self.handle = handle
        self.unordered = unordered


@dataclass(frozen=True)
class Walk:
    """What one walk found.

    `fp` is 64 hex digits, or None when something on the way was opaque; `seen` is the same of all that was not.
    """

    fp: str | None
    seen: str = ""
    opaque: list[str] = field(default_factory=list)
    refs: set[str] = field(default_factory=set)
    idents: set[str] = field(default_factory=set)
    marks: set[str] = field(default_factory=set)
    handles: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)
    components: list[tuple[str, str]] = field(default_factory=list)
    buffers: list[tuple[int, int, int]] = field(default_factory=list)
    # True when a frame has memory in common with another one or with an array.
    shares: bool = False
    n_bytes: int = 0

    @classmethod
    def from_native(cls, found: dict[str, Any]) -> Walk:
        """The walker's dict as a record."""
        return cls(
            fp=found["fp"],
            seen=found["seen"],
            opaque=found["opaque"],
            refs=set(found["refs"]),
            idents=set(found["idents"]),
            marks=set(found["marks"]),
            handles=set(found["handles"]),
            files=found["files"],
            components=found["components"],
            buffers=found["buffers"],
            shares=found["shares"],
            n_bytes=found["n_bytes"],
        )


# As holder of `buffers`: memory that arrow and polars use, and never write. It may be an array's, who does; then this
# mark says so.
FOREIGN = 2**64 - 1
LENT = "lent"
# Mark of tables that copy what they share before they write, where arrays that do not have their memory, too.
SHARED = "shared"
# As holder: an array that nobody writes through.
READ_ONLY = 2**64 - 2
# As holder of its first byte: an object that may have given arrays its memory.
OWNER = 2**64 - 3
# Of owners that copy on write, which are addresses: in those that cannot write at all this bit is set.
READS = 1

# Of an object with this tag all counts or, when it cannot be compared as a whole, nothing: pools and caches of
# libraries come and go with use.
LIBRARY_OBJECT = "library object"

# The handler of everything that no registered type covers.
_FALLBACK = "*"
# Facts that are kept from one walk for the next one: small, and long to work out or met again and again.
_KNOWN = frozenset({"import", "lazy", "view"})
_MAX_KNOWN = 20_000

Handler = Callable[[Any, "Context"], Fact]
_handlers: dict[str, Handler] = {}
_by_type: dict[type, Handler | None] = {}


def register(*names: str) -> Callable[[Handler], Handler]:
    """Give facts for the types named `module:qualname`, which need not be imported; subclasses inherit."""

    def add(handler: Handler) -> Handler:
        for name in names:
            _handlers[name] = handler
        _by_type.clear()
        return handler

    return add


def _handler_for(kind: type) -> Handler | None:
    try:
        return _by_type[kind]
    except KeyError:
        pass
    found = None
    for base in kind.__mro__:
        found = _handlers.get(f"{base.__module__}:{base.__qualname__}")
        if found is not None:
            break
    _by_type[kind] = found
    return found


class Context:
    """One way of walking: whose namespace is the notebook's, are globals followed, what does the caller know."""

    def __init__(
        self,
        *,
        namespace: dict[str, Any] | None = None,
        follow_globals: bool = False,
        context: dict[str, Any] | None = None,
        memory: _native.Memory | None = None,
        by_memory: bool = False,
        known: dict[int, tuple[Any, Fact]] | None = None,
    ) -> None:
        self.namespace = namespace
        self.follow_globals = follow_globals
        self.context = context or {}
        # What is known of large buffers since earlier walks.
        self.memory = memory
        # Columns of frames count by where in whose memory they lie, too: who shares it sees what others write.
        self.by_memory = by_memory
        # Arrays that other arrays are views of: their pickles must share one owner.
        self.view_owners: set[int] = set()
        # Tasks in the lazy values that were met.
        self.n_lazy_nodes = 0
        # Facts by identity, with their objects, for walks of one look at a namespace: nothing of the user's runs
        # between them.
        self.known = known

    def facts(self, obj: Any) -> Fact:
        """The fact for one object that the walker does not read by itself."""
        if type(obj) is Fact:
            return obj
        known = self.known
        if known is None:
            return self._work_out(obj)
        before = known.get(id(obj))
        if before is not None:
            return before[1]
        fact = self._work_out(obj)
        # What has no content here may have some in a walk of its own.
        if fact.tag in _KNOWN and fact.opaque is None and len(known) < _MAX_KNOWN:
            known[id(obj)] = (obj, fact)
        return fact

    def _work_out(self, obj: Any) -> Fact:
        handler = _handler_for(type(obj))
        try:
            if handler is not None:
                return handler(obj, self)
            return _handlers[_FALLBACK](obj, self)
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign __reduce__ and __getstate__ may raise anything
            kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
            # What takes from something else uses it up: a reader of csv and its file are one.
            taken_from = gc.get_referents(obj) if hasattr(type(obj), "__next__") else ()
            return Fact(
                "opaque",
                tuple(one for one in taken_from if not isinstance(one, type | types.ModuleType)),
                opaque=f"{kind} cannot be fingerprinted ({type(error).__name__})",
                mutable=True,
            )

    def path_fact(self, path: str) -> Fact | None:
        """Task mode: the content behind a path that exists."""
        found = path_fact_parts(path)
        if found is None:
            return None
        name, digest, opaque = found
        return Fact(
            # As bytes: the walker would take a string for a path again.
            "file",
            (name.encode("utf-8", "surrogateescape"), digest),
            label=f"file:{name}",
            files={path: digest},
            opaque=opaque,
        )

    def walk(self, obj: Any) -> Walk:
        """Walk one object."""
        paths = self.path_fact if self.follow_globals else None
        with collector.paused(), hushed():
            return Walk.from_native(_native.walk(obj, self.facts, paths, self.memory))

    def walk_namespace(
        self, values: list[Any], root: str | None = None, frames_copy: bool = True
    ) -> tuple[list[Walk], list[list[int]], set[int]]:
        """Walk many values; also the groups of positions that share objects, and those of memory that several have.

        The latter: memory of an array and of several frames, which copy what they share before they write.
        `frames_copy`: what frames share is copied before one of them writes.
        A string that contains `root` marks its walk as `rooted`: the value would differ in another folder.
        """
        with collector.paused(), hushed():
            walks, groups, mixed, lent = _native.walk_namespace(
                values, self.facts, frames_copy, root, self.memory
            )
            found = [Walk.from_native(one) for one in walks]
            for position in lent:
                found[position].marks.add(LENT)
            return found, groups, set(mixed)


def walk(
    obj: Any,
    *,
    follow_globals: bool = False,
    namespace: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
) -> Walk:
    """Walk one object; see the module's two modes."""
    return Context(namespace=namespace, follow_globals=follow_globals, context=context).walk(obj)
