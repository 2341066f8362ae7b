# ruff: noqa: E501 - cells and edits read better on one line
"""Clusters: futures, persisted collections, lost workers, foreign workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.python.tasks.session import run_session


def test_a_persisted_collection_comes_back_on_another_cluster(store):
    make = """
import pandas as pd, dask.dataframe as dd
kept = dd.from_pandas(pd.DataFrame({"v": range(20)}), npartitions=2).map_partitions(lambda part: part + 1).persist()
from distributed import futures_of, wait
wait(kept)
result = [cache.fingerprint_of_future(future.key) for future in futures_of(kept)]
"""
    [first] = run_session(store, make, engine="distributed", replay=False)
    fps = json.loads(first.value.replace("'", '"'))
    assert all(len(fp) == 64 for fp in fps)
    use = f"""
futures = [cache.load_future(fp) for fp in {fps!r}]
result = [int(client.submit(lambda part: part.v.sum(), future).result()) for future in futures]
"""
    [second] = run_session(store, use, engine="distributed")
    assert (second.value, second.error) == ("[55, 155]", None)
    [third] = run_session(store, use, engine="distributed")
    assert (third.value, third.n_run) == ("[55, 155]", 0)


def test_without_a_cluster_the_value_comes_back(store):
    source = "import dask\ndef one(x):\n    return [x]\nvalue = dask.delayed(one)(7, dask_key_name='k')\nvalue.compute()\nresult = cache.fingerprint_of_future('k')"
    [first] = run_session(store, source, replay=False)
    [second] = run_session(store, f"result = cache.load_future({first.value})")
    assert second.value == "[7]"


def test_a_worker_killed_in_the_middle_changes_nothing(store, tmp_path):
    source = """
import os, signal
def work(i, flag):
    # The first process to get here dies; whoever runs it again finds the mark.
    if i == 2:
        try:
            os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return i * 10
        os.kill(os.getpid(), signal.SIGKILL)
    return i * 10
futures = client.map(work, range(4), flag=os.path.join(os.getcwd(), "died"), retries=0)
result = client.gather(futures)
"""
    [cell] = run_session(store, source, engine="distributed", replay=False)
    assert (tmp_path / "died").exists()
    assert (cell.value, cell.error) == ("[0, 10, 20, 30]", None)
    [again] = run_session(store, source, engine="distributed")
    assert again.value == "[0, 10, 20, 30]"


def test_a_future_that_is_let_go_while_a_graph_is_planned_for_it_cancels_nothing(store):
    source = """
import dask, time
class Slow:
    def __reduce__(self):
        time.sleep(0.5)
        return Slow, ()
lazy = dask.delayed(lambda slow, x: x + 1)(Slow(), 1)
first = client.compute(lazy)
first.result()
# The client's own thread lets the future go while the next graph is being planned.
client.loop.add_callback(time.sleep, 0.2)
del first
result = client.compute(lazy).result()
"""
    [cell] = run_session(store, source, engine="distributed")
    assert (cell.value, cell.error) == ("2", None)


def test_actors_and_annotations_work(store):
    source = """
import dask
class Counter:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n
counter = client.submit(Counter, actor=True).result()
counter.add().result()
with dask.annotate(priority=3, retries=1):
    x = dask.delayed(lambda a: a + 1)(1)
    y = dask.delayed(lambda a: a * 2)(x)
address = list(client.scheduler_info()["workers"])[0]
where = client.submit(lambda: 1, workers=[address], allow_other_workers=False, pure=False)
result = (counter.add().result(), y.compute(), where.result())
"""
    for replay in (False, True):
        [cell] = run_session(store, source, engine="distributed", replay=replay)
        assert (cell.value, cell.error) == ("(2, 4, 1)", None)


def test_the_same_graph_twice_in_one_session(store):
    source = """
import dask.array as da
x = da.ones((20, 20), chunks=10).map_blocks(lambda block: block + 1)
kept = x.persist()
first = client.compute(x.sum())
second = client.compute((kept * 2).sum())
result = (float(first.result()), float(second.result()), float(kept.sum().compute()))
"""
    for replay in (False, True, True):
        [cell] = run_session(store, source, source, engine="distributed", replay=replay)[1:]
        assert (cell.value, cell.error) == ("(800.0, 1600.0, 800.0)", None)


def test_an_asynchronous_client_is_left_alone(store):
    source = """
