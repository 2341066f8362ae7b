"""Task fingerprints: what a task would compute, as 64 hex digits, or why that cannot be known.

A fingerprint covers the function (code, constants, defaults, closure, globals and helpers,
recursively), the literal arguments by content, files that literals name by content, and the
fingerprints of the tasks it depends on. It does not cover keys, Dask's own tokens, file names and
line numbers of code, or how tasks were fused.

Terms:
* *opaque*: no fingerprint, so the task never hits and is not recorded; everything that follows it
  is opaque as well;
* *suspect*: may give another result each time (clock, random numbers, `uuid4`). Replayed as
  recorded, always stored. What follows a suspect stands only on the very draw that it was computed
  from (`draws`);
* *interior*: the inside of a shuffle, whose results mean nothing in another run;
* *writer*: changes something outside; it runs, and so does what follows it, unless it is certain that all it left
  is as it left it (see `recorder` and `plan`).

When a name of user code suggests an effect that cannot be seen here, the task is opaque or a
writer: too many runs rather than one false hit.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from nbrewind import _native
from nbrewind.fingerprint import (
    Fact,
    is_library_module,
)
from nbrewind.tasks import remote, surroundings
from nbrewind.tasks.content import (
    IDENTIFIER,
    Literal,
    SharingContext,
    TaskContext,
    digest,
    named_in,
)
from nbrewind.tasks.graph import Graph, Key, Node, TaskName, key_tokens

_SALT_PACKAGES = (
    "dask",
    "distributed",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "xarray",
    "polars",
    "numba",
    "partd",
)

# Keys of tasks that load a result begin with this.
LOADED = "load-"

_INTERIOR = frozenset(
    """
    maybe_buffered_partd barrier _shuffle_group _shuffle_transfer shuffle_transfer p2p_barrier
    merge_transfer rechunk_transfer partition _partition
    """.split()
)
_KNOWN_KINDS = frozenset("Task List Tuple Set Dict P2PBarrierTask CallSpec".split())
_SHUFFLE_OUTPUTS = frozenset("collect shuffle_unpack merge_unpack rechunk_unpack".split())
_SHUFFLE_MODULES = (
    "dask.dataframe.dask_expr._shuffle",
    "dask.dataframe.dask_expr._merge",
    "dask.dataframe.shuffle",
    "dask.bag.core",
    "distributed.shuffle",
    "partd",
)


@functools.cache
def environment_salt() -> str:
    """Versions of Python and of the libraries whose methods tasks call without naming them."""
    versions = [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    for name in _SALT_PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} none")
    return "; ".join(versions)


@dataclass(slots=True)
class TaskFacts:
    """What is known about one node before anything runs."""

    name: str
    fp: str | None = None
    # Why there is no fingerprint, first reason first.
    opaque: list[str] = field(default_factory=list)
    # Literals that take part, function first.
    literals: tuple[Literal, ...] = ()
    n_refs: int = 0
    # Digests of the arguments: with the fingerprints of the inputs, and with their positions only.
    scalars: str = ""
    stem: str | None = None
    is_user: bool = False
    is_suspect: bool = False
    is_interior: bool = False
    is_shuffle_output: bool = False
    # Why it must always run.
    writer: str | None = None
    # Tasks that this result stands on, itself included, whose values their fingerprints do not
    # determine: draws, and readers of files that only running showed.
    draws: frozenset[str] = frozenset()
    # A name through which it opens files natively.
    reads_natively: str | None = None
    # Its result is in the memory of the cluster under this very key.
    is_live: bool = False
    # Could it change what it is given, where others have that, too?
    may_change: bool = False

    @property
    def marks(self) -> list[str]:
        """Marks of nondeterminism."""
        return [mark for literal in self.literals for mark in literal.marks]

    @property
    def files(self) -> dict[str, str]:
        """Files that literals name, with their digests."""
        return {path: found for literal in self.literals for path, found in literal.files.items()}

    @property
    def folders(self) -> list[str]:
        """Folders that the user's code names."""
        return sorted({path for literal in self.literals for path in literal.folders})


@dataclass(slots=True)
class _Function:
    """What is known of a function, whatever it is given."""

    func: Any
    literal: Literal
    is_library: bool
    is_interior: bool
    is_shuffle_output: bool


