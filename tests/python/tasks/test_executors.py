# ruff: noqa: E501 - cells and edits read better on one line
"""Executors of `concurrent.futures`: what one session has computed the next one replays, and nothing else."""

from __future__ import annotations

import os

import pytest

from tests.python.tasks import session


def run_session(store, *cells, engine=None, **options):
    """Without Dask, unless a test asks for it."""
    return session.run_session(store, *cells, engine=engine, **options)


POOLS = {
    "threads": "from concurrent.futures import *\nPool = ThreadPoolExecutor",
    "processes": "from concurrent.futures import *\nPool = ProcessPoolExecutor",
    "loky": "from joblib.externals.loky import *\nPool = ProcessPoolExecutor",
}
pools = pytest.mark.parametrize("pool", POOLS)
# Starting workers anew takes loky a second each time.
quick_pools = pytest.mark.parametrize("pool", ["threads", "processes"])

WORK = """
K = {k}
def helper(x):
    return x + K
def work(x, scale=2):
    return [helper(x) * scale, x]
with Pool(2) as pool:
    first = pool.submit(work, 1)
    second = pool.submit(work, x=2, scale=3)
    mapped = list(pool.map(work, range(4)))
    result = first.result(), second.result(), mapped
"""


@pools
def test_a_second_session_runs_no_call(store, pool):
    cells = [POOLS[pool] + WORK.format(k=10)]
    [first] = run_session(store, *cells, replay=False, hash_seed=1)
    assert (first.error, first.n_run, first.not_captured) == (None, 6, []), first
    assert {entry["task"] for entry in first.executed} == {"work"}
    assert all(entry["seconds"] is not None for entry in first.executed)
    edit = POOLS[pool] + WORK.format(k=11)
    again, edited = run_session(store, *cells, edit, hash_seed=2)
    assert (again.value, again.n_run, again.n_hit, again.error) == (first.value, 0, 6, None), again
    assert edited.n_run == 6 and edited.value != first.value
    assert any("work -> helper" in why for why in edited.why), edited.why


def test_what_one_engine_computed_another_replays(store):
    dask = "import dask\ndef work(x):\n    return [x, x * 2]\nresult = list(dask.compute(*[dask.delayed(work)(i) for i in range(3)]))"
    on_pool = "\ndef work(x):\n    return [x, x * 2]\nwith Pool(2) as pool:\n    result = list(pool.map(work, range(3)))"
    run_session(store, dask, engine="sync", replay=False)
    for name in ("threads", "loky"):
        [cell] = run_session(store, POOLS[name] + on_pool)
        assert (cell.value, cell.n_run) == ("[[0, 0], [1, 2], [2, 4]]", 0), (name, cell)
    other = store.with_name("other")
    run_session(other, POOLS["processes"] + on_pool, replay=False)
    [cell] = run_session(other, dask, engine="sync")
    assert (cell.value, cell.n_run) == ("[[0, 0], [1, 2], [2, 4]]", 0), cell


# Of the kinds that a fingerprint by name or by text gets wrong.
EDITS = {
    "a body": ("def f(x):\n    return x * 2", "def f(x):\n    return x * 3", "pool.submit(f, 2)"),
    "a helper": (
        "def g(x):\n    return x + 1\ndef f(x):\n    return g(x)",
        "def g(x):\n    return x + 1000\ndef f(x):\n    return g(x)",
        "pool.submit(f, 2)",
    ),
    "a lambda": ("f = lambda x: x * 2", "f = lambda x: x * 3", "pool.submit(f, 2)"),
    "a function among the arguments": (
        "def g(x):\n    return x + 1\ndef f(call, x):\n    return call(x)",
        "def g(x):\n    return x + 5\ndef f(call, x):\n    return call(x)",
        "pool.submit(f, g, 2)",
    ),
    "a helper of a function among the arguments": (
        "def h(x):\n    return x + 1\ndef g(x):\n    return h(x)\ndef f(call, x):\n    return call(x)",
        "def h(x):\n    return x + 5\ndef g(x):\n    return h(x)\ndef f(call, x):\n    return call(x)",
        "pool.submit(f, g, 2)",
    ),
    "a lambda among the arguments": (
        "g = lambda x: x + 1\ndef f(call, x):\n    return call(x)",
        "g = lambda x: x + 5\ndef f(call, x):\n    return call(x)",
        "pool.submit(f, g, 2)",
    ),
    "a method": (
        "class A:\n    def f(self, x):\n        return x + 1\na = A()",
        "class A:\n    def f(self, x):\n        return x + 5\na = A()",
        "pool.submit(a.f, 2)",
    ),
    "a partial": (
        "import functools\ndef g(x, y):\n    return x + y\nf = functools.partial(g, 1)",
        "import functools\ndef g(x, y):\n    return x + y\nf = functools.partial(g, 5)",
        "pool.submit(f, 2)",
    ),
}