import asyncio
from distributed import Client
async def main():
    async with Client(cluster.scheduler_address, asynchronous=True) as own:
        return await own.submit(lambda x: x + 1, 1)
result = asyncio.run(main())
"""
    [cell] = run_session(store, source, engine="distributed", replay=False)
    assert cell.value == "2" and any("asynchronous" in text for text in cell.not_captured)


ANOTHER_WORKER = """
import os, subprocess, sys
from distributed import Client, LocalCluster
server = LocalCluster(n_workers=0, dashboard_address=None)
command = [sys.executable, "-m", "distributed.cli.dask_worker", server.scheduler_address]
command += ["--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
environment = {{**os.environ, "PYTHONPATH": {path}}}
worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    with Client(server) as own:
        own.wait_for_workers(1, timeout=60)
        result = own.submit(lambda x: x + 1, 1).result()
        report = cache.end_run()
        result = (result, report.not_captured)
finally:
    worker.terminate()
    worker.wait()
    server.close()
"""


def test_workers_of_another_process_share_the_store(store):
    [cell] = run_session(
        store, ANOTHER_WORKER.format(path="os.environ.get('PYTHONPATH', '')"), replay=False
    )
    assert cell.value == "(2, [])", cell
    [cell] = run_session(store, "import dask\nresult = dask.delayed(lambda x: x + 1)(1).compute()")
    assert cell.value == "2" and cell.n_run == 0, cell


def test_workers_without_the_package_run_the_graph_unchanged(store, tmp_path):
    hide = tmp_path / "hide"
    (hide / "nbrewind").mkdir(parents=True)
    (hide / "nbrewind" / "__init__.py").write_text("raise ImportError('not installed here')\n")
    [cell] = run_session(store, ANOTHER_WORKER.format(path=repr(str(hide))), replay=False)
    assert cell.value.startswith("(2, [") and "cannot import nbrewind" in cell.value, cell


def test_the_worker_module_imports_little():
    code = "import sys, nbrewind.tasks.worker; print([m for m in ('dask', 'distributed', 'pandas', 'numpy', 'IPython') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


def test_scattered_values_count_by_content(store):
    source = "[held] = client.scatter([{values}])\nresult = client.submit(sum, client.submit(list, held)).result()"
    run_session(store, source.format(values=[1, 2, 3]), engine="distributed", replay=False)
    [same] = run_session(store, source.format(values=[1, 2, 3]), engine="distributed")
    assert (same.value, same.n_run) == ("6", 0)
    [changed] = run_session(store, source.format(values=[1, 2, 4]), engine="distributed")
    assert changed.value == "7"


def damage(store) -> None:
    for pack in store.rglob("pack*"):
        if pack.stat().st_size > 20_000:
            data = bytearray(pack.read_bytes())
            for at in range(1000, len(data), 1000):
                data[at] ^= 0xFF
            pack.write_bytes(bytes(data))


def test_damaged_results_are_computed_again_and_stored_again(store):
    source = """
import dask
def big(x):
    return list(range(x, x + 50000))
parts = [dask.delayed(big)(i) for i in range(2)]
futures = client.compute(parts)
tails = dask.compute(*[dask.delayed(lambda x: x[-1])(part) for part in parts])
result = ([future.result()[-1] for future in futures], tails, client.submit(len, futures[0]).result())
"""
    [first] = run_session(store, source, engine="distributed", replay=False)
    damage(store)
    [cell] = run_session(store, source, engine="distributed")
    assert (cell.value, cell.error) == (first.value, None)
    assert "big" in cell.ran and any("cannot be read" in text for text in cell.not_captured)
    [again] = run_session(store, source, engine="distributed")
    assert (again.value, again.n_run, again.not_captured) == (first.value, 0, [])


def test_what_relies_on_futures_that_are_made_again_is_computed_again(store):
    source = """
import dask.array as da
def triple(block):
    return block * 3
kept = da.arange(200_000, chunks=50_000).map_blocks(triple).persist()
later = (kept + 1).persist()
result = [float(part.sum().compute()) for part in (kept, later)]
"""
    [first] = run_session(store, source, engine="distributed", replay=False)
    damage(store)
    [cell] = run_session(store, source, engine="distributed")
    assert (cell.value, cell.error) == (first.value, None), cell


LEAVING = """
import os, sys
from left_behind import attributes, lists, functions, classes
def folder(v):
    os.chdir(v)
def of_builtins(v):
    import builtins
    builtins.LEFT = v
def path(v):
    sys.path.insert(0, v)
def attribute(v):
    attributes.STATE = v
def in_a_list(v):
    lists.LIST.append(v)
def of_a_function(v):
    functions.function.left = v
def of_a_class(v):
    classes.Class.n = v
def nothing(v):
    return v
def found():
    import builtins
    return (
        os.path.basename(os.getcwd()), getattr(builtins, "LEFT", 0), "v" in sys.path, attributes.STATE, lists.LIST,
        getattr(functions.function, "left", 0), classes.Class.n,
    )
LEAVING = [nothing, folder, of_builtins, path, attribute, in_a_list, of_a_function, of_a_class]
worker = min(client.scheduler_info()["workers"])
for leave in LEAVING:
    client.submit(leave, "v", workers=[worker], pure=False).result()
{look}
"""


def test_what_a_task_leaves_in_its_process_is_there_for_the_next(store, tmp_path):
    (tmp_path / "v").mkdir()
    package = tmp_path / "left_behind"
    package.mkdir()
    texts = {
        "attributes": "STATE = 0",
        "lists": "LIST = []",
        "functions": "def function(): pass",
        "classes": "class Class:\n    n = 0",
    }
    for name, text in {"__init__": "", **texts}.items():
        (package / f"{name}.py").write_text(text)
    # Workers are spawned, and find modules where this says.
    places = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {"PYTHONPATH": places, "NBREWIND_TEST": "alone"}
    run_session(store, LEAVING.format(look=""), engine="distributed", replay=False, env=env)
    look = "result = client.submit(found, workers=[worker], pure=False).result()"
    [cell] = run_session(store, LEAVING.format(look=look), engine="distributed", env=env)
    assert cell.value == "('v', 'v', True, 'v', ['v'], 'v', 'v')", (cell.error, cell.ran)
    # What came before all that.
    assert cell.n_hit == 1


NESTED = """
import os
from distributed import Event, wait, worker_client
def outer(n):
    with worker_client() as inner:
        return sum(inner.gather(inner.map(abs, range(-n, 0))))
def flaky(path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "done"
    raise ValueError("not yet")
nested = client.submit(outer, 3).result()
retried = client.submit(flaky, "flag", retries=2).result()
stuck = client.submit(lambda: Event("never").wait(), pure=False)
stuck.cancel(force=True)
Event("never").set()
failed = client.submit(lambda: 1 / 0)
wait(failed)
result = (nested, retried, stuck.status, failed.status)
"""

SHARED_KEY = """
from dask._task_spec import List, Task
first = client.get({"x": Task("x", list, List(1, 2))}, "x", sync=False)
first.result()
second = client.get({"x": Task("x", list, List(2, 1))}, "x", sync=False)
result = second.result()
"""

EQUAL = """
import dask
def clean(x):
    return CLEAN
def follow(x):
    return x + 1
result = sum(dask.compute(*[dask.delayed(follow)(dask.delayed(clean)(i)) for i in range(3)]))
"""

DEAD = """
import os, signal
futures = client.map(lambda i: i * 10, range(4))
client.gather(futures)
holder = next(iter(client.who_has(futures[:1]).values()))[0]
os.kill(client.run(os.getpid)[holder], signal.SIGKILL)
client.wait_for_workers(2)
result = client.gather(futures)
"""


def test_what_clusters_do_besides(store):
    first = run_session(
        store,
        NESTED,
        SHARED_KEY,
        EQUAL.replace("CLEAN", "x * 10"),
        DEAD,
        engine="distributed",
        replay=False,
    )
    second = run_session(
        store,
        NESTED,
        SHARED_KEY.replace("List(1, 2)", "List(2, 1)"),
        EQUAL.replace("CLEAN", "10 * x"),
        DEAD,
        engine="distributed",
    )
    for nested, _, equal, dead in (first, second):
        # Nested clients, retries, cancelled and failed tasks.
        assert (nested.value, nested.error) == ("(6, 'done', 'cancelled', 'error')", None), nested
        assert equal.value == "33"
        # What a dead worker held is made again.
        assert (dead.value, dead.error) == ("[0, 10, 20, 30]", None), dead
    # A key that two tasks share is Dask's own mistake, in plain Dask as well: reported, and never stored.
    assert first[1].value == "[1, 2]"
    assert any("same key" in text for text in first[1].not_captured), first[1].not_captured
    assert second[1].value == "[2, 1]"
    # Early cut-off is decided on the workers.
    assert second[2].ran == ["clean"] * 3, second[2]


LOST_SCHEDULER = """
import os, signal, subprocess, sys, time
from distributed import Client
place = os.path.join(os.getcwd(), "scheduler.json")
def start(*arguments):
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], "--scheduler-file", place, *arguments[1:]]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
started = [start("dask_scheduler", "--port", "0", "--no-dashboard")]
started += [start("dask_worker", "--nthreads", "1", "--no-dashboard", "--no-nanny", "--death-timeout", "60")]
def work(i, flag):
    if i == 2:
        open(flag, "w").close()
        while True:
            time.sleep(0.05)
    return i * 10
