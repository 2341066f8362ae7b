"""Tasks that write files: replayed while what they wrote is as they left it and certain, executed otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from nbrewind import _native
from tests.python.books import Book
from tests.python.tasks.session import run_session

OWN = """
import dask
def clean(i):
    with open(f"clean{i}.txt", "w") as file:
        file.write(str(i))
    return f"clean{i}.txt"
def follow(path):
    return path.upper()
result = dask.compute(*[dask.delayed(follow)(dask.delayed(clean)(i)) for i in range(2)])
"""


def test_a_writer_is_replayed_while_nothing_of_the_users_is_where_it_wrote(store, tmp_path):
    engine = "threads"
    one = tmp_path / "clean1.txt"
    run_session(store, OWN, engine=engine, replay=False)
    [same] = run_session(store, OWN, engine=engine)
    assert (same.ran, one.read_text()) == ([], "1"), same.why
    assert {Path(path).name for path in same.files} >= {"clean0.txt", "clean1.txt"}
    # Deleted: it is brought back, and is as the task left it from then on.
    one.unlink()
    for _ in range(2):
        [gone] = run_session(store, OWN, engine=engine)
        assert (gone.ran, one.read_text(), gone.value) == ([], "1", same.value), gone
    # Edited by its user: the task runs. What follows it is planned to run, and is given what it was given before.
    one.write_text("mine")
    [edited] = run_session(store, OWN, engine=engine)
    assert (edited.ran, one.read_text(), edited.value) == (["clean"], "1", same.value)
    assert any(why.startswith("writer") for why in edited.why)
    [again] = run_session(store, OWN, engine=engine)
    assert again.ran == [], again.why


# What a writer does -> does it run again when all is as it was left?
BODIES = {
    "overwrites": ("put(a, 'x')", False),
    "makes a folder that may be there": (
        "os.makedirs(out, exist_ok=True); put(out + '/a', 'x')",
        False,
    ),
    "writes aside": ("put(c, 'x'); os.replace(c, a)", False),
    "reads what it wrote": ("put(a, 'x'); open(a).read()", False),
    "updates what it wrote": ("put(a, 'x'); put(a, 'y', 'a')", False),
    "writes nothing in the end": ("put(a, 'x'); os.remove(a)", False),
    "sets who may run it": ("put(a, 'x'); os.chmod(a, 0o755)", False),
    # A run would give something else now, or nobody can tell.
    "sets times": ("put(a, 'x'); os.utime(a, (0, 0))", True),
    "appends": ("put(a, 'x', 'a')", True),
    "updates": ("put(b, 'x', 'r+')", True),
    "reads and writes": ("x = open(b).read(); put(b, x)", True),
    "refuses to overwrite": ("put(a, 'x', 'x')", True),
    "makes a folder that may not be there": ("os.mkdir(out)", True),
    "removes": ("os.remove(b); put(b, 'b')", True),
    "renames": ("os.rename(b, c); os.rename(c, b)", True),
    "links": ("put(a, 'x'); os.symlink(a, c)", True),
    "starts a program": ("put(a, 'x'); os.system('true')", True),
}
EACH = """
import dask, os
def put(path, text, mode="w"):
    with open(path, mode) as file:
        file.write(text)
def work(number):
    # Names that are put together: a file that the code names is an input whatever is done with it.
    a, b, c, out = (f"{{name}}{{number}}" for name in "abco")
    {body}
    return 1
result = dask.delayed(work)({number}).compute(scheduler="sync")
"""


def test_only_what_would_be_written_again_is_taken_for_written(store, tmp_path):
    cells = [EACH.format(body=body, number=at) for at, (body, _) in enumerate(BODIES.values())]
    for at in range(len(cells)):
        (tmp_path / f"b{at}").write_text("b")
    first = run_session(store, *cells, engine=None, replay=False)
    assert [cell.error for cell in first] == [None] * len(cells)
    again = run_session(store, *cells, engine=None)
    found = {what: cell.n_run == 1 for what, cell in zip(BODIES, again, strict=True)}
    assert found == {what: runs for what, (_, runs) in BODIES.items()}


TWO = """
import dask
def write(text):
    with open("{{}}.txt".format("shared"), "w") as file:
        file.write(text)
    return text
def read(stem):
    return open(f"{{stem}}.txt").read()
