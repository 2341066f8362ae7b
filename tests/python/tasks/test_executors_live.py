"""Executors, joblib and `nbrewind.cached` through real kernels: audited in one, repeated in another after an edit."""

from __future__ import annotations

from pathlib import Path

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


def test_calls_in_notebooks(tmp_path: Path) -> None:
    (tmp_path / "input1.txt").write_text("one")
    book = Book(tmp_path, CELLS)
    first = book.run("audit")
    assert counts(book) == (0, 10), book.reports
    again = book.run("repeat")
    assert again == first and counts(book) == (0, 0), book.reports

    # A cell that is edited executes, and its calls are replayed.
    book.edit(
        threads=CELLS["threads"].replace("\na", "\n# again\nsorted(a)"),
        processes=CELLS["processes"].replace("\nb, c", "\n(b, c, 1)"),
        joblib=CELLS["joblib"].replace("\nd", "\n(d, 1)"),
    )
    edited = book.run("repeat")
    assert counts(book) == (9, 0), book.reports
    assert edited["threads"] == first["threads"] and "[6, 8, 10]" in str(edited["processes"])

    # What only a worker process read is an input of its cell.
    (tmp_path / "input1.txt").write_text("two")
    changed = book.run("repeat")
    assert "two" in str(changed["processes"]), book.reports
    assert counts(book)[1] == 1, book.reports

    # An edit above reaches every call that uses it.
    book.edit(functions=CELLS["functions"].replace("K = 2", "K = 3"))
    after = book.run("repeat")
    fresh = Book(tmp_path / "fresh", book.cells)
    (tmp_path / "fresh" / "input1.txt").write_text("two")
    assert after == fresh.run("audit")
