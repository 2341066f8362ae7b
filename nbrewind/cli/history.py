"""Questions about what was recorded: stale cells against the notebook's own history, and why."""

from __future__ import annotations

import json
from typing import Any

from nbrewind._native import Store
from nbrewind.cli import analysis
from nbrewind.cli.notebook import Notebook, NotebookError
from nbrewind.tasks.components import explain

SHOWN = (
    "run_id",
    "cell_id",
    "notebook",
    "run_number",
    "status",
    "replayable",
    "why_not",
    "seconds",
    "started",
    # The run that a replay stands for.
    "of",
)


def all_runs(store: Store) -> list[dict[str, Any]]:
    """Every run record, oldest first."""
    return [json.loads(record["payload"]) for record in store.records("run")]


def latest_runs(store: Store, notebook: str) -> list[dict[str, Any]]:
    """What was last run or replayed of each cell of this notebook, in the order in which that happened."""
    records = store.records("run") + store.records("replay")
    latest: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: record["time_ns"]):
        run = json.loads(record["payload"])
        if run["notebook"] == notebook and run["cell_id"] is not None:
            latest.pop(run["cell_id"], None)
            latest[run["cell_id"]] = run
    return list(latest.values())


def stale(cells: list[dict[str, Any]], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Stale cells of a notebook against the text that was last run for each of its cells."""
    sources = {run["cell_id"]: run["source"] for run in runs}
    # In the notebook's order where the cell is still there; cells that were deleted keep their place in history.
    audited = [
        {"id": cell["id"], "source": sources[cell["id"]]} for cell in cells if cell["id"] in sources
    ]
    known = {cell["id"] for cell in cells}
    audited += [{"id": name, "source": text} for name, text in sources.items() if name not in known]
    return analysis.stale_audited(audited, cells)


def why(
    store: Store, cells: list[dict[str, Any]], notebook: Notebook, subject: str
) -> dict[str, Any]:
    """Why a cell is stale and why it last ran, or how a task's newest records differ (docs/schemas/why.schema.json)."""
    try:
        cell = notebook.find(subject)
    except NotebookError:
        lines = _why_task(store, subject)
        if not lines:
            raise
        return {"subject": subject, "kind": "task", "why": lines}
    found = stale(cells, latest_runs(store, notebook.path.name))
    lines = (
        [f"{cell.id}: {found['reasons'][cell.id]}"]
        if cell.id in found["reasons"]
        else [f"{cell.id} is fresh"]
    )
    for run in reversed(all_runs(store)):
        if run["cell_id"] == cell.id:
            lines += [f"its last run cannot be replayed: {text}" for text in run["why_not"]]
            break
    return {
        "subject": cell.id,
        "kind": "cell",
        "state": found["states"][cell.id],
        "why": lines,
        "cause": found["why"].get(cell.id),
        "because": found["because"].get(cell.id, []),
    }


def _why_task(store: Store, name: str) -> list[str]:
    """How the newest record of a task differs from the one before it that is most like it."""
    tasks = [json.loads(record["payload"]) for record in store.records("task")]
    tasks = [
        task
        for task in tasks
        if "components" in task
        and (task.get("name") == name or task["fingerprint"].startswith(name))
    ]
    if not tasks:
        return []
    newest = tasks[-1]
    if len(tasks) == 1:
        return [f"{name} has one record; it ran because there was none"]

    def unlike(task: dict[str, Any]) -> tuple[bool, int]:
        # The same partition before an edit, rather than another partition after it.
        old, new = task["components"], newest["components"]
        differing = [label for label in {*old, *new} if old.get(label) != new.get(label)]
        return ("arguments" in differing, len(differing))

    earlier = [task for task in tasks if task["fingerprint"] != newest["fingerprint"]]
    if not earlier:
        return [f"{name}: an input that only running showed changed, or its result was gone"]
    before = min(reversed(earlier), key=unlike)
    told = explain(
        newest["components"], before["components"], newest.get("notes"), before.get("notes")
    )
    return [f"{name}: {told}"]
