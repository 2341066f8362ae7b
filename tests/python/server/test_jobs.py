"""Restore and replay through the server, in real kernels that others use at the same time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.python.books import Book
from tests.python.gate import Gate
from tests.python.server.conftest import Server

pytestmark = pytest.mark.usefixtures("kernels")

CELLS = {
    "a": "import time\nrows = list(range(20))",
    "b": "def score(row):\n    return row * 2\nscores = [score(row) for row in rows]",
    "c": "LIMIT = 10.0\nkept = [value for value in scores if value > LIMIT]\nprint(len(kept))",
    "d": "total = sum(scores)\nprint(total)",
}


@pytest.fixture
def book(folder: Path) -> Book:
    book = Book(folder, CELLS)
    book.audit()
    return book


def path_of(book: Book) -> str:
    return f"{book.folder.name}/{book.path.name}"


def restore(server: Server, kernel: str, book: Book, cell: str, **more: Any) -> dict[str, Any]:
    job: dict[str, Any] = server.post(
        f"kernels/{kernel}/restore", {"path": path_of(book), "cell": cell, **more}
    )
    return job


def names_of(job: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["how"] for item in job["report"]["names"]}


# --- The kernel's own answers ---------------------------------------------------------------------------------------


def test_the_extension_is_loaded_into_a_plain_kernel(
    server: Server, book: Book, folder: Path
) -> None:
    kernel = server.start_kernel("python3", folder.name)
    with server.shell(kernel) as shell:
        # Not by looking.
        for what in ("status", "log"):
            answer = server.ask("GET", f"nbrewind/kernels/{kernel}/{what}")
            assert (answer.status, answer.json["code"]) == (409, "no-extension"), answer.text
            assert "not loaded" in answer.json["message"]
        loaded = "import sys; print('nbrewind' in sys.modules, hasattr(get_ipython(), '_nbrewind_session'))"
        assert shell.run(loaded) == "False False"
        found = server.post(f"kernels/{kernel}/mode", {"mode": "off"}, 200)
        assert found["mode"] == "off" and found["store"] is None
        assert server.get(f"kernels/{kernel}/status")["mode"] == "off"
        # Nothing of ours is in the user's count, namespace or history.
        assert shell.run("print(len(In) - 1, [n for n in dir() if 'nbrewind' in n])") == "2 []"
        answer = server.post(
            f"kernels/{kernel}/mode", {"mode": "audit", "path": path_of(book)}, 200
        )
        assert answer["mode"] == "audit" and answer["store"] == str(book.store)
        assert server.get(f"kernels/{kernel}/status")["mode"] == "audit"
        shell.run("fresh = 41 + 1")
    assert server.get(f"kernels/{kernel}/log")["runs"][-1]["source"] == "fresh = 41 + 1"
    assert server.get("runs", path=path_of(book))["runs"][0]["source"] == "fresh = 41 + 1"


def test_looking_often_leaves_nothing_behind(server: Server, folder: Path) -> None:
    kernel = server.start_kernel("python3", folder.name)
    server.post(f"kernels/{kernel}/mode", {"mode": "off"}, 200)
    for _ in range(5):
        server.get(f"kernels/{kernel}/status")
    with server.shell(kernel) as shell:
        process = int(shell.run("import os; print(os.getpid())"))

        def held() -> list[int]:
            ours, theirs = f"/proc/{server.process.pid}", f"/proc/{process}"
            return [
                len(os.listdir(f"{top}/{kind}"))
                for top in (ours, theirs)
                for kind in ("fd", "task")
            ]

        before = held()
        for _ in range(30):
            server.get(f"kernels/{kernel}/status")
        after = held()
        assert all(now < then + 10 for now, then in zip(after, before, strict=True)), (
            before,
            after,
        )


def test_the_kernel_lists_the_same_runs_as_the_server(server: Server, book: Book) -> None:
    import asyncio

    from nbrewind.cli.driver import Driver
    from nbrewind.cli.notebook import read_notebook

    async def ask() -> list[dict[str, Any]]:
        async with Driver(read_notebook(book.path), "audit", book.store) as kernel:
            found: list[dict[str, Any]] = (await kernel.ask("runs"))["runs"]
            return found

    assert asyncio.run(ask()) == server.get("runs", path=path_of(book))["runs"]


@pytest.mark.parametrize("name", ["without", "echo"])
def test_a_kernel_without_us_says_so(server: Server, book: Book, name: str) -> None:
    kernel = server.start_kernel(name)
    answer = server.ask("GET", f"nbrewind/kernels/{kernel}/status")
    assert (answer.status, answer.json["code"]) == (409, "no-extension"), answer.text
    job = server.wait(restore(server, kernel, book, "b"))
    assert (job["state"], job["error"]["code"]) == ("failed", "no-extension")
    if name == "without":
        assert "Install nbrewind" in job["error"]["message"]


# --- Restore --------------------------------------------------------------------------------------------------------


# The mode of a kernelspec of ours begins when the store is known.
@pytest.mark.parametrize(("name", "mode"), [("python3", "off"), ("nbrewind-audit", "audit")])
def test_restore_into_a_fresh_kernel(
    server: Server, book: Book, folder: Path, name: str, mode: str
) -> None:
    kernel = server.start_kernel(name, folder.name)
    job = restore(server, kernel, book, "b")
    assert job["kind"] == "restore" and job["kernel"] == kernel
    job = server.wait(job, "done")
    assert names_of(job) == {
        "rows": "loaded",
        "scores": "loaded",
        "score": "loaded",
        "time": "loaded",
    }
    assert server.get(f"kernels/{kernel}/status")["mode"] == mode
    with server.shell(kernel) as shell:
        assert shell.run("print(sum(scores), score(4), 'kept' in dir())") == "380 8 False"
        shell.run("rows = None")
        job = server.wait(server.post(f"kernels/{kernel}/undo-restore", {}), "done")
        assert job["report"] == {"undone": True}
        assert shell.run("print('scores' in dir())") == "False"
    assert [job["kind"] for job in server.get("jobs")["jobs"]][-2:] == ["restore", "undo-restore"]


def test_restore_to_an_older_run(server: Server, book: Book, folder: Path) -> None:
    book.edit(b="scores = [0]")
    book.audit()
    older = server.get("runs", path=path_of(book), cell="b")["runs"][1]
    kernel = server.start_kernel("python3", folder.name)
    body = {"path": path_of(book), "run": older["run_id"]}
    job = server.wait(server.post(f"kernels/{kernel}/restore", body), "done")
    assert job["report"]["source"] == CELLS["b"]
    with server.shell(kernel) as shell:
        assert shell.run("print(len(scores))") == "20"


def test_an_unknown_run_fails_the_job(server: Server, book: Book, folder: Path) -> None:
    kernel = server.start_kernel("python3", folder.name)
    job = server.wait(restore(server, kernel, book, "b", number=99))
    assert (job["state"], job["error"]["code"]) == ("failed", "unknown-run")


def test_a_kernel_of_another_store_is_refused(server: Server, book: Book, folder: Path) -> None:
    other = Book(folder / "elsewhere", {"a": "x = 1"})
    kernel = server.start_kernel("python3", folder.name)
    body = {"mode": "audit", "path": path_of(book)}
    server.post(f"kernels/{kernel}/mode", body, 200)
    body = {"path": f"{folder.name}/elsewhere/{other.path.name}", "cell": "a"}
    job = server.wait(server.post(f"kernels/{kernel}/restore", body))
    assert (job["state"], job["error"]["code"]) == ("failed", "store")


# --- A kernel in use ------------------------------------------------------------------------------------------------


def test_a_busy_kernel_answers_and_the_job_waits(server: Server, book: Book, folder: Path) -> None:
    kernel = server.start_kernel("nbrewind-audit", folder.name)
    server.get(f"kernels/{kernel}/status")
    gate = Gate(folder / "gate")
    with server.shell(kernel) as shell:
        shell.begin(f"{gate.wait}\nmine = 1")
        server.get(f"kernels/{kernel}/status")
        first = restore(server, kernel, book, "a")
        second = restore(server, kernel, book, "b")
        server.until_queued(kernel)
        assert server.get(f"jobs/{first['id']}")["state"] == "queued"
        answer = server.ask("DELETE", f"nbrewind/jobs/{first['id']}")
        assert answer.status in {200, 202}
        assert server.wait(first, "cancelled")["state"] == "cancelled"
        # All of this beside the running cell.
        assert server.get(f"jobs/{second['id']}")["state"] == "queued"
        gate.open()
        assert server.wait(second, "done")["report"]["cell_id"] == "b"
        # The user's cell ran to its end, before the restore.
        assert shell.run("print('mine' in dir(), len(scores))") == "False 20"


def test_a_kernel_without_subshells_answers_when_its_cell_has_ended(
    server: Server, book: Book, folder: Path
) -> None:
    kernel = server.start_kernel("old", folder.name)
    assert server.post(f"kernels/{kernel}/mode", {"mode": "off"}, 200)["mode"] == "off"
    gate = Gate(folder / "gate")
    with server.shell(kernel) as shell:
        shell.begin(gate.wait)
        cancelled = restore(server, kernel, book, "a")
        job = restore(server, kernel, book, "b")
        assert server.ask("DELETE", f"nbrewind/jobs/{cancelled['id']}").status == 200
        answer = server.ask("GET", f"nbrewind/kernels/{kernel}/status")
        assert (answer.status, answer.json["code"]) == (503, "busy")
        gate.open()
        server.wait(cancelled, "cancelled")
        assert server.wait(job, "done")["report"]["cell_id"] == "b"
        assert shell.run("print(len(scores))") == "20"
    book.edit(c=CELLS["c"].replace("10.0", "5.0"))
    job = server.wait(replay(server, kernel, book, "c", restart=True), "done")
    assert progress_of(job)["c"] == "executed" and shown(book)["c"] == "17"


def test_jobs_of_one_kernel_wait_for_each_other(server: Server, book: Book, folder: Path) -> None:
    kernel = server.start_kernel("python3", folder.name)
    jobs = [restore(server, kernel, book, cell) for cell in "abca"]
    ended = [server.wait(job, "done") for job in jobs]
    assert [job["ended"] for job in ended] == sorted(job["ended"] for job in ended)
    with server.shell(kernel) as shell:
        assert shell.run("print('scores' in dir())") == "False"


def test_a_kernel_that_dies_fails_the_job_only(server: Server, book: Book, folder: Path) -> None:
    kernel = server.start_kernel("nbrewind-audit", folder.name)
    with server.shell(kernel) as shell:
        process = int(shell.run("import os; print(os.getpid())"))
        shell.begin("import time; time.sleep(60)")
        job = restore(server, kernel, book, "b")
        other = restore(server, kernel, book, "c")
        server.until_queued(kernel)
        os.kill(process, signal.SIGKILL)
        job = server.wait(job)
        assert (job["state"], job["error"]["code"]) == ("failed", "kernel-died")
        # The server starts the kernel again by itself; what waited goes on there.
        assert server.wait(other)["state"] in {"done", "failed"}
    assert server.get("status")["protocol"] == 1
    answer = server.ask("DELETE", f"api/kernels/{kernel}")
    assert answer.status == 204
    assert server.ask("GET", f"nbrewind/kernels/{kernel}/status").status == 404


# --- Replay ---------------------------------------------------------------------------------------------------------


def replay(server: Server, kernel: str, book: Book, start: str, **more: Any) -> dict[str, Any]:
    job: dict[str, Any] = server.post(
        f"kernels/{kernel}/replay", {"path": path_of(book), "from": start, **more}
    )
    return job


def shown(book: Book) -> dict[str, str]:
    """What the notebook's file shows."""
    node = nbformat.read(book.path, as_version=4)
    nbformat.validate(node)
    return {
        cell.id: "".join(
            output.get("text", output.get("evalue", "")) for output in cell.outputs
        ).strip()
        for cell in node.cells
    }


