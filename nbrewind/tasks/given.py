"""What tasks are given, and whether they leave it as it is.

Tasks in one process are given the very objects that the tasks before them made. One that changes such an object in
place changes what every other task gets that is given it later, and what a future holds.

Terms:
* the *giver* of an object is the task (or the literal, or the scattered value) that it came from;
* an object is *shared* when others than the task that is given it may see it: other tasks of the graph, the user, or
  later graphs, through a future;
* the *scope* of a graph names it, or the session, where its objects live on in futures: in another scope, the giver
  makes another object.

What a task changed of an object that is not shared is its own affair: its result depends on its inputs all the same.
Of a shared one it is noted for the giver's fingerprint, in which scope, and by whom (kind `changed`): what was
computed in that scope from what that giver made is never loaded, and as long as the task that changes it is among
those that are asked for, it runs, and so does whatever is made from the object.

Looking costs what pickling the object costs, and reading its memory. Where that becomes much of what the tasks take
that are given it, nobody looks any more, and whatever they do then counts as a change.

Imports no more than `worker` does.
"""

from __future__ import annotations

import gc
import json
import pickle
import sys
import threading
import time
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from nbrewind import _native
from nbrewind.hush import hushed
from nbrewind.tasks.recorder import off_the_record

KIND = "changed"

# Nobody can change these.
_FIXED = (str, bytes, int, float, complex, bool, type(None), range, frozenset)
_FIXED_KINDS = frozenset(_FIXED)
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType)
# Larger pickles are told by a number.
_SMALL = 1 << 10


@dataclass(slots=True)
class Giver:
    """Where an object that a task is given came from."""

    name: str
    fp: str
    # Where else the object may be seen.
    scope: str
    is_shared: bool


# Fingerprint and scope of a giver -> what else changes, in this process, when somebody changes what it gave: its
# result has parts of that.
_aliases: dict[tuple[str, str], list[Giver]] = {}
_MAX_ALIASES = 10_000
# The same -> the object, by its address, and how it was when a task that was given it ended.
_last: dict[tuple[str, str], tuple[int, Any]] = {}
# The same -> seconds that it was looked at, and that tasks ran which were given it.
_costs: dict[tuple[str, str], list[float]] = {}
# What nobody looks at any more in this process: it took too long.
_unwatched: set[tuple[str, str]] = set()
# How long looking may take altogether, and as a part of what the tasks take.
_PATIENCE = 2.0
_SHARE = 0.5
_lock = threading.Lock()


class Given:
    """What one task is given, as it was before."""

    __slots__ = ("began", "found", "guessed", "marks", "of", "places", "values")

    def __init__(self, givers: Sequence[Giver], values: Sequence[Any]) -> None:
        self.values: list[Any] = []
        # Of each: from whom it is, and what else changes with it.
        self.of: list[tuple[Giver, list[Giver]]] = []
        self.places: list[int] = []
        for at, (giver, value) in enumerate(zip(givers, values, strict=True)):
            of = seen_by_others(giver)
            if of and (giver.fp, giver.scope) not in _unwatched:
                self.places.append(at)
                self.of.append((giver, of))
                self.values.append(value)
        # What a record has to say of it.
        self.found: dict[str, list[Any]] = {}
        with off_the_record(), hushed():
            self.marks = [
                _mark_before(giver, value)
                for (giver, _), value in zip(self.of, self.values, strict=True)
            ]
        # Of what the task may have changed, because nobody will look any more.
        self.guessed: list[Giver] = []
        self.began = time.perf_counter()

    def changed(self) -> list[Giver]:
        """The givers of what is not as it was."""
        changed: list[Giver] = []
        leaves: list[int] = []
        ran = time.perf_counter() - self.began
        with off_the_record(), hushed():
            for at, before in enumerate(self.marks):
                value, giver = self.values[at], self.of[at][0]
                now = _timed_mark(giver, value, ran)
                _remember(giver, value, now)
                if before is None or now != before:
                    changed += self.of[at][1]
                elif (giver.fp, giver.scope) in _unwatched:
                    self.guessed += self.of[at][1]
                else:
                    leaves.append(at)
        self.found["leaves"] = sorted({self.of[at][0].fp for at in leaves})
        self.found["leaves_at"] = [self.places[at] for at in leaves]
        return changed

    def note_parts(self, fp: str, scopes: list[str], result: Any) -> None:
        """Remember, when the result has parts of what was given: whoever changes the one changes the other."""
        with off_the_record():
            parts = [
                (giver, of)
                for (giver, of), value in zip(self.of, self.values, strict=True)
                if may_share(result, value)
            ]
        if parts:
            self.found["parts"] = sorted({giver.fp for giver, _ in parts})
            with _lock:
                while len(_aliases) >= _MAX_ALIASES:
                    _aliases.pop(next(iter(_aliases)), None)
                for scope in scopes:
                    _aliases[fp, scope] = [giver for _, of in parts for giver in of]


def _mark_before(giver: Giver, value: Any) -> Any:
    """As it was when the last task ended that was given it; if something has changed it since, this one is blamed."""
    known = _last.get((giver.fp, giver.scope))
    return known[1] if known is not None and known[0] == id(value) else _timed_mark(giver, value)


