"""Recorded runs as the kernel protocol lists them: the same from a kernel and from a store that no kernel has open."""

from __future__ import annotations

import os
from typing import Any


def of_notebook(
    runs: list[dict[str, Any]], notebook: str | None, folder: str | None
) -> list[dict[str, Any]]:
    """Runs under the notebook's name, and under names that no file in the folder bears any more: it was renamed.

    A copy that is still there keeps its own runs. Without a folder (the store is not beside the notebook, so that it
    may serve notebooks of other folders) only the name counts.
    """

    def is_gone(name: str | None) -> bool:
        return bool(folder and name) and not os.path.exists(os.path.join(folder or "", name or ""))

    return [run for run in runs if run["notebook"] == notebook or is_gone(run["notebook"])]


def listed(run: dict[str, Any], n_bytes: int) -> dict[str, Any]:
    """What a reader chooses runs by. `n_bytes`: what a restore of its state would load."""
    return {
        "run_id": run["run_id"],
        "kind": run.get("kind", "cell"),
        # The run that this is a replay of.
        "of": run.get("of"),
        "cell_id": run["cell_id"],
        "number": run["run_number"],
        "session": run["session"],
        "started": run["started"],
        "seconds": run["seconds"],
        "status": run["status"],
        "replayable": run["replayable"],
        "n_names": len(run["state"]),
        "n_bytes": n_bytes,
        "source": run["source"],
        "notebook": run["notebook"],
    }
