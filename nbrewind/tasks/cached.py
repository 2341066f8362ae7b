"""`nbrewind.cached`: an ordinary function through the task cache.

    @nbrewind.cached
    def features(path, threshold): ...

While a session audits, every call is executed and recorded; while it repeats, calls that are known are
replayed. Without a session the function is what it was, unless it was given a store of its own:

    @nbrewind.cached(store="features.nbrewind")

replays whatever it has computed before, in any process. Calls made within a call that is being recorded are
part of it and run as they are.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable
from typing import Any, TypeVar, overload

from nbrewind.fingerprint import Context, Fact, register
from nbrewind.tasks import calls, worker
from nbrewind.tasks.cache import TaskCache

# Reports of caches without a session are of no use; they are dropped when they have this many calls.
_MAX_PENDING = 256

_F = TypeVar("_F", bound=Callable[..., Any])
_own: dict[tuple[int, str], TaskCache] = {}


class Cached:
    """A function whose calls are planned; everything else about it is the function's."""

    def __init__(self, func: Callable[..., Any], store: str | None = None) -> None:
        functools.update_wrapper(self, func)
        self.__wrapped__ = func
        self._store = store

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        cache = None if calls.is_nested() else self._cache()
        for _ in range(2):
            planned = self._plan(cache, args, kwargs) if cache is not None else None
            if planned is None:
                break
            if planned.stored is None:
                return planned.execute()()
            try:
                return planned.value()
            except worker.LoadError:
                continue
        return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<cached {self.__wrapped__!r}>"

    def __reduce__(self) -> Any:
        return Cached, (self.__wrapped__, self._store)

    def _cache(self) -> TaskCache | None:
        if self._store is None:
            return calls.asking_cache()
        key = (os.getpid(), os.path.realpath(self._store))
        if key not in _own:
            _own[key] = TaskCache(self._store, replay=True)
        return _own[key]

    def _plan(
        self, cache: TaskCache, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> calls.Planned | None:
        if self._store is not None:
            cache.catch_up(_MAX_PENDING)
        return calls.plan(cache, self.__wrapped__, args, kwargs, is_here=True)


@register("nbrewind.tasks.cached:Cached")
def _cached_fact(obj: Cached, ctx: Context) -> Fact:
    return Fact("cached", (obj.__wrapped__, obj._store), mutable=True)


@overload
def cached(func: _F, /) -> _F: ...
@overload
def cached(*, store: str | os.PathLike[str] | None = None) -> Callable[[_F], _F]: ...
def cached(func: Any = None, /, *, store: Any = None) -> Any:
    """Replay the calls of a function that are known; see the module."""
    if func is not None:
        return Cached(func)
    path = os.path.abspath(os.fspath(store)) if store is not None else None
    return lambda function: Cached(function, path)
