"""The plan: from the requested outputs down, load what is stored, execute the rest.

What is above a hit is neither executed nor loaded.

`decide` says for every node what happens to it; `emit` writes the Dask graph that does so.
Requested keys stay as they are. Tasks that run keep their keys unless what they depend on has
changed its name, so that the scheduler never sees two meanings of one key.
"""

from __future__ import annotations

import copy
import os
import pickle
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import cloudpickle

from nbrewind.hush import hushed
from nbrewind.tasks import given, worker
from nbrewind.tasks.components import notes, own_components, shared_components
from nbrewind.tasks.content import Literal, digest, file_signatures
from nbrewind.tasks.fingerprint import LOADED, TaskFacts
from nbrewind.tasks.graph import Graph, Key, Node, references
from nbrewind.tasks.sharing import Effects, Sharing, is_coroutine, users

# Why a task runs whose stored result cannot be read.
DAMAGED = "its stored result is damaged"
# And one that the workers would not compute.
OTHER_CODE = "the workers hold other code under the same name"


@dataclass(slots=True)
class Decision:
    """What happens to one node: load, execute, leave (it is there already), or none."""

    action: str = "none"
    why: str = ""
    value: dict[str, Any] | None = None
    # always, cheap, or None: is the result stored?
    keep: str | None = None


@dataclass(slots=True)
class Plan:
    """Decisions by node index, and the graph that carries them out."""

    graph: Graph
    facts: list[TaskFacts]
    decisions: list[Decision]
    dsk: dict[Key, Any] = field(default_factory=dict)
    # Node keys -> keys in `dsk`, where they differ.
    renamed: dict[Key, Key] = field(default_factory=dict)
    # What a task does, whatever it is given (None: no such thing), and whether that was seen before.
    stem_of: Callable[[TaskFacts], str | None] = lambda fact: None
    is_known_stem: Callable[[str], bool] = lambda stem: False
    sharing: Sharing | None = None
    effects: Effects = field(default_factory=Effects)

    def nodes(self, action: str) -> list[Node]:
        """The tasks (not aliases, literals or fused shells) to which this happens."""
        return [
            node
            for node in self.graph.nodes
            if node.kind == "task" and self.decisions[node.idx].action == action
        ]


# Facts of one node -> (stored value, None) or (None, why it has to run).
LookUp = Callable[[TaskFacts], "tuple[dict[str, Any] | None, str]"]


class Writers(Protocol):
    """What records say of tasks that change something outside, by fingerprint."""

    def reason(self, fp: str) -> str | None:
        """What the task changes; None: nothing."""

    def may_be_known(self, fp: str) -> bool:
        """Was it never uncertain what the task left behind?"""

    def as_left(self, fps: set[str]) -> set[str]:
        """Those of which all that they wrote is still as they left it."""


# Names that write where no watch sees what: databases, other machines, stores of many files, mapped memory.
_WRITES_UNSEEN = frozenset(
    """
    to_hdf to_zarr to_netcdf to_delta to_sql memmap executemany executescript put_object upload_file
    """.split()
)


