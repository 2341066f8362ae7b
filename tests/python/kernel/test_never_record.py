# ruff: noqa: E501 - a cell is one line here
"""Cells that are never recorded: they run, later cells see what they made, and nothing of them is in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbrewind._native import Store
from tests.python.kernel.live import Live
from tests.python.restore.checkpoint import elsewhere, restore, runs_of

CELLS = {
    "a": "x = [1]",
    "secret": "import os\npassword = 'correct horse'\nbox = ['battery staple']\nx.append('hidden')\nos.environ['NB_DOOR'] = 'opensesame'\nprint(password)",
    "alias": "same = box",
    "reader": "n = len(password)\nprint(n)",
    "other": "y = 5\nprint(y)",
    "env": "os.environ['NB_COLOUR'] = 'red'",
    "rebound": "password = 'public'",
    "reader2": "print(password)",
}
# What the cell has and nobody else gives away.
HIDDEN = ("correct horse", "battery staple", "opensesame", "hidden")


def run(kernel: Live, mode: str) -> dict[str, str]:
    """Run every cell; what became of each."""
    kernel.ask("configure", mode=mode, notebook="book.ipynb")
    n_before = len(kernel.events)
    for cell, source in CELLS.items():
        tags = ["nbrewind-never-record"] if cell == "secret" else []
        kernel.end_run(kernel.begin_run(source, cell, tags))
    while kernel.pump(0.05):
        pass
    return kernel.statuses(n_before)


def everything_in(folder: Path) -> bytes:
    """Every byte of the store, and every record and chunk of it as they were before they were packed."""
    store = Store(str(folder / ".nbrewind"), "r")
    found = [path.read_bytes() for path in (folder / ".nbrewind").rglob("*") if path.is_file()]
    for kind in ("run", "manifest", "replay", "settled", "task"):
        for record in store.records(kind):
            payload: dict[str, Any] = json.loads(record["payload"])
            found.append(record["payload"].encode())
            data = payload.get("data") or {}
            if data.get("head"):
                found.append(bytes(store.get(data["head"])))
            for item in (payload.get("ambient_state") or {}).values():
                if item["chunks"]:
                    found.append(bytes(store.get(item["chunks"])))
    return b"\n".join(found)


def test_a_cell_that_is_never_recorded(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        statuses = run(kernel, "audit")
        assert set(statuses.values()) == {"executed"}
        kernel.ask("configure", mode="off")
        assert kernel.show("print(x, same is box, os.environ['NB_DOOR'])") == (
            "[1, 'hidden'] True opensesame\n"
        )
    assert "secret" not in {found["cell_id"] for found in runs_of(tmp_path)}
    content = everything_in(tmp_path)
    assert [text for text in HIDDEN if text.encode() in content] == []
    assert b"public" in content
    # Cells that read what it made execute, the others are replayed.
    with Live(tmp_path) as kernel:
        statuses = run(kernel, "repeat")
        assert {cell for cell, status in statuses.items() if status == "executed"} == {
            "secret",
            "alias",
            "reader",
        }
        assert kernel.show("print(x, same is box, password, n)") == (
            "[1, 'hidden'] True public 13\n"
        )
    # A restore names what it could not bring back.
    with elsewhere(tmp_path) as kernel:
        how = restore(kernel, "other")
        assert how == {
            "x": "stub", "os": "loaded", "password": "stub", "box": "stub", "same": "stub", "n": "loaded", "y": "loaded",
        }  # fmt: skip
        shown = kernel.show(
            "try:\n    len(password)\nexcept RuntimeError as error:\n    print(error)"
        )
        assert "never recorded" in shown


def test_a_cell_that_says_so_itself_and_ran_before_recording_began(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.run("# nbrewind: never-record\nkey = 'correct horse'", "a")
        kernel.run("k = 1", "b")
        answer = kernel.ask("configure", mode="audit", notebook="book.ipynb")
        assert answer["baseline"]["taken"] == ["k"]
        assert "never recorded" in answer["baseline"]["not_taken"][0]["why"]
        assert kernel.show("print(len(key), k)") == "13 1\n"
    assert b"correct horse" not in everything_in(tmp_path)
