"""What futures hold on workers that are threads of this process: names may have the very same objects, and change them.

So a future of such a worker is what its task gave only as long as nobody has changed that, and a copy that were loaded
in its place would stand alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from nbrewind.tasks import given, worker
from nbrewind.tasks.graph import Node
from nbrewind.tasks.sharing import Sharing


def is_here(key: Any) -> bool:
    """Is it a future of a cluster with workers in this process?"""
    engine = sys.modules.get("nbrewind.tasks.engines.dask")
    return engine is not None and engine.is_here(key)


def held(key: Any) -> list[Any]:
    """What workers in this process have in their memory under a key; empty: nothing, or it is not known."""
    module = sys.modules.get("distributed.worker")
    return list(_held(module, key)) if module is not None else []


def _held(module: Any, key: Any) -> Iterator[Any]:
    for one in list(module.Worker._instances):
        data = getattr(one, "data", None)
        # Nothing is to be read from a disk for that.
        memory = getattr(getattr(data, "fast", None), "d", data)
        if isinstance(memory, dict) and key in memory:
            yield memory[key]


def may_change(key: Any) -> bool:
    """Can names have the very object that a future of this key holds, and change it?"""
    if not is_here(key):
        return False
    found = held(key)
    return not found or not all(map(given.is_fixed, found))


class AsMade:
    """For one graph: the futures that its tasks are given, of which none holds anything else than its task gave.

    One that is not finished yet is looked at when a task gets it. `known` gives a future's fingerprint, and what that
    stands on.
    """

    def __init__(self, known: Callable[[Any], tuple[str | None, frozenset[str]]]) -> None:
        self._known = known
        self._found: dict[Any, tuple[str | None, frozenset[str]]] = {}

    def known(self, key: Any) -> tuple[str | None, frozenset[str]]:
        """The fingerprint of what a future holds, if that is known, and what it stands on."""
        if key not in self._found:
            fp, draws = self._known(key)
            if fp is not None and is_here(key) and not self._is_as_made(key, fp):
                fp = None
            self._found[key] = fp, draws
        return self._found[key]

    def _is_as_made(self, key: Any, fp: str) -> bool:
        is_finished = sys.modules["nbrewind.tasks.engines.dask"].is_finished(key)
        found = held(key)
        # What was put on a disk is not looked at.
        return bool(found or not is_finished) and all(worker.is_as_made(one, fp) for one in found)


def unsure(sharing: Sharing, choose: Callable[[str], dict[str, Any] | None]) -> dict[int, str]:
    """Tasks, by index, that may give a part of what others have, or of what others get from the same graph; why no
    stored result stands for them.

    `choose` gives the record that stands for a task.
    """
    groups = _Groups(sharing, choose)
    return {
        idx: f"may give a part of what others have: {name}"
        for idx, name in groups.parts.items()
        if groups.n_holders(idx) > 1
    }


class _Groups:
    """Nodes of a graph whose values may have parts in common, up from what was asked for."""

    def __init__(self, sharing: Sharing, choose: Callable[[str], dict[str, Any] | None]) -> None:
        self.sharing = sharing
        self.choose = choose
        # Tasks of which a record says that they may have given a part of something, and of what.
        self.parts: dict[int, str] = {}
        self._parents: dict[int, int] = {}
        # By the first of a group: how many there are besides its tasks who have, or get, what it gives.
        self._holders: dict[int, int] = {}
        pending = [node.resolved() for node in sharing.graph.outputs.values()]
        for idx in {node.idx for node in pending}:
            self._hold(idx, 1)
        seen: set[int] = set()
        while pending:
            node = pending.pop()
            if node.idx not in seen:
                seen.add(node.idx)
                pending.extend(self._sources(node))

    def n_holders(self, idx: int) -> int:
        """How many besides its tasks may have a part of what this node gives?"""
        return self._holders.get(self._first(idx), 0)

    def _sources(self, node: Node) -> list[Node]:
        """The nodes of whose values this one's may be a part."""
        fact = self.sharing.facts[node.idx]
        if node.target is not None:
            self._join(node.idx, node.target.idx)
            return [node.target]
        if node.kind != "task" or fact.is_live:
            if node.kind != "data" or not given.is_fixed(node.spec.value):
                # Names have it.
                self._hold(node.idx, 2)
            return []
        record = self.choose(fact.fp) if fact.fp is not None else None
        if record is not None and record.get("is_apart"):
            return []
        sources = list(node.refs.values())
        if any(one.is_mutable for one in fact.literals):
            self._hold(node.idx, 2)
        for source in sources:
            self._join(node.idx, source.idx)
        if record is not None:
            names = [self.sharing.facts[source.idx].name for source in sources]
            self.parts[node.idx] = names[0] if names else "its arguments"
        return sources

    def _first(self, idx: int) -> int:
        parents = self._parents
        while (parent := parents.setdefault(idx, idx)) != idx:
            parents[idx] = idx = parents.setdefault(parent, parent)
        return idx

    def _hold(self, idx: int, number: int) -> None:
        first = self._first(idx)
        self._holders[first] = self._holders.get(first, 0) + number

    def _join(self, one: int, other: int) -> None:
        one, other = self._first(one), self._first(other)
        if one != other:
            self._parents[other] = one
            self._holders[one] = self._holders.get(one, 0) + self._holders.pop(other, 0)
