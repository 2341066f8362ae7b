"""A live kernel as a front end has it: cells by execute requests, everything else over comms, beside running cells."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.manager import KernelManager

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LIMIT = 60.0


class Live:
    """One plain ipykernel with the extension loaded silently. Use as a context manager."""

    def __init__(self, folder: Path, *, is_loaded: bool = True, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[tuple[str, str], dict[str, Any]] = {}
        self._outputs: dict[str, list[Any]] = {}
        self._idle: set[str] = set()
        self._sent: dict[str, str] = {}
        self._variables = variables
        self._is_loaded = is_loaded
        self.subshell: str | None = None

    def __enter__(self) -> Live:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def _start(self) -> None:
        for attempt in range(3):
            self.manager = KernelManager(kernel_name="python3")
            self.manager.start_kernel(cwd=str(self.folder), env={**os.environ, **self._variables})
            self.client = self.manager.client()
            self.client.start_channels()
            try:
                self.client.wait_for_ready(timeout=_LIMIT / 2)
                break
            except RuntimeError:
                # Ports are chosen before they are taken; a kernel of another test may have been faster.
                self.__exit__()
                if attempt == 2:
                    raise
        if self._is_loaded:
            self.load()

    def restart(self) -> None:
        """A new process, as a front end makes one."""
        self.__exit__()
        self._start()

    def load(self) -> None:
        """What a front end does when a kernel has come up."""
        self.silently("%load_ext nbrewind")
        self.comm = self.open()

    def open(self) -> str:
        """One more comm."""
        comm = uuid.uuid4().hex
        content = {"comm_id": comm, "target_name": "nbrewind", "data": {}}
        self._wait_idle(self._send("comm_open", content))
        return comm

    def make_subshell(self) -> None:
        """From now on requests go to a thread of their own, as JupyterLab sends them."""
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=_LIMIT)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                self.subshell = reply["content"]["subshell_id"]
                return

    # --- Messages

    def _send(
        self, kind: str, content: dict[str, Any], subshell: str | None = None, **metadata: Any
    ) -> str:
        message = self.client.session.msg(kind, content, metadata=metadata)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def pump(self, seconds: float = 0.2) -> bool:
        """Take in one message; False when none came."""
        try:
            message = self.client.get_iopub_msg(timeout=seconds)
        except Empty:
            return False
        kind, content = message["header"]["msg_type"], message["content"]
        parent = message["parent_header"].get("msg_id", "")
        if kind == "comm_msg":
            data, comm = content["data"], content["comm_id"]
            self.heard.append((comm, data))
            if "ok" in data:
                self.answers[comm, data["id"]] = data
            elif comm == getattr(self, "comm", None):
                self.events.append(data)
        elif kind == "status" and content["execution_state"] == "idle":
            self._idle.add(parent)
        elif kind == "stream":
            shown = self._outputs.setdefault(parent, [])
            if shown and shown[-1][0] == content["name"]:
                shown[-1] = (content["name"], shown[-1][1] + content["text"])
            else:
                shown.append((content["name"], content["text"]))
        elif kind == "error":
            text = _COLOUR.sub("", content["evalue"])
            self._outputs.setdefault(parent, []).append(("error", content["ename"], text))
        elif kind in {"execute_result", "display_data"}:
            text = _ADDRESS.sub("0x", json.dumps(content["data"], sort_keys=True))
            self._outputs.setdefault(parent, []).append((kind, text))
        return True

    def all_outputs(self) -> list[tuple[str, ...]]:
        """Everything that was shown so far, for whatever message."""
        return [output for outputs in self._outputs.values() for output in outputs]

    def _wait_idle(self, message: str) -> None:
        self.until(lambda: message in self._idle)

    def until(self, holds: Callable[[], object]) -> None:
        """Take in messages until a condition holds."""
        end = time.monotonic() + _LIMIT
        while not holds():
            self.pump(0.05)
            assert time.monotonic() < end, "what the test waits for did not come"

    # --- Cells

    def begin_run(self, source: str, cell: str | None = None, tags: list[str] | None = None) -> str:
        """Send a cell without waiting for its end."""
        content = {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        metadata: dict[str, Any] = {}
        if cell:
            metadata = {"cellId": cell, "nbrewind": {"tags": tags or []}}
        return self._send("execute_request", content, **metadata)

    def reach(self, source: str, rest: str, cell: str | None = None) -> str:
        """Send a cell and come back when `source` is over and `rest` is about to begin."""
        message = self.begin_run(f"{source}\nprint('reached', flush=True)\n{rest}", cell)
        self.until(lambda: any("reached" in str(item) for item in self._outputs.get(message, [])))
        return message

    def end_run(self, message: str) -> list[Any]:
        """What the cell showed."""
        self._wait_idle(message)
        return self._outputs.get(message, [])

    def run(self, source: str, cell: str | None = None) -> list[Any]:
        """Run one cell; what it shows."""
        return self.end_run(self.begin_run(source, cell))

    def show(self, source: str) -> str:
        """What a cell prints, outside the notebook and unrecorded when the mode is off."""
        return "".join(str(item[-1]) for item in self.run(source))

    def silently(self, source: str) -> str:
        """A silent request; what it prints."""
        content = {"code": source, "silent": True, "store_history": False, "allow_stdin": False}
        return "".join(
            str(item[-1]) for item in self.end_run(self._send("execute_request", content))
        )

    def interrupt(self) -> None:
        """As the stop button does."""
        os.kill(self.manager.provisioner.pid, signal.SIGINT)  # type: ignore[union-attr]

    # --- Requests

    def send(self, do: str, *, comm: str | None = None, **arguments: Any) -> str:
        """Send a request; returns its id."""
        request = uuid.uuid4().hex
        data = {"id": request, "do": do, **arguments}
        self._sent[request] = comm or self.comm
        self._send("comm_msg", {"comm_id": comm or self.comm, "data": data}, self.subshell)
        return request

    def answer(self, request: str) -> dict[str, Any]:
        """Wait for the answer of a request."""
        key = (self._sent[request], request)
        self.until(lambda: key in self.answers)
        return self.answers.pop(key)

    def until_begun(self, request: str) -> None:
        """Wait until a request that changes state is carried out."""
        self.until(
            lambda: any(
                event["event"] == "started" and event["id"] == request for event in self.events
            )
        )

    def try_ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer, also when it is a refusal."""
        return self.answer(self.send(do, **arguments))

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request that is carried out."""
        found = self.try_ask(do, **arguments)
        assert found["ok"], found
        return found

    # --- A notebook

    def run_all(self, cells: dict[str, str]) -> dict[str, list[Any]]:
        """Run every cell in order."""
        return {cell: self.run(source, cell) for cell, source in cells.items()}

    def plan(self, cells: dict[str, str], start: str) -> dict[str, Any]:
        """`plan-replay`."""
        return self.ask("plan-replay", cells=as_cells(cells), **{"from": start})

    def replay(
        self, cells: dict[str, str], start: str, *, may_restart: bool = False
    ) -> dict[str, Any]:
        """Replay from a cell, as the front end does it; what each cell showed, and the report."""
        shown: dict[str, list[Any]] = {}
        distrusted: list[str] = []
        restarts = 0
        while True:
            asked = {"cells": as_cells(cells), "from": start, "distrusted": distrusted}
            began = self.try_ask("begin-replay", **asked)
            if not began["ok"] and began["code"] == "restart-needed" and may_restart:
                self.restart()
                self.ask("configure", mode="audit", notebook="book.ipynb")
                began = self.try_ask("begin-replay", **asked)
                restarts += 1
            assert began["ok"], began
            again: list[str] = []
            following = began["next"]
            for cell in list(cells)[list(cells).index(following) :] if following else []:
                n_before = len(self.events)
                shown[cell] = self.run(cells[cell], cell)
                report = self.report_of(cell, n_before)
                again = report.get("restart_without") or []
                if again or report["status"] == "failed":
                    break
            if not again:
                break
            assert not set(again) <= set(distrusted), report
            distrusted += again
        ended = self.ask("end-replay")
        return {
            **ended["report"],
            "mode": ended["mode"],
            "shown": shown,
            "next": began["next"],
            "began": began,
            "restarts": restarts,
            "distrusted": distrusted,
        }

    def report_of(self, cell: str, n_before: int = 0) -> dict[str, Any]:
        """The latest report of a cell."""
        while self.pump(0.02):
            pass
        found = [
            event
            for event in self.events[n_before:]
            if event["event"] == "run"
            and event["cell_id"] == cell
            and event["status"] != "not recorded"
        ]
        return found[-1]

    def statuses(self, n_before: int = 0) -> dict[str, str]:
        """What became of every cell, by the events."""
        return {
            event["cell_id"]: event["status"]
            for event in self.events[n_before:]
            if event["event"] == "run"
        }


def as_cells(cells: dict[str, str]) -> list[dict[str, Any]]:
    """Cells as the protocol has them."""
    return [{"id": cell, "source": source, "tags": []} for cell, source in cells.items()]
