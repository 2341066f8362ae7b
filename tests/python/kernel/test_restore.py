# ruff: noqa: E501 - a cell is one line here
"""Restore: every name has its content, shares what it shared, and what cannot come back says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.books import Book, restore
from tests.python.kernel.live import Live


def test_names_alias_views_and_functions_come_back(tmp_path: Path) -> None:
    book = Book(
        tmp_path,
        {
            "a": "import numpy as np\nimport pandas as pd\nl = [1]\nd = {'x': l}\nm = l",
            "b": "a = np.arange(6.0)\nv = a[2:5]\nr = np.arange(3)\nr.flags.writeable = False",
            "c": "k = 2\ndef f(x):\n    return x * k",
            "d": "df = pd.DataFrame({'x': [1.5, 2.5], 's': ['a', None], 'c': pd.Categorical(['u', 'v'])})\nw = df['x'].to_numpy()",
            "e": "class P:\n    n = 1\n    def go(self):\n        return f(self.n)\np = P()\nq = [p, p]",
            "f": "import functools\n@functools.lru_cache\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)",
            "g": "late = 1",
        },
    )
    book.audit()
    how, shown = restore(
        book,
        "f",
        """
print(d['x'] is l is m, v.base is a, np.shares_memory(a, v), a.dtype, r.flags.writeable)
a[3] = 99
k = 10
print(v[1], f(2), p.go(), q[0] is q[1] is p, isinstance(p, P), 'late' in dir())
df.iloc[0, 0] = 9
print(w[0], df.dtypes.astype(str).tolist(), fib(5), f.__globals__ is globals())
""",
    )
    assert set(how.values()) == {"loaded"}, how
    assert shown.splitlines() == [
        "True True True float64 False",
        "99.0 20 10 True True False",
        "9.0 ['float64', 'str', 'category'] 5 True",
    ]


def test_what_cannot_be_pickled_is_rebuilt_by_its_statements_alone(tmp_path: Path) -> None:
    book = Book(
        tmp_path,
        {
            "a": "print('slow')\ndata = [10, 20, 30, 40]",
            "b": "g = (i for i in data)\nother = print('not again')",
            "c": "first = next(g)",
        },
    )
    book.audit()
    how, shown = restore(book, "c", "print(next(g), first)")
    assert how["g"] == "rebuilt"
    assert shown == "20 10\n"


def test_what_cannot_be_rebuilt_is_a_stub_that_names_itself(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "x = 1\nopen('t.txt', 'w').close()\nf = open('t.txt')"})
    book.audit()
    (tmp_path / "t.txt").unlink()
    how, shown = restore(
        book, "a", "print(x)\ntry:\n    f.read()\nexcept RuntimeError as error:\n    print(error)"
    )
    assert how == {"x": "loaded", "f": "stub"}
    assert shown.startswith("1\n`f` was not restored: ")


def test_names_come_back_in_their_order(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "zz = 1\nmm = []", "b": "aa = mm\nzz = 2"})
    book.audit()
    how, shown = restore(book, "b", "print([n for n in globals() if n in {'zz', 'mm', 'aa'}])")
    assert set(how.values()) == {"loaded"}
    assert shown == "['zz', 'mm', 'aa']\n"


USES = (
    "np.array_equal(a, f)", "np.array(f)", "a == f", "np.isin(a, f)", "a @ f", "f @ a", "f % 2", "-f", "f & 1", "round(f)", "[1][f]",
    "open(f)", "f'{f}'", "setattr(f, 'x', 1)", "hasattr(f, 'x')", "copy.copy(f)", "f in [1]", "sorted([f, f])", "pd.Series([1, 2]) == f",
)  # fmt: skip


def test_no_use_of_a_stub_is_silent(tmp_path: Path) -> None:
    book = Book(
        tmp_path,
        {
            "a": "import copy\nimport numpy as np, pandas as pd\na = np.arange(3)",
            "b": "open('t.txt', 'w').close()\nf = open('t.txt')",
        },
    )
    book.audit()
    (tmp_path / "t.txt").unlink()
    probe = (
        f"for use in {USES!r}:\n"
        "    try:\n        print(use, eval(use))\n"
        "    except RuntimeError as error:\n        assert 'was not restored' in str(error), use\n"
        "print(f is None, isinstance(f, int))"
    )
    how, shown = restore(book, "b", probe)
    assert how["f"] == "stub"
    assert shown == "False False\n"


def test_random_state_and_working_directory_come_back(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    book = Book(
        tmp_path,
        {
            "a": "import os, random\nimport numpy as np\nrandom.seed(3)\nnp.random.seed(4)\nos.chdir('sub')\nos.environ['MY_VALUE'] = 'one'",
            "b": "first = random.random(), np.random.rand()",
        },
    )
    shown = book.run("audit")
    assert shown["b"] == []
    _, probe = restore(
        book,
        "a",
        "print((random.random(), np.random.rand()), os.path.basename(os.getcwd()), os.environ['MY_VALUE'])",
    )
    _, truth = restore(book, "b", "print(first)")
    assert probe.split(") ")[0] + ")" == truth.strip()
    assert probe.strip().endswith("sub one")


def test_restore_changes_nothing_when_the_run_is_unknown(tmp_path: Path) -> None:
    from nbrewind.cli.driver import Refused

    book = Book(tmp_path, {"a": "x = 1", "b": "y = 2"})
    book.audit()
    book.edit(c="z = 3")
    with pytest.raises(Refused, match="cell c is not in the store"):
        restore(book, "c", "print(1)")


def test_a_library_that_is_gone_keeps_nothing_else_from_coming_back(tmp_path: Path) -> None:
    (tmp_path / "lent.py").write_text("class Kept: pass")
    cells = {"a": "import json, lent", "b": "kept = lent.Kept()", "c": "x = [json]\ny = x"}
    book = Book(tmp_path, cells)
    book.audit()
    (tmp_path / "lent.py").unlink()
    how, shown = restore(
        book, "c", "print(y is x, x[0].dumps(x[1:]))\ntry: lent.Kept\nexcept RuntimeError: print(1)"
    )
    assert (how["x"], how["kept"], how["lent"]) == ("loaded", "stub", "stub")
    assert shown == "True []\n1\n"


def test_restore_can_be_undone(tmp_path: Path) -> None:
    book = Book(
        tmp_path,
        {
            "a": "x = [1]",
            "b": "x.append(2)\ny = x",
            "c": "%nbrewind goto a",
            "d": "print(x, 'y' in dir())",
            "e": "%nbrewind undo",
            "f": "print(x, y is x)",
        },
    )
    shown = book.audit()
    assert shown["d"] == [("stdout", "[1] False\n")]
    assert shown["f"] == [("stdout", "[1, 2] True\n")]


def test_what_is_live_and_equal_stays_and_undo_brings_it_back_as_it_was(tmp_path: Path) -> None:
    from .live import Live

    cells = {
        "a": "words = ['w']\nkept = words\nalone = [0]",
        "b": "k = 2\nalone.append(1)",
    }
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        kernel.run_all(cells)
        kernel.silently(
            "builtins = __import__('builtins'); builtins._before = id(words); del builtins"
        )
        assert kernel.ask("restore", cell="a")["ok"]
        shown = kernel.show(
            "print(id(words) == __import__('builtins')._before, kept is words, alone, 'k' in globals())"
        )
        assert shown == "True True [0] False\n"
        kernel.run("words.append('later')\nalone.append('later')", "c")
        assert kernel.ask("undo-restore")["undone"]
        assert kernel.show("print(words, kept is words, alone, k)") == "['w'] True [0, 1] 2\n"


def test_a_damaged_log_is_named_where_a_run_is_missed(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        kernel.run("x = 1", "a")
        kernel.run("y = 2", "b")
        assert kernel.ask("runs", cell="a")["damage"] is None
    (log,) = (tmp_path / ".nbrewind").rglob("log")
    content = bytearray(log.read_bytes())
    content[len(content) // 3] ^= 0x40
    log.write_bytes(bytes(content))
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="off", notebook="book.ipynb")
        found = kernel.try_ask("restore", cell="b")
        assert found["code"] == "unknown-run"
        assert "is damaged" in found["error"] and "nbrewind verify" in found["error"]
        assert "is damaged" in kernel.ask("runs", cell="b")["damage"]


def test_after_a_replay_a_restore_gives_the_state_of_the_replay(tmp_path: Path) -> None:
    cells = {"a": "t = 1", "b": "x = t * 2", "c": "y = 5", "d": "z = [y]"}
    probe = "print({n: globals()[n] for n in 'txyz' if n in globals()})"
    with Live(tmp_path / "here") as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        kernel.run_all(cells)
        first = kernel.ask("runs", cell="c")["runs"]
        # Nothing else than the run left: no state of its own.
        assert kernel.replay(cells, "a")["replayed"] == 4
        assert kernel.ask("runs", cell="c")["runs"] == first
        assert (
            kernel.ask("log")["runs"][-1]["checkpoint"] == kernel.ask("runs")["runs"][0]["run_id"]
        )
        cells["a"] = "t = 3"
        assert kernel.replay(cells, "a", may_restart=True)["executed"] == 2
        assert (
            kernel.ask("log")["runs"][-1]["checkpoint"] == kernel.ask("runs")["runs"][0]["run_id"]
        )
        newest, oldest = kernel.ask("runs", cell="c")["runs"]
        assert oldest["run_id"] == first[0]["run_id"] != newest["run_id"]
        found = kernel.ask("restore", cell="c")
        assert found["report"]["run_id"] == newest["run_id"]
        texts = [run["source"] for run in found["runs"] if not run["undone"]]
        assert texts == ["t = 3", "x = t * 2", "y = 5"]
        assert kernel.show(probe) == "{'t': 3, 'x': 6, 'y': 5}\n"
        kernel.ask("restore", run=oldest["run_id"])
        assert kernel.show(probe) == "{'t': 1, 'x': 2, 'y': 5}\n"

        # In another process: the state, and what led to it; also of a run that stands on replays.
        kernel.restart()
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        found = kernel.ask("restore", cell="d")
        texts = [run["source"] for run in found["runs"] if not run["undone"]]
        assert texts == list(cells.values())
        assert kernel.show(probe) == "{'t': 3, 'x': 6, 'y': 5, 'z': [5]}\n"
        kernel.run("w = t + 1", "e")
        kernel.restart()
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        found = kernel.ask("restore", cell="e")
        texts = [run["source"] for run in found["runs"] if not run["undone"] and run["cell"]]
        assert texts == [*cells.values(), "w = t + 1"]


def test_what_a_restore_cannot_take_back_is_told(tmp_path: Path) -> None:
    with Live(tmp_path / "here") as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        kernel.run("import math\nx = 1", "a")
        kernel.run("math.kk = 9", "b")
        report = kernel.ask("restore", cell="a")["report"]
        assert [text for text in report["stays"] if "math" in text]
        assert report["process"] == []
        kernel.restart()
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        report = kernel.ask("restore", cell="b")["report"]
        assert [text for text in report["process"] if "math" in text]
        assert report["stays"] == []