def decide(
    graph: Graph,
    facts: list[TaskFacts],
    look_up: LookUp,
    writers: Writers,
    *,
    replay: bool,
    effects: Effects | None = None,
) -> list[Decision]:
    """What happens to every node."""
    effects = effects or Effects()
    decisions = [Decision() for _ in graph.nodes]
    follows_writer = _follow_writers(graph, facts, writers, replay=replay)
    for idx, why in effects.reached.items():
        follows_writer[idx] = follows_writer[idx] or why
    outputs = {node.resolved().idx for node in graph.outputs.values()}
    pending = list(graph.outputs.values())
    while pending:
        node = pending.pop()
        decision = decisions[node.idx]
        if decision.action != "none":
            continue
        if node.kind == "external" or facts[node.idx].is_live:
            decision.action = "leave"
            continue
        if node.target is not None:
            decision.action = "execute"
            pending.append(node.target)
            continue
        decision.action = "execute"
        if node.kind == "data":
            continue
        fact = facts[node.idx]
        if follows_writer[node.idx]:
            decision.why = follows_writer[node.idx] or ""
        elif fact.fp is None:
            decision.why = f"opaque: {fact.opaque[0]}" if fact.opaque else "opaque"
        elif fact.is_interior:
            decision.why = "inside a shuffle"
        elif replay and node.idx in effects.unsure:
            decision.why = effects.unsure[node.idx]
        elif replay:
            decision.value, decision.why = look_up(fact)
            if decision.value is not None:
                decision.action = "load"
                continue
        else:
            decision.why = "audit executes everything"
        pending.extend(node.refs.values())
    keeper = _Keeper(facts, outputs)
    unknowable = _unknowable(graph, facts, writers, follows_writer) | effects.reached.keys()
    for node in graph.nodes:
        decision = decisions[node.idx]
        if decision.action != "execute":
            continue
        fact = facts[node.idx]
        if (
            node.kind == "task"
            or (node.kind == "data" and node.owner is None and node.idx in outputs)
        ) and (fact.fp and not fact.is_interior and node.idx not in unknowable):
            decision.keep = keeper.keep(node)
    return decisions


def _unknowable(
    graph: Graph, facts: list[TaskFacts], writers: Writers, follows_writer: list[str | None]
) -> set[int]:
    """Nodes whose results are of no use, because it will never turn out what they, or some before them, wrote."""
    found: set[int] = set()
    for node in graph.nodes:
        why = follows_writer[node.idx]
        if why is None:
            continue
        before = [node.target] if node.target is not None else node.refs.values()
        is_writer = why.startswith("writer") and node.target is None
        if any(source.idx in found for source in before) or (
            is_writer and not _may_be_known(facts[node.idx], writers)
        ):
            found.add(node.idx)
    return found


def _may_be_known(fact: TaskFacts, writers: Writers) -> bool:
    """May it turn out, when this writer runs, what it wrote?"""
    if fact.fp is None or not fact.is_user:
        return False
    # One that binds a global is told by a sentence, not by a name.
    is_seen = fact.writer is None or (
        fact.writer.isidentifier() and fact.writer not in _WRITES_UNSEEN
    )
    return is_seen and writers.may_be_known(fact.fp)


def _follow_writers(
    graph: Graph, facts: list[TaskFacts], writers: Writers, *, replay: bool
) -> list[str | None]:
    """Per node: why it must run because it, or something before it, changes the outside."""
    found: list[str | None] = [None] * len(graph.nodes)
    written: dict[int, str] = {}
    for node in graph.nodes:
        if node.kind == "task":
            fact = facts[node.idx]
            why = fact.writer or (
                writers.reason(fact.fp)
                if fact.fp is not None and (fact.is_user or fact.may_change)
                else None
            )
            if why:
                written[node.idx] = f"writer: {why}"
    known: set[str] = set()
    if replay and written:
        # Also those that may be pruned: a task whose files are gone runs, and so does what follows it.
        known = writers.as_left({fp for idx in written if (fp := facts[idx].fp) is not None})
    has_writers = False
    for node in graph.nodes:
        if node.idx in written and facts[node.idx].fp not in known:
            found[node.idx] = written[node.idx]
            has_writers = True
            continue
        if not has_writers:
            continue
        if node.target is not None:
            found[node.idx] = found[node.target.idx]
            continue
        before = [why for source in node.refs.values() if (why := found[source.idx])]
        if before:
            writer = next((why for why in before if why.startswith("writer")), None)
            found[node.idx] = f"follows a {writer}" if writer else before[0]
    return found