@pytest.mark.parametrize("pool", ["threads", "loky"])
def test_an_edit_of_any_kind_is_seen(store, pool):
    def cells(at: int) -> list[str]:
        begin = f"{POOLS[pool]}\npool = Pool(1)"
        return [begin, *(f"{edit[at]}\nresult = {edit[2]}.result()" for edit in EDITS.values())]

    run_session(store, *cells(0), replay=False)
    both = run_session(store, *cells(0), *cells(1)[1:])
    same, edited = both[: len(EDITS) + 1], both[len(EDITS) :]
    right = ["6", "1002", "6", "7", "7", "7", "7", "7"]
    for name, kept, value, cell in zip(EDITS, same[1:], right, edited[1:], strict=True):
        assert (kept.n_hit, kept.n_run) == (1, 0), (name, kept)
        assert (cell.value, cell.n_run) == (value, 1), (name, cell)
        assert cell.value != kept.value


def test_workers_that_began_before_an_edit_give_nothing_to_keep(store):
    # The workers were forked with the old function; what they compute is not what was asked for.
    begin = (
        POOLS["processes"]
        + "\npool = Pool(1)\ndef f(x):\n    return x + 1\nresult = pool.submit(f, 1).result()"
    )
    edit = "def f(x):\n    return x + 100\nresult = pool.submit(f, 2).result()"
    _, stale = run_session(store, begin, edit, replay=False)
    assert stale.value == "3" and any(
        "not the one that was planned" in text for text in stale.not_captured
    ), stale
    [cell] = run_session(store, POOLS["processes"] + "\npool = Pool(1)\n" + edit)
    assert (cell.value, cell.n_run) == ("102", 1)


def test_globals_of_workers_count(store):
    source = (
        POOLS["processes"]
        + "\nimport nbrewind\nK = 1\ndef f(x):\n    return x + K\nwith Pool(1) as pool:\n    a = pool.submit(f, 1).result()\n    K = 10\n    result = a, pool.submit(f, 1).result()"
    )
    [first] = run_session(store, source, replay=False)
    assert first.value == "(2, 2)"
    [again] = run_session(store, source)
    # The first one is replayed; the second runs in a worker that was forked then.
    assert again.value == "(2, 2)" and again.n_run == 1
    # And is no stored result of a worker that was forked later.
    run_session(store, source.replace("K = 1\n", "K = 10\n"), replay=False)
    [other] = run_session(store, source)
    assert other.value == "(2, 2)"


@quick_pools
def test_mapped_calls_are_planned_one_by_one(store, pool):
    source = (
        POOLS[pool]
        + "\ndef f(x):\n    return [x] * 2\nwith Pool(2) as pool:\n    result = list(pool.map(f, range({start}, {stop}), chunksize=4))"
    )
    run_session(store, source.format(start=0, stop=6), replay=False)
    [more] = run_session(store, source.format(start=2, stop=9))
    assert (more.n_hit, more.n_run) == (4, 3), more
    assert more.value == repr([[x, x] for x in range(2, 9)])
    [again] = run_session(store, source.format(start=0, stop=9))
    assert (again.n_hit, again.n_run) == (9, 0)


SEMANTICS = """
import threading, time
def slow(x, flag=None):
    return x
def fail(x):
    raise ValueError(x)
with Pool(1) as pool:
    fs = [pool.submit(slow, i) for i in range(3)]
    done = sorted(f.result(timeout=60) for f in as_completed(fs))
    sets = wait(fs)
    bad = pool.submit(fail, 7)
    error = repr(bad.exception())
    try:
        # One call: Python 3.11.2 can hang when a pool of processes ends after `map` has cancelled one.
        list(pool.map(fail, [1]))
    except ValueError as raised:
        error += repr(raised)
    called = []
    fs[0].add_done_callback(called.append)
    result = done, len(sets.done), error, called == [fs[0]], fs[0].cancel(), fs[0].running()
try:
    pool.submit(slow, 0)
except RuntimeError as raised:
    result += ("after shutdown" in str(raised) or "shutdown" in str(raised),)
"""


@quick_pools
def test_futures_are_what_they_were(store, pool):
    expected = "([0, 1, 2], 3, 'ValueError(7)ValueError(1)', True, False, False, True)"
    for replay, n_run in ((False, 5), (True, 2)):
        [cell] = run_session(store, POOLS[pool] + SEMANTICS, replay=replay)
        # Errors are not stored: the calls that raise run again.
        assert (cell.value, cell.error, cell.n_run) == (expected, None, n_run), cell


