# ruff: noqa: E501 - cells and edits read better on one line
"""What changed runs again, with what follows it, and nothing else does."""

from __future__ import annotations

import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from nbrewind._native import Store
from nbrewind.cli import history
from nbrewind.tasks.recorder import Recorder
from tests.python.tasks.session import run_session

PIPELINE = """
import pandas as pd, dask.dataframe as dd
SCALE = {scale}
def helper(x):
    return x * SCALE
def risk(row):
    return helper(row["mean"]) + 1
frame = dd.read_parquet("data")
frame = frame[frame.v.notnull()]
stats = frame.groupby("k").agg({{"v": ["mean", "sum"]}})
stats.columns = ["mean", "sum"]
scored = stats.map_partitions(lambda part: part.assign(risk=part.apply(risk, axis=1)))
high = scored[scored["risk"] > {threshold}]
result = high.compute().sort_index().to_dict()
"""

DATA = """
import os, pandas as pd
os.makedirs("data", exist_ok=True)
for i in range({n}):
    pd.DataFrame({{"k": [j % 5 for j in range(20)], "v": [float(j + i) for j in range(20)]}}).to_parquet(f"data/part.{{i}}.parquet")
"""


@pytest.mark.parametrize("engine", ["sync", "distributed"])
def test_a_new_constant_in_a_helper_runs_only_what_follows(store, engine):
    data = DATA.format(n=4)
    run_session(store, data, PIPELINE.format(scale=2.0, threshold=3.0), engine=engine, replay=False)
    [cell] = run_session(store, PIPELINE.format(scale=3.0, threshold=3.0), engine=engine)
    assert cell.error is None
    assert not [
        name for name in cell.ran if "read" in name or "notnull" in name or "groupby" in name
    ], cell.ran
    assert cell.ran.count("lambda") == 1
    assert any("risk -> helper" in why for why in cell.why), cell.why
    [plain] = run_session(
        store.with_name("other"),
        PIPELINE.format(scale=3.0, threshold=3.0),
        engine=engine,
        replay=False,
    )
    assert cell.value == plain.value


def test_a_new_threshold_runs_only_the_filter(store):
    run_session(store, DATA.format(n=4), PIPELINE.format(scale=2.0, threshold=3.0), replay=False)
    [cell] = run_session(store, PIPELINE.format(scale=2.0, threshold=25.0))
    assert "lambda" not in cell.ran and cell.n_hit == 1
    assert cell.n_run <= 4, cell.ran


PARTS = """
import dask.dataframe as dd
frame = dd.read_parquet("data").map_partitions(lambda part: part.assign(w=part.v * 2))
result = float(frame.w.sum().compute())
"""


def test_one_modified_file_of_eight_runs_its_partition_only(store):
    run_session(store, DATA.format(n=8), PARTS, replay=False)
    change = "import pandas as pd\np = 'data/part.3.parquet'\nf = pd.read_parquet(p)\nf['v'] += 100\nf.to_parquet(p)"
    _, cell = run_session(store, change, PARTS)
    assert len([name for name in cell.ran if "read" in name]) == 1, cell.ran
    assert cell.ran.count("lambda") == 1
    [plain] = run_session(store.with_name("other"), PARTS, replay=False)
    assert cell.value == plain.value


def test_touched_files_run_nothing(store):
    run_session(store, DATA.format(n=3), PARTS, replay=False)
    _, cell = run_session(
        store, "import pathlib\nfor p in pathlib.Path('data').iterdir(): p.touch()", PARTS
    )
    assert cell.n_run == 0


def test_a_copy_elsewhere_hits(store, tmp_path):
    import shutil

    run_session(store, DATA.format(n=3), PARTS, replay=False)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "data", elsewhere / "data")
    shutil.copytree(store, elsewhere / ".nbrewind")
    shutil.rmtree(tmp_path / "data")
    [cell] = run_session(elsewhere / ".nbrewind", PARTS, cwd=elsewhere)
    assert (cell.n_run, cell.error) == (0, None)


