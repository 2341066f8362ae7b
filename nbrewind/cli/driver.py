"""Drives a kernel over the Jupyter protocol: cells are executed as a front end would, requests go over the comm."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir

from nbrewind.cli.notebook import CodeCell, Notebook, NotebookError
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


# How often a kernel is started that dies before it answers.
_ATTEMPTS = 3


class Driver:
    """One kernel and one notebook. Use as an async context manager."""

    def __init__(self, notebook: Notebook, mode: str, store: Path, **options: Any) -> None:
        self.notebook = notebook
        self.mode = mode
        self.store = store
        self.options = options
        self.keep = False

    async def __aenter__(self) -> Driver:
        for attempt in range(_ATTEMPTS):
            try:
                await self._start()
                break
            except KernelFailed:
                # Its ports are chosen before it takes them; another process may have been faster.
                if attempt == _ATTEMPTS - 1:
                    raise
        configure = {
            "mode": self.mode,
            "store": str(self.store),
            "notebook": self.notebook.path.name,
            "tags": {cell.id: list(cell.tags) for cell in self.notebook.code_cells()},
            **{
                key: value for key, value in self.options.items() if key in {"shadow", "distrusted"}
            },
        }
        try:
            await self.ask("configure", **configure)
        except BaseException:
            await self._stop()
            raise
        return self

    async def _start(self) -> None:
        """Start the kernel and talk to it. Raises `KernelFailed`."""
        folder = self.notebook.path.resolve().parent
        self.manager = AsyncKernelManager(kernel_name="python3")
        # The kernel of this very environment, whatever is registered elsewhere.
        self.manager._kernel_spec = KernelSpec(
            argv=[
                sys.executable,
                "-m",
                "nbrewind.kernel",
                f"--mode={self.mode}",
                "--log-level=ERROR",
                "-f",
                "{connection_file}",
            ],
            display_name="NBRewind",
            language="python",
        )
        # A kernel that stays must not hold our output open; what a kernel prints outside cells is for its log.
        stays = bool(self.options.get("independent"))
        streams: dict[str, Any] = {
            "stdout": subprocess.DEVNULL,
            **({"stderr": subprocess.DEVNULL} if stays else {}),
        }
        if stays:
            # Where `jupyter console --existing` looks for it.
            self.manager.connection_file = os.path.join(
                jupyter_runtime_dir(), f"nbrewind-{uuid.uuid4().hex[:8]}.json"
            )
            os.makedirs(jupyter_runtime_dir(), mode=0o700, exist_ok=True)
        await self.manager.start_kernel(cwd=str(folder), independent=stays, **streams)
        channels = self.manager.client()
        channels.start_channels(stdin=False, hb=False)
        self.talk = Conversation(channels, self.manager.is_alive, notebook=self.notebook.node)
        try:
            await channels.wait_for_ready(timeout=120)
            await self.talk.open()
        except RuntimeError as error:
            await self._stop()
            raise KernelFailed(f"the kernel did not start: {error}") from error
        except BaseException:
            await self._stop()
            raise

    async def __aexit__(self, *exc: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await self.talk.close()
        if self.keep:
            # Our manager must not take the file away when it is forgotten.
            self.manager._connection_file_written = False
        elif await self.manager.is_alive():
            await self.manager.shutdown_kernel(now=False)

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises `Refused` when the store did."""
        return await self.talk.ask(do, **arguments)

    async def run_cell(self, cell: CodeCell) -> dict[str, Any]:
        """Execute or replay one cell; returns the kernel's report. The cell's outputs are in the notebook."""
        run = await self.talk.run_cell(Cell(cell.id, cell.source, cell.tags, cell.node))
        if run.not_recorded:
            print(
                f"nbrewind: cell {cell.id} is not recorded: {'; '.join(run.not_recorded)}",
                file=sys.stderr,
            )
        return run.report(cell.id)


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
        async with Driver(notebook, mode, store, shadow=shadow, distrusted=distrusted) as driver:
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
            if await driver.manager.is_alive():
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
