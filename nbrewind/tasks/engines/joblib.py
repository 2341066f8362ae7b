"""joblib through the task cache: `Parallel(...)(delayed(f)(x) ...)` under every backend.

`Parallel` is handed only the calls that have to run, each wrapped; results that are stored take their places
in between. So nothing is started when nothing has to run, and batches, order, progress and exceptions are
joblib's own.

Libraries that use joblib themselves, such as scikit-learn, are covered where calls run in other processes and
so cannot change anything here. Their calls within this process are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from nbrewind.tasks import calls, worker
from nbrewind.tasks.cache import TaskCache
from nbrewind.tasks.engines import futures

_TRANSPARENT = ("joblib.", "nbrewind.", "contextlib.", "tqdm.")
_MISSING = object()


def hook_parallel(module: ModuleType) -> None:
    """Send the calls of every `Parallel` through the cache."""
    futures.hook(module.Parallel, "__call__", _call)


def unhook_parallel(module: ModuleType) -> None:
    """Undo `hook_parallel`."""
    futures.unhook(lambda cls: cls is module.Parallel)


def _call(original: Any, parallel: Any, iterable: Iterable[Any]) -> Any:
    cache = calls.asking_cache()
    backend = getattr(parallel, "_backend", None)
    if (
        cache is None
        or calls.is_nested()
        or backend is None
        or type(backend).__module__.startswith(("joblib._dask", "dask", "distributed"))
    ):
        return original(parallel, iterable)
    is_here = bool(getattr(backend, "uses_threads", False)) or parallel.n_jobs in {1, None}
    asks = _Asker(cache, is_here, futures.users_frame(_TRANSPARENT))
    if getattr(parallel, "return_generator", False):
        results = original(parallel, asks.remaining(iterable))
        return asks.merged(iter(results))
    return list(asks.merged(iter(original(parallel, asks.remaining(iterable)))))


class _Asker:
    """The calls of one `Parallel`, as it takes them one after the other, from whatever thread."""

    def __init__(self, cache: TaskCache, is_here: bool, is_users: bool) -> None:
        self.cache = cache
        self.is_here = is_here
        self.is_users = is_users
        # By position: the stored result, or `_MISSING` for what joblib was given.
        self.known: list[Any] = []

    def remaining(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """The calls that have to run."""
        for item in iterable:
            task = self.plan(*item) if isinstance(item, tuple) and len(item) == 3 else item
            if task is not None:
                self.known.append(_MISSING)
                yield task

    def plan(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What joblib has to run; None when the result is known, and noted."""
        if self.is_here and not (self.is_users or calls.is_users(func)):
            return func, args, kwargs
        for _ in range(2):
            planned = calls.plan(self.cache, func, tuple(args), dict(kwargs), is_here=self.is_here)
            if planned is None:
                break
            if planned.stored is None:
                return planned.execute(), (), {}
            try:
                self.known.append(planned.value())
            except worker.LoadError:
                continue
            return None
        if not self.is_here:
            calls.out_of_sight(self.cache, func)
        return func, args, kwargs

    def merged(self, results: Iterator[Any]) -> Iterator[Any]:
        """All results, in the order of the calls."""
        at = 0
        while True:
            while at < len(self.known) and self.known[at] is not _MISSING:
                value, self.known[at] = self.known[at], None
                at += 1
                yield value
            result = next(results, _MISSING)
            if result is _MISSING:
                break
            # Only now is it certain that joblib has asked for this call.
            while self.known[at] is not _MISSING:
                value, self.known[at] = self.known[at], None
                at += 1
                yield value
            at += 1
            yield result
        yield from self.known[at:]
