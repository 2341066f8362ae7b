"""Files that live cells read and that something outside the notebook has changed since.

Invariant: this only looks. What a cell of this session wrote is no change from outside: the dataflow of the notebook
tells who depends on it. The environment and the packages of a process do not change but by its own cells.
"""

from __future__ import annotations

import json
import os
from typing import Any

from nbrewind.kernel.record import file_fact
from nbrewind.kernel.session import Session


def outdated(session: Session) -> dict[str, list[str]]:
    """By the recorded run that a cell shows: the files and folders it read that are not as they were, if any."""
    history = session.history
    log = [run for run in list(session.log.runs) if run.run_id is not None and not run.undone]
    if history is None or not log:
        return {}
    records = {run["run_id"]: run for run in history.all_runs()}
    live = [records[run.run_id] for run in log if run.run_id in records]
    shown = {run.cell: run.run_id for run in log}
    written: dict[str, set[str | None]] = {}
    for run in live:
        for item in run["effects"]["files"]:
            written.setdefault(item["path"], set()).add(item["digest"])
    now: dict[str, str | None] = {}
    found: dict[str, list[str]] = {}
    for run_id in dict.fromkeys(shown.values()):
        if run_id is None or run_id not in records:
            continue
        names = set()
        for key, then in records[run_id]["inputs"]["files"].items():
            if key not in now:
                now[key] = file_fact(session, key)
            if now[key] != then and not _is_own(key, now[key], written):
                names.add(_name(key))
        if names:
            found[run_id] = sorted(names)
    return found


def _is_own(key: str, digest: str | None, written: dict[str, set[str | None]]) -> bool:
    """Whether cells of this session made what is there now."""
    if key.startswith("["):
        folder = os.path.join(_name(key), "")
        return any(path.startswith(folder) or folder == "./" for path in written)
    return digest in written.get(key, ())


def _name(key: str) -> str:
    parts: list[Any] = json.loads(key) if key.startswith("[") else [None, key]
    return str(parts[1])
