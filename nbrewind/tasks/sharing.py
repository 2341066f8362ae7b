"""Which objects several tasks of a graph see, or others besides them, and what it means that one of them is changed.

The planner's side of `given`, where the terms are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nbrewind.tasks.fingerprint import TaskFacts, is_container
from nbrewind.tasks.given import Giver, told
from nbrewind.tasks.graph import Graph, Node

# Engines' own functions leave what they are given as it is.
_ENGINES = frozenset("dask distributed toolz tlz cytoolz partd".split())
# Functions and methods of libraries that change what they are given.
_CHANGES = frozenset(
    """
    append appendleft extend extendleft insert remove pop popleft popitem clear sort reverse update add discard
    setdefault fill put place copyto fill_diagonal putmask put_along_axis shuffle resize partition itemset setflags
    setitem delitem setattr delattr __setitem__ __delitem__ __setattr__ __iadd__ iadd isub imul itruediv ifloordiv
    iand ior ixor iconcat next __next__ send read readline readlines write seek fit partial_fit fit_transform
    fit_predict set_params seed heappush heappop heapify heapreplace heappushpop insort insort_left insort_right step
    backward zero_grad load_state_dict add_edge add_node add_edges_from add_nodes_from remove_edge remove_node
    difference_update intersection_update symmetric_difference_update rotate move_to_end set_index_names writelines
    """.split()
)
# Arguments by which functions of libraries are told to.
_TOLD_TO = frozenset("inplace out overwrite_a overwrite_b overwrite_x overwrite_input".split())


def could_change(node: Node, fact: TaskFacts) -> bool:
    """Could this task change what it is given?"""
    if node.kind != "task" or not node.refs or is_container(node.spec) or fact.is_interior:
        return False
    if fact.is_user:
        return True
    func: Any = node.spec.func
    if not _TOLD_TO.isdisjoint(node.spec.kwargs):
        return True
    if type(func).__name__ == "methodcaller":
        return str(func.method) in _CHANGES
    module = getattr(func, "__module__", None) or type(func).__module__
    return module.partition(".")[0] not in _ENGINES and getattr(func, "__name__", "") in _CHANGES


def is_coroutine(func: Any) -> bool:
    """What it gives can only be awaited on its worker."""
    return inspect.iscoroutinefunction(func) or bool(getattr(func, "__tornado_coroutine__", False))


def users(node: Node) -> list[Node]:
    """The tasks that get this node's value, through aliases and fused shells."""
    if all(user.target is None for user in node.dependents):
        return node.dependents
    found: list[Node] = []
    pending = list(node.dependents)
    while pending:
        user = pending.pop()
        if user.target is not None:
            # A fused task also lists what it is given from outside; only what it stands for passes
            # on.
            if user.target.resolved() is node.resolved():
                pending.extend(user.dependents)
        else:
            found.append(user)
    return found


@dataclass(slots=True)
class Effects:
    """What changes of shared objects mean for the nodes of a graph, by index."""

    # Why it runs, and nothing of it is stored: it changes such an object, is made from one, or follows such a task.
    reached: dict[int, str] = field(default_factory=dict)
    # Objects that are changed.
    touched: set[int] = field(default_factory=set)
    # Why it runs this once: whether it changes such an object is not known.
    unsure: dict[int, str] = field(default_factory=dict)
    # Names of tasks that change what others than those of this graph may see.
    changers: list[str] = field(default_factory=list)


