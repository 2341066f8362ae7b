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

import functools
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
    # Its fingerprint, once it is known.
    fp: str | None = None

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
    found: set[str] = set()
    seen: set[str] = set()
    for key in keys:
        text = key[0] if isinstance(key, tuple) and key else key
        if isinstance(text, str) and len(text) >= 32 and text not in seen:
            seen.add(text)
            found.add(text[-32:])
            found.add(text[-36:])
    return frozenset(found)


class _Kinds:
    """Dask's kinds of graph nodes, looked up once."""

    def __init__(self) -> None:
        from dask import _task_spec as t

        self.t = t
        self.ref, self.alias, self.data = t.TaskRef, t.Alias, t.DataNode
        self.node, self.task = t.GraphNode, t.Task

    def references(self, value: Any) -> dict[Key, None]:
        """The keys that a node or one of its arguments refers to, in the order of arguments, each once."""
        found: dict[Key, None] = {}
        self._collect(value, found)
        return found

    def _collect(self, value: Any, found: dict[Key, None]) -> None:
        if isinstance(value, self.ref):
            found.setdefault(value.key)
        elif isinstance(value, self.node):
            if isinstance(value, self.alias):
                found.setdefault(value.target)
            elif not value.dependencies:
                return
            elif isinstance(value, self.task):
                for item in value.args:
                    self._collect(item, found)
                for name in sorted(value.kwargs):
                    self._collect(value.kwargs[name], found)
            else:
                for key in value.dependencies:
                    found.setdefault(key)


@functools.cache
def kinds() -> _Kinds:
    """The kinds of Dask as it is imported."""
    return _Kinds()


def references(value: Any) -> list[Key]:
    """The keys that a graph node or one of its arguments refers to, in the order of arguments, each once."""
    return list(kinds().references(value))


class _Builder:
    def __init__(self) -> None:
        self.kinds = kinds()
        self.nodes: list[Node] = []
        self.externals: dict[Key, Node] = {}
        self.kind_by_type: dict[type, str] = {}

    def finish(self, node: Node) -> None:
        node.idx = len(self.nodes)
        self.nodes.append(node)
        for source in node.refs.values():
            source.dependents.append(node)
        if node.target is not None:
            node.target.dependents.append(node)

    def external(self, key: Key) -> Node:
        node = self.externals.get(key)
        if node is None:
            node = self.externals[key] = Node(-1, key, "external", None)
            self.finish(node)
        return node

    def kind_of(self, spec: Any) -> str:
        found = self.kind_by_type.get(type(spec))
        if found is None:
            if isinstance(spec, self.kinds.alias):
                found = "alias"
            elif isinstance(spec, self.kinds.data):
                found = "data"
            elif isinstance(spec, self.kinds.task):
                found = "task"
            else:
                raise UnknownGraphError(f"a graph node of type {type(spec).__name__}")
            self.kind_by_type[type(spec)] = found
        if found == "task" and spec.func is self.kinds.t._execute_subgraph:
            return "fused"
        return found

    def visit_all(
        self,
        table: Mapping[Key, Any],
        wanted: list[Key],
        bound: dict[Key, Node],
        owner: Node | None,
    ) -> dict[Key, Node]:
        """Nodes of `table` that `wanted` needs; `bound` are the names that come from outside."""
        done: dict[Key, Node] = dict(bound)
        # Key -> what it refers to, while that is being visited.
        pending: dict[Key, dict[Key, None]] = {}
        references = self.kinds.references
        stack: list[Key] = list(reversed(wanted))
        while stack:
            key = stack[-1]
            if key in done:
                stack.pop()
                continue
            names = pending.pop(key, None)
            if names is not None:
                stack.pop()
                done[key] = self.make(key, table[key], {name: done[name] for name in names}, owner)
                continue
            spec = table.get(key)
            if spec is None and key not in table:
                if owner is not None:
                    raise UnknownGraphError(f"{key!r} is not inside its fused task")
                stack.pop()
                done[key] = self.external(key)
                continue
            names = references(spec)
            missing = [name for name in names if name not in done]
            if not missing:
                stack.pop()
                done[key] = self.make(key, spec, {name: done[name] for name in names}, owner)
                continue
            for name in missing:
                if name in pending or name == key:
                    raise UnknownGraphError(f"{name!r} depends on itself")
            pending[key] = names
            missing.reverse()
            stack.extend(missing)
        return {key: node for key, node in done.items() if key not in bound} if bound else done

    def make(self, key: Key, spec: Any, refs: dict[Key, Node], owner: Node | None) -> Node:
        kind = self.kind_of(spec)
        node = Node(-1, key, kind, spec, refs, None, owner)
        if kind == "alias":
            node.target = refs[spec.target]
        elif kind == "fused":
            self.open_fused(node, refs)
        self.finish(node)
        return node

    def open_fused(self, node: Node, refs: dict[Key, Node]) -> None:
        t = self.kinds.t
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
