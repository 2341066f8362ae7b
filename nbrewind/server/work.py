"""What jobs do: restore, undo and replay in a kernel of the server, and outputs back into the notebook."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_core.utils import ensure_async

from nbrewind import client
from nbrewind.client import Cell, Conversation, KernelFailed, ReplayHooks
from nbrewind.server import kernels, notebooks
from nbrewind.server.errors import Trouble
from nbrewind.server.jobs import Job
from nbrewind.server.notebooks import Place

Work = Callable[[Job], Awaitable[None]]


def restore(manager: Any, place: Place, which: dict[str, Any]) -> Work:
    """Restore the state after a run."""

    async def work(job: Job) -> None:
        # Again: since the route looked, others may have written there.
        await notebooks.check_trust(place)
        async with kernels.attach(manager, job.kernel, job.heard) as talk:
            job.talk = talk
            _go_on(job)
            # It knows the notebook and its store before values come from there.
            await kernels.configure(manager, job.kernel, talk, place)
            _go_on(job)
            job.report = (await talk.ask("restore", **which))["report"]

    return work


def undo_restore(manager: Any) -> Work:
    """Bring back what was there before the last restore."""

    async def work(job: Job) -> None:
        async with kernels.attach(manager, job.kernel, job.heard) as talk:
            job.talk = talk
            _go_on(job)
            job.report = {"undone": (await talk.ask("undo-restore"))["undone"]}

    return work


def replay(
    manager: Any, contents: Any, place: Place, start: str, *, may_restart: bool, is_saved: bool
) -> Work:
    """Bring a cell and those after it up to date, and the notebook's outputs with them."""

    async def work(job: Job) -> None:
        await notebooks.check_trust(place)
        node = await notebooks.read(contents, place)
        cells = notebooks.code_cells(node)
        if start not in {cell.id for cell in cells}:
            raise Trouble("bad-request", f"{place.path} has no code cell {start}")
        run = _Replay(job, manager, place, node, cells, start)
        try:
            await run.run(may_restart)
        finally:
            # Also after a failure: the outputs of the cells that did run are true, and so is the error.
            if is_saved and run.shown:
                job.report = {
                    **(job.report or {}),
                    "not_saved": await notebooks.write_outputs(contents, place, run.shown),
                }
        if run.failed is not None:
            raise Trouble("cell-failed", run.failed)

    return work


class _Replay:
    def __init__(
        self, job: Job, manager: Any, place: Place, node: Any, cells: list[Cell], start: str
    ) -> None:
        self.job = job
        self.manager = manager
        self.place = place
        self.node = node
        self.cells = cells
        self.start = start
        self.by_id = {cell.id: cell for cell in cells}
        # Cells whose outputs are new, and the error of the cell that failed.
        self.shown: dict[str, Cell] = {}
        self.failed: str | None = None
        self.replayed: dict[str, dict[str, Any]] = {}

    async def run(self, may_restart: bool) -> None:
        # A kernel that was restarted goes on in the mode that it had; any other keeps its own.
        mode = None
        while True:
            try:
                async with kernels.attach(self.manager, self.job.kernel, self.job.heard) as talk:
                    self.job.talk = talk
                    _go_on(self.job)
                    talk.on_begun = self._begun
                    await kernels.configure(self.manager, self.job.kernel, talk, self.place, mode)
                    hooks = ReplayHooks(self._planned, self._cell, lambda: self.job.is_cancelled)
                    try:
                        self.job.report = await client.replay(
                            talk, self.cells, self.start, self.node, hooks
                        )
                    except KernelFailed as error:
                        if error.code == "restart-needed" and may_restart:
                            mode = await _mode_before_restart(talk)
                        raise
                break
            except KernelFailed as error:
                if error.code != "restart-needed" or not may_restart:
                    raise
                may_restart = False
                self.job.talk = None
                _go_on(self.job)
                self.job.step({"what": f"restarting the kernel: {error}"})
                await ensure_async(self.manager.restart_kernel(self.job.kernel))
        await self._show_replayed()

    def _begun(self) -> None:
        self.job.begin()

    def _planned(self, plan: dict[str, Any]) -> None:
        self.job.plan = plan
        self.job.change()

    def _cell(self, cell_id: str, report: dict[str, Any]) -> None:
        known = ("status", "run_id", "number", "seconds", "recorded_seconds", "why", "tasks")
        self.job.step({"cell": cell_id, **{key: report[key] for key in known if key in report}})
        self.job.begin()
        cell = self.by_id.get(cell_id)
        if cell is None:
            return
        if "run_id" in report and report["status"] == "replayed":
            self.replayed[cell_id] = report
        if report["status"] == "running":
            self.replayed.pop(cell_id, None)
            self.shown[cell_id] = cell
        elif report["status"] == "failed":
            self.failed = f"cell {cell_id} failed: {_error_of(cell)}"
        else:
            self.failed = None

    async def _show_replayed(self) -> None:
        """Outputs of cells that were replayed without a request of ours."""
        for cell_id, report in self.replayed.items():
            if cell_id in self.shown:
                continue
            messages = report.get("outputs")
            if messages is None:
                messages = await notebooks.recorded_outputs(self.place, report["run_id"])
            if messages is not None:
                cell = self.by_id[cell_id]
                client.show(self.node, cell, messages)
                self.shown[cell_id] = cell


async def _mode_before_restart(talk: Conversation) -> str:
    """The mode of the kernel; its restart must not end a replay that somebody else began."""
    status = await talk.ask("status")
    if status["replaying"]:
        raise KernelFailed(
            "this replay takes a restart of the kernel, and a replay that somebody else began is under way there",
            "busy",
        )
    mode: str = status["mode"]
    return mode


def _error_of(cell: Cell) -> str:
    for output in cell.node["outputs"]:
        if output["output_type"] == "error":
            return f"{output['ename']}: {output['evalue']}"
    return "it did not run to its end"


def _go_on(job: Job) -> None:
    if job.is_cancelled:
        raise KernelFailed("cancelled", "cancelled")
