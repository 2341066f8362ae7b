"""What takes its time: restore, undo and replay, as jobs that can be watched and cancelled.

One kernel does one job at a time; the others wait in the order in which they came. A finished job is kept for a while,
so that whoever started it can read how it ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from nbrewind.client import Conversation, KernelError
from nbrewind.server.errors import Trouble, describe

KEEP_SECONDS = 3600.0
KEEP_JOBS = 100
MAX_WAITING = 50
MAX_PROGRESS = 10_000

FINAL = {"done", "failed", "cancelled"}

# Seconds after which a cell that still runs is interrupted once more.
INTERRUPT_AGAIN = 3.0
# How often a cancelled job looks whether a cell of its own runs.
INTERRUPT_LOOK = 0.05


@dataclass
class Job:
    """One restore, undo or replay. `changes` counts what happened to it, for those who watch."""

    kind: str
    kernel: str
    path: str | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: str = "queued"
    progress: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    created: float = field(default_factory=time.time)
    ended: float | None = None
    changes: int = 0
    is_cancelled: bool = False
    talk: Conversation | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def to_json(self) -> dict[str, Any]:
        """The job as routes show it."""
        shown = {
            "id": self.id,
            "kind": self.kind,
            "kernel": self.kernel,
            "path": self.path,
            "state": self.state,
            "progress": self.progress,
            "created": self.created,
            "ended": self.ended,
            "changes": self.changes,
        }
        for name in ("plan", "report", "error"):
            if getattr(self, name) is not None:
                shown[name] = getattr(self, name)
        return shown

    def change(self) -> None:
        """Wake up those who watch."""
        self.changes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Its own work has begun in the kernel."""
        if self.state == "queued":
            self.state = "running"
            self.change()

    def end(self, state: str, error: dict[str, Any] | None = None) -> None:
        """The state that stays. Nothing changes after it."""
        if self.state not in FINAL:
            self.state, self.error, self.ended = state, error, time.time()
            self.change()

    def step(self, item: dict[str, Any]) -> None:
        """One more step; a step of the same cell takes the place of the one before."""
        for at in range(len(self.progress) - 1, -1, -1):
            if "cell" in item and self.progress[at].get("cell") == item["cell"]:
                self.progress[at] = item
                break
        else:
            if len(self.progress) < MAX_PROGRESS:
                self.progress.append(item)
        self.change()

    def heard(self, event: dict[str, Any]) -> None:
        """An event of the kernel while it works for this job."""
        request = self.talk.request if self.talk is not None else None
        if event["event"] == "started" and event.get("id") == request:
            self.begin()
        elif event["event"] == "progress" and event.get("of") == request:
            self.step({key: event.get(key) for key in ("done", "total", "what")})

    async def wait(self, since: int, seconds: float) -> None:
        """Return when more than `since` changes have happened, when it ended, or when the time is up."""
        deadline = time.monotonic() + seconds
        while self.changes <= since and self.state not in FINAL:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return


class Jobs:
    """All jobs of one server."""

    def __init__(self, interrupt: Callable[[str], Awaitable[None]], log: logging.Logger) -> None:
        self._interrupt = interrupt
        self._log = log
        self._jobs: dict[str, Job] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()

    def all(self) -> list[Job]:
        """Every job that is still known, oldest first."""
        self._forget_old()
        return list(self._jobs.values())

    def get(self, job_id: str) -> Job:
        """One job. Raises `Trouble` when it is not known, or not any more."""
        self._forget_old()
        try:
            return self._jobs[job_id]
        except KeyError:
            raise Trouble("no-job", f"there is no job {job_id}") from None

    def submit(self, job: Job, work: Callable[[Job], Awaitable[None]]) -> Job:
        """Do the work when the kernel's earlier jobs have ended."""
        self._forget_old()
        waiting = [
            other
            for other in self._jobs.values()
            if other.kernel == job.kernel and other.state not in FINAL
        ]
        if len(waiting) >= MAX_WAITING:
            raise Trouble("busy", f"{len(waiting)} jobs wait for this kernel already")
        self._jobs[job.id] = job
        task = asyncio.create_task(self._do(job, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def cancel(self, job: Job) -> None:
        """Stop a job: at once while it waits, between steps once it runs. What it did so far stays done."""
        if job.state in FINAL or job.is_cancelled:
            return
        job.is_cancelled = True
        job.change()
        talk = job.talk
        if talk is None:
            if job.state == "queued":
                job.end("cancelled")
            return
        # A request that has begun is stopped by an interrupt; nothing else of ours or the user's runs then.
        request = talk.request
        if request is not None and not await talk.take_back(request) and talk.request == request:
            await self._interrupt(job.kernel)
        task = asyncio.create_task(self._stop_cells(job, talk))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop_cells(self, job: Job, talk: Conversation) -> None:
        """Interrupt the cell that runs for the job, also one that was sent and has not begun.

        A kernel that is just beginning a cell loses an interrupt: it is asked again while the cell goes on.
        """
        asked = float("-inf")
        while job.state not in FINAL and job.talk is talk:
            if talk.is_executing and time.monotonic() - asked >= INTERRUPT_AGAIN:
                asked = time.monotonic()
                await self._interrupt(job.kernel)
            await asyncio.sleep(INTERRUPT_LOOK)

    async def _do(self, job: Job, work: Callable[[Job], Awaitable[None]]) -> None:
        async with self._turns[job.kernel]:
            if job.is_cancelled:
                job.end("cancelled")
                return
            try:
                await work(job)
            except (Trouble, KernelError) as error:
                job.end(*self._outcome(job, error))
            except Exception as error:  # noqa: BLE001 - whatever went wrong, a job has an end
                self._log.error("nbrewind: %s failed", job.kind, exc_info=error)
                job.end(*self._outcome(job, error))
            else:
                job.end("done")
            finally:
                job.talk = None

    @staticmethod
    def _outcome(job: Job, error: Exception) -> tuple[str, dict[str, Any] | None]:
        told = describe(error)
        is_asked_for = told["code"] in {"cancelled", "cell-failed", "internal"}
        return ("cancelled", None) if job.is_cancelled and is_asked_for else ("failed", told)

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.ended is not None]
        ended.sort(key=lambda job: job.ended or 0.0)
        horizon = time.time() - KEEP_SECONDS
        n_too_many = max(0, len(ended) - KEEP_JOBS)
        for at, job in enumerate(ended):
            if at < n_too_many or (job.ended or 0.0) < horizon:
                del self._jobs[job.id]
        busy = {job.kernel for job in self._jobs.values() if job.state not in FINAL}
        for kernel in [kernel for kernel in self._turns if kernel not in busy]:
            if not self._turns[kernel].locked():
                del self._turns[kernel]
