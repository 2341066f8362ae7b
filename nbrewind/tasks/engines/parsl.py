"""Parsl through the task cache, by its public hook for memoizers.

`Memoizer` replays what is known: give it to `Config(memoizer=...)`, or leave that at its default, and a
session puts one in when the configuration is loaded. So that results are captured where they are made, with
what they read, the function of a task that has to run is wrapped while the task is launched.

Python apps are planned once their arguments have resolved. Apps that start programs (`bash_app`) are seen
doing so, and always run; join apps, and apps whose function Parsl has wrapped for a walltime or for staging
files, run as they are.
"""

from __future__ import annotations

import functools
import random
import sys
import threading
from concurrent.futures import Future
from types import FunctionType, ModuleType
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper, wrap_error
from parsl.dataflow import memoization

from nbrewind.tasks import calls, worker, wrapped
from nbrewind.tasks.engines import futures


class Memoizer(memoization.Memoizer):
    """Replays what the session's cache knows; without a session, every task runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Futures that `check_memo` gives, by the id of their task.
        self._ready: dict[int, Future[Any]] = {}
        # Apps with `cache=True`, by task fingerprint: Parsl shares their results within a session.
        self._shared: dict[str, Future[Any]] = {}
        # And by their code and Parsl's own hash, which knows of no files, within one run of a cell: there they
        # are shared even if what they read has been changed meanwhile, perhaps by themselves.
        self._shared_in_run: dict[Any, Future[Any]] = {}
        self._run = 0

    def start(self, *, run_dir: str, config_run_dir: str) -> None:
        """The store is the session's."""

    def close(self) -> None:
        """Records become durable with their cell."""
        self._shared.clear()
        self._shared_in_run.clear()

    def check_memo(self, task: Any) -> Future[Any] | None:
        """The result of a task that need not run."""
        with self._lock:
            return self._ready.pop(task["id"], None)

    def update_memo_result(self, task: Any, r: Any) -> None:
        """It was captured on the worker."""

    def update_memo_exception(self, task: Any, e: BaseException) -> None:
        """Errors are not stored."""

    def prepare(self, task: Any, is_here: bool) -> calls.Planned | None:
        """What runs in the place of a task that is about to be launched; None: the task itself, or nothing."""
        cache = calls.asking_cache()
        if cache is None or task["join"]:
            return None
        func = _users_function(task["func"])
        args, kwargs = tuple(task["args"]), dict(task["kwargs"])
        for _ in range(2):
            planned = (
                calls.plan(cache, func, args, kwargs, is_here=is_here) if func is not None else None
            )
            if planned is None:
                break
            if planned.stored is None:
                return self._share(task, planned)
            try:
                value = planned.value()
            except worker.LoadError:
                continue
            done: Future[Any] = Future()
            done.set_result(value)
            with self._lock:
                self._ready[task["id"]] = done
            return None
        if not is_here:
            calls.out_of_sight(cache, task["func"])
        return None

    def _share(self, task: Any, planned: calls.Planned) -> calls.Planned | None:
        """The call itself, unless the same app with `cache=True` has been asked for already."""
        if not task["memoize"]:
            return planned
        places: list[tuple[dict[Any, Future[Any]], Any]] = []
        if planned.fp is not None:
            places.append((self._shared, planned.fp))
        try:
            hashed = memoization.make_hash(task)
        except ValueError:
            # An argument that Parsl cannot hash.
            hashed = None
        if hashed is not None:
            code = getattr(_users_function(task["func"]), "__code__", None)
            places.append((self._shared_in_run, (hashed, code)))
        with self._lock:
            if self._run != planned.cache.n_begun:
                self._run = planned.cache.n_begun
                self._shared_in_run.clear()
            for shared, key in places:
                known = shared.get(key)
                if known is None or known is task["app_fu"]:
                    continue
                if not known.done() or known.exception() is None:
                    self._ready[task["id"]] = known
                    break
            else:
                for shared, key in places:
                    shared[key] = task["app_fu"]
                return planned
        planned.drop()
        return None