WRITE = """
import dask.dataframe as dd, pandas as pd, os
frame = dd.from_pandas(pd.DataFrame({"v": range(10)}), npartitions=2)
frame.to_parquet("out")
result = sorted(name for name in os.listdir("out") if name.endswith(".parquet"))
"""


@pytest.mark.parametrize("engine", ["sync", "distributed"])
def test_written_files_are_never_lost(store, tmp_path, engine):
    import shutil

    run_session(store, WRITE, engine=engine, replay=False)
    shutil.rmtree(tmp_path / "out")
    [cell] = run_session(store, WRITE, engine=engine)
    assert cell.value == "['part.0.parquet', 'part.1.parquet']"


COMPUTED = """
import dask
def path_of(i):
    return "inp" + "ut" + str(i) + ".txt"
def read(i):
    return open(path_of(i)).read()
def shout(text):
    return text.upper()
result = dask.delayed(shout)(dask.delayed(read)(1)).compute()
"""


@pytest.mark.parametrize("engine", ["sync", "distributed"])
def test_a_file_with_a_computed_path_is_an_input_of_all_that_follows(store, tmp_path, engine):
    (tmp_path / "input1.txt").write_text("one")
    [first] = run_session(store, COMPUTED, engine=engine, replay=False)
    assert [path.endswith("input1.txt") for path in first.files] == [True]
    [same] = run_session(store, COMPUTED, engine=engine)
    assert same.n_run == 0 and len(same.files) == 1
    (tmp_path / "input1.txt").write_text("two")
    [changed] = run_session(store, COMPUTED, engine=engine)
    assert (changed.value, changed.ran) == ("'TWO'", ["read", "shout"])
    # Back again: what was computed from the first content must not be mixed with what came later.
    (tmp_path / "input1.txt").write_text("one")
    [back] = run_session(store, COMPUTED, engine=engine)
    assert back.value == "'ONE'"
    [again] = run_session(store, COMPUTED, engine=engine)
    assert (again.value, again.n_run) == ("'ONE'", 0)


def test_a_stroke_in_a_function_is_no_folder_to_look_through(store):
    source = """
import dask, os, sqlite3
SYSTEM = "/proc"
def count(folder):
    with sqlite3.connect(folder + "/" + "rows.db") as rows:
        return rows.execute("select 1").fetchone()[0] + len(SYSTEM)
result = dask.delayed(count)(".").compute()
"""
    [first] = run_session(store, source, replay=False)
    assert (first.value, first.error) == ("6", None)
    assert not [path for path in first.files if path.startswith(("/proc", "/usr"))]


def test_looking_for_installed_packages_reads_no_folder(store):
    source = """
import dask
def known(x):
    import sys
    from importlib.metadata import entry_points
    # As in a kernel, where modules are also looked for in the working folder.
    sys.path.insert(0, chr(46))
    try:
        return len(entry_points()) > 0
    finally:
        sys.path.remove(chr(46))
result = dask.delayed(known)(1).compute()
"""
    [first] = run_session(store, source, replay=False)
    assert (first.value, first.error) == ("True", None)
    store.with_name("more.txt").touch()
    [second] = run_session(store, source)
    assert (second.value, second.n_run) == ("True", 0), second.why


def test_what_a_package_beside_the_notebook_says_of_itself_is_a_file(store):
    source = """
import dask
def known(x):
    import sys
    from importlib.metadata import version
    sys.path.insert(0, chr(46))
    try:
        return version("mine")
    finally:
        sys.path.remove(chr(46))
result = dask.delayed(known)(1).compute()
"""
    said = store.with_name("mine-1.dist-info") / "METADATA"
    said.parent.mkdir()
    for number in ("1.0", "2.0"):
        said.write_text(f"Metadata-Version: 2.1\nName: mine\nVersion: {number}\n")
        [cell] = run_session(store, source)
        assert (cell.value, cell.error) == (repr(number), None)