def progress_of(job: dict[str, Any]) -> dict[str, str]:
    return {item["cell"]: item["status"] for item in job["progress"] if "cell" in item}


@pytest.mark.parametrize(("name", "mode"), [("python3", "off"), ("nbrewind-repeat", "repeat")])
def test_after_an_edit_only_what_must_executes(
    server: Server, book: Book, folder: Path, name: str, mode: str
) -> None:
    book.edit(c=CELLS["c"].replace("10.0", "5.0"))
    kernel = server.start_kernel(name, folder.name)
    job = server.wait(replay(server, kernel, book, "c"), "done")
    assert progress_of(job) == {"a": "replayed", "b": "replayed", "c": "executed", "d": "replayed"}
    assert [item["status"] for item in job["plan"]["plan"]][2] == "execute"
    assert job["report"]["executed"] == 1 and job["report"]["replayed"] == 3
    assert shown(book) == {"a": "", "b": "", "c": "17", "d": "380"}
    assert server.get(f"kernels/{kernel}/status")["mode"] == mode
    assert not server.get(f"kernels/{kernel}/status")["replaying"]
    with server.shell(kernel) as shell:
        assert shell.run("print(LIMIT, len(kept))") == "5.0 17"


def test_a_replay_in_a_live_kernel_keeps_what_is_equal(
    server: Server, book: Book, folder: Path
) -> None:
    kernel = server.start_kernel("nbrewind-audit", folder.name)
    body = {"mode": "audit", "path": path_of(book)}
    server.post(f"kernels/{kernel}/mode", body, 200)
    with server.shell(kernel) as shell:
        for cell in "abcd":
            shell.run(CELLS[cell])
        shell.run("later = 1; before = id(scores)")
        book.edit(c=CELLS["c"].replace("10.0", "5.0"))
        job = server.wait(replay(server, kernel, book, "c"), "done")
        assert progress_of(job)["c"] == "executed" and job["report"]["executed"] == 1
        # What came later, or from elsewhere than the notebook, is gone.
        assert (
            shell.run("print(len(kept), 'later' in dir(), 'before' in dir())") == "17 False False"
        )


