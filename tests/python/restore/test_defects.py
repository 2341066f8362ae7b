# ruff: noqa: E501 - a cell is one line here
"""What the research prototype gets wrong, defect by defect: each is held here, or by the test named in `HELD_ELSEWHERE`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.python.kernel.live import Live
from tests.python.restore.checkpoint import audit, auditing, elsewhere, restore, runs_of
from tests.python.tasks.session import Cell, run_session

HERE = Path(__file__).parent.parent

# Defect -> file and test.
HELD_ELSEWHERE = {
    "14 trust": ("cli/test_main.py", "test_another_user_s_store_must_be_trusted_first"),
    "14 atomicity": ("restore/test_traps.py", "test_trap_9_killed_in_the_middle"),
    "14 budget": (
        "cli/test_gc.py",
        "test_a_budget_keeps_the_newest_checkpoints_and_what_they_need",
    ),
    "19 absolute paths": ("tasks/test_changes.py", "test_a_copy_elsewhere_hits"),
    "20 side-effect files": ("tasks/test_changes.py", "test_written_files_are_never_lost"),
    "21 missing outputs": ("tasks/test_changes.py", "test_written_files_are_never_lost"),
    "23 files are read once": ("tasks/test_changes.py", "test_text_files_are_read_once"),
}


@pytest.mark.parametrize("defect", HELD_ELSEWHERE)
def test_defects_held_elsewhere_have_their_test(defect: str) -> None:
    file, name = HELD_ELSEWHERE[defect]
    assert f"def {name}(" in (HERE / file).read_text(encoding="utf-8")


# --- One notebook, audited, edited and repeated -------------------------------------------------------------------

CELLS = {
    "imports": "import random, threading\nimport numpy as np\nimport symtable",
    "d1_make": "x1 = [1]",
    "d1_read": "print(x1)",
    "d3_define": "lst = []\ndef add():\n    lst.append(1)",
    "d3_call": "add()",
    "d3_read": "print(lst)",
    "d8": "half = [1]\n1 / 0",
    "d8_after": "print(half)",
    "d13_file": "text = open('in.txt').read()\nprint(text)",
    "d13_env": "import os\nprint(os.environ.get('NB_COLOUR'))",
    "d13_seed": "random.seed(1)",
    "d13_draw": "print(random.random())",
    "d13_set": "print(sorted({'x', 'y'}))",
    "untouched": "print('as it was')",
}


@dataclass
class Repeated:
    shown: dict[str, list[object]]
    statuses: dict[str, str]
    counts: list[int]
    cells: dict[str, str]


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Repeated:
    """The notebook after edits, a changed file and a changed variable, repeated in another process."""
    folder = tmp_path_factory.mktemp("repeated")
    (folder / "in.txt").write_text("one")
    audit(folder, CELLS)
    (folder / "in.txt").write_text("two")
    cells: dict[str, str] = {}
    for cell, source in CELLS.items():
        cells[cell] = source
        if cell == "d1_make":
            cells["d1_inserted"] = "x1.append(2)"
    cells["d3_define"] = "lst = []\ndef add():\n    lst.append(2)"
    cells["d13_seed"] = "random.seed(2)"
    with Live(folder, PYTHONHASHSEED="3", NB_COLOUR="blue") as kernel:
        kernel.ask("configure", mode="repeat", notebook="book.ipynb")
        shown = kernel.run_all(cells)
        while kernel.pump(0.05):
            pass
        events = [event for event in kernel.events if event["event"] == "run"]
    statuses = {event["cell_id"]: event["status"] for event in events}
    return Repeated(shown, statuses, [event["number"] for event in events], cells)


def test_defect_1_stale_hit_after_an_inserted_cell(repeated: Repeated) -> None:
    assert repeated.statuses["d1_make"] == "replayed"
    assert repeated.shown["d1_read"] == [("stdout", "[1, 2]\n")]


def test_defect_3_mutation_through_a_called_function(repeated: Repeated) -> None:
    assert repeated.statuses["d3_call"] == "executed"
    assert repeated.shown["d3_read"] == [("stdout", "[2]\n")]


def test_defect_8_a_failed_cell_is_not_replayed_as_good(repeated: Repeated) -> None:
    assert repeated.statuses["d8"] == "failed"
    assert repeated.shown["d8"][0][:2] == ("error", "ZeroDivisionError")  # type: ignore[index]
    assert repeated.shown["d8_after"] == [("stdout", "[1]\n")]


def test_defect_13_files_environment_seeds_and_hash_seed_count(repeated: Repeated) -> None:
    assert repeated.shown["d13_file"] == [("stdout", "two\n")]
    assert repeated.shown["d13_env"] == [("stdout", "blue\n")]
    assert repeated.statuses["d13_draw"] == "executed"
    # Another hash seed changes nothing.
    assert repeated.statuses["d13_set"] == repeated.statuses["untouched"] == "replayed"


def test_defect_15_a_replay_counts_once(repeated: Repeated) -> None:
    assert repeated.counts == list(range(1, len(repeated.cells) + 1))


# --- One notebook, audited and restored ---------------------------------------------------------------------------

FOLDER = "a folder; $(touch hacked) 'quoted'"
RESTORED = {
    "d4": "import os\nnone = open('log.txt', 'a').write('x') and None",
    "d5_setup": "import threading, itertools\ng = (i for i in range(99))",
    "d5_augmented": "y = next(g)\ny += 10\ng = map(str, g)",
    "d5_loop": "for k in range(3):\n    lock = threading.Lock()",
    "d5_tuple": "one, (two, *rest) = threading.Lock(), (threading.Event(), 3, 4)",
    "d5_with": "with open('in.txt') as file:\n    lines = (line.strip() for line in file.readlines())",
    "d5_import": "from queue import Queue as Q\nq = Q()\nq.put(5)",
    "d7": "import symtable\nimport numpy as np\nimport xml.dom.minidom as dom",
    "d10": "class Odd:\n    def __reduce__(self):\n        raise ValueError('no')\n    def __eq__(self, other):\n        raise ValueError('no')\nodd = Odd()\nloop = []\nloop.append(loop)",
    "d11": "def outer(a, b=2, /, c=3, *args, d=[4], **kw):\n    n = 0\n    def inner(v=b, *, w=c):\n        nonlocal n\n        n += v\n        return n, w, a, d, args, kw\n    return inner\nbound = outer(1, 5, 6, 7, d=[8], e=9)\nfirst = bound()",
    "d12": "os.makedirs('elsewhere', exist_ok=True)\nos.chdir('elsewhere')\nhere = 1",
    "d6": "last = 1",
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the notebook was audited."""
    folder = tmp_path_factory.mktemp("recorded") / FOLDER
    folder.mkdir()
    (folder / "in.txt").write_text("l1\nl2\n")
    with auditing(folder) as kernel:
        kernel.run_all(RESTORED)
        # Defect 9: what a variable inspector asks in silence is no run.
        n_runs = len(runs_of(folder))
        kernel.silently("_seen = list(globals())")
        kernel.silently("len(_seen)")
        assert len(runs_of(folder)) == n_runs == len(RESTORED)
        limit = kernel.show("import sys\nprint(sys.getrecursionlimit())")
    (folder / "limit.txt").write_text(limit)
    return folder


