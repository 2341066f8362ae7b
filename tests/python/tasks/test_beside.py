"""Futures hold the very objects that names have: of Dask's workers that are threads of the kernel, and of executors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.books import Book

IMPORTS = "import numpy as np, pandas as pd\nfrom dask.distributed import Client"
CLUSTER = "client = Client(n_workers=1, processes=False, dashboard_address=':0')"


def shown(book: Book) -> str:
    """What the last cell of a repeat printed."""
    return str(book.repeat()["look"])


def test_what_functions_of_libraries_gave_is_what_names_have(tmp_path: Path) -> None:
    cells = {
        "imports": IMPORTS,
        "cluster": CLUSTER,
        "submit": "made = client.submit(np.zeros, 3)\nresult = made.result()",
        "frame": "table = client.submit(pd.DataFrame, {'a': [1, 2]})\nframe = table.result()",
        "change": "x = 0",
        "look": "print(made.result(), table.result()['a'].tolist(), client.submit(np.sum, made).result())",
    }
    book = Book(tmp_path, cells)
    book.audit()
    assert "[0. 0. 0.] [1, 2] 0.0" in shown(book)
    book.edit(change="result[0] = 5.0\nframe.loc[0, 'a'] = 7")
    for look in ("", "print(1)\n"):
        # Also when the change itself was recorded.
        book.edit(look=look + cells["look"])
        assert "[5. 0. 0.] [7, 2] 5.0" in shown(book), book.reports
    # What was computed of the changed one stands for nothing else.
    book.edit(change="x = 0")
    assert "[0. 0. 0.] [1, 2] 0.0" in shown(book), book.reports


def test_chunks_of_persisted_collections_are_what_names_have(tmp_path: Path) -> None:
    cells = {
        "imports": f"{IMPORTS}\nimport dask.array as da",
        "cluster": CLUSTER,
        "keep": "kept = (da.zeros(4, chunks=4) + 1).persist()\nchunk = client.gather(list(kept.dask.values()))[0]",
        "change": "x = 0",
        "look": "print(float(kept.sum().compute()), kept.compute())",
    }
    book = Book(tmp_path, cells)
    book.audit()
    assert "4.0 [1. 1. 1. 1.]" in shown(book)
    book.edit(change="chunk[1] = 3.0")
    for look in ("", "print(1)\n"):
        book.edit(look=look + cells["look"])
        assert "6.0 [1. 3. 1. 1.]" in shown(book), book.reports


def test_views_of_what_names_have_are_not_loaded_as_copies(tmp_path: Path) -> None:
    cells = {
        "imports": f"{IMPORTS}\nimport dask",
        "cluster": CLUSTER,
        "data": "mine = np.zeros(4)\nkept = dask.persist(dask.delayed(mine))[0]",
        "make": "made = client.submit(np.zeros, 3)\nturned = client.submit(np.transpose, made)",
        "wait": "held = turned.result()",
        "change": "x = 0",
        "look": "print(made.result(), kept.compute().sum())",
    }
    book = Book(tmp_path, cells)
    book.audit()
    assert "[0. 0. 0.] 0.0" in shown(book)
    for change in ("", "made.result()[1] = 2.0\n"):
        book.edit(change="held[0] = 5.0\nmine[0] = 3.0\n" + change)
        assert f"[5. {2 if change else 0}. 0.] 3.0" in shown(book), book.reports


def test_views_of_what_the_same_graph_gives_are_not_loaded_as_copies(tmp_path: Path) -> None:
    cells = {
        "imports": f"{IMPORTS}\nimport dask",
        "cluster": CLUSTER,
        "one": "whole = dask.delayed(np.zeros)(4)\nwhole, part = dask.persist(whole, whole.real)",
        "both": "base = dask.delayed(np.zeros)((2, 2))\nturned, same = dask.persist(base.T, base.real)",
        "wait": "held = whole.compute(), turned.compute()",
        "change": "x = 0",
        "look": "print(part.compute(), same.compute().tolist())",
    }
    book = Book(tmp_path, cells)
    book.audit()
    assert "[0. 0. 0. 0.] [[0.0, 0.0], [0.0, 0.0]]" in shown(book)
    book.edit(change="held[0][1] = held[1][1, 0] = 3.0")
    for look in ("", "print(1)\n"):
        book.edit(look=look + cells["look"])
        assert "[0. 3. 0. 0.] [[0.0, 3.0], [0.0, 0.0]]" in shown(book), book.reports


def test_tasks_of_unchanged_futures_are_loaded(tmp_path: Path) -> None:
    cells = {
        "imports": f"{IMPORTS}\nimport dask.array as da",
        "cluster": CLUSTER,
        "keep": "kept = da.random.default_rng(1).random((400, 400), chunks=200).persist()",
        "look": "print(float(kept.sum().compute()))",
    }
    book = Book(tmp_path, cells)
    book.audit()
    assert "80024.77" in shown(book)
    tasks = {one["cell_id"]: one["tasks"] for one in book.reports if one.get("tasks")}
    assert tasks["look"]["run"] == 0, tasks


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_what_futures_of_executors_gave_is_what_names_have(tmp_path: Path, pool: str) -> None:
    cells = {
        "imports": f"import numpy as np\nfrom concurrent.futures import {pool}",
        "submit": f"with {pool}(1) as pool:\n    made = pool.submit(np.zeros, 3)\nresult = made.result()",
        "change": "x = 0",
        "look": "print(made.result(), result is made.result())",
    }
    book = Book(tmp_path, cells)
    book.audit()
    assert "[0. 0. 0.] True" in shown(book)
    book.edit(change="result[0] = 5.0")
    for look in ("", "print(1)\n"):
        book.edit(look=look + cells["look"])
        assert "[5. 0. 0.] True" in shown(book), book.reports


def test_what_tasks_of_asyncio_gave_is_what_names_have(tmp_path: Path) -> None:
    cells = {
        "go": "import asyncio\nasync def go():\n    return ['a']",
        "submit": "made = asyncio.ensure_future(go())\nresult = await made",
        "change": "x = 0",
        "look": "print(made.result(), result is made.result())",
    }
    book = Book(tmp_path, cells)
    book.audit()
    book.edit(change="result.append('b')")
    for look in ("", "print(1)\n"):
        book.edit(look=look + cells["look"])
        assert "['a', 'b'] True" in shown(book), book.reports