try:
    own = Client(scheduler_file=place)
    own.wait_for_workers(1, timeout=60)
    done = own.map(work, range(2), flag="")
    own.gather(done)
    lost = own.submit(work, 2, flag=os.path.abspath("flag"))
    while not os.path.exists("flag"):
        time.sleep(0.01)
    cache.end_run()
    started[0].kill()
    try:
        result = lost.result(timeout=30)
    except BaseException as error:
        result = type(error).__name__
finally:
    for process in started:
        process.kill()
        process.wait()
"""


def test_what_was_done_before_a_scheduler_was_lost_is_kept(store):
    [cell] = run_session(store, LOST_SCHEDULER, replay=False)
    assert cell.error is None and ("Cancelled" in cell.value or "Error" in cell.value), cell
    again = (
        "def work(i, flag):"
        + LOST_SCHEDULER.partition("def work(i, flag):")[2].partition("try:")[0]
    )
    source = "import dask, time\n" + again
    source += "result = dask.compute(*[dask.delayed(work)(i, flag='') for i in range(2)])"
    [cell] = run_session(store, source)
    assert (cell.value, cell.n_run, cell.n_hit) == ("(0, 10)", 0, 2), cell


ELSEWHERE = """
import os, dask
def read(path):
    with open(path) as file:
        return file.read()
