"""Speaks to one kernel: requests over the comm `nbrewind`, cells by execute requests.

The command line (a kernel that it started itself) and the server extension (a kernel that JupyterLab is attached to
as well) both use this, so there is one way to restore and one way to replay. The protocol is described in
docs/ARCHITECTURE.md.

Other clients may use the same kernel at the same time: only what answers our own messages counts. What only looks is
asked through a subshell where the kernel has them, so that it is answered beside a running cell.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from nbclient import NotebookClient

TARGET = "nbrewind"

# How often a wait looks whether the kernel still lives.
_LOOK = 0.5
# A kernel that does not say a word on its control channel for so long is gone or stuck.
_SILENCE = 60.0
# Outputs come on a channel of their own, which may drop some: how long the last one may take after the reply.
_LAST_WORDS = 10.0

# What nbclient makes outputs and counts of; everything else on the channel is not for the notebook.
_SHOWN = {
    "clear_output",
    "comm_close",
    "comm_msg",
    "comm_open",
    "display_data",
    "error",
    "execute_input",
    "execute_result",
    "stream",
    "update_display_data",
}


class KernelError(Exception):
    """A kernel did not do what it was asked to. `code` is what callers branch on."""

    def __init__(self, message: str, code: str, answer: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.answer = answer or {}


class Refused(KernelError):
    """The store refused: damaged, untrusted, incompatible, or it does not have that run."""

    def __init__(
        self, message: str, code: str = "store", answer: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, code, answer)


class KernelFailed(KernelError):
    """The kernel died, could not be started, does not know us, or failed at what it was asked."""

    def __init__(
        self, message: str, code: str = "internal", answer: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, code, answer)


def _error(answer: dict[str, Any]) -> KernelError:
    code = answer.get("code", "internal")
    kind = Refused if code in {"store", "unknown-run"} else KernelFailed
    return kind(answer.get("error", code), code, answer)


@dataclass
class Cell:
    """A code cell on its way to the kernel. `node` receives outputs and the execution count."""

    id: str
    source: str
    tags: tuple[str, ...]
    node: Any = field(repr=False, compare=False)

    def asked(self) -> dict[str, Any]:
        """The cell as requests name it."""
        return {"id": self.id, "source": self.source, "tags": list(self.tags)}


@dataclass
class CellRun:
    """What one execute request came to."""

    status: str
    seconds: float
    reports: list[dict[str, Any]]

    @property
    def not_recorded(self) -> list[str]:
        """Why the run is not recorded; empty when it is."""
        return [
            text
            for report in self.reports
            if report.get("status") == "not recorded"
            for text in report["why"]
        ]

    def report(self, cell_id: str) -> dict[str, Any]:
        """The kernel's report of the run, or what can be said without one."""
        told = [report for report in self.reports if report.get("status") != "not recorded"]
        report: dict[str, Any] = told[-1] if told else {"why": ["it was not recorded"]}
        if not told:
            report["status"] = "executed" if self.status == "ok" else "failed"
        report.setdefault("seconds", self.seconds)
        report["cell_id"] = cell_id
        return report


@dataclass
class _Execution:
    """An execute request that has not ended."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    has_begun: bool = False
    ended: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Subshell:
    """A subshell that conversations with one kernel share: ipykernel loses a file handle with each that is deleted."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.lock = asyncio.Lock()


