# ruff: noqa: E501 - a case is one line of a table
"""What goes on where it stood: generators, files and readers of which cells took a part, or all; locks and queues.

What stands in the middle can be compared, and not be put there: a restore repeats every `next(g)`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.books import Book, restore
from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

NUMS = "def nums(n):\n    for i in range(n):\n        got = yield i\n        if got:\n            print(got)"

CASES = [
    Case("a generator that a cell used up", {"a": "def evens(n):\n    'Even numbers.'\n    yield from range(0, n, 2)", "b": "g = evens(6)\nprint(*g)", "c": "print(list(g), g.__name__)"}, {"c": "print(list(g), g.__qualname__, g.gi_code == evens.__code__)"}, "c"),
    Case("an expression that ended", {"a": "k = 2\ng = (k * i for i in range(3))\ntotal = sum(g)", "b": "print(total, list(g))", "c": "h = g"}, {"b": "print(total, list(g), 1)"}, "b"),
    Case("files that were read and closed", {"a": "with open('t.txt') as f:\n    text = f.read()\nwith open('o.txt', 'w', encoding='latin-1') as g:\n    g.write(text)", "b": "print(f, f.newlines, g, f.closed, f.buffer.raw)"}, {"b": "print(f, f.newlines, g, f.closed, f.buffer.raw, 1)"}, "b", files={"t.txt": "one\ntwo\n"}),
    Case("a generator in the middle is a value", {"a": NUMS, "b": "g = nums(9)\nnext(g)", "c": "h = g\nprint(next(h), h.send('s'))", "d": "print(next(g), g is h)", "e": "x = 1"}, {"e": "x = 2"}, "e"),
    Case("one that has not begun is loaded, one that has begins again", {"a": NUMS, "b": "g = nums(9)", "c": "print(next(g))", "d": "print(next(g))"}, {"d": "print(next(g), 1)"}, "d"),
    Case("how far a generator is counts", {"a": NUMS, "b": "g = nums(9)", "c": "y = next(g)", "d": "print(next(g))", "e": "print(list(g))"}, {"c": "y = next(g)\ny = next(g)"}, "c d e"),
    Case("what the code of a generator reads later", {"a": "def ks():\n    while True:\n        yield k", "b": "g = ks()", "c": "k = 1", "d": "print(next(g))"}, {"c": "k = 2"}, "c d"),
    Case("what a generator holds is its own as well", {"a": "x = [1, 2]\ng = (i for i in x)", "b": "print(next(g))", "c": "x.append(3)", "d": "print(list(g))"}, {"c": "x.append(4)"}, "c d", may="a"),
    Case("a function stands apart from the generators it made", {"a": NUMS, "b": "g = nums(3)\nnext(g)", "c": "h = nums(2)\nprint(list(h))"}, {"c": "print(list(nums(2)), 1)"}, "c"),
    Case("a generator that acts when it is dropped", {"a": "def f():\n    try:\n        yield 1\n        yield 2\n    finally:\n        print('bye')", "b": "g = f()\nnext(g)", "c": "del g\nprint('c')"}, {"b": "g = f()\nnext(g)\nz = 1"}, "b c"),
    Case("arguments of every kind", {"a": "def f(a, /, b, *rest, c=3, **more):\n    yield a, b, rest, c, more\n    yield from rest", "b": "g = f(1, 2, 3, 4, d=5)", "c": "print(list(g))"}, {"c": "print(list(g), 1)"}, "c"),
    Case("a file that is read line by line", {"a": "f = open('t.txt')", "b": "print(f.readline(), f.newlines)", "c": "print(f.read(), f.newlines)", "d": "f.seek(0)\nprint(f.readlines())", "e": "f.close()", "x": "x = 1"}, {"x": "x = 2"}, "x", files={"t.txt": "one\ntwo\nthree\n"}),
    Case("a file is opened again where it stood", {"a": "f = open('t.txt', encoding='utf-8')", "b": "print(f.readline(), f.newlines)", "c": "print(f.read(), f.newlines, f.tell())"}, {"c": "print(f.read(), f.newlines, f.tell(), 1)"}, "c", files={"t.txt": "öne\ntwo\nthree\n"}),
    Case("bytes of a file", {"a": "f = open('t.txt', 'rb')", "b": "print(f.read(3))", "c": "print(f.read(), f.tell())"}, {"c": "print(f.read(), f.tell(), 1)"}, "c", files={"t.txt": "one\ntwo\nthree\n"}),
    Case("a file that another cell changes while it is open", {"a": "with open('t.txt', 'w') as o:\n    o.write('A')", "b": "f = open('t.txt')", "c": "z = 1", "d": "print(f.read())"}, {"c": "with open('t.txt', 'w') as o:\n    o.write('B')"}, "b c d"),
    Case("a file that was read ahead and changed", {"a": "with open('t.txt', 'w') as o:\n    o.write('A\\nA\\n')", "b": "f = open('t.txt')\nprint(f.readline())", "c": "with open('t.txt', 'w') as o:\n    o.write('B\\nB\\nB\\n')", "d": "print(f.read())"}, {"a": "with open('t.txt', 'w') as o:\n    o.write('C\\nC\\n')"}, "a b c d"),
    Case("an open file that was changed outside", {"a": "f = open('t.txt')", "b": "print(f.readline())", "c": "print(f.read())"}, {}, "a b c", files={"t.txt": "one\ntwo\n"}, file_edit={"t.txt": "one\nnew\n"}),
    Case("a reader of csv and its file", {"a": "import csv\nf = open('t.csv')\nr = csv.reader(f)", "b": "print(list(r), r.line_num)", "c": "f.close()", "d": "x = 1"}, {"d": "x = 2"}, "d", files={"t.csv": "a,b\n1,2\n"}),
    Case("a reader of csv that has begun is made again", {"a": "import csv\nr = csv.reader(['a;b', '1;2', '3;4'], delimiter=';')", "b": "print(next(r))", "c": "print(list(r), r.line_num)"}, {"c": "print(list(r), r.line_num, 1)"}, "c"),
    Case("a writer of csv", {"a": "import csv, io\nout = io.StringIO()\nw = csv.writer(out, delimiter=';')", "b": "w.writerow([1, 2])", "c": "w.writerow([3, 4])\nprint(out.getvalue(), w.dialect.delimiter)"}, {"c": "w.writerow([5, 6])\nprint(out.getvalue(), w.dialect.delimiter)"}, "c"),
    Case("a file that is open to be written", {"a": "f = open('o.txt', 'w')", "b": "f.write('one\\n')", "c": "f.write('two\\n')", "d": "f.close()", "e": "print(open('o.txt').read())", "x": "x = 1"}, {"x": "x = 2"}, "x"),
    Case("a file that is written goes on where it was", {"a": "f = open('o.txt', 'w')", "b": "f.write('one\\n')\nf.flush()", "c": "print(open('o.txt').read(), f.tell())", "d": "f.write('two\\n')", "e": "f.close()", "f": "print(open('o.txt').read())"}, {"d": "f.write('three\\n')"}, "d e f"),
    Case("what is not written yet nobody sees", {"a": "f = open('o.txt', 'w', encoding='latin-1')", "b": "f.write('öne\\n')", "c": "print(open('o.txt').read())", "d": "f.write('two\\n')", "e": "f.close()", "f": "print(open('o.txt', 'rb').read())"}, {"d": "f.write('three\\n')"}, "d e f"),
    Case("a file that ends with what it has to write", {"a": "f = open('o.txt', 'w')", "b": "f.write('one\\n')", "c": "f = None", "d": "print(open('o.txt').read())"}, {"b": "f.write('three\\n')"}, "b c d"),
    Case("rows of csv in a file", {"a": "import csv\nf = open('o.csv', 'w', newline='')", "b": "w = csv.writer(f)", "c": "w.writerow([1, 2])", "d": "w.writerow([3])", "e": "f.close()", "f": "print(open('o.csv', 'rb').read())"}, {"d": "w.writerow([4])"}, "d e f"),
    Case("a log that an object keeps open", {"a": "class Log:\n    def __init__(self):\n        self.file = open('o.txt', 'w')\n    def say(self, *words):\n        print(*words, file=self.file)", "b": "log = Log()", "c": "log.say('one')", "d": "log.say('two')", "e": "log.file.close()", "f": "print(open('o.txt').read())"}, {"d": "log.say('three')"}, "d e f"),
    Case("bytes that wait to be written", {"a": "f = open('o.txt', 'wb')", "b": "f.write(b'one')", "c": "f.write(b'two')", "d": "f.close()", "e": "print(open('o.txt').read())"}, {"c": "f.write(b'three')"}, "a b c d e"),
    Case("a cache comes back with what is in it, and how long ago it was used", {"a": "import functools\n@functools.lru_cache(maxsize=3)\ndef f(n, k=1):\n    print('compute', n, k)\n    return [n]", "b": "f(1); f(2); f('a', k=3)", "c": "y = f(1)", "d": "f(5)\nprint(f(1) is y)\nf(2)\nprint(f.cache_info())"}, {"d": "f(5)\nprint(f(1) is y)\nf(2)\nprint(f.cache_info(), 1)"}, "d"),
    Case("a cache of a method knows its objects", {"a": "import functools\nclass F:\n    @functools.cache\n    def fib(self, n):\n        return n if n < 2 else self.fib(n - 1) + self.fib(n - 2)", "b": "x = F()", "c": "print(x.fib(10))", "d": "print(x.fib(11), F.fib.cache_info())"}, {"d": "print(x.fib(11), F.fib.cache_info(), 1)"}, "d"),
    Case("a cache whose keys compare themselves", {"a": "import functools\nclass K:\n    def __init__(self, v): self.v = v\n    def __hash__(self): return hash(self.v)\n    def __eq__(self, o): return self.v == o.v\n@functools.lru_cache()\ndef f(n):\n    return [n.v]", "b": "k = K('x')\ny = f(k)", "c": "print(f(K('x')) is y, f.cache_info())"}, {"c": "print(f(K('x')) is y, f.cache_info(), 1)"}, "c"),
    Case("a cache that tells types apart is filled again", {"a": "import functools\n@functools.lru_cache(typed=True)\ndef f(n):\n    print('compute', n)\n    return n", "b": "f(1); f(1.0)", "c": "f(1)\nprint(f.cache_info())"}, {"c": "f(1)\nprint(f.cache_info(), 1)"}, "b c"),
    Case("locks that nobody holds", {"a": "import threading\nlock = threading.Lock()\nbox = {'lock': lock, 'again': threading.RLock()}\nready = threading.Event()", "b": "with lock, box['again']:\n    ready.set()", "c": "print(ready.is_set(), box['lock'] is lock, lock.locked())"}, {"c": "print(ready.is_set(), box['lock'] is lock, lock.locked(), 1)"}, "c"),
    Case("a lock that is held", {"a": "import threading\nlock = threading.Lock()", "b": "lock.acquire()", "c": "print(lock.locked(), lock.acquire(blocking=False))"}, {"c": "print(lock.locked(), lock.acquire(blocking=False), 1)"}, "b c"),
    Case("queues", {"a": "import queue\nq = queue.Queue(3)\np = queue.PriorityQueue()\nq.put([1])", "b": "p.put(q.get())\nq.put(2)", "c": "print(q.qsize(), p.get(), q.get(), q.maxsize)"}, {"c": "print(q.qsize(), p.get(), q.get(), q.maxsize, 1)"}, "c"),
    Case("attributes of a named tuple's class", {"a": "from collections import namedtuple\nCard = namedtuple('Card', 'rank suit')", "b": "Card.__str__ = lambda self: self.rank + self.suit", "c": "card = Card('7', 'h')\nprint(str(card))"}, {"c": "card = Card('8', 'h')\nprint(str(card))"}, "c"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_goes_on_is_a_value(case: Case, lab: Lab) -> None:
    found = lab.check(case.generated())
    assert found.differences == []
    assert found.executed == [set(case.executed.split())], found.missed


UNCHANGED = {
    "make": f"{NUMS}\nimport csv\nopen('t.csv', 'w').write('a,b\\n1,2\\n')",
    "begin": "g = nums(9)\nf = open('t.csv')",
    "next": "print(next(g), f.readline())",
    "send": "print(g.send('it'))",
    "rows": "f.seek(0)\nr = csv.reader(f)",
    "list": "print(list(r), r.line_num)",
    "last": "print(g.gi_frame is None, next(g))",
}


def test_what_is_in_the_middle_is_replayed(tmp_path: Path) -> None:
    book = Book(tmp_path / "here", UNCHANGED)
    made = book.audit()
    assert book.repeat() == made
    assert book.executed == set(), book.reports


def test_a_file_has_what_waited_when_the_kernel_ends(tmp_path: Path) -> None:
    book = Book(tmp_path / "here", {"open": "f = open('o.txt', 'w')", "write": "f.write('one')"})
    book.audit()
    written = book.folder / "o.txt"
    assert written.read_text() == "one"
    written.unlink()
    book.repeat()
    assert book.executed == set(), book.reports
    assert written.read_text() == "one"


def test_a_repeat_that_begins_again_finds_a_file_as_it_was_before_it_was_written_on(
    tmp_path: Path,
) -> None:
    cells = {
        "open": "f = open('o.txt', 'w')",
        "one": "f.write('one ')\nf.flush()",
        "write": "f.write('two ')\nf.flush()",
        "thread": "import threading\nt = threading.Thread(target=print)",
        "read": "print(open('o.txt').read(), t.is_alive())",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    book.edit(write="f.write('three ')\nf.flush()")
    shown = book.repeat()
    assert book.executed == {"write", "thread", "read"}
    assert shown["read"] == [("stdout", "one three  False\n")]


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