def computed(n):
    return read("in" + str(n) + ".txt")
def asked(task):
    try:
        return task().result()
    except FileNotFoundError:
        return "missing"
def go_to(place):
    os.chdir(place)
# What is in the notebook's folder, and what is not in that of the workers.
here = dask.compute(dask.delayed(read)("in1.txt"), dask.delayed(computed)(1), scheduler="sync")
there = os.path.abspath("there")
client.run(go_to, there)
{again}
result = [here, asked(lambda: client.submit(read, "in1.txt")), asked(lambda: client.submit(computed, 1))]
"""


def test_relative_paths_are_those_of_the_workers(store, tmp_path):
    (tmp_path / "in1.txt").write_text("here")
    (tmp_path / "there").mkdir()
    # Whoever probes a cluster does so once in a cell.
    source = ELSEWHERE.format(again="cache.begin_run()")
    [first] = run_session(store, source, engine="distributed", replay=False)
    assert first.value == "[('here', 'here'), 'missing', 'missing']", first
    [again] = run_session(store, source, engine="distributed")
    assert again.value == first.value, again
    (tmp_path / "there" / "in1.txt").write_text("there")
    [other] = run_session(store, source, engine="distributed")
    assert other.value == "[('here', 'here'), 'there', 'there']", other
    (tmp_path / "there" / "in1.txt").write_text("there again")
    [other] = run_session(store, source, engine="distributed")
    assert other.value == "[('here', 'here'), 'there again', 'there again']", other


SEEDS = """
worker = min(client.scheduler_info()["workers"])
# Workers themselves draw from Python's own generator.
def seed(n):
    import numpy
    numpy.random.seed(n)
def draw():
    import numpy
    return round(float(numpy.random.rand()), 6)
def own():
    import numpy
    return round(float(numpy.random.RandomState(1).rand()), 6)
def ask(function, *given):
    return client.submit(function, *given, workers=[worker], pure=False).result()
