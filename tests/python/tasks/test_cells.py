# ruff: noqa: E501 - cells read better on one line
"""Notebooks whose cells ask for tasks: which cells a repeat replays, and what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nbrewind.cli.main import main
from tests.python.books import Book

LAZY = {
    "imports": "import dask, dask.array as da, dask.bag as db\ndask.config.set(scheduler='sync');",
    "load": "def load(i):\n    return list(range(i + 1))",
    "delayed": "parts = [dask.delayed(load)(i) for i in range(3)]\ntotal = dask.delayed(sum)(parts[2])",
    "array": "x = da.ones((20, 20), chunks=10).map_blocks(lambda block: block * 3)\nmean = x.mean()",
    "bag": "lines = db.read_text('lines.txt').map(len)\nnumbers = db.from_sequence(range(6), npartitions=2).map(lambda n: n * 2)",
    "use delayed": "[total.compute(), parts[1].compute()]",
    "use array": "float(mean.compute()), x.shape, float(x.sum().compute())",
    "use bag": "lines.compute(), numbers.sum().compute()",
}


def test_cells_that_read_lazy_values_are_replayed(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a\nbcd\n")
    book = Book(tmp_path, {name.replace(" ", "-"): text for name, text in LAZY.items()})
    first = book.audit()
    assert book.repeat() == first
    assert book.executed <= {"imports"}, {name: book.why(name) for name in book.executed}

    (tmp_path / "lines.txt").write_text("a\nbcd\nefghi\n")
    book.edit(load="def load(i):\n    return list(range(i + 10))")
    shown = book.repeat()
    assert {"use-delayed", "use-bag"} <= book.executed
    assert "use-array" not in book.executed
    assert shown == book.from_scratch()


def test_a_file_that_only_another_process_reads_is_an_input_of_the_cell(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("one")
    book = Book(
        tmp_path,
        {
            "imports": "import dask",
            "read": "def read(path):\n    return open(path).read()",
            "use": "dask.delayed(read)('data.txt').compute(scheduler='processes')",
        },
    )
    book.audit()
    (tmp_path / "data.txt").write_text("two")
    assert "two" in str(book.repeat()["use"])


def test_a_client_and_its_cluster_come_back_together(tmp_path: Path) -> None:
    cells = {
        "imports": "from dask.distributed import Client, LocalCluster",
        "cluster": "cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=':0')\nclient = Client(cluster)",
        "use": "client.cluster is cluster",
    }
    book = Book(tmp_path, cells)
    book.audit()
    book.edit(use="client.cluster is cluster, len(cluster.workers)")
    assert "(True, 1)" in str(book.repeat()["use"])
    assert book.executed == {"use"}


def test_workers_that_are_added_later_are_no_reason_to_execute(tmp_path: Path) -> None:
    cells = {
        "imports": "import sys\nfrom dask.distributed import Client, LocalCluster",
        "path": "sys.path.insert(0, 'mine')",
        "cluster": "cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=':0')\nclient = Client(cluster)",
        "scale": "cluster.scale(2)\nclient.wait_for_workers(2)",
        "use": "client.submit(len, [1, 2]).result()",
        "module": "import beside\nbeside.K",
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "beside.py").write_text("K = 1\n")
    book = Book(tmp_path, cells)
    first, again = book.audit(), book.repeat()
    # Which ports are free is another matter.
    assert {**again, "scale": None} == {**first, "scale": None}
    assert book.executed == {"scale"}, {name: book.why(name) for name in book.executed}
    book.edit(path="sys.path.insert(0, 'others')")
    (tmp_path / "mine").rename(tmp_path / "others")
    (tmp_path / "others" / "beside.py").write_text("K = 2\n")
    assert "2" in str(book.repeat()["module"])


def test_what_a_cell_draws_on_workers_is_drawn_anew_when_a_cell_above_seeds_them(
    tmp_path: Path,
) -> None:
    cells = {
        "imports": "import numpy as np\nfrom dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "functions": "def seed(n):\n    np.random.seed(n)\ndef draw():\n    return round(float(np.random.rand()), 6)",
        "above": "x = 0",
        "use": "client.submit(draw).result()",
    }
    book = Book(tmp_path, cells)
    first = book.audit()["use"]
    # As recorded, by its task.
    assert book.repeat()["use"] == first
    book.edit(above="client.submit(seed, 1).result()")
    assert "0.417022" in str(book.repeat()["use"])


def test_what_workers_are_asked_is_asked_anew_when_a_cell_above_changes_them(
    tmp_path: Path,
) -> None:
    cells = {
        "imports": "import os, pandas as pd\nfrom dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "functions": "def show():\n    import pandas as pd\n    return pd.Series([1 / 3]).to_string()",
        "above": "x = 0",
        "own": "client.submit(show).result()",
        "option": "client.submit(pd.get_option, 'display.precision').result()",
        "setting": "client.submit(os.getenv, 'NB_SETTING').result()",
    }
    book = Book(tmp_path, cells)
    first = book.audit()
    assert "0.333333" in str(first["own"]) and '"6"' in str(first["option"])
    assert book.repeat() == first
    assert not {"own", "option"} & book.executed
    for above in (
        "client.run(pd.set_option, 'display.precision', 2)\nclient.run(os.environ.update, {'NB_SETTING': 'a'});",
        "client.submit(pd.set_option, 'display.precision', 3).result()",
    ):
        book.edit(above=above)
        shown = book.repeat()
        assert shown == book.from_scratch(), above
        assert "0.333333" not in str(shown["own"]), above


def test_what_tasks_print_in_processes_of_the_notebook_is_shown_when_they_are_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kernels that know that they are tested do not show what their processes print.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    cells = {
        "imports": "import logging, sys, warnings\nfrom dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "functions": "def speak(i):\n    print('out', i, flush=True)\n    print('err', i, file=sys.stderr)\n    logging.getLogger('mine').warning('logged %d', i)\n    return i\ndef add(a, b):\n    return a + b\ndef mutter(i):\n    print('waits', i)\n    return i",
        "use": "client.submit(speak, 1).result()",
        "chain": "client.submit(add, client.submit(speak, 2), 3).result()",
        # Nobody knows when that is shown.
        "buffered": "client.submit(mutter, 3).result()",
    }
    book = Book(tmp_path, cells)
    first = book.audit()
    assert "out 1" in str(first["use"]) and "logged 1" in str(first["use"])
    assert "err 2" in str(first["chain"])
    assert "waits" not in str(first["buffered"])
    book.edit(**{cell: f"{cells[cell]} + 1" for cell in ("use", "chain", "buffered")})
    shown = book.repeat()
    assert "waits" not in str(shown["buffered"])
    tasks = {item["cell_id"]: item["tasks"]["run"] for item in book.reports}
    assert (tasks["use"], tasks["chain"]) == (0, 0), tasks
    for cell in ("use", "chain"):
        assert shown[cell][:2] == first[cell][:2]


def test_a_task_that_imports_numpy_on_its_worker_draws_nothing(tmp_path: Path) -> None:
    cells = {
        "imports": "from dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "functions": "def total(n):\n    import numpy\n    return float(numpy.arange(n).sum())\ndef draw(n):\n    import numpy\n    return float(numpy.random.rand())",
        "use": "client.submit(total, 5).result()",
        "draw": "client.restart()\nclient.submit(draw, 5).result()",
    }
    book = Book(tmp_path, cells)
    first = book.audit()
    assert "10.0" in str(first["use"]) and book.why_not("use") == ""
    assert "draws from a generator" in book.why_not("draw")
    assert book.repeat()["use"] == first["use"]
    assert book.executed <= {"imports", "cluster", "draw"}, book.why("use")


def test_samples_by_which_dask_guesses_sizes_are_no_draws_of_tasks(tmp_path: Path) -> None:
    # Workers do so on a thread of their own, at any time: also while a task draws from a generator of its own.
    cells = {
        "imports": "from dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "functions": "def guess(n):\n    import numpy\n    from dask.sizeof import sizeof\n    drawn = list(numpy.random.default_rng(n).normal(size=n))\n    return sizeof(drawn) > n",
        "use": "client.submit(guess, 1000).result()",
    }
    book = Book(tmp_path, cells)
    first = book.audit()
    assert "True" in str(first["use"]) and book.why_not("use") == ""
    assert book.repeat()["use"] == first["use"]
    assert book.executed <= {"imports", "cluster"}, book.why("use")


def test_a_persisted_collection_that_cannot_be_loaded_is_made_again(tmp_path: Path) -> None:
    cells = {
        "imports": "import dask.array as da\nfrom dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "make": "def triple(block):\n    return block * 3\nrows = da.arange(200_000, chunks=100_000)\nkept = rows.map_blocks(triple).persist()",
        "use": "float(kept.sum().compute())",
    }
    book = Book(tmp_path, cells)
    first = book.audit()["use"]
    # What workers stored, in packs of their own.
    files = [path for path in book.store.rglob("*") if path.is_file()]
    packs = [
        path for path in files if path.name.startswith("pack") and path.stat().st_size > 50_000
    ]
    assert packs
    for pack in packs:
        data = bytearray(pack.read_bytes())
        data[1000::1000] = bytes(byte ^ 0xFF for byte in data[1000::1000])
        pack.write_bytes(bytes(data))
    book.edit(use="float(kept.sum().compute()) + 0")
    assert book.repeat()["use"] == first
    assert book.executed == {"make", "use"}, {name: book.why(name) for name in book.executed}


FRAMES = {
    "imports": "import dask, dask.dataframe as dd, pandas as pd\nfrom pathlib import Path",
    "functions": "ROOT = Path('data')\ndef sample(path):\n    return int(path.read_text())\ndef read(name):\n    return sample(ROOT / name)\ndef scale(part, by=1):\n    return part.assign(v=part.v * by)",
    "sizes": "sizes = dask.compute(*[dask.delayed(read)(f'{name}.txt') for name in 'ab'])",
    "frames": "frame = dd.from_pandas(pd.DataFrame({'v': range(6)}), npartitions=2).map_partitions(scale, by=2)\nothers = dd.from_delayed([dask.delayed(scale)(pd.DataFrame({'v': [3]}), by=3)])",
    "use": "int(frame.v.sum().compute()), int(others.v.sum().compute())",
}


def test_frames_that_were_given_functions_are_loaded_and_names_of_globals_mean_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / f"{name}.txt").write_text("1")
    book = Book(tmp_path, FRAMES)
    # Nothing is said about tasks, whatever becomes of them.
    assert book.audit()["sizes"] == []
    book.edit(
        use=FRAMES["use"].replace("frame.v.sum", "frame.v.max"), sizes=f"{FRAMES['sizes']}; sizes"
    )
    shown = book.repeat()
    assert "(10, 9)" in str(shown["use"]) and "(1, 1)" in str(shown["sizes"])
    assert book.executed == {"use", "sizes"}, {name: book.why(name) for name in book.executed}
    # A library's module of that name reads files; this is a folder. Nor does `sample` draw.
    tasks = {item["cell_id"]: item["tasks"] for item in book.reports}
    assert (tasks["sizes"]["hit"], tasks["sizes"]["run"]) == (2, 0), tasks


ASKING = {
    "imports": "import dask",
    "functions": "SCALE = 2\ndef helper(x):\n    return x * SCALE\ndef clean(i):\n    return i + 1\ndef score(x):\n    return helper(x)\ndef total(xs):\n    return sum(xs)",
    "graph": "with dask.config.set(scheduler='sync'):\n    [found] = dask.compute(dask.delayed(total)([dask.delayed(score)(dask.delayed(clean)(i)) for i in range(8)]))\nfound",
}


def test_a_dry_run_says_how_many_tasks_will_run(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    def ask(*options: str) -> str:
        capfd.readouterr()
        assert (
            main(["repeat", str(book.path), "--store", str(book.store), "--dry-run", *options]) == 0
        )
        return capfd.readouterr().out

    book = Book(tmp_path, ASKING)
    book.audit()
    book.edit(functions=ASKING["functions"].replace("x * SCALE", "x * SCALE + 1"))
    [told] = [item["tasks"] for item in json.loads(ask("--json"))["cells"] if "tasks" in item]
    assert (told["total"], told["run"], told["because"]) == (17, 9, {"helper": 8}), told
    assert told["seconds"] is not None and told["seconds"] < 1
    # It is what the repeat does.
    book.repeat()
    assert book.summary["tasks"]["run"] == told["run"], book.summary
    book.edit(graph=ASKING["graph"].replace("range(8)", "range(9)"))
    text = ask()
    assert (
        "how many of its tasks will run is not known (17 in its last run): the cell was edited"
        in text
    )


def test_a_curried_function_is_its_code_and_comes_back(tmp_path: Path) -> None:
    cells = {
        "imports": "from toolz import curry",
        "function": "@curry\ndef scale(by, x):\n    return by * x + 1",
        "double": "double = scale(2)",
        "use": "double(5), scale(3, 4)",
    }
    book = Book(tmp_path, cells)
    book.audit()
    book.edit(use="double(5), scale(3, 4), scale.__name__ == 'scale'")
    assert "(11, 13, True)" in str(book.repeat()["use"])
    assert book.executed == {"use"}
    book.edit(function=cells["function"].replace("+ 1", "+ 2"))
    assert "(12, 14, True)" in str(book.repeat()["use"])


CHAIN = {
    "imports": "import dask\nfrom dask.distributed import Client",
    "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
    "functions": "def inc(x):\n    return x + 1\ndef double(x):\n    return 2 * x",
    "chain": "a = client.submit(inc, 1)\nb = client.submit(double, a)\nc = client.submit(sum, [a, b])\nc.result();",
    "other": "e = client.submit(double, 3)\nd = client.submit(double, e)\nd.result();",
    "kept": "kept = dask.delayed(double)(5).persist()\nkept.compute()",
    "use": "b.result(), c.result()",
    "use-other": "d.result(), kept.compute()",
}


def test_cells_that_read_futures_of_futures_are_replayed(tmp_path: Path) -> None:
    book = Book(tmp_path, CHAIN)
    shown = book.audit()
    assert "(4, 6)" in str(shown["use"]) and "(12, 10)" in str(shown["use-other"])
    book.edit(functions=CHAIN["functions"].replace("x + 1", "x + 2"))
    shown = book.repeat()
    assert "(6, 9)" in str(shown["use"]) and "(12, 10)" in str(shown["use-other"])
    assert book.executed == {"functions", "chain", "use"}, {
        name: book.why(name) for name in book.executed
    }
    assert book.summary["tasks"]["run"] == 3


STATE = {
    "imports": "from dask.distributed import Client, LocalCluster, Variable, as_completed",
    "cluster": "client = Client(LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=':0'))",
    "variable": "Variable('x').set(1)",
    "metadata": "client.set_metadata('m', 2)",
    "worker": "def put(dask_worker=None):\n    dask_worker.mine = 3\nclient.run(put);",
    "ask": "def look(dask_worker=None):\n    return dask_worker.mine\nVariable('x').get(), client.get_metadata('m'), *client.run(look).values(), sum(client.ncores().values())",
    "begin": "done = as_completed(client.map(abs, [-5]))",
    "next": "next(done).result()",
    "plain": "1 + 1",
}


def test_what_a_cluster_holds_besides_tasks_is_asked_again(tmp_path: Path) -> None:
    book = Book(tmp_path, STATE)
    shown = book.audit()
    assert "(1, 2, 3, 2)" in str(shown["ask"]) and '"5"' in str(shown["next"])
    book.edit(
        cluster=STATE["cluster"].replace("threads_per_worker=2", "threads_per_worker=3"),
        variable="Variable('x').set(10)",
        metadata="client.set_metadata('m', 20)",
        worker=STATE["worker"].replace("3", "30"),
    )
    shown = book.repeat()
    assert "(10, 20, 30, 3)" in str(shown["ask"]) and '"5"' in str(shown["next"])
    assert "plain" not in book.executed


def test_a_repeat_that_begins_again_reports_all_that_it_did(tmp_path: Path) -> None:
    book = Book(
        tmp_path,
        {
            "task": "import dask\ndef double(i):\n    return 2 * i",
            "use": "dask.compute([dask.delayed(double)(i) for i in range(3)], scheduler='sync')[0]",
            "rest": "import threading\nrest = threading.Thread(target=print)",
            "last": "rest.is_alive()",
        },
    )
    book.audit()
    book.edit(
        task="import dask\ndef double(i):\n    return i + i + 1",
        last="not rest.is_alive()",
    )
    shown = book.repeat()
    # The values of these were promised, and turn out to be needed when the tasks have run.
    assert "rest" in book.executed
    assert {"task", "use", "last"} <= book.executed
    assert "edited" in book.why("task")
    assert book.summary["tasks"]["run"] == 3
    assert book.summary["tasks"]["hit"] == 0
    log = [task for found in book.reports for task in found.get("executed_tasks") or []]
    assert [task["task"] for task in log] == ["double"] * 3
    assert shown == book.from_scratch()


def test_cells_whose_tasks_run_where_modules_were_changed_are_executed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("K = 2\ndef scale(x):\n    return x * K\n")
    cells = {
        "imports": "import mine\nfrom dask.distributed import Client, WorkerPlugin",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "functions": "def put(k):\n    import mine\n    mine.K = k\ndef f(x):\n    return mine.scale(x)",
        "above": "x = 0",
        "use": "client.gather(client.map(f, range(3)))",
    }
    book = Book(tmp_path, cells)
    first = book.audit()
    assert book.repeat() == first and not book.executed
    for above, shown in (
        ("client.run(put, 3);", "[0, 3, 6]"),
        ("client.submit(put, 4).result()", "[0, 4, 8]"),
        ("client.run(lambda: None);", "[0, 2, 4]"),
    ):
        book.edit(above=above)
        assert shown in str(book.repeat()["use"]), above
    assert book.executed == {"above"}


def test_what_workers_of_this_process_hold_is_what_names_have(tmp_path: Path) -> None:
    cells = {
        "imports": "from dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, processes=False, dashboard_address=':0')",
        "scatter": "big = [0.0, 1.0]\nheld = client.scatter([big])[0]\nclient.submit(sum, held).result()",
        "submit": "def make():\n    return ['a', 'b']\nmade = client.submit(make)\nresult = made.result()",
        "change": "x = 0",
        "look": "print(held.result(), made.result())",
    }
    book = Book(tmp_path, cells)
    book.audit()
    book.edit(change="big[0] = 5.0\nresult.append('c')")
    for look in ("", "print(1)\n"):
        # Also when the change itself was recorded.
        book.edit(look=look + cells["look"])
        assert "[5.0, 1.0] ['a', 'b', 'c']" in str(book.repeat()["look"]), book.reports


def test_dask_warns_of_the_graph_that_was_asked_for(tmp_path: Path) -> None:
    cells = {
        "imports": "import dask, numpy as np\nfrom dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "data": "arrays = [np.full(4096, float(i)) for i in range(400)]",
        "large": "def total(array):\n    return float(array.sum())\nprint(sum(dask.compute(*map(dask.delayed(total), arrays))))",
        "small": "print(dask.compute(*[dask.delayed(total)(i + np.zeros(1)) for i in range(2)]))",
    }
    book = Book(tmp_path, cells)
    script = "\n".join([*cells.values(), "client.close()"]).replace("\n", "\n    ")
    (tmp_path / "plain.py").write_text(f"if __name__ == '__main__':\n    {script}")
    plain = subprocess.run(
        [sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True
    )
    warnings = re.findall(r"Sending large graph of size [\d.]+ MiB", plain.stderr)
    assert len(warnings) == 1, plain
    for shown in (book.audit(), book.repeat()):
        assert warnings[0] in str(shown["large"]) and "Sending" not in str(shown["small"])
    # Nearly all of it is stored: what is sent is not large.
    book.edit(data=cells["data"] + "\narrays[1] += 0.5")
    shown = book.repeat()
    assert warnings[0] in str(shown["large"]) and "326862848.0" in str(shown["large"])
    assert [one["tasks"]["hit"] for one in book.reports if one["cell_id"] == "large"] == [399]


def test_code_that_dask_hands_to_its_own_functions_is_watched(tmp_path: Path) -> None:
    cells = {
        "imports": "import numpy as np, dask.array as da\nfrom dask.distributed import Client",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "write": "K = 1\ndef dump(block, block_info=None):\n    np.save(f\"out{block_info[0]['chunk-location'][0]}.npy\", block * K)\n    return block.sum(keepdims=True)\nprint(float(da.ones((4, 2), chunks=2).map_blocks(dump, chunks=((1, 1), (1,)), dtype=float, meta=np.zeros((0, 0))).sum().compute()))",
        "read": "print(np.load('out1.npy')[0])",
    }
    book = Book(tmp_path, cells)
    assert "[1. 1.]" in str(book.audit()["read"])
    book.edit(write=cells["write"].replace("K = 1", "K = 3"))
    assert "[3. 3.]" in str(book.repeat()["read"])
    book.edit(write=cells["write"])
    assert "[1. 1.]" in str(book.repeat()["read"]), book.reports


def test_futures_that_were_cancelled_are_cancelled_in_a_repeat(tmp_path: Path) -> None:
    cells = {
        "imports": "from dask.distributed import Client, wait\ndef twice(x):\n    return 2 * x",
        "cluster": "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "cancel": "futures = client.map(twice, range(2))\nwait(futures)\nclient.cancel(futures)",
        "look": "print({one.status for one in futures})",
    }
    book = Book(tmp_path, cells)
    book.audit()
    book.edit(look=cells["look"] + "  # again\nx = 1")
    assert "{'cancelled'}" in str(book.repeat()["look"])