class _Keeper:
    """Which results are stored.

    Always: what was asked for, what user code computes and what it is given, draws, and what comes
    out of a shuffle. When that is cheaper than computing: what a task gets that combines several.
    """

    def __init__(self, facts: list[TaskFacts], outputs: set[int]) -> None:
        self.facts = facts
        self.outputs = outputs
        self.coroutines: dict[int, bool] = {}
        self.combining: dict[int, bool] = {}

    def keep(self, node: Node) -> str | None:
        """always, cheap, or None."""
        if node.kind == "task" and self.is_coroutine(node.spec.func):
            return None
        fact = self.facts[node.idx]
        if node.idx in self.outputs or fact.is_user or fact.is_suspect or fact.is_shuffle_output:
            return "always"
        found = users(node)
        if any(self.facts[user.idx].is_user for user in found):
            return "always"
        return "cheap" if any(self.combines(user) for user in found) else None

    def is_coroutine(self, func: Any) -> bool:
        """What it gives can only be awaited on its worker."""
        found = self.coroutines.get(id(func))
        if found is None:
            found = self.coroutines[id(func)] = is_coroutine(func)
        return found

    def combines(self, node: Node) -> bool:
        """Does it make one of several results?"""
        found = self.combining.get(node.idx)
        if found is None:
            found = self.combining[node.idx] = len(node.refs) >= 3 or (
                len(node.refs) >= 2
                and any(
                    not _is_plain(value) and len(references(value)) >= 2
                    for value in (*node.spec.args, *node.spec.kwargs.values())
                )
            )
        return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | type(None)) or not hasattr(value, "dependencies")


# --- The graph that carries a plan out -----------------------------------------------------------


@dataclass(slots=True)
class _Shared:
    """What tasks with the same function and literals say alike."""

    literals: tuple[Literal, ...]
    components: dict[str, str]
    notes: dict[str, dict[str, str]]
    marks: list[str]
    files: dict[str, Any] | None
    remotes: list[tuple[Any, str, str]]
    by_name: list[tuple[str, str, str]]
    absent: list[str]
    folders: list[str]