def test_a_replay_that_takes_a_fresh_kernel_says_so_or_restarts(
    server: Server, book: Book, folder: Path
) -> None:
    kernel = server.start_kernel("python3", folder.name)
    body = {"mode": "audit", "path": path_of(book)}
    server.post(f"kernels/{kernel}/mode", body, 200)
    with server.shell(kernel) as shell:
        before = shell.run("import os, sys; sys.setrecursionlimit(5000); print(os.getpid())")
        book.edit(c=CELLS["c"].replace("10.0", "5.0"))
        job = server.wait(replay(server, kernel, book, "c"))
        assert (job["state"], job["error"]["code"]) == ("failed", "restart-needed")
        assert "setrecursionlimit" in job["error"]["message"]
        assert job["error"]["reasons"] == job["plan"]["restart"] != []
        assert shell.run("print(os.getpid())") == before
        assert server.get(f"kernels/{kernel}/status")["mode"] == "audit"
    job = server.wait(replay(server, kernel, book, "c", restart=True), "done")
    assert progress_of(job)["c"] == "executed" and shown(book)["c"] == "17"
    # The new kernel goes on in the mode of the old one.
    assert server.get(f"kernels/{kernel}/status")["mode"] == "audit"
    with server.shell(kernel) as shell:
        assert shell.run("print(len(kept), sys.getrecursionlimit())").startswith("NameError")
        assert shell.run("import os; print(len(kept), os.getpid() == " + before + ")") == "17 False"


