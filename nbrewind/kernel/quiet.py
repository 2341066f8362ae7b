"""Whether code of the user's can have run since the namespace was last looked at.

A cell is recorded against the state that it starts from, and changes that no recorded run explains must be found
before it (a thread, a widget's callback, a console, a silent request). To find them, all values are walked. That walk
is left out only when nothing of the user's had a chance to run between two cells; when
in doubt, it is done.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import functools
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from nbrewind.kernel import record

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session

# Messages that run nothing of the user's. `execute_request` comes through the seam of the session.
_HARMLESS_MESSAGES = frozenset(
    """execute_request history_request comm_info_request kernel_info_request connect_request shutdown_request
    is_complete_request interrupt_request create_subshell_request delete_subshell_request list_subshell_request
    usage_request""".split()
)

# Packages whose own threads and callbacks run nothing of the user's.
_HARMLESS_CODE = frozenset("IPython ipykernel zmq tornado jupyter_client nbrewind tqdm".split())

# Words in code that may arrange for something to happen later, out of sight: finalizers, hooks of the interpreter,
# pickling (which our own walks and stores call), and memory that others write to.
_LATER = re.compile(
    r"__del__|weakref|finalize|atexit|settrace|setprofile|sys\.monitoring|audithook|gc\.callbacks|set_wakeup_fd|"
    r"__getstate__|__setstate__|__reduce|__getnewargs|__copy__|__deepcopy__|copyreg|ctypes|cffi|mmap|memmap|memory_map|shared_memory|multiprocessing|RawArray|pydevd|breakpoint"
)


# Parts of asyncio whose callbacks only turn the loop, or wake tasks, which are looked at themselves.
_LOOP_MODULES = frozenset(
    {
        "asyncio.base_events",
        "asyncio.futures",
        "asyncio.selector_events",
        "asyncio.tasks",
        "asyncio.unix_events",
    }
)


class Quiet:
    """What may have disturbed the namespace since `begin`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_disturbed = True
        # Some code seen so far arranges for something to happen later.
        self.runs_later = False
        self._modules_seen: set[str] = set()
        self._hooks = record.shell_hooks(session.shell)
        self._listen()

    def _listen(self) -> None:
        """Notice messages and expressions that may run something."""
        kernel = self._session.kernel
        for handlers in (
            getattr(kernel, "shell_handlers", {}),
            getattr(kernel, "control_handlers", {}),
        ):
            for kind, handler in list(handlers.items()):
                if kind not in _HARMLESS_MESSAGES:
                    handlers[kind] = self._noticing(kind, handler)
        shell = self._session.shell
        evaluate = shell.user_expressions

        @functools.wraps(evaluate)
        def user_expressions(expressions: dict[str, str]) -> Any:
            if expressions:
                self.disturb()
            return evaluate(expressions)

        shell.user_expressions = user_expressions

    def _noticing(self, kind: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def noticed(stream: Any, ident: Any, parent: dict[str, Any]) -> Any:
            if not self._is_own_comm(kind, parent.get("content", {})):
                self.disturb()
            return handler(stream, ident, parent)

        return noticed

    def _is_own_comm(self, kind: str, content: dict[str, Any]) -> bool:
        if kind == "comm_open":
            return content.get("target_name") == "nbrewind"
        if kind not in {"comm_msg", "comm_close"}:
            return False
        manager = getattr(self._session.kernel, "comm_manager", None)
        comm = getattr(manager, "comms", {}).get(content.get("comm_id"))
        return getattr(comm, "target_name", None) == "nbrewind"

    def disturb(self) -> None:
        """Something of the user's may run now."""
        self._is_disturbed = True

    def note(self, source: str) -> None:
        """A cell is about to run: what its text may arrange for later."""
        self.runs_later = self.runs_later or _LATER.search(source) is not None

    def disregard(self, modules: Iterable[str]) -> None:
        """These are of whoever started the kernel, and arrange for nothing in a notebook."""
        self._modules_seen.update(modules)

    def is_calm(self) -> bool:
        """True when nothing of the user's is under way or waits to run: no thread, no callback, no hook."""
        return (
            not self.runs_later
            and self._modules_are_tame()
            and _has_harmless_threads()
            and record.shell_hooks(self._session.shell) == self._hooks
            and _has_harmless_signals()
            and _has_harmless_loop()
        )

    def begin(self, was_calm: bool) -> None:
        """The namespace was just looked at, at the end of a run; `was_calm`: as `is_calm` said before that look."""
        self._is_disturbed = not was_calm

    def holds(self) -> bool:
        """True when nothing of the user's can have run since `begin`, and all names are still what they were."""
        if self._is_disturbed:
            return False
        state = self._session.state
        names = state.live_names()
        return (
            len(names) == len(state.loaded)
            and all(name in state.loaded and state.same_object(name) for name in names)
            and self.is_calm()
            and state.memory.is_untouched()
        )

    def _modules_are_tame(self) -> bool:
        """Modules of the user's own: their code may arrange for something as well."""
        from nbrewind.kernel.session import user_modules

        for name in user_modules():
            if name in self._modules_seen:
                continue
            path = getattr(sys.modules.get(name), "__file__", None) or ""
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:
                return False
            if not path.endswith(".py") or _LATER.search(text):
                self.runs_later = True
                return False
            self._modules_seen.add(name)
        return True


def _is_harmless(function: Any) -> bool:
    """True for code of the kernel itself, which runs nothing of the user's when nobody sends a message."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in _HARMLESS_CODE


def _has_harmless_threads() -> bool:
    threads = threading.enumerate()
    if all(map(_is_harmless_thread, threads)):
        return True
    frames = sys._current_frames()
    return all(
        _is_harmless_thread(thread) or _waits_for_work(thread, frames.get(thread.ident or 0))
        for thread in threads
    )


def _is_harmless_thread(thread: threading.Thread) -> bool:
    if thread is threading.main_thread():
        return True
    if type(thread) is not threading.Thread:
        return type(thread).__module__.partition(".")[0] in _HARMLESS_CODE
    return _is_harmless(getattr(thread, "_target", None))


def _waits_for_work(thread: threading.Thread, frame: FrameType | None) -> bool:
    """True for a thread of a pool, as Dask and asyncio have one, that was given nothing.

    It runs nothing before somebody gives it something: another thread, or a callback, which are looked at themselves.
    """
    pool = concurrent.futures.thread
    if type(thread) is not threading.Thread or getattr(thread, "_target", None) is not pool._worker:
        return False
    if frame is None or frame.f_code is not pool._worker.__code__:
        return False
    found = frame.f_locals
    queue = found.get("work_queue")
    return type(queue) is SimpleQueue and queue.empty() and found.get("work_item") is None


def _has_harmless_signals() -> bool:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and handler is not signal.default_int_handler:
            if (
                not _is_harmless(handler)
                and getattr(handler, "__module__", "") != "asyncio.runners"
            ):
                return False
    return True


def _has_harmless_loop() -> bool:
    """True when the event loop has no task and no callback but the kernel's own."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    handles = [*getattr(loop, "_ready", [None]), *getattr(loop, "_scheduled", [None])]
    for handle in handles:
        if handle is None:
            # Another kind of loop, which does not show what it will do.
            return False
        callback = getattr(handle, "_callback", None)
        if handle.cancelled() or callback is None:
            continue
        task = getattr(callback, "__self__", None)
        is_step = isinstance(task, asyncio.Task | asyncio.Future)
        is_inner = getattr(callback, "__module__", None) in _LOOP_MODULES
        if not is_step and not is_inner and not _is_harmless(callback):
            return False
    return all(_is_harmless_task(task) for task in asyncio.all_tasks(loop))


def _is_harmless_task(task: asyncio.Task[Any]) -> bool:
    frame = getattr(task.get_coro(), "cr_frame", None)
    module = (frame.f_globals.get("__name__") or "") if frame is not None else ""
    return module.partition(".")[0] in _HARMLESS_CODE