def test_a_cancelled_call_is_not_stored(store):
    source = """
import threading
gate, entered = threading.Event(), threading.Event()
def hold(gate, entered):
    entered.set()
    gate.wait(60)
def f(x):
    return x
with Pool(1) as pool:
    first = pool.submit(hold, gate, entered)
    entered.wait(60)
    second = pool.submit(f, 1)
    result = [second.cancel()]
    gate.set()
result += [second.cancelled(), first.result()]
"""
    [cell] = run_session(store, POOLS["threads"] + source, replay=False)
    assert (cell.value, cell.error) == ("[True, True, None]", None)
    [after] = run_session(
        store,
        POOLS["threads"]
        + "\ndef f(x):\n    return x\nwith Pool(1) as pool:\n    result = pool.submit(f, 1).result()",
    )
    assert after.n_run == 1


IN_PLACE = {
    "an argument": "data = []\ndef f(x):\n    x.append(1)\n    return len(x)\ncall = lambda: pool.submit(f, data)",
    "a global": "data = []\ndef f():\n    data.append(1)\n    return len(data)\ncall = lambda: pool.submit(f)",
    "a bound method": "data = []\ncall = lambda: pool.submit(data.append, 1)",
    "an attribute": "class A:\n    pass\ndata = A()\ndef f(a):\n    a.x = 5\n    return 1\ncall = lambda: pool.submit(f, data)",
    "an array": "import numpy as np\ndata = np.zeros(3)\ndef f(i):\n    data[i] = 1.0\n    return i\ncall = lambda: pool.submit(f, 1)",
    "a generator of numbers": "import random\nrandom.seed(1)\ndata = None\ndef f():\n    return random.random()\ncall = lambda: pool.submit(f)",
    "a result that others have": "data = [1]\ndef f():\n    return data\ncall = lambda: pool.submit(f)",
}


def test_threads_that_change_what_others_see_always_run(store):
    cells = [
        f"{POOLS['threads']}\n{source}\nwith Pool(1) as pool:\n    made = call().result()\nresult = made, data if type(data).__name__ != 'A' else vars(data), made is data"
        for source in IN_PLACE.values()
    ]
    first = run_session(store, *cells, replay=False)
    again = run_session(store, *cells)
    for name, before, after in zip(IN_PLACE, first, again, strict=True):
        assert before.error is None, (name, before)
        assert (after.value, after.n_run) == (before.value, 1), (name, after)


@quick_pools
def test_what_a_call_prints_is_printed_again(store, pool):
    source = (
        POOLS[pool]
        + """
import contextlib, io, sys
def f(x):
    print("working on", x)
    return x
kept = io.StringIO()
with contextlib.redirect_stdout(kept), Pool(1) as pool:
    pool.submit(f, 1).result()
result = kept.getvalue()
"""
    )
    [first] = run_session(store, source, replay=False)
    [again] = run_session(store, source)
    assert again.n_run == 0 and again.value == "'working on 1\\n'", again
    if pool == "threads":
        assert first.value == again.value


@quick_pools
def test_files_that_calls_read_and_write(store, tmp_path, pool):
    source = (
        POOLS[pool]
        + """
def path_of(i):
    return "in" + "put" + str(i) + ".txt"
def read(i):
    return open(path_of(i)).read()
def write(i):
    with open("out" + str(i), "w") as file:
        file.write(str(i))
    return i
with Pool(1) as pool:
    result = pool.submit(read, 1).result(), pool.submit(write, 2).result()
"""
    )
    (tmp_path / "input1.txt").write_text("one")
    [first] = run_session(store, source, replay=False)
    # What workers left is an input of the cell, too; what this process wrote the cell's own watch has seen.
    written = ["out2"] if pool == "processes" else []
    assert sorted(map(os.path.basename, first.files)) == ["input1.txt", *written], first
    (tmp_path / "out2").unlink()
    [again] = run_session(store, source)
    assert (again.value, again.ran) == (first.value, []), again
    # The file is brought back, and an input of a cell that did not write it.
    assert (tmp_path / "out2").read_text() == "2"
    assert sorted(map(os.path.basename, again.files)) == ["input1.txt", "out2"], again
    (tmp_path / "input1.txt").write_text("two")
    [changed] = run_session(store, source)
    assert changed.value == "('two', 2)"


@quick_pools
def test_what_has_no_fingerprint_runs(store, pool):
    source = (
        POOLS[pool]
        + """
import os, threading
def where(x):
    return os.environ.get("SOMETHING", "") + str(x)
with Pool(1) as pool:
    result = pool.submit(where, 1).result()
"""
    )
    for replay in (False, True):
        [cell] = run_session(store, source, replay=replay)
        assert (cell.value, cell.n_run) == ("'1'", 1) and any(
            w.startswith("opaque") for w in cell.why
        )


