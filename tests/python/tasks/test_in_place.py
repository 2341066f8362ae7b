# ruff: noqa: E501 - cells and edits read better on one line
"""Tasks that change in place what other tasks, or the user, see as well."""

from __future__ import annotations

from pathlib import Path

from tests.python.books import Book
from tests.python.tasks.session import run_session

FUNCTIONS = """
import dask, os
import numpy as np, pandas as pd
def make(n):
    return [n, 2]
def table(n):
    return {'rows': [n, 2], 'n': 1}
def ones(n):
    return np.full(300_000, n)
def frame(n):
    return pd.DataFrame({'v': [n, 2]})
def append(xs):
    xs.append(3)
    return len(xs)
def increase(array):
    array += 1
    return 1
def widen(frame):
    frame['w'] = frame.v * 2
    return len(frame)
def look(xs):
    return len(xs)
def rows(table):
    return table['rows']
def same(xs):
    return xs
def total(xs):
    return float(sum(xs))
def of_rows(table):
    return sum(table['rows'])
def columns(frame):
    return list(frame.columns)
def ten(x):
    return x * 10
def setting(xs):
    xs.append(int(os.environ.get('NB_SETTING', '7')))
    return len(xs)
def failing(xs):
    xs.append(3)
    raise ValueError('no')
async def later(xs):
    xs.append(3)
    return 1
"""
HUNDRED = "lambda x: x * 100"
MADE = "kept = client.submit(make, {n})\n"
ASK = "\nresult = (done, client.submit({by}, client.submit(total, kept)).result())"
ASKED = ASK.format(by="ten")
OTHERWISE = ASK.format(by=HUNDRED)


def change(function: str) -> str:
    return f"done = client.submit({function}, kept).result()"


# Name -> what is run in the first session, and in the second; `n` is another number in every case.
CASES = {
    "what follows is edited": (
        MADE + change("append") + ASKED,
        MADE + change("append") + OTHERWISE,
    ),
    "it changes nothing any more": (MADE + change("append") + ASKED, MADE + change("look") + ASKED),
    "it begins to": (MADE + change("look") + ASKED, MADE + change("append") + ASKED),
    "a method of a list": (
        MADE + "done = client.submit(list.append, kept, 4).result()" + ASKED,
        MADE + "done = None" + ASKED,
    ),
    "it fails afterwards": (
        MADE + "done = str(client.submit(failing, kept).exception())" + ASKED,
        MADE + "done = 'no'" + ASKED,
    ),
    "nobody can know what it will do": (
        MADE + change("setting") + ASKED,
        "client.run(os.environ.update, {{'NB_SETTING': '8'}})\n" + MADE + change("setting") + ASKED,
    ),
    "a coroutine": (MADE + change("later") + ASKED, MADE + "done = 1" + ASKED),
    "an array": (
        MADE.replace("make", "ones") + change("increase") + ASKED,
        MADE.replace("make", "ones") + change("increase") + OTHERWISE,
    ),
    "a frame": (
        MADE.replace("make", "frame") + change("widen") + ASKED.replace("total", "columns"),
        MADE.replace("make", "frame")
        + change("widen")
        + ASKED.replace("total", "columns").replace("ten", HUNDRED),
    ),
    "a part of it": (
        MADE.replace("make", "table")
        + "part = client.submit(rows, kept)\ndone = client.submit(append, part).result()"
        + ASKED.replace("total", "of_rows"),
        MADE.replace("make", "table")
        + "part = client.submit(rows, kept)\ndone = client.submit(append, part).result()"
        + OTHERWISE.replace("total", "of_rows"),
    ),
    "the same object under another key": (
        MADE
        + "part = client.submit(same, kept)\ndone = client.submit(append, part).result()"
        + ASKED,
        MADE
        + "part = client.submit(same, kept)\ndone = client.submit(append, part).result()"
        + OTHERWISE,
    ),
    "a scattered value": (
        "kept = client.scatter({{'a': [{n}, 2]}})['a']\n" + change("append") + ASKED,
        "kept = client.scatter({{'a': [{n}, 2]}})['a']\n" + change("append") + OTHERWISE,
    ),
    "the future itself": (
        MADE + change("append") + "\nresult = (done, kept.result())",
        MADE + change("append") + "\nresult = (done, kept.result(), 0)",
    ),
    "two alike": (
        "one, two = [client.submit(make, {n}, pure=False) for _ in range(2)]\ndone = client.submit(append, one).result()\nresult = (done, client.submit(total, two).result())",
        "one, two = [client.submit(make, {n}, pure=False) for _ in range(2)]\ndone = client.submit(append, one).result()\nresult = (done, client.submit(total, two).result(), 0)",
    ),
    "two alike in one graph": (
        "one, two = [dask.delayed(make)({n}) for _ in range(2)]\nresult = dask.delayed(lambda xs, n: sum(xs) + n)(two, dask.delayed(append)(one)).compute()",
        "one, two = [dask.delayed(make)({n}) for _ in range(2)]\nresult = dask.delayed(lambda xs, n: sum(xs) + n + 0)(two, dask.delayed(append)(one)).compute()",
    ),
    "persisted only now": (
        "lazy = dask.delayed(make)({n})\nresult = [dask.delayed(one)(lazy).compute() for one in (append, total)]",
        "lazy = dask.delayed(make)({n}).persist()\nresult = [dask.delayed(one)(lazy).compute() for one in (append, total)]",
    ),
}
GRAPHS = {
    "one graph": (
        "lazy = dask.delayed(make)({n})\nresult = dask.delayed(lambda xs, n: total(xs) + n)(lazy, dask.delayed(append)(lazy)).compute()",
        "lazy = dask.delayed(make)({n})\nresult = dask.delayed(lambda xs, n: total(xs) + n + 1)(lazy, dask.delayed(append)(lazy)).compute()",
    ),
    "asked for itself": (
        "lazy = dask.delayed(make)({n})\nresult = dask.compute(lazy, dask.delayed(append)(lazy))",
        "lazy = dask.delayed(make)({n})\nresult = dask.compute(lazy, dask.delayed(append)(lazy), 1)",
    ),
    "a part in one graph": (
        "lazy = dask.delayed(table)({n})\nresult = dask.delayed(lambda xs, n: of_rows(xs) + n)(lazy, dask.delayed(append)(dask.delayed(rows)(lazy))).compute()",
        "lazy = dask.delayed(table)({n})\nresult = dask.delayed(lambda xs, n: of_rows(xs) + n + 1)(lazy, dask.delayed(append)(dask.delayed(rows)(lazy))).compute()",
    ),
}