def test_a_file_read_natively_by_a_computed_path_is_an_input(store, tmp_path):
    source = """
import pandas as pd
def read(i):
    return float(pd.read_parquet("part" + "." + str(i) + ".pq").v.sum())
result = client.submit(read, 0).result()
"""
    make = "import pandas as pd\npd.DataFrame({{'v': [{v}]}}).to_parquet('part.0.pq')"
    _, first = run_session(store, make.format(v=1.0), source, engine="distributed", replay=False)
    assert first.not_captured == []
    [same] = run_session(store, source, engine="distributed")
    assert same.n_run == 0
    _, changed = run_session(store, make.format(v=2.0), source, engine="distributed")
    assert changed.value == "2.0"


def test_a_library_reader_that_is_given_a_computed_path_is_watched(store, tmp_path):
    source = """
import dask, numpy as np
def path_of(i):
    return "arr" + str(i) + ".txt"
result = float(dask.delayed(np.sum)(dask.delayed(np.loadtxt)(dask.delayed(path_of)(1))).compute())
"""
    (tmp_path / "arr1.txt").write_text("1 2 3")
    run_session(store, source, replay=False)
    [same] = run_session(store, source)
    assert same.n_run == 0
    (tmp_path / "arr1.txt").write_text("1 2 4")
    [changed] = run_session(store, source)
    assert changed.value == "7.0"


def test_relative_paths_do_not_follow_to_another_folder(store, tmp_path):
    import shutil

    (tmp_path / "input1.txt").write_text("one")
    run_session(store, COMPUTED, replay=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "input1.txt").write_text("two")
    shutil.copytree(store, elsewhere / ".nbrewind")
    [cell] = run_session(elsewhere / ".nbrewind", COMPUTED, cwd=elsewhere)
    assert cell.value == "'TWO'"


@pytest.mark.parametrize(
    "body",
    [
        "return eval('GLOBAL + x')",
        "import os\n    return os.environ.get('NBR_TEST', '') + str(x)",
        "import os\n    return os.path.exists('a' + 'b')",
        "return globals()['GLOBAL'] + x",
        "name = 'GLO' + 'BAL'\n    return getattr(__import__('sys').modules['__main__'], name) + x",
        "import importlib\n    return importlib.import_module('json').__name__",
    ],
)
def test_what_cannot_be_known_never_hits(store, body):
    source = f"import dask\nGLOBAL = 1\ndef task(x):\n    {body}\nresult = dask.delayed(task)(1).compute()"
    run_session(store, source, replay=False)
    [cell] = run_session(store, source)
    assert cell.n_run == 1 and any(why.startswith("opaque") for why in cell.why), cell


def test_opaque_arguments_never_hit(store):
    source = "import dask, threading\nt = threading.Thread(target=print)\nresult = dask.delayed(lambda t: 1)(t).compute()"
    run_session(store, source, replay=False)
    [cell] = run_session(store, source)
    assert cell.n_run == 1


def test_results_that_cannot_be_pickled_are_reported(store):
    source = "import dask\nmade = dask.delayed(lambda: (i for i in range(3)))()\nresult = dask.delayed(sum)(made).compute()"
    [first] = run_session(store, source, replay=False)
    assert (first.value, first.error) == ("3", None)
    assert any("generator" in text for text in first.not_captured), first.not_captured
    [second] = run_session(store, source)
    assert second.value == "3"


def test_errors_are_not_stored(store):
    source = "import dask\ndef fail(x):\n    raise ValueError('no')\nresult = dask.delayed(fail)(1).compute()"
    for _ in range(2):
        [cell] = run_session(store, source)
        assert cell.error == "ValueError: no" and cell.n_run == 1


