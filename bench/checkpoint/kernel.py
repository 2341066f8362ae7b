"""One kernel under measurement: cells through execute requests, CPU time and memory of its process from `/proc`."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """What a run of a notebook cost."""

    wall: float = 0.0
    cpu: float = 0.0
    peak_bytes: int = 0
    cells: dict[str, float] = field(default_factory=dict)


class Kernel:
    """A plain ipykernel of some Python. Use as a context manager."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self._python = python
        self.answers: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Kernel:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Kishu finds its kernel by a name of this form.
        connection = self.folder / f"kernel-{uuid.uuid4()}.json"
        self.manager = KernelManager(connection_file=str(connection))
        argv = [self._python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.manager._kernel_spec = KernelSpec(argv=argv, language="python")
        self.manager.start_kernel(cwd=str(self.folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.pid = int(self.run("import os; print(os.getpid())", is_silent=True))
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def cpu(self) -> float:
        """CPU seconds of the kernel and of what it started and has ended."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(value) for value in fields[11:15]) / _TICK

    def peak_bytes(self) -> int:
        """The most memory that the kernel has held."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def run(self, source: str, *, cell: str = "", is_silent: bool = False) -> str:
        """Run a cell to its end; what it printed. Raises `RuntimeError` when it fails."""
        content = {
            "code": source,
            "silent": is_silent and "print" not in source,
            "store_history": not is_silent,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        session = self.client.session
        message = session.msg("execute_request", content, metadata={"cellId": cell or "none"})
        self.client.shell_channel.send(message)
        return self._until_idle(message["header"]["msg_id"])

    def _until_idle(self, wanted: str) -> str:
        text: list[str] = []
        while True:
            heard = self.client.get_iopub_msg(timeout=600)
            kind, content = heard["header"]["msg_type"], heard["content"]
            if kind == "comm_msg" and "ok" in content["data"]:
                self.answers[content["data"]["id"]] = content["data"]
            if heard["parent_header"].get("msg_id") != wanted:
                continue
            if kind == "stream":
                text.append(content["text"])
            elif kind == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(text).strip()

    def open_comm(self) -> None:
        """Open the comm of NBRewind."""
        self._comm = uuid.uuid4().hex
        data: dict[str, Any] = {"comm_id": self._comm, "target_name": "nbrewind", "data": {}}
        self._until_idle(self._send("comm_open", data))

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """One request to NBRewind, and its answer."""
        request = uuid.uuid4().hex
        data = {"comm_id": self._comm, "data": {"id": request, "do": do, **arguments}}
        self._until_idle(self._send("comm_msg", data))
        answer = self.answers.pop(request)
        if not answer["ok"]:
            raise RuntimeError(str(answer))
        return answer

    def restore(self, cell: str) -> tuple[float, float, dict[str, Any]]:
        """Seconds until a restore answers, seconds until everything is loaded, and the report."""
        started = time.perf_counter()
        report: dict[str, Any] = self.ask("restore", cell=cell)["report"]
        answered = time.perf_counter() - started
        while self.ask("status")["pending"]:
            # Whoever asks all the time takes a core from those who load.
            time.sleep(0.02)
        return answered, time.perf_counter() - started, report

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def run_all(self, cells: dict[str, str], after: Any = None) -> Measured:
        """Run a notebook; `after` is called after every cell."""
        measured = Measured()
        begun_cpu, begun = self.cpu(), time.perf_counter()
        for cell, source in cells.items():
            cell_cpu = self.cpu()
            self.run(source, cell=cell)
            if after is not None:
                after(cell)
            measured.cells[cell] = self.cpu() - cell_cpu
        measured.wall = time.perf_counter() - begun
        measured.cpu = self.cpu() - begun_cpu
        measured.peak_bytes = self.peak_bytes()
        return measured
