"""How cells that execute show things does not depend on which cells were replayed before them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from nbrewind.kernel import settings
from tests.python.books import Book

CELLS = {
    "a": "import matplotlib.pyplot as plt\nimport old\nimport logging\n"
    "logging.getLogger('urllib3').setLevel(logging.ERROR)\nimport urllib3",
    "b": "fig, ax = plt.subplots(figsize=(1, 1))",
    "c": "old.call()",
    "d": "ax.set_title('one')\nfig",
    "e": "old.call()\nlogging.getLogger('urllib3').warning('no')",
}


def test_figures_warnings_and_logs_are_shown_as_before(tmp_path: Path) -> None:
    book = Book(tmp_path / "book", CELLS)
    (book.folder / "old.py").write_text("import warnings\ndef call(): warnings.warn('old')\n")
    first = book.audit()
    assert "image/png" in str(first["d"])
    # Python says it once in a process; here, once in a cell.
    assert "UserWarning: old" in str(first["c"])
    assert "UserWarning: old" in str(first["e"])
    book.edit(d="ax.set_title('two')\nfig", e=CELLS["e"] + "\n1")
    shown = book.repeat()
    assert book.executed == {"d", "e"}
    assert "image/png" in str(shown["d"])
    assert str(shown["e"]).startswith(str(first["e"])[:-1])


def test_what_listens_for_warnings_looks_like_any_filter() -> None:
    # scikit-learn describes all filters to its workers, pattern by pattern.
    watch = settings.Watch()
    watch.begin()
    try:
        patterns = [one[1] for one in warnings.filters if one[1] is not None]
        assert all(isinstance(one, str) or isinstance(one.pattern, str) for one in patterns)
    finally:
        watch.end(has_modules=False)


def test_a_picture_that_is_bytes_is_shown_again(tmp_path: Path) -> None:
    cells = {
        "a": "class Dot:\n    def _repr_png_(self):\n        return b'\\x89PNG\\r\\n'\n"
        "    def __repr__(self):\n        return 'dot'",
        "b": "Dot()",
    }
    book = Book(tmp_path / "here", cells)
    shown = book.audit()
    assert json.loads(shown["b"][0][1])["image/png"] == "iVBORw0K"
    assert book.repeat() == shown
    assert book.executed == set()


def test_warnings_of_doubtful_syntax_are_shown_once_by_a_replay(tmp_path: Path) -> None:
    cells = {"a": "n = 1000\nprint(n is 1000)", "b": "def f():\n    return n is 5\nf()"}
    book = Book(tmp_path / "here", cells)
    shown = book.audit()
    assert "SyntaxWarning" in str(shown["a"])
    assert book.repeat() == shown
    assert book.executed == set()
    book.edit(a="n = 1001\nprint(n is 1000)")
    again = book.repeat()
    assert book.executed == {"a", "b"}
    assert [text.count("SyntaxWarning") for _, text, *_ in again["a"]] == [
        text.count("SyntaxWarning") for _, text, *_ in shown["a"]
    ]