class Fingerprinter:
    """Fingerprints of one graph; a fresh one for every graph, because objects change.

    `known` gives what futures hold.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        salt: str = "",
        known: Callable[[Key], tuple[str | None, frozenset[str]]] | None = None,
        live: Callable[[Key], bool] | None = None,
        is_value: Callable[[Key], bool] | None = None,
        occurrences: dict[str, dict[Any, int]] | None = None,
        observed: Callable[[list[str]], Collection[str]] | None = None,
        spec: Any = None,
        is_among_others: bool = False,
        is_elsewhere: bool = False,
        is_changed: Callable[[Key], bool] | None = None,
    ) -> None:
        kinds = spec if spec is not None else importlib.import_module("dask._task_spec")
        self.graph = graph
        self.known = known or (lambda key: (None, frozenset()))
        # Keys that the cluster already holds: whatever their task says now, that result will be
        # taken.
        self.live = live or (lambda key: False)
        # Futures of values that were put on the cluster as they are: no task, nothing to look up.
        self.is_value = is_value or (lambda key: False)
        # Suspect tasks that look the same are told apart by the order in which they were asked for.
        self.occurrences = occurrences if occurrences is not None else {}
        # Of these fingerprints, those whose results depend on more than the fingerprint covers, as
        # records say.
        self.observed = observed or (lambda fps: ())
        # Workers that are threads of this process, and go on while the user's code does: what their tasks are given
        # and give, others can change at any time.
        self.is_among_others = is_among_others
        # Relative paths mean other files where it runs.
        self.is_elsewhere = is_elsewhere
        # Futures that hold what a task has changed in place.
        self.is_changed = is_changed or (lambda key: False)
        self.context = TaskContext()
        # `spec`: the kinds of graph nodes, Dask's or others that look like them.
        self.encoder = _native.Encoder(
            kinds,
            graph.tokens,
            f"{environment_salt()}; {salt}; {surroundings.settings()}",
            _is_library_function,
        )
        self.functions: dict[int, _Function] = {}
        self.names: dict[Any, str] = {}
        self.by_id: dict[tuple[int, ...], Literal] = {}
        # Keeps what `by_id` names alive, so that no address is used twice.
        self.kept: list[Any] = []
        self.facts: list[TaskFacts] = []
        # Tasks whose keys the cluster holds for another task: Dask gives that one's result.
        self.collisions: list[str] = []

    def run(self) -> list[TaskFacts]:
        """Facts of every node, in the order of `graph.nodes`."""
        append, live = self.facts.append, self.live
        for node in self.graph.nodes:
            facts = self._facts_of(node)
            if node.owner is None and node.kind != "external" and live(node.key):
                known, _ = self.known(node.key)
                if known is None or known != facts.fp:
                    if known is not None and facts.fp is not None:
                        self.collisions.append(facts.name)
                    facts.fp = None
                    facts.opaque.insert(
                        0, f"{facts.name} has a result on the cluster that another task made"
                    )
                else:
                    facts.is_live = True
            node.fp = facts.fp
            append(facts)
        self._find_draws()
        return self.facts

    def _find_draws(self) -> None:
        """What every result stands on besides what fingerprints cover."""
        facts = self.facts
        users = [one.fp for one in facts if one.is_user and one.fp is not None]
        observed = self.observed(users) if users else ()
        for node in self.graph.nodes:
            fact = facts[node.idx]
            if fact.is_live:
                fact.draws = self.known(node.key)[1]
            elif node.target is not None:
                fact.draws = facts[node.target.idx].draws
            elif node.kind == "task":
                draws = fact.draws
                for source in node.refs.values():
                    upstream = facts[source.idx].draws
                    if upstream:
                        draws = draws | upstream
                if fact.fp is not None and (
                    fact.is_suspect or fact.reads_natively or (fact.is_user and fact.fp in observed)
                ):
                    draws = draws | {fact.fp}
                fact.draws = draws

    # -- one node

    def _facts_of(self, node: Node) -> TaskFacts:
        if node.kind == "task":
            return self._task(node)
        if node.kind == "external":
            fp, draws = self.known(node.key)
            # A future holds one certain result: what is built on it stands on that one.
            name = self._name(node.key, None).removeprefix(LOADED)
            facts = TaskFacts(name=name, fp=fp, draws=draws)
            if fp is not None and not self.is_value(node.key):
                facts.draws = draws | {fp}
            if fp is None:
                facts.opaque.append(
                    "what a task gave was changed in place by another one"
                    if self.is_changed(node.key)
                    else "depends on a future whose task is not known"
                )
            return facts
        if node.target is not None:
            source = self.facts[node.target.idx]
            name = self._name(node.key, None) if node.kind == "fused" else source.name
            return TaskFacts(name=name, fp=source.fp, opaque=source.opaque, writer=source.writer)
        facts = TaskFacts(name="data")
        encoded, stem, literals, fp = self.encoder.data(node.spec.value)
        self._close(facts, (encoded, stem, fp), literals, None)
        return facts

    def _name(self, key: Key, func: Any) -> str:
        """`key_name`, remembered: keys of one collection differ only in their indices."""
        text = key[0] if type(key) is tuple and key else key
        known = self.names.get(text)
        if known is None:
            known = self.names[text] = key_name(key, None)
        if func is not None and (known in {"Other", "data"} or "blockwise" in known):
            return key_name(key, func)
        return known

    def _function(self, func: Any) -> _Function:
        known = self.functions.get(id(func))
        if known is None:
            module = getattr(func, "__module__", None) or type(func).__module__
            is_interior = is_shuffle_output = False
            if module.startswith(_SHUFFLE_MODULES):
                name = getattr(func, "__name__", type(func).__name__)
                where = getattr(func, "__qualname__", name)
                is_interior = (
                    name in _INTERIOR and not where.startswith("TaskShuffle")
                ) or module.startswith("partd")
                is_shuffle_output = name in _SHUFFLE_OUTPUTS
            known = self.functions[id(func)] = _Function(
                func,
                self._literal((remote.without_place(func),)),
                is_library_module(module),
                is_interior,
                is_shuffle_output,
            )
        return known

    def _task(self, node: Node) -> TaskFacts:
        spec = node.spec
        container = is_container(spec)
        function = None if container else self._function(spec.func)
        facts = TaskFacts(name=self._name(node.key, spec.func), n_refs=len(node.refs))
        if type(spec).__name__ not in _KNOWN_KINDS:
            facts.opaque.append(f"a task of the unknown kind {type(spec).__name__}")
        func = function.literal if function is not None else None
        encoded, stem, literals, fp = self.encoder.task(
            spec,
            node.refs,
            function is not None and function.is_library,
            func.fp if func is not None else None,
        )
        if not container:
            literals += self._beside_arguments(spec, function)
            facts.may_change = _may_change(node, function, bool(literals))
        if hasattr(spec, "spec"):
            rest = {name: value for name, value in vars(spec.spec).items() if name != "id"}
            literals.append((type(spec.spec), rest))
        if function is not None:
            facts.is_interior = function.is_interior
            facts.is_shuffle_output = function.is_shuffle_output
        facts.is_interior = facts.is_interior or facts.name in {"partd", "zpartd"}
        self._close(facts, (encoded, stem, fp), literals, func, spec, self._code_given(node))
        if self.is_among_others and (facts.is_user or facts.may_change):
            facts.fp = None
            facts.opaque.append("runs on a worker that is a thread of this process")
        for source in node.refs.values():
            upstream = self.facts[source.idx]
            if upstream.fp is None:
                facts.fp = None
                if not facts.opaque:
                    facts.opaque.append(
                        f"follows {upstream.name}: "
                        f"{upstream.opaque[0] if upstream.opaque else 'opaque'}"
                    )
        if facts.is_suspect and facts.fp is not None:
            facts.fp = self._occurrence(facts.fp, node)
        return facts

    def _code_given(self, node: Node) -> tuple[Literal, ...]:
        """Code of the user's that a task gets as it gets results: it is the one that calls it."""
        sources = [source.resolved() for source in node.refs.values()]
        return tuple(
            literal
            for source in sources
            if source.kind == "data"
            for literal in self.facts[source.idx].literals
            if literal.is_user
        )

    def _beside_arguments(self, spec: Any, function: _Function | None) -> list[Any]:
        """What a function can see of its arguments besides their values."""
        found: list[Any] = []
        if function is not None and (not function.is_library or spec.func is dict):
            names = list(spec.kwargs)
            if names != sorted(names):
                found.append(Fact("order of keywords", tuple(names)))
            if function.literal.scopes:
                values = (*spec.args, *spec.kwargs.values())
                idents = {
                    ident
                    for text in values
                    if type(text) is str
                    for ident in IDENTIFIER.findall(text)
                }
                found += named_in(idents, function.literal.scopes)
        return found

    def _occurrence(self, fp: str, node: Node) -> str:
        seen = self.occurrences.setdefault(fp, {})
        owner: Node | None = node
        path: list[Key] = []
        while owner is not None:
            path.append(owner.key)
            if key_tokens([owner.key]):
                # Inside a fused task some keys are only names of arguments; those with a token say
                # which task it is.
                break
            owner = owner.owner
        ordinal = seen.setdefault(tuple(path), len(seen))
        return fp if ordinal == 0 else digest(("occurrence", fp, ordinal))

    def _close(
        self,
        facts: TaskFacts,
        code: tuple[Any, ...],
        literals: list[Any],
        func: Literal | None,
        spec: Any = None,
        given: tuple[Literal, ...] = (),
    ) -> None:
        """Turn what was encoded into a fingerprint, and take over what the literals say.

        `code`: digest, stem, and the fingerprint if the encoder knew it; `given`: what else it may call.
        """
        found: tuple[Literal, ...] = (func,) if func is not None else ()
        if literals:
            by_user = func is not None and func.is_user
            found = (*found, self._literal(tuple(literals), by_user=by_user))
            if func is not None and (func.is_reader or func.reads_natively):
                urls = list(filter(remote.is_url, remote.texts_in(literals)))
                if urls:
                    options = remote.options_of(spec) if spec is not None else None
                    known = set(remote.texts_in(options))
                    urls = [url for url in urls if url not in known]
                    found = (*found, self.context.remote_texts(urls, options))
            if spec is not None and (parts := remote.parts_of(spec.func, literals)) is not None:
                found = (*found, self.context.remote_parts(*parts))
        facts.literals = found = (*found, *given)
        for literal in found:
            if literal.opaque:
                facts.opaque.extend(literal.opaque)
            facts.is_user = facts.is_user or literal.is_user
            facts.is_suspect = facts.is_suspect or literal.is_suspect
            if literal.is_reader and facts.n_refs:
                # Which file it reads is computed: watched and checked like user code.
                facts.is_user = True
            if facts.is_user:
                facts.reads_natively = facts.reads_natively or literal.reads_natively
            facts.writer = facts.writer or literal.writer
            if self.is_elsewhere and not all(map(os.path.isabs, literal.files)):
                facts.opaque.append(
                    "it names a file by a relative path, and the workers have another working directory"
                )
        if facts.opaque:
            return
        encoded, facts.stem, fp = code
        facts.scalars = encoded
        if fp is None or literals or given:
            fp = self.encoder.combine(encoded, [literal.fp or "" for literal in found])
        facts.fp = fp

    def stem_of(self, facts: TaskFacts) -> str | None:
        """What the task does, whatever it is given; None when that cannot be told apart."""
        if facts.stem is None or facts.fp is None:
            return None
        return self.encoder.combine(
            f"stem {facts.stem}", [literal.fp or "" for literal in facts.literals]
        )

    # -- arguments

    def _literal(self, objects: tuple[Any, ...], *, by_user: bool = False) -> Literal:
        """Facts of objects walked together (they may share parts), remembered within this graph."""
        key = (by_user, *map(id, objects))
        known = self.by_id.get(key)
        if known is None:
            known = self.by_id[key] = self.context.literal(
                objects[0] if len(objects) == 1 else objects, by_user=by_user
            )
            self.kept.append(objects)
        return known

    def changed_literals(self, nodes: Iterable[Node]) -> set[int]:
        """After a run of these nodes in this process: literals (by id of the `Literal`) that it changed."""
        given = {id(literal) for node in nodes for literal in self.facts[node.idx].literals}
        return {
            id(literal)
            for literal in self.by_id.values()
            if id(literal) in given
            and literal.is_mutable
            and literal.fp is not None
            and self.context.has_changed(literal)
        }

    def given_away(self, values: list[Any]) -> list[int]:
        """After a run in this process: positions of results that share mutable parts with others, or with what
        tasks were given or refer to.
        """
        held = [literal.obj for literal in self.by_id.values() if literal.is_mutable]
        _, groups, _ = SharingContext(follow_globals=True).walk_namespace([*values, held])
        return sorted(
            {at for group in groups if len(group) > 1 for at in group if at < len(values)}
        )