class Conversation:
    """One client's talk with one kernel, from `open` to `close`. The channels are its own."""

    def __init__(
        self,
        channels: AsyncKernelClient,
        is_alive: Callable[[], Awaitable[bool]],
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        notebook: Any = None,
        shared: Subshell | None = None,
    ) -> None:
        self.channels = channels
        self.on_event = on_event
        # What the kernel said about itself when the comm was opened.
        self.status: dict[str, Any] = {}
        # The request that waits for its answer, and whether our execute request is what runs now.
        self.request: str | None = None
        self.is_executing = False
        # Called when our execute request begins to run.
        self.on_begun: Callable[[], None] = lambda: None
        self._is_alive = is_alive
        self._notebook = notebook
        self._outputs: NotebookClient | None = None
        self._comm_id = ""
        self._shared = shared
        self._subshell: str | None = None
        self._lost: KernelFailed | None = None
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._statuses: dict[str, asyncio.Future[None]] = {}
        self._executions: dict[str, _Execution] = {}
        # What it means that a request of ours was dealt with, if nothing was heard before.
        self._at_idle: dict[str, Callable[[], None]] = {}
        self._listeners: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Conversation:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # --- Opening and closing --------------------------------------------------------------------------------------

    async def open(
        self, patience: float | None = None, *, loads: bool = True, is_new: bool = False
    ) -> None:
        """Find the kernel's side of the comm. `loads`: load the extension where that is missing.

        `is_new`: nothing was sent to the kernel yet.
        """
        self.listen()
        # A busy kernel answers on its control channel alone. One that starts is asked as all clients ask: until it is
        # ready it may never hear what it is sent there, and it fails when it is asked for a subshell.
        info = await self._introduce("shell" if is_new else "control")
        if "kernel subshells" in info.get("supported_features", []):
            self._subshell = await self._find_subshell()
        if await self._open_comm(patience):
            return
        language = info.get("language_info", {}).get("name", "unknown")
        if language != "python":
            raise KernelFailed(
                f"the kernel runs {language}; NBRewind works in Python kernels", "no-extension"
            )
        if not loads:
            raise KernelFailed("NBRewind is not loaded in this kernel", "no-extension")
        await self._load_extension(patience)
        if not await self._open_comm(patience):
            raise KernelFailed(
                "the kernel loaded NBRewind but does not answer; it may be another version. "
                "Install the same version in the kernel's environment and restart the kernel",
                "no-extension",
            )

    def listen(self) -> None:
        """Begin to hear what the kernel says."""
        if not self.channels.channels_running:
            self.channels.start_channels(stdin=False, hb=False)
        self._listeners = [
            asyncio.create_task(self._hear(self.channels.get_iopub_msg, self._heard)),
            asyncio.create_task(self._hear(self.channels.get_shell_msg, self._replied)),
            asyncio.create_task(self._hear(self.channels.get_control_msg, self._replied)),
        ]
        for listener in self._listeners:
            listener.add_done_callback(self._went_deaf)

    def _went_deaf(self, listener: asyncio.Task[None]) -> None:
        """Nothing must wait for what can no longer be heard."""
        error = None if listener.cancelled() else listener.exception()
        if error is not None:
            text = f"the connection to the kernel broke ({type(error).__name__}: {error})"
            self._lost = KernelFailed(text, "kernel-died")

    async def close(self) -> None:
        """Leave the kernel as it is, and our channels closed."""
        if self._comm_id and self._lost is None:
            content = {"comm_id": self._comm_id, "data": {}}
            self._send("shell", "comm_close", content, subshell=self._subshell)
            # Its answer tells that the closing message, which goes the same way, was taken.
            with contextlib.suppress(KernelError):
                await self._request("shell", "kernel_info_request", {}, "close", 2, self._subshell)
            if self._subshell is not None and self._shared is None:
                content = {"subshell_id": self._subshell}
                self._send("control", "delete_subshell_request", content)
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        self.channels.stop_channels()

    async def _introduce(self, channel: str) -> dict[str, Any]:
        """Ask who the kernel is until it is heard on all channels: what is said before we subscribed is lost."""
        deadline = time.monotonic() + _SILENCE
        # A new kernel soon hears us. Another may be busy, or not be there yet for whoever knows whether it lives.
        patience = 0.1 if channel == "shell" else 1.0
        while time.monotonic() < deadline:
            heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            sent = self._send(channel, "kernel_info_request", {})
            self._statuses[sent] = heard
            answered = self._expect(sent)
            try:
                both = asyncio.gather(heard, answered, return_exceptions=True)
                await asyncio.wait({both}, timeout=patience)
                if heard.done() and answered.done():
                    return answered.result()
            finally:
                self._statuses.pop(sent, None)
                self._forget(sent)
            await self._check_alive("answer")
            patience = min(2 * patience, 8)
        raise KernelFailed("the kernel does not answer", "kernel-died")

    async def _find_subshell(self) -> str | None:
        if self._shared is None:
            return await self._open_subshell()
        async with self._shared.lock:
            if self._shared.id is not None:
                # It is gone when the kernel was restarted.
                known = await self._request(
                    "control", "list_subshell_request", {}, "list its subshells", _SILENCE
                )
                if self._shared.id in known.get("subshell_id", []):
                    return self._shared.id
            self._shared.id = await self._open_subshell()
            return self._shared.id

    async def _open_subshell(self) -> str | None:
        """A new subshell; None when the kernel makes none, and then everything waits for its cells."""
        for _ in range(20):
            # A kernel that is still starting drops the request without an answer, or refuses it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    made = await self._request(
                        "control", "create_subshell_request", {}, "open a subshell", None
                    )
                    if made.get("subshell_id"):
                        return str(made["subshell_id"])
            await asyncio.sleep(0.1)
        return None

    async def _open_comm(self, patience: float | None) -> bool:
        """Open the comm; False when the kernel does not know the target."""
        self._comm_id = uuid.uuid4().hex
        request = uuid.uuid4().hex
        answered = self._expect(request)
        content = {
            "comm_id": self._comm_id,
            "target_name": TARGET,
            "data": {"id": request, "do": "status"},
        }
        sent = self._send("shell", "comm_open", content, subshell=self._subshell)
        self._at_idle[sent] = self._closed
        try:
            answer = await self._wait(request, answered, "open the comm", patience)
        finally:
            del self._at_idle[sent]
        if answer.get("closed"):
            self._comm_id = ""
            return False
        if not answer["ok"]:
            raise _error(answer)
        self.status = answer
        return True

    async def _load_extension(self, patience: float | None) -> None:
        content = {
            "code": f"%load_ext {TARGET}",
            "silent": True,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        for _ in range(5):
            reply = await self._request(
                "shell", "execute_request", content, "load NBRewind", patience
            )
            # A cell that failed before us takes the requests behind it with it.
            if reply.get("status") != "aborted":
                break
        if reply.get("status") != "ok":
            raise KernelFailed(
                f"NBRewind cannot be loaded in this kernel: {reply.get('ename', '')}: {reply.get('evalue', '')}. "
                "Install nbrewind in the kernel's environment",
                "no-extension",
            )

    # --- Requests -------------------------------------------------------------------------------------------------

    async def ask(
        self, do: str, *, patience: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Send one request and wait for its answer; raises `KernelError` when that is a refusal.

        With `patience`, a request that has not begun after so many seconds is taken back: code `busy`.
        """
        request = uuid.uuid4().hex
        changes_state = do != "cancel"
        answered = self._expect(request)
        if changes_state:
            self.request = request
        try:
            self._send_request({"id": request, "do": do, **arguments})
            try:
                answer = await self._wait(request, answered, do, patience)
            except KernelFailed as error:
                if error.code != "busy" or not changes_state:
                    raise
                answered = self._expect(request)
                if await self.take_back(request):
                    raise
                answer = await self._wait(request, answered, do, None)
        finally:
            if changes_state:
                self.request = None
            self._forget(request)
        if not answer["ok"]:
            raise _error(answer)
        return answer

    async def take_back(self, request: str) -> bool:
        """Cancel a request that has not begun. False when it has, or when the kernel cannot say so now."""
        try:
            return bool((await self.ask("cancel", patience=5, request=request))["cancelled"])
        except KernelFailed as error:
            if error.code in {"busy", "bad-request", "internal"}:
                return False
            raise

    def _send_request(self, data: dict[str, Any]) -> None:
        content = {"comm_id": self._comm_id, "data": data}
        self._send("shell", "comm_msg", content, subshell=self._subshell)

    # --- Cells ----------------------------------------------------------------------------------------------------

    async def run_cell(self, cell: Cell, notebook: Any = None) -> CellRun:
        """Execute or replay one cell as a front end would; its node gets the outputs."""
        if notebook is not None and notebook is not self._notebook:
            self._notebook, self._outputs = notebook, None
        if self._outputs is None:
            self._outputs = NotebookClient(self._notebook, record_timing=False)
            self._outputs.kc = self.channels
        cell.node["outputs"] = []
        if "skip-execution" in cell.tags:
            return CellRun("ok", 0.0, [])
        index = next(
            (i for i, node in enumerate(self._notebook.cells) if node is cell.node),
            len(self._notebook.cells),
        )
        self._outputs.clear_before_next_output = False
        self._outputs.clear_display_id_mapping(index)
        content = {
            "code": cell.source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": "raises-exception" not in cell.tags,
        }
        metadata = {"cellId": cell.id, "nbrewind": {"tags": list(cell.tags)}}
        started = time.perf_counter()
        for _ in range(5):
            reply, execution = await self._execute(cell, content, metadata, index)
            # A cell that failed before us takes the requests behind it with it; ours has nothing to do with that.
            if reply.get("status") != "aborted":
                break
        if reply.get("execution_count") is not None:
            cell.node["execution_count"] = reply["execution_count"]
        return CellRun(
            reply.get("status", "error"), time.perf_counter() - started, execution.reports
        )

    async def _execute(
        self, cell: Cell, content: dict[str, Any], metadata: dict[str, Any], index: int
    ) -> tuple[dict[str, Any], _Execution]:
        assert self._outputs is not None
        execution = _Execution()
        sent = self._send("shell", "execute_request", content, metadata=metadata)
        self._executions[sent] = execution
        answered = self._expect(sent)
        try:
            reply = await self._wait(sent, answered, f"run cell {cell.id}", None)
            if reply.get("status") != "aborted":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_WORDS):
                        await self._wait_for(execution.ended, f"run cell {cell.id}", None)
        finally:
            self._executions.pop(sent, None)
            self.is_executing = False
            # Also of a kernel that died: what it had shown is shown.
            for message in execution.messages:
                self._outputs.process_message(message, cell.node, index)
        return reply, execution

    # --- The channels ---------------------------------------------------------------------------------------------

    def _send(
        self,
        channel: str,
        kind: str,
        content: dict[str, Any],
        subshell: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        message = self.channels.session.msg(kind, content, metadata=metadata)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        channels: dict[str, Any] = {
            "shell": self.channels.shell_channel,
            "control": self.channels.control_channel,
        }
        channels[channel].send(message)
        return str(message["header"]["msg_id"])

    async def _request(
        self,
        channel: str,
        kind: str,
        content: dict[str, Any],
        doing: str,
        patience: float | None,
        subshell: str | None = None,
    ) -> dict[str, Any]:
        sent = self._send(channel, kind, content, subshell=subshell)
        return await self._wait(sent, self._expect(sent), doing, patience)

    def _expect(self, key: str) -> asyncio.Future[dict[str, Any]]:
        return self._waiting.setdefault(key, asyncio.get_running_loop().create_future())

    def _forget(self, key: str) -> None:
        self._waiting.pop(key, None)

    async def _wait(
        self,
        key: str,
        answered: asyncio.Future[dict[str, Any]],
        doing: str,
        patience: float | None,
    ) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self._wait_for(answered, doing, patience)
            return found
        finally:
            self._forget(key)

    async def _wait_for(
        self, future: asyncio.Future[Any], doing: str, patience: float | None
    ) -> Any:
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            await asyncio.wait({future}, timeout=_LOOK)
            if future.done():
                return future.result()
            await self._check_alive(doing)
            if deadline is not None and time.monotonic() > deadline:
                raise KernelFailed(f"the kernel is busy; it was asked to {doing}", "busy")

    async def _check_alive(self, doing: str) -> None:
        if self._lost is None and not await self._is_alive():
            self._lost = KernelFailed("the kernel died", "kernel-died")
        if self._lost is not None:
            raise KernelFailed(f"{self._lost} while it was asked to {doing}", self._lost.code)

    async def _hear(
        self, get: Callable[[], Awaitable[dict[str, Any]]], heard: Callable[[dict[str, Any]], None]
    ) -> None:
        while True:
            try:
                message = await get()
            except ValueError:
                # Not signed with the kernel's key, or not a message.
                continue
            heard(message)

    def _replied(self, message: dict[str, Any]) -> None:
        waiting = self._waiting.get(message["parent_header"].get("msg_id", ""))
        if waiting is not None and not waiting.done():
            waiting.set_result(message["content"])

    def _heard(self, message: dict[str, Any]) -> None:
        kind = message["header"]["msg_type"]
        content = message["content"]
        parent = message["parent_header"].get("msg_id", "")
        execution = self._executions.get(parent)
        if kind in {"comm_msg", "comm_close"} and content.get("comm_id") == self._comm_id:
            if kind == "comm_msg":
                self._told(content["data"], execution)
            else:
                self._closed()
        elif kind == "shutdown_reply":
            what = "was restarted" if content.get("restart") else "was shut down"
            self._lost = KernelFailed(f"the kernel {what}", "kernel-died")
        elif kind == "status":
            known = self._statuses.get(parent)
            if known is not None and not known.done():
                known.set_result(None)
            if content["execution_state"] == "idle" and parent in self._at_idle:
                self._at_idle[parent]()
            if execution is not None:
                self._at_status(execution, content["execution_state"])
        elif execution is not None and kind in _SHOWN:
            execution.messages.append(message)

    def _at_status(self, execution: _Execution, state: str) -> None:
        if state == "busy" and not execution.has_begun:
            execution.has_begun = self.is_executing = True
            self.on_begun()
        elif state == "idle":
            self.is_executing = False
            if not execution.ended.done():
                execution.ended.set_result(None)

    def _told(self, data: dict[str, Any], execution: _Execution | None) -> None:
        if "event" in data:
            if data["event"] == "run" and execution is not None:
                execution.reports.append(data)
            self.on_event(data)
            return
        waiting = self._waiting.get(data.get("id", ""))
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    def _closed(self) -> None:
        """The kernel's side closed, or never opened: it does not know the target, or was unloaded."""
        answer = {
            "ok": False,
            "closed": True,
            "code": "no-extension",
            "error": "the kernel closed its comm",
        }
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(answer)


def show(notebook: Any, cell: Cell, messages: Sequence[dict[str, Any]]) -> None:
    """Give a cell the outputs of a recorded run (`[{kind, content}]`)."""
    outputs = NotebookClient(notebook, record_timing=False)
    outputs.clear_before_next_output = False
    cell.node["outputs"] = []
    for message in messages:
        kind = message["kind"]
        if kind in _SHOWN:
            header = {"msg_type": kind}
            told = {
                "header": header,
                "msg_type": kind,
                "parent_header": {},
                "content": message["content"],
            }
            outputs.process_message(told, cell.node, 0)


# --- Replay from a cell ---------------------------------------------------------------------------------------------


@dataclass
class ReplayHooks:
    """What the caller of `replay` wants to hear, and whether to go on."""

    on_plan: Callable[[dict[str, Any]], None] = lambda plan: None
    on_cell: Callable[[str, dict[str, Any]], None] = lambda cell, report: None
    is_cancelled: Callable[[], bool] = lambda: False


async def replay(
    talk: Conversation, cells: Sequence[Cell], start: str, notebook: Any, hooks: ReplayHooks
) -> dict[str, Any]:
    """Bring a cell and those after it up to date: plan, begin, run what is left, end. Returns the kernel's report.

    When a replayed value turns out to be needed and cannot be loaded, all begins again without the run that promised
    it. Raises `KernelFailed` with code `restart-needed` when that takes a fresh kernel.
    """
    asked: dict[str, Any] = {"cells": [cell.asked() for cell in cells], "from": start}
    plan = await talk.ask("plan-replay", **asked)
    hooks.on_plan(
        {
            key: value
            for key, value in plan.items()
            if key in {"plan", "seconds", "saved_seconds", "restart"}
        }
    )
    if plan.get("restart"):
        raise KernelFailed("; ".join(plan["restart"]), "restart-needed", plan)
    distrusted: list[str] = []
    has_begun = False
    try:
        while True:
            _stop_if_cancelled(hooks)
            begun = await talk.ask("begin-replay", **asked, distrusted=distrusted)
            has_begun = True
            again = await _run_rest(talk, cells, begun, notebook, hooks)
            _stop_if_cancelled(hooks)
            if not again:
                break
            if set(again) <= set(distrusted):
                raise KernelFailed("a replayed value is needed and cannot be had")
            distrusted += again
    except BaseException:
        # The session must not stay in repeat mode. A kernel that died has none, and the first error counts.
        if has_begun:
            with contextlib.suppress(KernelError):
                await talk.ask("end-replay", patience=_SILENCE)
        raise
    report: dict[str, Any] = (await talk.ask("end-replay"))["report"]
    return report


def _stop_if_cancelled(hooks: ReplayHooks) -> None:
    if hooks.is_cancelled():
        raise KernelFailed("cancelled", "cancelled")


async def _run_rest(
    talk: Conversation,
    cells: Sequence[Cell],
    begun: dict[str, Any],
    notebook: Any,
    hooks: ReplayHooks,
) -> list[str]:
    """Run `next` and what follows, up to the first failure. Returns the runs to distrust, if that is why it ended."""
    for item in begun["replayed"]:
        hooks.on_cell(item["id"], {"status": "replayed", "seconds": 0.0, **item})
    if begun["next"] is None:
        return []
    at = next(i for i, cell in enumerate(cells) if cell.id == begun["next"])
    for cell in cells[at:]:
        if not cell.source.strip():
            cell.node["outputs"] = []
            continue
        if hooks.is_cancelled():
            break
        hooks.on_cell(cell.id, {"status": "running"})
        run = await talk.run_cell(cell, notebook)
        report = run.report(cell.id)
        hooks.on_cell(cell.id, report)
        again: list[str] = report.get("restart_without") or []
        if again:
            return again
        if report["status"] == "failed" or run.status != "ok":
            break
    return []