class _Emitter:
    def __init__(
        self,
        plan: Plan,
        store: str,
        *,
        is_sent: bool,
        is_shown: bool,
        is_here: bool,
        is_among_others: bool,
        distrust: str | None,
    ) -> None:
        from dask import _task_spec

        self.t = _task_spec
        self.plan = plan
        self.store = store
        # Is the graph on its way to other processes while the user's code goes on?
        self.is_sent = is_sent
        # And do they print where the notebook shows it?
        self.is_shown = is_shown
        self.cwd = os.getcwd()
        self.out: dict[Key, Any] = {}
        self.names: dict[int, Key] = {}
        self.known_files: dict[str, tuple[str, Any] | None] = {}
        self.shared: dict[tuple[int, ...], _Shared] = {}
        # Why nothing is kept that other processes give.
        self.distrust = distrust
        # Do names have the very objects that its tasks are given and give, while it runs?
        self.is_among_others = is_among_others
        # Does it run in this process? Elsewhere, code that is sent by its name may be another one.
        self.codes = _Codes(plan) if not is_here else None

    def run(self) -> dict[Key, Any]:
        for node in self.plan.graph.nodes:
            # Topological order: what a node depends on has its name already.
            if node.owner is None and self.plan.decisions[node.idx].action in {"execute", "load"}:
                self.emit(node)
        return self.out

    def name_of(self, node: Node) -> Key:
        return self.names.get(node.idx, node.key)

    def call(self, key: Key, node: Node, refs: dict[Key, Key]) -> Any:
        """The task wrapped so that its result is stored; `refs`: names in the task -> names in the graph."""
        plan = self.plan
        fact = plan.facts[node.idx]
        decision = plan.decisions[node.idx]
        shared = self.shared_of(fact)
        if shared.files is None:
            decision.keep = None
            return None
        assert fact.fp is not None
        stem = None
        if refs and not (
            fact.is_suspect
            or fact.is_shuffle_output
            or fact.reads_natively
            or fact.writer
            or shared.marks
        ):
            stem = plan.stem_of(fact)
        draws = fact.draws
        sharing = plan.sharing
        call = worker.Call(
            self.store,
            fact.fp,
            fact.name,
            self.own(node),
            list(refs),
            keep=decision.keep or "always",
            files=shared.files,
            components=own_components(fact, node, plan.facts),
            marks=shared.marks,
            draws=sorted(draws - {fact.fp}) if draws else [],
            cwd=self.cwd,
            reads_natively=fact.reads_natively,
            is_trusted=fact.is_shuffle_output,
            shared=shared.components,
            notes=shared.notes,
            stem=stem,
            may_equal=stem is not None and plan.is_known_stem(stem),
            is_repair=decision.why == DAMAGED,
            # The user's own code may ask others than those that it is given.
            remotes=[] if fact.is_user else shared.remotes,
            is_suspect=fact.is_suspect,
            shows=fact.is_user and not self.is_sent,
            shows_away=fact.is_user and self.is_shown,
            distrust=self.distrust,
            writes=fact.writer,
            by_name=shared.by_name,
            absent=shared.absent,
            folders=shared.folders,
            givers=sharing.givers(node) if sharing is not None and refs else None,
            scopes=list(sharing.scopes) if sharing is not None else None,
            as_made=self.as_made(node) if self.is_among_others else None,
        )
        values = (self.t.TaskRef(name) for name in refs.values())
        return self.t.Task(key, worker.run, call, *values, _data_producer=node.spec.data_producer)

    def as_made(self, node: Node) -> list[str | None]:
        """Whose results a task is given that somebody may have changed by then; None: nobody has got it."""
        sharing = self.plan.sharing
        return [
            self.plan.facts[source.idx].fp
            if sharing is None or sharing.is_outside(source)
            else None
            for source in node.refs.values()
        ]

    def look(self, key: Key, node: Node, refs: dict[Key, Key]) -> Any:
        """The task wrapped so that it shows when it changes what others see; None: it need not be."""
        sharing = self.plan.sharing
        fact = self.plan.facts[node.idx]
        is_known = node.idx in self.plan.effects.reached
        givers = sharing.givers(node) if sharing is not None and not is_known else None
        if not givers or not any(giver.is_shared for giver in givers):
            return None
        if is_coroutine(node.spec.func):
            # Nobody sees it run.
            shared = [giver for giver in givers if giver.is_shared]
            given.note(worker.open_store(self.store), fact.fp or "", fact.name, shared)
            return None
        task = worker.Look(self.store, fact.name, self.own(node), list(refs), givers)
        values = (self.t.TaskRef(name) for name in refs.values())
        return self.t.Task(key, worker.look, task, *values, _data_producer=node.spec.data_producer)

    def shared_of(self, fact: TaskFacts) -> _Shared:
        """Worked out once for all tasks with these literals."""
        key = tuple(map(id, fact.literals))
        found = self.shared.get(key)
        if found is None:
            found = self.shared[key] = _Shared(
                fact.literals,
                shared_components(fact),
                notes(fact),
                fact.marks,
                self.signatures(fact.files),
                [one for literal in fact.literals for one in literal.remotes],
                [one for literal in fact.literals for one in literal.by_name],
                [name for literal in fact.literals for name in literal.absent],
                fact.folders,
            )
        return found

    def own(self, node: Node) -> Any:
        """The node's spec, with a copy of what the user's code could change before it is sent."""
        fact = self.plan.facts[node.idx]
        if not self.is_sent or not any(literal.is_mutable for literal in fact.literals):
            return node.spec
        spec = copy.copy(node.spec)
        if node.kind == "data":
            spec.value = settled(spec.value)
        else:
            spec.args = tuple(map(settled, spec.args))
            spec.kwargs = {name: settled(value) for name, value in spec.kwargs.items()}
        return spec

    def signatures(self, files: dict[str, str]) -> dict[str, Any] | None:
        for path, found in files.items():
            if path not in self.known_files:
                now = file_signatures({path: found})
                self.known_files[path] = None if now is None else (found, now[path])
        known = {path: self.known_files[path] for path in files}
        if any(one is None or one[0] != files[path] for path, one in known.items()):
            return None
        return {path: one[1] for path, one in known.items() if one is not None}

    def load(self, key: Key, node: Node) -> Any:
        fact = self.plan.facts[node.idx]
        value = self.plan.decisions[node.idx].value
        assert value is not None and fact.fp is not None
        by_name, absent = self.codes.of(node) if self.codes is not None else ([], [])
        stored = worker.Stored(
            self.store, fact.fp, fact.name, value, by_name=by_name, absent=absent
        )
        return self.t.Task(key, worker.load, stored)

    def emit(self, node: Node) -> None:
        plan = self.plan
        decision = plan.decisions[node.idx]
        is_output = node.key in plan.graph.outputs
        fact = plan.facts[node.idx]
        if decision.action == "load":
            self.put_load(node, node, is_output)
            return
        if node.kind == "data":
            self.out[node.key] = (
                self.call(node.key, node, {}) if decision.keep else None
            ) or self.own(node)
            return
        if node.kind == "alias":
            assert node.target is not None
            target = self.name_of(node.target)
            key = self.rename(node, {target}, is_output)
            self.out[key] = self.t.Alias(key, target)
            return
        if node.kind == "fused":
            source = node.resolved()
            if plan.decisions[source.idx].action == "load" and source.owner is not None:
                self.put_load(node, source, is_output)
                return
            inner, bound = self.inside(node)
            outer = {name: self.name_of(source) for name, source in bound.items()}
            key = self.rename(node, set(outer.values()), is_output)
            self.out[key] = self.fused(key, node, inner, outer)
            return
        refs = {name: self.name_of(source) for name, source in node.refs.items()}
        key = self.rename(
            node, set(refs.values()), is_output or fact.is_interior or fact.is_shuffle_output
        )
        spec = self.call(key, node, refs) if decision.keep else None
        if spec is None:
            spec = self.look(key, node, refs)
        if spec is None:
            subs = {name: new for name, new in refs.items() if name != new}
            own = self.own(node)
            spec = own.substitute(subs, key=key) if subs or key != node.key else own
        self.out[key] = spec

    def put_load(self, node: Node, source: Node, is_output: bool) -> None:
        fact = self.plan.facts[source.idx]
        # Tasks that are alike give objects of their own, which may be changed in place.
        tail = digest((fact.fp, repr(node.key)))[:32]
        key = node.key if is_output else f"{LOADED}{fact.name}-{tail}"
        self.names[node.idx] = key
        self.out[key] = self.load(key, source)

    def rename(self, node: Node, refs: set[Key], is_fixed: bool) -> Key:
        """The key of a node: its own, unless the plan changed what it depends on."""
        if is_fixed or refs == node.spec.dependencies:
            return node.key
        tail = digest(tuple(sorted(map(repr, (node.key, *refs)))))[:32]
        fact = self.plan.facts[node.idx]
        name = f"{fact.name}-{tail}"
        key = (name, *node.key[1:]) if isinstance(node.key, tuple) and len(node.key) > 1 else name
        self.names[node.idx] = key
        return key

    def inside(self, node: Node) -> tuple[dict[Key, Any], dict[Key, Node]]:
        """What is left inside a fused task, and the names that are bound from outside."""
        inner: dict[Key, Any] = {}
        bound: dict[Key, Node] = {}
        for name, part in node.inner.items():
            decision = self.plan.decisions[part.idx]
            if decision.action == "load":
                inner[name] = self.load(name, part)
                continue
            if decision.action != "execute":
                continue
            spec: Any = None
            if part.kind == "fused":
                source = part.resolved()
                if self.plan.decisions[source.idx].action == "load" and source.owner is part:
                    inner[name] = self.load(name, source)
                    continue
                deeper, needs = self.inside(part)
                by_node = {id(source): ref for ref, source in part.refs.items()}
                names = {ref: by_node[id(source)] for ref, source in needs.items()}
                spec = self.fused(name, part, deeper, names)
                used = {ref: part.refs[ref] for ref in names.values()}
            else:
                used = part.refs
                if decision.keep:
                    spec = self.call(name, part, {ref: ref for ref in used})
                if spec is None:
                    spec = self.look(name, part, {ref: ref for ref in used})
                if spec is None:
                    spec = self.own(part)
            inner[name] = spec
            bound.update({ref: source for ref, source in used.items() if source.owner is not node})
        if node.target is not None and node.outkey not in inner and node.target.owner is not node:
            bound[node.outkey] = node.target
        return inner, bound

    def fused(self, key: Key, node: Node, inner: dict[Key, Any], outer: dict[Key, Key]) -> Any:
        t = self.t
        names = tuple(outer)
        values = (t.TaskRef(outer[name]) for name in names)
        is_producer = node.spec.data_producer
        return t.Task(
            key, t._execute_subgraph, inner, node.outkey, names, *values, _data_producer=is_producer
        )


