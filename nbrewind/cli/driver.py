"""Drives a kernel over the Jupyter protocol: cells are executed as a front end would, requests go over the comm."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir

from nbrewind.cli.notebook import CodeCell, Notebook, NotebookError
from nbrewind.cli.process import KernelProcess
from nbrewind.client import Cell, Conversation, KernelFailed, Refused
from nbrewind.records import check_trust, store_of

__all__ = [
    "Driver",
    "KernelFailed",
    "Refused",
    "check_trust",
    "run",
    "run_notebook",
    "store_of",
]


class Driver:
    """One kernel and one notebook. Use as an async context manager.

    `process`: a kernel in the same mode and folder that was started for this already. `stays`: the kernel outlives us,
    and is found where `jupyter console --existing` looks.
    """

    def __init__(
        self,
        notebook: Notebook,
        mode: str,
        store: Path,
        *,
        process: KernelProcess | None = None,
        stays: bool = False,
        **options: Any,
    ) -> None:
        self.notebook = notebook
        self.mode = mode
        self.store = store
        self.options = options
        self.keep = False
        if process is None or process.is_taken:
            folder = notebook.path.resolve().parent
            place = _lasting_place() if stays else None
            process = KernelProcess(mode, folder, stays=stays, connection_file=place)
        process.is_taken = True
        self.process = process
        self.talk: Conversation | None = None

    async def __aenter__(self) -> Driver:
        try:
            await self._connect()
            await self.ask(
                "configure",
                mode=self.mode,
                store=str(self.store),
                notebook=self.notebook.path.name,
                tags={cell.id: list(cell.tags) for cell in self.notebook.code_cells()},
                **self.options,
            )
        except BaseException:
            await self._stop()
            raise
        return self

    async def _connect(self) -> None:
        """Talk to the kernel. Raises `KernelFailed`."""
        channels = await self.process.channels()
        if channels is None:
            raise KernelFailed("the kernel did not start: it died before it could be reached")
        self.talk = Conversation(channels, self.process.is_alive, notebook=self.notebook.node)
        await self.talk.open(is_new=True)

    async def __aexit__(self, *exc: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        try:
            if self.talk is not None:
                await self.talk.close()
        finally:
            if not self.keep:
                await self.process.stop()

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises `Refused` when the store did."""
        assert self.talk is not None
        return await self.talk.ask(do, **arguments)

    async def run_cell(self, cell: CodeCell) -> dict[str, Any]:
        """Execute or replay one cell; returns the kernel's report. The cell's outputs are in the notebook."""
        assert self.talk is not None
        run = await self.talk.run_cell(Cell(cell.id, cell.source, cell.tags, cell.node))
        if run.not_recorded:
            print(
                f"nbrewind: cell {cell.id} is not recorded: {'; '.join(run.not_recorded)}",
                file=sys.stderr,
            )
        return run.report(cell.id)


def _lasting_place() -> Path:
    """Where the connection file of a kernel that stays lies."""
    folder = Path(jupyter_runtime_dir())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"nbrewind-{uuid.uuid4().hex[:8]}.json"


def with_earlier(found: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """The report of a cell, with what was done for it before the notebook began again.

    What was executed then and is replayed now has been executed; so have tasks.
    """
    if before is None or before["status"] != "executed":
        return found
    was, now = before.get("tasks") or {}, found.get("tasks") or {}
    tasks = {key: was.get(key, 0) for key in ("hit", "run", "pruned")}
    if found["status"] != "replayed":
        tasks["run"] += now.get("run", 0)
        n_others = sum(now.get(key, 0) for key in ("hit", "run", "pruned")) - tasks["run"]
        tasks["pruned"] = min(now.get("pruned", 0), max(n_others, 0))
        tasks["hit"] = max(n_others, 0) - tasks["pruned"]
    why = Counter(was.get("why") or {}) + Counter(now.get("why") or {})
    notes = [*(before.get("not_captured") or []), *(found.get("not_captured") or [])]
    return found | {
        "status": "executed" if found["status"] == "replayed" else found["status"],
        "why": list(dict.fromkeys([*(before.get("why") or []), *(found.get("why") or [])])),
        "seconds": before["seconds"] + found["seconds"],
        "tasks": tasks | {"why": dict(why)},
        "executed_tasks": [
            *(before.get("executed_tasks") or []),
            *(found.get("executed_tasks") or []),
        ],
        "not_captured": list(dict.fromkeys(notes)),
    }


async def run_notebook(
    notebook: Notebook,
    mode: str,
    store: Path,
    *,
    shadow: bool = False,
    on_cell: Callable[[CodeCell, dict[str, Any]], None] = lambda cell, report: None,
    process: KernelProcess | None = None,
) -> list[dict[str, Any]]:
    """Run every code cell in order; stops at the first that fails. Returns a report per cell that was reached.

    When a replayed value turns out to be needed and cannot be loaded, everything starts again in a new kernel
    without the record that promised it: that is always right, and replays cost next to nothing. The reports are of
    all that was done, not only since the last beginning.
    """
    check_trust(store)
    cells = notebook.code_cells()
    distrusted: list[str] = []
    earlier: dict[str, dict[str, Any]] = {}
    while True:
        reports: list[dict[str, Any]] = []
        restart: list[str] = []
        async with Driver(
            notebook, mode, store, process=process, shadow=shadow, distrusted=distrusted
        ) as driver:
            for cell in cells:
                if not cell.source.strip():
                    cell.node["outputs"] = []
                    continue
                report = await driver.run_cell(cell)
                restart = report.get("restart_without") or []
                if restart:
                    break
                report = with_earlier(report, earlier.get(cell.id))
                reports.append(report)
                on_cell(cell, report)
                if report["status"] == "failed":
                    break
            if await driver.process.is_alive():
                # What begins again finds the files as they were.
                answer = await driver.ask("take-back" if restart else "flush")
                for path in answer.get("lost", ()):
                    print(
                        f"nbrewind: {path} was changed and could not be kept as it was; "
                        "the notebook begins again with it as it is now",
                        file=sys.stderr,
                    )
        if not restart:
            return reports
        if set(restart) <= set(distrusted):
            raise NotebookError(f"cell {report['cell_id']}: {'; '.join(report['why'])}", 1)
        distrusted += restart
        earlier |= {found["cell_id"]: found for found in reports}


def run(coroutine: Any) -> Any:
    """Run a coroutine of this module to its end."""
    return asyncio.run(coroutine)