def test_draws_are_replayed_and_never_mixed(store):
    source = """
import dask, random
def draw(seed):
    return random.random()
def follow(x):
    return ("{tag}", x)
a, b = dask.delayed(draw)(1, pure=False), dask.delayed(draw)(1, pure=False)
result = dask.compute(a, b, dask.delayed(follow)(a), dask.delayed(follow)(b))
"""
    [first] = run_session(store, source.format(tag="t"), replay=False)
    a, b, (_, fa), (_, fb) = eval(first.value)
    assert (a, b) == (fa, fb) and a != b
    [same] = run_session(store, source.format(tag="t"))
    assert (same.value, same.n_run) == (first.value, 0)
    [edited] = run_session(store, source.format(tag="u"))
    assert eval(edited.value) == (a, b, ("u", a), ("u", b)) and edited.ran == ["follow", "follow"]
    # A new audit draws anew; what stands on the old draws does not come back.
    [again] = run_session(store, source.format(tag="u"), replay=False)
    assert again.value != edited.value
    [last] = run_session(store, source.format(tag="t"))
    a, b, (_, fa), (_, fb) = eval(last.value)
    assert (a, b) == (fa, fb) == eval(again.value)[:2]


def test_a_function_that_changes_its_globals_always_runs(store):
    source = """
import dask
seen = []
def note(x):
    seen.append(x)
    return x
value = dask.delayed(note)(5).compute()
result = (value, seen)
"""
    run_session(store, source, engine="threads", replay=False)
    [cell] = run_session(store, source, engine="threads")
    assert cell.value == "(5, [5])"


def test_an_edited_module_of_the_user_runs_again(store, tmp_path):
    source = "import dask, sys\nsys.path.insert(0, '.')\nimport mine\nresult = dask.delayed(mine.f)(1).compute()"
    (tmp_path / "mine.py").write_text("def g(x):\n    return x + 1\ndef f(x):\n    return g(x)\n")
    run_session(store, source, replay=False)
    [same] = run_session(store, source)
    assert same.n_run == 0
    (tmp_path / "mine.py").write_text(
        "# more\ndef g(x):\n    return x + 100\ndef f(x):\n    return g(x)\n"
    )
    [changed] = run_session(store, source)
    assert changed.value == "101"


def test_a_module_imported_inside_a_function_counts(store, tmp_path):
    source = "import dask, sys\nsys.path.insert(0, '.')\ndef f(x):\n    import mine\n    return mine.N + x\nresult = dask.delayed(f)(1).compute()"
    (tmp_path / "mine.py").write_text("N = 1\n")
    run_session(store, source, replay=False)
    (tmp_path / "mine.py").write_text("N = 10  # changed\n")
    [changed] = run_session(store, source)
    assert changed.value == "11"


def test_a_damaged_result_is_computed_again(store):
    source = "import dask\nresult = dask.delayed(lambda x: list(range(x)))(50000).compute()[-1]"
    run_session(store, source, replay=False)
    for pack in store.rglob("*"):
        if pack.is_file() and pack.stat().st_size > 20_000:
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 0xFF
            pack.write_bytes(bytes(data))
    [cell] = run_session(store, source)
    assert (cell.value, cell.error) == ("49999", None)


def test_text_files_are_read_once(store, tmp_path):
    source = """
import dask.bag as db, dask.dataframe as dd
words = db.read_text("lines.txt").map(lambda line: len(line.split())).sum().compute()
result = (words, dd.read_csv("table.csv").groupby("b").a.sum().compute().to_dict())
"""
    (tmp_path / "lines.txt").write_text("a b\nc\n")
    (tmp_path / "table.csv").write_text("a,b\n1,x\n2,y\n3,x\n")
    [first] = run_session(store, source, replay=False)
    [same] = run_session(store, source)
    assert (same.value, same.n_run) == (first.value, 0)
    (tmp_path / "table.csv").write_text("a,b\n1,x\n2,y\n4,x\n")
    [changed] = run_session(store, source)
    assert changed.value == "(3, {'x': 5, 'y': 2})"


