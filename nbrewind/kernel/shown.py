"""What `_`, `Out` and their kin would hold of cells that were replayed: a replay shows a result again, and has none.

Cells that read such a name execute, and so must the replayed cells whose results they may find there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from nbrewind.kernel.namespace import is_history

# Names of the last results, the newest first.
_LAST = ("_", "__", "___")


class Shown:
    """Which cells of this session showed a result, in order."""

    def __init__(self) -> None:
        # Replayed runs that may have filled such a name.
        self._replayed: list[str] = []
        # Of every result: the run, if it was replayed, and whether there was one for certain.
        self._results: list[tuple[str | None, bool]] = []
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
        self._results += [(run_id, True)] * n_found + [(run_id, False)] * is_perhaps

    def executed(self, effects: dict[str, Any], n_found: int) -> None:
        """A cell was executed: its results are where the shell keeps them."""
        self._is_taken = self._is_taken or any(map(is_history, effects["writes"]))
        self._results += [(None, True)] * n_found

    def needed(self, names: Iterable[str]) -> list[str]:
        """Replayed runs that must execute before a cell reads these names."""
        wanted = set(names)
        if self._is_taken or not wanted.issubset(_LAST):
            return list(dict.fromkeys(self._replayed))
        n_certain = max((_LAST.index(name) + 1 for name in wanted), default=0)
        found: list[str] = []
        for run_id, is_certain in reversed(self._results):
            if not n_certain:
                break
            n_certain -= is_certain
            if run_id is not None:
                found.append(run_id)
        return list(dict.fromkeys(found))


def n_results(shell: Any, outputs: Iterable[dict[str, Any]]) -> int:
    """How many results the cell that has just ended left: an object that shows itself is one without an output."""
    is_kept = shell.execution_count - 1 in shell.user_ns.get("_oh", ())
    return max(sum(output["kind"] == "execute_result" for output in outputs), int(is_kept))


# `__annotations__` has it.
_ANNOTATED = re.compile(r"^\s*[\w.]+\s*:", re.MULTILINE)
