"""What `_`, `Out` and their kin would hold of cells that were replayed: a replay shows a result again, and has none.

A result that never changes and shares nothing with others (a number, a text) is kept with the record of its run: who
reads `_` has it as an input by content, and finds it there. Of other results nothing is kept: cells that read such a
name execute, and so must the replayed cells whose results they may find there.
"""

from __future__ import annotations

import base64
import pickle
import re
import sys
from collections.abc import Iterable
from typing import Any

from nbrewind.fingerprint import walk
from nbrewind.kernel.namespace import is_history

# Names of the last results, the newest first.
_LAST = ("_", "__", "___")
# Inputs of runs that read them.
RESULT = "the result "
_PLAIN = frozenset({bool, int, float, complex, str, bytes})
# Larger ones are not kept.
_MAX_BYTES = 16 << 10

# What is kept of a result: its fingerprint and its pickle; None: nothing. `ODD`: nobody knows how many there were.
Kept = dict[str, str] | None
ODD: dict[str, str] = {}


def keep(value: Any) -> Kept:
    """What is kept of a value that never changes and that nothing shares."""
    if type(value) not in _PLAIN:
        generic = getattr(sys.modules.get("numpy"), "generic", ())
        if not isinstance(value, generic) or value.dtype.kind not in "biufcmMSU":
            return None
    data = pickle.dumps(value, protocol=5)
    fp = walk(value).fp
    if fp is None or len(data) > _MAX_BYTES:
        return None
    return {"fp": fp, "data": base64.b64encode(data).decode()}


def load(kept: dict[str, str]) -> Any:
    """The value that was kept."""
    return pickle.loads(base64.b64decode(kept["data"]))


def result_of(shell: Any, outputs: Iterable[dict[str, Any]]) -> tuple[bool, Any]:
    """Whether the cell that has just ended left one result that it showed, and which."""
    results = shell.user_ns.get("_oh", {})
    number = shell.execution_count - 1
    n_shown = sum(output["kind"] == "execute_result" for output in outputs)
    return (True, results[number]) if n_shown == 1 and number in results else (False, None)


class Shown:
    """Which cells of this session showed a result, in order."""

    def __init__(self) -> None:
        # Replayed runs that may have filled such a name.
        self._replayed: list[str] = []
        # Of every result: the run, if it was replayed, whether there was one for certain, and what is kept of it.
        self._results: list[tuple[str | None, bool, Kept]] = []
        # A cell took `_` for a name of its own: the shell leaves it alone from then on.
        self._is_taken = False

    def replayed(self, record: dict[str, Any]) -> None:
        """A recorded run was replayed."""
        from nbrewind.kernel.session import analyze

        run_id, kinds = record["run_id"], [output["kind"] for output in record["outputs"]]
        takes = any(map(is_history, analyze(record["source"])["writes"]))
        self._is_taken = self._is_taken or takes
        n_found = record.get("n_results", kinds.count("execute_result"))
        # Records of earlier versions do not tell of objects that show themselves.
        is_perhaps = not n_found and "n_results" not in record and bool(kinds)
        if n_found or is_perhaps or takes or _ANNOTATED.search(record["source"]):
            self._replayed.append(run_id)
        kept = record.get("kept_result", ODD)
        self._results += [(run_id, True, kept)] * n_found + [(run_id, False, ODD)] * is_perhaps

    def executed(self, effects: dict[str, Any], n_found: int, kept: Kept) -> None:
        """A cell was executed: its results are where the shell keeps them."""
        self._is_taken = self._is_taken or any(map(is_history, effects["writes"]))
        self._results += [(None, True, kept)] * n_found

    def found(self, kept: Kept) -> None:
        """A restore brought a result back; `ODD`: it could not."""
        self._results.append((None, True, kept))

    def unknown(self) -> None:
        """Something ran that is not recorded, or will run: it may show results."""
        self._results.append((None, False, ODD))

    def facts(self, names: Iterable[str]) -> dict[str, str] | None:
        """What these names hold, by content; None: nobody knows."""
        found = {name: self.kept(name) for name in names}
        return (
            {name: kept["fp"] for name, kept in found.items() if kept}
            if all(found.values())
            else None
        )

    def kept(self, name: str) -> Kept:
        """What is kept of the value of this name; None: nothing."""
        if self._is_taken or name not in _LAST:
            return None
        n_later = _LAST.index(name)
        for _, _, kept in reversed(self._results):
            if kept is ODD or kept == ODD:
                return None
            if not n_later:
                return kept
            n_later -= 1
        # As the shell begins.
        return keep("")

    def fill(self, shell: Any, names: Iterable[str]) -> None:
        """Give these names the results of replayed cells."""
        for name in names:
            kept = self.kept(name)
            if kept is not None:
                put_result(shell, name, load(kept))

    def needed(self, names: Iterable[str]) -> list[str]:
        """Replayed runs that must execute before a cell reads these names."""
        wanted = set(names)
        if self._is_taken or not wanted.issubset(_LAST):
            return list(dict.fromkeys(self._replayed))
        n_certain = max((_LAST.index(name) + 1 for name in wanted), default=0)
        found: list[str] = []
        for run_id, is_certain, _ in reversed(self._results):
            if not n_certain:
                break
            n_certain -= is_certain
            if run_id is not None:
                found.append(run_id)
        return list(dict.fromkeys(found))


def put_result(shell: Any, name: str, value: Any) -> None:
    """Let `_` and its kin be this for the shell as well, which shifts them at the next result."""
    setattr(shell.displayhook, name, value)
    # So that the shell takes it for its own.
    shell.push({name: value}, interactive=False)


def checked(shell: Any, results: dict[str, str] | None) -> dict[str, str] | None:
    """The facts, when the shell has just that."""
    for name, fp in (results or {}).items():
        kept = keep(shell.user_ns.get(name))
        if kept is None or kept["fp"] != fp:
            return None
    return results


def n_results(shell: Any, outputs: Iterable[dict[str, Any]]) -> int:
    """How many results the cell that has just ended left: an object that shows itself is one without an output."""
    is_kept = shell.execution_count - 1 in shell.user_ns.get("_oh", ())
    return max(sum(output["kind"] == "execute_result" for output in outputs), int(is_kept))


# `__annotations__` has it.
_ANNOTATED = re.compile(r"^\s*[\w.]+\s*:", re.MULTILINE)
