"""`nbrewind stale --audited A B --store DIR`: what an audit through a real kernel saw, beside the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nbrewind.cli.main import main
from tests.python.books import Book

CELLS = {
    "split": "values = [3, 4, 5]\nfirst, *rest = values",
    "table": "table = [0]",
    "set": "list.append(table, first)",
    "show": "print(first)",
    "look": "print(table)",
}


def _flagged(
    capsys: pytest.CaptureFixture[str], audited: Book, edited: Book, *options: Any
) -> set[str]:
    """Cells that were not edited and are not fresh."""
    arguments = ["stale", "--audited", audited.path, edited.path, "--json", *options]
    assert main([str(argument) for argument in arguments]) == 0
    states = json.loads(capsys.readouterr().out)["states"]
    return {cell for cell, state in states.items() if state in {"stale", "unknown"}}


def test_the_store_tells_what_the_text_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = Book(tmp_path / "audited", CELLS)
    book.audit()
    store = ("--store", book.store)
    # A number shares nothing with the list that it came from.
    appended = Book(tmp_path / "appended", CELLS)
    appended.cells = {
        "split": CELLS["split"],
        "new": "from heapq import heapify\nheapify(values)",
        **{cell: source for cell, source in CELLS.items() if cell != "split"},
    }
    appended.write()
    assert "show" in _flagged(capsys, book, appended)
    assert "show" not in _flagged(capsys, book, appended, *store)
    # Nothing that the text is known to do changes the list.
    deleted = Book(tmp_path / "deleted", CELLS)
    deleted.edit(set="")
    assert _flagged(capsys, book, deleted) == set()
    assert _flagged(capsys, book, deleted, *store) == {"look"}
    # Facts belong to the text that was run: of a notebook that was edited after its audit there are none.
    book.edit(split="values = [7, 8, 9]\nfirst, *rest = values")
    appended.edit(split=book.cells["split"])
    assert "show" in _flagged(capsys, book, appended, *store)
