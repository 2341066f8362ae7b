"""What futures hold on workers that are threads of this process: names may have the very same objects, and change them.

So a future of such a worker is what its task gave only as long as nobody has changed that, and a copy that were loaded
in its place would stand alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from nbrewind.tasks import given, worker
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
    """Tasks, by index, that may give a part of what others have; why no stored result stands for them.

    `choose` gives the record that stands for a task.
    """
    found: dict[int, str] = {}
    exposed: set[int] = set()
    for node in sharing.graph.nodes:
        fact = sharing.facts[node.idx]
        if node.target is not None:
            is_exposed = node.target.idx in exposed
        elif node.kind != "task" or fact.is_live:
            is_exposed = node.kind != "data" or not given.is_fixed(node.spec.value)
        else:
            givers = [source for source in node.refs.values() if source.idx in exposed]
            is_exposed = bool(givers) or any(one.is_mutable for one in fact.literals)
            record = choose(fact.fp) if is_exposed and fact.fp is not None else None
            if record is not None:
                is_exposed = not record.get("is_apart")
                if is_exposed:
                    name = sharing.facts[givers[0].idx].name if givers else "its arguments"
                    found[node.idx] = f"may give a part of what others have: {name}"
        if is_exposed:
            exposed.add(node.idx)
    return found