@pytest.fixture(scope="module")
def restored(recorded: Path) -> Iterator[tuple[Live, dict[str, str]]]:
    """A fresh kernel in which the last cell was restored, and how every name came back."""
    with elsewhere(recorded) as kernel:
        plain = kernel.show("import sys\nprint(sys.getrecursionlimit())")
        assert (recorded / "limit.txt").read_text() == plain
        how = restore(kernel, "d6")
        assert kernel.show("import sys\nprint(sys.getrecursionlimit())") == plain
        yield kernel, how


Restored = tuple[Live, dict[str, str]]


def test_defect_4_none_is_a_value(restored: Restored, recorded: Path) -> None:
    kernel, how = restored
    assert how["none"] == "loaded"
    assert kernel.show("print(none is None)") == "True\n"
    assert (recorded / "log.txt").read_text() == "x"


def test_defect_5_unserialisable_values_of_every_form(restored: Restored) -> None:
    kernel, how = restored
    assert how["g"] == "rebuilt"
    names = ("lock", "one", "two", "lines", "q")
    assert {name: how[name] for name in names} == dict.fromkeys(names, "loaded")
    shown = kernel.show(
        "print(y, next(g), lock.acquire(), k, one.locked(), two.is_set(), rest, list(lines), q.get())"
    )
    assert shown == "10 1 True 2 False False [3, 4] ['l1', 'l2'] 5\n"