def test_a_kernel_that_is_restarted_by_someone_else_fails_the_job(
    server: Server, book: Book, folder: Path
) -> None:
    book.edit(c="time.sleep(60)")
    kernel = server.start_kernel("python3", folder.name)
    job = replay(server, kernel, book, "c")
    while progress_of(job).get("c") != "running":
        job = server.get(f"jobs/{job['id']}", wait=5, since=job["changes"])
    assert server.ask("POST", f"api/kernels/{kernel}/restart").status == 200
    job = server.wait(job)
    assert (job["state"], job["error"]["code"]) == ("failed", "kernel-died")
    assert server.ask("GET", f"nbrewind/kernels/{kernel}/status").status == 409


def test_outputs_of_replayed_cells_come_back_into_the_file(
    server: Server, book: Book, folder: Path
) -> None:
    # Saved without outputs, as `book.write` does.
    assert set(shown(book).values()) == {""}
    kernel = server.start_kernel("python3", folder.name)
    job = server.wait(replay(server, kernel, book, "a"), "done")
    assert set(progress_of(job).values()) == {"replayed"}
    assert shown(book) == {"a": "", "b": "", "c": "14", "d": "380"}


def test_what_others_run_meanwhile_stays_theirs(server: Server, book: Book, folder: Path) -> None:
    gate = Gate(folder / "gate")
    book.edit(c=f"{gate.wait}\nprint('ours')", d="print('ours too')")
    kernel = server.start_kernel("python3", folder.name)
    with server.shell(kernel) as shell:
        job = replay(server, kernel, book, "c")
        while progress_of(job).get("c") != "running":
            job = server.get(f"jobs/{job['id']}", wait=5, since=job["changes"])
        theirs = shell.send("print('theirs'); 1 / 0")
        gate.open()
        assert shell.end(theirs) == "theirs\nZeroDivisionError"
    # Their failure takes nothing of ours with it.
    job = server.wait(job, "done")
    assert job["report"]["executed"] == 2
    assert shown(book) == {"a": "", "b": "", "c": "ours", "d": "ours too"}