class Guarded:
    """In the place of Parsl's own wrapper of a function: exceptions travel as values."""

    __slots__ = ("wrapped",)

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def __call__(self) -> Any:
        try:
            return self.wrapped()
        except Exception:  # noqa: BLE001 - as Parsl does it
            return RemoteExceptionWrapper(*sys.exc_info())


# What `wrap_error` makes of every function has this code.
_WRAPPER = wrap_error(len).__code__


def _users_function(func: Any) -> Any:
    """The function of an app; None when Parsl does more with it than to catch exceptions."""
    if type(func) is not FunctionType or func.__code__ is not _WRAPPER:
        return None
    return func.__wrapped__  # type: ignore[attr-defined]


# --- Hooks ---------------------------------------------------------------------------------------


class _Random:
    """In the place of the module `random` where Parsl picks an executor for an app."""

    def __getattr__(self, name: str) -> Any:
        return getattr(random, name)

    def choice(self, options: Any) -> Any:
        """What `random.choice` gives, and known to be no draw of the apps that are running."""
        return random.choice(options) if calls.asking_cache() is None else wrapped.choose(options)


def hook_kernel(module: ModuleType) -> None:
    """Let every data flow kernel have a memoizer of ours, and wrap what it launches."""
    if getattr(module, "random", None) is random:
        module.random = _Random()  # type: ignore[attr-defined]
    futures.hook(module.DataFlowKernel, "__init__", _begin)
    futures.hook(module.DataFlowKernel, "launch_task", _launch)
    _replace_dfk(module, classmethod(_ask(module.DataFlowKernelLoader.__dict__["dfk"].__func__)))


def unhook_kernel(module: ModuleType) -> None:
    """Undo `hook_kernel`."""
    if type(getattr(module, "random", None)) is _Random:
        module.random = random  # type: ignore[attr-defined]
    futures.unhook(lambda cls: cls is module.DataFlowKernel)
    found = module.DataFlowKernelLoader.__dict__["dfk"].__func__
    if hasattr(found, "__wrapped__"):
        _replace_dfk(module, classmethod(found.__wrapped__))


def _replace_dfk(module: ModuleType, found: Any) -> None:
    module.DataFlowKernelLoader.dfk = found
    package: Any = sys.modules.get("parsl")
    if hasattr(package, "dfk"):
        # The package has it under its own name, too.
        package.dfk = module.DataFlowKernelLoader.dfk


def _ask(original: Any) -> Any:
    """What the data flow kernel holds is asked when the cell runs: replayed cells leave nothing there."""

    @functools.wraps(original)
    def dfk(cls: Any) -> Any:
        cache = calls.asking_cache()
        if cache is not None and futures.users_frame(_TRANSPARENT, not_from=("nbrewind.",)):
            cache.unseen(
                "parsl.dfk: what Parsl holds besides results is looked at when the cell runs"
            )
        return original(cls)

    return dfk


# Between the user's code and what asks for the data flow kernel.
_TRANSPARENT = ("nbrewind.tasks.engines.parsl.",)


def _begin(original: Any, kernel: Any, config: Any) -> None:
    if config.memoizer is not None or calls.asking_cache() is None:
        return original(kernel, config)
    config.memoizer = Memoizer()
    try:
        return original(kernel, config)
    finally:
        # The configuration is the user's.
        config.memoizer = None


def _launch(original: Any, kernel: Any, task: Any) -> Any:
    memoizer = kernel.memoizer
    futures.leave_alone(True)
    try:
        if not isinstance(memoizer, Memoizer) or calls.hands_on():
            return original(kernel, task)
        executor = kernel.executors.get(task["executor"])
        is_here = type(executor).__name__ == "ThreadPoolExecutor"
        planned = memoizer.prepare(task, is_here)
        if planned is None:
            return original(kernel, task)
        kept = task["func"], task["args"], task["kwargs"]
        task["func"], task["args"], task["kwargs"] = Guarded(planned.execute()), (), {}
        try:
            future = original(kernel, task)
        finally:
            # Parsl may launch it again.
            task["func"], task["args"], task["kwargs"] = kept
        planned.follow(future)
        return future
    finally:
        futures.leave_alone(False)
