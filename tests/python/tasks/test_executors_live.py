"""Executors, joblib and `nbrewind.cached` through real kernels: audited in one, repeated in another after an edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.python.books import Book

CELLS = {
    "imports": """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from joblib import Parallel, delayed
import nbrewind
""",
    "functions": """
K = 2
def helper(x):
    return x * K
def work(x):
    return helper(x) + 1
def read(i):
    return open("in" + "put" + str(i) + ".txt").read()
@nbrewind.cached
def total(values):
    return sum(values)
""",
    "threads": """
with ThreadPoolExecutor(1) as pool:
    a = list(pool.map(work, range(3)))
a
""",
    "processes": """
with ProcessPoolExecutor(2) as pool:
    b = [future.result() for future in [pool.submit(helper, i) for i in range(3, 6)]]
    c = pool.submit(read, 1).result()
b, c
""",
    "joblib": "d = Parallel(n_jobs=2)(delayed(helper)(i) for i in range(6, 8))\nd",
    "sum": "total(a + b + d)",
}


def counts(book: Book) -> tuple[int, int]:
    return book.summary["tasks"]["hit"], book.summary["tasks"]["run"]


def shown(outputs: list[Any]) -> str:
    """The value that a cell shows."""
    [(_, data)] = outputs
    text: str = json.loads(data)["text/plain"]
    return text


def test_calls_in_notebooks(tmp_path: Path) -> None:
    (tmp_path / "input1.txt").write_text("one")
    book = Book(tmp_path, CELLS)
    first = book.run("audit")
    assert counts(book) == (0, 10), book.reports
    again = book.run("repeat")
    assert again == first and counts(book) == (0, 0), book.reports

    # Cells that are edited execute and their calls are replayed; what a worker process read is an input of its call.
    book.edit(
        threads=CELLS["threads"].replace("\na", "\n# again\nsorted(a)"),
        processes=CELLS["processes"].replace("\nb, c", "\n(b, c, 1)"),
        joblib=CELLS["joblib"].replace("\nd", "\n(d, 1)"),
    )
    (tmp_path / "input1.txt").write_text("two")
    edited = book.run("repeat")
    assert counts(book) == (8, 1), book.reports
    assert edited["threads"] == first["threads"]
    assert shown(edited["processes"]) == "([6, 8, 10], 'two', 1)"

    # An edit above reaches every call that uses it.
    book.edit(functions=CELLS["functions"].replace("K = 2", "K = 3"))
    after = book.run("repeat")
    assert {cell: shown(after[cell]) for cell in ("threads", "processes", "joblib", "sum")} == {
        "threads": "[1, 4, 7]",
        "processes": "([9, 12, 15], 'two', 1)",
        "joblib": "([18, 21], 1)",
        "sum": "87",
    }
    assert counts(book) == (1, 9), book.reports


KEPT = {
    "imports": "from concurrent.futures import ProcessPoolExecutor",
    "functions": """
K = 1
def work(x):
    return x * K
def keep(v):
    import builtins
    builtins.KEPT = v
def kept():
    import builtins
    return getattr(builtins, 'KEPT', None)
""",
    "pool": "pool = ProcessPoolExecutor(1)",
    "first": "pool.submit(work, 2).result()",
    "set": "pool.submit(keep, 5).result()",
    "get": "pool.submit(kept).result()",
    "other": "K = 10",
    "second": "pool.submit(work, 2).result()",
    "end": "pool.shutdown()",
}


def test_processes_of_a_pool_that_is_kept_hold_what_they_held(tmp_path: Path) -> None:
    book = Book(tmp_path, KEPT)
    first = book.audit()
    values = {cell: shown(first[cell]) for cell in ("first", "get", "second")}
    # Forked before `K` was ten.
    assert values == {"first": "2", "get": "5", "second": "2"}
    assert book.repeat() == first

    book.edit(get="pool.submit(kept).result(), 1", second="pool.submit(work, 2).result(), 1")
    edited = book.repeat()
    assert (shown(edited["get"]), shown(edited["second"])) == ("(5, 1)", "(2, 1)")
    tasks = {item["cell_id"]: item["tasks"] for item in book.reports}
    assert (tasks["first"]["hit"], tasks["first"]["run"]) == (1, 0), tasks

    # A result of such a call that was computed where `K` was ten is none of theirs.
    book.edit(functions=KEPT["functions"].replace("K = 1", "K = 10"))
    assert shown(book.repeat()["second"]) == "(20, 1)"
    book.edit(functions=KEPT["functions"])
    assert shown(book.repeat()["second"]) == "(2, 1)"


ENDED = {
    "imports": "from concurrent.futures import ProcessPoolExecutor",
    "functions": "FACTORS = [3]\ndef work(x):\n    return x * 2\ndef other(x):\n    return x * FACTORS[0]",
    "pool": "with ProcessPoolExecutor(1) as pool:\n    print(list(pool.map(work, range(2))))",
    "edited": "work(1)",
    "use": "[other(2), FACTORS]",
}


def test_names_that_are_not_loaded_yet_outlast_a_pool_that_is_made_again(tmp_path: Path) -> None:
    book = Book(tmp_path, ENDED)
    first = book.audit()
    book.edit(edited="work(1), 1", use="[other(2), FACTORS, 1]")
    again = book.repeat()
    assert again["pool"] == first["pool"]
    assert (shown(again["edited"]), shown(again["use"])) == ("(2, 1)", "[6, [3], 1]")