def test_a_request_that_does_not_begin_in_time_is_taken_back(
    server: Server, book: Book, folder: Path
) -> None:
    import asyncio

    from jupyter_client.asynchronous.client import AsyncKernelClient

    from nbrewind.client import Conversation, KernelFailed

    kernel = server.start_kernel("python3", folder.name)
    server.post(f"kernels/{kernel}/mode", {"mode": "off"}, 200)
    file = server.root.parent / "runtime" / f"kernel-{kernel}.json"

    async def alive() -> bool:
        return True

    async def ask() -> None:
        client = AsyncKernelClient(connection_file=str(file))
        client.load_connection_file()
        async with Conversation(client, alive) as talk:
            with pytest.raises(KernelFailed) as error:
                await talk.ask("configure", patience=1, mode="audit", store=str(book.store))
            assert error.value.code == "busy"

    gate = Gate(folder / "gate")
    with server.shell(kernel) as shell:
        shell.begin(gate.wait)
        asyncio.run(ask())
        gate.open()
        assert shell.run("print(1)") == "1"
    assert server.get(f"kernels/{kernel}/status")["mode"] == "off"


def test_jobs_leave_a_replay_of_someone_else_alone(
    server: Server, book: Book, folder: Path
) -> None:
    import asyncio

    from jupyter_client.asynchronous.client import AsyncKernelClient

    from nbrewind.client import Conversation

    kernel = server.start_kernel("python3", folder.name)
    server.post(f"kernels/{kernel}/mode", {"mode": "audit", "path": path_of(book)}, 200)
    file = server.root.parent / "runtime" / f"kernel-{kernel}.json"
    cells = [{"id": cell, "source": source, "tags": []} for cell, source in CELLS.items()]

    async def alive() -> bool:
        return True

    def refused(job: dict[str, Any]) -> None:
        job = server.wait(job)
        assert (job["state"], job["error"]["code"]) == ("failed", "busy"), job
        assert "somebody else" in job["error"]["message"] or "another" in job["error"]["message"]
        status = server.get(f"kernels/{kernel}/status")
        assert (status["replaying"], status["mode"]) == (True, "repeat")

    async def ask() -> None:
        client = AsyncKernelClient(connection_file=str(file))
        client.load_connection_file()
        async with Conversation(client, alive) as talk:
            await talk.ask("begin-replay", cells=cells, **{"from": "c"})
            jobs = [
                restore(server, kernel, book, "b"),
                server.post(f"kernels/{kernel}/undo-restore", {}),
                replay(server, kernel, book, "c"),
            ]
            for job in jobs:
                await asyncio.to_thread(refused, job)
            # Nor is the kernel restarted under it.
            with server.shell(kernel) as shell:
                shell.run("import sys; sys.setrecursionlimit(5000)")
                job = replay(server, kernel, book, "c", restart=True)
                await asyncio.to_thread(refused, job)
                assert shell.run("print(sys.getrecursionlimit())") == "5000"
            assert (await talk.ask("end-replay"))["mode"] == "audit"

    asyncio.run(ask())
    assert server.wait(restore(server, kernel, book, "b"), "done")["report"]["cell_id"] == "b"


