"""Puts every case of the table through real kernels and says what happened to each object.

First kernel: every object is made in a cell of its own, then all are left alone, looked at, and changed. Second kernel,
with another hash seed: the state before the changes is restored, left alone, looked at, changed, and made anew.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrewind._native import Store
from tests.python.coverage.cases import CASES, MODULES, SETUP, Case
from tests.python.kernel.live import Live

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")

_HELPERS = """
def _attempt(look):
    try:
        return repr(look())
    except BaseException as error:
        return f'{type(error).__name__}: {error}'
"""


@dataclass
class Found:
    """What became of one object."""

    case: Case
    # The cell that makes it failed: nothing else is known.
    failed: str | None = None
    # Why the object has no fingerprint; then nothing that reads it is replayed.
    opaque: list[str] = field(default_factory=list)
    why: str | None = None
    how: str = ""
    group: tuple[str, ...] = ()
    # A version of its own after the change; no new version while others ran, and while it was only looked at.
    sees_change: bool = False
    is_steady: bool = False
    is_steady_when_read: bool = False
    # The same after a restore in another process, and whether the object is equal there.
    is_equal: bool = False
    is_steady_restored: bool = False
    sees_change_restored: bool = False
    is_same_anew: bool = False
    shown: tuple[str, str] = ("", "")
    # The probe itself sees the change; a case for which it does not says so in its note.
    is_change_visible: bool = False

    @property
    def is_wrong(self) -> bool:
        """The user gets something else than what was there, and nobody says so."""
        return self.failed is None and self.how in {"loaded", "rebuilt"} and not self.is_equal


def is_installed(library: str) -> bool:
    """True when the library of a case can be imported here."""
    try:
        importlib.import_module(MODULES.get(library, library))
    except ImportError:
        return False
    return True


def installed_cases() -> tuple[list[Case], list[str]]:
    """The cases that can be run here, and the libraries that are not installed."""
    missing = [library for library in SETUP if not is_installed(library)]
    return [case for case in CASES if case.library not in missing], missing


class _Records:
    """The versions that recorded runs left, read from the store without a kernel."""

    def __init__(self, path: Path) -> None:
        store = Store(str(path), "r")
        self.runs = {
            found["run_id"]: found
            for found in (json.loads(item["payload"]) for item in store.records("run"))
        }
        self.manifests = {
            found["manifest_id"]: found
            for found in (json.loads(item["payload"]) for item in store.records("manifest"))
        }

    def manifest(self, run: str, name: str) -> dict[str, Any] | None:
        """The version of a name after a run."""
        found = self.runs[run]["state"].get(name)
        return None if found is None else self.manifests[found]

    def version(self, run: str, name: str) -> str | None:
        """Content of a name after a run; what cannot be compared has its version's id."""
        found = self.manifest(run, name)
        if found is None:
            return None
        return found["facts"][name]["fp"] or found["manifest_id"]


class _Notebook:
    """Cells of one kernel, by the runs that were recorded of them."""

    def __init__(self, kernel: Live) -> None:
        self.kernel = kernel
        self.n_cells = 0

    def run(self, source: str) -> tuple[str, list[Any]]:
        """Run one cell: the id of its record, and what it showed."""
        self.n_cells += 1
        cell = f"c{self.n_cells}"
        n_before = len(self.kernel.events)
        shown = self.kernel.run(source, cell)
        run = self.kernel.report_of(cell, n_before)["run_id"]
        assert run is not None, f"not recorded: {source}"
        return run, shown

    def look(self, cases: list[Case]) -> tuple[str, dict[str, str]]:
        """Run the probes of all cases in one cell."""
        looks = ", ".join(
            f"{case.name!r}: _attempt(lambda: ({case.code(case.probe)}))" for case in cases
        )
        run, shown = self.run(f"import json as _json\nprint(_json.dumps({{{looks}}}))")
        text = "".join(item[1] for item in shown if item[0] == "stdout")
        return run, {name: _ADDRESS.sub("0x", found) for name, found in json.loads(text).items()}

    def change(self, cases: list[Case]) -> str:
        """Change every object, in one cell."""
        parts = []
        for case in cases:
            body = "\n".join(f"    {line}" for line in case.code(case.change).splitlines())
            parts.append(f"try:\n{body}\nexcept Exception:\n    pass")
        return self.run("\n".join(parts))[0]


def _error(shown: list[Any]) -> str | None:
    return next((f"{item[1]}: {item[2]}" for item in shown if item[0] == "error"), None)


def run_cases(folder: Path, cases: Iterable[Case]) -> list[Found]:
    """What becomes of these objects."""
    found = {case.name: Found(case) for case in cases}
    libraries = list(dict.fromkeys(item.case.library for item in found.values()))
    with Live(folder, PYTHONHASHSEED="0") as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        book = _Notebook(kernel)
        book.run(_HELPERS)
        setup = [SETUP[library] for library in libraries]
        for text in setup:
            _, shown = book.run(text)
            assert _error(shown) is None, shown
        made_by = {}
        for name, item in found.items():
            made_by[name], shown = book.run(item.case.code(item.case.make))
            item.failed = _error(shown)
        good = [item.case for item in found.values() if item.failed is None]
        made, _ = book.run("pass")
        seen, before = book.look(good)
        changed = book.change(good)
        changed_seen, after = book.look(good)
    with Live(folder, PYTHONHASHSEED="1") as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        report = kernel.ask("restore", run=made)["report"]
        how = {item["name"]: item for item in report["names"]}
        book = _Notebook(kernel)
        restored, _ = book.run("pass")
        restored_seen, again = book.look(good)
        changed_again = book.change(good)
        parts = [*setup, *(case.code(case.make) for case in good)]
        anew, shown = book.run("\n".join(parts))
        assert _error(shown) is None, shown
    records = _Records(folder / ".nbrewind")
    for case in good:
        item, name = found[case.name], case.name
        version = records.manifest(made, name)
        assert version is not None
        item.opaque, item.why = version["facts"][name]["opaque"], version["why"]
        item.group = tuple(version["names"])
        item.how, item.why = how[name]["how"], how[name]["why"] or item.why
        item.is_steady = records.version(made_by[name], name) == records.version(made, name)
        item.is_steady_when_read = records.version(seen, name) == records.version(made, name)
        item.sees_change = records.version(changed, name) != records.version(seen, name)
        item.is_equal = before[name] == again[name]
        item.shown = before[name], again[name]
        item.is_steady_restored = records.version(restored, name) == records.version(made, name)
        item.sees_change_restored = records.version(changed_again, name) != records.version(
            restored_seen, name
        )
        item.is_same_anew = records.version(anew, name) == records.version(made, name)
        item.is_change_visible = before[name] != after[name]
    return list(found.values())
