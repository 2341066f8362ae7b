"""Any `concurrent.futures.Executor` through the task cache.

`submit` of every executor class is hooked, which `map` goes through as well. A hit is a future that is
completed when the caller gets it; whatever runs is run by the executor itself, so order, cancelling,
timeouts and exceptions are its own.

What is planned is what the user asks for: a function of their own, or any function that their own code
submits. What libraries do among themselves with executors is left alone.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures._base import Executor, Future
from types import FrameType, MethodType, ModuleType
from typing import Any

from nbrewind.fingerprint import Context, Fact, is_library_file, register
from nbrewind.tasks import calls, worker, wrapped
from nbrewind.tasks.cache import TaskCache

# Seconds that an executor of an unknown kind has to answer a first question.
_PATIENCE = 5.0
# Between the user's code and `submit` these only pass on what they are given.
_TRANSPARENT = ("concurrent.", "loky.", "tqdm.", "mpi4py.", "nbrewind.", "asyncio.", "functools")
# Their executors are the engine's own affair.
_OWN_AFFAIR = ("distributed", "dask", "parsl", "ndcctools", "nbrewind")
_STATE_OF_A_STOP = ("_shutdown", "_shutdown_thread", "_broken")

_local = threading.local()
_hooked: list[tuple[type, str, Any]] = []
_places: weakref.WeakKeyDictionary[Any, tuple[str | None, str]] = weakref.WeakKeyDictionary()
# In which run pools of processes were made.
_made_in: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


class Hooked:
    """A method of a class in the place of the original, for which it also stands in fingerprints and pickles."""

    def __init__(self, original: Callable[..., Any], hook: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)
        self.__wrapped__ = original
        self._hook = hook

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._hook(self.__wrapped__, *args, **kwargs)

    def __reduce__(self) -> Any:
        return _itself, (self.__wrapped__,)


def _itself(value: Any) -> Any:
    return value


@register("nbrewind.tasks.engines.futures:Hooked")
def _hooked_fact(obj: Hooked, ctx: Context) -> Fact:
    return ctx.facts(obj.__wrapped__)


def hook(cls: type, name: str, function: Callable[..., Any]) -> None:
    """Put `function(original, self, ...)` in the place of a method that `cls` itself defines."""
    original = vars(cls).get(name)
    if original is None or isinstance(original, Hooked):
        return
    _hooked.append((cls, name, original))
    setattr(cls, name, Hooked(original, function))


def unhook(is_ours: Callable[[type], bool]) -> None:
    """Give classes back what `hook` took."""
    for item in list(_hooked):
        cls, name, original = item
        if is_ours(cls):
            setattr(cls, name, original)
            _hooked.remove(item)


# --- Which classes -------------------------------------------------------------------------------


def _hook_class(cls: type) -> None:
    """The class nearest to `Executor` that has a `submit` is where all its heirs end."""
    nearer = [base for base in cls.__mro__[1:] if base is not Executor and "submit" in vars(base)]
    if cls is not Executor and not nearer and not cls.__module__.startswith(_OWN_AFFAIR):
        hook(cls, "submit", _submit)
    if cls.__module__ == "concurrent.futures.process":
        hook(cls, "__init__", _made)


def _made(original: Any, executor: Any, *args: Any, **kwargs: Any) -> None:
    cache = calls.asking_cache()
    if cache is not None:
        _made_in[executor] = cache.n_begun
    original(executor, *args, **kwargs)


def _heirs(cls: type) -> list[type]:
    found = [cls]
    heirs: list[type] = type.__subclasses__(cls)
    for heir in heirs:
        found += _heirs(heir)
    return found


def hook_base(module: ModuleType) -> None:
    """Hook the executors that there are, and those to come."""

    def note(cls: type[Executor], **kwargs: Any) -> None:
        super(Executor, cls).__init_subclass__(**kwargs)
        _hook_class(cls)

    for cls in _heirs(Executor):
        _hook_class(cls)
    Executor.__init_subclass__ = classmethod(note)  # type: ignore[assignment]


def unhook_base(module: ModuleType) -> None:
    """Undo `hook_base`."""
    if "__init_subclass__" in vars(Executor):
        del Executor.__init_subclass__
    unhook(lambda cls: issubclass(cls, Executor))


def leave_alone(is_direct: bool) -> None:
    """What this thread submits to executors has been planned by another engine."""
    _local.is_direct = is_direct


# --- submit --------------------------------------------------------------------------------------


def _submit(original: Any, executor: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    def as_it_is() -> Any:
        _local.is_direct = True
        try:
            return original(executor, fn, *args, **kwargs)
        finally:
            _local.is_direct = False

    if getattr(_local, "is_direct", False):
        return original(executor, fn, *args, **kwargs)
    if calls.hands_on():
        return as_it_is()
    cache = calls.asking_cache()
    if cache is None or _is_stopped(executor):
        return as_it_is()
    chunk = _chunk_of(fn, args)
    if not _is_the_users(chunk[0] if chunk else fn):
        return as_it_is()
    place, reason = _place(original, executor, cache)
    if place is None:
        cache.unseen(f"{wrapped.name_of(fn)} ran without the cache: {reason}")
        return as_it_is()
    salt = _salt(executor)
    if salt is None:
        cache.note("calls ran without the cache: what prepares the workers is not known")
    if chunk is not None:
        prepared = _Prepared(cache, executor, False, salt)
        prepared.look_at_processes()
        return _submit_chunk(original, executor, prepared, *chunk, as_it_is=as_it_is)
    prepared = _Prepared(cache, executor, place == "here", salt)
    prepared.look_at_processes()
    planned = prepared.plan(fn, args, kwargs)
    if planned is None:
        if place != "here":
            calls.out_of_sight(cache, fn)
        return as_it_is()
    if planned.stored is not None and not prepared.begin_processes(original):
        planned.show()
        return _run(original, executor, prepared.loaded(planned), [planned])
    if planned.stored is not None:
        try:
            return _completed(executor, planned.value())
        except worker.LoadError:
            planned = prepared.plan(fn, args, kwargs)
            if planned is None or planned.stored is not None:
                return as_it_is()
    return _run(original, executor, planned.execute(), [planned])


def _is_stopped(executor: Any) -> bool:
    """The executor itself says so when it is asked."""
    flags = getattr(executor, "_flags", None)
    return bool(getattr(flags, "shutdown", False)) or any(
        getattr(executor, name, None) for name in _STATE_OF_A_STOP
    )


class _Prepared:
    """How the calls of one executor are planned."""

    def __init__(self, cache: TaskCache, executor: Any, is_here: bool, salt: str | None) -> None:
        self.cache = cache
        self.is_here = is_here
        self.salt = salt
        context = getattr(executor, "_mp_context", None)
        method = getattr(context, "get_start_method", None)
        self.is_forked = not is_here and method is not None and method() == "fork"
        self.executor = executor

    def look_at_processes(self) -> None:
        """Children of this process have its globals as they were when they were forked: state that nobody sees.

        A replay of the cell would not fork them, and they would begin with what a later cell has.
        """
        if self.is_forked and _made_in.get(self.executor) != self.cache.n_begun:
            self.cache.unseen(
                "the processes of a pool of an earlier cell hold what was there when they began"
            )

    def begin_processes(self, original: Any) -> bool:
        """Have the processes begin when they would without a stored result. False: they have begun before, perhaps
        with other globals.
        """
        if not self.is_forked:
            return True
        if getattr(self.executor, "_executor_manager_thread", None) is not None:
            return False
        _local.is_direct = True
        try:
            original(self.executor, int)
        finally:
            _local.is_direct = False
        return True

    def loaded(self, planned: calls.Planned) -> wrapped.Loaded:
        """What gives a stored result where it would have been computed."""
        task = planned.execute()
        assert planned.stored is not None
        return wrapped.Loaded(planned.stored, task, is_checked=self.is_forked)

    def plan(self, fn: Any, args: Any, kwargs: Any) -> calls.Planned | None:
        return calls.plan(
            self.cache,
            fn,
            args,
            kwargs,
            is_here=self.is_here,
            salt=self.salt or "",
            may_replay=self.salt is not None,
            is_forked=self.is_forked,
        )


def _run(original: Any, executor: Any, what: Any, planned: list[calls.Planned]) -> Any:
    _local.is_direct = True
    try:
        future = original(executor, what)
    finally:
        _local.is_direct = False
    for one in planned:
        one.follow(future)
    return future


def _completed(executor: Any, value: Any) -> Any:
    kind: Any = Future
    for base in type(executor).__mro__:
        module = sys.modules.get(base.__module__.rpartition(".")[0] + "._base")
        if "loky" in base.__module__ and module is not None:
            kind = module.Future
            break
    future = kind()
    future.set_running_or_notify_cancel()
    future.set_result(value)
    return future


def _chunk_of(fn: Any, args: tuple[Any, ...]) -> tuple[Any, list[tuple[Any, ...]]] | None:
    """`map` of process pools submits lists of arguments: the function itself, and those lists."""
    if (
        type(fn) is functools.partial
        and getattr(fn.func, "__name__", "") == "_process_chunk"
        and len(fn.args) == 1
        and len(args) == 1
    ):
        return fn.args[0], [tuple(one) for one in args[0]]
    return None


def _submit_chunk(
    original: Any,
    executor: Any,
    prepared: _Prepared,
    fn: Any,
    items: list[tuple[Any, ...]],
    *,
    as_it_is: Callable[[], Any],
) -> Any:
    found = [prepared.plan(fn, args, {}) for args in items]
    planned = [one for one in found if one is not None]
    if len(planned) < len(found):
        calls.out_of_sight(prepared.cache, fn)
        return as_it_is()
    if all(one.stored is not None for one in planned) and prepared.begin_processes(original):
        try:
            return _completed(executor, [one.value() for one in planned])
        except worker.LoadError:
            # Those that can be loaded are loaded by the worker.
            pass
    parts: list[Any] = []
    for one in planned:
        if one.stored is not None:
            one.show()
            parts.append(prepared.loaded(one))
        else:
            parts.append(one.execute())
    return _run(original, executor, wrapped.Chunk(parts), planned)


# --- Who asks, and who answers ---------------------------------------------------------------------


def _is_the_users(fn: Any) -> bool:
    """Is it the user who asks for this call, rather than some library?"""
    if isinstance(fn, wrapped.Wrapped | wrapped.Chunk) or type(fn).__module__.startswith("joblib"):
        return False
    return calls.is_users(fn) or users_frame(_TRANSPARENT)


def users_frame(transparent: tuple[str, ...], *, not_from: tuple[str, ...] = ()) -> bool:
    """Is the nearest code that asks, apart from `transparent` modules, the user's?

    What modules of `not_from` ask is theirs, although they need not be installed where libraries are.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "") + "."
        if not name.startswith(transparent):
            return not (name.startswith(not_from) or is_library_file(frame.f_code.co_filename))
        frame = frame.f_back
    return False