def test_instances_of_the_users_classes_are_replayed(store):
    source = """
import dask
class Box:
    def __init__(self, n):
        self.n = n
    def doubled(self):
        return self.n * {factor}
result = dask.delayed(lambda box: box.doubled())(dask.delayed(Box)(4)).compute()
"""
    run_session(store, source.format(factor=2), engine="threads", replay=False)
    [same] = run_session(store, source.format(factor=2), engine="threads")
    assert (same.value, same.n_run) == ("8", 0)
    [changed] = run_session(store, source.format(factor=3), engine="threads")
    assert changed.value == "12"


def test_a_native_read_that_cannot_be_watched_is_never_built_upon(store, tmp_path):
    # In the kernel's own process the watch belongs to the cell.
    source = """
import sys, types, dask, pandas as pd
outside = types.ModuleType("nbrewind.kernel.outside")
outside._active = object()
sys.modules["nbrewind.kernel.outside"] = outside
def read(i):
    return float(pd.read_parquet("part" + "." + str(i) + ".pq").v.sum())
def follow(x):
    return -x
result = dask.delayed(follow)(dask.delayed(read)(0)).compute()
"""
    make = "import pandas as pd\npd.DataFrame({{'v': [{v}]}}).to_parquet('part.0.pq')"
    _, first = run_session(store, make.format(v=1.0), source, engine="threads", replay=False)
    assert any("could not be watched" in text for text in first.not_captured), first.not_captured
    _, changed = run_session(store, make.format(v=2.0), source, engine="threads")
    assert changed.value == "-2.0"


EQUAL = """
import dask
def clean(x):
    return {clean}
def follow(x):
    return x + 1
def last(xs):
    return sum(xs)
result = dask.delayed(last)([dask.delayed(follow)(dask.delayed(clean)(i)) for i in range(3)]).compute()
"""


def test_what_follows_an_equal_result_does_not_run(store):
    run_session(store, EQUAL.format(clean="x * 10"), replay=False)
    [same] = run_session(store, EQUAL.format(clean="10 * x"))
    assert (same.value, same.ran) == ("33", ["clean"] * 3), same
    assert same.n_hit == 4 and all("clean" in why for why in same.why), same
    [again] = run_session(store, EQUAL.format(clean="10 * x"))
    assert (again.n_run, again.n_hit) == (0, 1)
    [changed] = run_session(store, EQUAL.format(clean="x * 10 if x else 5"))
    assert changed.value == "38"
    assert changed.ran == ["clean"] * 3 + ["follow", "last"], changed.ran


@pytest.mark.parametrize("n", [5, 600_000])
def test_arrays_that_are_loaded_are_equal_to_those_that_were_made(store, n):
    source = """
import dask, numpy as np
def make(i):
    return np.arange(i, i + {n}.0)
def change(x):
    return {change}
def last(xs):
    return float(sum(xs).sum())
parts = [dask.delayed(make)(i) for i in range(1, 4)]
result = dask.delayed(last)([dask.delayed(change)(dask.delayed(make)(0)), *parts]).compute()
"""
    run_session(store, source.format(n=n, change="x * 2"), replay=False)
    [same] = run_session(store, source.format(n=n, change="2 * x"))
    assert same.ran == ["change"], (same.ran, same.why)
    [other] = run_session(store, source.format(n=n, change="x * 3"))
    assert other.ran == ["change", "last"] and other.value != same.value


def test_a_file_that_a_filter_makes_equal_again_runs_no_more_than_the_filter(store):
    source = """
import dask.dataframe as dd
frame = dd.read_parquet("data")
kept = frame[frame.v < 1000]
result = float(kept.map_partitions(lambda part: part.assign(w=part.v * 2)).w.sum().compute())
"""
    change = "import pandas as pd\np = 'data/part.3.parquet'\nf = pd.read_parquet(p)\npd.concat([f, pd.DataFrame({'k': [1], 'v': [5000.0]})]).reset_index(drop=True).to_parquet(p)"
    [_, first] = run_session(store, DATA.format(n=4), source, replay=False)
    _, cell = run_session(store, change, source)
    assert cell.value == first.value
    assert "lambda" not in cell.ran and any("read" in name for name in cell.ran), cell.ran


