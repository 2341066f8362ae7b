"""After a restore `_`, `Out` and their kin hold what cells showed, or say why they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from nbrewind.cli import driver
from nbrewind.cli.notebook import read_notebook
from tests.python.books import Book, outputs_of

CELLS = {
    "a": "import numpy as np\nimport pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3]})\n41",
    "b": "'a text'",
    "c": "df",
    "d": "df.describe()",
    "e": "np.float64(2.5)",
}


def _probe(book: Book, *steps: tuple[str, dict[str, Any]] | str) -> tuple[list[Any], list[str]]:
    """Requests and cells in one new kernel, one after the other: the answers, and what the cells showed."""

    async def go() -> tuple[list[Any], list[str]]:
        notebook = read_notebook(book.path)
        answers, shown = [], []
        async with driver.Driver(notebook, "audit", book.store) as kernel:
            for number, step in enumerate(steps):
                if isinstance(step, tuple):
                    answers.append(await kernel.ask(step[0], **step[1]))
                    continue
                cell = nbformat.v4.new_code_cell(step)
                cell["id"] = f"probe{number}"
                notebook.node.cells.append(cell)
                await kernel.run_cell(notebook.find(cell["id"]))
                found = outputs_of(notebook)[cell["id"]]
                shown.append("".join(str(item[-1]) for item in found))
        return answers, shown

    return driver.run(go())


def _restore(cell: str) -> tuple[str, dict[str, Any]]:
    return "restore", {"cell": cell}


def test_results_come_back(tmp_path: Path) -> None:
    book = Book(tmp_path, CELLS)
    book.audit()
    answers, shown = _probe(
        book,
        _restore("e"),
        "print(_ + 1, type(__).__name__, ___ is df, sorted(Out), _1, Out[2], Out[3] is df)",
        "print(__ is Out[4], list(_4.columns), _5)\n7",
        "print(_, __, list(___.columns))",
    )
    assert answers[0]["report"]["results"] == []
    assert shown[0] == "3.5 DataFrame True [1, 2, 3, 4, 5] 41 a text True\n"
    assert shown[1].startswith("True ['a'] 2.5\n")
    assert shown[2] == "7 2.5 ['a']\n"


def test_cells_are_counted_on(tmp_path: Path) -> None:
    book = Book(tmp_path, CELLS)
    book.audit()
    texts = list(CELLS.values())
    _, shown = _probe(
        book,
        _restore("e"),
        "7",
        "print(Out[6], Out[1], In[5], _i2, len(In))",
        _restore("b"),
        "print(sorted(Out), len(In), In[6], In[8][:5])",
    )
    assert shown[1] == f"7 41 {texts[4]} {texts[1]} 8\n"
    assert shown[2] == "[1, 2] 9 7 print\n"


def test_undo_of_a_restore_counts_back(tmp_path: Path) -> None:
    book = Book(tmp_path, CELLS)
    book.audit()
    _, shown = _probe(
        book,
        "x = 1",
        _restore("e"),
        ("undo-restore", {}),
        "print(x, len(In), '_i3' in globals())",
    )
    assert shown[-1] == "1 3 False\n"


def test_what_was_not_kept_says_so(tmp_path: Path) -> None:
    cells = {
        "a": "rows = [[1], [2]]\n5",
        "b": "(rows, 1)",
        "c": "(one for one in rows)",
        "d": "rows",
        "e": "rows.append([3])",
    }
    book = Book(tmp_path, cells)
    book.audit()
    answers, shown = _probe(
        book, _restore("e"), "print(Out[1])", "print(len(Out[2]))", "print(repr(_4))", "_ + 1"
    )
    missing = "\n".join(answers[0]["report"]["results"])
    assert "`Out[2]`, `Out[3]`: no name holds it" in missing
    assert "`Out[4]`: the name that held it has changed since" in missing
    assert "Out[1]" not in missing
    assert shown[0] == "5\n"
    assert "`Out[2]` was not restored" in shown[1]
    assert "has changed since" in shown[2]
    assert "`Out[4]` was not restored" in shown[3]


def test_a_result_waits_with_its_name(tmp_path: Path) -> None:
    cells = {
        "a": "import numpy as np\nbig = np.arange(9_000_000.0)",
        "b": "big",
        "c": "small = 1",
    }
    book = Book(tmp_path, cells)
    book.audit()
    answers, shown = _probe(book, _restore("c"), "print(float(_[-1]), _ is Out[2], Out[2] is big)")
    how = {item["name"]: item["how"] for item in answers[0]["report"]["names"]}
    assert how["big"] == "pending" and answers[0]["report"]["results"] == []
    assert shown == ["8999999.0 True True\n"]


def test_an_earlier_cell_and_its_undo(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "x = 1\nx + 10", "b": "x = 2\nx + 20"})
    book.audit()
    _, shown = _probe(
        book,
        "'here'",
        _restore("a"),
        "print(_, sorted(Out))",
        ("undo-restore", {}),
        "print(_, Out[1])",
    )
    assert shown[1] == "11 [1]\n"
    assert shown[2] == "here here\n"


def test_a_cell_goes_on_with_a_restored_result_in_repeat(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "5", "b": "[6]", "c": "print(__)"})
    book.audit()
    book.edit(c="print(__ + 1)")
    assert book.repeat()["c"] == [("stdout", "6\n")]
    assert book.executed == {"c"}