def _salt(executor: Any) -> str | None:
    """What the workers were prepared with is an input of every call. None: it has no fingerprint."""
    options = getattr(executor, "_options", None)
    if isinstance(options, dict):
        # As mpi4py keeps them.
        initializer, args = options.get("initializer"), options.get("initargs", ())
    else:
        initializer = getattr(executor, "_initializer", None)
        args = getattr(executor, "_initargs", ())
    if initializer is None:
        return ""
    content = wrapped.content(initializer, tuple(args), {})
    return None if content is None else f"; initializer {content}"


def _place(original: Any, executor: Any, cache: TaskCache) -> tuple[str | None, str]:
    """Where an executor runs its calls: "here" or "away", or None and the reason why nobody can say."""
    known = _places.get(executor)
    if known is None:
        known = _places[executor] = _find_place(original, executor, cache)
    return known


def _find_place(original: Any, executor: Any, cache: TaskCache) -> tuple[str | None, str]:
    for base in type(executor).__mro__:
        if base.__name__ == "InterpreterPoolExecutor":
            return None, "interpreters within the process are not supported"
        if base.__name__ == "ThreadPoolExecutor" and base.__module__.startswith("concurrent."):
            return "here", ""
        if base.__name__ == "ProcessPoolExecutor" and base.__module__.startswith(
            ("concurrent.", "loky.", "joblib.")
        ):
            return "away", ""
    _local.is_direct = True
    try:
        question = pickle.dumps(wrapped.Probe(cache.path, cache.inode))
        answer = original(executor, pickle.loads, question).result(timeout=_PATIENCE)
    except TimeoutError:
        return None, "its executor did not answer in time"
    except Exception as error:  # noqa: BLE001 - whatever it is, its workers cannot take part
        return None, f"its executor did not answer as needed ({type(error).__name__}: {error})"
    finally:
        _local.is_direct = False
    if answer["python"] != list(sys.version_info[:2]):
        return None, "its workers run another Python"
    if answer["error"] is not None:
        return None, f"its workers cannot use the store: {answer['error']}"
    return ("here" if tuple(answer["place"]) == wrapped.here() else "away"), ""


def begin_run() -> None:
    """A cell starts: executors that did not answer are asked again."""
    for executor, (place, _) in list(_places.items()):
        if place is None:
            del _places[executor]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: vars(_local).clear())
