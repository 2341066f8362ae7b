"""A Dask graph as flat nodes: fused tasks opened, references resolved, nothing executed.

`Graph.nodes` holds one `Node` per task that could be cut off: those of the graph itself and,
recursively, those inside fused tasks (`_execute_subgraph`). A fused task, like an alias, only
stands for another node (`target`); both have that node's fingerprint, so that fusing a graph in
another way changes no fingerprint.

Invariants:
* `nodes` is in topological order, walked from the requested keys in the order of arguments, so it
  depends neither on hash seeds nor on the names of keys;
* a reference that is not in the graph is a node of kind `external` (a future, or a mistake of the
  caller).
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = Hashable
# Where a key means something: the graph itself, or the inside of one fused task.
Scope = dict[Key, "tuple[str, Any, Scope]"]


@dataclass(slots=True, eq=False)
class Node:
    """One task, literal, alias, fused task or external reference."""

    idx: int
    key: Key
    # task | data | alias | fused | external
    kind: str
    spec: Any
    # Keys as the spec names them -> nodes, in the order of arguments.
    refs: dict[Key, Node] = field(default_factory=dict)
    target: Node | None = None
    # The fused task that this node is inside of.
    owner: Node | None = None
    # Fused: the nodes inside, by inner key; those bound from outside are not among them.
    inner: dict[Key, Node] = field(default_factory=dict)
    outkey: Key = None
    dependents: list[Node] = field(default_factory=list)

    def resolved(self) -> Node:
        """The node whose value this one gives: aliases and fused tasks followed."""
        node = self
        while node.target is not None:
            node = node.target
        return node


@dataclass(slots=True)
class Graph:
    """Flat nodes in topological order, and the nodes of the requested keys."""

    nodes: list[Node]
    outputs: dict[Key, Node]
    # The tail of every string key: what may turn up as an identity inside an argument.
    tokens: frozenset[str]


class TaskName:
    """The key of a task that no graph names: equal to itself alone."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class UnknownGraphError(Exception):
    """The graph has a shape that this version cannot read: run it unchanged."""


def materialize(dsk: Any) -> dict[Key, Any]:
    """Any Dask expression, high level graph or dict as {key: GraphNode}."""
    from dask._task_spec import convert_legacy_graph

    graph = dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") else dsk
    converted: dict[Key, Any] = convert_legacy_graph(dict(graph))
    return converted


def key_tokens(keys: Iterable[Key]) -> frozenset[str]:
    """The tokens at the end of keys: 32 hex digits, or a UUID with dashes."""
    found = set()
    for key in keys:
        text = key[0] if isinstance(key, tuple) and key else key
        if isinstance(text, str) and len(text) >= 32:
            found.add(text[-32:])
            found.add(text[-36:])
    return frozenset(found)


def references(value: Any) -> list[Key]:
    """The keys that a graph node or one of its arguments refers to, in the order of arguments, each once."""
    found: dict[Key, None] = {}
    _collect(value, found)
    return list(found)


def _collect(value: Any, found: dict[Key, None]) -> None:
    from dask._task_spec import Alias, GraphNode, Task, TaskRef

    if isinstance(value, TaskRef):
        found.setdefault(value.key)
    elif isinstance(value, Alias):
        found.setdefault(value.target)
    elif isinstance(value, Task):
        if not value.dependencies:
            return
        for item in value.args:
            _collect(item, found)
        for name in sorted(value.kwargs):
            _collect(value.kwargs[name], found)
    elif isinstance(value, GraphNode):
        for key in value.dependencies:
            found.setdefault(key)


