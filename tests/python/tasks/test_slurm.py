"""dask-jobqueue on Slurm: tasks run in jobs, are kept there, and are replayed without them.

Needs Debian's packages `slurmctld`, `slurmd` and `munge`, and `dask-jobqueue`; starts daemons of its own.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.python.books import Book
from tests.python.tasks.slurm import Slurm, missing

ABSENT = [
    *missing(),
    *(["dask-jobqueue"] if importlib.util.find_spec("dask_jobqueue") is None else []),
]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")

CELLS = {
    "imports": """
import os
from dask.distributed import Client
from dask_jobqueue import SLURMCluster
""",
    "cluster": """
cluster = SLURMCluster(
    cores=1, processes=1, memory="1 GB", walltime="00:10:00", queue="test",
    interface="lo", log_directory="logs", local_directory="scratch",
    scheduler_options={"dashboard_address": ":0"},
)
cluster.scale(jobs=1)
client = Client(cluster)
""",
    "functions": """
def part(x):
    return list(range(x))
def total(parts):
    return sum(map(len, parts)) + 0
def read(i):
    return open("in" + "put" + str(i) + ".txt").read()
""",
    "tasks": """
parts = client.map(part, range(4))
read_there = client.submit(read, 1)
[client.submit(total, parts).result(), read_there.result()]
""",
}
# Not part of the notebook that is repeated: who runs the tasks?
WHERE = 'client.submit(os.getenv, "SLURM_JOB_ID").result()'


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """A Slurm cluster that the kernels of the test find."""
    with Slurm() as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


def counts(book: Book) -> tuple[int, int]:
    return book.summary["tasks"]["hit"], book.summary["tasks"]["run"]


def shown(outputs: dict[str, list[Any]]) -> str:
    """What the cell with the tasks shows."""
    [(_, data)] = outputs["tasks"]
    text: str = json.loads(data)["text/plain"]
    return text


def told(book: Book) -> list[Any]:
    """What the last run says of the cells that it executed."""
    return [
        {name: report.get(name) for name in ("cell_id", "why", "why_not", "not_captured", "tasks")}
        for report in book.reports
        if report["status"] != "replayed"
    ]


def n_jobs(book: Book) -> int:
    """How many jobs have begun so far: each has a log of its own."""
    return len(list((book.folder / "logs").glob("*.out")))


def test_tasks_on_slurm_are_kept_and_replayed(slurm: Slurm, tmp_path: Path) -> None:
    (tmp_path / "input1.txt").write_text("one")
    # A cell that makes it itself reads that it was not there.
    (tmp_path / "logs").mkdir()
    book = Book(tmp_path, {**CELLS, "where": WHERE})
    first = book.audit()
    assert shown(first) == "[6, 'one']", slurm.log()
    assert str(first["where"]).strip("[]").find("None") < 0 and n_jobs(book) == 1, first
    assert counts(book)[1] == 7, told(book)

    # Nothing has changed: no task runs, so no job is needed either.
    book.edit(where="")
    again = book.repeat()
    assert again["tasks"] == first["tasks"]
    assert counts(book)[1] == 0 and n_jobs(book) == 1, told(book)

    # A cell that is edited asks a new cluster: what was kept in the old one's job is there.
    book.edit(functions=CELLS["functions"].replace("+ 0", "+ 1"))
    changed = book.repeat()
    assert shown(changed) == "[7, 'one']", slurm.log()
    assert counts(book) == (5, 1) and n_jobs(book) == 2, told(book)

    # What only the job read is an input of its cell.
    (tmp_path / "input1.txt").write_text("two")
    fresh = book.repeat()
    assert shown(fresh) == "[7, 'two']", slurm.log()
    assert counts(book)[1] == 1, told(book)
