# ruff: noqa: E501 - cells and edits read better on one line
"""What one session has computed, the next one replays: no task runs, on any engine, from any kind of collection."""

from __future__ import annotations

import pytest

from tests.python.tasks.session import run_session

CELLS = {
    "delayed": """
import dask
def double(x):
    return [x, x * 2]
def total(parts):
    return sum(p[1] for p in parts)
result = dask.delayed(total)([dask.delayed(double)(i) for i in range(4)]).compute()
""",
    "array": """
import dask.array as da
result = float(da.ones((40, 40), chunks=20).map_blocks(lambda block: block + 1).sum().compute())
""",
    "bag": """
import dask.bag as db
result = db.from_sequence(range(12), npartitions=3).map(lambda x: x + 1).filter(lambda x: x % 2).compute()
""",
    "dataframe": """
import pandas as pd, dask.dataframe as dd
frame = dd.from_pandas(pd.DataFrame({"k": [i % 3 for i in range(60)], "v": range(60)}), npartitions=4)
result = frame.assign(w=frame.v * 2).groupby("k").w.sum().compute().sort_index().to_dict()
""",
    "shuffle": """
import pandas as pd, dask.dataframe as dd
frame = dd.from_pandas(pd.DataFrame({"k": [i % 7 for i in range(70)], "v": range(70)}), npartitions=3)
grouped = frame.shuffle("k").map_partitions(lambda part: part.assign(n=len(part)), meta={"k": int, "v": int, "n": int})
result = sorted(map(tuple, grouped.compute().to_numpy().tolist()))
""",
}

FUTURES = {
    "submit": "import operator\nfirst = client.submit(operator.add, 1, 2)\nresult = client.submit(lambda x: x + 1, first).result()",
    "map": "result = client.gather(client.map(lambda x: x + 1, range(4)))",
    "get": "result = client.get({'a': 1, 'b': (lambda x: x + 1, 'a')}, 'b')",
    "compute": "import dask\na, b = dask.delayed(lambda: 3)(), dask.delayed(lambda: 4)()\nresult = [f.result() for f in client.compute([a, b])]",
    "persist": """
import pandas as pd, dask.dataframe as dd
kept = dd.from_pandas(pd.DataFrame({"v": range(20)}), npartitions=2).map_partitions(lambda part: part + 1).persist()
result = int(kept.v.sum().compute())
""",
    "compute two": """
import dask, dask.array as da
x = da.arange(20, chunks=5).map_blocks(lambda block: block + 1)
result = [float(value) for value in dask.compute(x.sum(), x.max())]
""",
}


@pytest.mark.parametrize("engine", ["sync", "threads", "processes"])
def test_a_second_session_runs_no_task(store, engine):
    first = run_session(store, *CELLS.values(), engine=engine, replay=False, hash_seed=1)
    second = run_session(store, *CELLS.values(), engine=engine, hash_seed=2)
    for name, before, after in zip(CELLS, first, second, strict=True):
        assert before.error is None and before.n_run > 0, (name, before)
        assert before.not_captured == [], name
        assert (after.value, after.n_run, after.error) == (before.value, 0, None), (name, after)
        assert after.n_hit >= 1, name


def test_a_second_cluster_runs_no_task(store):
    cells = {**CELLS, **FUTURES}
    first = run_session(store, *cells.values(), engine="distributed", replay=False, hash_seed=1)
    second = run_session(store, *cells.values(), engine="distributed", hash_seed=2)
    for name, before, after in zip(cells, first, second, strict=True):
        assert before.error is None and before.n_run > 0, (name, before)
        assert before.not_captured == [], name
        assert (after.value, after.n_run, after.error) == (before.value, 0, None), (name, after)
        assert after.n_hit >= 1, name


def test_engines_share_what_they_stored(store):
    names = ["delayed", "array", "bag", "dataframe"]
    run_session(store, *(CELLS[name] for name in names), engine="distributed", replay=False)
    for engine in ("sync", "threads"):
        for cell in run_session(store, *(CELLS[name] for name in names), engine=engine):
            assert cell.n_run == 0


def test_an_engine_that_is_imported_before_the_cache_is_hooked_too(store):
    [cell] = run_session(
        store, "import nbrewind.tasks as t\nt.uninstall()\nt.install(cache)\n" + CELLS["delayed"]
    )
    assert cell.n_run == 5


def test_uninstalling_leaves_dask_as_it_was(store):
    [cell] = run_session(
        store,
        "import dask.base, distributed.client as c, nbrewind.tasks as t\nt.uninstall()\n"
        "result = [dask.base.get_scheduler.__code__.co_filename == dask.base.__file__,"
        " c.Client._graph_to_futures.__code__.co_filename == c.__file__]",
    )
    assert cell.value == "[True, True]"
