"""Requests to a session: what only looks is answered at once, what changes state waits for the main thread.

With subshells a comm message arrives on another thread, beside a running cell. A request that changes state is then
queued and carried out between cells, by the event loop of the main thread. An interrupt stops it between steps.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session

# Answered from any thread, also while a cell runs.
LOOKS = frozenset({"status", "log", "runs", "outside", "cancel"})

Reply = Callable[[dict[str, Any]], None]


@dataclass(eq=False)
class Request:
    """One request that waits or is being carried out, and how its asker is answered."""

    content: dict[str, Any]
    reply: Reply
    # The messages that belong to it have the asker's message as their parent.
    context: contextvars.Context

    @property
    def id(self) -> Any:
        """The asker's id."""
        return self.content.get("id")

    def event(self, name: str) -> dict[str, Any]:
        """As others hear of it."""
        return {"event": name, "id": self.id, "do": self.content.get("do")}


class Interrupts:
    """While a request is carried out, an interrupt raises only where that leaves the state whole."""

    def __init__(self) -> None:
        self._is_open = False
        self._came = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Interrupts wait for the next `check`, or for a stretch in which they may raise."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._is_open = self._came = False

        def note(number: int, frame: Any) -> None:
            self._came = True
            if self._is_open:
                self._is_open = False
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self._is_open = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """What is done here leaves no trace when it is broken off."""
        self.check()
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    def check(self) -> None:
        """Between two steps: stop here when an interrupt came."""
        if self._came:
            self._came = False
            raise KeyboardInterrupt


# Between its steps the shell takes what was sent meanwhile, and sends its answers.
_PAUSE = 0.01
# What the kernel does while nobody asks for anything: it has no id, so nobody hears of its progress.
_NOBODYS = Request({}, lambda answered: None, contextvars.copy_context())


class Requests:
    """The queue of one session."""

    def __init__(
        self, session: Session, answer: Callable[[Session, dict[str, Any]], dict[str, Any]]
    ) -> None:
        self._session = session
        self._answer = answer
        self._lock = threading.Lock()
        self._queue: list[Request] = []
        self._current: Request | None = None
        # The cell that runs on the main thread; it counts until its `post_run_cell` is over.
        self._cell: object | None = None
        # What is done, step by step, while nobody asks for anything.
        self._step: Callable[[], bool] | None = None
        self._is_step_due = False

    # --- Asking -----------------------------------------------------------------------------------------------------

    def ask(self, content: dict[str, Any], reply: Reply) -> None:
        """Answer now, or as soon as the main thread is free. Called on any thread."""
        if content.get("do") in LOOKS:
            reply(self._answer(self._session, content))
            return
        request = Request(content, reply, contextvars.copy_context())
        with self._lock:
            is_now = (
                threading.current_thread() is threading.main_thread()
                and self._is_free()
                and not self._queue
            )
            if is_now:
                self._current = request
            else:
                self._queue.append(request)
        if is_now:
            self._carry_out(request)
            return
        self._session.tell(request.event("queued"))
        self._schedule()

    def queued(self) -> list[dict[str, Any]]:
        """What waits, in order."""
        return [{"id": item.id, "do": item.content.get("do")} for item in list(self._queue)]

    def current(self) -> Any:
        """Id of the request that is being carried out."""
        request = self._current
        return None if request is None else request.id

    def cancel(self, request_id: Any) -> bool:
        """Take a request out of the queue; its asker is told. False when it has begun or is not known."""
        with self._lock:
            found = next((item for item in self._queue if item.id == request_id), None)
            if found is not None:
                self._queue.remove(found)
        if found is None:
            return False
        found.reply(
            {"id": found.id, "ok": False, "code": "cancelled", "error": "the request was cancelled"}
        )
        return True

    def when_free(self, step: Callable[[], bool]) -> None:
        """Carry out `step` between cells and requests, until it returns False. It takes the place of an earlier one."""
        self._step = step
        self._schedule_step()

    # --- Cells ------------------------------------------------------------------------------------------------------

    def cell_begins(self) -> object:
        """A cell runs on the main thread; what is asked now waits for its end."""
        token = object()
        self._cell = token
        return token

    def cell_ends(self, token: object) -> None:
        """Its code has run; what the shell does after it takes until the event loop turns."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._release(token)
            return
        # The shell's end of an asynchronous cell is the next callback but one.
        loop.call_soon(loop.call_soon, self._release, token)

    def shell_is_done(self) -> None:
        """The event `post_execute`: at the next turn of the loop nothing of the cell is left to do."""
        token = self._cell
        loop = getattr(self._session.kernel, "io_loop", None)
        if token is not None and loop is not None:
            loop.add_callback(self._release, token)

    def _release(self, token: object) -> None:
        if self._cell is token:
            self._cell = None
            self._drain()
            self._schedule_step()

    def _is_free(self) -> bool:
        return self._cell is None and self._current is None

    # --- Carrying out -------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        loop = getattr(self._session.kernel, "io_loop", None)
        if loop is not None:
            loop.add_callback(self._drain)

    def _drain(self) -> None:
        with self._lock:
            if not self._queue or not self._is_free():
                return
            request = self._current = self._queue.pop(0)
        request.context.run(self._carry_out, request)
        self._schedule()

    def _schedule_step(self) -> None:
        """On the main thread: take a step soon, unless something is asked before."""
        loop = getattr(self._session.kernel, "io_loop", None)
        if loop is not None and self._step is not None and not self._is_step_due:
            self._is_step_due = True
            loop.call_later(_PAUSE, self._take_step)

    def _take_step(self) -> None:
        self._is_step_due = False
        session = self._session
        with self._lock:
            if self._queue or not self._is_free():
                # Whoever is before us schedules the next one.
                return
            step, self._step = self._step, None
            self._current = _NOBODYS
        is_more = False
        try:
            with session.interrupts.held():
                is_more = step is not None and step()
        finally:
            self._current = None
            session.quiet.disturb()
        if is_more and self._step is None:
            self._step = step
        self._schedule()
        self._schedule_step()

    def _carry_out(self, request: Request) -> None:
        session = self._session
        try:
            with session.interrupts.held():
                # Whoever hears that it has begun may interrupt it.
                session.tell(request.event("started"))
                answered = self._answer(session, request.content)
        finally:
            self._current = None
            # What was carried out may have changed anything.
            session.quiet.disturb()
        request.reply(answered)
        if self._queue:
            self._schedule()
        self._schedule_step()