def test_defect_6_a_restore_brings_the_whole_state(restored: Restored) -> None:
    _, how = restored
    assert {"none", "y", "bound", "here", "last", "dom"} <= set(how)


def test_defect_7_modules_come_back_by_import(restored: Restored) -> None:
    kernel, how = restored
    assert how["symtable"] == how["np"] == how["dom"] == "loaded"
    assert kernel.show("print(symtable.__name__, np.arange(2).tolist(), dom.__name__)") == (
        "symtable [0, 1] xml.dom.minidom\n"
    )


def test_defect_9_silent_requests_are_no_runs(recorded: Path) -> None:
    assert [run["cell_id"] for run in runs_of(recorded)][: len(RESTORED)] == list(RESTORED)


def test_defect_10_odd_objects_leave_the_interpreter_as_it_was(restored: Restored) -> None:
    kernel, how = restored
    # The recursion limit was compared when the fixtures were made.
    assert how["odd"] in {"rebuilt", "stub"} and how["loop"] == "loaded"
    assert kernel.show("print(loop[0] is loop)") == "True\n"


def test_defect_11_functions_with_closures_and_all_kinds_of_parameters(restored: Restored) -> None:
    kernel, _ = restored
    shown = kernel.show("print(first, bound(), bound(1, w=0)[:2], outer(1)()[:2])")
    assert (
        shown == "(5, 6, 1, [8], (7,), {'e': 9}) (10, 6, 1, [8], (7,), {'e': 9}) (11, 0) (2, 3)\n"
    )


def test_defect_12_any_path_and_any_working_directory(restored: Restored, recorded: Path) -> None:
    kernel, _ = restored
    assert kernel.show("import os\nprint(os.path.basename(os.getcwd()), here)") == "elsewhere 1\n"
    assert sorted(os.listdir(recorded)) == [
        ".nbrewind",
        "elsewhere",
        "in.txt",
        "limit.txt",
        "log.txt",
    ]
    assert os.listdir(recorded / "elsewhere") == []


def test_defect_2_audit_again_over_recorded_runs(tmp_path: Path) -> None:
    cells = {"a": "x = [1]", "b": "x.append(2)"}
    audit(tmp_path, cells)
    audit(tmp_path, {**cells, "c": "y = x"})
    with elsewhere(tmp_path) as kernel:
        assert restore(kernel, "c") == {"x": "loaded", "y": "loaded"}
        assert kernel.show("print(x, y is x)") == "[1, 2] True\n"


def test_defect_14_a_log_that_was_cut_off_loses_its_last_run_only(tmp_path: Path) -> None:
    audit(tmp_path, {"a": "x = [1]", "b": "x.append(2)", "c": "x.append(3)"})
    logs = list((tmp_path / ".nbrewind").rglob("log"))
    assert len(logs) == 1
    content = logs[0].read_bytes()
    logs[0].write_bytes(content[:-5])
    assert [run["cell_id"] for run in runs_of(tmp_path)] == ["a", "b"]
    with elsewhere(tmp_path) as kernel:
        restore(kernel, "b")
        assert kernel.show("print(x)") == "[1, 2]\n"


# --- Tasks --------------------------------------------------------------------------------------------------------