def test_equal_inputs_never_leave_out_an_effect(store):
    source = """
import dask
seen = []
def make(i):
    return {make}
def note(x):
    seen.append(x)
    return x
value = dask.delayed(note)(dask.delayed(make)(5)).compute()
result = (value, seen)
"""
    run_session(store, source.format(make="i + 1"), engine="threads", replay=False)
    [cell] = run_session(store, source.format(make="1 + i"), engine="threads")
    assert cell.value == "(6, [6])"


def test_the_code_of_a_class_is_part_of_an_equal_input(store, tmp_path):
    # Pickles of an instance name its class only.
    source = """
import dask, sys
sys.path.insert(0, '.')
import mine
result = dask.delayed(lambda box: box.area())(dask.delayed(mine.make)(3)).compute()
"""
    module = "class Box:\n    def area(self):\n        return self.n * {factor}\ndef make(n):\n    box = Box()\n    box.n = n\n    return box\n"
    (tmp_path / "mine.py").write_text(module.format(factor=2))
    run_session(store, source, replay=False)
    (tmp_path / "mine.py").write_text(module.format(factor=300))
    [changed] = run_session(store, source)
    assert changed.value == "900"


def test_a_constant_that_changed_is_named(store):
    source = "import dask\nSCALE = {scale}\ndef helper(x):\n    return x * {factor}\ndef score(x):\n    return helper(x) + SCALE\nresult = dask.delayed(score)(1).compute()"
    run_session(store, source.format(scale=2, factor=5.0), replay=False)
    [one] = run_session(store, source.format(scale=2, factor=10.0))
    assert [why.partition(" in: ")[2] for why in one.why] == [
        "score -> helper -> constant 5.0 became 10.0"
    ]
    assert history._why_task(Store(str(store), "r"), "score") == [
        "score: score -> helper -> constant 5.0 became 10.0"
    ]
    [two] = run_session(store, source.format(scale=3, factor=10.0))
    assert [why.partition(" in: ")[2] for why in two.why] == ["score -> SCALE 2 became 3"]


def test_what_a_task_changed_in_its_input_counts(store):
    source = """
import dask, numpy as np
def make(n):
    return np.ones(n)
def scale(array):
    array *= {factor}
def total(array, done):
    return float(array.sum())
results = []
for n in (10, 1_000_000):
    array = dask.delayed(make)(n)
    results.append(dask.delayed(total)(array, dask.delayed(scale)(array)).compute())
result = [value / n for value, n in zip(results, (10, 1_000_000))]
"""
    for factor in (2, 3):
        run_session(store, source.format(factor=factor), replay=factor == 3)
        [plain] = run_session(store.with_name("other"), source.format(factor=factor), replay=False)
        [cell] = run_session(store, source.format(factor=factor))
        assert cell.value == plain.value == repr([float(factor)] * 2)


def test_variables_that_are_called_like_files_are_no_files(store, tmp_path):
    (tmp_path / "values").mkdir()
    (tmp_path / "values" / "a.txt").write_text("1")
    source = "import dask\ndef total(values, start=0):\n    return sum(values) + start\nresult = dask.delayed(total)([1], start=2).compute()"
    run_session(store, source, replay=False)
    (tmp_path / "values" / "a.txt").write_text("2")
    (tmp_path / "start").write_text("3")
    [cell] = run_session(store, source)
    assert (cell.value, cell.n_run, cell.files) == ("3", 0, {}), cell


