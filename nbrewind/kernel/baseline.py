"""The baseline: the state that is there when recording begins in a kernel that ran before.

Every value is stored, so that later checkpoints can be restored elsewhere. Nobody knows how the values came about:
the baseline is never replayed, and runs that read them stand on their content alone.
"""

from __future__ import annotations

import pickle
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbrewind.kernel import record

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session


@dataclass
class Begun:
    """A baseline on its way, or one that was broken off and is taken up again."""

    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    # Versions whose manifests it wrote; no run has them before it ends.
    manifests: set[str] = field(default_factory=set)
    # Cells ran since somebody looked, so that what cannot be compared may have changed.
    has_run: bool = False


def take(session: Session) -> dict[str, Any] | None:
    """Store what is live and not in the store yet. None when there is nothing of the kind."""
    state, begun = session.state, session.baseline
    state.sweep(suspects=None if begun.has_run else set())
    state.remember_objects()
    history = session.history
    assert history is not None
    new = {
        id(version): version
        for version in state.bound.values()
        if version.manifest_id in begun.manifests or not history.knows_manifest(version.manifest_id)
    }
    if not new:
        return None
    if not history.is_writable:
        names = sorted(name for version in new.values() for name in version.names)
        why = f"the store {history.path} cannot be written"
        return {
            "taken": [],
            "not_taken": [{"name": name, "why": why} for name in names],
            "n_bytes": 0,
            "seconds": 0.0,
        }
    started = time.perf_counter()
    run_id = begun.run_id
    taken: list[str] = []
    not_taken: list[dict[str, str]] = []
    n_bytes = 0
    for done, version in enumerate(new.values()):
        session.progress(done, len(new), ", ".join(version.names))
        version.made_by = run_id
        if version.joint is None and version.why is None and not version.is_handle:
            version.why = "it has no content to compare"
        begun.manifests.add(version.manifest_id)
        record.store_version(session, version)
        if version.data is not None:
            taken += version.names
            n_bytes += version.n_bytes
        else:
            not_taken += [
                {"name": name, "why": version.why or "it cannot be stored"}
                for name in version.names
            ]
    ambient = _ambient(session)
    session.ambient_chunks.update(ambient)
    seconds = time.perf_counter() - started
    chunks = [chunk for item in session.ambient_chunks.values() for chunk in item["chunks"]]
    history.append_run(
        {
            "kind": "baseline",
            "run_id": run_id,
            "session": session.session_id,
            "run_number": session.shell.execution_count - 1,
            "notebook": session.notebook,
            "cell_id": None,
            "source": "",
            "source_fp": "baseline",
            "exact_fp": "baseline",
            "status": "ok",
            "started": time.time(),
            "seconds": seconds,
            "inputs": {
                **{key: {} for key in ("names", "files", "env", "ambient", "modules", "versions")},
                "touched": [],
                "absent": [],
            },
            "effects": {
                "writes": [version.manifest_id for version in new.values()],
                "deletes": [],
                "files": [],
                "ambient": ambient,
                "process": [],
            },
            "state": {name: version.manifest_id for name, version in sorted(state.bound.items())},
            "order": list(state.bound),
            "ambient_state": session.ambient_chunks,
            "process_state": [
                {"kind": item["kind"], "text": item["text"]} for item in session.process
            ],
            "lineage": session.log.lineage(),
            "outputs": [],
            "replayable": False,
            "unsettled": False,
            "is_rooted": True,
            "why_not": ["it is the state that was there when recording began"],
            "marks": [],
            "tasks": {"hit": 0, "run": 0, "pruned": 0},
        },
        list(dict.fromkeys(chunks)),
    )
    return {
        "taken": sorted(taken),
        "not_taken": sorted(not_taken, key=lambda item: item["name"]),
        "n_bytes": n_bytes,
        "seconds": time.perf_counter() - started,
    }


def _ambient(session: Session) -> dict[str, dict[str, Any]]:
    """The ambient state that differs from a new kernel's, as a run's effect would have it."""
    assert session.history is not None
    found: dict[str, dict[str, Any]] = {}
    first = session.symbolic_beginning() if session.began_fresh else {}
    for name in session.ambient.providers:
        fp = session.symbolic_ambient.get(name)
        if fp is None or fp == first.get(name):
            continue
        try:
            content = pickle.dumps(session.ambient.snapshot(name), protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError):
            continue
        found[name] = {"fp": fp, "chunks": session.history.store.put(content)}
    return found
