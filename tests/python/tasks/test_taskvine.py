# ruff: noqa: E501 - cells and edits read better on one line
"""TaskVine: hits are given by the manager, and workers record what they run.

With `ndcctools` installed the same tests use the real engine with a real worker; else a manager that does what
TaskVine's does, without its core (`fake_vine`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tests.python.tasks.session import run_session

WORKER = shutil.which("vine_worker", path=os.environ.get("NBREWIND_VINE_PATH", os.environ["PATH"]))
IS_REAL = importlib.util.find_spec("ndcctools") is not None and WORKER is not None
FAKE = Path(__file__).parent / "fake_vine"
ENGINES = [
    "fake",
    pytest.param(
        "real",
        marks=pytest.mark.skipif(not IS_REAL, reason="ndcctools and vine_worker are not installed"),
    ),
]

BEGIN = {
    "fake": "import ndcctools.taskvine as vine\nm = vine.{kind}(0, staging_path='vine')",
    "real": f"""
import subprocess
import ndcctools.taskvine as vine
m = vine.{{kind}}(0, run_info_path="vine", staging_path="vine")
w = subprocess.Popen(["{WORKER}", "-t", "60", "--cores", "1", "localhost", str(m.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
""",
}
END = {"fake": "", "real": "w.terminate(); w.wait()"}


def run(store, engine, *cells, kind="Manager", **options):
    env = {}
    if engine == "fake":
        paths = [str(FAKE), os.environ.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    found = run_session(
        store, BEGIN[engine].format(kind=kind), *cells, END[engine], engine=None, env=env, **options
    )
    assert found[0].error is None, found[0]
    return found[1:-1]


PYTHON_TASKS = """
K = {k}
def helper(x):
    return x + K
def work(x):
    return [{body}]
apply = lambda call, x: call(x)
ids, out = {{}}, {{}}
for i in range(3):
    ids[m.submit(vine.PythonTask(work, i))] = i
last = vine.PythonTask(apply, helper, 9)
last.set_tag("last")
ids[m.submit(last)] = "last"
t = m.wait_for_tag("last", 60)
out[ids[t.id]] = t.output
assert t.successful() and isinstance(t, vine.PythonTask)
while not m.empty():
    t = m.wait(60)
    if t:
        assert t.successful(), t.std_output
        out[ids[t.id]] = t.output
result = sorted(out.items(), key=str)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_python_tasks(store, engine):
    source = PYTHON_TASKS.format(k=1, body="helper(x)")
    [first] = run(store, engine, source, replay=False)
    assert (first.error, first.n_run, first.not_captured) == (None, 4, []), first
    [again] = run(store, engine, source)
    assert (again.value, again.n_run, again.n_hit) == (first.value, 0, 4), again
    # The body, a helper, and a helper of a function among the arguments: by name all are as they were.
    [body] = run(store, engine, PYTHON_TASKS.format(k=1, body="helper(x) * 2"))
    assert body.n_run == 3 and "[2]" in body.value, body
    [helper] = run(store, engine, PYTHON_TASKS.format(k=5, body="helper(x)"))
    assert helper.n_run == 4 and "14" in helper.value, helper
    assert any("work -> helper" in why for why in helper.why), helper.why


FUNCTION_CALLS = """
{functions}
library = m.create_library_from_functions("{library}", add, add_env=False)
m.install_library(library)
ids = {{m.submit(vine.FunctionCall("{library}", "add", i, y=2)): i for i in range(2)}}
out = {{}}
for task_id in list(ids):
    t = m.wait_for_task_id(task_id, 60)
    out[ids[t.id]] = t.output
result = sorted(out.items())
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_function_calls(store, tmp_path, engine):
    def cell(amount: int, library: str = "lib") -> str:
        # Libraries need functions that have a text.
        (tmp_path / "adding.py").write_text(f"def add(x, y=1):\n    return x + y + {amount}\n")
        functions = "import sys\nsys.path.insert(0, '.')\nfrom adding import add\nadd.__module__ = '__main__'"
        return FUNCTION_CALLS.format(functions=functions, library=library)

    [first] = run(store, engine, cell(0), replay=False)
    assert (first.value, first.n_run, first.not_captured) == ("[(0, 2), (1, 3)]", 2, []), first
    [again] = run(store, engine, cell(0, library="other"))
    assert (again.value, again.n_run) == (first.value, 0), again
    # Same library, same name, another body.
    [edited] = run(store, engine, cell(10))
    assert (edited.value, edited.n_run) == ("[(0, 12), (1, 13)]", 2), edited


DASK = """
import dask
def part(x):
    return [x, x * 2]
def total(parts):
    return sum(p[1] for p in parts) + {k}
result = dask.delayed(total)([dask.delayed(part)(i) for i in range(3)]).compute(scheduler=m.get)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_dask_graphs(store, engine):
    [first] = run(store, engine, DASK.format(k=1), kind="DaskVine", replay=False)
    assert (first.value, first.n_run, first.not_captured) == ("7", 4, []), first
    [again] = run(store, engine, DASK.format(k=1), kind="DaskVine")
    assert (again.value, again.n_run, again.n_hit) == ("7", 0, 1), again
    [edited] = run(store, engine, DASK.format(k=2), kind="DaskVine")
    assert (edited.value, edited.n_run, edited.n_hit, edited.error) == ("8", 1, 3, None), edited


def test_what_is_more_than_a_call_runs_as_it_is(store):
    source = """
def f(x):
    return [x]
task = vine.PythonTask(f, 1)
task.set_env_var("A", "1")
m.submit(task)
result = m.wait().output
"""
    for replay in (False, True):
        [cell] = run(store, "fake", source, replay=replay)
        assert (cell.value, cell.n_hit) == ("[1]", 0)
        assert any("more than a call" in text for text in cell.not_captured)


def test_workers_without_the_package_run_the_task_as_it_is(store, tmp_path):
    hide = tmp_path / "hide"
    (hide / "nbrewind").mkdir(parents=True)
    (hide / "nbrewind" / "__init__.py").write_text("raise ImportError('not installed here')\n")
    source = f"m.worker_path = {str(hide)!r}\ndef f(x):\n    return [x]\nm.submit(vine.PythonTask(f, 1))\nresult = m.wait().output"
    [cell] = run(store, "fake", source, replay=False)
    assert cell.value == "[1]", cell
    [again] = run(store, "fake", source.replace("m.worker_path", "unused"))
    assert (again.value, again.n_run) == ("[1]", 1)