written = dask.compute(dask.delayed(write)("{one}"), dask.delayed(write)("two"), scheduler="sync")
result = [*written, dask.delayed(read)("shared").compute(scheduler="sync")]
"""


def test_two_writers_of_one_file_run_and_its_readers_see_the_last(store, tmp_path):
    for one, replay in (("one", False), ("one", True), ("uno", True)):
        [cell] = run_session(store, TWO.format(one=one), engine=None, replay=replay)
        last = (tmp_path / "shared.txt").read_text()
        assert cell.value == repr([one, "two", last]) and last in {one, "two"}
        # Of one that never ran nobody knows where it will write.
        assert one == "uno" or cell.ran[-2:] == ["write", "write"], cell


APART = """
import dask
def write(stem, text):
    with open(f"{{stem}}.txt", "w") as file:
        file.write(text)
def read(stem):
    return open(f"{{stem}}.txt").read()
dask.delayed(write)("out", "{text}").compute(scheduler="sync")
result = dask.delayed(read)("out").compute(scheduler="sync")
"""


def test_a_reader_without_an_edge_to_the_writer_sees_what_was_written(store, tmp_path):
    run_session(store, APART.format(text="one"), engine=None, replay=False)
    [edited] = run_session(store, APART.format(text="two"), engine=None)
    assert (edited.value, edited.ran) == ("'two'", ["read", "write"])
    # Back to the first: its file holds what the second wrote, of which there is a copy.
    [back] = run_session(store, APART.format(text="one"), engine=None)
    assert (back.value, back.ran) == ("'one'", [])
    assert (tmp_path / "out.txt").read_text() == "one"
    [same] = run_session(store, APART.format(text="one"), engine=None)
    assert (same.value, same.ran) == ("'one'", [])


NO_WRITER = """
import dask
def save_total(x):
    return x + 1
def store(x):
    return x * 2
result = dask.delayed(store)(dask.delayed(save_total)(1)).compute(scheduler="sync")
"""


def test_a_function_of_the_users_is_no_writer_by_its_name(store):
    for replay, n_run in ((False, 2), (True, 0)):
        [cell] = run_session(store, NO_WRITER, engine=None, replay=replay)
        assert (cell.value, cell.n_run) == ("4", n_run), cell.why


NAMED = """
import dask
def write(path):
    with open(path, "w") as file:
        file.write("x")
result = dask.delayed(write)("named.txt").compute(scheduler="sync")
"""


def test_a_file_that_an_argument_names_counts_as_it_is_before_and_after(store, tmp_path):
    ran = [run_session(store, NAMED, engine=None, replay=at > 0)[0].n_run for at in range(3)]
    # Before the first run it was not there.
    assert ran == [1, 1, 0]
    (tmp_path / "named.txt").write_text("mine")
    [edited] = run_session(store, NAMED, engine=None)
    assert edited.n_run == 1 and (tmp_path / "named.txt").read_text() == "x"


def test_writers_do_not_count_as_done_in_another_folder(store, tmp_path):
    run_session(store, OWN, engine="sync", replay=False)
    for name in ("empty", "copied"):
        (tmp_path / name).mkdir()
    for number in range(2):
        shutil.copy(tmp_path / f"clean{number}.txt", tmp_path / "copied")
    for name in ("empty", "copied"):
        # A copy with the same content is not the file that was written: its folder may be another machine's.
        [cell] = run_session(store, OWN, engine="sync", cwd=tmp_path / name)
        assert cell.ran == ["clean", "clean"]
        assert (tmp_path / name / "clean1.txt").read_text() == "1"


FOLDERS = """
import dask, os, pathlib
MODE = {mode}
def write(i):
    folder = pathlib.Path("{{}}put".format("out")) / str(i)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a", "empty"):
        (folder / name).write_text("" if name == "empty" else f"{{i}}" * 3)
    os.chmod(folder / "a", MODE)
    return i
def follow(i):
    return i + 1
result = dask.compute(*[dask.delayed(follow)(dask.delayed(write)(i)) for i in range(2)], scheduler="sync")
"""


def test_files_are_brought_back_with_their_folders_and_modes(store, tmp_path):
    out = tmp_path / "output"
    text = FOLDERS.format(mode="0o640")
    run_session(store, text, engine=None, replay=False)
    before = {path: path.stat().st_mode for path in out.rglob("*")}
    shutil.rmtree(out)
    # Made anew, with something of the user's in it.
    out.mkdir()
    (out / "mine").write_text("mine")
    [gone] = run_session(store, text, engine=None)
    assert (gone.ran, gone.error) == ([], None), gone.why
    assert {path: path.stat().st_mode for path in out.rglob("*") if path.name != "mine"} == before
    assert (out / "1" / "a").read_text() == "111" and (out / "mine").read_text() == "mine"
    # Where a folder should be is a file.
    shutil.rmtree(out / "1")
    (out / "1").write_text("mine")
    [blocked] = run_session(store, text, engine=None)
    assert blocked.error.startswith("FileExistsError") and (out / "1").read_text() == "mine"


TOGETHER = """
import dask, os
def log(text):
    with open("{}.txt".format("log"), "a") as file:
        file.write(text)
    return len(os.listdir("."))
