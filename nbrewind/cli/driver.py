"""Drives a kernel over the Jupyter protocol: cells are executed as a front end would, requests go over the comm."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from nbrewind.cli.notebook import CodeCell, Notebook, NotebookError

# A store that another user wrote can hold pickles that run code when they are loaded.
TRUST_VARIABLE = "NBREWIND_TRUST"


class Refused(Exception):
    """The store refused: damaged, untrusted or incompatible."""


class KernelFailed(Exception):
    """The kernel died or could not be started."""


def store_of(notebook: Path, store: str | None) -> Path:
    """Where the records of a notebook are: `--store`, else NBREWIND_STORE, else `.nbrewind` beside it."""
    chosen = store or os.environ.get("NBREWIND_STORE")
    return Path(chosen).resolve() if chosen else notebook.resolve().parent / ".nbrewind"


def check_trust(store: Path) -> None:
    """Refuse a store that other users could have written, unless the user said that they trust it."""
    if not store.exists() or os.environ.get(TRUST_VARIABLE) == "1":
        return
    for path in (store, *store.glob("writers/*")):
        found = path.stat()
        if found.st_uid not in {os.getuid(), 0}:
            raise Refused(
                f"{path} belongs to another user (uid {found.st_uid}). Loading its values can run code that they "
                f"wrote. If you trust them, set {TRUST_VARIABLE}=1, or copy the store as your own."
            )


class _CellClient(AsyncKernelClient):
    """Sends the cell's id along, as JupyterLab does."""

    cell_metadata: dict[str, Any] = {}

    def execute(
        self,
        code: str,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: dict[str, Any] | None = None,
        allow_stdin: bool | None = None,
        stop_on_error: bool = True,
    ) -> str:
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": user_expressions or {},
            "allow_stdin": False,
            "stop_on_error": stop_on_error,
        }
        message = self.session.msg("execute_request", content, metadata=self.cell_metadata)
        self.shell_channel.send(message)
        return str(message["header"]["msg_id"])


class _Client(NotebookClient):
    """nbclient, with our comm's messages taken out of the stream of outputs."""

    comm_id: str
    on_comm: Callable[[dict[str, Any]], None]

    def handle_comm_msg(self, outs: Any, msg: Any, cell_index: int) -> None:
        content = msg["content"]
        if content.get("comm_id") == self.comm_id:
            if msg["header"]["msg_type"] == "comm_msg":
                self.on_comm(content["data"])
            return
        super().handle_comm_msg(outs, msg, cell_index)


class Driver:
    """One kernel and one notebook. Use as an async context manager."""

    def __init__(self, notebook: Notebook, mode: str, store: Path, **options: Any) -> None:
        self.notebook = notebook
        self.mode = mode
        self.store = store
        self.options = options
        self.reports: list[dict[str, Any]] = []
        self._answers: dict[str, dict[str, Any]] = {}
        self.keep = False

    async def __aenter__(self) -> Driver:
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
        self.manager.client_class = f"{__name__}._CellClient"
        self.client = _Client(
            self.notebook.node,
            km=self.manager,
            timeout=None,
            resources={"metadata": {"path": str(folder)}},
        )
        self.client.comm_id = uuid.uuid4().hex
        self.client.on_comm = self._heard
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
        self.kernel = self.client.kc = self.manager.client()
        self.kernel.start_channels()
        try:
            await self.kernel.wait_for_ready(timeout=120)
        except RuntimeError as error:
            await self._stop()
            raise KernelFailed(f"the kernel did not start: {error}") from error
        self._send(
            "comm_open", {"comm_id": self.client.comm_id, "target_name": "nbrewind", "data": {}}
        )
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

    async def __aexit__(self, *exc: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self.kernel.stop_channels()
        if self.keep:
            # Our manager must not take the file away when it is forgotten.
            self.manager._connection_file_written = False
        elif await self.manager.is_alive():
            await self.manager.shutdown_kernel(now=False)

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        message = self.kernel.session.msg(kind, content)
        self.kernel.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def _heard(self, data: dict[str, Any]) -> None:
        if data.get("event") == "run":
            self.reports.append(data)
        elif data.get("id"):
            self._answers[data["id"]] = data

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request over the comm and wait for its answer. Raises `Refused` when the store did."""
        request_id = uuid.uuid4().hex
        self._send(
            "comm_msg",
            {"comm_id": self.client.comm_id, "data": {"id": request_id, "do": do, **arguments}},
        )
        while request_id not in self._answers:
            if not await self.manager.is_alive():
                raise KernelFailed(f"the kernel died while it was asked to {do}")
            try:
                message = await self.kernel.get_iopub_msg(timeout=1)
            except Exception as error:
                if type(error).__name__ != "Empty":
                    raise
                continue
            if (
                message["header"]["msg_type"] == "comm_msg"
                and message["content"]["comm_id"] == self.client.comm_id
            ):
                self._heard(message["content"]["data"])
        answer = self._answers.pop(request_id)
        if not answer["ok"]:
            if answer["code"] in {"store", "unknown-run"}:
                raise Refused(answer["error"])
            raise KernelFailed(answer["error"])
        return answer

    async def run_cell(self, cell: CodeCell) -> dict[str, Any]:
        """Execute or replay one cell; returns the kernel's report. The cell's outputs are in the notebook."""
        n_before = len(self.reports)
        started = time.perf_counter()
        client: Any = self.kernel
        client.cell_metadata = {"cellId": cell.id, "nbrewind": {"tags": list(cell.tags)}}
        failed = False
        try:
            index = next(i for i, node in enumerate(self.notebook.node.cells) if node is cell.node)
            await self.client.async_execute_cell(cell.node, index, store_history=True)
        except CellExecutionError:
            failed = True
        except DeadKernelError as error:
            raise KernelFailed(f"the kernel died in cell {cell.id}") from error
        for report in self.reports[n_before:]:
            if report.get("status") == "not recorded":
                print(
                    f"nbrewind: cell {cell.id} is not recorded: {'; '.join(report['why'])}",
                    file=sys.stderr,
                )
        new = [
            report for report in self.reports[n_before:] if report.get("status") != "not recorded"
        ]
        report = (
            new[-1]
            if new
            else {"status": "failed" if failed else "executed", "why": ["it was not recorded"]}
        )
        report.setdefault("seconds", time.perf_counter() - started)
        report["cell_id"] = cell.id
        return report


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
    without the record that promised it: that is always right, and replays cost next to nothing.
    """
    check_trust(store)
    cells = notebook.code_cells()
    distrusted: list[str] = []
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
                reports.append(report)
                on_cell(cell, report)
                if report["status"] == "failed":
                    break
            if not restart and await driver.manager.is_alive():
                await driver.ask("flush")
        if not restart:
            return reports
        if set(restart) <= set(distrusted):
            raise NotebookError(f"cell {report['cell_id']}: {'; '.join(report['why'])}", 1)
        distrusted += restart


def run(coroutine: Any) -> Any:
    """Run a coroutine of this module to its end."""
    return asyncio.run(coroutine)
