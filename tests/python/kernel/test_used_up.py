# ruff: noqa: E501 - a case is one line of a table
"""What goes on where it stood: iterators of which cells took a part, or all.

Nothing tells from outside how far a generator is, so that a restore that left out one `list(g)` would go unseen.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.books import Book, restore
from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

CASES = [
    Case("a generator that a cell used up", {"a": "def evens(n):\n    'Even numbers.'\n    yield from range(0, n, 2)", "b": "g = evens(6)\nprint(*g)", "c": "print(list(g), g.__name__)"}, {"c": "print(list(g), g.__qualname__, g.gi_code == evens.__code__)"}, "c"),
    Case("an expression that ended", {"a": "k = 2\ng = (k * i for i in range(3))\ntotal = sum(g)", "b": "print(total, list(g))", "c": "h = g"}, {"b": "print(total, list(g), 1)"}, "b"),
    Case("files that were read and closed", {"a": "with open('t.txt') as f:\n    text = f.read()\nwith open('o.txt', 'w', encoding='latin-1') as g:\n    g.write(text)", "b": "print(f, f.newlines, g, f.closed, f.buffer.raw)"}, {"b": "print(f, f.newlines, g, f.closed, f.buffer.raw, 1)"}, "b", files={"t.txt": "one\ntwo\n"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_ended_is_a_value(case: Case, lab: Lab) -> None:
    found = lab.check(case.generated())
    assert found.differences == []
    assert found.executed == [set(case.executed.split())], found.missed


CELLS = {
    "make": "open('t.txt', 'w').write('a\\nb\\nc\\n')\ndef three():\n    yield from 'xyz'\ndef take():\n    return next(taken)",
    "ended": "ended = (i for i in range(3))\nlist(ended)",
    "begun": "begun = three()\nfor letter in begun:\n    break",
    "taken": "taken = three()",
    "again": "take()",
    "lines": "lines = open('t.txt')",
    "first": "for line in lines:\n    break",
}


def test_a_restore_takes_from_iterators_what_cells_took(tmp_path: Path) -> None:
    book = Book(tmp_path / "here", CELLS)
    book.audit()
    probe = "print(list(ended), list(begun), list(taken), list(lines))"
    how, shown = restore(book, "first", probe)
    assert "stub" not in how.values()
    assert how["ended"] == "loaded"
    assert shown == "[] ['y', 'z'] ['y', 'z'] ['b\\n', 'c\\n']\n"