class _Codes:
    """The code by name that a result was computed with: its task's own, and that of all tasks that it follows."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        # Literals, by id -> which of `told` is theirs.
        self.literals: dict[int, int] = {}
        self.told: dict[Any, int] = {}
        for fact in plan.facts:
            for literal in fact.literals:
                if (literal.by_name or literal.absent) and id(literal) not in self.literals:
                    names = (tuple(literal.by_name), tuple(literal.absent))
                    self.literals[id(literal)] = self.told.setdefault(names, len(self.told))
        # By index of a node, which of `told` count.
        self.found: list[frozenset[int]] | None = None
        self.lists: dict[frozenset[int], tuple[list[tuple[str, str, str]], list[str]]] = {}

    def of(self, node: Node) -> tuple[list[tuple[str, str, str]], list[str]]:
        if not self.literals:
            return [], []
        if self.found is None:
            self.found = self._find()
        key = self.found[node.idx]
        known = self.lists.get(key)
        if known is None:
            told = [names for names, at in self.told.items() if at in key]
            known = self.lists[key] = (
                sorted({one for by_name, _ in told for one in by_name}),
                sorted({name for _, absent in told for name in absent}),
            )
        return known

    def _find(self) -> list[frozenset[int]]:
        found: list[frozenset[int]] = []
        for node in self.plan.graph.nodes:
            sources = [node.target] if node.target is not None else node.refs.values()
            key = frozenset(
                self.literals[id(literal)]
                for literal in self.plan.facts[node.idx].literals
                if id(literal) in self.literals
            )
            for source in sources:
                above = found[source.idx]
                if not above <= key:
                    key = key | above if key else above
            found.append(key)
        return found


def settled(value: Any) -> Any:
    """A value whose memory nobody else has: large buffers are sent as they are when their turn comes."""
    if type(value) in {list, tuple} and value:
        items = list(map(settled, value))
        is_same = all(new is old for new, old in zip(items, value, strict=True))
        return value if is_same else type(value)(items)
    if isinstance(value, _PLAIN) or hasattr(value, "dependencies"):
        return value
    buffers: list[pickle.PickleBuffer] = []
    try:
        with hushed():
            head = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        if not buffers:
            return value
        views = [buffer.raw() for buffer in buffers]
        copies = [bytes(view) if view.readonly else bytearray(view) for view in views]
        return pickle.loads(head, buffers=copies)
    except Exception:  # noqa: BLE001 - the engine will say so in its own words
        return value


_PLAIN = (str, bytes, int, float, complex, type(None), type, types.FunctionType)


def emit(
    plan: Plan,
    store: str,
    *,
    is_sent: bool,
    is_shown: bool = False,
    is_here: bool = False,
    is_among_others: bool = False,
    distrust: str | None = None,
) -> None:
    """Fill in `plan.dsk` and `plan.renamed`."""
    emitter = _Emitter(
        plan,
        store,
        is_sent=is_sent,
        is_shown=is_shown,
        is_here=is_here,
        is_among_others=is_among_others,
        distrust=distrust,
    )
    plan.dsk = emitter.run()
    nodes = plan.graph.nodes
    plan.renamed = {nodes[idx].key: name for idx, name in emitter.names.items()}