class _Builder:
    def __init__(self) -> None:
        from dask import _task_spec

        self.spec = _task_spec
        self.nodes: list[Node] = []
        self.externals: dict[Key, Node] = {}

    def new(self, key: Key, kind: str, spec: Any, owner: Node | None) -> Node:
        return Node(-1, key, kind, spec, owner=owner)

    def finish(self, node: Node) -> None:
        node.idx = len(self.nodes)
        self.nodes.append(node)
        for source in (*node.refs.values(), *((node.target,) if node.target is not None else ())):
            source.dependents.append(node)

    def external(self, key: Key) -> Node:
        node = self.externals.get(key)
        if node is None:
            node = self.externals[key] = self.new(key, "external", None, None)
            self.finish(node)
        return node

    def kind_of(self, spec: Any) -> str:
        t = self.spec
        if isinstance(spec, t.Alias):
            return "alias"
        if isinstance(spec, t.DataNode):
            return "data"
        if isinstance(spec, t.Task):
            return "fused" if spec.func is t._execute_subgraph else "task"
        raise UnknownGraphError(f"a graph node of type {type(spec).__name__}")

    def visit_all(
        self,
        table: Mapping[Key, Any],
        wanted: list[Key],
        bound: dict[Key, Node],
        owner: Node | None,
    ) -> dict[Key, Node]:
        """Nodes of `table` that `wanted` needs; `bound` are the names that come from outside."""
        done: dict[Key, Node] = dict(bound)
        open_keys: set[Key] = set()
        stack: list[tuple[Key, bool]] = [(key, False) for key in reversed(wanted)]
        while stack:
            key, is_ready = stack.pop()
            if key in done:
                continue
            if key not in table:
                if owner is not None:
                    raise UnknownGraphError(f"{key!r} is not inside its fused task")
                done[key] = self.external(key)
                continue
            spec = table[key]
            names = references(spec)
            if not is_ready:
                if key in open_keys:
                    raise UnknownGraphError(f"{key!r} depends on itself")
                open_keys.add(key)
                stack.append((key, True))
                stack.extend((name, False) for name in reversed(names) if name not in done)
                continue
            done[key] = self.make(key, spec, {name: done[name] for name in names}, owner)
        return {key: node for key, node in done.items() if key not in bound}

    def make(self, key: Key, spec: Any, refs: dict[Key, Node], owner: Node | None) -> Node:
        kind = self.kind_of(spec)
        node = self.new(key, kind, spec, owner)
        node.refs = refs
        if kind == "alias":
            node.target = refs[spec.target]
        elif kind == "fused":
            self.open_fused(node, refs)
        self.finish(node)
        return node

    def open_fused(self, node: Node, refs: dict[Key, Node]) -> None:
        t = self.spec
        spec = node.spec
        if spec.kwargs or len(spec.args) < 3:
            raise UnknownGraphError("a fused task with other arguments than expected")
        inner, outkey, inkeys, *values = spec.args
        inner, outkey, inkeys = (
            part.value if isinstance(part, t.DataNode) else part for part in (inner, outkey, inkeys)
        )
        if not isinstance(inner, Mapping) or len(inkeys) != len(values):
            raise UnknownGraphError("a fused task whose parts do not fit together")
        bound: dict[Key, Node] = {}
        for name, value in zip(inkeys, values, strict=True):
            if isinstance(value, t.TaskRef):
                bound[name] = refs[value.key]
            elif isinstance(value, t.Alias):
                bound[name] = refs[value.target]
            elif isinstance(value, t.GraphNode) and not isinstance(value, t.DataNode):
                raise UnknownGraphError("a fused task that is given a container of references")
            else:
                literal = value if isinstance(value, t.DataNode) else t.DataNode(None, value)
                bound[name] = self.make(name, literal, {}, node)
        # What the caller binds wins over what is inside, as in `_execute_subgraph`.
        table = {name: value for name, value in inner.items() if name not in bound}
        for name, value in table.items():
            if not isinstance(value, t.GraphNode):
                raise UnknownGraphError(f"{name!r} inside a fused task is not a graph node")
        node.outkey = outkey
        node.inner = self.visit_all(table, [outkey], bound, node)
        node.inner.update({name: source for name, source in bound.items() if source.owner is node})
        node.target = node.inner.get(outkey) or bound[outkey]


def build(dsk: Any, keys: Iterable[Key]) -> Graph:
    """The flat graph of what `keys` need. Raises `UnknownGraphError` for shapes that are not known."""
    table = materialize(dsk)
    builder = _Builder()
    wanted = list(dict.fromkeys(keys))
    limit = sys.getrecursionlimit()
    try:
        found = builder.visit_all(table, wanted, {}, None)
    except RecursionError as error:
        raise UnknownGraphError(f"fused tasks nested deeper than {limit}") from error
    return Graph(builder.nodes, {key: found[key] for key in wanted}, key_tokens(table))
