"""Looks at stores without changing them: where a notebook's store is, whose it is, and which runs it holds.

Records are JSON. Nothing here loads a recorded value, so a store may be looked at before it is trusted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nbrewind._native import Store
from nbrewind.client import Refused
from nbrewind.listing import listed, of_notebook

# A store that another user wrote can hold pickles that run code when they are loaded.
TRUST_VARIABLE = "NBREWIND_TRUST"
STORE_VARIABLE = "NBREWIND_STORE"


def store_of(notebook: Path, store: str | None) -> Path:
    """Where the records of a notebook are: `--store`, else NBREWIND_STORE, else `.nbrewind` beside it."""
    chosen = store or os.environ.get(STORE_VARIABLE)
    return Path(chosen).resolve() if chosen else notebook.resolve().parent / ".nbrewind"


def check_trust(store: Path) -> None:
    """Refuse a store that other users could have written, unless the user said that they trust it."""
    if not store.exists() or os.environ.get(TRUST_VARIABLE) == "1":
        return
    for path in (store, *store.glob("writers/*")):
        found = path.stat()
        if found.st_uid not in {os.getuid(), 0}:
            raise Refused(
                f"{path} belongs to another user (uid {found.st_uid}). Loading its values can run code that they "
                f"wrote. If you trust them, set {TRUST_VARIABLE}=1, or copy the store as your own."
            )


def runs(
    store: Store, notebook: str, cell: str | None = None, folder: str | None = None
) -> list[dict[str, Any]]:
    """The notebook's recorded runs as the kernel protocol describes them, newest first; or those of one cell.

    A cell that has no run under this notebook's name may have been run under another name of it. `folder`: where the
    notebook is, if the store is beside it.
    """
    found = [json.loads(record["payload"]) for record in store.records("run")]
    own = of_notebook(found, notebook, folder)
    if cell is not None:
        own = [run for run in own if run["cell_id"] == cell] or [
            run for run in found if run["cell_id"] == cell
        ]
    sizes: dict[str, int] = {}
    for manifest in {manifest for run in own for manifest in run["state"].values()}:
        for record in store.records("manifest", manifest)[-1:]:
            sizes[manifest] = (json.loads(record["payload"]).get("data") or {}).get("bytes", 0)
    return [
        listed(run, sum(sizes.get(manifest, 0) for manifest in set(run["state"].values())))
        for run in reversed(own)
    ]


def outputs_of(store: Store, run_id: str) -> list[dict[str, Any]] | None:
    """The messages that a run published; None when the store does not have it."""
    for record in reversed(store.records("run")):
        run = json.loads(record["payload"])
        if run["run_id"] == run_id:
            return list(run["outputs"])
    return None
