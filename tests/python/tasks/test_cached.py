# ruff: noqa: E501 - cells and edits read better on one line
"""`nbrewind.cached`: ordinary functions with the fingerprints and the store of tasks."""

from __future__ import annotations

import subprocess
import sys

from tests.python.tasks.session import run_session

SOURCE = """
import nbrewind
K = {k}
def helper(x):
    return x + K
n_calls = 0
@nbrewind.cached
def work(x, *, scale=2):
    "What it does."
    return [helper(x) * scale]
class A:
    @nbrewind.cached
    def method(self, x):
        return x + K
result = work(1), work(2, scale=3), A().method(4), work.__name__, work.__doc__
"""


def test_calls_are_replayed_in_a_second_session(store):
    [first] = run_session(store, SOURCE.format(k=10), engine=None, replay=False)
    assert first.value == "([22], [36], 14, 'work', 'What it does.')" and first.n_run == 3, first
    [again] = run_session(store, SOURCE.format(k=10), engine=None)
    assert (again.value, again.n_run, again.n_hit) == (first.value, 0, 3), again
    [edited] = run_session(store, SOURCE.format(k=11), engine=None)
    assert edited.value == "([24], [39], 15, 'work', 'What it does.')" and edited.n_run == 3
    assert any("work -> helper" in why for why in edited.why), edited.why


def test_a_cached_function_hits_what_an_engine_computed(store):
    plain = "def work(x):\n    return [x + 1]\n"
    run_session(
        store, plain + "import dask\nresult = dask.delayed(work)(1).compute()", replay=False
    )
    [cell] = run_session(
        store, "import nbrewind\n" + plain + "result = nbrewind.cached(work)(1)", engine=None
    )
    assert (cell.value, cell.n_run) == ("[2]", 0), cell


def test_writers_changes_in_place_and_errors_always_run(store, tmp_path):
    source = """
import nbrewind
seen = []
@nbrewind.cached
def write(i):
    with open(f"made{i}", "w") as file:
        file.write(str(i))
    return i
@nbrewind.cached
def note(i):
    seen.append(i)
    return i
@nbrewind.cached
def fill(target):
    target.append(1)
    return len(target)
@nbrewind.cached
def fail(i):
    raise ValueError(i)
mine = []
try:
    fail(1)
except ValueError as error:
    failed = repr(error)
result = write(1), note(2), fill(mine), seen, mine, failed
"""
    # What `write` wrote is brought back; the others run.
    for replay, n_run in ((False, 4), (True, 3)):
        [cell] = run_session(store, source, engine=None, replay=replay)
        assert (cell.value, cell.n_run) == ("(1, 2, 1, [2], [1], 'ValueError(1)')", n_run), cell
        assert (tmp_path / "made1").read_text() == "1"
        (tmp_path / "made1").unlink()


def test_calls_within_calls_are_part_of_them(store, tmp_path):
    source = """
import nbrewind
@nbrewind.cached
def read(i):
    return open("in" + str(i)).read()
@nbrewind.cached
def twice(i):
    return read(i) * 2
result = twice(1)
"""
    (tmp_path / "in1").write_text("a")
    [first] = run_session(store, source, engine=None, replay=False)
    assert (first.value, first.n_run) == ("'aa'", 1)
    [same] = run_session(store, source, engine=None)
    assert (same.value, same.n_run) == ("'aa'", 0)
    (tmp_path / "in1").write_text("b")
    [changed] = run_session(store, source, engine=None)
    assert (changed.value, changed.n_run) == ("'bb'", 1)


SCRIPT = """
import sys, nbrewind
runs = []
@nbrewind.cached(store="own.nbrewind")
def work(x):
    print("ran", x)
    return x + {k}
print(work(1), work(1), work(2))
"""


def test_a_script_with_a_store_of_its_own(tmp_path):
    def run(k: int) -> list[str]:
        (tmp_path / "script.py").write_text(SCRIPT.format(k=k))
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert run(1) == ["ran 1", "ran 1", "ran 2", "2 2 3"]
    # What was printed belongs to a call: a replay prints it, too.
    assert run(1) == ["ran 1", "ran 1", "ran 2", "2 2 3"]
    assert run(10)[-1] == "11 11 12"
    stored = sorted((tmp_path / "own.nbrewind").rglob("*"))
    assert stored


def test_without_a_session_it_is_the_function(tmp_path):
    source = "import sys, nbrewind\n@nbrewind.cached\ndef f(x):\n    return x\nassert f(3) == 3 and 'dask' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
