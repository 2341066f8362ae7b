"""A recorded run as the kernel protocol lists it: the same from a kernel and from a store that no kernel has open."""

from __future__ import annotations

from typing import Any


def listed(run: dict[str, Any], n_bytes: int) -> dict[str, Any]:
    """What a reader chooses runs by. `n_bytes`: what a restore of its state would load."""
    return {
        "run_id": run["run_id"],
        "kind": run.get("kind", "cell"),
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
