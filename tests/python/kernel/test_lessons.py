"""What lessons and analyses of other people do: libraries that hand out their own parts, mocks, star imports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbrewind._native import Store
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
    assert book.executed == set()


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


def test_what_holds_a_stream_of_the_kernel_comes_back_holding_it(tmp_path: Path) -> None:
    cells = {
        "hold": "import sys\nout, write = sys.stdout, sys.stderr.write\nclass Log:\n    to = out",
        "write": "print('said', file=out)\nn = write('told\\n')",
        "other": "x = 1",
    }
    book = Book(tmp_path / "here", cells)
    first = book.audit()
    assert book.repeat() == first
    assert book.executed == set()
    probe = "print(out is sys.stdout, Log.to is out, write('again\\n'))"
    how, shown = restore(book, "other", probe)
    assert set(how.values()) == {"loaded"}
    assert sorted(shown.splitlines()) == ["True True 6", "again"]


def test_an_object_that_asks_another_for_what_it_lacks_comes_back(tmp_path: Path) -> None:
    cells = {
        "make": "class Proxy:\n    def __init__(self, inner):\n        self.inner = inner\n"
        "    def __getattr__(self, name):\n        return getattr(self.inner, name)\np = Proxy([1])",
        "use": "p.append(2)",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    how, shown = restore(book, "use", "print(p.inner, p.count(2))")
    assert how["p"] == "loaded"
    assert shown == "[1, 2] 1\n"
    book.edit(more="p.append(3)\nprint(p.inner)")
    assert book.repeat()["more"] == [("stdout", "[1, 2, 3]\n")]
    assert book.executed == {"more"}


def test_a_closed_progress_bar_is_a_value(tmp_path: Path) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    cells = {
        "bars": "from tqdm import tqdm\nbar = tqdm(range(3))\nfor i in bar:\n    pass\n"
        "never = tqdm(total=3, disable=True)",
        "shown": "n = bar.n",
        "other": "x = 1",
    }
    book = Book(tmp_path / "here", cells)
    first = book.audit()
    assert book.repeat() == first
    assert book.executed == set()
    probe = "print(bar.n, bar.total, never.disable, len(tqdm._instances), bar.fp.write('said\\n'))"
    how, shown = restore(book, "other", probe)
    assert how["bar"] == how["never"] == "loaded"
    assert "3 3 True 0" in shown and "said" in shown


def test_widgets_share_nothing_by_the_kernel_that_all_have(tmp_path: Path) -> None:
    cells = {
        "make": "from comm import create_comm\na = create_comm(target_name='t')",
        "other": "b = create_comm(target_name='t')",
        "third": "x = 1",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    found = {}
    for record in Store(str(book.store), "r").records("manifest"):
        payload = json.loads(record["payload"])
        found.update({name: payload["facts"][name]["opaque"] for name in payload["names"]})
        assert payload["names"] != ["a", "b"]
    assert found["a"] == found["b"] == ["it speaks with a front end"]


def test_builtins_are_the_module_whatever_was_stored_and_loaded(tmp_path: Path) -> None:
    cells = {
        "make": "def func():\n    return 1",
        "look": "print(type(__builtins__).__name__, 'len' in dir(__builtins__))",
    }
    book = Book(tmp_path / "here", cells)
    assert book.audit()["look"] == [("stdout", "module True\n")]
    _, shown = restore(book, "look", "print(func(), type(__builtins__).__name__)")
    assert shown == "1 module\n"


def test_a_file_that_a_reader_used_up_comes_back_used_up(tmp_path: Path) -> None:
    cells = {
        "write": "import csv\nn = open('t.csv', 'w').write('a,b\\n1,2\\n')",
        "read": "file = open('t.csv')\nrows = csv.reader(file)",
        "use": "lines = list(rows)",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    how, shown = restore(book, "use", "print(lines, list(rows), file.read() == '')")
    assert "stub" not in how.values()
    assert shown == "[['a', 'b'], ['1', '2']] [] True\n"