def write(n):
    with open("{}.txt".format("out"), "w") as file:
        file.write("x")
    return n
result = dask.delayed(write)(dask.delayed(log)("x")).compute(scheduler="sync")
"""


def test_nothing_is_brought_back_for_a_task_that_runs(store, tmp_path):
    run_session(store, TOGETHER, engine=None, replay=False)
    (tmp_path / "out.txt").unlink()
    plain = len(list(tmp_path.iterdir()))
    [cell] = run_session(store, TOGETHER, engine=None)
    # What it follows always runs, and saw the folder without the file.
    assert (cell.ran, cell.value) == (["log", "write"], str(plain))


def test_a_damaged_copy_is_no_file(store, tmp_path):
    run_session(store, OWN, engine="sync", replay=False)
    (tmp_path / "clean1.txt").unlink()
    damage = """
import nbrewind.tasks.left as left
from nbrewind._native import DamagedError
def damaged(*_):
    raise DamagedError("a chunk does not match its name")
left._write = damaged
"""
    _, cell = run_session(store, damage, OWN, engine="sync")
    assert (cell.ran, (tmp_path / "clean1.txt").read_text()) == (["clean"], "1")


LIBRARIES = """
import dask, numpy as np, pandas as pd
def arrays(i):
    np.save(f"array{i}.npy", np.arange(i + 3))
    return i
def tables(i):
    frame = pd.DataFrame({"v": range(i + 3)})
    frame.to_csv(f"table{i}.csv")
    frame.to_parquet(f"table{i}.parquet")
    return len(frame)
result = dask.compute([dask.delayed(arrays)(i) for i in range(2)], [dask.delayed(tables)(i) for i in range(2)])
"""


def test_files_written_natively_count_where_that_was_watched(store, tmp_path):
    # A worker that runs one task at a time sees what native code does for it.
    run_session(store, LIBRARIES, engine="processes", replay=False)
    [same] = run_session(store, LIBRARIES, engine="processes")
    assert same.ran == [], same.why
    table = (tmp_path / "table1.parquet").read_bytes()
    (tmp_path / "table1.parquet").unlink()
    (tmp_path / "array0.npy").write_bytes(b"mine")
    [changed] = run_session(store, LIBRARIES, engine="processes")
    assert changed.ran == ["arrays"], changed.why
    assert (tmp_path / "table1.parquet").read_bytes() == table
    assert (tmp_path / "array0.npy").read_bytes()[1:6] == b"NUMPY"


EMPTYING = """
import dask, pandas as pd, os
from pyarrow import fs
frame = pd.DataFrame({"k": [1, 1], "v": [1, 2]})
LIKE = {"partition_cols": ["k"], "basename_template": "x{i}.parquet"}
def told(frame):
    frame.to_parquet("a", existing_data_behavior="delete_matching", **LIKE)
    return 1
def given(frame, how):
    frame.to_parquet("b", existing_data_behavior=how, **LIKE)
    return 2
def asked(folder):
    fs.LocalFileSystem().delete_dir_contents(folder)
    return 3
calls = [dask.delayed(told)(frame), dask.delayed(given)(frame, "delete_matching"), dask.delayed(asked)("c" + "d")]
result = dask.compute(*calls), sorted(os.listdir("a/k=1")), sorted(os.listdir("b/k=1")), sorted(os.listdir("cd"))
"""


def test_what_native_code_removes_is_removed_again(store, tmp_path):
    (tmp_path / "cd").mkdir()
    for _ in range(2):
        for place in ("a/k=1", "b/k=1", "cd"):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            (tmp_path / place / "z.txt").write_text("other")
        [cell] = run_session(store, EMPTYING, engine="sync")
        assert cell.value == "((1, 2, 3), ['x0.parquet'], ['x0.parquet'], [])", cell


IMPORTING = """
import dask
def one(i):
    import wave
    return wave.WAVE_FORMAT_PCM + i
def two(i):
    import sndhdr, cgitb
    return i
