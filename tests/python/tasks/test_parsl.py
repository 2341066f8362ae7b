# ruff: noqa: E501 - cells read better on one line
"""Parsl: apps are replayed through the memoizer, and captured where they run."""

from __future__ import annotations

import pytest

from tests.python.books import Book
from tests.python.tasks.session import run_session

pytest.importorskip("parsl", reason="parsl is not installed")

BEGIN = """
import os, parsl
from parsl import Config, bash_app, join_app, python_app
from parsl.executors import ThreadPoolExecutor
config = Config(executors=[ThreadPoolExecutor(max_threads=2, label="t")], run_dir="runs", initialize_logging=False)
parsl.load(config)
"""
WORK = """
K = {k}
def helper(x):
    return x + K
@python_app
def work(x, scale=2):
    return [helper(x) * scale]
@python_app
def total(parts, extra=None):
    return sum(p[0] for p in parts) + (extra[0] if extra else 0)
@python_app
def last(x):
    return -x
futures = [work(i) for i in range(4)]
result = last(total([f.result() for f in futures], extra=work(9, scale=1))).result(), config.memoizer
"""
END = "parsl.dfk().cleanup()\nparsl.clear()"


def test_a_second_session_runs_no_app(store):
    cells = [BEGIN, WORK.format(k=1), END]
    _, first, _ = run_session(store, *cells, engine=None, replay=False)
    assert (first.error, first.n_run, first.not_captured) == (None, 7, []), first
    _, again, _ = run_session(store, *cells, engine=None)
    assert (again.value, again.n_run, again.n_hit) == (first.value, 0, 7), again
    _, edited, _ = run_session(store, BEGIN, WORK.format(k=2), END, engine=None)
    # Parsl's own memoizer knows functions by their names.
    assert edited.n_run == 7 and edited.value != first.value
    assert any("work -> helper" in why for why in edited.why), edited.why


def test_what_parsl_draws_is_no_draw_of_an_app_that_runs_meanwhile(store):
    def work(draws):
        return f"""
import random, threading
# Globals would be inputs of the app, and have no content.
threading.begun, threading.go = threading.Event(), threading.Event()
@python_app
def slow():
    threading.begun.set()
    threading.go.wait(60)
    return {draws}
@python_app
def next_one():
    return 1
first = slow()
threading.begun.wait(60)
# Parsl picks an executor for it while the first app runs.
result = next_one().result()
threading.go.set()
result = first.result()
"""

    _, quiet, _ = run_session(store, BEGIN, work("0"), END, engine=None, replay=False)
    _, draws, _ = run_session(store, BEGIN, work("random.random()"), END, engine=None, replay=False)
    drawn = "slow: draws from a generator that belongs to the whole process, or seeds it, so it always runs"
    assert drawn not in quiet.not_captured and drawn in draws.not_captured, (quiet, draws)


REST = """
@bash_app
def shell(outputs=()):
    return f"echo made > {outputs[0]}"
@python_app
def fail(x):
    raise ValueError(x)
@join_app
def join(x):
    return one(x)
@python_app
def one(x):
    return [x + 1]
@python_app(cache=True)
def once(x):
    with open("ru" + "ns.txt", "a") as file:
        file.write("x")
    return x
from parsl.data_provider.files import File
made = os.path.abspath("made.txt")
shell(outputs=[File(made)]).result()
result = [os.path.exists(made), repr(fail(1).exception()), join(1).result()]
a, b = once(1), once(1)
result += [a.result(), b.result()]
# The file that it names has changed; Parsl knows such apps by their names and arguments.
result += [once(1).result(), open("ru" + "ns.txt").read()]
"""


def test_apps_with_effects_run_and_the_others_are_replayed(store, tmp_path):
    for replay in (False, True):
        _, cell, _ = run_session(store, BEGIN, REST, END, engine=None, replay=replay)
        assert cell.value == "[True, 'ValueError(1)', [2], 1, 1, 1, 'x']", cell
        (tmp_path / "made.txt").unlink()
        (tmp_path / "runs.txt").unlink()
    assert cell.n_hit == 1, cell


def test_a_memoizer_in_the_configuration_and_without_a_session(store):
    begin = BEGIN.replace(
        "Config(",
        "Config(memoizer=__import__('nbrewind.tasks.engines.parsl').tasks.engines.parsl.Memoizer(), ",
    )
    source = "@python_app\ndef one(x):\n    return [x + 1]\nresult = one(1).result()"
    off = "import nbrewind.tasks\nnbrewind.tasks.uninstall()"
    run_session(store, begin, source, END, engine=None, replay=False)
    _, cell, _, _, plain, _ = run_session(
        store, begin, source, END, off, begin + source, END, engine=None
    )
    assert (cell.value, cell.n_run, cell.n_hit) == ("[2]", 0, 1), cell
    assert (plain.value, plain.n_hit) == ("[2]", 0), plain


def test_cells_are_replayed_beside_the_one_that_starts_parsl(tmp_path):
    book = Book(
        tmp_path,
        {
            "imports": "import parsl\nfrom parsl import python_app",
            "load": "parsl.load(parsl.Config(executors=[parsl.ThreadPoolExecutor(max_threads=2)], run_dir='runs', usage_tracking=0))",
            "app": "@python_app\ndef double(x):\n    return 2 * x",
            "use": "futures = [double(i) for i in range(3)]\n[one.result() for one in futures]",
            "total": "total = 6",
            "count": "parsl.dfk().task_count",
            "end": "parsl.dfk().cleanup()\nparsl.clear()",
        },
    )
    shown = book.audit()
    assert shown["count"] == [("execute_result", '{"text/plain": "3"}')]
    # Its log is no more a file that a cell writes than those of other engines.
    for cell in ("app", "use", "total"):
        assert book.why_not(cell) == "", (cell, book.why_not(cell))
    book.repeat()
    # It starts for those who need it, and is no other engine for being started again.
    assert book.executed == {"load", "count", "end"}, {one: book.why(one) for one in book.executed}
    assert "parsl.dfk" in book.why("count")

    book.edit(app="@python_app\ndef double(x):\n    return x + x + 1")
    assert book.repeat()["use"] == [("execute_result", '{"text/plain": "[1, 3, 5]"}')]
    assert {"app", "use"} <= book.executed
    book.edit(load=book.cells["load"].replace("max_threads=2", "max_threads=1"))
    book.repeat()
    assert {"load", "use"} <= book.executed
    assert (book.summary["tasks"]["run"], book.summary["tasks"]["hit"]) == (0, 3)
