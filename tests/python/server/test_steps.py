"""The steps of a replay and the life of a job, without a kernel: what is asked in which order, what is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from nbrewind.client import (
    Cell,
    CellRun,
    Conversation,
    KernelFailed,
    Refused,
    ReplayHooks,
    replay,
    show,
)
from nbrewind.server import jobs
from nbrewind.server.errors import Trouble, describe, status_of
from nbrewind.server.jobs import Job, Jobs


class Script(Conversation):
    """A kernel that answers from a script, and remembers what it was asked."""

    def __init__(
        self,
        answers: dict[str, list[Any]],
        runs: dict[str, list[dict[str, Any]]] | None = None,
        dies_in: str | None = None,
    ) -> None:
        self.answers = answers
        self.runs = runs or {}
        self.dies_in = dies_in
        self.asked: list[str] = []
        self.distrusted: list[list[str]] = []

    async def ask(
        self, do: str, *, patience: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        self.asked.append(do)
        if do == "begin-replay":
            self.distrusted.append(list(arguments["distrusted"]))
        answer = self.answers[do].pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found

    async def run_cell(self, cell: Cell, notebook: Any = None) -> CellRun:
        self.asked.append(cell.id)
        if cell.id == self.dies_in:
            raise KernelFailed("the kernel died", "kernel-died")
        report = self.runs.get(cell.id, [{"status": "executed", "why": []}]).pop(0)
        return CellRun("ok" if report["status"] != "failed" else "error", 0.1, [report])


PLAN = {"plan": [], "seconds": 1.0, "saved_seconds": 2.0, "restart": []}
END = {"report": {"executed": 1}, "mode": "audit"}


def begun(cell: str | None) -> dict[str, Any]:
    return {"runs": [], "replayed": [{"id": "a", "run_id": "r1"}], "next": cell}


def run(talk: Script, hooks: ReplayHooks | None = None) -> dict[str, Any]:
    node = nbformat.v4.new_notebook()
    for name in "abc":
        cell = nbformat.v4.new_code_cell(f"{name} = 1")
        cell["id"] = name
        node.cells.append(cell)
    cells = [Cell(cell["id"], cell.source, (), cell) for cell in node.cells]
    return asyncio.run(replay(talk, cells, "b", node, hooks or ReplayHooks()))


def test_a_replay_plans_begins_runs_what_is_left_and_ends() -> None:
    talk = Script({"plan-replay": [PLAN], "begin-replay": [begun("b")], "end-replay": [END]})
    seen: list[tuple[str, str]] = []
    hooks = ReplayHooks(on_cell=lambda cell, report: seen.append((cell, report["status"])))
    assert run(talk, hooks) == {"executed": 1}
    assert talk.asked == ["plan-replay", "begin-replay", "b", "c", "end-replay"]
    assert seen == [
        ("a", "replayed"),
        ("b", "running"),
        ("b", "executed"),
        ("c", "running"),
        ("c", "executed"),
    ]


def test_when_nothing_is_left_nothing_runs() -> None:
    talk = Script({"plan-replay": [PLAN], "begin-replay": [begun(None)], "end-replay": [END]})
    run(talk)
    assert talk.asked == ["plan-replay", "begin-replay", "end-replay"]


def test_a_value_that_cannot_be_had_begins_again_without_its_run() -> None:
    refused = {"status": "failed", "why": ["x is needed"], "restart_without": ["r1"]}
    fine = {"status": "executed", "why": []}
    talk = Script(
        {
            "plan-replay": [PLAN],
            "begin-replay": [begun("b"), begun("a")],
            "end-replay": [END],
        },
        {"b": [refused, fine]},
    )
    run(talk)
    assert talk.distrusted == [[], ["r1"]]
    assert talk.asked[1:] == ["begin-replay", "b", "begin-replay", "a", "b", "c", "end-replay"]


def test_beginning_again_comes_to_an_end() -> None:
    refused = {"status": "failed", "why": ["x is needed"], "restart_without": ["r1"]}
    talk = Script(
        {
            "plan-replay": [PLAN],
            "begin-replay": [begun("b"), begun("b")],
            "end-replay": [END],
        },
        {"b": [refused, dict(refused)]},
    )
    with pytest.raises(KernelFailed):
        run(talk)
    assert talk.asked[-1] == "end-replay"


def test_a_failed_cell_is_the_last_one() -> None:
    talk = Script(
        {"plan-replay": [PLAN], "begin-replay": [begun("b")], "end-replay": [END]},
        {"b": [{"status": "failed", "why": []}]},
    )
    run(talk)
    assert talk.asked == ["plan-replay", "begin-replay", "b", "end-replay"]


def test_the_replay_is_ended_whatever_happens() -> None:
    talk = Script(
        {
            "plan-replay": [PLAN],
            "begin-replay": [begun("b")],
            "end-replay": [KernelFailed("dead", "kernel-died")],
        },
        dies_in="b",
    )
    with pytest.raises(KernelFailed, match="the kernel died"):
        run(talk)
    assert talk.asked[-1] == "end-replay"


@pytest.mark.parametrize("in_plan", [True, False])
def test_what_takes_a_fresh_kernel_is_not_begun(in_plan: bool) -> None:
    needed = KernelFailed("a client runs", "restart-needed")
    talk = Script(
        {
            "plan-replay": [{**PLAN, "restart": ["a client runs"]} if in_plan else PLAN],
            "begin-replay": [needed],
        }
    )
    with pytest.raises(KernelFailed, match="a client runs") as error:
        run(talk)
    assert error.value.code == "restart-needed"
    assert ("begin-replay" in talk.asked) is not in_plan


def test_a_cancelled_replay_runs_no_further_cell_and_ends() -> None:
    talk = Script({"plan-replay": [PLAN], "begin-replay": [begun("b")], "end-replay": [END]})
    hooks = ReplayHooks(is_cancelled=lambda: "b" in talk.asked)
    with pytest.raises(KernelFailed) as error:
        run(talk, hooks)
    assert error.value.code == "cancelled"
    assert talk.asked == ["plan-replay", "begin-replay", "b", "end-replay"]


def test_recorded_outputs_look_as_if_they_were_new() -> None:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x")])
    cell = Cell("a", "x", (), node.cells[0])
    show(
        node,
        cell,
        [
            {"kind": "stream", "content": {"name": "stdout", "text": "one\n"}},
            {"kind": "stream", "content": {"name": "stdout", "text": "two\n"}},
            {"kind": "clear_output", "content": {"wait": True}},
            {"kind": "stream", "content": {"name": "stdout", "text": "three\n"}},
            {
                "kind": "execute_result",
                "content": {"data": {"text/plain": "3"}, "metadata": {}, "execution_count": 7},
            },
        ],
    )
    nbformat.validate(node)
    assert [output.get("text") for output in cell.node.outputs] == ["three\n", None]
    assert cell.node.execution_count == 7


# --- Jobs -----------------------------------------------------------------------------------------------------------


def with_jobs(body: Callable[[Jobs], Any]) -> list[str]:
    """Run with a list of jobs; returns the kernels that were interrupted."""
    interrupted: list[str] = []

    async def interrupt(kernel: str) -> None:
        interrupted.append(kernel)

    async def main() -> None:
        await body(Jobs(interrupt, logging.getLogger("test")))

    asyncio.run(main())
    return interrupted


def test_jobs_of_one_kernel_take_turns_and_those_of_others_do_not_wait() -> None:
    order: list[str] = []

    async def body(all_jobs: Jobs) -> None:
        async def work(job: Job) -> None:
            job.begin()
            order.append(f"{job.path} begins")
            await asyncio.sleep(0.05)
            order.append(f"{job.path} ends")

        for kernel, name in (("k", "1"), ("k", "2"), ("other", "3")):
            all_jobs.submit(Job("restore", kernel, name), work)
        for job in all_jobs.all():
            await job.wait(100, 5)
            assert job.state == "done"

    with_jobs(body)
    assert order.index("1 ends") < order.index("2 begins")
    assert order.index("3 begins") < order.index("1 ends")


def test_a_waiting_job_is_cancelled_at_once_and_never_begins() -> None:
    begun: list[str] = []

    async def body(all_jobs: Jobs) -> None:
        async def work(job: Job) -> None:
            begun.append(job.path or "")
            await asyncio.sleep(0.05)

        first = all_jobs.submit(Job("restore", "k", "1"), work)
        second = all_jobs.submit(Job("restore", "k", "2"), work)
        await asyncio.sleep(0)
        await all_jobs.cancel(second)
        assert second.state == "cancelled"
        await first.wait(100, 5)
        await asyncio.sleep(0.01)
        await all_jobs.cancel(first)
        assert first.state == "done"

    assert with_jobs(body) == []
    assert begun == ["1"]


def test_who_watches_a_job_hears_of_every_change() -> None:
    async def body(all_jobs: Jobs) -> None:
        async def work(job: Job) -> None:
            await asyncio.sleep(0.02)
            job.step({"cell": "a", "status": "running"})
            await asyncio.sleep(0.02)
            job.step({"cell": "a", "status": "executed"})
            job.step({"cell": "b", "status": "executed"})

        job = all_jobs.submit(Job("replay", "k", "1"), work)
        before = job.changes
        await job.wait(before, 0.001)
        assert job.changes == before, "nothing happened yet, and the wait is over"
        await job.wait(before, 5)
        assert job.progress == [{"cell": "a", "status": "running"}]
        await job.wait(job.changes, 5)
        assert job.to_json()["progress"] == [
            {"cell": "a", "status": "executed"},
            {"cell": "b", "status": "executed"},
        ]
        await job.wait(10_000, 5)
        assert job.state == "done"

    with_jobs(body)


def test_old_jobs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "KEEP_JOBS", 3)

    async def body(all_jobs: Jobs) -> None:
        async def work(job: Job) -> None:
            pass

        for name in range(6):
            job = all_jobs.submit(Job("restore", "k", str(name)), work)
            await job.wait(100, 5)
        assert [job.path for job in all_jobs.all()] == ["3", "4", "5"]
        all_jobs.all()[0].ended = 1.0
        assert [job.path for job in all_jobs.all()] == ["4", "5"]
        with pytest.raises(Trouble):
            all_jobs.get("gone")

    with_jobs(body)


def test_too_many_waiting_jobs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_WAITING", 2)

    async def body(all_jobs: Jobs) -> None:
        async def work(job: Job) -> None:
            await asyncio.sleep(0.01)

        for _ in range(2):
            all_jobs.submit(Job("restore", "k", None), work)
        with pytest.raises(Trouble) as error:
            all_jobs.submit(Job("restore", "k", None), work)
        assert status_of(error.value.code) == 503
        all_jobs.submit(Job("restore", "other", None), work)

    with_jobs(body)


def test_a_bug_of_ours_fails_the_job_and_tells_nothing_secret() -> None:
    async def body(all_jobs: Jobs) -> None:
        async def work(job: Job) -> None:
            raise RuntimeError("password=hunter2")

        job = all_jobs.submit(Job("restore", "k", None), work)
        await job.wait(100, 5)
        assert job.state == "failed"
        assert job.error is not None and job.error["code"] == "internal"
        assert "hunter2" not in str(job.error)

    with_jobs(body)


def test_every_error_has_a_status() -> None:
    assert status_of(describe(Refused("no"))["code"]) == 409
    assert status_of(describe(Refused("no", "unknown-run"))["code"]) == 404
    assert status_of(describe(KernelFailed("no", "a code of a newer kernel"))["code"]) == 500
