"""Notebooks as the contents manager knows them: where they and their stores are, their cells, and their outputs.

A path is always a contents path under the server's root. What leaves the root, through `..` or a link, is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nbformat
from jupyter_core.utils import ensure_async

from nbrewind import records
from nbrewind._native import Store
from nbrewind.client import Cell, Refused
from nbrewind.server.errors import Trouble

Found = TypeVar("Found")


@dataclass(frozen=True)
class Place:
    """A notebook under the server's root, and its store (which may not exist yet)."""

    path: str
    file: Path
    store: Path


async def place_of(contents: Any, path: object) -> Place:
    """Where a contents path is. Raises `Trouble` for what is not a notebook file under the root."""
    if not isinstance(path, str) or not path.strip("/") or "\0" in path:
        raise Trouble("bad-request", "`path` is the notebook's path from the server's root")
    root = getattr(contents, "root_dir", None)
    if not root:
        raise Trouble("bad-request", "this server's contents are not files, so they have no store")
    path = path.strip("/")
    parts = path.split("/")
    top = Path(root).resolve()
    file = Path(root, *parts).resolve()
    if ".." in parts or not file.is_relative_to(top):
        raise Trouble("outside-root", f"{path} is outside the server's root")
    is_hidden = await ensure_async(contents.is_hidden(path))
    if (is_hidden and not contents.allow_hidden) or not file.is_file():
        raise Trouble("no-notebook", f"there is no notebook at {path}")
    store = records.store_of(file, None)
    # Whoever runs the server may have put the store elsewhere; a link in the notebook's folder may not.
    if not os.environ.get(records.STORE_VARIABLE) and not store.resolve().is_relative_to(top):
        raise Trouble("outside-root", f"the store of {path} is outside the server's root")
    return Place(path, file, store)


async def in_thread(work: Callable[[], Found]) -> Found:
    """Blocking work, beside the server's loop."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def runs(place: Place, cell: str | None) -> list[dict[str, Any]]:
    """The notebook's recorded runs, newest first; none when there is no store yet."""

    def look() -> list[dict[str, Any]]:
        if not place.store.is_dir():
            return []
        folder = place.file.parent
        beside = str(folder) if place.store == folder / ".nbrewind" else None
        return records.runs(Store(str(place.store), "r"), place.file.name, cell, beside)

    return await in_thread(look)


async def recorded_outputs(place: Place, run_id: str) -> list[dict[str, Any]] | None:
    """The messages that a run published, if its record is in the notebook's store here."""

    def look() -> list[dict[str, Any]] | None:
        if not place.store.is_dir():
            return None
        return records.outputs_of(Store(str(place.store), "r"), run_id)

    return await in_thread(look)


async def why_untrusted(place: Place) -> str | None:
    """Why values of this store must not be loaded; None when they may be."""

    def look() -> str | None:
        try:
            records.check_trust(place.store)
        except Refused as error:
            return str(error)
        return None

    return await in_thread(look)


async def check_trust(place: Place) -> None:
    """Refuse to have values loaded from a store that other users could have written."""
    await in_thread(lambda: records.check_trust(place.store))


async def read(contents: Any, place: Place) -> Any:
    """The notebook as it is on disk."""
    model = await ensure_async(contents.get(place.path, content=True, type="notebook"))
    return nbformat.from_dict(model["content"])


def code_cells(node: Any) -> list[Cell]:
    """The code cells of a notebook. Raises `Trouble` when it is too old for cell ids."""
    found = []
    for cell in node.cells:
        if cell.cell_type == "code":
            if not cell.get("id"):
                raise Trouble(
                    "bad-request", "the notebook has no cell ids; open it in JupyterLab and save it"
                )
            tags = tuple(cell.metadata.get("tags", ()))
            found.append(Cell(cell["id"], cell.source, tags, cell))
    return found


async def write_outputs(contents: Any, place: Place, shown: dict[str, Cell]) -> list[str]:
    """Put outputs into the notebook as it is on disk now; returns the cells that were edited or deleted meanwhile."""
    node = await read(contents, place)
    left = dict(shown)
    for cell in node.cells:
        new = left.get(cell.get("id", ""))
        if new is not None and cell.cell_type == "code" and cell.source == new.source:
            del left[new.id]
            cell["outputs"] = new.node["outputs"]
            cell["execution_count"] = new.node["execution_count"]
            # As in JupyterLab: what was executed for this user is shown to them without asking.
            cell["metadata"]["trusted"] = True
    if len(left) < len(shown):
        await ensure_async(
            contents.save({"type": "notebook", "format": "json", "content": node}, place.path)
        )
    return list(left)