TASKS = {
    "16 function body": (
        "import dask\ndef clean(v):\n    return v + 1\nresult = dask.delayed(clean)(1).compute()",
        "import dask\ndef clean(v):\n    return v + 2\nresult = dask.delayed(clean)(1).compute()",
        "3",
    ),
    "17 names that differ after a hyphen": (
        "import dask\ndef name(v):\n    return v\nresult = dask.delayed(name)('run-202401010000').compute()",
        "import dask\ndef name(v):\n    return v\nresult = dask.delayed(name)('run-202401020000').compute()",
        "'run-202401020000'",
    ),
    "18 closure": (
        "import dask\ndef make(k):\n    def closed(v):\n        return v * k\n    return closed\nresult = dask.delayed(make(2))(5).compute()",
        "import dask\ndef make(k):\n    def closed(v):\n        return v * k\n    return closed\nresult = dask.delayed(make(3))(5).compute()",
        "15",
    ),
    "18 default": (
        "import dask\ndef preset(v, k=2):\n    return v * k\nresult = dask.delayed(preset)(7).compute()",
        "import dask\ndef preset(v, k=3):\n    return v * k\nresult = dask.delayed(preset)(7).compute()",
        "21",
    ),
    "18 global": (
        "import dask\nK = 2\ndef scaled(v):\n    return v * K\nresult = dask.delayed(scaled)(11).compute()",
        "import dask\nK = 3\ndef scaled(v):\n    return v * K\nresult = dask.delayed(scaled)(11).compute()",
        "33",
    ),
    "18 partial": (
        "import dask, functools\ndef mul(v, k):\n    return v * k\nresult = dask.delayed(functools.partial(mul, k=2))(13).compute()",
        "import dask, functools\ndef mul(v, k):\n    return v * k\nresult = dask.delayed(functools.partial(mul, k=3))(13).compute()",
        "39",
    ),
    "18 helper": (
        "import dask\ndef helper(v):\n    return v\ndef caller(v):\n    return helper(v)\nresult = dask.delayed(caller)(17).compute()",
        "import dask\ndef helper(v):\n    return -v\ndef caller(v):\n    return helper(v)\nresult = dask.delayed(caller)(17).compute()",
        "-17",
    ),
    "22 inputs with names like internal ones": (
        "import dask\nfor n in 'afow':\n    open(f'{n}_in.txt', 'w').write('1')\ndef read(path):\n    return open(path).read()\nresult = dask.compute(*[dask.delayed(read)(f'{n}_in.txt') for n in 'afow'])",
        "import dask\nfor n in 'afow':\n    open(f'{n}_in.txt', 'w').write('2')\ndef read(path):\n    return open(path).read()\nresult = dask.compute(*[dask.delayed(read)(f'{n}_in.txt') for n in 'afow'])",
        "('2', '2', '2', '2')",
    ),
}  # fmt: skip
CONTROL = "import dask\ndef same(v):\n    return v + 100\nresult = dask.delayed(same)(1).compute()"


@pytest.fixture(scope="module")
def task_cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cell]:
    """What the second session does with the edited tasks."""
    store = tmp_path_factory.mktemp("tasks") / ".nbrewind"
    run_session(store, *[first for first, _, _ in TASKS.values()], CONTROL, replay=False)
    cells = run_session(store, *[second for _, second, _ in TASKS.values()], CONTROL, hash_seed=5)
    return dict(zip([*TASKS, "control"], cells, strict=True))


@pytest.mark.parametrize("defect", TASKS)
def test_defect_of_the_task_layer(task_cells: dict[str, Cell], defect: str) -> None:
    cell = task_cells[defect]
    assert cell.error is None and cell.value == TASKS[defect][2]
    assert cell.n_run > 0


def test_unchanged_tasks_are_replayed_all_the_same(task_cells: dict[str, Cell]) -> None:
    control = task_cells["control"]
    assert (control.value, control.n_hit, control.n_run) == ("101", 1, 0)


def test_defect_23_versions_are_inputs_of_runs(tmp_path: Path) -> None:
    audit(tmp_path, {"a": "import numpy as np\nx = np.arange(3)"})
    [run] = runs_of(tmp_path)
    assert "numpy" in run["inputs"]["versions"], json.dumps(run["inputs"]["versions"])
