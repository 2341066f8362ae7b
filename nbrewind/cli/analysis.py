"""The static analysis for the command line; all of it is Rust's, here it only changes clothes.

A cell is ``{"id": str, "source": str, "tags": [str]}``; only code cells belong here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nbrewind import _native

Cell = Mapping[str, Any]


def analyze(cells: Sequence[Cell]) -> dict[str, Any]:
    """What every cell reads, writes and changes, and the edges between cells."""
    found: dict[str, Any] = json.loads(_native.analyze_notebook(_encode(cells)))
    return found


def stale_audited(
    audited: Sequence[Cell], edited: Sequence[Cell], facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """``audited`` ran from top to bottom: which cells of ``edited``, not run since, are stale, and why."""
    recorded = () if facts is None else (json.dumps(facts),)
    found: dict[str, Any] = json.loads(_native.stale(_encode(audited), _encode(edited), *recorded))
    return found


def graph(cells: Sequence[Cell], fmt: str) -> str:
    """The dataflow graph as ``mermaid``, ``dot``, ``json`` or ``svg``; another format is a ``ValueError``."""
    drawn: str = _native.graph(_encode(cells), fmt)
    return drawn


def _encode(cells: Sequence[Cell]) -> str:
    return json.dumps(
        [
            {"id": cell["id"], "source": cell["source"], "tags": list(cell.get("tags", ()))}
            for cell in cells
        ]
    )
