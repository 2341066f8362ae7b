# ruff: noqa: E501 - cells read better on one line
"""Notebooks whose cells ask for tasks: which cells a repeat replays, and what it shows."""

from __future__ import annotations

from pathlib import Path

from tests.python.books import Book

LAZY = {
    "imports": "import dask, dask.array as da, dask.bag as db\ndask.config.set(scheduler='sync');",
    "load": "def load(i):\n    return list(range(i + 1))",
    "delayed": "parts = [dask.delayed(load)(i) for i in range(3)]\ntotal = dask.delayed(sum)(parts[2])",
    "array": "x = da.ones((20, 20), chunks=10).map_blocks(lambda block: block * 3)\nmean = x.mean()",
    "bag": "lines = db.read_text('lines.txt').map(len)\nnumbers = db.from_sequence(range(6), npartitions=2).map(lambda n: n * 2)",
    "use delayed": "[total.compute(), parts[1].compute()]",
    "use array": "float(mean.compute()), x.shape, float(x.sum().compute())",
    "use bag": "lines.compute(), numbers.sum().compute()",
}


def test_cells_that_read_lazy_values_are_replayed(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a\nbcd\n")
    book = Book(tmp_path, {name.replace(" ", "-"): text for name, text in LAZY.items()})
    first = book.audit()
    assert book.repeat() == first
    assert book.executed <= {"imports"}, {name: book.why(name) for name in book.executed}

    (tmp_path / "lines.txt").write_text("a\nbcd\nefghi\n")
    book.edit(load="def load(i):\n    return list(range(i + 10))")
    shown = book.repeat()
    assert {"use-delayed", "use-bag"} <= book.executed
    assert "use-array" not in book.executed
    assert shown == book.from_scratch()


def test_a_file_that_only_another_process_reads_is_an_input_of_the_cell(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("one")
    book = Book(
        tmp_path,
        {
            "imports": "import dask",
            "read": "def read(path):\n    return open(path).read()",
            "use": "dask.delayed(read)('data.txt').compute(scheduler='processes')",
        },
    )
    book.audit()
    (tmp_path / "data.txt").write_text("two")
    assert "two" in str(book.repeat()["use"])