class Sharing:
    """Who sees what the nodes of one graph give. `scopes`: the session, and the graph."""

    def __init__(self, graph: Graph, facts: list[TaskFacts], scopes: tuple[str, str]) -> None:
        self.graph = graph
        self.facts = facts
        self.scopes = scopes
        self.outputs = {node.resolved().idx for node in graph.outputs.values()}
        self._shared: dict[int, bool] = {}

    def is_outside(self, node: Node) -> bool:
        """May others than the tasks of this graph see what it gives?"""
        node = node.resolved()
        return node.kind == "external" or self.facts[node.idx].is_live or node.idx in self.outputs

    def is_shared(self, node: Node) -> bool:
        """May anybody see it besides one task?"""
        node = node.resolved()
        found = self._shared.get(node.idx)
        if found is None:
            found = self.is_outside(node) or len(set(map(id, users(node)))) > 1
            self._shared[node.idx] = found
        return found

    def givers(self, node: Node) -> list[Giver] | None:
        """From whom a task has what it is given, in the order of its references; None: it cannot change that."""
        if not could_change(node, self.facts[node.idx]):
            return None
        found = []
        for source in node.refs.values():
            fact = self.facts[source.idx]
            scope = self.scopes[0 if self.is_outside(source) else 1]
            is_shared = fact.fp is not None and self.is_shared(source)
            found.append(Giver(fact.name, fact.fp or "", scope, is_shared))
        return found

    def effects(
        self,
        changed: dict[str, list[dict[str, Any]]],
        choose: Callable[[str], dict[str, Any] | None],
    ) -> Effects:
        """What follows from what is known to be changed. `choose` gives the record that stands for a task."""
        found = Effects()
        if changed:
            self._find_changers(found, changed)
        if found.touched:
            self._reach(found)
        self._find_unsure(found, choose)
        return found

    def _find_changers(self, found: Effects, changed: dict[str, list[dict[str, Any]]]) -> None:
        # Who changed something -> whose it was, and what is said of it.
        by: dict[str, dict[str, dict[str, Any]]] = {}
        for giver_fp, markers in changed.items():
            for marker in markers:
                by.setdefault(marker["by"] or marker["name"], {})[giver_fp] = marker
        nodes: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            fp = self.facts[node.idx].fp
            if fp is not None and fp in changed and node.target is None:
                nodes.setdefault(fp, []).append(node)
        for node in self.graph.nodes:
            if node.kind != "task" or not node.refs:
                continue
            fact = self.facts[node.idx]
            for giver_fp, marker in by.get(fact.fp or fact.name, {}).items():
                for source in nodes.get(giver_fp, ()):
                    if self.is_shared(source):
                        found.touched.add(source.idx)
                        what = told({**marker, "giver": self.facts[source.idx].name})
                        found.reached[node.idx] = f"writer: {what}"
                        if self.is_outside(source):
                            found.changers.append(f"{fact.name} {what}")

    def _reach(self, found: Effects) -> None:
        for node in self.graph.nodes:
            if node.target is not None:
                if node.target.idx in found.reached:
                    found.reached[node.idx] = found.reached[node.target.idx]
                continue
            if node.idx in found.reached:
                continue
            for source in node.refs.values():
                if source.resolved().idx in found.touched:
                    giver = self.facts[source.idx].name
                    found.reached[node.idx] = f"what {giver} gave is changed in place by a task"
                elif source.idx in found.reached:
                    why = found.reached[source.idx].removeprefix("writer: ")
                    is_first = found.reached[source.idx] != why
                    name = self.facts[source.idx].name
                    found.reached[node.idx] = f"follows {name}, which {why}" if is_first else why

    def _find_unsure(self, found: Effects, choose: Callable[[str], dict[str, Any] | None]) -> None:
        """A stored result stands for a task only if it is known to leave what others see as it is."""
        # What has parts of that.
        exposed: set[int] = set()
        for node in self.graph.nodes:
            if node.target is not None:
                if node.target.idx in exposed:
                    exposed.add(node.idx)
                continue
            seen = [
                source
                for source in node.refs.values()
                if source.idx in exposed or self.is_outside(source)
            ]
            fact = self.facts[node.idx]
            if not seen or fact.fp is None or not could_change(node, fact):
                continue
            record = choose(fact.fp)
            if record is None:
                continue
            leaves, parts = record.get("leaves") or (), record.get("parts") or ()
            sources = {source.idx: self.facts[source.idx] for source in seen}
            for one in sources.values():
                if one.fp not in leaves:
                    found.unsure[node.idx] = f"may change what {one.name} gave"
                elif one.fp in parts:
                    # What changes the one changes the other; a copy that was loaded would stand alone.
                    found.unsure[node.idx] = f"gives a part of what {one.name} gave"
            if node.idx in found.unsure:
                exposed.add(node.idx)
        for node in reversed(self.graph.nodes):
            if node.idx in found.unsure:
                # It is to be seen there, not in a copy that was loaded.
                for source in node.refs.values():
                    if source.resolved().idx in exposed:
                        found.unsure.setdefault(source.resolved().idx, found.unsure[node.idx])