def test_draws_of_processes_are_replayed_each_for_itself(store):
    source = (
        POOLS["processes"]
        + """
import random, uuid
def draw(i):
    return random.random(), uuid.uuid4().hex
with Pool(2) as pool:
    result = [pool.submit(draw, 0).result() for _ in range(3)], pool.submit(uuid.uuid4).result(), pool.submit(uuid.uuid4).result()
"""
    )
    [first] = run_session(store, source, replay=False)
    from uuid import UUID  # noqa: F401 - for eval

    drawn, one, two = eval(first.value)
    assert len(set(drawn)) == 3 and one != two
    [again] = run_session(store, source)
    assert (again.value, again.n_run) == (first.value, 0)


def test_a_prepared_worker_counts(store):
    source = (
        POOLS["processes"]
        + """
def prepare(n):
    global PREPARED
    PREPARED = n
def f(x):
    return x + PREPARED
def plain(x):
    return x
with Pool(1, initializer=prepare, initargs=({n},)) as pool:
    result = pool.submit(f, 1).result(), pool.submit(plain, 1).result()
"""
    )
    run_session(store, source.format(n=1), replay=False)
    [cell] = run_session(store, source.format(n=2))
    assert cell.value == "(3, 1)"
    [same] = run_session(store, source.format(n=1))
    assert same.value == "(2, 1)" and same.n_hit >= 1


def test_an_executor_of_the_users_own(store):
    source = """
from concurrent.futures import Executor, Future
class Mine(Executor):
    n = 0
    def submit(self, fn, /, *args, **kwargs):
        type(self).n += 1
        future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
def f(x):
    return [x + 1]
with Mine() as pool:
    result = pool.submit(f, 1).result(), list(pool.map(f, [1, 2]))
"""
    [first] = run_session(store, source, replay=False)
    assert (first.value, first.n_run) == ("([2], [[2], [3]])", 3), first
    [again] = run_session(store, source)
    assert (again.value, again.n_run) == (first.value, 0), again


def test_calls_within_calls_are_part_of_them(store):
    source = (
        POOLS["threads"]
        + """
inner = Pool(1)
def g(x):
    return x + 1
def f(x):
    return inner.submit(g, x).result()
with Pool(1) as pool:
    result = pool.submit(f, 1).result()
"""
    )
    for replay in (False, True):
        [cell] = run_session(store, source, replay=replay)
        # What `g` does is out of sight while `f` is recorded; and the pool has no fingerprint.
        assert (cell.value, cell.n_run, cell.error) == ("2", 1, None), cell


def test_uninstalling_leaves_executors_as_they_were(store):
    source = """
import nbrewind.tasks as tasks, concurrent.futures as cf, joblib
from joblib.externals import loky
class Mine(cf.Executor):
    def submit(self, fn):
        return fn
hooked = [type(vars(c)["submit"]).__name__ for c in (cf.ThreadPoolExecutor, cf.ProcessPoolExecutor, loky.ProcessPoolExecutor, Mine)] + [type(vars(joblib.Parallel)["__call__"]).__name__]
tasks.uninstall()
plain = [type(vars(c)["submit"]).__name__ for c in (cf.ThreadPoolExecutor, cf.ProcessPoolExecutor, loky.ProcessPoolExecutor, Mine)] + [type(vars(joblib.Parallel)["__call__"]).__name__]
result = set(hooked), set(plain), "__init_subclass__" in vars(cf.Executor)
tasks.install(cache)
"""
    [cell] = run_session(store, source)
    assert cell.value == "({'Hooked'}, {'function'}, False)", cell


def test_libraries_that_use_executors_are_left_alone(store):
    source = """
import dask
def f(x):
    return x + 1
result = dask.delayed(f)(1).compute(scheduler="threads")
"""
    [cell] = run_session(store, source, engine="threads", replay=False)
    # Dask's task, and nothing for the pool that Dask runs it on.
    assert (cell.n_run, cell.not_captured) == (1, [])


def test_without_dask_installed(store, tmp_path):
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "dask.py").write_text("raise ImportError('not installed here')\n")
    env = {"PYTHONPATH": os.pathsep.join(filter(None, [str(hide), os.environ.get("PYTHONPATH")]))}
    source = POOLS["threads"] + WORK.format(k=1)
    [first] = run_session(store, source, replay=False, env=env)
    assert first.error is None and first.not_captured == []
    [again] = run_session(store, source, env=env)
    assert (again.value, again.n_run) == (first.value, 0)