def _timed_mark(giver: Giver, value: Any, ran: float = 0.0) -> Any:
    """`mark`, and an account of what it cost beside what the task took; a look that is too dear is the last."""
    began = time.perf_counter()
    found = mark(value)
    key = (giver.fp, giver.scope)
    with _lock:
        if len(_costs) >= _MAX_ALIASES:
            _costs.clear()
        costs = _costs.setdefault(key, [0.0, 0.0])
        costs[0] += time.perf_counter() - began
        costs[1] += ran
        if costs[0] > _PATIENCE + _SHARE * costs[1]:
            _unwatched.add(key)
            _last.pop(key, None)
    return found


def _remember(giver: Giver, value: Any, now: Any) -> None:
    if isinstance(value, _FIXED):
        return
    with _lock:
        if len(_last) >= _MAX_ALIASES:
            _last.clear()
        _last[giver.fp, giver.scope] = id(value), now


def seen_by_others(giver: Giver) -> list[Giver]:
    """Itself, if what it gave is shared, and those of which it has parts."""
    found = [giver] if giver.is_shared else []
    alias = _aliases.get((giver.fp, giver.scope))
    return found + alias if alias is not None else found


def note(
    store: Any, by: str, name: str, changed: Iterable[Giver], guessed: Iterable[Giver] = ()
) -> None:
    """Have the store say, durably, that this task changed what these gave. `by`: its fingerprint, if it has one.

    `guessed`: what it may have changed.
    """
    known = {(one.fp, one.scope): one for one in changed}
    perhaps = {(one.fp, one.scope): one for one in guessed}
    for place, giver in (perhaps | known).items():
        payload: dict[str, Any] = {
            "scope": giver.scope,
            "giver": giver.name,
            "by": by,
            "name": name,
        }
        if place not in known:
            payload["is_guessed"] = True
        store.append(KIND, giver.fp, json.dumps(payload), [])
    store.commit()


def told(marker: dict[str, Any]) -> str:
    """What a task did that a record of this kind is of, in words."""
    if marker.get("is_guessed"):
        return (
            f"may change in place what {marker['giver']} gave, which takes too long to be looked at"
        )
    return f"changes in place what {marker['giver']} gave"


# --- How an object is now ------------------------------------------------------------------------------------------


def mark(value: Any) -> Any:
    """Equal to the one before as long as the object is as it was; None when that cannot be told."""
    if isinstance(value, _FIXED):
        return True
    views: list[pickle.PickleBuffer] = []
    try:
        try:
            head = pickle.dumps(value, protocol=5, buffer_callback=views.append)
        except Exception:  # noqa: BLE001 - what is the user's own has no name here
            views.clear()
            head = cloudpickle.dumps(value, protocol=5, buffer_callback=views.append)
        marks = tuple(_native.mark_of(view.raw()) for view in views)
        return (head if len(head) <= _SMALL else _native.mark_of(head), marks)
    except Exception:  # noqa: BLE001 - foreign __reduce__ may raise anything
        return _mark_of_unpicklable(value)


def _mark_of_unpicklable(value: Any) -> Any:
    if hasattr(value, "__next__") or hasattr(value, "readline"):
        # Whoever reads on changes it.
        return None
    from nbrewind.tasks.content import TaskContext

    try:
        return TaskContext().walk(value).seen
    except Exception:  # noqa: BLE001 - as above
        return None


def is_fixed(value: Any, depth: int = 4) -> bool:
    """Can nobody change it?"""
    if type(value) is tuple or type(value) is frozenset:
        return depth > 0 and all(is_fixed(item, depth - 1) for item in value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return not isinstance(value, numpy.void | numpy.object_)
    return type(value) in _FIXED_KINDS


# --- Objects with common parts ---------------------------------------------------------------------------------------

_DEPTH = 4
_MAX_PARTS = 5_000


def may_share(one: Any, other: Any) -> bool:
    """Could a change of the one be one of the other? True when there is too much to look at."""
    if isinstance(one, _FIXED):
        return False
    if one is other:
        return True
    try:
        return not _Parts(one).found.isdisjoint(_Parts(other).found)
    except Exception:  # noqa: BLE001 - attributes of foreign objects may raise anything
        return True


class _TooMuch(Exception):
    """There is more to look at than it is worth."""


@dataclass
class _Parts:
    """Addresses of what can be changed of an object."""

    root: Any
    found: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.add(self.root, _DEPTH)

    def add(self, value: Any, depth: int) -> None:
        if isinstance(value, (*_FIXED, *_CODE)) or id(value) in self.found:
            return
        if depth == 0 or len(self.found) >= _MAX_PARTS:
            raise _TooMuch
        base = value
        while type(base).__module__ == "numpy" and getattr(base, "base", None) is not None:
            base = base.base
        if not isinstance(value, tuple):
            self.found.add(id(base))
        if isinstance(value, dict | list | tuple):
            items = value.values() if isinstance(value, dict) else value
            if not _FIXED_KINDS.issuperset(map(type, items)):
                for item in items:
                    self.add(item, depth - 1)
        elif not _copies_on_write(value):
            for item in gc.get_referents(value):
                self.add(item, depth - 1)


def _copies_on_write(value: Any) -> bool:
    """Is it copied before somebody writes to it who shares its memory?"""
    module = type(value).__module__.partition(".")[0]
    if module == "pandas":
        return int(sys.modules["pandas"].__version__.partition(".")[0]) >= 3
    return module in {"pyarrow", "polars"}