def compare(store, cases, engine) -> None:
    texts = [[source.format(n=n + 10) for source in pair] for n, pair in enumerate(cases.values())]
    first, second = ([FUNCTIONS, *(pair[at] for pair in texts)] for at in (0, 1))
    run_session(store, *first, engine=engine, replay=False)
    other = store.with_name("other")
    for cells in (first, second):
        right = run_session(other, *cells, engine=engine, replay=False)
        found = run_session(store, *cells, engine=engine)
        for name, cell, plain in zip(["functions", *cases], found, right, strict=True):
            assert (cell.value, cell.error) == (plain.value, None), (name, cell, plain)


def test_objects_that_a_task_changes_in_place_are_never_taken_for_what_another_one_gave(store):
    compare(store, CASES | GRAPHS, "distributed")


def test_the_same_on_threads_of_this_process(store):
    compare(store, GRAPHS, "threads")


# Looking at what `make` gives takes 0.8 s, and what is done with it nothing.
SLOW = """
import time
class Slow:
    def __init__(self, rows):
        self.rows = rows
    def __reduce__(self):
        time.sleep(0.8)
        return Slow, (list(self.rows),)
def make():
    return Slow([1])
def count(slow, n):
    return len(slow.rows) + n
def add(slow):
    slow.rows.append(1)
    return 1
def leave(slow):
    return 1
"""
LOOKED_AT = "kept = client.submit(make)\ncounts = [client.submit(count, kept, n).result() for n in range(8)]"
THEN = "done = client.submit({}, kept).result()\nresult = client.submit(lambda x: x * 10, client.submit(count, kept, 50)).result()"


def test_what_takes_too_long_to_be_looked_at_counts_as_changed(store):
    first = (SLOW, LOOKED_AT + "\nresult = counts", THEN.format("add"))
    recorded = run_session(store, *first, engine="distributed", replay=False)
    assert [cell.value for cell in recorded[1:]] == [str([*range(1, 9)]), "520"]
    assert any("takes too long to be looked at" in text for text in recorded[1].not_captured)
    second = (*first[:2], THEN.format("leave"))
    assert run_session(store, *second, engine="distributed")[2].value == "510"


PIPELINE = """
def clean(frame):
    frame['w'] = frame.v * 2
    return frame
def score(frame):
    return int(frame.w.sum())
parts = [dask.delayed(clean)(dask.delayed(frame)(n)) for n in range(4)]
result = dask.compute(*[dask.delayed(score)(part) for part in parts])
"""


def test_what_is_changed_by_the_only_task_that_is_given_it_costs_no_hit(store):
    for engine in ("distributed", "threads"):
        place = store.with_name(engine)
        run_session(place, FUNCTIONS, PIPELINE, engine=engine, replay=False)
        [_, same] = run_session(place, FUNCTIONS, PIPELINE, engine=engine)
        assert (same.value, same.n_run) == ("(4, 6, 8, 10)", 0), same
        [_, edited] = run_session(
            place, FUNCTIONS, PIPELINE.replace("frame.w.sum()", "frame.w.max()"), engine=engine
        )
        assert (edited.value, edited.ran) == ("(4, 4, 4, 6)", ["score"] * 4), edited


NOTEBOOK = {
    "imports": "from dask.distributed import Client",
    "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
    "functions": "def make():\n    return [1, 2]\ndef extend(xs):\n    xs.append(3)\n    return len(xs)\ndef total(xs):\n    return sum(xs)",
    "kept": "kept = client.submit(make)",
    "extend": "client.submit(extend, kept).result()",
    "look": "kept.result()",
    "use": "client.submit(total, kept).result()",
}


def test_cells_that_see_what_a_task_changed_are_executed(tmp_path: Path) -> None:
    book = Book(tmp_path, NOTEBOOK)
    first = book.audit()
    assert "[1, 2, 3]" in str(first["look"]) and '"6"' in str(first["use"])
    assert "extend changes in place what make gave" in book.why_not("extend")
    assert book.repeat() == first
    book.edit(functions=NOTEBOOK["functions"].replace("return sum(xs)", "return sum(xs) * 10"))
    assert '"60"' in str(book.repeat()["use"])
    book.edit(functions=NOTEBOOK["functions"].replace("xs.append(3)", "xs = [*xs, 3]"))
    shown = book.repeat()
    assert "[1, 2]" in str(shown["look"]) and '"3"' in str(shown["use"])
    # From now on nothing is changed, and all is replayed.
    book.repeat()
    assert book.repeat() == shown
    assert book.executed <= {"imports", "cluster"}, {name: book.why(name) for name in book.executed}