result = dask.compute([dask.delayed(f)(i) for f in (one, two) for i in range(2)])
"""


def test_bytecode_that_python_keeps_is_nothing_that_a_task_writes(store, tmp_path):
    # As after an installation without bytecode: several workers import at the same time what none has imported yet.
    env = {"PYTHONPYCACHEPREFIX": str(tmp_path / "kept"), "PYTHONDONTWRITEBYTECODE": ""}
    [first] = run_session(store, IMPORTING, engine="processes", replay=False, env=env)
    assert first.not_captured == []
    kept = list((tmp_path / "kept").rglob("wave*.pyc"))
    assert kept
    for path in kept:
        path.unlink()
    [again] = run_session(store, IMPORTING, engine="processes", env=env)
    assert (again.value, again.ran) == (first.value, []), again.why


AWAY = {
    "imports": "import dask, os",
    "functions": """
def clean(i):
    with open(f"clean{i}.txt", "w") as file:
        file.write(str(i))
    return i
def append(i):
    with open("log.txt", "a") as file:
        file.write(str(i))
    return i
def look(i):
    return os.path.exists("fl" + "ag.txt")
""",
    "clean": "dask.delayed(clean)(1).compute(scheduler='processes')",
    "append": "dask.delayed(append)(1).compute(scheduler='processes')",
    "look": "dask.delayed(look)(1).compute(scheduler='processes')",
}


def test_cells_are_replayed_only_while_what_their_tasks_did_elsewhere_holds(tmp_path: Path) -> None:
    book = Book(tmp_path, AWAY)
    book.audit()
    # A cell that executes because it was edited: its task does not, and the file is an input of the cell from now on.
    book.edit(clean=AWAY["clean"] + ", 2")
    book.repeat()
    tasks = {item["cell_id"]: item["tasks"] for item in book.reports}
    assert (tasks["clean"]["hit"], tasks["clean"]["run"]) == (1, 0)
    assert book.executed == {"clean", "append", "look"}, book.reports
    assert (tmp_path / "log.txt").read_text() == "11"
    (tmp_path / "clean1.txt").unlink()
    (tmp_path / "flag.txt").touch()
    shown = book.repeat()
    assert book.executed == {"clean", "append", "look"}, book.reports
    assert (tmp_path / "clean1.txt").read_text() == "1" and "True" in str(shown["look"])


NATIVE = {
    "imports": "import dask, numpy as np, pandas as pd",
    "functions": """
def read(i):
    return int(pd.read_parquet(f"part{i}.parquet").v.sum())
def write(i):
    np.save(f"array{i}.npy", np.arange(i + 3))
    pd.DataFrame({"v": [i]}).to_parquet(f"table{i}.parquet")
    return i
""",
    "use": """
options = {"scheduler": "threads", "num_workers": 2}
[dask.compute([dask.delayed(f)(i) for i in range(4)], **options)[0] for f in (read, write)]
""",
}


@pytest.mark.skipif(
    not hasattr(_native, "watch_mark"), reason="the native module has to be built again"
)
def test_the_threads_of_a_kernel_see_which_task_native_code_works_for(tmp_path: Path) -> None:
    for number in range(4):
        pd.DataFrame({"v": [number, 1]}).to_parquet(tmp_path / f"part{number}.parquet")
    book = Book(tmp_path, NATIVE)
    shown = book.audit()
    book.edit(use=NATIVE["use"].replace("(read, write)", "[read, write]"))
    assert book.repeat() == shown
    tasks = {item["cell_id"]: item["tasks"] for item in book.reports}["use"]
    assert (tasks["hit"], tasks["run"]) == (8, 0), tasks
    # One of the files that they read, and two of those that they wrote.
    pd.DataFrame({"v": [10]}).to_parquet(tmp_path / "part2.parquet")
    table = (tmp_path / "table1.parquet").read_bytes()
    (tmp_path / "table1.parquet").unlink()
    (tmp_path / "array3.npy").write_bytes(b"mine")
    book.edit(use=NATIVE["use"])
    assert "[[1, 2, 10, 4], [0, 1, 2, 3]]" in str(book.repeat()["use"])
    tasks = {item["cell_id"]: item["tasks"] for item in book.reports}["use"]
    assert (tasks["hit"], tasks["run"]) == (6, 2), tasks
    assert (tmp_path / "table1.parquet").read_bytes() == table
    assert (tmp_path / "array3.npy").read_bytes()[1:6] == b"NUMPY"