@pytest.mark.parametrize("engine", ["sync", "threads"])
def test_what_tasks_printed_in_the_notebook_is_printed_again(store, engine):
    source = """
import contextlib, dask, io
def clean(x):
    print("cleaning", x)
    return x + 1
def total(x):
    print("adding up")
    return x * {factor}
with contextlib.redirect_stdout(io.StringIO()) as out:
    value = dask.delayed(total)(dask.delayed(clean)(3)).compute()
result = value, out.getvalue()
"""
    [first] = run_session(store, source.format(factor=2), engine=engine, replay=False)
    assert first.value == "(8, 'cleaning 3\\nadding up\\n')".replace("\n", "\\n"), first
    same, edited = run_session(
        store, source.format(factor=2), source.format(factor=5), engine=engine
    )
    assert (same.value, same.n_run) == (first.value, 0), same
    assert "20" in edited.value and edited.ran == ["total"], edited
    assert "cleaning 3" in edited.value and "adding up" in edited.value, edited


FOLDERS = """
import dask
from pathlib import Path
DATA, OUT = Path("data"), Path("out").absolute()
def size(name):
    return len((DATA / name).read_text())
def copy(folder, name):
    OUT.mkdir(exist_ok=True)
    (OUT / name).write_text((Path(folder) / name).read_text())
    return name
names = ["one", "two", "three"]
result = dask.compute([dask.delayed(size)(n) for n in names], [dask.delayed(copy)("data", n) for n in names])
"""


@pytest.mark.parametrize("engine", ["sync", "processes"])
def test_of_a_folder_that_code_names_only_what_a_task_reads_counts(store, tmp_path, engine):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("one", "two", "three"):
        (data / name).write_text(name)
    run_session(store, FOLDERS, engine=engine, replay=False)
    (data / "other").write_text("nobody reads it")
    [same] = run_session(store, FOLDERS, engine=engine)
    assert same.ran == [], same.why
    (data / "two").write_text("2")
    [changed] = run_session(store, FOLDERS, engine=engine)
    assert (changed.ran, changed.value) == (
        ["copy", "size"],
        "([3, 1, 5], ['one', 'two', 'three'])",
    ), changed.why
    assert (tmp_path / "out" / "two").read_text() == "2"


LISTED = """
import dask, os
def names(folder):
    return sorted(os.listdir(folder))
result = dask.delayed(names)("{folder}").compute()
"""


def test_folders_of_equal_content_are_not_taken_for_one_another(store, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    run_session(store, LISTED.format(folder="one"), replay=False)
    (tmp_path / "two" / "file").touch()
    [other] = run_session(store, LISTED.format(folder="two"))
    assert (other.ran, other.value) == (["names"], "['file']")
    (tmp_path / "one" / "new").touch()
    [added] = run_session(store, LISTED.format(folder="one"))
    assert (added.ran, added.value) == (["names"], "['new']")


def test_a_thread_that_was_there_before_may_read_for_a_task_in_a_folder_that_it_names(tmp_path):
    # As the threads do on which libraries read in the background.
    for name in ("data/one", "elsewhere/two"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with Recorder(str(tmp_path / "store"), [str(tmp_path / "data")]) as recorder:
            for name in ("data/one", "elsewhere/two"):
                pool.submit((tmp_path / name).read_text).result()
            pool.submit((tmp_path / "data/new").write_text, "1").result()
    assert recorder.read_paths == {str(tmp_path / "data" / "one")}
    assert recorder.why_writer() is None


def test_what_a_kernel_lends_a_cell_is_no_change_by_a_task_that_outlives_it(tmp_path):
    kernel = pytest.importorskip("ipykernel.ipkernel").IPythonKernel
    lent = types.SimpleNamespace(raw_input=lambda prompt="": "", getpass=lambda: "")
    kernel._forward_input(lent)
    try:
        with Recorder(str(tmp_path / "store")) as recorder:
            kernel._restore_input(lent)
        assert recorder.changes == []
    finally:
        kernel._restore_input(lent)