def test_without_saving_the_file_stays(server: Server, book: Book, folder: Path) -> None:
    book.edit(c=CELLS["c"].replace("10.0", "5.0"))
    before = book.path.read_bytes()
    kernel = server.start_kernel("python3", folder.name)
    server.wait(replay(server, kernel, book, "c", save=False), "done")
    assert book.path.read_bytes() == before


def test_a_failing_cell_stops_the_replay_and_is_saved(
    server: Server, book: Book, folder: Path
) -> None:
    book.edit(c="kept = 1 / 0")
    kernel = server.start_kernel("python3", folder.name)
    job = server.wait(replay(server, kernel, book, "c"))
    assert (job["state"], job["error"]["code"]) == ("failed", "cell-failed")
    assert "cell c failed: ZeroDivisionError: division by zero" in job["error"]["message"]
    assert progress_of(job)["c"] == "failed" and "d" not in progress_of(job)
    assert shown(book)["c"] == "division by zero"
    assert not server.get(f"kernels/{kernel}/status")["replaying"]


def test_a_replay_is_cancelled_between_cells_or_in_one(
    server: Server, book: Book, folder: Path
) -> None:
    book.edit(c="time.sleep(60)")
    kernel = server.start_kernel("python3", folder.name)
    job = replay(server, kernel, book, "c")
    deadline = time.monotonic() + 60
    while progress_of(job).get("c") != "running":
        job = server.get(f"jobs/{job['id']}", wait=5, since=job["changes"])
        assert time.monotonic() < deadline and job["state"] in {"queued", "running"}, job
    started = time.monotonic()
    assert server.ask("DELETE", f"nbrewind/jobs/{job['id']}").status in {200, 202}
    job = server.wait(job, "cancelled")
    assert time.monotonic() - started < 20
    assert not server.get(f"kernels/{kernel}/status")["replaying"]
    with server.shell(kernel) as shell:
        assert shell.run("print(1 + 1)") == "2"


def test_outputs_go_to_the_text_that_made_them(server: Server, book: Book, folder: Path) -> None:
    gate = Gate(folder / "gate")
    book.edit(c=f"{gate.wait}\nprint('slow')")
    kernel = server.start_kernel("python3", folder.name)
    job = replay(server, kernel, book, "c")
    while progress_of(job).get("c") != "running":
        job = server.get(f"jobs/{job['id']}", wait=5, since=job["changes"])
    # The user saves another text of the cell, and a new cell, while it runs.
    book.edit(c="print('edited')", e="new = 1")
    gate.open()
    job = server.wait(job, "done")
    assert job["report"]["not_saved"] == ["c"]
    assert shown(book) == {"a": "", "b": "", "c": "", "d": "380", "e": ""}


def test_an_unknown_cell_is_a_bad_request(server: Server, book: Book, folder: Path) -> None:
    kernel = server.start_kernel("python3", folder.name)
    job = server.wait(replay(server, kernel, book, "zz"))
    assert (job["state"], job["error"]["code"]) == ("failed", "bad-request")


def test_a_notebook_that_is_not_one_fails_the_job(server: Server, folder: Path) -> None:
    (folder / "broken.ipynb").write_text("{")
    kernel = server.start_kernel("python3", folder.name)
    body = {"path": f"{folder.name}/broken.ipynb", "from": "a"}
    job = server.wait(server.post(f"kernels/{kernel}/replay", body))
    assert (job["state"], job["error"]["code"]) == ("failed", "bad-request")
    (folder / "broken.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    job = server.wait(server.post(f"kernels/{kernel}/replay", body))
    assert job["error"]["code"] == "bad-request"
