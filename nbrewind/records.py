"""Looks at stores without changing them: where a notebook's store is, whose it is, and which runs it holds.

Records are JSON. Nothing here loads a recorded value, so a store may be looked at before it is trusted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nbrewind import checkpoints
from nbrewind._native import Store, analyze_cell
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
    found = checkpoints.of_store(store)
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


def recorded_facts(store: Store, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the newest run of these cells from the top, in one session, says of each beside its text.

    ``cells`` are code cells as the analysis takes them. The answer is ``RecordedFacts`` of the analysis: of every cell
    the names that its run bound and changed, the files that it wrote, and which names shared nothing with others when
    it was done. Facts belong to the text that was run and to what ran before it, so they end at the first cell that has
    another text now, did not run in its turn, or failed.
    """
    sessions: dict[str, list[dict[str, Any]]] = {}
    for record in store.records("run"):
        run = json.loads(record["payload"])
        sessions.setdefault(run["session"], []).append(run)
    found: dict[str, Any] = {}
    for runs in sessions.values():
        by_cell = _from_the_top(runs, cells)
        # The newest of those that got equally far.
        if len(by_cell) >= len(found):
            found = by_cell
    return {"cells": {cell: _facts_of_run(store, run) for cell, run in found.items()}}


def _from_the_top(
    runs: list[dict[str, Any]], cells: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """By cell, the runs of a session as far as they are those of the cells, each once, in their order."""
    page = [cell for cell in cells if cell["source"].strip()]
    found: dict[str, dict[str, Any]] = {}
    for run, cell in zip(runs, page, strict=False):
        is_in_turn = run["cell_id"] == cell["id"] and not run["lineage"]["between"]
        text = json.loads(analyze_cell(cell["source"]))["fingerprint"]
        if not is_in_turn or run["status"] != "ok" or run["source_fp"] != text:
            break
        if cell["id"] in found:
            # Copies share their id.
            break
        found[cell["id"]] = run
    return found


def _facts_of_run(store: Store, run: dict[str, Any]) -> dict[str, Any]:
    manifests = {
        manifest: json.loads(store.records("manifest", manifest)[-1]["payload"])
        for manifest in {*run["state"].values(), *run["effects"]["writes"]}
        if store.records("manifest", manifest)
    }
    after = {
        name: facts for manifest in manifests.values() for name, facts in manifest["facts"].items()
    }
    before = run["inputs"]["names"]
    written = {
        name for key in run["effects"]["writes"] for name in manifests.get(key, {}).get("names", ())
    }
    touched = set(run["inputs"]["touched"])
    bound = sorted(written - touched)

    def content(facts: dict[str, dict[str, Any]], name: str) -> str | None:
        return facts.get(name, {}).get("fp")

    changed = [
        name
        for name in sorted(touched)
        # A name also gets a new version when it shares objects with others than before.
        if content(before, name) is None or content(before, name) != content(after, name)
    ]
    # What a value without content holds is not known, so it may hold any of the others; and a run that cannot be
    # replayed did something that its record does not tell.
    is_clear = (
        run["replayable"]
        and all(content(after, name) is not None for name in {*bound, *touched})
        and all(facts["fp"] is not None for facts in before.values())
    )
    apart = [
        name
        for name in bound
        if is_clear and manifests.get(run["state"].get(name, ""), {}).get("names") == [name]
    ]
    return {
        "writes": bound,
        "mutates": changed,
        "files_written": sorted(
            {item["path"] for item in run["effects"]["files"] if item["digest"] != "folder"}
        ),
        "apart": apart,
    }
