"""Cleaning up: what is promised stays restorable, the rest goes, and a running kernel loses nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nbrewind import roots
from nbrewind._native import Store
from nbrewind.cli.main import main
from tests.python.books import Book, restore
from tests.python.cli.test_main import nbrewind
from tests.python.kernel.live import Live

MB = 1_000_000


def cells(seed: int) -> dict[str, str]:
    # Seeded: what was dropped can be told from what was made again.
    return {
        "a": f"import random\nx = random.Random({seed}).randbytes({MB})",
        "b": "y = x[::-1]",
        "c": "print(len(y), x[0])",
    }


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three audits, each with another million bytes in each of two names."""
    book = Book(tmp_path_factory.mktemp("audited") / "here", cells(0))
    for seed in range(3):
        book.edit(**cells(seed))
        book.audit()
    return book.folder


@pytest.fixture
def book(audited: Path, tmp_path: Path) -> Book:
    """A copy of that, on its last version."""
    shutil.copytree(audited, tmp_path / "here")
    return Book(tmp_path / "here", cells(2))


def clean(book: Book, *arguments: str) -> dict[str, Any]:
    done = nbrewind("gc", "--store", book.store, "--json", *arguments, cwd=book.folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def verify(book: Book) -> None:
    done = nbrewind("verify", "--store", book.store, cwd=book.folder)
    assert done.returncode == 0, done.stdout


def test_a_budget_keeps_the_newest_checkpoints_and_what_they_need(book: Book) -> None:
    truth = book.repeat()
    before = roots.disk_bytes(book.store)
    assert before > 6 * MB
    found = clean(book, "--budget", "1kB", "--keep", "1")
    assert found["n_retired"]["run"] == 6
    assert roots.disk_bytes(book.store) == found["bytes_after"] < 3 * MB
    assert found["over_budget_bytes"] > 0
    verify(book)
    assert book.repeat() == truth
    assert book.executed == set()
    done = nbrewind("restore", book.path, "--to", "c", "--json", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {item["name"]: item["how"] for item in told["names"]}["y"] == "loaded"
    _stop(told["connection_file"])
    # What was dropped is executed, and recorded anew.
    book.edit(**cells(0))
    book.repeat()
    assert book.executed == {"a", "b", "c"}
    verify(book)


def test_a_dry_run_says_what_would_go_and_changes_nothing(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((str(path), path.stat().st_size) for path in book.store.rglob("*"))
    told = clean(book, "--budget", "3MB", "--keep", "1", "--dry-run")
    assert sorted((str(path), path.stat().st_size) for path in book.store.rglob("*")) == files
    done = clean(book, "--budget", "3MB", "--keep", "1")
    assert told["n_retired"] == done["n_retired"]
    assert abs(told["bytes_after"] - done["bytes_after"]) < 0.1 * MB
    assert main(["gc", "--budget", "3MB", "--dry-run", "--store", str(book.store)]) == 0
    assert "checkpoints kept" in capsys.readouterr().out


def test_without_a_budget_every_run_stays(book: Book) -> None:
    before = Store(str(book.store), "r").stats()["n_records"]
    clean(book)
    assert Store(str(book.store), "r").stats()["n_records"] == before
    book.edit(**cells(0))
    book.repeat()
    assert book.executed == set()


def test_pinned_runs_stay(book: Book) -> None:
    store = Store(str(book.store), "r")
    oldest = next(
        run
        for run in (json.loads(record["payload"]) for record in store.records("run"))
        if run["cell_id"] == "b"
    )
    del store
    done = nbrewind("pin", oldest["run_id"][:12], "--store", book.store, cwd=book.folder)
    assert done.returncode == 0, done.stderr
    clean(book, "--budget", "0", "--keep", "1")
    store = Store(str(book.store), "r")
    kept = {json.loads(record["payload"])["run_id"] for record in store.records("run")}
    assert oldest["run_id"] in kept
    for manifest in oldest["state"].values():
        (record,) = store.records("manifest", manifest)
        data = json.loads(record["payload"])["data"]
        store.get([*data["head"], *(c for b in data["buffers"] for c in b["chunks"])])
    del store
    nbrewind("pin", oldest["run_id"], "--remove", "--store", book.store, cwd=book.folder)
    clean(book, "--budget", "0", "--keep", "1")
    kept = {
        json.loads(record["payload"])["run_id"]
        for record in Store(str(book.store), "r").records("run")
    }
    assert oldest["run_id"] not in kept


def test_the_state_after_a_replay_stays(tmp_path: Path) -> None:
    text = {"a": "t = 1", "b": f"import random\nx = random.Random(t).randbytes({MB})", "c": "y = 5"}
    book = Book(tmp_path / "here", text)
    book.audit()
    for t in (2, 3):
        book.edit(a=f"t = {t}")
        book.repeat()
        assert book.executed == {"a", "b"}
    assert clean(book, "--budget", "0", "--keep", "1")["n_retired"]["replay"] == 1
    verify(book)
    probe = "import random\nprint(t, y, x == random.Random(3).randbytes(len(x)))"
    assert restore(book, "c", probe)[1] == "3 5 True\n"
    listed = nbrewind("ls", "--store", book.store, "--json", cwd=book.folder)
    (replay,) = [run for run in json.loads(listed.stdout)["runs"] if run["of"]]
    assert replay["cell_id"] == "c"
    # One that is pinned outlives the next.
    done = nbrewind("pin", replay["run_id"], "--store", book.store, cwd=book.folder)
    assert done.returncode == 0, done.stderr
    book.edit(a="t = 4")
    book.repeat()
    clean(book, "--budget", "0", "--keep", "1")
    listed = nbrewind("ls", "--store", book.store, "--json", cwd=book.folder)
    assert sum(run["of"] is not None for run in json.loads(listed.stdout)["runs"]) == 2


def test_wrong_arguments_and_missing_stores_are_told(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gc", "--store", str(book.folder / "nowhere")]) == 3
    assert "Audit the notebook first" in capsys.readouterr().err
    store = ["--store", str(book.store)]
    for arguments in (["--budget", "much"], ["--keep", "0"], ["--grace", "-1"]):
        assert main(["gc", *arguments, *store]) == 2
    assert main(["pin", "nothing", *store]) == 3
    assert "no run with the id nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("10GB", 10**10), ("512 MiB", 512 << 20), ("1e6", 10**6), ("0", 0), ("1.5k", 1500)],
)
def test_sizes_are_read_as_people_write_them(text: str, n_bytes: int) -> None:
    assert roots.parse_size(text) == n_bytes


def test_a_kernel_goes_on_while_others_clean_up(book: Book) -> None:
    with Live(book.folder) as kernel:
        kernel.ask("configure", mode="audit", store=str(book.store), notebook=book.path.name)
        for number in (5, 2, 0):
            book.edit(**cells(number))
            for cell, source in book.cells.items():
                assert not any(item[0] == "error" for item in kernel.run(source, cell))
            found = clean(book, "--budget", "0", "--keep", "1", "--grace", "0")
            assert found["n_live_writers"] == 1
        report = kernel.ask("restore", cell="b")["report"]
        assert {item["how"] for item in report["names"] if item["name"] in {"x", "y"}} == {"loaded"}
        assert "True" in str(kernel.run("print(y == x[::-1])", "d"))
    verify(book)
    clean(book, "--budget", "0", "--keep", "1")
    book.repeat()
    assert book.executed == set()
    verify(book)


def test_a_store_above_its_budget_is_cleaned_up_when_a_session_begins(book: Book) -> None:
    before = roots.disk_bytes(book.store)
    with Live(book.folder, NBREWIND_BUDGET="5 MB") as kernel:
        kernel.ask("configure", mode="repeat", store=str(book.store), notebook=book.path.name)
        assert roots.disk_bytes(book.store) <= 5 * MB < before
        shown = [kernel.run(source, cell) for cell, source in book.cells.items()]
        assert set(kernel.statuses().values()) == {"replayed"} and shown[-1]
        assert "budget is off" in kernel.show("%nbrewind budget off")
        assert "is not a size" in kernel.show("%nbrewind budget much")
    verify(book)


def _stop(connection_file: str) -> None:
    from jupyter_client.blocking.client import BlockingKernelClient

    client = BlockingKernelClient(connection_file=connection_file)
    client.load_connection_file()
    client.start_channels()
    client.shutdown()
