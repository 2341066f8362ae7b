"""What lessons and analyses of other people do: libraries that hand out their own parts, mocks, star imports."""

from __future__ import annotations

from pathlib import Path

from tests.python.books import Book, restore

KEEPER = """
def _remembering(_kept={}):
    def remember(key, value):
        return _kept.setdefault(key, value)
    kept = _kept
    return lambda key, value: kept.setdefault(key, value)


remember = _remembering()
"""


def test_a_function_that_a_library_keeps_under_another_name_is_the_librarys(tmp_path: Path) -> None:
    cells = {
        "path": "import sys\nsys.path.insert(0, 'site-packages')",
        "library": "from keeper import *",
        "use": "x = remember('x', [1])",
        "other": "y = remember('y', [2])",
    }
    book = Book(tmp_path / "here", cells)
    packages = book.folder / "site-packages"
    packages.mkdir()
    (packages / "keeper.py").write_text(KEEPER)
    book.audit()
    probe = "import keeper\nprint(remember is keeper.remember, x, y)"
    how, shown = restore(book, "other", probe)
    assert "stub" not in how.values()
    assert shown == "True [1] [2]\n"
    book.edit(other="y = remember('y', [3])")
    book.repeat()
    assert book.statuses["use"] == "replayed"


def test_looking_at_a_mock_leaves_it_as_it_is(tmp_path: Path) -> None:
    cells = {
        "make": "from unittest.mock import MagicMock\nm = MagicMock()\nm.go.return_value = 3",
        "other": "n = m.go()",
        "look": "print(n, sorted(vars(m)['_mock_children']), m.mock_calls)",
    }
    book = Book(tmp_path / "here", cells)
    assert book.audit()["look"] == [("stdout", "3 ['go'] [call.go()]\n")]


def test_star_imports_of_libraries_and_comments_seed_nothing(tmp_path: Path) -> None:
    cells = {
        "numbers": "import numpy as np\nz = np.random.rand(2)",
        "star": "from math import *",
        "comment": "# the state in which it begins\nx = [1.0, sqrt(4)]",
        "draw": "y = np.random.rand(2)  # from a generator that nobody seeded\nprint(len(y))",
        "read": "# its state\nprint(x)",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    book.repeat()
    assert book.executed == {"star"}


def test_what_a_string_or_a_name_says_of_seeding_counts(tmp_path: Path) -> None:
    cells = {
        "library": "import numpy as np",
        "seed": "exec('np.random.seed(1)  # twice')",
        "draw": "print(np.random.rand())",
    }
    book = Book(tmp_path / "here", cells)
    first = book.audit()["draw"]
    book.edit(seed="exec('np.random.seed(2)  # twice')")
    assert book.repeat()["draw"] != first
    assert "draw" in book.executed