def _may_change(node: Node, function: _Function | None, has_literals: bool) -> bool:
    """Could a call change what it is given? Libraries' own graphs do not; methods and what the user calls may."""
    if function is None:
        return False
    func = function.func
    if type(func).__name__ == "methodcaller":
        return any(source.kind == "data" for source in node.refs.values())
    owner = getattr(func, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType | type):
        return True
    module = getattr(func, "__module__", None) or type(func).__module__
    is_engines = module.partition(".")[0] in {"dask", "distributed", "toolz", "tlz", "cytoolz"}
    return has_literals and not is_engines


_CONTAINERS = frozenset({"List", "Tuple", "Set", "Dict"})


def _is_library_function(func: Any) -> bool:
    return is_library_module(getattr(func, "__module__", None) or type(func).__module__)


def is_container(spec: Any) -> bool:
    """True for List, Tuple, Set and Dict nodes, whose function is always the same."""
    kind = type(spec)
    return kind.__name__ in _CONTAINERS and kind.__module__ == "dask._task_spec"


def key_name(key: Key, func: Any) -> str:
    """The name of a task for people: its key without tokens, or the name of its function."""
    if isinstance(key, TaskName):
        return key.name
    from dask.utils import funcname, key_split

    text = key_split(key) if key is not None else "Other"
    if func is not None and (text in {"Other", "data"} or "blockwise" in text):
        text = funcname(func)
    return text