"""


def test_generators_that_a_task_seeds_are_seeded_for_the_next(store):
    seeding = SEEDS + "ask(seed, 1)\n"
    draws = "result = [ask(draw), ask(draw), ask(own)]"
    [first] = run_session(store, seeding + draws, engine="distributed", replay=False)
    assert first.value == "[0.417022, 0.720324, 0.417022]"
    [again] = run_session(store, seeding + draws, engine="distributed")
    assert (again.value, again.ran) == (first.value, ["draw", "draw", "seed"]), again
    other = seeding.replace("random.rand())", "random.rand() + 1)")
    [other] = run_session(store, other + draws, engine="distributed")
    assert other.value == "[1.417022, 1.720324, 0.417022]", other


def test_what_was_drawn_unseeded_is_not_what_is_drawn_after_a_seed(store):
    draw = "result = ask(draw)"
    [first] = run_session(store, SEEDS + draw, engine="distributed", replay=False)
    [again] = run_session(store, SEEDS + draw, engine="distributed")
    assert (again.value, again.n_run) == (first.value, 0), again
    seeds = {
        "a task": "ask(seed, 1)\n",
        "all workers": "client.run(seed, 1)\n",
    }
    for name, seeding in seeds.items():
        [seeded] = run_session(store, SEEDS + seeding + draw, engine="distributed")
        assert seeded.value == "0.417022", (name, seeded)


SETS = """
worker = min(client.scheduler_info()["workers"])
def strict(n):
    import pandas as pd
    pd.set_option("display.max_rows", n)
def shown(n):
    import pandas as pd
    return len(str(pd.Series(range(n))).splitlines())
def ask(function, n):
    return client.submit(function, n, workers=[worker], pure=False).result()
"""


def test_settings_that_a_task_makes_are_there_for_the_next(store):
    run_session(store, SETS + "ask(shown, 50)", engine="distributed", replay=False)
    for rows, n, lines in ((4, 50, "6"), (4, 51, "6"), (6, 51, "8")):
        source = SETS + f"ask(strict, {rows})\nresult = ask(shown, {n})"
        [cell] = run_session(store, source, engine="distributed")
        assert (cell.value, cell.ran) == (lines, ["shown", "strict"]), cell
    [plain] = run_session(store, SETS + "result = ask(shown, 50)", engine="distributed")
    assert (plain.value, plain.ran) == ("51", []), plain


MODULES = """
import dask, math
import held_there as mine
def f(x):
    return mine.scale(x) + mine.Thing().n
def area(x):
    return round(math.pi * x, 2)
workers = sorted(client.scheduler_info()["workers"])
def put(k):
    import held_there
    held_there.K = k
def patch(k):
    held_there = __import__("held_there")
    held_there.Thing.n = k
def three():
    math.pi = 3.0
{change}
parts = [dask.delayed(f)(x) for x in (1, 2)]
result = (
    client.gather(client.map(f, (1, 2))), dask.delayed(sum)(parts).compute(), client.submit(area, 1).result()
)
"""
# What changes the workers -> what comes out then.
CHANGES = {
    "client.run(put, 3)": "([4, 7], 11, 3.14)",
    "client.run(put, 4)": "([5, 9], 14, 3.14)",
    "client.run(lambda dask_worker: patch(5))": "([6, 7], 13, 3.14)",
    "[client.submit(put, 6, workers=[one], pure=False).result() for one in workers]": "([7, 13], 20, 3.14)",
    "[client.submit(put, 7, workers=[one], pure=False) for one in workers]": "([8, 15], 23, 3.14)",
    "client.run(three)": "([2, 3], 5, 3.0)",
    "[client.submit(three, workers=[one], pure=False).result() for one in workers]": "([2, 3], 5, 3.0)",
}
PLUGIN = """
from distributed import WorkerPlugin
class Prepare(WorkerPlugin):
    def __init__(self, k):
        self.k = k
    def setup(self, worker):
        put(self.k)
client.register_plugin(Prepare({k}))
"""


def test_what_workers_hold_under_a_name_decides_what_is_loaded_there(store, tmp_path):
    (tmp_path / "held_there.py").write_text(
        "K = 1\nclass Thing:\n    n = 1\ndef scale(x):\n    return x * K\n"
    )
    places = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {"PYTHONPATH": places, "NBREWIND_TEST": "alone"}

    def run(change, **options):
        source = MODULES.format(change=change)
        [cell] = run_session(store, source, engine="distributed", env=env, **options)
        assert cell.error is None, cell.error
        return cell

    as_it_comes = "([2, 3], 5, 3.14)"
    assert run("", replay=False).value == as_it_comes
    plugins = {PLUGIN.format(k=k): f"([{k + 1}, {2 * k + 1}], {3 * k + 2}, 3.14)" for k in (8, 9)}
    for change, expected in (CHANGES | plugins).items():
        cell = run(change)
        assert cell.value == expected, (change, cell)
    # Nothing of all that was kept.
    cell = run("client.run(lambda: None)")
    assert (cell.value, cell.n_run) == (as_it_comes, 0), cell
